//! A bounded ring from one thread to another.
//!
//! Invariants: every value that went in comes out once, in order, or is dropped with the ring. Neither side waits
//! for the other. Each keeps a copy of the other's position and looks again only when that says full or empty.

use crate::sync::{Arc, AtomicU64, Ordering, Padded, UnsafeCell};
use std::mem::MaybeUninit;

struct Ring<T> {
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// How many values were ever pushed; written by the producer.
    tail: Padded<AtomicU64>,
    /// How many were ever popped; written by the consumer.
    head: Padded<AtomicU64>,
}

// SAFETY: the ring hands values from one thread to another, which T allows. A cell is the producer's from its pop to
// its push and the consumer's from its push to its pop; the two positions say which, and each has one writer.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Ring<T> {}

/// The end that values go in at.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    tail: u64,
    head: u64,
}

/// The end that values come out of.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    head: u64,
    tail: u64,
}

/// A ring for at least `capacity` values.
pub fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let cells = capacity.next_power_of_two();
    let ring = Arc::new(Ring {
        cells: (0..cells).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        tail: Padded::default(),
        head: Padded::default(),
    });
    (Producer { ring: Arc::clone(&ring), tail: 0, head: 0 }, Consumer { ring, head: 0, tail: 0 })
}

impl<T> Ring<T> {
    /// The cell of the `count`-th value.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "cut down to the ring's size, a power of two")]
    fn cell(&self, count: u64) -> &UnsafeCell<MaybeUninit<T>> {
        &self.cells[count as usize & (self.cells.len() - 1)]
    }
}

impl<T: Send> Producer<T> {
    /// Puts a value in.
    ///
    /// # Errors
    /// The ring is full; the value comes back.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.room() == 0 {
            return Err(value);
        }
        // JUSTIFICATION: a cell changes hands without a lock, which the compiler cannot follow.
        self.ring.cell(self.tail).with_mut(|cell| {
            // SAFETY: fewer values than cells lie between head and tail, so this cell is the producer's: never
            // used, or popped, which the Acquire in `room` has seen. There is one producer.
            unsafe { cell.write(MaybeUninit::new(value)) };
        });
        self.tail += 1;
        // ORDERING: Release, with the Acquire of `Consumer::ready`: the value is in its cell.
        self.ring.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// How many more values fit, at least. Looks at the consumer's position only when none seems to.
    #[inline]
    pub fn room(&mut self) -> usize {
        let all = self.ring.cells.len() as u64;
        if self.tail - self.head == all {
            // ORDERING: Acquire, with the Release of `pop`: the value was taken out of its cell.
            self.head = self.ring.head.0.load(Ordering::Acquire);
        }
        usize::try_from(all - (self.tail - self.head)).unwrap_or(0)
    }

    /// How many values the ring can hold.
    pub fn capacity(&self) -> usize {
        self.ring.cells.len()
    }

    /// Values in the ring, at most: some may be on their way out.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether the ring is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest value out.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.ready() == 0 {
            return None;
        }
        let value = self.ring.cell(self.head).with_mut(|cell| {
            // SAFETY: a value lies between head and tail, written before the tail that the Acquire in `ready` has
            // seen. There is one consumer, and the head moves on: it is read out once.
            unsafe { cell.cast::<T>().read() }
        });
        self.head += 1;
        // ORDERING: Release, with the Acquire of `Producer::room`: the cell is empty.
        self.ring.head.0.store(self.head, Ordering::Release);
        Some(value)
    }

    /// How many values are ready, at least. Looks at the producer's position only when none seems to be.
    #[inline]
    pub fn ready(&mut self) -> usize {
        if self.tail == self.head {
            // ORDERING: Acquire, with the Release of `push`: the values are in their cells.
            self.tail = self.ring.tail.0.load(Ordering::Acquire);
        }
        usize::try_from(self.tail - self.head).unwrap_or(0)
    }

    /// Values in the ring, at least: more may be on their way in.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether the ring is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Ring<T> {
    fn len(&self) -> usize {
        // ORDERING: Relaxed: a number for people, and for deciding whether to sleep after a wake-up was armed.
        let head = self.head.0.load(Ordering::Relaxed);
        let tail = self.tail.0.load(Ordering::Relaxed);
        usize::try_from(tail.saturating_sub(head)).unwrap_or(0).min(self.cells.len())
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // ORDERING: Relaxed: the last owner is here, behind both ends.
        let (head, tail) = (self.head.0.load(Ordering::Relaxed), self.tail.0.load(Ordering::Relaxed));
        for count in head..tail {
            self.cell(count).with_mut(|cell| {
                // SAFETY: between head and tail lie the values that were pushed and not popped; nobody else is left
                // to take one.
                unsafe { cell.cast::<T>().drop_in_place() };
            });
        }
    }
}

impl<T> std::fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("pushed", &self.tail).finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("popped", &self.head).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[test]
    fn a_ring_holds_what_was_asked_at_least() {
        for (asked, holds) in [(0, 1), (1, 1), (2, 2), (3, 4), (1000, 1024)] {
            let (mut producer, _consumer) = ring::<u8>(asked);
            assert_eq!((producer.capacity(), producer.room()), (holds, holds));
        }
    }

    #[test]
    fn what_is_left_is_dropped() {
        let value = std::sync::Arc::new(());
        let (mut producer, mut consumer) = ring(4);
        for _ in 0..3 {
            producer.push(std::sync::Arc::clone(&value)).expect("room");
        }
        drop(consumer.pop());
        assert_eq!(std::sync::Arc::strong_count(&value), 3);
        drop((producer, consumer));
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }

    #[test]
    fn values_cross_threads_in_order() {
        const VALUES: u64 = if cfg!(miri) { 200 } else { 20_000 };
        let (mut producer, mut consumer) = ring(256);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for mut value in (0..VALUES).map(Box::new) {
                    while let Err(back) = producer.push(value) {
                        value = back;
                        std::thread::yield_now();
                    }
                }
            });
            for expected in 0..VALUES {
                let value = loop {
                    match consumer.pop() {
                        Some(value) => break value,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(*value, expected);
            }
            assert_eq!(consumer.pop(), None);
        });
    }

    proptest! {
        #[test]
        fn a_ring_is_a_bounded_queue(capacity in 1..9usize, ops in prop::collection::vec(any::<bool>(), 0..300)) {
            let (mut producer, mut consumer) = ring(capacity);
            let mut queue = VecDeque::new();
            for (i, push) in ops.into_iter().enumerate() {
                if push {
                    let fits = queue.len() < producer.capacity();
                    prop_assert_eq!(producer.push(i), if fits { Ok(()) } else { Err(i) });
                    if fits {
                        queue.push_back(i);
                    }
                } else {
                    prop_assert_eq!(consumer.pop(), queue.pop_front());
                }
                prop_assert_eq!((producer.len(), consumer.len()), (queue.len(), queue.len()));
                prop_assert!(consumer.ready() <= queue.len());
                prop_assert!(producer.room() <= producer.capacity() - queue.len());
                prop_assert_eq!(producer.is_empty(), queue.is_empty());
            }
        }
    }
}
