//! Desired states in, snapshots out.

use proptest::prelude::*;
use sheave_frame::PortId;
use sheave_pipeline::Snapshot;
use sheave_pipeline::ids::{DestId, ServiceId};
use sheave_pipeline::snapshot::{Destination, Method, Service, Tunnel};
use sheave_plan::{Carrier, Compiler, Desired, Environment, KernelNeighbour, KernelRoute, Link, Steered};
use sheave_proto::config::parse;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tunnel::Encapsulation;
use std::collections::BTreeMap;
use std::net::IpAddr;

const BASE: &str = r#"
    [[interface]]
    name = "d0"
    mac = "02:00:00:00:00:d0"
    addresses = ["198.18.0.1/24"]

    [[interface]]
    name = "d1"
    mac = "02:00:00:00:00:d1"
    addresses = ["198.19.1.1/24", "10.0.0.1/32"]
    mtu = 1400

    [[neighbour]]
    address = "198.19.1.11"
    mac = "02:00:00:00:01:11"
    interface = "d1"

    [[route]]
    to = "0.0.0.0/0"
    via = "198.18.0.2"
    interface = "d0"
"#;

const WEB: &str = r#"
    [[service]]
    listen = "198.18.0.100:80/tcp"
    name = "web"
    on-removal = "keep"
    [[service.destination]]
    address = "198.19.1.11:8080"
    weight = 3
    [[service.destination]]
    address = "198.19.1.12:8080"
"#;

const DNS: &str = r#"
    [[service]]
    listen = "198.18.0.100:53/udp"
    name = "dns"
    scheduler = "rr"
    forward = "tun"
    on-removal = "keep"
    interface = "d1"
    [[service.destination]]
    address = "198.19.1.11"
    [[service.destination]]
    address = "203.0.113.9"
    forward = "dr"
    [[service.destination]]
    address = "198.19.1.1"
    forward = "nat"
"#;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn desired(texts: &[&str]) -> Desired {
    Desired::new(parse(&texts.concat(), "test.toml").expect("valid")).expect("valid")
}

/// A compiler with the environment of the configuration, as in replay.
struct Bench {
    compiler: Compiler,
    epoch: u64,
}

impl Bench {
    fn new() -> Bench {
        Bench { compiler: Compiler::new(), epoch: 0 }
    }

    fn compile(&mut self, texts: &[&str]) -> Snapshot {
        let desired = desired(&[&[BASE], texts].concat());
        let environment = Environment::of_configuration(&desired, self.compiler.ids_mut()).expect("complete");
        self.epoch += 1;
        self.compiler.compile(&desired, &environment, self.epoch).expect("within limits")
    }
}

fn service<'a>(snapshot: &'a Snapshot, bench: &Bench, name: &str) -> (ServiceId, &'a Service) {
    let id = bench.compiler.ids().service(name).expect("numbered");
    (id, snapshot.service(id).expect("there"))
}

fn destination(snapshot: &Snapshot, addr: &str, port: u16) -> Option<(DestId, Destination)> {
    snapshot.destinations().find(|(_, d)| d.addr == ip(addr) && d.port == Some(port)).map(|(id, d)| (id, *d))
}

/// Everything of a snapshot but its epoch and the version of its pools.
fn picture(snapshot: &Snapshot) -> String {
    let services: Vec<_> = (0..64).filter_map(|i| snapshot.service(ServiceId(i))).collect();
    let mut answers: Vec<_> = snapshot.announcements().collect();
    answers.sort();
    format!(
        "{:?} {services:?} {:?} {:?} {:?} {answers:?} {:?}",
        snapshot.interfaces().collect::<Vec<_>>(),
        snapshot.listens().collect::<Vec<_>>(),
        snapshot.destinations().collect::<Vec<_>>(),
        snapshot.reals().collect::<Vec<_>>(),
        Steered::of(snapshot),
    )
}

