//! By load: lc, wlc, sed, nq, fo, ovf, first, lrt.

use super::Bench;
use crate::ids::DestId;
use crate::snapshot::{Limits, Method, SchedulerKind};
use crate::time::Time;
use proptest::prelude::*;

#[test]
fn lc_takes_the_least_overhead_and_the_first_of_equals() {
    let mut bench = Bench::new(SchedulerKind::Lc, &[1, 100, 0, 1]);
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
    let mut bench = Bench::new(SchedulerKind::Wlc, &[1, 3, 0, 3]);
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
    let mut bench = Bench::new(SchedulerKind::Wlc, &[2_147_483_647, 2_147_483_646]);
    bench.load(0, 70_000, 0);
    bench.load(1, 69_999, 0);
    // 70000 / 2147483647 > 69999 / 2147483646
    assert_eq!(bench.picks(1), "B");
}

#[test]
fn connections_that_stay_fill_destinations_in_a_known_order() {
    let rows = [
        (SchedulerKind::Lc, "ABCABCABC"),
        // 0/1 0/2 0/3 | 1/1 0 0 | 1 1/2 0 | 1 1/2 1/3 | 1 1/2 2/3 | 1 1 2/3 | all 1
        (SchedulerKind::Wlc, "ABCCBCABC"),
        // 1/1 1/2 1/3 | 1 1/2 2/3 | 1 2/2 2/3 | 1 1 3/3 | 2 1 1 | 2 3/2 1 | 2 3/2 4/3
        (SchedulerKind::Sed, "CBCABCCBC"),
        // Each idle one first; then as sed: 2/1 2/2 2/3.
        (SchedulerKind::Nq, "ABCCBCCBC"),
        (SchedulerKind::Fo, "CCCCCCCCC"),
        // 4 active are more than 3; then 3 are more than 2, then 2 more than 1, then all have more.
        (SchedulerKind::Ovf, "CCCCBBBAA"),
        (SchedulerKind::First, "AAAAAAAAA"),
        (SchedulerKind::Lrt, "ABCCBCABC"),
    ];
    for (scheduler, expected) in rows {
        let mut bench = Bench::new(scheduler, &[1, 2, 3]);
        assert_eq!(bench.opens(9), expected, "{scheduler:?}");
        if scheduler == SchedulerKind::Ovf {
            assert_eq!(bench.opens(1), "-", "all are full to overflowing");
        }
    }
}

#[test]
fn nq_prefers_the_first_idle_one_whatever_its_weight() {
    let mut bench = Bench::new(SchedulerKind::Nq, &[9, 1, 1]);
    bench.load(0, 1, 0);
    bench.load(1, 0, 5);
    assert_eq!(bench.picks(1), "B", "inactive connections do not count");
}

#[test]
fn fo_takes_the_first_of_equal_weights_and_another_when_it_fails() {
    let mut bench = Bench::new(SchedulerKind::Fo, &[1, 7, 7]);
    assert_eq!(bench.picks(2), "BB");
    bench.weigh(&[1, 0, 7]);
    assert_eq!(bench.picks(2), "CC");
}

#[test]
fn first_fills_one_after_the_other_up_to_their_limits() {
    let mut bench = Bench::new(SchedulerKind::First, &[1, 1, 1]);
    for place in 0..2 {
        bench.change_one(place, |d| d.limits = Limits { connections: 2, ..Limits::default() });
    }
    assert_eq!(bench.opens(6), "AABBCC");
    bench.unload(0, 1);
    assert_eq!(bench.opens(2), "AC");
}

#[test]
fn lrt_weighs_time_and_connections_and_prefers_what_it_knows() {
    let mut bench = Bench::new(SchedulerKind::Lrt, &[1, 1, 2]);
    bench.live.destination(DestId(1)).measured(900);
    assert_eq!(bench.picks(1), "B", "the only one that is known");
    bench.live.destination(DestId(2)).measured(1_800);
    assert_eq!(bench.picks(1), "B", "900/1 and 1800/2 are equal");
    // 900 against 1800/2, then 1800 against 1800/2, and so on.
    assert_eq!(bench.opens(6), "BCBCBC");
    bench.live.destination(DestId(0)).measured(1);
    assert_eq!(bench.opens(3), "AAA");
}

