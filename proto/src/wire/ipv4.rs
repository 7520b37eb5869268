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

use super::checksum::{Delta, checksum};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{CLIENT, IP_HEADER, VIP, syn_packet};

    fn with(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut packet = syn_packet();
        for (at, value) in changes {
            packet[*at] = *value;
        }
        packet
    }

    #[test]
    fn parses_and_emits_a_header() {
        let packet = syn_packet();
        let ip = parse(&packet).unwrap();
        let expected = Ipv4 {
            header_len: 20,
            total_len: 44,
            tos: 0xb9,
            ident: 0x1234,
            df: true,
            mf: false,
            frag_offset: 0,
            ttl: 63,
            protocol: protocol::TCP,
            src: CLIENT,
            dst: VIP,
        };
        assert_eq!(ip, expected);
        assert_eq!((ip.is_fragment(), ip.payload_len()), (false, 24));
        let header = Header {
            tos: ip.tos,
            total_len: 44,
            ident: ip.ident,
            df: ip.df,
            ttl: ip.ttl,
            protocol: ip.protocol,
            src: ip.src,
            dst: ip.dst,
        };
        let mut bytes = [0xaa; HEADER_LEN];
        header.emit(&mut bytes);
        assert_eq!(bytes, IP_HEADER);
        Header { df: false, ..header }.emit(&mut bytes);
        assert_eq!(bytes[6..8], [0, 0]);
        assert_eq!(verify_checksum(&bytes), Ok(()));
    }

    #[test]
    fn reads_fragments() {
        let ip = parse(&with(&[(6, 0x20)])).unwrap();
        assert_eq!((ip.df, ip.mf, ip.frag_offset, ip.is_fragment()), (false, true, 0, true));
        let ip = parse(&with(&[(6, 0x1f), (7, 0xff)])).unwrap();
        assert_eq!((ip.df, ip.mf, ip.frag_offset, ip.is_fragment()), (false, false, 65528, true));
        // The reserved bit changes nothing.
        assert!(!parse(&with(&[(6, 0x80)])).unwrap().is_fragment());
    }

    #[test]
    fn each_contradiction_has_its_own_error() {
        let packet = syn_packet();
        for len in 0..packet.len() {
            assert_eq!(parse(&packet[..len]), Err(Ipv4Error::Truncated), "{len} bytes");
        }
        assert_eq!(parse(&with(&[(0, 0x65)])), Err(Ipv4Error::BadVersion));
        for ihl in 0..5 {
            assert_eq!(parse(&with(&[(0, 0x40 | ihl)])), Err(Ipv4Error::BadHeaderLength), "{ihl}");
        }
        assert_eq!(parse(&with(&[(0, 0x4f)])), Err(Ipv4Error::Truncated));
        assert_eq!(parse(&with(&[(0, 0x4b)])), Ok(Ipv4 { header_len: 44, ..parse(&packet).unwrap() }));
        assert_eq!(parse(&with(&[(3, 19)])), Err(Ipv4Error::BadTotalLength));
        assert_eq!(parse(&with(&[(3, 0)])), Err(Ipv4Error::BadTotalLength));
        assert_eq!(parse(&with(&[(0, 0x46), (3, 23)])), Err(Ipv4Error::BadTotalLength));
        assert_eq!(parse(&with(&[(3, 45)])), Err(Ipv4Error::Truncated));
    }

    #[test]
    fn the_payload_ends_where_the_packet_does() {
        let mut packet = syn_packet();
        packet.extend([0xee; 16]);
        let ip = parse(&packet).unwrap();
        assert_eq!(ip.payload(&packet).len(), 24);
        assert_eq!(ip.payload_mut(&mut packet).len(), 24);
        assert_eq!(ip.payload(&packet[..30]).len(), 10);
        assert_eq!(ip.payload(&packet[..10]), [0; 0]);
        assert_eq!(ip.payload_mut(&mut packet[..10]), [0; 0]);
    }

    #[test]
    fn quoted_packets_may_be_cut_short() {
        let packet = syn_packet();
        assert_eq!(parse_quoted(&packet[..28]), parse(&packet));
        assert_eq!(parse_quoted(&packet[..20]), parse(&packet));
        assert_eq!(parse_quoted(&packet[..19]), Err(Ipv4Error::Truncated));
        assert_eq!(parse_quoted(&with(&[(0, 0x46)])[..20]), Err(Ipv4Error::Truncated));
    }

    #[test]
    fn verifies_checksums_options_included() {
        assert_eq!(verify_checksum(&syn_packet()), Ok(()));
        for at in 0..20 {
            let mut packet = syn_packet();
            packet[at] ^= 0x01;
            assert_ne!(verify_checksum(&packet), Ok(()), "byte {at}");
        }
        // Four bytes of options (no operation); 46 instead of 45 takes 0x100 from the checksum, they 0x202.
        let mut packet = syn_packet();
        packet.splice(20..20, [1, 1, 1, 1]);
        packet[0] = 0x46;
        packet[10..12].copy_from_slice(&(0xa067_u16 - 0x100 - 0x202).to_be_bytes());
        assert_eq!(verify_checksum(&packet), Ok(()));
        packet[23] = 0;
        assert_eq!(verify_checksum(&packet), Err(Ipv4Error::BadChecksum));
        assert_eq!(verify_checksum(&packet[..23]), Err(Ipv4Error::Truncated));
        assert_eq!(verify_checksum(&[]), Err(Ipv4Error::Truncated));
    }

    #[test]
    fn takes_one_from_the_ttl() {
        let mut packet = syn_packet();
        let mut header = HeaderMut::new(&mut packet).unwrap();
        assert_eq!(header.decrement_ttl(), Some(62));
        assert_eq!(header.ttl(), 62);
        assert_eq!(header.checksum(), 0xa167);
        header.set_ttl(1);
        assert_eq!(header.decrement_ttl(), None);
        header.set_ttl(0);
        assert_eq!(header.decrement_ttl(), None);
        assert_eq!((header.ttl(), header.checksum()), (0, 0xa167));
    }

    #[test]
    fn sets_fields_and_nothing_else() {
        let mut packet = syn_packet();
        let mut header = HeaderMut::new(&mut packet).unwrap();
        header.set_src(Ipv4Addr::new(1, 2, 3, 4));
        header.set_dst(Ipv4Addr::new(5, 6, 7, 8));
        header.set_total_len(0x0102);
        header.set_checksum(0x0304);
        assert_eq!((header.src(), header.dst()), (Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::new(5, 6, 7, 8)));
        let expected = with(&[
            (2, 1),
            (3, 2),
            (10, 3),
            (11, 4),
            (12, 1),
            (13, 2),
            (14, 3),
            (15, 4),
            (16, 5),
            (17, 6),
            (18, 7),
            (19, 8),
        ]);
        assert_eq!(packet, expected);
        assert!(HeaderMut::new(&mut [0; 19]).is_none());
    }
}
