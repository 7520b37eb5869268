//! The answers that show something. Each is true as of the time that it carries.

use crate::director::{Director, shown};
use crate::interfaces;
use crate::serving::Interface;
use crate::{standing, wall};
use sheave_pipeline::helper::Note;
use sheave_pipeline::ids::{DestId, ServiceId};
use sheave_pipeline::{Reason, Time, VerdictKind, counters as slots};
use sheave_proto::api::{
    ConfigShown, Counter, CounterKind, CountersReport, DestinationList, DestinationStats, DestinationStatus,
    DroppedEarly, ErrorReply, FloodStatus, FrameCounts, InterfaceStatus, Marked, NeighbourOrigin,
    NeighbourState, NeighbourStatus, NeighboursReport, QueueStatus, ServiceList, ServiceShown, ServiceStats,
    ServiceStatus, Stats, StatsReport, Status, TimeoutsShown, WorkerStatus, WorkersReport,
};
use sheave_proto::config::{self, Destination, Scheduler, Service};
use sheave_worker::{Lost, Stats as WorkerStats};
use std::collections::BTreeMap;

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// How many connections there are.
pub(crate) fn connections(director: &Director) -> u64 {
    // Every connection under NAT has two entries; what is shown is connections.
    let live = &director.dataplane.shared.live;
    let services = director.desired.config().services.iter();
    let sorry = services.filter_map(|s| director.compiler.ids().sorry_of(s));
    ids(director).into_values().chain(sorry).map(|id| live.destination(id).total()).sum()
}

pub(crate) fn status(director: &mut Director) -> Status {
    let dropped_early = dropped_early(director);
    let config = director.desired.config();
    Status {
        as_of: wall::now(),
        name: config.director.name.clone().unwrap_or_else(hostname),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: director.started,
        epoch: director.epoch,
        config_file: director.file.as_ref().map(|f| f.display().to_string()),
        workers: count(director.dataplane.workers.len()),
        services: count(config.services.len()),
        destinations: count(config.services.iter().map(|s| s.destinations.len()).sum()),
        connections: connections(director),
        half_open: director.dataplane.shared.live.half_open(director.dataplane.workers.len()),
        max_connections: u64::from(config.director.max_connections),
        floods: floods(director),
        refused: director.pressure.refused(),
        dropped_early,
        interfaces: interface_status(director),
    }
}

/// The workers in flood mode.
fn floods(director: &Director) -> Vec<FloodStatus> {
    let live = &director.dataplane.shared.live;
    let of = |worker: usize| {
        let flood = live.worker(worker).flood();
        #[expect(clippy::cast_precision_loss, reason = "shown in seconds")]
        let lasts = |since: Time| director.now.0.saturating_sub(since.0) as f64 / 1e9;
        let since = flood.since?;
        Some(FloodStatus { worker: count(worker), lasts: lasts(since), rate: flood.rate })
    };
    (0..director.dataplane.workers.len()).filter_map(of).collect()
}

