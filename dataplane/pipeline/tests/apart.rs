//! Who pays for a flood: the listen that it comes to, and nobody else.

use sheave_pipeline::counters::{self, Extra};
use sheave_pipeline::entry::{Entry, Flags, State};
use sheave_pipeline::ids::DestId;
use sheave_pipeline::key::{KeyParts, Side};
use sheave_pipeline::snapshot::{Method, Ports};
use sheave_pipeline::sticky::Persistence;
use sheave_pipeline::testing::{Lab, NAT_REAL_PORT, Packet, Site, real, vip};
use sheave_pipeline::time::Seconds;
use sheave_pipeline::{Reason, Resolve, Snapshot, Time};
use sheave_proto::wire::flow::Proto;
use std::net::Ipv4Addr;

const SYN: u8 = Packet::SYN;
const ACK: u8 = Packet::ACK;
const MILLI: u64 = Time::SECOND / 1000;
/// Connections that may have begun without being established.
const HALF_OPEN: u64 = 4096;
/// What a single listen may have of them.
const SHARE: u64 = HALF_OPEN / 4 * 3;
/// The same of UDP, which has three times as many: four fifths, when none is old enough to make room.
const UDP_SHARE: u64 = 3 * HALF_OPEN / 5 * 4 + 3;

type Client = (Ipv4Addr, u16);

fn client(n: u64) -> Client {
    let n = u32::try_from(n).expect("few");
    (Ipv4Addr::from(0x0a00_0000 + n / 50_000), 1024 + u16::try_from(n % 50_000).expect("it fits"))
}

/// A service each on VIP 0, 1, ...
struct Scene {
    lab: Lab,
    snapshot: Snapshot,
    services: Vec<(Proto, Method)>,
}

impl Scene {
    fn new(services: &[(Proto, Method)], connections: u64, rate: u32) -> Scene {
        let mut site = Site::default();
        (site.new_connections, site.half_open) = (rate, HALF_OPEN);
        for (n, (proto, method)) in (0u8..).zip(services) {
            // Each on real servers of its own, so that replies are not ambiguous.
            let service = site.add(vip(n), 80, *proto, *method, 1);
            service.destinations[0].addr = real(n).into();
        }
        let lab = Lab::sized(Resolve::Control, connections, 600);
        Scene { lab, snapshot: site.snapshot(), services: services.to_vec() }
    }

    fn send(&mut self, packet: &Packet) -> Result<DestId, Reason> {
        let verdicts = self.lab.burst(&self.snapshot, &[packet.framed()]);
        self.lab.drain();
        verdicts[0].reason().map_or_else(|| Ok(verdicts[0].destination.expect("named")), Err)
    }

    /// A client's packet to the service on VIP `n`.
    fn client(&mut self, n: u8, from: Client, flags: u8) -> Result<DestId, Reason> {
        let proto = self.services[usize::from(n)].0;
        self.send(&Packet::from_client(proto, from, (vip(n), 80), flags))
    }

    fn reply(&mut self, n: u8, to: Client, flags: u8) -> Result<DestId, Reason> {
        let proto = self.services[usize::from(n)].0;
        self.send(&Packet::from_real(proto, (real(n), NAT_REAL_PORT), to, flags))
    }

    /// The first packets of so many connections to the service on VIP `n`, so many a millisecond. How many were refused.
    fn flood(&mut self, n: u8, clients: std::ops::Range<u64>, each: usize) -> usize {
        let clients: Vec<u64> = clients.collect();
        let mut refused = 0;
        for burst in clients.chunks(each) {
            refused += burst.iter().filter(|c| self.client(n, client(**c), SYN).is_err()).count();
            self.lab.now = self.lab.now.after(MILLI);
            self.lab.tick(&self.snapshot);
        }
        refused
    }

    fn in_flood(&self) -> bool {
        self.lab.shared.live.worker(0).flood().since.is_some()
    }

    fn half_open(&self) -> u64 {
        self.lab.shared.live.half_open(1)
    }

    fn entries(&self) -> u64 {
        self.lab.shared.tables.len() as u64
    }

    fn extra(&self, what: Extra) -> u64 {
        self.lab.page.get(counters::extra(what))
    }

