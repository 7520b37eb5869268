//! Weighted least connections: the smallest overhead / weight, the first on ties.

use super::least::least;
use super::{Candidate, Pool};
use crate::ids::DestId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    choose(pool).map(|c| c.id)
}

/// The choice, for schedulers that fall back on it.
pub(super) fn choose<'a>(pool: &Pool<'a>) -> Option<Candidate<'a>> {
    least(pool.candidates(), |c| c.live.overhead())
}