fn dropped_early(director: &mut Director) -> DroppedEarly {
    let counters = director.serving.steering.counters();
    // Counters that cannot be read are missing in `counters.show` too, and there it is said.
    counters.map_or_else(
        |_| DroppedEarly::default(),
        |c| DroppedEarly { by_source: c.flood_source, by_vip: c.flood_vip },
    )
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

fn interface_status(director: &Director) -> Vec<InterfaceStatus> {
    let view = director.netlink.view();
    let status = |name: &str, interface: Option<&Interface>, why: Option<&str>| {
        let link = view.link(name);
        InterfaceStatus {
            name: name.to_owned(),
            index: link.map(|l| l.index),
            mac: link.and_then(|l| l.mac),
            mtu: link.map(|l| l.mtu),
            up: link.is_some_and(|l| l.up && l.carrier),
            mode: interface.and_then(Interface::mode).map(shown),
            queues: interface.map_or(0, |i| count(i.queues().len())),
            why: why.map(str::to_owned),
        }
    };
    let known = || director.serving.interfaces();
    let left_out = interfaces::left_out(view, director.desired.config())
        .filter(|(link, _)| known().all(|(name, _)| name != link.name));
    known()
        .map(|(name, interface)| status(name, Some(interface), interface.why()))
        .chain(left_out.map(|(link, why)| status(&link.name, None, Some(why))))
        .collect()
}

/// The numbers of all destinations by service and position in the configuration.
fn ids(director: &Director) -> BTreeMap<(usize, usize), DestId> {
    let mut ids = BTreeMap::new();
    for (s, service) in director.desired.config().services.iter().enumerate() {
        for (d, destination) in service.destinations.iter().enumerate() {
            if let Some(id) = destination_id(director, service, destination) {
                ids.insert((s, d), id);
            }
        }
    }
    ids
}

fn service_id(director: &Director, service: &Service) -> Option<ServiceId> {
    director.compiler.ids().service(&service.name)
}

pub(crate) fn destination_id(
    director: &Director,
    service: &Service,
    destination: &Destination,
) -> Option<DestId> {
    director.compiler.ids().destination_of(service, destination)
}

fn destination_status(
    director: &Director,
    service: &Service,
    destination: &Destination,
) -> DestinationStatus {
    let id = destination_id(director, service, destination);
    let live = id.map(|id| director.dataplane.shared.live.destination(id));
    let state = standing::state(director, service, destination);
    let slow_start = standing::slow_start(director, service, id);
    DestinationStatus {
        service: service.name.clone(),
        address: service.full_address(&destination.address),
        weight: destination.weight,
        forward: service.forward_of(destination),
        tunnel: destination.tunnel,
        tunnel_port: destination.tunnel_port,
        tunnel_checksum: destination.tunnel_checksum,
        backup: destination.backup,
        connection_limit: destination.connection_limit,
        intent: destination.state,
        slow_start,
        drain: id.and_then(|id| director.drain_status(id)),
        upper_threshold: destination.upper_threshold,
        lower_threshold: destination.lower_threshold,
        state,
        active: live.map_or(0, |l| u64::from(l.active())),
        inactive: live.map_or(0, |l| u64::from(l.inactive())),
        stats: id.map_or_else(Stats::default, |id| director.statistics.destination(id)),
    }
}

fn service_status(director: &Director, service: &Service) -> ServiceStatus {
    let destinations: Vec<DestinationStatus> =
        service.destinations.iter().map(|d| destination_status(director, service, d)).collect();
    let sorry = director.compiler.ids().sorry_of(service);
    let sorry = sorry.map(|id| director.dataplane.shared.live.destination(id));
    ServiceStatus {
        name: service.name.clone(),
        listen: service.listens.clone(),
        scheduler: service.scheduler,
        scheduler_flags: service.scheduler_flags.clone(),
        mh_table: (service.scheduler == Scheduler::Mh).then(|| service.mh_table()),
        draws: (service.scheduler == Scheduler::Random).then(|| service.draws()),
        forward: service.forward,
        timeouts: director.desired.config().timeouts_of(service),
        persistence: service.persistence,
        one_packet: service.one_packet,
        sloppy: service.sloppy,
        syn_proxy: service.syn_proxy,
        mss_clamp: service.mss_clamp,
        pmtu_discovery: service.pmtu_discovery,
        helper: service.helper,
        sorry: service.sorry,
        backup_below: service.backup_below,
        slow_start: service.slow_start,
        interface: service.interface.clone(),
        on_removal: service.on_removal,
        active: destinations.iter().map(|d| d.active).sum::<u64>() + sorry.map_or(0, |l| l.active().into()),
        inactive: destinations.iter().map(|d| d.inactive).sum::<u64>()
            + sorry.map_or(0, |l| l.inactive().into()),
        stats: service_stats(director, service),
        destinations,
    }
}

fn service_stats(director: &Director, service: &Service) -> Stats {
    service_id(director, service).map_or_else(Stats::default, |id| director.statistics.service(id))
}

pub(crate) fn services(director: &Director) -> ServiceList {
    let services = director.desired.config().services.iter().map(|s| service_status(director, s)).collect();
    ServiceList { as_of: wall::now(), services }
}

pub(crate) fn service(director: &Director, reference: &str) -> Result<ServiceShown, ErrorReply> {
    let service = service_status(director, director.desired.service(reference)?);
    Ok(ServiceShown { as_of: wall::now(), service })
}

/// The services that a request is about: one, or all.
fn chosen<'d>(director: &'d Director, reference: Option<&str>) -> Result<Vec<&'d Service>, ErrorReply> {
    match reference {
        Some(reference) => Ok(vec![director.desired.service(reference)?]),
        None => Ok(director.desired.config().services.iter().collect()),
    }
}

pub(crate) fn destinations(
    director: &Director,
    reference: Option<&str>,
) -> Result<DestinationList, ErrorReply> {
    let mut destinations = Vec::new();
    for service in chosen(director, reference)? {
        destinations.extend(service.destinations.iter().map(|d| destination_status(director, service, d)));
    }
    Ok(DestinationList { as_of: wall::now(), destinations })
}

