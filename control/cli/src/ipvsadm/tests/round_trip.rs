//! `-S | -R`: what rules say, they make again; what they do not say is told.

use super::*;
use crate::ipvsadm::ftp;
use crate::ipvsadm::rules::{plain, save};
use crate::ipvsadm::table::mark_of;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use sheave_proto::config::{
    DestAddr, Destination, Forward, Listen, OnRemoval, Persistence, Ports, Scheduler, SchedulerFlag, Service,
    TunnelPort, TunnelType, Weight,
};
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn vip(ipv6: bool, number: u8) -> IpAddr {
    if ipv6 {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 18, 0, 0, 0, number.into()))
    } else {
        IpAddr::V4(Ipv4Addr::new(198, 18, 0, number))
    }
}

fn real(ipv6: bool, number: u8) -> IpAddr {
    if ipv6 {
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 19, 0, 0, 0, number.into()))
    } else {
        IpAddr::V4(Ipv4Addr::new(198, 19, 1, number))
    }
}

/// Settings of a destination; the last two say how it is tunnelled.
type Way = (u32, u8, u32, u32, (u8, bool));

fn destination(service: &Service, number: u8, way: Way) -> Destination {
    let (weight, method, upper, lower, (tunnel, checksum)) = way;
    let forward = [Forward::Nat, Forward::Dr, Forward::Tun][usize::from(method % 3)];
    let ipv6 = service.listen().addr.is_ipv6() ^ (forward == Forward::Tun && checksum);
    let port = (forward == Forward::Nat && service.port().is_some()).then(|| 8000 + u16::from(number));
    let mut made = Destination::new(DestAddr { addr: real(ipv6, number), port });
    made.weight = Weight::try_from(weight).expect("a weight");
    made.forward = Some(forward);
    (made.upper_threshold, made.lower_threshold) = (upper.max(lower), lower.min(upper));
    if forward == Forward::Tun {
        made.tunnel = [None, Some(TunnelType::Gre), Some(TunnelType::Gue)][usize::from(tunnel % 3)];
        made.tunnel_checksum = checksum && made.tunnel.is_some();
        let port = TunnelPort::try_from(6080 + u32::from(tunnel)).expect("a port");
        made.tunnel_port = (made.tunnel == Some(TunnelType::Gue)).then_some(port);
    }
    made
}

fn flags(scheduler: Scheduler, bits: u8) -> impl Iterator<Item = SchedulerFlag> {
    let of = SchedulerFlag::ALL.iter().copied().filter(move |flag| flag.scheduler() == scheduler);
    of.enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, flag)| flag)
}

prop_compose! {
    /// A service that rules can say in full; `number` makes it another one than the others.
    fn service()(
        (ipv6, udp, mark) in (any::<bool>(), any::<bool>(), 0..5u8),
        port in select(vec![0, 1, 21, 80, 443, 65_535]),
        scheduler in select(Scheduler::ALL.to_vec()),
        bits in 0..4u8,
        persistence in option::of((1..=43_200u32, 1..=32u8)),
        one_packet in any::<bool>(),
        reals in btree_map(1..=250u8, (0..=2_147_483_647u32, 0..3u8, 0..5u32, 0..5u32, (0..3u8, any::<bool>())), 0..5),
    ) -> (bool, bool, u8, u16, Service, Vec<(u8, Way)>) {
        let mut service = Service::new("192.0.2.1:1/tcp".parse().expect("a listen"));
        service.scheduler = scheduler;
        service.scheduler_flags = flags(scheduler, bits).collect();
        service.one_packet = one_packet && udp;
        service.persistence = persistence.map(|(timeout, bits)| Persistence {
            timeout: format!("{timeout}s").parse().expect("a timeout"),
            netmask: Some(bits).filter(|bits| *bits != 32),
        });
        (ipv6, udp, mark, port, service, reals.into_iter().collect())
    }
}

