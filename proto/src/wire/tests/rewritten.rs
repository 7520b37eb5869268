//! A packet rewritten in place is, byte for byte, the packet that etherparse builds with the new values.

use super::model::{Packet, addr, packet, word};
use crate::wire::checksum::{Delta, Sum};
use crate::wire::flow::{Proto, Side};
use crate::wire::icmpv4;
use crate::wire::{ipv4, tcp, udp};
use proptest::prelude::*;
use std::net::Ipv4Addr;

/// Packets, those whose checksums are at the edge among them.
fn any_packet() -> impl Strategy<Value = Packet> {
    (packet(), 0..4).prop_map(|(packet, edge)| match edge {
        0 => packet.with_zero_checksum(),
        1 => packet.with_zero_ip_checksum(),
        _ => packet,
    })
}

/// What a NAT does to one side of a packet.
fn rewrite(bytes: &mut [u8], side: Side, addr: Ipv4Addr, port: u16) {
    let parsed = ipv4::parse(bytes).unwrap();
    let mut ip = ipv4::HeaderMut::new(bytes).unwrap();
    let delta = match side {
        Side::Source => ip.rewrite_src(addr),
        Side::Destination => ip.rewrite_dst(addr),
    };
    let segment = parsed.payload_mut(bytes);
    match (Proto::from_number(parsed.protocol).unwrap(), side) {
        (Proto::Tcp, Side::Source) => tcp::HeaderMut::new(segment).unwrap().rewrite_sport(port, delta),
        (Proto::Tcp, Side::Destination) => tcp::HeaderMut::new(segment).unwrap().rewrite_dport(port, delta),
        (Proto::Udp, Side::Source) => udp::HeaderMut::new(segment).unwrap().rewrite_sport(port, delta),
        (Proto::Udp, Side::Destination) => udp::HeaderMut::new(segment).unwrap().rewrite_dport(port, delta),
    }
}

fn changed(packet: &Packet, side: Side, addr: Ipv4Addr, port: u16) -> Packet {
    match side {
        Side::Source => Packet { src: addr, sport: port, ..packet.clone() },
        Side::Destination => Packet { dst: addr, dport: port, ..packet.clone() },
    }
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Source), Just(Side::Destination)]
}

/// The sum over pseudo-header and segment: 0xffff when the checksum is right.
fn transport_sum(bytes: &[u8]) -> u16 {
    let ip = ipv4::parse(bytes).unwrap();
    let segment = ip.payload(bytes);
    let length = u16::try_from(segment.len()).unwrap();
    Sum::pseudo_v4(ip.src, ip.dst, ip.protocol, length).bytes(segment).fold()
}

