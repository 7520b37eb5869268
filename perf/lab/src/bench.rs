//! The topology.
//!
//! ```text
//!   gen: g0 198.18.0.2 ------ 198.18.0.1 d0 director d1 198.19.1.1 ------ s0 198.19.1.11 .. .14 :sink
//!        g1 198.18.2.1 ---------------------------------------------------- s1 198.18.2.2
//! ```
//!
//! The second cable has nobody in between: what endpoints of the kernel can do by themselves.
//!
//! Clients are 198.18.128.0 and up, behind g0. Real servers have a hardware address each, all of them at s0. All neighbours
//! are permanent: nothing is resolved while something is measured. The same in IPv6, with 2001:db8:0:18::/64 outside and
//! 2001:db8:0:19::/64 inside.

use sheave_pktgen::traffic::FLOODED;
use sheave_pktgen::{Mac, Real};
use sheave_testbeds::{Netns, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

pub(crate) const GENERATOR: Mac = Mac([2, 0, 0, 0, 0, 0xe0]);
pub(crate) const OUTSIDE: Mac = Mac([2, 0, 0, 0, 0, 0xd0]);
pub(crate) const INSIDE: Mac = Mac([2, 0, 0, 0, 0, 0xd1]);
pub(crate) const REALS: u8 = 4;
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 100);
/// Where the sink's servers are reached with nobody in between.
pub(crate) const NEAR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 18, 2, 2), 80);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0x18, 0, 0, 0, 0x100);

/// How the kernels of clients, servers and proxies are set. Connections are opened by the ten thousand a second: without
/// more ports, and their use a second after the end of a connection instead of a minute, clients and proxies would soon have
/// none left, and wait. What is behind raw connections has no time stamps, by which the kernel would know that a second has
/// gone by: of these ends it remembers the last 32,768 only.
const ENDPOINTS: [(&str, &str); 5] = [
    ("conf.all.rp_filter", "0"),
    ("conf.default.rp_filter", "0"),
    ("ip_local_port_range", "1024 65535"),
    ("tcp_tw_reuse", "1"),
    ("tcp_max_tw_buckets", "32768"),
];

/// The namespaces, up.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) generator: Netns,
    pub(crate) director: Netns,
    pub(crate) sink: Netns,
    scratch: PathBuf,
}

impl Bench {
    pub(crate) fn new() -> Result<Bench> {
        let generator = Netns::new("gen")?;
        let scratch = std::env::temp_dir().join(generator.name());
        std::fs::create_dir_all(&scratch).map_err(sheave_testbeds::Error::about(scratch.display()))?;
        let bench =
            Bench { generator, director: Netns::new("director")?, sink: Netns::new("sink")?, scratch };
        bench.cable((&bench.generator, "g0", GENERATOR), (&bench.director, "d0", OUTSIDE))?;
        bench.cable((&bench.sink, "s0", real_mac(1)), (&bench.director, "d1", INSIDE))?;
        // Frames can be sent into a veth only while its other end polls.
        for device in ["d0", "d1"] {
            bench.director.exec(&["ethtool", "-K", device, "gro", "on"])?;
        }
        let ends = [Mac([2, 0, 0, 0, 2, 1]), Mac([2, 0, 0, 0, 2, 2])];
        bench.cable((&bench.generator, "g1", ends[0]), (&bench.sink, "s1", ends[1]))?;
        bench.addresses()?;
        bench.addresses_v6()?;
        Ok(bench)
    }

    /// The path of a file of this bench; removed with it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// A cable between two namespaces. Nothing is left to a device's hardware: what a kernel sends is whole, as from a NIC.
    fn cable(&self, one: (&Netns, &str, Mac), other: (&Netns, &str, Mac)) -> Result<()> {
        let (to, peer, peer_mac) = (other.0.name(), other.1, other.2);
        one.0.ip(&format!(
            "link add {} mtu 1600 address {} type veth peer name {peer} mtu 1600 address {peer_mac} netns {to}",
            one.1, one.2
        ))?;
        for (netns, name, _) in [one, other] {
            netns.exec(&[
                "ethtool", "-K", name, "tx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off",
            ])?;
            netns.ip(&format!("link set {name} up"))?;
        }
        Ok(())
    }

