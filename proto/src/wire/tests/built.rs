//! Valid packets, built by etherparse, mean to us what went into them.

use super::model::{Packet, addr, packet, word};
use crate::wire::arp::{self, Arp};
use crate::wire::checksum::l4_checksum;
use crate::wire::eth::{self, Mac};
use crate::wire::flow::Proto;
use crate::wire::{icmpv4, ipv4, ipv6, tcp, udp};
use etherparse::{ArpHardwareId, ArpOperation, ArpPacket, EtherType, PacketBuilder, VlanId};
use proptest::prelude::*;
use std::net::Ipv6Addr;

fn check_ipv4(packet: &Packet, bytes: &[u8], padding: usize) -> Result<(), TestCaseError> {
    let ip = ipv4::parse(bytes).unwrap();
    let expected = ipv4::Ipv4 {
        header_len: packet.ip_len(),
        total_len: bytes.len() - padding,
        tos: packet.tos,
        ident: packet.ident,
        df: packet.df,
        mf: false,
        frag_offset: 0,
        ttl: packet.ttl,
        protocol: packet.proto.number(),
        src: packet.src,
        dst: packet.dst,
    };
    prop_assert_eq!(ip, expected);
    prop_assert_eq!(ipv4::verify_checksum(bytes), Ok(()));
    Ok(())
}

fn check_transport(packet: &Packet, segment: &[u8]) -> Result<(), TestCaseError> {
    let field = packet.checksum_offset();
    let checksum = u16::from_be_bytes([segment[field], segment[field + 1]]);
    let header_len = match packet.proto {
        Proto::Udp => {
            let length = u16::try_from(segment.len()).unwrap();
            let expected = udp::Udp { sport: packet.sport, dport: packet.dport, length, checksum };
            prop_assert_eq!(udp::parse(segment), Ok(expected));
            udp::HEADER_LEN
        }
        Proto::Tcp => {
            let expected = tcp::Tcp {
                sport: packet.sport,
                dport: packet.dport,
                seq: packet.seq,
                ack: packet.ack,
                header_len: tcp::HEADER_LEN + packet.tcp_options.len(),
                flags: tcp::TcpFlags(packet.tcp_flags),
                window: packet.window,
                checksum,
            };
            prop_assert_eq!(tcp::parse(segment), Ok(expected));
            expected.header_len
        }
    };
    prop_assert_eq!(&segment[header_len..], packet.payload.as_slice());
    prop_assert_eq!(l4_checksum(packet.src, packet.dst, packet.proto.number(), segment), 0);
    Ok(())
}

