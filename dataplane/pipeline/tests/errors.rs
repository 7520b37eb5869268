//! ICMP errors find the connection that they are about, whichever side they come from. What is sent is read by
//! another library, with every checksum computed in full.

use proptest::prelude::*;
use sheave_frame::PortId;
use sheave_pipeline::ids::DestId;
use sheave_pipeline::snapshot::Method;
use sheave_pipeline::testing::{
    CLIENT_SIDE, DIRECTOR, DIRECTOR_V6, Drained, Error, Lab, NAT_REAL_PORT, Packet, SERVER_SIDE, Site,
    mac_of, real, real6, vip, vip6,
};
use sheave_pipeline::{Reason, Resolve, Snapshot, Verdict, VerdictKind};
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const PORT: u16 = 40_000;

/// Addresses of one family.
#[derive(Debug, Clone, Copy)]
struct Family {
    client: IpAddr,
    vip: IpAddr,
    real: IpAddr,
    /// Routers before the clients and before the real servers.
    routers: [IpAddr; 2],
    director: IpAddr,
    /// Bytes of the IP header.
    header: usize,
}

fn v4() -> Family {
    Family {
        client: Ipv4Addr::new(192, 0, 2, 7).into(),
        vip: vip(0).into(),
        real: real(0).into(),
        routers: [Ipv4Addr::new(192, 0, 2, 254).into(), real(99).into()],
        director: DIRECTOR[1].into(),
        header: 20,
    }
}

fn v6() -> Family {
    let router = |side| Ipv6Addr::new(0x2001, 0xdb8, side, 0, 0, 0, 0xf, 0xe).into();
    Family {
        client: Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7).into(),
        vip: vip6(0).into(),
        real: real6(0).into(),
        routers: [router(7), router(0x19)],
        director: DIRECTOR_V6[1].into(),
        header: 40,
    }
}

/// A service with one real server, and one connection.
struct Scene {
    lab: Lab,
    snapshot: Snapshot,
    site: Site,
    family: Family,
    proto: Proto,
    /// What the client's first packet became.
    sent: Vec<u8>,
}

impl Scene {
    fn new(family: Family, proto: Proto, method: Method, payload: &[u8]) -> Scene {
        let mut site =
            if family.header == 20 { Site::with(proto, method, 1) } else { Site::with_v6(proto, method, 1) };
        let snapshot = site.snapshot();
        let mut scene = Scene {
            lab: Lab::sized(Resolve::Control, 16, 8),
            snapshot,
            site,
            family,
            proto,
            sent: Vec::new(),
        };
        let packet = scene.request().payload(payload);
        let (_, out) = scene.lab.send(&scene.snapshot, CLIENT_SIDE, &packet.bytes());
        scene.sent.clone_from(&out.sent[0].1);
        scene
    }

    fn request(&self) -> Packet {
        Packet::from_client(self.proto, (self.family.client, PORT), (self.family.vip, 80), Packet::SYN)
    }

    fn send(&mut self, error: &Error) -> (Verdict, Drained) {
        self.lab.send(&self.snapshot, error.port, &error.bytes())
    }

    /// The one frame that an error becomes.
    fn forwarded(&mut self, error: &Error) -> (PortId, Vec<u8>) {
        let before = self.lab.service(0);
        let (verdict, mut out) = self.send(error);
        assert_eq!(verdict.kind(), VerdictKind::Forward, "{verdict:?}");
        assert_eq!((verdict.service.map(|id| id.0), verdict.destination), (Some(0), Some(DestId(0))));
        let outbound = error.port == SERVER_SIDE;
        let packets = self.lab.service(0);
        assert_eq!(packets[1] + packets[2], before[1] + before[2] + 1);
        assert_eq!(packets[2] > before[2], outbound);
        assert_eq!(out.sent.len(), 1);
        out.sent.remove(0)
    }

    fn refused(&mut self, reason: Reason, error: &Error) {
        let (verdict, out) = self.send(error);
        assert_eq!(verdict.reason(), Some(reason));
        assert!(out.sent.is_empty());
        assert_eq!(out.passed.len(), usize::from(reason.kind() == VerdictKind::Pass));
    }

    /// The error of the real side about what the client's packet became.
    fn real_sides(&self) -> Error {
        let [_, router] = self.family.routers;
        Error::too_big(SERVER_SIDE, router, self.family.client, 1400, &self.sent)
    }

    /// The error of the client's side about a packet of the VIP's.
    fn clients(&self, about: &[u8]) -> Error {
        let [router, _] = self.family.routers;
        Error::too_big(CLIENT_SIDE, router, self.family.vip, 1400, about)
    }

    /// A packet of the VIP's as the client gets it.
    fn answer(&self, payload: &[u8]) -> Packet {
        Packet::from_client(self.proto, (self.family.vip, 80), (self.family.client, PORT), Packet::ACK)
            .payload(payload)
    }
}

