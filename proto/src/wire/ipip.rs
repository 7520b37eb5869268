//! The outer header of IP in IP (RFC 2003).
//!
//! ```text
//!   | outer IPv4, 20 bytes, protocol 4 | inner packet, as it is |
//! ```

use super::ipv4::{self, HEADER_LEN, protocol};
use std::net::Ipv4Addr;

/// Bytes that the encapsulation adds in front of a packet.
pub const OVERHEAD: usize = HEADER_LEN;

/// The outer header, to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// The director's address.
    pub src: Ipv4Addr,
    /// The real server's address.
    pub dst: Ipv4Addr,
    /// The inner header's, ECN included (RFC 6040, normal mode).
    pub tos: u8,
    /// The inner header's, after the director has taken one from it.
    pub ttl: u8,
    /// Don't fragment; from the inner header when path MTU discovery is on.
    pub df: bool,
    /// Identification, host order; freshly chosen.
    pub ident: u16,
    /// Bytes of the inner packet. What does not fit an IPv4 packet is the caller's to fragment or refuse.
    pub inner_len: u16,
}

impl Outer {
    /// Writes the outer header with its checksum. The total length is at most 65535: see `inner_len`.
    #[inline]
    pub fn emit(&self, header: &mut [u8; OVERHEAD]) {
        ipv4::Header {
            tos: self.tos,
            total_len: self.inner_len.saturating_add(20),
            ident: self.ident,
            df: self.df,
            ttl: self.ttl,
            protocol: protocol::IPIP,
            src: self.src,
            dst: self.dst,
        }
        .emit(header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ipv4::verify_checksum;

    const OUTER: Outer = Outer {
        src: Ipv4Addr::new(198, 19, 1, 1),
        dst: Ipv4Addr::new(198, 19, 1, 11),
        tos: 0xb9,
        ttl: 62,
        df: true,
        ident: 0xabcd,
        inner_len: 44,
    };

    #[test]
    fn writes_the_outer_header() {
        let mut header = [0xaa; OVERHEAD];
        OUTER.emit(&mut header);
        let expected = [
            0x45, 0xb9, 0x00, 0x40, 0xab, 0xcd, 0x40, 0x00, 0x3e, 0x04, 0x02, 0x01, 198, 19, 1, 1, 198, 19,
            1, 11,
        ];
        assert_eq!(header, expected);
    }

    #[test]
    fn an_inner_packet_that_does_not_fit_wraps_nothing() {
        let mut header = [0; OVERHEAD];
        Outer { inner_len: 65_530, df: false, ..OUTER }.emit(&mut header);
        assert_eq!(header[2..8], [0xff, 0xff, 0xab, 0xcd, 0, 0]);
        assert_eq!(verify_checksum(&header), Ok(()));
    }
}
