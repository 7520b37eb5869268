//! Tunnels to real servers: an outer header of either family around a packet of either family (IP in IP: RFC 2003,
//! 2473, 4213; GRE: RFC 2784, 7676; GUE).
//!
//! ```text
//!   | outer IPv4, 20 or IPv6, 40 |                          | inner packet, as it is |     IP in IP, protocol 4 or 41
//!   | outer IPv4, 20 or IPv6, 40 | GRE, 4 or 8              | inner packet, as it is |     protocol 47
//!   | outer IPv4, 20 or IPv6, 40 | UDP, 8  | GUE, 4         | inner packet, as it is |     protocol 17
//! ```
//!
//! RFC 6040 §4.1 (normal mode): the outer ECN field is the inner one. What differs from packet to packet is in
//! [`Inner`], all else is settled in a [`Template`], once for a destination.

use super::TooSmall;
use super::checksum::Address;
use super::eth::ethertype;
use super::ipv4::{self, protocol};
use super::ipv6;
use super::{gre, gue, udp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes that the largest of the outer headers adds in front of a packet.
pub const MAX_OVERHEAD: usize = ipv6::HEADER_LEN + udp::HEADER_LEN + gue::HEADER_LEN;

/// What lies between the outer header and the inner packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// Nothing.
    Ipip,
    /// A GRE header.
    Gre {
        /// With a checksum over header and packet.
        checksum: bool,
    },
    /// UDP and GUE headers.
    Gue {
        /// UDP destination port.
        port: u16,
        /// With a UDP checksum.
        checksum: bool,
    },
}

impl Encapsulation {
    /// Bytes that it puts between the outer header and the inner packet.
    #[must_use]
    pub const fn overhead(self) -> usize {
        match self {
            Encapsulation::Ipip => 0,
            Encapsulation::Gre { checksum: false } => gre::HEADER_LEN,
            Encapsulation::Gre { checksum: true } => gre::SUMMED_LEN,
            Encapsulation::Gue { .. } => udp::HEADER_LEN + gue::HEADER_LEN,
        }
    }
}

/// A version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    #[inline]
    #[must_use]
    pub const fn of(addr: IpAddr) -> Family {
        match addr {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Its IANA protocol number, as what a header in front of it names.
    const fn number(self) -> u8 {
        match self {
            Family::V4 => protocol::IPIP,
            Family::V6 => protocol::IPV6,
        }
    }

    const fn from_number(number: u8) -> Option<Family> {
        match number {
            protocol::IPIP => Some(Family::V4),
            protocol::IPV6 => Some(Family::V6),
            _ => None,
        }
    }

    const fn ethertype(self) -> u16 {
        match self {
            Family::V4 => ethertype::IPV4,
            Family::V6 => ethertype::IPV6,
        }
    }

    const fn from_ethertype(number: u16) -> Option<Family> {
        match number {
            ethertype::IPV4 => Some(Family::V4),
            ethertype::IPV6 => Some(Family::V6),
            _ => None,
        }
    }
}

/// What the outer header of one packet takes from the inner one, and what is chosen for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inner {
    /// TOS or traffic class, ECN included.
    pub tos: u8,
    /// Time to live, after the director has taken one from it.
    pub ttl: u8,
    /// Don't fragment, for an outer IPv4 header: the inner one's when path MTU discovery is on; never with IPv6
    /// inside.
    pub df: bool,
    /// Identification, for an outer IPv4 header; freshly chosen.
    pub ident: u16,
    /// Hash of the inner flow: GUE's source port, the flow label of an outer IPv6 header (RFC 6438).
    pub flow: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outer {
    V4 { header: ipv4::Template, src: Ipv4Addr, dst: Ipv4Addr },
    V6 { next_header: u8, src: Ipv6Addr, dst: Ipv6Addr },
}

/// The headers in front of every packet to one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    outer: Outer,
    encapsulation: Encapsulation,
    inner: Family,
}

