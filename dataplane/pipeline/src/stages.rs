//! The passes over a burst before the one that handles its packets: what each frame is, and where its entry is. They only
//! spare that one its waits for memory, and write nothing but their own notes.
//!
//! A burst is cut into strides, and in every step each pass handles one stride, a later pass an earlier one: what one
//! stride waits for comes while others are worked on.
//!
//! ```text
//!   step        0      1      2      3      4      5      6      7
//!   note        a      b      c      d                                 parse, hash the key once, fetch its first bucket
//!   first              a      b      c      d                          is it there? or else fetch the second bucket
//!   second                    a      b      c      d                   is it there? or else fetch the overflow buckets
//!   overflow                         a      b      c      d            for replies, each fetches the in-entry that it finds
//!   handle                                  a      b      c      d     by the pipeline
//! ```

use crate::entry::Reply;
use crate::packet::Packet;
use crate::parse::{Parsed, parse};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::steady::{self, Class, Lane, Way};
use crate::tables::{Seen, Tables};
use sheave_frame::{BURST, Frame};
use sheave_table::Bucket;
use std::ops::Range;

/// Frames of a stride: enough to hide a wait for memory behind, few enough to stay in registers' reach.
const STRIDE: usize = 16;

/// What the first passes note of a burst, at most [`BURST`] frames of it.
#[derive(Debug)]
pub(crate) struct Stages {
    /// One for each frame, in order.
    pub(crate) lanes: Box<[Lane; BURST]>,
    /// Of the frames whose lane is the long way, in order.
    pub(crate) others: Vec<Parsed>,
    strides: [Stride; BURST / STRIDE],
}

/// What is noted of a stride.
#[derive(Debug, Clone, Copy, Default)]
struct Stride {
    /// The lanes whose entry has not been found yet, a bit each.
    missing: u32,
    /// The lanes that may begin connections, likewise.
    opening: u32,
    /// Where its others begin.
    others: usize,
}

impl Stages {
    /// Steps by which handling is behind the first pass.
    const DEPTH: usize = 4;

    pub(crate) fn new() -> Stages {
        Stages {
            lanes: Box::new([Lane::LONG; BURST]),
            others: Vec::with_capacity(BURST),
            strides: [Stride::default(); BURST / STRIDE],
        }
    }

    /// The steps for the next frames of a burst of `len`.
    #[inline(always)]
    pub(crate) fn steps(&mut self, len: usize) -> Range<usize> {
        self.others.clear();
        0..len.min(BURST).div_ceil(STRIDE) + Stages::DEPTH
    }

    /// The lanes that are to be handled in a step, of a burst of `len`.
    #[inline(always)]
    pub(crate) fn ready(step: usize, len: usize) -> Range<usize> {
        let at = |step: usize| (step.saturating_sub(Stages::DEPTH) * STRIDE).min(len).min(BURST);
        at(step)..at(step + 1)
    }

    /// Notes a step's stride of the frames.
    #[inline(always)]
    pub(crate) fn note(&mut self, step: usize, frames: &[Frame], snapshot: &Snapshot, tables: &Tables) {
        let (lanes, _) = self.lanes.as_chunks_mut();
        let (Some(stride), Some(lanes)) = (self.strides.get_mut(step), lanes.get_mut(step)) else { return };
        let frames = frames.get(step * STRIDE..).unwrap_or_default();
        *stride = Stride { others: self.others.len(), ..Stride::default() };
        if !frames.is_empty() {
            (stride.missing, stride.opening) = note(lanes, frames, snapshot, tables, &mut self.others);
        }
    }

    /// Looks for entries, a step further for each stride.
    #[inline(always)]
    pub(crate) fn find(&mut self, step: usize, snapshot: &Snapshot, tables: &Tables) {
        let (lanes, _) = self.lanes.as_chunks_mut();
        for (behind, look) in [(3, overflow as fn(&mut Lanes, u32, &Tables) -> u32), (2, second), (1, first)]
        {
            let at = step.wrapping_sub(behind);
            if let (Some(stride), Some(lanes)) = (self.strides.get_mut(at), lanes.get_mut(at))
                && stride.missing != 0
            {
                stride.missing = look(lanes, stride.missing, tables);
            }
        }
        if let (Some(stride), Some(lanes)) =
            (self.strides.get(step.wrapping_sub(1)), lanes.get(step.wrapping_sub(1)))
            && stride.opening != 0
        {
            foresee(lanes, stride.opening, snapshot, tables);
        }
        if !self.others.is_empty() {
            self.find_others(step.wrapping_sub(1), tables);
        }
    }

    /// The same for the packets that go the long way.
    #[inline(never)]
    fn find_others(&mut self, stride: usize, tables: &Tables) {
        let Some(Stride { others: from, .. }) = self.strides.get(stride) else { return };
        let end = self.strides.get(stride + 1).map_or(self.others.len(), |next| next.others);
        if let Some(others) = self.others.get_mut(*from..end) {
            find_others(others, tables);
        }
    }
}

