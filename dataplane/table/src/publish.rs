//! Publication of snapshots: one thread replaces an immutable value, many read it, and an old one is freed when no
//! reader can hold it any more.
//!
//! A reader says which epoch it entered at, reads, and says that it left. The publisher, having replaced the value
//! and raised the epoch, frees the old one once every reader is outside or entered at the new epoch or later.
//!
//! Invariants:
//! - A pinned value is not freed.
//! - A reader allocates nothing, frees nothing and waits for nobody. A reader that sleeps outside a pin holds
//!   nothing back.
//! - The publisher never waits: what cannot be freed yet stays in its list.

use crate::{
    memory::Zeroed,
    sync::{Arc, AtomicPtr, AtomicU64, Mutex, Ordering, Padded, fence},
};
use std::{marker::PhantomData, ops::Deref, ptr, sync::PoisonError};

/// A reader's place: nobody's.
const VACANT: u64 = 0;
/// A reader's place: its reader is outside. Every epoch is above.
const OUTSIDE: u64 = 1;
const FIRST_EPOCH: u64 = 2;

struct Shared<T> {
    current: AtomicPtr<T>,
    epoch: AtomicU64,
    /// What the publisher left behind unfreed when it went.
    left: Mutex<Vec<Retired<T>>>,
    places: Zeroed<Place>,
}

/// Where one reader says what it is doing.
#[derive(Debug)]
#[repr(transparent)]
struct Place(Padded<AtomicU64>);

// SAFETY: one atomic word, and bytes that nobody looks at.
unsafe impl crate::memory::AtomicWords for Place {
    fn zero() -> Place {
        Place(Padded(AtomicU64::new(VACANT)))
    }
}

/// Replaces the value. There is one.
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    epoch: u64,
    retired: Vec<Retired<T>>,
}

/// Reads the value. One for each thread that does.
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    place: usize,
}

/// A value that is being read, and is not freed before this drops.
pub struct Pin<'r, T> {
    place: &'r AtomicU64,
    value: *const T,
    borrow: PhantomData<&'r T>,
}

impl<T: Send + Sync> Publisher<T> {
    /// A publisher of `first`, to at most `readers` readers at a time.
    pub fn new(first: Box<T>, readers: usize) -> Publisher<T> {
        let shared = Arc::new(Shared {
            current: AtomicPtr::new(Box::into_raw(first)),
            epoch: AtomicU64::new(FIRST_EPOCH),
            left: Mutex::new(Vec::new()),
            places: Zeroed::new(readers),
        });
        Publisher { shared, epoch: FIRST_EPOCH, retired: Vec::new() }
    }

    /// A reader; `None` if there are as many as there may be.
    pub fn reader(&self) -> Option<Reader<T>> {
        let place = self.shared.places.iter().position(|place| {
            // ORDERING: Acquire, with the Release of a reader that left: this one's story goes on from there.
            // Relaxed on failure, nothing is used.
            place.0.0.compare_exchange(VACANT, OUTSIDE, Ordering::Acquire, Ordering::Relaxed).is_ok()
        })?;
        Some(Reader { shared: Arc::clone(&self.shared), place })
    }

    /// Replaces the value and returns its epoch. Whoever pins from now on sees it, or a later one. Nothing is freed
    /// here.
    pub fn publish(&mut self, value: Box<T>) -> u64 {
        // ORDERING: Release, with the Acquire of `pin`: the value is whole for whoever finds it.
        let old = self.shared.current.swap(Box::into_raw(value), Ordering::AcqRel);
        self.epoch += 1;
        // ORDERING: Release, with the Acquire of `pin`: who enters at this epoch does not find the old value.
        self.shared.epoch.store(self.epoch, Ordering::Release);
        self.retired.push(Retired { value: old, replaced: self.epoch });
        self.epoch
    }

    /// The epoch of the current value.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether no reader can be holding a value older than that of `epoch`.
    pub fn seen_by_all(&self, epoch: u64) -> bool {
        self.oldest().is_none_or(|oldest| oldest >= epoch)
    }

    /// Frees what no reader can hold any more, and returns how many values still wait.
    pub fn reclaim(&mut self) -> usize {
        let oldest = self.oldest();
        self.retired.retain(|old| oldest.is_some_and(|oldest| oldest < old.replaced));
        self.retired.len()
    }

    /// The epoch at which the first of the readers inside entered.
    fn oldest(&self) -> Option<u64> {
        // ORDERING: SeqCst, with the fence of `pin`: a reader whose entry is not seen below has its fence after
        // this one, and finds what was published before.
        fence(Ordering::SeqCst);
        let places = self.shared.places.iter();
        // ORDERING: Acquire, with the Release of every store to a place: what the reader did before is done.
        places.map(|place| place.0.0.load(Ordering::Acquire)).filter(|place| *place > OUTSIDE).min()
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        // Readers may still be inside; the last one out frees these.
        self.shared.left.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.retired);
    }
}

/// A value that was replaced. Freed when this drops, which is for [`Publisher::reclaim`] to allow.
struct Retired<T> {
    /// Not a box: readers may still hold references to what a box would claim for itself.
    value: *mut T,
    /// The epoch of the value that came after it.
    replaced: u64,
}

impl<T> Drop for Retired<T> {
    fn drop(&mut self) {
        // JUSTIFICATION: readers need the value at a place that can be replaced in one step: a raw pointer.
        // SAFETY: the pointer is from `Box::into_raw`, and was swapped out of `current` once, so this owns it. No
        // reader holds it: `reclaim` drops what was replaced at or before the epoch at which the first reader
        // inside entered, and a reader that entered at that epoch found the next value. All else is dropped with
        // `Shared`, which every reader has a part in.
        drop(unsafe { Box::from_raw(self.value) });
    }
}

