//! The UDP header (RFC 768).
//!
//! ```text
//!   0                 2                 4                 6                 8
//!   +-----------------+-----------------+-----------------+-----------------+
//!   | source port     | dest. port      | length          | checksum, 0 none|
//!   +-----------------+-----------------+-----------------+-----------------+
//! ```

use super::checksum::{Address, Delta, l4_checksum, udp_field};
use super::field::Field;
use super::{Malformed, TooSmall, ipv4::protocol};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

const SRC_PORT: Field<0, 2> = Field;
const DST_PORT: Field<2, 2> = Field;
const LENGTH: Field<4, 2> = Field;
const CHECKSUM: Field<6, 2> = Field;

/// The fields of a UDP header, host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Bytes of header and payload.
    pub length: u16,
    /// Checksum field; 0 = none.
    pub checksum: u16,
}

/// Parses the header of a whole datagram: `segment` is the IP payload, and may be longer than the datagram.
///
/// # Errors
/// [`Malformed::Truncated`] when the bytes end within the header or before the length that it names;
/// [`Malformed::BadLength`] when that length is below 8.
#[inline]
pub fn parse(segment: &[u8]) -> Result<Udp, Malformed> {
    let udp = parse_first(segment)?;
    if usize::from(udp.length) > segment.len() {
        return Err(Malformed::Truncated);
    }
    Ok(udp)
}

/// Parses the header in the first fragment of a datagram, whose length field counts what later fragments
/// hold.
///
/// # Errors
/// As [`parse`], but the length may be more than there is.
#[inline]
pub fn parse_first(segment: &[u8]) -> Result<Udp, Malformed> {
    let header = segment.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    let length = LENGTH.get_u16(header);
    if usize::from(length) < HEADER_LEN {
        return Err(Malformed::BadLength);
    }
    Ok(Udp {
        sport: SRC_PORT.get_u16(header),
        dport: DST_PORT.get_u16(header),
        length,
        checksum: CHECKSUM.get_u16(header),
    })
}

/// A header for rewriting in place.
#[derive(Debug)]
pub struct HeaderMut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> HeaderMut<'a> {
    /// A view of the header at the start of `segment`, if it is that long.
    #[inline]
    pub fn new(segment: &'a mut [u8]) -> Option<HeaderMut<'a>> {
        segment.first_chunk_mut().map(HeaderMut)
    }

    /// The checksum field, host order; 0 = none.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        CHECKSUM.get_u16(self.0)
    }

    /// Sets the checksum field, host order.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        CHECKSUM.set_u16(self.0, checksum);
    }

    /// Sets the source port and brings the checksum in step with it and with `delta`, the change of the
    /// addresses.
    #[inline]
    pub fn rewrite_sport(&mut self, port: u16, delta: Delta) {
        let delta = delta.word(SRC_PORT.get_u16(self.0), port);
        SRC_PORT.set_u16(self.0, port);
        self.set_checksum(delta.apply_udp(self.checksum()));
    }

    /// Sets the destination port and brings the checksum in step, as [`HeaderMut::rewrite_sport`].
    #[inline]
    pub fn rewrite_dport(&mut self, port: u16, delta: Delta) {
        let delta = delta.word(DST_PORT.get_u16(self.0), port);
        DST_PORT.set_u16(self.0, port);
        self.set_checksum(delta.apply_udp(self.checksum()));
    }
}

/// Writes the header in front of a payload that is already in `datagram`, with length and checksum.
///
/// # Errors
/// [`TooSmall`] when `datagram` is shorter than a header or longer than a datagram can be.
pub fn emit<A: Address>(datagram: &mut [u8], src: A, dst: A, ports: (u16, u16)) -> Result<(), TooSmall> {
    emit_unsummed(datagram, ports)?;
    let sum = udp_field(l4_checksum(src, dst, protocol::UDP, datagram));
    if let Some(mut header) = HeaderMut::new(datagram) {
        header.set_checksum(sum);
    }
    Ok(())
}

/// Writes the header in front of a payload that is already in `datagram`, with its length and without a
/// checksum. Over IPv6 only a tunnel may go without (RFC 6935 §5).
///
/// # Errors
/// As [`emit`].
#[inline]
pub fn emit_unsummed(datagram: &mut [u8], ports: (u16, u16)) -> Result<(), TooSmall> {
    let length = u16::try_from(datagram.len()).map_err(|_| TooSmall)?;
    let header = datagram.first_chunk_mut::<HEADER_LEN>().ok_or(TooSmall)?;
    SRC_PORT.set_u16(header, ports.0);
    DST_PORT.set_u16(header, ports.1);
    LENGTH.set_u16(header, length);
    CHECKSUM.set_u16(header, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{CLIENT, VIP};

    const PING: [u8; 12] = [0x14, 0xe9, 0x00, 0x35, 0x00, 0x0c, 0x83, 0x6f, 0x70, 0x69, 0x6e, 0x67];

    fn with(changes: &[(usize, u8)]) -> [u8; 12] {
        let mut datagram = PING;
        for (at, value) in changes {
            datagram[*at] = *value;
        }
        datagram
    }

    #[test]
    fn parses_and_emits_a_datagram() {
        assert_eq!(parse(&PING), Ok(Udp { sport: 5353, dport: 53, length: 12, checksum: 0x836f }));
        let mut datagram = [0xaa; 12];
        datagram[HEADER_LEN..].copy_from_slice(b"ping");
        assert_eq!(emit(&mut datagram, CLIENT, VIP, (5353, 53)), Ok(()));
        assert_eq!(datagram, PING);
        assert_eq!(emit(&mut [0; 7], CLIENT, VIP, (1, 2)), Err(TooSmall));
        assert_eq!(emit(&mut vec![0; 65536], CLIENT, VIP, (1, 2)), Err(TooSmall));
    }

    #[test]
    fn the_length_decides() {
        for len in 0..PING.len() {
            assert_eq!(parse(&PING[..len]), Err(Malformed::Truncated), "{len} bytes");
        }
        for length in 0..8 {
            assert_eq!(parse(&with(&[(5, length)])), Err(Malformed::BadLength), "{length}");
        }
        assert_eq!(parse(&with(&[(5, 13)])), Err(Malformed::Truncated));
        assert_eq!(parse(&with(&[(5, 8)])).map(|udp| udp.length), Ok(8));
    }

    #[test]
    fn a_first_fragment_names_more_than_it_has() {
        assert_eq!(parse_first(&PING[..8]), parse(&PING));
        assert_eq!(parse_first(&PING[..7]), Err(Malformed::Truncated));
        assert_eq!(parse_first(&with(&[(5, 7)])), Err(Malformed::BadLength));
    }

    #[test]
    fn rewrites_ports_with_the_checksum() {
        let mut datagram = PING;
        let mut header = HeaderMut::new(&mut datagram).unwrap();
        header.rewrite_sport(5354, Delta::NONE);
        header.rewrite_dport(54, Delta::NONE);
        assert_eq!(datagram, with(&[(1, 0xea), (3, 0x36), (7, 0x6d)]));
        assert!(HeaderMut::new(&mut [0; 7]).is_none());
    }

    #[test]
    fn a_datagram_without_checksum_stays_without() {
        let mut datagram = with(&[(6, 0), (7, 0)]);
        let mut header = HeaderMut::new(&mut datagram).unwrap();
        header.rewrite_sport(1, Delta::NONE.addr(CLIENT, VIP));
        header.rewrite_dport(2, Delta::NONE.addr(CLIENT, VIP));
        assert_eq!(header.checksum(), 0);
    }
}
