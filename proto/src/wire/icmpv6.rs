//! ICMPv6 (RFC 4443; neighbour discovery is in `ndp.rs`).
//!
//! ```text
//!   0        1        2                 4                                   8
//!   +--------+--------+-----------------+-----------------------------------+------------------------------+
//!   | type   | code   | checksum        | by type: ident + seq, mtu, pointer| echo data, or quoted packet  |
//!   +--------+--------+-----------------+-----------------------------------+------------------------------+
//! ```
//!
//! Types below 128 are errors. An error quotes as much of the packet that caused it as fits the least MTU of IPv6.
//! The checksum covers a pseudo-header with the addresses of the packet that carries the message, so that a
//! change of either is a change of the checksum.
//!
//! When no error may be sent (about an error, a later fragment, a multicast) is for the caller to know.

use super::checksum::{Delta, l4_checksum};
use super::field::Field;
use super::flow::{Proto, Side};
use super::ipv6::{self, ExtensionError, MIN_MTU, next_header};
use super::{Malformed, TooSmall};
use std::fmt;
use std::net::Ipv6Addr;

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Bytes that an error may quote, at most: so that the whole IPv6 packet has no more than 1280.
pub const MAX_QUOTE: usize = MIN_MTU as usize - ipv6::HEADER_LEN - HEADER_LEN;

const TYPE: Field<0, 1> = Field;
const CODE: Field<1, 1> = Field;
pub(super) const TYPE_CODE: Field<0, 2> = Field;
pub(super) const CHECKSUM: Field<2, 2> = Field;
const REST: Field<4, 4> = Field;

/// Of the quoted transport header: the ports of TCP and UDP alike.
const QUOTED_SPORT: Field<0, 2> = Field;
const QUOTED_DPORT: Field<2, 2> = Field;

/// Values of the type field.
pub mod icmp_type {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect. Not an error by its number, but about another packet all the same.
    pub const REDIRECT: u8 = 137;
}

/// The fields of an ICMPv6 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Icmp {
    /// Type, see [`icmp_type`].
    pub icmp_type: u8,
    /// Code.
    pub code: u8,
    /// Checksum field, host order.
    pub checksum: u16,
    /// The last four bytes of the header, whose meaning depends on the type.
    pub rest: [u8; 4],
}

impl Icmp {
    /// Whether it is an error about another packet, which it quotes. No error is ever sent about one.
    #[inline]
    #[must_use]
    pub const fn is_error(&self) -> bool {
        is_error_type(self.icmp_type)
    }

    /// The next hop's MTU in bytes, if this says that the packet was too big.
    #[inline]
    #[must_use]
    pub fn next_hop_mtu(&self) -> Option<u32> {
        (self.icmp_type == icmp_type::PACKET_TOO_BIG).then_some(u32::from_be_bytes(self.rest))
    }
}

/// Whether messages of this type are errors (RFC 4443 §2.1: those whose highest bit is not set).
#[inline]
#[must_use]
pub const fn is_error_type(icmp_type: u8) -> bool {
    icmp_type < 128
}

/// Parses the header of a message: `message` is what follows the extension headers, without padding.
///
/// # Errors
/// [`Malformed::Truncated`] when there are fewer than 8 bytes.
#[inline]
pub fn parse(message: &[u8]) -> Result<Icmp, Malformed> {
    let header = message.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    Ok(Icmp {
        icmp_type: TYPE.get_u8(header),
        code: CODE.get_u8(header),
        checksum: CHECKSUM.get_u16(header),
        rest: REST.get(header),
    })
}

