//! The body of the fuzz target `packet_path`: any frames, in any bursts, over a table that remembers.

use super::lab::Lab;
use super::packet::Packet;
use super::site::{CLIENT_SIDE, NAT_REAL_PORT, SERVER_SIDE, Site, real, vip};
use crate::pipeline::Resolve;
use crate::snapshot::{Method, Snapshot};
use crate::time::Time;
use sheave_frame::{BURST, PortId};
use sheave_proto::wire::flow::Proto;
use std::cell::RefCell;
use std::net::Ipv4Addr;

thread_local! {
    static WORLD: RefCell<(Lab, Snapshot)> = RefCell::new(world());
}

fn world() -> (Lab, Snapshot) {
    let mut site = Site::default();
    site.add(vip(0), 80, Proto::Tcp, Method::Nat, 2);
    site.add(vip(1), 53, Proto::Udp, Method::Nat, 2);
    site.add(vip(2), 80, Proto::Tcp, Method::DirectRoute, 2);
    site.add(vip(3), 53, Proto::Udp, Method::Tunnel, 2);
    (Lab::sized(Resolve::Ask, 256, 600), site.snapshot())
}

/// Runs frames through a pipeline that lives as long as the thread. `data` is a list of frames, each behind three
/// bytes: interface and how many seconds pass first, then the length.
///
/// ```text
///   | port 1, seconds 7 bits | length 16, big-endian | frame | ...
/// ```
///
/// # Panics
/// When a frame is lost or made, or has not exactly one verdict.
pub fn packet_path(data: &[u8]) {
    WORLD.with_borrow_mut(|(lab, snapshot)| {
        let mut frames = Vec::new();
        let mut rest = data;
        while let Some(([head, high, low], behind)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len()).min(2000);
            let (frame, behind) = behind.split_at(length);
            let port = if head & 1 == 0 { CLIENT_SIDE } else { SERVER_SIDE };
            frames.push((port, frame.to_vec()));
            rest = behind;
            if *head > 1 || frames.len() == BURST {
                handle(lab, snapshot, &mut frames);
                lab.now = lab.now.after(u64::from(head >> 1) * Time::SECOND);
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
    let named = [("nat-tcp", nat), ("nat-udp", udp(1)), ("dr", tcp(2)), ("tunnel", udp(3)), ("ttl", dying)];
    named.into_iter().map(|(name, packets)| (name, record(&packets))).collect()
}

fn record(packets: &[Packet]) -> Vec<u8> {
    let mut data = Vec::new();
    for (port, frame) in packets.iter().map(Packet::framed) {
        data.push(u8::from(port == SERVER_SIDE));
        data.extend(u16::try_from(frame.len()).unwrap_or(u16::MAX).to_be_bytes());
        data.extend(frame);
    }
    data
}
