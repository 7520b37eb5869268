//! Looking up in stages: a bucket is asked for, glanced at when it is there, and what was seen is used later still, while others
//! are looked up.
//!
//! Invariants:
//! - A glance has no branch that depends on where the key is, or whether. Whoever gets `false` looks elsewhere, or forgets the spot.
//! - What it saw is a hint until [`Table::still`] has seen it again.

use crate::{
    Bucket, Found, Handle, Hash, Payload, Table,
    word::{Pattern, Word},
};
use std::hint::select_unpredictable;

/// A bucket to be glanced at, and after that: the slot where the key was, and the value word that was there.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    slot: usize,
    word: Word,
}

impl Spot {
    /// Where no entry is.
    pub const NOWHERE: Spot = Spot { slot: 0, word: Word::NO_ENTRY };

    /// What was in the slot, whoever's it was: for fetching ahead what that names.
    #[inline(always)]
    pub const fn hint(self) -> Payload {
        self.word.payload()
    }

    /// What the entry held, if one was seen that looked like this. A hint: when the slot changed hands during the glance, it was
    /// another key's.
    #[inline(always)]
    pub fn seen(self, pattern: Pattern) -> Option<Payload> {
        pattern.holds(self.word).then(|| self.word.payload())
    }
}

impl<const K: usize> Table<K> {
    /// Fetches a bucket of a key ahead, and says where it is.
    #[inline(always)]
    pub fn approach(&self, bucket: Bucket, hash: Hash) -> Spot {
        let start = self.start(bucket, hash);
        self.prefetch_bucket(start);
        Spot { slot: start, word: Word::NO_ENTRY }
    }

    /// Looks for `key` in the bucket that was approached. Whether it is there: then `spot` says where, and what was seen.
    /// Otherwise what it says is of another key.
    ///
    /// PERF: `established/*` and `instructions/*`. Which slot it is, nobody can predict: all are compared, without a branch.
    #[inline(always)]
    pub fn glance(&self, spot: &mut Spot, key: &[u64; K]) -> bool {
        let Some(bucket) = self.slots.get(spot.slot..spot.slot + Self::WAYS) else { return false };
        let mut at = 0;
        for (n, slot) in bucket.iter().enumerate().skip(1) {
            at = select_unpredictable(slot.resembles(key), n, at);
        }
        *spot = Spot { slot: spot.slot + at, word: bucket[at].word() };
        // ORDERING: the key once more, behind the word (Acquire): together with the look at the word in `still` it is between two
        // looks at the same word, as the invariants of `slot` want it. It also tells that it was in slot 0, or nowhere.
        bucket[at].resembles(key)
    }

    /// What the entry at `spot` holds, if it looks like `pattern` and nobody changed it since the glance: then it is the entry
    /// of the key that was glanced for.
    ///
    /// PERF: `instructions/*`. One comparison of whole words says that it is the same use of the slot and that everything that
    /// was found out about the payload holds.
    #[inline(always)]
    pub fn still(&self, spot: Spot, pattern: Pattern) -> Option<Payload> {
        // ORDERING: Acquire, in `word`: a key of a later use, seen by the glance, brings the word of that use along.
        let word = self.slots.get(spot.slot)?.word();
        (word == spot.word && pattern.holds(word)).then(|| word.payload())
    }

    /// The entry of `key`, if it is at `spot`, whatever it holds by now.
    #[inline]
    pub fn at(&self, spot: Spot, key: &[u64; K]) -> Option<Found> {
        let word = self.slots.get(spot.slot)?.live(key)?;
        Some(Found { handle: Handle::new(spot.slot, word.generation()), payload: word.payload() })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::conn::tests::insert;

    const BUCKETS: [Bucket; 4] = [Bucket::First, Bucket::Second, Bucket::Third, Bucket::Fourth];

    fn find(table: &Table<1>, key: &[u64; 1]) -> Option<Spot> {
        BUCKETS.into_iter().find_map(|bucket| {
            let mut spot = table.approach(bucket, table.hash(key));
            table.glance(&mut spot, key).then_some(spot)
        })
    }

    #[test]
    fn every_entry_is_seen_where_it_is_and_no_other() {
        let table = Table::<1>::on_heap(64, 7);
        let key = |n: u64| [0xC633_6464_1F90_0000 + n];
        let made: Vec<_> = (0..68).map(|n| insert(&table, key(n), n)).collect();
        assert!(made.iter().filter(|made| made.is_some()).count() > 60);
        for (n, handle) in (0..).zip(made) {
            let spot = find(&table, &key(n));
            let found = spot.and_then(|spot| table.at(spot, &key(n)));
            assert_eq!(found, handle.map(|handle| Found { handle, payload: Payload::new(n) }));
            assert_eq!(
                spot.and_then(|spot| table.still(spot, Pattern::LIVE)),
                handle.map(|_| Payload::new(n))
            );
        }
        assert!((68..200).all(|n| find(&table, &key(n)).is_none()));
    }

    #[test]
    fn an_entry_is_still_there_until_anything_changes() {
        let table = Table::<1>::on_heap(64, 7);
        let (key, hash) = ([0xC633_6464_1F90_0001], table.hash(&[0xC633_6464_1F90_0001]));
        let mut before = table.approach(Bucket::First, hash);
        assert_eq!((before.seen(Pattern::LIVE), table.still(before, Pattern::LIVE)), (None, None));
        assert!(!table.glance(&mut before, &key));
        let handle = insert(&table, key, 5).expect("room");
        assert_eq!((before.seen(Pattern::LIVE), table.still(before, Pattern::LIVE)), (None, None));
        let spot = find(&table, &key).expect("it is there");
        let five = Some(Payload::new(5));
        assert_eq!((spot.seen(Pattern::LIVE), table.still(spot, Pattern::LIVE)), (five, five));
        assert_eq!(table.still(spot, Pattern::new(0b110, 0b100)), five);
        assert_eq!(table.still(spot, Pattern::new(0b110, 0b110)), None);
        assert_eq!(table.at(spot, &[key[0] ^ 1]), None);
        assert_eq!(table.still(Spot::NOWHERE, Pattern::LIVE), None);
        assert_eq!(table.update(handle, Payload::new(5), Payload::new(6)), Ok(()));
        assert_eq!(table.still(spot, Pattern::LIVE), None);
        assert_eq!(table.at(spot, &key), Some(Found { handle, payload: Payload::new(6) }));
        assert_eq!(table.remove(handle, Payload::new(6)), Ok(()));
        assert_eq!((table.at(spot, &key), find(&table, &key).is_none()), (None, true));
        insert(&table, key, 5).expect("room");
        assert_eq!(table.still(spot, Pattern::LIVE), None, "of another claim of the slot");
    }
}
