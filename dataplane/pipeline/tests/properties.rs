//! What holds for any traffic.

use proptest::prelude::*;
use sheave_frame::PortId;
use sheave_pipeline::snapshot::{Method, Ports, SchedulerKind};
use sheave_pipeline::testing::{
    CLIENT_SIDE, Drained, Lab, NAT_REAL_PORT, Packet, SERVER_SIDE, Seen, Service, Site, packet_path,
    packet_path_seeds, real, vip,
};
use sheave_pipeline::{Resolve, Snapshot, Verdict};
use sheave_proto::wire::flow::Proto;
use std::net::Ipv4Addr;

/// Checksums are right after every method, for any addresses, ports and payload: `Seen` computes them in full.
fn checksums_stay_right(proto: Proto, method: Method, packet: &Packet) -> Seen {
    let mut site = Site::with(proto, method, 1);
    let snapshot = site.snapshot();
    let mut lab = Lab::sized(Resolve::Control, 4, 4);
    let (_, out) = lab.send(&snapshot, CLIENT_SIDE, &packet.bytes());
    let seen = Seen::of(&out.sent[0].1);
    if method == Method::Nat {
        let mut reply =
            Packet::from_real(proto, (real(0), NAT_REAL_PORT), (packet.src.ip(), packet.src.port()), 0);
        reply.payload.clone_from(&packet.payload);
        let (_, out) = lab.send(&snapshot, SERVER_SIDE, &reply.bytes());
        Seen::of(&out.sent[0].1);
    }
    seen
}

/// Any host's address.
fn host() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits).prop_filter("a client's", |a| {
        !a.is_loopback() && a.octets()[0] != 0 && a.octets()[0] < 224 && *a != vip(0)
    })
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![Just(Method::Nat), Just(Method::DirectRoute), Just(Method::Tunnel)]
}

/// A frame of a small world, where connections meet often: few clients, all services, odd flags, some damage.
#[derive(Debug, Clone)]
struct Event {
    client: u8,
    service: usize,
    flags: u8,
    from_real: Option<u8>,
    ttl: u8,
    payload: u8,
    damage: Option<(prop::sample::Index, u8)>,
    cut: Option<prop::sample::Index>,
}

fn event(damaged: bool) -> impl Strategy<Value = Event> {
    let flags = prop_oneof![
        4 => Just(Packet::SYN),
        3 => Just(Packet::ACK),
        1 => Just(Packet::FIN | Packet::ACK),
        1 => Just(Packet::RST),
        1 => any::<u8>(),
    ];
    let often = if damaged { 3 } else { 0 };
    let damage = prop_oneof![
        4 => Just(None),
        often => (any::<prop::sample::Index>(), 1u8..).prop_map(Some),
    ];
    let cut = prop_oneof![9 => Just(None), often => any::<prop::sample::Index>().prop_map(Some)];
    (
        0..6u8,
        0..4usize,
        flags,
        prop::option::weighted(0.3, 0..3u8),
        prop_oneof![1 => 0..2u8, 20 => Just(64)],
        any::<u8>(),
        damage,
        cut,
    )
        .prop_map(|(client, service, flags, from_real, ttl, payload, damage, cut)| Event {
            client,
            service,
            flags,
            from_real,
            ttl,
            payload,
            damage,
            cut,
        })
}

/// Two NAT services that share their real servers, one by DR, one by TUN.
fn world(scheduler: SchedulerKind, neighbours: bool) -> Site {
    let mut site = Site::default();
    site.neighbours = neighbours;
    site.add(vip(0), 80, Proto::Tcp, Method::Nat, 3).scheduler = scheduler;
    site.add(vip(1), 80, Proto::Tcp, Method::Nat, 2).scheduler = scheduler;
    site.add(vip(2), 53, Proto::Udp, Method::DirectRoute, 2).scheduler = scheduler;
    site.add(vip(3), 80, Proto::Tcp, Method::Tunnel, 2).scheduler = scheduler;
    site
}

