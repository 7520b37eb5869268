//! The tools on real devices: generator, a bare forwarder on AF_XDP, sink. Needs root.
//!
//! ```text
//!   gen: g0 ------ d0 director d1 ------ s0 :sink
//! ```

use sheave_io::FaultRates;
use sheave_io::lab::Hook;
use sheave_pktgen::exchange::{Client, serve};
use sheave_pktgen::send::{LiveSender, Until, send_af_xdp};
use sheave_pktgen::sink::{Received, VerifyingSink};
use sheave_pktgen::station::Station;
use sheave_pktgen::traffic::{Protocol, Sizes};
use sheave_pktgen::verify::Fault;
use sheave_pktgen::{Change, Expect, Mac, Real, Stream, Traffic, bare};
use sheave_testbeds::Netns;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

const GENERATOR: Mac = Mac([2, 0, 0, 0, 0, 0xe0]);
const OUTSIDE: Mac = Mac([2, 0, 0, 0, 0, 0xd0]);
const INSIDE: Mac = Mac([2, 0, 0, 0, 0, 0xd1]);
const SINK: Mac = Mac([2, 0, 0, 0, 1, 0x11]);

struct Bench {
    generator: Netns,
    director: Netns,
    sink: Netns,
}

impl Bench {
    fn new() -> Bench {
        let netns = |label| Netns::new(label).expect("a namespace");
        let bench = Bench { generator: netns("gen"), director: netns("dir"), sink: netns("sink") };
        bench.cable(&bench.generator, "g0", GENERATOR, "d0", OUTSIDE);
        bench.cable(&bench.sink, "s0", SINK, "d1", INSIDE);
        bench
    }

    fn cable(&self, netns: &Netns, name: &str, mac: Mac, peer: &str, peer_mac: Mac) {
        let director = self.director.name();
        netns
            .ip(&format!(
                "link add {name} address {mac} type veth peer name {peer} address {peer_mac} netns {director}"
            ))
            .expect("a cable");
        for (netns, name) in [(netns, name), (&self.director, peer)] {
            netns.exec(&["ethtool", "-K", name, "tx", "off", "gro", "on"]).expect("offloads");
            netns.ip(&format!("link set {name} up")).expect("up");
        }
    }

    /// Runs `work` while a bare forwarder runs; returns what it returned.
    fn with_forwarder<T>(&self, faults: Option<(FaultRates, u64)>, work: impl FnOnce() -> T) -> T {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, ready) = mpsc::channel();
        let forwarder = self.director.thread({
            let stop = Arc::clone(&stop);
            let way = |from: &str, to: &str, source, destination| bare::Way {
                from: from.to_owned(),
                to: to.to_owned(),
                source,
                destination,
            };
            let ways = [way("d0", "d1", INSIDE, SINK), way("d1", "d0", OUTSIDE, GENERATOR)];
            move || {
                let options = bare::Options { adaptive: true, faults, core: None };
                bare::forward(&ways, &options, &stop, || tell.send(()).expect("waited for"))
            }
        });
        ready.recv_timeout(Duration::from_secs(10)).expect("the forwarder is up");
        let result = work();
        stop.store(true, Ordering::Relaxed);
        forwarder.join().expect("no panic").expect("entered").expect("forwarded");
        result
    }

    fn expect(&self, traffic: Traffic) -> Expect {
        let reals = vec![Real { mac: SINK, address: "198.19.1.11:80".parse().expect("address") }];
        Expect { traffic, change: Change::Bare, from: Some(INSIDE), reals, order: true }
    }

    /// Sends `count` packets at a rate that the forwarder can take, and returns what arrived of them.
    fn run(&self, traffic: Traffic, count: u64, live: bool, faults: Option<(FaultRates, u64)>) -> Received {
        let expect = self.expect(traffic.clone());
        let attach = || VerifyingSink::attach("s0", Hook::Tc, 1, expect);
        let mut sink = self.sink.enter(attach).expect("entered").expect("sink");
        let stream = Arc::new(Stream::new(traffic));
        self.with_forwarder(faults, || {
            let until = Until { packets: Some(count), time: Some(Duration::from_secs(20)) };
            let sender = self.generator.thread(move || {
                if live {
                    LiveSender::new(stream, "g0")?.send(50_000.0, until, None, |_| ())
                } else {
                    let mut stations = [Station::open("g0", false)?];
                    send_af_xdp(&stream, &mut stations, 50_000.0, until, |_| ())
                }
            });
            while !sender.is_finished() {
                sink.work();
                sheave_pktgen::clock::pause(Duration::from_millis(5));
            }
            let sent = sender.join().expect("no panic").expect("entered").expect("sent");
            // The generator looks at its count only now and then.
            assert!(sent.packets >= count, "{sent:?}");
            sink.settle(Duration::from_millis(100)).expect("counters");
            let received = sink.received().expect("counters");
            assert!(
                received.packets <= sent.packets * 11 / 10 && received.packets > count / 2,
                "{received:?}"
            );
            received
        })
    }
}

