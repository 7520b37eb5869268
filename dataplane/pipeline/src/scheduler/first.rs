//! First: the first that may be used. With limits on connections it fills one destination after the other.

use super::Pool;
use crate::ids::DestId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    pool.candidates().next().map(|c| c.id)
}
