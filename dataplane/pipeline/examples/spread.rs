//! How evenly each scheduler spreads connections, and how many of them it moves when the pool changes.
//!
//! `make sim` runs it. Each scheduler gets the same flows over ten destinations of weights 1 to 4, of which one is then
//! added, removed or weighted anew. Two numbers for each, as bars:
//!
//! - spread: by how much the share of a destination differs from what its weight says, the worst of them;
//! - moved: of the flows whose own destination did not change, the part that goes to another one than before. Only the
//!   hash schedulers promise anything here: the others choose by load or in turn, for new connections only.

use sheave_pipeline::Time;
use sheave_pipeline::ids::ServiceId;
use sheave_pipeline::live::Live;
use sheave_pipeline::scheduler::{Excluded, HashOptions, Pick, Pool, Rng, TableSize};
use sheave_pipeline::snapshot::{Draws, Method, SchedulerKind};
use sheave_pipeline::testing::{Site, vip};
use sheave_proto::wire::flow::Proto;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

/// Flows of one run.
const FLOWS: u32 = 50_000;
/// Connections that are open at once.
const OPEN: usize = 2_000;
/// The widest bar.
const BAR: usize = 40;

const PLAIN: HashOptions = HashOptions { port: false, fallback: false };
const FULL: HashOptions = HashOptions { port: true, fallback: true };

fn schedulers() -> Vec<(&'static str, SchedulerKind)> {
    let maglev = TableSize::default();
    vec![
        ("rr", SchedulerKind::Rr),
        ("wrr", SchedulerKind::Wrr),
        ("lc", SchedulerKind::Lc),
        ("wlc", SchedulerKind::Wlc),
        ("lblc", SchedulerKind::Lblc),
        ("lblcr", SchedulerKind::Lblcr),
        ("dh", SchedulerKind::Dh),
        ("sh", SchedulerKind::Sh(PLAIN)),
        ("sh port fallback", SchedulerKind::Sh(FULL)),
        ("mh", SchedulerKind::Mh(PLAIN, maglev)),
        ("mh port fallback", SchedulerKind::Mh(FULL, maglev)),
        ("source", SchedulerKind::Source),
        ("sed", SchedulerKind::Sed),
        ("nq", SchedulerKind::Nq),
        ("fo", SchedulerKind::Fo),
        ("ovf", SchedulerKind::Ovf),
        ("twos", SchedulerKind::Twos),
        ("random", SchedulerKind::Random(Draws::default())),
        ("first", SchedulerKind::First),
        ("lrt", SchedulerKind::Lrt),
    ]
}

/// What changes.
#[derive(Debug, Clone, Copy)]
enum Change {
    Nothing,
    Add,
    Remove,
    Reweight,
}

/// By address, the weight of each destination.
type Weights = BTreeMap<IpAddr, u32>;

/// Where each flow goes, and the weights, after a change.
fn run(scheduler: SchedulerKind, change: Change) -> (Vec<Option<IpAddr>>, Weights) {
    let mut site = Site::with(Proto::Tcp, Method::DirectRoute, 11);
    let service = &mut site.services[0];
    service.scheduler = scheduler;
    for (destination, weight) in service.destinations.iter_mut().zip([1, 2, 3, 4].into_iter().cycle()) {
        destination.weight = weight;
    }
    service.destinations[10].removed = !matches!(change, Change::Add);
    service.destinations[4].removed = matches!(change, Change::Remove);
    if matches!(change, Change::Reweight) {
        service.destinations[4].weight = 3;
    }
    let there = service.destinations.iter().filter(|d| !d.removed);
    let weights: Weights = there.map(|d| (d.addr, d.weight)).collect();
    let snapshot = site.snapshot();
    let live = Live::new();
    let (mut rng, excluded, now) = (Rng::new(1, 0), Excluded::none(), Time(Time::SECOND));
    let mut open = VecDeque::new();
    let flow = |n: u32| {
        // dh looks at the VIP: as if each flow went to one of its own.
        let addr = Ipv4Addr::from_bits(0x0a00_0000 + n);
        let vip = if matches!(scheduler, SchedulerKind::Dh) { addr } else { vip(0) };
        #[expect(clippy::cast_possible_truncation, reason = "any port will do")]
        let client_port = n as u16;
        let pick = Pick { client: addr.into(), client_port, vip: vip.into() };
        let id = Pool::new(&snapshot, ServiceId(0), &live, now, &excluded)?.pick(&pick, &mut rng)?;
        live.destination(id).enter(true);
        open.push_back(id);
        if open.len() > OPEN
            && let Some(oldest) = open.pop_front()
        {
            live.destination(oldest).leave(true);
        }
        snapshot.destination(id).map(|d| d.addr)
    };
    ((0..FLOWS).map(flow).collect(), weights)
}

/// By how much of what its weight says the share of a destination differs, the worst of them.
fn spread(flows: &[Option<IpAddr>], weights: &Weights) -> f64 {
    let sum: f64 = weights.values().map(|w| f64::from(*w)).sum();
    let share = |addr: &IpAddr| {
        let count = flows.iter().flatten().filter(|to| *to == addr).count();
        f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / f64::from(FLOWS)
    };
    weights
        .iter()
        .map(|(addr, weight)| (share(addr) * sum / f64::from(*weight) - 1.0).abs())
        .fold(0.0, f64::max)
}

/// The part of the flows that moved from one untouched destination to another one.
fn moved(before: &(Vec<Option<IpAddr>>, Weights), after: &(Vec<Option<IpAddr>>, Weights)) -> f64 {
    let untouched = |addr: &IpAddr| before.1.get(addr) == after.1.get(addr);
    let pairs = before.0.iter().zip(&after.0).filter_map(|(old, new)| Some(((*old)?, (*new)?)));
    let (mut all, mut moved) = (0u32, 0u32);
    for (old, new) in pairs.filter(|(old, _)| untouched(old)) {
        all += 1;
        // To a destination that has grown is where it should go.
        moved += u32::from(old != new && untouched(&new));
    }
    f64::from(moved) / f64::from(all.max(1))
}

fn bar(part: f64) -> String {
    let full = (1..=BAR).take_while(|n| {
        let n = u32::try_from(*n).unwrap_or(u32::MAX);
        f64::from(n) / 40.0 <= part + 1e-9
    });
    "#".repeat(full.count())
}

fn line(what: &str, part: f64) {
    println!("  {what:<15}{:>6.1} % |{}", part * 100.0, bar(part));
}

fn main() {
    println!("{FLOWS} flows, 10 destinations of weights 1 to 4; the full bar is 100 %");
    for (name, scheduler) in schedulers() {
        let before = run(scheduler, Change::Nothing);
        println!("\n{name}");
        line("spread", spread(&before.0, &before.1));
        for (what, change) in
            [("add", Change::Add), ("remove", Change::Remove), ("reweight", Change::Reweight)]
        {
            line(&format!("moved, {what}"), moved(&before, &run(scheduler, change)));
        }
    }
}
