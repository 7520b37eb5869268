//! The immutable picture of all services that workers load once a burst.
//!
//! The control side builds one with [`SnapshotBuilder`] and publishes it; nothing here changes afterwards. What
//! changes while packets flow is in [`crate::live`].

use crate::ids::{DestId, Generation, ListenId, RealId, ServiceId};
use crate::routes::Routes;
use crate::scheduler::{HashKey, HashOptions, Prepared, TableSize, Tables};
use crate::time::Seconds;
use hashbrown::{HashMap, HashSet};
use sheave_frame::PortId;
use sheave_proto::wire::{eth::Mac, flow::Proto};
use std::net::{IpAddr, Ipv4Addr};

/// How packets reach a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Addresses and ports are rewritten; replies come back through the director.
    Nat,
    /// The frame is sent to the real server's hardware address, the packet is left as it is.
    DirectRoute,
    /// The packet is put into an IP-in-IP packet to the real server.
    Tunnel,
}

/// Which destination a new connection goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchedulerKind {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections.
    Wlc,
    /// Destination hash.
    Dh,
    /// Source hash.
    Sh(HashOptions),
    /// Maglev hash.
    Mh(HashOptions, TableSize),
    /// Source hash on a ring.
    Source,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Weighted failover.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// The better of two weighted random draws.
    Twos,
    /// The best of so many weighted random draws.
    Random(Draws),
    /// The first that may be used.
    First,
    /// Least response time.
    Lrt,
}

/// How many destinations `random` draws: 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Draws(u8);

impl Draws {
    /// The most.
    pub const MOST: u8 = 64;

    /// So many draws; `None` when that is none, or too many.
    pub fn new(draws: u8) -> Option<Draws> {
        (1..=Draws::MOST).contains(&draws).then_some(Draws(draws))
    }

    /// How many.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Draws {
    fn default() -> Draws {
        Draws(2)
    }
}

/// What the operator wants of a destination; whether it can is for its [`Health`] to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Intent {
    /// It takes connections.
    #[default]
    Ready,
    /// It takes no new connections; those that it has go on.
    Drain,
    /// It is taken out of service.
    Maint,
}

/// What health checks say of a destination; without checks it is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// It can serve.
    #[default]
    Up,
    /// It cannot.
    Down,
}

/// How many connections, active and inactive, a destination may have; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Limits {
    /// It is overloaded when it has so many, and takes no new ones.
    pub upper: u32,
    /// It is overloaded no longer when it has fewer than this; 0 is three quarters of `upper`.
    pub lower: u32,
    /// It never has more than this.
    pub connections: u32,
}

/// What becomes of TCP connections whose destination was removed or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnRemoval {
    /// A reset is sent to the client.
    Reset,
    /// They go on.
    Keep,
    /// Their packets are dropped.
    Drop,
}

/// Timeouts of a service that can be set; the other states' are those of IPVS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP established.
    pub tcp: Seconds,
    /// TCP after a FIN.
    pub tcp_fin: Seconds,
    /// UDP.
    pub udp: Seconds,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
    /// The largest IP packet that it sends, in bytes.
    pub mtu: u16,
    /// The director's own IPv4 addresses on it; the first one is the source of what the director sends.
    pub addresses: Vec<Ipv4Addr>,
}

/// Where a packet leaves: towards a gateway or straight to its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The interface.
    pub port: PortId,
    /// The neighbour: a gateway, or the destination itself on a connected network.
    pub neighbour: IpAddr,
    /// Its hardware address where known.
    pub mac: Option<Mac>,
}

/// A virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name, for people.
    pub name: String,
    /// Which destination a new connection goes to.
    pub scheduler: SchedulerKind,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// What becomes of TCP connections of removed destinations.
    pub on_removal: OnRemoval,
    /// The destinations that may be scheduled, in the order of the configuration.
    pub pool: Vec<DestId>,
    /// Changes with the scheduler, and with every change of the pool or its weights that makes it begin anew (all
    /// but rr): what it remembers is forgotten then.
    pub pool_version: u16,
    /// Backups take part when fewer than this many others may be used.
    pub backup_below: u16,
    /// Where connections go when no destination of the pool may be used. Not in the pool.
    pub sorry: Option<DestId>,
    /// How long a new or recovered destination takes to reach its weight; zero is no time.
    pub slow_start: Seconds,
}

