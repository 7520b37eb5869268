//! What holds of datagrams and of frames held back, for any traffic and any number of workers.

use super::datagrams::{Datagrams, Decision, Fate, PIECES};
use super::{Arrived, DatagramKey, Early, Piece, Refused, Settled};
use crate::time::Time;
use proptest::prelude::*;
use sheave_frame::{Frame, FrameId, FramePool, PoolId};
use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};

const NOW: Time = Time(7 * Time::SECOND);

fn key(n: u16) -> DatagramKey {
    DatagramKey::v4(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 18, 0, 100), 17, n)
}

/// Units `start..end`.
fn piece(start: usize, end: usize, last: bool) -> Piece {
    Piece::new(start * 8, (end - start) * 8, !last, 20).expect("in order by itself")
}

fn pool(frames: u32) -> FramePool {
    let frame = |n| Frame::new(Box::leak(vec![0; 512].into_boxed_slice()), FrameId(n), PoolId(0));
    FramePool::new(PoolId(0), (0..frames).map(frame).collect(), 0)
}

/// A frame that says which fragment it is.
fn frame(pool: &mut FramePool, mark: [u8; 2]) -> Frame {
    let mut frame = pool.alloc().expect("a free frame");
    frame.fill(&mark).expect("room");
    frame
}

#[test]
fn what_is_wrong_by_itself_is_no_piece() {
    for (offset, len, more, before, expected) in [
        (0, 0, true, 20, Some(Refused::Uneven)),
        (0, 0, false, 20, Some(Refused::Uneven)),
        (0, 1479, true, 20, Some(Refused::Uneven)),
        (1480, 1479, false, 20, None),
        (1480, 1480, true, 20, None),
        (65_528, 7, false, 0, None),
        (65_528, 8, false, 0, Some(Refused::TooLong)),
        (65_528, 7, false, 20, Some(Refused::TooLong)),
        (65_504, 11, false, 20, None),
        (65_504, 12, false, 20, Some(Refused::TooLong)),
        (65_472, 40, true, 24, Some(Refused::TooLong)),
    ] {
        let made = Piece::new(offset, len, more, before);
        assert_eq!(made.err(), expected, "{len} at {offset}, {before} before");
    }
}

#[test]
fn transport_headers_lie_in_the_first_fragment_whole() {
    let mut tcp = [0u8; 24];
    tcp[12] = 6 << 4;
    let first = piece(0, 3, false);
    assert_eq!(first.check_transport(6, &tcp), Ok(()));
    assert_eq!(first.check_transport(6, &tcp[..16]), Err(Refused::Tiny));
    tcp[12] = 7 << 4;
    assert_eq!(first.check_transport(6, &tcp), Err(Refused::Tiny));
    // What lies behind the first fragment leaves twenty bytes free.
    assert_eq!(piece(1, 3, true).check_transport(6, &[0; 16]), Err(Refused::Tiny));
    assert_eq!(piece(2, 3, true).check_transport(6, &[0; 8]), Err(Refused::Tiny));
    assert_eq!(piece(3, 4, true).check_transport(6, &[0; 8]), Ok(()));
    assert_eq!(piece(0, 1, false).check_transport(17, &[0; 8]), Ok(()));
    assert_eq!(piece(1, 2, true).check_transport(17, &[0; 8]), Ok(()));
    assert_eq!(piece(1, 2, true).check_transport(1, &[0; 8]), Ok(()));
}

#[test]
fn keys_tell_datagrams_apart() {
    let (a, b): (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(0, 0, 0, 1), Ipv4Addr::new(0, 0, 0, 2));
    let (a6, b6): (Ipv6Addr, Ipv6Addr) = ("::1".parse().expect("one"), "::2".parse().expect("two"));
    let far: Ipv6Addr = "1::1".parse().expect("another");
    let keys = HashSet::from([
        DatagramKey::v4(a, b, 17, 1),
        DatagramKey::v4(b, a, 17, 1),
        DatagramKey::v4(a, b, 6, 1),
        DatagramKey::v4(a, b, 17, 2),
        DatagramKey::v6(a6, b6, 1),
        DatagramKey::v6(b6, a6, 1),
        DatagramKey::v6(far, b6, 1),
        DatagramKey::v6(a6, far, 1),
        DatagramKey::v6(a6, b6, 0x0001_0001),
    ]);
    assert_eq!(keys.len(), 9);
}

