//! Time of the packet path, in memory: ns a packet.
//!
//! One measured iteration is one packet: `time: [a b c]` are nanoseconds a packet. The numbers that are held against
//! targets are measured by `targets`.

use criterion::{BenchmarkId, Criterion, Throughput};
use sheave_perf::{CHUNK, Packets, Rig};
use sheave_pipeline::snapshot::Method;
use std::hint::black_box;
use std::time::{Duration, Instant};

const FEW: u32 = 1 << 14;

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

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    established_flows(&mut criterion);
    new_connections(&mut criterion);
    criterion.final_summary();
}
