//! ICMP for IPv4 (RFC 792; what errors quote: RFC 1812 §4.3.2.3; through a NAT: RFC 5508).
//!
//! ```text
//!   0        1        2                 4                                   8
//!   +--------+--------+-----------------+-----------------------------------+------------------------------+
//!   | type   | code   | checksum        | by type: ident + seq, next-hop mtu| echo data, or quoted packet  |
//!   +--------+--------+-----------------+-----------------------------------+------------------------------+
//! ```
//!
//! An error quotes the header of the packet that caused it and at least 8 bytes behind that; those hold the
//! ports. The checksum covers the ICMP message alone, there is no pseudo-header.
//!
//! When no error may be sent (about an error, a later fragment, a broadcast) is for the caller to know.

use super::checksum::{Delta, checksum};
use super::field::Field;
use super::flow::{Proto, Side};
use super::ipv4::{self, Ipv4Error};
use super::{Malformed, TooSmall};
use std::fmt;
use std::net::Ipv4Addr;

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Bytes that an error may quote, at most: so that the whole IPv4 packet has no more than 576.
pub const MAX_QUOTE: usize = 576 - ipv4::HEADER_LEN - HEADER_LEN;

const TYPE: Field<0, 1> = Field;
const CODE: Field<1, 1> = Field;
const TYPE_CODE: Field<0, 2> = Field;
const CHECKSUM: Field<2, 2> = Field;
const REST: Field<4, 4> = Field;
const NEXT_HOP_MTU: Field<6, 2> = Field;

/// Of the quoted transport header: the ports of TCP and UDP alike.
const QUOTED_SPORT: Field<0, 2> = Field;
const QUOTED_DPORT: Field<2, 2> = Field;

/// Values of the type field.
pub mod icmp_type {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench (deprecated).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// The code of "destination unreachable" that says that a packet needs fragmentation but may not have it.
pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;

/// The fields of an ICMP header.
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
    /// Whether it is a message about another packet, which it quotes. No error is ever sent about one.
    #[inline]
    #[must_use]
    pub const fn is_error(&self) -> bool {
        is_error_type(self.icmp_type)
    }

    /// The next hop's MTU in bytes, if this says that fragmentation was needed (RFC 1191). 0 from routers
    /// that do not know of it.
    #[inline]
    #[must_use]
    pub fn next_hop_mtu(&self) -> Option<u16> {
        let [_, _, high, low] = self.rest;
        (self.icmp_type == icmp_type::UNREACHABLE && self.code == CODE_FRAGMENTATION_NEEDED)
            .then_some(u16::from_be_bytes([high, low]))
    }
}

/// Whether messages of this type are about another packet, which they quote.
#[inline]
#[must_use]
pub const fn is_error_type(icmp_type: u8) -> bool {
    use icmp_type::{PARAMETER_PROBLEM, REDIRECT, SOURCE_QUENCH, TIME_EXCEEDED, UNREACHABLE};
    matches!(icmp_type, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// Parses the header of a message: `message` is the IP payload, without padding.
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

/// Whether the checksum of a whole message is right.
#[inline]
#[must_use]
pub fn checksum_ok(message: &[u8]) -> bool {
    checksum(message) == 0
}

/// Turns the echo request in `message` into its reply, checksum included. The addresses of the packet are the
/// caller's to swap. A wrong checksum stays wrong. Returns whether it was an echo request; if not, nothing is
/// changed.
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
    let sum = Delta::NONE.word(old, TYPE_CODE.get_u16(header)).apply(CHECKSUM.get_u16(header));
    CHECKSUM.set_u16(header, sum);
    // A reply may be all zeros (identifier, sequence number and data 0). Only then is 0 not a valid checksum:
    // the sum of nothing but zeros is 0, not 0xFFFF, and equation 3 cannot tell the two.
    if sum == 0 && message.iter().all(|byte| *byte == 0) {
        set_checksum(message, 0xffff);
    }
    true
}

fn set_checksum(message: &mut [u8], value: u16) {
    if let Some(header) = message.first_chunk_mut::<HEADER_LEN>() {
        CHECKSUM.set_u16(header, value);
    }
}

/// An error that the director sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The host cannot be reached.
    HostUnreachable,
    /// Nothing listens on the port: no usable destination.
    PortUnreachable,
    /// The packet is larger than `mtu` bytes and may not be fragmented.
    FragmentationNeeded {
        /// What would fit.
        mtu: u16,
    },
    /// The time to live ran out on the way.
    TimeExceeded,
}

impl Error {
    const fn type_code(self) -> [u8; 2] {
        match self {
            Error::HostUnreachable => [icmp_type::UNREACHABLE, 1],
            Error::PortUnreachable => [icmp_type::UNREACHABLE, 3],
            Error::FragmentationNeeded { .. } => [icmp_type::UNREACHABLE, CODE_FRAGMENTATION_NEEDED],
            Error::TimeExceeded => [icmp_type::TIME_EXCEEDED, 0],
        }
    }
}

