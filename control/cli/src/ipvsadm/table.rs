//! The table of virtual services as ipvsadm sees it: what the configuration says and the director counts, in the
//! words of IPVS.
//!
//! A bundle is a firewall-mark service when it is named `fwm-MARK`; any other shows as one service for each of its
//! listens, all with the numbers of the whole bundle.

use super::command::{Flag, Protocol, VirtualService};
use super::ftp;
use sheave_proto::api::{DestinationState, DestinationStatus, ServiceStatus, Stats, StickyEntry};
use sheave_proto::config::{Config, DestAddr, Destination, Forward, Intent, Listen, Ports, Service, Tunnel};
use sheave_proto::wire::flow::Proto;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the name of a bundle begins with that stands for a firewall mark.
pub(super) const MARK: &str = "fwm-";

/// One virtual service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: Id,
    pub(crate) scheduler: String,
    pub(crate) flags: Vec<Flag>,
    /// In seconds, with the bits of the mask unless all count.
    pub(crate) persistence: Option<(u32, Option<u8>)>,
    pub(crate) one_packet: bool,
    pub(crate) stats: Stats,
    pub(crate) reals: Vec<Real>,
}

/// How a virtual service is known; the order is the one in which services are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Id {
    Address { ipv6: bool, proto: Proto, addr: IpAddr, ports: Ports },
    Mark { mark: u32, ipv6: bool },
}

/// One real server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Real {
    pub(crate) addr: IpAddr,
    /// 0 is the port of the packet.
    pub(crate) port: u16,
    pub(crate) forward: Forward,
    pub(crate) tunnel: Tunnel,
    pub(crate) weight: u32,
    pub(crate) upper: u32,
    pub(crate) lower: u32,
    pub(crate) persistent: u64,
    pub(crate) active: u64,
    pub(crate) inactive: u64,
    pub(crate) stats: Stats,
}

/// The mark that a service stands for.
pub(super) fn mark_of(service: &Service) -> Option<u32> {
    service.name.strip_prefix(MARK)?.parse().ok().filter(|mark| *mark > 0)
}

impl Id {
    fn of(listen: &Listen) -> Id {
        let ipv6 = listen.addr.is_ipv6();
        Id::Address { ipv6, proto: listen.proto, addr: listen.addr, ports: listen.ports }
    }

    /// Whether its clients come by IPv6.
    pub(super) fn is_ipv6(&self) -> bool {
        match self {
            Id::Address { ipv6, .. } | Id::Mark { ipv6, .. } => *ipv6,
        }
    }

    /// Whether a command line means this one.
    pub(crate) fn is(&self, service: &VirtualService) -> bool {
        match (self, service) {
            (Id::Address { proto, addr, ports, .. }, VirtualService::Address(protocol, of, port)) => {
                let proto = match proto {
                    Proto::Tcp => Protocol::Tcp,
                    Proto::Udp => Protocol::Udp,
                };
                let port = if *port == 0 { Ports::Any } else { Ports::One(*port) };
                (proto, *addr, *ports) == (*protocol, *of, port)
            }
            (Id::Mark { mark, ipv6 }, VirtualService::Mark(of, of_ipv6)) => (mark, ipv6) == (of, of_ipv6),
            _ => false,
        }
    }
}

/// The virtual services that a service is.
pub(super) fn ids(service: &Service) -> Vec<Id> {
    let ipv6 = service.listen().addr.is_ipv6();
    match mark_of(service) {
        Some(mark) => vec![Id::Mark { mark, ipv6 }],
        None => match ftp::control(service) {
            Some(control) => vec![Id::of(&control)],
            None => service.listens.iter().map(Id::of).collect(),
        },
    }
}

/// Writes down how many clients the real servers of a service are kept for.
pub(crate) fn count_clients(rows: &mut [Row], config: &Config, templates: &[StickyEntry]) {
    let mut counts: BTreeMap<(&str, DestAddr), u64> = BTreeMap::new();
    for template in templates {
        *counts.entry((&template.service, template.destination)).or_default() += 1;
    }
    let rows = &mut rows.iter_mut();
    for service in &config.services {
        for row in rows.take(ids(service).len()) {
            for (real, destination) in row.reals.iter_mut().zip(&service.destinations) {
                let key = (service.name.as_str(), service.full_address(&destination.address));
                real.persistent = counts.get(&key).copied().unwrap_or(0);
            }
        }
    }
}

/// The rows of all services; those of which the director says nothing have counted nothing.
pub(crate) fn rows(config: &Config, numbers: &[ServiceStatus]) -> Vec<Row> {
    let mut rows = Vec::new();
    for service in &config.services {
        let status = numbers.iter().find(|status| status.name == service.name);
        rows.extend(ids(service).into_iter().map(|id| row(id, service, status)));
    }
    rows
}

fn row(id: Id, service: &Service, status: Option<&ServiceStatus>) -> Row {
    let persistence = service.persistence.map(|p| (p.timeout.as_secs(), p.netmask));
    let reals = service.destinations.iter().map(|destination| {
        let numbers = status.and_then(|status| {
            let port = match id {
                Id::Address { ports, .. } => destination.address.port_under(ports),
                Id::Mark { .. } => destination.address.port,
            };
            let same = |d: &&DestinationStatus| {
                d.address.addr == destination.address.addr
                    && (port.is_none() || d.address.port.is_none() || d.address.port == port)
            };
            status.destinations.iter().find(same)
        });
        real(&id, service, destination, numbers)
    });
    Row {
        id,
        scheduler: service.scheduler.to_string(),
        flags: service.scheduler_flags.iter().map(|flag| Flag::from(*flag)).collect(),
        persistence,
        one_packet: service.one_packet,
        stats: status.map(|status| status.stats).unwrap_or_default(),
        reals: reals.collect(),
    }
}

fn real(id: &Id, service: &Service, destination: &Destination, numbers: Option<&DestinationStatus>) -> Real {
    let port = match id {
        Id::Address { ports, .. } => destination.address.port_under(*ports),
        Id::Mark { .. } => destination.address.port,
    };
    let idle = destination.state != Intent::Ready
        || numbers.is_some_and(|numbers| numbers.state != DestinationState::Up);
    Real {
        addr: destination.address.addr,
        port: port.unwrap_or(0),
        forward: service.forward_of(destination),
        tunnel: destination.tunnel(),
        weight: if idle { 0 } else { destination.weight.get() },
        upper: destination.upper_threshold,
        lower: destination.lower_threshold,
        persistent: 0,
        active: numbers.map_or(0, |numbers| numbers.active),
        inactive: numbers.map_or(0, |numbers| numbers.inactive),
        stats: numbers.map(|numbers| numbers.stats).unwrap_or_default(),
    }
}
