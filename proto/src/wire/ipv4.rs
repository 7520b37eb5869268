//! The IPv4 header (RFC 791).
//!
//! ```text
//!   0        1        2                 4                 6                 8
//!   +----+---+--------+-----------------+-----------------+---+-------------+
//!   | 4  |ihl| tos    | total length    | identification  |0DM| frag offset |
//!   +----+---+--------+-----------------+-----------------+---+-------------+
//!   | ttl    | proto  | checksum        | source                            |
//!   +--------+--------+-----------------+-----------------------------------+
//!   | destination                       | options, up to 40 bytes ...
//!   +-----------------------------------+-----------------------------------
//! ```
//!
//! [`parse`] checks lengths, not the checksum: [`verify_checksum`] does, so that the caller decides the order.

use super::checksum::{Delta, Sum, checksum};
use super::field::Field;
use std::fmt;
use std::net::Ipv4Addr;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

const VERSION_IHL: Field<0, 1> = Field;
const TOS: Field<1, 1> = Field;
const TOTAL_LEN: Field<2, 2> = Field;
const IDENT: Field<4, 2> = Field;
const FLAGS_OFFSET: Field<6, 2> = Field;
const TTL: Field<8, 1> = Field;
/// TTL and protocol: the word that a change of the TTL changes for the checksum.
const TTL_PROTOCOL: Field<8, 2> = Field;
const PROTOCOL: Field<9, 1> = Field;
const CHECKSUM: Field<10, 2> = Field;
const SRC: Field<12, 4> = Field;
const DST: Field<16, 4> = Field;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// IANA protocol numbers that the director meets.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IP in IP.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// GRE.
    pub const GRE: u8 = 47;
}

/// Why bytes are no IPv4 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ipv4Error {
    /// The bytes end within the header, or before the total length.
    Truncated,
    /// The version is not 4.
    BadVersion,
    /// The header length is below 20 bytes.
    BadHeaderLength,
    /// The total length is below the header length.
    BadTotalLength,
    /// The header checksum is wrong.
    BadChecksum,
}

impl fmt::Display for Ipv4Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ipv4Error::Truncated => "truncated",
            Ipv4Error::BadVersion => "version is not 4",
            Ipv4Error::BadHeaderLength => "header length below 20",
            Ipv4Error::BadTotalLength => "total length below the header length",
            Ipv4Error::BadChecksum => "wrong header checksum",
        })
    }
}

impl std::error::Error for Ipv4Error {}

/// The fields of an IPv4 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4 {
    /// Bytes of the header, options included: 20 to 60.
    pub header_len: usize,
    /// Bytes of the packet, header included; padding behind it is not part of it.
    pub total_len: usize,
    /// DSCP and ECN.
    pub tos: u8,
    /// Identification, host order.
    pub ident: u16,
    /// Don't fragment.
    pub df: bool,
    /// More fragments follow.
    pub mf: bool,
    /// Fragment offset in bytes (the field counts units of eight).
    pub frag_offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// IANA protocol number of the payload.
    pub protocol: u8,
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
}

impl Ipv4 {
    /// Whether this is a fragment, the first one included.
    #[inline]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.mf || self.frag_offset != 0
    }

    /// Bytes behind the header. Of a quoted packet, those that it once had.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.total_len.saturating_sub(self.header_len)
    }

    /// The payload in `packet`, the slice that this was parsed from: without padding, and what there is of
    /// it if it was cut short.
    #[inline]
    #[must_use]
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(self.header_len..self.total_len.min(packet.len())).unwrap_or_default()
    }

    /// The payload in `packet`, writable.
    #[inline]
    #[must_use]
    pub fn payload_mut<'a>(&self, packet: &'a mut [u8]) -> &'a mut [u8] {
        let end = self.total_len.min(packet.len());
        packet.get_mut(self.header_len..end).unwrap_or_default()
    }
}

/// Parses the header of a whole packet. `packet` may go on behind it (padding).
///
/// # Errors
/// Everything of [`Ipv4Error`] but a wrong checksum.
#[inline]
pub fn parse(packet: &[u8]) -> Result<Ipv4, Ipv4Error> {
    let ip = parse_quoted(packet)?;
    if ip.total_len > packet.len() {
        return Err(Ipv4Error::Truncated);
    }
    Ok(ip)
}

