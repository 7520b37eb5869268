//! Persistence templates: what they count, for how long, and whom they still bring where.

use sheave_pipeline::entry::Entry;
use sheave_pipeline::ids::DestId;
use sheave_pipeline::side::Kind;
use sheave_pipeline::snapshot::{Intent, Limits, Method, SchedulerKind};
use sheave_pipeline::sticky::{Persistence, connections};
use sheave_pipeline::testing::{Lab, Packet, Site, vip};
use sheave_pipeline::time::Seconds;
use sheave_pipeline::{Resolve, Snapshot};
use sheave_proto::wire::flow::Proto;
use std::net::Ipv4Addr;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

/// A persistent service with destinations 0 and 1.
struct Scene {
    lab: Lab,
    site: Site,
    snapshot: Snapshot,
}

impl Scene {
    fn new(prefix: Option<u8>) -> Scene {
        let mut site = Site::with(Proto::Tcp, Method::DirectRoute, 2);
        site.persistent = vec![(0, Persistence { timeout: Seconds(60), prefix })];
        Scene { lab: Lab::new(Resolve::Control), snapshot: site.snapshot(), site }
    }

    /// Sends a packet and says what came of it: a destination's number, or a reason.
    fn send(&mut self, client: Ipv4Addr, port: u16, flags: u8) -> String {
        let packet = Packet::from_client(Proto::Tcp, (client, port), (vip(0), 80), flags);
        let (verdict, _) = self.lab.send(&self.snapshot, packet.port, &packet.bytes());
        match verdict.reason() {
            None => verdict.destination.expect("named").0.to_string(),
            Some(reason) => reason.name().to_owned(),
        }
    }

    fn open(&mut self, port: u16) -> String {
        let came = self.send(CLIENT, port, Packet::SYN);
        self.send(CLIENT, port, Packet::ACK);
        came
    }

    /// Has a connection end, and the sweep see it.
    fn end(&mut self, port: u16) {
        self.send(CLIENT, port, Packet::RST);
        self.lab.wait(11);
        self.lab.expire(&self.snapshot);
    }

    fn republish(&mut self, change: impl FnOnce(&mut Site)) {
        change(&mut self.site);
        self.snapshot = self.site.snapshot();
    }

    fn intents(&mut self, intents: [Intent; 2]) {
        self.republish(|site| {
            for (destination, intent) in site.services[0].destinations.iter_mut().zip(intents) {
                destination.intent = intent;
            }
        });
    }

    /// Of each template: where it leads, and how many connections it has.
    fn templates(&self) -> Vec<(u16, u64)> {
        let (mut templates, mut next) = (Vec::new(), Some(0));
        while let Some(from) = next {
            let (tables, side) = (self.lab.shared.tables, self.lab.shared.side);
            next = tables.scan(from, 1 << 20, |place, key, payload| {
                let record = side.of(tables, (place, &key), Entry::from(payload));
                let record = record.filter(|record| record.kind == Kind::Template);
                templates.extend(record.map(|record| (record.home.destination.0, connections(&record))));
            });
        }
        templates
    }
}

#[test]
fn a_connection_is_counted_out_of_its_own_template() {
    let mut scene = Scene::new(None);
    assert_eq!((scene.open(1), scene.templates()), ("0".into(), vec![(0, 1)]));
    // The client is moved, and back again while its first connection goes on.
    scene.intents([Intent::Drain, Intent::Ready]);
    assert_eq!((scene.open(2), scene.templates()), ("1".into(), vec![(1, 1)]));
    scene.intents([Intent::Ready, Intent::Drain]);
    assert_eq!((scene.open(3), scene.templates()), ("0".into(), vec![(0, 1)]));
    scene.end(1);
    assert_eq!(scene.templates(), [(0, 1)], "that was another template's");
    scene.end(3);
    assert_eq!(scene.templates(), [(0, 0)]);
    scene.lab.wait(61);
    scene.lab.expire(&scene.snapshot);
    assert_eq!(scene.templates(), []);
}

#[test]
fn another_netmask_ends_the_templates_of_the_one_before() {
    for (first, second) in [(24, 32), (32, 24)] {
        let mut scene = Scene::new(Some(first));
        assert_eq!(scene.open(1), "0");
        let with = |prefix| vec![(0, Persistence { timeout: Seconds(60), prefix: Some(prefix) })];
        scene.republish(|site| site.persistent = with(second));
        // The network's own address has the same name under both.
        let network = Ipv4Addr::new(192, 0, 2, 0);
        assert_eq!(scene.send(network, 1, Packet::SYN), "1", "nobody leads it");
        scene.lab.wait(1);
        scene.lab.expire(&scene.snapshot);
        assert_eq!(scene.templates(), [(1, 1)]);
        scene.republish(|site| site.persistent = with(first));
        scene.end(1);
        assert_eq!(scene.templates(), []);
        assert_eq!(scene.open(2), "0", "whoever comes is scheduled");
        scene.end(2);
        scene.lab.wait(61);
        scene.lab.expire(&scene.snapshot);
        assert!(scene.lab.shared.tables.is_empty());
        assert_eq!(scene.lab.shared.side.0.in_use(), 0);
    }
}

#[test]
fn a_limit_holds_for_the_clients_of_templates_too() {
    let mut scene = Scene::new(None);
    scene.republish(|site| {
        site.services[0].destinations[0].limits.connections = 2;
        site.services[0].destinations[1].limits.connections = 1;
    });
    assert_eq!([1, 2].map(|port| scene.open(port)), ["0", "0"]);
    assert_eq!(scene.open(3), "1", "elsewhere, where there is room");
    assert_eq!(scene.send(CLIENT, 4, Packet::SYN), "no-destination");
    assert_eq!((scene.lab.live(DestId(0)), scene.lab.live(DestId(1))), ((2, 0), (1, 0)));
    assert_eq!(scene.templates(), [(0, 2)], "it stays as it is");
    scene.end(2);
    assert_eq!((scene.open(5), scene.templates()), ("0".into(), vec![(0, 2)]));
    scene.end(3);
    assert_eq!(scene.templates(), [(0, 2)], "it never counted that one");
}

#[test]
fn a_destination_is_open_again_the_moment_that_it_falls_below_its_lower_threshold() {
    let mut scene = Scene::new(None);
    scene.republish(|site| {
        site.services[0].scheduler = SchedulerKind::Rr;
        site.services[0].destinations[1].limits = Limits { upper: 4, lower: 2, connections: 0 };
    });
    let other = |n: u8| Ipv4Addr::new(192, 0, 2, 100 + n);
    assert_eq!(scene.send(other(0), 1, Packet::SYN), "0");
    assert_eq!([1, 2, 3, 4].map(|port| scene.open(port)), ["1"; 4]);
    assert_eq!(
        [1, 2].map(|n| scene.send(other(n), 1, Packet::SYN)),
        ["0"; 2],
        "1 has as many as it may have"
    );
    [1, 2, 3].into_iter().for_each(|port| scene.end(port));
    // Nobody is scheduled while it has few; it gets another one by the template.
    assert_eq!(scene.open(5), "1");
    assert_eq!(scene.lab.live(DestId(1)), (2, 0));
    assert_eq!(scene.send(other(3), 1, Packet::SYN), "1");
}
