//! Weighted round robin, interleaved: a level falls from the largest weight to 0 in steps of the weights' greatest
//! common divisor; at each level the destinations with at least that weight are taken once, in order.
//!
//! Weights 3, 2, 1 give A, A B, A B C, and so on. One in its slow start has its turns at the levels of its full
//! weight, so that the rhythm of the others stays as it is, but lets most of them go by.

use super::{Candidate, Pool, Rng};
use crate::ids::DestId;

/// Levels that are looked at in vain before any destination does. More than one or two happen only in a slow start,
/// or when another worker's connection has just taken the last of a level away.
const LEVELS: usize = 4096;

/// What is remembered: where to look first and the level, 0 for "from the top".
#[derive(Clone, Copy)]
struct Place {
    start: u16,
    level: u32,
}

impl Place {
    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of the word")]
    fn of(memory: u64) -> Place {
        Place { start: (memory >> 32) as u16, level: memory as u32 }
    }

    fn memory(self) -> u64 {
        (u64::from(self.start) << 32) | u64::from(self.level)
    }
}

pub(super) fn pick(pool: &Pool<'_>, rng: &mut Rng) -> Option<DestId> {
    let weights = pool.prepared.weights;
    // Of all weights, as IPVS does; which of them are excluded now must not change the rhythm of the others.
    let (top, step) = (weights.max, weights.gcd.max(1));
    let usable = || pool.candidates();
    // Without a usable destination no level would ever match.
    let reachable = usable().map(|c| c.destination.weight).max()?;
    // At least the one that is furthest in its slow start takes its turn.
    let furthest = usable().map(|c| c.share).max()?;
    pool.cursor().advance(|memory| {
        let mut at = Place::of(memory);
        if at.level == 0 || at.level > top {
            at = Place { start: 0, level: top };
        }
        for _ in 0..LEVELS {
            let takes = |c: &Candidate<'_>| c.share >= furthest || rng.below(furthest) < c.share;
            if let Some((id, place)) = first_at(pool, at, takes) {
                let start = u16::try_from(place + 1).unwrap_or(0);
                return Some((id, Place { start, level: at.level }.memory()));
            }
            at = Place { start: 0, level: lower(at.level, step, reachable).unwrap_or(top) };
            if at.level > reachable {
                at.level = lower(at.level, step, reachable)?;
            }
        }
        usable().next().map(|c| (c.id, at.memory()))
    })
}

/// The first usable destination from a place on that reaches its level and takes its turn.
fn first_at(
    pool: &Pool<'_>,
    at: Place,
    mut takes: impl FnMut(&Candidate<'_>) -> bool,
) -> Option<(DestId, usize)> {
    (usize::from(at.start)..pool.len()).find_map(|place| {
        let candidate = pool.usable(place)?;
        (candidate.destination.weight >= at.level && takes(&candidate)).then_some((candidate.id, place))
    })
}

/// The next level below `level` that some destination reaches: levels above the largest usable weight would only
/// be walked through. `None` below the last.
fn lower(level: u32, step: u32, reachable: u32) -> Option<u32> {
    let steps = 1.max(level.saturating_sub(reachable).div_ceil(step));
    level.checked_sub(steps.checked_mul(step)?).filter(|level| *level > 0)
}
