//! Claims (a) to (d): entries.

use super::check;
use crate::{Found, Handle, Payload, RecordId, Reserve, Slab, SweepCursor, Table, Update, Verdict};
use loom::{
    sync::Arc,
    thread::{self, JoinHandle},
};

pub(super) const X: [u64; 1] = [7];
const Y: [u64; 1] = [8];

pub(super) fn table<const K: usize>() -> Arc<Table<K>> {
    Arc::new(Table::on_heap(4 / K as u64, 1))
}

/// Tries to make an entry; its handle if it was made.
pub(super) fn insert<const K: usize>(table: &Table<K>, key: [u64; K], payload: u64) -> Option<Handle> {
    match table.reserve(&key, table.hash(&key)) {
        Reserve::Reserved(slot) => slot.publish(Payload::new(payload)).ok(),
        Reserve::Exists(_) | Reserve::Busy | Reserve::Full => None,
    }
}

fn get<const K: usize>(table: &Table<K>, key: [u64; K]) -> Option<Found> {
    table.get(&key, table.hash(&key))
}

/// The entries of `key`, wherever they are.
fn entries<const K: usize>(table: &Table<K>, key: [u64; K]) -> Vec<(Handle, Payload)> {
    let mut all = Vec::new();
    table.scan(0, usize::MAX, |handle, found, payload| {
        if *found == key {
            all.push((handle, payload));
        }
    });
    all
}

/// Keys that want the same two main buckets as `key`, in the same order.
pub(super) fn neighbours(table: &Table<1>, key: [u64; 1]) -> impl Iterator<Item = [u64; 1]> {
    let wanted = table.shape.main(table.hash(&key));
    let secrets = *table.secrets_for_models();
    let shape = table.shape;
    (100..).map(|word| [word]).filter(move |other| shape.main(secrets.hash(other)) == wanted)
}

/// Starts a thread that inserts X with `payload`.
fn inserter(shared: &Arc<Table<1>>, payload: u64) -> JoinHandle<Option<Handle>> {
    let shared = Arc::clone(shared);
    thread::spawn(move || insert(&shared, X, payload))
}

/// Of the inserts of X, as many succeeded as X has entries, and those are one at most.
fn one_at_most(table: &Table<1>, made: &[Option<Handle>]) {
    let made: Vec<Handle> = made.iter().flatten().copied().collect();
    let there: Vec<Handle> = entries(table, X).into_iter().map(|(handle, _)| handle).collect();
    assert!(made.len() <= 1, "{made:?}");
    assert_eq!(made, there);
    assert_eq!(get(table, X).map(|found| found.handle), made.first().copied());
}

/// (a) Two inserts of one key at once make one entry.
#[test]
fn two_inserts_make_one_entry() {
    check(3, || {
        let table = table();
        let other = inserter(&table, 1);
        let mine = insert(&table, X, 2);
        let other = other.join().unwrap();
        one_at_most(&table, &[mine, other]);
        assert!(mine.is_some() || other.is_some(), "nobody else was in the way");
    });
}

/// (a) The same while another entry makes room in a better place, so that the two go for different slots.
#[test]
fn two_inserts_make_one_entry_while_a_slot_frees() {
    check(2, || {
        let table = table();
        let in_the_way = neighbours(&table, X).next().unwrap();
        let old = insert(&table, in_the_way, 9).unwrap();
        let other = inserter(&table, 1);
        let third = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.remove(old, Payload::new(9)).unwrap())
        };
        let mine = insert(&table, X, 2);
        let other = other.join().unwrap();
        third.join().unwrap();
        one_at_most(&table, &[mine, other]);
    });
}

/// (a) The same when one of the two goes to the overflow area and the other does not.
#[test]
fn two_inserts_make_one_entry_across_areas() {
    check(2, || {
        let table = table();
        let full: Vec<Handle> =
            neighbours(&table, X).take(4).map(|key| insert(&table, key, 9).unwrap()).collect();
        assert_eq!(table.overflowed(), 0);
        let other = inserter(&table, 1);
        let third = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.remove(full[3], Payload::new(9)).unwrap())
        };
        let mine = insert(&table, X, 2);
        let other = other.join().unwrap();
        third.join().unwrap();
        one_at_most(&table, &[mine, other]);
    });
}

/// (a) An entry that is renewed while others are inserted under its key stays the only one, and its old handle finds
/// nothing.
#[test]
fn a_renewed_entry_is_the_only_one() {
    check(3, || {
        let table = table();
        let old = insert(&table, X, 1).unwrap();
        let other = inserter(&table, 2);
        let renewed = table.renew(old, Payload::new(1)).expect("nobody else changes it");
        let mine = renewed.publish(Payload::new(3)).ok();
        let other = other.join().unwrap();
        assert_eq!(table.load(old), None);
        one_at_most(&table, &[mine, other]);
        assert!(mine.is_some() || other.is_some());
    });
}

