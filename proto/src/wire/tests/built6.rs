//! As `built.rs`, for IPv6.

use super::model::word;
use super::model6::{addr6, packet6};
use crate::wire::checksum::l4_checksum;
use crate::wire::eth::Mac;
use crate::wire::flow::Proto;
use crate::wire::ipv6::{ExtensionError, Fragment, Ipv6, Upper};
use crate::wire::ndp::{self, Advertisement, Ndp, Solicitation};
use crate::wire::{Malformed, icmpv6, ipv6, tcp, tcp_options, udp};
use etherparse::icmpv6::NeighborAdvertisementHeader;
use etherparse::{
    IcmpEchoHeader, Icmpv6Header, Icmpv6Slice, Icmpv6Type, IpNumber, Ipv6ExtensionsSlice, PacketBuilder,
    TcpOptionElement, TcpOptionsIterator,
};
use proptest::prelude::*;
use std::net::Ipv6Addr;

/// Headers that look like extension headers more often than chance would have it.
fn chain() -> impl Strategy<Value = Vec<u8>> {
    let number = || prop_oneof![Just(0), Just(43), Just(44), Just(51), Just(60), Just(6), any::<u8>()];
    let header = (number(), 0..3_u8, any::<[u8; 2]>(), prop_oneof![Just(0), any::<u8>()], any::<[u8; 3]>())
        .prop_map(|(next, units, [a, b], c, [d, e, f])| [next, units, a, c, b, d, e, f]);
    prop::collection::vec(header, 0..14).prop_map(|headers| headers.as_flattened().to_vec())
}

/// An IPv6 packet with these bytes behind its fixed header.
fn carrying(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; ipv6::HEADER_LEN];
    ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: u16::try_from(payload.len()).unwrap(),
        next_header: first,
        hop_limit: 64,
        src: Ipv6Addr::LOCALHOST,
        dst: Ipv6Addr::LOCALHOST,
    }
    .emit(&mut header);
    [header.as_slice(), payload].concat()
}

