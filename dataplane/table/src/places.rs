//! Where a key may live: two buckets of the main area and two of the overflow area behind it.
//!
//! ```text
//! slots  |<------------- main buckets ------------->|<- overflow ->|
//!             first ^          second ^               third ^ ^ fourth
//! ```
//!
//! Bucket counts need not be powers of two (a table is as large as asked, not up to twice that), so a share of the
//! hash is scaled to the count by multiplication.

use crate::Hash;

/// The shape of a table: how many slots a bucket has, and how many buckets each area.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    ways: usize,
    main: u32,
    overflow: u32,
}

impl Shape {
    /// The overflow area has this share of the main area's buckets.
    const OVERFLOW_SHARE: u64 = 16;

    /// A table with at least `slots` slots in its main area, in buckets of `ways`; `None` if there are more
    /// buckets than 32 bits can count.
    pub(crate) fn new(slots: u64, ways: usize) -> Option<Shape> {
        // Two different candidates in each area need two buckets.
        let main = slots.div_ceil(ways as u64).max(2);
        let overflow = main.div_ceil(Shape::OVERFLOW_SHARE).max(2);
        Some(Shape { ways, main: u32::try_from(main).ok()?, overflow: u32::try_from(overflow).ok()? })
    }

    pub(crate) const fn buckets(self) -> u64 {
        self.main as u64 + self.overflow as u64
    }

    pub(crate) const fn slots(self) -> usize {
        (self.main as usize + self.overflow as usize) * self.ways
    }

    pub(crate) const fn main_slots(self) -> usize {
        self.main as usize * self.ways
    }

    /// The number of the first candidate bucket.
    #[inline(always)]
    pub(crate) fn first_bucket(self, hash: Hash) -> usize {
        scale(high(hash.0), self.main) as usize
    }

    /// The first slot of the first candidate bucket.
    #[inline(always)]
    pub(crate) fn first(self, hash: Hash) -> usize {
        self.first_bucket(hash) * self.ways
    }

    /// The first slots of both candidates in the main area. They differ.
    #[inline(always)]
    pub(crate) fn main(self, hash: Hash) -> [usize; 2] {
        self.pair(high(hash.0), low(hash.0), 0, self.main)
    }

    /// The first slots of both candidates in the overflow area. They differ.
    #[inline(always)]
    pub(crate) fn overflow(self, hash: Hash) -> [usize; 2] {
        // Mixed again: of the keys that come here, both halves have crowded buckets in common.
        let hash = hash.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.pair(high(hash), low(hash), self.main, self.overflow)
    }

    #[inline(always)]
    fn pair(self, a: u32, b: u32, base: u32, buckets: u32) -> [usize; 2] {
        let first = scale(a, buckets);
        let mut second = scale(b, buckets);
        if second == first {
            second = if first + 1 == buckets { 0 } else { first + 1 };
        }
        [(base as usize + first as usize) * self.ways, (base as usize + second as usize) * self.ways]
    }
}

/// `part` of 2^32, scaled to `count`: a number below `count`.
#[inline(always)]
const fn scale(part: u32, count: u32) -> u32 {
    ((part as u64 * count as u64) >> 32) as u32
}

#[inline(always)]
const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn low(word: u64) -> u32 {
    word as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::hash::Secrets;
    use proptest::prelude::*;

    #[test]
    fn the_smallest_table_has_two_buckets_in_each_area() {
        let shape = Shape::new(0, 4).expect("small");
        assert_eq!((shape.slots(), shape.main_slots(), shape.buckets()), (16, 8, 4));
    }

    #[test]
    fn overflow_is_a_sixteenth() {
        let shape = Shape::new(4000, 4).expect("small");
        assert_eq!((shape.main_slots(), shape.slots()), (4000, 4000 + 63 * 4));
    }

    #[test]
    fn there_are_no_more_buckets_than_can_be_counted() {
        assert!(Shape::new(4 * u64::from(u32::MAX), 4).is_some());
        assert!(Shape::new(4 * u64::from(u32::MAX) + 1, 4).is_none());
    }

    /// Keys spread evenly over each of their four places.
    #[test]
    fn buckets_are_hit_alike() {
        let shape = Shape::new(16 * 16 * 4, 4).expect("small");
        let secrets = Secrets::new(1);
        let mut hits = [vec![0u32; 256], vec![0; 256], vec![0; 16], vec![0; 16]];
        for key in 0..64 * 256u64 {
            let hash = secrets.hash(&[key]);
            let [a, b] = shape.main(hash).map(|slot| slot / 4);
            let [c, d] = shape.overflow(hash).map(|slot| slot / 4 - 256);
            for (hits, bucket) in hits.iter_mut().zip([a, b, c, d]) {
                hits[bucket] += 1;
            }
        }
        // 64 (1024) expected; five standard deviations are 40 (160).
        assert!(hits[..2].iter().flatten().all(|n| (24..104).contains(n)), "{hits:?}");
        assert!(hits[2..].iter().flatten().all(|n| (864..1184).contains(n)), "{hits:?}");
    }

    proptest! {
        #[test]
        fn candidates_are_buckets_of_their_area_and_differ(hash: u64, slots in 0..1u64 << 33) {
            let shape = Shape::new(slots, 4).expect("fits");
            let ([a, b], [c, d]) = (shape.main(Hash(hash)), shape.overflow(Hash(hash)));
            prop_assert!(a != b && c != d);
            prop_assert_eq!(a, shape.first(Hash(hash)));
            prop_assert!([a, b, c, d].iter().all(|slot| slot % 4 == 0));
            prop_assert!(a < shape.main_slots() && b < shape.main_slots());
            prop_assert!((shape.main_slots()..shape.slots()).contains(&c));
            prop_assert!((shape.main_slots()..shape.slots()).contains(&d));
        }
    }
}
