//! Floods of new connections: who is established goes on, the table does not fill up, and who comes during a flood is
//! served where that needs no entry.

use sheave_pipeline::counters::{self, Extra};
use sheave_pipeline::entry::{Entry, Flags, State};
use sheave_pipeline::ids::DestId;
use sheave_pipeline::key::{KeyParts, Side};
use sheave_pipeline::snapshot::{Limits, Method, SchedulerKind};
use sheave_pipeline::tcp_state::TcpState;
use sheave_pipeline::testing::{Lab, NAT_REAL_PORT, Packet, Site, real, vip};
use sheave_pipeline::{Reason, Resolve, Snapshot, Time};
use sheave_proto::wire::flow::Proto;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const VIP: (Ipv4Addr, u16) = (vip(0), 80);
const SYN: u8 = Packet::SYN;
const ACK: u8 = Packet::ACK;
/// Connections that may have begun without being established.
const HALF_OPEN: u64 = 16_384;
/// What a single listen may have of them.
const SHARE: u64 = HALF_OPEN / 4 * 3;
const MICRO: u64 = Time::SECOND / 1_000_000;

type Client = (Ipv4Addr, u16);

/// The `n`th client that means it.
fn client(n: u32) -> Client {
    (Ipv4Addr::from(0xc000_0200 + n / 10_000), 10_000 + u16::try_from(n % 10_000).expect("it fits"))
}

/// The `n`th source of a flood.
fn stranger(n: u32) -> Client {
    (Ipv4Addr::from(0x0a00_0000 + n / 50_000), 1024 + u16::try_from(n % 50_000).expect("it fits"))
}

fn packet(from: Client, flags: u8) -> Packet {
    Packet::from_client(Proto::Tcp, from, VIP, flags)
}

struct Scene {
    lab: Lab,
    site: Site,
    snapshot: Snapshot,
}

impl Scene {
    fn new(mut site: Site, connections: u64, rate: u32) -> Scene {
        (site.new_connections, site.half_open) = (rate, HALF_OPEN);
        Scene { lab: Lab::sized(Resolve::Control, connections, 600), snapshot: site.snapshot(), site }
    }

    fn tcp(method: Method, reals: u8, rate: u32) -> Scene {
        Scene::new(Site::with(Proto::Tcp, method, reals), 65_536, rate)
    }

    /// Sends packets as one burst; for each, the destination or the reason.
    fn burst(&mut self, packets: &[Packet]) -> Vec<Result<DestId, Reason>> {
        let frames: Vec<_> = packets.iter().map(Packet::framed).collect();
        let verdicts = self.lab.burst(&self.snapshot, &frames);
        self.lab.drain();
        verdicts.iter().map(|v| v.reason().map_or_else(|| Ok(v.destination.expect("named")), Err)).collect()
    }

    fn send(&mut self, packet: &Packet) -> Result<DestId, Reason> {
        self.burst(std::slice::from_ref(packet))[0]
    }

    fn client(&mut self, from: Client, flags: u8) -> Result<DestId, Reason> {
        self.send(&packet(from, flags))
    }

    /// Opens a connection with a handshake; where it goes.
    fn establish(&mut self, from: Client, method: Method) -> DestId {
        let to = self.client(from, SYN).expect("a destination");
        if method == Method::Nat {
            let reals = &self.site.services[0].destinations;
            let IpAddr::V4(addr) = reals.iter().find(|d| d.id == to).expect("there").addr else { panic!() };
            let reply = Packet::from_real(Proto::Tcp, (addr, NAT_REAL_PORT), from, SYN | ACK);
            self.send(&reply).expect("forwarded");
        }
        assert_eq!(self.client(from, ACK), Ok(to));
        to
    }

    /// So many SYNs of strangers, one a microsecond.
    fn flood(&mut self, strangers: std::ops::Range<u32>) -> BTreeMap<&'static str, u64> {
        let mut came = BTreeMap::new();
        let strangers: Vec<u32> = strangers.collect();
        for burst in strangers.chunks(50) {
            let packets: Vec<_> = burst.iter().map(|n| packet(stranger(*n), SYN)).collect();
            for outcome in self.burst(&packets) {
                *came.entry(outcome.map_or_else(Reason::name, |_| "forward")).or_default() += 1;
            }
            self.lab.now = self.lab.now.after(50 * MICRO);
            self.lab.tick(&self.snapshot);
        }
        came
    }

    fn extra(&self, what: Extra) -> u64 {
        self.lab.page.get(counters::extra(what))
    }

    fn entries(&self) -> usize {
        self.lab.shared.tables.len()
    }

    /// The state of a client's connection.
    fn state(&self, of: Client) -> Option<(State, Flags)> {
        let (mut next, mut found) = (Some(0), None);
        while let Some(from) = next {
            next = self.lab.shared.tables.scan(from, 1 << 20, |_, key, payload| {
                let parts = KeyParts::of(key);
                if matches!(parts.side, Side::In(_)) && parts.client == (of.0.into(), of.1) {
                    let entry = Entry::from(payload);
                    found = Some((entry.state, entry.flags));
                }
            });
        }
        found
    }

    fn in_flood(&self) -> bool {
        self.lab.shared.live.worker(0).flood().since.is_some()
    }
}