/// Parses the header of a packet that may be cut short behind its header, as ICMP errors quote them.
///
/// # Errors
/// As [`parse`], but the total length may be more than there is.
#[inline]
pub fn parse_quoted(packet: &[u8]) -> Result<Ipv4, Ipv4Error> {
    let header = packet.first_chunk::<HEADER_LEN>().ok_or(Ipv4Error::Truncated)?;
    let version_ihl = VERSION_IHL.get_u8(header);
    if version_ihl >> 4 != 4 {
        return Err(Ipv4Error::BadVersion);
    }
    let header_len = header_len(version_ihl);
    if header_len < HEADER_LEN {
        return Err(Ipv4Error::BadHeaderLength);
    }
    if header_len > packet.len() {
        return Err(Ipv4Error::Truncated);
    }
    let total_len = usize::from(TOTAL_LEN.get_u16(header));
    if total_len < header_len {
        return Err(Ipv4Error::BadTotalLength);
    }
    let flags_offset = FLAGS_OFFSET.get_u16(header);
    Ok(Ipv4 {
        header_len,
        total_len,
        tos: TOS.get_u8(header),
        ident: IDENT.get_u16(header),
        df: flags_offset & DONT_FRAGMENT != 0,
        mf: flags_offset & MORE_FRAGMENTS != 0,
        frag_offset: (flags_offset & OFFSET_MASK) << 3,
        ttl: TTL.get_u8(header),
        protocol: PROTOCOL.get_u8(header),
        src: SRC.get_addr(header),
        dst: DST.get_addr(header),
    })
}

/// Header length in bytes, from the first byte of the header.
#[inline]
fn header_len(version_ihl: u8) -> usize {
    usize::from(version_ihl & 0x0f) * 4
}

/// Verifies the header's checksum, options included.
///
/// # Errors
/// [`Ipv4Error::BadChecksum`] when it is wrong, [`Ipv4Error::Truncated`] when the header is not all there.
#[inline]
pub fn verify_checksum(packet: &[u8]) -> Result<(), Ipv4Error> {
    let first = packet.first().ok_or(Ipv4Error::Truncated)?;
    let header = packet.get(..header_len(*first)).ok_or(Ipv4Error::Truncated)?;
    if checksum(header) == 0 { Ok(()) } else { Err(Ipv4Error::BadChecksum) }
}

/// A header for rewriting in place. The `set_*` methods write a field and nothing else; the `rewrite_*` ones
/// and [`HeaderMut::decrement_ttl`] keep the header checksum in step.
#[derive(Debug)]
pub struct HeaderMut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> HeaderMut<'a> {
    /// A view of the header at the start of `packet`, if it is that long. Options are not part of the view.
    #[inline]
    pub fn new(packet: &'a mut [u8]) -> Option<HeaderMut<'a>> {
        packet.first_chunk_mut().map(HeaderMut)
    }

    /// The source.
    #[inline]
    #[must_use]
    pub fn src(&self) -> Ipv4Addr {
        SRC.get_addr(self.0)
    }

    /// The destination.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv4Addr {
        DST.get_addr(self.0)
    }

    /// The time to live.
    #[inline]
    #[must_use]
    pub fn ttl(&self) -> u8 {
        TTL.get_u8(self.0)
    }

    /// The checksum field, host order.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        CHECKSUM.get_u16(self.0)
    }

    /// Sets the source.
    #[inline]
    pub fn set_src(&mut self, addr: Ipv4Addr) {
        SRC.set_addr(self.0, addr);
    }

    /// Sets the destination.
    #[inline]
    pub fn set_dst(&mut self, addr: Ipv4Addr) {
        DST.set_addr(self.0, addr);
    }

    /// Sets the time to live.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        TTL.set_u8(self.0, ttl);
    }

    /// Sets the total length, header included, host order.
    #[inline]
    pub fn set_total_len(&mut self, bytes: u16) {
        TOTAL_LEN.set_u16(self.0, bytes);
    }

    /// Makes it a fragment at `offset`, in bytes, of which the field keeps whole units of eight; it may be
    /// fragmented again.
    #[inline]
    pub fn set_fragment(&mut self, offset: u16, more: bool) {
        FLAGS_OFFSET.set_u16(self.0, (offset >> 3) | if more { MORE_FRAGMENTS } else { 0 });
    }

    /// Sets the checksum field, host order.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        CHECKSUM.set_u16(self.0, checksum);
    }

    /// Brings the checksum field in step with changes made to the header.
    #[inline]
    pub fn update_checksum(&mut self, delta: Delta) {
        self.set_checksum(delta.apply(self.checksum()));
    }

    /// Sets the source and keeps the header checksum in step. Returns the change, for the checksum of TCP or
    /// UDP, whose pseudo-header holds the address too.
    #[inline]
    pub fn rewrite_src(&mut self, addr: Ipv4Addr) -> Delta {
        let delta = Delta::NONE.addr(self.src(), addr);
        self.set_src(addr);
        self.update_checksum(delta);
        delta
    }

    /// Sets the destination and keeps the header checksum in step. Returns the change, as
    /// [`HeaderMut::rewrite_src`].
    #[inline]
    pub fn rewrite_dst(&mut self, addr: Ipv4Addr) -> Delta {
        let delta = Delta::NONE.addr(self.dst(), addr);
        self.set_dst(addr);
        self.update_checksum(delta);
        delta
    }

    /// Takes one from the time to live, with the header checksum, and returns what is left. `None`, and
    /// nothing changed, when it is 1 or 0 already: such a packet must not be forwarded.
    #[inline]
    pub fn decrement_ttl(&mut self) -> Option<u8> {
        let ttl = self.ttl();
        if ttl <= 1 {
            return None;
        }
        let old = TTL_PROTOCOL.get_u16(self.0);
        self.set_ttl(ttl - 1);
        let new = TTL_PROTOCOL.get_u16(self.0);
        self.update_checksum(Delta::NONE.word(old, new));
        Some(ttl - 1)
    }
}

