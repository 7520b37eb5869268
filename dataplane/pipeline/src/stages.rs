//! The first two passes over a burst: what each frame is, and where its entry is. They only spare the third pass its
//! waits for memory, and write nothing but their own notes.

use crate::entry::Reply;
use crate::packet::Packet;
use crate::parse::{Parsed, parse};
use crate::reason::Reason;
use crate::snapshot::{Interface, Snapshot};
use crate::steady::{self, Lane, Way};
use crate::tables::{Seen, Tables};
use sheave_frame::{BURST, Burst, Frame};

/// What the first passes note of a burst, at most [`BURST`] frames of it.
#[derive(Debug)]
pub(crate) struct Stages {
    /// One for each frame, in order.
    pub(crate) lanes: Vec<Lane>,
    /// Of the frames whose lane is the long way, in order.
    pub(crate) others: Vec<Parsed>,
}

impl Stages {
    pub(crate) fn new() -> Stages {
        Stages { lanes: Vec::with_capacity(BURST), others: Vec::with_capacity(BURST) }
    }

    /// Notes the next frames of `burst`:
    ///
    /// 1. parse every frame, hash its key once, fetch its first bucket ahead;
    /// 2. find the entry there, or fetch the second bucket and find it there; for replies, fetch the in-entry.
    #[inline(always)]
    pub(crate) fn note(&mut self, burst: &Burst, snapshot: &Snapshot, tables: &Tables) {
        self.lanes.clear();
        self.others.clear();
        let Stages { lanes, others } = self;
        lanes.extend(burst.iter().take(BURST).map(|frame| note(frame, snapshot, tables, others)));
        find_lanes(lanes, tables);
        if !others.is_empty() {
            find_others(others, tables);
        }
    }
}

/// The first pass over one frame.
#[inline(always)]
fn note(frame: &Frame, snapshot: &Snapshot, tables: &Tables, others: &mut Vec<Parsed>) -> Lane {
    let bytes = frame.bytes();
    let Some(interface) = snapshot.interface(frame.ingress()) else {
        others.push(Parsed::Decided(Reason::NotOurs));
        return Lane::long();
    };
    if let Some(lane) = steady::read(bytes, interface, snapshot, tables.narrow) {
        tables.narrow.prefetch(lane.hash);
        return lane;
    }
    others.push(note_other(bytes, interface, snapshot, tables));
    Lane::long()
}

/// The same for the long way. A function of its own, so that the short one keeps the registers.
#[inline(never)]
fn note_other(bytes: &[u8], interface: &Interface, snapshot: &Snapshot, tables: &Tables) -> Parsed {
    let parsed = parse(bytes, interface, snapshot, tables);
    if let Parsed::Inbound(packet, _) | Parsed::Outbound(packet, _) = &parsed {
        tables.prefetch(&packet.key, packet.hash);
    }
    parsed
}

/// The second pass over lanes.
#[inline(always)]
fn find_lanes(lanes: &mut [Lane], tables: &Tables) {
    let table = tables.narrow;
    let mut missed = false;
    let note = |lane: &mut Lane, found: Option<sheave_table::Found>| {
        let Some(found) = found else { return false };
        lane.handle = found.handle;
        lane.found = true;
        if lane.way == Way::Out {
            tables.prefetch_place(Reply::from(found.payload).of);
        }
        true
    };
    for lane in lanes.iter_mut().filter(|lane| lane.way != Way::Long) {
        if !note(lane, table.find_first(&[lane.key], lane.hash)) {
            table.prefetch_second(lane.hash);
            missed = true;
        }
    }
    if missed {
        for lane in lanes.iter_mut().filter(|lane| lane.way != Way::Long && !lane.found) {
            note(lane, table.find_second(&[lane.key], lane.hash));
        }
    }
}

/// The same over the packets that go the long way.
#[inline(never)]
fn find_others(others: &mut [Parsed], tables: &Tables) {
    let mut missed = false;
    for parsed in others.iter_mut() {
        let Some((packet, reply)) = flow(parsed) else { continue };
        match tables.find_first(&packet.key, packet.hash) {
            Some(seen) => hint(packet, seen, reply, tables),
            None => missed = true,
        }
    }
    if !missed {
        return;
    }
    for parsed in others.iter_mut() {
        let Some((packet, reply)) = flow(parsed) else { continue };
        if packet.hint.is_none()
            && let Some(seen) = tables.find_second(&packet.key, packet.hash)
        {
            hint(packet, seen, reply, tables);
        }
    }
}

/// The packet of a flow, and whether it is a reply.
#[inline(always)]
fn flow(parsed: &mut Parsed) -> Option<(&mut Packet, bool)> {
    match parsed {
        Parsed::Inbound(packet, _) => Some((packet, false)),
        Parsed::Outbound(packet, _) => Some((packet, true)),
        _ => None,
    }
}

#[inline(always)]
fn hint(packet: &mut Packet, seen: Seen, reply: bool, tables: &Tables) {
    packet.hint = Some(seen.place);
    if reply {
        tables.prefetch_place(Reply::from(seen.payload).of);
    }
}
