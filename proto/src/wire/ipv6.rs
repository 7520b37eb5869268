//! The IPv6 header and its extension headers (RFC 8200).
//!
//! ```text
//!   0    0.5  1.5     4                 6        7        8            24            40
//!   +----+----+-------+-----------------+--------+--------+------------+-------------+
//!   | 6  | tc | label | payload length  | next   | hops   | source     | destination |
//!   +----+----+-------+-----------------+--------+--------+------------+-------------+
//!
//!   extension headers, each naming the next:
//!   +------+-----+------------------------+
//!   | next | len | (len + 1) x 8 - 2      |     hop-by-hop, routing, destination options
//!   | next | len | (len + 2) x 4 - 2      |     authentication header (RFC 4302)
//!   | next |  0  | offset, M  | ident     |     fragment, always 8
//!   +------+-----+------------------------+
//! ```
//!
//! The header has no checksum; the addresses are part of those of TCP, UDP and ICMPv6. [`parse`] reads the fixed
//! header, [`Ipv6::upper`] finds what lies behind the extension headers: in one comparison where there are none.
//! What the options in them ask for is not looked at.

use super::Malformed;
use super::checksum::Delta;
use super::field::Field;
use std::fmt;
use std::net::Ipv6Addr;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Bytes of a fragment header.
pub const FRAGMENT_LEN: usize = 8;
/// Extension headers that [`Ipv6::upper`] walks.
pub const MAX_EXTENSIONS: u8 = 8;
/// What every link carries (RFC 8200 §5).
pub const MIN_MTU: u16 = 1280;

const VERSION_CLASS_LABEL: Field<0, 4> = Field;
const PAYLOAD_LEN: Field<4, 2> = Field;
const NEXT_HEADER: Field<6, 1> = Field;
const HOP_LIMIT: Field<7, 1> = Field;
const SRC: Field<8, 16> = Field;
const DST: Field<24, 16> = Field;

/// Of every extension header.
const EXT_NEXT: Field<0, 1> = Field;
const EXT_LEN: Field<1, 1> = Field;
/// Of a routing header.
const SEGMENTS_LEFT: Field<3, 1> = Field;
/// Of a fragment header: 13 bits of offset in units of eight bytes, two reserved, "more fragments".
const FRAGMENT_OFFSET: Field<2, 2> = Field;
const FRAGMENT_ID: Field<4, 4> = Field;
const OFFSET_MASK: u16 = 0xfff8;
const MORE_FRAGMENTS: u16 = 0x0001;

const LABEL_MASK: u32 = 0x000f_ffff;

/// IANA numbers of headers that follow.
pub mod next_header {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv4 in IPv6.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IPv6.
    pub const IPV6: u8 = 41;
    /// A routing header.
    pub const ROUTING: u8 = 43;
    /// A fragment header.
    pub const FRAGMENT: u8 = 44;
    /// GRE.
    pub const GRE: u8 = 47;
    /// An authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Nothing follows.
    pub const NONE: u8 = 59;
    /// Destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// The fields of the fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6 {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Bytes behind the fixed header. Of a quoted packet, those that it once had.
    pub payload_len: usize,
    /// IANA number of the header that follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
}

impl Ipv6 {
    /// Bytes of the packet, fixed header included; padding behind it is not part of it.
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> usize {
        HEADER_LEN + self.payload_len
    }

    /// The packet in `bytes`, the slice that this was parsed from: without padding, and what there is of it if
    /// it was cut short.
    #[inline]
    #[must_use]
    pub fn packet<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(..self.total_len()).unwrap_or(bytes)
    }

    /// The packet in `bytes`, writable.
    #[inline]
    #[must_use]
    pub fn packet_mut<'a>(&self, bytes: &'a mut [u8]) -> &'a mut [u8] {
        let end = self.total_len().min(bytes.len());
        bytes.get_mut(..end).unwrap_or_default()
    }

    /// What lies behind the extension headers of the packet in `bytes`, the slice that this was parsed from.
    ///
    /// # Errors
    /// See [`ExtensionError`].
    #[inline]
    pub fn upper(&self, bytes: &[u8]) -> Result<Upper, ExtensionError> {
        let upper = Upper { protocol: self.next_header, offset: HEADER_LEN, fragment: None };
        match self.next_header {
            next_header::TCP | next_header::UDP | next_header::ICMPV6 => Ok(upper),
            _ => walk(upper, self.packet(bytes)),
        }
    }

    /// Where what was fragmented begins in the packet in `bytes`: behind the fragment header, if there is one.
    ///
    /// # Errors
    /// See [`ExtensionError`].
    pub fn fragmented(&self, bytes: &[u8]) -> Result<Option<usize>, ExtensionError> {
        let packet = self.packet(bytes);
        let mut upper = Upper { protocol: self.next_header, offset: HEADER_LEN, fragment: None };
        for _ in 0..MAX_EXTENSIONS {
            if upper.fragment.is_some() || !is_extension(upper.protocol) {
                break;
            }
            upper = step(upper, packet)?;
        }
        Ok(upper.fragment.map(|_| upper.offset))
    }
}

