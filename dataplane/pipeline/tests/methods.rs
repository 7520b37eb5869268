//! Each forwarding method, seen from outside: what goes in, what comes out, read by an independent library.

use sheave_pipeline::snapshot::Method;
use sheave_pipeline::testing::{
    CLIENT_SIDE, DIRECTOR, Lab, NAT_REAL_PORT, Packet, ROUTER_MAC, SERVER_SIDE, Seen, Site, mac_of, real, vip,
};
use sheave_pipeline::{Resolve, Verdict, VerdictKind};
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::flow::Proto;
use std::net::{Ipv4Addr, SocketAddrV4};

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 7), 40_000);
const VIP: (Ipv4Addr, u16) = (vip(0), 80);
const REAL: (Ipv4Addr, u16) = (real(0), NAT_REAL_PORT);

fn at(end: (Ipv4Addr, u16)) -> SocketAddrV4 {
    SocketAddrV4::new(end.0, end.1)
}

fn real_mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, 10 + n])
}

#[test]
fn nat_rewrites_both_ways() {
    for proto in [Proto::Tcp, Proto::Udp] {
        let mut lab = Lab::new(Resolve::Control);
        let snapshot = Site::with(proto, Method::Nat, 1).snapshot();
        let request = Packet::from_client(proto, CLIENT, VIP, Packet::SYN).payload(b"hello");
        let (verdict, out) = lab.send(&snapshot, CLIENT_SIDE, &request.bytes());
        assert_eq!(verdict.kind(), VerdictKind::Forward);
        let [(SERVER_SIDE, frame)] = &out.sent[..] else { panic!("{out:?}") };
        let seen = Seen::of(frame);
        assert_eq!(seen.macs, (mac_of(SERVER_SIDE), real_mac(0)));
        assert_eq!(seen.flow(), (at(CLIENT), at(REAL)));
        assert_eq!((seen.ip.time_to_live, &seen.payload[..]), (63, &b"hello"[..]));

        let reply = Packet::from_real(proto, REAL, CLIENT, Packet::SYN | Packet::ACK).payload(b"world!");
        let (verdict, out) = lab.send(&snapshot, SERVER_SIDE, &reply.bytes());
        assert_eq!(verdict.kind(), VerdictKind::Forward);
        let [(CLIENT_SIDE, frame)] = &out.sent[..] else { panic!("{out:?}") };
        let seen = Seen::of(frame);
        assert_eq!(seen.macs, (mac_of(CLIENT_SIDE), ROUTER_MAC));
        assert_eq!(seen.flow(), (at(VIP), at(CLIENT)));
        assert_eq!((seen.ip.time_to_live, &seen.payload[..]), (63, &b"world!"[..]));

        let bytes = |packet: &Packet| packet.bytes().len() as u64 - 14;
        assert_eq!(lab.service(0), [1, 1, 1, bytes(&request), bytes(&reply)]);
        assert_eq!(lab.service(0), lab.destination(verdict.destination.expect("named")));
    }
}

#[test]
fn direct_routing_changes_hardware_addresses_and_time_to_live() {
    for proto in [Proto::Tcp, Proto::Udp] {
        let mut lab = Lab::new(Resolve::Control);
        let snapshot = Site::with(proto, Method::DirectRoute, 1).snapshot();
        let mut request = Packet::from_client(proto, CLIENT, VIP, Packet::SYN).payload(b"hello");
        request.tos = 0xbb;
        let sent = request.bytes();
        let (verdict, out) = lab.send(&snapshot, CLIENT_SIDE, &sent);
        assert_eq!(verdict.kind(), VerdictKind::Forward);
        let [(SERVER_SIDE, frame)] = &out.sent[..] else { panic!("{out:?}") };
        let seen = Seen::of(frame);
        assert_eq!(seen.macs, (mac_of(SERVER_SIDE), real_mac(0)));
        assert_eq!(seen.ip.time_to_live, 63);
        // All but the time to live and the checksum is as it was.
        let mut expected = sent[14..].to_vec();
        expected[8] = 63;
        expected[10..12].copy_from_slice(&frame[24..26]);
        assert_eq!(frame[14..], expected);
    }
}

