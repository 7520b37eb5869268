//! Of `icmpv4.rs`: literal messages both ways, cut short and contradicting themselves.

use super::*;
use crate::wire::tests::{CLIENT, IP_HEADER, SYN, VIP, syn_packet};

const ECHO: [u8; 11] = [8, 0, 0x74, 0xac, 0xbe, 0xef, 0, 1, b'a', b'b', b'c'];
const REAL: Ipv4Addr = Ipv4Addr::new(198, 19, 1, 11);

/// "Fragmentation needed", next hop MTU 1480, quoting a SYN with 8 bytes of its header.
fn fragmentation_needed() -> Vec<u8> {
    [&[3, 4, 0x56, 0x9d, 0, 0, 0x05, 0xc8], IP_HEADER.as_slice(), &SYN[..8]].concat()
}

#[test]
fn parses_headers() {
    let icmp = parse(&ECHO).unwrap();
    assert_eq!(icmp, Icmp { icmp_type: 8, code: 0, checksum: 0x74ac, rest: [0xbe, 0xef, 0, 1] });
    assert_eq!((icmp.is_error(), icmp.next_hop_mtu()), (false, None));
    let icmp = parse(&fragmentation_needed()).unwrap();
    assert_eq!((icmp.is_error(), icmp.next_hop_mtu()), (true, Some(1480)));
    for len in 0..8 {
        assert_eq!(parse(&ECHO[..len]), Err(Malformed::Truncated), "{len} bytes");
    }
    assert!(checksum_ok(&ECHO) && checksum_ok(&fragmentation_needed()));
    assert!(!checksum_ok(&ECHO[..10]));
}

#[test]
fn only_messages_about_packets_are_errors() {
    let errors: Vec<u8> = (0..=255).filter(|icmp_type| is_error_type(*icmp_type)).collect();
    assert_eq!(errors, [3, 4, 5, 11, 12]);
}

#[test]
fn echoes() {
    let mut message = ECHO;
    assert!(echo_reply(&mut message));
    assert_eq!(message, [0, 0, 0x7c, 0xac, 0xbe, 0xef, 0, 1, b'a', b'b', b'c']);
    assert!(!echo_reply(&mut message), "a reply is not answered");
    assert!(!echo_reply(&mut { ECHO }[..7]));
}

#[test]
fn an_echo_of_zeros_has_the_checksum_of_zeros() {
    // Request: 0x0800 and nothing else. Reply: zeros, whose checksum is 0xffff and not 0.
    let mut message = [0; 64];
    message[0] = 8;
    message[2..4].copy_from_slice(&0xf7ff_u16.to_be_bytes());
    assert!(checksum_ok(&message));
    assert!(echo_reply(&mut message));
    assert_eq!(message[..4], [0, 0, 0xff, 0xff]);
    assert!(checksum_ok(&message));
}

#[test]
fn an_echo_with_a_wrong_checksum_stays_wrong() {
    for wrong in [0x74ad, 0x0000, 0xffff, 0xf7ff] {
        let mut message = ECHO;
        message[2..4].copy_from_slice(&u16::to_be_bytes(wrong));
        assert!(echo_reply(&mut message));
        assert!(!checksum_ok(&message), "{wrong:#06x}");
    }
}

#[test]
fn writes_errors() {
    let packet = syn_packet();
    let mut buf = [0xaa; 600];
    for (error, header) in [
        (Error::HostUnreachable, [3, 1]),
        (Error::PortUnreachable, [3, 3]),
        (Error::TimeExceeded, [11, 0]),
        (Error::FragmentationNeeded { mtu: 1480 }, [3, 4]),
    ] {
        let len = emit_error(&mut buf, error, &packet).unwrap();
        assert_eq!(len, 8 + 44);
        assert_eq!(buf[..2], header);
        assert_eq!(buf[8..len], packet);
        assert!(checksum_ok(&buf[..len]), "{error:?}");
        assert_eq!(buf[len], 0xaa);
    }
    // What it quotes is what it was given; 8 bytes of the transport header are enough.
    let len = emit_error(&mut buf, Error::FragmentationNeeded { mtu: 1480 }, &packet[..28]).unwrap();
    assert_eq!(buf[..len], fragmentation_needed());
    for (error, expected) in [
        (Error::PortUnreachable, [3, 3, 0x5c, 0x66, 0, 0, 0, 0]),
        (Error::HostUnreachable, [3, 1, 0x5c, 0x68, 0, 0, 0, 0]),
        (Error::TimeExceeded, [11, 0, 0x54, 0x69, 0, 0, 0, 0]),
    ] {
        emit_error(&mut buf, error, &packet[..28]).unwrap();
        assert_eq!(buf[..8], expected);
    }
}

