//! What the kernel has, in the words of the planner. Pure.

use crate::netlink::View;
use sheave_frame::PortId;
use sheave_io::LONGEST_PACKET;
use sheave_plan::{Environment, KernelNeighbour, KernelRoute, Link};
use sheave_proto::config::Cidr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The environment as far as the served interfaces go: `served` maps their index to their number.
pub(crate) fn environment(view: &View, served: &BTreeMap<u32, PortId>) -> Environment {
    let port = |index: u32| served.get(&index).copied();
    let interfaces = view.links.values().filter_map(|link| {
        Some(Link {
            name: link.name.clone(),
            port: port(link.index)?,
            mac: link.mac?,
            mtu: believed(link.mtu),
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

/// The largest IP packet that comes through an interface of this MTU: nobody is to be told of more than frames hold.
fn believed(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX).min(HELD)
}

/// The largest IP packet that a frame holds, behind the Ethernet header and two tags.
#[expect(clippy::cast_possible_truncation, reason = "less than a page")]
pub(crate) const HELD: u16 = (LONGEST_PACKET - 14 - 2 * 4) as u16;

/// All addresses of the host, whatever interface they are on: what is sent to them is the kernel's.
pub(crate) fn own_addresses(view: &View) -> BTreeSet<IpAddr> {
    view.addresses.iter().map(|a| a.addr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Address, KernelNeighbour as Neighbour, KernelRoute as Heading};
    use crate::netlink::{Fact, Link as Heard};
    use sheave_proto::wire::eth::Mac;

    fn link(index: u32, name: &str, carrier: bool) -> Fact {
        Fact::Link(Heard {
            index,
            name: name.into(),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            mtu: 65_600,
            up: true,
            carrier,
            ethernet: true,
            loopback: false,
            enslaved: false,
            kind: None,
            rx_queues: 1,
        })
    }

    #[test]
    fn only_served_interfaces_count_but_every_address_is_the_hosts_own() {
        let mut view = View::default();
        let addr = |last| IpAddr::from([198, 18, 0, last]);
        for index in [7, 8] {
            let last = u8::try_from(index).unwrap();
            let route = Heading { to: addr(0), prefix: 24, priority: 1, via: None, index };
            let neighbour =
                Neighbour { index, addr: addr(50), mac: Some(Mac([2, 0, 0, 0, 0, last])), permanent: false };
            for fact in [
                link(index, &format!("d{index}"), index == 7),
                Fact::Address(Address { index, addr: addr(last), prefix: 24 }),
                Fact::Route(route),
                Fact::Neighbour(neighbour),
            ] {
                view.learn(fact);
            }
        }
        let seen = environment(&view, &BTreeMap::from([(7, PortId(3))]));
        let [only] = &seen.interfaces[..] else { panic!("{seen:?}") };
        assert_eq!((only.name.as_str(), only.port, only.mtu, only.up), ("d7", PortId(3), 3498, true));
        assert_eq!(only.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["198.18.0.7/24"]);
        assert_eq!(seen.routes.iter().map(|r| r.port).collect::<Vec<_>>(), [PortId(3)]);
        assert_eq!(seen.neighbours.iter().map(|n| n.mac.0[5]).collect::<Vec<_>>(), [7]);
        assert_eq!(own_addresses(&view).len(), 2);
        let down = environment(&view, &BTreeMap::from([(8, PortId(0))]));
        assert!(!down.interfaces[0].up, "without a carrier nothing is sent");
    }
}
