//! Each verb asks exactly for what it says, and with --json prints what it is answered.

use crate::answers::{answer, reply, service};
use crate::director::{Director, Place};
use serde_json::Value;
use sheave_proto::api::{ConfigSource, Drain, Op, Rest, StickyFilter, Templates};
use sheave_proto::config::{
    Destination, DestinationPatch, Intent, Persistence, ServicePatch, Sorry, TimeoutsPatch, Weight,
};

/// Runs a verb with --json against a director that answers: it asks for `op` and nothing else.
fn asks(name: &str, args: &[&str], op: &Op) {
    let director = Director::new(name, reply);
    let ran = director.run(&[args, &["--json"]].concat());
    let asked: Vec<Op> = director.asked().into_iter().map(|request| request.op).collect();
    assert_eq!(asked, std::slice::from_ref(op), "{args:?}");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    let [line] = ran.out.lines().collect::<Vec<_>>()[..] else { panic!("{args:?}: {}", ran.out) };
    let printed: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(printed, answer(op), "{args:?}");
}

fn destination(address: &str) -> Destination {
    Destination::new(address.parse().expect("an address"))
}

fn weight(weight: u32) -> Weight {
    Weight::try_from(weight).expect("a weight")
}

#[test]
fn verbs_that_show() {
    asks("status", &["status"], &Op::StatusShow);
    asks("service-list", &["service", "list"], &Op::ServiceList);
    asks("service-show", &["service", "show", "web"], &Op::ServiceShow { service: "web".into() });
    asks("destination-list", &["destination", "list"], &Op::DestinationList { service: None });
    let of_web = Op::DestinationList { service: Some("web".into()) };
    asks("destination-list-of", &["destination", "list", "web"], &of_web);
    asks("stats", &["stats"], &Op::StatsShow { service: None });
    asks("stats-of", &["stats", "web"], &Op::StatsShow { service: Some("web".into()) });
    let web = || StickyFilter { service: Some("web".into()), ..StickyFilter::default() };
    let which = StickyFilter {
        client: Some("192.0.2.0/24".parse().expect("a network")),
        destination: Some("198.19.1.11:8080".parse().expect("an address")),
        ..web()
    };
    let all = Op::StickyList { filter: StickyFilter::default(), limit: 1000, cursor: None };
    asks("sticky-list", &["sticky", "list"], &all);
    let filters = "sticky list --service web --client 192.0.2.0/24 --destination 198.19.1.11:8080 -n 7";
    let filtered = Op::StickyList { filter: which, limit: 7, cursor: None };
    asks("sticky-list-of", &filters.split(' ').collect::<Vec<_>>(), &filtered);
    asks("sticky-clear", &["sticky", "clear", "--service", "web"], &Op::StickyClear(web()));
    asks("sticky-clear-all", &["sticky", "clear", "--all"], &Op::StickyClear(StickyFilter::default()));
    asks("neighbours", &["neighbours"], &Op::NeighboursList);
    asks("workers", &["workers"], &Op::WorkersShow);
    asks("counters", &["counters"], &Op::CountersShow);
    asks("config-show", &["config", "show"], &Op::ConfigShow);
    asks("reload", &["reload"], &Op::ConfigReload);
}

#[test]
fn verbs_that_change_a_service() {
    let plain = Op::ServiceAdd(Box::new(service("198.18.0.100:80/tcp")));
    asks("service-add", &["service", "add", "198.18.0.100:80/tcp"], &plain);
    let mut full = service("198.18.0.100:80/tcp");
    full.name = "web".into();
    full.scheduler = "rr".parse().expect("a scheduler");
    full.forward = "dr".parse().expect("a method");
    full.on_removal = "keep".parse().expect("a word");
    full.interface = Some("d0".into());
    full.timeouts.tcp = Some("1h".parse().expect("a timeout"));
    full.timeouts.tcp_fin = Some("30s".parse().expect("a timeout"));
    full.timeouts.udp = Some("10s".parse().expect("a timeout"));
    let settings = "--name web -s rr -f dr --on-removal keep --interface d0 --tcp-timeout 1h \
                    --tcp-fin-timeout 30s --udp-timeout 10s";
    let args: Vec<&str> =
        "service add 198.18.0.100:80/tcp".split(' ').chain(settings.split_whitespace()).collect();
    asks("service-add-full", &args, &Op::ServiceAdd(Box::new(full)));
    let mut site = service("198.18.0.100:80/tcp");
    site.listens.push("198.18.0.100:5000-5100/udp".parse().expect("a listen"));
    site.name = "198.18.0.100:80/tcp,198.18.0.100:5000-5100/udp".into();
    site.persistence = Some(Persistence { timeout: "6m".parse().expect("a timeout"), netmask: Some(24) });
    (site.one_packet, site.sloppy, site.pmtu_discovery) = (true, true, false);
    site.mss_clamp = "1300".parse().expect("bytes");
    let line = "service add 198.18.0.100:80/tcp 198.18.0.100:5000-5100/udp --persistence 6m --netmask 24 --one-packet \
                --sloppy true --pmtu-discovery false --mss-clamp 1300";
    let args: Vec<&str> = line.split_whitespace().collect();
    asks("service-add-bundle", &args, &Op::ServiceAdd(Box::new(site)));
    let patch = ServicePatch {
        persistence: Some(None),
        helper: Some(None),
        slow_start: Some(Some("30s".parse().expect("a duration"))),
        ..ServicePatch::default()
    };
    let args =
        ["service", "edit", "web", "--unset", "persistence", "--unset", "helper", "--slow-start", "30s"];
    asks("service-unset", &args, &Op::ServiceSet { service: "web".into(), patch });
    let patch = ServicePatch {
        scheduler: Some("lc".parse().expect("a scheduler")),
        interface: Some(Some("d1".into())),
        timeouts: TimeoutsPatch {
            udp: Some(Some("1m".parse().expect("a timeout"))),
            ..TimeoutsPatch::default()
        },
        ..ServicePatch::default()
    };
    let args = ["service", "edit", "web", "--scheduler", "lc", "--interface", "d1", "--udp-timeout", "1m"];
    asks("service-edit", &args, &Op::ServiceSet { service: "web".into(), patch });
    asks("service-remove", &["service", "remove", "web"], &Op::ServiceRemove { service: "web".into() });
}