#[test]
fn an_error_is_never_larger_than_576_bytes() {
    let packet = [0x5a; 1500];
    let mut buf = [0; 1500];
    assert_eq!(emit_error(&mut buf, Error::TimeExceeded, &packet), Ok(576 - 20));
    assert_eq!(buf[8..556], packet[..548]);
    assert_eq!(buf[556..], [0; 944]);
    assert_eq!((quote_len(547), quote_len(548), quote_len(549)), (547, 548, 548));
    assert_eq!(emit_error(&mut buf[..555], Error::TimeExceeded, &packet), Err(TooSmall));
    assert_eq!(emit_error(&mut buf[..7], Error::TimeExceeded, &[]), Err(TooSmall));
    assert_eq!(emit_error_header(&mut buf[..7], Error::TimeExceeded), Err(TooSmall));
}

#[test]
fn reads_the_quoted_flow() {
    let message = fragmentation_needed();
    let expected =
        Embedded { proto: Proto::Tcp, src: CLIENT, dst: VIP, sport: 40000, dport: 80, header_len: 20 };
    assert_eq!(parse_embedded(&message[8..]), Ok(expected));
    // The ports are all that is needed of the transport header.
    assert_eq!(parse_embedded(&message[8..32]), Ok(expected));
    for len in 0..24 {
        assert_eq!(parse_embedded(&message[8..8 + len]), Err(EmbeddedError::Truncated), "{len} bytes");
    }
}

#[test]
fn quotes_without_a_flow_say_why() {
    let with = |at: usize, value: u8| {
        let mut message = fragmentation_needed();
        message[8 + at] = value;
        parse_embedded(&message[8..])
    };
    assert_eq!(with(0, 0x65), Err(EmbeddedError::BadHeader(Ipv4Error::BadVersion)));
    assert_eq!(with(0, 0x44), Err(EmbeddedError::BadHeader(Ipv4Error::BadHeaderLength)));
    assert_eq!(with(3, 19), Err(EmbeddedError::BadHeader(Ipv4Error::BadTotalLength)));
    assert_eq!(with(3, 23), Err(EmbeddedError::Truncated), "the packet itself had no ports");
    assert_eq!(with(0, 0x47), Err(EmbeddedError::Truncated), "options fill the quote");
    assert_eq!(with(7, 1), Err(EmbeddedError::LaterFragment));
    assert_eq!(with(9, 1), Err(EmbeddedError::OtherProtocol(1)));
    assert_eq!(with(9, 17).map(|embedded| embedded.proto), Ok(Proto::Udp));
    assert_eq!(with(6, 0x20).map(|embedded| embedded.sport), Ok(40000), "a first fragment has ports");
}

#[test]
fn rewrites_the_quoted_source_towards_the_real_server() {
    let mut message = fragmentation_needed();
    assert_eq!(rewrite_quoted(&mut message, Side::Source, REAL, 8080), Ok(()));
    let embedded = parse_embedded(&message[8..]).unwrap();
    assert_eq!((embedded.src, embedded.sport, embedded.dst, embedded.dport), (REAL, 8080, VIP, 80));
    assert!(checksum_ok(&message));
    assert_eq!(ipv4::verify_checksum(&message[8..]), Ok(()));
}

#[test]
fn rewrites_the_quoted_destination_towards_the_client() {
    let mut message = fragmentation_needed();
    assert_eq!(rewrite_quoted(&mut message, Side::Destination, REAL, 8080), Ok(()));
    let embedded = parse_embedded(&message[8..]).unwrap();
    assert_eq!((embedded.src, embedded.sport, embedded.dst, embedded.dport), (CLIENT, 40000, REAL, 8080));
    assert!(checksum_ok(&message));
    assert_eq!(ipv4::verify_checksum(&message[8..]), Ok(()));
}

#[test]
fn a_quote_that_cannot_be_rewritten_stays_as_it_is() {
    let mut message = fragmentation_needed();
    message[8 + 7] = 1;
    let before = message.clone();
    assert_eq!(rewrite_quoted(&mut message, Side::Source, REAL, 8080), Err(EmbeddedError::LaterFragment));
    assert_eq!(message, before);
    assert_eq!(rewrite_quoted(&mut message[..7], Side::Source, REAL, 1), Err(EmbeddedError::Truncated));
}
