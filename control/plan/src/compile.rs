//! Desired state and environment to snapshot.
//!
//! The compiler remembers what has to stay the same from one snapshot to the next: the numbers
//! ([`Ids`]), the versions of the pools, and the destinations that were removed with `on-removal = "keep"` and
//! still have connections. A compilation that fails changes nothing.
//!
//! ```text
//!   Desired ---+
//!              +--> Compiler --> Snapshot --> published to the workers
//!   Environment+       |             +------> Steered, for the steering program
//!                  Ids, pools, kept
//! ```

mod build;
mod carriage;
mod wanted;

use crate::dealer::Exhausted;
use crate::desired::Desired;
use crate::environment::Environment;
use crate::ids::{DestKey, Fresh, Ids};
use crate::network;
use carriage::Carriage;
use sheave_pipeline::ids::{DestId, ServiceId};
use sheave_pipeline::scheduler::{HashKey, Tables};
use sheave_pipeline::snapshot::{Intent, Lives, Method, Real, SchedulerKind, Snapshot, SnapshotBuilder};
use std::collections::{BTreeMap, BTreeSet};
use wanted::{Plain, Terms, plain_services, real_keys};

/// The part of all connections that may have begun without being established: one of so many, but not fewer than a
/// small director's clients may well open at once.
const HALF_OPEN_SHARE: u64 = 4;
const HALF_OPEN_LEAST: u64 = 16_384;

/// Why there is no snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompileError {
    /// A limit is reached.
    Exhausted(Exhausted),
    /// The desired state holds what validation refuses: it was not made by [`Desired::new`] or a request.
    NotValidated {
        /// The object.
        object: String,
    },
}

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CompileError::Exhausted(full) => full.fmt(f),
            CompileError::NotValidated { object } => {
                write!(f, "{object}: not supported yet: check the configuration with sheaved --check")
            }
        }
    }
}

impl std::error::Error for CompileError {}

impl From<Exhausted> for CompileError {
    fn from(full: Exhausted) -> CompileError {
        CompileError::Exhausted(full)
    }
}

/// A service's pool as schedulers see it, and its version.
#[derive(Debug, Clone, Default)]
struct Pool {
    /// Scheduler, and (destination, weight) in order.
    picture: Option<(SchedulerKind, Vec<(DestId, u32)>)>,
    version: u16,
}

/// What is to be known of a destination at the next compilation.
#[derive(Debug, Clone, Copy)]
struct Standing {
    /// It is taken out of service.
    out: bool,
    /// It takes connections, as far as its health and its limits allow.
    serves: bool,
}

/// Makes snapshots, one after the other, whose numbers are stable.
#[derive(Debug, Clone, Default)]
pub struct Compiler {
    ids: Ids,
    /// By service number. Never removed: a service that gets the number later must not meet an old cursor.
    pools: BTreeMap<u16, Pool>,
    /// Removed but kept for their connections, each with the epoch that it left its pool in.
    kept: BTreeMap<DestKey, u64>,
    /// How packets reach those behind tunnels.
    tunnels: BTreeMap<DestKey, Carriage>,
    /// Kept before, without connections now: the next compilation leaves them out.
    retired: BTreeSet<DestKey>,
    fresh: Fresh,
    /// By what terms each destination was wanted last.
    standings: BTreeMap<DestKey, Standing>,
    /// Drained, and templates still bring their clients to them.
    honoured: BTreeSet<DestId>,
    /// The lives that were told to end with a reset.
    reset: BTreeMap<DestKey, Lives>,
    /// Of the last snapshot: they take longest to make, and mostly stay as they are.
    tables: Tables,
}

impl Compiler {
    /// A compiler that has dealt no number yet.
    pub fn new() -> Compiler {
        Compiler::default()
    }

    /// A compiler that goes on with numbers dealt before, by another process perhaps. Destinations that were kept
    /// for their connections only are not kept any longer.
    pub fn with_ids(mut ids: Ids) -> Compiler {
        ids.restart();
        Compiler { ids, ..Compiler::default() }
    }

