//! Listens and real servers that come and go beside others at the same address: connections that are there go on.

use sheave_pipeline::ids::DestId;
use sheave_pipeline::snapshot::{Method, Ports};
use sheave_pipeline::testing::{CLIENT_SIDE, Error, Lab, Packet, Seen, Seen6, Site, real, real6, vip, vip6};
use sheave_pipeline::{Resolve, Snapshot, VerdictKind};
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 7), 40_000);
const HTTPS: u16 = 443;

/// A service with wide ports and a destination that keeps each packet's, and the client's connection to port 443 of it.
struct Scene {
    lab: Lab,
    site: Site,
    snapshot: Snapshot,
    proto: Proto,
    client: (IpAddr, u16),
    vip: IpAddr,
    real: IpAddr,
}

impl Scene {
    fn new(proto: Proto, v6: bool, ports: Ports) -> Scene {
        let mut site =
            if v6 { Site::with_v6(proto, Method::Nat, 1) } else { Site::with(proto, Method::Nat, 1) };
        site.services[0].ports = ports;
        site.services[0].destinations[0].port = None;
        let (client, vip, real) = if v6 {
            ("2001:db8::7".parse().expect("an address"), vip6(0).into(), real6(0).into())
        } else {
            (CLIENT.0.into(), vip(0).into(), real(0).into())
        };
        let snapshot = site.snapshot();
        Scene {
            lab: Lab::new(Resolve::Control),
            snapshot,
            site,
            proto,
            client: (client, CLIENT.1),
            vip,
            real,
        }
    }

    fn send(&mut self, packet: &Packet) -> (String, Vec<Vec<u8>>) {
        let (verdict, out) = self.lab.send(&self.snapshot, packet.port, &packet.bytes());
        let came = match verdict.reason() {
            None => verdict.destination.expect("named").0.to_string(),
            Some(reason) => reason.name().to_owned(),
        };
        (came, out.sent.into_iter().map(|(_, frame)| frame).collect())
    }

    fn client(&mut self, flags: u8) -> String {
        self.send(&Packet::from_client(self.proto, self.client, (self.vip, HTTPS), flags)).0
    }

    /// What comes of a reply: who it goes on from.
    fn server(&mut self, flags: u8) -> String {
        let (came, sent) = self.send(&Packet::from_real(self.proto, (self.real, HTTPS), self.client, flags));
        let from = |frame: &Vec<u8>| match self.vip {
            IpAddr::V4(_) => Seen::of(frame).flow().0.into(),
            IpAddr::V6(_) => Seen6::of(frame).flow().0,
        };
        sent.first().map(from).map_or(came, |from: SocketAddr| from.to_string())
    }

    fn establish(&mut self) {
        let from = SocketAddr::from((self.vip, HTTPS)).to_string();
        assert_eq!(self.client(Packet::SYN), "0");
        assert_eq!(self.server(Packet::SYN | Packet::ACK), from);
        assert_eq!(self.client(Packet::ACK), "0");
    }

    fn republish(&mut self, change: impl FnOnce(&mut Site)) {
        change(&mut self.site);
        self.snapshot = self.site.snapshot();
    }
}

const WIDE: [Ports; 2] = [Ports::Any, Ports::Range(400, 500)];

#[test]
fn a_narrower_listen_takes_only_what_begins() {
    for (v6, ports) in [(false, WIDE[0]), (false, WIDE[1]), (true, WIDE[0]), (true, WIDE[1])] {
        let mut scene = Scene::new(Proto::Tcp, v6, ports);
        scene.establish();
        let vip = scene.vip;
        scene.republish(|site| {
            site.add(vip, HTTPS, Proto::Tcp, Method::Nat, 1);
        });
        let from = SocketAddr::from((vip, HTTPS)).to_string();
        assert_eq!((scene.client(Packet::ACK), scene.server(Packet::ACK)), ("0".into(), from.clone()));
        let other = Packet::from_client(Proto::Tcp, (scene.client.0, 40_001), (vip, HTTPS), Packet::SYN);
        assert_eq!(scene.send(&other).0, "1", "what begins is the new listen's");
        let stray = Packet::from_client(Proto::Tcp, (scene.client.0, 40_002), (vip, HTTPS), Packet::ACK);
        assert_eq!(scene.send(&stray).0, "no-entry");
        // Until it ends: the next one of the same client port is the new listen's.
        scene.server(Packet::FIN | Packet::ACK);
        assert_eq!(scene.client(Packet::FIN | Packet::ACK), "0");
        assert_eq!(scene.client(Packet::SYN), "1", "{ports:?}");
        assert_eq!(scene.lab.shared.tables.len(), 4, "nothing is left of the first");
    }
}

