//! Where things are: listens, destination addresses, prefixes.
//!
//! Addresses are IPv4 or IPv6 alike. A port beside an IPv6 address needs brackets around the address, an
//! IPv6 address alone needs none. What is printed reads back as the same value.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::value::{ValueError, quote, serde_as_string};
use crate::wire::flow::Proto;

/// The ports that a listen takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ports {
    /// One port; never 0.
    One(u16),
    /// From the first to the last, both included; the first is less than the last and not 0.
    Range(u16, u16),
    /// Every port, written `*`.
    Any,
}

impl Ports {
    /// The one port, if it is one.
    #[must_use]
    pub fn single(self) -> Option<u16> {
        match self {
            Ports::One(port) => Some(port),
            Ports::Range(..) | Ports::Any => None,
        }
    }

    /// Whether the port is one of these.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        match self {
            Ports::One(one) => one == port,
            Ports::Range(first, last) => (first..=last).contains(&port),
            Ports::Any => true,
        }
    }

    /// Whether the two cannot stand side by side on one address: the same, or ranges that share a port.
    ///
    /// An exact port inside a range is no conflict (it wins), nor is anything beside `*`.
    #[must_use]
    pub fn conflicts(self, other: Ports) -> bool {
        match (self, other) {
            (Ports::Range(a, b), Ports::Range(c, d)) => a <= d && c <= b,
            _ => self == other,
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ports::One(port) => write!(f, "{port}"),
            Ports::Range(first, last) => write!(f, "{first}-{last}"),
            Ports::Any => f.write_str("*"),
        }
    }
}

impl FromStr for Ports {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "*" {
            return Ok(Ports::Any);
        }
        let Some((first, last)) = text.split_once('-') else { return port(text).map(Ports::One) };
        match (port(first)?, port(last)?) {
            (first, last) if first < last => Ok(Ports::Range(first, last)),
            (first, last) if first == last => Ok(Ports::One(first)),
            (first, last) => Err(ValueError::new(
                format!("port range {first}-{last} runs backwards"),
                format!("write {last}-{first}"),
            )),
        }
    }
}

fn port(text: &str) -> Result<u16, ValueError> {
    let decimal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(0) => {
            Err(ValueError::new("port 0 is not a port", "write 1 to 65535, or * for every port of a listen"))
        }
        Ok(port) if decimal => Ok(port),
        _ => Err(ValueError::new(format!("{} is not a port", quote(text)), "write a number from 1 to 65535")),
    }
}

/// What a service listens on: a virtual address, its ports and the protocol, as in `198.18.0.100:80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listen {
    /// The virtual IP.
    pub addr: IpAddr,
    /// The virtual ports.
    pub ports: Ports,
    /// The protocol.
    pub proto: Proto,
}

impl Listen {
    /// Whether the control connections of FTP can come in on it.
    #[must_use]
    pub fn speaks_ftp(&self) -> bool {
        self.proto == Proto::Tcp
    }

    /// Whether the two cannot belong to different services.
    #[must_use]
    pub fn conflicts(&self, other: &Listen) -> bool {
        self.addr == other.addr && self.proto == other.proto && self.ports.conflicts(other.ports)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ports, proto) = (self.ports, self.proto.name());
        match self.addr {
            IpAddr::V4(addr) => write!(f, "{addr}:{ports}/{proto}"),
            IpAddr::V6(addr) => write!(f, "[{addr}]:{ports}/{proto}"),
        }
    }
}

impl FromStr for Listen {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const FORM: &str = "write ADDRESS:PORT/PROTO, as in 198.18.0.100:80/tcp or [2001:db8::1]:53/udp";
        let bad = |why: &str| ValueError::new(format!("listen {} {why}", quote(text)), FORM);
        let (place, proto) = text.rsplit_once('/').ok_or_else(|| bad("has no protocol"))?;
        let proto = match proto {
            "tcp" => Proto::Tcp,
            "udp" => Proto::Udp,
            other => return Err(super::words::unknown_word("protocol", other, &["tcp", "udp"])),
        };
        let (addr, ports) = split_port(place)?;
        let ports = ports.ok_or_else(|| bad("has no port"))?.parse()?;
        host_address(addr)?;
        Ok(Listen { addr, ports, proto })
    }
}

serde_as_string!(Listen);

