//! By hash: dh, sh, mh, source. The same on every director, evenly spread, and steady when the pool changes.

use super::{Bench, FALLBACK, hashed, letter};
use crate::ids::{DestId, ServiceId};
use crate::live::Live;
use crate::scheduler::{Excluded, HashKey, HashOptions, Pick, Pool, Rng, TableSize, Tables, buckets, ring};
use crate::snapshot::{Health, Limits, Method, SchedulerKind, Snapshot};
use crate::testing::Site;
use crate::time::Time;
use proptest::prelude::*;
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const PLAIN: HashOptions = HashOptions { port: false, fallback: false };
const PORT: HashOptions = HashOptions { port: true, fallback: false };
const FLOWS: u32 = 100_000;

fn mh(options: HashOptions) -> SchedulerKind {
    SchedulerKind::Mh(options, TableSize::default())
}

/// Flows from many clients of both families to many VIPs.
fn flow(n: u32) -> Pick {
    let spread = n.wrapping_mul(0x9e37_79b1);
    let client: IpAddr = if n.is_multiple_of(4) {
        Ipv6Addr::from_bits((0x2001_0db8 << 96) | u128::from(spread)).into()
    } else {
        Ipv4Addr::from_bits(spread).into()
    };
    let vip = Ipv4Addr::from_bits(0xc612_0000 + (n >> 2)).into();
    Pick { client, client_port: (n % 60_000) as u16 + 1024, vip }
}

/// A real server with its weight.
type Real = (Ipv4Addr, u16, u32);

/// A director with one service whose destinations are these, in this order.
struct Director {
    reals: Vec<Real>,
    snapshot: Snapshot,
    live: Live,
    rng: Rng,
}

impl Director {
    fn new(scheduler: SchedulerKind, reals: &[Real], earlier: Option<&Snapshot>) -> Director {
        let mut site = Site::with(Proto::Tcp, Method::DirectRoute, u8::try_from(reals.len()).expect("few"));
        site.tables = earlier.map_or_else(Tables::default, Snapshot::tables);
        site.services[0].scheduler = scheduler;
        for (destination, real) in site.services[0].destinations.iter_mut().zip(reals) {
            destination.addr = IpAddr::V4(real.0);
            destination.port = Some(real.1);
            destination.weight = real.2;
        }
        Director {
            reals: reals.to_vec(),
            snapshot: site.snapshot(),
            live: Live::new(),
            // Its own numbers.
            rng: Rng::new(u64::from(reals[0].1), reals.len()),
        }
    }

    fn pick(&mut self, n: u32) -> Option<Real> {
        let excluded = Excluded::none();
        let pool =
            Pool::new(&self.snapshot, ServiceId(0), &self.live, Time(1), &excluded).expect("a service");
        pool.pick(&flow(n), &mut self.rng).map(|id| self.reals[id.index()])
    }
}

/// Real servers, each with two ports, of different weights.
fn reals() -> Vec<Real> {
    let addr = |n: u8| Ipv4Addr::new(198, 19, 1, 10 + n);
    (0..24).map(|n| (addr(n / 2), 8000 + u16::from(n % 2), u32::from(n % 5))).collect()
}

#[test]
fn two_directors_choose_alike_whatever_the_order_and_so_do_they_after_a_restart() {
    let kinds = [
        mh(PLAIN),
        mh(FALLBACK),
        SchedulerKind::Sh(PLAIN),
        SchedulerKind::Sh(PORT),
        SchedulerKind::Dh,
        SchedulerKind::Source,
    ];
    for kind in kinds {
        let reals = reals();
        let mut other_order: Vec<_> = reals.iter().rev().copied().collect();
        other_order.swap(3, 17);
        let mut first = Director::new(kind, &reals, None);
        let mut second = Director::new(kind, &other_order, None);
        let mut restarted = Director::new(kind, &reals, None);
        let mut changed = Director::new(kind, &reals, Some(&second.snapshot));
        let mut unlike = 0;
        for n in 0..FLOWS {
            let choice = first.pick(n);
            unlike += u32::from(choice != second.pick(n));
            unlike += u32::from(choice != restarted.pick(n) || choice != changed.pick(n));
        }
        assert_eq!(unlike, 0, "{kind:?}");
    }
}

