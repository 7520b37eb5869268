//! IPv6 with its extension headers and ICMPv6, neighbour discovery, tunnels, TCP options: what is read lies within what
//! was given, and rewrites change only what they should, each checksum as right or wrong afterwards as before.

use sheave_pipeline::helper::ftp;
use sheave_pipeline::icmp::{self, Towards};
use sheave_proto::wire::checksum::{Address, Delta};
use sheave_proto::wire::flow::{Proto, Side};
use sheave_proto::wire::ipv6::{self, Ipv6};
use sheave_proto::wire::ndp::{self, Ndp};
use sheave_proto::wire::{gre, gue, icmpv6, tcp, tcp_options, tunnel, udp};
use std::net::{IpAddr, Ipv6Addr};

/// An address that the fuzzer chooses, from the end of the packet.
fn choose(bytes: &[u8]) -> (Ipv6Addr, u16) {
    let tail = bytes.last_chunk::<18>().copied().unwrap_or([0x5a; 18]);
    let mut octets = [0; 16];
    octets.copy_from_slice(&tail[..16]);
    (Ipv6Addr::from(octets), u16::from_be_bytes([tail[16], tail[17]]))
}

pub(super) fn ipv6(packet: &[u8]) {
    let Ok(ip) = ipv6::parse(packet) else { return };
    let Ok(upper) = ip.upper(packet) else { return };
    let whole = ip.packet(packet);
    assert!(upper.offset <= whole.len() && upper.offset >= ipv6::HEADER_LEN);
    let payload = &whole[upper.offset..];
    open(upper.protocol, payload);
    if upper.is_later_fragment() {
        return;
    }
    for side in [Side::Source, Side::Destination] {
        translate(packet, &ip, (upper.offset, upper.protocol), side);
    }
    if upper.protocol == 58 {
        icmpv6(&ip, payload);
    }
}

/// The sum over pseudo-header and segment: the same before and after.
fn sum(ends: (Ipv6Addr, Ipv6Addr), protocol: u8, segment: &[u8]) -> u16 {
    let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
    Ipv6Addr::pseudo(ends.0, ends.1, protocol, length).bytes(segment).fold()
}

fn translate(packet: &[u8], before: &Ipv6, (offset, protocol): (usize, u8), side: Side) {
    let Some(proto) = Proto::from_number(protocol) else { return };
    let (addr, port) = choose(packet);
    let mut copy = packet.to_vec();
    let Some(mut header) = ipv6::HeaderMut::new(&mut copy) else { return };
    let delta = match side {
        Side::Source => header.rewrite_src(addr),
        Side::Destination => header.rewrite_dst(addr),
    };
    let ends = (header.src(), header.dst());
    let segment = &mut before.packet_mut(&mut copy)[offset..];
    let summed = match proto {
        Proto::Tcp => tcp::HeaderMut::new(segment).map(|mut header| match side {
            Side::Source => header.rewrite_sport(port, delta),
            Side::Destination => header.rewrite_dport(port, delta),
        }),
        Proto::Udp => udp::HeaderMut::new(segment).filter(|header| header.checksum() != 0).map(
            |mut header| match side {
                Side::Source => header.rewrite_sport(port, delta),
                Side::Destination => header.rewrite_dport(port, delta),
            },
        ),
    };
    if summed.is_some() {
        let (is, was) = (&before.packet(&copy)[offset..], &before.packet(packet)[offset..]);
        assert_eq!(sum(ends, protocol, is), sum((before.src, before.dst), protocol, was));
    }
    assert_eq!(copy.len(), packet.len());
}

fn icmpv6(ip: &Ipv6, message: &[u8]) {
    let ok = |message: &[u8]| icmpv6::checksum_ok(ip.src, ip.dst, message);
    let mut copy = message.to_vec();
    if icmpv6::echo_reply(&mut copy) {
        assert_eq!(ok(&copy), ok(message));
    } else {
        assert_eq!(copy, message);
    }
    let (addr, port) = choose(message);
    for side in [Side::Source, Side::Destination] {
        let mut copy = message.to_vec();
        if icmpv6::rewrite_quoted(&mut copy, side, addr, port).is_ok() {
            assert_eq!(ok(&copy), ok(message));
        } else {
            assert_eq!(copy, message);
        }
    }
    if let Ok(Some(said)) = ndp::parse(ip, message) {
        discovery(&said, ip);
    }
}

