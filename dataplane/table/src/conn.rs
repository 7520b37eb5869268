//! Tables: entries found by key or by handle, by any thread, without a lock.
//!
//! Owns the lookup, and the changes of entries that exist. Making them is in `reserve`, walking them in `sweep`,
//! the steps of one slot in `slot`.
//!
//! Invariants:
//! - At most one live entry has a key (`reserve` sees to it).
//! - Entries do not move, from publication to removal.
//! - A lookup writes nothing.
//!
//! A table does not grow, knows no time, and gives no meaning to keys and payloads.

use crate::{
    Handle, Hash, Payload,
    hash::Secrets,
    memory::Zeroed,
    places::Shape,
    slot::Slot,
    sync::{AtomicU64, Ordering, Padded},
    word::{Phase, Word},
};

/// Counts of live entries are kept in this many pieces, so that workers seldom write the same one.
const SHARDS: usize = if cfg!(loom) { 1 } else { 16 };

/// A hash table of entries with keys of `K` words (1 or 3), in buckets of four that fill a cache line or two.
///
/// A key has two candidate buckets in the main area and, for when both are full, two in an overflow area of a
/// sixteenth of its size.
pub struct Table<const K: usize> {
    pub(crate) slots: &'static [Slot<K>],
    pub(crate) shape: Shape,
    secrets: Secrets,
    /// At least the number of slots of the overflow area that are not free. Zero spares lookups the way there.
    pub(crate) overflowed: Padded<AtomicU64>,
    live: [Padded<AtomicU64>; SHARDS],
}

/// An entry, as a lookup saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Names the entry from now on.
    pub handle: Handle,
    /// What it held.
    pub payload: Payload,
}

/// A bucket that a key may be in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bucket {
    /// The first candidate in the main area.
    First,
    /// The second candidate in the main area.
    Second,
    /// The first candidate in the overflow area.
    Third,
    /// The second candidate in the overflow area.
    Fourth,
}

/// Why an entry was not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Update {
    /// It holds something else than the caller had seen: this.
    Changed(Payload),
    /// It does not exist any more.
    Gone,
}

impl<const K: usize> Table<K> {
    /// Bytes of a slot.
    pub const SLOT_BYTES: usize = 8 * (K + 1);

    /// Slots of a bucket. Fewer than four could not be filled to three quarters: of two, the overflow area would get
    /// more than it holds. One or two in models, which must stay small.
    pub(crate) const WAYS: usize = {
        assert!(Self::SLOT_BYTES.is_power_of_two(), "buckets must start cache lines");
        if !cfg!(loom) {
            4
        } else if K == 1 {
            2
        } else {
            1
        }
    };

    /// Main-area slots for `connections` with two entries each, so that these fill three quarters of them.
    pub const fn slots_for(connections: u64) -> u64 {
        connections.saturating_mul(8).div_ceil(3)
    }

    /// Slots of a table with `main` of them in its main area, overflow area included; `None` for more than a table
    /// can have.
    pub fn slots_in_all(main: u64) -> Option<usize> {
        Shape::new(main, Self::WAYS).map(Shape::slots)
    }

    /// A table with at least `main` slots in its main area, on the heap. Its memory is never given back.
    ///
    /// # Panics
    /// If `main` is more than a table can have (2^32 buckets).
    pub fn on_heap(main: u64, seed: u64) -> Table<K> {
        let shape = Shape::new(main, Self::WAYS).expect("fewer than 2^32 buckets");
        Table::over(Zeroed::new(shape.slots()).leak(), shape, seed)
    }

    /// A table over `slots`, all of them free.
    pub(crate) fn over(slots: &'static [Slot<K>], shape: Shape, seed: u64) -> Table<K> {
        assert_eq!(slots.len(), shape.slots());
        Table {
            slots,
            shape,
            secrets: Secrets::new(seed),
            overflowed: Padded::default(),
            live: std::array::from_fn(|_| Padded::default()),
        }
    }

