//! A table against a map, over random operations.

#![cfg(not(loom))]

use proptest::prelude::*;
use sheave_table::{Found, Handle, Payload, Reserve, SweepCursor, Table, Update, Verdict};
use std::collections::{HashMap, HashSet};

/// What is done to both.
#[derive(Clone, Debug)]
enum Op {
    Get(u8),
    Insert(u8, u64),
    /// Reserve, look, give up.
    Abandon(u8),
    /// By the handle of this key's entry, or of one that is gone.
    Update(u8, u64),
    UpdateStale(u8, u64),
    Remove(u8),
    RemoveStale(u8),
    /// Remove all entries with a payload that is a multiple of this.
    Sweep(u64),
    Scan(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..60u8;
    let payload = 0..1u64 << 54;
    prop_oneof![
        4 => key.clone().prop_map(Op::Get),
        6 => (key.clone(), payload.clone()).prop_map(|(k, p)| Op::Insert(k, p)),
        1 => key.clone().prop_map(Op::Abandon),
        2 => (key.clone(), payload.clone()).prop_map(|(k, p)| Op::Update(k, p)),
        1 => (key.clone(), payload).prop_map(|(k, p)| Op::UpdateStale(k, p)),
        2 => key.clone().prop_map(Op::Remove),
        1 => key.prop_map(Op::RemoveStale),
        1 => (2..5u64).prop_map(Op::Sweep),
        1 => (1..9usize).prop_map(Op::Scan),
    ]
}

/// Both sides, and the handles of entries that are gone.
struct Pair<const K: usize> {
    table: Table<K>,
    map: HashMap<[u64; K], (Handle, Payload)>,
    gone: HashMap<[u64; K], Handle>,
}

impl<const K: usize> Pair<K> {
    fn new(slots: u64, seed: u64) -> Pair<K> {
        Pair { table: Table::on_heap(slots, seed), map: HashMap::new(), gone: HashMap::new() }
    }

    /// Keys that share words, zero words and a key of zeroes among them.
    fn key(short: u8) -> [u64; K] {
        std::array::from_fn(|i| if i == 0 { u64::from(short / 4) } else { u64::from(short % 4) })
            .map(|word: u64| if K == 1 { word * 1000 + u64::from(short) } else { word })
    }

    fn run(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match *op {
            Op::Get(k) => self.get(Self::key(k)),
            Op::Insert(k, payload) => self.insert(Self::key(k), Payload::new(payload)),
            Op::Abandon(k) => {
                let key = Self::key(k);
                if let Reserve::Reserved(slot) = self.table.reserve(&key, self.table.hash(&key)) {
                    prop_assert!(!self.map.contains_key(&key));
                    prop_assert_eq!(self.table.load(slot.handle()), None);
                    prop_assert!(matches!(self.table.reserve(&key, self.table.hash(&key)), Reserve::Busy));
                }
                self.get(key)
            }
            Op::Update(k, new) => {
                let Some((handle, payload)) = self.map.get_mut(&Self::key(k)) else { return Ok(()) };
                let new = Payload::new(new);
                if new != *payload {
                    prop_assert_eq!(self.table.update(*handle, new, new), Err(Update::Changed(*payload)));
                }
                prop_assert_eq!(self.table.update(*handle, *payload, new), Ok(()));
                *payload = new;
                Ok(())
            }
            Op::UpdateStale(k, new) => {
                let Some(handle) = self.gone.get(&Self::key(k)) else { return Ok(()) };
                let new = Payload::new(new);
                prop_assert_eq!(self.table.load(*handle), None);
                prop_assert_eq!(self.table.update(*handle, new, new), Err(Update::Gone));
                Ok(())
            }
            Op::Remove(k) => self.remove(Self::key(k)),
            Op::RemoveStale(k) => {
                let Some(handle) = self.gone.get(&Self::key(k)) else { return Ok(()) };
                prop_assert_eq!(self.table.remove(*handle, Payload::new(0)), Err(Update::Gone));
                Ok(())
            }
            Op::Sweep(n) => self.sweep(n),
            Op::Scan(step) => self.scan(step),
        }
    }

