//! From bytes to a lane.

use super::{HEAD, L3, L4, Lane, Way};
use crate::head::{be16, be32, transport};
use crate::key::Key;
use crate::snapshot::{Interface, Snapshot};
use sheave_proto::wire::tcp::TcpFlags;
use sheave_table::{Handle, Table};
use std::net::Ipv4Addr;

/// Flags that change the state of an established connection.
const CHANGES: u8 = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;

/// Reads a frame that came in on `interface`, as far as it may go the short way.
///
/// PERF: `established/nat-in-16k/64` and `instructions/nat-in-64`. Tests of several bytes at once are one here.
#[inline(always)]
pub(crate) fn read(
    bytes: &[u8],
    interface: &Interface,
    snapshot: &Snapshot,
    table: &Table<1>,
) -> Option<Lane> {
    const TYPE_AND_VERSION: u32 = 0x0008_0045;
    let head = bytes.first_chunk::<HEAD>()?;
    let ours = head[..6] == interface.mac.0 && be32(head, 12) >> 8 == TYPE_AND_VERSION;
    let len = be16(head, L3 + 2);
    let whole = be16(head, L3 + 6) & 0x3fff == 0 && usize::from(len) + L3 <= bytes.len();
    if !ours || !whole || head[L3 + 8] < 2 || !checksum_ok(head) {
        return None;
    }
    let segment = usize::from(len).checked_sub(L4 - L3)?;
    let (proto, flags) = transport(head[L3 + 9], segment, be16(head, L4 + 4), be16(head, L4 + 12))?;
    let (src, dst) = (be32(head, L3 + 12), be32(head, L3 + 16));
    let (sport, dport) = (be16(head, L4), be16(head, L4 + 2));
    let (client, server) = (Ipv4Addr::from_bits(src), Ipv4Addr::from_bits(dst));
    let lane = |way: Way, id: u16, key: [u64; 1]| Lane {
        key: key[0],
        hash: table.hash(&key),
        handle: Handle::from_bits(0),
        len,
        id,
        way,
        proto,
        quiet: flags.0 & CHANGES == 0,
        found: false,
    };
    if snapshot.may_be_here(server) {
        if let Some(listen) = snapshot.plain_listen_v4(server, dport, proto) {
            return Some(lane(Way::In, listen.0, Key::narrow_in_words(client, sport, listen)));
        }
        if snapshot.has_wide_listens() || snapshot.is_own_v4(server) {
            return None;
        }
    }
    let real = snapshot.plain_real_v4(client, sport, proto)?;
    Some(lane(Way::Out, real.0, Key::narrow_out_words(server, dport, real)))
}

/// Whether the header's words sum to all ones.
#[inline(always)]
fn checksum_ok(head: &[u8; HEAD]) -> bool {
    let word = |at: usize| u64::from(be32(head, L3 + at));
    let sum = word(0) + word(4) + word(8) + word(12) + word(16);
    // Not all bytes are zero, so that the sum modulo 0xffff is all ones in one spelling only.
    sum % 0xffff == 0
}
