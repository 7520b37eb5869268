//! The network part of a snapshot: interfaces, routes, neighbours; what the configuration says wins over the
//! kernel.

use crate::desired::Desired;
use crate::environment::{Environment, Link};
use crate::ids::Ids;
use sheave_pipeline::routes::{Route, Routes};
use sheave_pipeline::snapshot::{Interface, SnapshotBuilder};
use sheave_proto::config::Cidr;
use std::net::{IpAddr, Ipv4Addr};

/// The interfaces that are up, with what the configuration overrides, in the order of their numbers.
pub(crate) fn links(desired: &Desired, environment: &Environment) -> Vec<Link> {
    let mut links: Vec<Link> = environment.interfaces.iter().filter(|link| link.up).cloned().collect();
    for link in &mut links {
        let Some(declared) = desired.config().interfaces.iter().find(|d| d.name == link.name) else {
            continue;
        };
        link.mac = declared.mac.unwrap_or(link.mac);
        link.mtu = declared.mtu.unwrap_or(link.mtu);
        if !declared.addresses.is_empty() {
            link.addresses.clone_from(&declared.addresses);
        }
    }
    links.sort_by_key(|link| link.port);
    links
}

/// Puts interfaces, routes and neighbours into a snapshot.
pub(crate) fn build(
    builder: &mut SnapshotBuilder,
    desired: &Desired,
    environment: &Environment,
    links: &[Link],
    ids: &Ids,
) {
    for link in links {
        let interface = Interface {
            name: link.name.clone(),
            mac: link.mac,
            mtu: link.mtu,
            addresses: link.addresses.iter().map(|a| (a.addr(), a.prefix())).collect(),
        };
        builder.interface(link.port, interface);
        link.addresses.iter().filter_map(broadcast).for_each(|addr| builder.broadcast(addr));
    }
    builder.routes(routes(desired, environment, links, ids));
    // The later of two wins: the configuration's.
    for neighbour in &environment.neighbours {
        builder.neighbour(neighbour.port, neighbour.addr, neighbour.mac);
    }
    for neighbour in &desired.config().neighbours {
        if let Some(port) = ids.port_of(&neighbour.interface) {
            builder.neighbour(port, neighbour.address, neighbour.mac);
        }
    }
}

/// The broadcast address of a network that has one: not of a point-to-point link (RFC 3021).
fn broadcast(network: &Cidr) -> Option<Ipv4Addr> {
    let IpAddr::V4(addr) = network.addr() else { return None };
    let hosts = u32::MAX.checked_shr(u32::from(network.prefix())).unwrap_or(0);
    (hosts > 1).then(|| Ipv4Addr::from_bits(addr.to_bits() | hosts))
}

/// The longest prefix decides; of equal ones the configuration's own wins, then a connected network, then the
/// kernel's route with the lowest metric.
fn routes(desired: &Desired, environment: &Environment, links: &[Link], ids: &Ids) -> Routes {
    let up = |port| links.iter().any(|link| link.port == port);
    let mut routes = Routes::default();
    for route in &desired.config().routes {
        if let Some(port) = ids.port_of(&route.interface).filter(|port| up(*port)) {
            routes.add(route.to.addr(), route.to.prefix(), Route { port, via: route.via });
        }
    }
    for link in links {
        for network in &link.addresses {
            routes.add(network.addr(), network.prefix(), Route { port: link.port, via: None });
        }
    }
    let mut kernel = environment.routes.clone();
    kernel.sort_unstable();
    for route in kernel.iter().filter(|route| up(route.port)) {
        routes.add(route.to.addr(), route.to.prefix(), Route { port: route.port, via: route.via });
    }
    routes
}
