//! Of `ipv6.rs`: literal headers, and every way for extension headers to lead nowhere.

use super::*;
use crate::wire::tests::{CLIENT6, VIP6};

const HEADER: [u8; 40] = [
    0x6a, 0xb1, 0x23, 0x45, 0x00, 0x04, 0x11, 0x3f, // class 0xab, label 0x12345, UDP, 63 hops
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, //
    0x20, 0x01, 0x0d, 0xb8, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x00,
];

fn packet() -> Vec<u8> {
    [HEADER.as_slice(), &[1, 2, 3, 4]].concat()
}

#[test]
fn parses_and_emits_the_fixed_header() {
    let expected = Ipv6 {
        traffic_class: 0xab,
        flow_label: 0x12345,
        payload_len: 4,
        next_header: next_header::UDP,
        hop_limit: 63,
        src: CLIENT6,
        dst: VIP6,
    };
    assert_eq!(parse(&packet()), Ok(expected));
    let padded = [packet(), vec![0; 9]].concat();
    assert_eq!(parse(&padded), Ok(expected));
    assert_eq!(expected.packet(&padded), packet());
    assert_eq!(expected.packet_mut(&mut padded.clone()), packet());
    assert_eq!(*expected.packet(&padded[..42]), padded[..42]);
    assert_eq!(*expected.packet_mut(&mut padded.clone()[..42]), padded[..42]);

    let header = Header {
        traffic_class: 0xab,
        flow_label: 0xfff1_2345,
        payload_len: 4,
        next_header: 17,
        hop_limit: 63,
        src: CLIENT6,
        dst: VIP6,
    };
    let mut bytes = [0xaa; HEADER_LEN];
    header.emit(&mut bytes);
    assert_eq!(bytes, HEADER);
}

#[test]
fn refuses_what_is_short_or_another_version() {
    let packet = packet();
    for len in 0..packet.len() {
        assert_eq!(parse(&packet[..len]), Err(Malformed::Truncated), "{len} bytes");
    }
    assert_eq!(parse_quoted(&packet[..40]), parse(&packet));
    assert_eq!(parse_quoted(&packet[..39]), Err(Malformed::Truncated));
    let mut packet = packet;
    packet[0] = 0x4a;
    assert_eq!(parse(&packet), Err(Malformed::BadVersion));
}

#[test]
fn rewrites_in_place() {
    let mut bytes = HEADER;
    let mut header = HeaderMut::new(&mut bytes).unwrap();
    assert_eq!((header.src(), header.dst(), header.hop_limit()), (CLIENT6, VIP6, 63));
    assert_eq!(header.rewrite_src(VIP6), Delta::NONE.addr6(CLIENT6, VIP6));
    assert_eq!(header.rewrite_dst(CLIENT6), Delta::NONE.addr6(VIP6, CLIENT6));
    header.set_traffic_class(0x12);
    header.set_payload_len(0x0304);
    header.set_next_header(6);
    assert_eq!(header.decrement_hop_limit(), Some(62));
    assert_eq!(bytes[..8], [0x61, 0x21, 0x23, 0x45, 0x03, 0x04, 6, 62]);
    assert_eq!(bytes[8..24], VIP6.octets());
    assert_eq!(bytes[24..], CLIENT6.octets());
    for hops in [0, 1] {
        let mut header = HeaderMut::new(&mut bytes).unwrap();
        header.set_hop_limit(hops);
        assert_eq!(header.decrement_hop_limit(), None);
        assert_eq!(header.hop_limit(), hops);
    }
    assert!(HeaderMut::new(&mut [0; 39]).is_none());
}

/// A packet with these bytes behind its fixed header, of which `first` is the number.
fn with(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = [HEADER.as_slice(), payload].concat();
    let mut header = HeaderMut::new(&mut packet).unwrap();
    header.set_next_header(first);
    header.set_payload_len(u16::try_from(payload.len()).unwrap());
    packet
}

fn upper(first: u8, payload: &[u8]) -> Result<Upper, ExtensionError> {
    let packet = with(first, payload);
    parse(&packet).unwrap().upper(&packet)
}

const OPTIONS: [u8; 8] = [60, 0, 1, 4, 0, 0, 0, 0];
const LAST_OPTIONS: [u8; 8] = [6, 0, 1, 4, 0, 0, 0, 0];

#[test]
fn a_transport_header_may_come_at_once() {
    for protocol in [6, 17, 58, 59, 50, 41, 4, 47, 135, 255] {
        let expected = Upper { protocol, offset: 40, fragment: None };
        assert_eq!(upper(protocol, &[]), Ok(expected));
    }
}