/// Puts a drawn service at its place; a few become firewall marks with two listens.
fn placed(number: u8, drawn: (bool, bool, u8, u16, Service, Vec<(u8, Way)>)) -> Service {
    let (ipv6, udp, mark, port, mut service, reals) = drawn;
    let proto = if udp { Proto::Udp } else { Proto::Tcp };
    let ports = match port {
        0 if service.persistence.is_some() => Ports::Any,
        0 => Ports::One(21),
        port => Ports::One(port),
    };
    let listen = Listen { addr: vip(ipv6, number), ports, proto };
    service.listens = vec![listen];
    service.name = listen.to_string();
    if mark == 0 {
        service.listens.push(Listen { ports: Ports::One(7777), ..listen });
        service.name = format!("fwm-{}", u32::from(number) + 1);
    }
    service.destinations = reals.into_iter().map(|(at, way)| destination(&service, at, way)).collect();
    if mark != 0 {
        ftp::shape(&mut service);
    }
    service
}

/// What is there before the rules come: the listens of marks.
fn marks(config: &Config) -> Config {
    let marks = config.services.iter().filter(|service| mark_of(service).is_some());
    let marks = marks.map(|service| Service {
        name: service.name.clone(),
        listens: service.listens.clone(),
        ..Service::new(*service.listen())
    });
    Config { services: marks.collect(), ..Config::default() }
}

/// The services in the order of their names, each said in one way.
fn sorted(config: &Config) -> Vec<Service> {
    let mut services: Vec<Service> = config.services.iter().map(plain).collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    services
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn saved_rules_restore_what_was_saved(drawn in vec(service(), 0..6), numeric in any::<bool>()) {
        let services = (1..).zip(drawn).map(|(number, drawn)| placed(number, drawn));
        let config = Config { services: services.collect(), ..Config::default() };
        let saved = save(&config, numeric, &names());
        prop_assert_eq!(&saved.left_out, &Vec::<String>::new());
        let mut restored = marks(&config);
        for (line, command) in crate::ipvsadm::restored(&saved.rules, "ipvsadm", &names())
            .map_err(|refusal| TestCaseError::fail(refusal.text))?
        {
            let done = change::edit(&mut restored, &command);
            prop_assert!(done.is_ok(), "{line}: {done:?} in\n{}", saved.rules);
        }
        prop_assert_eq!(sorted(&restored), sorted(&config), "{}", saved.rules);
    }

    #[test]
    fn no_line_breaks_the_parser(line in "[-=a-zA-Z0-9:.\\[\\] ]{0,60}") {
        let words: Vec<&str> = line.split_whitespace().collect();
        let _ = parse::parse(&words, "ipvsadm", &names());
    }

    #[test]
    fn no_options_break_the_parser(
        words in vec(select(vec![
            "-A", "-E", "-D", "-a", "-e", "-d", "-L", "-S", "-R", "-Z", "--set", "-t", "-u", "-f", "-6", "-r", "-m",
            "-i", "-g", "-w", "-p", "-M", "-o", "-b", "-s", "-n", "-c", "--tun-type", "gue", "198.18.0.1:80", "7",
            "[2001:db8::1]:80", "rr", "255.255.0.0", "--", "sh-port", "--tun-port", "-x", "-y", "=", "-tw",
        ]), 0..12),
    ) {
        let mut config = made("-A -t 198.18.0.1:80\n");
        if let Ok(command) = parse::parse(&words, "ipvsadm", &names()) {
            let before = config.clone();
            if change::edit(&mut config, &command).is_err() {
                prop_assert_eq!(config, before, "what is refused changes nothing");
            }
        }
    }
}