proptest! {
    #[test]
    fn nat_gives_the_packet_built_anew(packet in any_packet(), side in side(), addr in addr(), port in word()) {
        let mut bytes = packet.build();
        rewrite(&mut bytes, side, addr, port);
        prop_assert_eq!(bytes, changed(&packet, side, addr, port).build());
    }

    /// The way back: also when the result, not the input, has the checksum at the edge.
    #[test]
    fn nat_and_back_gives_the_packet_itself(packet in any_packet(), side in side(), addr in addr(), port in word()) {
        let mut bytes = changed(&packet, side, addr, port).build();
        let (old_addr, old_port) = match side {
            Side::Source => (packet.src, packet.sport),
            Side::Destination => (packet.dst, packet.dport),
        };
        rewrite(&mut bytes, side, old_addr, old_port);
        prop_assert_eq!(&bytes, &packet.build());
        rewrite(&mut bytes, side, addr, port);
        rewrite(&mut bytes, side, old_addr, old_port);
        prop_assert_eq!(bytes, packet.build());
    }

    #[test]
    fn udp_without_checksum_stays_without(packet in packet(), side in side(), addr in addr(), port in word()) {
        let packet = Packet { proto: Proto::Udp, ..packet };
        let without = |packet: &Packet| {
            let mut bytes = packet.build();
            let field = packet.ip_len() + 6;
            bytes[field..field + 2].fill(0);
            bytes
        };
        let mut bytes = without(&packet);
        rewrite(&mut bytes, side, addr, port);
        prop_assert_eq!(bytes, without(&changed(&packet, side, addr, port)));
    }

    #[test]
    fn a_wrong_checksum_stays_as_wrong_as_it_was(
        packet in packet(), side in side(), addr in addr(), port in word(), wrong in 1..=0xffff_u16,
    ) {
        let mut bytes = packet.build();
        let field = packet.ip_len() + packet.checksum_offset();
        bytes[field..field + 2].copy_from_slice(&wrong.to_be_bytes());
        let before = transport_sum(&bytes);
        rewrite(&mut bytes, side, addr, port);
        prop_assert_eq!(transport_sum(&bytes), before);
    }

    #[test]
    fn a_wrong_header_checksum_stays_wrong(packet in packet(), addr in addr(), wrong: u16) {
        let mut bytes = packet.build();
        bytes[10..12].copy_from_slice(&wrong.to_be_bytes());
        let before = ipv4::verify_checksum(&bytes);
        let mut header = ipv4::HeaderMut::new(&mut bytes).unwrap();
        let _ = header.rewrite_src(addr);
        let _ = header.rewrite_dst(addr);
        header.decrement_ttl();
        prop_assert_eq!(ipv4::verify_checksum(&bytes), before);
    }

    #[test]
    fn every_ttl_counts_down(packet in any_packet()) {
        let mut bytes = packet.build();
        let left = ipv4::HeaderMut::new(&mut bytes).unwrap().decrement_ttl();
        if packet.ttl <= 1 {
            prop_assert_eq!(left, None);
            prop_assert_eq!(bytes, packet.build());
        } else {
            prop_assert_eq!(left, Some(packet.ttl - 1));
            prop_assert_eq!(bytes, Packet { ttl: packet.ttl - 1, ..packet }.build());
        }
    }

    #[test]
    fn a_quote_is_rewritten_like_the_packet(
        packet in packet(), side in side(), addr in addr(), port in word(), quoted in 4..64_usize,
    ) {
        let quote = |packet: &Packet, bytes: &[u8]| bytes[..bytes.len().min(packet.ip_len() + quoted)].to_vec();
        let mut buf = [0; 600];
        let len = icmpv4::emit_error(&mut buf, icmpv4::Error::PortUnreachable, &quote(&packet, &packet.build())).unwrap();
        let message = &mut buf[..len];
        icmpv4::rewrite_quoted(message, side, addr, port).unwrap();
        prop_assert!(icmpv4::checksum_ok(message));
        // All but the quoted transport checksum, which stays.
        let after = changed(&packet, side, addr, port);
        let mut expected = quote(&after, &after.build());
        let field = packet.ip_len() + packet.checksum_offset();
        for (at, byte) in packet.build().into_iter().enumerate().skip(field).take(2) {
            if let Some(expected) = expected.get_mut(at) {
                *expected = byte;
            }
        }
        prop_assert_eq!(&message[icmpv4::HEADER_LEN..], expected.as_slice());
    }

    #[test]
    fn one_delta_serves_several_changes(packet in any_packet(), src in addr(), dst in addr(), sport in word(), dport in word()) {
        let mut bytes = packet.build();
        let parsed = ipv4::parse(&bytes).unwrap();
        let mut ip = ipv4::HeaderMut::new(&mut bytes).unwrap();
        let delta = ip.rewrite_src(src).and(ip.rewrite_dst(dst));
        let segment = parsed.payload_mut(&mut bytes);
        match packet.proto {
            Proto::Tcp => {
                let mut header = tcp::HeaderMut::new(segment).unwrap();
                header.rewrite_sport(sport, delta);
                header.rewrite_dport(dport, Delta::NONE);
            }
            Proto::Udp => {
                let mut header = udp::HeaderMut::new(segment).unwrap();
                header.rewrite_sport(sport, delta);
                header.rewrite_dport(dport, Delta::NONE);
            }
        }
        prop_assert_eq!(bytes, Packet { src, dst, sport, dport, ..packet }.build());
    }
}
