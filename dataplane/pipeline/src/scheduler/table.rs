//! The tables of the hash schedulers: dh, sh, mh and source.
//!
//! | | hashes | table | when its destination may not be used |
//! |---|---|---|---|
//! | dh | VIP | 256 buckets | none |
//! | sh | client, port with `sh-port` | 256 buckets | none; with `sh-fallback` another bucket |
//! | mh | client, port with `mh-port` | Maglev | none; with `mh-fallback` another slot |
//! | source | client | ring | the next point |
//!
//! A table is made of the destinations that are ready and up, in the order of address and port, so that it is the
//! same on every director. It is made with the snapshot, on the control thread, and shared by all snapshots as long
//! as nothing that it is made of changes. Destinations of weight 0 are only in buckets. One that is overloaded keeps its
//! place: it comes and goes too often.
//!
//! A service with backups has a second table without them.

use super::hash::{self, HashKey, Purpose};
use super::prepared::translates;
use super::{Pool, Prepared, buckets, listed, maglev, ring};
use crate::ids::{DestId, ServiceId};
use crate::snapshot::{SchedulerKind, Service, Snapshot};
use std::net::IpAddr;
use std::sync::Arc;

/// Other places that are tried by hash before all destinations are tried in turn.
const PROBES: usize = 256;

/// Which of a flow's properties choose, and what happens when that destination may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HashOptions {
    /// The client's port counts too.
    pub port: bool,
    /// Another destination is chosen then.
    pub fallback: bool,
}

/// What kind of table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Buckets,
    Maglev(maglev::TableSize),
    Ring,
}

impl Shape {
    /// What a scheduler looks up, if anything.
    fn of(scheduler: SchedulerKind) -> Option<Shape> {
        match scheduler {
            SchedulerKind::Dh | SchedulerKind::Sh(_) => Some(Shape::Buckets),
            SchedulerKind::Mh(_, size) => Some(Shape::Maglev(size)),
            SchedulerKind::Source => Some(Shape::Ring),
            _ => None,
        }
    }

    /// What the choice by flow looks up where the scheduler itself does not choose that way: some slots for each
    /// destination.
    fn by_flow(service: &Service, snapshot: &Snapshot) -> Option<Shape> {
        if snapshot.new_connections == 0 || translates(service, snapshot) {
            return None;
        }
        let [first, .., last] = maglev::TableSize::ALL;
        let wanted = service.pool.len().saturating_mul(8);
        let enough = |slots: &u32| *slots as usize >= wanted;
        let slots = maglev::TableSize::ALL.into_iter().find(enough).unwrap_or(last).max(first);
        maglev::TableSize::new(slots).map(Shape::Maglev)
    }
}

/// A destination in a table. They are sorted by address and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    addr: IpAddr,
    port: u16,
    id: DestId,
    weight: u32,
}

/// All that a table depends on.
#[derive(Debug, PartialEq, Eq)]
struct MadeOf {
    shape: Shape,
    key: HashKey,
    members: Box<[Member]>,
}

#[derive(Debug)]
enum Places {
    /// By bucket or slot, the member.
    Slots(Box<[u16]>),
    Ring(Box<[ring::Point]>),
}

/// A table of at least one destination.
#[derive(Debug)]
pub(super) struct Table {
    made_of: MadeOf,
    places: Places,
}

impl MadeOf {
    fn new(shape: Shape, key: HashKey, ids: impl Iterator<Item = DestId>, snapshot: &Snapshot) -> MadeOf {
        let member = |id| {
            let d = snapshot.destination(id)?;
            let there = listed(d) && (d.weight > 0 || shape == Shape::Buckets);
            there.then_some(Member { addr: d.addr, port: d.port.unwrap_or(0), id, weight: d.weight })
        };
        let mut members: Box<[Member]> = ids.filter_map(member).collect();
        members.sort_unstable();
        MadeOf { shape, key, members }
    }

    fn places(&self) -> Places {
        let members = self.members.iter().map(|m| ((m.addr, m.port), m.weight));
        match self.shape {
            Shape::Buckets => {
                let weights: Vec<u32> = members.map(|(_, weight)| weight).collect();
                Places::Slots(buckets::fill(&weights))
            }
            Shape::Maglev(size) => {
                let walkers: Vec<_> = members
                    .map(|(place, weight)| maglev::Walker::new(&self.key, size, place, weight))
                    .collect();
                Places::Slots(maglev::fill(size, &walkers))
            }
            Shape::Ring => Places::Ring(ring::fill(&self.key, members)),
        }
    }
}

