//! What the steering program steers by, as values.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// The IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }
    }
}

/// An address, a port and a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub addr: IpAddr,
    /// The port; none means every port of this address and protocol.
    pub port: Option<u16>,
    /// The protocol.
    pub transport: Transport,
}

impl Endpoint {
    /// An endpoint: a port, or none for every port.
    pub fn new(addr: impl Into<IpAddr>, port: impl Into<Option<u16>>, transport: Transport) -> Endpoint {
        Endpoint { addr: addr.into(), port: port.into(), transport }
    }
}

/// How packets are put into other packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encapsulation {
    /// IP in IP, of any families.
    Ip,
    /// GRE.
    Gre,
    /// GUE, to this UDP port.
    Gue(u16),
}

/// What is ours. Everything else is the kernel's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SteeringSets {
    /// Virtual services: packets to them are ours. A range of ports is steered as every port: the worker passes the rest.
    pub services: BTreeSet<Endpoint>,
    /// Virtual addresses: ARP and neighbour discovery about them, echo requests and errors to them are ours.
    pub vips: BTreeSet<IpAddr>,
    /// NAT destinations: packets from them are ours, unless they go to an `own` address.
    pub reals: BTreeSet<Endpoint>,
    /// The director's own addresses on its interfaces.
    pub own: BTreeSet<IpAddr>,
    /// Addresses that the director's tunnels begin at: errors to them about packets to `tunnels` are ours.
    pub tunnel_sources: BTreeSet<IpAddr>,
    /// Where the director's tunnels end.
    pub tunnels: BTreeSet<(IpAddr, Encapsulation)>,
}