/// One (VIP, port, protocol) that a service listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Whose it is.
    pub service: ServiceId,
    /// The VIP.
    pub vip: IpAddr,
    /// The port, host order.
    pub port: u16,
    /// The protocol.
    pub proto: Proto,
}

/// One destination, scheduled or (removed with `on-removal = "keep"`) only kept for its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Whose it is.
    pub service: ServiceId,
    /// The real server's address.
    pub addr: IpAddr,
    /// The real server's port, host order.
    pub port: u16,
    /// Weight; 0 takes no new connections.
    pub weight: u32,
    /// How many connections it may have.
    pub limits: Limits,
    /// What the operator wants of it.
    pub intent: Intent,
    /// What health checks say of it.
    pub health: Health,
    /// Whether it waits until others are missing.
    pub backup: bool,
    /// Forwarding method.
    pub method: Method,
    /// Entries of another generation are dead.
    pub generation: Generation,
    /// NAT: the id of (address, port, protocol) in the keys of reply entries.
    pub real: Option<RealId>,
    /// The way to it; `None` without a route.
    pub next_hop: Option<NextHop>,
    /// TUN: the outer source, the director's address on the way out.
    pub tunnel_source: Option<IpAddr>,
}

/// One (address, port, protocol) of NAT destinations: what replies come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Real {
    /// Address.
    pub addr: IpAddr,
    /// Port, host order.
    pub port: u16,
    /// Protocol.
    pub proto: Proto,
}

/// The picture. Sparse arrays by id; absent means removed.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Its number; grows by one with each publication.
    pub epoch: u64,
    interfaces: Vec<Option<Interface>>,
    services: Vec<Option<Service>>,
    listens: Vec<Option<Listen>>,
    destinations: Vec<Option<Destination>>,
    reals: Vec<Option<Real>>,
    listens_v4: HashMap<u64, ListenId, foldhash::fast::FixedState>,
    reals_v4: HashMap<u64, RealId, foldhash::fast::FixedState>,
    vips: HashSet<IpAddr, foldhash::fast::FixedState>,
    own: HashSet<IpAddr, foldhash::fast::FixedState>,
    /// Broadcast addresses of the connected networks.
    broadcasts: HashSet<Ipv4Addr, foldhash::fast::FixedState>,
    /// VIP and interface pairs on which ARP for the VIP is answered.
    answers: HashSet<(PortId, IpAddr), foldhash::fast::FixedState>,
    neighbours: HashMap<(PortId, IpAddr), Mac, foldhash::fast::FixedState>,
    /// Of each service's pool, by service id: worked out once, used for every new connection.
    prepared: Vec<Prepared>,
    /// Routes to everything that is not a destination (clients, mostly).
    pub routes: Routes,
}

/// The look-up key of an IPv4 (address, port, protocol).
#[inline]
fn key_v4(addr: Ipv4Addr, port: u16, proto: Proto) -> u64 {
    (u64::from(addr.to_bits()) << 32) | (u64::from(port) << 16) | u64::from(proto.number())
}

impl Snapshot {
    /// The interface with this number.
    #[inline]
    pub fn interface(&self, port: PortId) -> Option<&Interface> {
        self.interfaces.get(port.index())?.as_ref()
    }

    /// All interfaces with their numbers.
    pub fn interfaces(&self) -> impl Iterator<Item = (PortId, &Interface)> {
        (0u16..).zip(&self.interfaces).filter_map(|(i, x)| Some((PortId(i), x.as_ref()?)))
    }

