//! What changes of the configuration do to packets that are under way: L3 and B3.

use crate::{M1, now, outcome};
use sheave_perf::{Better, Packets, Rig, Setup};
use sheave_pipeline::ids::DestId;
use sheave_pipeline::scheduler::{HashOptions, TableSize};
use sheave_pipeline::snapshot::{Method, SchedulerKind};
use sheave_pipeline::testing::{Destination, Lab, Packet, Site, vip};
use sheave_pipeline::{Resolve, Snapshot, VerdictKind};
use sheave_proto::wire::flow::Proto;
use sheave_table::counters::CounterPage;
use sheave_table::{Publisher, Reader};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Pairs of runs, without changes and with them: many short ones, because the longest turn of a run is mostly the
/// machine's doing, and differs by more than a change adds.
const ROUNDS: usize = 41;
const RUN: Duration = Duration::from_millis(200);
const WINDOW: Duration = Duration::from_millis(20);
/// What a processor may be busy with others than the worker in a window, in nanoseconds.
const ELSEWHERE: u64 = 20_000;
/// Destinations of the service that changes, and how many join it one by one.
const BEFORE: u8 = 100;
const JOIN: u8 = 100;

/// With the client's port, so that each flow chooses by itself.
fn maglev() -> SchedulerKind {
    SchedulerKind::Mh(HashOptions { port: true, fallback: false }, TableSize::default())
}

/// L3: the longest turn of a worker while destinations join and leave a service with a table of 65,537 slots and
/// counters are read, beyond the longest one while the other processor is as busy without all that.
pub(crate) fn stalls() {
    let mut rig = Rig::of(&Setup::new(Method::Nat, M1));
    let (mut packets, _) = rig.establish();
    let mut operator = Operator::of(&rig);
    let mut reader = operator.publisher.reader().expect("a place");
    let (changing, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let (mut longest, mut turns) = (Vec::new(), [Vec::new(), Vec::new()]);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(0);
            // ORDERING: only that it is seen some time counts.
            while !over.load(Ordering::Relaxed) {
                if changing.load(Ordering::Relaxed) { operator.step() } else { compute() }
            }
        });
        pin(1);
        for _ in 0..ROUNDS {
            let [calm, busy] = [false, true].map(|change| {
                changing.store(change, Ordering::Relaxed);
                let run = run(&mut rig, &mut packets, &mut reader);
                let longest = run.iter().max().copied();
                turns[usize::from(change)].extend(run);
                longest.map(|longest| longest.as_secs_f64() * 1e6)
            });
            longest.extend(calm.zip(busy).map(|(calm, busy)| (busy - calm).max(0.0)));
        }
        over.store(true, Ordering::Relaxed);
    });
    for (what, turns) in ["without", "with"].into_iter().zip(turns) {
        println!("    turns {what} changes: {}", distribution(turns));
    }
    let name = "longest turn while destinations join, beyond that without";
    outcome("L3", name, "us", (50.0, 10.0), Better::Lower, longest);
}

/// Who changes the configuration, and asks for the counters, again and again.
struct Operator {
    publisher: Publisher<Snapshot>,
    counters: Arc<CounterPage>,
    site: Site,
    joining: Vec<Destination>,
}

impl Operator {
    fn of(rig: &Rig) -> Operator {
        let mut site = rig.site().clone();
        site.add(vip(1), 80, Proto::Tcp, Method::Nat, BEFORE).scheduler = maglev();
        let joining = (0..JOIN).map(|n| site.destination(BEFORE + n, 80, Method::Nat)).collect();
        let publisher = Publisher::new(Box::new(site.snapshot()), 1);
        Operator { publisher, counters: rig.counters(), site, joining }
    }

    /// One destination joins, with a new table, or all that have joined leave; then all counters are read.
    fn step(&mut self) {
        let destinations = &mut self.site.services[1].destinations;
        match self.joining.get(destinations.len() - usize::from(BEFORE)) {
            Some(next) => destinations.push(next.clone()),
            None => destinations.truncate(usize::from(BEFORE)),
        }
        self.publisher.publish(Box::new(self.site.snapshot()));
        self.publisher.reclaim();
        let sum = (0..self.counters.len()).fold(0u64, |sum, at| sum.wrapping_add(self.counters.get(at)));
        std::hint::black_box(sum);
    }
}

/// As busy as with a change, and nothing that another processor could feel.
fn compute() {
    (1..100_000u64).fold(1, |product: u64, n| std::hint::black_box(product.wrapping_mul(n)));
}

fn pin(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}

/// All turns of a run, but for those of windows in which the host or another process took time.
fn run(rig: &mut Rig, packets: &mut Packets, reader: &mut Reader<Snapshot>) -> Vec<Duration> {
    let started = now();
    let (mut kept, mut here) = (Vec::new(), Vec::new());
    while started.elapsed() < RUN {
        here.clear();
        let before = (stolen(), waited());
        // The kernel's look at its statistics leaves nothing in the caches.
        rig.receive(packets);
        while rig.turn(reader, 64) {}
        let window = now();
        while window.elapsed() < WINDOW {
            rig.receive(packets);
            loop {
                let turn = now();
                let more = rig.turn(reader, 64);
                here.push(turn.elapsed());
                if !more {
                    break;
                }
            }
        }
        if stolen() == before.0 && waited() - before.1 < ELSEWHERE {
            kept.append(&mut here);
        }
    }
    kept
}

