//! Through a NAT: literal errors both ways, and any error as etherparse builds it.

use super::model::{Case, case, error, sums_up};
use crate::icmp::{Towards, Unusable, read, translate};
use etherparse::icmpv4::TimeExceededCode;
use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type};
use proptest::prelude::*;
use sheave_proto::wire::flow::{FlowKey, Proto};
use std::net::IpAddr;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The client's router says that the VIP's segment to the client was too big.
#[rustfmt::skip]
const FROM_CLIENT: [u8; 56] = [
    0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0xf1, 0x50, 192, 0, 2, 254, 198, 18, 0, 100, // router -> VIP
    3, 4, 0x56, 0xed, 0, 0, 0x05, 0x78, // fragmentation needed, MTU 1400
    0x45, 0, 0x05, 0xdc, 0x12, 0x34, 0x40, 0, 63, 6, 0x9b, 0x70, 198, 18, 0, 100, 192, 0, 2, 1, // VIP -> client
    0, 80, 0x9c, 0x40, 1, 2, 3, 4, // 80 -> 40000
];

#[test]
fn an_error_from_the_clients_side_goes_to_the_real() {
    let mut packet = FROM_CLIENT;
    assert!(sums_up(&packet));
    let error = read(&packet).unwrap();
    assert_eq!((error.src, error.dst), (addr("192.0.2.254"), addr("198.18.0.100")));
    assert_eq!((error.icmp_type, error.code, error.mtu), (3, 4, Some(1400)));
    let embedded = error.embedded(&packet).unwrap();
    assert_eq!(embedded.flow.to_string(), "tcp 198.18.0.100:80 -> 192.0.2.1:40000");
    assert_eq!((embedded.at, embedded.transport), (28, 48));

    assert_eq!(translate(&mut packet, &error, Towards::Real, addr("198.19.1.11"), 8080), Ok(()));
    assert_eq!(packet[12..20], [192, 0, 2, 254, 198, 19, 1, 11]);
    assert_eq!(packet[40..52], [198, 19, 1, 11, 192, 0, 2, 1, 0x1f, 0x90, 0x9c, 0x40]);
    assert!(sums_up(&packet));
    // All else is as it was, but for the three checksums.
    let changed: Vec<_> = (0..packet.len()).filter(|at| packet[*at] != FROM_CLIENT[*at]).collect();
    assert_eq!(changed, [10, 11, 17, 18, 19, 22, 23, 38, 39, 41, 42, 43, 48, 49]);
}

#[test]
fn an_error_from_the_reals_side_comes_from_the_vip() {
    let flow = FlowKey {
        proto: Proto::Udp,
        src: addr("2001:db8::1"),
        dst: addr("2001:db8:19:1::11"),
        sport: 5353,
        dport: 8053,
    };
    let (router, client) = (addr("2001:db8:19:1::fe"), flow.src);
    let case =
        Case { ends: (router, client), flow, options: 1, df: true, payload: 9, quoted: 500, mtu: 1280 };
    let mut packet = case.error();
    let error = read(&packet).unwrap();
    let embedded = error.embedded(&packet).unwrap();
    assert_eq!((embedded.flow, embedded.at, embedded.transport), (flow, 48, 96));
    let vip = addr("2001:db8:18::100");
    assert_eq!(translate(&mut packet, &error, Towards::Client, vip, 53), Ok(()));
    let after = read(&packet).unwrap();
    assert_eq!((after.src, after.dst), (vip, client));
    let seen = after.embedded(&packet).unwrap().flow;
    assert_eq!(seen, FlowKey { dst: vip, dport: 53, ..flow }, "what the client sent");
    assert!(sums_up(&packet));
}

#[test]
fn only_errors_about_flows_are_read() {
    let client = (addr("192.0.2.1"), addr("198.18.0.100"));
    let client6 = (addr("2001:db8::1"), addr("2001:db8:18::100"));
    let quote = &FROM_CLIENT[28..];
    let echo = IcmpEchoHeader { id: 1, seq: 1 };
    let (v4, v6) = (Icmpv4Type::EchoRequest(echo), Icmpv6Type::EchoRequest(echo));
    for ends in [client, client6] {
        assert_eq!(read(&error(ends, v4.clone(), v6, quote)), Err(Unusable::NotError));
    }
    let unknown = |type_u8| Icmpv4Type::Unknown { type_u8, code_u8: 0, bytes5to8: [0; 4] };
    let unknown6 = |type_u8| Icmpv6Type::Unknown { type_u8, code_u8: 0, bytes5to8: [0; 4] };
    for icmp_type in 0..=255 {
        let v4 = read(&error(client, unknown(icmp_type), v6, quote)).is_ok();
        assert_eq!(v4, matches!(icmp_type, 3 | 4 | 11), "{icmp_type}");
        let v6 = read(&error(client6, self::unknown_v4(), unknown6(icmp_type), quote)).is_ok();
        assert_eq!(v6, icmp_type < 128, "{icmp_type}");
    }
    let time = error(client, Icmpv4Type::TimeExceeded(TimeExceededCode::TtlExceededInTransit), v6, quote);
    let flow = read(&time).unwrap().embedded(&time).unwrap().flow;
    assert_eq!(flow.to_string(), "tcp 198.18.0.100:80 -> 192.0.2.1:40000");
}

