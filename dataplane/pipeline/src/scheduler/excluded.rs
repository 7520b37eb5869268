//! Destinations that one connection must not go to.

use crate::ids::DestId;

/// Destinations that this connection must not go to, because their reply key is taken. Bounded: one client port
/// that is in use towards more real servers through other services does not happen by itself.
#[derive(Debug)]
pub struct Excluded {
    ids: [Option<DestId>; Excluded::MOST],
    len: usize,
}

impl Excluded {
    const MOST: usize = 64;

    /// None, for nearly every connection.
    pub(crate) const NONE: &'static Excluded = &Excluded::none();

    /// None.
    pub const fn none() -> Excluded {
        Excluded { ids: [None; Excluded::MOST], len: 0 }
    }

    /// Notes one more; `false` when there is no room for it.
    pub fn add(&mut self, id: DestId) -> bool {
        let Some(place) = self.ids.get_mut(self.len) else { return false };
        *place = Some(id);
        self.len += 1;
        true
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn has(&self, id: DestId) -> bool {
        self.ids.iter().take(self.len).any(|x| *x == Some(id))
    }
}
