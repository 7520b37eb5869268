//! Shortest expected delay: the smallest (active + 1) / weight, the first on ties.

use super::Pool;
use super::least::least;
use crate::ids::DestId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    least(pool.candidates(), |c| u64::from(c.live.active()) + 1).map(|c| c.id)
}
