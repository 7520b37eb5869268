//! The fast sum against the slow one, incremental against full.

use super::model::{addr, word};
use crate::wire::checksum::{Delta, Sum, checksum};
use proptest::prelude::*;
use std::net::Ipv6Addr;

/// RFC 1071 section 4.1, step by step: 16 bits at a time, the left-over byte, then the carries.
fn rfc1071(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    let mut at = 0;
    let mut count = bytes.len();
    while count > 1 {
        sum += u64::from(bytes[at]) << 8 | u64::from(bytes[at + 1]);
        at += 2;
        count -= 2;
    }
    if count > 0 {
        sum += u64::from(bytes[at]) << 8;
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn to_bytes(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0), Just(0xff), any::<u8>()];
    prop::collection::vec(byte, 0..300)
}

proptest! {
    #[test]
    fn the_fast_sum_is_the_slow_sum(bytes in bytes()) {
        prop_assert_eq!(checksum(&bytes), rfc1071(&bytes));
    }

    #[test]
    fn a_sum_may_be_taken_in_parts(bytes in bytes(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(bytes.len() + 1) & !1;
        let (first, second) = bytes.split_at(cut);
        prop_assert_eq!(Sum::ZERO.bytes(first).bytes(second).checksum(), rfc1071(&bytes));
    }

    #[test]
    fn words_sum_like_their_bytes(words in prop::collection::vec(word(), 0..40)) {
        let sum = words.iter().fold(Sum::ZERO, |sum, word| sum.word(*word));
        prop_assert_eq!(sum.checksum(), rfc1071(&to_bytes(&words)));
    }

    /// Any number of changes, made in one delta, made one by one, made in two deltas.
    #[test]
    fn incremental_is_full(
        mut words in prop::collection::vec(word(), 1..20),
        changes in prop::collection::vec((any::<prop::sample::Index>(), word()), 0..20),
        split in 0..20_usize,
    ) {
        // Something that never changes and is not zero, as every header and pseudo-header has.
        words.push(0x0045);
        let before = rfc1071(&to_bytes(&words));
        let fixed = words.len() - 1;
        let (mut whole, mut parts, mut one_by_one) = (Delta::NONE, [Delta::NONE; 2], before);
        for (n, (at, new)) in changes.iter().enumerate() {
            let old = &mut words[at.index(fixed)];
            whole = whole.word(*old, *new);
            let part = &mut parts[usize::from(n < split)];
            *part = part.word(*old, *new);
            one_by_one = Delta::NONE.word(*old, *new).apply(one_by_one);
            *old = *new;
        }
        let after = rfc1071(&to_bytes(&words));
        prop_assert_eq!(whole.apply(before), after);
        prop_assert_eq!(one_by_one, after);
        prop_assert_eq!(parts[0].and(parts[1]).apply(before), after);
    }

    #[test]
    fn changes_of_addresses_are_changes_of_their_words(old in addr(), new in addr(), field in 0..0xffff_u16) {
        let (a, b) = (old.to_bits().to_be_bytes(), new.to_bits().to_be_bytes());
        let by_words = Delta::NONE
            .word(u16::from_be_bytes([a[0], a[1]]), u16::from_be_bytes([b[0], b[1]]))
            .word(u16::from_be_bytes([a[2], a[3]]), u16::from_be_bytes([b[2], b[3]]));
        prop_assert_eq!(Delta::NONE.addr(old, new).apply(field), by_words.apply(field));
    }

    #[test]
    fn ipv6_addresses_change_incrementally(
        old in prop::array::uniform8(word()),
        new in prop::array::uniform8(word()),
        other in prop::array::uniform8(word()),
    ) {
        let (old, new, other) = (Ipv6Addr::from(old), Ipv6Addr::from(new), Ipv6Addr::from(other));
        let before = Sum::pseudo_v6(old, other, 17, 8).checksum();
        let after = Sum::pseudo_v6(new, other, 17, 8).checksum();
        prop_assert_eq!(Delta::NONE.addr6(old, new).apply(before), after);
    }
}
