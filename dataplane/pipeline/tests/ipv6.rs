//! IPv6 through every method, and what belongs to it: neighbour discovery, echo, errors, tags.

use sheave_pipeline::snapshot::Method;
use sheave_pipeline::testing::{
    CLIENT_SIDE, DIRECTOR_V6, Drained, Lab, NAT_REAL_PORT, Packet, ROUTER_MAC, SERVER_SIDE, Seen6, Site,
    mac_of, real, real6, vip, vip6,
};
use sheave_pipeline::{Punt, Reason, Resolve, Verdict, VerdictKind};
use sheave_proto::wire::checksum::Sum;
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::ndp::{self, Advertisement, Ndp, Solicitation};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const CLIENT: (Ipv6Addr, u16) = (Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7), 40_000);
const VIP: (Ipv6Addr, u16) = (vip6(0), 80);
const REAL: (Ipv6Addr, u16) = (real6(0), NAT_REAL_PORT);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 2);

fn at(end: (Ipv6Addr, u16)) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(end.0), end.1)
}

fn real_mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 1, 10 + n])
}

struct Stage {
    lab: Lab,
    site: Site,
}

impl Stage {
    fn new(proto: Proto, method: Method, reals: u8) -> Stage {
        Stage { lab: Lab::new(Resolve::Control), site: Site::with_v6(proto, method, reals) }
    }

    fn send(&mut self, packet: &Packet) -> (Verdict, Drained) {
        let snapshot = self.site.snapshot();
        self.lab.send(&snapshot, packet.port, &packet.bytes())
    }

    fn sent(&mut self, packet: &Packet) -> Vec<u8> {
        let (verdict, out) = self.send(packet);
        assert_eq!(verdict.kind(), VerdictKind::Forward, "{verdict:?}");
        let [(_, frame)] = &out.sent[..] else { panic!("{out:?}") };
        frame.clone()
    }

    /// Sends a frame that has another outcome than a forward.
    fn expect(&mut self, reason: Reason, frame: &[u8]) -> Drained {
        let snapshot = self.site.snapshot();
        let (verdict, out) = self.lab.send(&snapshot, CLIENT_SIDE, frame);
        assert_eq!(verdict.reason(), Some(reason));
        assert_eq!(self.lab.frames(), self.lab.pool.total());
        out
    }
}

fn request(proto: Proto) -> Packet {
    Packet::from_client(proto, CLIENT, VIP, Packet::SYN).payload(b"hello")
}

#[test]
fn nat_rewrites_both_ways() {
    for proto in [Proto::Tcp, Proto::Udp] {
        for tags in [&[][..], &[5], &[9, 5]] {
            let mut stage = Stage::new(proto, Method::Nat, 1);
            let seen = Seen6::of(&stage.sent(&request(proto).tagged(tags)));
            assert_eq!(seen.macs, (mac_of(SERVER_SIDE), real_mac(0)));
            assert_eq!(seen.flow(), (at(CLIENT), at(REAL)));
            assert_eq!((seen.ip.hop_limit, seen.ip.flow_label.value()), (63, 0x4711));
            assert_eq!(seen.tags, tags, "tags stay");

            let reply = Packet::from_real(proto, REAL, CLIENT, Packet::SYN | Packet::ACK).tagged(tags);
            let seen = Seen6::of(&stage.sent(&reply));
            assert_eq!(seen.macs, (mac_of(CLIENT_SIDE), ROUTER_MAC));
            assert_eq!(seen.flow(), (at(VIP), at(CLIENT)));
            assert_eq!(seen.tags, tags, "tags stay");
            assert_eq!(stage.lab.service(0)[..3], [1, 1, 1]);
        }
    }
}

#[test]
fn direct_routing_changes_the_hop_limit_only() {
    let mut stage = Stage::new(Proto::Tcp, Method::DirectRoute, 1);
    let seen = Seen6::of(&stage.sent(&request(Proto::Tcp).tagged(&[7])));
    assert_eq!((seen.flow(), seen.ip.hop_limit, seen.tags), ((at(CLIENT), at(VIP)), 63, vec![7]));
}

