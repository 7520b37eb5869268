//! Never queue: the first without an active connection, whatever its weight; if all have some, the smallest
//! (active + 1) / weight.

use super::{Pool, sed};
use crate::ids::DestId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    let idle = pool.candidates().find(|c| c.live.active() == 0).map(|c| c.id);
    idle.or_else(|| sed::pick(pool))
}