impl Event {
    fn frame(&self, site: &Site) -> (PortId, Vec<u8>) {
        let service = &site.services[self.service];
        let client = (Ipv4Addr::new(192, 0, 2, self.client), 40_000);
        let mut packet = match self.from_real {
            Some(n) => Packet::from_real(service.proto, (real(n), NAT_REAL_PORT), client, self.flags),
            None => Packet::from_client(service.proto, client, (service.vip, port_of(service)), self.flags),
        };
        (packet.ttl, packet.payload) = (self.ttl, vec![self.payload; usize::from(self.payload % 32)]);
        let (port, mut bytes) = packet.framed();
        if let Some((at, by)) = &self.damage {
            let at = at.index(bytes.len());
            bytes[at] ^= by;
        }
        if let Some(len) = &self.cut {
            bytes.truncate(len.index(bytes.len()));
        }
        (port, bytes)
    }
}

fn port_of(service: &Service) -> u16 {
    let Ports::One(port) = service.ports else { panic!("one port: {service:?}") };
    port
}

/// What came of frames, in bursts of this size.
fn run(
    snapshot: &Snapshot,
    frames: &[(PortId, Vec<u8>)],
    size: usize,
) -> (Vec<Verdict>, Drained, Vec<(usize, u64)>) {
    let mut lab = Lab::sized(Resolve::Control, 64, 300);
    let (mut verdicts, mut all) = (Vec::new(), Drained::default());
    for burst in frames.chunks(size) {
        verdicts.extend(lab.burst(snapshot, burst));
        let Drained { sent, passed, punts } = lab.drain();
        all.sent.extend(sent);
        all.passed.extend(passed);
        all.punts.extend(punts);
        assert_eq!(lab.frames(), lab.pool.total());
    }
    (verdicts, all, lab.counters())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn incremental_checksums_equal_full_ones(
        src in host(), sport in 21u16.., tcp: bool, method in method(), tos: u8, ttl in 2u8..,
        payload in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let proto = if tcp { Proto::Tcp } else { Proto::Udp };
        let mut packet = Packet::from_client(proto, (src, sport), (vip(0), 80), Packet::SYN).payload(&payload);
        (packet.tos, packet.ttl) = (tos, ttl);
        let seen = checksums_stay_right(proto, method, &packet);
        prop_assert_eq!(seen.payload, payload);
    }

    #[test]
    fn the_size_of_a_burst_makes_no_difference(
        events in prop::collection::vec(event(true), 1..150), size in 2usize..=64, neighbours: bool,
        scheduler in prop_oneof![Just(SchedulerKind::Rr), Just(SchedulerKind::Wrr), Just(SchedulerKind::Lc), Just(SchedulerKind::Wlc)],
    ) {
        let mut site = world(scheduler, neighbours);
        let snapshot = site.snapshot();
        let frames: Vec<_> = events.iter().map(|event| event.frame(&site)).collect();
        let one_by_one = run(&snapshot, &frames, 1);
        prop_assert_eq!(&run(&snapshot, &frames, size), &one_by_one);
        prop_assert_eq!(&run(&snapshot, &frames, 64), &one_by_one);
    }

    #[test]
    fn frames_are_conserved_whatever_comes(
        events in prop::collection::vec((event(true), 0u64..3, any::<bool>()), 1..200),
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20),
        asks: bool,
    ) {
        let mut site = world(SchedulerKind::Wlc, false);
        let mut lab = Lab::sized(if asks { Resolve::Ask } else { Resolve::Control }, 16, 300);
        let mut snapshot = site.snapshot();
        let mut noise = noise.into_iter();
        for (event, seconds, turn) in events {
            let (port, bytes) = event.frame(&site);
            lab.burst(&snapshot, &[(port, bytes), (CLIENT_SIDE, noise.next().unwrap_or_default())]);
            prop_assert_eq!(lab.frames(), lab.pool.total());
            if turn {
                site.neighbours = !site.neighbours;
                snapshot = site.snapshot();
            }
            lab.wait(seconds);
            lab.tick(&snapshot);
            lab.drain();
            prop_assert_eq!(lab.frames(), lab.pool.total());
        }
        lab.pipeline.give_back(&mut lab.pool);
        prop_assert_eq!(lab.pool.free(), lab.pool.total());
    }

    #[test]
    fn any_bytes_are_handled(data in prop::collection::vec(any::<u8>(), 0..400), seed in 0usize..8, at: prop::sample::Index) {
        packet_path(&data);
        let (_, mut seed) = packet_path_seeds().swap_remove(seed);
        let at = at.index(seed.len());
        seed.splice(at..at, data.into_iter().take(3));
        packet_path(&seed);
    }

    #[test]
    fn nothing_forwarded_is_malformed(events in prop::collection::vec(event(false), 1..100)) {
        let mut site = world(SchedulerKind::Rr, true);
        let snapshot = site.snapshot();
        let frames: Vec<_> = events.iter().map(|event| event.frame(&site)).collect();
        let (_, out, _) = run(&snapshot, &frames, 64);
        for (_, frame) in out.sent {
            Seen::of(&frame);
        }
    }
}

