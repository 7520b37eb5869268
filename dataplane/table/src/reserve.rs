//! Making an entry, so that a key never has two.
//!
//! An inserter claims a free slot, writes its key into it, and then looks at all the other places where the key may
//! be. Of two inserters of one key, the sequentially consistent fence between writing and looking makes sure that
//! at least one sees the other. Who sees a live entry withdraws. Of two that are pending, the one in the lower slot
//! goes on: it kills the other one's claim, or the other withdraws, whichever comes first.
//!
//! The claim is not visible to lookups until its owner publishes it, in one step from pending to live. Between the
//! two, its handle is known, so that another entry that points to it can be made first.

use crate::{
    Bucket, Found, Handle, Hash, Payload, Table,
    sync::{Ordering, fence, spin_loop},
    word::{Phase, Word},
};

/// How often an insert that meets another of the same key looks again before it calls the key busy.
const ATTEMPTS: usize = if cfg!(loom) { 2 } else { 64 };

/// What came of a wish to make an entry.
#[derive(Debug)]
pub enum Reserve<'t, const K: usize> {
    /// A slot, for the caller to publish.
    Reserved(Reservation<'t, K>),
    /// The key has an entry.
    Exists(Found),
    /// Somebody else is about to make an entry of this key.
    Busy,
    /// All candidate buckets of this key are full.
    Full,
}

/// A claimed slot that holds a key and waits for its payload. Dropped, it is given up.
#[must_use = "a reservation that is not published is given up"]
#[derive(Debug)]
pub struct Reservation<'t, const K: usize> {
    table: &'t Table<K>,
    handle: Handle,
    word: Word,
}

/// Another insert of the same key went first; this one's slot is given up. Looking the key up again finds that
/// entry, now or soon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Killed;

/// A step of an attempt: the slot, or how the attempt ended.
enum End {
    Exists(Found),
    Full,
    Again,
}

