//! Hashing of keys, seeded.
//!
//! Written out here, not taken from a crate: the seed is kept with the tables' memory, so the function must give
//! the same hash in every version that reads the same layout. A test pins it.

/// The hash of a key, from which all its candidate buckets follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hash(pub(crate) u64);

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