/// What the choice depends on may never change between versions: neighbours of different versions share flows.
#[test]
fn choices_are_these() {
    let reals: Vec<Real> = (0..8).map(|n| (Ipv4Addr::new(198, 19, 1, 10 + n), 80, 1)).collect();
    let choices = |kind| -> String {
        let mut director = Director::new(kind, &reals, None);
        let place = |choice: Option<Real>| reals.iter().position(|real| Some(*real) == choice);
        (0..32)
            .map(|n| letter(place(director.pick(n)).map(|n| DestId(u16::try_from(n).expect("few")))))
            .collect()
    };
    let kinds = [
        mh(PLAIN),
        mh(PORT),
        SchedulerKind::Sh(PLAIN),
        SchedulerKind::Sh(PORT),
        SchedulerKind::Dh,
        SchedulerKind::Source,
    ];
    let expected = [
        "HCECFCEDABBBADGEHDEADCBHCCFCDBDE",
        "DCHEHCEACAGGBHBAFFEAGFGBADFEFBBC",
        "CBAAHGEEFGFECGHHHAHADBAGEBCEAAEA",
        "GDFGDAEABHEAAAHGEGCDBCGADEDCFGDF",
        "EEEEBBBBBBBBBBBBHHHHHHHHHHHHCCCC",
        "CCCFCDDACDHAGDAABEEEBDFHCEDFBDGB",
    ];
    assert_eq!(kinds.map(choices), expected);
}

#[test]
fn options_say_whether_the_port_counts() {
    for kind in [SchedulerKind::Sh, |options| mh(options)] as [fn(HashOptions) -> SchedulerKind; 2] {
        for (options, several) in [(PLAIN, false), (PORT, true)] {
            let mut bench = Bench::new(kind(options), &[1; 8]);
            let picks: Vec<_> = (1..100)
                .map(|port| {
                    bench.flow.client_port = port;
                    bench.pick()
                })
                .collect();
            let same = picks.iter().all(|pick| *pick == picks[0]);
            assert_eq!(same, !several, "{:?}", kind(options));
        }
    }
    let mut source = Bench::new(SchedulerKind::Source, &[1; 8]);
    let first = source.pick();
    source.flow.client_port = 9;
    source.flow.vip = Ipv4Addr::new(198, 18, 0, 9).into();
    assert_eq!(source.pick(), first, "source looks at the client's address alone");
    let mut dh = Bench::new(SchedulerKind::Dh, &[1; 8]);
    let first = dh.pick();
    dh.flow.client = Ipv4Addr::new(192, 0, 2, 77).into();
    assert_eq!(dh.pick(), first, "dh looks at the VIP alone");
    let vips = |n| {
        dh.flow.vip = Ipv4Addr::from_bits(n).into();
        dh.pick()
    };
    let picks: std::collections::HashSet<_> = (0..100).map(vips).collect();
    assert_eq!(picks.len(), 8);
}

/// Flows by destination, each about as many as its weight says: within six standard deviations, and what the table
/// itself is uneven by.
#[test]
fn flows_are_spread_by_weight() {
    let weights = [1, 2, 3, 4, 0, 6];
    // One with weight 0 has a bucket in 17, whose flows the others share.
    for (kind, uneven) in
        [(mh(PORT), 0.001), (SchedulerKind::Sh(FALLBACK), 0.1), (SchedulerKind::Source, 0.12)]
    {
        let mut bench = Bench::new(kind, &weights);
        let mut shares = [0u32; 6];
        for n in 0..FLOWS {
            bench.flow = flow(n);
            bench.pick().into_iter().for_each(|id| shares[id.index()] += 1);
        }
        let sum: u32 = weights.iter().sum();
        for (share, weight) in shares.iter().zip(weights) {
            let p = f64::from(weight) / f64::from(sum);
            let fair = f64::from(FLOWS) * p;
            let by_chance = 6.0 * (fair * (1.0 - p)).sqrt();
            assert!((f64::from(*share) - fair).abs() <= by_chance + fair * uneven, "{kind:?}: {shares:?}");
        }
    }
}