/// Counts anew beside the totals from now on.
pub(crate) fn mark(director: &mut Director, reference: Option<&str>) -> Result<Marked, ErrorReply> {
    let mut services = Vec::new();
    let mut destinations = Vec::new();
    for service in chosen(director, reference)? {
        services.extend(service_id(director, service));
        destinations.extend(service.destinations.iter().filter_map(|d| destination_id(director, service, d)));
    }
    director.statistics.mark(&services, &destinations, reference.is_none());
    Ok(Marked { as_of: wall::now(), services: count(services.len()) })
}

pub(crate) fn timeouts(director: &Director) -> TimeoutsShown {
    TimeoutsShown { as_of: wall::now(), timeouts: director.desired.config().director.timeouts }
}

pub(crate) fn stats(director: &Director, reference: Option<&str>) -> Result<StatsReport, ErrorReply> {
    let services = chosen(director, reference)?
        .into_iter()
        .map(|service| ServiceStats {
            name: service.name.clone(),
            listen: service.listens.clone(),
            stats: service_stats(director, service),
            destinations: service
                .destinations
                .iter()
                .map(|d| DestinationStats {
                    address: service.full_address(&d.address),
                    stats: destination_id(director, service, d)
                        .map_or_else(Stats::default, |id| director.statistics.destination(id)),
                })
                .collect(),
        })
        .collect();
    Ok(StatsReport { as_of: wall::now(), total: director.statistics.total(), services })
}

pub(crate) fn config(director: &Director) -> ConfigShown {
    let config = director.desired.config();
    ConfigShown {
        as_of: wall::now(),
        epoch: director.epoch,
        toml: config::to_toml(config),
        config: config.clone(),
    }
}

pub(crate) fn neighbours(director: &Director) -> NeighboursReport {
    let name = |port| director.compiler.ids().port_name(port).unwrap_or("?").to_owned();
    let mut list: BTreeMap<(String, std::net::IpAddr), NeighbourStatus> = BTreeMap::new();
    let mut put = |status: NeighbourStatus| list.insert((status.interface.clone(), status.address), status);
    for ((port, address), failed) in director.resolver.wishes() {
        let state = if failed { NeighbourState::Failed } else { NeighbourState::Resolving };
        let origin = NeighbourOrigin::Kernel;
        put(NeighbourStatus { address, mac: None, interface: name(port), state, origin });
    }
    let served = director.serving.served();
    for ((index, address), mac) in &director.netlink.view().neighbours {
        let Some(port) = served.get(index) else { continue };
        put(NeighbourStatus {
            address: *address,
            mac: Some(*mac),
            interface: name(*port),
            state: NeighbourState::Reachable,
            origin: NeighbourOrigin::Kernel,
        });
    }
    for declared in &director.desired.config().neighbours {
        put(NeighbourStatus {
            address: declared.address,
            mac: Some(declared.mac),
            interface: declared.interface.clone(),
            state: NeighbourState::Reachable,
            origin: NeighbourOrigin::Static,
        });
    }
    NeighboursReport { as_of: wall::now(), neighbours: list.into_values().collect() }
}

pub(crate) fn workers(director: &Director) -> WorkersReport {
    let workers = director.dataplane.workers.iter();
    let workers = workers
        .map(|worker| {
            let stats = worker.handle.stats();
            let queues = queues(director, worker.handle.index());
            let in_ports = queues.iter().map(|(_, held)| held).sum();
            WorkerStatus {
                worker: count(worker.handle.index()),
                core: count(worker.handle.core()),
                turns: stats.turns(),
                idle_turns: stats.turns().saturating_sub(stats.busy_turns()),
                sleeps: stats.sleeps(),
                packets: queues.iter().map(|(q, _)| q.rx_frames).sum(),
                epoch: stats.epoch(),
                frames: frames(stats, in_ports),
                queues: queues.into_iter().map(|(q, _)| q).collect(),
            }
        })
        .collect();
    WorkersReport { as_of: wall::now(), workers }
}

fn frames(stats: &WorkerStats, in_ports: u64) -> FrameCounts {
    let (total, free) = (stats.frames_total(), stats.frames_free());
    let held = stats.frames_held() + stats.frames_backlog();
    let elsewhere = total.saturating_sub(free + in_ports + held);
    FrameCounts { total, free, in_ports, held, elsewhere }
}

