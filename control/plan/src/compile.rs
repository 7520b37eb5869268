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

use crate::dealer::Exhausted;
use crate::desired::Desired;
use crate::environment::{Environment, Link};
use crate::ids::{DestKey, Fresh, Ids, Place};
use crate::network;
use sheave_frame::PortId;
use sheave_pipeline::ids::{DestId, ServiceId};
use sheave_pipeline::scheduler::{HashKey, HashOptions, TableSize, Tables};
use sheave_pipeline::snapshot::{
    Destination, Health, Intent, Limits, Listen, Method, OnRemoval, Ports, Real, SchedulerKind, Service,
    Snapshot, SnapshotBuilder, Timeouts, Tunnel,
};
use sheave_pipeline::time::Seconds;
use sheave_proto::config;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tunnel::Encapsulation;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

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
                write!(f, "{object}: not supported yet: use one port and one of rr, wrr, lc, wlc")
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
        for key in self.kept.keys() {
            // Kept only for TCP.
            self.destination(&mut builder, *key, 0, Proto::Tcp, &links);
        }
        let snapshot = builder.build();
        self.tables = snapshot.tables();
        Ok(snapshot)
    }

    /// Settles every number, and which removed destinations are kept.
    fn number(&mut self, services: &[Plain<'_>], epoch: u64) -> Result<(), Exhausted> {
        let places: BTreeMap<&str, Place> =
            services.iter().map(|s| (s.model.name.as_str(), s.place)).collect();
        self.fresh.services = self.ids.settle_services(&places)?;
        let mut wanted = BTreeSet::new();
        let mut keeping = BTreeMap::new();
        for service in services {
            let Some(id) = self.ids.service(&service.model.name) else { continue };
            wanted.extend(service.destinations.iter().map(|d| d.key(id)));
            let keeps = service.model.on_removal == config::OnRemoval::Keep && service.place.2 == Proto::Tcp;
            keeping.insert(id.0, (keeps, service.place.2));
        }
        // UDP entries of a removed destination are dead at once, and so are all of a removed service.
        let retired = std::mem::take(&mut self.retired);
        let keeps = |key: &DestKey| {
            !wanted.contains(key) && !retired.contains(key) && keeping.get(&key.service).is_some_and(|k| k.0)
        };
        self.kept = self
            .ids
            .destinations()
            .filter(|key| keeps(key))
            .map(|key| (*key, self.kept.get(key).copied().unwrap_or(epoch)))
            .collect();
        wanted.extend(self.kept.keys());
        let reals = wanted
            .iter()
            .filter(|key| key.method() == Method::Nat)
            .filter_map(|key| Some((key.addr, key.port, keeping.get(&key.service)?.1)))
            .collect();
        self.fresh.destinations = self.ids.settle_destinations(&wanted, &reals)?;
        Ok(())
    }

    fn service(&mut self, builder: &mut SnapshotBuilder, service: &Plain<'_>, links: &[Link]) {
        let (vip, port, proto) = service.place;
        let (Some(id), Some(listen)) =
            (self.ids.service(&service.model.name), self.ids.listen(vip, port, proto))
        else {
            return;
        };
        builder.listen(listen, Listen { service: id, vip, ports: Ports::One(port), proto });
        for port in answering(service.model, vip, links) {
            builder.answer(port, vip);
        }
        let mut members = Vec::with_capacity(service.destinations.len());
        for wanted in &service.destinations {
            let dest = self.destination(builder, wanted.key(id), wanted.weight, proto, links);
            members.extend(dest.map(|dest| (dest, wanted.weight)));
        }
        let pool = members.iter().map(|(dest, _)| *dest).collect();
        let pool_version = self.pool_version(id, service.scheduler, members);
        let timeouts = service.timeouts;
        builder.service(
            id,
            Service {
                name: service.model.name.clone(),
                scheduler: service.scheduler,
                timeouts: Timeouts {
                    tcp: seconds(timeouts.tcp),
                    tcp_fin: seconds(timeouts.tcp_fin),
                    udp: seconds(timeouts.udp),
                },
                on_removal: on_removal(service.model.on_removal),
                pool,
                pool_version,
                backup_below: 1,
                sorry: None,
                slow_start: Seconds(0),
            },
        );
    }

    fn destination(
        &self,
        builder: &mut SnapshotBuilder,
        key: DestKey,
        weight: u32,
        proto: Proto,
        links: &[Link],
    ) -> Option<DestId> {
        let (id, generation) = self.ids.held(&key)?;
        let method = key.method();
        // An address of the director's own is reached through no interface.
        let own = links.iter().any(|link| link.addresses.iter().any(|a| a.addr() == key.addr));
        let next_hop = builder.next_hop(key.addr).filter(|_| !own);
        let real = match method {
            Method::Nat => self.ids.real(key.addr, key.port, proto),
            Method::DirectRoute | Method::Tunnel | Method::Local => None,
        };
        if let Some(real) = real {
            builder.real(real, Real { addr: key.addr, port: Some(key.port), proto });
        }
        let tunnel = match (method, &next_hop) {
            (Method::Tunnel, Some(hop)) => builder
                .source(hop.port, hop.neighbour)
                .and_then(|source| Tunnel::new(source, key.addr, Encapsulation::Ipip, true)),
            _ => None,
        };
        builder.destination(
            id,
            Destination {
                service: ServiceId(key.service),
                addr: key.addr,
                port: Some(key.port),
                weight,
                limits: Limits::default(),
                intent: Intent::Ready,
                health: Health::Up,
                backup: false,
                method,
                generation,
                real,
                next_hop,
                tunnel,
            },
        );
        Some(id)
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

/// A service of the kind that the data path serves so far: one listen with one port.
#[derive(Debug)]
struct Plain<'a> {
    model: &'a config::Service,
    timeouts: config::Timeouts,
    place: Place,
    scheduler: SchedulerKind,
    destinations: Vec<Wanted>,
}

/// A destination with its defaults filled in.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    addr: IpAddr,
    port: u16,
    method: Method,
    weight: u32,
}