/// What lies behind the extension headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upper {
    /// IANA number of the first header that is not walked. In a fragment other than the first, what the
    /// fragmentable part begins with: nothing of it is here.
    pub protocol: u8,
    /// Where that header begins, in bytes from the start of the packet; at most the packet's length.
    pub offset: usize,
    /// What the fragment header says, if there is one.
    pub fragment: Option<Fragment>,
}

impl Upper {
    /// Whether this is a fragment other than the first, which has no transport header.
    #[inline]
    #[must_use]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }
}

/// A fragment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Offset in bytes, a multiple of eight.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// Identification, host order.
    pub id: u32,
}

impl Fragment {
    /// Whether it is the whole packet all the same (RFC 6946).
    #[inline]
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }

    fn read(header: &[u8; FRAGMENT_LEN]) -> Fragment {
        let offset_more = FRAGMENT_OFFSET.get_u16(header);
        Fragment {
            offset: offset_more & OFFSET_MASK,
            more: offset_more & MORE_FRAGMENTS != 0,
            id: FRAGMENT_ID.get_u32(header),
        }
    }

    /// Writes the header in front of what `next_header` names. The offset is rounded down to a multiple of
    /// eight.
    #[inline]
    pub fn emit(&self, header: &mut [u8; FRAGMENT_LEN], next_header: u8) {
        EXT_NEXT.set_u8(header, next_header);
        EXT_LEN.set_u8(header, 0);
        let more = if self.more { MORE_FRAGMENTS } else { 0 };
        FRAGMENT_OFFSET.set_u16(header, (self.offset & OFFSET_MASK) | more);
        FRAGMENT_ID.set_u32(header, self.id);
    }
}

/// Why the extension headers of a packet lead nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtensionError {
    /// The packet ends within one of them.
    Truncated,
    /// An authentication header too short to be one.
    BadLength,
    /// More than [`MAX_EXTENSIONS`].
    TooMany,
    /// Hop-by-hop options other than first, or a second fragment header (RFC 8200 §4.1).
    Misplaced,
    /// A routing header with segments left: the packet is meant for another address in the end.
    Routed,
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExtensionError::Truncated => "truncated extension header",
            ExtensionError::BadLength => "authentication header below 12 bytes",
            ExtensionError::TooMany => "more than 8 extension headers",
            ExtensionError::Misplaced => "extension header where it may not be",
            ExtensionError::Routed => "routing header with segments left",
        })
    }
}

impl std::error::Error for ExtensionError {}