/// What a quoted packet says of its flow: source, destination, both ports.
fn ends(family: &Family, packet: &[u8]) -> (IpAddr, IpAddr, [u8; 4]) {
    let addr = |at: usize| match family.header {
        20 => IpAddr::from(*packet[at..].first_chunk::<4>().expect("an address")),
        _ => IpAddr::from(*packet[at..].first_chunk::<16>().expect("an address")),
    };
    let (src, dst) = if family.header == 20 { (12, 16) } else { (8, 24) };
    (addr(src), addr(dst), *packet[family.header..].first_chunk().expect("ports"))
}

fn both() -> impl Iterator<Item = (Family, Proto)> {
    [v4(), v6()].into_iter().flat_map(|family| [Proto::Tcp, Proto::Udp].map(|proto| (family, proto)))
}

#[test]
fn nat_translates_errors_towards_the_client() {
    for (family, proto) in both() {
        let mut scene = Scene::new(family, proto, Method::Nat, b"a request");
        let asked = ends(&family, &scene.request().bytes()[14..]);
        let error = scene.real_sides();
        let (port, frame) = scene.forwarded(&error);
        let seen = Error::of(port, &frame);
        assert_eq!((seen.port, seen.src, seen.dst), (CLIENT_SIDE, family.vip, family.client));
        assert_eq!((seen.kind, seen.rest, seen.ttl), (error.kind, error.rest, 63));
        assert_eq!(ends(&family, &seen.quote), asked);
        // From a real server itself, about its port.
        let unreachable = if family.header == 20 { (3, 3) } else { (1, 4) };
        let error = Error { src: family.real, kind: unreachable, rest: [0; 4], ..error };
        let (port, frame) = scene.forwarded(&error);
        assert_eq!(Error::of(port, &frame).src, family.vip);
    }
}

#[test]
fn nat_translates_errors_towards_the_real_server() {
    for (family, proto) in both() {
        let mut scene = Scene::new(family, proto, Method::Nat, b"");
        let reply =
            Packet::from_real(proto, (family.real, NAT_REAL_PORT), (family.client, PORT), Packet::ACK)
                .payload(&[7; 900]);
        let (_, out) = scene.lab.send(&scene.snapshot, SERVER_SIDE, &reply.bytes());
        let error = scene.clients(&out.sent[0].1);
        let (port, frame) = scene.forwarded(&error);
        let seen = Error::of(port, &frame);
        assert_eq!((seen.port, seen.src, seen.dst), (SERVER_SIDE, family.routers[0], family.real));
        assert_eq!((seen.kind, seen.rest, seen.ttl), (error.kind, error.rest, 63));
        assert_eq!(ends(&family, &seen.quote), ends(&family, &reply.bytes()[14..]));
    }
}

#[test]
fn direct_routing_forwards_errors_as_they_are() {
    for (family, proto) in both() {
        let mut scene = Scene::new(family, proto, Method::DirectRoute, b"");
        let error = scene.clients(&scene.answer(b"an answer").bytes());
        let (port, frame) = scene.forwarded(&error);
        assert_eq!((port, &frame[6..12]), (SERVER_SIDE, &mac_of(SERVER_SIDE).0[..]));
        assert_eq!(frame[..6], [2, 0, 0, 0, 1, 10]);
        let seen = Error::of(error.port, &frame);
        assert_eq!(format!("{seen:?}"), format!("{:?}", Error { ttl: 63, ..error }));
    }
}

#[test]
fn tunnels_carry_errors() {
    for (family, proto) in both() {
        let mut scene = Scene::new(family, proto, Method::Tunnel, b"");
        let error = scene.clients(&scene.answer(b"an answer").bytes());
        let (port, frame) = scene.forwarded(&error);
        assert_eq!(port, SERVER_SIDE);
        let (src, dst, _) = ends(&family, &frame[14..]);
        assert_eq!((src, dst), (family.director, family.real));
        let seen = Error::of(error.port, &frame[family.header..]);
        assert_eq!(format!("{seen:?}"), format!("{:?}", Error { ttl: 63, ..error }));
    }
}

