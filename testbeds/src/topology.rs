//! The basic topology, in which NAT, DR and TUN all work, each as an operator would set it up.
//!
//! ```text
//!                 198.18.0.0/24                                198.19.1.0/24
//!                       |                                            |
//!   client  c0 .2 ------+                                            +------ r0 .11  r1
//!                       |                                            |
//!                       +------ d0 .1  director  d1 .1 --------------+------ r0 .12  r2
//!                       |    (VIP .100 is sheaved's alone)           |
//!                       +------ g0 .254   gw   g1 .254 --------------+------ r0 .13  r3
//!                       |                                            |
//!                   br0 (sw)                                     br1 (sw)
//! ```
//!
//! Requests go client -> d0 -> d1 -> real server. The way back depends on how the real server is prepared:
//!
//! - NAT: its default route is the director (198.19.1.1), which puts the VIP back in as the source.
//! - DR: it has the VIP on `lo` and is silent about it in ARP; its default route is `gw`, so that its answers go
//!   from the VIP straight to the client, past the director.
//! - TUN: as DR, and the outer header is stripped on arrival by a small XDP program (there need not be an ipip device).
//!
//! All of it in IPv6 as well, side by side: 2001:2::/64 and 2001:2:0:1::/64 with the same last numbers ([`addr::six`]).
//! Which family a test's services and real servers have is an option.
//!
//! The kernel of `director` routes between its two interfaces as any router does; it knows nothing of the VIP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::netns::{Netns, Scratch};
use crate::{Error, Result};

/// The decapsulator that `build.rs` compiled.
const DECAP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/decap.bpf.o"));

/// The addresses of the topology.
pub mod addr {
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// The client's.
    pub const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
    /// The virtual IP that services are offered on.
    pub const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 100);
    /// The director's own towards the clients (d0).
    pub const DIRECTOR_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    /// The director's own towards the real servers (d1).
    pub const DIRECTOR_INSIDE: Ipv4Addr = Ipv4Addr::new(198, 19, 1, 1);
    /// The other router's towards the clients.
    pub const GATEWAY_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);
    /// The other router's towards the real servers.
    pub const GATEWAY_INSIDE: Ipv4Addr = Ipv4Addr::new(198, 19, 1, 254);

    /// The address of the real server with this number, from 1.
    #[must_use]
    pub const fn real(number: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 19, 1, 10 + number)
    }

    /// The IPv6 address beside one of these (RFC 5180 §8 sets the network apart for benchmarks).
    #[must_use]
    pub const fn six(ip: Ipv4Addr) -> Ipv6Addr {
        let [_, _, network, host] = ip.octets();
        Ipv6Addr::new(0x2001, 2, 0, network as u16, 0, 0, 0, host as u16)
    }
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// A host's address of this family.
    #[must_use]
    pub const fn of(self, ip: Ipv4Addr) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(ip),
            Self::V6 => IpAddr::V6(addr::six(ip)),
        }
    }
}

/// A forwarding method, as the configuration spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Masquerading: addresses are rewritten in both directions.
    Nat,
    /// Direct routing: only the frame's addresses change.
    Dr,
    /// IP-in-IP.
    Tun,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nat, Self::Dr, Self::Tun];

    /// The spelling in the configuration and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dr => "dr",
            Self::Tun => "tun",
        }
    }

    /// The port that the real servers' HTTP is asked on: NAT maps ports, the others cannot.
    #[must_use]
    pub const fn web_port(self) -> u16 {
        match self {
            Self::Nat => 8080,
            Self::Dr | Self::Tun => 80,
        }
    }

    /// The port that the real servers' UDP echo is asked on.
    #[must_use]
    pub const fn echo_port(self) -> u16 {
        match self {
            Self::Nat => 7007,
            Self::Dr | Self::Tun => 7,
        }
    }
}

/// What can be chosen about a topology.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Real servers, 1 to 9.
    pub reals: u8,
    /// Receive and transmit queues of all interfaces on the clients' network: veth receives on the queue that the
    /// sender sent from, or by way of a bridge on the one before it. Four of them use three.
    pub outside_queues: u8,
    /// The same on the real servers' network.
    pub inside_queues: u8,
    /// MTU of all interfaces.
    pub mtu: u16,
    /// The family of the VIP.
    pub clients: Family,
    /// The family in which the director knows the real servers.
    pub servers: Family,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reals: 3,
            outside_queues: 1,
            inside_queues: 1,
            mtu: 1500,
            clients: Family::V4,
            servers: Family::V4,
        }
    }
}

/// A real server's namespace.
#[derive(Debug)]
pub struct Real {
    /// `r1` and so on; what its servers answer with.
    pub name: String,
    /// Its IPv4 address on the real servers' network.
    pub ip: Ipv4Addr,
    /// The family in which the director knows it.
    pub family: Family,
    /// Where its servers run.
    pub netns: Netns,
    decap: PathBuf,
}

