//! Which destination a new connection goes to.
//!
//! As IPVS (and HAProxy, for those that it has and IPVS has not), but that destinations are walked in the order of
//! the configuration. Each scheduler is a module that begins with its formula; all of them choose from one
//! [`Pool`], which shows only the destinations that may be used. What a scheduler remembers is in
//! [`crate::live`]; what it needs to know of a pool beforehand is worked out once for a snapshot.
//!
//! In the formulas `weight` is the one that counts now ([`slow_start`]), and `overhead` is
//! 256 x active + inactive connections. Quotients are compared by multiplying crosswise in 128 bits, so that
//! weights up to 2147483647 are safe. Nothing here allocates or locks.

mod buckets;
mod cursor;
mod excluded;
mod first;
mod fo;
mod hash;
mod lblc;
mod lblcr;
mod lc;
mod least;
mod locality;
mod lrt;
pub mod maglev;
mod nq;
mod ovf;
mod prepared;
mod random;
mod ring;
mod rng;
mod rr;
mod sed;
mod slow_start;
mod table;
mod wlc;
mod wrr;

pub use excluded::Excluded;
pub use hash::HashKey;
pub(crate) use locality::Locality;
pub use maglev::TableSize;
pub(crate) use prepared::Prepared;
pub use rng::Rng;
pub use table::{HashOptions, Tables};

use crate::ids::{DestId, ServiceId};
use crate::live::{DestLive, Live};
use crate::snapshot::{Destination, Draws, Health, Intent, SchedulerKind, Service, Snapshot};
use crate::time::{Seconds, Time};
use cursor::Cursor;
use std::net::IpAddr;

/// The connection that wants a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The client's address.
    pub client: IpAddr,
    /// The client's port.
    pub client_port: u16,
    /// The address that it connects to.
    pub vip: IpAddr,
}

/// What a scheduler chooses from: the destinations of one service, as they are now.
pub struct Pool<'a> {
    snapshot: &'a Snapshot,
    id: ServiceId,
    service: &'a Service,
    prepared: &'a Prepared,
    live: &'a Live,
    now: Time,
    excluded: &'a Excluded,
    /// Whether backups take part.
    backups: bool,
}

/// A destination that may be used.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    id: DestId,
    destination: &'a Destination,
    live: &'a DestLive,
    /// The share of its weight that counts now, out of [`slow_start::FULL`].
    share: u64,
}

impl Candidate<'_> {
    /// The weight that counts now, [`slow_start::FULL`] for each 1 of it: 41 bits.
    #[inline]
    fn weight(&self) -> u64 {
        u64::from(self.destination.weight) * self.share
    }

    /// Whether it has more active connections than its weight.
    #[inline]
    fn exceeds_weight(&self) -> bool {
        u64::from(self.live.active()) * slow_start::FULL > self.weight()
    }

    /// Whether it has less than half as many active connections as its weight.
    #[inline]
    fn has_less_than_half(&self) -> bool {
        u64::from(self.live.active()) * 2 * slow_start::FULL < self.weight()
    }
}

/// Whether a destination may be given a new connection at all, whoever chooses it: the one place that says so.
#[inline]
pub fn eligible(destination: &Destination, live: &DestLive) -> bool {
    destination.weight > 0 && listed(destination) && !live.overloaded(&destination.limits)
}

/// The part of its weight that a destination counts with now: less than 1 while it is in its slow start.
pub fn share_of_weight(live: &DestLive, slow_start: Seconds, now: Time) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a number up to 1024")]
    let (share, full) = (slow_start::share(live, slow_start, now) as f64, slow_start::FULL as f64);
    share / full
}

/// Whether a destination has a place in the tables of hash schedulers, which last longer than an overload.
#[inline]
fn listed(destination: &Destination) -> bool {
    destination.intent == Intent::Ready && destination.health == Health::Up
}

