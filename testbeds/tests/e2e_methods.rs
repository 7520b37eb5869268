//! Each forwarding method carries real traffic from clients to real servers and back, on AF_XDP.

use std::collections::BTreeMap;

use sheave_testbeds::Family::{V4, V6};
use sheave_testbeds::http::{After, HttpConn};
use sheave_testbeds::udp::UdpClient;
use sheave_testbeds::{Bed, Director, Family, Lab, Method, Options, Service, run, servers};

/// Connections that are open at once in the test of many.
const MANY: usize = 200;

/// The names and how often each occurs.
fn count(names: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    names.into_iter().fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

/// As [`count`] says it when `r1`, `r2` and `r3` had `each`.
fn even(each: usize) -> BTreeMap<String, usize> {
    ["r1", "r2", "r3"].map(|name| (name.to_owned(), each)).into()
}

/// HTTP on connections of their own: rr goes round the three servers.
fn closes(bed: &Bed) {
    let names = (0..30).map(|_| bed.ask().expect("answer"));
    assert_eq!(count(names), even(10));
}

/// HTTP on a connection that stays open stays with its server.
fn keeps_alive(bed: &Bed) {
    for _ in 0..3 {
        let mut connection = HttpConn::open(&bed.lab.client, bed.lab.vip(80)).expect("connection");
        let first = connection.ask(After::KeepAlive).expect("first answer");
        for _ in 0..100 {
            assert_eq!(connection.ask(After::KeepAlive).expect("answer"), first);
        }
        assert_eq!(connection.ask(After::Close).expect("last answer"), first);
    }
}

/// 50 MB arrive as they left: curl and sha256sum say so, on one connection to each server.
fn downloads(bed: &Bed) {
    let digest = |text: String| text.split_whitespace().next().map(str::to_owned).expect("a digest");
    let file = servers::make_big_file(&bed.lab).expect("file");
    let sent = digest(run(&["sha256sum", file.to_str().expect("UTF-8 path")]).expect("digest"));
    let url = format!("http://{}/big", bed.lab.vip(80));
    let script =
        format!("set -o pipefail; curl --fail --silent --show-error --max-time 120 {url} | sha256sum");
    for _ in &bed.lab.reals {
        let received = bed.lab.client.exec(&["bash", "-c", &script]).expect("download");
        assert_eq!(digest(received), sent);
    }
}

/// Datagrams of many sizes come back whole; a client's datagrams stay with its server, clients go round.
fn echoes(bed: &Bed) {
    let client = |_| {
        let mut client = UdpClient::open(&bed.lab.client, None, bed.lab.vip(7)).expect("client");
        let first = client.echo(4).expect("echo");
        // 1472 is a whole MTU; the echo's name and blank and the tunnel's header need room too.
        for size in [5, 63, 64, 65, 512, 1000, 1400] {
            assert_eq!(client.echo(size).expect("echo"), first);
        }
        first
    };
    assert_eq!(count((0..12).map(client)), even(4));
}

/// Many connections at once, each with its own server, also when all have been opened.
fn holds_many(bed: &Bed) {
    let open = || HttpConn::open_here(bed.lab.vip(80));
    let connections = bed.lab.client.enter(|| (0..MANY).map(|_| open()).collect::<Result<Vec<_>, _>>());
    let mut connections = connections.expect("namespace").expect("connections");
    let ask = |connection: &mut HttpConn| connection.ask(After::KeepAlive).expect("answer");
    let first: Vec<_> = connections.iter_mut().map(ask).collect();
    let second: Vec<_> = connections.iter_mut().rev().map(ask).collect();
    assert!(first.iter().eq(second.iter().rev()), "a connection changed its server");
    let counts = count(first);
    assert!(counts.values().all(|n| (66..=67).contains(n)) && counts.len() == 3, "{counts:?}");
}

fn all_of(method: Method, clients: Family, servers: Family) {
    let options = Options { clients, servers, ..Options::default() };
    let bed = Bed::start_with(method, options, "").expect("bed");
    closes(&bed);
    keeps_alive(&bed);
    echoes(&bed);
    holds_many(&bed);
    downloads(&bed);
}

#[test]
fn nat() {
    all_of(Method::Nat, V4, V4);
}

#[test]
fn nat_ipv6() {
    all_of(Method::Nat, V6, V6);
}

#[test]
fn direct_routing() {
    all_of(Method::Dr, V4, V4);
}

#[test]
fn direct_routing_ipv6() {
    all_of(Method::Dr, V6, V6);
}

#[test]
fn tunnelling() {
    all_of(Method::Tun, V4, V4);
}

#[test]
fn tunnelling_ipv6() {
    all_of(Method::Tun, V6, V6);
}

#[test]
fn tunnelling_ipv4_in_ipv6() {
    all_of(Method::Tun, V4, V6);
}

#[test]
fn tunnelling_ipv6_in_ipv4() {
    all_of(Method::Tun, V6, V4);
}

/// One service whose three destinations are reached by three methods.
#[test]
fn methods_mix_within_one_service() {
    let lab = Lab::new().expect("lab");
    let _nginx = servers::start_nginx(&lab).expect("nginx");
    let mut web = Service::web(&lab, Method::Dr);
    let mut lines = String::new();
    web.destinations.clear();
    for (real, method) in lab.reals.iter().zip(Method::ALL) {
        real.prepare(method).expect("prepared");
        let (address, forward) = (real.at(method.web_port()), method.name());
        lines += &format!("\n[[service.destination]]\naddress = \"{address}\"\nforward = \"{forward}\"\n");
    }
    web.more = lines;
    let _director = Director::start(&lab, &[web]).expect("sheaved");
    let names = (0..30).map(|_| sheave_testbeds::http::ask_once(&lab.client, lab.vip(80)).expect("answer"));
    assert_eq!(count(names), even(10));
}
