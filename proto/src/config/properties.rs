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
    ) -> Director {
        let (repeat, delay, refresh) = announce;
        Director {
            name, cores, socket: socket.into(), socket_owner: owners.0, socket_group: owners.1, wait,
            max_connections, hash_key, announce: Announce { repeat, delay, refresh },
        }
    }
}

prop_compose! {
    fn interface(at: usize)(
        mode in proptest::sample::select(Mode::ALL),
        mac in proptest::option::of(mac()),
        addresses in proptest::collection::btree_set(cidr(), 0..3),
        mtu in proptest::option::of(68..u16::MAX),
    ) -> Interface {
        Interface { name: format!("d{at}"), mode, mac, addresses: addresses.into_iter().collect(), mtu }
    }
}

prop_compose! {
    fn destination()(
        addr in v4(),
        port in proptest::option::of(1..u16::MAX),
        weight in 0..=Weight::MAX,
        forward in proptest::option::of(proptest::sample::select(Forward::ALL)),
    ) -> Destination {
        // Only NAT maps ports.
        let port = if matches!(forward, None | Some(Forward::Nat)) { port } else { None };
        Destination { weight: weight.try_into().unwrap(), forward, ..Destination::new(DestAddr { addr, port }) }
    }
}

prop_compose! {
    fn service(at: usize)(
        vip in v4(),
        proto in prop_oneof![Just(Proto::Tcp), Just(Proto::Udp)],
        name in proptest::option::of(name()),
        scheduler in proptest::sample::select(&Scheduler::ALL[..4]),
        timeouts in (timeout(), timeout(), timeout()),
        on_removal in proptest::sample::select(OnRemoval::ALL),
        destinations in proptest::collection::vec(destination(), 0..4),
    ) -> Service {
        let port = 80 + u16::try_from(at).unwrap();
        let fresh = Service::new(Listen { addr: vip, ports: Ports::One(port), proto });
        let mut seen = std::collections::HashSet::new();
        let ports = Ports::One(port);
        Service {
            // The number keeps names apart.
            name: name.map_or(fresh.name.clone(), |name| format!("{name}{at}")),
            scheduler,
            timeouts: Timeouts { tcp: timeouts.0, tcp_fin: timeouts.1, udp: timeouts.2 },
            on_removal,
            destinations: destinations
                .into_iter()
                .filter(|d| seen.insert((d.address.addr, d.address.port_under(ports))))
                .collect(),
            ..fresh
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_printed_reads_back(config in config()) {
        prop_assert_eq!(validate(&config), vec![]);
        let text = to_toml(&config);
        let back = parse(&text, "shown");
        prop_assert!(back.is_ok(), "{:?}\n{}", back, text);
        prop_assert_eq!(&back.unwrap(), &config);
        prop_assert_eq!(Config::from_json(&serde_json::to_value(&config).unwrap()).unwrap(), config);
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
        inner in "(name|listen|mtu|cores|timeouts|destination|to|address|addresses|announce|weight)",
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
