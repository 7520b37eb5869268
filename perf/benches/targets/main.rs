//! The numbers that are held against targets, each measured by itself: `cargo bench --bench targets [-- ID...]`.
//!
//! Medians of several runs, with how far all runs but the slowest and the fastest are apart. They go into
//! `target/perf/summary.json`; docs/performance.md says how to read them.

mod changes;
mod flood;

use sheave_perf::{Better, CHUNK, Outcome, Packets, Rig, Setup};
use sheave_pipeline::Shared;
use sheave_pipeline::snapshot::Method;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

const K16: u32 = 1 << 14;
const M1: u32 = 1 << 20;
/// Ten million, in whole chunks.
const M10: u32 = 19_532 * 512;
const BURST: usize = 64;
const RUNS: usize = 11;
/// Packets of a run.
const PACKETS: u64 = 1 << 19;

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds a packet, of so many packets.
fn run(rig: &mut Rig, packets: &mut Packets, burst: usize, count: u64) -> f64 {
    let mut time = Duration::ZERO;
    let chunks = count / CHUNK as u64;
    for _ in 0..chunks {
        rig.receive(packets);
        let started = now();
        rig.process(burst);
        time += started.elapsed();
    }
    time.as_secs_f64() * 1e9 / (chunks * CHUNK as u64) as f64
}

/// Flows that are established, and the packets of one way or of both.
struct Flows {
    rig: Rig,
    ways: Vec<Packets>,
}

impl Flows {
    fn new(setup: &Setup) -> Flows {
        let mut rig = Rig::of(setup);
        let (data, replies) = rig.establish();
        Flows { rig, ways: std::iter::once(data).chain(replies).collect() }
    }

    /// One run: the mean of the ways.
    fn run(&mut self, burst: usize) -> f64 {
        let count = PACKETS / self.ways.len() as u64;
        let sum: f64 = self.ways.iter_mut().map(|packets| run(&mut self.rig, packets, burst, count)).sum();
        sum / self.ways.len() as f64
    }

    fn runs(&mut self, burst: usize) -> Vec<f64> {
        let runs = (0..RUNS).map(|_| self.run(burst)).collect();
        assert_eq!(self.rig.otherwise(), 0, "every packet was forwarded");
        runs
    }
}

fn sorted(mut runs: Vec<f64>) -> Vec<f64> {
    runs.sort_by(f64::total_cmp);
    runs
}

fn median(runs: &[f64]) -> f64 {
    runs[runs.len() / 2]
}

fn spread(runs: &[f64]) -> f64 {
    if runs.len() < 3 { runs[runs.len() - 1] - runs[0] } else { runs[runs.len() - 2] - runs[1] }
}

type Goals = (f64, f64);

fn outcome(
    id: &'static str,
    name: &'static str,
    unit: &'static str,
    (target, stretch): Goals,
    better: Better,
    runs: Vec<f64>,
) {
    let runs = sorted(runs);
    let (value, spread) = (median(&runs), spread(&runs));
    let (id, name, runs) = (id.to_owned(), name.to_owned(), runs.len());
    let result = Outcome { id, name, value, unit, against: None, target, stretch, better, runs, spread };
    sheave_perf::tell(&result, env!("CARGO_TARGET_TMPDIR")).expect("the summary is written");
}

fn nanoseconds(id: &'static str, name: &'static str, goals: Goals, runs: Vec<f64>) {
    outcome(id, name, "ns/packet", goals, Better::Lower, runs);
}

/// P1 and E4: NAT at 1 M flows, by bursts of 64 and one by one.
fn nat_million() {
    let mut flows = Flows::new(&Setup::new(Method::Nat, M1));
    nanoseconds("P1", "NAT, IPv4, 1 M flows, burst 64, mean of in and out", (40.0, 28.0), flows.runs(BURST));
    let ratios = (0..RUNS).map(|_| flows.run(1) / flows.run(BURST)).collect();
    outcome("E4", "burst 64 against 1, NAT, 1 M flows", "times", (3.0, 4.0), Better::Higher, ratios);
}

/// P3: what many flows cost. Runs alternate, so that the machine is the same for both.
fn scale() {
    let mut few = Flows::new(&Setup::new(Method::Nat, K16));
    let mut many = Flows::new(&Setup::new(Method::Nat, M10));
    let ratios = (0..RUNS).map(|_| many.run(BURST) / few.run(BURST)).collect();
    outcome("P3", "10 M flows against 16 k, NAT", "times", (1.4, 1.2), Better::Lower, ratios);
}

fn one_way() {
    let mut direct = Flows::new(&Setup::new(Method::DirectRoute, M1));
    nanoseconds("P4d", "DR, IPv4, 1 M flows, burst 64", (30.0, 22.0), direct.runs(BURST));
    drop(direct);
    let mut tunnel = Flows::new(&Setup::new(Method::Tunnel, M1));
    nanoseconds("P4t", "TUN (IPIP), IPv4, 1 M flows, burst 64", (32.0, 24.0), tunnel.runs(BURST));
}

fn nat_v6() {
    let mut flows = Flows::new(&Setup { v6: true, ..Setup::new(Method::Nat, M1) });
    nanoseconds("P5", "NAT, IPv6, 1 M flows, burst 64, mean of in and out", (60.0, 45.0), flows.runs(BURST));
}

