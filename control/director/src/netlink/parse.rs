//! Reads rtnetlink messages into facts. Pure, and tolerant: an attribute that is not needed is not looked at, so a
//! newer kernel's message stays readable.

use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use netlink_packet_route::link::LinkHeader;
use netlink_packet_route::neighbour::{NeighbourHeader, NeighbourState};
use netlink_packet_route::route::{RouteHeader, RouteType};
use sheave_proto::wire::eth::Mac;
use std::net::IpAddr;

/// Message types of rtnetlink and of netlink itself.
const NOOP: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;
const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const NEW_NEIGHBOUR: u16 = 28;
const DEL_NEIGHBOUR: u16 = 29;

/// The dump was interrupted by a change: what it said does not fit together.
const DUMP_INTERRUPTED: u16 = 16;

const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;
const NEIGHBOUR_HEADER: usize = 12;

/// Bits of a link's flags, and its type.
const UP: u32 = 0x1;
const LOOPBACK: u32 = 0x8;
const LOWER_UP: u32 = 0x1_0000;
const ETHERNET: u16 = 1;

/// An interface as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
    /// Administratively up.
    pub(crate) up: bool,
    /// And with a carrier.
    pub(crate) carrier: bool,
    pub(crate) ethernet: bool,
    pub(crate) loopback: bool,
    /// It is a port of a bridge or bond.
    pub(crate) enslaved: bool,
    /// What kind of virtual device it is, if one: `veth`, `bridge`, `tun`...
    pub(crate) kind: Option<String>,
    pub(crate) rx_queues: u32,
}

/// An address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) addr: IpAddr,
    pub(crate) prefix: u8,
}

/// A route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct KernelRoute {
    pub(crate) to: IpAddr,
    pub(crate) prefix: u8,
    pub(crate) priority: u32,
    pub(crate) via: Option<IpAddr>,
    pub(crate) index: u32,
}

/// A neighbour; without a hardware address it is not (or no longer) known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KernelNeighbour {
    pub(crate) index: u32,
    pub(crate) addr: IpAddr,
    pub(crate) mac: Option<Mac>,
    /// Somebody has set it by hand.
    pub(crate) permanent: bool,
}

/// One thing that the kernel said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    Link(Link),
    NoLink(u32),
    Address(Address),
    NoAddress(Address),
    Route(KernelRoute),
    NoRoute(KernelRoute),
    Neighbour(KernelNeighbour),
    /// The end of a dump; whether it was interrupted.
    Done {
        interrupted: bool,
    },
    /// A request failed, with this error number.
    Failed(i32),
    /// Messages were lost.
    Overrun,
}

/// A fact with the number of the request that it answers; 0 for what nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) request: u32,
    pub(crate) fact: Fact,
}

/// Reads all messages of a datagram. A message that cannot be read ends its datagram; what came before it counts.
pub(crate) fn parse(datagram: &[u8], mut hear: impl FnMut(Said)) -> Result<(), &'static str> {
    let mut rest = datagram;
    while rest.len() >= HEADER {
        let message = NetlinkBuffer::new_checked(rest).map_err(|_| "netlink message cut short")?;
        let length = usize::try_from(message.length()).map_err(|_| "netlink message too long")?;
        let interrupted = message.flags() & DUMP_INTERRUPTED != 0;
        let facts = read(message.message_type(), message.payload(), interrupted)?;
        for fact in facts {
            hear(Said { request: message.sequence_number(), fact });
        }
        let next = length.next_multiple_of(4);
        rest = rest.get(next..).unwrap_or_default();
    }
    Ok(())
}

fn read(kind: u16, payload: &[u8], interrupted: bool) -> Result<Vec<Fact>, &'static str> {
    Ok(match kind {
        NOOP => Vec::new(),
        DONE => vec![Fact::Done { interrupted }],
        OVERRUN => vec![Fact::Overrun],
        ERROR => {
            let code =
                payload.first_chunk().map(|b| i32::from_ne_bytes(*b)).ok_or("netlink error cut short")?;
            // Zero is an acknowledgement.
            if code == 0 { Vec::new() } else { vec![Fact::Failed(-code)] }
        }
        NEW_LINK | DEL_LINK => link(payload)?
            .map(|link| if kind == NEW_LINK { Fact::Link(link) } else { Fact::NoLink(link.index) })
            .into_iter()
            .collect(),
        NEW_ADDRESS | DEL_ADDRESS => address(payload)?
            .map(|a| if kind == NEW_ADDRESS { Fact::Address(a) } else { Fact::NoAddress(a) })
            .into_iter()
            .collect(),
        NEW_ROUTE | DEL_ROUTE => route(payload)?
            .into_iter()
            .map(|r| if kind == NEW_ROUTE { Fact::Route(r) } else { Fact::NoRoute(r) })
            .collect(),
        NEW_NEIGHBOUR | DEL_NEIGHBOUR => neighbour(payload)?
            .map(|n| {
                let gone = kind == DEL_NEIGHBOUR;
                Fact::Neighbour(KernelNeighbour { mac: n.mac.filter(|_| !gone), ..n })
            })
            .into_iter()
            .collect(),
        _ => Vec::new(),
    })
}