    /// The numbers.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// The numbers, to deal one to an interface or to say that a quiet period is over.
    pub fn ids_mut(&mut self) -> &mut Ids {
        &mut self.ids
    }

    /// What the last compilation numbered newly.
    pub fn fresh(&self) -> &Fresh {
        &self.fresh
    }

    /// The snapshot of a desired state.
    ///
    /// # Errors
    /// When a limit is reached; nothing has changed then.
    pub fn compile(
        &mut self,
        desired: &Desired,
        environment: &Environment,
        epoch: u64,
    ) -> Result<Snapshot, CompileError> {
        let mut next = self.clone();
        let snapshot = next.run(desired, environment, epoch)?;
        *self = next;
        Ok(snapshot)
    }

    /// Lets go of kept destinations that have no connection left: `connections` is what live state counts. Only
    /// those count that left their pool at `seen` or before, an epoch that every worker has passed, for a worker
    /// behind it may just be opening a connection. Returns whether there was one: then compile again.
    pub fn retire(&mut self, seen: u64, connections: impl Fn(DestId) -> u64) -> bool {
        let ids = &self.ids;
        let idle = |key: &DestKey| ids.held(key).is_none_or(|(id, _)| connections(id) == 0);
        let idle: Vec<DestKey> = self
            .kept
            .iter()
            .filter(|(key, since)| **since <= seen && idle(key))
            .map(|(key, _)| *key)
            .collect();
        self.kept.retain(|key, _| !idle.contains(key));
        self.retired.extend(idle);
        !self.retired.is_empty()
    }

    /// Ends the life of a destination's connections, which are told so with a reset: the next compilation says so.
    /// `false` when there is no such destination.
    pub fn reset(&mut self, id: DestId) -> bool {
        let Some(key) = self.ids.key_of(id) else { return false };
        let ended = self.ids.renew(&key, false);
        ended.map(|ended| self.reset.insert(key, ended)).is_some()
    }

    /// Which drained destinations templates still bring their clients to. Returns whether these are others than
    /// before: then compile again.
    pub fn honour(&mut self, honoured: BTreeSet<DestId>) -> bool {
        let changed = self.honoured != honoured;
        self.honoured = honoured;
        changed
    }