    fn entry(&self, of: Client) -> Option<Entry> {
        let (mut next, mut found) = (Some(0), None);
        while let Some(from) = next {
            next = self.lab.shared.tables.scan(from, 1 << 20, |_, key, payload| {
                let parts = KeyParts::of(key);
                if matches!(parts.side, Side::In(_)) && parts.client == (of.0.into(), of.1) {
                    found = Some(Entry::from(payload));
                }
            });
        }
        found
    }
}

const NAT: (Proto, Method) = (Proto::Tcp, Method::Nat);

#[test]
fn a_flood_of_one_listen_by_rate_leaves_the_others_alone() {
    let mut scene = Scene::new(&[NAT, NAT, (Proto::Tcp, Method::DirectRoute)], 16_384, 500);
    assert!(scene.flood(0, 0..2000, 50) > 1000);
    assert!(scene.in_flood());
    for n in 3000..3400 {
        assert_eq!(scene.client(1, client(n), SYN), Ok(DestId(1)), "{n}");
        assert_eq!(scene.client(2, client(n), SYN), Ok(DestId(2)), "{n}");
    }
    assert_eq!((scene.extra(Extra::Adrift), scene.client(0, client(3000), SYN).is_ok()), (0, false));
}

#[test]
fn a_flood_of_one_listen_below_the_rate_leaves_room_for_the_others() {
    let mut scene = Scene::new(&[NAT, NAT], 16_384, 1_000_000);
    let refused = scene.flood(0, 0..10_000, 100) as u64;
    assert_eq!((refused, scene.half_open()), (10_000 - SHARE, SHARE));
    // A second one gets three quarters of the quarter that is left, and nobody ever gets the last of it.
    let refused = scene.flood(1, 10_000..20_000, 100) as u64;
    assert_eq!(refused, 10_000 - (HALF_OPEN - SHARE) / 4 * 3);
    assert!(scene.in_flood());
    // They expire after a minute.
    scene.lab.wait(62);
    scene.lab.expire(&scene.snapshot);
    scene.lab.tick(&scene.snapshot);
    assert_eq!((scene.half_open(), scene.in_flood()), (0, false));
    assert_eq!(scene.client(0, client(1), SYN), Ok(DestId(0)));
}

/// Queries of one datagram each, over as long as they are remembered, far below the rate.
#[test]
fn datagrams_that_nobody_sees_answered_are_no_flood() {
    for method in [Method::DirectRoute, Method::Tunnel, Method::Nat] {
        let mut scene = Scene::new(&[(Proto::Udp, method), NAT], 16_384, 200_000);
        let queries = 3 * UDP_SHARE;
        let mut refused = 0;
        for n in 0..queries {
            refused += u64::from(scene.client(0, client(n), 0).is_err());
            if n % 256 == 0 {
                scene.lab.wait(1);
                scene.lab.tick(&scene.snapshot);
            }
        }
        assert!(!scene.in_flood() && scene.half_open() == 0);
        assert_eq!(scene.client(1, client(0), SYN), Ok(DestId(1)));
        // No more than their share is remembered: later ones take the place of earlier ones.
        let each = if method == Method::Nat { 2 } else { 1 };
        assert_eq!(refused, 0, "{method:?}");
        assert!(scene.entries() <= each * UDP_SHARE + 2, "{method:?}: {}", scene.entries());
        assert!(scene.extra(Extra::Evicted) > UDP_SHARE, "{method:?}");
    }
}

#[test]
fn a_flood_of_datagrams_keeps_to_its_share_and_to_its_listen() {
    let services =
        [(Proto::Udp, Method::Nat), NAT, (Proto::Udp, Method::Nat), (Proto::Udp, Method::DirectRoute)];
    let mut scene = Scene::new(&services, 16_384, 1_000_000);
    let refused = scene.flood(0, 0..20_000, 100) as u64;
    assert_eq!(refused, 20_000 - UDP_SHARE);
    assert_eq!(scene.entries(), 2 * UDP_SHARE);
    for n in [1, 2, 3] {
        assert_eq!(scene.client(n, client(30_000), SYN), Ok(DestId(n.into())), "{n}");
    }
    assert_eq!(scene.client(0, client(30_000), 0), Err(Reason::Flood));
    // It is over as soon as its entries may make room, long before they expire.
    scene.lab.wait(3);
    let served = (0..100).filter(|n| scene.client(0, client(30_000 + n), 0).is_ok()).count();
    assert!(served > 90 && !scene.in_flood(), "{served}");
    // Without entries the others find their way all the same, and the same one when they get an entry.
    assert_eq!(scene.flood(3, 40_000..60_000, 100), 0);
    assert!(scene.extra(Extra::Adrift) > 0);
}