/// A worker's queues with the frames that each holds.
fn queues(director: &Director, worker: usize) -> Vec<(QueueStatus, u64)> {
    let mut queues = Vec::new();
    for (name, interface) in director.serving.interfaces() {
        for queue in interface.queues().iter().filter(|q| q.worker == worker) {
            let s = queue.page.stats();
            let status = QueueStatus {
                interface: name.to_owned(),
                queue: queue.page.caps.queue,
                mode: shown(queue.page.caps.mode),
                rx_frames: s.rx_frames,
                rx_bytes: s.rx_bytes,
                tx_frames: s.tx_frames,
                tx_bytes: s.tx_bytes,
                tx_kicks: s.tx_kicks,
                tx_ring_full: s.tx_ring_full,
                rx_dropped: s.rx_dropped,
                rx_invalid: s.rx_invalid,
                tx_invalid: s.tx_invalid,
                rx_ring_full: s.rx_ring_full,
                fill_empty: s.fill_empty,
                tx_empty: s.tx_empty,
            };
            queues.push((status, queue.page.held()));
        }
    }
    queues
}

pub(crate) fn counters(director: &mut Director) -> CountersReport {
    let mut list = Vec::new();
    let mut put = |name: &str, kind, help: &str, value| {
        list.push(Counter { name: name.to_owned(), kind, help: help.to_owned(), value });
    };
    for kind in VerdictKind::ALL {
        let value = director.statistics.slot(slots::verdict(kind));
        put(kind.name(), CounterKind::Verdict, verdict_help(kind), value);
    }
    for reason in Reason::ALL {
        let lost = Lost::ALL.iter().find(|lost| lost.reason() == *reason);
        let by_workers: u64 = lost
            .map_or(0, |lost| director.dataplane.workers.iter().map(|w| w.handle.stats().lost(*lost)).sum());
        let value = director.statistics.slot(slots::reason(*reason)) + by_workers;
        put(reason.name(), CounterKind::Reason, reason.help(), value);
    }
    for (name, help, value) in occurrences(director) {
        put(name, CounterKind::Occurrence, help, value);
    }
    CountersReport { as_of: wall::now(), counters: list }
}

fn verdict_help(kind: VerdictKind) -> &'static str {
    match kind {
        VerdictKind::Forward => "packets sent on to a real server or to a client",
        VerdictKind::Reply => "packets answered by the director itself",
        VerdictKind::Pass => "packets left to the kernel by a worker",
        VerdictKind::Punt => "packets handed to the control thread",
        VerdictKind::Hold => "packets kept back for a while",
        VerdictKind::Drop => "packets dropped; what is lost after its verdict counts for its reason only",
    }
}

/// What happened beside packets' outcomes.
fn occurrences(director: &mut Director) -> Vec<(&'static str, &'static str, u64)> {
    let workers = &director.dataplane.workers;
    let sum = |of: fn(&WorkerStats) -> u64| workers.iter().map(|w| of(w.handle.stats())).sum::<u64>();
    let extras = slots::Extra::ALL
        .map(|extra| (extra.name(), extra.help(), director.statistics.slot(slots::extra(extra))));
    let mut list = vec![
        ("handed-over", "frames given to another worker to send", sum(WorkerStats::handed_over)),
        ("injected", "frames sent for the control thread", sum(WorkerStats::injected)),
        (
            "inject-failed",
            "frames of the control thread that could not be sent",
            sum(WorkerStats::inject_failed),
        ),
        ("passed-back", "frames given back to the kernel's receive path", sum(WorkerStats::passed)),
        ("punts-lost", "messages to the control thread that found no room", sum(WorkerStats::punts_lost)),
        (
            "connection-changes",
            "changes of connections heard of",
            workers.iter().map(|w| w.changes_seen).sum(),
        ),
        (
            "connection-changes-lost",
            "changes of connections that found no room",
            workers.iter().map(crate::dataplane::Worker::changes_lost).sum(),
        ),
    ];
    list.extend(extras);
    list.extend(
        Note::ALL.iter().map(|note| (note.name(), note.help(), director.statistics.slot(slots::note(*note)))),
    );
    match director.serving.steering.counters() {
        Ok(c) => list.extend([
            ("steered", "frames that the steering program gave to a worker", c.taken),
            ("steering-passed", "frames that the steering program left to the kernel", c.passed),
            ("steering-no-socket", "frames of ours on a queue that nobody serves", c.no_socket),
            ("flood-source", "new connections of a source beyond its rate, dropped", c.flood_source),
            ("flood-vip", "new connections to a VIP beyond its rate, dropped", c.flood_vip),
        ]),
        Err(e) => tracing::debug!("steering counters: {e}"),
    }
    list
}