#[test]
fn a_tunnel_of_each_family_carries_each_family() {
    for (outer_v6, inner_v6) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut site = Site::default();
        let service_vip: IpAddr = if inner_v6 { vip6(0).into() } else { vip(0).into() };
        let destination_vip: IpAddr = if outer_v6 { vip6(0).into() } else { vip(0).into() };
        let destination = site.destination_for(destination_vip, 0, 80, Method::Tunnel);
        site.add(service_vip, 80, Proto::Udp, Method::Tunnel, 0).destinations = vec![destination];
        let mut stage = Stage { lab: Lab::new(Resolve::Control), site };
        let client: IpAddr =
            if inner_v6 { CLIENT.0.into() } else { "192.0.2.7".parse().expect("an address") };
        let mut packet =
            Packet::from_client(Proto::Udp, (client, 40_000), (service_vip, 80), 0).payload(b"hello");
        (packet.tos, packet.tags) = (0xbb, vec![7]);
        let frame = stage.sent(&packet);
        assert_eq!(frame[12..16], [0x81, 0x00, 0, 7], "tags stay");
        let (overhead, protocol) = if outer_v6 { (40, frame[18 + 6]) } else { (20, frame[18 + 9]) };
        assert_eq!(frame[16..18], if outer_v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        assert_eq!(protocol, if inner_v6 { 41 } else { 4 });
        let mut inner = packet.bytes()[18..].to_vec();
        if inner_v6 {
            inner[7] = 63;
        } else {
            inner[8] = 63;
            inner[10..12].fill(0);
            let sum = sheave_proto::wire::checksum::checksum(&inner[..20]);
            inner[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        assert_eq!(frame[18 + overhead..], inner, "the packet is as it was, but for its time to live");
        if outer_v6 {
            let outer = Seen6::of(&frame).ip;
            assert_eq!(outer.source, DIRECTOR_V6[1].octets());
            assert_eq!((outer.destination, outer.traffic_class), (real6(0).octets(), 0xbb));
        } else {
            assert_eq!((frame[18 + 1], &frame[18 + 16..18 + 20]), (0xbb, &real(0).octets()[..]));
            assert_eq!(frame[18 + 6] & 0x40 != 0, !inner_v6, "don't fragment is that of IPv4 inside");
        }
    }
}

/// An ICMPv6 message from the client to the VIP.
fn icmp(message: &[u8], to: Ipv6Addr) -> Vec<u8> {
    let mut bytes =
        Packet::from_client(Proto::Udp, CLIENT, (to, 1), 0).payload(&vec![0; message.len() - 8]).bytes();
    bytes[20] = 58;
    bytes[54..].copy_from_slice(message);
    bytes[56..58].fill(0);
    let length = u32::try_from(message.len()).expect("small");
    let sum = Sum::pseudo_v6(CLIENT.0, to, 58, length).bytes(&bytes[54..]).checksum();
    bytes[56..58].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[test]
fn a_vip_answers_echo_requests_and_leaves_the_rest_to_the_kernel() {
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, 1);
    let out = stage.expect(Reason::EchoReply, &icmp(&[128, 0, 0, 0, 1, 2, 3, 4, 5, 6], VIP.0));
    let seen = Seen6::of(&out.sent[0].1);
    assert_eq!((seen.ip.source, seen.ip.destination), (VIP.0.octets(), CLIENT.0.octets()));
    assert_eq!((seen.payload[0], &seen.payload[4..]), (129, &[1, 2, 3, 4, 5, 6][..]));
    stage.expect(Reason::IcmpNotOurs, &icmp(&[129, 0, 0, 0, 1, 2, 3, 4], VIP.0));
    let mut broken = icmp(&[128, 0, 0, 0, 1, 2, 3, 4], VIP.0);
    broken[61] ^= 1;
    stage.expect(Reason::IcmpChecksum, &broken);
    stage.expect(Reason::NotOurs, &icmp(&[128, 0, 0, 0, 1, 2, 3, 4], DIRECTOR_V6[0]));
}

#[test]
fn errors_come_from_the_vip_and_quote_the_packet() {
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, 0);
    let packet = request(Proto::Tcp);
    let out = stage.expect(Reason::NoDestination, &packet.bytes());
    let seen = Seen6::of(&out.sent[0].1);
    assert_eq!((seen.ip.source, &seen.payload[..2]), (VIP.0.octets(), &[1, 4][..]));
    assert_eq!(seen.payload[8..], packet.bytes()[14..]);
    let mut stage = Stage::new(Proto::Tcp, Method::Tunnel, 1);
    let large = request(Proto::Tcp).payload(&[7; 1430]);
    let seen = Seen6::of(&stage.expect(Reason::FragNeeded, &large.bytes()).sent[0].1);
    assert_eq!(seen.payload[..8].to_vec()[..2], [2, 0]);
    assert_eq!(seen.payload[4..8], 1460u32.to_be_bytes());
    assert_eq!(usize::from(seen.ip.payload_length), 1240, "as much as fits in 1280");
    let late = Packet { ttl: 1, ..request(Proto::Tcp) };
    let seen = Seen6::of(&stage.expect(Reason::TtlExceeded, &late.bytes()).sent[0].1);
    assert_eq!(seen.payload[..2], [3, 0]);
}

#[test]
fn malformed_headers_are_dropped_with_their_reason() {
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, 1);
    let packet = request(Proto::Tcp).bytes();
    let altered = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = packet.clone();
        change(&mut bytes);
        bytes
    };
    stage.expect(Reason::IpVersion, &altered(&|b| b[14] = 0x45));
    stage.expect(Reason::IpTruncated, &altered(&|b| b.truncate(14 + 39)));
    stage.expect(Reason::IpTotalLength, &altered(&|b| b[19] += 1));
    // A hop-by-hop header that goes on behind the packet.
    stage.expect(Reason::IpExtensions, &altered(&|b| (b[20], b[54], b[55]) = (0, 6, 200)));
    stage.expect(Reason::Martian, &altered(&|b| b.copy_within(38..54, 22)));
    stage.expect(Reason::Martian, &altered(&|b| b[22] = 0xff));
    stage.expect(Reason::TcpOffset, &altered(&|b| b[66] = 0x40));
    // Behind a well-formed hop-by-hop header, the same packet is served.
    let mut extended = altered(&|b| (b[20], b[19]) = (0, b[19] + 8));
    extended.splice(54..54, [6, 0, 1, 4, 0, 0, 0, 0]);
    let snapshot = stage.site.snapshot();
    let (verdict, _) = stage.lab.send(&snapshot, CLIENT_SIDE, &extended);
    assert_eq!(verdict.kind(), VerdictKind::Forward);
}

