//! Claims (e) and (f): publication, rings and side records.

use super::check;
use crate::{Publisher, Slab, change, counters::CounterPage, spsc};
use loom::{cell::UnsafeCell, sync::Arc, thread};

/// A value whose reads and whose end loom watches: freeing it while it is read is an error of the model.
struct Watched {
    epoch: u64,
    alive: UnsafeCell<bool>,
}

impl Watched {
    fn boxed(epoch: u64) -> Box<Watched> {
        Box::new(Watched { epoch, alive: UnsafeCell::new(true) })
    }

    fn read(&self) -> u64 {
        // SAFETY: written only when the value drops, which loom checks does not happen meanwhile.
        assert!(self.alive.with(|alive| unsafe { *alive }));
        self.epoch
    }
}

// SAFETY: read by all, written by the one who drops it; loom checks that.
unsafe impl Sync for Watched {}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: the only owner drops it.
        self.alive.with_mut(|alive| unsafe { *alive = false });
    }
}

/// (e) What a reader has pinned is not freed, however publication, reclamation and pins fall together.
#[test]
fn a_pinned_snapshot_is_not_freed() {
    check(3, || {
        let mut publisher = Publisher::new(Watched::boxed(2), 1);
        let mut reader = publisher.reader().unwrap();
        let other = thread::spawn(move || {
            let first = reader.pin().read();
            let second = reader.pin().read();
            assert!(first <= second, "{first} then {second}");
            second
        });
        publisher.publish(Watched::boxed(3));
        publisher.reclaim();
        publisher.publish(Watched::boxed(4));
        publisher.reclaim();
        let last = other.join().unwrap();
        assert!((2..=4).contains(&last));
        // The reader is gone: nothing holds anything back.
        assert_eq!(publisher.reclaim(), 0);
        assert!(publisher.seen_by_all(4));
    });
}

/// (e) Once an epoch is seen by all, no reader finds an older value, nor still holds one.
#[test]
fn seen_by_all_means_all() {
    check(3, || {
        let mut publisher = Publisher::new(Watched::boxed(2), 1);
        let mut reader = publisher.reader().unwrap();
        let seen = Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let other = {
            let seen = Arc::clone(&seen);
            thread::spawn(move || {
                let pin = reader.pin();
                let before = seen.load(loom::sync::atomic::Ordering::Acquire);
                let value = pin.read();
                let after = seen.load(loom::sync::atomic::Ordering::Acquire);
                assert!(value == 3 || !before && !after, "an old value, after all were to have seen the new");
            })
        };
        let epoch = publisher.publish(Watched::boxed(3));
        if publisher.seen_by_all(epoch) {
            seen.store(true, loom::sync::atomic::Ordering::Release);
        }
        other.join().unwrap();
    });
}

/// (e) A publisher that goes while a reader reads leaves what it held to the last one out.
#[test]
fn the_publisher_may_go_first() {
    check(3, || {
        let mut publisher = Publisher::new(Watched::boxed(2), 1);
        let mut reader = publisher.reader().unwrap();
        let other = thread::spawn(move || {
            let pin = reader.pin();
            assert!((2..=3).contains(&pin.read()));
        });
        publisher.publish(Watched::boxed(3));
        drop(publisher);
        other.join().unwrap();
    });
}

/// (e) A reader that comes while a value is replaced is safe from its first pin on.
#[test]
fn a_reader_may_come_late() {
    check(3, || {
        let mut publisher = Publisher::new(Watched::boxed(2), 2);
        let mut early = publisher.reader().unwrap();
        let late = publisher.reader().unwrap();
        let other = thread::spawn(move || {
            let mut late = late;
            let value = late.pin().read();
            drop(late);
            value
        });
        let third = thread::spawn(move || early.pin().read());
        publisher.publish(Watched::boxed(3));
        publisher.reclaim();
        // The place of one that left is another's.
        let again = publisher.reader();
        assert!((2..=3).contains(&other.join().unwrap()));
        assert!((2..=3).contains(&third.join().unwrap()));
        if let Some(mut again) = again {
            assert_eq!(again.pin().read(), 3);
        }
    });
}

