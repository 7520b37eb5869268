//! The life of connections: states, reuse, removal, expiry, and the counts that go with them.

use sheave_pipeline::entry::Entry;
use sheave_pipeline::ids::{DestId, Generation};
use sheave_pipeline::key::{KeyParts, Side};
use sheave_pipeline::snapshot::{Intent, Lives, Method, OnRemoval};
use sheave_pipeline::testing::{CLIENT_SIDE, Lab, NAT_REAL_PORT, Packet, SERVER_SIDE, Seen, Site, real, vip};
use sheave_pipeline::{Reason, Resolve, Snapshot, VerdictKind};
use sheave_proto::wire::flow::Proto;
use std::net::Ipv4Addr;

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 7), 40_000);
const VIP: (Ipv4Addr, u16) = (vip(0), 80);
const REAL: (Ipv4Addr, u16) = (real(0), NAT_REAL_PORT);
const FIRST: DestId = DestId(0);

/// The entries of the table as text: `port state>destination` of in-entries, `port out` of out-entries.
fn entries(lab: &Lab) -> Vec<String> {
    let mut lines = Vec::new();
    let mut next = Some(0);
    while let Some(from) = next {
        next = lab.shared.tables.scan(from, 1 << 20, |_, key, payload| {
            let parts = KeyParts::of(key);
            let entry = Entry::from(payload);
            lines.push(match parts.side {
                Side::In(_) => format!("{} {}>{}", parts.client.1, entry.state.name(), entry.destination.0),
                Side::Out(_) => format!("{} out", parts.client.1),
                Side::Template(_) => "template".to_owned(),
            });
        });
    }
    lines.sort();
    lines
}

struct Scene {
    lab: Lab,
    site: Site,
    snapshot: Snapshot,
}

impl Scene {
    fn new(proto: Proto, method: Method, reals: u8) -> Scene {
        let mut site = Site::with(proto, method, reals);
        Scene { lab: Lab::new(Resolve::Control), snapshot: site.snapshot(), site }
    }

    /// Sends a packet of the client's and says what came of it: a destination's number, or a reason.
    fn client(&mut self, flags: u8) -> String {
        let proto = self.site.services[0].proto;
        self.send(&Packet::from_client(proto, CLIENT, VIP, flags))
    }

    fn server(&mut self, flags: u8) -> String {
        let proto = self.site.services[0].proto;
        self.send(&Packet::from_real(proto, REAL, CLIENT, flags))
    }

    fn send(&mut self, packet: &Packet) -> String {
        let (verdict, _) = self.lab.send(&self.snapshot, packet.port, &packet.bytes());
        match verdict.reason() {
            None => verdict.destination.expect("named").0.to_string(),
            Some(reason) => reason.name().to_owned(),
        }
    }

    /// Sends flags (`c` for the client's, `s` for the server's) and gives the state after each.
    fn states(&mut self, packets: &str) -> Vec<String> {
        let states = packets.split_whitespace().map(|packet| {
            let flags = packet[1..].chars().fold(0, |flags, c| {
                flags
                    | match c {
                        'S' => Packet::SYN,
                        'F' => Packet::FIN,
                        'R' => Packet::RST,
                        'P' => Packet::PSH,
                        _ => Packet::ACK,
                    }
            });
            let came = if packet.starts_with('c') { self.client(flags) } else { self.server(flags) };
            assert!(came.parse::<u16>().is_ok(), "{packet} is forwarded, not {came}");
            self.state()
        });
        states.collect()
    }

    fn state(&self) -> String {
        let first = entries(&self.lab).into_iter().find(|line| line.contains('>')).unwrap_or_default();
        first.split([' ', '>']).nth(1).unwrap_or_default().to_owned()
    }

    fn republish(&mut self, change: impl FnOnce(&mut Site)) {
        change(&mut self.site);
        self.snapshot = self.site.snapshot();
    }
}