    /// Slots in all.
    pub fn slots(&self) -> usize {
        self.shape.slots()
    }

    /// Entries that the table is meant for: three quarters of its main area. More may fit.
    pub fn capacity(&self) -> usize {
        self.shape.main_slots() / 4 * 3
    }

    /// Live entries, nearly: entries that come or go at this moment may or may not be counted.
    pub fn len(&self) -> usize {
        // ORDERING: Relaxed, the number is an estimate as soon as it is known.
        let sum = self.live.iter().fold(0u64, |sum, shard| sum.wrapping_add(shard.0.load(Ordering::Relaxed)));
        // An entry's removal can be seen before its publication; such a sum is below zero for a moment.
        usize::try_from(sum.cast_signed()).unwrap_or(0)
    }

    /// Whether there are no entries, nearly as [`Table::len`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots taken in the overflow area.
    pub fn overflowed(&self) -> u64 {
        // ORDERING: Relaxed, an estimate.
        self.overflowed.0.load(Ordering::Relaxed)
    }

    /// Hashes a key.
    #[inline(always)]
    pub fn hash(&self, key: &[u64; K]) -> Hash {
        self.secrets.hash(key)
    }

    /// Finds the entry of `key`, whose hash is `hash`.
    #[inline]
    pub fn get(&self, key: &[u64; K], hash: Hash) -> Option<Found> {
        let [first, second] = self.shape.main(hash);
        if let Some(found) = self.find(first, key) {
            return Some(found);
        }
        if let Some(found) = self.find(second, key) {
            return Some(found);
        }
        // ORDERING: Relaxed. An entry is counted before it is published; whoever has reason to expect it here has
        // it from that publication, directly or not, and so sees the count too.
        if self.overflowed.0.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.shape.overflow(hash).into_iter().find_map(|bucket| self.find(bucket, key))
    }

    /// Finds the entry of `key` in its first candidate bucket: for staged lookups.
    #[inline]
    pub fn find_first(&self, key: &[u64; K], hash: Hash) -> Option<Found> {
        self.find(self.shape.first(hash), key)
    }

    /// Finds the entry of `key` in its second candidate bucket: for staged lookups.
    #[inline]
    pub fn find_second(&self, key: &[u64; K], hash: Hash) -> Option<Found> {
        self.find(self.shape.main(hash)[1], key)
    }

    /// The first slot of a bucket.
    #[inline(always)]
    pub(crate) fn start(&self, bucket: Bucket, hash: Hash) -> usize {
        match bucket {
            Bucket::First => self.shape.first_bucket(hash) * Self::WAYS,
            Bucket::Second => self.shape.main(hash)[1],
            Bucket::Third => self.shape.overflow(hash)[0],
            Bucket::Fourth => self.shape.overflow(hash)[1],
        }
    }

    /// The payload of the entry that `handle` names, if it is that of `key`: what an earlier stage found is still
    /// there.
    #[inline]
    pub fn confirm(&self, handle: Handle, key: &[u64; K]) -> Option<Payload> {
        let slot = self.slot(handle)?;
        let word = slot.word();
        (word.is_live(handle.generation()) && slot.looks_like(key)).then(|| word.payload())
    }

    /// The key and the payload of the entry that `handle` names.
    #[inline]
    pub fn load(&self, handle: Handle) -> Option<([u64; K], Payload)> {
        self.slot(handle)?.entry(handle.generation())
    }

    /// Replaces the payload of an entry, if it still is `seen`.
    ///
    /// # Errors
    /// The payload is another by now, or the entry is gone; nothing was changed.
    #[inline]
    pub fn update(&self, handle: Handle, seen: Payload, new: Payload) -> Result<(), Update> {
        self.step(handle, seen, Phase::Live, new)
    }