fn traffic(v4: bool, protocol: Protocol) -> Traffic {
    let to = if v4 { "198.18.0.100:80" } else { "[2001:db8:0:18::100]:80" };
    let to = to.parse().expect("address");
    Traffic {
        protocol,
        flows: 64,
        sizes: Sizes::imix(),
        next_hop: OUTSIDE,
        source: GENERATOR,
        ..Traffic::to(to)
    }
}

#[test]
fn both_generators_send_right_packets_of_every_kind() {
    let bench = Bench::new();
    for (v4, protocol, live) in [
        (true, Protocol::Udp, true),
        (true, Protocol::Tcp, true),
        (false, Protocol::Udp, true),
        (false, Protocol::Tcp, true),
        (true, Protocol::Udp, false),
        (false, Protocol::Tcp, false),
    ] {
        let received = bench.run(traffic(v4, protocol), 20_000, live, None);
        let verdicts = &received.verdicts;
        assert_eq!(verdicts.faulty(), 0, "{v4} {protocol:?} {live}: {verdicts:?}");
        assert_eq!(
            (verdicts.flows, verdicts.judged),
            (64, received.packets),
            "{v4} {protocol:?} {live}: {received:?}"
        );
        assert!(received.latency.p50 > 0.1 && received.latency.count == received.packets, "{received:?}");
    }
}

#[test]
fn faults_on_af_xdp_are_caught() {
    let bench = Bench::new();
    let none = FaultRates::default();
    for (rates, faults) in [
        (FaultRates { corrupt: 200, ..none }, &Fault::ALL[..]),
        (FaultRates { duplicate: 200, ..none }, &[Fault::Duplicate]),
        (FaultRates { reorder: 200, ..none }, &[Fault::Reordered]),
        (FaultRates { truncate: 200, ..none }, &[Fault::Malformed]),
    ] {
        // Few flows, so that the next packet is of the same flow often enough for their order to be wrong.
        let traffic = Traffic { flows: 1, sizes: Sizes::one(64), ..traffic(true, Protocol::Udp) };
        let received = bench.run(traffic, 30_000, true, Some((rates, 7)));
        let found: u64 = faults.iter().map(|fault| received.verdicts.of(*fault)).sum();
        assert!(found > 0, "{rates:?}: {received:?}");
        assert_eq!(found, received.verdicts.faulty(), "{rates:?}: {received:?}");
    }
}

#[test]
fn whole_connections_run_through() {
    let bench = Bench::new();
    let stop = Arc::new(AtomicBool::new(false));
    let responder = bench.sink.thread({
        let stop = Arc::clone(&stop);
        move || Station::open("s0", true).map(|mut station| serve(&mut station, &stop))
    });
    let done = bench.with_forwarder(None, || {
        let client = Client {
            to: "198.18.0.100:80".parse().expect("address"),
            macs: [GENERATOR, OUTSIDE],
            first: "198.18.128.0".parse().expect("address"),
            tuples: 1024,
            concurrent: 8,
            time: Duration::from_secs(2),
        };
        let run = || Station::open("g0", true).and_then(|mut station| client.run(&mut station, |_| ()));
        bench.generator.enter(run).expect("entered").expect("ran")
    });
    stop.store(true, Ordering::Relaxed);
    let answered = responder.join().expect("no panic").expect("entered").expect("served");
    assert!(done.completed > 1024 && done.unexpected == 0, "{done:?}");
    assert!(answered >= done.completed * 4, "{answered} packets for {done:?}");
}