/// In microseconds, by how many of a thousand are longer.
fn distribution(mut turns: Vec<Duration>) -> String {
    turns.sort_unstable();
    let longer = |share: usize| {
        let at = turns.len().saturating_sub(1 + turns.len() / share);
        turns.get(at).map_or(0.0, |turn| turn.as_secs_f64() * 1e6)
    };
    let [half, hundredth, thousandth, rarely] = [2, 100, 1000, 10_000].map(longer);
    let all = turns.len();
    let longest = longer(usize::MAX);
    format!(
        "p50 {half:.1}, p99 {hundredth:.1}, p99.9 {thousandth:.1}, p99.99 {rarely:.1}, longest {longest:.1} us of {all}"
    )
}

/// Ticks that the host took from all processors so far.
fn stolen() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = stat.lines().next().unwrap_or_default().split_whitespace().nth(8);
    all.and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

/// Nanoseconds for which this thread had something to do while its processor did something else.
fn waited() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split_whitespace().nth(1).and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0)
}

const FLOWS: u32 = 100_000;
const REALS: u8 = 100;

/// B3: connections that change their destination when another one leaves, or a new one joins. With room in the table
/// for all of them, and with one that is full of others when they begin: then flow and pool alone say where they go,
/// and a hundredth must go to the one that joins.
pub(crate) fn broken() {
    let changes = [Change::leave, Change::join];
    let moved = changes.map(|change| {
        let lab = Lab::sized(Resolve::Control, u64::from(FLOWS), 64);
        Change { site: many(), lab }.moved(change)
    });
    let most = moved.iter().map(|(moved, _)| *moved).max().unwrap_or(0);
    let name = "connections to untouched destinations that a change moves, of 100,000";
    outcome("B3", name, "connections", (0.0, 0.0), Better::Lower, vec![most as f64]);

    let moved = changes.map(|change| {
        let mut full = Change { site: many(), lab: Lab::sized(Resolve::Control, 1 << 10, 64) };
        full.crowd();
        full.site.new_connections = 1;
        let (moved, of) = full.moved(change);
        moved as f64 * 100.0 / of as f64
    });
    println!(
        "    with a full table one that leaves moves {:.2} %, one that joins {:.2} %",
        moved[0], moved[1]
    );
    let name = "the same in %, of those that have no entry because the table is full";
    outcome("B3f", name, "%", (2.0, 1.0), Better::Lower, vec![moved[0].max(moved[1])]);
}

fn many() -> Site {
    let mut site = Site::default();
    site.add(vip(0), 80, Proto::Tcp, Method::DirectRoute, REALS).scheduler = maglev();
    site
}

/// The destination that leaves.
const FIRST: DestId = DestId(0);

/// A change under many connections.
struct Change {
    site: Site,
    lab: Lab,
}

impl Change {
    /// Fills the table with connections of others that are established.
    fn crowd(&mut self) {
        let snapshot = self.site.snapshot();
        let places = self.lab.shared.tables.narrow.slots();
        for flow in 0..8 * u32::try_from(places).expect("a small table") {
            for flags in [Packet::SYN, Packet::ACK] {
                self.send(&snapshot, 1 << 24 | flow, flags);
            }
        }
        let room = places - self.lab.shared.tables.len();
        assert!(room * 100 < places, "{room} of {places} places are free");
    }

    /// Opens all flows, changes the destinations, and lets all flows go on: how many of those to untouched destinations
    /// went elsewhere, and how many there are.
    fn moved(&mut self, change: fn(&mut Change)) -> (usize, usize) {
        let before = self.all(Packet::SYN);
        change(self);
        let after = self.all(Packet::ACK);
        let untouched = before.iter().zip(&after).filter(|(before, _)| before.is_some_and(|to| to != FIRST));
        let moved = untouched.clone().filter(|(before, after)| before != after).count();
        (moved, untouched.count())
    }

    /// The first destination is given no more connections.
    fn leave(&mut self) {
        self.site.services[0].destinations[0].weight = 0;
    }

    fn join(&mut self) {
        let joins = self.site.destination(REALS, 80, Method::DirectRoute);
        self.site.services[0].destinations.push(joins);
    }

    /// Where a packet of each flow goes.
    fn all(&mut self, flags: u8) -> Vec<Option<DestId>> {
        let snapshot = self.site.snapshot();
        (0..FLOWS).map(|flow| self.send(&snapshot, flow, flags)).collect()
    }

    fn send(&mut self, snapshot: &Snapshot, flow: u32, flags: u8) -> Option<DestId> {
        let port = 1024 + u16::try_from(flow % 64).expect("small");
        let client = (Ipv4Addr::from_bits(0x0a00_0001 + flow / 64), port);
        let (port, bytes) = Packet::from_client(Proto::Tcp, client, (vip(0), 80), flags).framed();
        let (verdict, _) = self.lab.send(snapshot, port, &bytes);
        verdict.destination.filter(|_| verdict.kind() == VerdictKind::Forward)
    }
}
