//! What the steering program has to know: the part of a snapshot that tells ours from the kernel's.

use sheave_pipeline::Snapshot;
use sheave_pipeline::snapshot::Ports;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tunnel::Encapsulation;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// (Address, port in host order or none for every port, protocol).
pub type Endpoint = (IpAddr, Option<u16>, Proto);

/// How packets reach a destination in other packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Carrier {
    /// IP in IP, of any families.
    Ip,
    /// GRE.
    Gre,
    /// GUE, to this UDP port.
    Gue(u16),
}

/// The sets of the steering program, sorted: what is in one and not in its predecessor is to be added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Steered {
    /// What packets to are ours. A range of ports is every port here: the workers know which are meant.
    pub services: BTreeSet<Endpoint>,
    /// Addresses for which ARP, neighbour discovery and ICMP are looked at.
    pub vips: BTreeSet<IpAddr>,
    /// What packets from are ours: real servers reached by NAT.
    pub reals: BTreeSet<Endpoint>,
    /// The director's own addresses: what is sent to them is the kernel's, also from a real server.
    pub own: BTreeSet<IpAddr>,
    /// Those of them that tunnels begin at: errors about packets in a tunnel are ours all the same.
    pub tunnel_sources: BTreeSet<IpAddr>,
    /// Where tunnels end.
    pub tunnels: BTreeSet<(IpAddr, Carrier)>,
}

impl Steered {
    /// What has to be steered for a snapshot.
    pub fn of(snapshot: &Snapshot) -> Steered {
        let tunnelled = || snapshot.destinations().filter_map(|(_, d)| Some((d.addr, d.tunnel?)));
        Steered {
            services: snapshot.listens().map(|(_, l)| (l.vip, one(l.ports), l.proto)).collect(),
            vips: snapshot.vips().collect(),
            reals: snapshot.reals().map(|(_, r)| (r.addr, r.port, r.proto)).collect(),
            own: snapshot.own().collect(),
            tunnel_sources: tunnelled().map(|(_, tunnel)| tunnel.source).collect(),
            tunnels: tunnelled().map(|(to, tunnel)| (to, carrier(tunnel.encapsulation))).collect(),
        }
    }
}

fn one(ports: Ports) -> Option<u16> {
    match ports {
        Ports::One(port) => Some(port),
        Ports::Range(..) | Ports::Any => None,
    }
}

fn carrier(encapsulation: Encapsulation) -> Carrier {
    match encapsulation {
        Encapsulation::Ipip => Carrier::Ip,
        Encapsulation::Gre { .. } => Carrier::Gre,
        Encapsulation::Gue { port, .. } => Carrier::Gue(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_pipeline::ids::{ListenId, RealId, ServiceId};
    use sheave_pipeline::snapshot::{Listen, Real, SnapshotBuilder};

    #[test]
    fn both_families_are_steered() {
        let mut builder = SnapshotBuilder::new(1);
        let addrs = [("198.18.0.100", "198.19.1.11"), ("2001:db8::100", "2001:db8:1::11")];
        let addrs = addrs.map(|(vip, real)| (vip.parse().unwrap(), real.parse().unwrap()));
        let (service, proto) = (ServiceId(0), Proto::Tcp);
        for (n, (vip, addr)) in (0..).zip(addrs) {
            builder.listen(ListenId(n), Listen { service, vip, ports: Ports::One(80), proto });
            builder.real(RealId(n), Real { addr, port: Some(8080), proto });
        }
        let steered = Steered::of(&builder.build());
        assert_eq!(steered.vips, addrs.map(|(vip, _)| vip).into());
        assert_eq!(steered.services, addrs.map(|(vip, _)| (vip, Some(80), proto)).into());
        assert_eq!(steered.reals, addrs.map(|(_, real)| (real, Some(8080), proto)).into());
    }
}
