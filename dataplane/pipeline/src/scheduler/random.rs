//! Weighted random draws: each draw takes a destination with a probability of weight / sum of weights; of those
//! drawn the smallest overhead / weight, the first drawn on ties.
//!
//! `twos` is two draws, `random` as many as it is told; one draw is plain weighted random.

use super::least::least;
use super::{Candidate, Pool, Rng};
use crate::ids::DestId;
use crate::snapshot::Draws;

pub(super) fn pick(pool: &Pool<'_>, draws: Draws, rng: &mut Rng) -> Option<DestId> {
    // 65,536 weights of 41 bits.
    let sum: u64 = pool.candidates().map(|c| c.weight()).sum();
    let drawn = (0..draws.get()).filter_map(|_| draw(pool, rng.below(sum)));
    least(drawn, |c| c.live.overhead()).map(|c| c.id)
}

/// The candidate in whose part of the sum `at` lies.
fn draw<'a>(pool: &Pool<'a>, mut at: u64) -> Option<Candidate<'a>> {
    let mut last = None;
    for candidate in pool.candidates() {
        let weight = candidate.weight();
        if at < weight {
            return Some(candidate);
        }
        at -= weight;
        last = Some(candidate);
    }
    // Another worker's connection has just taken one out of the sum.
    last
}