fn neighbour(message: Ndp, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
    let mut frame = [0; ndp::FRAME_LEN];
    let to = if dst.is_multicast() { ndp::multicast_mac(dst) } else { mac_of(CLIENT_SIDE) };
    let len = message.emit_frame(&mut frame, (ROUTER_MAC, to), (src, dst));
    frame[..len].to_vec()
}

#[test]
fn solicitations_for_a_vip_are_answered_and_rivals_reported() {
    let mut stage = Stage::new(Proto::Tcp, Method::Nat, 1);
    let asked = Solicitation::request(VIP.0, ROUTER_MAC);
    let group = ndp::solicited_node(VIP.0);
    let out = stage.expect(Reason::NdpReply, &neighbour(Ndp::Solicitation(asked), ROUTER, group));
    let seen = Seen6::of(&out.sent[0].1);
    assert_eq!(seen.macs, (mac_of(CLIENT_SIDE), ROUTER_MAC));
    assert_eq!(
        (seen.ip.source, seen.ip.destination, seen.ip.hop_limit),
        (VIP.0.octets(), ROUTER.octets(), 255)
    );
    assert_eq!((seen.payload[0], seen.payload[4] & 0xe0), (136, 0x60), "solicited, override");
    assert_eq!(
        (&seen.payload[8..24], &seen.payload[26..]),
        (&VIP.0.octets()[..], &mac_of(CLIENT_SIDE).0[..])
    );
    // Not a VIP.
    let other = Solicitation::request(DIRECTOR_V6[0], ROUTER_MAC);
    let to = ndp::solicited_node(DIRECTOR_V6[0]);
    stage.expect(Reason::NdpSeen, &neighbour(Ndp::Solicitation(other), ROUTER, to));
    // From beyond the link.
    let mut far = neighbour(Ndp::Solicitation(asked), ROUTER, group);
    far[21] = 254;
    stage.expect(Reason::NdpMalformed, &far);
    // Somebody else has it, or wants it.
    let claim = Advertisement::announcement(VIP.0, ROUTER_MAC);
    let out = stage.expect(Reason::VipConflict, &neighbour(Ndp::Advertisement(claim), VIP.0, ndp::ALL_NODES));
    let conflict = Punt::Conflict { port: CLIENT_SIDE, vip: VIP.0.into(), mac: ROUTER_MAC };
    assert_eq!(out.punts, [conflict]);
    let probe = neighbour(Ndp::Solicitation(Solicitation::probe(VIP.0)), Ipv6Addr::UNSPECIFIED, group);
    let out = stage.expect(Reason::NdpReply, &probe);
    assert_eq!(out.punts, [conflict]);
    assert_eq!(Seen6::of(&out.sent[0].1).ip.destination, ndp::ALL_NODES.octets());
}

