//! Every reason that the pipeline can have is reached, and counted once.

use sheave_frame::{Burst, PortId};
use sheave_pipeline::ids::ListenId;
use sheave_pipeline::key::Key;
use sheave_pipeline::snapshot::{Method, OnRemoval};
use sheave_pipeline::testing::{
    CLIENT_SIDE, DIRECTOR, Drained, Error, Lab, NAT_REAL_PORT, Packet, ROUTER_MAC, SERVER_SIDE, Seen, Site,
    cut, mac_of, real, vip, vip6,
};
use sheave_pipeline::{Punt, Reason, Resolve, Snapshot, VerdictKind};
use sheave_proto::wire::arp::{self, Arp};
use sheave_proto::wire::checksum::checksum;
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::ndp::{self, Ndp, Solicitation};
use sheave_table::Reserve;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Those that only workers can have: ports and rings are full or gone, or all of them begin datagrams at one moment.
const WORKERS: [Reason; 4] = [Reason::PortGone, Reason::TxFull, Reason::HandoffFull, Reason::FragmentNoRoom];

/// Those of the SYN proxy, which tests/syn_proxy.rs reaches.
const PROXY: [Reason; 6] = [
    Reason::SynCookie,
    Reason::SynProxied,
    Reason::SynProxyWaits,
    Reason::SynProxyFull,
    Reason::CookieWrong,
    Reason::TcpChecksum,
];

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 7), 40_000);
const VIP: (Ipv4Addr, u16) = (vip(0), 80);
const REAL: (Ipv4Addr, u16) = (real(0), NAT_REAL_PORT);
const L3: usize = 14;

/// A lab, its site, and what was reached so far.
struct Stage {
    lab: Lab,
    site: Site,
    snapshot: Snapshot,
    reached: BTreeSet<Reason>,
}

impl Stage {
    fn new(proto: Proto, method: Method, resolve: Resolve) -> Stage {
        let mut site = Site::with(proto, method, 1);
        Stage { lab: Lab::new(resolve), snapshot: site.snapshot(), site, reached: BTreeSet::new() }
    }

    /// Sends a frame that must have this outcome, counted once, with all frames accounted for.
    fn expect(&mut self, reason: Reason, port: PortId, frame: &[u8]) -> Drained {
        let before = (self.lab.reason(reason), self.lab.verdict(reason.kind()));
        let (verdict, out) = self.lab.send(&self.snapshot, port, frame);
        assert_eq!(verdict.reason(), Some(reason));
        assert_eq!((self.lab.reason(reason), self.lab.verdict(reason.kind())), (before.0 + 1, before.1 + 1));
        assert_eq!(self.lab.frames(), self.lab.pool.total());
        match reason.kind() {
            VerdictKind::Pass => assert_eq!(out.passed, [frame], "{reason}: as it came"),
            VerdictKind::Reply => assert_eq!(out.sent.len(), 1, "{reason}"),
            VerdictKind::Punt => assert_eq!(out.punts.len(), 1, "{reason}"),
            VerdictKind::Hold => assert_eq!(out.punts.len() + out.sent.len(), 1, "{reason}: asks"),
            VerdictKind::Drop => assert_eq!(out, Drained::default(), "{reason}"),
            VerdictKind::Forward => unreachable!("a reason is no forward"),
        }
        self.reached.insert(reason);
        out
    }

    fn forward(&mut self, packet: &Packet) -> Drained {
        let (verdict, out) = self.lab.send(&self.snapshot, packet.port, &packet.bytes());
        assert_eq!(verdict.kind(), VerdictKind::Forward, "{verdict:?}");
        out
    }

    fn republish(&mut self, change: impl FnOnce(&mut Site)) {
        change(&mut self.site);
        self.snapshot = self.site.snapshot();
    }
}

fn syn() -> Packet {
    Packet::from_client(Proto::Tcp, CLIENT, VIP, Packet::SYN)
}

fn datagram() -> Packet {
    Packet::from_client(Proto::Udp, CLIENT, VIP, 0)
}

