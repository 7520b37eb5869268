//! Expiry by turns: what is due goes in time, though most of the table is passed over.

use sheave_pipeline::ids::DestId;
use sheave_pipeline::snapshot::Method;
use sheave_pipeline::sticky::Persistence;
use sheave_pipeline::testing::{Lab, Packet, Site, vip, vip6};
use sheave_pipeline::time::Seconds;
use sheave_pipeline::{Resolve, Snapshot, Time};
use sheave_proto::wire::flow::Proto;
use std::net::{Ipv4Addr, Ipv6Addr};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, 7);

/// A service of UDP, and one of IPv6 whose entries last.
fn both_families() -> Site {
    let mut site = Site::with(Proto::Udp, Method::Nat, 2);
    site.add(vip6(0), 80, Proto::Udp, Method::DirectRoute, 1).timeouts.udp = Seconds(300);
    site
}

struct Scene {
    lab: Lab,
    site: Site,
    snapshot: Snapshot,
}

impl Scene {
    fn new(proto: Proto, udp: u16) -> Scene {
        let mut site = Site::with(proto, Method::Nat, 2);
        site.services[0].timeouts.udp = Seconds(udp);
        Scene::of(site)
    }

    fn of(mut site: Site) -> Scene {
        Scene { lab: Lab::new(Resolve::Control), snapshot: site.snapshot(), site }
    }

    fn send(&mut self, port: u16, flags: u8) {
        self.send_from(CLIENT, port, flags);
    }

    fn send_from(&mut self, client: Ipv4Addr, port: u16, flags: u8) {
        let proto = self.site.services[0].proto;
        self.forward(&Packet::from_client(proto, (client, port), (vip(0), 80), flags));
    }

    fn forward(&mut self, packet: &Packet) {
        let (port, bytes) = packet.framed();
        let (verdict, _) = self.lab.send(&self.snapshot, port, &bytes);
        assert_eq!(verdict.reason(), None);
    }

    /// Has the table of long keys have an entry, too.
    fn send_v6(&mut self) {
        self.forward(&Packet::from_client(Proto::Udp, (CLIENT_V6, 7), (vip6(0), 80), 0));
    }

    /// Turns for so long, as a worker that finds nothing else to do.
    fn turn(&mut self, time: u64) {
        let end = self.lab.now.after(time);
        while self.lab.now < end {
            self.lab.tick(&self.snapshot);
            let due = self.lab.pipeline.next_due(self.lab.now);
            self.lab.now = due.max(self.lab.now.after(Time::SECOND / 1000)).min(end);
        }
        self.lab.tick(&self.snapshot);
    }

    fn connections_to(&self, destination: u16) -> u32 {
        let (active, inactive) = self.lab.live(DestId(destination));
        active + inactive
    }

    fn connections(&self) -> u32 {
        self.connections_to(0) + self.connections_to(1)
    }

    fn republish(&mut self, change: impl FnOnce(&mut Site)) {
        change(&mut self.site);
        self.snapshot = self.site.snapshot();
    }

    fn passes(&self) -> u64 {
        self.lab.shared.live.passes(0)
    }
}

#[test]
fn what_is_due_sooner_than_it_was_goes_in_time() {
    // When its block is looked at, it is due in a quarter of an hour; then it is reset, which lasts ten seconds.
    let mut scene = Scene::new(Proto::Tcp, 300);
    for port in 1000..1300 {
        scene.send(port, Packet::SYN);
        scene.send(port, Packet::ACK);
    }
    for wait in 1..12u16 {
        scene.turn(Time::SECOND);
        scene.send(999 + wait, Packet::RST);
    }
    scene.turn(9 * Time::SECOND);
    // The first of them was reset 19 seconds ago, the last one 9.
    assert!((290..=293).contains(&scene.connections()), "{}", scene.connections());
    scene.turn(3 * Time::SECOND);
    assert_eq!(scene.connections(), 289);
}

#[test]
fn what_comes_after_its_block_was_looked_at_goes_in_time() {
    let mut scene = Scene::new(Proto::Udp, 3);
    // So that the walk is under way.
    scene.send(1, 0);
    for port in 1000..1800 {
        scene.turn(Time::SECOND / 50);
        scene.send(1, 0);
        scene.send(port, 0);
        let opened = u32::from(port - 1000) / 50;
        let gone = u32::from(port) - 999 + 1 - scene.connections();
        assert!(gone <= opened.saturating_sub(3) * 50 + 50, "{gone} at {port} is early");
        assert!(gone + 50 >= opened.saturating_sub(5) * 50, "{gone} at {port} is late");
    }
}