/// (a) The same of one that was inserted at the same time as another, which did not win.
#[test]
fn an_entry_renewed_beside_a_slow_insert_is_the_only_one() {
    check(3, || {
        let table = table();
        let other = inserter(&table, 2);
        let mine = insert(&table, X, 1).and_then(|old| {
            let renewed = table.renew(old, Payload::new(1)).expect("nobody else changes it");
            renewed.publish(Payload::new(3)).ok()
        });
        let other = other.join().unwrap();
        one_at_most(&table, &[mine, other]);
        assert!(mine.is_some() || other.is_some());
    });
}

/// (c) Of two who renew an entry, or renew and remove it, one succeeds; what a reader sees is of one life.
#[test]
fn of_two_who_renew_one_succeeds() {
    check(3, || {
        let table = table();
        let old = insert(&table, X, 1).unwrap();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.remove(old, Payload::new(1)).is_ok())
        };
        let mine = table.renew(old, Payload::new(1)).map(|renewed| renewed.publish(Payload::new(2)).unwrap());
        let seen = table.load(old);
        assert!(seen.is_none() || seen == Some((X, Payload::new(1))));
        let removed = other.join().unwrap();
        assert_eq!(removed, mine.is_none());
        assert_eq!(get(&table, X).map(|found| found.payload), mine.map(|_| Payload::new(2)));
        assert_eq!(table.len(), usize::from(mine.is_some()));
    });
}

/// (a) A reservation that is given up leaves nothing, and does not take a rival's entry with it.
#[test]
fn a_reservation_given_up_leaves_nothing() {
    check(3, || {
        let table = table();
        let other = inserter(&table, 1);
        if let Reserve::Reserved(slot) = table.reserve(&X, table.hash(&X)) {
            slot.abort();
        }
        let other = other.join().unwrap();
        one_at_most(&table, &[other]);
        // All slots are free but that of the entry: X's neighbours fill them.
        let room = neighbours(&table, X).take(4 - usize::from(other.is_some()));
        for key in room {
            assert!(insert(&table, key, 9).is_some());
        }
        assert_eq!(table.overflowed(), 0);
    });
}

/// (b) Both directions reach one word: an entry is found by its own key, and through another entry that holds its
/// handle and was made before it. No update from either side is lost.
#[test]
fn both_directions_reach_one_word() {
    fn count(table: &Table<1>, handle: Handle, mut seen: Payload) {
        while let Err(now) = table.update(handle, seen, Payload::new(seen.bits() + 1)) {
            match now {
                Update::Changed(payload) => seen = payload,
                Update::Gone => panic!("nobody removed it"),
            }
        }
    }
    check(3, || {
        let table = table();
        let Reserve::Reserved(inward) = table.reserve(&X, table.hash(&X)) else { panic!("an empty table") };
        insert(&table, Y, inward.handle().bits()).unwrap();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let outward = get(&table, Y).unwrap();
                let handle = Handle::from_bits(outward.payload.bits());
                // Before the first is published, the second leads nowhere, and nowhere else.
                let Some((key, payload)) = table.load(handle) else { return 0 };
                assert_eq!(key, X);
                count(&table, handle, payload);
                1
            })
        };
        let handle = inward.publish(Payload::new(0)).unwrap();
        count(&table, handle, Payload::new(0));
        let counted = 1 + other.join().unwrap();
        assert_eq!(get(&table, X).unwrap().payload, Payload::new(counted));
    });
}

/// (b) What was written before an update is seen by whoever sees the update: a payload may lead to a side record.
#[test]
fn an_update_brings_along_what_was_written_before() {
    check(3, || {
        let (table, slab) = (table(), Arc::new(Slab::on_heap(1)));
        let handle = insert(&table, X, 0).unwrap();
        let other = {
            let (table, slab) = (Arc::clone(&table), Arc::clone(&slab));
            thread::spawn(move || {
                let record = slab.alloc().unwrap();
                slab.set_word(record, 1, 7);
                table.update(handle, Payload::new(0), Payload::new(1)).unwrap();
            })
        };
        if get(&table, X).unwrap().payload == Payload::new(1) {
            assert_eq!(slab.word(RecordId::from_index(0).unwrap(), 1), 7);
        }
        other.join().unwrap();
    });
}