/// (f) A ring hands every value on once, in order, whole.
#[test]
fn a_ring_loses_and_duplicates_nothing() {
    check(3, || {
        let (mut producer, mut consumer) = spsc::ring::<Box<u64>>(2);
        let other = thread::spawn(move || {
            let mut sent = Vec::new();
            for value in 1..=4 {
                if producer.push(Box::new(value)).is_ok() {
                    sent.push(value);
                }
            }
            sent
        });
        let mut got = Vec::new();
        for _ in 0..3 {
            got.extend(consumer.pop().map(|value| *value));
        }
        let sent = other.join().unwrap();
        got.extend(std::iter::from_fn(|| consumer.pop()).map(|value| *value));
        assert_eq!(got, sent);
        assert!(sent.len() >= 2);
    });
}

/// (f) What is left in a ring when both ends have gone is dropped, once.
#[test]
fn a_ring_drops_what_is_left() {
    check(3, || {
        let (mut producer, mut consumer) = spsc::ring::<Arc<()>>(2);
        let value = Arc::new(());
        let copies = [Arc::clone(&value), Arc::clone(&value)];
        let other = thread::spawn(move || {
            for copy in copies {
                producer.push(copy).unwrap();
            }
        });
        drop(consumer.pop());
        drop(consumer);
        other.join().unwrap();
        assert_eq!(Arc::strong_count(&value), 1);
    });
}

/// (f) Side records: two threads never hold the same one, and none is lost.
#[test]
fn a_record_has_one_owner() {
    check(3, || {
        let slab = Arc::new(Slab::on_heap(2));
        let first = slab.alloc().unwrap();
        let second = slab.alloc().unwrap();
        slab.free(second);
        slab.free(first);
        let take = |slab: &Slab, mark: u64| {
            // Out and in and out again: the shape of the list comes back, with another record second.
            let a = slab.alloc()?;
            slab.set_word(a, 1, mark);
            let b = slab.alloc();
            assert_eq!(slab.word(a, 1), mark, "somebody else has it too");
            assert!(slab.free(a));
            b
        };
        let other = {
            let slab = Arc::clone(&slab);
            thread::spawn(move || take(&slab, 1))
        };
        let mine = take(&slab, 2);
        let other = other.join().unwrap();
        assert!(mine.is_none() || mine != other);
        let held = usize::from(mine.is_some()) + usize::from(other.is_some());
        assert_eq!(slab.in_use(), held);
        let rest = std::iter::from_fn(|| slab.alloc()).count();
        assert_eq!(held + rest, 2);
    });
}

/// (f) Of two who free one record, one does.
#[test]
fn a_record_is_freed_once() {
    check(3, || {
        let slab = Arc::new(Slab::on_heap(2));
        let id = slab.alloc().unwrap();
        let other = {
            let slab = Arc::clone(&slab);
            thread::spawn(move || slab.free(id))
        };
        let mine = slab.free(id);
        assert!(mine ^ other.join().unwrap());
        assert_eq!(std::iter::from_fn(|| slab.alloc()).count(), 2);
    });
}

/// A change is told or counted, never both, never neither.
#[test]
fn changes_are_told_or_counted() {
    check(3, || {
        let (mut writer, mut reader) = change::ring(1);
        let change = |key| change::Change {
            handle: 0,
            key,
            old: crate::Payload::new(0),
            new: crate::Payload::new(key),
        };
        let other = thread::spawn(move || (1..=3).for_each(|key| writer.push(change(key))));
        let mut told = u64::from(reader.pop().is_some());
        other.join().unwrap();
        told += std::iter::from_fn(|| reader.pop()).count() as u64;
        assert_eq!(told + reader.lost(), 3);
    });
}

/// Counters do not lose what their writer adds, and never go back.
#[test]
fn counters_only_grow() {
    check(3, || {
        let (page, writer) = CounterPage::with_writer(1);
        let other = thread::spawn(move || {
            writer.add(0, 2);
            writer.add(0, 3);
        });
        let (first, second) = (page.get(0), page.get(0));
        assert!([0, 2, 5].contains(&first) && first <= second);
        other.join().unwrap();
        assert_eq!(page.get(0), 5);
    });
}