impl Template {
    /// From the director's address `src` to the real server's, for packets of the family `inner`. `None` when the
    /// addresses are of two families.
    #[must_use]
    pub fn new(src: IpAddr, dst: IpAddr, encapsulation: Encapsulation, inner: Family) -> Option<Template> {
        let protocol = match encapsulation {
            Encapsulation::Ipip => inner.number(),
            Encapsulation::Gre { .. } => protocol::GRE,
            Encapsulation::Gue { .. } => protocol::UDP,
        };
        let outer = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                Outer::V4 { header: ipv4::Template::new(protocol, src, dst), src, dst }
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => Outer::V6 { next_header: protocol, src, dst },
            _ => return None,
        };
        Some(Template { outer, encapsulation, inner })
    }

    /// Bytes that it adds in front of a packet.
    #[inline]
    #[must_use]
    pub const fn overhead(&self) -> usize {
        let header = match self.outer {
            Outer::V4 { .. } => ipv4::HEADER_LEN,
            Outer::V6 { .. } => ipv6::HEADER_LEN,
        };
        header + self.encapsulation.overhead()
    }

    /// Writes the headers: `packet` is [`Template::overhead`] bytes of room and then the inner packet, without
    /// padding.
    ///
    /// # Errors
    /// [`TooSmall`], and nothing written, when `packet` is shorter than the headers or longer than an IPv4 packet
    /// can be.
    #[inline]
    pub fn emit(&self, packet: &mut [u8], inner: &Inner) -> Result<(), TooSmall> {
        let total_len = u16::try_from(packet.len()).map_err(|_| TooSmall)?;
        if packet.len() < self.overhead() {
            return Err(TooSmall);
        }
        match self.outer {
            Outer::V4 { header, src, dst } => {
                let (bytes, payload) = packet.split_first_chunk_mut().ok_or(TooSmall)?;
                let Inner { tos, ttl, df, ident, .. } = *inner;
                header.emit(bytes, &ipv4::Varying { tos, total_len, ident, df, ttl });
                self.emit_encapsulation(payload, inner.flow, src, dst)
            }
            Outer::V6 { next_header, src, dst } => {
                let (bytes, payload) = packet.split_first_chunk_mut().ok_or(TooSmall)?;
                let payload_len = u16::try_from(payload.len()).map_err(|_| TooSmall)?;
                let Inner { tos: traffic_class, ttl: hop_limit, flow: flow_label, .. } = *inner;
                ipv6::Header { traffic_class, flow_label, payload_len, next_header, hop_limit, src, dst }
                    .emit(bytes);
                self.emit_encapsulation(payload, inner.flow, src, dst)
            }
        }
    }

    #[inline]
    fn emit_encapsulation<A: Address>(
        &self,
        payload: &mut [u8],
        flow: u32,
        src: A,
        dst: A,
    ) -> Result<(), TooSmall> {
        match self.encapsulation {
            Encapsulation::Ipip => Ok(()),
            Encapsulation::Gre { checksum: false } => {
                gre::emit(payload.first_chunk_mut().ok_or(TooSmall)?, self.inner.ethertype());
                Ok(())
            }
            Encapsulation::Gre { checksum: true } => gre::emit_summed(payload, self.inner.ethertype()),
            Encapsulation::Gue { port, checksum } => {
                let behind = payload.get_mut(udp::HEADER_LEN..).ok_or(TooSmall)?;
                gue::emit(behind.first_chunk_mut().ok_or(TooSmall)?, self.inner.number());
                let ports = (gue::source_port(flow), port);
                if checksum {
                    udp::emit(payload, src, dst, ports)
                } else {
                    udp::emit_unsummed(payload, ports)
                }
            }
        }
    }
}

/// A packet in a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// What lies between the outer header and it.
    pub encapsulation: Encapsulation,
    /// Its version of IP, as the headers say.
    pub inner: Family,
    /// Where it begins, in bytes from the end of the outer IP header; at most the payload's length.
    pub offset: usize,
}

/// Finds the packet in the payload of an outer header that names `protocol`; the payload may be cut short, as in an
/// ICMP error. `None`: no tunnel that is written here, or cut too short to tell. Any UDP datagram may look like
/// GUE: whether its port is a tunnel's is for the caller to know.
#[must_use]
pub fn open(protocol: u8, payload: &[u8]) -> Option<Opened> {
    let (encapsulation, inner, offset) = match protocol {
        protocol::GRE => {
            let gre = gre::parse(payload).ok()?;
            let inner = Family::from_ethertype(gre.protocol)?;
            (Encapsulation::Gre { checksum: gre.summed }, inner, gre.header_len)
        }
        protocol::UDP => {
            let udp = udp::parse_first(payload).ok()?;
            let gue = gue::parse(payload.get(udp::HEADER_LEN..)?).ok()??;
            let encapsulation = Encapsulation::Gue { port: udp.dport, checksum: udp.checksum != 0 };
            (encapsulation, Family::from_number(gue.protocol)?, udp::HEADER_LEN + gue.header_len)
        }
        number => (Encapsulation::Ipip, Family::from_number(number)?, 0),
    };
    Some(Opened { encapsulation, inner, offset })
}

#[cfg(test)]
#[path = "tests/tunnel.rs"]
mod tests;