#[test]
fn a_datagram_is_over_when_all_of_it_was_handled() {
    let datagrams = Datagrams::new(4, 1);
    let arrive = |piece| datagrams.arrive(&key(1), piece, NOW).expect("admitted");
    let (last, _) = arrive(piece(4, 5, true));
    let (first, decision) = arrive(piece(0, 2, false));
    assert_eq!(decision, None);
    assert_eq!(datagrams.fate(&last), Fate::Open);
    datagrams.decide(&first, Decision::new(0xABCD_EF01_2345));
    datagrams.handled(&first);
    assert_eq!(datagrams.fate(&last), Fate::Decided(Decision::new(0xABCD_EF01_2345)));
    datagrams.handled(&last);
    let (middle, decision) = arrive(piece(2, 4, false));
    assert_eq!(decision, Some(Decision::new(0xABCD_EF01_2345)));
    assert_eq!(datagrams.len(), 1);
    datagrams.handled(&middle);
    assert!(datagrams.is_empty());
    // The same identification is another datagram now, and knows nothing of the one before.
    let (again, decision) = arrive(piece(1, 5, true));
    assert_eq!(decision, None);
    assert_eq!(datagrams.fate(&again), Fate::Open);
    assert_eq!(datagrams.fate(&middle), Fate::Refused(Refused::Unmatched));
}

#[test]
fn a_datagram_lives_thirty_seconds_not_less_and_hardly_more() {
    let datagrams = Datagrams::new(4, 1);
    let (first, _) = datagrams.arrive(&key(1), piece(0, 1, false), NOW).expect("admitted");
    datagrams.decide(&first, Decision::new(5));
    let (_, decision) =
        datagrams.arrive(&key(1), piece(1, 2, false), NOW.after(30 * Time::SECOND)).expect("in time");
    assert_eq!(decision, Some(Decision::new(5)));
    let (_, decision) =
        datagrams.arrive(&key(1), piece(2, 3, false), NOW.after(31 * Time::SECOND)).expect("anew");
    assert_eq!(decision, None);
    // A clock that is behind makes nothing old.
    assert_eq!(datagrams.arrive(&key(1), piece(2, 3, false), NOW).err(), Some(Refused::Duplicate));
    assert_eq!(datagrams.len(), 1);
}

#[test]
fn too_many_fragments_end_their_datagram() {
    let datagrams = Datagrams::new(4, 1);
    for n in 0..PIECES {
        datagrams.arrive(&key(1), piece(n, n + 1, false), NOW).expect("admitted");
    }
    for n in PIECES..PIECES + 3 {
        assert_eq!(datagrams.arrive(&key(1), piece(n, n + 1, false), NOW).err(), Some(Refused::TooMany));
    }
    // Others are not touched.
    datagrams.arrive(&key(2), piece(0, 1, false), NOW).expect("admitted");
}

#[test]
fn where_there_is_no_room_the_newest_gets_it() {
    let datagrams = Datagrams::new(64, 1);
    for n in 0..10_000 {
        let (first, _) = datagrams.arrive(&key(n), piece(0, 1, false), NOW).expect("admitted");
        datagrams.decide(&first, Decision::new(n.into()));
        // Those that began just before are still known, with what was decided about each.
        for back in 0..n.min(32) {
            let before = n - back;
            let at = usize::from(back) + 1;
            let (_, decision) = datagrams.arrive(&key(before), piece(at, at + 1, false), NOW).expect("known");
            assert_eq!(decision, Some(Decision::new(before.into())), "{back} before {n}");
        }
        assert!(datagrams.len() <= 64);
    }
}

/// A datagram in the slow and obvious way: unit by unit.
#[derive(Debug, Default)]
struct Model {
    pieces: Vec<(usize, usize, bool)>,
    units: HashSet<usize>,
    end: Option<usize>,
    handled: usize,
    decision: Option<Decision>,
    overlapped: bool,
}

impl Model {
    fn arrive(&mut self, (start, end, last): (usize, usize, bool)) -> Result<Option<Decision>, Refused> {
        if self.overlapped {
            return Err(Refused::Overlap);
        }
        if self.pieces.contains(&(start, end, last)) {
            return Err(Refused::Duplicate);
        }
        let limit = self.end.into_iter().chain(last.then_some(end)).min().unwrap_or(usize::MAX);
        let beyond = end > limit || self.units.iter().any(|unit| *unit >= limit);
        if beyond || (start..end).any(|unit| self.units.contains(&unit)) {
            self.overlapped = true;
            return Err(Refused::Overlap);
        }
        self.units.extend(start..end);
        self.end = self.end.or(last.then_some(end));
        self.pieces.push((start, end, last));
        Ok(self.decision)
    }
}