/// The frame with changes to its IP packet, and the header checksum right again.
fn altered(packet: &Packet, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = packet.bytes();
    change(&mut bytes);
    sum(&mut bytes);
    bytes
}

fn sum(bytes: &mut [u8]) {
    bytes[L3 + 10..L3 + 12].fill(0);
    let sum = checksum(&bytes[L3..L3 + 20]);
    bytes[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
}

/// An ICMP message from the client.
fn icmp(dst: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let packet = Packet::from_client(Proto::Udp, CLIENT, (dst, 1), 0).payload(&vec![0; message.len() - 8]);
    let mut bytes = altered(&packet, |bytes| bytes[L3 + 9] = 1);
    bytes[L3 + 20..].copy_from_slice(message);
    bytes[L3 + 22..L3 + 24].fill(0);
    let sum = checksum(&bytes[L3 + 20..]);
    bytes[L3 + 22..L3 + 24].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn arp(packet: Arp, dst: Mac) -> Vec<u8> {
    let mut frame = [0; arp::FRAME_LEN];
    packet.emit(&mut frame, dst);
    frame.to_vec()
}

#[test]
fn every_reason_of_the_pipeline_is_reached() {
    let mut reached = BTreeSet::new();
    let parts: [fn() -> BTreeSet<Reason>; 13] = [
        not_ours,
        arps,
        neighbours,
        ip_headers,
        fragments,
        transports,
        icmps,
        answers,
        limits,
        ways_out,
        tables,
        side_records,
        floods,
    ];
    for part in parts {
        reached.extend(part());
    }
    let elsewhere = || WORKERS.iter().chain(&PROXY);
    let missing: Vec<_> =
        Reason::ALL.iter().filter(|r| !reached.contains(r) && elsewhere().all(|e| e != *r)).collect();
    assert!(missing.is_empty(), "not reached: {missing:?}");
    assert!(elsewhere().all(|r| !reached.contains(r)));
}

fn not_ours() -> BTreeSet<Reason> {
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, Resolve::Control);
    let other = |dst| Packet::from_client(Proto::Tcp, CLIENT, (dst, 80), Packet::SYN);
    stage.expect(Reason::NotOurs, CLIENT_SIDE, &other(DIRECTOR[0]).bytes());
    stage.expect(Reason::NotOurs, CLIENT_SIDE, &[2; 13]);
    stage.expect(Reason::NotOurs, PortId(9), &syn().bytes());
    let mut frame = syn().bytes();
    frame[..6].fill(0xff);
    stage.expect(Reason::NotOurs, CLIENT_SIDE, &frame);
    frame[..6].copy_from_slice(&[2, 9, 9, 9, 9, 9]);
    stage.expect(Reason::NotOurMac, CLIENT_SIDE, &frame);
    let mut frame = syn().bytes();
    frame[12..14].copy_from_slice(&[0x88, 0xcc]);
    stage.expect(Reason::NotOurProtocol, CLIENT_SIDE, &frame);
    stage.expect(Reason::NotOurProtocol, CLIENT_SIDE, &altered(&syn(), |b| b[L3 + 9] = 47));
    stage.expect(
        Reason::NoService,
        CLIENT_SIDE,
        &Packet { dst: "198.18.0.100:81".parse().expect("an address"), ..syn() }.bytes(),
    );
    stage.expect(Reason::NoEntry, CLIENT_SIDE, &Packet { flags: Packet::ACK, ..syn() }.bytes());
    let reply = Packet::from_real(Proto::Tcp, REAL, CLIENT, Packet::ACK);
    stage.expect(Reason::NoEntry, SERVER_SIDE, &reply.bytes());
    let to_us = Packet::from_real(Proto::Tcp, REAL, (DIRECTOR[1], 5000), Packet::ACK);
    let mut local = Stage::new(Proto::Tcp, Method::Local, Resolve::Control);
    local.expect(Reason::LocalNode, CLIENT_SIDE, &syn().bytes());
    stage.reached.extend(local.reached);
    stage.expect(Reason::OwnAddress, SERVER_SIDE, &to_us.bytes());
    // Nothing is said of what is wrong with a packet that is not ours.
    let mut broken = other(DIRECTOR[0]).bytes();
    broken[L3 + 10] ^= 0xff;
    broken[L3 + 3] = 0xff;
    stage.expect(Reason::NotOurs, CLIENT_SIDE, &broken);
    stage.reached
}

fn arps() -> BTreeSet<Reason> {
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, Resolve::Control);
    let router = Ipv4Addr::new(198, 18, 0, 2);
    let question = |of| arp(Arp::request(ROUTER_MAC, router, of), Mac::BROADCAST);
    let out = stage.expect(Reason::ArpReply, CLIENT_SIDE, &question(vip(0)));
    let answer = Arp::request(ROUTER_MAC, router, vip(0)).answer(mac_of(CLIENT_SIDE));
    assert_eq!(out.sent, [(CLIENT_SIDE, arp(answer, ROUTER_MAC))]);
    // RFC 5227: a probe is answered, or its sender would take the address.
    let probe = Arp::request(ROUTER_MAC, Ipv4Addr::UNSPECIFIED, vip(0));
    stage.expect(Reason::ArpReply, CLIENT_SIDE, &arp(probe, Mac::BROADCAST));
    // Not for a VIP; a VIP, but not here.
    stage.expect(Reason::ArpSeen, CLIENT_SIDE, &question(DIRECTOR[0]));
    stage.expect(Reason::ArpSeen, SERVER_SIDE, &question(vip(0)));
    let own = Arp::gratuitous_request(mac_of(CLIENT_SIDE), vip(0));
    stage.expect(Reason::ArpSeen, SERVER_SIDE, &arp(own, Mac::BROADCAST));
    let thief = Mac([2, 6, 6, 6, 6, 6]);
    for claim in [Arp::gratuitous_request(thief, vip(0)), Arp::gratuitous_reply(thief, vip(0))] {
        let out = stage.expect(Reason::VipConflict, CLIENT_SIDE, &arp(claim, Mac::BROADCAST));
        assert_eq!(out.punts, [Punt::Conflict { port: CLIENT_SIDE, vip: vip(0).into(), mac: thief }]);
    }
    let mut short = question(vip(0));
    short.truncate(41);
    stage.expect(Reason::ArpMalformed, CLIENT_SIDE, &short);
    stage.reached
}