/// C1: whole connections, SYN to FIN, over tuples that come again.
fn lifecycles() {
    let setup = Setup { reals: 1, connections: 4 << 20, ..Setup::new(Method::Nat, 1 << 16) };
    let mut rig = Rig::of(&setup);
    let mut exchanges = rig.exchanges();
    let mut round = || {
        let mut time = Duration::ZERO;
        for _ in 0..(1 << 16) / CHUNK {
            for packets in &mut exchanges {
                rig.receive(packets);
                let started = now();
                rig.process(BURST);
                time += started.elapsed();
            }
        }
        f64::from(1 << 16) / time.as_secs_f64() / 1e6
    };
    let runs = (0..RUNS).map(|_| round()).collect();
    assert_eq!(rig.otherwise(), 0, "every packet was forwarded");
    let name = "connections of ten packets, NAT, 65,536 tuples";
    outcome("C1", name, "M connections/s", (2.0, 3.0), Better::Higher, runs);
}

/// M1 to M3: memory of the entries, and whether as many connections as a table is made for fit into it.
fn memory() {
    const SLOT: f64 = 16.0;
    for (id, name, method, goals) in [
        ("M1", "memory of a DR connection, IPv4, at load 0.75", Method::DirectRoute, (32.0, 24.0)),
        ("M2", "memory of a NAT connection, IPv4, at load 0.75", Method::Nat, (64.0, 48.0)),
    ] {
        // A table is made for connections of two entries.
        let entries = if method == Method::Nat { 2 } else { 1 };
        let setup = Setup { connections: u64::from(M10) * entries / 2, ..Setup::new(method, M10) };
        let shared = Arc::new(Shared::on_heap(setup.connections, 7));
        let bytes = shared.tables.narrow.slots() as f64 * SLOT;
        let mut rig = Rig::over(&setup, shared, 0, 1);
        let mut syns = rig.syns();
        for _ in 0..M10 as usize / CHUNK {
            rig.receive(&mut syns);
            rig.process(BURST);
        }
        let made = rig.forwarded() as f64;
        outcome(id, name, "B/connection", goals, Better::Lower, vec![bytes / made]);
        if method == Method::Nat {
            let lost = rig.otherwise() as f64 / f64::from(M10);
            let megabytes = bytes / 1e6;
            outcome(
                "M3",
                "memory of 10 M NAT connections, IPv4",
                "MB",
                (640.0, 640.0),
                Better::Lower,
                vec![megabytes],
            );
            let name = "10 M NAT connections: those that found no room";
            outcome("M3f", name, "of a million", (100.0, 100.0), Better::Lower, vec![lost * 1e6]);
        }
    }
}

/// A1: what a packet allocates, of an established connection or a new one.
fn allocations() {
    let (mut allocated, mut packets) = (0, 0);
    let methods = [Method::Nat, Method::DirectRoute, Method::Tunnel];
    for (method, v6) in methods.into_iter().flat_map(|method| [(method, false), (method, true)]) {
        let rig = || Rig::of(&Setup { v6, ..Setup::new(method, K16) });
        let mut count = |rig: &mut Rig, mut way: Packets| {
            for _ in 0..K16 as usize / CHUNK {
                rig.receive(&mut way);
                allocated += allocation_counter::measure(|| rig.process(BURST)).count_total;
                packets += CHUNK;
            }
            assert_eq!(rig.otherwise(), 0, "every packet was forwarded");
        };
        let mut opening = rig();
        let syns = opening.syns();
        count(&mut opening, syns);
        let mut established = rig();
        let (data, replies) = established.establish();
        std::iter::once(data).chain(replies).for_each(|way| count(&mut established, way));
    }
    let name = "allocations of a packet, established or new, every method and family";
    outcome("A1", name, "allocations", (0.0, 0.0), Better::Lower, vec![allocated as f64 / packets as f64]);
}

/// W1: two workers at once over one table, against the mean of each alone.
fn workers() {
    let setup = Setup { connections: 2 * u64::from(M1), ..Setup::new(Method::Nat, M1) };
    let shared = Arc::new(Shared::on_heap(setup.connections, 7));
    let barrier = Arc::new(Barrier::new(2));
    let worker = |n: usize| {
        let (shared, barrier) = (Arc::clone(&shared), Arc::clone(&barrier));
        thread::spawn(move || {
            let mut rig = Rig::over(&setup, shared, n, 2);
            let (data, replies) = rig.establish();
            let mut flows = Flows { rig, ways: std::iter::once(data).chain(replies).collect() };
            (0..RUNS)
                .map(|_| {
                    barrier.wait();
                    let alone: Vec<f64> = (0..2)
                        .map(|turn| {
                            let time = if turn == n { flows.run(BURST) } else { 0.0 };
                            barrier.wait();
                            time
                        })
                        .collect();
                    (alone[n], flows.run(BURST))
                })
                .collect::<Vec<(f64, f64)>>()
        })
    };
    let [one, two] = [worker(0), worker(1)].map(|thread| thread.join().expect("no panic"));
    let gain = one.iter().zip(&two).map(|((a0, a1), (b0, b1))| a0 / a1 + b0 / b1).collect();
    outcome(
        "W1",
        "two workers over one table, NAT, 1 M flows each",
        "times",
        (1.85, 1.92),
        Better::Higher,
        gain,
    );
}

/// The numbers that a function measures.
type Measure = (&'static [&'static str], fn());

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let measures: [Measure; 11] = [
        (&["P1", "E4"], nat_million),
        (&["P3"], scale),
        (&["P4"], one_way),
        (&["P5"], nat_v6),
        (&["C1"], lifecycles),
        (&["M1", "M2", "M3"], memory),
        (&["A1"], allocations),
        (&["W1"], workers),
        (&["L3"], changes::stalls),
        (&["B3", "B3f"], changes::broken),
        (&["S1", "S1a", "S1b"], flood::lost),
    ];
    for (ids, measure) in measures {
        if wanted.is_empty() || ids.iter().any(|id| wanted.iter().any(|w| w == id)) {
            measure();
        }
    }
}
