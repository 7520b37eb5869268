//! Round robin: the next usable destination after the last one. Weights count only as zero or not.

use super::Pool;
use crate::ids::DestId;

/// What is remembered: the last choice, and where in the pool it stood. A changed pool does not begin anew: the
/// next one after it comes next, and when it is gone, whoever stands in its place.
#[derive(Clone, Copy)]
struct Last {
    id: DestId,
    place: u16,
}

impl Last {
    const SET: u64 = 1 << 32;

    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of the word")]
    fn of(memory: u64) -> Option<Last> {
        (memory & Last::SET != 0).then_some(Last { id: DestId((memory >> 16) as u16), place: memory as u16 })
    }

    fn memory(self) -> u64 {
        Last::SET | (u64::from(self.id.0) << 16) | u64::from(self.place)
    }

    /// Where to look first.
    fn next(self, pool: &[DestId]) -> usize {
        let place = usize::from(self.place);
        if pool.get(place) == Some(&self.id) {
            return place + 1;
        }
        pool.iter().position(|id| *id == self.id).map_or(place, |place| place + 1)
    }
}

#[inline]
pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    let len = pool.len();
    pool.cursor().advance(|memory| {
        let start = Last::of(memory).map_or(0, |last| last.next(&pool.service.pool));
        let start = if start < len { start } else { 0 };
        (start..len).chain(0..start).find_map(|place| {
            let id = pool.usable(place)?.id;
            // A place beyond 16 bits would need more destinations than there are numbers.
            let place = u16::try_from(place).unwrap_or(0);
            Some((id, Last { id, place }.memory()))
        })
    })
}