    /// Removes an entry, if its payload still is `seen`. Of several who try, one succeeds.
    ///
    /// # Errors
    /// The payload is another by now, or the entry is gone; nothing was changed.
    #[inline]
    pub fn remove(&self, handle: Handle, seen: Payload) -> Result<(), Update> {
        self.step(handle, seen, Phase::Dying, seen)?;
        self.count_out(handle);
        self.give_up(handle);
        Ok(())
    }

    /// Fetches a bucket of a key ahead of a lookup.
    #[inline(always)]
    pub fn prefetch(&self, bucket: Bucket, hash: Hash) {
        self.prefetch_bucket(self.start(bucket, hash));
    }

    /// Fetches the entry that `handle` names.
    #[inline(always)]
    pub fn prefetch_handle(&self, handle: Handle) {
        prefetch(self.slots.as_ptr().wrapping_add(usize::try_from(handle.slot()).unwrap_or(0)));
    }

    #[inline(always)]
    pub(crate) fn prefetch_bucket(&self, start: usize) {
        const LINE: usize = 64;
        let mut slot = 0;
        while slot < Self::WAYS {
            prefetch(self.slots.as_ptr().wrapping_add(start + slot));
            slot += LINE / Self::SLOT_BYTES;
        }
    }

    /// The slots of the bucket that starts at `start`.
    #[inline(always)]
    pub(crate) fn bucket(&self, start: usize) -> &[Slot<K>] {
        &self.slots[start..start + Self::WAYS]
    }

    #[inline(always)]
    pub(crate) fn slot(&self, handle: Handle) -> Option<&Slot<K>> {
        self.slots.get(usize::try_from(handle.slot()).ok()?)
    }

    #[inline(always)]
    fn find(&self, bucket: usize, key: &[u64; K]) -> Option<Found> {
        // At a glance first: most keys that are asked for are not there, or in one bucket of several.
        if !self.bucket(bucket).iter().fold(false, |any, slot| any | slot.resembles(key)) {
            return None;
        }
        self.find_among(bucket, key)
    }

    /// The same where it seems to be.
    #[inline]
    fn find_among(&self, bucket: usize, key: &[u64; K]) -> Option<Found> {
        self.bucket(bucket).iter().enumerate().find_map(|(i, slot)| {
            let word = slot.live(key)?;
            Some(Found { handle: Handle::new(bucket + i, word.generation()), payload: word.payload() })
        })
    }

    #[inline]
    fn step(&self, handle: Handle, seen: Payload, phase: Phase, new: Payload) -> Result<(), Update> {
        let slot = self.slot(handle).ok_or(Update::Gone)?;
        let from = Word::new(Phase::Live, handle.generation(), seen);
        slot.exchange(from, Word::new(phase, handle.generation(), new)).map_err(|found| {
            if found.is_live(handle.generation()) { Update::Changed(found.payload()) } else { Update::Gone }
        })
    }

    #[cfg(all(test, loom))]
    pub(crate) fn secrets_for_models(&self) -> &Secrets {
        &self.secrets
    }

