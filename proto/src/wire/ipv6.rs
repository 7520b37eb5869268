//! The fixed IPv6 header (RFC 8200). Extension headers are not walked here yet.
//!
//! ```text
//!   0                 4                 6        7        8            24            40
//!   +----+----+-------+-----------------+--------+--------+------------+-------------+
//!   | 6  | tc | label | payload length  | next   | hops   | source     | destination |
//!   +----+----+-------+-----------------+--------+--------+------------+-------------+
//! ```

use super::Malformed;
use super::field::Field;
use std::net::Ipv6Addr;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;

const VERSION_CLASS_LABEL: Field<0, 4> = Field;
const PAYLOAD_LEN: Field<4, 2> = Field;
const NEXT_HEADER: Field<6, 1> = Field;
const HOP_LIMIT: Field<7, 1> = Field;
const SRC: Field<8, 16> = Field;
const DST: Field<24, 16> = Field;

/// IANA numbers of headers that follow.
pub mod next_header {
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// A fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// The fields of the fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6 {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Bytes behind the fixed header.
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

/// Parses the fixed header of a whole packet. `packet` may go on behind it (padding).
///
/// # Errors
/// [`Malformed::Truncated`] when the bytes end within the header or before the payload length;
/// [`Malformed::BadVersion`] when the version is not 6. A jumbo payload (length 0) is not seen as such.
#[inline]
pub fn parse(packet: &[u8]) -> Result<Ipv6, Malformed> {
    let header = packet.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    let [first, second, _, _] = VERSION_CLASS_LABEL.get(header);
    if first >> 4 != 6 {
        return Err(Malformed::BadVersion);
    }
    let payload_len = usize::from(PAYLOAD_LEN.get_u16(header));
    if HEADER_LEN + payload_len > packet.len() {
        return Err(Malformed::Truncated);
    }
    Ok(Ipv6 {
        traffic_class: (first << 4) | (second >> 4),
        flow_label: VERSION_CLASS_LABEL.get_u32(header) & 0x000f_ffff,
        payload_len,
        next_header: NEXT_HEADER.get_u8(header),
        hop_limit: HOP_LIMIT.get_u8(header),
        src: Ipv6Addr::from(SRC.get(header)),
        dst: Ipv6Addr::from(DST.get(header)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 44] = [
        0x6a, 0xb1, 0x23, 0x45, 0x00, 0x04, 0x11, 0x3f, // class 0xab, label 0x12345, UDP, 63 hops
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, //
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, //
        1, 2, 3, 4,
    ];

    #[test]
    fn parses_the_fixed_header() {
        let expected = Ipv6 {
            traffic_class: 0xab,
            flow_label: 0x12345,
            payload_len: 4,
            next_header: next_header::UDP,
            hop_limit: 63,
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
        };
        assert_eq!(parse(&PACKET), Ok(expected));
        assert_eq!(parse(&[PACKET.as_slice(), &[0; 9]].concat()), Ok(expected));
    }

    #[test]
    fn refuses_what_is_short_or_another_version() {
        for len in 0..PACKET.len() {
            assert_eq!(parse(&PACKET[..len]), Err(Malformed::Truncated), "{len} bytes");
        }
        let mut packet = PACKET;
        packet[0] = 0x4a;
        assert_eq!(parse(&packet), Err(Malformed::BadVersion));
    }
}
