//! Slow start: how the weight of a new destination grows.

use super::Bench;
use crate::ids::DestId;
use crate::live::Live;
use crate::scheduler::slow_start::{FULL, share};
use crate::snapshot::{Draws, SchedulerKind};
use crate::time::{Seconds, Time};

const START: Time = Time(100 * Time::SECOND);
const LENGTH: Seconds = Seconds(10);

fn after(tenths: u64) -> Time {
    START.after(tenths * Time::SECOND / 10)
}

/// A service with slow start whose second destination is new.
fn bench(scheduler: SchedulerKind, weights: &[u32]) -> Bench {
    let mut bench = Bench::new(scheduler, weights);
    bench.change(|service| service.slow_start = LENGTH);
    bench.live.destination(DestId(1)).begin(Some(START));
    bench.now = START;
    bench
}

#[test]
fn the_share_grows_evenly_from_a_hundredth_to_all() {
    let live = Live::new();
    let live = live.destination(DestId(0));
    assert_eq!(share(live, LENGTH, START), FULL, "never begun");
    live.begin(Some(START));
    let shares = [0, 1, 10, 50, 99, 100, 1000].map(|tenths| share(live, LENGTH, after(tenths)));
    assert_eq!(shares, [10, 10, 102, 512, 1013, FULL, FULL]);
    assert_eq!(share(live, LENGTH, Time(0)), 10, "another worker's clock may be behind");
    assert_eq!(share(live, Seconds(0), START), FULL);
    assert!(share(live, Seconds(u16::MAX), START.after(40_000 * Time::SECOND)) < FULL);
    live.begin(None);
    assert_eq!(share(live, LENGTH, START), FULL);
}

#[test]
fn a_beginning_at_the_very_start_is_one_too() {
    let live = Live::new();
    live.destination(DestId(0)).begin(Some(Time(0)));
    assert!(share(live.destination(DestId(0)), LENGTH, Time(0)) < FULL);
}

#[test]
fn wlc_gives_a_growing_destination_its_part_even_with_weight_one() {
    let mut bench = bench(SchedulerKind::Wlc, &[1, 1]);
    // 102/1024 of the weight: with ten connections on the other one it gets its first.
    bench.now = after(10);
    bench.load(1, 1, 0);
    assert_eq!(bench.opens(12), "AAAAAAAAAAAB");
    bench.now = after(100);
    assert_eq!(bench.opens(3), "BBB");
}

#[test]
fn each_weighted_scheduler_gives_it_about_its_share() {
    let one = SchedulerKind::Random(Draws::new(1).expect("one"));
    for scheduler in [SchedulerKind::Wrr, SchedulerKind::Wlc, SchedulerKind::Sed, one, SchedulerKind::Lrt] {
        for (tenths, low, high) in [(0, 5, 40), (50, 480, 850), (100, 950, 1050)] {
            let mut bench = bench(scheduler, &[2, 2]);
            bench.now = after(tenths);
            let picks = bench.opens(2_000).matches('B').count();
            assert!((low..=high).contains(&picks), "{scheduler:?} after {tenths} tenths: {picks} of 2000");
        }
    }
}

#[test]
fn fo_and_ovf_turn_to_it_when_it_has_grown() {
    for scheduler in [SchedulerKind::Fo, SchedulerKind::Ovf] {
        let mut bench = bench(scheduler, &[30, 100]);
        bench.now = after(29);
        assert_eq!(bench.picks(1), "A", "{scheduler:?}");
        bench.now = after(31);
        assert_eq!(bench.picks(1), "B", "{scheduler:?}");
    }
}

#[test]
fn wrr_keeps_the_rhythm_of_the_others_and_ends_when_all_grow() {
    let mut grown = Bench::new(SchedulerKind::Wrr, &[3, 0, 2, 1]);
    let mut growing = bench(SchedulerKind::Wrr, &[3, 2_000_000_000, 2, 1]);
    growing.weigh(&[3, 3, 2, 1]);
    let others: String = growing.picks(400).chars().filter(|c| *c != 'B').collect();
    assert_eq!(others, grown.picks(others.len()));
    let mut all = bench(SchedulerKind::Wrr, &[2_147_483_647, 2_147_483_646]);
    all.live.destination(DestId(0)).begin(Some(START));
    let shares = all.shares(100);
    assert!(shares.iter().all(|share| *share > 30), "{shares:?}");
}