/// The attributes behind a fixed header, as (type, value).
fn attributes(payload: &[u8], header: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let bytes = payload.get(header..).unwrap_or_default();
    nested(bytes)
}

/// Attributes in a row. One that cannot be read ends the row.
fn nested(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|nla| {
        let kind = nla.kind();
        let length = usize::from(nla.length());
        // The value borrows from the message, not from the attribute's view of it.
        let whole: &[u8] = nla.into_inner();
        (kind, whole.get(4..length).unwrap_or_default())
    })
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value.first_chunk::<4>().map(|b| IpAddr::from(*b)),
        16 => value.first_chunk::<16>().map(|b| IpAddr::from(*b)),
        _ => None,
    }
}

fn mac(value: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(value).ok().map(Mac)
}

fn link(payload: &[u8]) -> Result<Option<Link>, &'static str> {
    const ADDRESS: u16 = 1;
    const NAME: u16 = 3;
    const MTU: u16 = 4;
    const MASTER: u16 = 10;
    const INFO: u16 = 18;
    const INFO_KIND: u16 = 1;
    const RX_QUEUES: u16 = 32;
    let header = LinkHeader::parse(payload).map_err(|_| "link message cut short")?;
    // A bridge tells of its ports in link messages of its own family: they are not about the link itself.
    if payload.first() != Some(&0) {
        return Ok(None);
    }
    let flags = header.flags.bits();
    let mut link = Link {
        index: header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags & UP != 0,
        carrier: flags & LOWER_UP != 0,
        ethernet: u16::from(header.link_layer_type) == ETHERNET,
        loopback: flags & LOOPBACK != 0,
        enslaved: false,
        kind: None,
        rx_queues: 1,
    };
    for (kind, value) in attributes(payload, LINK_HEADER) {
        match kind {
            ADDRESS => link.mac = mac(value),
            NAME => link.name = text(value),
            MTU => link.mtu = number(value).unwrap_or(0),
            MASTER => link.enslaved = number(value).is_some_and(|master| master != 0),
            RX_QUEUES => link.rx_queues = number(value).unwrap_or(1),
            INFO => {
                link.kind = nested(value).find(|(kind, _)| *kind == INFO_KIND).map(|(_, value)| text(value))
            }
            _ => {}
        }
    }
    Ok(Some(link))
}

fn address(payload: &[u8]) -> Result<Option<Address>, &'static str> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let header: &[u8; ADDRESS_HEADER] = payload.first_chunk().ok_or("address message cut short")?;
    let prefix = header[1];
    let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    let (mut peer, mut local) = (None, None);
    for (kind, value) in attributes(payload, ADDRESS_HEADER) {
        match kind {
            ADDRESS => peer = ip(value),
            LOCAL => local = ip(value),
            _ => {}
        }
    }
    // On a point-to-point link the address is the other end's; the local one is ours. IPv6 has only the former.
    Ok(local.or(peer).map(|addr| Address { index, addr, prefix }))
}

fn route(payload: &[u8]) -> Result<Vec<KernelRoute>, &'static str> {
    const TO: u16 = 1;
    const OUT: u16 = 4;
    const GATEWAY: u16 = 5;
    const PRIORITY: u16 = 6;
    const MULTIPATH: u16 = 9;
    const TABLE: u16 = 15;
    const MAIN: u32 = 254;
    let header = RouteHeader::parse(payload).map_err(|_| "route message cut short")?;
    let any: IpAddr = match payload.first().copied().map(i32::from) {
        Some(libc_family::INET) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Some(libc_family::INET6) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => return Ok(Vec::new()),
    };
    let mut table = u32::from(header.table);
    let mut route =
        KernelRoute { to: any, prefix: header.destination_prefix_length, priority: 0, via: None, index: 0 };
    let mut hops = Vec::new();
    for (kind, value) in attributes(payload, ROUTE_HEADER) {
        match kind {
            TO => route.to = ip(value).unwrap_or(any),
            OUT => route.index = number(value).unwrap_or(0),
            GATEWAY => route.via = ip(value),
            PRIORITY => route.priority = number(value).unwrap_or(0),
            TABLE => table = number(value).unwrap_or(table),
            MULTIPATH => hops = next_hops(value),
            _ => {}
        }
    }
    if table != MAIN || header.kind != RouteType::Unicast {
        return Ok(Vec::new());
    }
    if hops.is_empty() {
        return Ok(vec![route]);
    }
    Ok(hops.into_iter().map(|(index, via)| KernelRoute { index, via, ..route }).collect())
}

