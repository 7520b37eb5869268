//! The table of mh: by the book, its spread, and how little of it moves.

use crate::scheduler::HashKey;
use crate::scheduler::maglev::{TableSize, Walker, fill};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

type Place = (IpAddr, u16);
type Weights = BTreeMap<Place, u32>;

fn place(n: u32) -> Place {
    (Ipv4Addr::from_bits(0xc613_0000 + n).into(), 80)
}

fn size(slots: u32) -> TableSize {
    TableSize::new(slots).expect("a size")
}

fn equal(n: u32) -> Weights {
    (0..n).map(|n| (place(n), 1)).collect()
}

/// The table with its slots named by their owners.
fn table(slots: u32, weights: &Weights) -> Vec<Place> {
    let key = HashKey::default();
    let walkers: Vec<Walker> =
        weights.iter().map(|(place, weight)| Walker::new(&key, size(slots), *place, *weight)).collect();
    let places: Vec<Place> = weights.keys().copied().collect();
    fill(size(slots), &walkers).iter().map(|walker| places[usize::from(*walker)]).collect()
}

fn counts(table: &[Place]) -> BTreeMap<Place, u32> {
    let mut counts = BTreeMap::new();
    table.iter().for_each(|place| *counts.entry(*place).or_default() += 1);
    counts
}

/// What part of the table moved more than it had to.
fn needless(before: &[Place], after: &[Place]) -> f64 {
    let moved = before.iter().zip(after).filter(|(a, b)| a != b).count();
    let (had, has) = (counts(before), counts(after));
    let gained = has.iter().map(|(place, n)| n.saturating_sub(had.get(place).copied().unwrap_or(0)));
    let needed: u32 = gained.sum();
    (moved as f64 - f64::from(needed)) / before.len() as f64
}

/// By the book: every turn of everyone, sorted by time as a fraction, each taking the first free slot of its walk.
fn by_the_book(slots: u32, walkers: &[(u32, u64, u64)]) -> Vec<usize> {
    // (twice the time's numerator, denominator, heavier first, order)
    let mut turns: Vec<(u128, u128, usize)> = Vec::new();
    for (order, (weight, ..)) in walkers.iter().enumerate() {
        turns.push((0, 1, order));
        turns.extend((1..u128::from(slots)).map(|k| (2 * k + 1, u128::from(*weight), order)));
    }
    turns.sort_by(|(a, b, m), (c, d, n)| {
        let heavier = walkers[*n].0.cmp(&walkers[*m].0);
        (a * d).cmp(&(c * b)).then(heavier).then(m.cmp(n))
    });
    let slots = u64::from(slots);
    let mut table = vec![usize::MAX; usize::try_from(slots).expect("small")];
    let mut left = slots;
    for (.., order) in turns {
        let (_, offset, skip) = walkers[order];
        let walk = (0..slots).map(|k| usize::try_from((offset + k * skip) % slots).expect("small"));
        let Some(free) = walk.into_iter().find(|slot| table[*slot] == usize::MAX) else { break };
        table[free] = order;
        left -= 1;
        if left == 0 {
            break;
        }
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_table_is_that_of_the_book(
        members in prop::collection::vec((1u32..40, any::<u64>(), any::<u64>()), 1..9),
        scale in 1u32..1000,
    ) {
        let members: Vec<_> =
            members.iter().map(|(w, offset, skip)| (w * scale, offset % 251, skip % 250 + 1)).collect();
        let small = |n: u64| u32::try_from(n).expect("small");
        let walkers: Vec<Walker> =
            members.iter().map(|(w, offset, skip)| Walker::starting(*w, small(*offset), small(*skip))).collect();
        let table: Vec<usize> = fill(size(251), &walkers).iter().map(|walker| usize::from(*walker)).collect();
        prop_assert_eq!(table, by_the_book(251, &members));
    }

    #[test]
    fn everyone_has_as_many_slots_as_its_weight_says(
        weights in prop::collection::vec(1u32..=2_147_483_647, 1..40),
        slots in prop::sample::select(&TableSize::ALL[..7]),
    ) {
        let weights: Weights = (0..).zip(&weights).map(|(n, weight)| (place(n), *weight)).collect();
        let table = table(slots, &weights);
        let counts = counts(&table);
        let sum: f64 = weights.values().map(|weight| f64::from(*weight)).sum();
        // Each is rounded by half a slot; those that are too light for one get one at the cost of the others.
        for (place, weight) in &weights {
            let fair = f64::from(*weight) / sum * f64::from(slots);
            let has = f64::from(counts.get(place).copied().unwrap_or(0));
            prop_assert!((has - fair).abs() <= 1.0 + weights.len() as f64 / 2.0 * fair / f64::from(slots),
                "{has} of {slots}, fair are {fair}");
            prop_assert!(has >= 1.0);
        }
    }
}

#[test]
fn every_size_is_filled_and_evenly() {
    for slots in TableSize::ALL {
        let counts = counts(&table(slots, &equal(10)));
        let all: Vec<u32> = counts.values().copied().collect();
        let (least, most) = (all.iter().min(), all.iter().max());
        assert_eq!(all.len(), 10);
        assert_eq!(all.iter().sum::<u32>(), slots);
        assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{slots}: {all:?}");
    }
    assert_eq!((TableSize::new(65536), TableSize::new(0)), (None, None));
}

#[test]
fn extremes_of_weight_and_number() {
    let heavy: Weights = [(place(0), 2_147_483_647), (place(1), 1)].into();
    assert_eq!(counts(&table(65537, &heavy)), [(place(0), 65536), (place(1), 1)].into());
    assert_eq!(counts(&table(251, &equal(1))), [(place(0), 251)].into());
    let more_than_slots = counts(&table(251, &equal(300)));
    assert_eq!((more_than_slots.len(), more_than_slots.values().max()), (251, Some(&1)));
    assert!(fill(size(251), &[]).is_empty());
}

#[test]
fn weights_count_only_in_proportion() {
    let weights = |factor: u32| -> Weights { (0..20).map(|n| (place(n), (1 + n % 4) * factor)).collect() };
    assert_eq!(table(4093, &weights(1)), table(4093, &weights(7_000)));
}

/// Every change moves what it has to, and little more.
#[test]
fn a_change_moves_little_more_than_it_must() {
    for count in [3, 10, 100, 1000] {
        let before: Weights = (0..count).map(|n| (place(n), 10)).collect();
        let full = table(65537, &before);
        for weight in [0, 5, 9, 11, 20, 50] {
            let mut after = before.clone();
            after.insert(place(count / 2), weight);
            after.retain(|_, weight| *weight > 0);
            let needless = needless(&full, &table(65537, &after));
            assert!((0.0..0.02).contains(&needless), "{count} with one of weight {weight}: {needless}");
        }
        let mut after = before.clone();
        after.insert(place(count), 10);
        let needless = needless(&full, &table(65537, &after));
        assert!((0.0..0.02).contains(&needless), "{count} and one more: {needless}");
    }
}

#[test]
fn another_key_is_another_table() {
    let walker = |key: &str| Walker::new(&HashKey::of(key), size(65521), place(0), 1);
    let table = |key: &str| {
        let one = fill(size(65521), &[walker(key), Walker::starting(1, 0, 1)]);
        one.iter().filter(|owner| **owner == 0).count()
    };
    assert_eq!(format!("{:?}", walker("a")), format!("{:?}", walker("a")));
    assert_ne!(format!("{:?}", walker("a")), format!("{:?}", walker("b")));
    assert_eq!(table("a"), table("b"), "both have half of it all the same");
}