#[test]
fn nat_follows_both_directions() {
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 1);
    assert_eq!(
        scene.states("cS sSA cA cPA sA sFA cA cFA sA"),
        [
            "SYN_RECV",
            "SYN_RECV",
            "ESTABLISHED",
            "ESTABLISHED",
            "ESTABLISHED",
            "FIN_WAIT",
            "FIN_WAIT",
            "TIME_WAIT",
            "TIME_WAIT"
        ]
    );
    assert_eq!(scene.lab.live(FIRST), (0, 1));
    assert_eq!(entries(&scene.lab), ["40000 TIME_WAIT>0", "40000 out"]);
}

#[test]
fn direct_routing_and_tunnels_follow_the_client_alone() {
    for method in [Method::DirectRoute, Method::Tunnel] {
        let mut scene = Scene::new(Proto::Tcp, method, 1);
        assert_eq!(
            scene.states("cS cA cFA cA cP"),
            ["SYN_RECV", "ESTABLISHED", "FIN_WAIT", "FIN_WAIT", "FIN_WAIT"]
        );
        assert_eq!(scene.lab.live(FIRST), (0, 1));
    }
}

#[test]
fn active_and_inactive_are_counted_once_a_change() {
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 1);
    let mut seen = Vec::new();
    for packet in ["cS", "cS", "sSA", "cA", "cFA", "cFA", "sFA", "cR"] {
        scene.states(packet);
        seen.push(scene.lab.live(FIRST));
    }
    assert_eq!(seen, [(1, 0), (1, 0), (1, 0), (1, 0), (0, 1), (0, 1), (0, 1), (0, 1)]);
    scene.lab.wait(12);
    scene.lab.expire(&scene.snapshot);
    assert_eq!((scene.lab.live(FIRST), entries(&scene.lab).len()), ((0, 0), 0));

    let mut udp = Scene::new(Proto::Udp, Method::Nat, 1);
    assert_eq!(udp.client(0), "0");
    assert_eq!(udp.lab.live(FIRST), (0, 1), "IPVS counts UDP as inactive");
}

#[test]
fn a_syn_on_a_connection_that_is_over_is_scheduled_afresh() {
    // NAT: TIME_WAIT and CLOSE, not FIN_WAIT.
    for (packets, fresh) in [("cS sSA cA sFA cFA", true), ("cS cA cR", true), ("cS sSA cA sFA", false)] {
        let mut scene = Scene::new(Proto::Tcp, Method::Nat, 2);
        scene.states(packets);
        assert_eq!(scene.client(Packet::SYN), if fresh { "1" } else { "0" }, "{packets}");
        assert_eq!(entries(&scene.lab).len(), 2);
    }
    // Without the real server's packets, FIN_WAIT is as good as over.
    let mut scene = Scene::new(Proto::Tcp, Method::DirectRoute, 2);
    scene.states("cS cA cFA");
    assert_eq!(scene.client(Packet::SYN), "1");
    assert_eq!((scene.lab.live(FIRST), scene.lab.live(DestId(1))), ((0, 0), (1, 0)));
}

#[test]
fn only_a_syn_opens_and_only_udp_opens_always() {
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 1);
    let cases = [
        (Packet::ACK, "no-entry"),
        (Packet::SYN | Packet::ACK, "no-entry"),
        (Packet::SYN | Packet::RST, "no-entry"),
        (Packet::RST, "no-entry"),
        (0, "no-entry"),
        (Packet::SYN | Packet::FIN, "tcp-flags"),
    ];
    for (flags, expected) in cases {
        assert_eq!(scene.client(flags), expected, "{flags:#x}");
    }
    let ftp = Packet::from_client(Proto::Tcp, (CLIENT.0, 20), VIP, Packet::SYN);
    assert_eq!(scene.send(&ftp), "no-entry");
    assert_eq!(scene.server(Packet::SYN | Packet::ACK), "no-entry");
    assert!(entries(&scene.lab).is_empty());
}

