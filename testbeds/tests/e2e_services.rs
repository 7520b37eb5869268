//! What a virtual service can be beside one port: bundles, every port, persistence, datagrams one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use sheave_testbeds::http::{After, HttpConn};
use sheave_testbeds::udp::UdpClient;
use sheave_testbeds::wait::wait_until;
use sheave_testbeds::{Director, Lab, Method, Options, Process, addr, servers};

/// Clients beside the first one, by the last number of their address.
const OTHERS: [u8; 3] = [3, 4, 5];

/// nginx on all real servers, clients with several addresses, and sheaved with a service of the test's own.
struct Scene {
    director: Director,
    _nginx: Vec<Process>,
    lab: Lab,
}

impl Scene {
    fn new(method: Method, service: &str) -> Scene {
        Scene::with(method, Options::default(), "", service)
    }

    fn with(method: Method, options: Options, director_lines: &str, service: &str) -> Scene {
        let lab = Lab::with(options).expect("lab");
        lab.prepare(method).expect("real servers");
        for number in OTHERS {
            lab.client.ip(&format!("addr add 198.18.0.{number}/24 dev c0")).expect("address");
        }
        let nginx = servers::start_nginx(&lab).expect("nginx");
        let director = Director::start_with(&lab, &[], director_lines).expect("director");
        let mut text = director.config_text(&[]).expect("text");
        let forward = method.name();
        let _ = write!(
            text,
            "[[service]]\nname = \"site\"\nforward = \"{forward}\"\nscheduler = \"rr\"\n{service}\n"
        );
        for real in &lab.reals {
            let _ = write!(text, "[[service.destination]]\naddress = \"{}\"\n", real.ip);
        }
        let path = lab.file("site.toml");
        std::fs::write(&path, text).expect("written");
        director.sheave(&["apply", path.to_str().expect("UTF-8")]).expect("applied");
        Scene { director, _nginx: nginx, lab }
    }

    /// The server that a client with this last number gets on a port.
    fn ask(&self, client: u8, port: u16) -> String {
        let (from, url) = (format!("198.18.0.{client}"), format!("http://{}/", self.lab.vip(port)));
        let command =
            ["curl", "--fail", "--silent", "--show-error", "--max-time", "10", "--interface", &from, &url];
        self.lab.client.exec(&command).unwrap_or_else(|e| panic!("{client} {port}: {e}")).trim().to_owned()
    }

    fn sheave(&self, line: &str) -> Value {
        let words: Vec<&str> = line.split(' ').collect();
        self.director.json(&words).unwrap_or_else(|e| panic!("{line}: {e}"))
    }

    /// Client and destination of each template that is listed, with how many connections it has.
    fn sticky(&self, filter: &str) -> BTreeMap<String, (String, u64)> {
        let page = self.sheave(&format!("sticky list{filter}"));
        let text = |value: &Value| value.as_str().map(str::to_owned).expect("text");
        let entries = page["entries"].as_array().expect("entries").iter();
        let entry = |e: &Value| {
            (text(&e["client"]), (text(&e["destination"]), e["connections"].as_u64().expect("number")))
        };
        entries.map(entry).collect()
    }
}

/// The address of the real server with this name.
fn real(name: &str) -> String {
    let number = name.strip_prefix('r').and_then(|number| number.parse().ok()).expect("rN");
    addr::real(number).to_string()
}

/// Each client has one real server for 80 and 443, whichever it asks first; the CLI shows and forgets which.
fn a_bundle_sticks_together(method: Method) {
    let listen = format!("listen = [\"{0}:80/tcp\", \"{0}:443/tcp\"]\npersistence = {{}}", addr::VIP);
    let scene = Scene::new(method, &listen);
    let mut kept = HttpConn::open(&scene.lab.client, scene.lab.vip(80)).expect("connection");
    let first = kept.ask(After::KeepAlive).expect("answer");
    let mut served = BTreeMap::from([(2, first.clone())]);
    for (client, ports) in OTHERS.into_iter().zip([[80, 443], [443, 80], [80, 443]]) {
        let server = scene.ask(client, ports[0]);
        assert_eq!(scene.ask(client, ports[1]), server, "client {client}");
        served.insert(client, server);
    }
    for _ in 0..3 {
        for (client, server) in &served {
            assert_eq!(
                [80, 443].map(|port| scene.ask(*client, port)),
                [server.clone(), server.clone()],
                "{client}"
            );
        }
    }
    assert_eq!(served.values().collect::<BTreeSet<_>>().len(), 3, "clients are spread: {served:?}");

    let all = scene.sticky("");
    assert_eq!(all.len(), 4);
    for (client, server) in &served {
        let (destination, connections) = &all[&format!("198.18.0.{client}/32")];
        assert_eq!(*destination, real(server));
        assert!(*connections > 0);
    }
    assert_eq!(scene.sticky(" --client 198.18.0.3 --service site").len(), 1);
    assert_eq!(scene.sticky(" --client 198.18.0.0/30 --limit 0").len(), 2);
    let of_first = served.values().filter(|server| **server == first).count();
    assert_eq!(scene.sticky(&format!(" --destination {}", real(&first))).len(), of_first);
    assert_eq!(scene.sticky(" --client 198.19.1.11").len(), 0);

    // Forgotten: the next connection takes its turn, those that there are stay.
    assert_eq!(scene.sheave("sticky clear --client 198.18.0.2")["cleared"], 1);
    let again = scene.ask(2, 443);
    assert_ne!(again, first, "rr has gone on since");
    assert_eq!(kept.ask(After::KeepAlive).expect("it goes on"), first);
    assert_eq!(scene.ask(2, 80), again);
    assert_eq!(scene.sheave("sticky clear --all")["cleared"], 4);
    assert_eq!(scene.sticky("").len(), 0);
}

