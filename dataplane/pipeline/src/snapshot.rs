//! The immutable picture of all services that workers load once a burst.
//!
//! The control side builds one with [`SnapshotBuilder`] and publishes it; nothing here changes afterwards. What
//! changes while packets flow is in [`crate::live`].

use crate::features::Features;
use crate::helper::Helper;
use crate::ids::{DestId, Generation, ListenId, RealId, ServiceId};
use crate::index::{Filter, Index};
use crate::key::{Key, KeyParts};
pub use crate::mss::Clamp;
use crate::places::Places;
use crate::routes::{Route, Routes};
use crate::scheduler::{HashKey, HashOptions, Prepared, TableSize, Tables};
use crate::steady::Plan;
use crate::sticky::Persistence;
use crate::time::Seconds;
use hashbrown::{HashMap, HashSet};
use sheave_frame::PortId;
use sheave_proto::wire::tunnel::{Encapsulation, Family, Template};
use sheave_proto::wire::{eth::Mac, flow::Proto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How packets reach a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Addresses and ports are rewritten; replies come back through the director.
    Nat,
    /// The frame is sent to the real server's hardware address, the packet is left as it is.
    DirectRoute,
    /// The packet is put into an IP packet to the real server.
    Tunnel,
    /// The director's own stack serves: the packet is left to it.
    Local,
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
    /// Locality-based least connections.
    Lblc,
    /// Locality-based least connections with replication.
    Lblcr,
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
    /// The director's own addresses on it, of both families, each with its prefix.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Interface {
    /// The director's address for what it sends to `to` on this interface: the one whose network `to` is in, or the
    /// first of the family.
    pub fn source(&self, to: IpAddr) -> Option<IpAddr> {
        let family = || self.addresses.iter().filter(|(addr, _)| addr.is_ipv4() == to.is_ipv4());
        family()
            .find(|(addr, prefix)| same_network(*addr, to, *prefix))
            .or_else(|| family().next())
            .map(|a| a.0)
    }
}

fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(32 - prefix.min(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(128 - prefix.min(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
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
    /// The interface's own.
    pub source: Mac,
    /// The largest IP packet that the interface sends, in bytes.
    pub mtu: u16,
}

/// The ports of a listen, host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ports {
    /// One.
    One(u16),
    /// From the first to the last.
    Range(u16, u16),
    /// Every port that no other listen of the address and protocol takes.
    Any,
}

impl Ports {
    /// Whether a port is among them.
    #[inline]
    pub const fn contains(self, port: u16) -> bool {
        match self {
            Ports::One(one) => one == port,
            Ports::Range(first, last) => first <= port && port <= last,
            Ports::Any => true,
        }
    }
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
    /// What SYNs may announce.
    pub mss_clamp: Clamp,
    /// Whether any TCP packet but a reset opens a connection.
    pub sloppy: bool,
}

/// One (VIP, port, protocol) that a service listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Whose it is.
    pub service: ServiceId,
    /// The VIP.
    pub vip: IpAddr,
    /// Its ports.
    pub ports: Ports,
    /// The protocol.
    pub proto: Proto,
}

impl Listen {
    /// The port of the VIP that a connection with this key is with.
    #[inline(always)]
    pub fn port_of(&self, key: Key) -> u16 {
        match self.ports {
            Ports::One(port) => port,
            Ports::Range(first, _) => KeyParts::of(key).other_port.unwrap_or(first),
            Ports::Any => KeyParts::of(key).other_port.unwrap_or(0),
        }
    }
}

/// One destination, scheduled or (removed with `on-removal = "keep"`) only kept for its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Whose it is.
    pub service: ServiceId,
    /// The real server's address.
    pub addr: IpAddr,
    /// The real server's port, host order; `None`: each packet keeps its own.
    pub port: Option<u16>,
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
    /// Whether templates bring their clients to it even while it is drained.
    pub honours_templates: bool,
    /// The life of it whose connections were told to end with a reset, whatever the service's policy is.
    pub reset: Option<Generation>,
    /// Forwarding method.
    pub method: Method,
    /// Entries of another generation are dead.
    pub generation: Generation,
    /// NAT: the id of (address, port, protocol) that replies come from, if they always come from that one. Under a
    /// bundle they may have several.
    pub real: Option<RealId>,
    /// The way to it; `None` without a route.
    pub next_hop: Option<NextHop>,
    /// TUN: how. `None` without a source address on the way out.
    pub tunnel: Option<Tunnel>,
}

