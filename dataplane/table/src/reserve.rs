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
    slot::Slot,
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

/// What room there is in a bucket.
#[derive(Clone, Copy)]
struct Room {
    /// Free slots.
    free: usize,
    /// The first of them, and its word.
    slot: usize,
    word: Word,
}

/// A step of an attempt: the slot, or how the attempt ended.
enum End {
    Exists(Found),
    Full,
    Again,
}

impl<const K: usize> Table<K> {
    /// Claims a slot for an entry of `key`, whose hash is `hash`.
    ///
    /// PERF: `instructions/new-nat-64`. That the key is there already, or somebody else with it, is rare.
    #[inline]
    pub fn reserve(&self, key: &[u64; K], hash: Hash) -> Reserve<'_, K> {
        let main = self.shape.main(hash);
        // All that `survey` and `settle` look at, at once: memory is waited for once, not for each.
        main.into_iter().for_each(|bucket| self.prefetch_bucket(bucket));
        if self.overflowed() > 0 {
            self.prefetch(Bucket::Third, hash);
            self.prefetch(Bucket::Fourth, hash);
        }
        for _ in 0..ATTEMPTS {
            match self.try_reserve(key, hash, main) {
                Ok(reservation) => return Reserve::Reserved(reservation),
                Err(End::Exists(found)) => return Reserve::Exists(found),
                Err(End::Full) => return Reserve::Full,
                Err(End::Again) => spin_loop(),
            }
        }
        Reserve::Busy
    }

    /// Ends an entry, if its payload still is `seen`, and claims its slot for the next entry of its key, in one step. `None`
    /// if it holds something else by now, or is gone.
    ///
    /// The key stays where it is, so that nobody else need be looked for: whoever inserts it too meets it here, live or
    /// pending, and settles as with any other.
    #[inline]
    pub fn renew(&self, handle: Handle, seen: Payload) -> Option<Reservation<'_, K>> {
        let live = Word::new(Phase::Live, handle.generation(), seen);
        let word = live.claimed();
        self.slot(handle)?.exchange(live, word).ok()?;
        self.count_out(handle);
        Some(Reservation { table: self, handle: handle.of(word.generation()), word })
    }

    #[inline(always)]
    fn try_reserve(&self, key: &[u64; K], hash: Hash, main: [usize; 2]) -> Result<Reservation<'_, K>, End> {
        let reservation = self.claim(self.survey(key, hash, main)?).ok_or(End::Again)?;
        let mine = self.slot(reservation.handle).expect("a claimed slot exists");
        mine.write_key(key);
        // ORDERING: SeqCst, with the same fence of every other inserter of this key: of two, the later in the order
        // of fences sees the key (and the count of overflowed slots) that the earlier wrote before its own.
        fence(Ordering::SeqCst);
        self.settle(key, hash, main, reservation.handle)?;
        Ok(reservation)
    }

    /// Looks for an entry of `key`, and for the free slot that suits it best.
    #[inline(always)]
    fn survey(&self, key: &[u64; K], hash: Hash, main: [usize; 2]) -> Result<(usize, Word), End> {
        let (first, second) = (self.look(main[0], key)?, self.look(main[1], key)?);
        let room = if first.free != 0 { first } else { second };
        if room.free != 0 && self.overflowed() == 0 {
            return Ok((room.slot, room.word));
        }
        self.survey_overflow(key, hash, room)
    }

    /// The same where the main area alone does not tell.
    #[cold]
    #[inline(never)]
    fn survey_overflow(&self, key: &[u64; K], hash: Hash, main: Room) -> Result<(usize, Word), End> {
        let [first, second] = self.shape.overflow(hash);
        let (first, second) = (self.look(first, key)?, self.look(second, key)?);
        // Evenly filled: the overflow area has no further way out.
        let overflow = if second.free > first.free { second } else { first };
        let room = if main.free != 0 { main } else { overflow };
        if room.free != 0 { Ok((room.slot, room.word)) } else { Err(End::Full) }
    }

    /// What room there is in a bucket, unless `key` is in it.
    #[inline(always)]
    fn look(&self, bucket: usize, key: &[u64; K]) -> Result<Room, End> {
        let slots = self.bucket(bucket);
        if slots.iter().fold(false, |any, slot| any | slot.resembles(key)) {
            self.meet(bucket, key)?;
        }
        let mut room = Room { free: 0, slot: 0, word: Word::from_bits(0) };
        for (i, slot) in slots.iter().enumerate().rev() {
            let word = slot.word();
            if word.phase() == Phase::Free {
                room = Room { free: room.free + 1, slot: bucket + i, word };
            }
        }
        Ok(room)
    }

    /// Whether `key` really is in a bucket where it seems to be.
    #[cold]
    #[inline(never)]
    fn meet(&self, bucket: usize, key: &[u64; K]) -> Result<(), End> {
        for (i, slot) in self.bucket(bucket).iter().enumerate() {
            if let Some(word) = slot.occupant(key) {
                let handle = Handle::new(bucket + i, word.generation());
                return Err(match word.phase() {
                    Phase::Live => End::Exists(Found { handle, payload: word.payload() }),
                    _ => End::Again,
                });
            }
        }
        Ok(())
    }

    /// Takes a slot that was seen free.
    #[inline(always)]
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
    #[inline(always)]
    fn settle(&self, key: &[u64; K], hash: Hash, main: [usize; 2], mine: Handle) -> Result<(), End> {
        for bucket in main {
            self.settle_in(bucket, key, mine)?;
        }
        if self.overflowed() > 0 {
            for bucket in self.shape.overflow(hash) {
                self.settle_in(bucket, key, mine)?;
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn settle_in(&self, bucket: usize, key: &[u64; K], mine: Handle) -> Result<(), End> {
        let other = |i: usize, slot: &Slot<K>| slot.resembles(key) & ((bucket + i) as u64 != mine.slot());
        if !self.bucket(bucket).iter().enumerate().fold(false, |any, (i, slot)| any | other(i, slot)) {
            return Ok(());
        }
        self.settle_with(bucket, key, mine)
    }

    /// The same where others seem to be.
    #[cold]
    #[inline(never)]
    fn settle_with(&self, bucket: usize, key: &[u64; K], mine: Handle) -> Result<(), End> {
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
    #[inline]
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