#[test]
fn a_sloppy_service_takes_any_packet_but_a_reset() {
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 1);
    scene.republish(|site| site.services[0].sloppy = true);
    let cases = [
        (Packet::RST, "no-entry"),
        (Packet::RST | Packet::ACK, "no-entry"),
        (Packet::SYN | Packet::FIN, "tcp-flags"),
        (Packet::ACK, "0"),
    ];
    for (flags, expected) in cases {
        assert_eq!(scene.client(flags), expected, "{flags:#x}");
    }
    assert_eq!(entries(&scene.lab), ["40000 ESTABLISHED>0", "40000 out"]);
    let state = |flags, method| {
        let mut scene = Scene::new(Proto::Tcp, method, 1);
        scene.republish(|site| site.services[0].sloppy = true);
        scene.client(flags);
        scene.state()
    };
    assert_eq!(state(Packet::FIN | Packet::ACK, Method::Nat), "CLOSE");
    assert_eq!(state(Packet::SYN | Packet::ACK, Method::Nat), "SYN_RECV");
    assert_eq!(state(Packet::ACK, Method::DirectRoute), "ESTABLISHED");
    assert_eq!(state(0, Method::DirectRoute), "NONE");
}

#[test]
fn removal_resets_drops_or_keeps() {
    for (on_removal, expected) in [(OnRemoval::Reset, "reset"), (OnRemoval::Drop, "destination-removed")] {
        let mut scene = Scene::new(Proto::Tcp, Method::Nat, 2);
        scene.republish(|site| site.services[0].on_removal = on_removal);
        scene.states("cS sSA cA");
        scene.republish(|site| site.services[0].destinations[0].removed = true);
        assert_eq!(scene.client(Packet::ACK), expected);
        // Reset: the entry is gone. Drop: it goes on dropping.
        let again = if on_removal == OnRemoval::Reset { "no-entry" } else { expected };
        assert_eq!(scene.client(Packet::ACK), again);
        assert_eq!(scene.client(Packet::SYN), "1", "a new connection is another matter");
    }
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 2);
    scene.republish(|site| site.services[0].on_removal = OnRemoval::Keep);
    scene.states("cS sSA cA");
    scene.republish(|site| {
        site.services[0].destinations[0].unscheduled = true;
        site.services[0].destinations[0].begin_again(true);
    });
    assert_eq!((scene.client(Packet::ACK), scene.server(Packet::ACK)), ("0".into(), "0".into()));
    scene.republish(|site| site.services[0].destinations[0].removed = true);
    assert_eq!(scene.client(Packet::ACK), "destination-removed");
}

/// Whoever makes the director send other answers, and however many others are reset: nobody hangs.
#[test]
fn a_reset_that_may_not_be_sent_now_is_sent_later() {
    let mut scene = Scene::new(Proto::Tcp, Method::DirectRoute, 2);
    let client = |n: u16| (Ipv4Addr::new(192, 0, 2, 7), 10_000 + n);
    let packet = |n, flags| Packet::from_client(Proto::Tcp, client(n), VIP, flags);
    for n in 0..1500 {
        scene.send(&packet(n, Packet::SYN));
        scene.send(&packet(n, Packet::ACK));
    }
    scene.republish(|site| {
        for destination in &mut site.services[0].destinations {
            destination.generation = Generation(2);
        }
    });
    for n in 0..1000 {
        let old = Packet { ttl: 1, ..packet(30_000 + n, Packet::SYN) };
        assert_eq!(scene.send(&old), "ttl-exceeded");
    }
    let came: Vec<String> = (0..1500).map(|n| scene.send(&packet(n, Packet::ACK))).collect();
    assert!(came[..1000].iter().all(|came| came == "reset"), "errors do not count");
    assert!(came[1000..].iter().all(|came| came == "destination-removed"));
    scene.lab.wait(1);
    let came: Vec<String> = (1000..1500).map(|n| scene.send(&packet(n, Packet::ACK))).collect();
    assert!(came.iter().all(|came| came == "reset"), "{came:?}");
    assert_eq!(scene.send(&packet(1200, Packet::ACK)), "no-entry");
}

#[test]
fn a_failed_destination_that_comes_back_revives_nothing() {
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 1);
    scene.states("cS sSA cA");
    scene.republish(|site| site.services[0].destinations[0].generation = Generation(2));
    assert_eq!(scene.server(Packet::ACK), "destination-removed");
    assert_eq!(scene.client(Packet::ACK), "reset");
    assert_eq!(scene.lab.live(FIRST), (0, 0));
}

