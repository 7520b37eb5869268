//! Weighted round robin, interleaved: a level falls from the largest weight to 0 in steps of the weights' greatest
//! common divisor; at each level the destinations with at least that weight are taken once, in order.
//!
//! Weights 3, 2, 1 give A, A B, A B C, and so on.

use super::Pool;
use crate::ids::DestId;

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

pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    let weights = pool.snapshot.weights(pool.id);
    // Of all weights, as IPVS does; which of them are excluded now must not change the rhythm of the others.
    let (top, step) = (weights.max, weights.gcd.max(1));
    // Without a usable destination no level would ever match.
    let reachable = pool.all_usable().map(|(_, d)| d.weight).max()?;
    pool.cursor().advance(|memory| {
        let mut at = Place::of(memory);
        if at.level == 0 || at.level > top {
            at = Place { start: 0, level: top };
        }
        loop {
            if let Some((id, place)) = first_at(pool, usize::from(at.start), at.level) {
                let start = u16::try_from(place + 1).unwrap_or(0);
                return Some((id, Place { start, level: at.level }.memory()));
            }
            at = Place { start: 0, level: lower(at.level, step, reachable).unwrap_or(top) };
            if at.level > reachable {
                at.level = lower(at.level, step, reachable)?;
            }
        }
    })
}

/// The first usable destination from `start` on with at least the weight `level`.
fn first_at(pool: &Pool<'_>, start: usize, level: u32) -> Option<(DestId, usize)> {
    (start..pool.len()).find_map(|place| {
        let (id, destination) = pool.usable(place)?;
        (destination.weight >= level).then_some((id, place))
    })
}

/// The next level below `level` that some destination reaches: levels above the largest usable weight would only
/// be walked through. `None` below the last.
fn lower(level: u32, step: u32, reachable: u32) -> Option<u32> {
    let steps = 1.max(level.saturating_sub(reachable).div_ceil(step));
    level.checked_sub(steps.checked_mul(step)?).filter(|level| *level > 0)
}
