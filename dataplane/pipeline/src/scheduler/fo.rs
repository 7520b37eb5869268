//! Weighted failover: the largest weight, the first on ties.

use super::{Candidate, Pool};
use crate::ids::DestId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    heaviest(pool.candidates()).map(|c| c.id)
}

/// The candidate with the largest weight, the first on ties.
pub(super) fn heaviest<'a>(candidates: impl Iterator<Item = Candidate<'a>>) -> Option<Candidate<'a>> {
    candidates.reduce(|most, other| if other.weight() > most.weight() { other } else { most })
}
