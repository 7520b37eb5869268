//! Fragments reach what their first one reaches, in whichever order and on whichever worker they come.

use proptest::prelude::*;
use sheave_frame::PortId;
use sheave_pipeline::snapshot::Method;
use sheave_pipeline::testing::{
    CLIENT_SIDE, Drained, Lab, NAT_REAL_PORT, Packet, SERVER_SIDE, Seen, Seen6, Site, cut, real, real6,
    together, vip, vip6,
};
use sheave_pipeline::{Reason, Resolve, Settings, Shared, Snapshot, VerdictKind};
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const PORT: u16 = 40_000;

fn addrs(six: bool) -> [IpAddr; 3] {
    if six {
        [Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7).into(), vip6(0).into(), real6(0).into()]
    } else {
        [Ipv4Addr::new(192, 0, 2, 7).into(), vip(0).into(), real(0).into()]
    }
}

fn request(six: bool, payload: &[u8]) -> Packet {
    let [client, vip, _] = addrs(six);
    Packet { df: false, ..Packet::from_client(Proto::Udp, (client, PORT), (vip, 80), 0) }.payload(payload)
}

fn answer(six: bool, payload: &[u8]) -> Packet {
    let [client, _, real] = addrs(six);
    let packet = Packet::from_real(Proto::Udp, (real, NAT_REAL_PORT), (client, PORT), 0);
    Packet { df: false, ..packet }.payload(payload)
}

fn site(six: bool, method: Method) -> Site {
    if six { Site::with_v6(Proto::Udp, method, 3) } else { Site::with(Proto::Udp, method, 3) }
}

/// Ports and payload of a datagram, with its checksum right in full.
fn read(six: bool, frame: &[u8]) -> ((u16, u16), Vec<u8>) {
    if six {
        let seen = Seen6::of(frame);
        (seen.ports.expect("ports"), seen.payload[8..].to_vec())
    } else {
        let seen = Seen::of(frame);
        (seen.ports.expect("ports"), seen.payload)
    }
}

/// Workers over the same tables.
fn labs(workers: usize) -> Vec<Lab> {
    let shared = Arc::new(Shared::on_heap(64, 7));
    let settings = |worker| Settings { worker, workers, resolve: Resolve::Control, seed: 1 };
    (0..workers).map(|worker| Lab::over(Arc::clone(&shared), settings(worker), 40)).collect()
}

/// Sends frames to workers, and lets these look once more.
fn send(labs: &mut [Lab], snapshot: &Snapshot, port: PortId, frames: &[(usize, Vec<u8>)]) -> Drained {
    let mut all = Drained::default();
    let mut add = |out: Drained| {
        all.sent.extend(out.sent);
        all.passed.extend(out.passed);
    };
    for (worker, frame) in frames {
        let (verdict, out) = labs[*worker].send(snapshot, port, frame);
        assert_ne!(verdict.kind(), VerdictKind::Drop, "{verdict:?}");
        add(out);
    }
    labs.iter_mut().for_each(|lab| add(lab.tick(snapshot)));
    assert!(labs.iter().all(|lab| lab.frames() == lab.pool.total() && lab.pipeline.held() == 0));
    all
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![Just(Method::Nat), Just(Method::DirectRoute), Just(Method::Tunnel)]
}

proptest! {
    /// Whatever is put together behind the director has a right checksum in full.
    #[test]
    fn fragments_go_one_way_in_any_order(
        six: bool,
        method in method(),
        payload in prop::collection::vec(any::<u8>(), 500..3000),
        step in 3usize..60,
        order in prop::collection::vec((any::<u32>(), 0usize..2), 128),
    ) {
        let mut site = site(six, method);
        let snapshot = site.snapshot();
        let mut labs = labs(2);
        // The next connection goes elsewhere.
        let mix = |frame: Vec<u8>, id| {
            let mut pieces: Vec<_> = cut(&frame, step * 8, id).into_iter().zip(&order).collect();
            prop_assume!(pieces.len() < 64);
            pieces.sort_by_key(|(_, (place, _))| *place);
            Ok(pieces.into_iter().map(|(piece, (_, worker))| (*worker, piece)).collect::<Vec<_>>())
        };
        let out = send(&mut labs, &snapshot, CLIENT_SIDE, &mix(request(six, &payload).bytes(), 77)?);
        prop_assert!(out.sent.iter().all(|(port, _)| *port == SERVER_SIDE) && out.passed.is_empty());
        let frames: Vec<_> = out.sent.into_iter().map(|(_, frame)| frame).collect();
        let overhead = match (method, six) {
            (Method::Tunnel, false) => 20,
            (Method::Tunnel, true) => 40,
            _ => 0,
        };
        let (ports, got) = read(six, &together(&frames, 14 + overhead));
        let port = if method == Method::Nat { NAT_REAL_PORT } else { 80 };
        prop_assert_eq!((ports, &got), ((PORT, port), &payload));
        prop_assert_eq!(labs[0].shared.datagrams.len(), 0);
        if method == Method::Nat {
            let out = send(&mut labs, &snapshot, SERVER_SIDE, &mix(answer(six, &payload).bytes(), 78)?);
            let frames: Vec<_> = out.sent.into_iter().map(|(_, frame)| frame).collect();
            prop_assert_eq!(read(six, &together(&frames, 14)), ((80, PORT), payload));
        }
    }
}

