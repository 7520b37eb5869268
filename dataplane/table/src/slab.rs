//! Side records: a few words for the entries that need more than their slot holds.
//!
//! Invariants:
//! - A record keeps its index from `alloc` to `free`, and is handed out to one owner at a time.
//! - Never-used records are not touched, so a large slab costs little until it is used.
//!
//! A record's words are plain atomics. What they mean, and when another thread may look, is the owners' affair; the
//! publication of the entry that points to a record is the natural moment. Who follows an entry to a record looks at
//! the entry once more afterwards: while that is there, the record was its own.

use crate::{
    memory::{AtomicWords, Zeroed},
    sync::{AtomicU64, Ordering, Padded},
};

/// Words of a record.
pub const WORDS: usize = 4;

/// Bits of a record's index; the rest of the list head counts its changes.
const INDEX_BITS: u32 = 24;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// Names a record: 24 bits that fit a payload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RecordId(u32);

impl RecordId {
    /// How many bits an index has.
    pub const BITS: u32 = INDEX_BITS;

    /// The record of this index; `None` above 24 bits.
    #[inline]
    pub fn from_index(index: u32) -> Option<RecordId> {
        (u64::from(index) < INDEX_MASK).then_some(RecordId(index))
    }

    /// Its index.
    #[inline]
    pub fn index(self) -> u32 {
        self.0
    }
}

/// A record's words. Free, the first holds the next free record's index plus one.
#[repr(C)]
pub(crate) struct Record([AtomicU64; WORDS]);