#[test]
fn without_a_fallback_only_the_flows_of_an_overloaded_destination_suffer() {
    let kinds: [fn(HashOptions) -> SchedulerKind; 2] = [SchedulerKind::Sh, |options| mh(options)];
    for kind in kinds {
        let mut plain = Bench::new(kind(PORT), &[1; 4]);
        let mut falling = Bench::new(kind(FALLBACK), &[1; 4]);
        let mut fell = [0; 4];
        for n in 0..2_000 {
            let pick = |bench: &mut Bench, full: bool| {
                let limits = Limits { connections: u32::from(full), ..Limits::default() };
                bench.flow = flow(n);
                (bench.live.destination(DestId(2)).active() == 0).then(|| bench.load(2, 1, 0));
                if bench.site.services[0].destinations[2].limits != limits {
                    bench.change_one(2, |d| d.limits = limits);
                }
                bench.pick()
            };
            let before = pick(&mut plain, false);
            let (without, with) = (pick(&mut plain, true), pick(&mut falling, true));
            if before == Some(DestId(2)) {
                assert_eq!(without, None);
                fell[with.expect("another one").index()] += 1;
            } else {
                assert_eq!((without, with), (before, before));
            }
        }
        assert_eq!(fell[2], 0);
        assert!([0, 1, 3].iter().all(|other| fell[*other] > 50), "spread over the others: {fell:?}");
    }
}

#[test]
fn an_excluded_destination_is_skipped_without_a_fallback_too() {
    for kind in hashed(PLAIN).into_iter().chain([SchedulerKind::Dh]) {
        let mut bench = Bench::new(kind, &[1; 4]);
        let own = bench.pick().expect("a destination");
        bench.excluded.add(own);
        let other = bench.pick().expect("another one");
        assert_ne!(other, own);
    }
}

#[test]
fn weight_zero_keeps_a_bucket_but_no_slot_and_no_point() {
    for (kind, kept) in [
        (SchedulerKind::Sh(PORT), true),
        (SchedulerKind::Dh, true),
        (mh(PORT), false),
        (SchedulerKind::Source, false),
    ] {
        let mut bench = Bench::new(kind, &[1, 0, 1]);
        let none = (0..1_000).filter(|n| {
            bench.flow = flow(*n);
            bench.pick().is_none()
        });
        let none = none.count();
        assert_eq!(none > 250, kept, "{kind:?}: {none} of 1000 go nowhere");
        assert_eq!(none == 0, !kept, "{kind:?}: {none} of 1000 go nowhere");
    }
}

#[test]
fn the_last_usable_one_of_many_is_found() {
    for kind in hashed(FALLBACK) {
        let mut bench = Bench::new(kind, &[1; 200]);
        bench.change(|service| {
            for d in service.destinations.iter_mut().filter(|d| d.id != DestId(77)) {
                d.limits = Limits { connections: 1, ..Limits::default() };
            }
        });
        (0..200).for_each(|id| bench.load(id, 1, 0));
        assert_eq!(bench.pick(), Some(DestId(77)), "{kind:?}");
    }
}

#[test]
fn tables_are_shared_until_something_that_they_are_made_of_changes() {
    let same = |a: &Snapshot, b: &Snapshot| {
        let table = |s: &Snapshot| s.tables().get(ServiceId(0)).and_then(|t| t.all.clone()).expect("a table");
        Arc::ptr_eq(&table(a), &table(b))
    };
    let mut reals = reals();
    let first = Director::new(mh(PLAIN), &reals, None).snapshot;
    assert!(same(&first, &Director::new(mh(PLAIN), &reals, Some(&first)).snapshot));
    assert!(same(&first, &Director::new(mh(FALLBACK), &reals, Some(&first)).snapshot), "flags are not in it");
    assert!(!same(&first, &Director::new(mh(PLAIN), &reals, None).snapshot));
    assert!(!same(&first, &Director::new(SchedulerKind::Source, &reals, Some(&first)).snapshot));
    let smaller = SchedulerKind::Mh(PLAIN, TableSize::new(251).expect("a size"));
    assert!(!same(&first, &Director::new(smaller, &reals, Some(&first)).snapshot));
    reals[5].2 += 1;
    assert!(!same(&first, &Director::new(mh(PLAIN), &reals, Some(&first)).snapshot));
    reals[5].2 -= 1;
    reals.swap(1, 2);
    assert!(!same(&first, &Director::new(mh(PLAIN), &reals, Some(&first)).snapshot), "other numbers");
}