/// The address of a destination, with a port if one is given; also a filter for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestAddr {
    /// The address of the real server.
    pub addr: IpAddr,
    /// Its port; none takes the service's, under a range or `*` the packet's.
    pub port: Option<u16>,
}

impl DestAddr {
    /// The port that packets to `ports` are sent to; none is the packet's own.
    #[must_use]
    pub fn port_under(&self, ports: Ports) -> Option<u16> {
        self.port.or_else(|| ports.single())
    }
}

impl fmt::Display for DestAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.addr, self.port) {
            (addr, None) => write!(f, "{addr}"),
            (IpAddr::V4(addr), Some(port)) => write!(f, "{addr}:{port}"),
            (IpAddr::V6(addr), Some(port)) => write!(f, "[{addr}]:{port}"),
        }
    }
}

impl FromStr for DestAddr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (addr, port_text) = split_port(text)?;
        let port = port_text.map(port).transpose()?;
        host_address(addr)?;
        Ok(DestAddr { addr, port })
    }
}

serde_as_string!(DestAddr);

/// Splits `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`; what stands behind the colon is not read.
fn split_port(text: &str) -> Result<(IpAddr, Option<&str>), ValueError> {
    if let Ok(addr) = text.parse::<IpAddr>() {
        return Ok((addr, None));
    }
    if let Some(inner) = text.strip_prefix('[') {
        let v6 =
            || ValueError::new(format!("{} is not an IPv6 address", quote(text)), "write [ADDRESS]:PORT");
        let (addr, rest) = inner.split_once(']').ok_or_else(v6)?;
        let addr: std::net::Ipv6Addr = addr.parse().map_err(|_| v6())?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((IpAddr::V6(addr), Some(port))),
            None if rest.is_empty() => Ok((IpAddr::V6(addr), None)),
            None => Err(v6()),
        };
    }
    let bad = |remedy: &str| ValueError::new(format!("{} is not an address", quote(text)), remedy);
    let (addr, port) =
        text.rsplit_once(':').ok_or_else(|| bad("write an IPv4 or IPv6 address, not a name"))?;
    match addr.parse::<IpAddr>() {
        Ok(IpAddr::V4(addr)) => Ok((IpAddr::V4(addr), Some(port))),
        Ok(IpAddr::V6(_)) => Err(bad("put brackets around an IPv6 address that has a port")),
        Err(_) => Err(bad("write an IPv4 or IPv6 address, not a name")),
    }
}

/// Refuses addresses that no single host on the network can have.
pub(super) fn host_address(addr: IpAddr) -> Result<(), ValueError> {
    let kind = match addr {
        _ if addr.is_unspecified() => "the unspecified address",
        _ if addr.is_loopback() => "a loopback address",
        _ if addr.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "an address of network 0",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "an IPv4 address in IPv6 form",
        _ => return Ok(()),
    };
    Err(ValueError::new(format!("{addr} is {kind}"), "write the unicast address of a host"))
}

/// An address with a prefix length: an interface's address with its network, or a route's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    addr: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// An address with a prefix length that its family allows.
    ///
    /// # Errors
    /// When the prefix is longer than the address.
    pub fn new(addr: IpAddr, prefix: u8) -> Result<Self, ValueError> {
        let longest = Self::bits(addr);
        if u32::from(prefix) <= longest {
            return Ok(Self { addr, prefix });
        }
        Err(ValueError::new(
            format!("prefix length {prefix} of {addr} is beyond its family"),
            format!("write one from 0 to {longest}"),
        ))
    }

    fn bits(addr: IpAddr) -> u32 {
        if addr.is_ipv4() { 32 } else { 128 }
    }

    /// The address as written, host bits included.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// The prefix length.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The network: the same with the host bits zero.
    #[must_use]
    pub fn network(&self) -> Cidr {
        let host = Self::bits(self.addr) - u32::from(self.prefix);
        let addr = match self.addr {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & u32::MAX.checked_shl(host).unwrap_or(0)).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & u128::MAX.checked_shl(host).unwrap_or(0)).into()),
        };
        Cidr { addr, prefix: self.prefix }
    }

    /// Whether the address is in the network.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.addr.is_ipv4() == addr.is_ipv4()
            && Cidr { addr, prefix: self.prefix }.network().addr == self.network().addr
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let bad = || {
            ValueError::new(
                format!("{} is not an address with a prefix length", quote(text)),
                "write ADDRESS/LENGTH, as in 198.18.0.1/24",
            )
        };
        let (addr, prefix) = text.split_once('/').ok_or_else(bad)?;
        let addr: IpAddr = addr.parse().map_err(|_| bad())?;
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        // A number too large for the type is too large for the family, and the error shall say that.
        match prefix.parse::<u8>() {
            Ok(prefix) => Cidr::new(addr, prefix),
            Err(_) => Cidr::new(addr, u8::MAX),
        }
    }
}

