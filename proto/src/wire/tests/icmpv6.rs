//! Of `icmpv6.rs`: literal messages both ways, cut short and contradicting themselves.

use super::*;
use crate::wire::tests::{CLIENT6, SYN, VIP6};

/// Echo request from the client to the VIP, identifier 0xbeef, sequence number 1, data "abc".
const ECHO: [u8; 11] = [128, 0, 0x9f, 0xdb, 0xbe, 0xef, 0, 1, b'a', b'b', b'c'];
const REAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x19, 1, 0, 0, 0, 0x11);

/// The client's SYN to the VIP.
fn syn_packet() -> Vec<u8> {
    let mut header = [0; ipv6::HEADER_LEN];
    ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: 24,
        next_header: next_header::TCP,
        hop_limit: 63,
        src: CLIENT6,
        dst: VIP6,
    }
    .emit(&mut header);
    [header.as_slice(), &SYN].concat()
}

/// "Packet too big", MTU 1280, quoting a SYN with 8 bytes of its header; from the VIP to the client.
fn too_big() -> Vec<u8> {
    [&[2, 0, 0x38, 0x89, 0, 0, 0x05, 0x00], &syn_packet()[..48]].concat()
}

#[test]
fn parses_headers() {
    let icmp = parse(&ECHO).unwrap();
    assert_eq!(icmp, Icmp { icmp_type: 128, code: 0, checksum: 0x9fdb, rest: [0xbe, 0xef, 0, 1] });
    assert_eq!((icmp.is_error(), icmp.next_hop_mtu()), (false, None));
    let icmp = parse(&too_big()).unwrap();
    assert_eq!((icmp.is_error(), icmp.next_hop_mtu()), (true, Some(1280)));
    for len in 0..8 {
        assert_eq!(parse(&ECHO[..len]), Err(Malformed::Truncated), "{len} bytes");
    }
    assert!(checksum_ok(CLIENT6, VIP6, &ECHO));
    assert!(checksum_ok(VIP6, CLIENT6, &too_big()));
    assert!(!checksum_ok(CLIENT6, REAL6, &ECHO), "the addresses are part of it");
    assert!(!checksum_ok(CLIENT6, VIP6, &ECHO[..10]));
}

#[test]
fn types_below_128_are_errors() {
    let errors: Vec<u8> = (0..=255).filter(|icmp_type| is_error_type(*icmp_type)).collect();
    assert_eq!(errors, (0..128).collect::<Vec<u8>>());
}

#[test]
fn echoes() {
    let mut message = ECHO;
    assert!(echo_reply(&mut message));
    assert_eq!(message, [129, 0, 0x9e, 0xdb, 0xbe, 0xef, 0, 1, b'a', b'b', b'c']);
    assert!(checksum_ok(VIP6, CLIENT6, &message));
    assert!(!echo_reply(&mut message), "a reply is not answered");
    assert!(!echo_reply(&mut { ECHO }[..7]));
    for wrong in [0x9fda_u16, 0x0000, 0xffff] {
        let mut message = ECHO;
        message[2..4].copy_from_slice(&wrong.to_be_bytes());
        assert!(echo_reply(&mut message));
        assert!(!checksum_ok(VIP6, CLIENT6, &message), "{wrong:#06x}");
    }
}

#[test]
fn writes_errors() {
    let packet = syn_packet();
    let mut buf = [0xaa; 600];
    for (error, header) in [
        (Error::AddressUnreachable, [1, 3, 0, 0, 0, 0]),
        (Error::PortUnreachable, [1, 4, 0, 0, 0, 0]),
        (Error::TimeExceeded, [3, 0, 0, 0, 0, 0]),
        (Error::PacketTooBig { mtu: 1480 }, [2, 0, 0, 0, 0x05, 0xc8]),
        (Error::ParameterProblem { code: 1, pointer: 40 }, [4, 1, 0, 0, 0, 40]),
    ] {
        let len = emit_error(&mut buf, error, VIP6, CLIENT6, &packet).unwrap();
        assert_eq!(len, 8 + 64);
        assert_eq!(([buf[0], buf[1]], &buf[4..8]), ([header[0], header[1]], &header[2..]));
        assert_eq!(buf[8..len], packet);
        assert!(checksum_ok(VIP6, CLIENT6, &buf[..len]), "{error:?}");
        assert_eq!(buf[len], 0xaa);
    }
    let too_big_error = Error::PacketTooBig { mtu: 1280 };
    let len = emit_error(&mut buf, too_big_error, VIP6, CLIENT6, &packet[..48]).unwrap();
    assert_eq!(buf[..len], too_big());
}