/// The topology, up and reachable. Dropping it removes everything.
#[derive(Debug)]
pub struct Lab {
    /// Where clients run.
    pub client: Netns,
    /// Where sheaved runs; interfaces `d0` and `d1`.
    pub director: Netns,
    /// The router that answers of DR and TUN take.
    pub gateway: Netns,
    /// The real servers, in order of their numbers.
    pub reals: Vec<Real>,
    switch: Netns,
    options: Options,
    scratch: Scratch,
}

/// One interface of a host and the bridge that its cable goes to.
struct Nic<'a> {
    host: &'a Netns,
    name: &'a str,
    bridge: &'a str,
    mac: String,
    ip: Ipv4Addr,
}

impl Lab {
    /// Builds the topology with three real servers; see [`Options`] for more.
    ///
    /// # Errors
    /// Without root, or when the kernel refuses a part.
    pub fn new() -> Result<Self> {
        Self::with(Options::default())
    }

    /// Builds the topology.
    ///
    /// # Errors
    /// Without root, or when the kernel refuses a part.
    pub fn with(options: Options) -> Result<Self> {
        let client = Netns::new("client")?;
        let scratch = Scratch::new("lab")?;
        let decap = scratch.path("decap.bpf.o");
        std::fs::write(&decap, DECAP).map_err(Error::about(decap.display()))?;
        let reals = (1..=options.reals).map(|number| {
            let name = format!("r{number}");
            let (netns, ip, family) = (Netns::new(&name)?, addr::real(number), options.servers);
            Ok(Real { netns, ip, family, name, decap: decap.clone() })
        });
        let lab = Self {
            reals: reals.collect::<Result<_>>()?,
            director: Netns::new("director")?,
            gateway: Netns::new("gw")?,
            switch: Netns::new("sw")?,
            client,
            options,
            scratch,
        };
        for bridge in ["br0", "br1"] {
            lab.switch.ip(&format!(
                "link add {bridge} mtu {} type bridge forward_delay 0 mcast_snooping 0",
                options.mtu
            ))?;
            lab.switch.ip(&format!("link set {bridge} up"))?;
        }
        for netns in lab.hosts() {
            lab.quiet(netns)?;
        }
        lab.connect_all()?;
        Ok(lab)
    }