#[test]
fn errors_about_a_tunnel_tell_the_client_and_are_remembered() {
    for (family, proto) in both() {
        let mut scene = Scene::new(family, proto, Method::Tunnel, &[1; 1300]);
        let error = Error { dst: family.director, ..scene.real_sides() };
        let (verdict, out) = scene.send(&error);
        assert_eq!(verdict.reason(), Some(Reason::TunnelError));
        let seen = Error::of(out.sent[0].0, &out.sent[0].1);
        assert_eq!((seen.port, seen.src, seen.dst), (CLIENT_SIDE, family.vip, family.client));
        assert_eq!((seen.kind, seen.ttl), (error.kind, 64));
        let left = 1400 - u32::try_from(family.header).expect("small");
        assert_eq!(seen.mtu(), left);
        assert_eq!(ends(&family, &seen.quote), ends(&family, &scene.request().bytes()[14..]));

        // From now on the director says so itself, to all its clients.
        let large = scene.request().payload(&[1; 1390]);
        let other = Packet { src: std::net::SocketAddr::new(family.client, 40_001), ..large };
        let (verdict, out) = scene.lab.send(&scene.snapshot, CLIENT_SIDE, &other.bytes());
        assert_eq!(verdict.reason(), Some(Reason::FragNeeded));
        assert_eq!(Error::of(out.sent[0].0, &out.sent[0].1).mtu(), left);
        scene.lab.wait(600);
        let verdicts = scene.lab.burst(&scene.snapshot, &[(CLIENT_SIDE, other.bytes())]);
        assert_eq!(verdicts[0].reason(), Some(Reason::FragNeeded));
        scene.lab.drain();
        scene.lab.wait(1);
        let (verdict, _) = scene.lab.send(&scene.snapshot, CLIENT_SIDE, &other.bytes());
        assert_eq!(verdict.kind(), VerdictKind::Forward);
    }
}

#[test]
fn errors_about_no_connection_are_the_kernels() {
    for (family, proto) in both() {
        let mut scene = Scene::new(family, proto, Method::Nat, b"");
        let [router, inner] = family.routers;
        let answer = scene.answer(b"");
        let about = |port: u16| {
            let mut packet = answer.clone();
            packet.dst.set_port(port);
            packet.bytes()
        };
        scene.refused(Reason::IcmpNotOurs, &scene.clients(&about(PORT + 1)));
        // Quotes of what was sent to somebody else than the error.
        let mut stranger = scene.real_sides();
        stranger.dst = router;
        scene.refused(Reason::IcmpNotOurs, &stranger);
        scene.refused(
            Reason::IcmpNotOurs,
            &Error::too_big(CLIENT_SIDE, router, family.vip, 1400, &scene.sent),
        );
        // To the director, about what no tunnel carried.
        scene.refused(
            Reason::NotOurs,
            &Error::too_big(SERVER_SIDE, inner, family.director, 1400, &scene.sent),
        );
        // A connection that has expired is none.
        scene.lab.wait(3600);
        scene.refused(Reason::IcmpNotOurs, &scene.real_sides());
        scene.refused(Reason::IcmpNotOurs, &scene.clients(&about(PORT)));
    }
}

#[test]
fn errors_that_cannot_go_on_are_dropped() {
    for (family, proto) in both() {
        let mut scene = Scene::new(family, proto, Method::Nat, b"");
        let error = scene.real_sides();
        scene.refused(Reason::TtlExceededQuiet, &Error { ttl: 1, ..error.clone() });
        let back = scene.clients(&scene.answer(b"").bytes());
        let short = Error { quote: back.quote[..family.header + 3].to_vec(), ..back.clone() };
        scene.refused(Reason::IcmpQuote, &short);
        let mut wrong = error.bytes();
        *wrong.last_mut().expect("bytes") ^= 1;
        let (verdict, _) = scene.lab.send(&scene.snapshot, SERVER_SIDE, &wrong);
        assert_eq!(verdict.reason(), Some(Reason::IcmpChecksum));
        scene.site.services[0].destinations[0].removed = true;
        // The name of the real server is gone with it; that of the VIP is not.
        scene.snapshot = scene.site.snapshot();
        scene.refused(Reason::NotOurs, &error);
        scene.refused(Reason::Removed, &back);
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..1400)
}

proptest! {
    /// Any ports, any payload, quotes of any length: whatever is sent has right checksums and quotes what its
    /// receiver sent.
    #[test]
    fn translated_errors_are_right_in_full(
        payload in payload(),
        quoted in 8usize..1400,
        udp: bool,
        six: bool,
        mtu in 1280u16..1500,
    ) {
        let family = if six { v6() } else { v4() };
        let proto = if udp { Proto::Udp } else { Proto::Tcp };
        let mut scene = Scene::new(family, proto, Method::Nat, &payload);
        let mut error = Error { rest: u32::from(mtu).to_be_bytes(), ..scene.real_sides() };
        error.quote.truncate(family.header + quoted);
        let (port, frame) = scene.forwarded(&error);
        let seen = Error::of(port, &frame);
        prop_assert_eq!(seen.mtu(), u32::from(mtu));
        prop_assert_eq!(seen.quote.len(), error.quote.len());
        let original = scene.request().payload(&payload).bytes();
        prop_assert_eq!(ends(&family, &seen.quote), ends(&family, &original[14..]));
        // But for the transport's checksum, time to live and the header's checksum it is the client's own packet.
        let behind = family.header + if udp { 8 } else { 20 };
        if seen.quote.len() > behind {
            prop_assert_eq!(&seen.quote[behind..], &original[14 + behind..14 + seen.quote.len()]);
        }
    }
}