#[test]
fn a_snapshot_says_what_the_configuration_says() {
    let mut bench = Bench::new();
    let snapshot = bench.compile(&[WEB, DNS]);
    let (web_id, web) = service(&snapshot, &bench, "web");
    assert_eq!((web.timeouts.tcp.0, web.timeouts.tcp_fin.0, web.timeouts.udp.0), (900, 120, 300));
    let std::net::IpAddr::V4(vip) = ip("198.18.0.100") else { unreachable!() };
    let listen =
        snapshot.listen_at(vip.into(), 80, Proto::Tcp).and_then(|id| snapshot.listen(id)).expect("listens");
    assert_eq!(listen.service, web_id);
    let (id, first) = destination(&snapshot, "198.19.1.11", 8080).expect("there");
    assert_eq!((web.pool[0], first.weight, first.method), (id, 3, Method::Nat));
    let hop = first.next_hop.expect("connected");
    assert_eq!((hop.port, hop.neighbour), (PortId(1), ip("198.19.1.11")));
    assert_eq!(hop.mac.map(|mac| mac.to_string()).as_deref(), Some("02:00:00:00:01:11"));
    assert_eq!(first.real.and_then(|real| snapshot.real(real)).and_then(|real| real.port), Some(8080));
    let (_, second) = destination(&snapshot, "198.19.1.12", 8080).expect("there");
    assert_eq!(second.next_hop.map(|hop| hop.mac), Some(None), "to be resolved");
    assert_eq!(snapshot.interface(PortId(1)).map(|i| (i.mtu, i.addresses.len())), Some((1400, 2)));
    let gateway = snapshot.next_hop(ip("203.0.113.1")).expect("default route");
    assert_eq!((gateway.port, gateway.neighbour), (PortId(0), ip("198.18.0.2")));
}

#[test]
fn methods_decide_over_real_servers_and_tunnel_sources() {
    let mut bench = Bench::new();
    let snapshot = bench.compile(&[DNS]);
    let (_, tunnelled) = destination(&snapshot, "198.19.1.11", 53).expect("there");
    let source = ip("198.19.1.1");
    let tunnel = Tunnel::new(source, tunnelled.addr, Encapsulation::Ipip, true);
    assert_eq!((tunnelled.method, tunnelled.tunnel), (Method::Tunnel, tunnel));
    assert_eq!(tunnelled.real, None);
    let (_, routed) = destination(&snapshot, "203.0.113.9", 53).expect("there");
    assert_eq!((routed.method, routed.tunnel, routed.real), (Method::DirectRoute, None, None));
    let (_, own) = destination(&snapshot, "198.19.1.1", 53).expect("there");
    assert_eq!(own.next_hop, None, "the director's own address is on no way out");
    assert_eq!(snapshot.reals().count(), 1);
    let steered = Steered::of(&snapshot);
    assert_eq!(steered.services.len(), 1);
    assert_eq!(steered.tunnels, [(ip("198.19.1.11"), Carrier::Ip)].into());
    assert_eq!(steered.tunnel_sources, [ip("198.19.1.1")].into());
    assert!(steered.own.contains(&ip("198.19.1.1")));
}

#[test]
fn a_vip_is_answered_where_its_network_is_or_where_the_service_says() {
    let mut bench = Bench::new();
    let snapshot = bench.compile(&[WEB]);
    assert!(snapshot.answers(PortId(0), ip("198.18.0.100")));
    assert!(!snapshot.answers(PortId(1), ip("198.18.0.100")));
    let snapshot = bench.compile(&[DNS]);
    assert!(!snapshot.answers(PortId(0), ip("198.18.0.100")));
    assert!(snapshot.answers(PortId(1), ip("198.18.0.100")));
    let elsewhere = WEB.replace("198.18.0.100", "192.0.2.1");
    assert_eq!(bench.compile(&[&elsewhere]).announcements().count(), 0, "no network over it: nowhere");
    let single = WEB.replace("198.18.0.100", "10.0.0.1");
    let snapshot = bench.compile(&[&single]);
    assert!(snapshot.answers(PortId(1), ip("10.0.0.1")), "an address of the host's is a network of one");
    assert!(!snapshot.is_own(ip("10.0.0.1")) && snapshot.is_own(ip("198.19.1.1")));
}

#[test]
fn numbers_stay_over_reorder_and_unrelated_changes() {
    let mut bench = Bench::new();
    let before = picture(&bench.compile(&[WEB, DNS]));
    assert_eq!(picture(&bench.compile(&[DNS, WEB])), before);
    assert_eq!(picture(&Bench::new().compile(&[DNS, WEB])), before, "not even the first order matters");
    let web = service(&bench.compile(&[WEB, DNS]), &bench, "web").0;
    bench.compile(&[WEB]);
    let snapshot = bench.compile(&["[[service]]\nlisten = \"198.18.0.7:1/tcp\"\nname = \"aaa\"\n", WEB]);
    assert_eq!(service(&snapshot, &bench, "web").0, web);
    assert_eq!(bench.compiler.fresh().services.len(), 1);
}

