//! Weighted overflow: the largest weight among those with active connections up to their weight, the first on ties;
//! none when all have more.

use super::Pool;
use super::fo::heaviest;
use crate::ids::DestId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    heaviest(pool.candidates().filter(|c| !c.exceeds_weight())).map(|c| c.id)
}