/// Whether the checksum of a whole message between two addresses is right.
#[inline]
#[must_use]
pub fn checksum_ok(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> bool {
    l4_checksum(src, dst, next_header::ICMPV6, message) == 0
}

/// Brings the checksum of a message in step with changes, as those of the addresses of its packet. Nothing
/// happens to a message that has no checksum field.
#[inline]
pub fn update_checksum(message: &mut [u8], delta: Delta) {
    if let Some(header) = message.first_chunk_mut::<HEADER_LEN>() {
        let sum = delta.apply(CHECKSUM.get_u16(header));
        CHECKSUM.set_u16(header, sum);
    }
}

/// Computes the checksum of a message between two addresses in full and writes it.
pub(super) fn finish(message: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) -> Result<(), TooSmall> {
    let set = |message: &mut [u8], sum| {
        let header = message.first_chunk_mut::<HEADER_LEN>().ok_or(TooSmall)?;
        CHECKSUM.set_u16(header, sum);
        Ok(())
    };
    set(message, 0)?;
    set(message, l4_checksum(src, dst, next_header::ICMPV6, message))
}

/// Turns the echo request in `message` into its reply, checksum included. The addresses of the packet are the
/// caller's to swap, which does not change the checksum. A wrong checksum stays wrong. Returns whether it was an
/// echo request; if not, nothing is changed.
#[must_use]
pub fn echo_reply(message: &mut [u8]) -> bool {
    let Some(header) = message.first_chunk_mut::<HEADER_LEN>() else {
        return false;
    };
    if TYPE.get_u8(header) != icmp_type::ECHO_REQUEST {
        return false;
    }
    let old = TYPE_CODE.get_u16(header);
    TYPE.set_u8(header, icmp_type::ECHO_REPLY);
    let delta = Delta::NONE.word(old, TYPE_CODE.get_u16(header));
    update_checksum(message, delta);
    true
}

/// An error that the director sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The host cannot be reached.
    AddressUnreachable,
    /// Nothing listens on the port: no usable destination.
    PortUnreachable,
    /// The packet is larger than `mtu` bytes.
    PacketTooBig {
        /// What would fit.
        mtu: u32,
    },
    /// The hop limit ran out on the way.
    TimeExceeded,
    /// A field of the packet cannot be understood.
    ParameterProblem {
        /// 0: an erroneous field, 1: an unknown next header, 2: an unknown option.
        code: u8,
        /// Where, in bytes from the start of the packet.
        pointer: u32,
    },
}

impl Error {
    const fn type_code(self) -> [u8; 2] {
        match self {
            Error::AddressUnreachable => [icmp_type::UNREACHABLE, 3],
            Error::PortUnreachable => [icmp_type::UNREACHABLE, 4],
            Error::PacketTooBig { .. } => [icmp_type::PACKET_TOO_BIG, 0],
            Error::TimeExceeded => [icmp_type::TIME_EXCEEDED, 0],
            Error::ParameterProblem { code, .. } => [icmp_type::PARAMETER_PROBLEM, code],
        }
    }

    const fn rest(self) -> u32 {
        match self {
            Error::PacketTooBig { mtu } => mtu,
            Error::ParameterProblem { pointer, .. } => pointer,
            Error::AddressUnreachable | Error::PortUnreachable | Error::TimeExceeded => 0,
        }
    }
}

/// Bytes that an error quotes of a packet of `total_len` bytes.
#[inline]
#[must_use]
pub const fn quote_len(total_len: usize) -> usize {
    if total_len < MAX_QUOTE { total_len } else { MAX_QUOTE }
}

/// Writes the header of an error from `src` to `dst` in front of the quote that is already in `message`, and the
/// checksum over both: `message` is 8 bytes and then [`quote_len`] bytes of the packet as it was received.
///
/// # Errors
/// [`TooSmall`] when there are fewer than 8 bytes.
pub fn emit_error_header(
    message: &mut [u8],
    error: Error,
    src: Ipv6Addr,
    dst: Ipv6Addr,
) -> Result<(), TooSmall> {
    let header = message.first_chunk_mut::<HEADER_LEN>().ok_or(TooSmall)?;
    TYPE_CODE.set(header, error.type_code());
    REST.set_u32(header, error.rest());
    finish(message, src, dst)
}

/// Writes an error from `src` to `dst` about `packet`, an IPv6 packet without padding, and returns how many bytes
/// of `buf` it takes.
///
/// # Errors
/// [`TooSmall`] when header and quote do not fit.
pub fn emit_error(
    buf: &mut [u8],
    error: Error,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    packet: &[u8],
) -> Result<usize, TooSmall> {
    let quote = packet.get(..quote_len(packet.len())).unwrap_or_default();
    let len = HEADER_LEN + quote.len();
    let message = buf.get_mut(..len).ok_or(TooSmall)?;
    message.get_mut(HEADER_LEN..).ok_or(TooSmall)?.copy_from_slice(quote);
    emit_error_header(message, error, src, dst)?;
    Ok(len)
}