#[test]
fn a_service_gets_a_narrower_listen_beside_its_own() {
    let mut scene = Scene::new(Proto::Tcp, false, Ports::Any);
    scene.establish();
    let vip = scene.vip;
    scene.republish(|site| site.services[0].more.push((vip, Ports::One(HTTPS), Proto::Tcp)));
    let from = SocketAddr::from((vip, HTTPS)).to_string();
    assert_eq!((scene.client(Packet::ACK), scene.server(Packet::ACK)), ("0".into(), from));
    // And a range between the two.
    scene.republish(|site| site.services[0].more.push((vip, Ports::Range(440, 450), Proto::Tcp)));
    assert_eq!(scene.client(Packet::ACK), "0");
}

#[test]
fn datagrams_stay_with_the_wider_listen_too() {
    for v6 in [false, true] {
        let mut scene = Scene::new(Proto::Udp, v6, Ports::Any);
        assert_eq!(scene.client(0), "0");
        let vip = scene.vip;
        scene.republish(|site| {
            site.add(vip, HTTPS, Proto::Udp, Method::Nat, 1);
        });
        assert_eq!(scene.client(0), "0");
        let other = Packet::from_client(Proto::Udp, (scene.client.0, 40_001), (vip, HTTPS), 0);
        assert_eq!(scene.send(&other).0, "1");
        scene.lab.wait(301);
        assert_eq!(scene.client(0), "1", "that one has ended");
    }
}

#[test]
fn errors_find_what_began_at_the_wider_listen() {
    let mut scene = Scene::new(Proto::Tcp, false, Ports::Any);
    scene.establish();
    let vip = scene.vip;
    scene.republish(|site| {
        site.add(vip, HTTPS, Proto::Tcp, Method::Nat, 1);
    });
    let reply = Packet::from_real(Proto::Tcp, (scene.real, HTTPS), scene.client, Packet::ACK);
    let (_, sent) = scene.send(&reply);
    let error = Error::too_big(CLIENT_SIDE, Ipv4Addr::new(192, 0, 2, 254), vip, 1400, &sent[0]);
    let (verdict, out) = scene.lab.send(&scene.snapshot, CLIENT_SIDE, &error.bytes());
    assert_eq!((verdict.kind(), verdict.destination), (VerdictKind::Forward, Some(DestId(0))));
    assert_eq!(Error::of(out.sent[0].0, &out.sent[0].1).dst, scene.real);
}

#[test]
fn a_port_keeps_its_name_while_another_stands_for_all() {
    let mut scene = Scene::new(Proto::Tcp, false, Ports::Any);
    scene.republish(|site| {
        site.add(vip(1), HTTPS, Proto::Tcp, Method::Nat, 1).destinations[0].port = Some(HTTPS);
    });
    scene.establish();
    scene.republish(|site| site.services[1].removed = true);
    let from = SocketAddr::from((scene.vip, HTTPS)).to_string();
    assert_eq!((scene.client(Packet::ACK), scene.server(Packet::ACK)), ("0".into(), from.clone()));
    scene.lab.wait(1);
    scene.lab.expire(&scene.snapshot);
    assert_eq!((scene.client(Packet::ACK), scene.server(Packet::ACK)), ("0".into(), from));
    assert_eq!(scene.lab.shared.tables.len(), 2);
}