#[test]
fn two_syns_of_one_connection_in_one_burst_make_one_connection() {
    let mut site = Site::with(Proto::Tcp, Method::Nat, 3);
    let snapshot = site.snapshot();
    let mut lab = Lab::new(Resolve::Control);
    let syn = Packet::from_client(Proto::Tcp, (Ipv4Addr::new(192, 0, 2, 1), 1000), (vip(0), 80), Packet::SYN)
        .framed();
    let verdicts = lab.burst(&snapshot, &vec![syn; 64]);
    assert!(verdicts.iter().all(|v| *v == verdicts[0] && v.reason().is_none()));
    assert_eq!(lab.service(0)[..2], [1, 64]);
    assert_eq!(lab.shared.tables.len(), 2);
    lab.drain();
}

#[test]
fn udp_without_a_checksum_stays_without_and_zero_is_never_made() {
    let mut site = Site::with(Proto::Udp, Method::Nat, 1);
    let snapshot = site.snapshot();
    let mut lab = Lab::sized(Resolve::Control, 4, 4);
    let client = (Ipv4Addr::new(192, 0, 2, 1), 1000);
    let sum = |frame: &[u8]| u16::from_be_bytes([frame[40], frame[41]]);
    let mut none = Packet::from_client(Proto::Udp, client, (vip(0), 80), 0).payload(b"xy").bytes();
    none[40..42].fill(0);
    let (_, out) = lab.send(&snapshot, CLIENT_SIDE, &none);
    assert_eq!(sum(&out.sent[0].1), 0);
    let mut seen = [false; 2];
    // Two bytes of payload take the checksum through all its values, on the way in and after the rewrite.
    for word in 0..=u16::MAX {
        let packet =
            Packet::from_client(Proto::Udp, client, (vip(0), 80), 0).payload(&word.to_be_bytes()).bytes();
        let (_, out) = lab.send(&snapshot, CLIENT_SIDE, &packet);
        assert_ne!(sum(&out.sent[0].1), 0);
        seen[0] |= sum(&packet) == 0xffff;
        seen[1] |= sum(&out.sent[0].1) == 0xffff;
        if sum(&packet) == 0xffff || sum(&out.sent[0].1) == 0xffff {
            Seen::of(&out.sent[0].1);
        }
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn a_wrong_checksum_stays_as_wrong() {
    for proto in [Proto::Tcp, Proto::Udp] {
        let mut site = Site::with(proto, Method::Nat, 1);
        let snapshot = site.snapshot();
        let mut lab = Lab::sized(Resolve::Control, 4, 4);
        let packet =
            Packet::from_client(proto, (Ipv4Addr::new(192, 0, 2, 1), 1000), (vip(0), 80), Packet::SYN)
                .payload(b"data");
        let mut wrong = packet.bytes();
        let last = wrong.len() - 1;
        wrong[last] ^= 0x40;
        let (_, out) = lab.send(&snapshot, CLIENT_SIDE, &wrong);
        let mut sent = out.sent[0].1.clone();
        assert!(std::panic::catch_unwind(|| Seen::of(&sent)).is_err(), "it must still be wrong");
        sent[last] ^= 0x40;
        Seen::of(&sent);
    }
}
