//! What the short way reads, it understands as the long way does.

use super::{Lane, Way, read};
use crate::ids::{ListenId, RealId};
use crate::parse::{Parsed, parse};
use crate::pipeline::Shared;
use crate::snapshot::{Method, Ports, Snapshot};
use crate::tables::Tables;
use crate::testing::{CLIENT_SIDE, Packet, Site, real, real6, vip, vip6};
use proptest::prelude::*;
use proptest::sample::select;
use sheave_frame::{Frame, FrameId, PoolId};
use sheave_proto::wire::flow::Proto;
use std::net::IpAddr;
use std::sync::OnceLock;

/// Services of both families with one port, a range and every port; a bundle; one destination that keeps each
/// packet's port.
fn site(wide: bool) -> Site {
    let mut site = Site::default();
    for vip in [IpAddr::from(vip(0)), vip6(0).into()] {
        site.add(vip, 80, Proto::Tcp, Method::Nat, 2).more.push((vip, Ports::One(80), Proto::Udp));
        if wide {
            site.add(vip, 1, Proto::Tcp, Method::Nat, 1).ports = Ports::Range(90, 95);
            site.add(vip, 1, Proto::Udp, Method::Nat, 2).ports = Ports::Any;
            for destination in &mut site.services[1].destinations {
                destination.port = None;
            }
        }
    }
    site
}

fn end(v6: bool) -> impl Strategy<Value = (IpAddr, u16)> {
    let v4 = ["198.18.0.100", "198.19.1.10", "198.18.0.1", "192.0.2.7", "127.0.0.1", "224.0.0.1", "0.0.0.0"];
    let v6s = [vip6(0), real6(0)].map(|addr| addr.to_string());
    let v6s = v6s.iter().map(String::as_str).chain(["2001:db8::7", "::1", "ff02::1", "::ffff:192.0.2.7"]);
    let list: Vec<&str> = if v6 { v6s.collect() } else { v4.to_vec() };
    let list: Vec<IpAddr> = list.into_iter().map(|addr| addr.parse().expect("an address")).collect();
    (select(list), select(vec![0, 1, 80, 90, 95, 96, 8080, 40_000]))
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let ends = any::<bool>().prop_flat_map(|v6| (end(v6), end(v6)));
    let flaw = prop::option::weighted(0.3, (0usize..80, any::<u8>()));
    (ends, any::<bool>(), 0u8..64, 0usize..9, flaw).prop_map(|((from, to), udp, flags, payload, flaw)| {
        let proto = if udp { Proto::Udp } else { Proto::Tcp };
        let mut packet = Packet::from_client(proto, from, to, flags).payload(&vec![7; payload]);
        packet.port = CLIENT_SIDE;
        let mut bytes = packet.bytes();
        if let Some((at, value)) = flaw {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes
    })
}

/// What the short way makes of a frame.
fn short(bytes: &[u8], snapshot: &Snapshot, tables: &Tables) -> Option<Parsed> {
    let mut lane = Lane::LONG;
    let mut frame = Frame::new(Box::leak(vec![0; 1024].into_boxed_slice()), FrameId(0), PoolId(0));
    frame.fill(bytes).expect("fits");
    frame.set_ingress(CLIENT_SIDE);
    let read = read(&mut lane, &frame, snapshot, tables);
    _ = frame.into_parts();
    let packet = if read { lane.packet(bytes, tables)? } else { return None };
    Some(match lane.kind.way() {
        Way::In => Parsed::Inbound(packet, ListenId(lane.id)),
        Way::Out => Parsed::Outbound(packet, RealId(lane.id)),
        Way::Long => unreachable!("it was read"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn the_short_way_understands_what_the_long_way_does(frame in frame(), wide: bool) {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        let tables = SHARED.get_or_init(|| Shared::on_heap(16, 7)).tables;
        let snapshot = site(wide).snapshot();
        let interface = snapshot.interface(CLIENT_SIDE).expect("there");
        if let Some(short) = short(&frame, &snapshot, &tables) {
            let long = parse(&frame, interface, &snapshot, &tables);
            prop_assert_eq!(format!("{short:?}"), format!("{long:?}"));
        }
    }
}

#[test]
fn plain_packets_take_the_short_way() {
    let tables = Shared::on_heap(16, 7).tables;
    let snapshot = site(false).snapshot();
    let client: (IpAddr, u16) = ("2001:db8::7".parse().expect("an address"), 40_000);
    let client_v4: (IpAddr, u16) = ("192.0.2.7".parse().expect("an address"), 40_000);
    let ends: [(_, IpAddr, IpAddr); 2] =
        [(client, vip6(0).into(), real6(0).into()), (client_v4, vip(0).into(), real(0).into())];
    for (client, vip, server) in ends {
        let ask = Packet::from_client(Proto::Tcp, client, (vip, 80), Packet::ACK);
        let mut answer = Packet::from_real(Proto::Tcp, (server, 8080), client, Packet::ACK);
        answer.port = CLIENT_SIDE;
        for packet in [ask, answer] {
            assert!(short(&packet.bytes(), &snapshot, &tables).is_some(), "{packet:?}");
        }
    }
}