/// The next hops of a multipath route: interface and gateway.
fn next_hops(mut value: &[u8]) -> Vec<(u32, Option<IpAddr>)> {
    const HOP: usize = 8;
    const GATEWAY: u16 = 5;
    let mut hops = Vec::new();
    while let Some(header) = value.first_chunk::<HOP>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        let Some(hop) = value.get(HOP..length) else { break };
        hops.push((index, nested(hop).find(|(kind, _)| *kind == GATEWAY).and_then(|(_, v)| ip(v))));
        value = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

fn neighbour(payload: &[u8]) -> Result<Option<KernelNeighbour>, &'static str> {
    const ADDRESS: u16 = 1;
    const HARDWARE: u16 = 2;
    let header = NeighbourHeader::parse(payload).map_err(|_| "neighbour message cut short")?;
    let family = payload.first().copied().map(i32::from);
    if !matches!(family, Some(libc_family::INET | libc_family::INET6)) {
        return Ok(None);
    }
    let (mut addr, mut hardware) = (None, None);
    for (kind, value) in attributes(payload, NEIGHBOUR_HEADER) {
        match kind {
            ADDRESS => addr = ip(value),
            HARDWARE => hardware = mac(value),
            _ => {}
        }
    }
    // An incomplete or failed entry has no address that is good for anything; a stale one has until the kernel says
    // otherwise.
    let known = matches!(
        header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    );
    let (index, mac) = (header.ifindex, hardware.filter(|_| known));
    let permanent = header.state == NeighbourState::Permanent;
    Ok(addr.map(|addr| KernelNeighbour { index, addr, mac, permanent }))
}

/// Address families as the first byte of a message spells them.
mod libc_family {
    pub(super) const INET: i32 = 2;
    pub(super) const INET6: i32 = 10;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with its header.
    fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEADER + payload.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn facts(datagram: &[u8]) -> Vec<Fact> {
        let mut facts = Vec::new();
        parse(datagram, |said| facts.push(said.fact)).expect("readable");
        facts
    }

    fn veth() -> Vec<u8> {
        let mut payload = vec![0, 0, 1, 0, 7, 0, 0, 0, 0x43, 0x10, 1, 0, 0, 0, 0, 0];
        payload.extend(attribute(3, b"d0\0"));
        payload.extend(attribute(1, &[2, 0, 0, 0, 0, 0xd0]));
        payload.extend(attribute(4, &1500u32.to_ne_bytes()));
        payload.extend(attribute(32, &4u32.to_ne_bytes()));
        payload.extend(attribute(18, &attribute(1, b"veth\0")));
        payload
    }

    #[test]
    fn a_link_comes_and_goes() {
        let link = Link {
            index: 7,
            name: "d0".into(),
            mac: Some(Mac([2, 0, 0, 0, 0, 0xd0])),
            mtu: 1500,
            up: true,
            carrier: true,
            ethernet: true,
            loopback: false,
            enslaved: false,
            kind: Some("veth".into()),
            rx_queues: 4,
        };
        assert_eq!(facts(&message(NEW_LINK, 0, 0, &veth())), [Fact::Link(link)]);
        assert_eq!(facts(&message(DEL_LINK, 0, 0, &veth())), [Fact::NoLink(7)]);
    }

    #[test]
    fn what_a_bridge_says_of_its_port_is_not_about_the_link() {
        let mut payload = veth();
        payload[0] = 7;
        assert_eq!(facts(&message(DEL_LINK, 0, 0, &payload)), []);
    }