fn neighbours() -> BTreeSet<Reason> {
    let site = Site::with_v6(Proto::Tcp, Method::Nat, 1);
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, Resolve::Control);
    stage.republish(|old| *old = site);
    let asked = |target: Ipv6Addr| {
        let mut frame = [0; ndp::FRAME_LEN];
        let group = ndp::solicited_node(target);
        let link = (ROUTER_MAC, ndp::multicast_mac(group));
        let question = Ndp::Solicitation(Solicitation::request(target, ROUTER_MAC));
        let len = question.emit_frame(&mut frame, link, (vip6(99), group));
        frame[..len].to_vec()
    };
    stage.expect(Reason::NdpReply, CLIENT_SIDE, &asked(vip6(0)));
    stage.expect(Reason::NdpSeen, CLIENT_SIDE, &asked(vip6(1)));
    let mut far = asked(vip6(0));
    far[21] = 254;
    stage.expect(Reason::NdpMalformed, CLIENT_SIDE, &far);
    let client: Ipv6Addr = "2001:db8:c::7".parse().expect("an address");
    let mut bytes = Packet::from_client(Proto::Tcp, (client, 4000), (vip6(0), 80), Packet::SYN).bytes();
    // A hop-by-hop header that goes on behind the packet.
    (bytes[20], bytes[54], bytes[55]) = (0, 6, 200);
    stage.expect(Reason::IpExtensions, CLIENT_SIDE, &bytes);
    stage.reached
}