impl<'a> Pool<'a> {
    /// The pool of a service; `None` when there is no such service.
    #[inline]
    pub fn new(
        snapshot: &'a Snapshot,
        id: ServiceId,
        live: &'a Live,
        now: Time,
        excluded: &'a Excluded,
    ) -> Option<Pool<'a>> {
        let (service, prepared) = (snapshot.service(id)?, snapshot.prepared(id)?);
        let mut pool = Pool { snapshot, id, service, prepared, live, now, excluded, backups: true };
        pool.backups = pool.needs_backups();
        Some(pool)
    }

    /// The destination for a new connection; `None` when none may be used.
    #[inline]
    pub fn pick(&self, pick: &Pick, rng: &mut Rng) -> Option<DestId> {
        self.schedule(pick, rng).or_else(|| self.sorry())
    }

    /// The destination that a flow belongs to as long as the pool stays as it is, for packets without an entry. Where all
    /// are under NAT no packet is, and the scheduler chooses.
    pub(crate) fn pick_by_flow(&self, pick: &Pick, rng: &mut Rng) -> Option<DestId> {
        let hashes = matches!(
            self.service.scheduler,
            SchedulerKind::Dh | SchedulerKind::Sh(_) | SchedulerKind::Mh(..) | SchedulerKind::Source
        );
        if hashes || self.prepared.translates {
            return self.pick(pick, rng);
        }
        let flow = (pick.client, pick.client_port);
        table::pick(self, table::BY_FLOW, flow).or_else(|| self.sorry())
    }

    fn schedule(&self, pick: &Pick, rng: &mut Rng) -> Option<DestId> {
        let client = (pick.client, pick.client_port);
        match self.service.scheduler {
            SchedulerKind::Rr => rr::pick(self),
            SchedulerKind::Wrr => wrr::pick(self, rng),
            SchedulerKind::Lc => lc::pick(self),
            SchedulerKind::Wlc => wlc::pick(self),
            SchedulerKind::Lblc => lblc::pick(self, pick.vip),
            SchedulerKind::Lblcr => lblcr::pick(self, pick.vip),
            SchedulerKind::Dh => table::pick(self, HashOptions::default(), (pick.vip, 0)),
            SchedulerKind::Sh(options) | SchedulerKind::Mh(options, _) => table::pick(self, options, client),
            SchedulerKind::Source => table::pick(self, table::SOURCE, client),
            SchedulerKind::Sed => sed::pick(self),
            SchedulerKind::Nq => nq::pick(self),
            SchedulerKind::Fo => fo::pick(self),
            SchedulerKind::Ovf => ovf::pick(self),
            SchedulerKind::Twos => random::pick(self, Draws::default(), rng),
            SchedulerKind::Random(draws) => random::pick(self, draws, rng),
            SchedulerKind::First => first::pick(self),
            SchedulerKind::Lrt => lrt::pick(self),
        }
    }

    /// The sorry server, when no destination of the pool may be used. One that is only excluded for this
    /// connection is there for others: then this one goes nowhere.
    fn sorry(&self) -> Option<DestId> {
        let id = self.service.sorry.filter(|_| self.excluded.is_empty())?;
        let alone = self.candidates().next().is_none();
        let destination = self.snapshot.destination(id)?;
        (alone && eligible(destination, self.live.destination(id))).then_some(id)
    }

    /// Whether fewer others may be used than the service wants without its backups.
    #[inline]
    fn needs_backups(&self) -> bool {
        let others = |id: &&DestId| {
            self.snapshot
                .destination(**id)
                .is_some_and(|d| !d.backup && eligible(d, self.live.destination(**id)))
        };
        let below = usize::from(self.service.backup_below);
        self.prepared.has_backups && self.service.pool.iter().filter(others).take(below).count() < below
    }

    fn len(&self) -> usize {
        self.service.pool.len()
    }

    /// The destination at a place of the pool, if it may be used.
    #[inline]
    fn usable(&self, place: usize) -> Option<Candidate<'a>> {
        self.candidate(*self.service.pool.get(place)?)
    }

    /// A destination, if it may be used.
    #[inline]
    fn candidate(&self, id: DestId) -> Option<Candidate<'a>> {
        let destination = self.snapshot.destination(id)?;
        let live = self.live.destination(id);
        let usable =
            eligible(destination, live) && (self.backups || !destination.backup) && !self.excluded.has(id);
        usable.then(|| Candidate {
            id,
            destination,
            live,
            share: slow_start::share(live, self.service.slow_start, self.now),
        })
    }

    /// All that may be used, in order.
    #[inline]
    fn candidates(&self) -> impl Iterator<Item = Candidate<'a>> {
        (0..self.len()).filter_map(|place| self.usable(place))
    }

    fn cursor(&self) -> Cursor<'a> {
        Cursor { word: &self.live.service(self.id).cursor, version: self.service.pool_version }
    }
}

impl std::fmt::Debug for Pool<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("service", &self.service.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
