//! The immutable picture of all services that workers load once a burst.
//!
//! The control side builds one with [`SnapshotBuilder`] and publishes it; nothing here changes afterwards. What
//! changes while packets flow is in [`crate::live`].

mod builder;
mod objects;

use crate::features::Features;
use crate::helper::Helper;
use crate::ids::{DestId, ListenId, RealId, ServiceId};
use crate::index::{Filter, Index};
use crate::places::Places;
use crate::routes::{Route, Routes};
use crate::scheduler::{Prepared, Tables};
use crate::steady::Plan;
use crate::sticky::Persistence;
pub use builder::SnapshotBuilder;
use hashbrown::{HashMap, HashSet};
pub use objects::*;
use sheave_frame::PortId;
use sheave_proto::wire::{eth::Mac, flow::Proto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The picture. Sparse arrays by id; absent means removed.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Its number; grows by one with each publication.
    pub epoch: u64,
    /// New connections to a listen that a worker takes entries for in a second; 0 is no bound.
    pub new_connections: u32,
    /// Connections of TCP that may have begun without being established, of all workers and listens. A listen may have
    /// three times what is left of them.
    pub half_open: u64,
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
    /// The same of IPv6.
    here_v6: Filter,
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

/// Something of an IPv6 address, for a filter.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves, folded")]
fn fold(addr: Ipv6Addr) -> u32 {
    let bits = addr.to_bits();
    let half = (bits >> 64) as u64 ^ bits as u64;
    (half >> 32) as u32 ^ half as u32
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
    #[inline(always)]
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
    pub(crate) fn plain_listen_v4(&self, addr: Ipv4Addr, port: u16, proto: u8) -> Option<ListenId> {
        self.listens_at.one_v4(addr, port, proto).map(ListenId)
    }

    /// Whether any listen has more than one port.
    #[inline(always)]
    pub(crate) fn has_wide_listens(&self) -> bool {
        self.listens_at.has_wide()
    }

    /// The listens that would take a port of this one's address if that did not: wider ones, the narrower first.
    pub(crate) fn wider_listens(&self, listen: &Listen, port: u16) -> impl Iterator<Item = ListenId> + use<> {
        let wider = self.listens_at.wider(listen.ports, (listen.vip, port), listen.proto);
        wider.into_iter().flatten().map(ListenId)
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
    pub(crate) fn plain_real_v4(&self, addr: Ipv4Addr, port: u16, proto: u8) -> Option<RealId> {
        self.reals_at.one_v4(addr, port, proto).map(RealId)
    }

    /// The same as `real_at` for IPv6.
    #[inline(always)]
    pub(crate) fn real_at_v6(&self, addr: Ipv6Addr, port: u16, proto: Proto) -> Option<RealId> {
        self.reals_at.at_v6(addr, port, proto).map(RealId)
    }

    /// The same of a destination that is at hand, and of packets from this port of it.
    #[inline]
    pub(crate) fn real_of(&self, destination: &Destination, port: u16, proto: Proto) -> Option<RealId> {
        let Destination { addr, real, .. } = *destination;
        let this = |real: &Real| (real.addr, real.port, real.proto) == (addr, Some(port), proto);
        real.filter(|id| self.real(*id).is_some_and(this)).or_else(|| self.real_at(addr, port, proto))
    }

    /// The NAT destination at this address that keeps each packet's port, if there is one.
    #[inline]
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

    /// The same for IPv6.
    #[inline(always)]
    pub(crate) fn may_be_here_v6(&self, addr: Ipv6Addr) -> bool {
        self.here_v6.may_have(fold(addr))
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

    /// Whether all destinations of a service are under NAT.
    pub(crate) fn translates(&self, id: ServiceId) -> bool {
        self.prepared(id).is_none_or(|prepared| prepared.translates)
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

    /// The few IPv4 routes, longest prefix first: mask, network, and the way if there is a gateway.
    pub(crate) fn few_ways(&self) -> impl Iterator<Item = (u32, u32, Option<NextHop>)> {
        self.routes.few_routes().zip(&self.ways).map(|((mask, network, _), way)| (mask, network, *way))
    }

    /// The same of IPv6.
    pub(crate) fn few_ways_v6(&self) -> impl Iterator<Item = (u128, u128, Option<NextHop>)> {
        self.routes
            .few_routes_v6()
            .map(|(mask, network, route)| (mask, network, route.via.and_then(|via| self.way(route, via))))
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