    fn get(&self, key: [u64; K]) -> Result<(), TestCaseError> {
        let found = self.table.get(&key, self.table.hash(&key));
        let known = self.map.get(&key).map(|&(handle, payload)| Found { handle, payload });
        prop_assert_eq!(found, known);
        if let Some(found) = found {
            prop_assert_eq!(self.table.load(found.handle), Some((key, found.payload)));
        }
        Ok(())
    }

    fn insert(&mut self, key: [u64; K], payload: Payload) -> Result<(), TestCaseError> {
        match self.table.reserve(&key, self.table.hash(&key)) {
            Reserve::Reserved(slot) => {
                prop_assert!(!self.map.contains_key(&key));
                prop_assert_eq!(self.table.get(&key, self.table.hash(&key)), None);
                let promised = slot.handle();
                let handle = slot.publish(payload);
                prop_assert_eq!(handle, Ok(promised));
                self.map.insert(key, (promised, payload));
                // A slot has 256 generations; runs are too short to come round.
                self.gone.retain(|_, gone| *gone != promised);
            }
            Reserve::Exists(found) => {
                prop_assert_eq!(self.map.get(&key), Some(&(found.handle, found.payload)));
            }
            Reserve::Full => prop_assert!(self.map.len() >= 8, "full with {} entries", self.map.len()),
            Reserve::Busy => prop_assert!(false, "busy, with one thread"),
        }
        self.get(key)
    }

    fn remove(&mut self, key: [u64; K]) -> Result<(), TestCaseError> {
        let Some((handle, payload)) = self.map.remove(&key) else { return Ok(()) };
        let other = Payload::new(payload.bits() ^ 1);
        prop_assert_eq!(self.table.remove(handle, other), Err(Update::Changed(payload)));
        prop_assert_eq!(self.table.remove(handle, payload), Ok(()));
        prop_assert_eq!(self.table.remove(handle, payload), Err(Update::Gone));
        self.gone.insert(key, handle);
        self.get(key)
    }

    fn sweep(&mut self, n: u64) -> Result<(), TestCaseError> {
        let before = self.map.len();
        let (mut visited, mut removed) = (0, 0);
        for share in 0..3 {
            let mut cursor = SweepCursor::share(&self.table, share, 3);
            loop {
                let swept = self.table.sweep(&mut cursor, 2, |handle, key, payload| {
                    assert_eq!(self.map.get(key), Some(&(handle, payload)));
                    if payload.bits().is_multiple_of(n) { Verdict::Remove } else { Verdict::Keep }
                });
                visited += swept.visited;
                removed += swept.removed;
                if swept.wrapped {
                    break;
                }
            }
        }
        self.map.retain(|key, (handle, payload)| {
            let stays = !payload.bits().is_multiple_of(n);
            if !stays {
                self.gone.insert(*key, *handle);
            }
            stays
        });
        prop_assert_eq!((visited, removed), (before, before - self.map.len()));
        Ok(())
    }

    fn scan(&self, step: usize) -> Result<(), TestCaseError> {
        let mut seen = HashSet::new();
        let mut from = Some(0);
        while let Some(bucket) = from {
            from = self.table.scan(bucket, step, |handle, key, payload| {
                assert_eq!(self.map.get(key), Some(&(handle, payload)));
                assert!(seen.insert(*key), "{key:?} shown twice");
            });
        }
        prop_assert_eq!(seen.len(), self.map.len());
        Ok(())
    }
}

fn agree<const K: usize>(slots: u64, seed: u64, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut pair = Pair::<K>::new(slots, seed);
    for op in ops {
        pair.run(op)?;
        prop_assert_eq!(pair.table.len(), pair.map.len());
    }
    for short in 0..60 {
        pair.remove(Pair::<K>::key(short))?;
    }
    prop_assert!(pair.table.is_empty());
    prop_assert_eq!(pair.table.overflowed(), 0);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Small enough to fill up, and to use the overflow area.
    #[test]
    fn a_narrow_table_is_a_map(seed: u64, slots in 1..64u64, ops in prop::collection::vec(op(), 0..250)) {
        agree::<1>(slots, seed, &ops)?;
    }

    #[test]
    fn a_wide_table_is_a_map(seed: u64, slots in 1..64u64, ops in prop::collection::vec(op(), 0..250)) {
        agree::<3>(slots, seed, &ops)?;
    }
}