// SAFETY: owns a T as a box does.
unsafe impl<T: Send> Send for Retired<T> {}

impl<T: Send + Sync> Reader<T> {
    /// The value, as of now. Once a burst.
    #[inline]
    pub fn pin(&mut self) -> Pin<'_, T> {
        let place = &self.shared.places[self.place].0.0;
        // ORDERING: Acquire, with the Release of `publish`: at an epoch, values replaced before are out of sight.
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        // ORDERING: Release, with the Acquire of `oldest`: whatever was read in an earlier pin has been read.
        place.store(epoch, Ordering::Release);
        // ORDERING: SeqCst, with the fence of `oldest`.
        fence(Ordering::SeqCst);
        // ORDERING: Acquire, with the Release of `publish`: the value is whole.
        let value = self.shared.current.load(Ordering::Acquire);
        Pin { place, value, borrow: PhantomData }
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        // ORDERING: Release, with the Acquire of `oldest` and of the next reader in this place.
        self.shared.places[self.place].0.0.store(VACANT, Ordering::Release);
    }
}

impl<T> Deref for Pin<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: `value` was current after this reader's entry was made known, so the publisher frees it only
        // after the place says otherwise, which is when this drops. It came from a box: aligned and whole. Values
        // are not written after publication.
        unsafe { &*self.value }
    }
}

impl<T> Drop for Pin<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // ORDERING: Release, with the Acquire of `oldest`: all reads through this are done.
        self.place.store(OUTSIDE, Ordering::Release);
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // ORDERING: Relaxed; the last one who had this is here, behind all others.
        let last = self.current.swap(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: from `Box::into_raw`, taken out just now; no reader is left, since each shares in this.
        drop(unsafe { Box::from_raw(last) });
    }
}

impl<T> std::fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher")
            .field("epoch", &self.epoch)
            .field("retired", &self.retired.len())
            .finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("place", &self.place).finish_non_exhaustive()
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Pin<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pin").field(&**self).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Counts how many of its kind are alive.
    struct Counted<'c>(u64, &'c AtomicUsize);

    impl<'c> Counted<'c> {
        fn boxed(value: u64, alive: &'c AtomicUsize) -> Box<Counted<'c>> {
            alive.fetch_add(1, Ordering::Relaxed);
            Box::new(Counted(value, alive))
        }
    }

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_pin_keeps_its_value_and_all_after_it() {
        let alive = AtomicUsize::new(0);
        let mut publisher = Publisher::new(Counted::boxed(1, &alive), 2);
        let (mut held, mut idle) = (publisher.reader().expect("place"), publisher.reader().expect("place"));
        let first = publisher.epoch();
        let pin = held.pin();
        let second = publisher.publish(Counted::boxed(2, &alive));
        let third = publisher.publish(Counted::boxed(3, &alive));
        assert!(first < second && second < third);
        assert_eq!(pin.0, 1);
        assert_eq!(idle.pin().0, 3);
        assert_eq!(publisher.reclaim(), 2);
        assert!(publisher.seen_by_all(first) && !publisher.seen_by_all(second));
        drop(pin);
        assert!(publisher.seen_by_all(third), "a reader outside holds nothing back");
        assert_eq!(publisher.reclaim(), 0);
        assert_eq!(alive.load(Ordering::Relaxed), 1);
        drop((publisher, held));
        assert_eq!(idle.pin().0, 3, "readers may outlive the publisher");
        drop(idle);
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn nothing_is_freed_under_a_pin_when_the_publisher_goes() {
        let alive = AtomicUsize::new(0);
        let mut publisher = Publisher::new(Counted::boxed(1, &alive), 1);
        let mut reader = publisher.reader().expect("place");
        let pin = reader.pin();
        publisher.publish(Counted::boxed(2, &alive));
        drop(publisher);
        assert_eq!((pin.0, alive.load(Ordering::Relaxed)), (1, 2));
        drop(pin);
        drop(reader);
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn places_are_reused() {
        let publisher = Publisher::new(Box::new(1), 2);
        let first = publisher.reader().expect("place");
        let second = publisher.reader().expect("place");
        assert!(publisher.reader().is_none());
        drop(first);
        let third = publisher.reader();
        assert!(third.is_some() && publisher.reader().is_none());
        drop(second);
        assert!(publisher.reader().is_some());
    }

    #[test]
    fn readers_see_whole_values_in_order() {
        const VALUES: u64 = if cfg!(miri) { 50 } else { 1000 };
        let alive = AtomicUsize::new(0);
        let mut publisher = Publisher::new(Counted::boxed(0, &alive), 3);
        let readers: Vec<_> = (0..3).map(|_| publisher.reader().expect("place")).collect();
        std::thread::scope(|scope| {
            for mut reader in readers {
                scope.spawn(move || {
                    let mut last = 0;
                    while last < VALUES {
                        let pin = reader.pin();
                        assert!(pin.0 >= last);
                        last = pin.0;
                        drop(pin);
                        std::thread::yield_now();
                    }
                });
            }
            for value in 1..=VALUES {
                publisher.publish(Counted::boxed(value, &alive));
                publisher.reclaim();
            }
        });
        assert_eq!(publisher.reclaim(), 0);
        assert_eq!(alive.load(Ordering::Relaxed), 1);
    }
}