/// A header without options, to be written. It is no fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// DSCP and ECN.
    pub tos: u8,
    /// Bytes of the packet, this header included.
    pub total_len: u16,
    /// Identification, host order.
    pub ident: u16,
    /// Don't fragment.
    pub df: bool,
    /// Time to live.
    pub ttl: u8,
    /// IANA protocol number of the payload.
    pub protocol: u8,
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
}

impl Header {
    /// Writes the header with its checksum.
    #[inline]
    pub fn emit(&self, header: &mut [u8; HEADER_LEN]) {
        VERSION_IHL.set_u8(header, 0x45);
        TOS.set_u8(header, self.tos);
        TOTAL_LEN.set_u16(header, self.total_len);
        IDENT.set_u16(header, self.ident);
        FLAGS_OFFSET.set_u16(header, if self.df { DONT_FRAGMENT } else { 0 });
        TTL.set_u8(header, self.ttl);
        PROTOCOL.set_u8(header, self.protocol);
        CHECKSUM.set_u16(header, 0);
        SRC.set_addr(header, self.src);
        DST.set_addr(header, self.dst);
        let sum = checksum(header);
        CHECKSUM.set_u16(header, sum);
    }
}

/// A header without options of which most is the same from packet to packet: settled once, completed for each. It
/// is no fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    header: [u8; HEADER_LEN],
    /// Over the header, in which everything that varies is 0.
    sum: Sum,
}

/// What completes a [`Template`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Varying {
    /// DSCP and ECN.
    pub tos: u8,
    /// Bytes of the packet, header included.
    pub total_len: u16,
    /// Identification, host order.
    pub ident: u16,
    /// Don't fragment.
    pub df: bool,
    /// Time to live.
    pub ttl: u8,
}

impl Template {
    /// For packets of an IANA protocol between two addresses.
    #[must_use]
    pub fn new(protocol: u8, src: Ipv4Addr, dst: Ipv4Addr) -> Template {
        let mut header = [0; HEADER_LEN];
        Header { tos: 0, total_len: 0, ident: 0, df: false, ttl: 0, protocol, src, dst }.emit(&mut header);
        CHECKSUM.set_u16(&mut header, 0);
        Template { header, sum: Sum::ZERO.bytes(&header) }
    }

    /// Writes the header with its checksum.
    #[inline]
    pub fn emit(&self, header: &mut [u8; HEADER_LEN], varying: &Varying) {
        let Varying { tos, total_len, ident, df, ttl } = *varying;
        let flags = if df { DONT_FRAGMENT } else { 0 };
        *header = self.header;
        TOS.set_u8(header, tos);
        TOTAL_LEN.set_u16(header, total_len);
        IDENT.set_u16(header, ident);
        FLAGS_OFFSET.set_u16(header, flags);
        TTL.set_u8(header, ttl);
        // The time to live is the upper byte of its word.
        let sum = self.sum.word(u16::from(tos)).word(total_len).word(ident).word(flags);
        CHECKSUM.set_u16(header, sum.word(u16::from(ttl) << 8).checksum());
    }
}

#[cfg(test)]
#[path = "tests/ipv4.rs"]
mod tests;