/// Bytes that an error quotes of a packet of `total_len` bytes.
#[inline]
#[must_use]
pub const fn quote_len(total_len: usize) -> usize {
    if total_len < MAX_QUOTE { total_len } else { MAX_QUOTE }
}

/// Writes the header of an error in front of the quote that is already in `message`, and the checksum over
/// both: `message` is 8 bytes and then [`quote_len`] bytes of the packet as it was received.
///
/// # Errors
/// [`TooSmall`] when there are fewer than 8 bytes.
pub fn emit_error_header(message: &mut [u8], error: Error) -> Result<(), TooSmall> {
    let header = message.first_chunk_mut::<HEADER_LEN>().ok_or(TooSmall)?;
    TYPE_CODE.set(header, error.type_code());
    CHECKSUM.set_u16(header, 0);
    REST.set(header, [0; 4]);
    if let Error::FragmentationNeeded { mtu } = error {
        NEXT_HOP_MTU.set_u16(header, mtu);
    }
    let sum = checksum(message);
    set_checksum(message, sum);
    Ok(())
}

/// Writes an error about `packet`, an IPv4 packet without padding, and returns how many bytes of `buf` it
/// takes.
///
/// # Errors
/// [`TooSmall`] when header and quote do not fit.
pub fn emit_error(buf: &mut [u8], error: Error, packet: &[u8]) -> Result<usize, TooSmall> {
    let quote = packet.get(..quote_len(packet.len())).unwrap_or_default();
    let len = HEADER_LEN + quote.len();
    let message = buf.get_mut(..len).ok_or(TooSmall)?;
    message.get_mut(HEADER_LEN..).ok_or(TooSmall)?.copy_from_slice(quote);
    emit_error_header(message, error)?;
    Ok(len)
}

/// Why a quoted packet names no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EmbeddedError {
    /// The quote ends before the ports.
    Truncated,
    /// The quoted header contradicts itself.
    BadHeader(Ipv4Error),
    /// A fragment other than the first: it has no ports.
    LaterFragment,
    /// Neither TCP nor UDP, by its IANA number.
    OtherProtocol(u8),
}

impl fmt::Display for EmbeddedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EmbeddedError::Truncated => f.write_str("quote ends before the ports"),
            EmbeddedError::BadHeader(error) => write!(f, "quoted header: {error}"),
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
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// Source port, host order.
    pub sport: u16,
    /// Destination port, host order.
    pub dport: u16,
    /// Bytes of the quoted IPv4 header.
    pub header_len: usize,
}

/// Parses the packet that an error quotes: `quote` is what follows the 8 bytes of the ICMP header. Of the
/// transport header only the ports need to be there.
///
/// # Errors
/// See [`EmbeddedError`].
pub fn parse_embedded(quote: &[u8]) -> Result<Embedded, EmbeddedError> {
    let ip = ipv4::parse_quoted(quote).map_err(|error| match error {
        Ipv4Error::Truncated => EmbeddedError::Truncated,
        other => EmbeddedError::BadHeader(other),
    })?;
    let proto = Proto::from_number(ip.protocol).ok_or(EmbeddedError::OtherProtocol(ip.protocol))?;
    if ip.frag_offset != 0 {
        return Err(EmbeddedError::LaterFragment);
    }
    let ports = ip.payload(quote).first_chunk::<4>().ok_or(EmbeddedError::Truncated)?;
    Ok(Embedded {
        proto,
        src: ip.src,
        dst: ip.dst,
        sport: QUOTED_SPORT.get_u16(ports),
        dport: QUOTED_DPORT.get_u16(ports),
        header_len: ip.header_len,
    })
}

/// Sets an address and port in the packet that the error in `message` quotes, and brings the checksum of the
/// quoted IPv4 header and that of the ICMP message in step. The quoted TCP or UDP checksum stays as it is:
/// the quote may end before it, and hosts do not check it.
///
/// # Errors
/// See [`EmbeddedError`]; nothing is changed then.
pub fn rewrite_quoted(
    message: &mut [u8],
    side: Side,
    addr: Ipv4Addr,
    port: u16,
) -> Result<(), EmbeddedError> {
    let (icmp, quote) = message.split_first_chunk_mut::<HEADER_LEN>().ok_or(EmbeddedError::Truncated)?;
    let embedded = parse_embedded(quote)?;
    let (ip, transport) = quote.split_at_mut_checked(embedded.header_len).ok_or(EmbeddedError::Truncated)?;
    let ports = transport.first_chunk_mut::<4>().ok_or(EmbeddedError::Truncated)?;
    let mut ip = ipv4::HeaderMut::new(ip).ok_or(EmbeddedError::Truncated)?;

    let old_sum = ip.checksum();
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
    // The quoted header's checksum is data to the ICMP checksum. The header's length is a multiple of four,
    // so the ports too begin at an even offset.
    let delta = delta.word(old_sum, ip.checksum());
    let sum = delta.apply(CHECKSUM.get_u16(icmp));
    CHECKSUM.set_u16(icmp, sum);
    Ok(())
}

#[cfg(test)]
#[path = "tests/icmpv4.rs"]
mod tests;