/// The lanes of a stride.
type Lanes = [Lane; STRIDE];

/// The first pass over a stride. Says which lanes have an entry to be found, and which may begin a connection, a bit each.
///
/// Each pass is a function of its own, so that it has the registers for itself.
#[inline(never)]
fn note(
    lanes: &mut Lanes,
    frames: &[Frame],
    snapshot: &Snapshot,
    tables: &Tables,
    others: &mut Vec<Parsed>,
) -> (u32, u32) {
    let (mut short, mut opening) = (0, 0);
    for (n, (lane, frame)) in lanes.iter_mut().zip(frames).enumerate() {
        if steady::read(lane, frame, snapshot, tables.narrow) {
            tables.narrow.prefetch(Bucket::First, lane.hash);
            short |= 1 << n;
            if lane.class == Class::Loud {
                opening |= 1 << n;
            }
        } else if steady::read_v6(lane, frame, snapshot, tables.wide) {
            tables.wide.prefetch(Bucket::First, lane.hash);
            short |= 1 << n;
        } else {
            lane.way = Way::Long;
            others.push(note_other(frame, snapshot, tables));
        }
    }
    (short, opening)
}

/// The same for the long way. A function of its own, so that the short one keeps the registers.
#[inline(never)]
fn note_other(frame: &Frame, snapshot: &Snapshot, tables: &Tables) -> Parsed {
    let Some(interface) = snapshot.interface(frame.ingress()) else {
        return Parsed::Decided(Reason::NotOurs);
    };
    let parsed = parse(frame.bytes(), interface, snapshot, tables);
    if let Parsed::Inbound(packet, _) | Parsed::Outbound(packet, _) = &parsed {
        tables.prefetch(&packet.key, packet.hash);
    }
    parsed
}

/// The pass that looks into first buckets.
#[inline(never)]
fn first(lanes: &mut Lanes, missing: u32, tables: &Tables) -> u32 {
    let missing = look(lanes, missing, tables, Bucket::First);
    ask(lanes, missing, tables, &[Bucket::Second]);
    missing
}

/// The pass that looks into second buckets.
#[inline(never)]
fn second(lanes: &mut Lanes, missing: u32, tables: &Tables) -> u32 {
    let missing = look(lanes, missing, tables, Bucket::Second);
    if tables.narrow.overflowed() + tables.wide.overflowed() == 0 {
        return 0;
    }
    ask(lanes, missing, tables, &[Bucket::Third, Bucket::Fourth]);
    missing
}

/// The pass that looks into overflow buckets.
#[inline(never)]
fn overflow(lanes: &mut Lanes, missing: u32, tables: &Tables) -> u32 {
    let missing = look(lanes, missing, tables, Bucket::Third);
    look(lanes, missing, tables, Bucket::Fourth)
}

/// Looks for the entries that are missing in one of their buckets. Says which are not there.
///
/// PERF: `established/*`. Whether an entry is there, nobody can predict: it is noted without a branch.
#[inline(always)]
fn look(lanes: &mut Lanes, missing: u32, tables: &Tables, bucket: Bucket) -> u32 {
    let mut not_there = 0;
    for n in Bits(missing) {
        let lane = &mut lanes[n % STRIDE];
        let (spot, payload) = if lane.way.is_v6() {
            tables.wide.glance(bucket, &lane.key, lane.hash)
        } else {
            tables.narrow.glance(bucket, &lane.narrow(), lane.hash)
        };
        lane.spot = spot;
        not_there |= u32::from(spot.is_nowhere()) << n;
        if lane.way.is_out() {
            tables.prefetch_place(Reply::from(payload).of);
        }
    }
    not_there
}

/// Fetches ahead what packets that may begin connections will ask for: where the entries of the connections are that their
/// addresses and ports had before.
#[cold]
#[inline(never)]
fn foresee(lanes: &Lanes, opening: u32, snapshot: &Snapshot, tables: &Tables) {
    for n in Bits(opening) {
        let lane = &lanes[n % STRIDE];
        tables.narrow.prefetch(Bucket::Second, lane.hash);
        if let Some(reply) = lane.reply_before(snapshot, tables) {
            tables.narrow.prefetch(Bucket::First, reply);
            tables.narrow.prefetch(Bucket::Second, reply);
        }
    }
}

/// Fetches buckets of lanes ahead.
#[inline(always)]
fn ask(lanes: &Lanes, of: u32, tables: &Tables, buckets: &[Bucket]) {
    for n in Bits(of) {
        let lane = &lanes[n % STRIDE];
        for bucket in buckets {
            if lane.way.is_v6() {
                tables.wide.prefetch(*bucket, lane.hash);
            } else {
                tables.narrow.prefetch(*bucket, lane.hash);
            }
        }
    }
}

/// The numbers of the bits that are set, from below.
struct Bits(u32);

impl Iterator for Bits {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let at = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(at)
    }
}

/// Looks for the entries of packets that go the long way, and notes them there.
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
