//! Turns: rr and wrr, sequence by sequence.

use super::Bench;
use crate::ids::DestId;
use crate::snapshot::SchedulerKind;
use proptest::prelude::*;

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
        let mut bench = Bench::new(SchedulerKind::Wrr, &weights);
        let round = wrr_round(&weights);
        for expected in round.iter().chain(&round) {
            prop_assert_eq!(bench.pick(), Some(DestId(*expected)));
        }
        prop_assert_eq!(bench.pick().is_none(), round.is_empty());
    }
}
