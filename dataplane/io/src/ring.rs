//! The four rings of an AF_XDP socket, as single-producer, single-consumer queues over shared memory.
//!
//! ```text
//!            producer index ->            we produce: fill (addresses), TX (descriptors)
//!   [ . . . x x x x x . . . ]             we consume: completion (addresses), RX (descriptors)
//!      consumer index ->                  entry of index i lives at i & (size - 1)
//! ```
//!
//! Invariants: the roles are types, so nobody consumes from a ring that he fills. Indices run freely over 32 bits; the
//! other side's index is believed only as far as the ring's size, so that nothing read from shared memory can lead
//! outside the ring. Nothing in here knows what an entry means. Read Documentation/networking/af_xdp.rst first.

use crate::mapping::Mapping;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// `struct xdp_desc`: a packet in the UMEM.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) options: u32,
}

/// What can stand in a ring: plain bytes of any value.
pub(crate) trait Entry: Copy + Default + std::fmt::Debug + Send + 'static {}
impl Entry for u64 {}
impl Entry for Descriptor {}

/// Where the parts of a ring lie in its mapping, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) producer: usize,
    pub(crate) consumer: usize,
    pub(crate) flags: usize,
    pub(crate) entries: usize,
}

/// A ring's memory.
#[derive(Debug)]
struct Ring<T> {
    mapping: Arc<Mapping>,
    layout: Layout,
    size: u32,
    entry: std::marker::PhantomData<T>,
}

impl<T: Entry> Ring<T> {
    /// # Panics
    /// When the parts do not lie within the mapping, aligned: a programming error, or a kernel with another ABI.
    fn new(mapping: Arc<Mapping>, layout: Layout, size: u32) -> Ring<T> {
        assert!(size.is_power_of_two(), "a ring's size is a power of two");
        let end = layout.entries + size as usize * size_of::<T>();
        assert!(
            end <= mapping.len() && layout.entries.is_multiple_of(align_of::<T>()),
            "ring entries out of bounds"
        );
        for word in [layout.producer, layout.consumer, layout.flags] {
            assert!(word + 4 <= mapping.len() && word.is_multiple_of(4), "ring index out of bounds");
        }
        Ring { mapping, layout, size, entry: std::marker::PhantomData }
    }

