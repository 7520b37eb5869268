//! Round robin: the next usable destination after the last one. Weights count only as zero or not.

use super::Pool;
use crate::ids::DestId;

/// Remembers where to look first.
pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    let len = pool.len();
    pool.cursor().advance(|start| {
        let start = usize::try_from(start).unwrap_or(0);
        let start = if start < len { start } else { 0 };
        (start..len).chain(0..start).find_map(|place| {
            let (id, _) = pool.usable(place)?;
            Some((id, place as u64 + 1))
        })
    })
}
