//! The body of the fuzz target `packet_path`: any frames, in any bursts, over a table that remembers.

use super::cut::cut;
use super::lab::Lab;
use super::packet::Packet;
use super::site::{CLIENT_SIDE, NAT_REAL_PORT, SERVER_SIDE, Site, real, real6, vip, vip6};
use crate::pipeline::Resolve;
use crate::snapshot::{Method, Ports, Snapshot};
use crate::sticky::Persistence;
use crate::time::{Seconds, Time};
use sheave_frame::{BURST, PortId};
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tunnel::Encapsulation;
use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr};

thread_local! {
    static WORLD: RefCell<(Lab, Vec<Snapshot>)> = RefCell::new(world());
}

fn world() -> (Lab, Vec<Snapshot>) {
    let mut site = Site::default();
    site.add(vip(0), 80, Proto::Tcp, Method::Nat, 2);
    site.add(vip(1), 53, Proto::Udp, Method::Nat, 2);
    site.add(vip(2), 80, Proto::Tcp, Method::DirectRoute, 2);
    site.add(vip(3), 53, Proto::Udp, Method::Tunnel, 2);
    site.add(vip6(0), 80, Proto::Tcp, Method::Nat, 2);
    site.add(vip6(1), 53, Proto::Udp, Method::DirectRoute, 2);
    site.add(vip6(2), 80, Proto::Tcp, Method::Tunnel, 2);
    site.add(vip(4), 0, Proto::Tcp, Method::Nat, 2).ports = Ports::Any;
    featured(&mut site);
    let mut snapshots = vec![site.snapshot()];
    // The same without neighbours; without a way back; with a small one; without half of the destinations.
    site.neighbours = false;
    snapshots.push(site.snapshot());
    (site.neighbours, site.default_route) = (true, false);
    snapshots.push(site.snapshot());
    (site.default_route, site.mtu) = (true, [1280, 1280]);
    snapshots.push(site.snapshot());
    site.services.iter_mut().for_each(|service| service.destinations[0].removed = true);
    snapshots.push(site.snapshot());
    (Lab::sized(Resolve::Ask, 256, 600), snapshots)
}

/// Services that ask for more than their packets to be forwarded.
fn featured(site: &mut Site) {
    let number = |site: &Site| u16::try_from(site.services.len()).expect("few services");
    site.ftp.push(number(site));
    site.add(vip(5), 21, Proto::Tcp, Method::Nat, 2);
    for (n, encapsulation) in [
        (6, Encapsulation::Gre { checksum: true }),
        (7, Encapsulation::Gue { port: 6080, checksum: true }),
        (8, Encapsulation::Gue { port: 6080, checksum: false }),
    ] {
        let tunnelled = site.add(vip(n), 80, Proto::Tcp, Method::Tunnel, 2);
        tunnelled.destinations.iter_mut().for_each(|d| d.encapsulation = encapsulation);
    }
    let timeout = Seconds(60);
    site.persistent.push((number(site), Persistence { timeout, prefix: Some(24) }));
    let bundle = site.add(vip(9), 80, Proto::Tcp, Method::Nat, 3);
    bundle.more.push((vip(9).into(), Ports::Range(5000, 5003), Proto::Udp));
    site.persistent.push((number(site), Persistence { timeout, prefix: None }));
    site.add(vip6(3), 80, Proto::Tcp, Method::DirectRoute, 3).sloppy = true;
    for (n, method) in [(10, Method::Nat), (11, Method::Tunnel)] {
        site.one_packet.push(number(site));
        site.add(vip(n), 53, Proto::Udp, method, 3);
    }
}

/// Runs frames through a pipeline that lives as long as the thread. `data` is a list of frames, each behind three
/// bytes: interface and how many seconds pass then, which snapshot counts from then on, the length.
///
/// ```text
///   | port 1, seconds 7 bits | snapshot 5, length 11, big-endian | frame | ...
/// ```
///
/// # Panics
/// When a frame is lost or made, or has not exactly one verdict.
pub fn packet_path(data: &[u8]) {
    WORLD.with_borrow_mut(|(lab, snapshots)| {
        let mut frames = Vec::new();
        let mut rest = data;
        let mut snapshot = &snapshots[0];
        while let Some(([head, high, low], behind)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([high & 7, *low])).min(behind.len());
            let (frame, behind) = behind.split_at(length);
            let port = if head & 1 == 0 { CLIENT_SIDE } else { SERVER_SIDE };
            frames.push((port, frame.to_vec()));
            rest = behind;
            let other = usize::from(high >> 3);
            if *head > 1 || other != 0 || frames.len() == BURST {
                handle(lab, snapshot, &mut frames);
                lab.now = lab.now.after(u64::from(head >> 1) * Time::SECOND);
            }
            if other != 0 {
                snapshot = &snapshots[other % snapshots.len()];
            }
        }
        handle(lab, snapshot, &mut frames);
    });
}