#[test]
fn an_error_is_never_larger_than_1280_bytes() {
    let packet = [0x5a; 1500];
    let mut buf = [0; 1500];
    let error = Error::TimeExceeded;
    assert_eq!(emit_error(&mut buf, error, VIP6, CLIENT6, &packet), Ok(1280 - 40));
    assert_eq!(buf[8..1240], packet[..1232]);
    assert_eq!(buf[1240..], [0; 260]);
    assert_eq!((quote_len(1231), quote_len(1232), quote_len(1233)), (1231, 1232, 1232));
    assert_eq!(emit_error(&mut buf[..1239], error, VIP6, CLIENT6, &packet), Err(TooSmall));
    assert_eq!(emit_error(&mut buf[..7], error, VIP6, CLIENT6, &[]), Err(TooSmall));
    assert_eq!(emit_error_header(&mut buf[..7], error, VIP6, CLIENT6), Err(TooSmall));
}

#[test]
fn reads_the_quoted_flow() {
    let message = too_big();
    let expected =
        Embedded { proto: Proto::Tcp, src: CLIENT6, dst: VIP6, sport: 40000, dport: 80, header_len: 40 };
    assert_eq!(parse_embedded(&message[8..]), Ok(expected));
    // The ports are all that is needed of the transport header.
    assert_eq!(parse_embedded(&message[8..52]), Ok(expected));
    for len in 0..44 {
        assert_eq!(parse_embedded(&message[8..8 + len]), Err(EmbeddedError::Truncated), "{len} bytes");
    }
}

#[test]
fn quotes_without_a_flow_say_why() {
    let with = |at: usize, value: u8| {
        let mut message = too_big();
        message[8 + at] = value;
        parse_embedded(&message[8..])
    };
    assert_eq!(with(0, 0x40), Err(EmbeddedError::BadVersion));
    assert_eq!(with(5, 3), Err(EmbeddedError::Truncated), "the packet itself had no ports");
    assert_eq!(with(6, 58), Err(EmbeddedError::OtherProtocol(58)));
    assert_eq!(with(6, 17).map(|embedded| embedded.proto), Ok(Proto::Udp));
    // Read as a routing header, the ports' bytes have 0x50 segments left.
    assert_eq!(with(6, 43), Err(EmbeddedError::BadExtension(ExtensionError::Routed)));
    // Read as a fragment header, they have an offset of 0x50.
    assert_eq!(with(6, 44), Err(EmbeddedError::LaterFragment));
}

#[test]
fn rewrites_the_quote_behind_extension_headers() {
    let mut quote = syn_packet();
    quote.splice(40..40, [44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 7]);
    quote[5] += 16;
    quote[6] = 60;
    let mut buf = [0; 200];
    let len = emit_error(&mut buf, Error::PortUnreachable, REAL6, VIP6, &quote).unwrap();
    let message = &mut buf[..len];
    let before = parse_embedded(&message[8..]).unwrap();
    assert_eq!((before.header_len, before.sport, before.dport), (56, 40000, 80));
    assert_eq!(rewrite_quoted(message, Side::Destination, REAL6, 8080), Ok(()));
    assert_eq!(parse_embedded(&message[8..]), Ok(Embedded { dst: REAL6, dport: 8080, ..before }));
    assert!(checksum_ok(REAL6, VIP6, message));
    assert_eq!(rewrite_quoted(message, Side::Source, VIP6, 1), Ok(()));
    let after = Embedded { src: VIP6, sport: 1, dst: REAL6, dport: 8080, ..before };
    assert_eq!(parse_embedded(&message[8..]), Ok(after));
    assert!(checksum_ok(REAL6, VIP6, message));
}

#[test]
fn a_quote_that_cannot_be_rewritten_stays_as_it_is() {
    let mut message = too_big();
    message[8 + 6] = 58;
    let before = message.clone();
    let error = Err(EmbeddedError::OtherProtocol(58));
    assert_eq!(rewrite_quoted(&mut message, Side::Source, REAL6, 8080), error);
    assert_eq!(message, before);
    assert_eq!(rewrite_quoted(&mut message[..7], Side::Source, REAL6, 1), Err(EmbeddedError::Truncated));
}

#[test]
fn the_checksum_follows_the_addresses() {
    let mut message = too_big();
    update_checksum(&mut message, Delta::NONE.addr6(VIP6, REAL6));
    assert!(checksum_ok(REAL6, CLIENT6, &message));
    update_checksum(&mut message[..7], Delta::NONE.addr6(REAL6, VIP6));
    assert!(checksum_ok(REAL6, CLIENT6, &message));
}