#[test]
fn tunnelling_puts_an_outer_header_in_front() {
    for proto in [Proto::Tcp, Proto::Udp] {
        for (df, tos) in [(true, 0xbb), (false, 0x02)] {
            let mut lab = Lab::new(Resolve::Control);
            let snapshot = Site::with(proto, Method::Tunnel, 1).snapshot();
            let mut request = Packet::from_client(proto, CLIENT, VIP, Packet::SYN).payload(b"hello");
            (request.df, request.tos, request.ttl) = (df, tos, 17);
            let sent = request.bytes();
            let (verdict, out) = lab.send(&snapshot, CLIENT_SIDE, &sent);
            assert_eq!(verdict.kind(), VerdictKind::Forward);
            let [(SERVER_SIDE, frame)] = &out.sent[..] else { panic!("{out:?}") };
            let seen = Seen::of(frame);
            assert_eq!(seen.macs, (mac_of(SERVER_SIDE), real_mac(0)));
            assert_eq!(seen.flow(), (at(CLIENT), at(VIP)));
            assert_eq!((seen.ip.source, seen.ip.destination), (DIRECTOR[1].octets(), real(0).octets()));
            assert_eq!((seen.ip.time_to_live, seen.ip.dont_fragment), (16, df));
            assert_eq!(seen.ip.dscp.value() << 2 | seen.ip.ecn.value(), tos);
            assert_eq!(seen.inner.expect("a tunnel").time_to_live, 16);
            assert_eq!(frame[34 + 12..], sent[14 + 12..]);
            // Bytes are counted as they came.
            assert_eq!(lab.service(0), [1, 1, 0, sent.len() as u64 - 14, 0]);
        }
    }
}

#[test]
fn outer_identifications_differ() {
    let mut lab = Lab::new(Resolve::Control);
    let snapshot = Site::with(Proto::Udp, Method::Tunnel, 1).snapshot();
    let request = Packet::from_client(Proto::Udp, CLIENT, VIP, 0).bytes();
    let mut ident = || Seen::of(&lab.send(&snapshot, CLIENT_SIDE, &request).1.sent[0].1).ip.identification;
    assert_ne!(ident(), ident());
}

#[test]
fn padding_is_cut_off() {
    for method in [Method::Nat, Method::DirectRoute, Method::Tunnel] {
        let mut lab = Lab::new(Resolve::Control);
        let snapshot = Site::with(Proto::Tcp, method, 1).snapshot();
        let mut request = Packet::from_client(Proto::Tcp, CLIENT, VIP, Packet::SYN).bytes();
        request.resize(64, 0xaa);
        let (_, out) = lab.send(&snapshot, CLIENT_SIDE, &request);
        // Seen refuses padding.
        Seen::of(&out.sent[0].1);
        assert_eq!(lab.service(0)[3], 40);
    }
}

#[test]
fn methods_mix_within_a_service() {
    let mut lab = Lab::new(Resolve::Control);
    let mut site = Site::with(Proto::Tcp, Method::Nat, 1);
    let more = [site.destination(1, 80, Method::DirectRoute), site.destination(2, 80, Method::Tunnel)];
    site.services[0].destinations.extend(more);
    let snapshot = site.snapshot();
    let lengths: Vec<usize> = (0..3)
        .map(|n| {
            let request = Packet::from_client(Proto::Tcp, (CLIENT.0, 1000 + n), VIP, Packet::SYN);
            let (verdict, out) = lab.send(&snapshot, CLIENT_SIDE, &request.bytes());
            assert_eq!(
                verdict,
                Verdict::forward(verdict.service.expect("named"), verdict.destination.expect("named"))
            );
            assert_eq!(verdict.destination.map(|d| d.0), Some(n));
            out.sent[0].1.len()
        })
        .collect();
    assert_eq!(lengths, [54, 54, 74]);
}
