//! What a snapshot is made of: interfaces, services, their listens and destinations, and how each is to be treated.

use crate::entry::State;
use crate::ids::{DestId, Generation, RealId, ServiceId};
use crate::key::{Key, KeyParts};
pub use crate::mss::Clamp;
use crate::scheduler::{HashOptions, TableSize};
use crate::time::Seconds;
use sheave_frame::PortId;
use sheave_proto::wire::tunnel::{Encapsulation, Family, Template};
use sheave_proto::wire::{eth::Mac, flow::Proto};
use std::net::IpAddr;

/// How packets reach a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Addresses and ports are rewritten; replies come back through the director.
    Nat,
    /// The frame is sent to the real server's hardware address, the packet is left as it is.
    DirectRoute,
    /// The packet is put into an IP packet to the real server.
    Tunnel,
    /// The director's own stack serves: the packet is left to it.
    Local,
}

/// Which destination a new connection goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchedulerKind {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections.
    Wlc,
    /// Locality-based least connections.
    Lblc,
    /// Locality-based least connections with replication.
    Lblcr,
    /// Destination hash.
    Dh,
    /// Source hash.
    Sh(HashOptions),
    /// Maglev hash.
    Mh(HashOptions, TableSize),
    /// Source hash on a ring.
    Source,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Weighted failover.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// The better of two weighted random draws.
    Twos,
    /// The best of so many weighted random draws.
    Random(Draws),
    /// The first that may be used.
    First,
    /// Least response time.
    Lrt,
}

/// How many destinations `random` draws: 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Draws(u8);

impl Draws {
    /// The most.
    pub const MOST: u8 = 64;

    /// So many draws; `None` when that is none, or too many.
    pub fn new(draws: u8) -> Option<Draws> {
        (1..=Draws::MOST).contains(&draws).then_some(Draws(draws))
    }

    /// How many.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Draws {
    fn default() -> Draws {
        Draws(2)
    }
}

/// What the operator wants of a destination; whether it can is for its [`Health`] to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Intent {
    /// It takes connections.
    #[default]
    Ready,
    /// It takes no new connections; those that it has go on.
    Drain,
    /// It is taken out of service.
    Maint,
}

/// What health checks say of a destination; without checks it is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// It can serve.
    #[default]
    Up,
    /// It cannot.
    Down,
}

/// Lives of a destination that have ended: the last of them, and those right before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Lives {
    /// The last.
    pub last: Generation,
    /// How many, with it.
    pub count: u8,
}

impl Lives {
    /// Whether a life is one of them.
    pub const fn have(self, life: Generation) -> bool {
        self.last.0.wrapping_sub(life.0) < self.count
    }
}

/// How many connections, active and inactive, a destination may have; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Limits {
    /// It is overloaded when it has so many, and takes no new ones.
    pub upper: u32,
    /// It is overloaded no longer when it has fewer than this; 0 is three quarters of `upper`.
    pub lower: u32,
    /// It never has more than this.
    pub connections: u32,
}

/// What becomes of TCP connections whose destination was removed or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnRemoval {
    /// A reset is sent to the client.
    Reset,
    /// They go on.
    Keep,
    /// Their packets are dropped.
    Drop,
}

/// Timeouts of a service that can be set; the other states' are those of IPVS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP established.
    pub tcp: Seconds,
    /// TCP after a FIN.
    pub tcp_fin: Seconds,
    /// UDP.
    pub udp: Seconds,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
    /// The largest IP packet that it sends, in bytes.
    pub mtu: u16,
    /// The director's own addresses on it, of both families, each with its prefix.
    pub addresses: Vec<(IpAddr, u8)>,
}

impl Interface {
    /// The director's address for what it sends to `to` on this interface: the one whose network `to` is in, or the
    /// first of the family.
    pub fn source(&self, to: IpAddr) -> Option<IpAddr> {
        let family = || self.addresses.iter().filter(|(addr, _)| addr.is_ipv4() == to.is_ipv4());
        family()
            .find(|(addr, prefix)| same_network(*addr, to, *prefix))
            .or_else(|| family().next())
            .map(|a| a.0)
    }
}

fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(32 - prefix.min(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(128 - prefix.min(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// Where a packet leaves: towards a gateway or straight to its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The interface.
    pub port: PortId,
    /// The neighbour: a gateway, or the destination itself on a connected network.
    pub neighbour: IpAddr,
    /// Its hardware address where known.
    pub mac: Option<Mac>,
    /// The interface's own.
    pub source: Mac,
    /// The largest IP packet that the interface sends, in bytes.
    pub mtu: u16,
}

/// The ports of a listen, host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ports {
    /// One.
    One(u16),
    /// From the first to the last.
    Range(u16, u16),
    /// Every port that no other listen of the address and protocol takes.
    Any,
}

impl Ports {
    /// Whether a port is among them.
    #[inline]
    pub const fn contains(self, port: u16) -> bool {
        match self {
            Ports::One(one) => one == port,
            Ports::Range(first, last) => first <= port && port <= last,
            Ports::Any => true,
        }
    }
}

/// A virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name, for people.
    pub name: String,
    /// Which destination a new connection goes to.
    pub scheduler: SchedulerKind,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// What becomes of TCP connections of removed destinations.
    pub on_removal: OnRemoval,
    /// The destinations that may be scheduled, in the order of the configuration.
    pub pool: Vec<DestId>,
    /// Changes with the scheduler, and with every change of the pool or its weights that makes it begin anew (all
    /// but rr): what it remembers is forgotten then.
    pub pool_version: u16,
    /// Backups take part when fewer than this many others may be used.
    pub backup_below: u16,
    /// Where connections go when no destination of the pool may be used. Not in the pool.
    pub sorry: Option<DestId>,
    /// How long a new or recovered destination takes to reach its weight; zero is no time.
    pub slow_start: Seconds,
    /// What SYNs may announce.
    pub mss_clamp: Clamp,
    /// Whether any TCP packet but a reset opens a connection.
    pub sloppy: bool,
    /// Whether SYNs are answered with cookies, and the real server hears of who acknowledges one.
    pub syn_proxy: bool,
}

/// One (VIP, port, protocol) that a service listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Whose it is.
    pub service: ServiceId,
    /// The VIP.
    pub vip: IpAddr,
    /// Its ports.
    pub ports: Ports,
    /// The protocol.
    pub proto: Proto,
}

impl Listen {
    /// The port of the VIP that a connection with this key is with.
    #[inline(always)]
    pub fn port_of(&self, key: Key) -> u16 {
        match self.ports {
            Ports::One(port) => port,
            Ports::Range(first, _) => KeyParts::of(key).other_port.unwrap_or(first),
            Ports::Any => KeyParts::of(key).other_port.unwrap_or(0),
        }
    }
}

/// One destination, scheduled or (removed with `on-removal = "keep"`) only kept for its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// Whose it is.
    pub service: ServiceId,
    /// The real server's address.
    pub addr: IpAddr,
    /// The real server's port, host order; `None`: each packet keeps its own.
    pub port: Option<u16>,
    /// Weight; 0 takes no new connections.
    pub weight: u32,
    /// How many connections it may have.
    pub limits: Limits,
    /// What the operator wants of it.
    pub intent: Intent,
    /// What health checks say of it.
    pub health: Health,
    /// Whether it waits until others are missing.
    pub backup: bool,
    /// Whether templates bring their clients to it even while it is drained.
    pub honours_templates: bool,
    /// The lives of it whose connections were told to end with a reset, whatever the service's policy is.
    pub reset: Lives,
    /// The lives of it whose TCP connections go on.
    pub kept: Lives,
    /// Forwarding method.
    pub method: Method,
    /// Entries of another generation are dead, but for those that are kept.
    pub generation: Generation,
    /// NAT: the id of (address, port, protocol) that replies come from, if they always come from that one. Under a
    /// bundle they may have several.
    pub real: Option<RealId>,
    /// The way to it; `None` without a route.
    pub next_hop: Option<NextHop>,
    /// TUN: how. `None` without a source address on the way out.
    pub tunnel: Option<Tunnel>,
}

impl Destination {
    /// Whether a connection in this state, which was made in this life of it, goes to it still.
    pub fn has(&self, life: Generation, state: State) -> bool {
        life == self.generation || (state != State::Udp && self.kept.have(life))
    }

    /// Whether persistence templates lead to it. Its weight does not matter.
    pub(crate) fn welcomes(&self) -> bool {
        let intended = match self.intent {
            Intent::Ready => true,
            Intent::Drain => self.honours_templates,
            Intent::Maint => false,
        };
        intended && self.health == Health::Up
    }
}

/// How packets are put into others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// The outer source, the director's address on the way out.
    pub source: IpAddr,
    /// What lies between the outer header and the packet.
    pub encapsulation: Encapsulation,
    v4: Template,
    v6: Template,
    /// Bytes that go in front of a packet.
    pub overhead: u16,
    /// Whether a packet that may not be fragmented travels in one that may not either (IPv4 in IPv4).
    pub discovers_mtu: bool,
}

impl Tunnel {
    /// From the director's address to the real server's; `None` when they are of two families.
    pub fn new(
        source: IpAddr,
        real: IpAddr,
        encapsulation: Encapsulation,
        discovers_mtu: bool,
    ) -> Option<Tunnel> {
        let v4 = Template::new(source, real, encapsulation, Family::V4)?;
        let v6 = Template::new(source, real, encapsulation, Family::V6)?;
        let overhead = u16::try_from(v4.overhead()).ok()?;
        Some(Tunnel { source, encapsulation, v4, v6, overhead, discovers_mtu })
    }

    /// The headers in front of a packet.
    #[inline]
    pub(crate) const fn template(&self, v6: bool) -> &Template {
        if v6 { &self.v6 } else { &self.v4 }
    }
}

/// One (address, port, protocol) of NAT destinations: what replies come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Real {
    /// Address.
    pub addr: IpAddr,
    /// Port, host order; `None` for a destination that keeps each packet's.
    pub port: Option<u16>,
    /// Protocol.
    pub proto: Proto,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_come_round() {
        let lives = Lives { last: Generation(1), count: 3 };
        let those: Vec<u8> = (0..=255).filter(|life| lives.have(Generation(*life))).collect();
        assert_eq!(those, [0, 1, 255]);
        assert!((0..=255).all(|life| !Lives::default().have(Generation(life))));
    }
}
