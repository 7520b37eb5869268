//! What the kernel has, in the words of the planner. Pure.

use crate::netlink::View;
use sheave_frame::PortId;
use sheave_plan::{Environment, KernelNeighbour, KernelRoute, Link};
use sheave_proto::config::Cidr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// The environment as far as the served interfaces go: `served` maps their index to their number.
pub(crate) fn environment(view: &View, served: &BTreeMap<u32, PortId>) -> Environment {
    let port = |index: u32| served.get(&index).copied();
    let interfaces = view.links.values().filter_map(|link| {
        Some(Link {
            name: link.name.clone(),
            port: port(link.index)?,
            mac: link.mac?,
            mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
            addresses: view
                .addresses
                .iter()
                .filter(|a| a.index == link.index)
                .filter_map(|a| Cidr::new(a.addr, a.prefix).ok())
                .collect(),
            up: link.up && link.carrier,
        })
    });
    let routes = view.routes.iter().filter_map(|route| {
        let to = Cidr::new(route.to, route.prefix).ok()?;
        Some(KernelRoute { to, metric: route.priority, port: port(route.index)?, via: route.via })
    });
    let mut neighbours: Vec<KernelNeighbour> = view
        .neighbours
        .iter()
        .filter_map(|((index, addr), mac)| {
            Some(KernelNeighbour { port: port(*index)?, addr: *addr, mac: *mac })
        })
        .collect();
    neighbours.sort_unstable_by_key(|n| (n.port, n.addr));
    Environment { interfaces: interfaces.collect(), routes: routes.collect(), neighbours }
}

/// All IPv4 addresses of the host, whatever interface they are on: what is sent to them is the kernel's.
pub(crate) fn own_addresses(view: &View) -> BTreeSet<Ipv4Addr> {
    view.addresses
        .iter()
        .filter_map(|a| match a.addr {
            IpAddr::V4(addr) => Some(addr),
            IpAddr::V6(_) => None,
        })
        .collect()
}
