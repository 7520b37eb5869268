//! Packets that are too large for their way out, and SYNs that announce too much.

use proptest::prelude::*;
use sheave_frame::PortId;
use sheave_pipeline::snapshot::{Clamp, Method};
use sheave_pipeline::testing::{
    CLIENT_SIDE, Lab, NAT_REAL_PORT, Packet, SERVER_SIDE, Seen, Seen6, Site, real, real6, vip, vip6,
};
use sheave_pipeline::{Reason, Resolve, Snapshot, VerdictKind};
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tunnel::Encapsulation;
use std::net::{Ipv4Addr, Ipv6Addr};

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 7), 40_000);

/// A datagram from the client that may be fragmented.
fn request(payload: &[u8]) -> Packet {
    Packet { df: false, ..Packet::from_client(Proto::Udp, CLIENT, (vip(0), 80), 0) }.payload(payload)
}

fn site(method: Method, mtu: u16) -> Site {
    let mut site = Site::with(Proto::Udp, method, 1);
    site.mtu = [mtu; 2];
    site
}

/// Puts the fragments of one datagram together, as a receiver would, and gives the frame that it was.
fn together(mtu: u16, frames: &[(PortId, Vec<u8>)], tunnelled: bool) -> Vec<u8> {
    let at = if tunnelled { 34 } else { 14 };
    let mut whole = Vec::new();
    for (n, (_, frame)) in frames.iter().enumerate() {
        assert!(frame.len() - 14 <= usize::from(mtu), "{n} is too large");
        let seen = Seen::of(&[&frame[..12], &frame[12..]].concat());
        let header = if tunnelled { seen.inner.expect("a packet in the tunnel") } else { seen.ip };
        assert_eq!(usize::from(header.fragment_offset.value()) * 8, whole.len().saturating_sub(at + 20));
        assert_eq!(header.more_fragments, n + 1 < frames.len());
        if whole.is_empty() {
            whole.extend(&frame[..at + 20]);
        }
        whole.extend(&frame[at + 20..]);
    }
    let mut packet = whole.split_off(at);
    let len = u16::try_from(packet.len()).expect("short").to_be_bytes();
    packet[2..4].copy_from_slice(&len);
    packet[6..8].fill(0);
    packet[10..12].fill(0);
    let sum = sheave_proto::wire::checksum::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    [&frames[0].1[..14], &packet].concat()
}

/// What a large packet was cut into, one datagram by its account.
fn cut(lab: &mut Lab, snapshot: &Snapshot, packet: &Packet) -> Vec<(PortId, Vec<u8>)> {
    let before = lab.service(0);
    let (verdict, out) = lab.send(snapshot, packet.port, &packet.bytes());
    assert_eq!(verdict.kind(), VerdictKind::Forward, "{verdict:?}");
    let after = lab.service(0);
    let bytes = 20 + 8 + packet.payload.len() as u64;
    assert_eq!(after[1] + after[2], before[1] + before[2] + 1);
    assert_eq!(after[3] + after[4], before[3] + before[4] + bytes);
    assert_eq!(lab.frames(), lab.pool.total());
    out.sent
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1000..3000)
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![Just(Method::Nat), Just(Method::DirectRoute), Just(Method::Tunnel)]
}

proptest! {
    /// Whatever is put together has a right checksum in full, and is what was sent.
    #[test]
    fn what_may_be_fragmented_is(payload in bytes(), method in method(), mtu in 300u16..1100) {
        let mut site = site(method, mtu);
        let snapshot = site.snapshot();
        let mut lab = Lab::sized(Resolve::Control, 16, 80);
        let sent = cut(&mut lab, &snapshot, &request(&payload));
        prop_assert!(sent.iter().all(|(port, _)| *port == SERVER_SIDE));
        let seen = Seen::of(&together(mtu, &sent, method == Method::Tunnel));
        prop_assert_eq!(&seen.payload, &payload);
        prop_assert_eq!(seen.ip.time_to_live, 63);
        let port = if method == Method::Nat { NAT_REAL_PORT } else { 80 };
        prop_assert_eq!(seen.ports, Some((CLIENT.1, port)));
        if method == Method::Nat {
            let mut reply = Packet::from_real(Proto::Udp, (real(0), NAT_REAL_PORT), CLIENT, 0).payload(&payload);
            reply.df = false;
            let sent = cut(&mut lab, &snapshot, &reply);
            prop_assert!(sent.iter().all(|(port, _)| *port == CLIENT_SIDE));
            let seen = Seen::of(&together(mtu, &sent, false));
            prop_assert_eq!(&seen.payload, &payload);
            prop_assert_eq!((seen.ip.source, seen.ports), (vip(0).octets(), Some((80, CLIENT.1))));
        }
    }
}

