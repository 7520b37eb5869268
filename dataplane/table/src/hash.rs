//! Hashing of keys, seeded.
//!
//! Written out here, not taken from a crate: the seed is kept with the tables' memory, so the function must give
//! the same hash in every version that reads the same layout. A test pins it.

/// The hash of a key, from which all its candidate buckets follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hash(pub(crate) u64);

impl Hash {
    /// Of no key.
    pub const ZERO: Hash = Hash(0);

    /// Half of it, for uses beside the table: whoever sees this learns nothing of where the entry is kept.
    #[inline]
    pub const fn mixed(self) -> u32 {
        (self.0.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 32) as u32
    }
}

/// The secrets that a seed expands to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secrets {
    start: u64,
    round: u64,
    end: [u64; 2],
}

impl Secrets {
    pub(crate) fn new(seed: u64) -> Secrets {
        let mut state = seed;
        let mut next = || splitmix(&mut state);
        Secrets { start: next(), round: next() | 1, end: [next(), next() | 1] }
    }

    /// Two multiplications for a key of one word, one more for every further word.
    #[inline(always)]
    pub(crate) fn hash<const K: usize>(&self, key: &[u64; K]) -> Hash {
        let mut hash = self.start;
        for word in key {
            hash = fold(hash ^ word, self.round);
        }
        Hash(fold(hash ^ self.end[0], self.end[1]))
    }
}

/// The two halves of the 128-bit product, one over the other: every bit of the input reaches every bit of the
/// result.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    low(product) ^ low(product >> 64)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
const fn low(wide: u128) -> u64 {
    wide as u64
}

/// The splitmix64 generator: turns any seed, zero too, into well mixed words.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A check of words against damage, not against malice. Pinned as the hash is.
#[cfg(not(loom))]
pub(crate) fn checksum(words: impl IntoIterator<Item = u64>) -> u64 {
    let secrets = Secrets::new(0);
    let step = |sum: u64, word| fold(sum.rotate_left(23) ^ word ^ secrets.start, secrets.round);
    let (sum, count) = words.into_iter().fold((0, 0), |(sum, count), word| (step(sum, word), count + 1));
    step(sum, count)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Tables are read by later versions: when this fails, the region's version has to go up.
    #[test]
    fn the_hash_is_what_it_was() {
        let secrets = Secrets::new(0x1234_5678_9ABC_DEF0);
        assert_eq!(secrets.hash(&[0]), Hash(PINNED[0]));
        assert_eq!(secrets.hash(&[1]), Hash(PINNED[1]));
        assert_eq!(secrets.hash(&[1, 2, 3]), Hash(PINNED[2]));
        assert_eq!(checksum([1, 2, 3]), PINNED[3]);
    }

    const PINNED: [u64; 4] =
        [0x51BE_14D5_72A5_47AC, 0x4421_B7FF_A357_410F, 0x1283_78D9_FE63_53B8, 0xE077_55D5_D450_F550];

    #[test]
    fn seeds_and_words_make_a_difference() {
        let hashes = [
            Secrets::new(0).hash(&[1, 2]),
            Secrets::new(1).hash(&[1, 2]),
            Secrets::new(0).hash(&[2, 1]),
            Secrets::new(0).hash(&[1, 3]),
            Secrets::new(0).hash(&[0, 0]),
        ];
        for (i, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..i].contains(hash));
        }
    }

    /// Changing one bit of a key changes half of the hash's bits, whichever bit it is.
    #[test]
    fn every_bit_counts() {
        let secrets = Secrets::new(3);
        for bit in 0..64 {
            let changed: u32 = (0..256u64)
                .map(|key| (secrets.hash(&[key]).0 ^ secrets.hash(&[key ^ 1 << bit]).0).count_ones())
                .sum();
            let mean = f64::from(changed) / 256.0;
            assert!((28.0..36.0).contains(&mean), "bit {bit}: {mean} bits change");
        }
    }

    #[test]
    fn a_checksum_sees_every_word_and_how_many_there_are() {
        assert_ne!(checksum([1, 2]), checksum([2, 1]));
        assert_ne!(checksum([]), checksum([0]));
        assert_ne!(checksum([0]), checksum([0, 0]));
    }
}
