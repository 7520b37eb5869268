//! Rewrites of arbitrary packets: only what is meant to change does, and a checksum is afterwards as right or
//! as wrong as it was before.

use sheave_proto::wire::checksum::{Delta, Sum};
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::flow::{Proto, Side};
use sheave_proto::wire::icmpv4;
use sheave_proto::wire::ipv4::{self, Ipv4};
use sheave_proto::wire::{eth, tcp, udp};
use std::net::Ipv4Addr;

/// Addresses and ports to rewrite to, taken from the packet so that the fuzzer chooses them.
fn choose(bytes: &[u8]) -> (Ipv4Addr, u16) {
    let tail = bytes.last_chunk::<6>().copied().unwrap_or([0xff; 6]);
    let [a, b, c, d, e, f] = tail;
    (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([e, f]))
}

/// The sum over pseudo-header and segment: the same before and after.
fn transport_sum(packet: &[u8], ip: &Ipv4, src: Ipv4Addr, dst: Ipv4Addr) -> u16 {
    let segment = ip.payload(packet);
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    Sum::pseudo_v4(src, dst, ip.protocol, length).bytes(segment).fold()
}

/// Which bytes differ.
fn changed(before: &[u8], after: &[u8]) -> Vec<usize> {
    assert_eq!(before.len(), after.len());
    (0..before.len()).filter(|at| before[*at] != after[*at]).collect()
}

pub(super) fn eth(frame: &[u8]) {
    let mut copy = frame.to_vec();
    let Some(mut header) = eth::HeaderMut::new(&mut copy) else {
        assert!(eth::parse(frame).is_err());
        return;
    };
    header.set_dst(Mac([1, 2, 3, 4, 5, 6]));
    header.set_src(Mac([7, 8, 9, 10, 11, 12]));
    assert_eq!(copy[..12], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(copy[12..], frame[12..]);
}

pub(super) fn ipv4(packet: &[u8]) {
    let (addr, port) = choose(packet);
    for side in [Side::Source, Side::Destination] {
        translate(packet, side, addr, port);
    }
    let mut copy = packet.to_vec();
    let Some(mut header) = ipv4::HeaderMut::new(&mut copy) else { return };
    let ttl = header.ttl();
    match header.decrement_ttl() {
        None => {
            assert!(ttl <= 1);
            assert_eq!(copy, packet);
        }
        Some(left) => {
            assert_eq!(left + 1, ttl);
            assert!(changed(packet, &copy).iter().all(|at| matches!(at, 8 | 10 | 11)));
            assert_eq!(ipv4::verify_checksum(&copy), ipv4::verify_checksum(packet));
        }
    }
}

fn translate(packet: &[u8], side: Side, addr: Ipv4Addr, port: u16) {
    let Ok(before) = ipv4::parse(packet) else { return };
    let mut copy = packet.to_vec();
    let Some(mut header) = ipv4::HeaderMut::new(&mut copy) else { return };
    let delta = match side {
        Side::Source => header.rewrite_src(addr),
        Side::Destination => header.rewrite_dst(addr),
    };
    let (src, dst) = (header.src(), header.dst());
    let checked = rewrite_port(before.payload_mut(&mut copy), before.protocol, side, port, delta);

    assert_eq!(ipv4::parse(&copy), Ok(Ipv4 { src, dst, ..before }));
    assert_eq!(ipv4::verify_checksum(&copy), ipv4::verify_checksum(packet));
    if checked {
        let sum = transport_sum(packet, &before, before.src, before.dst);
        assert_eq!(transport_sum(&copy, &before, src, dst), sum);
    }
    let transport = before.header_len..before.header_len + 18;
    let mut changes = changed(packet, &copy).into_iter();
    assert!(changes.all(|at| (10..20).contains(&at) || transport.contains(&at)), "payload changed");
}

/// Returns whether there is a transport checksum that says something about the whole segment.
fn rewrite_port(segment: &mut [u8], protocol: u8, side: Side, port: u16, delta: Delta) -> bool {
    match Proto::from_number(protocol) {
        Some(Proto::Tcp) => {
            let Some(mut header) = tcp::HeaderMut::new(segment) else { return false };
            match side {
                Side::Source => header.rewrite_sport(port, delta),
                Side::Destination => header.rewrite_dport(port, delta),
            }
            true
        }
        Some(Proto::Udp) => {
            let Some(mut header) = udp::HeaderMut::new(segment) else { return false };
            let none = header.checksum() == 0;
            match side {
                Side::Source => header.rewrite_sport(port, delta),
                Side::Destination => header.rewrite_dport(port, delta),
            }
            assert_eq!(header.checksum() == 0, none, "a checksum came or went");
            !none
        }
        None => false,
    }
}

/// An error about any packet quotes it, is valid, and names the packet's own flow.
pub(super) fn quoted_by_an_error(packet: &[u8], ip: &Ipv4) {
    let packet = &packet[..ip.total_len];
    let mut buf = [0; 576];
    let error = icmpv4::Error::FragmentationNeeded { mtu: 1280 };
    let len = icmpv4::emit_error(&mut buf, error, packet).expect("an error fits 576 bytes");
    let message = &buf[..len];
    assert!(ipv4::HEADER_LEN + len <= 576);
    assert!(icmpv4::checksum_ok(message));
    assert_eq!(icmpv4::parse(message).map(|icmp| icmp.next_hop_mtu()), Ok(Some(1280)));
    let quote = &message[icmpv4::HEADER_LEN..];
    assert_eq!(quote, &packet[..quote.len()]);
    assert_eq!(icmpv4::parse_embedded(quote), icmpv4::parse_embedded(packet));
}

pub(super) fn echo(message: &[u8]) {
    let mut copy = message.to_vec();
    if icmpv4::echo_reply(&mut copy) {
        assert_eq!(icmpv4::checksum_ok(&copy), icmpv4::checksum_ok(message));
        assert!(changed(message, &copy).iter().all(|at| matches!(at, 0 | 2 | 3)));
    } else {
        assert_eq!(copy, message);
    }
}

pub(super) fn quote(message: &[u8]) {
    let (addr, port) = choose(message);
    for side in [Side::Source, Side::Destination] {
        let mut copy = message.to_vec();
        let Ok(()) = icmpv4::rewrite_quoted(&mut copy, side, addr, port) else {
            assert_eq!(copy, message);
            continue;
        };
        assert_eq!(icmpv4::checksum_ok(&copy), icmpv4::checksum_ok(message));
        let quotes = (&copy[icmpv4::HEADER_LEN..], &message[icmpv4::HEADER_LEN..]);
        assert_eq!(ipv4::verify_checksum(quotes.0), ipv4::verify_checksum(quotes.1));
        let (after, before) = (icmpv4::parse_embedded(quotes.0), icmpv4::parse_embedded(quotes.1));
        let expected = before.map(|before| match side {
            Side::Source => icmpv4::Embedded { src: addr, sport: port, ..before },
            Side::Destination => icmpv4::Embedded { dst: addr, dport: port, ..before },
        });
        assert_eq!(after, expected);
    }
}