#[test]
fn a_pool_has_another_version_only_when_its_schedule_changes() {
    let mut bench = Bench::new();
    let mut version = |web: &str| {
        let snapshot = bench.compile(&[web, DNS]);
        service(&snapshot, &bench, "web").1.pool_version
    };
    let first = version(WEB);
    assert_eq!(version(&WEB.replace("keep", "drop")), first);
    assert_ne!(version(&WEB.replace("weight = 3", "weight = 4")), first);
    let back = version(WEB);
    assert_ne!(back, first, "a version does not come back");
    assert_ne!(version(&WEB.replace("name = \"web\"", "name = \"web\"\n scheduler = \"rr\"")), back);
}

#[test]
fn round_robin_goes_on_over_changes_of_its_pool_but_not_in_another_service() {
    let mut bench = Bench::new();
    let rr = WEB.replace("name = \"web\"", "name = \"web\"\n scheduler = \"rr\"");
    let mut version = |services: &[&str]| {
        let snapshot = bench.compile(services);
        snapshot.services().find(|(_, s)| s.name == "web").map(|(_, s)| s.pool_version)
    };
    let first = version(&[&rr]);
    assert_eq!(version(&[&rr.replace("weight = 3", "weight = 4")]), first);
    assert_eq!(version(&[&rr.replace("198.19.1.11:8080", "198.19.1.13:8080")]), first);
    assert_eq!(version(&[DNS]), None);
    // Whatever number it has now.
    assert!(version(&[&rr]).is_some());
}

#[test]
fn a_removed_destination_that_comes_back_is_another_one() {
    let mut bench = Bench::new();
    let reset = WEB.replace("keep", "reset");
    let without = reset.replace("198.19.1.11:8080", "198.19.1.13:8080");
    let (id, old) = destination(&bench.compile(&[&reset]), "198.19.1.11", 8080).expect("there");
    assert_eq!(destination(&bench.compile(&[&without]), "198.19.1.11", 8080), None);
    let (again, new) = destination(&bench.compile(&[&reset]), "198.19.1.11", 8080).expect("there");
    assert_ne!((id, old.generation), (again, new.generation));
    assert_eq!(bench.compiler.fresh().destinations, [again]);
}

#[test]
fn a_kept_destination_goes_with_its_last_connection() {
    let mut bench = Bench::new();
    let without = WEB.replace("198.19.1.11:8080", "198.19.1.13:8080");
    let (id, _) = destination(&bench.compile(&[WEB]), "198.19.1.11", 8080).expect("there");
    let snapshot = bench.compile(&[&without]);
    let (kept, still) = destination(&snapshot, "198.19.1.11", 8080).expect("kept");
    assert_eq!((kept, still.weight, bench.compiler.kept()), (id, 0, 1));
    assert!(!service(&snapshot, &bench, "web").1.pool.contains(&id));
    assert!(snapshot.reals().any(|(_, real)| real.addr == ip("198.19.1.11")), "its replies are ours still");
    let epoch = bench.epoch;
    assert!(!bench.compiler.retire(epoch - 1, |_| 0), "a worker may be behind");
    assert!(!bench.compiler.retire(epoch, |dest| u64::from(dest == id)), "a connection is left");
    // It comes back with its connections when it is added again in time.
    let (again, _) = destination(&bench.compile(&[WEB]), "198.19.1.11", 8080).expect("there");
    assert_eq!(again, id);
    bench.compile(&[&without]);
    let epoch = bench.epoch;
    assert!(bench.compiler.retire(epoch, |_| 0));
    assert_eq!(destination(&bench.compile(&[&without]), "198.19.1.11", 8080), None);
}

