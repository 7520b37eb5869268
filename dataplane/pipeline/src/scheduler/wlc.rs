//! Weighted least connections: the smallest overhead for its weight, the first on ties.

use super::Pool;
use crate::ids::DestId;

/// Compares by multiplying crosswise, in 128 bits: an overhead has up to 40 bits, a weight 31.
pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    let load =
        |id: DestId, weight: u32| (u128::from(pool.live.destination(id).overhead()), u128::from(weight));
    let mut candidates = pool.all_usable().map(|(id, d)| (id, load(id, d.weight)));
    let first = candidates.next()?;
    let (id, _) = candidates.fold(first, |least, other| {
        let ((_, (overhead, weight)), (_, (other_overhead, other_weight))) = (least, other);
        if overhead * other_weight > other_overhead * weight { other } else { least }
    });
    Some(id)
}