proptest! {
    #[test]
    fn transport_over_ipv4(packet in packet(), padding in 0..30_usize) {
        let mut bytes = packet.build();
        bytes.extend(std::iter::repeat_n(0xee, padding));
        check_ipv4(&packet, &bytes, padding)?;
        let payload = ipv4::parse(&bytes).unwrap().payload(&bytes);
        check_transport(&packet, payload)?;
    }

    #[test]
    fn what_is_cut_short_is_refused(packet in packet(), keep in any::<prop::sample::Index>()) {
        let bytes = packet.build();
        let cut = &bytes[..keep.index(bytes.len())];
        prop_assert_eq!(ipv4::parse(cut), Err(ipv4::Ipv4Error::Truncated));
    }

    #[test]
    fn a_quote_of_any_packet_names_its_flow(packet in packet()) {
        let bytes = packet.build();
        let embedded = icmpv4::parse_embedded(&bytes[..packet.ip_len() + 8]).unwrap();
        let expected = icmpv4::Embedded {
            proto: packet.proto,
            src: packet.src,
            dst: packet.dst,
            sport: packet.sport,
            dport: packet.dport,
            header_len: packet.ip_len(),
        };
        prop_assert_eq!(embedded, expected);
    }

    #[test]
    fn frames_with_and_without_tags(
        dst: [u8; 6],
        src: [u8; 6],
        ids in prop::collection::vec(0..4096_u16, 0..=2),
        payload in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let builder = PacketBuilder::ethernet2(src, dst);
        let id = |n: usize| VlanId::try_new(ids[n]).unwrap();
        let mut bytes = Vec::new();
        let (ip_src, ip_dst) = ([1, 2, 3, 4], [5, 6, 7, 8]);
        match ids.len() {
            0 => builder.ipv4(ip_src, ip_dst, 9).udp(1, 2).write(&mut bytes, &payload),
            1 => builder.single_vlan(id(0)).ipv4(ip_src, ip_dst, 9).udp(1, 2).write(&mut bytes, &payload),
            _ => builder.double_vlan(id(0), id(1)).ipv4(ip_src, ip_dst, 9).udp(1, 2).write(&mut bytes, &payload),
        }
        .unwrap();
        let tags = ids.len();
        let expected = eth::Eth {
            dst: Mac(dst),
            src: Mac(src),
            ethertype: eth::ethertype::IPV4,
            payload_offset: eth::HEADER_LEN + tags * eth::TAG_LEN,
            tags: u8::try_from(tags).unwrap(),
        };
        prop_assert_eq!(eth::parse(&bytes), Ok(expected));
        let ip = ipv4::parse(&bytes[expected.payload_offset..]).unwrap();
        prop_assert_eq!((ip.ttl, ip.payload_len()), (9, 8 + payload.len()));
    }

    #[test]
    fn arp_both_ways(sender: [u8; 6], target: [u8; 6], sender_ip in addr(), target_ip in addr(), reply: bool) {
        let arp = Arp {
            operation: if reply { arp::Operation::Reply } else { arp::Operation::Request },
            sender_mac: Mac(sender),
            sender_ip,
            target_mac: Mac(target),
            target_ip,
        };
        let built = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            if reply { ArpOperation::REPLY } else { ArpOperation::REQUEST },
            &sender,
            &sender_ip.octets(),
            &target,
            &target_ip.octets(),
        )
        .unwrap();
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2(sender, [0xff; 6]).arp(built).write(&mut bytes).unwrap();
        let mut frame = [0; arp::FRAME_LEN];
        arp.emit(&mut frame, Mac::BROADCAST);
        prop_assert_eq!(frame.as_slice(), bytes.as_slice());
        prop_assert_eq!(arp::parse(&bytes[eth::HEADER_LEN..]), Ok(Some(arp)));
    }

    #[test]
    fn echo_becomes_the_reply_that_etherparse_builds(
        ident in word(),
        seq in word(),
        payload in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(Just(0), 0..40)],
    ) {
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        let builder = || PacketBuilder::ipv4([1, 2, 3, 4], [5, 6, 7, 8], 9);
        builder().icmpv4_echo_request(ident, seq).write(&mut request, &payload).unwrap();
        builder().icmpv4_echo_reply(ident, seq).write(&mut reply, &payload).unwrap();
        let (request, reply) = (&mut request[ipv4::HEADER_LEN..], &reply[ipv4::HEADER_LEN..]);
        prop_assert!(icmpv4::checksum_ok(request));
        prop_assert!(icmpv4::echo_reply(request));
        prop_assert_eq!(&*request, reply);
        prop_assert!(icmpv4::checksum_ok(request));
    }

    #[test]
    fn ipv6_headers(src: [u8; 16], dst: [u8; 16], hops: u8, payload in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut bytes = Vec::new();
        PacketBuilder::ipv6(src, dst, hops).udp(1, 2).write(&mut bytes, &payload).unwrap();
        let expected = ipv6::Ipv6 {
            traffic_class: 0,
            flow_label: 0,
            payload_len: 8 + payload.len(),
            next_header: ipv6::next_header::UDP,
            hop_limit: hops,
            src: Ipv6Addr::from(src),
            dst: Ipv6Addr::from(dst),
        };
        prop_assert_eq!(ipv6::parse(&bytes), Ok(expected));
    }
}
