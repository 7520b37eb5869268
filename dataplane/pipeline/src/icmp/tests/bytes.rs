//! Bytes that nobody vouches for: nothing panics, and what is translated is right.

use super::model::{case, sums_up, too_big};
use crate::icmp::{Towards, read, translate};
use proptest::prelude::*;
use sheave_proto::wire::checksum::{checksum, l4_checksum};
use sheave_proto::wire::{ipv4, ipv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Does everything that can be done with a packet.
fn try_all(packet: &[u8]) -> Result<(), TestCaseError> {
    let Ok(error) = read(packet) else { return Ok(()) };
    if let Ok(told) = error.tunnel(packet)
        && let Some(inside) = told.inside
    {
        prop_assert!(inside.embedded.at <= inside.end && inside.end <= packet.len());
    }
    for towards in [Towards::Real, Towards::Client] {
        for addr in [IpAddr::V4(Ipv4Addr::new(198, 19, 1, 11)), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let mut copy = packet.to_vec();
            let header_ok = packet[0] >> 4 == 6 || ipv4::verify_checksum(packet).is_ok();
            match translate(&mut copy, &error, towards, addr, 8080) {
                Err(_) => prop_assert_eq!(&copy, packet),
                Ok(()) => {
                    let after = read(&copy).unwrap();
                    prop_assert!(after.embedded(&copy).is_ok());
                    prop_assert!(packet[0] >> 4 == 6 || ipv4::verify_checksum(&copy).is_ok() == header_ok);
                }
            }
        }
    }
    Ok(())
}

/// The message's checksum made right, so that what it quotes is looked at.
fn fix(packet: &mut [u8]) {
    if let Ok(ip) = ipv4::parse(packet) {
        if let Some(message) = packet.get_mut(ip.header_len..ip.total_len).filter(|m| m.len() >= 4) {
            message[2..4].fill(0);
            let sum = checksum(message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
    } else if let Ok(ip) = ipv6::parse(packet)
        && let Ok(upper) = ip.upper(packet)
        && let Some(message) = packet.get_mut(upper.offset..ip.total_len()).filter(|m| m.len() >= 4)
    {
        message[2..4].fill(0);
        let sum = l4_checksum(ip.src, ip.dst, upper.protocol, message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
}

proptest! {
    #[test]
    fn random_bytes(mut packet in prop::collection::vec(any::<u8>(), 0..200), v6: bool) {
        try_all(&packet)?;
        // As near to a packet as its length allows.
        let len = packet.len();
        if v6 && len >= 40 {
            packet[0] = 0x60;
            packet[4..7].copy_from_slice(&[0, u8::try_from(len - 40).unwrap(), 58]);
        } else if len >= 20 {
            packet[..10].copy_from_slice(&[0x45, 0, 0, u8::try_from(len).unwrap(), 0, 0, 0, 0, 64, 1]);
        }
        fix(&mut packet);
        try_all(&packet)?;
    }

    #[test]
    fn random_quotes(quote in prop::collection::vec(any::<u8>(), 0..120), (case, _) in case(), first: bool) {
        let mut quote = quote;
        if let (Some(byte), true) = (quote.first_mut(), first) {
            *byte = if case.ends.0.is_ipv4() { 0x45 } else { 0x60 };
        }
        try_all(&too_big(case.ends, case.mtu, &quote))?;
    }

    #[test]
    fn mutated_errors(
        (case, _) in case(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        extra in 0..10_usize,
    ) {
        let mut packet = case.error();
        prop_assert!(sums_up(&packet));
        for (at, value) in &changes {
            let at = at.index(packet.len());
            packet[at] = *value;
        }
        try_all(&packet)?;
        fix(&mut packet);
        try_all(&packet)?;
        packet.extend(std::iter::repeat_n(0xee, extra));
        if let Some(cut) = cut {
            packet.truncate(cut.index(packet.len()));
        }
        try_all(&packet)?;
    }
}