/// A million distinct SYNs in a second, with as many connections established as the table may have beside the budget
/// for those that are not: none of them is lost, and the table grows by no more than that budget.
#[test]
fn a_million_syns_hurt_nobody() {
    const ESTABLISHED: u32 = 40_000;
    for method in [Method::Nat, Method::DirectRoute, Method::Tunnel] {
        let mut scene = Scene::tcp(method, 8, 200_000);
        let homes: Vec<DestId> = (0..ESTABLISHED).map(|n| scene.establish(client(n), method)).collect();
        let before = scene.entries();
        let came = scene.flood(0..1_000_000);
        let each = if method == Method::Nat { 2 } else { 1 };
        let budget = usize::try_from(SHARE).expect("it fits") * each;
        assert!(scene.entries() <= before + budget, "{method:?}: {} after {before}", scene.entries());
        assert_eq!(came.get("table-full"), None);
        assert!(scene.in_flood());
        for (n, home) in (0..).zip(&homes) {
            assert_eq!(scene.client(client(n), ACK), Ok(*home), "{method:?} {n}");
        }
        match method {
            Method::Nat => assert_eq!(came["syn-cookie"], 1_000_000 - SHARE),
            _ => {
                assert_eq!((came["forward"], scene.extra(Extra::Adrift)), (1_000_000, 1_000_000 - SHARE))
            }
        }
        assert_eq!(scene.extra(Extra::Evicted), 0);
    }
}

#[test]
fn a_flood_goes_by_the_rate_as_long_as_there_is_room() {
    let mut scene = Scene::tcp(Method::DirectRoute, 4, 1000);
    let came = scene.flood(0..20_000);
    // A second's worth at once and one more a millisecond, until there was one too many.
    assert_eq!(came["forward"], 20_000);
    assert!((1000..1010).contains(&scene.entries()), "{}", scene.entries());
    let flood = scene.lab.shared.live.worker(0).flood();
    assert_eq!((flood.times, flood.rate), (1, u64::try_from(scene.entries()).expect("it fits") + 1));
    scene.lab.wait(3);
    scene.lab.tick(&scene.snapshot);
    let flood = scene.lab.shared.live.worker(0).flood();
    assert_eq!((flood.times, flood.since), (1, None));
    assert!((3 * Time::SECOND..4 * Time::SECOND).contains(&flood.lasted));
}

#[test]
fn a_client_of_a_flood_stays_with_its_destination() {
    for scheduler in
        [SchedulerKind::Wlc, SchedulerKind::Rr, SchedulerKind::Sh(Default::default()), SchedulerKind::First]
    {
        let mut scene = Scene::tcp(Method::DirectRoute, 8, 100);
        scene.site.services[0].scheduler = scheduler;
        scene.snapshot = scene.site.snapshot();
        scene.flood(0..1000);
        let entries = scene.entries();
        let homes: Vec<_> = (0..40).map(|n| scene.client(client(n * 10_000), SYN)).collect();
        assert_eq!(scene.entries(), entries, "{scheduler:?}: no entry for a SYN");
        // In the second after the flood there are tokens for entries.
        scene.lab.wait(2);
        for (n, home) in (0..).zip(&homes) {
            assert_eq!(scene.client(client(n * 10_000), ACK), *home, "{scheduler:?} {n}");
            let syn_recv = State::Tcp(TcpState::SynRecv);
            assert_eq!(scene.state(client(n * 10_000)), Some((syn_recv, Flags::NO_OUTPUT)));
            assert_eq!(scene.client(client(n * 10_000), ACK), *home);
            let established = State::Tcp(TcpState::Established);
            let flags = Flags::NO_OUTPUT.with(Flags::ASSURED);
            assert_eq!(scene.state(client(n * 10_000)), Some((established, flags)));
        }
        scene.lab.wait(70);
        assert_eq!(scene.client(client(0), ACK), homes[0], "long after");
        assert_eq!(scene.client(client(70_000_000), ACK), Err(Reason::NoEntry), "it is over");
        if scheduler != SchedulerKind::First {
            let used: std::collections::BTreeSet<_> = homes.iter().flatten().collect();
            assert!(used.len() >= 7, "{scheduler:?}: {used:?}");
        }
    }
}