    fn addresses(&self) -> Result<()> {
        let Bench { generator, director, sink, .. } = self;
        for netns in [generator, director, sink] {
            for (key, value) in ENDPOINTS {
                netns.sysctl(&format!("net.ipv4.{key}"), value)?;
            }
        }
        director.sysctl("net.ipv4.ip_forward", "1")?;
        director.sysctl("net.ipv4.conf.all.send_redirects", "0")?;
        generator.ip("addr add 198.18.0.2/24 dev g0")?;
        generator.ip("route add 198.19.1.0/24 via 198.18.0.1")?;
        generator.ip("addr add 198.18.2.1/24 dev g1")?;
        sink.ip(&format!("addr add {}/24 dev s1", NEAR.ip()))?;
        director.ip("addr add 198.18.0.1/24 dev d0")?;
        director.ip("addr add 198.19.1.1/24 dev d1")?;
        director.ip("route add 198.18.128.0/17 via 198.18.0.2")?;
        director.ip(&format!("neigh replace 198.18.0.2 lladdr {GENERATOR} dev d0 nud permanent"))?;
        for address in [Ipv4Addr::new(198, 18, 0, 1), VIP] {
            generator.ip(&format!("neigh replace {address} lladdr {OUTSIDE} dev g0 nud permanent"))?;
        }
        for number in 1..=REALS {
            sink.ip(&format!("addr add {}/24 dev s0", Family::V4.real(number, 0).ip()))?;
        }
        let flooded = Family::V4.real(REALS + 1, 0).ip();
        director.ip(&format!("neigh replace {flooded} lladdr {FLOODED} dev d1 nud permanent"))?;
        self.stations(true)?;
        sink.ip(&format!("neigh replace 198.19.1.1 lladdr {INSIDE} dev s0 nud permanent"))?;
        sink.ip("route add default via 198.19.1.1").map(drop)
    }

    /// Whether the real servers have a hardware address each, by which the sink knows them, or all of them that of s0, as
    /// the kernel there wants it.
    pub(crate) fn stations(&self, apart: bool) -> Result<()> {
        for number in 1..=REALS {
            let (address, mac) = (Family::V4.real(number, 0).ip(), real_mac(if apart { number } else { 1 }));
            self.director.ip(&format!("neigh replace {address} lladdr {mac} dev d1 nud permanent"))?;
        }
        Ok(())
    }

    /// Only the director speaks IPv6: packets of the generator come from no stack, and what its kernel would have to say of
    /// multicast groups would be forwarded by whoever only changes hardware addresses.
    fn addresses_v6(&self) -> Result<()> {
        let director = &self.director;
        for device in ["d0", "d1"] {
            // No address that nobody asked for, and no look whether somebody else has it.
            for (key, value) in [("addr_gen_mode", "1"), ("accept_dad", "0"), ("disable_ipv6", "0")] {
                director.sysctl(&format!("net.ipv6.conf.{device}.{key}"), value)?;
            }
        }
        director.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        director.ip("-6 addr add 2001:db8:0:18::1/64 dev d0")?;
        director.ip("-6 addr add 2001:db8:0:19::1/64 dev d1")?;
        director.ip(&format!("neigh replace 2001:db8:0:18::2 lladdr {GENERATOR} dev d0 nud permanent"))?;
        for number in 1..=REALS {
            let (address, mac) = (Family::V6.real(number, 0).ip(), real_mac(number));
            director.ip(&format!("neigh replace {address} lladdr {mac} dev d1 nud permanent"))?;
        }
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Best effort: what is left lies among temporary files.
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

pub(crate) fn real_mac(number: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, 10 + number])
}

/// Addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    pub(crate) fn vip(self) -> SocketAddr {
        let address = match self {
            Family::V4 => VIP.into(),
            Family::V6 => VIP6.into(),
        };
        SocketAddr::new(address, 80)
    }

    pub(crate) fn real(self, number: u8, port: u16) -> SocketAddr {
        match self {
            Family::V4 => SocketAddr::from(([198, 19, 1, 10 + number], port)),
            Family::V6 => {
                SocketAddr::from(([0x2001, 0xdb8, 0, 0x19, 0, 0, 0, 0x10 + u16::from(number)], port))
            }
        }
    }

    /// All real servers, on a port.
    pub(crate) fn reals(self, port: u16) -> Vec<Real> {
        (1..=REALS).map(|number| Real { mac: real_mac(number), address: self.real(number, port) }).collect()
    }
}