    /// Puts a table right that an earlier process left behind: gives up what it had claimed or was removing, and
    /// counts what lives. Only before anybody else uses the table.
    #[cfg(not(loom))]
    pub(crate) fn recover(&self) {
        for (i, slot) in self.slots.iter().enumerate() {
            let word = slot.word();
            let handle = Handle::new(i, word.generation());
            match word.phase() {
                Phase::Free => {}
                Phase::Pending | Phase::Dying => slot.clear(word.generation()),
                Phase::Live => {
                    self.count_in(handle);
                    if self.in_overflow(handle) {
                        // ORDERING: Relaxed, nobody else is here yet.
                        self.overflowed.0.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Frees a dying slot that is the caller's to free.
    pub(crate) fn give_up(&self, handle: Handle) {
        let Some(slot) = self.slot(handle) else { return };
        slot.clear(handle.generation());
        if self.in_overflow(handle) {
            // ORDERING: Release, after the slot is free. The count is never below the slots taken, since every
            // decrement follows its own increment in the counter's order.
            self.overflowed.0.fetch_sub(1, Ordering::Release);
        }
    }

    pub(crate) fn in_overflow(&self, handle: Handle) -> bool {
        handle.slot() >= self.shape.main_slots() as u64
    }

    pub(crate) fn count_in(&self, handle: Handle) {
        // ORDERING: Relaxed, an estimate for people.
        self.shard(handle).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_out(&self, handle: Handle) {
        // ORDERING: Relaxed, an estimate for people.
        self.shard(handle).fetch_sub(1, Ordering::Relaxed);
    }

    /// By slot, so that an entry leaves the count that it entered.
    #[expect(clippy::cast_possible_truncation, reason = "below SHARDS")]
    fn shard(&self, handle: Handle) -> &AtomicU64 {
        &self.live[(handle.slot() % SHARDS as u64) as usize].0
    }
}

/// Asks for the cache line at `address`, which may be any.
#[inline(always)]
fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // JUSTIFICATION: a burst's lookups overlap only if their memory is asked for ahead; nothing in the safe
        // language does.
        // SAFETY: a prefetch reads nothing and faults on no address, not even a bad one; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri), not(loom))))]
    let _ = address;
}

impl<const K: usize> std::fmt::Debug for Table<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("key_words", &K)
            .field("slots", &self.slots())
            .field("len", &self.len())
            .field("overflowed", &self.overflowed())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
pub(crate) mod tests {
    use super::*;
    use crate::Reserve;

    pub(crate) fn insert<const K: usize>(table: &Table<K>, key: [u64; K], payload: u64) -> Option<Handle> {
        match table.reserve(&key, table.hash(&key)) {
            Reserve::Reserved(reservation) => reservation.publish(Payload::new(payload)).ok(),
            _ => None,
        }
    }

    #[test]
    fn an_entry_is_found_until_it_is_removed() {
        let table = Table::<1>::on_heap(64, 7);
        let key = [0xC633_6464_1F90_0001];
        let hash = table.hash(&key);
        assert_eq!(table.get(&key, hash), None);
        let handle = insert(&table, key, 5).expect("room");
        assert_eq!(table.get(&key, hash), Some(Found { handle, payload: Payload::new(5) }));
        assert_eq!(table.load(handle), Some((key, Payload::new(5))));
        assert_eq!(table.confirm(handle, &key), Some(Payload::new(5)));
        assert_eq!(table.confirm(handle, &[key[0] ^ 1]), None);
        assert!(table.find_first(&key, hash).is_some() != table.find_second(&key, hash).is_some());
        assert_eq!(table.len(), 1);
        assert_eq!(table.remove(handle, Payload::new(5)), Ok(()));
        assert_eq!(table.get(&key, hash), None);
        assert_eq!(table.load(handle), None);
        assert_eq!(table.confirm(handle, &key), None);
        assert!(table.is_empty());
    }

    #[test]
    fn a_renewed_entry_stays_in_its_slot() {
        let table = Table::<1>::on_heap(64, 7);
        let (key, hash) = ([7], table.hash(&[7]));
        let old = insert(&table, key, 5).expect("room");
        assert!(table.renew(old, Payload::new(6)).is_none(), "it holds something else");
        let renewed = table.renew(old, Payload::new(5)).expect("it is as seen");
        assert_eq!((table.get(&key, hash), table.load(old), table.len()), (None, None, 0));
        let new = renewed.publish(Payload::new(6)).expect("nobody else is here");
        assert_eq!(new.slot(), old.slot());
        assert_eq!(table.get(&key, hash), Some(Found { handle: new, payload: Payload::new(6) }));
        assert_eq!((table.load(old), table.len()), (None, 1));
        drop(table.renew(new, Payload::new(6)));
        assert_eq!((table.get(&key, hash), table.len()), (None, 0));
        insert(&table, key, 8).expect("the slot is free");
    }
}