/// Start, length and "last" of a piece of a small datagram.
fn place(starts: usize, lens: usize) -> impl Strategy<Value = (usize, usize, bool)> {
    (0..starts, 1..lens, prop::bool::weighted(0.3))
}

proptest! {
    #[test]
    fn datagrams_are_what_the_model_says(
        events in prop::collection::vec((0u16..3, place(6, 4), any::<bool>()), 1..60),
    ) {
        let datagrams = Datagrams::new(8, 3);
        let mut model: HashMap<u16, Model> = HashMap::new();
        for (step, (id, (start, len, last), handle)) in (0u64..).zip(events) {
            let end = start + len;
            let arrived = datagrams.arrive(&key(id), piece(start, end, last), NOW);
            let expected = model.entry(id).or_default();
            let outcome = expected.arrive((start, end, last));
            prop_assert_eq!(arrived.map(|(_, decision)| decision), outcome);
            let Ok((arrived, _)) = arrived else { continue };
            if start == 0 {
                datagrams.decide(&arrived, Decision::new(step));
                expected.decision = Some(Decision::new(step));
            }
            let fate = expected.decision.map_or(Fate::Open, Fate::Decided);
            prop_assert_eq!(datagrams.fate(&arrived), fate);
            if handle {
                datagrams.handled(&arrived);
                expected.handled += len;
                if expected.end == Some(expected.handled) {
                    model.remove(&id);
                }
            }
            prop_assert_eq!(datagrams.len(), model.len());
        }
    }

    #[test]
    fn relations_are_those_of_sets(a in place(9, 5), b in place(9, 5)) {
        let (a, b) = ((a.0, a.0 + a.1, a.2), (b.0, b.0 + b.1, b.2));
        let mut model = Model::default();
        model.arrive(a).expect("alone");
        let expected = model.arrive(b).err();
        let datagrams = Datagrams::new(1, 1);
        datagrams.arrive(&key(1), piece(a.0, a.1, a.2), NOW).expect("alone");
        prop_assert_eq!(datagrams.arrive(&key(1), piece(b.0, b.1, b.2), NOW).err(), expected);
    }

    /// Datagrams of six fragments, each fragment on any of three workers, in any order, some twice: every one
    /// gets what was decided about its own datagram, once, and no frame is lost.
    #[test]
    fn all_fragments_of_a_datagram_go_one_way(
        order in Just((0u8..36).collect::<Vec<_>>()).prop_shuffle(),
        workers in prop::collection::vec(0usize..3, 36),
        twice in prop::collection::vec(prop::bool::weighted(0.2), 36),
    ) {
        let mut world = World::new(3, 80);
        for (fragment, (worker, twice)) in order.iter().zip(workers.iter().zip(&twice)) {
            world.receive(*worker, [fragment / 6, fragment % 6]);
            if *twice {
                world.receive((*worker + 1) % 3, [fragment / 6, fragment % 6]);
            }
        }
        world.look_again();
        let all: HashSet<_> = (0..6).flat_map(|datagram| (0..6).map(move |n| [datagram, n])).collect();
        prop_assert_eq!(world.sent.iter().map(|(mark, _)| *mark).collect::<HashSet<_>>(), all);
        for (mark, decision) in &world.sent {
            prop_assert_eq!(decision.bits(), u64::from(mark[0]));
        }
        // What is left are copies that came after all else of their datagram was handled.
        world.pass(2 * Time::SECOND);
        prop_assert_eq!(world.pool.free(), world.pool.total());
        prop_assert!(world.early.iter().all(|early| early.len() == 0));
    }
}

/// Workers that share datagrams, and what they do with fragments.
struct World {
    datagrams: Datagrams,
    early: Vec<Early>,
    pool: FramePool,
    now: Time,
    sent: Vec<([u8; 2], Decision)>,
    refused: Vec<([u8; 2], Refused)>,
}

