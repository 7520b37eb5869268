//! Generic UDP encapsulation, variant 0, of data without options: what Linux calls `gue`.
//!
//! ```text
//!   0            8              9         10                12
//!   +------------+-+-+----------+---------+-----------------+------------------
//!   | UDP        |0|C| length   | payload | flags           | optional fields, length x 4
//!   +------------+-+-+----------+---------+-----------------+------------------
//! ```
//!
//! The UDP source port tells flows apart, so that routers and network cards spread them.

use super::Malformed;
use super::field::Field;

/// Bytes of the header behind that of UDP, without optional fields.
pub const HEADER_LEN: usize = 4;
/// The UDP port that is assigned to it.
pub const DEFAULT_PORT: u16 = 6080;

const VARIANT_LENGTH: Field<0, 1> = Field;
const PROTOCOL: Field<1, 1> = Field;
const FLAGS: Field<2, 2> = Field;

const CONTROL: u8 = 0x20;
const LENGTH_MASK: u8 = 0x1f;

/// The fields of a header of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gue {
    /// IANA protocol number of the payload.
    pub protocol: u8,
    /// Bytes of the header, optional fields included.
    pub header_len: usize,
}

/// Parses a header: `datagram` is the UDP payload. `None`: a control message, or flags that would have to be
/// understood.
///
/// # Errors
/// [`Malformed::Truncated`] when the bytes end within the header; [`Malformed::BadVersion`] when the variant is
/// not 0.
pub fn parse(datagram: &[u8]) -> Result<Option<Gue>, Malformed> {
    let header = datagram.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    let first = VARIANT_LENGTH.get_u8(header);
    if first >> 6 != 0 {
        return Err(Malformed::BadVersion);
    }
    if first & CONTROL != 0 || FLAGS.get_u16(header) != 0 {
        return Ok(None);
    }
    let header_len = HEADER_LEN + usize::from(first & LENGTH_MASK) * 4;
    if header_len > datagram.len() {
        return Err(Malformed::Truncated);
    }
    Ok(Some(Gue { protocol: PROTOCOL.get_u8(header), header_len }))
}

/// Writes a header in front of a payload of an IANA protocol.
#[inline]
pub fn emit(header: &mut [u8; HEADER_LEN], protocol: u8) {
    VARIANT_LENGTH.set_u8(header, 0);
    PROTOCOL.set_u8(header, protocol);
    FLAGS.set_u16(header, 0);
}

/// The UDP source port of a flow, from its hash: one of the 16384 that nobody is assigned.
#[inline]
#[must_use]
pub const fn source_port(flow: u32) -> u16 {
    0xc000 | (flow >> 18) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_emits_a_header() {
        let mut header = [0xaa; HEADER_LEN];
        emit(&mut header, 4);
        assert_eq!(header, [0, 4, 0, 0]);
        assert_eq!(parse(&header), Ok(Some(Gue { protocol: 4, header_len: 4 })));
        // Optional fields that no flag explains are skipped.
        assert_eq!(parse(&[1, 41, 0, 0, 9, 9, 9, 9]), Ok(Some(Gue { protocol: 41, header_len: 8 })));
    }

    #[test]
    fn tells_other_headers_from_broken_ones() {
        for len in 0..4 {
            assert_eq!(parse(&[0, 4, 0, 0][..len]), Err(Malformed::Truncated), "{len} bytes");
        }
        assert_eq!(parse(&[1, 4, 0, 0, 0, 0, 0]), Err(Malformed::Truncated));
        assert_eq!(parse(&[0x1f, 4, 0, 0]), Err(Malformed::Truncated));
        // Variant 1 is an IP header at once.
        assert_eq!(parse(&[0x45, 0, 0, 0]), Err(Malformed::BadVersion));
        assert_eq!(parse(&[0x80, 4, 0, 0]), Err(Malformed::BadVersion));
        assert_eq!(parse(&[0x20, 4, 0, 0]), Ok(None));
        assert_eq!(parse(&[0, 4, 0, 1]), Ok(None));
        assert_eq!(parse(&[0, 4, 0x80, 0]), Ok(None));
    }

    #[test]
    fn source_ports_are_of_the_dynamic_range() {
        assert_eq!((source_port(0), source_port(u32::MAX)), (49152, 65535));
        assert_eq!(source_port(1 << 18), 49153);
    }
}
