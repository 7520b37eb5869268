//! Errors about our own tunnels, of every kind and around both families.

use super::model::{Case, case, error, too_big, v4, v6};
use crate::icmp::{Answer, TunnelError, Unusable, read};
use etherparse::icmpv4::{DestUnreachableHeader as Unreachable4, TimeExceededCode as Time4};
use etherparse::icmpv6::{DestUnreachableCode as Unreachable6, TimeExceededCode as Time6};
use etherparse::{Icmpv4Type, Icmpv6Type};
use proptest::prelude::*;
use sheave_proto::wire::flow::{FlowKey, Proto};
use sheave_proto::wire::tunnel::{Encapsulation, Family, Inner, Template};
use sheave_proto::wire::{icmpv4, icmpv6};
use std::net::IpAddr;

const GUE: Encapsulation = Encapsulation::Gue { port: 6080, checksum: false };

fn encapsulation() -> impl Strategy<Value = Encapsulation> {
    prop_oneof![
        Just(Encapsulation::Ipip),
        any::<bool>().prop_map(|checksum| Encapsulation::Gre { checksum }),
        (any::<u16>(), any::<bool>()).prop_map(|(port, checksum)| Encapsulation::Gue { port, checksum }),
    ]
}

/// A packet in a tunnel.
fn tunnelled(ends: (IpAddr, IpAddr), encapsulation: Encapsulation, inner: &[u8]) -> Vec<u8> {
    let family = if inner[0] >> 4 == 4 { Family::V4 } else { Family::V6 };
    let template = Template::new(ends.0, ends.1, encapsulation, family).unwrap();
    let mut packet = [vec![0; template.overhead()], inner.to_vec()].concat();
    template.emit(&mut packet, &Inner { tos: 0, ttl: 62, df: true, ident: 7, flow: 8 }).unwrap();
    packet
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ends(family: Family) -> (IpAddr, IpAddr) {
    match family {
        Family::V4 => (addr("198.19.1.1"), addr("198.19.1.11")),
        Family::V6 => (addr("2001:db8:19:1::1"), addr("2001:db8:19:1::11")),
    }
}

/// A router on the way of a tunnel, and the director.
fn from_router(family: Family) -> (IpAddr, IpAddr) {
    match family {
        Family::V4 => (addr("198.19.1.254"), addr("198.19.1.1")),
        Family::V6 => (addr("2001:db8:19:1::fe"), addr("2001:db8:19:1::1")),
    }
}

/// A packet from the client to the VIP.
fn client(family: Family, df: bool) -> Case {
    let (src, dst) = match family {
        Family::V4 => (addr("192.0.2.1"), addr("198.18.0.100")),
        Family::V6 => (addr("2001:db8::1"), addr("2001:db8:18::100")),
    };
    let flow = FlowKey { proto: Proto::Tcp, src, dst, sport: 40000, dport: 80 };
    Case { ends: (src, dst), flow, options: 0, df, payload: 1400, quoted: 0, mtu: 0 }
}

fn told(packet: &[u8]) -> TunnelError {
    read(packet).unwrap().tunnel(packet).unwrap()
}

fn answer(packet: &[u8]) -> Option<Answer> {
    told(packet).inside.unwrap().answer
}

#[test]
fn the_client_is_told_what_fits_through_the_tunnel() {
    for (outer, encapsulation, inner, expected) in [
        (Family::V4, Encapsulation::Ipip, Family::V4, 1400 - 20),
        (Family::V4, Encapsulation::Gre { checksum: false }, Family::V4, 1400 - 24),
        (Family::V4, Encapsulation::Gre { checksum: true }, Family::V4, 1400 - 28),
        (Family::V4, GUE, Family::V4, 1400 - 32),
        (Family::V6, GUE, Family::V4, 1400 - 52),
        (Family::V6, Encapsulation::Ipip, Family::V6, 1400 - 40),
        (Family::V4, GUE, Family::V6, 1400 - 32),
    ] {
        let quote = tunnelled(ends(outer), encapsulation, &client(inner, true).packet());
        let packet = too_big(from_router(outer), 1400, &quote);
        let told = told(&packet);
        assert_eq!((told.source, told.real), ends(outer));
        assert_eq!(told.path_mtu, Some(1400));
        let inside = told.inside.unwrap();
        assert_eq!(inside.encapsulation, encapsulation);
        assert_eq!(inside.embedded.flow, client(inner, true).flow);
        assert_eq!(packet[inside.embedded.at..inside.end], client(inner, true).packet());
        let expected = match inner {
            Family::V4 => {
                let mtu = u16::try_from(expected).unwrap();
                Answer::V4(icmpv4::Error::FragmentationNeeded { mtu })
            }
            Family::V6 => Answer::V6(icmpv6::Error::PacketTooBig { mtu: expected }),
        };
        assert_eq!(inside.answer, Some(expected), "{outer:?} {encapsulation:?} {inner:?}");
    }
}

#[test]
fn a_client_that_allows_fragments_is_told_nothing() {
    let quote = tunnelled(ends(Family::V4), Encapsulation::Ipip, &client(Family::V4, false).packet());
    let told = told(&too_big(from_router(Family::V4), 1400, &quote));
    assert_eq!((told.path_mtu, told.inside.unwrap().answer), (Some(1400), None));
}

#[test]
fn no_answer_is_less_than_what_every_link_carries() {
    let fragmentation = |mtu| Some(Answer::V4(icmpv4::Error::FragmentationNeeded { mtu }));
    let v4 = tunnelled(ends(Family::V4), Encapsulation::Ipip, &client(Family::V4, true).packet());
    for (mtu, path_mtu, expected) in [
        (70, Some(70), fragmentation(68)),
        (68, Some(68), fragmentation(68)),
        (67, None, None),
        (1, None, None),
        // A router that does not know better: 1460 bytes were too many, the next plateau is 1006.
        (0, Some(1006), fragmentation(986)),
    ] {
        let packet = too_big(from_router(Family::V4), mtu, &v4);
        assert_eq!((told(&packet).path_mtu, answer(&packet)), (path_mtu, expected), "{mtu}");
    }
    let v6 = tunnelled(ends(Family::V6), Encapsulation::Ipip, &client(Family::V6, true).packet());
    let least = Some(Answer::V6(icmpv6::Error::PacketTooBig { mtu: 1280 }));
    for (mtu, path_mtu, expected) in
        [(1300, Some(1300), least), (1280, Some(1280), least), (1279, None, None)]
    {
        let packet = too_big(from_router(Family::V6), mtu, &v6);
        assert_eq!((told(&packet).path_mtu, answer(&packet)), (path_mtu, expected), "{mtu}");
    }
    let huge = error(
        from_router(Family::V6),
        Icmpv4Type::DestinationUnreachable(Unreachable4::Host),
        Icmpv6Type::PacketTooBig { mtu: 1 << 20 },
        &v6,
    );
    assert_eq!(told(&huge).path_mtu, Some(65535));
}

#[test]
fn what_happens_in_the_tunnel_is_told_in_the_clients_words() {
    use icmpv4::Error as E4;
    use icmpv6::Error as E6;
    let unreachable = |code| Icmpv4Type::DestinationUnreachable(code);
    let v4_errors = [
        (unreachable(Unreachable4::Network), Some((E4::HostUnreachable, E6::AddressUnreachable))),
        (unreachable(Unreachable4::Protocol), Some((E4::HostUnreachable, E6::AddressUnreachable))),
        (unreachable(Unreachable4::Port), Some((E4::HostUnreachable, E6::AddressUnreachable))),
        (Icmpv4Type::TimeExceeded(Time4::TtlExceededInTransit), Some((E4::TimeExceeded, E6::TimeExceeded))),
        (Icmpv4Type::TimeExceeded(Time4::FragmentReassemblyTimeExceeded), None),
        (Icmpv4Type::Unknown { type_u8: 4, code_u8: 0, bytes5to8: [0; 4] }, None),
    ];
    let v6_errors = [
        (
            Icmpv6Type::DestinationUnreachable(Unreachable6::Port),
            Some((E4::HostUnreachable, E6::AddressUnreachable)),
        ),
        (
            Icmpv6Type::Unknown { type_u8: 4, code_u8: 1, bytes5to8: [0, 0, 0, 6] },
            Some((E4::HostUnreachable, E6::AddressUnreachable)),
        ),
        (Icmpv6Type::TimeExceeded(Time6::HopLimitExceeded), Some((E4::TimeExceeded, E6::TimeExceeded))),
        (Icmpv6Type::TimeExceeded(Time6::FragmentReassemblyTimeExceeded), None),
        (Icmpv6Type::Unknown { type_u8: 100, code_u8: 0, bytes5to8: [0; 4] }, None),
    ];
    let check = |outer: Family, v4: &Icmpv4Type, v6: &Icmpv6Type, expected: Option<(E4, E6)>| {
        for inner in [Family::V4, Family::V6] {
            let quote = tunnelled(ends(outer), GUE, &client(inner, false).packet());
            let packet = error(from_router(outer), v4.clone(), *v6, &quote);
            let expected = expected.map(|(v4, v6)| match inner {
                Family::V4 => Answer::V4(v4),
                Family::V6 => Answer::V6(v6),
            });
            assert_eq!((told(&packet).path_mtu, answer(&packet)), (None, expected), "{v4:?} {v6:?}");
        }
    };
    for (v4, expected) in &v4_errors {
        check(Family::V4, v4, &v6_errors[0].0, *expected);
    }
    for (v6, expected) in &v6_errors {
        check(Family::V6, &v4_errors[0].0, v6, *expected);
    }
}

#[test]
fn a_short_quote_still_tells_the_path_mtu() {
    // Eight bytes behind the outer header, as old routers quote.
    for encapsulation in [Encapsulation::Ipip, Encapsulation::Gre { checksum: true }, GUE] {
        let quote = tunnelled(ends(Family::V4), encapsulation, &client(Family::V4, true).packet());
        let told = told(&too_big(from_router(Family::V4), 1400, &quote[..28]));
        assert_eq!((told.real, told.path_mtu), (ends(Family::V4).1, Some(1400)));
        assert_eq!(told.inside, None);
    }
}

#[test]
fn extensions_are_not_quoted_again() {
    // RFC 4884: 128 bytes (32 words, 16 of eight) of the packet, then extensions.
    for (outer, bytes5to8) in [(Family::V4, [0, 32, 0, 0]), (Family::V6, [16, 0, 0, 0])] {
        let tunnelled = tunnelled(ends(outer), Encapsulation::Ipip, &client(Family::V4, true).packet());
        let quote = [&tunnelled[..128], [0x20, 0, 0xde, 0xad, 0, 4, 1, 1].as_slice()].concat();
        let v4 = Icmpv4Type::Unknown { type_u8: 3, code_u8: 1, bytes5to8 };
        let v6 = Icmpv6Type::Unknown { type_u8: 1, code_u8: 3, bytes5to8 };
        let packet = error(from_router(outer), v4, v6, &quote);
        let inside = told(&packet).inside.unwrap();
        assert_eq!(inside.end, packet.len() - 8);
    }
}

#[test]
fn what_is_about_no_tunnel_says_so() {
    let packet = too_big(from_router(Family::V4), 1400, &client(Family::V4, true).packet());
    assert_eq!(read(&packet).unwrap().tunnel(&packet), Err(Unusable::QuoteProtocol(6)));
    // The inner packet is no flow of a client's: an ICMP error that was tunnelled itself.
    let inner = too_big(from_router(Family::V4), 1400, &client(Family::V4, true).packet());
    let quote = tunnelled(ends(Family::V4), Encapsulation::Ipip, &inner);
    assert_eq!(told(&too_big(from_router(Family::V4), 1400, &quote)).inside, None);
    // A later fragment of an outer packet holds no header.
    let mut quote = tunnelled(ends(Family::V4), Encapsulation::Ipip, &client(Family::V4, true).packet());
    quote[6..8].copy_from_slice(&[0, 1]);
    quote[10..12].copy_from_slice(&[0, 0]);
    let sum = sheave_proto::wire::checksum::checksum(&quote[..20]);
    quote[10..12].copy_from_slice(&sum.to_be_bytes());
    let packet = too_big(from_router(Family::V4), 1400, &quote);
    assert_eq!(read(&packet).unwrap().tunnel(&packet), Err(Unusable::QuoteFragment));
}

proptest! {
    #[test]
    fn any_packet_is_found_in_any_tunnel(
        (case, _) in case(),
        ends in prop_oneof![prop::array::uniform4(v4()), prop::array::uniform4(v6())],
        encapsulation in encapsulation(),
        keep in any::<prop::sample::Index>(),
    ) {
        let [router, director, source, real] = ends;
        let inner = case.packet();
        let whole = tunnelled((source, real), encapsulation, &inner);
        let overhead = whole.len() - inner.len();
        let quote = &whole[..keep.index(whole.len() + 1)];
        let packet = too_big((router, director), case.mtu, quote);
        let told = read(&packet).unwrap().tunnel(&packet);
        let outer_len = if source.is_ipv4() { 20 } else { 40 };
        if quote.len() < outer_len {
            prop_assert_eq!(told, Err(Unusable::QuoteTruncated));
            return Ok(());
        }
        let told = told.unwrap();
        prop_assert_eq!((told.source, told.real, told.path_mtu), (source, real, Some(case.mtu)));
        let flow_is_quoted = quote.len() >= overhead + case.ip_len() + 4;
        prop_assert_eq!(told.inside.is_some(), flow_is_quoted);
        if let Some(inside) = told.inside {
            prop_assert_eq!(inside.embedded.flow, case.flow);
            prop_assert_eq!(&packet[inside.embedded.at..inside.end], &quote[overhead..]);
            let left = usize::from(case.mtu) - overhead;
            match inside.answer {
                Some(Answer::V4(icmpv4::Error::FragmentationNeeded { mtu })) => {
                    prop_assert!(case.df && usize::from(mtu) == left);
                }
                Some(Answer::V6(icmpv6::Error::PacketTooBig { mtu })) => {
                    prop_assert_eq!(usize::try_from(mtu).unwrap(), left.max(1280));
                }
                other => prop_assert!(other.is_none() && !case.df && case.flow.src.is_ipv4()),
            }
        }
    }
}
