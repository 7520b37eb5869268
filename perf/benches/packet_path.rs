//! Time of the packet path, in memory: ns a packet.
//!
//! One measured iteration is one packet: `time: [a b c]` are nanoseconds a packet. At the end P1, the number that
//! is held against its target, is measured by itself and written to `target/perf/summary.json`.

use criterion::{BenchmarkId, Criterion, Throughput};
use sheave_perf::{CHUNK, Outcome, Packets, Rig};
use sheave_pipeline::snapshot::Method;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

const FEW: u32 = 1 << 14;
const MANY: u32 = 1 << 20;

/// Time to process so many packets, received a chunk at a time.
fn established(rig: &mut Rig, packets: &mut Packets, burst: usize, count: u64) -> Duration {
    timed(count, || {
        rig.receive(packets);
        let started = now();
        rig.process(burst);
        started.elapsed()
    })
}

/// The same for packets that open connections, which are over before the next chunk comes.
fn opening(rig: &mut Rig, syns: &mut Packets, burst: usize, count: u64) -> Duration {
    timed(count, || {
        rig.receive(syns);
        let started = now();
        rig.process(burst);
        let time = started.elapsed();
        rig.expire();
        time
    })
}

/// Sums up the time of enough chunks for `count` packets, and scales it to `count`.
fn timed(count: u64, mut chunk: impl FnMut() -> Duration) -> Duration {
    let chunks = count.div_ceil(CHUNK as u64).max(1);
    let time: Duration = (0..chunks).map(|_| black_box(chunk())).sum();
    time.mul_f64(count as f64 / (chunks * CHUNK as u64) as f64)
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

fn established_flows(c: &mut Criterion) {
    let mut group = c.benchmark_group("established");
    group.throughput(Throughput::Elements(1));
    for (name, method) in [("nat", Method::Nat), ("dr", Method::DirectRoute), ("tun", Method::Tunnel)] {
        let mut rig = Rig::new(method, FEW);
        let (data, replies) = rig.establish();
        let both = [("in", Some(data)), ("out", replies)];
        for (way, mut packets) in both.into_iter().filter_map(|(way, p)| Some((way, p?))) {
            for burst in [1, 32, 64] {
                let id = BenchmarkId::new(format!("{name}-{way}-16k"), burst);
                group.bench_function(id, |b| {
                    b.iter_custom(|count| established(&mut rig, &mut packets, burst, count));
                });
            }
        }
        assert_eq!(rig.otherwise(), 0, "{name}: every packet was forwarded");
    }
    group.finish();
}

fn new_connections(c: &mut Criterion) {
    let mut group = c.benchmark_group("new-connection");
    group.throughput(Throughput::Elements(1));
    for (name, method) in [("nat", Method::Nat), ("dr", Method::DirectRoute)] {
        let mut rig = Rig::new(method, FEW);
        let mut syns = rig.syns();
        for burst in [1, 64] {
            group.bench_function(BenchmarkId::new(name, burst), |b| {
                b.iter_custom(|count| opening(&mut rig, &mut syns, burst, count));
            });
        }
        assert_eq!(rig.otherwise(), 0, "{name}: every packet was forwarded");
    }
    group.finish();
}

/// A million flows under NAT, uniform, bursts of 64: what P1 is about.
fn million(c: &mut Criterion) {
    let mut rig = Rig::new(Method::Nat, MANY);
    let (mut data, replies) = rig.establish();
    let mut replies = replies.expect("NAT has replies");
    let mut group = c.benchmark_group("established");
    group.throughput(Throughput::Elements(1));
    for (way, packets) in [("in", &mut data), ("out", &mut replies)] {
        group.bench_function(BenchmarkId::new(format!("nat-{way}-1m"), 64), |b| {
            b.iter_custom(|count| established(&mut rig, packets, 64, count));
        });
    }
    group.finish();
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let ways = [&mut data, &mut replies].map(|p| established(&mut rig, p, 64, PACKETS));
            ways.iter().map(Duration::as_secs_f64).sum::<f64>() * 1e9 / (2 * PACKETS) as f64
        })
        .collect();
    assert_eq!(rig.otherwise(), 0, "every packet was forwarded");
    runs.sort_by(f64::total_cmp);
    record(&runs);
}

const RUNS: usize = 11;
const PACKETS: u64 = 1 << 19;

/// Records P1: the median, and how far apart all runs but the slowest and the fastest are.
fn record(runs: &[f64]) {
    let result = Outcome {
        id: "P1",
        name: "NAT in memory, established, 1 M flows, burst 64, mean of in and out",
        value: runs[RUNS / 2],
        unit: "ns/packet",
        target: 40,
        stretch: 28,
        runs: RUNS,
        spread: runs[RUNS - 2] - runs[1],
    };
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    result.record(target).expect("the summary is written");
    println!("{result}");
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    established_flows(&mut criterion);
    new_connections(&mut criterion);
    million(&mut criterion);
    criterion.final_summary();
}