impl Wanted {
    fn key(&self, service: ServiceId) -> DestKey {
        DestKey::new(service, self.addr, self.port, self.method)
    }
}

fn plain_services(desired: &Desired) -> Result<Vec<Plain<'_>>, CompileError> {
    let config = desired.config();
    let refused = |service: &config::Service| CompileError::NotValidated { object: service.label() };
    config.services.iter().map(|service| plain(config, service).ok_or_else(|| refused(service))).collect()
}

fn plain<'a>(config: &config::Config, service: &'a config::Service) -> Option<Plain<'a>> {
    let [listen] = service.listens[..] else { return None };
    let place = (listen.addr, listen.ports.single()?, listen.proto);
    let destinations = service.destinations.iter().map(|destination| {
        Some(Wanted {
            addr: destination.address.addr,
            port: destination.address.port_under(listen.ports)?,
            method: method(service.forward_of(destination))?,
            weight: destination.weight.get(),
        })
    });
    Some(Plain {
        model: service,
        timeouts: config.timeouts_of(service),
        place,
        scheduler: scheduler(service.scheduler)?,
        destinations: destinations.collect::<Option<_>>()?,
    })
}

/// The interfaces on which a VIP is answered and announced: the one that the service names, or those with a
/// connected network over it.
fn answering(service: &config::Service, vip: IpAddr, links: &[Link]) -> Vec<PortId> {
    let over = |link: &&Link| match &service.interface {
        Some(name) => *name == link.name,
        None => link.addresses.iter().any(|network| network.contains(vip)),
    };
    links.iter().filter(over).map(|link| link.port).collect()
}

fn method(forward: config::Forward) -> Option<Method> {
    match forward {
        config::Forward::Nat => Some(Method::Nat),
        config::Forward::Dr => Some(Method::DirectRoute),
        config::Forward::Tun => Some(Method::Tunnel),
        config::Forward::Local => None,
    }
}

fn on_removal(policy: config::OnRemoval) -> OnRemoval {
    match policy {
        config::OnRemoval::Reset => OnRemoval::Reset,
        config::OnRemoval::Keep => OnRemoval::Keep,
        config::OnRemoval::Drop => OnRemoval::Drop,
    }
}

fn scheduler(scheduler: config::Scheduler) -> Option<SchedulerKind> {
    match scheduler {
        config::Scheduler::Rr => Some(SchedulerKind::Rr),
        config::Scheduler::Wrr => Some(SchedulerKind::Wrr),
        config::Scheduler::Lc => Some(SchedulerKind::Lc),
        config::Scheduler::Wlc => Some(SchedulerKind::Wlc),
        config::Scheduler::Dh => Some(SchedulerKind::Dh),
        config::Scheduler::Sh => Some(SchedulerKind::Sh(HashOptions::default())),
        config::Scheduler::Mh => Some(SchedulerKind::Mh(HashOptions::default(), TableSize::default())),
        config::Scheduler::Source => Some(SchedulerKind::Source),
        config::Scheduler::Sed => Some(SchedulerKind::Sed),
        config::Scheduler::Nq => Some(SchedulerKind::Nq),
        config::Scheduler::Fo => Some(SchedulerKind::Fo),
        config::Scheduler::Ovf => Some(SchedulerKind::Ovf),
        config::Scheduler::Twos => Some(SchedulerKind::Twos),
        _ => None,
    }
}

fn seconds(timeout: config::Timeout) -> Seconds {
    // 12 h at most, which fits.
    Seconds(u16::try_from(timeout.as_secs()).unwrap_or(u16::MAX))
}
