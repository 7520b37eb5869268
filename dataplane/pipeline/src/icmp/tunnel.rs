//! An ICMP error about one of our own tunnels: what it means to the client, who does not know of the tunnel.

use super::error::{Embedded, IcmpError, Unusable, embedded_at};
use sheave_proto::wire::tunnel::{self, Encapsulation, Family};
use sheave_proto::wire::{Malformed, icmpv4, icmpv6, ipv4, ipv6};
use std::net::IpAddr;

/// What every IPv4 link carries (RFC 791).
const MIN_MTU_V4: u16 = 68;
/// RFC 1191 §7.1: MTUs that links have, the largest first. A router that does not say which it is means the next
/// below the packet that was too big.
const PLATEAUS: [u16; 10] = [32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];

/// An ICMP error that may be about a tunnel of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelError {
    /// The outer source: one of the director's addresses, if the tunnel is ours.
    pub source: IpAddr,
    /// The outer destination: the real server.
    pub real: IpAddr,
    /// The MTU of the way to the real server, if the error tells of it.
    pub path_mtu: Option<u16>,
    /// What was in the tunnel, if enough of it is quoted.
    pub inside: Option<Inside>,
}

/// The packet in the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inside {
    /// What lay between the outer header and it.
    pub encapsulation: Encapsulation,
    /// Its flow, from the client to the VIP, and where it begins.
    pub embedded: Embedded,
    /// Where what is quoted of it ends: it is in the packet from `embedded.at` to here, ready to be quoted again.
    pub end: usize,
    /// What to tell the client, from the VIP. `None`: nothing.
    pub answer: Option<Answer>,
}

/// An error for the client, of the family of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// ICMP.
    V4(icmpv4::Error),
    /// ICMPv6.
    V6(icmpv6::Error),
}

/// What an error means, whatever its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    TooBig,
    Unreachable,
    TimeExceeded,
    /// Nothing to the client.
    Other,
}

/// The quoted outer header.
struct Outer {
    source: IpAddr,
    real: IpAddr,
    protocol: u8,
    /// Where its payload begins in the packet.
    payload: usize,
    /// Bytes that the packet had.
    total_len: usize,
    /// Bytes of the header as the director writes it.
    header_len: usize,
}

impl IcmpError {
    /// What the error in `packet` says of a tunnel, if it quotes a packet of a protocol that we tunnel with.
    ///
    /// # Errors
    /// [`Unusable`], of the kinds that speak of a quote: it is about no tunnel.
    pub fn tunnel(&self, packet: &[u8]) -> Result<TunnelError, Unusable> {
        let packet = self.whole(packet);
        let outer = match self.family() {
            Family::V4 => outer_v4(packet, self.quote())?,
            Family::V6 => outer_v6(packet, self.quote())?,
        };
        let payload = packet.get(outer.payload..).ok_or(Unusable::QuoteTruncated)?;
        let path_mtu = self.path_mtu(outer.total_len);
        let opened = tunnel::open(outer.protocol, payload);
        Ok(TunnelError {
            source: outer.source,
            real: outer.real,
            path_mtu,
            inside: opened.and_then(|opened| self.inside(packet, &outer, &opened, path_mtu)),
        })
    }

    fn inside(
        &self,
        packet: &[u8],
        outer: &Outer,
        opened: &tunnel::Opened,
        path_mtu: Option<u16>,
    ) -> Option<Inside> {
        let at = outer.payload + opened.offset;
        let embedded = embedded_at(packet, at, opened.inner).ok()?;
        let bytes = packet.get(at..)?;
        let (total_len, df) = match opened.inner {
            Family::V4 => ipv4::parse_quoted(bytes).map(|ip| (ip.total_len, ip.df)).ok()?,
            Family::V6 => ipv6::parse_quoted(bytes).map(|ip| (ip.total_len(), true)).ok()?,
        };
        let overhead = outer.header_len + opened.encapsulation.overhead();
        let mtu = path_mtu.zip(u16::try_from(overhead).ok()).map(|(mtu, over)| mtu.saturating_sub(over));
        Some(Inside {
            encapsulation: opened.encapsulation,
            embedded,
            end: self.quote_end(packet).min(at + total_len).max(at),
            answer: answer(self.meaning(), opened.inner, mtu.filter(|_| df)),
        })
    }

    /// The MTU that the error tells of, when it quotes a packet of `total_len` bytes.
    fn path_mtu(&self, total_len: usize) -> Option<u16> {
        let mtu = u16::try_from(self.mtu?).unwrap_or(u16::MAX);
        match self.family() {
            Family::V4 if mtu == 0 => PLATEAUS.into_iter().find(|plateau| usize::from(*plateau) < total_len),
            Family::V4 => Some(mtu).filter(|mtu| *mtu >= MIN_MTU_V4),
            // RFC 8201 §4: less than the least MTU is not believed.
            Family::V6 => Some(mtu).filter(|mtu| *mtu >= ipv6::MIN_MTU),
        }
    }

