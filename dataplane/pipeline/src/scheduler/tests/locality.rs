//! By locality: lblc and lblcr.

use super::Bench;
use crate::ids::{DestId, ServiceId};
use crate::scheduler::Locality;
use crate::snapshot::{Health, SchedulerKind};
use crate::time::Time;
use std::net::Ipv4Addr;

const HOUR: u64 = 3600 * Time::SECOND;

impl Bench {
    fn go_to_vip(&mut self, n: u8) {
        self.flow.vip = Ipv4Addr::new(198, 18, 0, n).into();
    }
}

#[test]
fn lblc_stays_until_its_destination_is_crowded_and_another_is_not() {
    let mut bench = Bench::new(SchedulerKind::Lblc, &[2, 2]);
    // A has 3, more than 2, when B has none, less than half of 2. B has 3 when A has as many: it stays.
    assert_eq!(bench.opens(12), "AAABBBBBBBBB");
    bench.go_to_vip(1);
    assert_eq!(bench.opens(4), "AAAA", "another VIP begins as wlc, and stays too");
    bench.unload(1, 9);
    assert_eq!(bench.opens(1), "B", "A is crowded now");
    bench.go_to_vip(100);
    assert_eq!(bench.opens(1), "B");
}

#[test]
fn lblc_leaves_a_destination_that_is_gone() {
    let mut bench = Bench::new(SchedulerKind::Lblc, &[9, 9, 9]);
    assert_eq!(bench.picks(2), "AA");
    bench.change_one(0, |d| d.health = Health::Down);
    assert_eq!(bench.picks(2), "BB");
    bench.change_one(0, |d| d.health = Health::Up);
    assert_eq!(bench.picks(2), "BB", "and does not come back by itself");
}

#[test]
fn lblc_forgets_after_a_day_without_use() {
    let mut bench = Bench::new(SchedulerKind::Lblc, &[9, 9]);
    assert_eq!(bench.opens(1), "A");
    bench.now = bench.now.after(24 * HOUR);
    assert_eq!(bench.picks(1), "A");
    bench.now = bench.now.after(24 * HOUR + Time::SECOND);
    assert_eq!(bench.picks(1), "B", "which has fewer connections");
}

#[test]
fn lblcr_replicates_to_the_least_loaded_and_shares_among_the_set() {
    let mut bench = Bench::new(SchedulerKind::Lblcr, &[2, 2, 2]);
    // A up to 3; B joins and is the less loaded up to 3; then A, as the first of equals, is crowded while C has none.
    assert_eq!(bench.opens(9), "AAABBBCCC");
    // All three are in the set: the first of equals.
    assert_eq!(bench.opens(6), "ABCABC");
    bench.unload(1, 5);
    assert_eq!(bench.opens(2), "BB");
}

#[test]
fn lblcr_makes_a_settled_set_smaller_by_the_busiest() {
    let mut bench = Bench::new(SchedulerKind::Lblcr, &[2, 2]);
    assert_eq!(bench.opens(4), "AAAB");
    bench.unload(0, 3);
    bench.load(1, 1, 0);
    // The set is A and B, of which B is the busier one now.
    bench.now = bench.now.after(12 * HOUR);
    assert_eq!(bench.picks(1), "A");
    bench.now = bench.now.after(13 * HOUR);
    assert_eq!(bench.picks(1), "A");
    bench.load(0, 2, 0);
    bench.unload(1, 1);
    assert_eq!(bench.picks(1), "A", "B is less loaded, but no longer in the set");
}

#[test]
fn lblcr_has_a_bounded_set() {
    let mut bench = Bench::new(SchedulerKind::Lblcr, &[1; 20]);
    let opened = bench.opens(60);
    let different: std::collections::HashSet<char> = opened.chars().collect();
    assert!(different.len() > 12, "{opened}");
    bench.change(|service| service.destinations.iter_mut().take(19).for_each(|d| d.health = Health::Down));
    assert_eq!(bench.picks(3), "TTT");
}

#[test]
fn services_and_addresses_do_not_share_what_is_remembered() {
    let locality = Locality::new();
    let vip = |n| Ipv4Addr::from_bits(n).into();
    let now = Time(Time::SECOND);
    for n in 0..200u16 {
        locality.begin(ServiceId(n), vip(7), now, DestId(n));
        locality.begin(ServiceId(0), vip(1000 + u32::from(n)), now, DestId(n));
    }
    let found = |service, n| locality.find(ServiceId(service), vip(n), now).and_then(|line| line.get(0));
    assert!((0..200u16).all(|n| found(n, 7) == Some(DestId(n))));
    assert!((0..200u16).all(|n| found(0, 1000 + u32::from(n)) == Some(DestId(n))));
    assert_eq!(found(0, 8), None);
}

#[test]
fn the_longest_unused_gives_way() {
    let locality = Locality::new();
    let at = |n: u32| Time(u64::from(n) * Time::SECOND);
    let vip = |n: u32| Ipv4Addr::from_bits(n).into();
    for n in 1..40_000 {
        locality.begin(ServiceId(0), vip(n), at(n), DestId(1));
        assert!(locality.find(ServiceId(0), vip(n), at(n)).is_some());
    }
    let known = |range: std::ops::Range<u32>| {
        range.filter(|n| locality.find(ServiceId(0), vip(*n), at(*n)).is_some()).count()
    };
    assert_eq!(known(1..20_000), 0);
    assert!(known(39_000..40_000) > 950);
}