impl Table {
    /// The table of what it is made of: the earlier one if that is the same, none without a member.
    fn of(made_of: MadeOf, earlier: Option<&Arc<Table>>) -> Option<Arc<Table>> {
        if let Some(same) = earlier.filter(|table| table.made_of == made_of) {
            return Some(Arc::clone(same));
        }
        let places = (!made_of.members.is_empty()).then(|| made_of.places())?;
        Some(Arc::new(Table { made_of, places }))
    }

    /// The destination of a flow.
    pub(super) fn pick(
        &self,
        pool: &Pool<'_>,
        options: HashOptions,
        (addr, port): (IpAddr, u16),
    ) -> Option<DestId> {
        let key = &self.made_of.key;
        let hash = key.hash(Purpose::Flow, addr, if options.port { port } else { 0 }, 0);
        let usable = |member: usize| {
            let id = self.made_of.members.get(member)?.id;
            pool.candidate(id).map(|c| c.id)
        };
        let own = self.member(hash, 0);
        // One that is excluded for this connection is skipped by every scheduler.
        if !options.fallback && pool.excluded.is_empty() {
            return usable(own);
        }
        let members = self.made_of.members.len();
        let first = hash::place(hash, members);
        usable(own)
            .or_else(|| (1..=PROBES).find_map(|attempt| usable(self.member(hash, attempt))))
            .or_else(|| (first..members).chain(0..first).find_map(usable))
    }

    /// The member that a hash leads to, or another one for each further attempt.
    #[inline]
    fn member(&self, hash: u64, attempt: usize) -> usize {
        match &self.places {
            Places::Slots(slots) => {
                let hash = if attempt == 0 { hash } else { hash::again(hash, attempt) };
                usize::from(slots[hash::place(hash, slots.len())])
            }
            Places::Ring(points) => {
                let place = ring::find(points, hash) + attempt;
                ring::member(points[place % points.len()])
            }
        }
    }
}

/// The tables of one service.
#[derive(Debug, Clone, Default)]
pub(super) struct ServiceTables {
    /// Of all its destinations.
    pub(super) all: Option<Arc<Table>>,
    /// Of those that are no backups, when there are backups.
    pub(super) without_backups: Option<Arc<Table>>,
}

impl ServiceTables {
    /// The tables of a service: the earlier ones where they are the same.
    pub(super) fn of(
        service: &Service,
        snapshot: &Snapshot,
        key: HashKey,
        earlier: Option<&ServiceTables>,
    ) -> ServiceTables {
        let shape = Shape::of(service.scheduler).or_else(|| Shape::by_flow(service, snapshot));
        let Some(shape) = shape else { return ServiceTables::default() };
        let ids = || service.pool.iter().copied();
        let backup = |id: &DestId| snapshot.destination(*id).is_some_and(|d| d.backup);
        let all = MadeOf::new(shape, key, ids(), snapshot);
        let rest = ids()
            .any(|id| backup(&id))
            .then(|| MadeOf::new(shape, key, ids().filter(|id| !backup(id)), snapshot));
        ServiceTables {
            all: Table::of(all, earlier.and_then(|e| e.all.as_ref())),
            without_backups: rest
                .and_then(|rest| Table::of(rest, earlier.and_then(|e| e.without_backups.as_ref()))),
        }
    }

    /// The table that counts, with or without backups.
    fn table(&self, backups: bool) -> Option<&Table> {
        let rest = self.without_backups.as_deref().filter(|_| !backups);
        rest.or(self.all.as_deref())
    }
}

/// The tables of all services of a snapshot: the next snapshot takes over those that stay the same.
#[derive(Debug, Clone, Default)]
pub struct Tables(Vec<ServiceTables>);

impl Tables {
    /// Those of all services.
    pub(crate) fn of(prepared: &[Prepared]) -> Tables {
        Tables(prepared.iter().map(|p| p.tables.clone()).collect())
    }

    pub(super) fn get(&self, service: ServiceId) -> Option<&ServiceTables> {
        self.0.get(service.index())
    }
}

/// Those of source.
pub(super) const SOURCE: HashOptions = HashOptions { port: false, fallback: true };

/// Those of the choice by flow.
pub(super) const BY_FLOW: HashOptions = HashOptions { port: true, fallback: true };

/// The destination of the connections of an address and port by the table of their service.
pub(super) fn pick(pool: &Pool<'_>, options: HashOptions, flow: (IpAddr, u16)) -> Option<DestId> {
    pool.prepared.tables.table(pool.backups)?.pick(pool, options, flow)
}
