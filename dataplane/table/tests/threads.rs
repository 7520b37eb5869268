//! Several threads on one table, for longer than a model can run.

#![cfg(not(loom))]

use sheave_table::{Handle, Narrow, Payload, Reserve, SweepCursor, Table, Update, Verdict, Wide};
use std::sync::{
    Barrier,
    atomic::{AtomicU64, Ordering},
};

const THREADS: u64 = 4;

fn index(number: u64) -> usize {
    usize::try_from(number).expect("small")
}

/// All insert all keys at once: each key ends up with one entry, made by the one who was told so.
fn insert_all<const K: usize>(table: &Table<K>, key: impl Fn(u64) -> [u64; K] + Sync, keys: u64) {
    let start = Barrier::new(index(THREADS));
    let made: Vec<AtomicU64> = (0..keys).map(|_| AtomicU64::new(u64::MAX)).collect();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (start, made, key) = (&start, &made, &key);
            scope.spawn(move || {
                start.wait();
                for i in 0..keys {
                    let key = key(i);
                    let Reserve::Reserved(slot) = table.reserve(&key, table.hash(&key)) else { continue };
                    if slot.publish(Payload::new(thread)).is_ok() {
                        let before = made[index(i)].swap(thread, Ordering::Relaxed);
                        assert_eq!(before, u64::MAX, "{key:?} made twice");
                    }
                }
            });
        }
    });
    let mut entries = vec![0; made.len()];
    for (i, owner) in made.iter().enumerate() {
        let key = key(i as u64);
        let found = table.get(&key, table.hash(&key)).expect("somebody made it");
        assert_eq!(found.payload.bits(), owner.load(Ordering::Relaxed));
        entries[i] += 1;
    }
    assert_eq!(table.len(), made.len());
    let mut shown = 0;
    table.scan(0, usize::MAX, |_, _, _| shown += 1);
    assert_eq!(shown, made.len());
}

const KEYS: u64 = if cfg!(miri) { 20 } else { 30_000 };

#[test]
fn a_key_has_one_entry_whoever_inserts_it() {
    insert_all(&Narrow::on_heap(KEYS * 4 / 3, 1), |i| [i + 1], KEYS);
    insert_all(&Wide::on_heap(KEYS * 4 / 3, 1), |i| [i / 16 + 1, i % 4, i / 4 % 4], KEYS);
}

/// Few keys, made, counted up and removed by all at once: what was counted comes out when the entry goes.
#[test]
fn no_update_is_lost_among_inserts_and_removals() {
    const ROUNDS: u64 = if cfg!(miri) { 50 } else { 60_000 };
    let table = Narrow::on_heap(8, 1);
    let (added, taken) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, added, taken) = (&table, &added, &taken);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let key = [1 + (round * 7 + thread) % 5];
                    let Some(found) = table.get(&key, table.hash(&key)) else {
                        if let Reserve::Reserved(slot) = table.reserve(&key, table.hash(&key)) {
                            let _ = slot.publish(Payload::new(0));
                        }
                        continue;
                    };
                    if round % 16 == 0 {
                        if table.remove(found.handle, found.payload).is_ok() {
                            taken.fetch_add(found.payload.bits(), Ordering::Relaxed);
                        }
                    } else if table
                        .update(found.handle, found.payload, Payload::new(found.payload.bits() + 1))
                        .is_ok()
                    {
                        added.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut cursor = SweepCursor::share(&table, 0, 1);
    let left = AtomicU64::new(0);
    table.sweep(&mut cursor, usize::MAX, |_, _, payload| {
        left.fetch_add(payload.bits(), Ordering::Relaxed);
        Verdict::Remove
    });
    assert_eq!(added.into_inner(), taken.into_inner() + left.into_inner());
    assert!(table.is_empty());
    assert_eq!(table.overflowed(), 0);
    // Nothing is stuck half-way: the table fills up as a new one does.
    let fits = |table: &Narrow| {
        let made = |i: u64| match table.reserve(&[i], table.hash(&[i])) {
            Reserve::Reserved(slot) => slot.publish(Payload::new(0)).is_ok(),
            _ => false,
        };
        (1000..2000).filter(|&i| made(i)).count()
    };
    assert_eq!(fits(&table), fits(&Narrow::on_heap(8, 1)));
}

/// A payload that says whose it is: whoever reads an entry by key or by handle gets that key's.
#[test]
fn a_reader_never_gets_a_strangers_payload() {
    const ROUNDS: u64 = if cfg!(miri) { 50 } else { 60_000 };
    let table = Wide::on_heap(4, 1);
    let key = |i: u64| [1, 1 + i % 3, 1 + i % 7];
    let of = |key: [u64; 3]| Payload::new(key[1] << 8 | key[2]);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let table = &table;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let key = key(round * 5 + thread);
                    match table.reserve(&key, table.hash(&key)) {
                        Reserve::Reserved(slot) => drop(slot.publish(of(key))),
                        Reserve::Exists(found) => drop(table.remove(found.handle, found.payload)),
                        Reserve::Busy | Reserve::Full => {}
                    }
                }
            });
            scope.spawn(move || {
                let mut last = None;
                for round in 0..ROUNDS {
                    let key = key(round * 3 + thread);
                    if let Some(found) = table.get(&key, table.hash(&key)) {
                        assert_eq!(found.payload, of(key));
                        last = Some(found.handle);
                    }
                    if let Some((key, payload)) = last.and_then(|handle: Handle| table.load(handle)) {
                        assert_eq!(payload, of(key));
                    }
                }
            });
        }
    });
}

/// The shares of a sweep meet every entry once, at the same time as each other.
#[test]
fn shares_are_disjoint_and_together_all() {
    const ENTRIES: u64 = if cfg!(miri) { 50 } else { 10_000 };
    let table = Narrow::on_heap(ENTRIES * 4 / 3, 2);
    for i in 1..=ENTRIES {
        let Reserve::Reserved(slot) = table.reserve(&[i], table.hash(&[i])) else { panic!("room for all") };
        slot.publish(Payload::new(i)).expect("one thread");
    }
    let met: Vec<AtomicU64> = (0..=ENTRIES).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for share in 0..3 {
            let (table, met) = (&table, &met);
            scope.spawn(move || {
                let mut cursor = SweepCursor::share(table, share, 3);
                while !table
                    .sweep(&mut cursor, 10, |handle, _, payload| {
                        met[index(payload.bits())].fetch_add(1, Ordering::Relaxed);
                        assert_eq!(
                            table.update(handle, Payload::new(0), Payload::new(0)),
                            Err(Update::Changed(payload))
                        );
                        Verdict::Remove
                    })
                    .wrapped
                {}
            });
        }
    });
    assert!(met.iter().skip(1).all(|met| met.load(Ordering::Relaxed) == 1));
    assert!(table.is_empty());
}