fn ip_headers() -> BTreeSet<Reason> {
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, Resolve::Control);
    let mut expect = |reason, frame: &[u8]| {
        stage.expect(reason, CLIENT_SIDE, frame);
    };
    expect(Reason::IpTruncated, &syn().bytes()[..L3 + 19]);
    expect(Reason::IpVersion, &altered(&syn(), |b| b[L3] = 0x65));
    expect(Reason::IpHeaderLength, &altered(&syn(), |b| b[L3] = 0x44));
    expect(Reason::IpHeaderLength, &altered(&syn(), |b| b[L3] = 0x4f));
    expect(Reason::IpTotalLength, &altered(&syn(), |b| b[L3 + 3] = 19));
    expect(Reason::IpTotalLength, &altered(&syn(), |b| b[L3 + 3] = 41));
    expect(Reason::IpTotalLength, &syn().bytes()[..L3 + 39]);
    let mut frame = syn().bytes();
    frame[L3 + 10] ^= 1;
    expect(Reason::IpChecksum, &frame);
    for src in
        [vip(0), Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 5)]
    {
        expect(Reason::Martian, &altered(&syn(), |b| b[L3 + 12..L3 + 16].copy_from_slice(&src.octets())));
    }
    stage.reached
}

fn fragments() -> BTreeSet<Reason> {
    let mut stage = Stage::new(Proto::Udp, Method::Nat, Resolve::Control);
    let whole = Packet { df: false, ..datagram() }.payload(&[7; 1000]).bytes();
    let early = |stage: &mut Stage, frame: &[u8]| {
        let (verdict, out) = stage.lab.send(&stage.snapshot, CLIENT_SIDE, frame);
        assert_eq!((verdict.reason(), out), (Some(Reason::FragmentEarly), Drained::default()));
        stage.reached.insert(Reason::FragmentEarly);
    };
    let pieces = cut(&whole, 400, 1);
    early(&mut stage, &pieces[1]);
    stage.expect(Reason::FragmentDuplicate, CLIENT_SIDE, &pieces[1]);
    stage.expect(Reason::FragmentOverlap, CLIENT_SIDE, &cut(&whole, 408, 1)[1]);
    assert_eq!(stage.lab.pipeline.held(), 1);
    stage.lab.tick(&stage.snapshot);
    assert_eq!((stage.lab.reason(Reason::FragmentOverlap), stage.lab.pipeline.held()), (2, 0));
    stage.expect(Reason::FragmentMalformed, CLIENT_SIDE, &cut(&whole, 12, 2)[0]);
    let tcp = cut(&syn().payload(&[7; 1000]).bytes(), 8, 3);
    stage.expect(Reason::FragmentTiny, CLIENT_SIDE, &tcp[1]);
    let many = cut(&whole, 8, 4);
    many[1..65].iter().for_each(|piece| early(&mut stage, piece));
    let (verdict, _) = stage.lab.send(&stage.snapshot, CLIENT_SIDE, &many[65]);
    assert_eq!(verdict.reason(), Some(Reason::FragmentTooMany));
    assert_eq!((stage.lab.reason(Reason::FragmentTooMany), stage.lab.pipeline.held()), (65, 0));
    early(&mut stage, &cut(&whole, 400, 5)[1]);
    stage.lab.wait(1);
    stage.lab.tick(&stage.snapshot);
    assert_eq!(stage.lab.reason(Reason::FragmentUnmatched), 1);
    stage.reached.extend([Reason::FragmentTooMany, Reason::FragmentUnmatched]);
    let mut elsewhere = datagram().payload(&[7; 1000]);
    elsewhere.dst.set_port(81);
    let pieces = cut(&elsewhere.bytes(), 400, 6);
    stage.expect(Reason::NoService, CLIENT_SIDE, &pieces[0]);
    stage.expect(Reason::FragmentNotOurs, CLIENT_SIDE, &pieces[1]);
    stage.republish(|site| site.services[0].destinations[0].weight = 0);
    let pieces = cut(&whole, 400, 7);
    stage.expect(Reason::NoDestination, CLIENT_SIDE, &pieces[0]);
    stage.expect(Reason::FragmentRefused, CLIENT_SIDE, &pieces[1]);
    stage.reached
}