#[test]
fn udp_of_a_removed_destination_moves_on_at_once() {
    let mut scene = Scene::new(Proto::Udp, Method::Nat, 2);
    assert_eq!((scene.client(0), scene.client(0)), ("0".into(), "0".into()));
    scene.republish(|site| site.services[0].destinations[0].removed = true);
    assert_eq!((scene.client(0), scene.client(0)), ("1".into(), "1".into()));
    assert_eq!((scene.lab.live(FIRST), scene.lab.live(DestId(1))), ((0, 0), (0, 1)));
}

#[test]
fn what_is_kept_is_tcp_only_without_a_walk() {
    for method in [Method::Nat, Method::DirectRoute, Method::Tunnel] {
        let keep = |site: &mut Site| {
            site.services[0].on_removal = OnRemoval::Keep;
            site.services[0].destinations[0].begin_again(true);
            site.services[0].destinations[0].intent = Intent::Maint;
        };
        let mut udp = Scene::new(Proto::Udp, method, 2);
        assert_eq!(udp.client(0), "0");
        udp.republish(keep);
        assert_eq!((udp.client(0), udp.client(0)), ("1".into(), "1".into()), "UDP is dead at once");
        assert_eq!((udp.lab.live(FIRST), udp.lab.live(DestId(1))), ((0, 0), (0, 1)));

        let mut silent = Scene::new(Proto::Udp, method, 1);
        assert_eq!(silent.client(0), "0");
        silent.republish(keep);
        silent.republish(|site| site.services[0].destinations[0].intent = Intent::Ready);
        if method == Method::Nat {
            assert_eq!(silent.server(0), "destination-removed", "and stays dead when it comes back");
        }
        silent.lab.expire(&silent.snapshot);
        assert!(entries(&silent.lab).is_empty());

        // TCP goes on through as many lives as there are.
        let mut tcp = Scene::new(Proto::Tcp, method, 2);
        assert_eq!((tcp.client(Packet::SYN), tcp.client(Packet::ACK)), ("0".into(), "0".into()));
        for _ in 0..3 {
            tcp.republish(keep);
            tcp.lab.wait(1);
            tcp.lab.expire(&tcp.snapshot);
            assert_eq!(tcp.client(Packet::ACK), "0");
            if method == Method::Nat {
                assert_eq!(tcp.server(Packet::ACK), "0");
            }
        }
        tcp.client(Packet::RST);
        tcp.lab.wait(11);
        tcp.lab.expire(&tcp.snapshot);
        assert_eq!((tcp.lab.live(FIRST), entries(&tcp.lab)), ((0, 0), vec![]), "both entries are found");
        // Or until it is told to end.
        assert_eq!((tcp.client(Packet::SYN), tcp.client(Packet::ACK)), ("1".into(), "1".into()));
        tcp.republish(|site| site.services[0].destinations[1].begin_again(true));
        tcp.republish(|site| {
            site.services[0].destinations[1].begin_again(false);
            site.services[0].destinations[1].reset = Lives { last: Generation(2), count: 2 };
        });
        assert_eq!(tcp.client(Packet::ACK), "reset");
    }
}

#[test]
fn an_idle_connection_is_still_reset_after_the_sweep_has_passed() {
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 2);
    scene.states("cS sSA cA");
    scene.republish(|site| site.services[0].destinations[0].removed = true);
    scene.lab.expire(&scene.snapshot);
    // The destination has let go of it, so that its id is free for another.
    assert_eq!(scene.lab.live(FIRST), (0, 0));
    scene.lab.wait(10);
    scene.lab.expire(&scene.snapshot);
    assert_eq!(scene.client(Packet::ACK), "reset");
    assert_eq!(scene.lab.live(FIRST), (0, 0));
}