#[test]
fn a_destination_that_fails_loses_its_flows_and_the_others_keep_theirs() {
    for (kind, strict) in [(mh(PORT), false), (SchedulerKind::Source, true)] {
        let mut bench = Bench::new(kind, &[1; 10]);
        let picks = |bench: &mut Bench| -> Vec<_> {
            (0..10_000)
                .map(|n| {
                    bench.flow = flow(n);
                    bench.pick()
                })
                .collect()
        };
        let before = picks(&mut bench);
        bench.change_one(4, |d| d.health = Health::Down);
        let after = picks(&mut bench);
        let others = before.iter().zip(&after).filter(|(was, _)| **was != Some(DestId(4)));
        let moved = others.filter(|(was, is)| was != is).count();
        assert!(moved <= if strict { 0 } else { 200 }, "{kind:?}: {moved} of 10000");
        bench.change_one(4, |d| d.health = Health::Up);
        assert_eq!(picks(&mut bench), before);
    }
}

#[test]
fn buckets_are_given_out_in_turn_by_weight() {
    let letters = |weights: &[u32]| -> String {
        buckets::fill(weights).iter().map(|member| letter(Some(DestId(*member)))).collect()
    };
    let round = |round: &str| round.chars().cycle().take(256).collect::<String>();
    assert_eq!(letters(&[7]), round("A"));
    assert_eq!(letters(&[1, 1, 1]), round("ABC"));
    assert_eq!(letters(&[3, 0, 2]), round("AAABCC"));
    assert_eq!(letters(&[500, 250]), round("AAB"));
    assert_eq!(letters(&[0, 0]), round("AB"));
    let large = letters(&[2_147_483_647, 2_147_483_646, 1, 2_147_483_646]);
    assert_eq!(large, format!("{}{}{}", "A".repeat(85), "B".repeat(86), "D".repeat(85)));
    assert_eq!(letters(&[128, 127, 2]), format!("{}{}{}", "A".repeat(128), "B".repeat(126), "C".repeat(2)));
}

#[test]
fn a_ring_is_bounded_and_everyone_is_on_it() {
    let members = |n: u32, weight: u32| (0..n).map(move |n| ((Ipv4Addr::from_bits(n).into(), 80), weight));
    let key = HashKey::default();
    let points = |n, weight| ring::fill(&key, members(n, weight)).len();
    assert_eq!(points(3, 1), 480);
    assert_eq!(points(3, 10), 4800);
    assert!((131_000..=131_072).contains(&points(3, 2_147_483_647)));
    assert_eq!(points(2_000, 1), 2_000 * 65);
    let uneven = members(1, 2_147_483_647).chain(members(3, 1).skip(1));
    let ring = ring::fill(&key, uneven);
    assert!(
        [1, 2].iter().all(|light| ring.iter().filter(|point| ring::member(**point) == *light).count() == 1)
    );
    assert!(ring.is_sorted());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The first point from a hash on, by looking at all of them.
    #[test]
    fn a_ring_is_searched_right(count in 1u32..20, hash: u64) {
        let members = (0..count).map(|n| ((IpAddr::from(Ipv4Addr::from_bits(n)), 80), 1));
        let ring = ring::fill(&HashKey::default(), members);
        let nearest = ring.iter().min_by_key(|point| (*point >> 16).wrapping_sub(hash >> 16) & ((1 << 48) - 1));
        prop_assert_eq!(Some(&ring[ring::find(&ring, hash)]), nearest);
    }
}
