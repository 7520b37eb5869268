//! Time of the packet path, in memory: ns a packet.
//!
//! One measured iteration is one packet: `time: [a b c]` are nanoseconds a packet. The numbers that are held against
//! targets are measured by `targets`.
//!
//!     cargo bench --bench packet_path -- 16k           only these
//!     cargo bench --bench packet_path -- nat6-10m      ten million flows, which are left out otherwise

use criterion::{BenchmarkId, Criterion, Throughput};
use sheave_perf::{CHUNK, Packets, Rig, Setup, Sizes};
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

/// How many flows, and by what name. Ten million take gigabytes.
const FLOWS: [(&str, u32); 3] = [("16k", FEW), ("1m", 1 << 20), ("10m", 19_532 * 512)];
const METHODS: [(&str, Method); 3] =
    [("nat", Method::Nat), ("dr", Method::DirectRoute), ("tun", Method::Tunnel)];

/// Every combination of method, family, sizes and number of flows, each way, by bursts of every size.
fn established_flows(c: &mut Criterion) {
    let mut group = c.benchmark_group("established");
    group.throughput(Throughput::Elements(1));
    for (flows, count) in FLOWS {
        for ((method, v6), sizes) in cases() {
            let name = name(method, v6, sizes, flows);
            if !wanted(&name) {
                continue;
            }
            let mut rig = Rig::of(&Setup { v6, sizes, ..Setup::new(method.1, count) });
            let (data, replies) = rig.establish();
            let both = [("in", Some(data)), ("out", replies)];
            for (way, mut packets) in both.into_iter().filter_map(|(way, p)| Some((way, p?))) {
                for burst in [1, 32, 64] {
                    let id = BenchmarkId::new(format!("{name}-{way}"), burst);
                    group.bench_function(id, |b| {
                        b.iter_custom(|count| established(&mut rig, &mut packets, burst, count));
                    });
                }
            }
            assert_eq!(rig.otherwise(), 0, "{name}: every packet was forwarded");
        }
    }
    group.finish();
}

type Named = (&'static str, Method);

fn cases() -> impl Iterator<Item = ((Named, bool), Sizes)> {
    let families = METHODS.into_iter().flat_map(|method| [(method, false), (method, true)]);
    families.flat_map(|case| [(case, Sizes::Small), (case, Sizes::Imix)])
}

fn name((method, _): Named, v6: bool, sizes: Sizes, flows: &str) -> String {
    let sizes = if sizes == Sizes::Imix { "-imix" } else { "" };
    format!("{method}{}-{flows}{sizes}", if v6 { "6" } else { "" })
}

/// Whether the words of the command line ask for a name; ten million flows are left out unless they do.
fn wanted(name: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).peekable();
    if words.peek().is_none() {
        return !name.contains("10m");
    }
    words.any(|word| name.contains(&word) || word.contains(name))
}

/// A miss, the choice of a destination, and the entries of a new connection.
fn new_connections(c: &mut Criterion) {
    let mut group = c.benchmark_group("new-connection");
    group.throughput(Throughput::Elements(1));
    for ((name, method), v6) in METHODS.into_iter().flat_map(|method| [(method, false), (method, true)]) {
        let mut rig = Rig::of(&Setup { v6, ..Setup::new(method, FEW) });
        let mut syns = rig.syns();
        let name = format!("{name}{}", if v6 { "6" } else { "" });
        for burst in [1, 32, 64] {
            group.bench_function(BenchmarkId::new(&name, burst), |b| {
                b.iter_custom(|count| opening(&mut rig, &mut syns, burst, count));
            });
        }
        assert_eq!(rig.otherwise(), 0, "{name}: every packet was forwarded");
    }
    group.finish();
}

/// Giving back the entries of connections that are over: time a connection.
fn expiry(c: &mut Criterion) {
    let mut group = c.benchmark_group("expiry");
    group.throughput(Throughput::Elements(1));
    for (name, method) in METHODS {
        let mut rig = Rig::new(method, FEW);
        let mut syns = rig.syns();
        group.bench_function(name, |b| {
            b.iter_custom(|count| {
                timed(count, || {
                    rig.receive(&mut syns);
                    rig.process(64);
                    let started = now();
                    rig.expire();
                    started.elapsed()
                })
            });
        });
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
    expiry(&mut criterion);
    criterion.final_summary();
}
