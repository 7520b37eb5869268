//! Two workers on unevenly spread queues, at a fifth of what the bare minimum of forwarding reaches here: nothing is lost,
//! and no flow overtakes itself.

use serde_json::Value;
use sheave_testbeds::director::program;
use sheave_testbeds::wait::wait_until;
use sheave_testbeds::{Director, Lab, Method, Netns, Options, Process, Service, addr};
use std::time::Duration;

use nix::sys::signal::Signal;

const CLIENT: &str = "02:00:00:00:00:c0";
const OUTSIDE: &str = "02:00:00:00:00:d0";
const INSIDE: &str = "02:00:00:00:00:d1";
const REAL: &str = "02:00:00:00:01:0b";
const SOON: Duration = Duration::from_secs(15);

/// What a generator sends, and what a sink expects.
struct Run<'a> {
    lab: &'a Lab,
    change: &'a str,
    to: String,
    port: u16,
}

impl Run<'_> {
    fn start(&self, netns: &Netns, log: &str, words: &[&str]) -> Process {
        let program = program("sheave-pktgen").expect("the generator");
        let path = program.to_str().expect("UTF-8 path");
        netns.spawn(&[&[path], words].concat(), &self.lab.file(log)).expect("started")
    }

    /// Sends for two seconds, at a rate if one is given; what was sent and what arrived, as they say it.
    fn send(&self, queues: &str, rate: Option<f64>) -> (Value, Value) {
        let real = format!("{REAL}/{}:{}", addr::real(1), self.port);
        let traffic = ["--to", &self.to, "--flows", "1024"];
        let sink = ["sink", "--interface", "r0", "--change", self.change, "--real", &real, "--from", INSIDE];
        let sink = [&sink, &traffic[..], &["--one-in", "8"]].concat();
        let name = rate.map_or("bare".to_owned(), |rate| format!("at-{rate:.0}-{queues}"));
        let mut sink = self.start(&self.lab.reals[0].netns, &format!("sink-{name}"), &sink);
        wait_until("the sink is ready", SOON, || sink.log().contains("ready")).expect("a sink");
        let rate = rate.unwrap_or(0.0).to_string();
        let send = ["send", "--interface", "c0", "--next-hop", OUTSIDE, "--source", CLIENT, "--af-xdp"];
        let how = ["--queues", queues, "--rate", &rate, "--time", "2"];
        let mut sender =
            self.start(&self.lab.client, &format!("send-{name}"), &[&send, &traffic[..], &how].concat());
        let ended = sender.wait_end(SOON).expect("sent");
        assert!(ended.success(), "{}", sender.log());
        sink.signal(Signal::SIGINT).expect("told");
        sink.wait_end(SOON).expect("counted");
        let last = |log: &str| {
            let line = log.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{log}"));
            serde_json::from_str(line).expect("JSON")
        };
        (last(&sender.log()), last(&sink.log()))
    }
}

/// Packets a second that forwarding without anything else reaches, all on one queue.
fn ceiling(lab: &Lab) -> f64 {
    let run = Run { lab, change: "bare", to: lab.vip(7).to_string(), port: 7 };
    let (there, back) = (format!("d0:d1/{INSIDE}/{REAL}"), format!("d1:d0/{OUTSIDE}/{CLIENT}"));
    let words = ["bare", "--adaptive", "--there", &there, "--back", &back];
    let mut bare = run.start(&lab.director, "bare", &words);
    wait_until("the forwarder is ready", SOON, || bare.log().contains("ready")).expect("a forwarder");
    let (_, received) = run.send("1", None);
    bare.signal(Signal::SIGINT).expect("told");
    bare.wait_end(SOON).expect("ended");
    let rate = received["packets"].as_f64().expect("a count") / 2.0;
    assert!(rate > 10_000.0, "{received:#}");
    rate
}

/// `inside_queues`: with one, every packet of the worker that has none goes out by the other one's.
fn loses_nothing(method: Method, inside_queues: u8) {
    let options = Options { outside_queues: 4, inside_queues, reals: 1, ..Options::default() };
    let lab = Lab::with(options).expect("lab");
    // Whatever the method: the sink sees packets as they come.
    lab.prepare(Method::Nat).expect("prepared");
    let rate = ceiling(&lab) / 5.0;
    lab.director
        .ip(&format!("neigh replace {} lladdr {REAL} dev d1 nud permanent", addr::real(1)))
        .expect("neighbour");
    let director = Director::start_with(&lab, &[Service::echo(&lab, method)], "cores = [0, 1]");
    let director = director.expect("sheaved");
    let run = Run { lab: &lab, change: method.name(), to: lab.vip(7).to_string(), port: method.echo_port() };
    // A virtual machine's host takes a processor away for longer than rings hold: that is no loss of the director's.
    let mut lost = Vec::new();
    for _ in 0..3 {
        let (sent, received) = run.send("4", Some(rate));
        let faults = received["verdicts"]["faults"].as_array().expect("a list");
        assert!(faults.iter().all(|n| n == 0), "{received:#}\n{}", director.state());
        let (sent, came) = (sent["packets"].as_u64().expect("a count"), received["packets"].as_u64());
        assert!(received["verdicts"]["judged"].as_u64() > Some(sent / 16), "{received:#}");
        lost.push(sent - came.expect("a count"));
        if lost.ends_with(&[0]) {
            break;
        }
    }
    assert_eq!(lost.last(), Some(&0), "lost at {rate:.0} packets a second: {lost:?}: {}", director.state());
    let report = director.json(&["workers"]).expect("workers");
    let packets =
        report["workers"].as_array().expect("a list").iter().map(|worker| worker["packets"].as_u64());
    let packets: Vec<u64> = packets.map(|n| n.expect("a count")).collect();
    assert!(packets.len() == 2 && packets.iter().all(|n| *n > 1000), "{packets:?} packets of each worker");
}

#[test]
fn four_queues_lose_nothing_under_nat() {
    loses_nothing(Method::Nat, 3);
}

#[test]
fn four_queues_lose_nothing_under_direct_routing() {
    loses_nothing(Method::Dr, 1);
}

#[test]
fn four_queues_lose_nothing_under_tunnelling() {
    loses_nothing(Method::Tun, 1);
}
