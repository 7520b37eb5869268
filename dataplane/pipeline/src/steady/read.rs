//! From bytes to a lane.

use super::doors::Name;
use super::head::{be16, transport};
use super::six::read_v6;
use super::sum::adds_up;
use super::{HEAD, L3, L4, Lane};
use crate::ids::{ListenId, RealId};
use crate::key::Key;
use crate::snapshot::Snapshot;
use crate::tables::Tables;
use sheave_frame::Frame;
use sheave_proto::wire::eth::ethertype;
use sheave_table::{Bucket, Table};

/// Reads a frame into its lane, and asks for the first bucket of its key. `false` when it is to go the long way.
///
/// PERF: `established/nat-in-16k/64` and `instructions/nat-in-64`. Tests of several bytes at once are one here, in the
/// order of memory.
#[inline(always)]
pub(crate) fn read(lane: &mut Lane, frame: &Frame, snapshot: &Snapshot, tables: &Tables) -> bool {
    let Some(head) = frame.window::<HEAD>() else { return false };
    let ours = head.first_chunk().is_some_and(|to| snapshot.plan().is_for(frame.ingress(), to));
    const IPV4: [u8; 2] = ethertype::IPV4.to_be_bytes();
    const IPV6: [u8; 2] = ethertype::IPV6.to_be_bytes();
    match [head[12], head[13]] {
        _ if !ours => false,
        IPV4 => read_v4(lane, head, frame.len(), (snapshot, tables.narrow)),
        IPV6 => read_v6(lane, frame, snapshot, tables.wide),
        _ => false,
    }
}

/// The same of IPv4, of a frame of `frame_len` bytes.
#[inline(always)]
fn read_v4(
    lane: &mut Lane,
    head: &[u8; HEAD],
    frame_len: usize,
    (snapshot, table): (&Snapshot, &Table<1>),
) -> bool {
    let len = be16(head, L3 + 2);
    if !is_plain(head) || usize::from(len) + L3 > frame_len {
        return false;
    }
    let (proto, room) = (head[L3 + 9], (L4 - L3, len.into()));
    let Some(kind) = transport(proto, room, be16(head, L4 + 4), be16(head, L4 + 12)) else { return false };
    // The packet lies within the frame.
    lane.end = len.wrapping_add(14);
    lane.kind = kind;
    if !flow(lane, head, proto, snapshot) {
        return false;
    }
    lane.hash = table.hash(&lane.narrow());
    lane.spot = table.approach(Bucket::First, lane.hash);
    true
}

/// Notes whose packet it is: under which key, of which listen or real server. `false` when it is nobody's, or that is not plain.
#[inline(always)]
fn flow(lane: &mut Lane, head: &[u8; HEAD], proto: u8, snapshot: &Snapshot) -> bool {
    let plan = snapshot.plan();
    let from = Name::at::<{ L3 + 12 }, L4>(head, proto);
    let to = Name::at::<{ L3 + 16 }, { L4 + 2 }>(head, proto);
    if snapshot.may_be_here(to.addr()) {
        let Some(listen) = plan.listens.get(to) else { return at_length(lane, from, to, snapshot) };
        lane.comes_to(ListenId(listen), from);
    } else {
        let Some(real) = plan.reals.get(from) else { return at_length(lane, from, to, snapshot) };
        lane.comes_from(RealId(real), to);
    }
    true
}

/// The same by all that the snapshot knows.
#[cold]
#[inline(never)]
fn at_length(lane: &mut Lane, from: Name, to: Name, snapshot: &Snapshot) -> bool {
    let proto = lane.kind.proto().number();
    if snapshot.may_be_here(to.addr()) {
        if let Some(listen) = snapshot.plain_listen_v4(to.addr(), to.port(), proto) {
            lane.comes_to(listen, from);
            return true;
        }
        if snapshot.has_wide_listens() || snapshot.is_own_v4(to.addr()) {
            return false;
        }
    }
    let Some(real) = snapshot.plain_real_v4(from.addr(), from.port(), proto) else { return false };
    lane.comes_from(real, to);
    true
}

impl Lane {
    #[inline(always)]
    fn comes_to(&mut self, listen: ListenId, client: Name) {
        self.key[0] = Key::of_client(client.as_client(), listen);
        self.id = listen.0;
    }

    #[inline(always)]
    fn comes_from(&mut self, real: RealId, client: Name) {
        self.key[0] = Key::of_reply(client.as_client(), real);
        self.id = real.0;
        self.kind = self.kind.out();
    }
}

/// Whether it is a packet with a plain header that is not damaged, not a fragment, and may go on.
#[inline(always)]
fn is_plain(head: &[u8; HEAD]) -> bool {
    const FRAGMENT: u16 = u16::from_le_bytes([0x3f, 0xff]);
    let flags = u16::from_le_bytes([head[L3 + 6], head[L3 + 7]]);
    head[L3] == 0x45
        && flags & FRAGMENT == 0
        && head[L3 + 8] >= 2
        && head[L3..].first_chunk().is_some_and(adds_up)
}
