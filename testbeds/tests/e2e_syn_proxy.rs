//! The SYN proxy with real TCP at both ends: nginx behind it, curl before it, in both families.

use std::time::Duration;

use sheave_testbeds::Family::{V4, V6};
use sheave_testbeds::http::{After, HttpConn};
use sheave_testbeds::wait::wait_until;
use sheave_testbeds::{Director, Family, Lab, Method, Options, Process, Service, run, servers};

struct Scene {
    director: Director,
    _nginx: Vec<Process>,
    lab: Lab,
}

impl Scene {
    fn new(family: Family) -> Scene {
        let lab = Lab::with(Options { clients: family, servers: family, ..Options::default() }).expect("lab");
        lab.prepare(Method::Nat).expect("real servers");
        let nginx = servers::start_nginx(&lab).expect("nginx");
        let web = Service { more: "syn-proxy = true".to_owned(), ..Service::web(&lab, Method::Nat) };
        let director = Director::start(&lab, &[web]).expect("director");
        Scene { director, _nginx: nginx, lab }
    }

    fn counter(&self, name: &str) -> u64 {
        let report = self.director.json(&["counters", "--all"]).expect("counters");
        let list = report["counters"].as_array().cloned().unwrap_or_default();
        let found = list.iter().find(|counter| counter["name"] == name).expect("the counter is there");
        found["value"].as_u64().expect("a number")
    }
}

/// A large file each way of TCP's options, by its checksum, and many requests on one connection.
fn serves(family: Family) {
    let scene = Scene::new(family);
    let digest = |text: String| text.split_whitespace().next().map(str::to_owned).expect("a digest");
    let file = servers::make_big_file(&scene.lab).expect("file");
    let sent = digest(run(&["sha256sum", file.to_str().expect("UTF-8 path")]).expect("digest"));
    let url = format!("http://{}/big", scene.lab.vip(80));
    let script =
        format!("set -o pipefail; curl --fail --silent --show-error --max-time 120 '{url}' | sha256sum");
    for timestamps in ["1", "0"] {
        scene.lab.client.sysctl("net.ipv4.tcp_timestamps", timestamps).expect("sysctl");
        let received =
            digest(scene.lab.client.exec(&["bash", "-c", &script]).unwrap_or_else(|error| {
                panic!("timestamps {timestamps}: {error}\n{}", scene.director.state())
            }));
        assert_eq!(received, sent, "timestamps {timestamps}");
    }
    let mut kept = HttpConn::open(&scene.lab.client, scene.lab.vip(80)).expect("connection");
    let server = kept.ask(After::KeepAlive).expect("answer");
    for _ in 0..200 {
        assert_eq!(kept.ask(After::KeepAlive).expect("answer"), server);
    }
    let mut answers = std::collections::BTreeSet::new();
    for _ in 0..30 {
        let mut once = HttpConn::open(&scene.lab.client, scene.lab.vip(80)).expect("connection");
        answers.insert(once.ask(After::Close).expect("answer"));
    }
    assert_eq!(answers.len(), 3, "every server has its share");
    // The first ones may have waited for a neighbour.
    assert!(scene.counter("syn-cookie") >= 30 && scene.counter("syn-proxied") >= 60);
}

#[test]
fn ipv4_is_served() {
    serves(V4);
}

#[test]
fn ipv6_is_served() {
    serves(V6);
}

/// A server that is not there at all, and one that refuses: the client is reset, and does not wait for its own timeout.
#[test]
fn who_gets_no_server_is_reset() {
    let lab = Lab::new().expect("lab");
    lab.prepare(Method::Nat).expect("real servers");
    let web = Service { more: "syn-proxy = true".to_owned(), ..Service::web(&lab, Method::Nat) };
    let director = Director::start(&lab, &[web]).expect("director");
    // No nginx runs: the real servers refuse.
    let curl = ["curl", "--silent", "--show-error", "--max-time", "30", &format!("http://{}/", lab.vip(80))];
    let refused = lab.client.exec(&curl).expect_err("refused").to_string();
    assert!(refused.contains("reset"), "{refused}\n{}", director.state());
    // Then they are silent.
    for real in &lab.reals {
        let drop = [
            "nft",
            "add table inet t; add chain inet t i { type filter hook input priority 0; policy drop; }",
        ];
        real.netns.exec(&drop).expect("silent");
    }
    let silent = lab.client.exec(&curl).expect_err("reset").to_string();
    assert!(silent.contains("reset"), "{silent}\n{}", director.state());
    let gone = || {
        let status = director.json(&["status"]).expect("status");
        status["connections"].as_u64() == Some(0)
    };
    wait_until("no connection is left", Duration::from_secs(5), gone).expect("none");
}
