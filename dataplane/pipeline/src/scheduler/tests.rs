//! Sequences of choices against the formulas, written down another way.

use super::{Excluded, Pool};
use crate::ids::{DestId, ServiceId};
use crate::live::Live;
use crate::snapshot::{Method, SchedulerKind, Snapshot};
use crate::testing::Site;
use proptest::prelude::*;
use sheave_proto::wire::flow::Proto;

struct Bench {
    site: Site,
    snapshot: Snapshot,
    live: Live,
    excluded: Excluded,
}

impl Bench {
    fn new(scheduler: SchedulerKind, weights: &[u32]) -> Bench {
        let reals = u8::try_from(weights.len()).expect("few");
        let mut site = Site::with(Proto::Tcp, Method::DirectRoute, reals);
        site.services[0].scheduler = scheduler;
        let mut bench =
            Bench { snapshot: site.snapshot(), site, live: Live::new(), excluded: Excluded::none() };
        bench.weigh(weights);
        bench
    }

    fn weigh(&mut self, weights: &[u32]) {
        for (destination, weight) in self.site.services[0].destinations.iter_mut().zip(weights) {
            destination.weight = *weight;
        }
        self.snapshot = self.site.snapshot();
    }

    fn pick(&self) -> Option<DestId> {
        let service = self.snapshot.service(ServiceId(0)).expect("a service");
        Pool::new(&self.snapshot, ServiceId(0), service, &self.live, &self.excluded).pick()
    }

    /// The next choices as letters: A is the first destination.
    fn picks(&self, n: usize) -> String {
        let letter = |id: DestId| char::from(b'A' + u8::try_from(id.0).expect("few"));
        (0..n).map(|_| self.pick().map_or('-', letter)).collect()
    }

    fn load(&self, id: u16, active: u32, inactive: u32) {
        (0..active).for_each(|_| self.live.destination(DestId(id)).enter(true));
        (0..inactive).for_each(|_| self.live.destination(DestId(id)).enter(false));
    }
}

#[test]
fn rr_goes_on_where_it_was_when_the_pool_changes() {
    let mut bench = Bench::new(SchedulerKind::Rr, &[1, 1, 1]);
    assert_eq!(bench.picks(2), "AB");
    bench.weigh(&[5, 1, 1]);
    assert_eq!(bench.picks(2), "CA");
    bench.weigh(&[5, 0, 1]);
    assert_eq!(bench.picks(1), "C");
    bench.weigh(&[5, 1, 1]);
    assert_eq!(bench.picks(2), "AB");
    // The last choice is gone: the one after it is next.
    bench.site.services[0].destinations[1].unscheduled = true;
    bench.snapshot = bench.site.snapshot();
    assert_eq!(bench.picks(2), "CA");
    // One before the last choice is gone.
    bench.site.services[0].destinations[1].unscheduled = false;
    bench.snapshot = bench.site.snapshot();
    assert_eq!(bench.picks(1), "B");
    bench.site.services[0].destinations[0].unscheduled = true;
    bench.snapshot = bench.site.snapshot();
    assert_eq!(bench.picks(2), "CB");
}

#[test]
fn rr_takes_turns_in_the_order_of_the_configuration_and_skips_weight_zero() {
    assert_eq!(Bench::new(SchedulerKind::Rr, &[1, 1, 1]).picks(7), "ABCABCA");
    assert_eq!(Bench::new(SchedulerKind::Rr, &[9, 0, 1]).picks(5), "ACACA");
    assert_eq!(Bench::new(SchedulerKind::Rr, &[0, 0]).picks(2), "--");
    assert_eq!(Bench::new(SchedulerKind::Rr, &[]).picks(1), "-");
}

#[test]
fn wrr_interleaves() {
    assert_eq!(Bench::new(SchedulerKind::Wrr, &[3, 2, 1]).picks(12), "AABABCAABABC");
    assert_eq!(Bench::new(SchedulerKind::Wrr, &[6, 4, 2]).picks(12), "AABABCAABABC");
    assert_eq!(Bench::new(SchedulerKind::Wrr, &[1, 2, 3]).picks(6), "CBCABC");
    assert_eq!(Bench::new(SchedulerKind::Wrr, &[0, 2, 0, 1]).picks(6), "BBDBBD");
    assert_eq!(Bench::new(SchedulerKind::Wrr, &[0, 0]).picks(2), "--");
    assert_eq!(Bench::new(SchedulerKind::Wrr, &[]).picks(1), "-");
}

