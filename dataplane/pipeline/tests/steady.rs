//! The short way through the pipeline does what the long way does: a tag on every frame is enough to make them all go
//! the long way, and must change nothing else.

use proptest::prelude::*;
use sheave_frame::PortId;
use sheave_pipeline::ids::{DestId, ListenId};
use sheave_pipeline::snapshot::Method;
use sheave_pipeline::testing::{Lab, NAT_REAL_PORT, Packet, Site, real, real6, vip, vip6};
use sheave_pipeline::{Resolve, Snapshot, Verdict};
use sheave_proto::wire::flow::Proto;
use sheave_table::Payload;
use sheave_table::change::{self, ChangeReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TAG: [u8; 4] = [0x81, 0x00, 0x00, 0x07];
const PORT: u16 = 80;

/// One packet of a few connections.
#[derive(Debug, Clone)]
struct Event {
    client: u8,
    from_real: Option<u8>,
    flags: u8,
    ttl: u8,
    tos: u8,
    payload: u16,
    padding: u8,
    /// Byte of the packet to change, and how.
    damage: Option<(u8, u8)>,
    /// Seconds that pass first.
    wait: u8,
}

fn event() -> impl Strategy<Value = Event> {
    let flags = prop_oneof![
        6 => Just(Packet::ACK),
        2 => Just(Packet::ACK | Packet::PSH),
        2 => Just(Packet::SYN),
        1 => Just(Packet::SYN | Packet::ACK),
        1 => Just(Packet::FIN | Packet::ACK),
        1 => Just(Packet::RST),
        1 => any::<u8>(),
    ];
    let damage = prop_oneof![6 => Just(None), 1 => (0u8..60, 1u8..=255).prop_map(Some)];
    let ttl = prop_oneof![8 => Just(64u8), 1 => 0u8..3];
    let wait = prop_oneof![8 => Just(0u8), 1 => 0u8..100];
    let real = prop_oneof![Just(None), (0u8..2).prop_map(Some)];
    (0u8..3, real, flags, ttl, any::<u8>(), 0u16..1500, 0u8..20, damage, wait).prop_map(
        |(client, from_real, flags, ttl, tos, payload, padding, damage, wait)| Event {
            client,
            from_real,
            flags,
            ttl,
            tos,
            payload,
            padding,
            damage,
            wait,
        },
    )
}

/// What connections are like.
#[derive(Debug, Clone, Copy)]
struct Kind {
    proto: Proto,
    method: Method,
    v6: bool,
}

fn frame(event: &Event, kind: Kind) -> (PortId, Vec<u8>) {
    let Kind { proto, v6, .. } = kind;
    let host = 1 + event.client;
    let addr = |v4: IpAddr, six: IpAddr| if v6 { six } else { v4 };
    let client = (
        addr(
            Ipv4Addr::new(10, 0, 0, host).into(),
            Ipv6Addr::from([0x2001, 0xdb8, 0xff, 0, 0, 0, 0, host.into()]).into(),
        ),
        2000,
    );
    let mut packet = match event.from_real {
        None => Packet::from_client(proto, client, (addr(vip(0).into(), vip6(0).into()), PORT), event.flags),
        Some(n) => {
            let real = (addr(real(n).into(), real6(n).into()), NAT_REAL_PORT);
            Packet::from_real(proto, real, client, event.flags)
        }
    };
    (packet.ttl, packet.tos) = (event.ttl, event.tos);
    packet.payload = (0..event.payload).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
    let (port, mut bytes) = packet.framed();
    let packet_len = bytes.len();
    bytes.resize(bytes.len() + usize::from(event.padding), 0);
    if let Some((at, flip)) = event.damage {
        bytes[14 + usize::from(at) % 60 % (packet_len - 14)] ^= flip;
    }
    (port, bytes)
}

fn tagged(bytes: &[u8]) -> Vec<u8> {
    [&bytes[..12], &TAG, &bytes[12..]].concat()
}

/// Sends a frame and gives what came of it, without the tag that `tag` says it had.
fn send(
    lab: &mut Lab,
    snapshot: &Snapshot,
    port: PortId,
    bytes: &[u8],
    tag: bool,
) -> (Verdict, Vec<Vec<u8>>) {
    let sent = if tag { tagged(bytes) } else { bytes.to_vec() };
    let (verdict, out) = lab.send(snapshot, port, &sent);
    let strip = |frame: Vec<u8>| {
        if !tag {
            return frame;
        }
        assert_eq!(frame[12..16], TAG, "the tag is kept");
        [&frame[..12], &frame[16..]].concat()
    };
    let frames = out.sent.into_iter().map(|(_, frame)| frame).chain(out.passed);
    (verdict, frames.map(strip).collect())
}

/// Connections of each destination, those that are not established yet, by all counts, and entries.
fn counts(lab: &Lab) -> ([(u32, u32); 2], [u64; 3], usize) {
    let live = &lab.shared.live;
    let pending = [live.half_open(1), live.unanswered(1), live.listen(ListenId(0)).pending()];
    ([DestId(0), DestId(1)].map(|id| lab.live(id)), pending, lab.shared.tables.len())
}

/// What whoever follows was told of entries: their keys, and what they were and are.
fn told(reader: &mut ChangeReader) -> Vec<(u64, Payload, Payload)> {
    std::iter::from_fn(|| reader.pop()).map(|change| (change.key, change.old, change.new)).collect()
}

fn same(kind: Kind, events: &[Event]) -> Result<(), TestCaseError> {
    let Kind { proto, method, v6 } = kind;
    let mut site = if v6 { Site::with_v6(proto, method, 2) } else { Site::with(proto, method, 2) };
    let snapshot = site.snapshot();
    let mut labs = [Lab::sized(Resolve::Control, 64, 8), Lab::sized(Resolve::Control, 64, 8)];
    let mut readers = labs.each_mut().map(|lab| {
        let (writer, reader) = change::ring(256);
        lab.pipeline.follow(writer);
        reader
    });
    for event in events {
        let (port, bytes) = frame(event, kind);
        labs.iter_mut().for_each(|lab| lab.wait(u64::from(event.wait)));
        let [short, long] = &mut labs;
        let got = send(short, &snapshot, port, &bytes, false);
        prop_assert_eq!(got, send(long, &snapshot, port, &bytes, true), "{:?}", event);
        prop_assert_eq!(counts(short), counts(long), "{:?}", event);
        let [short, long] = readers.each_mut().map(told);
        prop_assert_eq!(short, long, "{:?}", event);
    }
    prop_assert_eq!(labs[0].service(0), labs[1].service(0), "counters");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_short_way_and_the_long_way_are_one(
        events in prop::collection::vec(event(), 1..60), udp: bool, method in 0usize..3, v6: bool,
    ) {
        let method = [Method::Nat, Method::DirectRoute, Method::Tunnel][method];
        same(Kind { proto: if udp { Proto::Udp } else { Proto::Tcp }, method, v6 }, &events)?;
    }
}

/// The same with the connections open from the start, so that most packets have the chance.
#[test]
fn an_open_connection_is_served_both_ways() {
    let methods = [Method::Nat, Method::DirectRoute, Method::Tunnel];
    let kinds = methods.into_iter().flat_map(|method| {
        [(Proto::Tcp, false), (Proto::Udp, false), (Proto::Tcp, true), (Proto::Udp, true)]
            .map(|(proto, v6)| Kind { proto, method, v6 })
    });
    for kind in kinds {
        let open = |flags, from_real| Event {
            client: 0,
            from_real,
            flags,
            ttl: 64,
            tos: 0,
            payload: 10,
            padding: 3,
            damage: None,
            wait: 0,
        };
        let data =
            [Packet::SYN, Packet::ACK, Packet::ACK, Packet::ACK | Packet::PSH, Packet::FIN | Packet::ACK];
        let events: Vec<Event> = data
            .into_iter()
            .flat_map(|flags| {
                [open(flags, None), open(flags | Packet::ACK, Some(0)), open(flags | Packet::ACK, Some(1))]
            })
            .collect();
        same(kind, &events).expect("the same");
    }
}
