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

use crate::entry::{Reply, Steady};
use crate::packet::Packet;
use crate::parse::{Parsed, parse};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::steady::{self, Kind, Lane};
use crate::tables::{Seen, Tables};
use sheave_frame::{BURST, Frame};
use sheave_table::{Bucket, Spot};
use std::ops::Range;

/// Frames of a stride: enough to hide a wait for memory behind, few enough to stay in registers' reach.
const STRIDE: usize = 16;

/// All is noted before anything is handled, and leaves the burst.
const _: () = assert!(BURST / STRIDE <= Stages::DEPTH);

/// What the first passes note of a burst, at most [`BURST`] frames of it.
#[derive(Debug)]
pub(crate) struct Stages {
    /// One for each frame, in order.
    pub(crate) lanes: Box<[Lane; BURST]>,
    /// Of the frames whose lane is the long way, in order.
    pub(crate) others: Vec<Parsed>,
    /// How many frames there are.
    len: usize,
    strides: [Stride; BURST / STRIDE],
}

/// What is noted of a stride.
#[derive(Debug, Clone, Copy, Default)]
struct Stride {
    /// How many lanes it has.
    len: usize,
    /// The lanes whose entry has not been found yet, a bit each.
    missing: u32,
    /// Whether a lane may begin a connection.
    opening: bool,
    /// From where to where its others are.
    others: (usize, usize),
}

impl Stages {
    /// Steps by which handling is behind the first pass.
    const DEPTH: usize = 4;

    pub(crate) fn new() -> Stages {
        Stages {
            lanes: Box::new([Lane::LONG; BURST]),
            others: Vec::with_capacity(BURST),
            len: 0,
            strides: [Stride::default(); BURST / STRIDE],
        }
    }

    /// The steps for the next frames of a burst of `len`. Those of one stride take one step: there is nothing to hide a wait
    /// behind, and a single packet waits for nothing else.
    #[inline(always)]
    pub(crate) fn steps(&mut self, len: usize) -> Range<usize> {
        self.others.clear();
        self.len = len.min(BURST);
        let strides = self.len.div_ceil(STRIDE);
        if strides == 1 { Stages::DEPTH..Stages::DEPTH + 1 } else { 0..strides + Stages::DEPTH }
    }

    /// Does a step, and gives the lanes that are to be handled in it. `frames` are all of the burst, less those that have been
    /// handled: of these nothing is to be noted any more.
    #[inline(always)]
    pub(crate) fn step(
        &mut self,
        step: usize,
        frames: &[Frame],
        snapshot: &Snapshot,
        tables: &Tables,
    ) -> Range<usize> {
        let len = self.len;
        if len <= STRIDE {
            self.note(0, frames, snapshot, tables);
            self.first(0, snapshot, tables);
            self.look(0, second, tables);
            self.look(0, overflow, tables);
            return 0..len;
        }
        self.note(step, frames, snapshot, tables);
        self.look(step.wrapping_sub(3), overflow, tables);
        self.look(step.wrapping_sub(2), second, tables);
        self.first(step.wrapping_sub(1), snapshot, tables);
        let at = |step: usize| (step.saturating_sub(Stages::DEPTH) * STRIDE).min(len);
        at(step)..at(step + 1)
    }

    /// Notes a stride, or that it has no frames.
    #[inline(always)]
    fn note(&mut self, stride: usize, frames: &[Frame], snapshot: &Snapshot, tables: &Tables) {
        let (lanes, _) = self.lanes.as_chunks_mut::<STRIDE>();
        let (Some(noted), Some(lanes)) = (self.strides.get_mut(stride), lanes.get_mut(stride)) else {
            return;
        };
        let end = self.len.min((stride + 1) * STRIDE);
        let frames = frames.get(stride * STRIDE..end).unwrap_or_default();
        let others = self.others.len();
        *noted = Stride { len: frames.len(), ..Stride::default() };
        if let Some(lanes) = lanes.get_mut(..frames.len())
            && !lanes.is_empty()
        {
            noted.opening = note(lanes, frames, snapshot, tables, &mut self.others);
            noted.others = (others, self.others.len());
        }
    }

    /// Looks into the first buckets of a stride's keys.
    #[inline(always)]
    fn first(&mut self, stride: usize, snapshot: &Snapshot, tables: &Tables) {
        let (lanes, _) = self.lanes.as_chunks_mut::<STRIDE>();
        let (Some(noted), Some(lanes)) = (self.strides.get_mut(stride), lanes.get_mut(stride)) else {
            return;
        };
        let Some(lanes) = lanes.get_mut(..noted.len) else { return };
        noted.missing = first(lanes, tables);
        if noted.opening {
            foresee(lanes, snapshot, tables);
        }
        if !self.others.is_empty() {
            self.find_others(stride, tables);
        }
    }

    /// Looks for the entries of a stride that are missing.
    #[inline(always)]
    fn look(&mut self, stride: usize, look: fn(&mut Lanes, u32, &Tables) -> u32, tables: &Tables) {
        let (lanes, _) = self.lanes.as_chunks_mut();
        if let (Some(noted), Some(lanes)) = (self.strides.get_mut(stride), lanes.get_mut(stride))
            && noted.missing != 0
        {
            noted.missing = look(lanes, noted.missing, tables);
        }
    }