#[test]
fn without_path_mtu_discovery_the_outer_packet_is_fragmented() {
    for df in [true, false] {
        let mut site = site(Method::Tunnel, 600);
        site.services[0].destinations[0].discovers_mtu = false;
        let snapshot = site.snapshot();
        let mut lab = Lab::sized(Resolve::Control, 16, 80);
        let packet = Packet { df, ..request(&[7; 1400]) };
        let sent = cut(&mut lab, &snapshot, &packet);
        let whole = together_outer(&sent);
        let seen = Seen::of(&whole);
        let inner = seen.inner.expect("a packet in the tunnel");
        assert_eq!((inner.dont_fragment, seen.payload), (df, packet.payload));
        assert!(!seen.ip.dont_fragment);
    }
}

/// Fragments of an outer packet.
fn together_outer(frames: &[(PortId, Vec<u8>)]) -> Vec<u8> {
    let mut whole = frames[0].1[..34].to_vec();
    for (_, frame) in frames {
        assert!(frame.len() - 14 <= 600);
        whole.extend(&frame[34..]);
    }
    let len = u16::try_from(whole.len() - 14).expect("short").to_be_bytes();
    whole[16..18].copy_from_slice(&len);
    whole[20..22].fill(0);
    whole[24..26].fill(0);
    let sum = sheave_proto::wire::checksum::checksum(&whole[14..34]);
    whole[24..26].copy_from_slice(&sum.to_be_bytes());
    whole
}

#[test]
fn the_least_packet_of_ipv6_goes_through_any_tunnel_of_ipv4() {
    let mut site = Site::with_v6(Proto::Udp, Method::Tunnel, 1);
    site.services[0].destinations[0].addr = real(0).into();
    site.mtu = [1500, 1290];
    let snapshot = site.snapshot();
    let mut lab = Lab::sized(Resolve::Control, 16, 8);
    let client: Ipv6Addr = "2001:db8:7::7".parse().expect("an address");
    let packet = |len: usize| {
        Packet::from_client(Proto::Udp, (client, 4000), (vip6(0), 80), 0).payload(&vec![3; len - 48])
    };
    let (verdict, out) = lab.send(&snapshot, CLIENT_SIDE, &packet(1280).bytes());
    assert_eq!((verdict.kind(), out.sent.len()), (VerdictKind::Forward, 2));
    let inner = [&out.sent[0].1[34..], &out.sent[1].1[34..]].concat();
    let seen = Seen6::packet(&inner, Seen::of(&out.sent[1].1).macs);
    assert_eq!(seen.payload.len(), 1280 - 40);
    // What no link must carry: the sender is told of the least.
    let (verdict, _) = lab.send(&snapshot, CLIENT_SIDE, &packet(1281).bytes());
    assert_eq!(verdict.reason(), Some(Reason::FragNeeded));
}

#[test]
fn without_frames_nothing_is_cut() {
    let mut site = site(Method::Nat, 576);
    let snapshot = site.snapshot();
    let mut lab = Lab::sized(Resolve::Control, 16, 2);
    let (verdict, out) = lab.send(&snapshot, CLIENT_SIDE, &request(&[0; 1400]).bytes());
    assert_eq!((verdict.reason(), out.sent.len()), (Some(Reason::NoFrame), 0));
    assert_eq!(lab.frames(), lab.pool.total());
}