/// A flood with addresses that are not its own, which live real servers answer.
#[test]
fn a_real_server_s_answer_establishes_nothing() {
    let mut scene = Scene::new(&[NAT, NAT], 16_384, 1_000_000);
    for n in 0..SHARE {
        assert_eq!(scene.client(0, client(n), SYN), Ok(DestId(0)), "{n}");
        assert_eq!(scene.reply(0, client(n), SYN | ACK), Ok(DestId(0)), "{n}");
    }
    assert_eq!(scene.half_open(), SHARE);
    assert_eq!(scene.client(0, client(50_000), SYN), Err(Reason::SynCookie));
    assert_eq!(scene.client(1, client(50_000), SYN), Ok(DestId(1)));
    // Who answers in turn is established.
    let entry = scene.entry(client(7)).expect("an entry");
    assert_eq!((entry.state.name(), entry.flags.contains(Flags::ASSURED)), ("SYN_RECV", false));
    assert_eq!(scene.client(0, client(7), ACK), Ok(DestId(0)));
    let entry = scene.entry(client(7)).expect("an entry");
    assert_eq!((entry.state.name(), entry.flags.contains(Flags::ASSURED)), ("ESTABLISHED", true));
    assert_eq!(scene.half_open(), SHARE);
}

#[test]
fn who_was_only_answered_makes_room() {
    let mut scene = Scene::new(&[NAT], 64, 0);
    let answered = |scene: &mut Scene, n: u64| {
        scene.client(0, client(n), SYN).is_ok() && scene.reply(0, client(n), SYN | ACK).is_ok()
    };
    let mut n = 0;
    while answered(&mut scene, n) {
        n += 1;
    }
    assert_eq!(scene.client(0, client(n), SYN), Err(Reason::TableFull));
    scene.lab.wait(3);
    assert!((1000..1010).all(|n| answered(&mut scene, n) && scene.client(0, client(n), ACK).is_ok()));
    assert!(scene.extra(Extra::Evicted) > 5);
}

/// Of UDP, only what goes both ways, or on, for more than a second is kept before others.
#[test]
fn a_datagram_and_its_answer_are_no_conversation() {
    let mut scene = Scene::new(&[(Proto::Udp, Method::Nat)], 64, 0);
    let assured = |scene: &Scene| scene.entry(client(0)).expect("there").flags.contains(Flags::ASSURED);
    scene.client(0, client(0), 0).expect("forwarded");
    scene.reply(0, client(0), 0).expect("forwarded");
    assert!(!assured(&scene) && scene.entry(client(0)).expect("there").state == State::Udp);
    scene.lab.wait(2);
    scene.reply(0, client(0), 0).expect("forwarded");
    assert!(assured(&scene));

    let mut scene = Scene::new(&[(Proto::Udp, Method::Nat)], 64, 0);
    scene.client(0, client(0), 0).expect("forwarded");
    scene.lab.wait(2);
    scene.client(0, client(0), 0).expect("forwarded");
    assert!(!assured(&scene), "nobody has answered");
}

/// In a table full of entries that may go, whatever needs a place gets one.
#[test]
fn a_template_finds_room_like_a_connection() {
    let mut site = Site::default();
    // A range: its keys lie beside those of templates.
    site.add(vip(0), 80, Proto::Tcp, Method::DirectRoute, 1).ports = Ports::Range(80, 81);
    site.add(vip(1), 80, Proto::Tcp, Method::DirectRoute, 1);
    site.persistent = vec![(1, Persistence { timeout: Seconds(360), prefix: None })];
    let lab = Lab::sized(Resolve::Control, 64, 40);
    let mut scene =
        Scene { lab, snapshot: site.snapshot(), services: vec![(Proto::Tcp, Method::DirectRoute); 2] };
    let full = (0..2000).filter(|n| scene.client(0, client(*n), SYN) == Err(Reason::TableFull)).count();
    assert!(full > 1000);
    scene.lab.wait(3);
    for n in 0..50 {
        assert_eq!(scene.client(1, client(n * 50_000), SYN), Ok(DestId(1)), "{n}");
    }
}