    /// The same for the packets that go the long way.
    #[inline(never)]
    fn find_others(&mut self, stride: usize, tables: &Tables) {
        let Some(Stride { others: (from, to), .. }) = self.strides.get(stride) else { return };
        if let Some(others) = self.others.get_mut(*from..*to) {
            find_others(others, tables);
        }
    }
}

/// The lanes of a stride.
type Lanes = [Lane; STRIDE];

/// The first pass over a stride. Says whether one of the lanes may begin a connection.
///
/// Each pass is a function of its own, so that it has the registers for itself.
#[inline(never)]
fn note(
    lanes: &mut [Lane],
    frames: &[Frame],
    snapshot: &Snapshot,
    tables: &Tables,
    others: &mut Vec<Parsed>,
) -> bool {
    let mut kinds = Kind::TCP_IN;
    let mut frames = frames.iter();
    for lane in lanes {
        // PERF: `instructions/*`. Not `zip`, which counts the pairs instead of walking along both.
        let Some(frame) = frames.next() else { break };
        if steady::read(lane, frame, snapshot, tables) {
            kinds = kinds.or(lane.kind);
        } else {
            lane.kind = Kind::LONG;
            others.push(note_other(frame, snapshot, tables));
        }
    }
    kinds.is_loud()
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

/// The pass that looks into first buckets. Says which entries are not there, a bit each.
///
/// PERF: `established/*`. Whether an entry is there, nobody can predict: it is noted without a branch.
#[inline(never)]
fn first(lanes: &mut [Lane], tables: &Tables) -> u32 {
    // From behind, so that the bit of the first lane comes to lie lowest.
    let missing =
        lanes.iter_mut().rev().fold(0, |missing, lane| (missing << 1) | u32::from(!glance(lane, tables)));
    ask(lanes, missing, tables, Bucket::Second);
    missing
}

/// The pass that looks into second buckets.
#[inline(never)]
fn second(lanes: &mut Lanes, missing: u32, tables: &Tables) -> u32 {
    let missing = look(lanes, missing, tables);
    if tables.narrow.overflowed() + tables.wide.overflowed() == 0 {
        forget(lanes, missing);
        return 0;
    }
    ask(lanes, missing, tables, Bucket::Fourth);
    ask(lanes, missing, tables, Bucket::Third);
    missing
}

/// The pass that looks into overflow buckets.
#[inline(never)]
fn overflow(lanes: &mut Lanes, missing: u32, tables: &Tables) -> u32 {
    let missing = look(lanes, missing, tables);
    ask(lanes, missing, tables, Bucket::Fourth);
    let missing = look(lanes, missing, tables);
    forget(lanes, missing);
    missing
}

/// Notes that entries are nowhere.
#[inline(always)]
fn forget(lanes: &mut Lanes, missing: u32) {
    Bits(missing).for_each(|n| lanes[n % STRIDE].spot = Spot::NOWHERE);
}

/// Looks for the entries that are missing. Says which are not there.
#[inline(always)]
fn look(lanes: &mut Lanes, missing: u32, tables: &Tables) -> u32 {
    Bits(missing)
        .fold(0, |not_there, n| not_there | (u32::from(!glance(&mut lanes[n % STRIDE], tables)) << n))
}

/// Looks for the entry of a lane in the bucket that was asked for. Whether it is there, or never will be.
#[inline(always)]
fn glance(lane: &mut Lane, tables: &Tables) -> bool {
    if !lane.kind.is_narrow() {
        return glance_wide(lane, tables);
    }
    let found = tables.narrow.glance(&mut lane.spot, &[lane.key[0]]);
    if lane.kind.is_out() {
        tables.narrow.prefetch_handle(Steady::named(lane.spot.hint()));
    }
    found
}

/// The same of all others: of IPv6, or none at all.
#[inline(never)]
fn glance_wide(lane: &mut Lane, tables: &Tables) -> bool {
    if !lane.kind.is_v6() {
        return true;
    }
    let found = tables.wide.glance(&mut lane.spot, &lane.key);
    if lane.kind.is_out() {
        tables.wide.prefetch_handle(Steady::named(lane.spot.hint()));
    }
    found
}

/// Fetches ahead what packets that may begin connections will ask for: where the entries of the connections are that their
/// addresses and ports had before.
#[cold]
#[inline(never)]
fn foresee(lanes: &[Lane], snapshot: &Snapshot, tables: &Tables) {
    for lane in lanes.iter().filter(|lane| lane.kind.is_narrow() && lane.kind.may_open()) {
        tables.narrow.prefetch(Bucket::Second, lane.hash);
        if let Some(reply) = lane.reply_before(snapshot, tables) {
            tables.narrow.prefetch(Bucket::First, reply);
            tables.narrow.prefetch(Bucket::Second, reply);
        }
    }
}

/// Asks for a bucket of lanes.
#[inline(always)]
fn ask(lanes: &mut [Lane], of: u32, tables: &Tables, bucket: Bucket) {
    for n in Bits(of) {
        let Some(lane) = lanes.get_mut(n) else { return };
        lane.spot = if lane.kind.is_v6() {
            tables.wide.approach(bucket, lane.hash)
        } else {
            tables.narrow.approach(bucket, lane.hash)
        };
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