#[test]
fn a_port_keeps_its_name_while_another_stands_for_all_of_the_address() {
    const ALL: &str = r#"
    [[service]]
    listen = "198.18.0.101:*/tcp"
    name = "all"
    [[service.destination]]
    address = "198.19.1.11"
"#;
    let mut bench = Bench::new();
    let at = |snapshot: &Snapshot, port| snapshot.real_at(ip("198.19.1.11"), port, Proto::Tcp);
    let reset = WEB.replace("keep", "reset");
    let both = bench.compile(&[&reset, ALL]);
    let (named, other) = (at(&both, 8080), at(&both, 22));
    assert!(named.is_some() && other.is_some() && named != other);
    // Replies of the other service's connections to that port come under its name, too.
    let one = bench.compile(&[ALL]);
    assert_eq!((at(&one, 8080), at(&one, 22)), (named, other));
    assert_eq!(one.real_at(ip("198.19.1.12"), 8080, Proto::Tcp), None, "nobody is there");
    assert_eq!(at(&bench.compile(&[&reset]), 22), None);
    assert_eq!(bench.compile(&[]).reals().count(), 0);
}

#[test]
fn udp_entries_and_those_of_removed_services_are_not_kept() {
    let mut bench = Bench::new();
    bench.compile(&[WEB, DNS]);
    let snapshot = bench.compile(&[&DNS.replace("203.0.113.9", "203.0.113.10")]);
    assert_eq!(bench.compiler.kept(), 0);
    assert_eq!(snapshot.destinations().count(), 3);
}

#[test]
fn a_destination_of_another_method_is_another_one() {
    let mut bench = Bench::new();
    let same_port = WEB.replace(":8080", ":80");
    let (nat, _) = destination(&bench.compile(&[&same_port]), "198.19.1.11", 80).expect("there");
    let snapshot =
        bench.compile(&[&same_port.replace("name = \"web\"", "name = \"web\"\n forward = \"dr\"")]);
    let (pooled, kept): (Vec<_>, Vec<_>) =
        snapshot.destinations().filter(|(_, d)| d.addr == ip("198.19.1.11")).partition(|(_, d)| d.weight > 0);
    assert_eq!((kept[0].0, kept[0].1.method), (nat, Method::Nat), "connections by nat go on by nat");
    assert_eq!(pooled[0].1.method, Method::DirectRoute);
}

#[test]
fn the_configuration_wins_over_the_kernel() {
    let mut compiler = Compiler::new();
    let desired = desired(&[BASE]);
    let mut link = |name: &str, last, addresses: &[&str], up| Link {
        name: name.to_owned(),
        port: compiler.ids_mut().port(name).expect("few"),
        mac: sheave_proto::wire::eth::Mac([2, 0, 0, 0, 9, last]),
        mtu: 9000,
        addresses: addresses.iter().map(|a| a.parse().expect("a network")).collect(),
        up,
    };
    let interfaces = vec![
        link("d1", 1, &["192.0.2.1/24"], true),
        link("d0", 0, &[], true),
        link("d2", 2, &["198.51.100.1/24", "2001:db8::1/64"], true),
        link("d3", 3, &["203.0.113.1/24"], false),
    ];
    let port = |name: &str| compiler.ids().port_of(name).expect("numbered");
    let (d0, d1, d2, d3) = (port("d0"), port("d1"), port("d2"), port("d3"));
    let route = |to: &str, via: &str, port, metric| KernelRoute {
        to: to.parse().expect("a network"),
        via: Some(ip(via)),
        port,
        metric,
    };
    let routes = vec![
        route("0.0.0.0/0", "198.51.100.2", d2, 0),
        route("10.1.0.0/16", "198.51.100.3", d2, 200),
        route("10.1.0.0/16", "198.51.100.4", d2, 100),
        route("198.18.0.0/24", "198.51.100.5", d2, 0),
        route("10.2.0.0/16", "203.0.113.2", d3, 0),
    ];
    let mac = sheave_proto::wire::eth::Mac([2, 0, 0, 0, 7, 7]);
    let neighbours = vec![
        KernelNeighbour { port: d1, addr: ip("198.19.1.11"), mac },
        KernelNeighbour { port: d1, addr: ip("198.19.1.12"), mac },
    ];
    let environment = Environment { interfaces, routes, neighbours };
    let snapshot = compiler.compile(&desired, &environment, 1).expect("within limits");
    let over = snapshot.interface(d1).expect("up");
    assert_eq!(
        (over.mtu, over.mac.to_string().as_str(), over.addresses.len()),
        (1400, "02:00:00:00:00:d1", 2)
    );
    assert_eq!(
        snapshot.interface(d2).map(|i| (i.mtu, i.addresses.len())),
        Some((9000, 2)),
        "of both families"
    );
    assert_eq!(snapshot.interface(d3), None);
    let hop = |to: &str| snapshot.next_hop(ip(to)).map(|hop| (hop.port, hop.neighbour));
    assert_eq!(hop("203.0.113.7"), Some((d0, ip("198.18.0.2"))), "static, and d3 is down");
    assert_eq!(hop("10.1.2.3"), Some((d2, ip("198.51.100.4"))), "the lowest metric");
    assert_eq!(hop("10.2.2.3"), Some((d0, ip("198.18.0.2"))), "not through an interface that is down");
    assert_eq!(hop("198.18.0.9"), Some((d0, ip("198.18.0.9"))), "connected before the kernel's");
    let known = |last: u8| snapshot.neighbour(d1, ip(&format!("198.19.1.{last}")));
    assert_eq!(known(11).map(|mac| mac.to_string()).as_deref(), Some("02:00:00:00:01:11"));
    assert_eq!(known(12), Some(mac));
}

