//! Which destinations take part at all.

use super::{Bench, all};
use crate::ids::DestId;
use crate::snapshot::{Health, Intent, Limits, SchedulerKind};

#[test]
fn a_destination_that_may_not_be_used_is_chosen_by_nobody() {
    for scheduler in all() {
        let mut bench = Bench::new(scheduler, &[9, 9, 9, 9, 9, 1]);
        let flows = 50;
        bench.change(|service| {
            let [weight, drain, maint, down, full, _] = &mut service.destinations[..] else { unreachable!() };
            weight.weight = 0;
            drain.intent = Intent::Drain;
            maint.intent = Intent::Maint;
            down.health = Health::Down;
            full.limits = Limits { connections: 3, ..Limits::default() };
        });
        bench.load(4, 1, 2);
        assert_eq!(bench.shares(flows), [0, 0, 0, 0, 0, flows], "{scheduler:?}");
        bench.change_one(5, |last| last.weight = 0);
        assert_eq!(bench.picks(2), "--", "{scheduler:?}");
    }
}

#[test]
fn excluded_destinations_are_not_chosen_and_the_list_is_bounded() {
    for scheduler in all() {
        let mut bench = Bench::new(scheduler, &[5, 1]);
        assert!(bench.excluded.add(DestId(0)));
        assert_eq!(bench.picks(3), "BBB", "{scheduler:?}");
        assert!(bench.excluded.add(DestId(1)));
        assert_eq!(bench.picks(1), "-", "{scheduler:?}");
        assert!((2..64).all(|id| bench.excluded.add(DestId(id))));
        assert!(!bench.excluded.add(DestId(64)));
    }
}

/// Opens and ends connections of the first destination and says after each step whether it is overloaded.
fn marks(limits: Limits, totals: &[u32]) -> String {
    let bench = Bench::new(SchedulerKind::Rr, &[1]);
    let live = bench.live.destination(DestId(0));
    let mut now = 0;
    let mark = |total: &u32| {
        // Half of them are inactive: both count.
        (now..*total).for_each(|n| live.enter(n % 2 == 0));
        (*total..now).for_each(|n| live.leave(n % 2 == 0));
        now = *total;
        if live.overloaded(&limits) { '#' } else { '.' }
    };
    totals.iter().map(mark).collect()
}

#[test]
fn overload_begins_at_the_upper_threshold_and_ends_below_the_lower_one() {
    let limits = Limits { upper: 8, lower: 4, connections: 0 };
    assert_eq!(marks(limits, &[0, 7, 8, 9, 7, 5, 4, 3, 4, 7, 8]), "..#####...#");
}

#[test]
fn overload_ends_below_three_quarters_without_a_lower_threshold() {
    let limits = Limits { upper: 8, ..Limits::default() };
    assert_eq!(marks(limits, &[7, 8, 7, 6, 5, 6, 7, 8]), ".###...#");
    let odd = Limits { upper: 7, ..Limits::default() };
    // Three quarters of 7 are 5.25.
    assert_eq!(marks(odd, &[6, 7, 6, 5]), ".##.");
    let one = Limits { upper: 1, ..Limits::default() };
    assert_eq!(marks(one, &[0, 1, 0]), ".#.");
}

#[test]
fn without_thresholds_nothing_is_overloaded_and_a_mark_is_forgotten() {
    assert_eq!(marks(Limits::default(), &[0, 100, 0]), "...");
    assert_eq!(marks(Limits { lower: 5, ..Limits::default() }, &[0, 100, 4]), "...");
    let bench = Bench::new(SchedulerKind::Rr, &[1]);
    let live = bench.live.destination(DestId(0));
    bench.load(0, 8, 0);
    assert!(live.overloaded(&Limits { upper: 8, lower: 4, connections: 0 }));
    bench.unload(0, 2);
    assert!(live.overloaded(&Limits { upper: 8, lower: 4, connections: 0 }), "still marked");
    assert!(!live.overloaded(&Limits::default()));
    assert!(!live.overloaded(&Limits { upper: 8, lower: 4, connections: 0 }));
}