#[test]
fn a_removed_service_loses_its_entries_to_the_sweep() {
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 1);
    scene.states("cS sSA cA");
    scene.republish(|site| site.services[0].removed = true);
    assert_eq!(scene.client(Packet::ACK), "not-ours");
    scene.lab.expire(&scene.snapshot);
    scene.lab.wait(1);
    scene.republish(|_| {});
    scene.lab.expire(&scene.snapshot);
    assert_eq!((entries(&scene.lab).len(), scene.lab.live(FIRST)), (0, (0, 0)));
}

#[test]
fn the_reset_fits_the_segment_that_it_answers() {
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 1);
    scene.states("cS sSA cA");
    scene.republish(|site| site.services[0].destinations[0].removed = true);
    let mut packet = Packet::from_client(Proto::Tcp, CLIENT, VIP, Packet::ACK | Packet::PSH).payload(b"data");
    packet.ack = 0xdead_beef;
    let (verdict, out) = scene.lab.send(&scene.snapshot, CLIENT_SIDE, &packet.bytes());
    assert_eq!(verdict.kind(), VerdictKind::Reply);
    let [(CLIENT_SIDE, frame)] = &out.sent[..] else { panic!("{out:?}") };
    let seen = Seen::of(frame);
    let tcp = seen.tcp.clone().expect("TCP");
    assert_eq!((seen.flow().0.port(), seen.flow().1.port(), seen.ip.time_to_live), (80, 40_000, 64));
    assert_eq!((tcp.rst, tcp.ack, tcp.sequence_number), (true, false, 0xdead_beef));
    // A reset is not answered by a reset.
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 1);
    scene.states("cS sSA cA");
    scene.republish(|site| site.services[0].destinations[0].removed = true);
    assert_eq!(scene.client(Packet::RST), "destination-removed");
    // Without its destination the way back is not found any more; the sweep meets it.
    assert_eq!(entries(&scene.lab), ["40000 out"]);
    scene.lab.expire(&scene.snapshot);
    assert!(entries(&scene.lab).is_empty());
}

#[test]
fn entries_live_as_long_as_their_state_says() {
    let lives =
        [("cS", 60), ("cS sSA cA", 900), ("cS sSA cA sFA", 120), ("cS sSA cA cFA", 60), ("cS cA cR", 10)];
    for (packets, seconds) in lives {
        let mut scene = Scene::new(Proto::Tcp, Method::Nat, 1);
        scene.states(packets);
        scene.lab.wait(seconds);
        scene.lab.expire(&scene.snapshot);
        assert_eq!(entries(&scene.lab).len(), 2, "{packets} is not early");
        scene.lab.wait(1);
        scene.lab.expire(&scene.snapshot);
        assert_eq!(entries(&scene.lab).len(), 0, "{packets} is late");
    }
}

#[test]
fn an_entry_that_is_due_is_not_used_before_the_sweep_comes() {
    let mut scene = Scene::new(Proto::Udp, Method::Nat, 2);
    assert_eq!(scene.client(0), "0");
    scene.lab.wait(300);
    assert_eq!(scene.client(0), "0");
    scene.lab.wait(301);
    assert_eq!(scene.server(0), "no-entry");
    assert_eq!(scene.client(0), "1");
    assert_eq!(entries(&scene.lab), ["40000 UDP>1", "40000 out"]);
}

#[test]
fn expiry_by_turns_is_at_most_two_seconds_late_and_bounded() {
    let mut scene = Scene::new(Proto::Udp, Method::Nat, 1);
    for port in 1000..1500 {
        let packet = Packet::from_client(Proto::Udp, (CLIENT.0, port), VIP, 0);
        scene.send(&packet);
    }
    let opened = scene.lab.now;
    let second = sheave_pipeline::Time::SECOND;
    while !scene.lab.shared.tables.is_empty() {
        let due = scene.lab.pipeline.next_due(scene.lab.now);
        scene.lab.now = due.max(scene.lab.now.after(second / 1000));
        scene.lab.tick(&scene.snapshot);
        let age = scene.lab.now.0 - opened.0;
        assert!(age <= 302 * second, "late");
        assert!(age >= 300 * second || scene.lab.shared.tables.len() == 1000, "early");
    }
    assert_eq!(scene.lab.live(FIRST), (0, 0));
}

