//! The Internet checksum: full (RFC 1071) and incremental (RFC 1624, equation 3).
//!
//! Read RFC 1071, 1624 and erratum 5864 first. All of it is arithmetic modulo 65535 with two spellings of
//! zero, 0x0000 and 0xFFFF, and every trap is about those two:
//!
//! - A sum over bytes that are not all zero folds to 1..=0xFFFF, never to 0. A checksum computed over such
//!   bytes is therefore never 0xFFFF; only UDP sends 0xFFFF, because there 0 says "no checksum".
//! - Equation 3, `HC' = ~(~HC + ~m + m')`, keeps that: with `HC` in 0..=0xFFFE it gives 0..=0xFFFE, exactly
//!   what a full computation gives. With `HC` = 0xFFFF and `m` = `m'` it would turn 0xFFFF into 0, so words
//!   that do not change are skipped, and a [`Delta`] without a change leaves every field as it is.
//! - Because an update only adds differences, a checksum that was wrong stays wrong by the same amount.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A running ones' complement sum, not folded. It is kept in the byte order of the machine: the sum is the
/// same in either order but for a swap of the result (RFC 1071, section 2(B)), which [`Sum::fold`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Sum = Sum(0);

    /// Adds bytes. An odd last byte counts as if a zero followed, so that only the last slice of a packet
    /// may have an odd length.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Sum {
        // Two 32-bit halves into 64-bit sums need no carries, which lets the compiler use vectors. The
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
    let sum = (sum & 0xffff_ffff) + (sum >> 32); // at most 0x1_ffff_fffe
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32); // at most 0x1_fffe
    let sum = (sum & 0xffff) + (sum >> 16); // at most 0xffff
    sum as u16
}

/// The checksum over `bytes` (RFC 1071), in host order. Over bytes with a correct checksum in them it is 0.
#[inline]
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::ZERO.bytes(bytes).checksum()
}

/// An address of either family: each has a pseudo-header of its own.
pub trait Address: Copy + Eq {
    /// The sum over the pseudo-header of a segment of `length` bytes between two such addresses.
    fn pseudo(src: Self, dst: Self, protocol: u8, length: u16) -> Sum;
}

impl Address for Ipv4Addr {
    #[inline]
    fn pseudo(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: u16) -> Sum {
        Sum::pseudo_v4(src, dst, protocol, length)
    }
}

impl Address for Ipv6Addr {
    #[inline]
    fn pseudo(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, length: u16) -> Sum {
        Sum::pseudo_v6(src, dst, protocol, u32::from(length))
    }
}

/// The checksum of a TCP, UDP or ICMPv6 segment, computed in full, in host order. `segment` is header and
/// payload with a checksum field of 0. A segment with a correct checksum in its field gives 0. The rule that
/// UDP sends 0xFFFF for 0 is not applied here (see [`udp_field`]).
#[inline]
#[must_use]
pub fn l4_checksum<A: Address>(src: A, dst: A, protocol: u8, segment: &[u8]) -> u16 {
    // No packet holds more than 65535 bytes. For a slice that does, the result is defined but means nothing.
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    A::pseudo(src, dst, protocol, length).bytes(segment).checksum()
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

    /// Adds the change of 16 bits that begin `at` bytes behind an even offset: an option of TCP may lie at an
    /// odd one, and then its bytes belong to two words (RFC 1071, section 2(B)).
    #[inline]
    pub fn word_at(self, at: usize, old: u16, new: u16) -> Delta {
        if at & 1 == 0 { self.word(old, new) } else { self.word(old.swap_bytes(), new.swap_bytes()) }
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

    /// The checksum field after the changes (IPv4 header, TCP, ICMP), both in host order.
    #[inline]
    #[must_use]
    pub fn apply(self, checksum: u16) -> u16 {
        !fold(self.0.wrapping_add(u64::from(!checksum)))
    }

    /// The checksum field of UDP after the changes, both in host order: none (0) stays none, also over IPv6,
    /// where it is invalid and stays so; a result of 0 is written as 0xFFFF.
    #[inline]
    #[must_use]
    pub fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        udp_field(self.apply(checksum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{CLIENT, IP_HEADER, SYN, VIP};

    #[test]
    fn sums_the_example_of_rfc_1071() {
        // Section 3: these eight bytes sum to ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.bytes(&bytes).fold(), 0xddf2);
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    #[test]
    fn updates_the_example_of_rfc_1624() {
        // Section 4: HC = DD2F, m = 5555, m' = 3285 gives 0000, where RFC 1141 gives FFFF.
        assert_eq!(Delta::NONE.word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn no_change_leaves_every_checksum_as_it_is() {
        let same = Delta::NONE.word(0x1234, 0x1234).addr(CLIENT, CLIENT).word32(7, 7);
        assert_eq!(same, Delta::NONE);
        for field in 0..=u16::MAX {
            assert_eq!(same.apply(field), field);
            assert_eq!(same.apply_udp(field), field);
        }
    }

    #[test]
    fn a_change_that_cancels_out_leaves_every_valid_checksum_as_it_is() {
        // A swap of two words, as of source and destination.
        let swap = Delta::NONE.word(0x1234, 0xabcd).word(0xabcd, 0x1234);
        for field in 0..0xffff {
            assert_eq!(swap.apply(field), field);
        }
        assert_eq!(swap.apply_udp(0xffff), 0xffff);
    }

    #[test]
    fn udp_without_checksum_stays_without() {
        assert_eq!(Delta::NONE.word(1, 2).apply_udp(0), 0);
    }

    #[test]
    fn udp_writes_ffff_for_zero() {
        assert_eq!(Delta::NONE.word(0x5555, 0x3285).apply_udp(0xdd2f), 0xffff);
        assert_eq!(udp_field(0), 0xffff);
        assert_eq!(udp_field(0x1234), 0x1234);
    }

    #[test]
    fn correct_checksums_sum_to_nothing() {
        assert_eq!(checksum(&IP_HEADER), 0);
        assert_eq!(l4_checksum(CLIENT, VIP, 6, &SYN), 0);
    }

    #[test]
    fn the_worst_sum_does_not_overflow() {
        assert_eq!(Sum::ZERO.bytes(&[0xff; 65535]).fold(), 0xff00);
        assert_eq!(Sum::ZERO.bytes(&[0xff; 65534]).fold(), 0xffff);
        assert_eq!(Sum::ZERO.fold(), 0);
    }

    #[test]
    fn folding_is_the_remainder_with_zero_only_for_zero() {
        let edges =
            [0, 1, 0xfffe, 0xffff, 0x1_0000, 0x1_fffe, 0x1_ffff, 0xffff_ffff, 0x1_ffff_fffe, u64::MAX];
        for sum in edges.into_iter().flat_map(|edge| [edge, edge << 16, edge << 32, edge ^ 1]) {
            let expected = if sum == 0 { 0 } else { (sum - 1) % 0xffff + 1 };
            assert_eq!(u64::from(fold(sum)), expected, "{sum:#x}");
        }
    }

    #[test]
    fn pseudo_header_v6_counts_every_field() {
        let (src, dst) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        // 2001 + 0db8 + 0001 + 2001 + 0db8 + 0002 + 0001 + 2345 + 003a
        assert_eq!(Sum::pseudo_v6(src, dst, 58, 0x0001_2345).fold(), 0x7ef5);
        assert_eq!(Sum::pseudo_v6(src, dst, 58, 0x0001_2346).fold(), 0x7ef6);
    }
}