/// How packets are put into others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// The outer source, the director's address on the way out.
    pub source: IpAddr,
    /// What lies between the outer header and the packet.
    pub encapsulation: Encapsulation,
    v4: Template,
    v6: Template,
    /// Bytes that go in front of a packet.
    pub overhead: u16,
    /// Whether a packet that may not be fragmented travels in one that may not either (IPv4 in IPv4).
    pub discovers_mtu: bool,
}

impl Tunnel {
    /// From the director's address to the real server's; `None` when they are of two families.
    pub fn new(
        source: IpAddr,
        real: IpAddr,
        encapsulation: Encapsulation,
        discovers_mtu: bool,
    ) -> Option<Tunnel> {
        let v4 = Template::new(source, real, encapsulation, Family::V4)?;
        let v6 = Template::new(source, real, encapsulation, Family::V6)?;
        let overhead = u16::try_from(v4.overhead()).ok()?;
        Some(Tunnel { source, encapsulation, v4, v6, overhead, discovers_mtu })
    }

    /// The headers in front of a packet.
    #[inline]
    pub(crate) const fn template(&self, v6: bool) -> &Template {
        if v6 { &self.v6 } else { &self.v4 }
    }
}

/// One (address, port, protocol) of NAT destinations: what replies come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Real {
    /// Address.
    pub addr: IpAddr,
    /// Port, host order; `None` for a destination that keeps each packet's.
    pub port: Option<u16>,
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
    listens_at: Places,
    reals_at: Places,
    vips: HashSet<IpAddr, foldhash::fast::FixedState>,
    own: HashSet<IpAddr, foldhash::fast::FixedState>,
    /// Those of IPv4 again: asked for every reply.
    own_v4: Index<1>,
    /// Addresses of NAT destinations.
    real_addrs: HashSet<IpAddr, foldhash::fast::FixedState>,
    /// Where tunnels end.
    tunnel_ends: HashSet<IpAddr, foldhash::fast::FixedState>,
    /// IPv4 addresses of the director's own, and VIPs.
    here_v4: Filter,
    /// Broadcast addresses of the connected networks.
    broadcasts: HashSet<Ipv4Addr, foldhash::fast::FixedState>,
    /// VIP and interface pairs on which ARP for the VIP is answered.
    answers: HashSet<(PortId, IpAddr), foldhash::fast::FixedState>,
    neighbours: HashMap<(PortId, IpAddr), Mac, foldhash::fast::FixedState>,
    /// Of each service's pool, by service id: worked out once, used for every new connection.
    prepared: Vec<Prepared>,
    features: Features,
    /// Routes to everything that is not a destination (clients, mostly).
    routes: Routes,
    /// The ways by the few IPv4 routes that lead to a gateway.
    ways: Vec<Option<NextHop>>,
    /// All of it again, as far as the short way needs it.
    plan: Plan,
}

