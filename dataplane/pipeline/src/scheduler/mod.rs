//! Which destination a new connection goes to.
//!
//! Exactly as IPVS, but that destinations are walked in the order of the configuration. A scheduler sees the
//! destinations that may be used (weight above 0, not excluded for this connection) and one word of memory.

mod lc;
mod rr;
mod wlc;
mod wrr;

use crate::ids::{DestId, ServiceId};
use crate::live::Live;
use crate::snapshot::{Destination, SchedulerKind, Service, Snapshot};
use std::sync::atomic::{AtomicU64, Ordering};

/// Destinations that this connection must not go to, because their reply key is taken. Bounded: one client port
/// that is in use towards more real servers through other services does not happen by itself.
#[derive(Debug)]
pub(crate) struct Excluded {
    ids: [Option<DestId>; Excluded::MOST],
    len: usize,
}

impl Excluded {
    const MOST: usize = 64;

    pub(crate) fn none() -> Excluded {
        Excluded { ids: [None; Excluded::MOST], len: 0 }
    }

    /// Notes one more; `false` when there is no room for it.
    pub(crate) fn add(&mut self, id: DestId) -> bool {
        let Some(place) = self.ids.get_mut(self.len) else { return false };
        *place = Some(id);
        self.len += 1;
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn has(&self, id: DestId) -> bool {
        self.ids.iter().take(self.len).any(|x| *x == Some(id))
    }
}

/// What a scheduler chooses from.
pub(crate) struct Pool<'a> {
    snapshot: &'a Snapshot,
    id: ServiceId,
    service: &'a Service,
    live: &'a Live,
    excluded: &'a Excluded,
}

impl<'a> Pool<'a> {
    /// The pool of a service.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        id: ServiceId,
        service: &'a Service,
        live: &'a Live,
        excluded: &'a Excluded,
    ) -> Pool<'a> {
        Pool { snapshot, id, service, live, excluded }
    }

    /// The destination for a new connection; `None` when none may be used.
    pub(crate) fn pick(&self) -> Option<DestId> {
        match self.service.scheduler {
            SchedulerKind::Rr => rr::pick(self),
            SchedulerKind::Wrr => wrr::pick(self),
            SchedulerKind::Lc => lc::pick(self),
            SchedulerKind::Wlc => wlc::pick(self),
        }
    }

    fn len(&self) -> usize {
        self.service.pool.len()
    }

    /// The destination at a place of the pool, if it may be used.
    #[inline]
    fn usable(&self, place: usize) -> Option<(DestId, &'a Destination)> {
        let id = *self.service.pool.get(place)?;
        let destination = self.snapshot.destination(id)?;
        (destination.weight > 0 && !self.excluded.has(id)).then_some((id, destination))
    }

    /// All that may be used, in order.
    fn all_usable(&self) -> impl Iterator<Item = (DestId, &'a Destination)> {
        (0..self.len()).filter_map(|place| self.usable(place))
    }

    fn cursor(&self) -> Cursor<'a> {
        Cursor { word: &self.live.service(self.id).cursor, version: self.service.pool_version }
    }
}

/// What rr and wrr remember: 48 bits, forgotten when the pool changes.
struct Cursor<'a> {
    word: &'a AtomicU64,
    version: u16,
}

impl Cursor<'_> {
    const BITS: u32 = 48;
    const MASK: u64 = (1 << Cursor::BITS) - 1;
    /// Attempts to move the cursor before a choice stands without it: other workers have moved it then.
    const ATTEMPTS: usize = 8;

    /// Chooses by the cursor and moves it. `step` gets what is remembered (0 at first) and gives the choice and
    /// what to remember.
    fn advance<T>(&self, mut step: impl FnMut(u64) -> Option<(T, u64)>) -> Option<T> {
        // ORDERING: the word stands for itself, nothing is published through it.
        let mut seen = self.word.load(Ordering::Relaxed);
        for _ in 1..Cursor::ATTEMPTS {
            let (choice, next) = step(self.memory(seen))?;
            let next = (u64::from(self.version) << Cursor::BITS) | (next & Cursor::MASK);
            match self.word.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(choice),
                Err(now) => seen = now,
            }
        }
        step(self.memory(seen)).map(|(choice, _)| choice)
    }

    fn memory(&self, word: u64) -> u64 {
        if word >> Cursor::BITS == u64::from(self.version) { word & Cursor::MASK } else { 0 }
    }
}

#[cfg(test)]
mod tests;