impl<const K: usize> Table<K> {
    /// Claims a slot for an entry of `key`, whose hash is `hash`.
    pub fn reserve(&self, key: &[u64; K], hash: Hash) -> Reserve<'_, K> {
        // All that `survey` and `settle` look at, at once: memory is waited for once, not for each.
        self.prefetch(Bucket::First, hash);
        self.prefetch(Bucket::Second, hash);
        if self.overflowed() > 0 {
            self.prefetch(Bucket::Third, hash);
            self.prefetch(Bucket::Fourth, hash);
        }
        for _ in 0..ATTEMPTS {
            match self.try_reserve(key, hash) {
                Ok(reservation) => return Reserve::Reserved(reservation),
                Err(End::Exists(found)) => return Reserve::Exists(found),
                Err(End::Full) => return Reserve::Full,
                Err(End::Again) => spin_loop(),
            }
        }
        Reserve::Busy
    }

    fn try_reserve(&self, key: &[u64; K], hash: Hash) -> Result<Reservation<'_, K>, End> {
        let reservation = self.claim(self.survey(key, hash)?).ok_or(End::Again)?;
        let mine = self.slot(reservation.handle).expect("a claimed slot exists");
        mine.write_key(key);
        // ORDERING: SeqCst, with the same fence of every other inserter of this key: of two, the later in the order
        // of fences sees the key (and the count of overflowed slots) that the earlier wrote before its own.
        fence(Ordering::SeqCst);
        self.settle(key, hash, reservation.handle)?;
        Ok(reservation)
    }

    /// Looks for an entry of `key`, and for the free slot that suits it best.
    fn survey(&self, key: &[u64; K], hash: Hash) -> Result<(usize, Word), End> {
        let mut room = None;
        for bucket in self.shape.main(hash) {
            let (free, _) = self.look(bucket, key)?;
            room = room.or(free);
        }
        if room.is_some() && self.overflowed() == 0 {
            return room.ok_or(End::Full);
        }
        let [first, second] = self.shape.overflow(hash);
        let (first, roomy) = self.look(first, key)?;
        let (second, roomier) = self.look(second, key)?;
        // Evenly filled: the overflow area has no further way out.
        let overflow = if roomier > roomy { second } else { first };
        room.or(overflow).ok_or(End::Full)
    }

    /// The first free slot of a bucket and how many there are, unless `key` is in it.
    fn look(&self, bucket: usize, key: &[u64; K]) -> Result<(Option<(usize, Word)>, usize), End> {
        let (mut free, mut count) = (None, 0);
        for (i, slot) in self.bucket(bucket).iter().enumerate() {
            if let Some(word) = slot.occupant(key) {
                let handle = Handle::new(bucket + i, word.generation());
                return Err(match word.phase() {
                    Phase::Live => End::Exists(Found { handle, payload: word.payload() }),
                    _ => End::Again,
                });
            }
            let word = slot.word();
            if word.phase() == Phase::Free {
                free = free.or(Some((bucket + i, word)));
                count += 1;
            }
        }
        Ok((free, count))
    }

    /// Takes a slot that was seen free.
    fn claim(&self, (slot, seen): (usize, Word)) -> Option<Reservation<'_, K>> {
        let handle = Handle::new(slot, seen.claimed().generation());
        if self.in_overflow(handle) {
            // ORDERING: Relaxed; ordered before the looks of others by the fence in `try_reserve`, and before
            // lookups by the Release of the publication.
            self.overflowed.0.fetch_add(1, Ordering::Relaxed);
        }
        match self.slot(handle)?.claim(seen) {
            Some(word) => Some(Reservation { table: self, handle, word }),
            None => {
                if self.in_overflow(handle) {
                    // ORDERING: Relaxed; nothing was put there.
                    self.overflowed.0.fetch_sub(1, Ordering::Relaxed);
                }
                None
            }
        }
    }

    /// Looks at all places of `key` but `mine`, and settles with whoever else is there.
    fn settle(&self, key: &[u64; K], hash: Hash, mine: Handle) -> Result<(), End> {
        for bucket in self.shape.main(hash) {
            self.settle_in(bucket, key, mine)?;
        }
        if self.overflowed() > 0 {
            for bucket in self.shape.overflow(hash) {
                self.settle_in(bucket, key, mine)?;
            }
        }
        Ok(())
    }

    fn settle_in(&self, bucket: usize, key: &[u64; K], mine: Handle) -> Result<(), End> {
        for (i, slot) in self.bucket(bucket).iter().enumerate() {
            let index = bucket + i;
            if index as u64 == mine.slot() {
                continue;
            }
            while let Some(word) = slot.occupant(key) {
                let handle = Handle::new(index, word.generation());
                match word.phase() {
                    Phase::Live => return Err(End::Exists(Found { handle, payload: word.payload() })),
                    _ if handle.slot() < mine.slot() => return Err(End::Again),
                    // The killed one's owner clears its slot. If it was faster and is live now, look again.
                    _ => drop(slot.exchange(word, word.to(Phase::Dying))),
                }
            }
        }
        Ok(())
    }
}

impl<const K: usize> Reservation<'_, K> {
    /// The name of the entry to be.
    #[inline]
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Makes the entry.
    ///
    /// # Errors
    /// Another insert of the same key went first.
    pub fn publish(self, payload: Payload) -> Result<Handle, Killed> {
        let live = Word::new(Phase::Live, self.word.generation(), payload);
        let slot = self.table.slot(self.handle).expect("a claimed slot exists");
        // Killed, the slot is given up as this drops.
        slot.exchange(self.word, live).map_err(|_| Killed)?;
        let handle = self.handle;
        self.table.count_in(handle);
        std::mem::forget(self);
        Ok(handle)
    }

    /// Gives the slot up.
    pub fn abort(self) {
        drop(self);
    }
}

impl<const K: usize> Drop for Reservation<'_, K> {
    fn drop(&mut self) {
        if let Some(slot) = self.table.slot(self.handle) {
            slot.withdraw(self.handle.generation());
        }
        self.table.give_up(self.handle);
    }
}
