//! The five values that name a flow.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A transport protocol that the director balances. The discriminant is the IANA protocol number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Proto {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl Proto {
    /// The IANA protocol number, as in an IP header.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Proto::Tcp => 6,
            Proto::Udp => 17,
        }
    }

    /// The protocol of an IANA number, if it is one of ours.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Proto> {
        match number {
            6 => Some(Proto::Tcp),
            17 => Some(Proto::Udp),
            _ => None,
        }
    }

    /// The name as written in configuration and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no protocol of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownProto;

impl fmt::Display for UnknownProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown protocol: write tcp or udp")
    }
}

impl std::error::Error for UnknownProto {}

impl FromStr for Proto {
    type Err = UnknownProto;

    fn from_str(text: &str) -> Result<Proto, UnknownProto> {
        match text {
            "tcp" => Ok(Proto::Tcp),
            "udp" => Ok(Proto::Udp),
            _ => Err(UnknownProto),
        }
    }
}

/// A flow in one direction. Ports are in host order, addresses are the standard library's types; nothing here
/// is laid out as on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// Transport protocol.
    pub proto: Proto,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, host order.
    pub sport: u16,
    /// Destination port, host order.
    pub dport: u16,
}

impl FlowKey {
    /// The same flow seen in the other direction.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> FlowKey {
        FlowKey { proto: self.proto, src: self.dst, dst: self.src, sport: self.dport, dport: self.sport }
    }

    /// The flow as numbers to hash, of the same shape for both families: an IPv4 address counts as the IPv6
    /// address that it maps to. Two flows have the same words only if they are the same.
    #[inline]
    #[must_use]
    pub fn words(&self) -> [u64; 5] {
        let [src, dst] = [self.src, self.dst].map(|addr| match addr {
            IpAddr::V4(addr) => addr.to_ipv6_mapped().to_bits(),
            IpAddr::V6(addr) => addr.to_bits(),
        });
        let last = u64::from(self.proto.number()) << 32 | u64::from(self.sport) << 16 | u64::from(self.dport);
        [high(src), low(src), high(dst), low(dst), last]
    }
}

#[inline]
fn high(addr: u128) -> u64 {
    low(addr >> 64)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low(addr: u128) -> u64 {
    addr as u64
}

/// Which end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The source. Of what an ICMP error quotes, the end that is rewritten towards the real server.
    Source,
    /// The destination. Of what an ICMP error quotes, the end that is rewritten towards the client.
    Destination,
}

/// `tcp 192.0.2.1:40000 -> 198.18.0.100:80`; IPv6 addresses are in brackets.
impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (SocketAddr::new(self.src, self.sport), SocketAddr::new(self.dst, self.dport));
        write!(f, "{} {src} -> {dst}", self.proto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_have_their_iana_numbers_and_names() {
        for (proto, number, name) in [(Proto::Tcp, 6, "tcp"), (Proto::Udp, 17, "udp")] {
            assert_eq!(proto.number(), number);
            assert_eq!(proto as u8, number);
            assert_eq!(Proto::from_number(number), Some(proto));
            assert_eq!(proto.to_string(), name);
            assert_eq!(name.parse(), Ok(proto));
            assert_eq!(serde_json::to_string(&proto).unwrap(), format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<Proto>(&format!("\"{name}\"")).unwrap(), proto);
        }
        assert_eq!(Proto::from_number(1), None);
        assert_eq!("sctp".parse::<Proto>(), Err(UnknownProto));
        assert_eq!("TCP".parse::<Proto>(), Err(UnknownProto));
    }

    #[test]
    fn flows_are_shown_and_reversed() {
        let flow = FlowKey {
            proto: Proto::Tcp,
            src: "192.0.2.1".parse().unwrap(),
            dst: "198.18.0.100".parse().unwrap(),
            sport: 40000,
            dport: 80,
        };
        assert_eq!(flow.to_string(), "tcp 192.0.2.1:40000 -> 198.18.0.100:80");
        assert_eq!(flow.reversed().to_string(), "tcp 198.18.0.100:80 -> 192.0.2.1:40000");
        assert_eq!(flow.reversed().reversed(), flow);
        let v6 = FlowKey { src: "2001:db8::1".parse().unwrap(), dst: "2001:db8::2".parse().unwrap(), ..flow };
        assert_eq!(v6.to_string(), "tcp [2001:db8::1]:40000 -> [2001:db8::2]:80");
        assert_eq!(flow.words(), [0, 0xffff_c000_0201, 0, 0xffff_c612_0064, 0x6_9c40_0050]);
        assert_eq!(v6.words(), [0x2001_0db8_0000_0000, 1, 0x2001_0db8_0000_0000, 2, 0x6_9c40_0050]);
    }
}