#[test]
fn what_rules_do_not_say_is_told_key_by_key() {
    let mut config = made("-A -t 198.18.0.100:80 -s mh\n-a -t 198.18.0.100:80 -r 198.19.1.11:8080 -m -x 9\n");
    let service = &mut config.services[0];
    service.name = "web".to_owned();
    service.on_removal = OnRemoval::Keep;
    service.destinations[0].connection_limit = 5;
    let saved = save(&config, true, &names());
    assert_eq!(
        saved.rules,
        "-A -t 198.18.0.100:80 -s mh\n-a -t 198.18.0.100:80 -r 198.19.1.11:8080 -m -w 1 -x 9\n"
    );
    assert_eq!(
        saved.left_out,
        [
            "service web: rules cannot say its name, on-removal",
            "destination 198.19.1.11:8080 of service web: rules cannot say its connection-limit",
        ]
    );
}

#[test]
fn services_without_words_are_told() {
    for (listen, why) in [
        ("198.18.0.100:5000-5100/udp", "a range of ports"),
        ("198.18.0.100:*/tcp", "every port without persistence"),
    ] {
        let service = Service::new(listen.parse().expect("a listen"));
        let config = Config { services: vec![service], ..Config::default() };
        let saved = save(&config, true, &names());
        assert_eq!(saved.rules, "");
        assert_eq!(saved.left_out, [format!("service {listen}: rules cannot say {why}")]);
    }
}

#[test]
fn ftp_is_what_it_needs_to_be() {
    let shown = |rules: &str| {
        let config = made(rules);
        let service = &config.services[0];
        let listens = service.listens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let saved = save(&config, true, &names());
        assert_eq!((saved.rules.as_str(), saved.left_out.len()), (rules, 0));
        (listens, service.helper.is_some(), service.sloppy)
    };
    let (alone, kept) = (
        "198.18.0.9:21/tcp".to_owned(),
        "198.18.0.9:21/tcp 198.18.0.9:20/tcp 198.18.0.9:1024-65535/tcp".to_owned(),
    );
    let service = "-A -t 198.18.0.9:21 -s wlc";
    let server = "-a -t 198.18.0.9:21 -r 198.19.1.1:21";
    assert_eq!(shown(&format!("{service}\n")), (alone.clone(), false, false));
    assert_eq!(shown(&format!("{service}\n{server} -g -w 1\n")), (alone.clone(), false, false));
    assert_eq!(shown(&format!("{service}\n{server} -m -w 1\n")), (alone.clone(), true, false));
    assert_eq!(shown(&format!("{service} -p 360\n")), (kept.clone(), false, true));
    assert_eq!(shown(&format!("{service} -p 360\n{server} -g -w 1\n")), (kept.clone(), false, true));
    assert_eq!(shown(&format!("{service} -p 360\n{server} -m -w 1\n")), (alone.clone(), true, false));

    // It follows every change.
    let mut config = made(&format!("{service} -p 360\n{server} -g\n"));
    let listens = |config: &Config| config.services.iter().map(|of| of.listens.len()).collect::<Vec<_>>();
    run(&mut config, "-E -t 198.18.0.9:21 -s wlc").expect("known");
    assert_eq!((listens(&config), config.services[0].sloppy), (vec![1], false));
    run(&mut config, "-E -t 198.18.0.9:21 -s wlc -p").expect("known");
    run(&mut config, "-e -t 198.18.0.9:21 -r 198.19.1.1:21 -i -w 3").expect("known");
    assert_eq!(listens(&config), [3]);
    run(&mut config, "-d -t 198.18.0.9:21 -r 198.19.1.1:21").expect("known");
    let refusal = run(&mut config, "-d -t 198.18.0.9:21 -r 198.19.1.1:21").expect_err("gone");
    assert_eq!(refusal.text, "No such destination");
    run(&mut config, "-a -t 198.18.0.9:21 -r 198.19.1.1 -g").expect("again");
    let refusal = run(&mut config, "-a -t 198.18.0.9:21 -r 198.19.1.2 -m").expect_err("mixed");
    assert!(refusal.text.contains("forward dr does not work with a helper"), "{}", refusal.text);
    run(&mut config, "-D -t 198.18.0.9:21").expect("known");
    assert!(config.services.is_empty());
}
