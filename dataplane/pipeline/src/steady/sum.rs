//! Sums of headers, as checksums need them: worked out beforehand, brought up to date with two instructions each.

/// A one's complement sum (RFC 1071) of 16-bit words as they lie in memory: the order of the bytes in a word does not
/// matter to it (§2 B), as long as it is the same everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum(u16);

impl Sum {
    /// Of nothing.
    pub(super) const ZERO: Sum = Sum(0);

    /// What the time to live adds to the sum of an IPv4 header when one is taken from it: the complement of 0x0100.
    pub(super) const AGED: Sum = Sum::word([0xfe, 0xff]);

    /// That of one word.
    #[inline(always)]
    pub(super) const fn word(bytes: [u8; 2]) -> Sum {
        Sum(u16::from_ne_bytes(bytes))
    }

    /// That of several.
    pub(super) fn words(bytes: &[u8]) -> Sum {
        let (words, _) = bytes.as_chunks();
        words.iter().fold(Sum::default(), |sum, word| sum.and(Sum::word(*word)))
    }

    /// Both together.
    #[inline(always)]
    pub(super) const fn and(self, other: Sum) -> Sum {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Sum(sum.wrapping_add(carry as u16))
    }

    /// What is to be added so that the words that were summed no longer count.
    #[inline(always)]
    pub(super) const fn taken(self) -> Sum {
        Sum(!self.0)
    }

    /// Of what a checksum covers. Changed by what was taken and by what came instead, it gives the new checksum (RFC 1624
    /// §3, equation 3).
    #[inline(always)]
    pub(super) const fn checksum(bytes: [u8; 2]) -> Sum {
        Sum::word(bytes).taken()
    }

    /// The checksum of what has this sum.
    #[inline(always)]
    pub(super) const fn to_checksum(self) -> [u8; 2] {
        self.taken().0.to_ne_bytes()
    }
}

/// Whether the words of a header, its checksum among them, sum to all ones. Of a header that begins with 0x45 and is not a
/// fragment's.
#[inline(always)]
pub(super) fn adds_up(header: &[u8; 20]) -> bool {
    // PERF: `instructions/nat-in-64`. Many words at once: where in a larger one a word is makes no difference to the sum modulo
    // 0xffff. The largest has a zero on top, the end of the fragment's offset, so that nothing is carried out.
    let (long, _) = header.as_chunks();
    let (words, _) = header.as_chunks();
    let ([first, ..], [_, _, rest @ ..]) = (long, words) else { return false };
    let sum = rest.iter().map(|word| u64::from(u32::from_le_bytes(*word))).sum::<u64>();
    // Not all bytes are zero, so that the sum modulo 0xffff is all ones in one spelling only.
    u64::from_le_bytes(*first).wrapping_add(sum) % 0xffff == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The checksum of some bytes, spelled out.
    fn checksum(bytes: &[u8]) -> [u8; 2] {
        let mut sum: u32 = bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(!sum & 0xffff).expect("16 bits").to_be_bytes()
    }

    proptest! {
        #[test]
        fn a_change_brings_a_checksum_in_step(mut bytes: [u8; 20], new: [u8; 6]) {
            bytes[0] = 0x45;
            (bytes[6], bytes[7]) = (bytes[6] & 0xc0, 0);
            bytes[10..12].fill(0);
            let before = checksum(&bytes);
            let after = Sum::checksum(before).and(Sum::words(&bytes[14..20]).taken()).and(Sum::words(&new));
            bytes[14..20].copy_from_slice(&new);
            prop_assert_eq!(after.to_checksum(), checksum(&bytes));
            let sum = checksum(&bytes);
            bytes[10..12].copy_from_slice(&sum);
            prop_assert!(adds_up(&bytes));
            bytes[11] ^= 1;
            prop_assert!(!adds_up(&bytes));
        }
    }

    #[test]
    fn an_aged_header_adds_up() {
        let mut header = *b"\x45\x00\x00\x28\x00\x00\x40\x00\x40\x06\x00\x00\xc6\x33\x64\x01\xc6\x12\x00\x64";
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum);
        assert!(adds_up(&header));
        header[8] -= 1;
        let sum = Sum::checksum(sum).and(Sum::AGED).to_checksum();
        header[10..12].copy_from_slice(&sum);
        assert!(adds_up(&header));
    }
}
