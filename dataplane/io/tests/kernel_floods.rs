//! Limits on new connections: what is beyond is dropped and counted, what is not a new connection is never touched.

mod common;

use common::judge::{Fate, Judge, sets, v4, v6};
use common::packets::*;
use common::{PATIENCE, wait_until};
use sheave_io::{FloodLimits, Rate};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Instant;

fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    let number = |n| NonZeroU32::new(n).expect("not zero");
    Some(Rate { per_second: number(per_second), burst: number(burst) })
}

fn syn(from: IpAddr, to: IpAddr) -> Vec<u8> {
    ether(&ip(from, to, TCP, 0, &tcp(1000, 80, SYN)))
}

impl Judge<'_> {
    fn admitted(&self, frame: &[u8], times: usize) -> usize {
        (0..times).filter(|_| self.fate(frame) == Fate::Taken).count()
    }

    /// Dropped so far, by source and by VIP.
    fn dropped(&mut self) -> (u64, u64) {
        let counters = self.steering.counters().expect("readable");
        (counters.flood_source, counters.flood_vip)
    }
}

/// Runs `f` and returns how many more than its burst a rate admits in the time that it takes.
#[expect(clippy::disallowed_methods, reason = "buckets are filled by the kernel's clock")]
fn timed<T>(per_second: usize, f: impl FnOnce() -> T) -> (T, usize) {
    let began = Instant::now();
    let result = f();
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("short") + 1;
    assert!(seconds < usize::try_from(PATIENCE.as_secs()).expect("short"), "too slow a machine");
    (result, per_second * seconds)
}

#[test]
fn a_source_is_cut_at_its_rate_and_others_are_not() {
    Judge::sit(|judge| {
        judge.steering.apply(&sets()).expect("applied");
        judge.steering.limit(&FloodLimits { source: rate(2, 20), vip: None }).expect("set");
        for (c, other) in [(v4(), addr("203.0.113.7")), (v6(), addr("2001:db8:7::1"))] {
            let before = judge.dropped().0;
            let (admitted, more) = timed(2, || judge.admitted(&syn(c.client, c.vip), 200));
            assert!((20..=20 + more).contains(&admitted), "{admitted} admitted");
            assert_eq!(judge.dropped(), (before + 200 - admitted as u64, 0));
            // One bucket for all services, and each source has its own.
            assert!(judge.admitted(&syn(c.client, c.open), 20) <= more);
            assert_eq!(judge.admitted(&syn(other, c.vip), 20), 20);
        }
    });
}

#[test]
fn a_source_of_ipv6_is_its_network() {
    Judge::sit(|judge| {
        judge.steering.apply(&sets()).expect("applied");
        judge.steering.limit(&FloodLimits { source: rate(1, 10), vip: None }).expect("set");
        let from = |host: u16| syn(IpAddr::from([0x2001, 0xdb8, 7, 7, host, 1, 2, host]), v6().vip);
        let (admitted, more) = timed(1, || (0..100).map(|n| judge.admitted(&from(n), 1)).sum::<usize>());
        assert!((10..=10 + more).contains(&admitted), "{admitted} admitted");
        let next = syn(IpAddr::from([0x2001, 0xdb8, 7, 8, 0, 0, 0, 1]), v6().vip);
        assert_eq!(judge.admitted(&next, 10), 10, "another network");
        let v4_at = |n: u8| syn(IpAddr::from([203, 0, 113, n]), v4().vip);
        assert_eq!((0..100).map(|n| judge.admitted(&v4_at(n), 1)).sum::<usize>(), 100, "each its own");
    });
}

#[test]
fn a_vip_is_cut_at_its_rate_whoever_asks() {
    Judge::sit(|judge| {
        judge.steering.apply(&sets()).expect("applied");
        judge.steering.limit(&FloodLimits { source: None, vip: rate(2, 30) }).expect("set");
        let c = v4();
        let from = |n: u8| syn(IpAddr::from([203, 0, 113, n]), c.vip);
        let (admitted, more) = timed(2, || (0..200).map(|n| judge.admitted(&from(n), 1)).sum::<usize>());
        assert!((30..=30 + more).contains(&admitted), "{admitted} admitted");
        assert_eq!(judge.dropped(), (0, 200 - admitted as u64));
        assert_eq!(judge.admitted(&syn(c.client, c.open), 30), 30, "another VIP");
        assert_eq!(judge.admitted(&syn(v6().client, v6().vip), 30), 30, "of another family");
    });
}

