//! What the steering program has to know: the part of a snapshot that tells ours from the kernel's.

use sheave_pipeline::Snapshot;
use sheave_proto::wire::flow::Proto;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// (Address, port in host order, protocol).
pub type Endpoint = (Ipv4Addr, u16, Proto);

/// The sets of the steering program, sorted: what is in one and not in its predecessor is to be added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Steered {
    /// What packets to are ours.
    pub services: BTreeSet<Endpoint>,
    /// Addresses for which ARP and ICMP are looked at.
    pub vips: BTreeSet<Ipv4Addr>,
    /// What packets from are ours: real servers reached by NAT.
    pub reals: BTreeSet<Endpoint>,
    /// The director's own addresses: what is sent to them is the kernel's, also from a real server.
    pub own: BTreeSet<Ipv4Addr>,
}

impl Steered {
    /// What has to be steered for a snapshot.
    pub fn of(snapshot: &Snapshot) -> Steered {
        let endpoint = |addr, port, proto| v4(addr).map(|addr| (addr, port, proto));
        Steered {
            services: snapshot.listens().filter_map(|(_, l)| endpoint(l.vip, l.port, l.proto)).collect(),
            vips: snapshot.vips().filter_map(v4).collect(),
            reals: snapshot.reals().filter_map(|(_, r)| endpoint(r.addr, r.port, r.proto)).collect(),
            own: snapshot.own().filter_map(v4).collect(),
        }
    }
}

fn v4(addr: IpAddr) -> Option<Ipv4Addr> {
    match addr {
        IpAddr::V4(addr) => Some(addr),
        IpAddr::V6(_) => None,
    }
}
