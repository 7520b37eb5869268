//! How packets are put into others on their way to a destination under TUN.

use sheave_pipeline::snapshot::Tunnel;
use sheave_proto::config;
use sheave_proto::wire::tunnel::Encapsulation;
use std::net::IpAddr;

/// What a tunnel is like, wherever it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carriage {
    encapsulation: Encapsulation,
    discovers_mtu: bool,
}

impl Carriage {
    /// That of a destination of a service.
    pub(super) fn of(service: &config::Service, destination: &config::Destination) -> Carriage {
        let encapsulation = match destination.tunnel() {
            config::Tunnel::Ipip => Encapsulation::Ipip,
            config::Tunnel::Gre { checksum } => Encapsulation::Gre { checksum },
            config::Tunnel::Gue { port, checksum } => Encapsulation::Gue { port: port.get(), checksum },
        };
        Carriage { encapsulation, discovers_mtu: service.pmtu_discovery }
    }

    /// The tunnel from the director's address to the real server's.
    pub(super) fn tunnel(&self, source: IpAddr, real: IpAddr) -> Option<Tunnel> {
        Tunnel::new(source, real, self.encapsulation, self.discovers_mtu)
    }
}