    #[test]
    fn addresses_and_routes_of_the_main_table_are_read() {
        let mut a = vec![2, 24, 0, 0, 7, 0, 0, 0];
        a.extend(attribute(1, &[198, 18, 0, 1]));
        a.extend(attribute(2, &[198, 18, 0, 1]));
        let addr = Address { index: 7, addr: "198.18.0.1".parse().unwrap(), prefix: 24 };
        assert_eq!(facts(&message(NEW_ADDRESS, 0, 0, &a)), [Fact::Address(addr)]);
        let mut r = vec![2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        r.extend(attribute(5, &[198, 18, 0, 2]));
        r.extend(attribute(4, &7u32.to_ne_bytes()));
        r.extend(attribute(6, &100u32.to_ne_bytes()));
        let route = KernelRoute {
            to: "0.0.0.0".parse().unwrap(),
            prefix: 0,
            priority: 100,
            via: Some("198.18.0.2".parse().unwrap()),
            index: 7,
        };
        assert_eq!(facts(&message(NEW_ROUTE, 0, 0, &r)), [Fact::Route(route)]);
        r[4] = 255;
        assert_eq!(facts(&message(NEW_ROUTE, 0, 0, &r)), [], "the local table is not ours to follow");
    }

    #[test]
    fn each_hop_of_a_multipath_route_is_a_route() {
        let mut hops = Vec::new();
        for (index, last) in [(7u32, 2u8), (8, 3)] {
            hops.extend([16, 0, 0, 0]);
            hops.extend(index.to_ne_bytes());
            hops.extend(attribute(5, &[198, 18, 0, last]));
        }
        let mut r = vec![2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        r.extend(attribute(9, &hops));
        let ways: Vec<_> = facts(&message(NEW_ROUTE, 0, 0, &r))
            .into_iter()
            .map(|fact| match fact {
                Fact::Route(r) => (r.index, r.via.map(|v| v.to_string())),
                other => panic!("not a route: {other:?}"),
            })
            .collect();
        assert_eq!(ways, [(7, Some("198.18.0.2".into())), (8, Some("198.18.0.3".into()))]);
    }

    #[test]
    fn a_neighbour_counts_only_while_its_address_is_good() {
        let mut n = vec![2, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 1];
        n.extend(attribute(1, &[198, 19, 1, 11]));
        n.extend(attribute(2, &[2, 0, 0, 0, 1, 0x11]));
        let addr = "198.19.1.11".parse().unwrap();
        let with = |mac, permanent| [Fact::Neighbour(KernelNeighbour { index: 7, addr, mac, permanent })];
        let known = Some(Mac([2, 0, 0, 0, 1, 0x11]));
        assert_eq!(facts(&message(NEW_NEIGHBOUR, 0, 0, &n)), with(known, false));
        assert_eq!(facts(&message(DEL_NEIGHBOUR, 0, 0, &n)), with(None, false));
        n[8] = 0x20;
        assert_eq!(facts(&message(NEW_NEIGHBOUR, 0, 0, &n)), with(None, false), "failed");
        n[8] = 0x80;
        assert_eq!(facts(&message(NEW_NEIGHBOUR, 0, 0, &n)), with(known, true));
    }

    #[test]
    fn ends_errors_and_several_messages_in_one_datagram_are_told_apart() {
        let mut datagram = message(NEW_LINK, 2, 5, &veth());
        datagram.extend(message(DONE, 2 | DUMP_INTERRUPTED, 5, &[0; 4]));
        datagram.extend(message(ERROR, 0, 6, &(-19i32).to_ne_bytes()));
        datagram.extend(message(ERROR, 0, 7, &0i32.to_ne_bytes()));
        let mut said = Vec::new();
        parse(&datagram, |s| said.push((s.request, matches!(s.fact, Fact::Link(_)), s.fact)))
            .expect("readable");
        assert_eq!(said.len(), 3);
        assert_eq!((said[0].0, said[0].1), (5, true));
        assert_eq!(said[1].2, Fact::Done { interrupted: true });
        assert_eq!((said[2].0, &said[2].2), (6, &Fact::Failed(19)));
    }

    #[test]
    fn any_cut_of_any_message_is_survived() {
        for kind in [NEW_LINK, NEW_ADDRESS, NEW_ROUTE, NEW_NEIGHBOUR, ERROR, DONE] {
            let whole = message(kind, 0, 0, &veth());
            for cut in 0..whole.len() {
                let _ = parse(&whole[..cut], |_| {});
                let mut payload = veth();
                payload.truncate(cut.min(payload.len()));
                let _ = parse(&message(kind, 0, 0, &payload), |_| {});
            }
        }
    }
}