    fn meaning(&self) -> Meaning {
        use icmpv4::icmp_type as v4;
        use icmpv6::icmp_type as v6;
        match (self.family(), self.icmp_type, self.code) {
            (Family::V4, v4::UNREACHABLE, icmpv4::CODE_FRAGMENTATION_NEEDED)
            | (Family::V6, v6::PACKET_TOO_BIG, _) => Meaning::TooBig,
            // RFC 2473 §8.2: a header that the real server does not understand is ours, not the client's.
            (Family::V4, v4::UNREACHABLE, _) | (Family::V6, v6::UNREACHABLE | v6::PARAMETER_PROBLEM, _) => {
                Meaning::Unreachable
            }
            // The outer time to live is the inner one: the client's ran out. Code 1 is about reassembly.
            (Family::V4, v4::TIME_EXCEEDED, 0) | (Family::V6, v6::TIME_EXCEEDED, 0) => Meaning::TimeExceeded,
            _ => Meaning::Other,
        }
    }

    /// Where the quote ends: before extensions, if the error has any (RFC 4884 §4: a length in units of four or eight
    /// bytes), and before padding.
    fn quote_end(&self, packet: &[u8]) -> usize {
        let rest = packet.get(self.message + 4..).and_then(|rest| rest.first_chunk::<4>());
        let [first, second, ..] = rest.copied().unwrap_or_default();
        let quoted = match self.family() {
            Family::V4 => usize::from(second) * 4,
            Family::V6 if self.icmp_type == icmpv6::icmp_type::PACKET_TOO_BIG => 0,
            Family::V6 => usize::from(first) * 8,
        };
        if quoted == 0 { packet.len() } else { packet.len().min(self.quote() + quoted) }
    }
}

fn outer_v4(packet: &[u8], at: usize) -> Result<Outer, Unusable> {
    let quote = packet.get(at..).ok_or(Unusable::QuoteTruncated)?;
    let ip = ipv4::parse_quoted(quote).map_err(|error| match error {
        ipv4::Ipv4Error::Truncated => Unusable::QuoteTruncated,
        _ => Unusable::QuoteMalformed,
    })?;
    ipv4::verify_checksum(quote).map_err(|_| Unusable::QuoteChecksum)?;
    if ip.frag_offset != 0 {
        return Err(Unusable::QuoteFragment);
    }
    Ok(Outer {
        source: IpAddr::V4(ip.src),
        real: IpAddr::V4(ip.dst),
        protocol: tunnelling(ip.protocol)?,
        payload: at + ip.header_len,
        total_len: ip.total_len,
        header_len: ipv4::HEADER_LEN,
    })
}

fn outer_v6(packet: &[u8], at: usize) -> Result<Outer, Unusable> {
    let quote = packet.get(at..).ok_or(Unusable::QuoteTruncated)?;
    let ip = ipv6::parse_quoted(quote).map_err(|error| match error {
        Malformed::Truncated => Unusable::QuoteTruncated,
        _ => Unusable::QuoteMalformed,
    })?;
    let upper = ip.upper(quote).map_err(|error| match error {
        ipv6::ExtensionError::Truncated => Unusable::QuoteTruncated,
        _ => Unusable::QuoteMalformed,
    })?;
    if upper.is_later_fragment() {
        return Err(Unusable::QuoteFragment);
    }
    Ok(Outer {
        source: IpAddr::V6(ip.src),
        real: IpAddr::V6(ip.dst),
        protocol: tunnelling(upper.protocol)?,
        payload: at + upper.offset,
        total_len: ip.total_len(),
        header_len: ipv6::HEADER_LEN,
    })
}

/// The protocol, if it is one that we tunnel with.
fn tunnelling(number: u8) -> Result<u8, Unusable> {
    use ipv4::protocol::{GRE, IPIP, IPV6, UDP};
    if matches!(number, IPIP | IPV6 | GRE | UDP) { Ok(number) } else { Err(Unusable::QuoteProtocol(number)) }
}

/// What to tell the client. `mtu`: what would have fitted through the tunnel, if that is known and the client's packet
/// may not be fragmented.
///
/// RFC 2003 §4.1: codes that speak of the tunnel's own headers say nothing to the client but that the server cannot be
/// reached.
fn answer(meaning: Meaning, inner: Family, mtu: Option<u16>) -> Option<Answer> {
    Some(match (inner, meaning) {
        (_, Meaning::Other) => return None,
        (Family::V4, Meaning::TooBig) => {
            Answer::V4(icmpv4::Error::FragmentationNeeded { mtu: mtu?.max(MIN_MTU_V4) })
        }
        (Family::V4, Meaning::Unreachable) => Answer::V4(icmpv4::Error::HostUnreachable),
        (Family::V4, Meaning::TimeExceeded) => Answer::V4(icmpv4::Error::TimeExceeded),
        // RFC 2473 §7.1: never less than every link carries.
        (Family::V6, Meaning::TooBig) => {
            Answer::V6(icmpv6::Error::PacketTooBig { mtu: u32::from(mtu?.max(ipv6::MIN_MTU)) })
        }
        (Family::V6, Meaning::Unreachable) => Answer::V6(icmpv6::Error::AddressUnreachable),
        (Family::V6, Meaning::TimeExceeded) => Answer::V6(icmpv6::Error::TimeExceeded),
    })
}
