//! Our parsers against etherparse's strict slices: the same bytes accepted, the same refused, the same values.
//!
//! Where we differ on purpose:
//! - UDP of length 0 is refused (a jumbogram is IPv6's); etherparse takes the rest of the packet.
//! - Authentication headers of IPv4 and extension headers of IPv6 are payload; etherparse walks them.
//! - ICMP timestamps may have any length; etherparse wants 20 bytes.
//! - ARP of other hardware or protocols is not ours, whole or not.

use etherparse::{
    ArpPacketSlice, EtherType, Ethernet2Slice, Icmpv4Slice, IpNumber, Ipv4HeaderSlice, Ipv4Slice,
    Ipv6HeaderSlice, SingleVlanSlice, TcpSlice, UdpSlice,
};
use sheave_proto::wire::eth::{Eth, Mac, ethertype};
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::ipv4::Ipv4Error;
use sheave_proto::wire::{Malformed, arp, eth, icmpv4, ipv4, ipv6, tcp, udp};
use std::net::Ipv4Addr;

pub(super) fn eth(frame: &[u8]) {
    let ours = eth::parse(frame);
    let Ok(theirs) = Ethernet2Slice::from_slice_without_fcs(frame) else {
        assert_eq!(ours, Err(Malformed::Truncated));
        return;
    };
    let mut expected = Eth {
        dst: Mac(theirs.destination()),
        src: Mac(theirs.source()),
        ethertype: theirs.ether_type().0,
        payload_offset: eth::HEADER_LEN,
        tags: 0,
    };
    let mut rest = theirs.payload_slice();
    while expected.tags < 2 && matches!(expected.ethertype, ethertype::VLAN | ethertype::PROVIDER_VLAN) {
        let Ok(tag) = SingleVlanSlice::from_slice(rest) else {
            assert_eq!(ours, Err(Malformed::Truncated));
            return;
        };
        expected.ethertype = tag.ether_type().0;
        expected.tags += 1;
        rest = tag.payload_slice();
    }
    expected.payload_offset = frame.len() - rest.len();
    assert_eq!(ours, Ok(expected));
}

pub(super) fn arp(packet: &[u8]) {
    let ours = arp::parse(packet);
    let ethernet = [0, 1, 8, 0];
    if packet.len() >= 8 && packet[..4] != ethernet {
        assert_eq!(ours, Ok(None));
        return;
    }
    let Ok(theirs) = ArpPacketSlice::from_slice(packet) else {
        assert!(ours.is_err(), "etherparse refuses {ours:?}");
        return;
    };
    if (theirs.hw_addr_size(), theirs.proto_addr_size()) != (6, 4) {
        assert_eq!(ours, Err(Malformed::BadLength));
        return;
    }
    let Ok(Some(ours)) = ours else { panic!("etherparse accepts {theirs:?}, we say {ours:?}") };
    assert_eq!(theirs.proto_addr_type(), EtherType::IPV4);
    assert_eq!(ours.sender_mac.0, theirs.sender_hw_addr());
    assert_eq!(ours.sender_ip.octets(), theirs.sender_protocol_addr());
    assert_eq!(ours.target_mac.0, theirs.target_hw_addr());
    assert_eq!(ours.target_ip.octets(), theirs.target_protocol_addr());
    let operation = match theirs.operation().0 {
        1 => arp::Operation::Request,
        2 => arp::Operation::Reply,
        other => arp::Operation::Other(other),
    };
    assert_eq!(ours.operation, operation);
    // What we read is what we would write.
    let mut frame = [0; arp::FRAME_LEN];
    ours.emit(&mut frame, Mac::BROADCAST);
    assert_eq!(frame[eth::HEADER_LEN..], packet[..arp::PACKET_LEN]);
}

pub(super) fn ipv4(packet: &[u8]) {
    let ours = ipv4::parse(packet);
    let quoted = ipv4::parse_quoted(packet);
    let Ok(theirs) = Ipv4HeaderSlice::from_slice(packet) else {
        assert!(ours.is_err() && quoted == ours, "etherparse refuses the header of {ours:?}, {quoted:?}");
        return;
    };
    if theirs.protocol() != IpNumber::AUTHENTICATION_HEADER {
        let accepted = Ipv4Slice::from_slice(packet).is_ok();
        assert_eq!(ours.is_ok(), accepted, "{ours:?}");
    }
    let Ok(quoted) = quoted else {
        assert_eq!(quoted, Err(Ipv4Error::BadTotalLength));
        assert!(usize::from(theirs.total_len()) < theirs.slice().len());
        return;
    };
    if quoted.total_len > packet.len() {
        assert_eq!(ours, Err(Ipv4Error::Truncated));
    } else {
        assert_eq!(ours, Ok(quoted));
    }
    let expected = ipv4::Ipv4 {
        header_len: theirs.slice().len(),
        total_len: theirs.total_len().into(),
        tos: theirs.dcp().value() << 2 | theirs.ecn().value(),
        ident: theirs.identification(),
        df: theirs.dont_fragment(),
        mf: theirs.more_fragments(),
        frag_offset: theirs.fragments_offset().value() * 8,
        ttl: theirs.ttl(),
        protocol: theirs.protocol().0,
        src: theirs.source_addr(),
        dst: theirs.destination_addr(),
    };
    assert_eq!(quoted, expected);
    assert_eq!(quoted.is_fragment(), theirs.is_fragmenting_payload());
    // Whether a checksum is right, etherparse does not judge; what it should be, it computes, but from the
    // header that it understood, in which the reserved flag is 0.
    if packet[6] & 0x80 == 0 {
        let right = theirs.to_header().calc_header_checksum();
        let minus_zero = right == 0 && theirs.header_checksum() == 0xffff;
        let ok = theirs.header_checksum() == right || minus_zero;
        assert_eq!(ipv4::verify_checksum(packet).is_ok(), ok);
    }
}

