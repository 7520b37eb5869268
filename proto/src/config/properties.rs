//! Properties of the configuration: what is printed reads back, and no text breaks the reader, however deep
//! or wrong.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::wire::eth::Mac;
use crate::wire::flow::Proto;

fn v4() -> impl Strategy<Value = IpAddr> {
    (1u8..=223, any::<[u8; 3]>())
        .prop_filter("loopback", |(first, _)| *first != 127)
        .prop_map(|(a, [b, c, d])| IpAddr::from([a, b, c, d]))
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z\"\\\\#=é日][ -~]{0,20}[a-z'\"]"
}

fn cidr() -> impl Strategy<Value = Cidr> {
    (v4(), 0u8..=32).prop_map(|(addr, prefix)| Cidr::new(addr, prefix).unwrap())
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(0), 1..86_400_000u64].prop_map(Duration::from_millis)
}

fn timeout() -> impl Strategy<Value = Timeout> {
    (Timeout::MIN_SECS..=Timeout::MAX_SECS).prop_map(|secs| Duration::from_secs(secs).try_into().unwrap())
}

fn owner() -> impl Strategy<Value = Option<Owner>> {
    proptest::option::of(prop_oneof![(0..u32::MAX).prop_map(Owner::Id), name().prop_map(Owner::Name)])
}

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 5]>().prop_map(|[a, b, c, d, e]| Mac([2, a, b, c, d, e]))
}

prop_compose! {
    fn director()(
        name in proptest::option::of(name()),
        cores in prop_oneof![
            Just(Cores::Auto),
            proptest::collection::btree_set(0u16..64, 1..4).prop_map(|set| Cores::List(set.into_iter().collect())),
        ],
        socket in "[ -~]{1,50}",
        owners in (owner(), owner()),
        wait in proptest::sample::select(Wait::ALL),
        max_connections in 1..=Director::MOST_CONNECTIONS,
        hash_key in any::<String>(),
        announce in (0u8..=100, duration(), duration()),
        timeouts in (timeout(), timeout(), timeout()),
        flood in any::<[u32; 5]>(),
    ) -> Director {
        let (repeat, delay, refresh) = announce;
        Director {
            name, cores, socket: socket.into(), socket_owner: owners.0, socket_group: owners.1, wait,
            max_connections, hash_key, announce: Announce { repeat, delay, refresh },
            timeouts: Timeouts { tcp: timeouts.0, tcp_fin: timeouts.1, udp: timeouts.2 },
            flood: Flood {
                new_connections: flood[0], source_rate: flood[1], source_burst: flood[2],
                vip_rate: flood[3], vip_burst: flood[4],
            },
        }
    }
}

prop_compose! {
    fn interface(at: usize)(
        mode in proptest::sample::select(Mode::ALL),
        mac in proptest::option::of(mac()),
        addresses in proptest::collection::btree_set(cidr(), 0..3),
        mtu in proptest::option::of(68..u16::MAX),
        queue_cores in proptest::collection::vec(0u16..64, 0..3),
    ) -> Interface {
        let addresses = addresses.into_iter().collect();
        Interface { name: format!("d{at}"), mode, mac, addresses, mtu, queue_cores }
    }
}