    #[inline]
    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `new` checked that the offset lies within the mapping.
        let place: NonNull<u8> = unsafe { self.mapping.start().add(offset) };
        // SAFETY: aligned, within a mapping that lives as long as `self`, and shared with the kernel as an atomic only.
        unsafe { AtomicU32::from_ptr(place.as_ptr().cast()) }
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        self.word(self.layout.producer)
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        self.word(self.layout.consumer)
    }

    #[inline]
    fn entry(&self, index: u32) -> NonNull<T> {
        let at = self.layout.entries + (index & (self.size - 1)) as usize * size_of::<T>();
        // SAFETY: the masked index is below `size`, and `new` checked that `size` entries lie within the mapping.
        unsafe { self.mapping.start().add(at).cast() }
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        // ORDERING: a hint; the kernel sets it before it goes to sleep and looks again after.
        self.word(self.layout.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// Our end of a ring that we fill.
#[derive(Debug)]
pub(crate) struct Producer<T> {
    ring: Ring<T>,
    /// Next entry to write, not published yet.
    next: u32,
    /// The consumer's index as last read: it can only have moved on since.
    consumed: u32,
}

impl<T: Entry> Producer<T> {
    /// Entries that fit now. Reads the other side's index only when `want` do not fit by the last known one.
    #[inline]
    pub(crate) fn room(&mut self, want: u32) -> u32 {
        let known = self.ring.size.saturating_sub(self.next.wrapping_sub(self.consumed));
        if known >= want {
            return known;
        }
        // ORDERING: pairs with the consumer's release: it has read the entries before it gave them up.
        self.consumed = self.ring.consumer().load(Ordering::Acquire);
        self.ring.size.saturating_sub(self.next.wrapping_sub(self.consumed))
    }

    /// Writes an entry; [`Producer::commit`] publishes it. False when the ring is full.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) -> bool {
        if self.room(1) == 0 {
            return false;
        }
        let place = self.ring.entry(self.next);
        // SAFETY: the place lies within the ring, and the consumer does not read it before it is published.
        unsafe { place.write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Publishes what was pushed.
    #[inline]
    pub(crate) fn commit(&mut self) {
        // ORDERING: pairs with the consumer's acquire: the entries are written before the index says so.
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// Entries published that the consumer has not taken yet.
    #[inline]
    pub(crate) fn pending(&mut self) -> u32 {
        // ORDERING: as in `room`.
        self.consumed = self.ring.consumer().load(Ordering::Acquire);
        self.next.wrapping_sub(self.consumed).min(self.ring.size)
    }

    /// Whether the consumer sleeps and wants a system call.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }
}

/// Our end of a ring that the other side fills.
#[derive(Debug)]
pub(crate) struct Consumer<T> {
    ring: Ring<T>,
    /// Next entry to read.
    next: u32,
    /// The producer's index as last read.
    produced: u32,
}

impl<T: Entry> Consumer<T> {
    /// Takes the oldest entry. [`Consumer::release`] gives its place back.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.next == self.produced {
            // ORDERING: pairs with the producer's release: the entries are written before the index says so.
            let produced = self.ring.producer().load(Ordering::Acquire);
            if produced.wrapping_sub(self.next) > self.ring.size {
                debug_assert!(false, "a ring's producer is further ahead than the ring is long");
                return None;
            }
            self.produced = produced;
            if self.next == produced {
                return None;
            }
        }
        let place = self.ring.entry(self.next);
        // SAFETY: the place lies within the ring; the producer published it and does not write it before it is released.
        let entry = unsafe { place.read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives the places of all popped entries back.
    #[inline]
    pub(crate) fn release(&mut self) {
        // ORDERING: pairs with the producer's acquire: the entries are read before their places are free.
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}

/// A ring of `size` entries that we fill, in the memory of a socket.
pub(crate) fn producer<T: Entry>(
    fd: BorrowedFd<'_>,
    offset: libc::off_t,
    layout: Layout,
    size: u32,
) -> io::Result<Producer<T>> {
    let ring = map(fd, offset, layout, size)?;
    // ORDERING: before the socket is bound nobody else writes the indices.
    let (next, consumed) = (ring.producer().load(Ordering::Acquire), ring.consumer().load(Ordering::Acquire));
    Ok(Producer { ring, next, consumed })
}

/// A ring of `size` entries that the kernel fills, in the memory of a socket.
pub(crate) fn consumer<T: Entry>(
    fd: BorrowedFd<'_>,
    offset: libc::off_t,
    layout: Layout,
    size: u32,
) -> io::Result<Consumer<T>> {
    let ring = map(fd, offset, layout, size)?;
    // ORDERING: as in `producer`.
    let next = ring.consumer().load(Ordering::Acquire);
    Ok(Consumer { ring, next, produced: next })
}

fn map<T: Entry>(fd: BorrowedFd<'_>, offset: libc::off_t, layout: Layout, size: u32) -> io::Result<Ring<T>> {
    let len = layout.entries + size as usize * size_of::<T>();
    Ok(Ring::new(Arc::new(Mapping::of_fd(fd, offset, len)?), layout, size))
}

/// Rings without a kernel: both ends of one memory.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A ring over plain memory whose indices begin at `first`.
    pub(crate) fn pair<T: Entry>(size: u32, first: u32) -> (Producer<T>, Consumer<T>) {
        let layout = Layout { producer: 0, consumer: 64, flags: 128, entries: 192 };
        let mapping = Mapping::anonymous(192 + size as usize * size_of::<T>()).expect("memory");
        let mapping = Arc::new(mapping);
        let ring = || Ring::new(Arc::clone(&mapping), layout, size);
        let (ours, theirs) = (ring(), ring());
        ours.producer().store(first, Ordering::Release);
        ours.consumer().store(first, Ordering::Release);
        (
            Producer { ring: ours, next: first, consumed: first },
            Consumer { ring: theirs, next: first, produced: first },
        )
    }

    impl<T: Entry> Producer<T> {
        /// Sets or clears the flag that the kernel sets.
        pub(crate) fn set_needs_wakeup(&self, on: bool) {
            let flag = if on { libc::XDP_RING_NEED_WAKEUP } else { 0 };
            self.ring.word(self.ring.layout.flags).store(flag, Ordering::Release);
        }
    }

    impl<T: Entry> Consumer<T> {
        /// Entries waiting, by the shared indices.
        pub(crate) fn waiting(&self) -> u32 {
            self.ring.producer().load(Ordering::Acquire).wrapping_sub(self.next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// A ring does what a bounded queue with a publication point on each side does, also where indices wrap.
        #[test]
        fn a_ring_is_a_bounded_queue(
            first in prop_oneof![Just(0u32), (u32::MAX - 20)..=u32::MAX, any::<u32>()],
            steps in prop::collection::vec(0u8..5, 1..200),
        ) {
            let (mut producer, mut consumer) = testing::pair::<Descriptor>(8, first);
            let (mut pushed, mut published) = (VecDeque::new(), VecDeque::new());
            let (mut taken, mut number) = (0u32, 0u64);
            for step in steps {
                match step {
                    0 | 1 => {
                        number += 1;
                        let entry = Descriptor { address: number, len: 60, options: 0 };
                        let fits = pushed.len() + published.len() + (taken as usize) < 8;
                        prop_assert_eq!(producer.push(entry), fits);
                        if fits { pushed.push_back(entry); }
                    }
                    2 => { producer.commit(); published.append(&mut pushed); }
                    3 => {
                        let entry = consumer.pop();
                        prop_assert_eq!(entry, published.pop_front());
                        taken += u32::from(entry.is_some());
                    }
                    _ => { consumer.release(); taken = 0; }
                }
                let pending = producer.pending() as usize;
                prop_assert_eq!(pending, pushed.len() + published.len() + taken as usize);
                prop_assert_eq!(producer.room(8) as usize, 8 - pending);
                prop_assert!(consumer.waiting() as usize >= published.len());
            }
        }
    }

    #[test]
    fn entries_cross_threads_whole_and_in_order() {
        const N: u64 = 50_000;
        let (mut producer, mut consumer) = testing::pair::<u64>(64, u32::MAX - 100);
        let sender = std::thread::spawn(move || {
            let mut n = 0;
            while n < N {
                if producer.push(n) {
                    n += 1;
                } else {
                    std::thread::yield_now();
                }
                producer.commit();
            }
        });
        let mut next = 0;
        while next < N {
            match consumer.pop() {
                Some(n) => {
                    assert_eq!(n, next);
                    next += 1;
                }
                None => std::thread::yield_now(),
            }
            consumer.release();
        }
        sender.join().expect("sender");
    }

    #[test]
    fn the_wakeup_flag_is_seen() {
        let (producer, _consumer) = testing::pair::<u64>(8, 0);
        assert!(!producer.needs_wakeup());
        producer.set_needs_wakeup(true);
        assert!(producer.needs_wakeup());
    }

    #[test]
    #[should_panic(expected = "power of two")]
    fn a_ring_of_odd_size_is_refused() {
        let _ = testing::pair::<u64>(6, 0);
    }
}
