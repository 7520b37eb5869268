//! Claim (g): what a glance saw is only ever taken for the entry of the key that was glanced for, however its slot is used meanwhile.

use super::check;
use super::entries::{LONG, NEXT, X, insert, neighbours, seed_that_collides, table};
use crate::{Bucket, Payload, Spot, Table, word::Pattern};
use loom::{sync::Arc, thread};

fn glance<const K: usize>(table: &Table<K>, key: [u64; K], hashed_as: [u64; K]) -> Spot {
    let mut spot = table.approach(Bucket::First, table.hash(&hashed_as));
    if table.glance(&mut spot, &key) { spot } else { Spot::NOWHERE }
}

/// The slot of X goes to another key with an equal payload.
#[test]
fn a_glance_never_finds_the_next_entry_of_its_slot() {
    check(3, || {
        let table = table();
        let old = insert(&table, X, 1).expect("an empty table");
        let next = neighbours(&table, X).next().expect("endless");
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                table.remove(old, Payload::new(1)).expect("nobody else does");
                insert(&table, next, 1).expect("room")
            })
        };
        let [of_old, of_next] = [X, next].map(|key| glance(&table, key, key));
        if let Some(payload) = table.still(of_old, Pattern::LIVE) {
            assert_eq!(payload, Payload::new(1));
        }
        let new = other.join().expect("no panic");
        assert_eq!(new.slot(), old.slot());
        assert_eq!(table.still(of_old, Pattern::LIVE), None);
        // What was seen of the next one may still have been the word of the old one, which is no entry any more.
        let found = table.at(of_next, &next).map(|found| found.handle);
        assert!(table.still(of_next, Pattern::LIVE).is_none_or(|_| found == Some(new)));
    });
}

/// The slot of X goes away and comes back to X.
#[test]
fn a_glance_does_not_outlive_its_entry() {
    check(3, || {
        let table = table();
        let old = insert(&table, X, 1).expect("an empty table");
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                table.remove(old, Payload::new(1)).expect("nobody else does");
                insert(&table, X, 1).expect("room")
            })
        };
        let spot = glance(&table, X, X);
        let new = other.join().expect("no panic");
        let still = table.still(spot, Pattern::LIVE).and(table.at(spot, &X)).map(|found| found.handle);
        assert!(still.is_none_or(|handle| handle == new));
        assert_eq!(glance(&table, X, X).seen(Pattern::LIVE), Some(Payload::new(1)));
    });
}

/// A key of several words is not taken for a mixture of two.
#[test]
fn a_glance_sees_a_long_key_whole() {
    let seed = seed_that_collides();
    check(3, move || {
        let table = Arc::new(Table::<3>::on_heap(2, seed));
        let old = insert(&table, LONG, 1).expect("one slot will do");
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                table.remove(old, Payload::new(1)).expect("one slot will do");
                insert(&table, NEXT, 2).expect("one slot will do")
            })
        };
        let spots = [LONG, NEXT, [1, 2, 6], [1, 0, 0]].map(|key| glance(&table, key, LONG));
        other.join().expect("no panic");
        let [gone, next, torn, cleared] = spots.map(|spot| table.still(spot, Pattern::LIVE));
        assert_eq!((gone, torn, cleared), (None, None, None));
        assert!(next.is_none_or(|payload| payload == Payload::new(2)));
    });
}
