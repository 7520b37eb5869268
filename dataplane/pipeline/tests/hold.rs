//! Packets whose next hop is not known yet: asked for, released in order, given up.

use sheave_frame::PortId;
use sheave_pipeline::snapshot::Method;
use sheave_pipeline::testing::{
    CLIENT_SIDE, DIRECTOR, Drained, Lab, Packet, SERVER_SIDE, Seen, Site, mac_of, real, vip,
};
use sheave_pipeline::{Punt, Reason, Resolve, Snapshot, Time, VerdictKind};
use sheave_proto::wire::arp::{self, Arp};
use sheave_proto::wire::eth::{self, Mac};
use sheave_proto::wire::flow::Proto;
use std::net::Ipv4Addr;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const REAL_MAC: Mac = Mac([2, 0, 0, 0, 1, 10]);

fn datagram(n: u8) -> Vec<u8> {
    Packet::from_client(Proto::Udp, (CLIENT, 40_000), (vip(0), 80), 0).payload(&[n]).bytes()
}

fn unresolved(resolve: Resolve, method: Method) -> (Lab, Site, Snapshot) {
    let mut site = Site::with(Proto::Udp, method, 1);
    site.neighbours = false;
    let snapshot = site.snapshot();
    (Lab::new(resolve), site, snapshot)
}

fn hold(lab: &mut Lab, snapshot: &Snapshot, n: u8) -> Drained {
    let (verdict, out) = lab.send(snapshot, CLIENT_SIDE, &datagram(n));
    assert_eq!(verdict.reason(), Some(Reason::Resolving));
    assert!(verdict.service.is_some() && verdict.destination.is_some());
    out
}

fn payloads(sent: &[(PortId, Vec<u8>)]) -> Vec<u8> {
    sent.iter()
        .map(|(port, frame)| {
            let seen = Seen::of(frame);
            assert_eq!((*port, seen.macs), (SERVER_SIDE, (mac_of(SERVER_SIDE), REAL_MAC)));
            seen.payload[0]
        })
        .collect()
}

#[test]
fn the_control_thread_is_asked_once_and_then_every_second() {
    let (mut lab, _, snapshot) = unresolved(Resolve::Control, Method::Nat);
    let ask = vec![Punt::Resolve { port: SERVER_SIDE, neighbour: real(0).into() }];
    assert_eq!(hold(&mut lab, &snapshot, 0).punts, ask);
    assert_eq!(hold(&mut lab, &snapshot, 1).punts, []);
    assert_eq!(lab.tick(&snapshot).punts, []);
    assert!(lab.pipeline.next_due(lab.now) <= lab.now.after(Time::SECOND));
    for _ in 0..2 {
        lab.wait(1);
        assert_eq!(lab.tick(&snapshot).punts, ask);
        assert_eq!(lab.tick(&snapshot).punts, []);
    }
    lab.wait(1);
    assert_eq!(lab.tick(&snapshot), Drained::default());
    assert_eq!((lab.pipeline.held(), lab.reason(Reason::Unresolved)), (0, 2));
    // Verdicts are of input frames; neither traffic nor another verdict is counted for those given up.
    assert_eq!(
        (lab.verdict(VerdictKind::Hold), lab.verdict(VerdictKind::Drop), lab.service(0)[1]),
        (2, 0, 0)
    );
}

#[test]
fn a_new_snapshot_releases_in_order() {
    for method in [Method::Nat, Method::DirectRoute, Method::Tunnel] {
        let (mut lab, mut site, snapshot) = unresolved(Resolve::Control, method);
        (0..5).for_each(|n| drop(hold(&mut lab, &snapshot, n)));
        // One that knows no more changes nothing.
        let snapshot = site.snapshot();
        assert_eq!(lab.tick(&snapshot).sent, []);
        site.neighbours = true;
        let snapshot = site.snapshot();
        // The packet that comes first with it does not overtake.
        let (verdict, out) = lab.send(&snapshot, CLIENT_SIDE, &datagram(5));
        assert_eq!(verdict.kind(), VerdictKind::Forward);
        assert_eq!(payloads(&out.sent), [0, 1, 2, 3, 4, 5]);
        assert_eq!(lab.service(0)[..2], [1, 6]);
    }
}