#[test]
fn fragments_of_what_is_not_ours_are_the_kernels() {
    for six in [false, true] {
        let mut site = site(six, Method::Nat);
        let snapshot = site.snapshot();
        let mut labs = labs(1);
        let mut elsewhere = request(six, &[1; 900]);
        elsewhere.dst.set_port(81);
        // A reply without a connection, and what a real server sends of its own.
        let mut own = answer(six, &[1; 900]);
        own.src.set_port(9999);
        for (packet, id) in [(elsewhere, 1), (answer(six, &[1; 900]), 2), (own, 3)] {
            let mut pieces: Vec<_> =
                cut(&packet.bytes(), 400, id).into_iter().map(|piece| (0, piece)).collect();
            pieces.rotate_left(1);
            let out = send(&mut labs, &snapshot, packet.port, &pieces);
            assert!(out.sent.is_empty());
            assert_eq!(out.passed.len(), pieces.len());
            assert!(pieces.iter().all(|(_, piece)| out.passed.contains(piece)), "as they came");
        }
        assert_eq!(labs[0].reason(Reason::FragmentNotOurs), 6);
    }
}

#[test]
fn fragments_that_are_too_large_are_cut_again_or_dropped() {
    let mut site = site(false, Method::Nat);
    site.mtu = [1500, 600];
    let snapshot = site.snapshot();
    let mut labs = labs(1);
    let payload: Vec<u8> = (0..2500u32).map(|n| n.to_be_bytes()[3]).collect();
    let pieces: Vec<_> =
        cut(&request(false, &payload).bytes(), 1000, 5).into_iter().map(|p| (0, p)).collect();
    let out = send(&mut labs, &snapshot, CLIENT_SIDE, &pieces);
    let frames: Vec<_> = out.sent.into_iter().map(|(_, frame)| frame).collect();
    assert!(frames.len() == 5 && frames.iter().all(|frame| frame.len() <= 614));
    assert_eq!(read(false, &together(&frames, 14)).1, payload);
    let df = Packet { df: true, ..request(false, &payload) };
    let mut pieces = cut(&df.bytes(), 1000, 6);
    pieces.iter_mut().for_each(|piece| {
        piece[20] |= 0x40;
        let sum = u16::from_be_bytes([piece[24], piece[25]]).wrapping_sub(0x4000);
        piece[24..26].copy_from_slice(&sum.to_be_bytes());
    });
    let reasons: Vec<_> = pieces
        .iter()
        .map(|p| labs[0].send(&snapshot, CLIENT_SIDE, p).0.reason().expect("no forward"))
        .collect();
    assert_eq!(reasons, [Reason::FragNeeded, Reason::FragmentRefused, Reason::FragmentRefused]);
}

#[test]
fn a_datagram_that_cannot_be_served_is_refused_as_a_whole() {
    let mut site = site(false, Method::DirectRoute);
    site.services[0].destinations.iter_mut().for_each(|d| d.weight = 0);
    let snapshot = site.snapshot();
    let mut labs = labs(1);
    let pieces = cut(&request(false, &[0; 900]).bytes(), 400, 9);
    let reason = |labs: &mut [Lab], n: usize| {
        labs[0].send(&snapshot, CLIENT_SIDE, &pieces[n]).0.reason().expect("no forward")
    };
    assert_eq!(reason(&mut labs, 2), Reason::FragmentEarly);
    assert_eq!(reason(&mut labs, 0), Reason::NoDestination);
    assert_eq!(labs[0].reason(Reason::FragmentRefused), 1);
    assert_eq!(reason(&mut labs, 1), Reason::FragmentRefused);
    // The same when its first fragment never comes.
    let late = cut(&request(false, &[0; 900]).bytes(), 400, 10);
    assert_eq!(labs[0].send(&snapshot, CLIENT_SIDE, &late[1]).0.reason(), Some(Reason::FragmentEarly));
    assert!(labs[0].pipeline.next_due(labs[0].now) <= labs[0].now.after(1_000_000));
    labs[0].wait(1);
    labs[0].tick(&snapshot);
    assert_eq!((labs[0].reason(Reason::FragmentUnmatched), labs[0].pipeline.held()), (1, 0));
    assert_eq!(labs[0].frames(), labs[0].pool.total());
}