#[test]
fn wrr_starts_over_when_the_pool_changes() {
    let mut bench = Bench::new(SchedulerKind::Wrr, &[3, 2, 1]);
    assert_eq!(bench.picks(4), "AABA");
    bench.weigh(&[1, 1, 1]);
    assert_eq!(bench.picks(4), "ABCA");
}

#[test]
fn wrr_walks_no_empty_levels_when_the_heaviest_is_excluded() {
    let mut bench = Bench::new(SchedulerKind::Wrr, &[2_147_483_647, 2, 1]);
    assert!(bench.excluded.add(DestId(0)));
    assert_eq!(bench.picks(6), "BBCBBC");
}

#[test]
fn lc_takes_the_least_overhead_and_the_first_of_equals() {
    let bench = Bench::new(SchedulerKind::Lc, &[1, 100, 0, 1]);
    assert_eq!(bench.picks(3), "AAA");
    bench.load(0, 1, 0);
    bench.load(1, 0, 255);
    bench.load(3, 0, 255);
    assert_eq!(bench.picks(1), "B");
    bench.load(1, 0, 1);
    assert_eq!(bench.picks(1), "D");
    bench.load(3, 0, 1);
    assert_eq!(bench.picks(1), "A", "256 inactive are as much as one active");
}

#[test]
fn wlc_divides_by_the_weight() {
    let bench = Bench::new(SchedulerKind::Wlc, &[1, 3, 0, 3]);
    assert_eq!(bench.picks(1), "A", "the first of equals");
    bench.load(0, 1, 0);
    assert_eq!(bench.picks(1), "B");
    bench.load(1, 3, 0);
    bench.load(3, 3, 0);
    assert_eq!(bench.picks(1), "A", "1/1, 3/3 and 3/3 are equal");
    bench.load(0, 0, 1);
    assert_eq!(bench.picks(1), "B");
}

#[test]
fn wlc_does_not_overflow() {
    let bench = Bench::new(SchedulerKind::Wlc, &[2_147_483_647, 2_147_483_646]);
    bench.load(0, 70_000, 0);
    bench.load(1, 69_999, 0);
    // 70000 / 2147483647 > 69999 / 2147483646
    assert_eq!(bench.picks(1), "B");
}

#[test]
fn excluded_destinations_are_not_chosen_and_the_list_is_bounded() {
    let everyone = [SchedulerKind::Rr, SchedulerKind::Wrr, SchedulerKind::Lc, SchedulerKind::Wlc];
    for scheduler in everyone {
        let mut bench = Bench::new(scheduler, &[5, 1]);
        assert!(bench.excluded.add(DestId(0)));
        assert_eq!(bench.picks(3), "BBB");
        assert!(bench.excluded.add(DestId(1)));
        assert_eq!(bench.picks(1), "-");
        assert!((2..64).all(|id| bench.excluded.add(DestId(id))));
        assert!(!bench.excluded.add(DestId(64)));
    }
}

/// The wrr of the books: for each level from the largest weight down in steps of the gcd, all with at least that.
fn wrr_round(weights: &[u32]) -> Vec<u16> {
    let step = (1..=*weights.iter().max().unwrap_or(&1)).rev().find(|g| weights.iter().all(|w| w % g == 0));
    let top = weights.iter().copied().max().unwrap_or(0);
    let levels = (1..=top).rev().filter(|level| (top - level).is_multiple_of(step.unwrap_or(1).max(1)));
    levels
        .flat_map(|level| (0u16..).zip(weights).filter(move |(_, w)| **w >= level).map(|(i, _)| i))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn wrr_goes_by_the_book(weights in prop::collection::vec(0u32..12, 1..8), scale in 1u32..5) {
        let weights: Vec<u32> = weights.iter().map(|w| w * scale).collect();
        let bench = Bench::new(SchedulerKind::Wrr, &weights);
        let round = wrr_round(&weights);
        for expected in round.iter().chain(&round) {
            prop_assert_eq!(bench.pick(), Some(DestId(*expected)));
        }
        prop_assert_eq!(bench.pick().is_none(), round.is_empty());
    }
}