    /// A service.
    #[inline]
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(id.index())?.as_ref()
    }

    /// All services with their ids.
    pub fn services(&self) -> impl Iterator<Item = (ServiceId, &Service)> {
        (0u16..).zip(&self.services).filter_map(|(i, x)| Some((ServiceId(i), x.as_ref()?)))
    }

    /// A listen and its service.
    #[inline]
    pub fn serving(&self, id: ListenId) -> Option<(&Listen, &Service)> {
        let listen = self.listen(id)?;
        Some((listen, self.service(listen.service)?))
    }

    /// A listen.
    #[inline]
    pub fn listen(&self, id: ListenId) -> Option<&Listen> {
        self.listens.get(id.index())?.as_ref()
    }

    /// All listens with their ids.
    pub fn listens(&self) -> impl Iterator<Item = (ListenId, &Listen)> {
        (0u16..).zip(&self.listens).filter_map(|(i, x)| Some((ListenId(i), x.as_ref()?)))
    }

    /// A destination.
    #[inline]
    pub fn destination(&self, id: DestId) -> Option<&Destination> {
        self.destinations.get(id.index())?.as_ref()
    }

    /// All destinations with their ids.
    pub fn destinations(&self) -> impl Iterator<Item = (DestId, &Destination)> {
        (0u16..).zip(&self.destinations).filter_map(|(i, x)| Some((DestId(i), x.as_ref()?)))
    }

    /// A real server's (address, port, protocol).
    #[inline]
    pub fn real(&self, id: RealId) -> Option<&Real> {
        self.reals.get(id.index())?.as_ref()
    }

    /// All of them with their ids.
    pub fn reals(&self) -> impl Iterator<Item = (RealId, &Real)> {
        (0u16..).zip(&self.reals).filter_map(|(i, x)| Some((RealId(i), x.as_ref()?)))
    }

    /// Which listen, if any, packets to this address, port and protocol belong to.
    #[inline]
    pub fn listen_at(&self, addr: Ipv4Addr, port: u16, proto: Proto) -> Option<ListenId> {
        self.listens_v4.get(&key_v4(addr, port, proto)).copied()
    }

    /// Which NAT destination, if any, packets from this address, port and protocol come from.
    #[inline]
    pub fn real_at(&self, addr: Ipv4Addr, port: u16, proto: Proto) -> Option<RealId> {
        self.reals_v4.get(&key_v4(addr, port, proto)).copied()
    }

    /// Whether an address is a VIP.
    #[inline]
    pub fn is_vip(&self, addr: IpAddr) -> bool {
        self.vips.contains(&addr)
    }

    /// All VIPs.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        self.vips.iter().copied()
    }

    /// Whether ARP for this VIP is answered on this interface.
    #[inline]
    pub fn answers(&self, port: PortId, vip: IpAddr) -> bool {
        self.answers.contains(&(port, vip))
    }

    /// Every interface and VIP on which ARP is answered and the VIP announced.
    pub fn announcements(&self) -> impl Iterator<Item = (PortId, IpAddr)> {
        self.answers.iter().copied()
    }

    /// Whether an address is one of the director's own (not a VIP).
    #[inline]
    pub fn is_own(&self, addr: IpAddr) -> bool {
        self.own.contains(&addr)
    }

    /// Whether an address is the broadcast address of a connected network.
    pub fn is_broadcast(&self, addr: Ipv4Addr) -> bool {
        self.broadcasts.contains(&addr)
    }

    /// All of the director's own addresses.
    pub fn own(&self) -> impl Iterator<Item = IpAddr> {
        self.own.iter().copied()
    }

    /// A neighbour's hardware address.
    #[inline]
    pub fn neighbour(&self, port: PortId, addr: IpAddr) -> Option<Mac> {
        self.neighbours.get(&(port, addr)).copied()
    }

    /// What schedulers know of a service's pool beforehand.
    #[inline]
    pub(crate) fn prepared(&self, id: ServiceId) -> Option<&Prepared> {
        self.prepared.get(id.index())
    }

    /// The tables of hash schedulers, for the next snapshot to take over.
    pub fn tables(&self) -> Tables {
        Tables::of(&self.prepared)
    }

    /// The way to any address, by route and neighbour.
    pub fn next_hop(&self, to: IpAddr) -> Option<NextHop> {
        let route = self.routes.lookup(to)?;
        let neighbour = route.via.unwrap_or(to);
        Some(NextHop { port: route.port, neighbour, mac: self.neighbour(route.port, neighbour) })
    }
}