#[test]
fn what_one_source_has_too_many_costs_the_others_nothing() {
    Judge::sit(|judge| {
        judge.steering.apply(&sets()).expect("applied");
        judge.steering.limit(&FloodLimits { source: rate(1, 10), vip: rate(1, 40) }).expect("set");
        let c = v4();
        let (admitted, more) = timed(1, || judge.admitted(&syn(c.client, c.vip), 500));
        assert!((10..=10 + more).contains(&admitted), "{admitted} admitted");
        let others = (1..=20).map(|n| judge.admitted(&syn(IpAddr::from([203, 0, 113, n]), c.vip), 1));
        assert_eq!(others.sum::<usize>(), 20);
        assert_eq!(judge.dropped(), (500 - admitted as u64, 0));
    });
}

#[test]
fn only_new_connections_to_services_are_limited() {
    Judge::sit(|judge| {
        judge.steering.apply(&sets()).expect("applied");
        judge.steering.limit(&FloodLimits { source: rate(1, 1), vip: rate(1, 1) }).expect("set");
        for c in [v4(), v6()] {
            let to_vip = |flags| ether(&ip(c.client, c.vip, TCP, 0, &tcp(1000, 80, flags)));
            let others = [
                to_vip(ACK),
                to_vip(SYN | ACK),
                to_vip(0),
                // Too short to show its flags.
                to_vip(SYN)[..to_vip(SYN).len() - 7].to_vec(),
                ether(&ip(c.client, c.open, UDP, 0, &udp_datagram(1000, 53))),
                ether(&ip(c.real, c.client, TCP, 0, &tcp(8080, 1000, SYN))),
            ];
            for frame in &others {
                assert_eq!(judge.admitted(frame, 20), 20, "{frame:02x?}");
            }
            let elsewhere = ether(&ip(c.client, c.vip, TCP, 0, &tcp(1000, 22, SYN)));
            assert!((0..20).all(|_| judge.fate(&elsewhere) == Fate::Passed));
        }
        let later = ether(&ip(v4().client, v4().vip, TCP, 185, &tcp(1000, 80, SYN)));
        assert_eq!(judge.admitted(&later, 20), 20);
        assert_eq!(judge.dropped(), (0, 0));
        let (admitted, more) =
            timed(1, || judge.admitted(&tagged(syn(v4().client, v4().vip), &[0x8100]), 20));
        assert!((1..=1 + more).contains(&admitted), "behind a tag, too: {admitted}");
    });
}

#[test]
fn a_bucket_fills_again_and_limits_may_be_changed_and_lifted() {
    Judge::sit(|judge| {
        judge.steering.apply(&sets()).expect("applied");
        let frame = syn(v4().client, v4().vip);
        assert_eq!(judge.admitted(&frame, 1000), 1000, "without a limit");
        judge.steering.limit(&FloodLimits { source: rate(50, 5), vip: rate(50, 5) }).expect("set");
        assert!(judge.admitted(&frame, 100) < 100);
        wait_until("the bucket has a token", || judge.fate(&frame) == Fate::Taken);
        // Empty for 1000 seconds by this limit, which must not outlive it.
        judge.steering.limit(&FloodLimits { source: rate(1, 1000), vip: None }).expect("set");
        assert!(judge.admitted(&frame, 1500) < 1500);
        judge.steering.limit(&FloodLimits { source: rate(100, 100), vip: None }).expect("set");
        wait_until("the new limit admits one", || judge.fate(&frame) == Fate::Taken);
        judge.steering.limit(&FloodLimits::default()).expect("lifted");
        let before = judge.dropped();
        assert_eq!(judge.admitted(&frame, 1000), 1000);
        assert_eq!(judge.dropped(), before);
    });
}

#[test]
fn more_sources_than_are_remembered_are_all_admitted() {
    Judge::sit(|judge| {
        judge.steering.apply(&sets()).expect("applied");
        judge.steering.limit(&FloodLimits { source: rate(1, 1), vip: None }).expect("set");
        let mut frame = syn(v4().client, v4().vip);
        for n in 0..70_000u32 {
            frame[26..30].copy_from_slice(&(0xc612_0000 | n).to_be_bytes());
            assert_eq!(judge.fate(&frame), Fate::Taken, "source {n}");
        }
    });
}