impl World {
    fn new(workers: usize, frames: u32) -> World {
        World {
            datagrams: Datagrams::new(16, 9),
            early: (0..workers).map(|_| Early::new()).collect(),
            pool: pool(frames),
            now: NOW,
            sent: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// A fragment of two units, the last of six one of a datagram.
    fn receive(&mut self, worker: usize, mark: [u8; 2]) {
        let at = usize::from(mark[1]) * 2;
        self.receive_piece(worker, mark, piece(at, at + 2, mark[1] == 5));
    }

    fn receive_piece(&mut self, worker: usize, mark: [u8; 2], piece: Piece) {
        let frame = frame(&mut self.pool, mark);
        match self.datagrams.arrive(&key(mark[0].into()), piece, self.now) {
            Err(why) => self.drop(frame, why),
            Ok((arrived, _)) if piece.is_first() => {
                let decision = Decision::new(mark[0].into());
                self.datagrams.decide(&arrived, decision);
                self.send(frame, &arrived, decision);
                self.look_again_on(worker);
            }
            Ok((arrived, Some(decision))) => self.send(frame, &arrived, decision),
            Ok((arrived, None)) => {
                let displaced = self.early[worker].hold(frame, arrived, self.now, &self.datagrams);
                if let Some((frame, why)) = displaced {
                    self.drop(frame, why);
                }
            }
        }
    }

    fn send(&mut self, frame: Frame, arrived: &Arrived, decision: Decision) {
        self.sent.push(([frame.bytes()[0], frame.bytes()[1]], decision));
        self.datagrams.handled(arrived);
        self.pool.release(frame);
    }

    fn drop(&mut self, frame: Frame, why: Refused) {
        self.refused.push(([frame.bytes()[0], frame.bytes()[1]], why));
        self.pool.release(frame);
    }

    fn look_again_on(&mut self, worker: usize) {
        let mut place = 0;
        while let Some((at, settled)) = self.early[worker].take_settled(place, &self.datagrams) {
            place = at;
            let Settled { frame, arrived, outcome } = settled;
            match outcome {
                Ok(decision) => self.send(frame, &arrived, decision),
                Err(why) => self.drop(frame, why),
            }
        }
    }

    fn look_again(&mut self) {
        (0..self.early.len()).for_each(|worker| self.look_again_on(worker));
    }

    fn pass(&mut self, nanos: u64) {
        self.now = self.now.after(nanos);
        for worker in 0..self.early.len() {
            while let Some(frame) = self.early[worker].take_overdue(self.now, &self.datagrams) {
                self.drop(frame, Refused::Unmatched);
            }
        }
        self.look_again();
    }
}

#[test]
fn early_fragments_leave_in_the_order_in_which_they_came() {
    let mut world = World::new(2, 16);
    for n in [3, 1, 4, 2, 5] {
        world.receive(0, [1, n]);
    }
    world.receive(0, [2, 1]);
    assert_eq!(world.early[0].next_due(world.now), Some(world.now.after(Time::SECOND / 1000)));
    world.receive(1, [1, 0]);
    world.look_again();
    let order: Vec<_> = world.sent.iter().map(|(mark, _)| *mark).collect();
    assert_eq!(order, [[1, 0], [1, 3], [1, 1], [1, 4], [1, 2], [1, 5]]);
    assert_eq!((world.early[0].len(), world.datagrams.len()), (1, 1));
    world.pass(Time::SECOND);
    assert_eq!(world.pool.free(), world.pool.total());
}

#[test]
fn an_early_fragment_waits_a_second() {
    let mut world = World::new(1, 16);
    world.receive(0, [1, 1]);
    world.pass(Time::SECOND / 2);
    world.receive(0, [1, 2]);
    world.receive(0, [2, 1]);
    world.pass(Time::SECOND / 2 - 1);
    assert_eq!((world.refused.len(), world.early[0].next_due(world.now)), (0, Some(world.now.after(1))));
    // With one of its fragments the whole datagram goes; the other is not touched.
    world.pass(1);
    assert_eq!(world.refused, [([1, 1], Refused::Unmatched), ([1, 2], Refused::Unmatched)]);
    world.receive(0, [2, 0]);
    assert_eq!(world.sent.len(), 2);
    assert_eq!(world.pool.free(), world.pool.total());
}

#[test]
fn overlap_drops_what_is_held_and_what_follows() {
    let mut world = World::new(2, 16);
    world.receive(0, [1, 1]);
    world.receive(1, [1, 2]);
    world.receive_piece(1, [1, 9], piece(3, 5, false));
    world.receive(0, [1, 0]);
    world.look_again();
    world.receive(0, [1, 3]);
    assert_eq!(world.sent, []);
    let marks: Vec<_> = world.refused.iter().map(|(mark, why)| (mark[1], *why)).collect();
    assert_eq!(marks, [9, 0, 1, 2, 3].map(|n| (n, Refused::Overlap)));
    assert_eq!(world.pool.free(), world.pool.total());
}

#[test]
fn what_is_held_is_bounded() {
    let mut world = World::new(1, 600);
    // One datagram: the one too many ends it.
    for n in 0..65u8 {
        world.receive_piece(0, [200, n], piece(usize::from(n) + 1, usize::from(n) + 2, false));
    }
    assert_eq!(world.refused, [([200, 64], Refused::TooMany)]);
    world.look_again();
    assert_eq!((world.refused.len(), world.early[0].len()), (65, 0));
    // Many datagrams: the oldest goes with all that it has.
    world.datagrams = Datagrams::new(1024, 1);
    world.refused.clear();
    world.receive(0, [0, 1]);
    world.receive(0, [0, 2]);
    for n in 0..127 {
        world.receive(0, [n + 1, 1]);
        world.receive(0, [n + 1, 2]);
    }
    assert_eq!((world.refused.len(), world.early[0].len()), (0, 256));
    world.receive(0, [128, 1]);
    assert_eq!(world.refused, [([0, 1], Refused::Unmatched)]);
    world.look_again();
    assert_eq!(world.refused, [([0, 1], Refused::Unmatched), ([0, 2], Refused::Unmatched)]);
    world.early[0].clear(&mut world.pool);
    assert_eq!(world.pool.free(), world.pool.total());
}

/// Runs `each` on two threads for each of `rounds` datagrams, both at the same moment.
fn on_two_threads(rounds: u16, each: impl Fn(usize, u16) + Sync) {
    let here = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for side in 0..2 {
            let (here, each) = (&here, &each);
            scope.spawn(move || {
                for round in 0..rounds {
                    here.fetch_add(1, Ordering::AcqRel);
                    let mut looks = 0u32;
                    while here.load(Ordering::Acquire) < 2 * (usize::from(round) + 1) {
                        looks += 1;
                        if looks.is_multiple_of(64) {
                            std::thread::yield_now();
                        }
                    }
                    each(side, round);
                }
            });
        }
    });
}