#[test]
fn where_the_pipeline_resolves_by_itself_it_asks_and_learns() {
    let mut stage = Stage { lab: Lab::new(Resolve::Ask), site: Site::with_v6(Proto::Udp, Method::Nat, 1) };
    stage.site.neighbours = false;
    let (verdict, out) = stage.send(&request(Proto::Udp));
    assert_eq!(verdict.reason(), Some(Reason::Resolving));
    let seen = Seen6::of(&out.sent[0].1);
    assert_eq!(seen.macs, (mac_of(SERVER_SIDE), ndp::multicast_mac(ndp::solicited_node(REAL.0))));
    assert_eq!((seen.ip.source, seen.payload[0]), (DIRECTOR_V6[1].octets(), 135));
    assert_eq!(seen.payload[8..24], REAL.0.octets());
    let answer = Advertisement { solicited: true, ..Advertisement::announcement(REAL.0, real_mac(0)) };
    let mut frame = neighbour(Ndp::Advertisement(answer), REAL.0, DIRECTOR_V6[1]);
    frame[..6].copy_from_slice(&mac_of(SERVER_SIDE).0);
    let snapshot = stage.site.snapshot();
    let (verdict, out) = stage.lab.send(&snapshot, SERVER_SIDE, &frame);
    assert_eq!(verdict.reason(), Some(Reason::NdpSeen));
    assert_eq!(Seen6::of(&out.sent[0].1).flow(), (at(CLIENT), at(REAL)));
}

#[test]
fn a_reply_of_a_removed_connection_is_nobodys() {
    let mut stage = Stage::new(Proto::Udp, Method::Nat, 1);
    let reply = Packet::from_real(Proto::Udp, REAL, CLIENT, 0);
    let (verdict, _) = stage.send(&reply);
    assert_eq!(verdict.reason(), Some(Reason::NoEntry));
    stage.sent(&request(Proto::Udp));
    stage.sent(&reply);
    stage.lab.wait(302);
    let (verdict, _) = stage.send(&reply);
    assert_eq!(verdict.reason(), Some(Reason::NoEntry));
}