/// Whether a number is that of an extension header that is walked over.
#[inline]
#[must_use]
pub const fn is_extension(protocol: u8) -> bool {
    use next_header::{AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

#[inline(never)]
fn walk(mut upper: Upper, packet: &[u8]) -> Result<Upper, ExtensionError> {
    let mut left = MAX_EXTENSIONS;
    while is_extension(upper.protocol) && !upper.is_later_fragment() {
        left = left.checked_sub(1).ok_or(ExtensionError::TooMany)?;
        upper = step(upper, packet)?;
    }
    Ok(upper)
}

/// Over one extension header.
fn step(at: Upper, packet: &[u8]) -> Result<Upper, ExtensionError> {
    let rest = packet.get(at.offset..).ok_or(ExtensionError::Truncated)?;
    let header = rest.first_chunk::<FRAGMENT_LEN>().ok_or(ExtensionError::Truncated)?;
    let units = usize::from(EXT_LEN.get_u8(header));
    let mut fragment = at.fragment;
    let len = match at.protocol {
        next_header::HOP_BY_HOP if at.offset != HEADER_LEN => return Err(ExtensionError::Misplaced),
        next_header::ROUTING if SEGMENTS_LEFT.get_u8(header) != 0 => return Err(ExtensionError::Routed),
        next_header::FRAGMENT if fragment.is_some() => return Err(ExtensionError::Misplaced),
        next_header::FRAGMENT => {
            fragment = Some(Fragment::read(header));
            FRAGMENT_LEN
        }
        // RFC 4302 §2.2: in units of four bytes less two; three words come before what it authenticates with.
        next_header::AUTHENTICATION if units == 0 => return Err(ExtensionError::BadLength),
        next_header::AUTHENTICATION => (units + 2) * 4,
        _ => (units + 1) * 8,
    };
    if len > rest.len() {
        return Err(ExtensionError::Truncated);
    }
    Ok(Upper { protocol: EXT_NEXT.get_u8(header), offset: at.offset + len, fragment })
}

/// Parses the fixed header of a whole packet. `packet` may go on behind it (padding).
///
/// # Errors
/// [`Malformed::Truncated`] when the bytes end within the header or before the payload length;
/// [`Malformed::BadVersion`] when the version is not 6. A jumbo payload (length 0) is not seen as such.
#[inline]
pub fn parse(packet: &[u8]) -> Result<Ipv6, Malformed> {
    let ip = parse_quoted(packet)?;
    if ip.total_len() > packet.len() {
        return Err(Malformed::Truncated);
    }
    Ok(ip)
}

/// Parses the fixed header of a packet that may be cut short behind it, as ICMPv6 errors quote them.
///
/// # Errors
/// As [`parse`], but the payload length may be more than there is.
#[inline]
pub fn parse_quoted(packet: &[u8]) -> Result<Ipv6, Malformed> {
    let header = packet.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    let [first, second, _, _] = VERSION_CLASS_LABEL.get(header);
    if first >> 4 != 6 {
        return Err(Malformed::BadVersion);
    }
    Ok(Ipv6 {
        traffic_class: (first << 4) | (second >> 4),
        flow_label: VERSION_CLASS_LABEL.get_u32(header) & LABEL_MASK,
        payload_len: usize::from(PAYLOAD_LEN.get_u16(header)),
        next_header: NEXT_HEADER.get_u8(header),
        hop_limit: HOP_LIMIT.get_u8(header),
        src: SRC.get_addr6(header),
        dst: DST.get_addr6(header),
    })
}

/// A fixed header for rewriting in place. There is no header checksum: the `rewrite_*` methods return the
/// change for the checksum of TCP, UDP or ICMPv6, whose pseudo-header holds the addresses.
#[derive(Debug)]
pub struct HeaderMut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> HeaderMut<'a> {
    /// A view of the header at the start of `packet`, if it is that long.
    #[inline]
    pub fn new(packet: &'a mut [u8]) -> Option<HeaderMut<'a>> {
        packet.first_chunk_mut().map(HeaderMut)
    }

    /// The source.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv6Addr {
        SRC.get_addr6(self.0)
    }

    /// The destination.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv6Addr {
        DST.get_addr6(self.0)
    }

    /// The hop limit.
    #[inline]
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        HOP_LIMIT.get_u8(self.0)
    }

    /// Sets the source.
    #[inline]
    pub fn set_src(&mut self, addr: Ipv6Addr) {
        SRC.set_addr6(self.0, addr);
    }

    /// Sets the destination.
    #[inline]
    pub fn set_dst(&mut self, addr: Ipv6Addr) {
        DST.set_addr6(self.0, addr);
    }

    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, hops: u8) {
        HOP_LIMIT.set_u8(self.0, hops);
    }

    /// Sets DSCP and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, class: u8) {
        let rest = VERSION_CLASS_LABEL.get_u32(self.0) & !(0xff << 20);
        VERSION_CLASS_LABEL.set_u32(self.0, rest | u32::from(class) << 20);
    }

    /// Sets the bytes behind the fixed header, host order.
    #[inline]
    pub fn set_payload_len(&mut self, bytes: u16) {
        PAYLOAD_LEN.set_u16(self.0, bytes);
    }

    /// Sets the IANA number of the header that follows.
    #[inline]
    pub fn set_next_header(&mut self, number: u8) {
        NEXT_HEADER.set_u8(self.0, number);
    }

    /// Sets the source and returns the change.
    #[inline]
    pub fn rewrite_src(&mut self, addr: Ipv6Addr) -> Delta {
        let delta = Delta::NONE.addr6(self.src(), addr);
        self.set_src(addr);
        delta
    }

    /// Sets the destination and returns the change.
    #[inline]
    pub fn rewrite_dst(&mut self, addr: Ipv6Addr) -> Delta {
        let delta = Delta::NONE.addr6(self.dst(), addr);
        self.set_dst(addr);
        delta
    }

    /// Takes one from the hop limit and returns what is left. `None`, and nothing changed, when it is 1 or 0
    /// already: such a packet must not be forwarded.
    #[inline]
    pub fn decrement_hop_limit(&mut self) -> Option<u8> {
        let hops = self.hop_limit();
        if hops <= 1 {
            return None;
        }
        self.set_hop_limit(hops - 1);
        Some(hops - 1)
    }
}

/// A fixed header, to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label; the lower 20 bits count.
    pub flow_label: u32,
    /// Bytes behind this header.
    pub payload_len: u16,
    /// IANA number of the header that follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
}

impl Header {
    /// Writes the header.
    #[inline]
    pub fn emit(&self, header: &mut [u8; HEADER_LEN]) {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | (self.flow_label & LABEL_MASK);
        VERSION_CLASS_LABEL.set_u32(header, first);
        PAYLOAD_LEN.set_u16(header, self.payload_len);
        NEXT_HEADER.set_u8(header, self.next_header);
        HOP_LIMIT.set_u8(header, self.hop_limit);
        SRC.set_addr6(header, self.src);
        DST.set_addr6(header, self.dst);
    }
}

#[cfg(test)]
#[path = "tests/ipv6.rs"]
mod tests;