#[test]
fn a_threshold_that_is_raised_opens_at_once_and_one_that_is_lowered_does_not() {
    let bench = Bench::new(SchedulerKind::Rr, &[1]);
    let live = bench.live.destination(DestId(0));
    bench.load(0, 8, 0);
    let with = |upper| Limits { upper, lower: 2, connections: 0 };
    assert!(live.overloaded(&with(8)));
    assert!(!live.overloaded(&with(100)));
    assert!(live.overloaded(&with(8)));
    bench.unload(0, 3);
    assert!(live.overloaded(&with(6)), "neither the new upper one nor the lower one is passed");
    assert!(live.overloaded(&with(8)));
    assert!(!live.overloaded(&with(9)));
}

#[test]
fn a_limit_on_connections_has_no_memory() {
    let limits = Limits { connections: 3, ..Limits::default() };
    assert_eq!(marks(limits, &[2, 3, 2, 4, 3, 2]), ".#.##.");
    let both = Limits { upper: 6, lower: 2, connections: 3 };
    assert_eq!(marks(both, &[2, 3, 2]), ".#.");
}

#[test]
fn thresholds_beyond_the_counters_do_not_overflow() {
    let limits = Limits { upper: u32::MAX, lower: u32::MAX, connections: u32::MAX };
    assert_eq!(marks(limits, &[0, 5]), "..");
}

#[test]
fn backups_take_part_while_too_few_others_may_be_used() {
    for scheduler in all() {
        let mut bench = Bench::new(scheduler, &[1, 1, 9]);
        bench.change_one(2, |d| d.backup = true);
        let shares = bench.shares(40);
        assert_eq!(shares[2], 0, "{scheduler:?}: {shares:?}");
        bench.change_one(0, |d| d.health = Health::Down);
        assert_eq!(bench.shares(40), [0, 40, 0], "{scheduler:?}");
        bench.change_one(1, |d| d.intent = Intent::Drain);
        assert_eq!(bench.shares(40), [0, 0, 40], "{scheduler:?}");
        bench.change_one(0, |d| d.health = Health::Up);
        assert_eq!(bench.shares(40), [40, 0, 0], "{scheduler:?}");
    }
}

#[test]
fn backups_join_the_others_below_the_wanted_number() {
    let mut bench = Bench::new(SchedulerKind::Rr, &[1, 1, 1]);
    bench.change(|service| {
        service.destinations[0].backup = true;
        service.backup_below = 2;
    });
    assert_eq!(bench.picks(4), "BCBC");
    bench.change_one(1, |d| d.limits = Limits { connections: 1, ..Limits::default() });
    bench.load(1, 1, 0);
    assert_eq!(bench.picks(4), "ACAC", "an overloaded one cannot be used either");
    bench.change(|service| service.backup_below = 0);
    assert_eq!(bench.picks(2), "CC", "never");
}

#[test]
fn the_sorry_server_is_there_when_nothing_else_is() {
    for scheduler in all() {
        let mut bench = Bench::new(scheduler, &[1, 1, 1]);
        bench.change(|service| {
            service.sorry = Some(DestId(2));
            service.destinations[1].backup = true;
        });
        let shares = bench.shares(20);
        assert_eq!(shares, [20, 0, 0], "{scheduler:?}");
        bench.weigh(&[0, 1, 1]);
        assert_eq!(bench.shares(20), [0, 20, 0], "{scheduler:?}: the backup comes first");
        bench.weigh(&[0, 0, 1]);
        assert_eq!(bench.shares(20), [0, 0, 20], "{scheduler:?}");
        bench.change_one(2, |d| d.intent = Intent::Maint);
        assert_eq!(bench.picks(2), "--", "{scheduler:?}");
    }
}

#[test]
fn an_excluded_destination_is_not_replaced_by_the_sorry_server() {
    let mut bench = Bench::new(SchedulerKind::Wlc, &[1, 1]);
    bench.change(|service| service.sorry = Some(DestId(1)));
    assert!(bench.excluded.add(DestId(0)));
    assert_eq!(bench.picks(1), "-");
}

#[test]
fn a_limit_on_connections_does_not_hide_the_thresholds() {
    let limits = Limits { upper: 4, lower: 1, connections: 4 };
    assert_eq!(marks(limits, &[3, 4, 3, 1, 0, 3]), ".###..");
}