const ROUNDS: u16 = 16_000;

#[test]
fn of_two_overlapping_at_the_same_moment_one_is_noticed() {
    let datagrams = Datagrams::new(16_384, 1);
    for round in 0..ROUNDS {
        datagrams.arrive(&key(round), piece(8, 9, false), NOW).expect("admitted");
    }
    let noticed = AtomicUsize::new(0);
    on_two_threads(ROUNDS, |side, round| {
        let piece = piece(side, side + 2, false);
        if datagrams.arrive(&key(round), piece, NOW).is_err() {
            noticed.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert!(noticed.load(Ordering::Relaxed) >= usize::from(ROUNDS));
    for round in 0..ROUNDS {
        assert_eq!(datagrams.arrive(&key(round), piece(7, 8, false), NOW).err(), Some(Refused::Overlap));
    }
}

#[test]
fn two_workers_complete_a_datagram_together() {
    // So little room that its blocks change hands all the time.
    let datagrams = Datagrams::new(2, 1);
    let wrong = AtomicUsize::new(0);
    on_two_threads(2000, |side, round| {
        let mine = if side == 0 { [0, 2, 4] } else { [1, 3, 5] };
        let mut waiting = Vec::new();
        for n in mine {
            let decision = Decision::new(round.into());
            match datagrams.arrive(&key(round), piece(n, n + 1, n == 5), NOW) {
                Ok((first, _)) if n == 0 => {
                    datagrams.decide(&first, decision);
                    datagrams.handled(&first);
                }
                Ok((later, Some(found))) => {
                    wrong.fetch_add(usize::from(found != decision), Ordering::Relaxed);
                    datagrams.handled(&later);
                }
                Ok((early, None)) => waiting.push((early, decision)),
                Err(_) => _ = wrong.fetch_add(1, Ordering::Relaxed),
            }
        }
        for (early, decision) in waiting {
            let fate = loop {
                match datagrams.fate(&early) {
                    Fate::Open => std::thread::yield_now(),
                    fate => break fate,
                }
            };
            wrong.fetch_add(usize::from(fate != Fate::Decided(decision)), Ordering::Relaxed);
            datagrams.handled(&early);
        }
    });
    assert_eq!((wrong.load(Ordering::Relaxed), datagrams.len()), (0, 0));
}