#[test]
fn walks_over_every_kind_of_extension_header() {
    let long = [[17, 1, 1, 12, 0, 0, 0, 0].as_slice(), &[0; 8]].concat();
    let authentication = [[6, 2, 0, 0, 0, 0, 0, 1].as_slice(), &[0; 8]].concat();
    for (first, header, protocol) in [
        (0, long.as_slice(), 17),
        (60, &LAST_OPTIONS, 6),
        (43, &[6, 0, 4, 0, 0, 0, 0, 0], 6),
        (44, &[58, 0, 0, 0, 0, 0, 0, 9], 58),
        (51, &authentication, 6),
    ] {
        let offset = 40 + header.len();
        let upper = upper(first, header).unwrap();
        assert_eq!((upper.protocol, upper.offset), (protocol, offset), "{first}");
        for len in 0..header.len() {
            assert_eq!(self::upper(first, &header[..len]), Err(ExtensionError::Truncated), "{first}: {len}");
        }
    }
    let all = [[43, 0, 1, 4, 0, 0, 0, 0], [44, 0, 4, 0, 0, 0, 0, 0], [60, 0, 0, 1, 1, 2, 3, 4], LAST_OPTIONS];
    let fragment = Some(Fragment { offset: 0, more: true, id: 0x0102_0304 });
    assert_eq!(upper(0, all.as_flattened()), Ok(Upper { protocol: 6, offset: 72, fragment }));
}

#[test]
fn a_quote_that_ends_in_an_extension_header_is_truncated() {
    let packet = with(60, &LAST_OPTIONS);
    let ip = parse_quoted(&packet[..44]).unwrap();
    assert_eq!(ip.upper(&packet[..44]), Err(ExtensionError::Truncated));
    // What pads the frame is not part of the packet.
    let short = [with(60, &LAST_OPTIONS[..4]), vec![0; 46]].concat();
    assert_eq!(parse(&short).unwrap().upper(&short), Err(ExtensionError::Truncated));
}

#[test]
fn reads_and_writes_fragment_headers() {
    for (bytes, fragment, atomic) in [
        ([6, 0, 0, 0, 0, 0, 0, 1], Fragment { offset: 0, more: false, id: 1 }, true),
        ([6, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef], Fragment { offset: 0, more: true, id: 0xdead_beef }, false),
        ([6, 0, 0xff, 0xf8, 0, 0, 0, 2], Fragment { offset: 65528, more: false, id: 2 }, false),
        ([6, 0, 0x05, 0xa9, 0, 0, 0, 2], Fragment { offset: 1448, more: true, id: 2 }, false),
    ] {
        let upper = upper(44, &bytes).unwrap();
        assert_eq!(upper.fragment, Some(fragment));
        assert_eq!(upper.is_later_fragment(), fragment.offset != 0);
        assert_eq!(fragment.is_atomic(), atomic);
        let mut written = [0xaa; FRAGMENT_LEN];
        fragment.emit(&mut written, 6);
        assert_eq!(written, bytes);
    }
    // Reserved bits are not read.
    let reserved = upper(44, &[6, 0xff, 0, 6, 0, 0, 0, 1]).unwrap();
    assert_eq!(reserved.fragment, Some(Fragment { offset: 0, more: false, id: 1 }));
}

#[test]
fn a_later_fragment_ends_the_walk() {
    // Its payload is the middle of a datagram, whatever the fragment header says that it began with.
    let fragment = Some(Fragment { offset: 8, more: false, id: 1 });
    let later = upper(44, &[60, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff]);
    assert_eq!(later, Ok(Upper { protocol: 60, offset: 48, fragment }));
}

#[test]
fn extension_headers_that_lead_nowhere() {
    assert_eq!(upper(60, &[0, 0, 1, 4, 0, 0, 0, 0]).unwrap_err(), ExtensionError::Truncated);
    let hop_by_hop_second = [[0, 0, 1, 4, 0, 0, 0, 0], LAST_OPTIONS];
    assert_eq!(upper(60, hop_by_hop_second.as_flattened()), Err(ExtensionError::Misplaced));
    let two_fragments = [[44, 0, 0, 1, 0, 0, 0, 1], [6, 0, 0, 1, 0, 0, 0, 1]];
    assert_eq!(upper(44, two_fragments.as_flattened()), Err(ExtensionError::Misplaced));
    assert_eq!(upper(43, &[6, 0, 0, 1, 0, 0, 0, 0]), Err(ExtensionError::Routed));
    assert_eq!(upper(51, &[6, 0, 0, 0, 0, 0, 0, 1]), Err(ExtensionError::BadLength));
}

#[test]
fn eight_extension_headers_and_no_more() {
    let mut headers = vec![OPTIONS; 7];
    headers.push(LAST_OPTIONS);
    assert_eq!(upper(60, headers.as_flattened()), Ok(Upper { protocol: 6, offset: 40 + 64, fragment: None }));
    headers.insert(0, OPTIONS);
    assert_eq!(upper(60, headers.as_flattened()), Err(ExtensionError::TooMany));
}