/// What is read of neighbour discovery is what would be written.
fn discovery(said: &Ndp, ip: &Ipv6) {
    let mut packet = [0; ndp::PACKET_LEN];
    let len = said.emit(&mut packet, ip.src, ip.dst);
    let again = ipv6::parse(&packet[..len]).expect("what we write is IPv6");
    match ndp::parse(&again, &packet[ipv6::HEADER_LEN..len]) {
        Ok(Some(read)) => assert_eq!(&read, said),
        other => panic!("{said:?} is read as {other:?}"),
    }
}

/// The packet in a tunnel lies within what was given.
pub(super) fn open(protocol: u8, payload: &[u8]) {
    if let Some(opened) = tunnel::open(protocol, payload) {
        assert!(opened.offset <= payload.len(), "{opened:?} of {}", payload.len());
    }
    if let Ok(gre) = gre::parse(payload) {
        assert!(gre.header_len <= payload.len());
        let mut copy = payload.to_vec();
        if gre.summed && gre::emit_summed(&mut copy, gre.protocol).is_ok() {
            assert!(gre::checksum_ok(&copy));
        }
    }
    if let Ok(Some(gue)) = gue::parse(payload) {
        assert!(gue.header_len <= payload.len());
    }
}

/// Options of a segment lie within its header; what is changed in them keeps the checksum.
pub(super) fn tcp_options(segment: &[u8]) {
    let header = tcp::parse(segment).map_or(0, |tcp| tcp.header_len);
    for option in tcp_options::options(segment) {
        assert!(option.at >= 20 && option.at + option.value.len() <= header, "{option:?} of {header}");
    }
    let mut same = segment.to_vec();
    let _unchanged = tcp_options::rewrite_numbers(&mut same, |_, number| number);
    assert_eq!(same, segment);
    let read = tcp_options::SynOptions::read(segment);
    for clamp in [0, 536, 1460, u16::MAX] {
        let mut copy = segment.to_vec();
        let delta = tcp_options::clamp_mss(&mut copy, clamp);
        assert!(tcp_options::SynOptions::read(&copy).mss.is_none_or(|mss| mss <= clamp));
        assert_eq!(copy.len(), segment.len());
        keeps_sum(segment, copy, delta);
    }
    let mut copy = segment.to_vec();
    let delta = tcp_options::rewrite_numbers(&mut copy, |_, number| number.wrapping_add(0x1234_5678));
    assert_eq!(tcp_options::SynOptions::read(&copy).mss, read.mss);
    keeps_sum(segment, copy, delta);
}

/// A change that is taken into the checksum leaves the sum over the segment as it was.
fn keeps_sum(before: &[u8], mut after: Vec<u8>, delta: Delta) {
    let zero = Ipv6Addr::UNSPECIFIED;
    let Some(mut header) = tcp::HeaderMut::new(&mut after) else { return };
    header.update_checksum(delta);
    assert_eq!(sum((zero, zero), 6, &after), sum((zero, zero), 6, before));
}

/// ICMP errors of either family, translated both ways: the length stays, what is refused stays as it was.
pub(super) fn errors(packet: &[u8]) {
    let Ok(error) = icmp::read(packet) else { return };
    let _told = error.tunnel(packet);
    let (v6, port) = choose(packet);
    let [.., a, b, c, d] = v6.octets();
    let v4 = IpAddr::from([a, b, c, d]);
    for towards in [Towards::Real, Towards::Client] {
        for addr in [v4, IpAddr::V6(v6)] {
            let mut copy = packet.to_vec();
            if icmp::translate(&mut copy, &error, towards, addr, port).is_err() {
                assert_eq!(copy, packet);
                continue;
            }
            let again = icmp::read(&copy).expect("a translated error is one");
            assert_eq!((again.icmp_type, again.code, again.mtu), (error.icmp_type, error.code, error.mtu));
            let flow = again.embedded(&copy).expect("its quote is one").flow;
            match towards {
                Towards::Real => assert_eq!((flow.src, flow.sport, again.dst), (addr, port, addr)),
                Towards::Client => assert_eq!((flow.dst, flow.dport, again.src), (addr, port, addr)),
            }
        }
    }
}

/// Lines of FTP's control channel.
pub(super) fn lines(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let _command = ftp::command(line);
        for code in [227, 229] {
            let _reply = ftp::reply(code, line);
        }
    }
}