/// Why a quoted packet names no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EmbeddedError {
    /// The quote ends before the ports.
    Truncated,
    /// The quoted packet is not IPv6.
    BadVersion,
    /// The quoted extension headers lead nowhere.
    BadExtension(ExtensionError),
    /// A fragment other than the first: it has no ports.
    LaterFragment,
    /// Neither TCP nor UDP, by its IANA number.
    OtherProtocol(u8),
}

impl fmt::Display for EmbeddedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EmbeddedError::Truncated => f.write_str("quote ends before the ports"),
            EmbeddedError::BadVersion => f.write_str("quoted header: version is not 6"),
            EmbeddedError::BadExtension(error) => write!(f, "quoted packet: {error}"),
            EmbeddedError::LaterFragment => f.write_str("quote of a later fragment"),
            EmbeddedError::OtherProtocol(number) => write!(f, "quote of protocol {number}"),
        }
    }
}

impl std::error::Error for EmbeddedError {}

/// The flow of the packet that an error quotes, in that packet's own direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// Transport protocol.
    pub proto: Proto,
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// Source port, host order.
    pub sport: u16,
    /// Destination port, host order.
    pub dport: u16,
    /// Bytes of the quoted headers before the transport header, extension headers included.
    pub header_len: usize,
}

/// Parses the packet that an error quotes: `quote` is what follows the 8 bytes of the ICMPv6 header. Of the
/// transport header only the ports need to be there.
///
/// # Errors
/// See [`EmbeddedError`].
pub fn parse_embedded(quote: &[u8]) -> Result<Embedded, EmbeddedError> {
    let ip = ipv6::parse_quoted(quote).map_err(|error| match error {
        Malformed::BadVersion => EmbeddedError::BadVersion,
        Malformed::Truncated | Malformed::BadLength => EmbeddedError::Truncated,
    })?;
    let upper = ip.upper(quote).map_err(|error| match error {
        ExtensionError::Truncated => EmbeddedError::Truncated,
        other => EmbeddedError::BadExtension(other),
    })?;
    if upper.is_later_fragment() {
        return Err(EmbeddedError::LaterFragment);
    }
    let proto = Proto::from_number(upper.protocol).ok_or(EmbeddedError::OtherProtocol(upper.protocol))?;
    let transport = ip.packet(quote).get(upper.offset..).ok_or(EmbeddedError::Truncated)?;
    let ports = transport.first_chunk::<4>().ok_or(EmbeddedError::Truncated)?;
    Ok(Embedded {
        proto,
        src: ip.src,
        dst: ip.dst,
        sport: QUOTED_SPORT.get_u16(ports),
        dport: QUOTED_DPORT.get_u16(ports),
        header_len: upper.offset,
    })
}

/// Sets an address and port in the packet that the error in `message` quotes, and brings the checksum of the
/// ICMPv6 message in step. The quoted TCP or UDP checksum stays as it is: the quote may end before it, and hosts
/// do not check it.
///
/// # Errors
/// See [`EmbeddedError`]; nothing is changed then.
pub fn rewrite_quoted(
    message: &mut [u8],
    side: Side,
    addr: Ipv6Addr,
    port: u16,
) -> Result<(), EmbeddedError> {
    let (_, quote) = message.split_first_chunk_mut::<HEADER_LEN>().ok_or(EmbeddedError::Truncated)?;
    let embedded = parse_embedded(quote)?;
    let (ip, transport) = quote.split_at_mut_checked(embedded.header_len).ok_or(EmbeddedError::Truncated)?;
    let ports = transport.first_chunk_mut::<4>().ok_or(EmbeddedError::Truncated)?;
    let mut ip = ipv6::HeaderMut::new(ip).ok_or(EmbeddedError::Truncated)?;

    // Every header is a multiple of four bytes long, so that the ports begin at an even offset.
    let delta = match side {
        Side::Source => {
            QUOTED_SPORT.set_u16(ports, port);
            ip.rewrite_src(addr).word(embedded.sport, port)
        }
        Side::Destination => {
            QUOTED_DPORT.set_u16(ports, port);
            ip.rewrite_dst(addr).word(embedded.dport, port)
        }
    };
    update_checksum(message, delta);
    Ok(())
}

#[cfg(test)]
#[path = "tests/icmpv6.rs"]
mod tests;
