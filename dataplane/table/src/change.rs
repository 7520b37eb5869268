//! The change ring: what a worker tells of its entries' changes, for state sync and events.
//!
//! Bounded, and never in the way: when it is full the newest change is dropped and counted, and whoever reads knows
//! from the count that a full walk of the table is due.

use crate::{
    Handle, Payload, spsc,
    sync::{Arc, AtomicU64, Ordering, Padded},
};

/// A change of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Names the entry, with its table if there are several: [`Handle::bits`] leaves the uppermost bits free.
    pub handle: u64,
    /// A word of its key, enough to recognise it.
    pub key: u64,
    /// What it held. Zero for a new one.
    pub old: Payload,
    /// What it holds now. Zero for one that is gone.
    pub new: Payload,
}

impl Change {
    /// The handle, without what else its word carries.
    pub fn entry(&self) -> Handle {
        Handle::from_bits(self.handle)
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct ChangeWriter {
    ring: spsc::Producer<Change>,
    lost: Arc<Padded<AtomicU64>>,
}

/// The other end.
#[derive(Debug)]
pub struct ChangeReader {
    ring: spsc::Consumer<Change>,
    lost: Arc<Padded<AtomicU64>>,
}

/// A ring for at least `capacity` changes.
pub fn ring(capacity: usize) -> (ChangeWriter, ChangeReader) {
    let (producer, consumer) = spsc::ring(capacity);
    let lost = Arc::new(Padded::default());
    (ChangeWriter { ring: producer, lost: Arc::clone(&lost) }, ChangeReader { ring: consumer, lost })
}

impl ChangeWriter {
    /// Tells of a change, or counts it as lost.
    #[inline]
    pub fn push(&mut self, change: Change) {
        if self.ring.push(change).is_err() {
            // ORDERING: Relaxed, a counter with one writer.
            let lost = self.lost.0.load(Ordering::Relaxed);
            self.lost.0.store(lost + 1, Ordering::Relaxed);
        }
    }
}

impl ChangeReader {
    /// The oldest change that was not read yet.
    #[inline]
    pub fn pop(&mut self) -> Option<Change> {
        self.ring.pop()
    }

    /// How many changes were ever lost.
    pub fn lost(&self) -> u64 {
        // ORDERING: Relaxed, a counter.
        self.lost.0.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_lost_and_counted() {
        let (mut writer, mut reader) = ring(2);
        let change = |key| Change { handle: key << 8, key, old: Payload::new(0), new: Payload::new(key) };
        for key in 1..=5 {
            writer.push(change(key));
        }
        assert_eq!((reader.pop(), reader.pop(), reader.pop()), (Some(change(1)), Some(change(2)), None));
        assert_eq!(reader.lost(), 3);
        writer.push(change(6));
        assert_eq!(reader.pop().map(|change| change.entry()), Some(Handle::from_bits(6 << 8)));
        assert_eq!(reader.lost(), 3);
    }
}