fn unknown_v4() -> Icmpv4Type {
    Icmpv4Type::Unknown { type_u8: 3, code_u8: 0, bytes5to8: [0; 4] }
}

/// A copy of [`FROM_CLIENT`] with other bytes, the checksum of its message right again.
fn with(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut packet = FROM_CLIENT.to_vec();
    for (at, value) in changes {
        packet[*at] = *value;
    }
    packet[22..24].fill(0);
    let sum = sheave_proto::wire::checksum::checksum(&packet[20..]);
    packet[22..24].copy_from_slice(&sum.to_be_bytes());
    packet
}

#[test]
fn each_fault_is_told_apart() {
    let embedded = |changes: &[(usize, u8)]| {
        let packet = with(changes);
        read(&packet).unwrap().embedded(&packet)
    };
    let mut wrong = FROM_CLIENT;
    wrong[55] ^= 1;
    assert_eq!(read(&wrong), Err(Unusable::Checksum));
    for len in 0..FROM_CLIENT.len() {
        assert_eq!(read(&FROM_CLIENT[..len]), Err(Unusable::Malformed), "{len} bytes");
    }
    assert_eq!(read(&with(&[(0, 0x55)])), Err(Unusable::Malformed));
    assert_eq!(read(&with(&[(6, 0x20)])), Err(Unusable::Fragment));
    assert_eq!(read(&with(&[(9, 6)])), Err(Unusable::NotError));
    assert_eq!(embedded(&[(28, 0x65)]), Err(Unusable::QuoteMalformed));
    assert_eq!(embedded(&[(36, 62)]), Err(Unusable::QuoteChecksum));
    assert_eq!(embedded(&[(35, 1)]), Err(Unusable::QuoteFragment));
    assert_eq!(embedded(&[(37, 1)]), Err(Unusable::QuoteProtocol(1)));
    assert_eq!(embedded(&[(28, 0x47)]), Err(Unusable::QuoteTruncated));
    // Padding is not part of it, and the other family is not translated to.
    let mut padded = [FROM_CLIENT.as_slice(), &[0xee; 20]].concat();
    let error = read(&padded).unwrap();
    let before = padded.clone();
    let other = translate(&mut padded, &error, Towards::Real, addr("2001:db8::1"), 1);
    assert_eq!((other, &padded), (Err(Unusable::QuoteMalformed), &before));
    assert_eq!(translate(&mut padded, &error, Towards::Real, addr("198.19.1.11"), 1), Ok(()));
    assert_eq!(padded[56..], [0xee; 20]);
}

fn towards() -> impl Strategy<Value = Towards> {
    prop_oneof![Just(Towards::Real), Just(Towards::Client)]
}

/// The same error with the end rewritten that changes on this way.
fn changed(case: &Case, towards: Towards, to: (IpAddr, u16)) -> Case {
    let mut case = case.clone();
    match towards {
        Towards::Real => {
            case.ends.1 = to.0;
            (case.flow.src, case.flow.sport) = to;
        }
        Towards::Client => {
            case.ends.0 = to.0;
            (case.flow.dst, case.flow.dport) = to;
        }
    }
    case
}

/// The TCP or UDP checksum of the quote, where it is quoted, made that of another error.
fn with_quoted_checksum_of(case: &Case, mut packet: Vec<u8>, other: &[u8], transport: usize) -> Vec<u8> {
    let at = transport + if case.flow.proto == Proto::Tcp { 16 } else { 6 };
    for at in at..at + 2 {
        if let (Some(byte), Some(other)) = (packet.get_mut(at), other.get(at)) {
            *byte = *other;
        }
    }
    packet
}

proptest! {
    /// Byte for byte, but for the quoted transport checksum and the checksum over it.
    #[test]
    fn any_error_becomes_the_one_about_the_other_packet(
        (case, [to, _]) in case(), towards in towards(), padding in 0..20_usize,
    ) {
        let before = case.error();
        let mut packet = [before.clone(), vec![0xee; padding]].concat();
        let error = read(&packet).unwrap();
        let embedded = error.embedded(&packet).unwrap();
        prop_assert_eq!((error.src, error.dst), case.ends);
        prop_assert_eq!(embedded.flow, case.flow);
        translate(&mut packet, &error, towards, to.0, to.1).unwrap();
        prop_assert!(packet.drain(before.len()..).all(|byte| byte == 0xee));
        prop_assert!(sums_up(&packet));

        let mut expected = changed(&case, towards, to).error();
        expected = with_quoted_checksum_of(&case, expected, &before, embedded.transport);
        let sum = embedded.at - 6;
        expected[sum..sum + 2].copy_from_slice(&packet[sum..sum + 2]);
        prop_assert_eq!(packet, expected);
    }

    #[test]
    fn there_and_back_is_the_error_itself((case, [there, back]) in case(), towards in towards()) {
        let case = changed(&case, towards, back);
        let before = case.error();
        let mut packet = before.clone();
        for to in [there, back] {
            let error = read(&packet).unwrap();
            translate(&mut packet, &error, towards, to.0, to.1).unwrap();
        }
        prop_assert_eq!(packet, before);
    }
}