#[test]
fn replay_needs_what_the_kernel_would_say() {
    let mut compiler = Compiler::new();
    let bare = desired(&[
        "[[interface]]\nname = \"d0\"\n[[interface]]\nname = \"d1\"\naddresses = [\"198.18.0.1/24\"]\n",
    ]);
    let errors = Environment::of_configuration(&bare, compiler.ids_mut()).expect_err("incomplete");
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "error: interface d0: addresses are not given, and a replay asks no kernel: add addresses = [\"ADDRESS/LENGTH\"]",
            "error: interface d0: mac is not given, and a replay asks no kernel: add mac = \"02:00:00:00:00:01\"",
            "error: interface d1: mac is not given, and a replay asks no kernel: add mac = \"02:00:00:00:00:01\"",
        ]
    );
}

/// Services 0..8 with destinations 0..4 each, as far as the bits say, in the given order.
fn some(order: &[u8], bits: u32) -> String {
    let mut text = String::new();
    for service in order.iter().filter(|s| bits & (1 << **s) != 0) {
        text +=
            &format!("[[service]]\nlisten = \"198.18.0.100:{}/tcp\"\nname = \"s{service}\"\n", 80 + service);
        for last in (0..4).filter(|d| bits.rotate_right(8 + u32::from(*service)) & (1 << d) != 0) {
            text += &format!("[[service.destination]]\naddress = \"198.19.1.{}:8080\"\n", 11 + last);
        }
    }
    text
}

proptest! {
    /// Whatever comes and goes in whatever order: who stays keeps its number, no number means two things before
    /// it has rested, and the order of the services does not matter.
    #[test]
    fn numbers_are_stable_and_never_shared(
        steps in prop::collection::vec((Just((0..8).collect::<Vec<u8>>()).prop_shuffle(), any::<u32>()), 1..12),
    ) {
        let (mut bench, mut sorted) = (Bench::new(), Bench::new());
        let mut owners = BTreeMap::new();
        let mut before = BTreeMap::new();
        for (step, (order, bits)) in steps.iter().enumerate() {
            let snapshot = bench.compile(&[&some(order, *bits)]);
            let same = sorted.compile(&[&some(&[0, 1, 2, 3, 4, 5, 6, 7], *bits)]);
            prop_assert_eq!(picture(&snapshot), picture(&same));
            let mut now = BTreeMap::new();
            for (id, destination) in snapshot.destinations() {
                let name = &snapshot.service(destination.service).expect("of a service").name;
                let object = (name.clone(), destination.addr);
                // An object that goes away and comes back is another one.
                let life = before.get(&object).filter(|(other, _)| *other == id).map_or(step, |(_, life)| *life);
                let owner = owners.entry(id).or_insert((object.clone(), life));
                prop_assert_eq!(&*owner, &(object.clone(), life), "number {:?} of two", id);
                now.insert(object, (id, life));
            }
            for (object, (id, _)) in &before {
                prop_assert!(now.get(object).is_none_or(|(other, _)| other == id), "{:?} changed its number", object);
            }
            before = now;
        }
    }
}
