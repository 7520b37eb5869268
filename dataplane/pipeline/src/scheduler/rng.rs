//! Random numbers for schedulers that draw: of one worker, from a seed, so that a replay repeats itself.
//!
//! Not for secrets: whoever sees enough draws knows the next one.

use super::hash::reduce;

/// xorshift64*, after Marsaglia and Vigna.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The numbers of one worker under a seed.
    pub fn new(seed: u64, worker: usize) -> Rng {
        let spread = seed.wrapping_add((worker as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Never zero, where the sequence would stay.
        Rng(mix(spread).max(1))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next number below `bound`, all alike; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        reduce(self.draw(), bound)
    }
}

/// The finalizer of splitmix64: seeds that differ in one bit start far apart.
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