#[test]
fn a_bundle_sticks_together_under_nat() {
    a_bundle_sticks_together(Method::Nat);
}

#[test]
fn a_bundle_sticks_together_under_direct_routing() {
    a_bundle_sticks_together(Method::Dr);
}

/// Clients of one network share a real server, on every port of the VIP.
#[test]
fn every_port_of_a_vip_with_persistence_by_network() {
    let listen = format!("listen = \"{}:*/tcp\"\npersistence = {{ netmask = 30 }}", addr::VIP);
    let scene = Scene::new(Method::Nat, &listen);
    let (low, high) = (scene.ask(2, 80), scene.ask(4, 8080));
    assert_ne!(low, high);
    for port in [80, 443, 8080] {
        assert_eq!([2, 3].map(|client| scene.ask(client, port)), [low.clone(), low.clone()], "{port}");
        assert_eq!([4, 5].map(|client| scene.ask(client, port)), [high.clone(), high.clone()], "{port}");
    }
    let templates = scene.sticky("");
    assert_eq!(templates["198.18.0.0/30"].0, real(&low));
    assert_eq!(templates["198.18.0.4/30"].0, real(&high));
}

/// Without persistence each connection to any port takes its turn.
#[test]
fn every_port_of_a_vip_without_persistence() {
    let scene = Scene::new(Method::Dr, &format!("listen = \"{}:*/tcp\"", addr::VIP));
    let names: Vec<String> = [80, 443, 8080, 80, 443, 8080].map(|port| scene.ask(2, port)).into();
    assert_eq!(names[..3], names[3..]);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 3);
}

/// Datagrams of one flow take turns, and leave nothing behind.
#[test]
fn datagrams_one_by_one() {
    let scene = Scene::new(Method::Dr, &format!("listen = \"{}:7/udp\"\none-packet = true", addr::VIP));
    let echo = |real: &sheave_testbeds::Real| servers::udp_echo(&real.netns, &real.name, scene.lab.vip(7));
    let _echoes: Vec<_> = scene.lab.reals.iter().map(|real| echo(real).expect("echo")).collect();
    let mut client = UdpClient::open(&scene.lab.client, None, scene.lab.vip(7)).expect("client");
    let mut counts = BTreeMap::new();
    for size in 0..30 {
        *counts.entry(client.echo(size * 40).expect("answer")).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
    assert_eq!(scene.sheave("connections")["entries"], Value::Array(Vec::new()));
    let stats = scene.sheave("stats site");
    assert_eq!(stats["services"][0]["stats"]["totals"]["conns"], 30);
}

/// A client whose connections reach different workers is kept by one template.
#[test]
fn two_workers_keep_a_client_together() {
    let options = Options { outside_queues: 4, ..Options::default() };
    let listen = format!("listen = [\"{0}:80/tcp\", \"{0}:443/tcp\"]\npersistence = {{}}", addr::VIP);
    let scene = Scene::with(Method::Nat, options, "cores = [0, 1]", &listen);
    let open = || (0..60).map(|n| HttpConn::open_here(scene.lab.vip(if n % 2 == 0 { 80 } else { 443 })));
    let connections = scene.lab.client.enter(|| open().collect::<Result<Vec<_>, _>>());
    let mut connections = connections.expect("namespace").expect("connections");
    let names: BTreeSet<String> =
        connections.iter_mut().map(|c| c.ask(After::KeepAlive).expect("answer")).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let server = names.first().map(|name| real(name)).expect("one");
    assert_eq!(scene.sticky(""), BTreeMap::from([("198.18.0.2/32".to_owned(), (server, 60))]));

    // A worker tells its numbers a little later.
    let parts = || {
        let workers = scene.sheave("workers");
        let workers = workers["workers"].as_array().expect("workers").clone();
        workers.iter().map(|worker| worker["packets"].as_u64().unwrap_or(0)).collect::<Vec<_>>()
    };
    let both = || matches!(parts()[..], [first, second] if first.min(second) > 50);
    wait_until("both workers have had a part of it", Duration::from_secs(5), both)
        .unwrap_or_else(|e| panic!("{e}: {:?}", parts()));
}