#[test]
fn without_room_for_an_entry_every_packet_finds_its_way() {
    let mut scene = Scene::tcp(Method::Tunnel, 8, 10);
    scene.flood(0..1000);
    let entries = scene.entries();
    for n in 0..100 {
        let home = scene.client(client(n), SYN);
        let fin = scene.client(client(n), Packet::FIN | ACK);
        assert!(home.is_ok() && fin == home, "{n}: a FIN needs no entry");
        for flags in [ACK, ACK | Packet::PSH, Packet::RST] {
            assert_eq!(scene.client(client(n), flags), home, "{n} {flags}");
        }
    }
    assert!(scene.entries() <= entries + 1, "{} after {entries}", scene.entries());
    assert_eq!(scene.client(client(0), SYN | Packet::FIN), Err(Reason::TcpFlags));
}

#[test]
fn the_choice_respects_weights_and_who_may_be_used() {
    let mut scene = Scene::tcp(Method::DirectRoute, 4, 10);
    let destinations = &mut scene.site.services[0].destinations;
    destinations[1].weight = 0;
    destinations[2].weight = 3;
    destinations[3].limits = Limits { connections: 1, ..Limits::default() };
    scene.snapshot = scene.site.snapshot();
    scene.lab.shared.live.destination(DestId(3)).enter(true);
    scene.flood(0..100);
    let mut chosen: BTreeMap<u16, u32> = BTreeMap::new();
    for n in 0..4000 {
        *chosen.entry(scene.client(client(n), SYN).expect("a destination").0).or_default() += 1;
    }
    assert_eq!(chosen.keys().copied().collect::<Vec<_>>(), [0, 2]);
    let heavy = f64::from(chosen[&2]) / 4000.0;
    assert!((0.65..0.85).contains(&heavy), "three quarters, by weight: {heavy}");
}

#[test]
fn nat_needs_entries() {
    let mut scene = Scene::tcp(Method::Nat, 2, 10);
    scene.flood(0..100);
    let entries = scene.entries();
    assert_eq!(scene.client(client(0), SYN), Err(Reason::SynCookie));
    assert_eq!(scene.client(client(0), ACK), Err(Reason::CookieWrong));
    assert_eq!(scene.client(client(0), Packet::RST), Err(Reason::NoEntry));
    assert_eq!(scene.entries(), entries);
    scene.lab.wait(3);
    assert!(scene.client(client(0), SYN).is_ok());
}

#[test]
fn in_a_mixed_service_the_choice_says_who_needs_an_entry() {
    let mut scene = Scene::tcp(Method::DirectRoute, 2, 10);
    scene.site.services[0].destinations[1].method = Method::Nat;
    scene.snapshot = scene.site.snapshot();
    scene.flood(0..100);
    let outcomes: Vec<_> = (0..40).map(|n| scene.client(client(n), SYN)).collect();
    assert!(outcomes.contains(&Ok(DestId(0))) && outcomes.contains(&Err(Reason::SynCookie)));
    assert!(!outcomes.contains(&Ok(DestId(1))));
}

#[test]
fn datagrams_find_their_way_too() {
    for (method, expected) in [(Method::DirectRoute, None), (Method::Nat, Some(Reason::Flood))] {
        let mut scene = Scene::new(Site::with(Proto::Udp, method, 4), 4096, 10);
        let datagram = |n| Packet::from_client(Proto::Udp, client(n), VIP, 0);
        for n in 100..300 {
            let _outcome = scene.send(&datagram(n));
        }
        let entries = scene.entries();
        let first = scene.send(&datagram(0));
        assert_eq!(first.err(), expected);
        assert_eq!(scene.send(&datagram(0)), first);
        assert_eq!(scene.entries(), entries);
    }
}