#[inline(always)]
fn own_key(addr: Ipv4Addr) -> u64 {
    (u64::from(addr.to_bits()) << 32) | 1
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

    /// Which listen, if any, packets to this address, port and protocol belong to: one port wins over a range, a
    /// range over any port.
    #[inline]
    pub fn listen_at(&self, addr: IpAddr, port: u16, proto: Proto) -> Option<ListenId> {
        self.listens_at.at(addr, port, proto).map(ListenId)
    }

    /// Of IPv4 listens with one port only.
    #[inline(always)]
    pub(crate) fn plain_listen_v4(&self, addr: Ipv4Addr, port: u16, proto: Proto) -> Option<ListenId> {
        self.listens_at.one_v4(addr, port, proto).map(ListenId)
    }

    /// Whether any listen has more than one port.
    #[inline(always)]
    pub(crate) fn has_wide_listens(&self) -> bool {
        self.listens_at.has_wide()
    }

    /// The same as `listen_at` for IPv6.
    #[inline(always)]
    pub(crate) fn listen_at_v6(&self, addr: Ipv6Addr, port: u16, proto: Proto) -> Option<ListenId> {
        self.listens_at.at_v6(addr, port, proto).map(ListenId)
    }

    /// Which NAT destination, if any, packets from this address, port and protocol come from: one with that port
    /// wins over one that keeps each packet's.
    #[inline]
    pub fn real_at(&self, addr: IpAddr, port: u16, proto: Proto) -> Option<RealId> {
        self.reals_at.at(addr, port, proto).map(RealId)
    }

    /// Of IPv4 ones with one port only.
    #[inline(always)]
    pub(crate) fn plain_real_v4(&self, addr: Ipv4Addr, port: u16, proto: Proto) -> Option<RealId> {
        self.reals_at.one_v4(addr, port, proto).map(RealId)
    }

    /// The same as `real_at` for IPv6.
    #[inline(always)]
    pub(crate) fn real_at_v6(&self, addr: Ipv6Addr, port: u16, proto: Proto) -> Option<RealId> {
        self.reals_at.at_v6(addr, port, proto).map(RealId)
    }

    /// The NAT destination at this address that keeps each packet's port, if there is one.
    pub(crate) fn port_keeping_real(&self, addr: IpAddr, proto: Proto) -> Option<RealId> {
        self.reals_at.any(addr, proto).map(RealId)
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

    /// The same for IPv4.
    #[inline(always)]
    pub(crate) fn is_own_v4(&self, addr: Ipv4Addr) -> bool {
        self.own_v4.get(&[own_key(addr)]).is_some()
    }

    /// Whether a NAT destination has this address.
    pub(crate) fn is_real_addr(&self, addr: IpAddr) -> bool {
        self.real_addrs.contains(&addr)
    }

    /// Whether a tunnel ends at an address.
    pub(crate) fn is_tunnel_end(&self, addr: IpAddr) -> bool {
        self.tunnel_ends.contains(&addr)
    }

    /// Whether an IPv4 address may be a VIP or one of the director's own; `false` is certain.
    #[inline(always)]
    pub(crate) fn may_be_here(&self, addr: Ipv4Addr) -> bool {
        self.here_v4.may_have(addr.to_bits())
    }

    /// Whether an address is the broadcast address of a connected network.
    pub fn is_broadcast(&self, addr: IpAddr) -> bool {
        matches!(addr, IpAddr::V4(addr) if self.broadcasts.contains(&addr))
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

    /// What looks into a service's connections, if anything does.
    pub fn helper(&self, service: ServiceId) -> Option<Helper> {
        self.features.helper(service)
    }

    /// How a service keeps its clients with their destinations, if it does.
    pub fn persistence(&self, service: ServiceId) -> Option<Persistence> {
        self.features.persistence(service)
    }

    /// Whether each packet of a service's UDP is scheduled by itself.
    pub(crate) fn sends_once(&self, service: ServiceId) -> bool {
        self.features.sends_once(service)
    }

    /// Whether a destination was removed, and is kept for its TCP connections only.
    pub(crate) fn is_leaving(&self, destination: DestId) -> bool {
        self.features.is_leaving(destination)
    }

    /// Whether persistence templates lead to a destination.
    pub(crate) fn welcomes(&self, id: DestId, destination: &Destination) -> bool {
        self.features.welcomes(id, destination)
    }

    /// The shortest timeout of persistence.
    pub(crate) fn shortest_persistence(&self) -> Option<u16> {
        self.features.shortest_persistence()
    }

    /// Whether only those connections begin at a listen that a helper expects there.
    pub fn expects(&self, listen: ListenId) -> bool {
        self.features.expects(listen)
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
    #[inline]
    pub fn next_hop(&self, to: IpAddr) -> Option<NextHop> {
        if let IpAddr::V4(v4) = to
            && let Some((at, route)) = self.routes.few(v4.to_bits())
        {
            return match self.ways.get(at) {
                Some(Some(way)) => Some(*way),
                _ => self.way(route, to),
            };
        }
        self.way(self.routes.lookup(to)?, to)
    }

    /// What the short way needs of all this.
    #[inline(always)]
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The place in the list of few of the most specific route to an IPv4 address.
    #[inline(always)]
    pub(crate) fn few(&self, to: u32) -> Option<usize> {
        self.routes.few(to).map(|(at, _)| at)
    }

    fn way(&self, route: Route, to: IpAddr) -> Option<NextHop> {
        let neighbour = route.via.unwrap_or(to);
        let interface = self.interface(route.port)?;
        Some(NextHop {
            port: route.port,
            neighbour,
            mac: self.neighbour(route.port, neighbour),
            source: interface.mac,
            mtu: interface.mtu,
        })
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
        self.snapshot.own.extend(interface.addresses.iter().map(|(addr, _)| *addr));
        put(&mut self.snapshot.interfaces, port.index(), interface);
    }

    /// Notes the broadcast address of a connected network: it is no host's.
    pub fn broadcast(&mut self, addr: Ipv4Addr) {
        self.snapshot.broadcasts.insert(addr);
    }

    /// Replaces the routes.
    pub fn routes(&mut self, mut routes: Routes) {
        routes.finish();
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
        self.snapshot.listens_at.insert(listen.vip, listen.ports, listen.proto, id.0);
        self.snapshot.vips.insert(listen.vip);
        put(&mut self.snapshot.listens, id.index(), listen);
    }

    /// Has a service's connections looked into.
    pub fn help(&mut self, service: ServiceId, helper: Helper) {
        self.snapshot.features.help(service, helper);
    }

    /// Keeps a service's clients with their destinations.
    pub fn persist(&mut self, service: ServiceId, persistence: Persistence) {
        self.snapshot.features.persist(service, persistence);
    }

    /// Schedules each packet of a service's UDP by itself.
    pub fn send_once(&mut self, service: ServiceId) {
        self.snapshot.features.send_once(service);
    }

    /// Notes a destination that was removed, and is kept for its TCP connections only.
    pub fn leave(&mut self, destination: DestId) {
        self.snapshot.features.leave(destination);
    }

    /// Makes a listen one where only those connections begin that a helper expects. It is the service's that the
    /// helper is of.
    pub fn expect_at(&mut self, listen: ListenId) {
        self.snapshot.features.expect_at(listen);
    }

    /// Answers ARP for `vip` on `port`, and announces it there.
    pub fn answer(&mut self, port: PortId, vip: IpAddr) {
        self.snapshot.answers.insert((port, vip));
    }

    /// Adds a destination.
    pub fn destination(&mut self, id: DestId, destination: Destination) {
        if destination.tunnel.is_some() {
            self.snapshot.tunnel_ends.insert(destination.addr);
        }
        put(&mut self.snapshot.destinations, id.index(), destination);
    }

    /// Adds a real server's (address, port, protocol).
    pub fn real(&mut self, id: RealId, real: Real) {
        let ports = real.port.map_or(Ports::Any, Ports::One);
        self.snapshot.reals_at.insert(real.addr, ports, real.proto, id.0);
        self.snapshot.real_addrs.insert(real.addr);
        put(&mut self.snapshot.reals, id.index(), real);
    }

    /// The way to any address as known so far: for destinations, once routes and neighbours are in.
    pub fn next_hop(&self, to: IpAddr) -> Option<NextHop> {
        self.snapshot.next_hop(to)
    }

    /// The director's address for what it sends to `to` on an interface.
    pub fn source(&self, port: PortId, to: IpAddr) -> Option<IpAddr> {
        self.snapshot.interface(port)?.source(to)
    }

    /// The finished snapshot. A VIP that is also an interface address counts as a VIP, not as the director's own.
    pub fn build(mut self) -> Snapshot {
        let Snapshot { own, own_v4, vips, here_v4, .. } = &mut self.snapshot;
        for addr in own.iter().chain(vips.iter()) {
            if let IpAddr::V4(addr) = addr {
                here_v4.add(addr.to_bits());
            }
        }
        own.retain(|addr| !vips.contains(addr));
        for addr in own.iter() {
            if let IpAddr::V4(addr) = addr {
                own_v4.insert([own_key(*addr)], 0);
            }
        }
        self.snapshot.prepared = Prepared::all(&self.snapshot, self.hash_key, &self.tables);
        let gateways = self.snapshot.routes.few_routes().map(|route| self.snapshot.way(route, route.via?));
        self.snapshot.ways = gateways.collect();
        let Snapshot { destinations, listens, ways, .. } = &self.snapshot;
        self.snapshot.plan = Plan::new(destinations, listens, ways);
        self.snapshot
    }
}