#[test]
fn a_turn_without_packets_releases_too() {
    let (mut lab, mut site, snapshot) = unresolved(Resolve::Control, Method::Nat);
    (0..3).for_each(|n| drop(hold(&mut lab, &snapshot, n)));
    site.neighbours = true;
    assert_eq!(payloads(&lab.tick(&site.snapshot()).sent), [0, 1, 2]);
}

#[test]
fn where_nobody_else_resolves_an_arp_request_asks_and_the_answer_releases() {
    let (mut lab, _, snapshot) = unresolved(Resolve::Ask, Method::Nat);
    let mut request = [0; arp::FRAME_LEN];
    Arp::request(mac_of(SERVER_SIDE), DIRECTOR[1], real(0)).emit(&mut request, Mac::BROADCAST);
    let ask = vec![(SERVER_SIDE, request.to_vec())];
    assert_eq!(hold(&mut lab, &snapshot, 0).sent, ask);
    assert_eq!(hold(&mut lab, &snapshot, 1).sent, []);
    lab.wait(1);
    assert_eq!(lab.tick(&snapshot).sent, ask);
    let question = arp::parse(&request[eth::HEADER_LEN..]).expect("well-formed").expect("of Ethernet");
    let mut answer = [0; arp::FRAME_LEN];
    question.answer(REAL_MAC).emit(&mut answer, mac_of(SERVER_SIDE));
    let (verdict, out) = lab.send(&snapshot, SERVER_SIDE, &answer);
    assert_eq!(verdict.reason(), Some(Reason::ArpSeen));
    assert_eq!((payloads(&out.sent), out.passed), (vec![0, 1], vec![answer.to_vec()]));
    // It stays learned.
    let (_, out) = lab.send(&snapshot, CLIENT_SIDE, &datagram(2));
    assert_eq!(payloads(&out.sent), [2]);
}

#[test]
fn three_requests_and_then_no_more() {
    let (mut lab, _, snapshot) = unresolved(Resolve::Ask, Method::Nat);
    let mut requests = hold(&mut lab, &snapshot, 0).sent.len();
    for _ in 0..40 {
        lab.now = lab.now.after(Time::SECOND / 4);
        requests += lab.tick(&snapshot).sent.len();
    }
    assert_eq!((requests, lab.reason(Reason::Unresolved)), (3, 1));
}

#[test]
fn answers_of_the_director_wait_too() {
    let mut site = Site::with(Proto::Tcp, Method::Nat, 1);
    site.default_route = false;
    let snapshot = site.snapshot();
    let mut lab = Lab::new(Resolve::Control);
    // A client on the director's own network, whose hardware address is not known.
    let neighbour = Ipv4Addr::new(198, 18, 0, 77);
    let mut dying = Packet::from_client(Proto::Tcp, (neighbour, 40_000), (vip(0), 80), Packet::SYN);
    dying.ttl = 1;
    let (verdict, out) = lab.send(&snapshot, CLIENT_SIDE, &dying.bytes());
    assert_eq!(verdict.reason(), Some(Reason::Resolving));
    assert_eq!(out.punts, [Punt::Resolve { port: CLIENT_SIDE, neighbour: neighbour.into() }]);
    lab.pipeline.give_back(&mut lab.pool);
    assert_eq!((lab.frames(), lab.pool.free()), (lab.pool.total(), lab.pool.total()));
}

#[test]
fn one_next_hop_does_not_take_all_the_room() {
    let mut site = Site::with(Proto::Udp, Method::Nat, 20);
    site.neighbours = false;
    let snapshot = site.snapshot();
    let mut lab = Lab::new(Resolve::Control);
    let mut refused = 0;
    for port in 0..20 * 17 {
        let packet = Packet::from_client(Proto::Udp, (CLIENT, 1024 + port), (vip(0), 80), 0);
        let (verdict, _) = lab.send(&snapshot, CLIENT_SIDE, &packet.bytes());
        match verdict.reason() {
            Some(Reason::Resolving) => {}
            Some(Reason::HoldFull) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((lab.pipeline.held(), refused), (256, 20 * 17 - 256));
}