fn number<T>(bounds: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = T>
where
    T: TryFrom<u32, Error = ValueError> + std::fmt::Debug,
{
    bounds.prop_map(|number| T::try_from(number).unwrap())
}

fn word<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

prop_compose! {
    fn destination()(
        address in (v4(), proptest::option::of(1..u16::MAX)),
        weight in number(0..=Weight::MAX),
        forward in proptest::option::of(word(Forward::ALL)),
        tunnel in (
            proptest::option::of(word(TunnelType::ALL)),
            proptest::option::of(number(1..=65_535)),
            any::<bool>(),
        ),
        state in word(Intent::ALL),
        backup in any::<bool>(),
        numbers in any::<[u32; 3]>(),
    ) -> Destination {
        Destination {
            address: DestAddr { addr: address.0, port: address.1 },
            weight, forward, tunnel: tunnel.0, tunnel_port: tunnel.1, tunnel_checksum: tunnel.2,
            state, backup,
            upper_threshold: numbers[0], lower_threshold: numbers[1], connection_limit: numbers[2],
        }
    }
}

fn mss_clamp() -> impl Strategy<Value = MssClamp> {
    prop_oneof![
        Just(MssClamp::Auto),
        Just(MssClamp::Off),
        (MssClamp::LEAST..=MssClamp::MOST).prop_map(MssClamp::At),
    ]
}

fn sorry() -> impl Strategy<Value = Sorry> {
    let port = proptest::option::of(1..u16::MAX);
    (v4(), port, proptest::option::of(word(Forward::ALL)))
        .prop_map(|(addr, port, forward)| Sorry { address: DestAddr { addr, port }, forward })
}

fn own_timeouts() -> impl Strategy<Value = OwnTimeouts> {
    let one = || proptest::option::of(timeout());
    (one(), one(), one()).prop_map(|(tcp, tcp_fin, udp)| OwnTimeouts { tcp, tcp_fin, udp })
}

fn persistence() -> impl Strategy<Value = Persistence> {
    let netmask = proptest::option::of(any::<u8>());
    (timeout(), netmask).prop_map(|(timeout, netmask)| Persistence { timeout, netmask })
}

prop_compose! {
    fn listens(at: usize)(
        vip in v4(),
        proto in prop_oneof![Just(Proto::Tcp), Just(Proto::Udp)],
        more in proptest::collection::vec(
            prop_oneof![Just(Ports::Any), (1u16..9, 10u16..99).prop_map(|(a, b)| Ports::Range(a, b))],
            0..2,
        ),
    ) -> Vec<Listen> {
        let port = 80 + u16::try_from(at).unwrap();
        let ports = std::iter::once(Ports::One(port)).chain(more);
        ports.map(|ports| Listen { addr: vip, ports, proto }).collect()
    }
}

prop_compose! {
    fn service(at: usize)(
        listens in listens(at),
        name in proptest::option::of(name()),
        scheduling in (
            word(Scheduler::ALL),
            proptest::collection::btree_set(word(SchedulerFlag::ALL), 0..3),
            proptest::option::of(word(&MhTable::SIZES).prop_map(|size| MhTable::try_from(size).unwrap())),
            proptest::option::of(number(1..=64)),
        ),
        forward in word(Forward::ALL),
        timeouts in own_timeouts(),
        persistence in proptest::option::of(persistence()),
        flags in any::<[bool; 4]>(),
        mss_clamp in mss_clamp(),
        helper in proptest::option::of(word(Helper::ALL)),
        spares in (
            proptest::option::of(sorry()),
            number(1..=65_535),
            proptest::option::of((1u32..=3600).prop_map(|secs| format!("{secs}s").parse().unwrap())),
        ),
        on_removal in word(OnRemoval::ALL),
        destinations in proptest::collection::vec(destination(), 0..4),
    ) -> Service {
        Service {
            // The number keeps names apart.
            name: name.map_or(Service::default_name(&listens), |name| format!("{name}{at}")),
            scheduler: scheduling.0, scheduler_flags: scheduling.1, mh_table: scheduling.2, draws: scheduling.3,
            forward, timeouts, persistence,
            one_packet: flags[0], sloppy: flags[1], syn_proxy: flags[2], pmtu_discovery: flags[3],
            mss_clamp, helper, sorry: spares.0, backup_below: spares.1, slow_start: spares.2,
            interface: None, on_removal, destinations, listens,
        }
    }
}

prop_compose! {
    fn config()(
        director in director(),
        interfaces in (interface(0), interface(1)),
        neighbour in (v4(), mac()),
        route in (cidr(), proptest::option::of(v4())),
        services in (service(0), service(1), service(2)),
        keep in 0usize..=3,
    ) -> Config {
        let interface = "d0".to_owned();
        let neighbour = Neighbour { address: neighbour.0, mac: neighbour.1, interface: interface.clone() };
        let route = Route { to: route.0.network(), via: route.1, interface };
        let mut config = Config {
            director,
            interfaces: vec![interfaces.0, interfaces.1],
            neighbours: vec![neighbour],
            routes: vec![route],
            services: vec![services.0, services.1, services.2],
        };
        config.services.truncate(keep);
        config
    }
}

/// The same configuration with only what fits together and is carried out.
fn tamed(mut config: Config) -> Config {
    let new_connections = config.director.flood.new_connections;
    config.director.flood = Flood { new_connections, ..Flood::default() };
    // Their cores are not the director's.
    config.interfaces.iter_mut().for_each(|interface| interface.queue_cores.clear());
    for service in &mut config.services {
        let listen = *service.listen();
        let mut seen = std::collections::HashSet::from([listen.addr]);
        let plain = |d: Destination| {
            let forward = d.forward.filter(|forward| *forward != Forward::Local);
            // Only NAT maps ports.
            let port = if forward.unwrap_or(Forward::Nat) == Forward::Nat { d.address.port } else { None };
            Destination { weight: d.weight, forward, ..Destination::new(DestAddr { port, ..d.address }) }
        };
        let destinations = std::mem::take(&mut service.destinations);
        *service = Service {
            name: service.name.clone(),
            scheduler: Some(service.scheduler).filter(|s| *s <= Scheduler::Wlc).unwrap_or(Scheduler::Rr),
            timeouts: service.timeouts,
            on_removal: service.on_removal,
            destinations: destinations
                .into_iter()
                .map(plain)
                .filter(|d| seen.insert(d.address.addr))
                .collect(),
            ..Service::new(listen)
        };
    }
    config
}

/// An object's keys but those that say which it is, and null for those that it does not set.
fn every_key(of: &impl serde::Serialize, but: &[&str], optional: &[&str]) -> Node {
    let mut json = serde_json::to_value(of).unwrap();
    let map = json.as_object_mut().unwrap();
    map.retain(|key, _| !but.contains(&key.as_str()));
    for key in optional {
        map.entry(*key).or_insert(serde_json::Value::Null);
    }
    if let Some(timeouts) = map.get_mut("timeouts").and_then(|timeouts| timeouts.as_object_mut()) {
        for key in ["tcp", "tcp-fin", "udp"] {
            timeouts.entry(key).or_insert(serde_json::Value::Null);
        }
    }
    Node::from_json(&json)
}

fn read_patch<T>(node: &Node, read: impl FnOnce(&mut Reader<'_, '_>) -> T) -> T {
    let mut errors = Errors::default();
    let mut reader = Reader::new(node, "object".to_owned(), &mut errors).unwrap();
    let patch = read(&mut reader);
    reader.finish();
    assert!(errors.is_empty(), "{errors:?}");
    patch
}

/// The model that a tree means, whether its parts fit together or not.
fn unchecked(root: &Node) -> Result<Config, Vec<ConfigError>> {
    let mut errors = Errors::default();
    let config = read::config(root, &mut errors).0;
    if errors.is_empty() { Ok(config) } else { Err(errors.into_list(None)) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_printed_reads_back(config in config()) {
        let text = to_toml(&config);
        let document = DeTable::parse(&text).unwrap();
        prop_assert_eq!(unchecked(&Node::from_toml(&document, &tree::Lines::of(&text))), Ok(config.clone()), "{}", text);
        prop_assert_eq!(unchecked(&Node::from_json(&serde_json::to_value(&config).unwrap())), Ok(config));
    }

    #[test]
    fn a_valid_configuration_is_valid_when_it_is_read_back(config in config()) {
        let config = tamed(config);
        prop_assert_eq!(validate(&config), vec![]);
        let text = to_toml(&config);
        prop_assert_eq!(parse(&text, "shown"), Ok(config.clone()), "{}", text);
        prop_assert_eq!(Config::from_json(&serde_json::to_value(&config).unwrap()), Ok(config));
    }

    #[test]
    fn a_patch_of_every_key_makes_one_service_like_another(from in service(0), to in service(0)) {
        let patch = every_key(&to, &["listen", "name", "destination"], &[
            "scheduler-flags", "mh-table", "draws", "timeouts", "persistence", "helper", "sorry", "slow-start",
            "interface",
        ]);
        let read = read_patch(&patch, ServicePatch::read);
        let mut patched = from.clone();
        read.apply(&mut patched);
        let Service { listens, name, destinations, .. } = from;
        prop_assert_eq!(patched, Service { listens, name, destinations, ..to });
    }

    #[test]
    fn a_patch_of_every_key_makes_one_destination_like_another(from in destination(), to in destination()) {
        let patch = every_key(&to, &["address"], &["forward", "tunnel", "tunnel-port"]);
        let read = read_patch(&patch, DestinationPatch::read);
        let mut patched = from.clone();
        read.apply(&mut patched);
        prop_assert_eq!(patched, Destination { address: from.address, ..to });
    }

    #[test]
    fn no_text_breaks_the_reader(text in any::<String>()) {
        if let Err(errors) = parse(&text, "f") {
            prop_assert!(!errors.is_empty());
            prop_assert!(errors.iter().all(|error| !error.to_string().contains('\n')));
        }
    }

    #[test]
    fn no_value_breaks_the_reader(
        key in "(director|interface|neighbour|route|service)",
        inner in "(name|listen|mtu|cores|queue-cores|timeouts|destination|to|address|addresses|announce|flood|\
                  weight|scheduler-flags|mh-table|draws|sloppy|mss-clamp|sorry|slow-start|backup-below)",
        value in r#"(-?[0-9]{1,22}|"[^"\\]{0,20}"|\[("[0-9:./a-z-]{0,12}",?){0,3}\]|\{ tcp = "5s" \}|true|1\.5)"#,
        list in any::<bool>(),
    ) {
        let header = if list { format!("[[{key}]]") } else { format!("[{key}]") };
        if let Err(errors) = parse(&format!("{header}\n{inner} = {value}\n"), "f") {
            prop_assert!(errors.iter().all(|error| error.line.is_some()), "{:?}", errors);
            prop_assert!(errors.iter().all(|error| !error.to_string().contains('\n')));
        }
    }

    #[test]
    fn a_listen_prints_as_it_reads(text in "[0-9.:*/tcpud\\[\\]a-f-]{0,30}") {
        if let Ok(listen) = text.parse::<Listen>() {
            prop_assert_eq!(listen.to_string().parse::<Listen>(), Ok(listen));
        }
        if let Ok(address) = text.parse::<DestAddr>() {
            prop_assert_eq!(address.to_string().parse::<DestAddr>(), Ok(address));
        }
    }
}

#[test]
fn depth_is_bounded() {
    let dotted = vec!["a"; 300_000].join(".");
    for text in [
        format!("{dotted} = 1"),
        format!("[{dotted}]"),
        format!("[[{dotted}]]"),
        format!("a = {}", "[".repeat(300_000)),
        format!("a = {}", "{ b = ".repeat(100_000)),
    ] {
        let errors = parse(&text, "f").unwrap_err();
        assert!(errors[0].message.starts_with("not TOML, "), "{:?}", errors[0].message);
        assert!(errors.iter().all(|error| error.to_string().len() < 1000));
    }
}

#[test]
fn the_list_of_errors_is_bounded_and_says_so() {
    let keys = |count: usize| (0..count).map(|n| format!("k{n} = 1\n")).collect::<String>();
    let all = parse(&keys(Errors::MOST), "f").unwrap_err();
    assert_eq!((all.len(), all.last().unwrap().line), (Errors::MOST, Some(Errors::MOST)));
    let cut = parse(&keys(Errors::MOST + 7), "f").unwrap_err();
    assert_eq!(cut.len(), Errors::MOST + 1);
    assert_eq!(
        cut.last().unwrap().to_string(),
        "error: f: configuration: there are 7 more errors: correct these and check again"
    );
}
