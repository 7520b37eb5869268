//! The network around the director, as the model knows it: the one of [`crate::testing::Site`].

use super::Model;
use crate::testing::site::{
    CLIENT_SIDE, DIRECTOR, DIRECTOR_V6, REALS, ROUTER_MAC, SERVER_SIDE, mac_of, real, real6,
};
use crate::time::Time;
use sheave_frame::PortId;
use sheave_proto::wire::eth::Mac;
use std::net::IpAddr;

/// A way out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) port: PortId,
    /// To and from; `None` while the next hop's address is not known.
    pub(super) macs: Option<(Mac, Mac)>,
    pub(super) mtu: usize,
}

impl Model {
    /// The way to an address.
    pub(super) fn way(&self, to: IpAddr) -> Option<Way> {
        let near = |port: PortId| match to {
            IpAddr::V4(to) => to.octets()[..3] == DIRECTOR[port.index()].octets()[..3],
            IpAddr::V6(to) => to.segments()[..4] == DIRECTOR_V6[port.index()].segments()[..4],
        };
        let (port, mac) = match [CLIENT_SIDE, SERVER_SIDE].into_iter().find(|port| near(*port)) {
            Some(CLIENT_SIDE) => (CLIENT_SIDE, is_router(to).then_some(ROUTER_MAC)),
            Some(port) => (port, real_number(to).map(|n| Mac([2, 0, 0, 0, 1, 10 + n]))),
            None => (CLIENT_SIDE, self.site.default_route.then_some(Some(ROUTER_MAC))?),
        };
        let mtu = usize::from(self.site.mtu[port.index()]);
        Some(Way { port, macs: mac.map(|mac| (mac, mac_of(port))), mtu })
    }

    /// The director's address on an interface.
    pub(super) fn own(&self, port: PortId, like: IpAddr) -> IpAddr {
        if like.is_ipv4() { DIRECTOR[port.index()].into() } else { DIRECTOR_V6[port.index()].into() }
    }

    /// Whether an address is the director's own and no VIP.
    pub(super) fn is_own(&self, addr: IpAddr) -> bool {
        let own = DIRECTOR.map(IpAddr::V4).contains(&addr) || DIRECTOR_V6.map(IpAddr::V6).contains(&addr);
        own && !self.is_vip(addr)
    }

    pub(super) fn is_vip(&self, addr: IpAddr) -> bool {
        self.site.listens().any(|(_, _, (vip, ..))| vip == addr)
    }
}

fn is_router(addr: IpAddr) -> bool {
    addr == IpAddr::from([198, 18, 0, 2]) || addr == IpAddr::from([0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 2])
}

fn real_number(addr: IpAddr) -> Option<u8> {
    (0..REALS).find(|n| addr == IpAddr::V4(real(*n)) || addr == IpAddr::V6(real6(*n)))
}

/// How many ICMP errors a worker may send: a thousand at once, and a thousand a second.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// In nanoseconds: a thousand times what is in it.
    filled: u64,
    at: Time,
}

impl Default for Bucket {
    fn default() -> Bucket {
        Bucket { filled: Time::SECOND, at: Time(0) }
    }
}

impl Bucket {
    pub(super) fn take(&mut self, now: Time) -> bool {
        self.filled = (self.filled + (now.0 - self.at.0)).min(Time::SECOND);
        self.at = now;
        let enough = self.filled >= Time::SECOND / 1000;
        if enough {
            self.filled -= Time::SECOND / 1000;
        }
        enough
    }
}

/// Whether an address can be a client's at all.
pub(super) fn is_martian(src: IpAddr) -> bool {
    let broadcast = src == IpAddr::from([255; 4]);
    src.is_loopback() || src.is_multicast() || src.is_unspecified() || broadcast
}

/// Whether an address may be told of errors: it must be a host's.
pub(super) fn is_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.octets()[0] != 0 && addr.octets()[0] < 224 && !addr.is_loopback(),
        IpAddr::V6(addr) => !addr.is_unspecified() && !addr.is_multicast() && !addr.is_loopback(),
    }
}
