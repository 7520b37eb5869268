//! From bytes to a lane.

use super::head::{be16, be32, transport};
use super::sum::adds_up;
use super::{Class, HEAD, L3, L4, Lane, Way};
use crate::key::Key;
use crate::snapshot::Snapshot;
use sheave_frame::Frame;
use sheave_table::Table;
use std::net::Ipv4Addr;

/// Reads a frame into its lane. `false` when it is to go the long way.
///
/// PERF: `established/nat-in-16k/64` and `instructions/nat-in-64`. Tests of several bytes at once are one here, in the
/// order of memory.
#[inline(always)]
pub(crate) fn read(lane: &mut Lane, frame: &Frame, snapshot: &Snapshot, table: &Table<1>) -> bool {
    let Some(head) = frame.head::<HEAD>() else { return false };
    let len = usize::from(be16(head, L3 + 2));
    let ours = head.first_chunk().is_some_and(|to| snapshot.plan().is_for(frame.ingress(), to));
    if !is_plain(head) || len < L4 - L3 || len + L3 > frame.len() || !ours {
        return false;
    }
    let (segment, number) = (len - (L4 - L3), head[L3 + 9]);
    let Some((proto, flags)) = transport(number, segment, be16(head, L4 + 4), be16(head, L4 + 12)) else {
        return false;
    };
    let Some((way, id, key)) = flow(head, number, snapshot) else { return false };
    lane.key[0] = key[0];
    lane.hash = table.hash(&key);
    // The packet lies within the frame.
    lane.end = be16(head, L3 + 2).wrapping_add(14);
    lane.id = id;
    lane.way = way;
    lane.class = Class::of(proto, flags);
    true
}

/// Whose packet it is: which way, of which listen or real server, under which key.
#[inline(always)]
fn flow(head: &[u8; HEAD], proto: u8, snapshot: &Snapshot) -> Option<(Way, u16, [u64; 1])> {
    let (client, server) =
        (Ipv4Addr::from_bits(be32(head, L3 + 12)), Ipv4Addr::from_bits(be32(head, L3 + 16)));
    let (sport, dport) = (be16(head, L4), be16(head, L4 + 2));
    if snapshot.may_be_here(server) {
        if let Some(listen) = snapshot.plain_listen_v4(server, dport, proto) {
            return Some((Way::In, listen.0, Key::narrow_in_words(client, sport, listen)));
        }
        if snapshot.has_wide_listens() || snapshot.is_own_v4(server) {
            return None;
        }
    }
    let real = snapshot.plain_real_v4(client, sport, proto)?;
    Some((Way::Out, real.0, Key::narrow_out_words(server, dport, real)))
}

/// Whether it is an untagged IPv4 packet with a plain header that is not damaged, not a fragment, and may go on.
#[inline(always)]
fn is_plain(head: &[u8; HEAD]) -> bool {
    const TYPE_AND_VERSION: u32 = u32::from_le_bytes([0x08, 0x00, 0x45, 0]);
    const FRAGMENT: u16 = u16::from_le_bytes([0x3f, 0xff]);
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let flags = u16::from_le_bytes([head[L3 + 6], head[L3 + 7]]);
    let Some(header) = head[L3..].first_chunk() else { return false };
    word(12) & 0xff_ffff == TYPE_AND_VERSION && flags & FRAGMENT == 0 && head[L3 + 8] >= 2 && adds_up(header)
}