// SAFETY: atomic words only.
unsafe impl AtomicWords for Record {
    fn zero() -> Record {
        Record(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// Records, and which of them are free.
#[derive(Debug)]
pub struct Slab {
    records: &'static [Record],
    /// One bit a record: whether it is handed out.
    taken: &'static [AtomicU64],
    /// The first free record's index plus one, under a count of changes.
    head: Padded<AtomicU64>,
    /// How many records were ever handed out; those from here on are free, and in no list.
    fresh: Padded<AtomicU64>,
}

impl Slab {
    /// The most records that a slab can have.
    pub const MAX: u32 = (1 << INDEX_BITS) - 1;

    /// A slab of `records` records (at most [`Slab::MAX`]) on the heap. Its memory is never given back.
    pub fn on_heap(records: u32) -> Slab {
        let records = records.min(Slab::MAX) as usize;
        Slab::over(Zeroed::new(records).leak(), Zeroed::new(records.div_ceil(64)).leak())
    }

    /// A slab over free records.
    pub(crate) fn over(records: &'static [Record], taken: &'static [AtomicU64]) -> Slab {
        assert!(records.len() <= Slab::MAX as usize && taken.len() == records.len().div_ceil(64));
        Slab { records, taken, head: Padded::default(), fresh: Padded::default() }
    }

    /// Records in all.
    pub fn capacity(&self) -> usize {
        self.records.len()
    }

    /// Takes a free record, its words zero; `None` if there is none.
    pub fn alloc(&self) -> Option<RecordId> {
        let id = self.pop().or_else(|| self.unused())?;
        let (word, bit) = self.taken(id)?;
        // ORDERING: Relaxed. The bit only guards against a record's being freed twice; the record itself is handed
        // over by the list head.
        word.fetch_or(bit, Ordering::Relaxed);
        self.write(id, [0; WORDS]);
        Some(id)
    }

    /// Gives a record back. False, and nothing happens, if it is not handed out.
    pub fn free(&self, id: RecordId) -> bool {
        let Some((word, bit)) = self.taken(id) else { return false };
        // ORDERING: Relaxed, as in `alloc`; one of two who free the same record sees the bit.
        if word.fetch_and(!bit, Ordering::Relaxed) & bit == 0 {
            return false;
        }
        self.push(id);
        true
    }

    /// The words of a record, zeroes for one beyond the slab. Each word is whole; together they may be of different
    /// writes.
    #[inline]
    pub fn read(&self, id: RecordId) -> [u64; WORDS] {
        let Some(record) = self.record(id) else { return [0; WORDS] };
        // ORDERING: Acquire, with the Release of `write`.
        std::array::from_fn(|i| record.0[i].load(Ordering::Acquire))
    }

    /// One word of a record.
    #[inline]
    pub fn word(&self, id: RecordId, word: usize) -> u64 {
        // ORDERING: Acquire, with the Release of `write` and `set_word`.
        self.record(id).map_or(0, |record| record.0[word].load(Ordering::Acquire))
    }

    /// Writes the words of a record.
    #[inline]
    pub fn write(&self, id: RecordId, words: [u64; WORDS]) {
        if let Some(record) = self.record(id) {
            for (to, from) in record.0.iter().zip(words) {
                // ORDERING: Release, with the Acquire of `read`.
                to.store(from, Ordering::Release);
            }
        }
    }

    /// Writes one word of a record.
    #[inline]
    pub fn set_word(&self, id: RecordId, word: usize, value: u64) {
        if let Some(record) = self.record(id) {
            // ORDERING: Release, with the Acquire of `read` and `word`.
            record.0[word].store(value, Ordering::Release);
        }
    }

    /// Replaces one word of a record if it still is `seen`.
    ///
    /// # Errors
    /// The word that was found instead.
    #[inline]
    pub fn change_word(&self, id: RecordId, word: usize, seen: u64, new: u64) -> Result<(), u64> {
        let Some(record) = self.record(id) else { return Err(0) };
        // ORDERING: AcqRel: a change builds on the one that it replaces. Acquire on failure, as `word`.
        record.0[word].compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
    }

    /// Records handed out, by counting them: not for the packet path.
    pub fn in_use(&self) -> usize {
        // ORDERING: Relaxed, an estimate.
        self.taken.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }

    /// Makes the list of free records anew from what is marked as handed out. Only before anybody else uses the
    /// slab: for memory that comes from an earlier process, which may have died half-way through a change.
    #[cfg(not(loom))]
    pub(crate) fn recover(&self) {
        let free = |index: usize| {
            // ORDERING: Relaxed throughout: nobody else is here yet.
            self.taken[index / 64].load(Ordering::Relaxed) & (1 << (index % 64)) == 0
        };
        let fresh = (0..self.records.len()).rev().find(|&index| !free(index)).map_or(0, |last| last + 1);
        self.head.0.store(0, Ordering::Relaxed);
        self.fresh.0.store(fresh as u64, Ordering::Relaxed);
        (0..fresh)
            .rev()
            .filter(|&index| free(index))
            .filter_map(|index| RecordId::from_index(u32::try_from(index).ok()?))
            .for_each(|id| self.push(id));
    }

    #[inline(always)]
    fn record(&self, id: RecordId) -> Option<&Record> {
        self.records.get(id.0 as usize)
    }

    fn taken(&self, id: RecordId) -> Option<(&AtomicU64, u64)> {
        self.record(id)?;
        Some((self.taken.get(id.0 as usize / 64)?, 1 << (id.0 % 64)))
    }

    fn pop(&self) -> Option<RecordId> {
        // ORDERING: Acquire, with the Release of `push`: the link below is the one that was written before.
        let mut head = self.head.0.load(Ordering::Acquire);
        loop {
            let id = Slab::first(head)?;
            // Another may take the record and write to it meanwhile. The count in the head has moved on then, and
            // what was read here is thrown away.
            // ORDERING: Relaxed, by the Acquire of the head.
            let next = self.record(id)?.0[0].load(Ordering::Relaxed) & INDEX_MASK;
            // ORDERING: Acquire on success and failure as above. Release is not needed for the link (written by
            // whoever pushed, whose Release heads the sequence that this exchange continues).
            match self.head.0.compare_exchange_weak(
                head,
                Slab::after(head, next),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(id),
                Err(now) => head = now,
            }
        }
    }

    fn push(&self, id: RecordId) {
        let Some(record) = self.record(id) else { return };
        // ORDERING: Relaxed, nothing of the list is used before the exchange.
        let mut head = self.head.0.load(Ordering::Relaxed);
        loop {
            // ORDERING: Release, with the Acquire of `read` and `word`: who still looks at the record, and finds the
            // link, also finds that the entry which led there is gone. For the list itself, the exchange publishes it.
            record.0[0].store(head & INDEX_MASK, Ordering::Release);
            // ORDERING: Release on success, with the Acquire of `pop`: the link, and the last owner's writes.
            match self.head.0.compare_exchange_weak(
                head,
                Slab::after(head, u64::from(id.0) + 1),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes a record that was never used.
    fn unused(&self) -> Option<RecordId> {
        let all = self.records.len() as u64;
        // ORDERING: Relaxed: the number is all there is to agree on; untouched memory needs no hand-over.
        let index = self
            .fresh
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |fresh| (fresh < all).then_some(fresh + 1))
            .ok()?;
        RecordId::from_index(u32::try_from(index).ok()?)
    }

    fn first(head: u64) -> Option<RecordId> {
        let index = (head & INDEX_MASK).checked_sub(1)?;
        RecordId::from_index(u32::try_from(index).ok()?)
    }

    fn after(head: u64, link: u64) -> u64 {
        ((head >> INDEX_BITS).wrapping_add(1) << INDEX_BITS) | link
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn what_is_beyond_the_slab_is_nothing() {
        let slab = Slab::on_heap(3);
        let beyond = RecordId::from_index(3).expect("24 bits");
        slab.write(beyond, [1; WORDS]);
        assert_eq!(slab.read(beyond), [0; WORDS]);
        assert!(!slab.free(beyond));
        assert_eq!(slab.change_word(beyond, 0, 0, 1), Err(0));
        assert_eq!(RecordId::from_index(1 << 24), None);
    }

    #[test]
    fn a_record_is_freed_once() {
        let slab = Slab::on_heap(3);
        let id = slab.alloc().expect("room");
        assert!(slab.free(id));
        assert!(!slab.free(id));
        assert!(!slab.free(RecordId::from_index(2).expect("24 bits")));
        assert_eq!(std::iter::from_fn(|| slab.alloc()).count(), 3);
    }

    #[test]
    fn a_word_is_changed_by_who_knows_it() {
        let slab = Slab::on_heap(1);
        let id = slab.alloc().expect("room");
        slab.write(id, [1, 2, 3, 4]);
        assert_eq!(slab.change_word(id, 2, 9, 5), Err(3));
        assert_eq!(slab.change_word(id, 2, 3, 5), Ok(()));
        slab.set_word(id, 0, 7);
        assert_eq!(slab.read(id), [7, 2, 5, 4]);
        assert_eq!(slab.word(id, 2), 5);
    }

    proptest! {
        /// Against a map: `true` allocates, `false` frees the record that was allocated so many records ago.
        #[test]
        fn a_slab_is_a_map(size in 0..20u32, ops in prop::collection::vec((any::<bool>(), 0..20usize), 0..200)) {
            let slab = Slab::on_heap(size);
            let mut held: Vec<RecordId> = Vec::new();
            let mut words = HashMap::new();
            for (i, (alloc, pick)) in ops.into_iter().enumerate() {
                if alloc {
                    let id = slab.alloc();
                    prop_assert_eq!(id.is_some(), held.len() < size as usize);
                    let Some(id) = id else { continue };
                    prop_assert!(!held.contains(&id) && id.index() < size);
                    prop_assert_eq!(slab.read(id), [0; WORDS]);
                    slab.write(id, [i as u64 + 1; WORDS]);
                    words.insert(id, [i as u64 + 1; WORDS]);
                    held.push(id);
                } else if !held.is_empty() {
                    let id = held.remove(pick % held.len());
                    prop_assert!(slab.free(id));
                }
                prop_assert_eq!(slab.in_use(), held.len());
                for id in &held {
                    prop_assert_eq!(slab.read(*id), words[id]);
                }
            }
        }
    }
}