proptest! {
    #[test]
    fn transport_over_ipv6(packet in packet6(), padding in 0..30_usize) {
        let mut bytes = packet.build();
        let len = bytes.len();
        bytes.extend(std::iter::repeat_n(0xee, padding));
        let ip = ipv6::parse(&bytes).unwrap();
        let expected = Ipv6 {
            traffic_class: packet.upper.tos,
            flow_label: packet.label,
            payload_len: len - 40,
            next_header: ip.next_header,
            hop_limit: packet.upper.ttl,
            src: packet.src,
            dst: packet.dst,
        };
        prop_assert_eq!(ip, expected);
        let fragment = packet.extensions.fragment().map(|id| Fragment { offset: 0, more: false, id });
        let upper = Upper { protocol: packet.upper.proto.number(), offset: packet.ip_len(), fragment };
        prop_assert_eq!(ip.upper(&bytes), Ok(upper));
        let segment = &ip.packet(&bytes)[upper.offset..];
        match packet.upper.proto {
            Proto::Udp => {
                let udp = udp::parse(segment).unwrap();
                prop_assert_eq!((udp.sport, udp.dport), (packet.upper.sport, packet.upper.dport));
            }
            Proto::Tcp => {
                let tcp = tcp::parse(segment).unwrap();
                prop_assert_eq!((tcp.sport, tcp.dport), (packet.upper.sport, packet.upper.dport));
            }
        }
        prop_assert_eq!(l4_checksum(ip.src, ip.dst, upper.protocol, segment), 0);
    }

    #[test]
    fn what_is_cut_short_is_refused(packet in packet6(), keep in any::<prop::sample::Index>()) {
        let bytes = packet.build();
        let cut = &bytes[..keep.index(bytes.len())];
        prop_assert_eq!(ipv6::parse(cut), Err(Malformed::Truncated));
    }

    #[test]
    fn a_quote_of_any_packet_names_its_flow(packet in packet6(), keep in any::<prop::sample::Index>()) {
        let bytes = packet.build();
        let embedded = icmpv6::parse_embedded(&bytes[..packet.ip_len() + 4]).unwrap();
        let expected = icmpv6::Embedded {
            proto: packet.upper.proto,
            src: packet.src,
            dst: packet.dst,
            sport: packet.upper.sport,
            dport: packet.upper.dport,
            header_len: packet.ip_len(),
        };
        prop_assert_eq!(embedded, expected);
        let cut = icmpv6::parse_embedded(&bytes[..keep.index(packet.ip_len() + 4)]);
        prop_assert_eq!(cut, Err(icmpv6::EmbeddedError::Truncated));
    }

    #[test]
    fn the_walk_ends_where_that_of_etherparse_does(first in prop_oneof![Just(0), Just(60), any::<u8>()], chain in chain()) {
        let bytes = carrying(first, &chain);
        let ours = ipv6::parse(&bytes).unwrap().upper(&bytes);
        let theirs = Ipv6ExtensionsSlice::from_slice(IpNumber(first), &chain);
        match (ours, theirs) {
            // It goes on within the middle of a datagram, over any number of headers and any segments.
            (Ok(upper), _) if upper.is_later_fragment() => {}
            (Err(ExtensionError::TooMany | ExtensionError::Routed), _) => {}
            // A second fragment header is nothing to it.
            (Err(ExtensionError::Misplaced), Ok(_)) => prop_assert!(chain.len() >= 16),
            (Ok(upper), theirs) => {
                let (_, protocol, rest) = theirs.unwrap();
                prop_assert_eq!((upper.protocol, upper.offset), (protocol.0, bytes.len() - rest.len()));
            }
            (Err(_), theirs) => prop_assert!(theirs.is_err()),
        }
    }

    #[test]
    fn echo_becomes_the_reply_that_etherparse_builds(
        src in addr6(), dst in addr6(), id in word(), seq in word(), payload in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let build = |src: Ipv6Addr, dst: Ipv6Addr, icmp_type| {
            let mut bytes = Vec::new();
            PacketBuilder::ipv6(src.octets(), dst.octets(), 9).icmpv6(icmp_type).write(&mut bytes, &payload).unwrap();
            bytes.split_off(ipv6::HEADER_LEN)
        };
        let mut message = build(src, dst, Icmpv6Type::EchoRequest(IcmpEchoHeader { id, seq }));
        prop_assert!(icmpv6::checksum_ok(src, dst, &message));
        prop_assert!(icmpv6::echo_reply(&mut message));
        prop_assert_eq!(message, build(dst, src, Icmpv6Type::EchoReply(IcmpEchoHeader { id, seq })));
    }

    #[test]
    fn an_error_is_the_one_that_etherparse_builds(
        src in addr6(), dst in addr6(), mtu: u32, packet in prop::collection::vec(any::<u8>(), 0..1400),
    ) {
        let mut buf = [0; 1280];
        let len = icmpv6::emit_error(&mut buf, icmpv6::Error::PacketTooBig { mtu }, src, dst, &packet).unwrap();
        let quote = &packet[..packet.len().min(1232)];
        let header = Icmpv6Header::with_checksum(
            Icmpv6Type::PacketTooBig { mtu }, src.octets(), dst.octets(), quote,
        ).unwrap();
        prop_assert_eq!(&buf[..len], [&header.to_bytes(), quote].concat());
        let theirs = Icmpv6Slice::from_slice(&buf[..len]).unwrap();
        prop_assert!(theirs.is_checksum_valid(src.octets(), dst.octets()));
    }

    #[test]
    fn neighbour_discovery_both_ways(
        src in addr6(), dst in addr6(), target in addr6(), mac: [u8; 6], bits in 0..8_u8, advertise: bool,
    ) {
        // Neither a group nor nobody.
        let [src, target] = [src, target].map(|addr| Ipv6Addr::from_bits(addr.to_bits() >> 8 | 0x20 << 120));
        let (router, solicited, replaces) = (bits & 1 != 0, bits & 2 != 0 && !dst.is_multicast(), bits & 4 != 0);
        let (ours, theirs, option) = if advertise {
            let flags = NeighborAdvertisementHeader { router, solicited, r#override: replaces };
            let ours = Advertisement { target, mac: Some(Mac(mac)), router, solicited, replaces };
            (Ndp::Advertisement(ours), Icmpv6Type::NeighborAdvertisement(flags), 2)
        } else {
            (Ndp::Solicitation(Solicitation::request(target, Mac(mac))), Icmpv6Type::NeighborSolicitation, 1)
        };
        let payload = [target.octets().as_slice(), &[option, 1], &mac].concat();
        let mut expected = Vec::new();
        PacketBuilder::ipv6(src.octets(), dst.octets(), 255).icmpv6(theirs).write(&mut expected, &payload).unwrap();
        let mut packet = [0xaa; ndp::PACKET_LEN];
        prop_assert_eq!(ours.emit(&mut packet, src, dst), packet.len());
        prop_assert_eq!(packet.as_slice(), expected);
        let ip = ipv6::parse(&packet).unwrap();
        prop_assert_eq!(ndp::parse(&ip, &packet[ipv6::HEADER_LEN..]), Ok(Some(ours)));
    }

    #[test]
    fn tcp_options_are_those_that_etherparse_reads(
        options in prop::collection::vec(prop_oneof![0..9_u8, any::<u8>()], 0..10).prop_map(|mut options| {
            options.resize(options.len().next_multiple_of(4), 0);
            options
        }),
    ) {
        let header = etherparse::TcpHeader {
            options: etherparse::TcpOptions::try_from_slice(&options).unwrap(),
            ..Default::default()
        };
        let segment = header.to_bytes();
        let mut ours = tcp_options::options(&segment);
        for theirs in TcpOptionsIterator::from_slice(&options) {
            let (kind, len) = match theirs {
                Ok(TcpOptionElement::Noop) => continue,
                Ok(TcpOptionElement::MaximumSegmentSize(_)) => (2, 2),
                Ok(TcpOptionElement::WindowScale(_)) => (3, 1),
                Ok(TcpOptionElement::SelectiveAcknowledgementPermitted) => (4, 0),
                Ok(TcpOptionElement::SelectiveAcknowledgement(_, more)) => {
                    (5, 8 + 8 * more.iter().flatten().count())
                }
                Ok(TcpOptionElement::Timestamp(..)) => (8, 8),
                // Kinds that it does not know, and lengths that we leave to whoever reads the option.
                Err(_) => return Ok(()),
            };
            let option = ours.next().unwrap();
            prop_assert_eq!((option.kind, option.value.len()), (kind, len));
            prop_assert_eq!(&segment[option.at..option.at + len], option.value);
        }
        prop_assert_eq!(ours.next(), None);
    }
}