pub(super) fn ipv6(packet: &[u8]) {
    let ours = ipv6::parse(packet);
    let Ok(theirs) = Ipv6HeaderSlice::from_slice(packet) else {
        assert!(ours.is_err(), "etherparse refuses {ours:?}");
        return;
    };
    if packet.len() < ipv6::HEADER_LEN + usize::from(theirs.payload_length()) {
        assert_eq!(ours, Err(Malformed::Truncated));
        return;
    }
    let expected = ipv6::Ipv6 {
        traffic_class: theirs.traffic_class(),
        flow_label: theirs.flow_label().value(),
        payload_len: theirs.payload_length().into(),
        next_header: theirs.next_header().0,
        hop_limit: theirs.hop_limit(),
        src: theirs.source_addr(),
        dst: theirs.destination_addr(),
    };
    assert_eq!(ours, Ok(expected));
}

pub(super) fn udp(segment: &[u8]) {
    let ours = udp::parse(segment);
    let theirs = match UdpSlice::from_slice(segment) {
        Ok(theirs) if theirs.length() != 0 => theirs,
        _ => {
            assert!(ours.is_err(), "etherparse refuses {ours:?}");
            return;
        }
    };
    let expected = udp::Udp {
        sport: theirs.source_port(),
        dport: theirs.destination_port(),
        length: theirs.length(),
        checksum: theirs.checksum(),
    };
    assert_eq!(ours, Ok(expected));
    assert_eq!(udp::parse_first(segment), ours);
}

pub(super) fn tcp(segment: &[u8]) {
    let ours = tcp::parse(segment);
    let Ok(theirs) = TcpSlice::from_slice(segment) else {
        assert!(ours.is_err(), "etherparse refuses {ours:?}");
        return;
    };
    let flags = [
        theirs.fin(),
        theirs.syn(),
        theirs.rst(),
        theirs.psh(),
        theirs.ack(),
        theirs.urg(),
        theirs.ece(),
        theirs.cwr(),
    ];
    let expected = tcp::Tcp {
        sport: theirs.source_port(),
        dport: theirs.destination_port(),
        seq: theirs.sequence_number(),
        ack: theirs.acknowledgment_number(),
        header_len: theirs.header_slice().len(),
        flags: tcp::TcpFlags(flags.iter().rev().fold(0, |bits, set| bits << 1 | u8::from(*set))),
        window: theirs.window_size(),
        checksum: theirs.checksum(),
    };
    assert_eq!(ours, Ok(expected));
    reset(&expected, theirs.payload().len());
}

/// A reset is a segment that etherparse reads, whose checksum it computes alike, and is never answered itself.
fn reset(segment: &tcp::Tcp, payload_len: usize) {
    let Some(reset) = tcp::Segment::reset(segment, payload_len) else {
        assert!(segment.flags.contains(tcp::TcpFlags::RST));
        return;
    };
    let (src, dst) = (Ipv4Addr::from(segment.seq), Ipv4Addr::from(segment.ack));
    let mut bytes = [0; tcp::HEADER_LEN];
    reset.emit(&mut bytes, src, dst);
    let theirs = TcpSlice::from_slice(&bytes).expect("a reset is a segment");
    assert!(theirs.rst());
    assert_eq!((theirs.source_port(), theirs.destination_port()), (segment.dport, segment.sport));
    let checksum = theirs.calc_checksum_ipv4(src.octets(), dst.octets()).expect("it is short enough");
    assert_eq!(theirs.checksum(), checksum);
    let read = tcp::parse(&bytes).expect("a reset is a segment");
    assert_eq!(tcp::Segment::reset(&read, 0), None);
}

pub(super) fn icmpv4(message: &[u8]) {
    let ours = icmpv4::parse(message);
    match Icmpv4Slice::from_slice(message) {
        Ok(theirs) => {
            let expected = icmpv4::Icmp {
                icmp_type: theirs.type_u8(),
                code: theirs.code_u8(),
                checksum: theirs.checksum(),
                rest: theirs.bytes5to8(),
            };
            assert_eq!(ours, Ok(expected));
        }
        Err(_) => {
            let timestamp = |ours: icmpv4::Icmp| matches!(ours.icmp_type, 13 | 14) && ours.code == 0;
            assert!(ours.is_err() || ours.is_ok_and(timestamp), "etherparse refuses {ours:?}");
        }
    }
    if let Some(quote) = message.get(icmpv4::HEADER_LEN..) {
        embedded(quote);
    }
}

fn embedded(quote: &[u8]) {
    let ours = icmpv4::parse_embedded(quote);
    let Ok(theirs) = Ipv4HeaderSlice::from_slice(quote) else {
        assert!(ours.is_err(), "etherparse refuses the header of {ours:?}");
        return;
    };
    let header_len = theirs.slice().len();
    let end = quote.len().min(theirs.total_len().into());
    let ports = quote.get(header_len..end).and_then(|transport| transport.first_chunk::<4>());
    let proto = Proto::from_number(theirs.protocol().0);
    let (Some([a, b, c, d]), Some(proto), 0) = (ports, proto, theirs.fragments_offset().value()) else {
        assert!(ours.is_err(), "there is no flow in {ours:?}");
        return;
    };
    let expected = icmpv4::Embedded {
        proto,
        src: theirs.source_addr(),
        dst: theirs.destination_addr(),
        sport: u16::from_be_bytes([*a, *b]),
        dport: u16::from_be_bytes([*c, *d]),
        header_len,
    };
    assert_eq!(ours, Ok(expected));
}
