//! Connections whose destination is in a side record: they live, count and end like others, and their record ends
//! with them.

use sheave_pipeline::entry::{Entry, Flags, State};
use sheave_pipeline::ids::{DestId, Generation};
use sheave_pipeline::key::{Key, KeyParts, Side};
use sheave_pipeline::side::{Home, Kind, Record};
use sheave_pipeline::snapshot::{Method, OnRemoval};
use sheave_pipeline::tables::Place;
use sheave_pipeline::testing::{Lab, NAT_REAL_PORT, Packet, Site, real, vip};
use sheave_pipeline::{Resolve, Snapshot};
use sheave_proto::wire::flow::Proto;
use std::net::Ipv4Addr;

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 7), 40_000);
const VIP: (Ipv4Addr, u16) = (vip(0), 80);
const REAL: (Ipv4Addr, u16) = (real(0), NAT_REAL_PORT);
const FIRST: DestId = DestId(0);

struct Scene {
    lab: Lab,
    site: Site,
    snapshot: Snapshot,
}

impl Scene {
    /// An established connection to the first of two destinations, with a side record.
    fn new(on_removal: OnRemoval) -> Scene {
        let mut site = Site::with(Proto::Tcp, Method::Nat, 2);
        site.services[0].on_removal = on_removal;
        let mut scene = Scene { lab: Lab::new(Resolve::Control), snapshot: site.snapshot(), site };
        // Others are in the slab, too.
        let other = Home { destination: DestId(77), generation: Generation(7) };
        for _ in 0..3 {
            let record = Record { kind: Kind::Proxied, home: other, words: [5; 3] };
            scene.lab.shared.side.open(&record).expect("room");
        }
        assert_eq!(scene.client(Packet::SYN), "0");
        let (place, _, entry) = scene.connection().expect("an entry");
        let home = Home { destination: FIRST, generation: entry.generation };
        let record = Record { kind: Kind::Helper, home, words: [1, 2, 3] };
        let id = scene.lab.shared.side.open(&record).expect("room");
        let aside = entry.with_record(id);
        scene.lab.shared.tables.update(place, entry.payload(), aside.payload()).expect("nobody else is here");
        assert_eq!(scene.real(Packet::SYN | Packet::ACK), "0");
        assert_eq!(scene.client(Packet::ACK), "0");
        scene
    }

    fn client(&mut self, flags: u8) -> String {
        self.send(&Packet::from_client(Proto::Tcp, CLIENT, VIP, flags))
    }

    fn real(&mut self, flags: u8) -> String {
        self.send(&Packet::from_real(Proto::Tcp, REAL, CLIENT, flags))
    }

    fn send(&mut self, packet: &Packet) -> String {
        let (verdict, _) = self.lab.send(&self.snapshot, packet.port, &packet.bytes());
        match verdict.reason() {
            None => verdict.destination.expect("named").0.to_string(),
            Some(reason) => reason.name().to_owned(),
        }
    }

    fn connection(&self) -> Option<(Place, Key, Entry)> {
        let mut found = None;
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.lab.shared.tables.scan(from, 1 << 20, |place, key, payload| {
                if matches!(KeyParts::of(key).side, Side::In(_)) {
                    found = Some((place, key, Entry::from(payload)));
                }
            });
        }
        found
    }

    /// Records in use besides the others'.
    fn records(&self) -> usize {
        self.lab.shared.side.0.in_use() - 3
    }

    fn republish(&mut self, change: impl FnOnce(&mut Site)) {
        change(&mut self.site);
        self.snapshot = self.site.snapshot();
    }
}

#[test]
fn it_goes_both_ways_and_counts_for_its_destination() {
    let mut scene = Scene::new(OnRemoval::Reset);
    assert_eq!((scene.lab.live(FIRST), scene.records()), ((1, 0), 1));
    assert_eq!((scene.real(Packet::ACK), scene.client(Packet::ACK)), ("0".into(), "0".into()));
    let (place, key, entry) = scene.connection().expect("an entry");
    assert_eq!(entry.state.name(), "ESTABLISHED");
    assert!(entry.flags.contains(Flags::SIDE.with(Flags::ASSURED)));
    let shared = &scene.lab.shared;
    let record = shared.side.of(shared.tables, (place, &key), entry).expect("its record");
    assert_eq!((record.kind, record.home.destination, record.words), (Kind::Helper, FIRST, [1, 2, 3]));
    scene.client(Packet::FIN | Packet::ACK);
    assert_eq!(scene.lab.live(FIRST), (0, 1));
    assert_eq!(scene.lab.live(DestId(77)), (0, 0));
}

#[test]
fn the_record_ends_with_the_entry() {
    // By time.
    let mut scene = Scene::new(OnRemoval::Reset);
    scene.client(Packet::RST);
    scene.lab.wait(12);
    scene.lab.expire(&scene.snapshot);
    assert!(scene.lab.shared.tables.is_empty());
    assert_eq!((scene.lab.live(FIRST), scene.records()), ((0, 0), 0));
    // By a new connection of the same client and port.
    let mut scene = Scene::new(OnRemoval::Reset);
    scene.client(Packet::RST);
    assert_eq!(scene.client(Packet::SYN), "1");
    assert_eq!((scene.lab.live(FIRST), scene.lab.live(DestId(1)), scene.records()), ((0, 0), (1, 0), 0));
}

#[test]
fn removal_finds_it() {
    let mut scene = Scene::new(OnRemoval::Reset);
    scene.republish(|site| site.services[0].destinations[0].generation = Generation(2));
    assert_eq!(scene.real(Packet::ACK), "destination-removed");
    assert_eq!(scene.client(Packet::ACK), "reset");
    assert_eq!((scene.lab.live(FIRST), scene.records()), ((0, 0), 0));
    // The sweep takes it off its destination; the record stays with the entry.
    let mut scene = Scene::new(OnRemoval::Drop);
    scene.republish(|site| site.services[0].destinations[0].removed = true);
    scene.lab.expire(&scene.snapshot);
    assert_eq!((scene.lab.live(FIRST), scene.records()), ((0, 0), 1));
    assert_eq!(scene.client(Packet::ACK), "destination-removed");
    scene.lab.wait(1000);
    scene.lab.expire(&scene.snapshot);
    assert!(scene.lab.shared.tables.is_empty());
    assert_eq!(scene.records(), 0);
}

#[test]
fn a_record_of_another_owner_is_noticed() {
    let scene = Scene::new(OnRemoval::Reset);
    let (place, key, entry) = scene.connection().expect("an entry");
    let (tables, side) = (scene.lab.shared.tables, scene.lab.shared.side);
    assert!(side.of(tables, (place, &key), entry).is_some());
    // The entry has come to an end, the record is another's, and whoever had seen the entry looks.
    tables.remove(place, entry.payload()).expect("nobody else is here");
    assert_eq!(side.of(tables, (place, &key), entry), None);
    assert_eq!(side.home_of(tables, (place, &key), entry), None);
    // One without a record needs no second look.
    let plain = Entry { flags: Flags::NONE, state: State::Udp, ..entry };
    let home = side.home_of(tables, (place, &key), plain).map(|(home, _)| home.destination);
    assert_eq!(home, Some(entry.destination));
}