fn transports() -> BTreeSet<Reason> {
    let mut tcp = Stage::new(Proto::Tcp, Method::Nat, Resolve::Control);
    let cut = |packet: &Packet, len: u8| {
        let mut frame = altered(packet, |b| b[L3 + 3] = 20 + len);
        frame.truncate(L3 + 20 + usize::from(len));
        frame
    };
    tcp.expect(Reason::TcpTruncated, CLIENT_SIDE, &cut(&syn(), 19));
    tcp.expect(Reason::TcpTruncated, CLIENT_SIDE, &cut(&syn(), 3));
    let offset = |words: u8| altered(&syn(), |b| b[L3 + 32] = words << 4);
    tcp.expect(Reason::TcpOffset, CLIENT_SIDE, &offset(4));
    tcp.expect(Reason::TcpOffset, CLIENT_SIDE, &offset(6));
    tcp.expect(Reason::TcpFlags, CLIENT_SIDE, &Packet { flags: Packet::SYN | Packet::FIN, ..syn() }.bytes());
    let mut udp = Stage::new(Proto::Udp, Method::Nat, Resolve::Control);
    udp.expect(Reason::UdpTruncated, CLIENT_SIDE, &cut(&datagram(), 7));
    udp.expect(Reason::UdpTruncated, CLIENT_SIDE, &cut(&datagram(), 2));
    let length = |length: u8| altered(&datagram(), |b| b[L3 + 25] = length);
    udp.expect(Reason::UdpLength, CLIENT_SIDE, &length(7));
    udp.expect(Reason::UdpLength, CLIENT_SIDE, &length(9));
    tcp.reached.into_iter().chain(udp.reached).collect()
}

fn icmps() -> BTreeSet<Reason> {
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, Resolve::Control);
    let echo = icmp(vip(0), &[8, 0, 0, 0, 0x12, 0x34, 0, 1, b'p', b'i', b'n', b'g']);
    let out = stage.expect(Reason::EchoReply, CLIENT_SIDE, &echo);
    let seen = Seen::of(&out.sent[0].1);
    assert_eq!((seen.ip.source, seen.ip.destination), (vip(0).octets(), CLIENT.0.octets()));
    assert_eq!(seen.ip.time_to_live, 64);
    assert_eq!(seen.payload[..2], [0, 0]);
    assert_eq!(seen.payload[4..], [0x12, 0x34, 0, 1, b'p', b'i', b'n', b'g']);
    let mut wrong = echo.clone();
    wrong[L3 + 22] ^= 1;
    stage.expect(Reason::IcmpChecksum, CLIENT_SIDE, &wrong);
    let mut short = icmp(vip(0), &[8; 8]);
    short[L3 + 3] = 27;
    sum(&mut short);
    stage.expect(Reason::IcmpTruncated, CLIENT_SIDE, &short);
    stage.expect(Reason::IcmpNotOurs, CLIENT_SIDE, &icmp(vip(0), &[13, 0, 0, 0, 0, 0, 0, 0]));
    // Errors about packets that have no connection: of the VIP's, to a real server, of neither.
    let quote = |packet: Packet| {
        let mut message = vec![3, 4, 0, 0, 0, 0, 5, 0];
        message.extend(&packet.bytes()[L3..L3 + 28]);
        message
    };
    let from_vip = quote(Packet::from_real(Proto::Tcp, VIP, CLIENT, Packet::ACK));
    stage.expect(Reason::IcmpNotOurs, CLIENT_SIDE, &icmp(vip(0), &from_vip));
    let sent = Packet::from_client(Proto::Tcp, CLIENT, REAL, Packet::ACK);
    let to_real = quote(sent.clone());
    let error = Error::too_big(SERVER_SIDE, real(9), CLIENT.0, 1400, &sent.bytes());
    stage.expect(Reason::IcmpNotOurs, SERVER_SIDE, &error.bytes());
    stage.expect(Reason::IcmpNotOurs, CLIENT_SIDE, &icmp(vip(0), &to_real));
    stage.expect(Reason::NotOurs, CLIENT_SIDE, &icmp(DIRECTOR[0], &from_vip));
    stage.expect(Reason::IcmpQuote, CLIENT_SIDE, &icmp(vip(0), &from_vip[..8 + 20]));
    // About a packet in a tunnel: the client is told, but not of what it can do nothing about.
    let mut tunnel = Stage::new(Proto::Tcp, Method::Tunnel, Resolve::Control);
    let out = tunnel.forward(&syn());
    let mut error = Error::too_big(SERVER_SIDE, real(9), DIRECTOR[1], 1400, &out.sent[0].1);
    tunnel.expect(Reason::TunnelError, SERVER_SIDE, &error.bytes());
    error.kind = (4, 0);
    tunnel.expect(Reason::TunnelErrorQuiet, SERVER_SIDE, &error.bytes());
    stage.reached.into_iter().chain(tunnel.reached).collect()
}

