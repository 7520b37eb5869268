//! An ICMP error and the flow that it is about.

use sheave_proto::wire::checksum::checksum;
use sheave_proto::wire::flow::FlowKey;
use sheave_proto::wire::icmpv4::{self, icmp_type};
use sheave_proto::wire::icmpv6;
use sheave_proto::wire::ipv4::{self, protocol};
use sheave_proto::wire::ipv6::{self, next_header};
use sheave_proto::wire::tunnel::Family;
use std::net::IpAddr;

/// Why a packet is no ICMP error that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unusable {
    /// No whole IP packet with an ICMP header in it.
    Malformed,
    /// A fragment: neither its checksum nor its quote can be relied on.
    Fragment,
    /// The checksum of the message is wrong.
    Checksum,
    /// A message that is about no flow: echo, redirect and the like.
    NotError,
    /// The quote ends before the ports.
    QuoteTruncated,
    /// The quoted headers contradict themselves, or are of another family.
    QuoteMalformed,
    /// The checksum of the quoted IPv4 header is wrong.
    QuoteChecksum,
    /// The quoted packet is a fragment other than the first: it has no ports.
    QuoteFragment,
    /// The quoted packet is of a protocol without flows of ours, by its IANA number.
    QuoteProtocol(u8),
}

/// An ICMP error with a right checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent it: an end of the flow, or any router.
    pub src: IpAddr,
    /// Whom it was sent to.
    pub dst: IpAddr,
    /// Its ICMP type; the families have numbers of their own.
    pub icmp_type: u8,
    /// Its code.
    pub code: u8,
    /// If it says that a packet was too big for a link: the link's MTU, as it stands there.
    pub mtu: Option<u32>,
    /// Where the ICMP header begins in the packet.
    pub(super) message: usize,
    /// Where the message ends, before any padding.
    pub(super) end: usize,
}

/// What an error quotes: a packet that was sent to whoever the error comes from, or to where it was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// The quoted packet's flow, in its own direction. The error travels with [`FlowKey::reversed`]: the key to look
    /// up, as if it were a packet of the flow itself.
    pub flow: FlowKey,
    /// Where the quoted IP header begins in the packet.
    pub at: usize,
    /// Where the quoted TCP or UDP header begins in the packet.
    pub transport: usize,
}

/// Reads the ICMP error in an IP packet of either family; `packet` may go on behind it (padding).
///
/// # Errors
/// [`Unusable`], of the first five kinds.
pub fn read(packet: &[u8]) -> Result<IcmpError, Unusable> {
    match packet.first().ok_or(Unusable::Malformed)? >> 4 {
        4 => read_v4(packet),
        6 => read_v6(packet),
        _ => Err(Unusable::Malformed),
    }
}

fn read_v4(packet: &[u8]) -> Result<IcmpError, Unusable> {
    let ip = ipv4::parse(packet).map_err(|_| Unusable::Malformed)?;
    if ip.protocol != protocol::ICMP {
        return Err(Unusable::NotError);
    }
    if ip.is_fragment() {
        return Err(Unusable::Fragment);
    }
    let message = ip.payload(packet);
    let icmp = icmpv4::parse(message).map_err(|_| Unusable::Malformed)?;
    if checksum(message) != 0 {
        return Err(Unusable::Checksum);
    }
    let related = [icmp_type::UNREACHABLE, icmp_type::SOURCE_QUENCH, icmp_type::TIME_EXCEEDED];
    if !related.contains(&icmp.icmp_type) {
        return Err(Unusable::NotError);
    }
    Ok(IcmpError {
        src: IpAddr::V4(ip.src),
        dst: IpAddr::V4(ip.dst),
        icmp_type: icmp.icmp_type,
        code: icmp.code,
        mtu: icmp.next_hop_mtu().map(u32::from),
        message: ip.header_len,
        end: ip.total_len,
    })
}

