//! Filling a table to what it is meant for, and beyond.

#![cfg(not(loom))]

use sheave_table::{Narrow, Payload, Reserve, Table, Verdict, Wide};

/// A generator of keys (xorshift64*): the order of a run is its seed's.
struct Keys(u64);

impl Keys {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

fn insert<const K: usize>(table: &Table<K>, key: [u64; K], payload: u64) -> Result<(), String> {
    match table.reserve(&key, table.hash(&key)) {
        Reserve::Reserved(slot) => {
            slot.publish(Payload::new(payload)).map(drop).map_err(|e| format!("{e:?}"))
        }
        other => Err(format!("{other:?}")),
    }
}

/// Inserts and finds again `keys` in a table for so many connections; returns the share in the overflow area.
fn fill<const K: usize>(table: &Table<K>, keys: impl Iterator<Item = [u64; K]> + Clone) -> f64 {
    let mut inserted = 0;
    for (i, key) in keys.clone().enumerate() {
        insert(table, key, i as u64).unwrap_or_else(|why| panic!("entry {i} {key:x?}: {why}"));
        inserted += 1;
    }
    assert_eq!(table.len(), inserted);
    assert_eq!(inserted, table.capacity());
    for (i, key) in keys.enumerate() {
        let found = table.get(&key, table.hash(&key)).expect("inserted");
        assert_eq!(found.payload.bits(), i as u64);
    }
    let (overflowed, inserted) = (u32::try_from(table.overflowed()), u32::try_from(inserted));
    f64::from(overflowed.expect("few")) / f64::from(inserted.expect("few"))
}

const CONNECTIONS: u64 = 120_000;

#[test]
fn random_keys_all_fit_at_the_load_that_the_table_is_meant_for() {
    for seed in 1..=3 {
        let table = Narrow::on_heap(Narrow::slots_for(CONNECTIONS), seed);
        assert!(table.capacity() >= 240_000);
        let mut keys = Keys(seed * 77 + 1);
        let keys: Vec<[u64; 1]> = (0..table.capacity()).map(|_| [keys.next()]).collect();
        let overflow = fill(&table, keys.iter().copied());
        assert!(overflow < 0.05, "{overflow} of the entries in a sixteenth of the table");
    }
}

/// As connections really are: few clients with consecutive ports, one service, both directions.
#[test]
fn orderly_keys_fit_as_random_ones_do() {
    for seed in 1..=3 {
        let table = Narrow::on_heap(Narrow::slots_for(CONNECTIONS), seed);
        let keys: Vec<[u64; 1]> = (0..table.capacity() as u64)
            .map(|i| {
                let (direction, flow) = (i % 2, i / 2);
                let (client, port) = (0x0A00_0001 + flow / 60_000, 1024 + flow % 60_000);
                [client << 32 | port << 16 | direction << 15 | 1]
            })
            .collect();
        let overflow = fill(&table, keys.iter().copied());
        assert!(overflow < 0.05, "{overflow} of the entries in a sixteenth of the table");
    }
}

#[test]
fn long_keys_fit_too() {
    let table = Wide::on_heap(Wide::slots_for(CONNECTIONS), 5);
    let keys: Vec<[u64; 3]> = (0..table.capacity() as u64)
        .map(|flow| [0x2001_0DB8_0000_0000 + flow / 1000, flow % 1000, 443 << 16 | 1])
        .collect();
    let overflow = fill(&table, keys.iter().copied());
    assert!(overflow < 0.05, "{overflow} of the entries in a sixteenth of the table");
}

#[test]
fn full_is_an_answer() {
    let table = Narrow::on_heap(64, 3);
    let mut keys = Keys(9);
    let (mut made, mut refused) = (Vec::new(), 0);
    for _ in 0..1000 {
        let key = [keys.next()];
        match table.reserve(&key, table.hash(&key)) {
            Reserve::Reserved(slot) => made.push((key, slot.publish(Payload::new(1)).expect("one thread"))),
            Reserve::Full => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 0 && made.len() >= table.capacity() && made.len() <= table.slots());
    assert_eq!(made.len(), table.len());
    // What is in there stays, and room made is room.
    for (key, handle) in &made {
        assert_eq!(table.get(key, table.hash(key)).map(|found| found.handle), Some(*handle));
    }
    let (key, handle) = made[made.len() / 2];
    table.remove(handle, Payload::new(1)).expect("it is there");
    assert_eq!(insert(&table, key, 2), Ok(()));
}

/// Full for this key, the old entries around it make room.
#[test]
fn room_is_made_where_it_is_needed() {
    let table = Narrow::on_heap(64, 3);
    let key = (1..)
        .map(|i| [i])
        .find(|key| !matches!(insert(&table, *key, key[0]), Ok(())))
        .expect("it gets full at last");
    let mut shown = 0;
    let swept = table.sweep_places(table.hash(&key), |_, _, payload| {
        shown += 1;
        if payload.bits() < key[0] / 2 { Verdict::Remove } else { Verdict::Keep }
    });
    assert_eq!((swept.visited, swept.wrapped), (16, false), "two buckets of four in each area");
    assert_eq!(swept.visited, shown);
    assert!(swept.removed > 0);
    assert_eq!(insert(&table, key, 0), Ok(()));
}

/// Memory as promised: with two entries a connection, and the overflow area.
#[test]
fn a_connection_costs_46_bytes_of_slots() {
    let connections = 10_000_000;
    let slots = Narrow::slots_in_all(Narrow::slots_for(connections)).expect("fits");
    let bytes = slots as u64 * Narrow::SLOT_BYTES as u64;
    assert!(bytes <= connections * 46, "{bytes} bytes");
    assert!(bytes <= 640_000_000, "{bytes} bytes");
}