/// Builds a [`Snapshot`]; sets up its look-up tables as objects are added.
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    snapshot: Snapshot,
    hash_key: HashKey,
    tables: Tables,
}

fn put<T>(list: &mut Vec<Option<T>>, index: usize, value: T) {
    if list.len() <= index {
        list.resize_with(index + 1, || None);
    }
    list[index] = Some(value);
}

impl SnapshotBuilder {
    /// A snapshot of nothing, with this number.
    pub fn new(epoch: u64) -> SnapshotBuilder {
        SnapshotBuilder { snapshot: Snapshot { epoch, ..Snapshot::default() }, ..SnapshotBuilder::default() }
    }

    /// Sets the key of the hash schedulers.
    pub fn hash_key(&mut self, key: HashKey) {
        self.hash_key = key;
    }

    /// Takes over the tables of an earlier snapshot, as far as they stay the same.
    pub fn reuse(&mut self, tables: Tables) {
        self.tables = tables;
    }

    /// Adds an interface. Its addresses become the director's own.
    pub fn interface(&mut self, port: PortId, interface: Interface) {
        self.snapshot.own.extend(interface.addresses.iter().map(|a| IpAddr::V4(*a)));
        put(&mut self.snapshot.interfaces, port.index(), interface);
    }

    /// Notes the broadcast address of a connected network: it is no host's.
    pub fn broadcast(&mut self, addr: Ipv4Addr) {
        self.snapshot.broadcasts.insert(addr);
    }

    /// Replaces the routes.
    pub fn routes(&mut self, routes: Routes) {
        self.snapshot.routes = routes;
    }

    /// Adds a neighbour.
    pub fn neighbour(&mut self, port: PortId, addr: IpAddr, mac: Mac) {
        self.snapshot.neighbours.insert((port, addr), mac);
    }

    /// Adds a service.
    pub fn service(&mut self, id: ServiceId, service: Service) {
        put(&mut self.snapshot.services, id.index(), service);
    }

    /// Adds a listen. Its address becomes a VIP.
    pub fn listen(&mut self, id: ListenId, listen: Listen) {
        if let IpAddr::V4(vip) = listen.vip {
            self.snapshot.listens_v4.insert(key_v4(vip, listen.port, listen.proto), id);
        }
        self.snapshot.vips.insert(listen.vip);
        put(&mut self.snapshot.listens, id.index(), listen);
    }

    /// Answers ARP for `vip` on `port`, and announces it there.
    pub fn answer(&mut self, port: PortId, vip: IpAddr) {
        self.snapshot.answers.insert((port, vip));
    }

    /// Adds a destination.
    pub fn destination(&mut self, id: DestId, destination: Destination) {
        put(&mut self.snapshot.destinations, id.index(), destination);
    }

    /// Adds a real server's (address, port, protocol).
    pub fn real(&mut self, id: RealId, real: Real) {
        if let IpAddr::V4(addr) = real.addr {
            self.snapshot.reals_v4.insert(key_v4(addr, real.port, real.proto), id);
        }
        put(&mut self.snapshot.reals, id.index(), real);
    }

    /// The way to any address as known so far: for destinations, once routes and neighbours are in.
    pub fn next_hop(&self, to: IpAddr) -> Option<NextHop> {
        self.snapshot.next_hop(to)
    }

    /// The first own IPv4 address of an interface: the source of what the director sends there.
    pub fn source(&self, port: PortId) -> Option<Ipv4Addr> {
        self.snapshot.interface(port)?.addresses.first().copied()
    }

    /// The finished snapshot. A VIP that is also an interface address counts as a VIP, not as the director's own.
    pub fn build(mut self) -> Snapshot {
        let Snapshot { own, vips, .. } = &mut self.snapshot;
        own.retain(|addr| !vips.contains(addr));
        self.snapshot.prepared = Prepared::all(&self.snapshot, self.hash_key, &self.tables);
        self.snapshot
    }
}