#[test]
fn a_new_snapshot_is_followed_by_a_look_at_everything() {
    let mut scene = Scene::new(Proto::Udp, 300);
    (1000..1300).for_each(|port| scene.send(port, 0));
    scene.turn(4 * Time::SECOND);
    assert_eq!(scene.connections(), 300);
    scene.republish(|site| site.services[0].timeouts.udp = Seconds(2));
    scene.turn(Time::SECOND);
    assert_eq!(scene.connections(), 0);
}

#[test]
fn passes_are_counted_while_they_are_wanted_and_miss_nothing() {
    let mut scene = Scene::new(Proto::Udp, 300);
    [1, 2].into_iter().for_each(|port| scene.send(port, 0));
    scene.turn(5 * Time::SECOND);
    assert_eq!(scene.passes(), 0, "nobody waits for any");
    let before = Scene::new(Proto::Udp, 300).snapshot;
    scene.republish(|site| site.services[0].destinations[0].removed = true);
    scene.turn(4 * Time::SECOND);
    assert_eq!([0, 1].map(|n| scene.connections_to(n)), [0, 1]);
    // Another worker has not seen that yet.
    let now = std::mem::replace(&mut scene.snapshot, before);
    (2000..2100).for_each(|port| scene.send(port, 0));
    scene.snapshot = now;
    scene.turn(2 * Time::SECOND);
    assert_ne!(scene.connections_to(0), 0, "that is what passes are for");
    scene.lab.shared.live.want_passes(true);
    let start = scene.passes();
    while scene.passes() < start + 2 {
        scene.turn(Time::SECOND / 10);
    }
    assert_eq!(scene.connections_to(0), 0);
}

#[test]
fn a_table_that_was_empty_under_a_new_snapshot_is_not_taken_for_known() {
    let mut scene = Scene::of(both_families());
    scene.send_v6();
    scene.republish(|site| site.services[0].timeouts.udp = Seconds(30));
    (3000..3200).for_each(|port| scene.send(port, 0));
    while scene.connections() > 0 {
        scene.turn(Time::SECOND / 4);
    }
    scene.send_v6();
    scene.republish(|site| site.services[0].timeouts.udp = Seconds(1));
    scene.turn(3 * Time::SECOND);
    (1000..1200).for_each(|port| scene.send(port, 0));
    scene.turn(4 * Time::SECOND);
    assert_eq!(scene.connections(), 0);
}

#[test]
fn the_way_back_of_a_connection_that_lost_its_destination_goes_with_it() {
    let mut scene = Scene::of(both_families());
    scene.send_v6();
    (1000..1300).for_each(|port| scene.send(port, 0));
    scene.turn(5 * Time::SECOND);
    assert_eq!(scene.lab.shared.tables.narrow.len(), 600);
    scene.republish(|site| site.services[0].destinations[0].removed = true);
    scene.turn(3 * Time::SECOND);
    assert_eq!(scene.lab.shared.tables.narrow.len(), 300);
}

#[test]
fn a_template_goes_in_time_when_its_last_connection_is_found_late() {
    let mut site = Site::with(Proto::Tcp, Method::DirectRoute, 2);
    site.persistent = vec![(0, Persistence { timeout: Seconds(20), prefix: None })];
    let mut scene = Scene::of(site);
    let client = |n| Ipv4Addr::new(192, 0, 2, n);
    for n in 1..=200 {
        scene.send_from(client(n), 1, Packet::SYN);
        scene.send_from(client(n), 1, Packet::ACK);
    }
    scene.turn(10 * Time::SECOND);
    (1..=200).for_each(|n| scene.send_from(client(n), 1, Packet::RST));
    scene.turn(14 * Time::SECOND);
    assert_eq!(scene.lab.shared.tables.narrow.len(), 0);
    assert_eq!(scene.lab.shared.side.0.in_use(), 0);
}

#[test]
fn a_connection_that_nothing_began_goes_in_time() {
    let mut scene = Scene::new(Proto::Tcp, 300);
    scene.republish(|site| site.services[0].sloppy = true);
    scene.send(1, Packet::SYN);
    for port in 1000..1200 {
        scene.turn(Time::SECOND / 10);
        scene.send(port, 0);
        // Three seconds, one because seconds are counted, two because the walk takes its time.
        assert!(scene.connections() <= 62, "{} at {port}", scene.connections());
    }
}
