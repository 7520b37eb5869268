//! As `rewritten.rs`, for IPv6.

use super::model::word;
use super::model6::{Packet6, addr6, packet6};
use crate::wire::flow::{Proto, Side};
use crate::wire::{icmpv6, ipv6, tcp, tcp_options, udp};
use proptest::prelude::*;
use std::net::Ipv6Addr;

/// Packets, those whose checksums are at the edge among them.
fn any_packet() -> impl Strategy<Value = Packet6> {
    (packet6(), 0..3).prop_map(|(packet, edge)| if edge == 0 { packet.with_zero_checksum() } else { packet })
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Source), Just(Side::Destination)]
}

/// What a NAT does to one side of a packet.
fn rewrite(bytes: &mut [u8], side: Side, addr: Ipv6Addr, port: u16) {
    let upper = ipv6::parse(bytes).unwrap().upper(bytes).unwrap();
    let mut ip = ipv6::HeaderMut::new(bytes).unwrap();
    let delta = match side {
        Side::Source => ip.rewrite_src(addr),
        Side::Destination => ip.rewrite_dst(addr),
    };
    let segment = &mut bytes[upper.offset..];
    match (Proto::from_number(upper.protocol).unwrap(), side) {
        (Proto::Tcp, Side::Source) => tcp::HeaderMut::new(segment).unwrap().rewrite_sport(port, delta),
        (Proto::Tcp, Side::Destination) => tcp::HeaderMut::new(segment).unwrap().rewrite_dport(port, delta),
        (Proto::Udp, Side::Source) => udp::HeaderMut::new(segment).unwrap().rewrite_sport(port, delta),
        (Proto::Udp, Side::Destination) => udp::HeaderMut::new(segment).unwrap().rewrite_dport(port, delta),
    }
}

fn changed(packet: &Packet6, side: Side, addr: Ipv6Addr, port: u16) -> Packet6 {
    let mut packet = packet.clone();
    match side {
        Side::Source => (packet.src, packet.upper.sport) = (addr, port),
        Side::Destination => (packet.dst, packet.upper.dport) = (addr, port),
    }
    packet
}

proptest! {
    #[test]
    fn nat_gives_the_packet_built_anew_and_back(
        packet in any_packet(), side in side(), addr in addr6(), port in word(),
    ) {
        let mut bytes = packet.build();
        rewrite(&mut bytes, side, addr, port);
        prop_assert_eq!(&bytes, &changed(&packet, side, addr, port).build());
        match side {
            Side::Source => rewrite(&mut bytes, side, packet.src, packet.upper.sport),
            Side::Destination => rewrite(&mut bytes, side, packet.dst, packet.upper.dport),
        }
        prop_assert_eq!(bytes, packet.build());
    }

    #[test]
    fn every_hop_limit_counts_down(packet in packet6()) {
        let mut bytes = packet.build();
        let left = ipv6::HeaderMut::new(&mut bytes).unwrap().decrement_hop_limit();
        let mut expected = packet.clone();
        if packet.upper.ttl > 1 {
            expected.upper.ttl -= 1;
            prop_assert_eq!(left, Some(expected.upper.ttl));
        } else {
            prop_assert_eq!(left, None);
        }
        prop_assert_eq!(bytes, expected.build());
    }

    #[test]
    fn a_traffic_class_changes_alone(packet in packet6(), class: u8) {
        let mut bytes = packet.build();
        ipv6::HeaderMut::new(&mut bytes).unwrap().set_traffic_class(class);
        let mut expected = packet;
        expected.upper.tos = class;
        prop_assert_eq!(bytes, expected.build());
    }

    #[test]
    fn a_quote_is_rewritten_like_the_packet(
        packet in packet6(), side in side(), addr in addr6(), port in word(), quoted in 4..64_usize,
        ends in (addr6(), addr6()),
    ) {
        let quote = |packet: &Packet6, bytes: &[u8]| bytes[..bytes.len().min(packet.ip_len() + quoted)].to_vec();
        let mut buf = [0; 1280];
        let quoted_packet = quote(&packet, &packet.build());
        let len =
            icmpv6::emit_error(&mut buf, icmpv6::Error::PortUnreachable, ends.0, ends.1, &quoted_packet).unwrap();
        let message = &mut buf[..len];
        icmpv6::rewrite_quoted(message, side, addr, port).unwrap();
        prop_assert!(icmpv6::checksum_ok(ends.0, ends.1, message));
        // All but the quoted transport checksum, which stays.
        let after = changed(&packet, side, addr, port);
        let mut expected = quote(&after, &after.build());
        for (at, byte) in packet.build().into_iter().enumerate().skip(packet.checksum_at()).take(2) {
            if let Some(expected) = expected.get_mut(at) {
                *expected = byte;
            }
        }
        prop_assert_eq!(&message[icmpv6::HEADER_LEN..], expected.as_slice());
    }

    #[test]
    fn options_change_with_the_checksum(packet in any_packet(), max in word(), by: u32) {
        let mut packet = packet;
        packet.upper.proto = Proto::Tcp;
        let mut bytes = packet.build();
        let before = bytes.clone();
        let segment = &mut bytes[packet.ip_len()..];
        let numbers = tcp_options::rewrite_numbers(segment, |_, old| old.wrapping_add(by));
        let delta = tcp_options::clamp_mss(segment, max).and(numbers);
        let mut header = tcp::HeaderMut::new(segment).unwrap();
        header.update_checksum(delta);
        let end = 20 + packet.upper.tcp_options.len();
        packet.upper.tcp_options.copy_from_slice(&segment[20..end]);
        prop_assert_eq!(&bytes, &packet.build());
        prop_assert!(by != 0 || max != 0xffff || bytes == before);
    }
}