fn handle(lab: &mut Lab, snapshot: &Snapshot, frames: &mut Vec<(PortId, Vec<u8>)>) {
    let verdicts = lab.burst(snapshot, frames);
    assert_eq!(verdicts.len(), frames.len(), "one verdict a frame");
    assert_eq!(lab.frames(), lab.pool.total(), "frames are conserved");
    lab.tick(snapshot);
    lab.drain();
    frames.clear();
}

/// Inputs to start from: each method's connections, and what else has an outcome of its own.
pub fn packet_path_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let client = (Ipv4Addr::new(192, 0, 2, 1), 40_000);
    let to =
        |n: u8, port: u16, proto: Proto, flags: u8| Packet::from_client(proto, client, (vip(n), port), flags);
    let reply = |proto: Proto, flags: u8| Packet::from_real(proto, (real(0), NAT_REAL_PORT), client, flags);
    let (syn, ack) = (Packet::SYN, Packet::ACK);
    let tcp = |n: u8| {
        vec![to(n, 80, Proto::Tcp, syn), to(n, 80, Proto::Tcp, ack), to(n, 80, Proto::Tcp, ack | Packet::FIN)]
    };
    let nat = vec![
        to(0, 80, Proto::Tcp, syn),
        reply(Proto::Tcp, syn | ack),
        to(0, 80, Proto::Tcp, ack),
        reply(Proto::Tcp, ack | Packet::FIN),
    ];
    let udp =
        |n: u8| vec![to(n, 53, Proto::Udp, 0).payload(b"query"), reply(Proto::Udp, 0).payload(b"answer")];
    let dying = vec![Packet { ttl: 1, ..to(0, 80, Proto::Tcp, syn) }];
    let client6: (Ipv6Addr, u16) = (Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1), 40_000);
    let six = |n: u8, port: u16, proto: Proto| Packet::from_client(proto, client6, (vip6(n), port), syn);
    let v6 = vec![
        six(0, 80, Proto::Tcp),
        Packet::from_real(Proto::Tcp, (real6(0), NAT_REAL_PORT), client6, syn | ack),
        six(1, 53, Proto::Udp).payload(b"query"),
        six(2, 80, Proto::Tcp),
    ];
    let tagged = vec![to(0, 80, Proto::Tcp, syn).tagged(&[7]), six(0, 80, Proto::Tcp).tagged(&[100, 7])];
    let any = vec![to(4, 2000, Proto::Tcp, syn), to(4, 2001, Proto::Tcp, syn)];
    let (control, port) = ((vip(5), 21), 21);
    let ftp = |flags: u8, text: &'static [u8]| {
        Packet::from_client(Proto::Tcp, client, control, flags).payload(text)
    };
    let told = Packet::from_real(Proto::Tcp, (real(0), port), client, ack);
    let passive = b"227 Entering Passive Mode (198,19,1,10,200,1).\r\n";
    let ftp = vec![
        ftp(syn, b""),
        ftp(ack, b"PASV\r\n"),
        told.payload(passive),
        ftp(ack, b"PORT 192,0,2,1,9,9\r\n"),
    ];
    let large = to(1, 53, Proto::Udp, 0).payload(&[b'f'; 600]);
    let large6 = six(1, 53, Proto::Udp).payload(&[b'f'; 600]);
    let named = [
        ("ftp", ftp),
        ("gre", tcp(6)),
        ("gue", tcp(7)),
        ("persistent", [tcp(9), vec![to(9, 5001, Proto::Udp, 0)]].concat()),
        ("sloppy", vec![Packet::from_client(Proto::Tcp, client6, (vip6(3), 80), ack)]),
        ("one-packet", vec![to(10, 53, Proto::Udp, 0), to(11, 53, Proto::Udp, 0)]),
        ("v6", v6),
        ("tagged", tagged),
        ("any-port", any),
        ("nat-tcp", nat),
        ("nat-udp", udp(1)),
        ("dr", tcp(2)),
        ("tunnel", udp(3)),
        ("ttl", dying),
    ];
    let named = named.into_iter().map(|(name, packets)| (name, packets.iter().map(Packet::framed).collect()));
    // In order, and the first one last.
    let pieces = |packet: &Packet| cut(&packet.bytes(), 200, 7).into_iter().map(|piece| (CLIENT_SIDE, piece));
    let fragments: Vec<(PortId, Vec<u8>)> = pieces(&large).chain(pieces(&large6)).collect();
    let late = pieces(&large).chain(pieces(&large6)).rev().collect();
    let all = named.chain([("fragments", fragments), ("fragments-late", late)]);
    all.map(|(name, frames)| (name, record(frames))).collect()
}

fn record(frames: Vec<(PortId, Vec<u8>)>) -> Vec<u8> {
    let mut data = Vec::new();
    for (port, frame) in frames {
        data.push(u8::from(port == SERVER_SIDE));
        data.extend(u16::try_from(frame.len()).unwrap_or(u16::MAX).to_be_bytes());
        data.extend(frame);
    }
    data
}