#[test]
fn verbs_that_change_a_destination() {
    let plain = Op::DestinationAdd { service: "web".into(), destination: destination("198.19.1.11:8080") };
    asks("destination-add", &["destination", "add", "web", "198.19.1.11:8080"], &plain);
    let full = Destination {
        weight: weight(3),
        forward: Some("tun".parse().expect("a method")),
        ..destination("198.19.1.11")
    };
    let args = ["destination", "add", "web", "198.19.1.11", "-w", "3", "--forward", "tun"];
    asks("destination-add-full", &args, &Op::DestinationAdd { service: "web".into(), destination: full });
    let (service, address) = ("web".to_owned(), destination("198.19.1.11:8080").address);
    let patch = DestinationPatch { weight: Some(weight(0)), ..DestinationPatch::default() };
    let op = Op::DestinationSet { service: service.clone(), address, patch };
    asks("destination-edit", &["destination", "edit", "web", "198.19.1.11:8080", "--weight", "0"], &op);
    let op = Op::DestinationRemove { service, address };
    asks("destination-remove", &["destination", "remove", "web", "198.19.1.11:8080"], &op);
}

#[test]
fn settings_of_limits_backups_and_schedulers() {
    let mut full = service("198.18.0.100:80/tcp");
    full.scheduler = "mh".parse().expect("a scheduler");
    full.scheduler_flags = ["mh-port", "mh-fallback"].map(|flag| flag.parse().expect("a flag")).into();
    full.mh_table = Some(4093.try_into().expect("a size"));
    full.sorry = Some(Sorry { address: destination("198.19.1.9:81").address, forward: None });
    full.backup_below = 2.try_into().expect("a number");
    full.slow_start = Some("30s".parse().expect("a duration"));
    let args = "service add 198.18.0.100:80/tcp -s mh --scheduler-flag mh-port --scheduler-flag mh-fallback \
                --mh-table 4093 --sorry 198.19.1.9:81 --backup-below 2 --slow-start 30s";
    let args: Vec<&str> = args.split_whitespace().collect();
    asks("service-add-scheduler", &args, &Op::ServiceAdd(Box::new(full)));
    let limited = Destination {
        upper_threshold: 90,
        lower_threshold: 80,
        connection_limit: 100,
        backup: true,
        ..destination("198.19.1.11")
    };
    let args = "destination add web 198.19.1.11 --upper-threshold 90 --lower-threshold 80 --connection-limit 100 \
                --backup";
    let args: Vec<&str> = args.split_whitespace().collect();
    let op = Op::DestinationAdd { service: "web".into(), destination: limited };
    asks("destination-add-limits", &args, &op);
    let patch = DestinationPatch { backup: Some(false), ..DestinationPatch::default() };
    let address = destination("198.19.1.11").address;
    let op = Op::DestinationSet { service: "web".into(), address, patch };
    asks("destination-edit-backup", &["destination", "edit", "web", "198.19.1.11", "--backup", "false"], &op);
}

#[test]
fn states_of_a_destination() {
    let address = destination("198.19.1.11:8080").address;
    for (verb, state) in [("ready", Intent::Ready), ("maint", Intent::Maint)] {
        let patch = DestinationPatch { state: Some(state), ..DestinationPatch::default() };
        let op = Op::DestinationSet { service: "web".into(), address, patch };
        asks(verb, &[verb, "web", "198.19.1.11:8080"], &op);
    }
    let drain = |drain| Op::DestinationDrain { service: "web".into(), address, drain };
    asks("drain", &["drain", "web", "198.19.1.11:8080"], &drain(Drain::default()));
    let full = Drain {
        deadline: Some("5m".parse().expect("a duration")),
        then: Rest::Reset,
        templates: Templates::Honour,
    };
    let args = "drain web 198.19.1.11:8080 --deadline 5m --then reset --templates honour";
    let args: Vec<&str> = args.split_whitespace().collect();
    asks("drain-full", &args, &drain(full));
}

#[test]
fn apply_sends_the_text_and_the_name_of_the_file() {
    let text = "[[service]]\nlisten = \"198.18.0.100:80/tcp\"\n";
    let file = Place::new("apply-file").file("new.toml", text);
    let file = file.to_str().expect("UTF-8");
    let source = |file: &str| ConfigSource::Toml { text: text.to_owned(), file: file.to_owned() };
    asks("apply", &["apply", file], &Op::ConfigApply(source(file)));
    asks("apply-dry-run", &["apply", file, "--dry-run"], &Op::ConfigPlan(source(file)));
    let director = Director::new("apply-stdin", reply);
    assert_eq!(director.run_with(&["apply", "-"], text).code, 0);
    let asked = director.asked();
    assert_eq!(asked[0].op, Op::ConfigApply(source("standard input")));
}

#[test]
fn the_socket_is_named_by_the_environment_too() {
    let director = Director::new("environment", reply);
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_sheave"))
        .env("SHEAVE_SOCKET", director.socket())
        .arg("status")
        .output()
        .expect("sheave runs");
    assert_eq!(ran.status.code(), Some(0));
    assert_eq!(director.asked().len(), 1);
}