serde_as_string!(Cidr);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_read() {
        for text in
            ["198.18.0.100:80/tcp", "[2001:db8::1]:80/tcp", "198.18.0.1:5000-5100/udp", "[2001:db8::1]:*/udp"]
        {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in ["198.19.1.11", "198.19.1.11:8080", "2001:db8::1", "[2001:db8::1]:8080"] {
            assert_eq!(text.parse::<DestAddr>().unwrap().to_string(), text);
        }
        assert_eq!("[2001:db8::1]".parse::<DestAddr>().unwrap().to_string(), "2001:db8::1");
        assert_eq!("198.18.0.1:80-80/tcp".parse::<Listen>().unwrap().ports, Ports::One(80));
    }

    #[test]
    fn bad_addresses_are_refused_with_a_reason() {
        for (text, want) in [
            ("198.18.0.100:80", "has no protocol"),
            ("198.18.0.100/tcp", "has no port"),
            ("198.18.0.100:80/sctp", "protocol \"sctp\" is not known: use one of tcp, udp"),
            ("198.18.0.100:0/tcp", "port 0"),
            ("198.18.0.100:65536/tcp", "\"65536\" is not a port"),
            ("198.18.0.100:+80/tcp", "\"+80\" is not a port"),
            ("198.18.0.100:90-80/tcp", "runs backwards: write 80-90"),
            ("2001:db8::1:80:x/tcp", "is not an address"),
            ("2001:db8:0:0:0:0:0:1:80/tcp", "put brackets around"),
            ("[198.18.0.100]:80/tcp", "is not an IPv6 address"),
            ("[2001:db8::1]80/tcp", "is not an IPv6 address"),
            ("web:80/tcp", "not a name"),
            ("0.0.0.0:80/tcp", "unspecified"),
            ("127.0.0.1:80/tcp", "loopback"),
            ("224.0.0.1:80/tcp", "multicast"),
            ("255.255.255.255:80/tcp", "broadcast"),
            ("[::ffff:198.18.0.1]:80/tcp", "in IPv6 form"),
            ("", "has no protocol"),
        ] {
            let error = text.parse::<Listen>().expect_err(text).to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
        for text in ["", ":", "198.19.1.11:", "198.19.1.11:0", "198.19.1", "::", "[::1]:80", "host"] {
            assert!(text.parse::<DestAddr>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn prefixes_stay_inside_their_family() {
        assert_eq!("198.18.0.1/32".parse::<Cidr>().unwrap().prefix(), 32);
        assert_eq!("2001:db8::1/128".parse::<Cidr>().unwrap().prefix(), 128);
        for text in [
            "198.18.0.1/33",
            "2001:db8::1/129",
            "198.18.0.1/999999",
            "198.18.0.1",
            "198.18.0.1/",
            "x/8",
            "198.18.0.1/+8",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text:?}");
        }
        let net: Cidr = "198.18.7.9/15".parse().unwrap();
        assert_eq!(net.network().to_string(), "198.18.0.0/15");
        assert!(net.contains("198.19.255.255".parse().unwrap()));
        assert!(!net.contains("198.20.0.0".parse().unwrap()));
        assert!(!net.contains("2001:db8::1".parse().unwrap()));
        let all: Cidr = "::/0".parse().unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn ports_conflict_only_where_neither_wins() {
        use Ports::{Any, One, Range};
        assert!(Range(10, 20).conflicts(Range(20, 30)));
        assert!(!Range(10, 20).conflicts(Range(21, 30)));
        assert!(!One(15).conflicts(Range(10, 20)));
        assert!(!Any.conflicts(Range(10, 20)));
        assert!(Any.conflicts(Any));
        assert!(One(80).conflicts(One(80)) && !One(80).conflicts(One(81)));
    }
}
