//! Generic routing encapsulation (RFC 2784), without keys and sequence numbers.
//!
//! ```text
//!   0                 2                 4                 6                 8
//!   +-+---------------+-----------------+-----------------+-----------------+
//!   |C| 0         ver | type of payload | checksum, if C  | 0               |
//!   +-+---------------+-----------------+-----------------+-----------------+
//! ```

use super::checksum::checksum;
use super::field::Field;
use super::{Malformed, TooSmall};

/// Bytes of a header without a checksum.
pub const HEADER_LEN: usize = 4;
/// Bytes of a header with a checksum.
pub const SUMMED_LEN: usize = 8;

const FLAGS: Field<0, 2> = Field;
const PROTOCOL: Field<2, 2> = Field;
const CHECKSUM_RESERVED: Field<4, 4> = Field;
const CHECKSUM: Field<4, 2> = Field;

const HAS_CHECKSUM: u16 = 0x8000;
/// RFC 2784 §2.3: a receiver that does not know what bits 1 to 5 stand for may not go on.
const UNKNOWN: u16 = 0x7c00;
const VERSION: u16 = 0x0007;

/// The fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gre {
    /// Type of the payload: an ethertype.
    pub protocol: u16,
    /// Whether there is a checksum.
    pub summed: bool,
    /// Bytes of the header.
    pub header_len: usize,
}

/// Parses a header. Whether a checksum is right, [`checksum_ok`] tells.
///
/// # Errors
/// [`Malformed::Truncated`] when the bytes end within the header; [`Malformed::BadVersion`] when the version is
/// not 0 or there are fields of an older GRE.
pub fn parse(packet: &[u8]) -> Result<Gre, Malformed> {
    let header = packet.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    let flags = FLAGS.get_u16(header);
    if flags & (UNKNOWN | VERSION) != 0 {
        return Err(Malformed::BadVersion);
    }
    let summed = flags & HAS_CHECKSUM != 0;
    let header_len = if summed { SUMMED_LEN } else { HEADER_LEN };
    if header_len > packet.len() {
        return Err(Malformed::Truncated);
    }
    Ok(Gre { protocol: PROTOCOL.get_u16(header), summed, header_len })
}

/// Whether the checksum of a whole packet, from its GRE header on, is right.
#[must_use]
pub fn checksum_ok(packet: &[u8]) -> bool {
    checksum(packet) == 0
}

/// Writes a header without a checksum in front of a payload of type `protocol`.
#[inline]
pub fn emit(header: &mut [u8; HEADER_LEN], protocol: u16) {
    FLAGS.set_u16(header, 0);
    PROTOCOL.set_u16(header, protocol);
}

/// Writes a header with a checksum in front of a payload that is already in `packet`.
///
/// # Errors
/// [`TooSmall`] when `packet` is shorter than the header.
pub fn emit_summed(packet: &mut [u8], protocol: u16) -> Result<(), TooSmall> {
    let header = packet.first_chunk_mut::<SUMMED_LEN>().ok_or(TooSmall)?;
    FLAGS.set_u16(header, HAS_CHECKSUM);
    PROTOCOL.set_u16(header, protocol);
    CHECKSUM_RESERVED.set_u32(header, 0);
    let sum = checksum(packet);
    let header = packet.first_chunk_mut::<SUMMED_LEN>().ok_or(TooSmall)?;
    CHECKSUM.set_u16(header, sum);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::eth::ethertype;

    #[test]
    fn parses_and_emits_both_forms() {
        let mut header = [0xaa; HEADER_LEN];
        emit(&mut header, ethertype::IPV4);
        assert_eq!(header, [0, 0, 0x08, 0x00]);
        assert_eq!(parse(&header), Ok(Gre { protocol: 0x0800, summed: false, header_len: 4 }));

        let mut packet = [0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 1, 2, 3];
        emit_summed(&mut packet, ethertype::IPV6).unwrap();
        // 8000 + 86dd + 0102 + 0300 = 1 0adf
        assert_eq!(packet, [0x80, 0x00, 0x86, 0xdd, 0xf5, 0x1f, 0, 0, 1, 2, 3]);
        assert_eq!(parse(&packet), Ok(Gre { protocol: 0x86dd, summed: true, header_len: 8 }));
        assert!(checksum_ok(&packet));
        packet[9] ^= 1;
        assert!(!checksum_ok(&packet));
        assert_eq!(emit_summed(&mut packet[..7], 0), Err(TooSmall));
    }

    #[test]
    fn refuses_what_is_short_or_another_version() {
        let summed = [0x80, 0, 0x08, 0, 0xf7, 0xff, 0, 0];
        for len in 0..8 {
            assert_eq!(parse(&summed[..len]), Err(Malformed::Truncated), "{len} bytes");
        }
        for bit in 0..16 {
            let [high, low] = (1_u16 << bit).to_be_bytes();
            let parsed = parse(&[high, low, 0x08, 0, 0, 0, 0, 0]);
            match bit {
                // Version, then what is ignored, then what an older GRE means.
                0..=2 | 10..=14 => assert_eq!(parsed, Err(Malformed::BadVersion), "bit {bit}"),
                _ => assert_eq!(parsed.map(|gre| gre.summed), Ok(bit == 15), "bit {bit}"),
            }
        }
    }
}