#[test]
fn gaps_longer_than_ticks_can_count_expire_everything() {
    // 2^16 seconds later the ticks are the same again.
    let mut scene = Scene::new(Proto::Udp, Method::Nat, 2);
    scene.lab.expire(&scene.snapshot);
    assert_eq!(scene.client(0), "0");
    scene.lab.wait(65_536);
    scene.lab.expire(&scene.snapshot);
    assert_eq!(scene.client(0), "1");
}

#[test]
fn nat_skips_a_destination_whose_reply_key_is_taken() {
    // Two services share their real servers; one client port is used towards both.
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 2);
    scene.republish(|site| {
        site.add(vip(1), 80, Proto::Tcp, Method::Nat, 2);
    });
    assert_eq!(scene.client(Packet::SYN), "0");
    let other = Packet::from_client(Proto::Tcp, CLIENT, (vip(1), 80), Packet::SYN);
    assert_eq!(scene.send(&other), "3", "real server 0 is taken, so it goes to 1");
    // The replies keep apart.
    let reply = Packet::from_real(Proto::Tcp, (real(1), NAT_REAL_PORT), CLIENT, Packet::SYN | Packet::ACK);
    let (_, out) = scene.lab.send(&scene.snapshot, SERVER_SIDE, &reply.bytes());
    assert_eq!(*Seen::of(&out.sent[0].1).flow().0.ip(), vip(1));
    // A third service finds both taken.
    scene.republish(|site| {
        site.add(vip(2), 80, Proto::Tcp, Method::Nat, 2);
    });
    let third = Packet::from_client(Proto::Tcp, CLIENT, (vip(2), 80), Packet::SYN);
    assert_eq!(scene.send(&third), "nat-tuple-in-use");
    assert_eq!(scene.lab.reason(Reason::NatTupleInUse), 1);
    // Nothing is left of the attempt, and when the first has ended, its real server is free for the third.
    assert_eq!(entries(&scene.lab).len(), 4);
    scene.states("cR");
    scene.lab.wait(61);
    assert_eq!(scene.send(&third), "4");
}

#[test]
fn a_full_table_refuses_and_recovers() {
    let mut site = Site::with(Proto::Udp, Method::Nat, 1);
    let snapshot = site.snapshot();
    let mut lab = Lab::sized(Resolve::Control, 8, 100);
    let mut full = 0;
    for port in 1000..1200 {
        let packet = Packet::from_client(Proto::Udp, (CLIENT.0, port), VIP, 0);
        let (verdict, _) = lab.send(&snapshot, CLIENT_SIDE, &packet.bytes());
        full += u32::from(verdict.reason() == Some(Reason::TableFull));
    }
    assert!(full > 0);
    // Every connection that was counted has both entries, the others have none.
    let (_, inactive) = lab.live(FIRST);
    assert_eq!(inactive, 200 - full);
    assert_eq!(entries(&lab).len(), 2 * inactive as usize);
    lab.wait(302);
    lab.expire(&snapshot);
    assert_eq!((lab.live(FIRST), lab.shared.tables.len()), ((0, 0), 0));
}

#[test]
fn whoever_follows_is_told_of_every_change_of_state() {
    let mut scene = Scene::new(Proto::Tcp, Method::Nat, 1);
    let (writer, mut reader) = sheave_table::change::ring(64);
    scene.lab.pipeline.follow(writer);
    scene.states("cS cS sSA cA cA cR");
    scene.lab.wait(11);
    scene.lab.expire(&scene.snapshot);
    let nothing = sheave_table::Payload::default();
    let name = |payload| if payload == nothing { "-" } else { Entry::from(payload).state.name() };
    let told: Vec<_> = std::iter::from_fn(|| reader.pop()).map(|c| (name(c.old), name(c.new))).collect();
    assert_eq!(
        told,
        [
            ("-", "SYN_RECV"),
            ("SYN_RECV", "SYN_RECV"),
            ("SYN_RECV", "ESTABLISHED"),
            ("ESTABLISHED", "CLOSE"),
            ("CLOSE", "-")
        ]
    );
    assert_eq!(reader.lost(), 0);
}
