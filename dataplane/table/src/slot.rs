//! One slot: a value word and the words of a key, and the steps that a slot can take.
//!
//! ```text
//!          claim               publish              retire
//!   FREE --------> PENDING ---------------> LIVE -----------> DYING --+
//!    ^  generation    |                           (one wins)    ^     |
//!    |  goes up       +---- kill (an insert of the same key) ---+     | clear: key words to
//!    |                +---- abort (its owner)   ----------------+     | zero, then free
//!    +----------------------------------------------------------------+
//! ```
//!
//! and from live to pending again, a generation on, for the next entry of the same key (renew).
//!
//! Invariants:
//! - Key words are written by the claimer of a pending slot and by whoever clears a dying one, nobody else. So the
//!   key of a live entry stands still.
//! - Key words are zero in a free slot, and word 0 is the first to go and the last to come: who reads a word 0 that
//!   is not zero can rely on the others of the same claim.
//! - A reader trusts a key only between two looks at the value word that show the same phase and generation.

use crate::{
    Payload,
    memory::AtomicWords,
    sync::{AtomicU64, Ordering},
    word::{Generation, Phase, Word},
};

/// A slot with a key of `K` words.
#[repr(C)]
pub(crate) struct Slot<const K: usize> {
    word: AtomicU64,
    key: [AtomicU64; K],
}

// SAFETY: atomic words only.
unsafe impl<const K: usize> AtomicWords for Slot<K> {
    fn zero() -> Slot<K> {
        Slot { word: AtomicU64::new(0), key: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl<const K: usize> Slot<K> {
    /// The value word.
    #[inline(always)]
    pub(crate) fn word(&self) -> Word {
        // ORDERING: Acquire, with the Release of `publish`: whoever sees an entry live sees its key. With that of
        // `clear`: whoever sees a slot free sees its key words gone.
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    /// Whether the key words are these, at a glance: nothing says that the slot is live, or that the words are of
    /// one claim.
    #[inline(always)]
    pub(crate) fn looks_like(&self, key: &[u64; K]) -> bool {
        // ORDERING: Acquire, with the Release of `write_key` and `clear`. A key word that belongs to a later claim
        // brings that claim's value word along, so that a second look at the value word notices it.
        self.key.iter().zip(key).all(|(word, want)| word.load(Ordering::Acquire) == *want)
    }

    /// The same, without a branch, for when nobody can predict it.
    #[inline(always)]
    pub(crate) fn resembles(&self, key: &[u64; K]) -> bool {
        // ORDERING: as in `looks_like`.
        self.key
            .iter()
            .zip(key)
            .fold(true, |same, (word, want)| same & (word.load(Ordering::Acquire) == *want))
    }

    /// The value word if this slot holds the live entry of `key`.
    #[inline(always)]
    pub(crate) fn live(&self, key: &[u64; K]) -> Option<Word> {
        self.holding(key, |phase| phase == Phase::Live)
    }

    /// The value word if this slot holds the entry of `key`, live or pending.
    pub(crate) fn occupant(&self, key: &[u64; K]) -> Option<Word> {
        self.holding(key, |phase| matches!(phase, Phase::Live | Phase::Pending))
    }

    #[inline(always)]
    fn holding(&self, key: &[u64; K], wanted: impl Fn(Phase) -> bool) -> Option<Word> {
        // The key first: of the slots looked at, nearly all end here, with one load each.
        while self.looks_like(key) {
            let before = self.word();
            if !wanted(before.phase()) || !self.looks_like(key) {
                return None;
            }
            let after = self.word();
            if before.same_use(after) {
                return Some(after);
            }
            // The slot went on to another use in between: look at that.
        }
        None
    }

    /// The key and the payload of the live entry of `generation`.
    #[inline]
    pub(crate) fn entry(&self, generation: Generation) -> Option<([u64; K], Payload)> {
        if !self.word().is_live(generation) {
            return None;
        }
        // ORDERING: Acquire, as in `looks_like`.
        let key = std::array::from_fn(|i| self.key[i].load(Ordering::Acquire));
        let word = self.word();
        word.is_live(generation).then(|| (key, word.payload()))
    }

    /// Takes the slot, found free as `seen`. Returns its pending word; `None` if somebody else was faster.
    pub(crate) fn claim(&self, seen: Word) -> Option<Word> {
        debug_assert_eq!(seen.phase(), Phase::Free);
        let claimed = seen.claimed();
        self.exchange(seen, claimed).is_ok().then_some(claimed)
    }

    /// Writes the key, for the claimer of a pending slot only.
    pub(crate) fn write_key(&self, key: &[u64; K]) {
        // Word 0 last, see the invariants.
        for (word, value) in self.key.iter().zip(key).rev() {
            // ORDERING: Release, with the Acquire of `looks_like` and `entry`: who reads this word sees the claim.
            word.store(*value, Ordering::Release);
        }
    }

    /// One step of the value word from `from` to `to`, or the word found instead.
    #[inline]
    pub(crate) fn exchange(&self, from: Word, to: Word) -> Result<(), Word> {
        // ORDERING: Release on success, with the Acquire of `word`, hands on the key that was written before.
        // Acquire on success orders the winner behind the one who made the word that it replaces; on failure, as
        // in `word`.
        self.word
            .compare_exchange(from.bits(), to.bits(), Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(Word::from_bits)
    }

    /// Turns a pending slot, killed or not, into a dying one. For its claimer only.
    pub(crate) fn withdraw(&self, generation: Generation) {
        let dying = Word::new(Phase::Dying, generation, Payload::new(0));
        // A swap, not a store: a kill comes either before it, or finds nothing to kill.
        // ORDERING: AcqRel, as `exchange`.
        self.word.swap(dying.bits(), Ordering::AcqRel);
    }

    /// Gives a dying slot up. Only for the one whom it belongs to: the winner of the step from live to dying, or
    /// the claimer of a pending slot.
    pub(crate) fn clear(&self, generation: Generation) {
        // ORDERING: Release throughout. That the slot is dying is seen by whoever sees a key word gone (Acquire in
        // `looks_like`); that the key words are gone is seen by whoever sees it free (Acquire in `word`).
        for word in &self.key {
            word.store(0, Ordering::Release);
        }
        self.word.store(Word::new(Phase::Free, generation, Payload::new(0)).bits(), Ordering::Release);
    }
}
