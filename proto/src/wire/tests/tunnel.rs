//! Of `tunnel.rs`: literal headers of every kind, around both families, and what is found behind them.

use super::*;
use crate::wire::checksum::l4_checksum;
use crate::wire::tests::syn_packet;

const SRC4: Ipv4Addr = Ipv4Addr::new(198, 19, 1, 1);
const DST4: Ipv4Addr = Ipv4Addr::new(198, 19, 1, 11);
const SRC6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x19, 1, 0, 0, 0, 1);
const DST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x19, 1, 0, 0, 0, 0x11);
const INNER: Inner = Inner { tos: 0xb9, ttl: 62, df: true, ident: 0xabcd, flow: 0xfffb_2345 };

const GRE: Encapsulation = Encapsulation::Gre { checksum: false };
const GRE_SUMMED: Encapsulation = Encapsulation::Gre { checksum: true };
const GUE: Encapsulation = Encapsulation::Gue { port: gue::DEFAULT_PORT, checksum: false };
const GUE_SUMMED: Encapsulation = Encapsulation::Gue { port: 7080, checksum: true };
const ALL: [Encapsulation; 5] = [Encapsulation::Ipip, GRE, GRE_SUMMED, GUE, GUE_SUMMED];

fn template(outer: Family, encapsulation: Encapsulation, inner: Family) -> Template {
    let (src, dst) = match outer {
        Family::V4 => (IpAddr::V4(SRC4), IpAddr::V4(DST4)),
        Family::V6 => (IpAddr::V6(SRC6), IpAddr::V6(DST6)),
    };
    Template::new(src, dst, encapsulation, inner).unwrap()
}

fn tunnelled(outer: Family, encapsulation: Encapsulation, inner: Family) -> Vec<u8> {
    let template = template(outer, encapsulation, inner);
    let mut packet = [vec![0xaa; template.overhead()], syn_packet()].concat();
    template.emit(&mut packet, &INNER).unwrap();
    assert_eq!(packet[template.overhead()..], syn_packet());
    packet
}

#[test]
fn writes_ipv4_around_both_families() {
    let packet = tunnelled(Family::V4, Encapsulation::Ipip, Family::V4);
    let expected = [
        0x45, 0xb9, 0x00, 0x40, 0xab, 0xcd, 0x40, 0x00, 0x3e, 0x04, 0x02, 0x01, 198, 19, 1, 1, 198, 19, 1, 11,
    ];
    assert_eq!(packet[..20], expected);
    let packet = tunnelled(Family::V4, Encapsulation::Ipip, Family::V6);
    assert_eq!(packet[8..12], [0x3e, 41, 0x01, 0xdc]);
}

#[test]
fn writes_ipv6_around_both_families() {
    for (inner, number) in [(Family::V4, 4), (Family::V6, 41)] {
        let packet = tunnelled(Family::V6, Encapsulation::Ipip, inner);
        assert_eq!(packet[..8], [0x6b, 0x9b, 0x23, 0x45, 0, 44, number, 62]);
        assert_eq!(packet[8..40], [SRC6.octets(), DST6.octets()].concat());
    }
}

#[test]
fn writes_gre() {
    let packet = tunnelled(Family::V4, GRE, Family::V4);
    assert_eq!((packet[3], packet[9], &packet[20..24]), (68, 47, [0, 0, 0x08, 0x00].as_slice()));
    let packet = tunnelled(Family::V6, GRE, Family::V6);
    assert_eq!((packet[5], packet[6], &packet[40..44]), (48, 47, [0, 0, 0x86, 0xdd].as_slice()));
    let packet = tunnelled(Family::V4, GRE_SUMMED, Family::V6);
    assert_eq!(packet[20..24], [0x80, 0, 0x86, 0xdd]);
    assert!(gre::checksum_ok(&packet[20..]));
}

#[test]
fn writes_gue() {
    // The source port is the hash's upper 14 bits in the dynamic range.
    let packet = tunnelled(Family::V4, GUE, Family::V4);
    assert_eq!((packet[3], packet[9]), (76, 17));
    assert_eq!(packet[20..32], [0xff, 0xfe, 0x17, 0xc0, 0, 56, 0, 0, 0, 4, 0, 0]);
    let packet = tunnelled(Family::V6, GUE_SUMMED, Family::V6);
    assert_eq!((packet[5], packet[6]), (56, 17));
    assert_eq!(packet[40..46], [0xff, 0xfe, 0x1b, 0xa8, 0, 56]);
    assert_eq!(packet[48..52], [0, 41, 0, 0]);
    assert_eq!(l4_checksum(SRC6, DST6, 17, &packet[40..]), 0);
    let packet = tunnelled(Family::V4, GUE_SUMMED, Family::V4);
    assert_eq!(l4_checksum(SRC4, DST4, 17, &packet[20..]), 0);
}

#[test]
fn what_is_written_is_found_again() {
    for outer in [Family::V4, Family::V6] {
        for encapsulation in ALL {
            for inner in [Family::V4, Family::V6] {
                let packet = tunnelled(outer, encapsulation, inner);
                let (protocol, header_len) = match outer {
                    Family::V4 => (packet[9], 20),
                    Family::V6 => (packet[6], 40),
                };
                let offset = encapsulation.overhead();
                let expected = Some(Opened { encapsulation, inner, offset });
                let payload = &packet[header_len..];
                assert_eq!(open(protocol, payload), expected);
                assert_eq!(open(protocol, &payload[..offset]), expected);
                for len in 0..offset {
                    assert_eq!(open(protocol, &payload[..len]), None, "{encapsulation:?}, {len} bytes");
                }
            }
        }
    }
    assert_eq!(open(protocol::TCP, &[0; 40]), None);
    assert_eq!(open(protocol::GRE, &[0, 0, 0x88, 0x0b, 0, 0]), None, "GRE of something else");
    assert_eq!(open(protocol::UDP, &[0, 1, 0, 2, 0, 12, 0, 0, 0, 6, 0, 0]), None, "GUE of something else");
}

#[test]
fn the_room_is_checked() {
    let template = template(Family::V4, GUE, Family::V4);
    for len in 0..32 {
        let mut packet = vec![0xaa; len];
        assert_eq!(template.emit(&mut packet, &INNER), Err(TooSmall));
        assert_eq!(packet, vec![0xaa; len], "nothing is written");
    }
    assert_eq!(template.emit(&mut vec![0; 65535], &INNER), Ok(()));
    assert_eq!(template.emit(&mut vec![0; 65536], &INNER), Err(TooSmall));
    let mixed = (IpAddr::V4(SRC4), IpAddr::V6(DST6));
    assert_eq!(Template::new(mixed.0, mixed.1, GUE, Family::V4), None);
    let largest = ALL.into_iter().map(|e| self::template(Family::V6, e, Family::V4).overhead()).max();
    assert_eq!(largest, Some(MAX_OVERHEAD));
    assert_eq!(Family::of(mixed.0), Family::V4);
    assert_eq!(Family::of(mixed.1), Family::V6);
}