/// What an ICMP error must be: from whom, of which type and code, about which frame.
fn check_error(out: &Drained, source: Ipv4Addr, kind: (u8, u8), about: &[u8]) -> [u8; 4] {
    let seen = Seen::of(&out.sent[0].1);
    assert_eq!((seen.ip.source, seen.ip.time_to_live), (source.octets(), 64));
    let (kind_, code, rest, quote) = seen.icmp();
    assert_eq!((kind_, code), kind);
    let end = about.len().min(L3 + 548);
    assert_eq!(quote, &about[L3..end]);
    rest
}

fn answers() -> BTreeSet<Reason> {
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, Resolve::Control);
    let dying = Packet { ttl: 1, ..syn() }.payload(&[7; 600]).bytes();
    let out = stage.expect(Reason::TtlExceeded, CLIENT_SIDE, &dying);
    check_error(&out, vip(0), (11, 0), &dying);
    assert_eq!(out.sent[0].0, CLIENT_SIDE);
    stage.forward(&syn());
    // To real servers, the director speaks for itself.
    let reply = Packet { ttl: 1, ..Packet::from_real(Proto::Tcp, REAL, CLIENT, Packet::ACK) }.bytes();
    let out = stage.expect(Reason::TtlExceeded, SERVER_SIDE, &reply);
    // The error goes to whom the packet came from.
    assert_eq!(Seen::of(&out.sent[0].1).ip.destination, real(0).octets());
    check_error(&out, DIRECTOR[1], (11, 0), &reply);
    assert_eq!(out.sent[0].0, SERVER_SIDE);

    stage.republish(|site| site.mtu = [1400, 1300]);
    let large = Packet { flags: Packet::ACK, ..syn() }.payload(&[7; 1300]);
    let out = stage.expect(Reason::FragNeeded, CLIENT_SIDE, &large.bytes());
    assert_eq!(check_error(&out, vip(0), (3, 4), &large.bytes()), [0, 0, 5, 20]);
    let reply = Packet::from_real(Proto::Tcp, REAL, CLIENT, Packet::ACK).payload(&[7; 1380]);
    let out = stage.expect(Reason::FragNeeded, SERVER_SIDE, &reply.bytes());
    assert_eq!(check_error(&out, DIRECTOR[1], (3, 4), &reply.bytes()), [0, 0, 5, 120]);

    stage.republish(|site| site.services[0].destinations[0].generation.0 = 2);
    stage.expect(Reason::Reset, CLIENT_SIDE, &Packet { flags: Packet::ACK, ..syn() }.bytes());
    stage.republish(|site| site.services[0].destinations[0].weight = 0);
    let out = stage.expect(Reason::NoDestination, CLIENT_SIDE, &syn().bytes());
    check_error(&out, vip(0), (3, 3), &syn().bytes());
    stage.republish(|site| {
        site.services[0].on_removal = OnRemoval::Drop;
        site.services[0].destinations[0].weight = 1;
    });
    stage.forward(&syn());
    stage.republish(|site| site.services[0].destinations[0].removed = true);
    stage.expect(Reason::Removed, CLIENT_SIDE, &Packet { flags: Packet::ACK, ..syn() }.bytes());

    // A tunnel leaves 20 bytes less.
    let mut tunnel = Stage::new(Proto::Tcp, Method::Tunnel, Resolve::Control);
    tunnel.forward(&syn().payload(&[7; 1440]));
    let out = tunnel.expect(Reason::FragNeeded, CLIENT_SIDE, &syn().payload(&[7; 1441]).bytes());
    assert_eq!(Seen::of(&out.sent[0].1).icmp().2, [0, 0, 5, 200]);
    stage.reached
}

