//! Time to make the table of mh: what a change of a service's destinations costs the control thread.
//!
//! B1, the table of 65537 slots for 1000 destinations of one weight, goes to `target/perf/summary.json`.

use criterion::{BenchmarkId, Criterion};
use sheave_perf::{Better, Outcome};
use sheave_pipeline::scheduler::HashKey;
use sheave_pipeline::scheduler::maglev::{TableSize, Walker, fill};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Destinations, the `n`th of which has the weight `weight(n)`.
fn walkers(size: TableSize, count: u32, weight: fn(u32) -> u32) -> Vec<Walker> {
    let key = HashKey::default();
    let place = |n| (Ipv4Addr::from_bits(0xc613_0000 + n).into(), 80);
    (0..count).map(|n| Walker::new(&key, size, place(n), weight(n))).collect()
}

/// From addresses and weights to the table.
fn build(size: TableSize, count: u32, weight: fn(u32) -> u32) -> Box<[u16]> {
    fill(size, &walkers(size, count, weight))
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

fn sizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("maglev");
    for slots in [4093, 65537, 131_071] {
        let size = TableSize::new(slots).expect("a size");
        for count in [10, 100, 1000] {
            group.bench_function(BenchmarkId::new(format!("{slots}-equal"), count), |b| {
                b.iter(|| build(size, black_box(count), |_| 1));
            });
        }
        group.bench_function(BenchmarkId::new(format!("{slots}-all-different"), 1000), |b| {
            b.iter(|| build(size, black_box(1000), |n| 1000 + n));
        });
    }
    group.finish();
}

const RUNS: usize = 51;

/// Records B1: the median, and how far apart nine in ten of the runs are.
fn record() {
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let started = now();
            black_box(build(TableSize::default(), black_box(1000), |_| 1));
            started.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    let result = Outcome {
        id: "B1".into(),
        name: "Maglev table of 65537 slots for 1000 destinations".into(),
        value: runs[RUNS / 2],
        unit: "us",
        against: None,
        target: 2000.0,
        stretch: 1100.0,
        better: Better::Lower,
        runs: RUNS,
        spread: runs[RUNS * 95 / 100] - runs[RUNS * 5 / 100],
    };
    sheave_perf::tell(&result, env!("CARGO_TARGET_TMPDIR")).expect("the summary is written");
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .without_plots()
        .configure_from_args();
    sizes(&mut criterion);
    record();
    criterion.final_summary();
}