/// (b) A record that was read through an entry which is still there afterwards was that entry's, though records are
/// freed and used again at any moment. 9 is the mark of the entry's own, 7 that of the next owner's.
#[test]
fn a_record_belongs_to_the_entry_that_is_still_there() {
    check(3, || {
        let (table, slab) = (table(), Arc::new(Slab::on_heap(1)));
        let record = slab.alloc().unwrap();
        slab.write(record, [9 << 32; 4]);
        let handle = insert(&table, X, 1).unwrap();
        let other = {
            let (table, slab) = (Arc::clone(&table), Arc::clone(&slab));
            thread::spawn(move || {
                table.remove(handle, Payload::new(1)).unwrap();
                assert!(slab.free(record));
                let next = slab.alloc().unwrap();
                slab.write(next, [7 << 32; 4]);
            })
        };
        let words = slab.read(record);
        if table.confirm(handle, &X) == Some(Payload::new(1)) {
            assert_eq!(words, [9 << 32; 4]);
        }
        other.join().unwrap();
    });
}

/// (c) A handle finds its entry or nothing, though the slot is used again with an equal payload.
#[test]
fn a_handle_never_finds_the_next_entry_of_its_slot() {
    check(3, || {
        let table = table();
        let old = insert(&table, X, 1).unwrap();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                if table.remove(old, Payload::new(1)).is_err() {
                    return None;
                }
                insert(&table, neighbours(&table, X).next().unwrap(), 1)
            })
        };
        if let Some((key, payload)) = table.load(old) {
            assert_eq!((key, payload), (X, Payload::new(1)));
        }
        let updated = table.update(old, Payload::new(1), Payload::new(2));
        let new = other.join().unwrap();
        match new {
            Some(new) => {
                assert_eq!(new.slot(), old.slot());
                assert_eq!(updated, Err(Update::Gone));
                assert_eq!(table.load(new).unwrap().1, Payload::new(1));
                assert_eq!(table.load(old), None);
            }
            None => {
                assert_eq!(updated, Ok(()));
                assert_eq!(table.load(old), Some((X, Payload::new(2))));
            }
        }
    });
}

/// (c) Of a sweep and two others that remove one entry, one does.
#[test]
fn one_of_many_removes() {
    check(3, || {
        let table = table();
        let handle = insert(&table, X, 1).unwrap();
        let other = {
            let table = Arc::clone(&table);
            thread::spawn(move || usize::from(table.remove(handle, Payload::new(1)).is_ok()))
        };
        let third = {
            let table = Arc::clone(&table);
            thread::spawn(move || usize::from(table.remove(handle, Payload::new(1)).is_ok()))
        };
        let mut cursor = SweepCursor::share(&table, 0, 1);
        let swept = table.sweep(&mut cursor, usize::MAX, |_, _, _| Verdict::Remove);
        assert_eq!(swept.removed + other.join().unwrap() + third.join().unwrap(), 1);
        assert_eq!(get(&table, X), None);
        assert!(table.is_empty());
    });
}

pub(super) const LONG: [u64; 3] = [1, 2, 3];
/// Shares its first word.
pub(super) const NEXT: [u64; 3] = [1, 5, 6];

/// (d) A key of several words is never seen torn, while its slot goes from one entry to another whose key is partly
/// the same: `look` may see either, and nothing else.
fn while_a_long_key_is_replaced(look: impl Fn(&Table<3>, Handle) + Send + Sync + 'static) {
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
        look(&table, old);
        let new = other.join().expect("no panic");
        assert_eq!(new.slot(), old.slot());
        assert_eq!(table.load(old), None);
    });
}

#[test]
fn a_long_key_is_looked_up_whole() {
    while_a_long_key_is_replaced(|table, old| {
        if let Some(found) = get(table, LONG) {
            assert_eq!((found.handle, found.payload), (old, Payload::new(1)));
        }
        if let Some(found) = get(table, NEXT) {
            assert_ne!(found.handle, old);
            assert_eq!(found.payload, Payload::new(2));
        }
    });
}

#[test]
fn a_mixture_of_long_keys_is_not_found() {
    while_a_long_key_is_replaced(|table, _| {
        // Looked for where they would be if they were.
        for torn in [[1, 2, 6], [1, 0, 0]] {
            assert_eq!(table.get(&torn, table.hash(&LONG)), None);
        }
    });
}

#[test]
fn a_long_key_is_scanned_whole() {
    while_a_long_key_is_replaced(|table, old| {
        if let Some(entry) = table.load(old) {
            assert_eq!(entry, (LONG, Payload::new(1)));
        }
        table.scan(0, usize::MAX, |handle, key, payload| {
            let (expected, holds) = if handle == old { (LONG, 1) } else { (NEXT, 2) };
            assert_eq!((*key, payload), (expected, Payload::new(holds)));
        });
    });
}

/// A seed with which both long keys want the same bucket first.
pub(super) fn seed_that_collides() -> u64 {
    (0..)
        .find(|&seed| {
            let secrets = crate::hash::Secrets::new(seed);
            let shape = crate::places::Shape::new(2, Table::<3>::WAYS).expect("a small table");
            shape.first(secrets.hash(&LONG)) == shape.first(secrets.hash(&NEXT))
        })
        .expect("every second seed will do")
}