    /// The path of a file of this lab; removed with it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    /// The VIP with this port.
    #[must_use]
    pub fn vip(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.options.clients.of(addr::VIP), port)
    }

    /// Prepares all real servers for a method.
    ///
    /// # Errors
    /// As [`Real::prepare`].
    pub fn prepare(&self, method: Method) -> Result<()> {
        self.reals.iter().try_for_each(|real| real.prepare(method))
    }

    /// Takes an interface of the director away (both ends of its cable), as a pulled card.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn unplug(&self, interface: &str) -> Result<()> {
        self.director.ip(&format!("link del {interface}")).map(drop)
    }

    /// Puts `d0` or `d1` in again: same name, addresses and routes, another index.
    ///
    /// # Errors
    /// When it is there already.
    pub fn plug(&self, interface: &str) -> Result<()> {
        let nic = self.director_nics().into_iter().find(|nic| nic.name == interface);
        let nic = nic.ok_or_else(|| Error::new(format!("{interface}: not an interface of the director")))?;
        self.connect(&nic)
    }

    /// The switch's end of the cable to `interface` of `host`.
    pub(crate) fn port(host: &Netns, interface: &str) -> String {
        format!("p-{}-{interface}", host.label())
    }

    /// Where all cables end.
    pub(crate) fn switch(&self) -> &Netns {
        &self.switch
    }

    fn hosts(&self) -> impl Iterator<Item = &Netns> {
        [&self.client, &self.director, &self.gateway]
            .into_iter()
            .chain(self.reals.iter().map(|real| &real.netns))
    }

    /// Settings that hosts of this topology need before they have interfaces.
    fn quiet(&self, host: &Netns) -> Result<()> {
        // Answers of DR take another way than the requests: reverse-path filters would drop them.
        for key in ["all.rp_filter", "default.rp_filter"] {
            host.sysctl(&format!("net.ipv4.conf.{key}"), "0")?;
        }
        // Addresses are of use at once (nobody else has them), and nobody is asked for more.
        for key in ["accept_dad", "accept_ra", "router_solicitations"] {
            host.sysctl(&format!("net.ipv6.conf.default.{key}"), "0")?;
        }
        for key in ["all", "default", "lo"] {
            host.sysctl(&format!("net.ipv6.conf.{key}.disable_ipv6"), "0")?;
        }
        let routes = host.name() == self.director.name() || host.name() == self.gateway.name();
        if routes {
            host.sysctl("net.ipv4.ip_forward", "1")?;
            host.sysctl("net.ipv6.conf.all.forwarding", "1")?;
            // Both networks share one switch; a router that says "there is a shorter way" would be right, and in the way.
            for key in ["all.send_redirects", "default.send_redirects"] {
                host.sysctl(&format!("net.ipv4.conf.{key}"), "0")?;
            }
        }
        Ok(())
    }

    fn director_nics(&self) -> [Nic<'_>; 2] {
        let host = &self.director;
        let (outside, inside) = (addr::DIRECTOR_OUTSIDE, addr::DIRECTOR_INSIDE);
        [
            Nic { host, name: "d0", bridge: "br0", mac: "02:00:00:00:00:d0".into(), ip: outside },
            Nic { host, name: "d1", bridge: "br1", mac: "02:00:00:00:00:d1".into(), ip: inside },
        ]
    }

    fn connect_all(&self) -> Result<()> {
        let nic = |host, name, bridge, mac: &str, ip| Nic { host, name, bridge, mac: mac.to_owned(), ip };
        self.connect(&nic(&self.client, "c0", "br0", "02:00:00:00:00:c0", addr::CLIENT))?;
        self.connect(&nic(&self.gateway, "g0", "br0", "02:00:00:00:00:90", addr::GATEWAY_OUTSIDE))?;
        self.connect(&nic(&self.gateway, "g1", "br1", "02:00:00:00:00:91", addr::GATEWAY_INSIDE))?;
        for nic in self.director_nics() {
            self.connect(&nic)?;
        }
        for real in &self.reals {
            let mac = format!("02:00:00:00:01:{:02x}", real.ip.octets()[3]);
            self.connect(&nic(&real.netns, "r0", "br1", &mac, real.ip))?;
        }
        // Clients reach the real servers' network through the director's kernel, as real servers under NAT reach them.
        let director = addr::DIRECTOR_OUTSIDE;
        self.client.ip(&format!("route add 198.19.1.0/24 via {director}"))?;
        self.client.ip(&format!("route add 2001:2:0:1::/64 via {}", addr::six(director)))?;
        Ok(())
    }

    /// Makes the cable between a host and its bridge, and brings both ends up.
    fn connect(&self, nic: &Nic<'_>) -> Result<()> {
        let Nic { host, name, bridge, mac, ip } = nic;
        let (switch, mtu) = (self.switch.name(), self.options.mtu);
        let port = Self::port(host, name);
        let queues = if *bridge == "br0" { self.options.outside_queues } else { self.options.inside_queues };
        let count = format!("numrxqueues {queues} numtxqueues {queues}");
        host.ip(&format!(
            "link add {name} address {mac} mtu {mtu} {count} type veth peer name {port} netns {switch} mtu {mtu} {count}"
        ))?;
        // Left on, these leave checksums unfinished and segments of 64 KiB for the other end, as no wire would.
        let off = ["tx", "off", "rx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off"];
        for (netns, device) in [(*host, *name), (&self.switch, port.as_str())] {
            netns.exec(&[["ethtool", "-K", device].as_slice(), off.as_slice()].concat())?;
        }
        self.switch.ip(&format!("link set {port} master {bridge} up"))?;
        host.ip(&format!("addr add {ip}/24 dev {name}"))?;
        host.ip(&format!("addr add {}/64 dev {name} nodad", addr::six(*ip)))?;
        host.ip(&format!("link set {name} up"))?;
        Ok(())
    }
}

impl Real {
    /// The address of one of its servers.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.family.of(self.ip), port)
    }

    /// Prepares it for a method, whatever it was prepared for before.
    ///
    /// # Errors
    /// When the kernel refuses a part.
    pub fn prepare(&self, method: Method) -> Result<()> {
        let has_vip = !self.netns.ip(&format!("addr show dev lo to {}", addr::VIP))?.is_empty();
        let silent = if method == Method::Nat { ["0", "0"] } else { ["1", "2"] };
        self.netns.sysctl("net.ipv4.conf.all.arp_ignore", silent[0])?;
        self.netns.sysctl("net.ipv4.conf.all.arp_announce", silent[1])?;
        let router = if method == Method::Nat { addr::DIRECTOR_INSIDE } else { addr::GATEWAY_INSIDE };
        for family in [Family::V4, Family::V6] {
            let (vip, router) = (family.of(addr::VIP), family.of(router));
            match (method, has_vip) {
                (Method::Nat, true) => drop(self.netns.ip(&format!("addr del {vip} dev lo"))?),
                // Of neighbours that ask for an IPv6 address, a host hears on the interface that has it.
                (Method::Dr | Method::Tun, false) => drop(self.netns.ip(&format!("addr add {vip} dev lo"))?),
                _ => {}
            }
            self.netns.ip(&format!("route replace default via {router}"))?;
        }
        self.decapsulate(method == Method::Tun)
    }

    fn decapsulate(&self, on: bool) -> Result<()> {
        self.netns.ip("link set dev r0 xdpgeneric off")?;
        if on {
            let object = path_str(&self.decap)?;
            self.netns.ip(&format!("link set dev r0 xdpgeneric obj {object} sec xdp"))?;
        }
        Ok(())
    }
}

/// A path as the argument of a command.
pub(crate) fn path_str(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::new(format!("{}: not UTF-8", path.display())))
}
