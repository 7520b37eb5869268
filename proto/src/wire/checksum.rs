//! The Internet checksum: full (RFC 1071) and incremental (RFC 1624, equation 3).
//!
//! Read RFC 1071, 1624 and erratum 5864 first. All of it is arithmetic modulo 65535 with two spellings of
//! zero, 0x0000 and 0xFFFF, and every trap is about those two:
//!
//! - A sum over bytes that are not all zero folds to 1..=0xFFFF, never to 0. A checksum computed over such
//!   bytes is therefore never 0xFFFF; only UDP sends 0xFFFF, because there 0 says "no checksum".
//! - Equation 3, `HC' = ~(~HC + ~m + m')`, keeps that: with `HC` in 0..=0xFFFE it gives 0..=0xFFFE, exactly
//!   what a full computation gives. With `HC` = 0xFFFF and `m` = `m'` it would turn 0xFFFF into 0, so words
//!   that do not change are skipped, and a [`Delta`] without a change leaves the field as it is.
//! - Because an update only adds differences, a checksum that was wrong stays wrong by the same amount.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A running ones' complement sum, not folded. It is kept in the byte order of the machine: the sum is the
/// same in either order but for a swap of the result (RFC 1071, section 2(B)), which [`Sum::fold`] does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Sum = Sum(0);

    /// Adds bytes. An odd last byte counts as if a zero followed, so that only the last slice of a packet
    /// may have an odd length.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Sum {
        // PERF: two 32-bit halves into 64-bit sums need no carries, which lets the compiler use vectors. The
        // sum cannot overflow below 16 GiB of input.
        let (words, rest) = bytes.as_chunks::<8>();
        let mut sum = self.0;
        for word in words {
            let word = u64::from_ne_bytes(*word);
            sum = sum.wrapping_add(word & 0xffff_ffff).wrapping_add(word >> 32);
        }
        let (pairs, odd) = rest.as_chunks::<2>();
        for pair in pairs {
            sum = sum.wrapping_add(u64::from(u16::from_ne_bytes(*pair)));
        }
        if let [last] = odd {
            sum = sum.wrapping_add(u64::from(u16::from_ne_bytes([*last, 0])));
        }
        Sum(sum)
    }

    /// Adds a number that is in host order here and big-endian on the wire.
    #[inline]
    #[must_use]
    pub fn word(self, word: u16) -> Sum {
        Sum(self.0.wrapping_add(u64::from(word.to_be())))
    }

    /// The pseudo-header of TCP and UDP over IPv4. `length` is that of the transport header and its payload.
    #[inline]
    #[must_use]
    pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: u16) -> Sum {
        Sum::ZERO.bytes(&src.octets()).bytes(&dst.octets()).word(u16::from(protocol)).word(length)
    }

    /// The pseudo-header of TCP, UDP and ICMPv6 over IPv6 (RFC 8200, section 8.1).
    #[inline]
    #[must_use]
    pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, length: u32) -> Sum {
        Sum::ZERO
            .bytes(&src.octets())
            .bytes(&dst.octets())
            .bytes(&length.to_be_bytes())
            .word(u16::from(next_header))
    }

    /// The sum folded to 16 bits, in host order: what a checksum field is the complement of. Over bytes that
    /// include a correct checksum it is 0xFFFF.
    #[inline]
    #[must_use]
    pub fn fold(self) -> u16 {
        u16::from_be(fold(self.0))
    }

    /// The checksum, in host order.
    #[inline]
    #[must_use]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// Folds the carries back in until 16 bits are left. Zero only for zero.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the value fits after the folds")]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32); // 33 bits
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32); // 18 bits
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The checksum over `bytes` (RFC 1071), in host order. Over bytes with a correct checksum in them it is 0.
#[inline]
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::ZERO.bytes(bytes).checksum()
}

/// The checksum of a TCP or UDP segment over IPv4, computed in full, in host order. `segment` is header and
/// payload with a checksum field of 0. A segment with a correct checksum in its field gives 0. The rule that
/// UDP sends 0xFFFF for 0 is not applied here (see [`udp_field`]).
#[must_use]
pub fn l4_checksum_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, segment: &[u8]) -> u16 {
    // A segment of more than 65535 bytes does not exist; the mask keeps the sum defined for any slice.
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    Sum::pseudo_v4(src, dst, protocol, length).bytes(segment).checksum()
}

/// A computed checksum as UDP writes it: 0 means "none" there, so 0 goes out as 0xFFFF.
#[inline]
#[must_use]
pub fn udp_field(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// What a set of changes does to a checksum: the sum of `~m + m'` over all words that changed.
///
/// One value serves several fields: the change of an address belongs both in the IPv4 header's checksum and,
/// through the pseudo-header, in that of TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Delta(u64);

impl Delta {
    /// No change.
    pub const NONE: Delta = Delta(0);

    /// Adds the change of an aligned 16-bit word.
    #[inline]
    pub fn word(self, old: u16, new: u16) -> Delta {
        if old == new {
            return self;
        }
        Delta(self.0.wrapping_add(u64::from(!old)).wrapping_add(u64::from(new)))
    }

    /// Adds the change of 32 bits that begin at an even offset.
    #[inline]
    pub fn word32(self, old: u32, new: u32) -> Delta {
        if old == new {
            return self;
        }
        Delta(self.0.wrapping_add(u64::from(!old)).wrapping_add(u64::from(new)))
    }

    /// Adds the change of an IPv4 address.
    #[inline]
    pub fn addr(self, old: Ipv4Addr, new: Ipv4Addr) -> Delta {
        self.word32(old.to_bits(), new.to_bits())
    }

    /// Adds the change of an IPv6 address.
    #[inline]
    pub fn addr6(self, old: Ipv6Addr, new: Ipv6Addr) -> Delta {
        let (old, new) = (old.octets(), new.octets());
        let mut delta = self;
        for (old, new) in old.as_chunks::<4>().0.iter().zip(new.as_chunks::<4>().0) {
            delta = delta.word32(u32::from_be_bytes(*old), u32::from_be_bytes(*new));
        }
        delta
    }

    /// Both changes together.
    #[inline]
    pub fn and(self, other: Delta) -> Delta {
        Delta(self.0.wrapping_add(other.0))
    }

    /// Whether nothing changed.
    #[inline]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The checksum field after the changes (IPv4 header, TCP, ICMP), both in host order.
    #[inline]
    #[must_use]
    pub fn apply(self, checksum: u16) -> u16 {
        if self.is_none() {
            return checksum;
        }
        !fold(self.0.wrapping_add(u64::from(!checksum)))
    }

    /// The checksum field of UDP over IPv4 after the changes, both in host order: none (0) stays none, and
    /// a result of 0 is written as 0xFFFF.
    #[inline]
    #[must_use]
    pub fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        udp_field(self.apply(checksum))
    }
}