fn limits() -> BTreeSet<Reason> {
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, Resolve::Control);
    let dying = Packet { ttl: 0, ..syn() };
    // No error goes to an address that is no host's.
    let nowhere = altered(&dying, |b| b[L3 + 12..L3 + 16].copy_from_slice(&[240, 0, 0, 1]));
    stage.expect(Reason::TtlExceededQuiet, CLIENT_SIDE, &nowhere);
    for _ in 0..1000 {
        stage.expect(Reason::TtlExceeded, CLIENT_SIDE, &dying.bytes());
    }
    stage.expect(Reason::TtlExceededQuiet, CLIENT_SIDE, &dying.bytes());
    stage.republish(|site| site.services[0].destinations[0].weight = 0);
    stage.expect(Reason::NoDestinationQuiet, CLIENT_SIDE, &syn().bytes());
    stage.republish(|site| (site.services[0].destinations[0].weight, site.mtu) = (1, [576; 2]));
    stage.expect(Reason::FragNeededQuiet, CLIENT_SIDE, &syn().payload(&[0; 600]).bytes());
    stage.reached
}

fn ways_out() -> BTreeSet<Reason> {
    let mut stage = Stage::new(Proto::Udp, Method::Nat, Resolve::Control);
    stage.republish(|site| site.neighbours = false);
    let out = stage.expect(Reason::Resolving, CLIENT_SIDE, &datagram().bytes());
    assert_eq!(out.punts, [Punt::Resolve { port: SERVER_SIDE, neighbour: real(0).into() }]);
    for _ in 1..16 {
        let (verdict, _) = stage.lab.send(&stage.snapshot, CLIENT_SIDE, &datagram().bytes());
        assert_eq!(verdict.reason(), Some(Reason::Resolving));
    }
    assert_eq!(stage.lab.pipeline.held(), 16);
    stage.expect(Reason::HoldFull, CLIENT_SIDE, &datagram().bytes());
    stage.lab.wait(3);
    stage.lab.tick(&stage.snapshot);
    assert_eq!((stage.lab.reason(Reason::Unresolved), stage.lab.pipeline.held()), (16, 0));
    stage.reached.insert(Reason::Unresolved);

    let mut lost = Stage::new(Proto::Udp, Method::Nat, Resolve::Control);
    lost.republish(|site| site.default_route = false);
    lost.forward(&datagram());
    let reply = Packet::from_real(Proto::Udp, REAL, CLIENT, 0);
    lost.expect(Reason::NoRoute, SERVER_SIDE, &reply.bytes());

    let mut asking = Stage::new(Proto::Udp, Method::Nat, Resolve::Ask);
    asking.republish(|site| site.neighbours = false);
    let mut hoard = Vec::new();
    while asking.lab.pool.free() > 1 {
        hoard.push(asking.lab.pool.alloc().expect("a free frame"));
    }
    let (verdict, _) = asking.lab.send(&asking.snapshot, CLIENT_SIDE, &datagram().bytes());
    assert_eq!(verdict.reason(), Some(Reason::NoFrame));
    hoard.into_iter().for_each(|frame| asking.lab.pool.release(frame));

    let tunnel = Stage::new(Proto::Udp, Method::Tunnel, Resolve::Control);
    stage.reached.extend([Reason::NoFrame, no_room(tunnel)]);
    stage.reached.into_iter().chain(lost.reached).collect()
}