fn read_v6(packet: &[u8]) -> Result<IcmpError, Unusable> {
    let ip = ipv6::parse(packet).map_err(|_| Unusable::Malformed)?;
    let upper = ip.upper(packet).map_err(|_| Unusable::Malformed)?;
    if upper.protocol != next_header::ICMPV6 {
        return Err(Unusable::NotError);
    }
    if upper.fragment.is_some_and(|fragment| !fragment.is_atomic()) {
        return Err(Unusable::Fragment);
    }
    let message = ip.packet(packet).get(upper.offset..).unwrap_or_default();
    let icmp = icmpv6::parse(message).map_err(|_| Unusable::Malformed)?;
    if !icmpv6::checksum_ok(ip.src, ip.dst, message) {
        return Err(Unusable::Checksum);
    }
    if !icmp.is_error() {
        return Err(Unusable::NotError);
    }
    Ok(IcmpError {
        src: IpAddr::V6(ip.src),
        dst: IpAddr::V6(ip.dst),
        icmp_type: icmp.icmp_type,
        code: icmp.code,
        mtu: icmp.next_hop_mtu(),
        message: upper.offset,
        end: ip.total_len(),
    })
}

impl IcmpError {
    /// The family of the error and of what it quotes.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.src)
    }

    /// The flow of the packet that the error in `packet` quotes.
    ///
    /// # Errors
    /// [`Unusable`], of the kinds that speak of a quote.
    pub fn embedded(&self, packet: &[u8]) -> Result<Embedded, Unusable> {
        embedded_at(self.whole(packet), self.quote(), self.family())
    }

    /// Where the quote begins in the packet.
    pub(super) const fn quote(&self) -> usize {
        const { assert!(icmpv4::HEADER_LEN == icmpv6::HEADER_LEN, "the families differ") };
        self.message + icmpv4::HEADER_LEN
    }

    /// The packet without padding.
    pub(super) fn whole<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(..self.end).unwrap_or(packet)
    }
}

/// The flow of an IP packet that begins at `at` and may be cut short.
pub(super) fn embedded_at(packet: &[u8], at: usize, family: Family) -> Result<Embedded, Unusable> {
    let quote = packet.get(at..).ok_or(Unusable::QuoteTruncated)?;
    let (flow, header_len) = match family {
        Family::V4 => flow_v4(quote)?,
        Family::V6 => flow_v6(quote)?,
    };
    Ok(Embedded { flow, at, transport: at + header_len })
}

fn flow_v4(quote: &[u8]) -> Result<(FlowKey, usize), Unusable> {
    use icmpv4::EmbeddedError;
    let quoted = icmpv4::parse_embedded(quote).map_err(|error| match error {
        EmbeddedError::Truncated => Unusable::QuoteTruncated,
        EmbeddedError::BadHeader(_) => Unusable::QuoteMalformed,
        EmbeddedError::LaterFragment => Unusable::QuoteFragment,
        EmbeddedError::OtherProtocol(number) => Unusable::QuoteProtocol(number),
    })?;
    // RFC 5508 §4.1, REQ-3 a): an error that quotes a header with a wrong checksum is dropped. The checksum of the
    // quoted transport header is not looked at (REQ-3 c).
    ipv4::verify_checksum(quote).map_err(|_| Unusable::QuoteChecksum)?;
    let icmpv4::Embedded { proto, src, dst, sport, dport, header_len } = quoted;
    Ok((FlowKey { proto, src: IpAddr::V4(src), dst: IpAddr::V4(dst), sport, dport }, header_len))
}

fn flow_v6(quote: &[u8]) -> Result<(FlowKey, usize), Unusable> {
    use icmpv6::EmbeddedError;
    let quoted = icmpv6::parse_embedded(quote).map_err(|error| match error {
        EmbeddedError::Truncated => Unusable::QuoteTruncated,
        EmbeddedError::BadVersion | EmbeddedError::BadExtension(_) => Unusable::QuoteMalformed,
        EmbeddedError::LaterFragment => Unusable::QuoteFragment,
        EmbeddedError::OtherProtocol(number) => Unusable::QuoteProtocol(number),
    })?;
    let icmpv6::Embedded { proto, src, dst, sport, dport, header_len } = quoted;
    Ok((FlowKey { proto, src: IpAddr::V6(src), dst: IpAddr::V6(dst), sport, dport }, header_len))
}
