//! Least connections: the smallest overhead, the first on ties. Weights count only as zero or not.

use super::Pool;
use crate::ids::DestId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    // `min_by_key` gives the first of equals.
    pool.candidates().min_by_key(|c| c.live.overhead()).map(|c| c.id)
}
