//! How a snapshot comes to be: objects are added, then it is finished and never changes again.

use super::objects::{Destination, Interface, Listen, NextHop, Ports, Real, Service};
use super::{Snapshot, fold, own_key};
use crate::helper::Helper;
use crate::ids::{DestId, ListenId, RealId, ServiceId};
use crate::routes::Routes;
use crate::scheduler::{HashKey, Prepared, Tables};
use crate::steady::Plan;
use crate::sticky::Persistence;
use sheave_frame::PortId;
use sheave_proto::wire::eth::Mac;
use std::net::{IpAddr, Ipv4Addr};

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

    /// Sets how many new connections to a listen a worker takes entries for in a second, and how many of all may have begun without
    /// being established.
    pub fn flood(&mut self, new_connections: u32, half_open: u64) {
        self.snapshot.new_connections = new_connections;
        self.snapshot.half_open = half_open;
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
        let Snapshot { own, own_v4, vips, here_v4, here_v6, .. } = &mut self.snapshot;
        for addr in own.iter().chain(vips.iter()) {
            match addr {
                IpAddr::V4(addr) => here_v4.add(addr.to_bits()),
                IpAddr::V6(addr) => here_v6.add(fold(*addr)),
            }
        }
        own.retain(|addr| !vips.contains(addr));
        for addr in own.iter() {
            if let IpAddr::V4(addr) = addr {
                own_v4.insert([own_key(*addr)], 0);
            }
        }
        self.snapshot.prepared = Prepared::all(&self.snapshot, self.hash_key, &self.tables);
        let gateways =
            self.snapshot.routes.few_routes().map(|(_, _, route)| self.snapshot.way(route, route.via?));
        self.snapshot.ways = gateways.collect();
        self.snapshot.plan = Plan::new(&self.snapshot);
        self.snapshot
    }
}