/// A frame that begins too near to the start of its memory.
fn no_room(mut stage: Stage) -> Reason {
    let mut frame = stage.lab.pool.alloc().expect("a free frame");
    let front = u16::try_from(frame.start()).expect("a small number");
    frame.prepend(front - 19).expect("there is room");
    let bytes = datagram().bytes();
    frame.set_len(bytes.len()).expect("there is room");
    frame.bytes_mut().copy_from_slice(&bytes);
    frame.set_ingress(CLIENT_SIDE);
    let mut burst = Burst::with_capacity(1);
    burst.push(frame).expect("room");
    let lab = &mut stage.lab;
    lab.pipeline.process(lab.now, &stage.snapshot, &mut burst, &mut lab.pool, &mut lab.out);
    lab.out.verdicts[0].reason().expect("not a forward")
}

/// The helper of each control connection has to remember something.
fn side_records() -> BTreeSet<Reason> {
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, Resolve::Control);
    stage.republish(|site| site.ftp.push(0));
    stage.lab = Lab::sized(Resolve::Control, 1, 100);
    let syn = |port| Packet::from_client(Proto::Tcp, (CLIENT.0, port), VIP, Packet::SYN);
    stage.forward(&syn(1000));
    stage.expect(Reason::SideRecordsFull, CLIENT_SIDE, &syn(1001).bytes());
    stage.reached
}

/// More datagrams than entries may be made for.
fn floods() -> BTreeSet<Reason> {
    let mut stage = Stage::new(Proto::Udp, Method::Nat, Resolve::Control);
    stage.republish(|site| site.new_connections = 1);
    stage.forward(&datagram());
    let other = Packet::from_client(Proto::Udp, (CLIENT.0, 1), VIP, 0);
    stage.expect(Reason::Flood, CLIENT_SIDE, &other.bytes());
    stage.reached
}

fn tables() -> BTreeSet<Reason> {
    let mut stage = Stage::new(Proto::Udp, Method::Nat, Resolve::Control);
    // Another worker is just making the entry.
    let shared = std::sync::Arc::clone(&stage.lab.shared);
    let Key::Narrow(key) = Key::narrow_in(CLIENT.0, CLIENT.1, ListenId(0)) else { panic!("a narrow key") };
    let table = shared.tables.narrow;
    let Reserve::Reserved(other) = table.reserve(&key, table.hash(&key)) else { panic!("the key is free") };
    stage.expect(Reason::EntryBusy, CLIENT_SIDE, &datagram().bytes());
    other.abort();
    stage.forward(&datagram());
    // Every real server is taken by the same client through another service.
    stage.republish(|site| {
        site.add(vip(1), 53, Proto::Udp, Method::Nat, 1);
    });
    let other = Packet::from_client(Proto::Udp, CLIENT, (vip(1), 53), 0);
    stage.expect(Reason::NatTupleInUse, CLIENT_SIDE, &other.bytes());

    stage.lab = Lab::sized(Resolve::Control, 1, 100);
    let mut port = 1000;
    let full = loop {
        let packet = Packet::from_client(Proto::Udp, (CLIENT.0, port), VIP, 0);
        let (verdict, _) = stage.lab.send(&stage.snapshot, CLIENT_SIDE, &packet.bytes());
        if let Some(reason) = verdict.reason() {
            break reason;
        }
        port += 1;
    };
    assert_eq!(full, Reason::TableFull);

    // The kernel is not served quickly enough: the output is full of frames for it.
    let pass = Packet::from_client(Proto::Udp, CLIENT, (DIRECTOR[0], 1), 0).framed();
    stage.lab.burst(&stage.snapshot, &vec![pass.clone(); 64]);
    let verdicts = stage.lab.burst(&stage.snapshot, &[pass]);
    assert_eq!(verdicts[0].reason(), Some(Reason::PassQueueFull));
    stage.reached.extend([Reason::TableFull, Reason::PassQueueFull]);
    stage.reached
}
