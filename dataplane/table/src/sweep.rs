//! Walking a table a few buckets at a time: for expiry, and for showing what is in it.

use crate::{Handle, Hash, Payload, Table, word::Phase};

/// Buckets that [`Table::sweep_ahead`] looks through twice in a row: memory is some hundred nanoseconds away, a bucket
/// some ten.
const AHEAD: usize = 16;

/// Where a sweep is in its share of a table.
#[derive(Clone, Debug)]
pub struct SweepCursor {
    start: u64,
    end: u64,
    next: u64,
}

/// What is to become of an entry that a sweep met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It goes, unless somebody changes it first.
    Remove,
}

/// What a sweep did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Entries that it met.
    pub visited: usize,
    /// Entries that it removed.
    pub removed: usize,
    /// Whether it reached the end of the share, so that the next one starts over.
    pub wrapped: bool,
}

impl SweepCursor {
    /// The cursor of share `index` of `count`. The shares of one count are disjoint, nearly equal, and together all
    /// of `table`, overflow area included.
    ///
    /// # Panics
    /// If `index` is not below `count`.
    pub fn share<const K: usize>(table: &Table<K>, index: u32, count: u32) -> SweepCursor {
        assert!(index < count, "share {index} of {count}: shares are numbered from 0");
        let buckets = u128::from(table.shape.buckets());
        let at = |share: u32| {
            u64::try_from(buckets * u128::from(share) / u128::from(count)).expect("no more than all buckets")
        };
        let (start, end) = (at(index), at(index + 1));
        SweepCursor { start, end, next: start }
    }

    /// Buckets of the share.
    pub fn share_len(&self) -> u64 {
        self.end - self.start
    }

    /// Buckets until the share is through once more.
    pub fn left(&self) -> u64 {
        self.end - self.next
    }

    /// Passes over the next `buckets` buckets, at most to the end of the share.
    pub fn skip(&mut self, buckets: u64) {
        let next = self.end.min(self.next.saturating_add(buckets));
        self.next = if next == self.end { self.start } else { next };
    }
}

impl<const K: usize> Table<K> {
    /// Buckets of the table, overflow area included: what [`Table::sweep`] and [`Table::scan`] count in.
    pub fn buckets(&self) -> u64 {
        self.shape.buckets()
    }

    /// Shows `f` the entries of the next `buckets` buckets of the cursor's share, and removes those that it says.
    /// Stops at the end of the share. An entry that changes between the verdict and its removal stays.
    pub fn sweep(
        &self,
        cursor: &mut SweepCursor,
        buckets: usize,
        f: impl FnMut(Handle, &[u64; K], Payload) -> Verdict,
    ) -> Swept {
        self.sweep_ahead(cursor, buckets, |_, _| (), f)
    }

    /// The same, and shows every entry to `ahead` some buckets before its turn comes: to fetch what `f` will ask for.
    pub fn sweep_ahead(
        &self,
        cursor: &mut SweepCursor,
        buckets: usize,
        mut ahead: impl FnMut(&[u64; K], Payload),
        mut f: impl FnMut(Handle, &[u64; K], Payload) -> Verdict,
    ) -> Swept {
        let mut swept = Swept::default();
        let end = cursor.end.min(cursor.next.saturating_add(buckets as u64));
        for first in (cursor.next..end).step_by(AHEAD) {
            let near = first..end.min(first + AHEAD as u64);
            near.clone().for_each(|bucket| self.visit(bucket, |_, key, payload| ahead(key, payload)));
            near.for_each(|bucket| self.sweep_bucket(bucket, &mut swept, &mut f));
        }
        swept.wrapped = end == cursor.end;
        cursor.skip(buckets as u64);
        swept
    }

    /// Shows `f` the entries of all places where a key with this hash may be, and removes those that it says: to
    /// make room where it is needed, for an insert that found everything full.
    pub fn sweep_places(
        &self,
        hash: Hash,
        mut f: impl FnMut(Handle, &[u64; K], Payload) -> Verdict,
    ) -> Swept {
        let mut swept = Swept::default();
        for start in self.shape.main(hash).into_iter().chain(self.shape.overflow(hash)) {
            self.sweep_bucket((start / Self::WAYS) as u64, &mut swept, &mut f);
        }
        swept
    }

    fn sweep_bucket(
        &self,
        bucket: u64,
        swept: &mut Swept,
        f: &mut impl FnMut(Handle, &[u64; K], Payload) -> Verdict,
    ) {
        self.visit(bucket, |handle, key, payload| {
            swept.visited += 1;
            if f(handle, key, payload) == Verdict::Remove && self.remove(handle, payload).is_ok() {
                swept.removed += 1;
            }
        });
    }

    /// Shows `f` the entries of `buckets` buckets from `from` on. Returns where to go on, `None` at the end.
    ///
    /// An entry that is there all the time is shown once in a walk from 0 to the end.
    pub fn scan(
        &self,
        from: u64,
        buckets: usize,
        mut f: impl FnMut(Handle, &[u64; K], Payload),
    ) -> Option<u64> {
        let end = self.buckets().min(from.saturating_add(buckets as u64));
        (from..end).for_each(|bucket| self.visit(bucket, &mut f));
        (end < self.buckets()).then_some(end)
    }

    fn visit(&self, bucket: u64, mut f: impl FnMut(Handle, &[u64; K], Payload)) {
        let Ok(bucket) = usize::try_from(bucket) else { return };
        let start = bucket * Self::WAYS;
        for (i, slot) in self.bucket(start).iter().enumerate() {
            let word = slot.word();
            if word.phase() != Phase::Live {
                continue;
            }
            if let Some((key, payload)) = slot.entry(word.generation()) {
                f(Handle::new(start + i, word.generation()), &key, payload);
            }
        }
    }
}