#[test]
fn too_many_that_are_not_established_are_a_flood_too() {
    let mut scene = Scene::new(Site::with(Proto::Tcp, Method::DirectRoute, 2), 32_768, 1_000_000);
    scene.flood(0..12_288);
    assert!(!scene.in_flood());
    scene.flood(12_288..12_289);
    assert!(scene.in_flood());
    // They expire after a minute; then there is room again.
    scene.lab.wait(61);
    for _ in 0..1000 {
        scene.lab.now = scene.lab.now.after(Time::SECOND / 1000);
        scene.lab.tick(&scene.snapshot);
    }
    scene.lab.wait(1);
    scene.lab.tick(&scene.snapshot);
    assert!(!scene.in_flood());
    assert_eq!(scene.entries(), 0);
    assert!(scene.client(client(0), SYN).is_ok() && scene.entries() == 1);
}

#[test]
fn counts_of_who_is_not_established_are_exact() {
    let mut scene = Scene::tcp(Method::Nat, 2, 1000);
    let pending = |scene: &Scene| scene.lab.shared.live.half_open(1);
    scene.client(client(0), SYN).expect("forwarded");
    scene.client(client(1), SYN).expect("forwarded");
    assert_eq!(pending(&scene), 2);
    scene.client(client(0), ACK).expect("forwarded");
    assert_eq!(pending(&scene), 1);
    scene.client(client(1), Packet::RST).expect("forwarded");
    assert_eq!(pending(&scene), 1, "closed before it was established");
    scene.lab.wait(2000);
    scene.lab.expire(&scene.snapshot);
    assert_eq!((pending(&scene), scene.entries()), (0, 0));
}

/// A table that is full of established connections and of some that are not: the latter go first, the former never.
#[test]
fn in_a_full_table_who_is_not_established_makes_room() {
    let mut scene = Scene::new(Site::with(Proto::Tcp, Method::Nat, 4), 64, 0);
    let mut homes = Vec::new();
    for n in 0..40 {
        homes.push((n, scene.establish(client(n), Method::Nat)));
    }
    let mut n = 1000;
    while scene.client(client(n), SYN).is_ok() {
        n += 1;
    }
    assert_eq!((scene.client(client(n), SYN), scene.extra(Extra::Evicted)), (Err(Reason::TableFull), 0));
    scene.lab.wait(3);
    let later = (2000..2200).filter(|n| scene.client(client(*n), SYN).is_ok()).count();
    let evicted = scene.extra(Extra::Evicted);
    assert!(later > 4 && evicted > 4, "{later} {evicted}");
    for (n, home) in homes {
        assert_eq!(scene.client(client(n), ACK), Ok(home), "{n}");
        let IpAddr::V4(addr) = scene.site.services[0].destinations[usize::from(home.0)].addr else {
            panic!()
        };
        assert!(addr.octets()[3] >= real(0).octets()[3]);
        let reply = Packet::from_real(Proto::Tcp, (addr, NAT_REAL_PORT), client(n), ACK);
        assert_eq!(scene.send(&reply), Ok(home), "{n}");
    }
    scene.lab.wait(2000);
    scene.lab.expire(&scene.snapshot);
    assert_eq!(scene.entries(), 0, "nothing is left behind");
    assert!((0..4).all(|id| scene.lab.live(DestId(id)) == (0, 0)));
}

/// A table that is full of established connections: who began without an entry goes on without one.
#[test]
fn in_a_full_table_who_has_no_entry_goes_on_without() {
    let mut scene = Scene::new(Site::with(Proto::Tcp, Method::DirectRoute, 4), 64, 0);
    for n in 0..2000 {
        let _full = scene.client(client(n), SYN).and_then(|_| scene.client(client(n), ACK));
    }
    scene.site.new_connections = 10;
    scene.snapshot = scene.site.snapshot();
    scene.flood(0..1000);
    let homes: Vec<_> = (5000..5050).map(|n| (n, scene.client(client(n), SYN))).collect();
    for (n, home) in homes {
        // There may be one more entry, but there is no room.
        scene.lab.wait(1);
        assert!(home.is_ok() && scene.client(client(n), ACK) == home, "{n}: {home:?}");
        assert_eq!(scene.state(client(n)), None, "{n}");
    }
}

/// The clients of a destination that was removed all speak at once: a thousand of them are told.
#[test]
fn resets_are_limited() {
    let mut scene = Scene::tcp(Method::DirectRoute, 1, 0);
    for n in 0..1200 {
        scene.establish(client(n), Method::DirectRoute);
    }
    scene.site.services[0].destinations[0].removed = true;
    scene.snapshot = scene.site.snapshot();
    let outcomes: Vec<_> = (0..1200).map(|n| scene.client(client(n), ACK)).collect();
    let count = |reason| outcomes.iter().filter(|outcome| **outcome == Err(reason)).count();
    assert_eq!((count(Reason::Reset), count(Reason::Removed)), (1000, 200));
}
