//! What changes of the configuration do to packets that are under way: L3 and B3.

use crate::{M1, now, outcome};
use sheave_perf::{Better, Rig, Setup};
use sheave_pipeline::Snapshot;
use sheave_pipeline::scheduler::{HashOptions, TableSize};
use sheave_pipeline::snapshot::{Method, SchedulerKind};
use sheave_pipeline::testing::{Lab, Packet, Site, vip};
use sheave_proto::wire::flow::Proto;
use sheave_table::{Publisher, Reader};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Pairs of runs, without changes and with them.
const ROUNDS: usize = 7;
const RUN: Duration = Duration::from_millis(600);
const WINDOW: Duration = Duration::from_millis(20);
/// Destinations of the service that changes, and how many join it one by one.
const BEFORE: u8 = 100;
const JOIN: u8 = 100;

/// With the client's port, so that each flow chooses by itself.
fn maglev() -> SchedulerKind {
    SchedulerKind::Mh(HashOptions { port: true, fallback: false }, TableSize::default())
}

/// L3: the longest turn of a worker while destinations join a service with a table of 65,537 slots and counters are
/// read, beyond the longest one without that.
pub(crate) fn stalls() {
    let mut rig = Rig::of(&Setup::new(Method::Nat, M1));
    let (data, _) = rig.establish();
    let mut site = rig.site().clone();
    site.add(vip(1), 80, Proto::Tcp, Method::Nat, BEFORE).scheduler = maglev();
    let mut publisher = Publisher::new(Box::new(site.snapshot()), 1);
    let mut reader = publisher.reader().expect("a place");
    let (changing, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut longest = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(0);
            let mut joined = site.clone();
            // ORDERING: only that it is seen some time counts.
            while !over.load(Ordering::Relaxed) {
                if !changing.load(Ordering::Relaxed) {
                    thread::park_timeout(Duration::from_millis(1));
                    continue;
                }
                if joined.services[1].destinations.len() >= usize::from(BEFORE + JOIN) {
                    joined.services[1].destinations.truncate(usize::from(BEFORE));
                }
                let number = u8::try_from(joined.services[1].destinations.len()).expect("200 at most");
                let destination = joined.destination(number, 80, Method::Nat);
                joined.services[1].destinations.push(destination);
                publisher.publish(Box::new(joined.snapshot()));
            }
        });
        pin(1);
        let mut packets = data;
        for _ in 0..ROUNDS {
            let [calm, busy] = [false, true].map(|change| {
                changing.store(change, Ordering::Relaxed);
                longest_turn(&mut rig, &mut packets, &mut reader)
            });
            longest.push((busy - calm).max(0.0));
        }
        over.store(true, Ordering::Relaxed);
    });
    let name = "longest turn while destinations join, beyond that without";
    outcome("L3", name, "us", (50.0, 10.0), Better::Lower, longest);
}

fn pin(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}

/// The longest turn in microseconds, of windows from which the host took no time.
fn longest_turn(rig: &mut Rig, packets: &mut sheave_perf::Packets, reader: &mut Reader<Snapshot>) -> f64 {
    let started = now();
    let mut longest = Duration::ZERO;
    while started.elapsed() < RUN {
        let (window, stolen) = (now(), stolen());
        let mut here = Duration::ZERO;
        while window.elapsed() < WINDOW {
            rig.receive(packets);
            loop {
                let turn = now();
                let more = rig.turn(reader, 64);
                here = here.max(turn.elapsed());
                if !more {
                    break;
                }
            }
        }
        if self::stolen() == stolen {
            longest = longest.max(here);
        }
    }
    longest.as_secs_f64() * 1e6
}

/// Ticks that the host took from all processors so far.
fn stolen() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = stat.lines().next().unwrap_or_default().split_whitespace().nth(8);
    all.and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

const FLOWS: u32 = 100_000;

/// B3: connections that change their destination when another one leaves and a new one joins.
pub(crate) fn broken() {
    let mut site = Site::default();
    let service = site.add(vip(0), 80, Proto::Tcp, Method::DirectRoute, 39);
    service.scheduler = maglev();
    let mut lab = Lab::sized(sheave_pipeline::Resolve::Control, u64::from(FLOWS), 64);
    let client = |flow: u32| {
        let port = 1024 + u16::try_from(flow % 64).expect("small");
        (Ipv4Addr::from_bits(0x0a00_0001 + flow / 64), port)
    };
    let mut to = |site: &mut Site, flags: u8| -> Vec<[u8; 6]> {
        let snapshot = site.snapshot();
        let packet = |flow| Packet::from_client(Proto::Tcp, client(flow), (vip(0), 80), flags);
        let send = |flow| {
            let (port, bytes) = packet(flow).framed();
            let (_, out) = lab.send(&snapshot, port, &bytes);
            *out.sent[0].1.first_chunk().expect("a destination")
        };
        (0..FLOWS).map(send).collect()
    };
    let before = to(&mut site, Packet::SYN);
    let gone = before[0];
    // The one that the first flow goes to leaves; another one joins.
    let leaves = usize::from(gone[5] - 10);
    site.services[0].destinations[leaves].weight = 0;
    let joins = site.destination(39, 80, Method::DirectRoute);
    site.services[0].destinations.push(joins);
    let after = to(&mut site, Packet::ACK);
    let untouched = before.iter().zip(&after).filter(|(before, _)| **before != gone);
    let moved = untouched.filter(|(before, after)| before != after).count();
    let name = "connections to untouched destinations that a change moves, of 100,000";
    outcome("B3", name, "connections", (0.0, 0.0), Better::Lower, vec![moved as f64]);
}