#[test]
fn lrt_gives_a_destination_of_which_nothing_is_known_one_connection_to_measure_by() {
    let mut bench = Bench::new(SchedulerKind::Lrt, &[1, 1]);
    bench.change(|service| service.destinations.iter_mut().for_each(|d| d.method = Method::Nat));
    assert_eq!(bench.opens(1), "A");
    bench.live.destination(DestId(0)).response().opened(1, bench.now);
    assert_eq!(bench.opens(1), "B");
    bench.live.destination(DestId(1)).response().opened(2, bench.now);
    bench.now = bench.now.after(Time::SECOND / 1000);
    bench.live.destination(DestId(1)).response().answered(2, bench.now);
    assert_eq!(bench.opens(2), "BB", "the only one that is known");
    bench.now = bench.now.after(4 * Time::SECOND);
    assert_eq!(bench.opens(1), "A", "nothing came back in time: another one");
    bench.live.destination(DestId(0)).response().opened(3, bench.now);
    assert_eq!(bench.opens(3), "BBB", "4 s against some milliseconds");
    bench.live.destination(DestId(0)).response().answered(3, bench.now.after(1));
    bench.now = bench.now.after(8 * Time::SECOND);
    assert_eq!(bench.picks(1), "B", "what is known of it is too old");
}

#[test]
fn a_response_time_is_smoothed_and_never_nothing() {
    let bench = Bench::new(SchedulerKind::Lrt, &[1]);
    let live = bench.live.destination(DestId(0));
    assert_eq!(live.response_time(), None);
    live.measured(0);
    assert_eq!(live.response_time(), Some(1));
    live.begin(None);
    let averages = [1000, 2000, 2000, u32::MAX].map(|micros| {
        live.measured(micros);
        live.response_time().expect("measured")
    });
    assert_eq!(averages, [1000, 1250, 1438, 1_079 + 1_073_741_823]);
}

/// Every number up to this divides [`COMMON`].
const HEAVIEST: u32 = 12;
const COMMON: u64 = 27_720;

#[derive(Debug, Clone)]
struct Member {
    weight: u32,
    active: u32,
    inactive: u32,
    micros: u32,
}

impl Member {
    fn overhead(&self) -> u64 {
        u64::from(self.active) * 256 + u64::from(self.inactive)
    }

    /// A quotient by its weight, in whole numbers.
    fn per_weight(&self, load: u64) -> u64 {
        load * COMMON / u64::from(self.weight)
    }
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let member = (0..=HEAVIEST, 0..5u32, 0..600u32, 1..50u32);
    let member =
        member.prop_map(|(weight, active, inactive, micros)| Member { weight, active, inactive, micros });
    prop::collection::vec(member, 0..7)
}

/// What the formula says, by sorting.
fn by_formula(scheduler: SchedulerKind, members: &[Member]) -> Option<DestId> {
    let usable: Vec<(u16, &Member)> = (0u16..).zip(members).filter(|(_, m)| m.weight > 0).collect();
    let smallest = |key: &dyn Fn(&Member) -> u64| {
        let mut keyed: Vec<(u64, u16)> = usable.iter().map(|(i, m)| (key(m), *i)).collect();
        keyed.sort_unstable();
        keyed.first().map(|(_, i)| *i)
    };
    let sed = |m: &Member| m.per_weight(u64::from(m.active) + 1);
    let never = u64::MAX;
    let choice = match scheduler {
        SchedulerKind::Lc => smallest(&Member::overhead),
        SchedulerKind::Wlc => smallest(&|m| m.per_weight(m.overhead())),
        SchedulerKind::Sed => smallest(&sed),
        SchedulerKind::Nq => smallest(&|m| if m.active == 0 { 0 } else { sed(m) }),
        SchedulerKind::Fo => smallest(&|m| never - u64::from(m.weight)),
        SchedulerKind::Ovf => {
            smallest(&|m| if m.active > m.weight { never } else { never - u64::from(m.weight) })
                .filter(|i| members[usize::from(*i)].active <= members[usize::from(*i)].weight)
        }
        SchedulerKind::Lrt => smallest(&|m| m.per_weight(u64::from(m.micros) * (u64::from(m.active) + 1))),
        other => unreachable!("{other:?} does not go by load alone"),
    };
    choice.map(DestId)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_choice_is_that_of_the_formula(members in members()) {
        use SchedulerKind::{Fo, Lc, Lrt, Nq, Ovf, Sed, Wlc};
        let weights: Vec<u32> = members.iter().map(|m| m.weight).collect();
        let mut bench = Bench::new(Lc, &weights);
        for (id, member) in (0u16..).zip(&members) {
            bench.load(id, member.active, member.inactive);
            bench.live.destination(DestId(id)).measured(member.micros);
        }
        for scheduler in [Lc, Wlc, Sed, Nq, Fo, Ovf, Lrt] {
            bench.change(|service| service.scheduler = scheduler);
            prop_assert_eq!(bench.pick(), by_formula(scheduler, &members), "{:?}", scheduler);
        }
    }
}