/// The largest segment that a SYN announces, after the director had it in its hands.
fn announced(frame: &[u8]) -> Option<u16> {
    let tcp = Seen::of(frame).tcp.expect("TCP");
    tcp.options_iterator().find_map(|option| match option {
        Ok(etherparse::TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
        _ => None,
    })
}

/// A SYN, or its answer, that announces 1460 bytes.
fn announcing(packet: &Packet) -> Vec<u8> {
    let mut frame = packet.bytes();
    let mut tcp = etherparse::TcpHeader::from_slice(&frame[34..]).expect("TCP").0;
    tcp.set_options(&[etherparse::TcpOptionElement::MaximumSegmentSize(1460)]).expect("room");
    let mut ip = etherparse::Ipv4Header::from_slice(&frame[14..]).expect("IPv4").0;
    ip.total_len += 4;
    ip.header_checksum = ip.calc_header_checksum();
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).expect("fits");
    frame.truncate(14);
    frame.extend(ip.to_bytes());
    frame.extend(tcp.to_bytes());
    frame
}

#[test]
fn syns_announce_what_the_way_can_carry() {
    let auto = Clamp::Auto;
    for (method, encapsulation, clamp, expected) in [
        (Method::Nat, Encapsulation::Ipip, auto, 1460),
        (Method::Nat, Encapsulation::Ipip, Clamp::To(1000), 1000),
        (Method::DirectRoute, Encapsulation::Ipip, auto, 1460),
        (Method::Tunnel, Encapsulation::Ipip, auto, 1440),
        (Method::Tunnel, Encapsulation::Gre { checksum: true }, auto, 1432),
        (Method::Tunnel, Encapsulation::Gue { port: 6080, checksum: false }, auto, 1428),
        (Method::Tunnel, Encapsulation::Ipip, Clamp::Off, 1460),
        (Method::Tunnel, Encapsulation::Ipip, Clamp::To(1000), 1000),
    ] {
        let mut site = Site::with(Proto::Tcp, method, 1);
        site.services[0].mss_clamp = clamp;
        site.services[0].destinations[0].encapsulation = encapsulation;
        let snapshot = site.snapshot();
        let mut lab = Lab::sized(Resolve::Control, 16, 4);
        let syn = Packet::from_client(Proto::Tcp, CLIENT, (vip(0), 80), Packet::SYN);
        // The same again when it is repeated.
        for _ in 0..2 {
            let (_, out) = lab.send(&snapshot, CLIENT_SIDE, &announcing(&syn));
            let frame = &out.sent[0].1;
            let inner = frame.len() - 44;
            let frame = [&frame[..14], &frame[inner..]].concat();
            assert_eq!(announced(&frame), Some(expected), "{method:?} {encapsulation:?} {clamp:?}");
        }
        if method == Method::Nat {
            let flags = Packet::SYN | Packet::ACK;
            let answer = Packet::from_real(Proto::Tcp, (real(0), NAT_REAL_PORT), CLIENT, flags);
            let (_, out) = lab.send(&snapshot, SERVER_SIDE, &announcing(&answer));
            assert_eq!(announced(&out.sent[0].1), Some(expected));
        }
    }
}

#[test]
fn ipv6_is_never_fragmented() {
    let mut site = Site::with_v6(Proto::Udp, Method::Nat, 1);
    site.mtu = [1300; 2];
    let snapshot = site.snapshot();
    let mut lab = Lab::sized(Resolve::Control, 16, 8);
    let client: Ipv6Addr = "2001:db8:7::7".parse().expect("an address");
    let packet = Packet::from_client(Proto::Udp, (client, 4000), (vip6(0), 80), 0);
    let (verdict, _) = lab.send(&snapshot, CLIENT_SIDE, &packet.bytes());
    assert_eq!(verdict.kind(), VerdictKind::Forward);
    let (verdict, _) = lab.send(&snapshot, CLIENT_SIDE, &packet.payload(&[0; 1300]).bytes());
    assert_eq!(verdict.reason(), Some(Reason::FragNeeded));
    let reply = Packet::from_real(Proto::Udp, (real6(0), NAT_REAL_PORT), (client, 4000), 0);
    let (verdict, _) = lab.send(&snapshot, SERVER_SIDE, &reply.payload(&[0; 1300]).bytes());
    assert_eq!(verdict.reason(), Some(Reason::FragNeeded));
}
