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
use sheave_pipeline::snapshot::{Method, SchedulerKind, Snapshot, SnapshotBuilder};
use sheave_proto::config;
use sheave_proto::wire::flow::Proto;
use std::collections::{BTreeMap, BTreeSet};
use wanted::{Plain, Terms, plain_services, real_keys};

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
        let links = network::links(desired, environment);
        let mut builder = SnapshotBuilder::new(epoch);
        builder.hash_key(HashKey::of(&desired.config().director.hash_key));
        builder.reuse(std::mem::take(&mut self.tables));
        network::build(&mut builder, desired, environment, &links, &self.ids);
        let there: BTreeSet<u16> =
            services.iter().filter_map(|s| Some(self.ids.service(&s.model.name)?.0)).collect();
        for (_, pool) in self.pools.iter_mut().filter(|(id, _)| !there.contains(id)) {
            pool.picture = None;
        }
        for service in &services {
            self.service(&mut builder, service, &links);
        }
        for service in &services {
            let Some(id) = self.ids.service(&service.model.name) else { continue };
            for key in self.kept.keys().filter(|key| key.service == id.0) {
                self.destination(&mut builder, *key, Terms::default(), &service.model.listens, &links);
            }
        }
        let snapshot = builder.build();
        self.tables = snapshot.tables();
        Ok(snapshot)
    }

    /// Settles every number, and which removed destinations are kept.
    fn number(&mut self, services: &[Plain<'_>], epoch: u64) -> Result<(), Exhausted> {
        let listens = services.iter().map(|s| (s.model.name.as_str(), &s.model.listens[..])).collect();
        self.fresh.services = self.ids.settle_services(&listens)?;
        let ids = services.iter().map(|s| self.ids.service(&s.model.name));
        let services: BTreeMap<u16, &Plain<'_>> =
            ids.zip(services).filter_map(|(id, service)| Some((id?.0, service))).collect();
        let mut wanted: BTreeSet<DestKey> = services
            .iter()
            .flat_map(|(id, service)| service.destinations.iter().map(|d| d.key(ServiceId(*id))))
            .collect();
        self.ids.follow_ports(&wanted, services.iter().map(|(id, s)| (*id, s.model.port())).collect());
        let mut tunnels = std::mem::take(&mut self.tunnels);
        for (id, service) in &services {
            tunnels.extend(service.destinations.iter().map(|d| (d.key(ServiceId(*id)), d.carriage)));
        }
        // UDP entries of a removed destination are dead at once, and so are all of a removed service.
        let retired = std::mem::take(&mut self.retired);
        let keeps = |service: &&Plain<'_>| {
            service.model.on_removal == config::OnRemoval::Keep && service.model.speaks(Proto::Tcp)
        };
        let kept = |key: &&DestKey| {
            !wanted.contains(key) && !retired.contains(key) && services.get(&key.service).is_some_and(keeps)
        };
        self.kept = self
            .ids
            .destinations()
            .filter(kept)
            .map(|key| (*key, self.kept.get(key).copied().unwrap_or(epoch)))
            .collect();
        wanted.extend(self.kept.keys());
        tunnels.retain(|key, _| wanted.contains(key));
        self.tunnels = tunnels;
        let reals = wanted
            .iter()
            .filter(|key| key.method() == Method::Nat)
            .filter_map(|key| Some(real_keys(key, &services.get(&key.service)?.model.listens)))
            .flatten()
            .collect();
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