    /// How many destinations are kept for their connections only.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    fn run(
        &mut self,
        desired: &Desired,
        environment: &Environment,
        epoch: u64,
    ) -> Result<Snapshot, CompileError> {
        let services = plain_services(desired)?;
        self.number(&services, epoch)?;
        self.stand(&services);
        let links = network::links(desired, environment);
        let mut builder = SnapshotBuilder::new(epoch);
        builder.hash_key(HashKey::of(&desired.config().director.hash_key));
        let director = &desired.config().director;
        let half_open = (u64::from(director.max_connections) / HALF_OPEN_SHARE).max(HALF_OPEN_LEAST);
        builder.flood(director.flood.new_connections, half_open);
        builder.reuse(std::mem::take(&mut self.tables));
        network::build(&mut builder, desired, environment, &links, &self.ids);
        let there: BTreeSet<u16> =
            services.iter().filter_map(|s| Some(self.ids.service(&s.model.name)?.0)).collect();
        for (_, pool) in self.pools.iter_mut().filter(|(id, _)| !there.contains(id)) {
            pool.picture = None;
        }
        for (id, (addr, port, proto)) in self.ids.reals() {
            builder.real(id, Real { addr, port, proto });
        }
        for service in &services {
            self.service(&mut builder, service, &links);
        }
        for service in &services {
            let Some(id) = self.ids.service(&service.model.name) else { continue };
            for key in self.kept.keys().filter(|key| key.service == id.0) {
                self.destination(&mut builder, *key, Terms::default(), service.model, &links);
            }
        }
        let snapshot = builder.build();
        self.tables = snapshot.tables();
        Ok(snapshot)
    }

    /// Takes note of what is wanted of each destination. One that is taken out of service begins another life, as if it
    /// were removed: what it loses by that stays lost when it comes back.
    fn stand(&mut self, services: &[Plain<'_>]) {
        let before = std::mem::take(&mut self.standings);
        self.fresh.recovered.clear();
        for service in services {
            let Some(id) = self.ids.service(&service.model.name) else { continue };
            for wanted in service.all() {
                let (key, terms) = (wanted.key(id), wanted.terms);
                let standing = Standing {
                    out: terms.intent == Intent::Maint,
                    serves: terms.intent == Intent::Ready && terms.weight > 0,
                };
                let was = before.get(&key);
                if standing.out && !was.is_some_and(|was| was.out) {
                    self.ids.renew(&key, service.keeps());
                }
                if standing.serves && was.is_some_and(|was| !was.serves) {
                    self.fresh.recovered.extend(self.ids.held(&key).map(|(id, _)| id));
                }
                self.standings.insert(key, standing);
            }
        }
        self.reset.retain(|key, _| self.standings.contains_key(key));
    }

    /// Settles every number, and which removed destinations are kept.
    fn number(&mut self, services: &[Plain<'_>], epoch: u64) -> Result<(), Exhausted> {
        let listens = services.iter().map(|s| (s.model.name.as_str(), &s.listens[..])).collect();
        self.fresh.services = self.ids.settle_services(&listens)?;
        let ids = services.iter().map(|s| self.ids.service(&s.model.name));
        let services: BTreeMap<u16, &Plain<'_>> =
            ids.zip(services).filter_map(|(id, service)| Some((id?.0, service))).collect();
        let mut wanted: BTreeSet<DestKey> =
            services.iter().flat_map(|(id, service)| service.all().map(|d| d.key(ServiceId(*id)))).collect();
        self.ids.follow_ports(&wanted, services.iter().map(|(id, s)| (*id, s.model.port())).collect());
        let mut tunnels = std::mem::take(&mut self.tunnels);
        for (id, service) in &services {
            tunnels.extend(service.all().map(|d| (d.key(ServiceId(*id)), d.carriage)));
        }
        // UDP entries of a removed destination are dead at once, and so are all of a removed service.
        let retired = std::mem::take(&mut self.retired);
        let kept = |key: &&DestKey| {
            !wanted.contains(key)
                && !retired.contains(key)
                && services.get(&key.service).is_some_and(|s| s.keeps())
        };
        let before = std::mem::take(&mut self.kept);
        self.kept = self
            .ids
            .destinations()
            .filter(kept)
            .map(|key| (*key, before.get(key).copied().unwrap_or(epoch)))
            .collect();
        for key in self.kept.keys().filter(|key| !before.contains_key(key)) {
            self.ids.renew(key, true);
        }
        wanted.extend(self.kept.keys());
        tunnels.retain(|key, _| wanted.contains(key));
        self.tunnels = tunnels;
        let reals = wanted
            .iter()
            .filter(|key| key.method() == Method::Nat)
            .filter_map(|key| Some(real_keys(key, services.get(&key.service)?.model)))
            .flatten()
            .collect();
        let reals = self.ids.with_those_beside(reals);
        self.fresh.destinations = self.ids.settle_destinations(&wanted, &reals)?;
        Ok(())
    }

    fn pool_version(&mut self, id: ServiceId, scheduler: SchedulerKind, members: Vec<(DestId, u32)>) -> u16 {
        let pool = self.pools.entry(id.0).or_default();
        // Round robin goes on from its last choice, whatever changes around it.
        let members = if scheduler == SchedulerKind::Rr { Vec::new() } else { members };
        let picture = Some((scheduler, members));
        if pool.picture != picture {
            pool.version = pool.version.wrapping_add(1);
            pool.picture = picture;
        }
        pool.version
    }
}
