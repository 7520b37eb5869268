//! What changes of services and their destinations.

use super::{Action, Change, Differences, Kind, list};
use crate::renamed::renamed;
use sheave_proto::config::{DestAddr, Destination, Listen, Persistence, Service, Sorry};
use std::collections::{BTreeMap, HashMap, HashSet};

fn listening(services: &[Service]) -> BTreeMap<&str, &[Listen]> {
    services.iter().map(|service| (service.name.as_str(), &service.listens[..])).collect()
}

/// Adds what leads from the old services to the new ones.
pub(super) fn compare(changes: &mut Vec<Change>, old: &[Service], new: &[Service]) {
    let names = renamed(&listening(old), &listening(new));
    let before: HashMap<&str, &Service> = old.iter().map(|s| (s.name.as_str(), s)).collect();
    let same = |service: &Service| {
        let name = service.name.as_str();
        before.get(names.get(name).copied().unwrap_or(name)).copied()
    };
    let stay: HashSet<&str> = new.iter().filter_map(|s| Some(same(s)?.name.as_str())).collect();
    for gone in old.iter().filter(|service| !stay.contains(service.name.as_str())) {
        changes.push(Change::new(Action::Remove, Kind::Service, &gone.name));
    }
    for service in new {
        let Some(old) = same(service) else {
            let settings =
                vec![list(&service.listens), service.scheduler.to_string(), service.forward.to_string()];
            changes.push(Change { settings, ..Change::new(Action::Add, Kind::Service, &service.name) });
            for destination in &service.destinations {
                changes.push(destination_change(
                    Action::Add,
                    service,
                    destination,
                    settings_of(service, destination),
                ));
            }
            continue;
        };
        changes.extend(service_settings(old, service));
        destinations(changes, old, service);
    }
}

fn service_settings(old: &Service, new: &Service) -> Option<Change> {
    let mut changed = Differences::default();
    changed.shown("name", &old.name, &new.name);
    changed.note("listen", &old.listens, &new.listens, |l| list(l));
    scheduling(&mut changed, old, new);
    changed.shown("forward", &old.forward, &new.forward);
    changed.optional("timeouts tcp", &old.timeouts.tcp, &new.timeouts.tcp);
    changed.optional("timeouts tcp-fin", &old.timeouts.tcp_fin, &new.timeouts.tcp_fin);
    changed.optional("timeouts udp", &old.timeouts.udp, &new.timeouts.udp);
    changed.note("persistence", &old.persistence, &new.persistence, |p| p.map_or_else(off, persistence));
    changed.shown("one-packet", &old.one_packet, &new.one_packet);
    changed.shown("sloppy", &old.sloppy, &new.sloppy);
    changed.shown("syn-proxy", &old.syn_proxy, &new.syn_proxy);
    changed.shown("mss-clamp", &old.mss_clamp, &new.mss_clamp);
    changed.shown("pmtu-discovery", &old.pmtu_discovery, &new.pmtu_discovery);
    changed.note("helper", &old.helper, &new.helper, |h| h.map_or_else(off, |helper| helper.to_string()));
    changed.optional("interface", &old.interface, &new.interface);
    changed.shown("on-removal", &old.on_removal, &new.on_removal);
    if reordered(old, new) {
        changed.0.push("order of destinations".to_owned());
    }
    changed.into_change(Kind::Service, &new.name)
}

/// What has to do with the choice of a destination.
fn scheduling(changed: &mut Differences, old: &Service, new: &Service) {
    changed.shown("scheduler", &old.scheduler, &new.scheduler);
    changed.note("scheduler-flags", &old.scheduler_flags, &new.scheduler_flags, |l| list(l));
    changed.optional("mh-table", &old.mh_table, &new.mh_table);
    changed.optional("draws", &old.draws, &new.draws);
    changed.note("sorry", &old.sorry, &new.sorry, |s| s.map_or_else(off, sorry));
    changed.shown("backup-below", &old.backup_below, &new.backup_below);
    changed.note("slow-start", &old.slow_start, &new.slow_start, |s| {
        s.map_or_else(off, |slow_start| slow_start.to_string())
    });
}

fn off() -> String {
    "off".to_owned()
}

fn persistence(Persistence { timeout, netmask }: Persistence) -> String {
    netmask.map_or_else(|| timeout.to_string(), |netmask| format!("{timeout} by /{netmask}"))
}

fn sorry(Sorry { address, forward }: Sorry) -> String {
    forward.map_or_else(|| address.to_string(), |forward| format!("{address} by {forward}"))
}

/// Whether those destinations that both have stand in another order: rr and wrr walk them in order.
fn reordered(old: &Service, new: &Service) -> bool {
    let positions: Vec<usize> = new.destinations.iter().filter_map(|d| find(old, new, d)).collect();
    !positions.is_sorted()
}

/// Where `service` has the destination that `destination` of `of` is: one at the same address, or both keep each
/// packet's port there, whatever the ports are.
fn find(service: &Service, of: &Service, destination: &Destination) -> Option<usize> {
    let address: DestAddr = of.full_address(&destination.address);
    let position = |like: &dyn Fn(DestAddr) -> bool| {
        service.destinations.iter().position(|other| like(service.full_address(&other.address)))
    };
    let keeping = |other: DestAddr| {
        address.port == of.port()
            && other == DestAddr { port: service.port(), ..address }
            && of.destinations.iter().all(|d| of.full_address(&d.address) != other)
    };
    position(&|other| other == address).or_else(|| position(&keeping))
}

fn settings_of(service: &Service, destination: &Destination) -> Vec<String> {
    vec![service.forward_of(destination).to_string(), format!("weight {}", destination.weight)]
}

fn destination_change(
    action: Action,
    service: &Service,
    destination: &Destination,
    settings: Vec<String>,
) -> Change {
    let address = service.full_address(&destination.address);
    let service = Some(service.name.clone());
    Change { service, settings, ..Change::new(action, Kind::Destination, address) }
}

fn destinations(changes: &mut Vec<Change>, old: &Service, new: &Service) {
    for gone in old.destinations.iter().filter(|d| find(new, old, d).is_none()) {
        changes.push(destination_change(Action::Remove, old, gone, Vec::new()));
    }
    for destination in &new.destinations {
        let Some(before) = find(old, new, destination).and_then(|at| old.destinations.get(at)) else {
            let settings = settings_of(new, destination);
            changes.push(destination_change(Action::Add, new, destination, settings));
            continue;
        };
        let mut changed = Differences::default();
        changed.shown("weight", &before.weight, &destination.weight);
        changed.shown("forward", &old.forward_of(before), &new.forward_of(destination));
        changed.optional("tunnel", &before.tunnel, &destination.tunnel);
        changed.optional("tunnel-port", &before.tunnel_port, &destination.tunnel_port);
        changed.shown("tunnel-checksum", &before.tunnel_checksum, &destination.tunnel_checksum);
        changed.shown("state", &before.state, &destination.state);
        changed.shown("backup", &before.backup, &destination.backup);
        changed.shown("upper-threshold", &before.upper_threshold, &destination.upper_threshold);
        changed.shown("lower-threshold", &before.lower_threshold, &destination.lower_threshold);
        changed.shown("connection-limit", &before.connection_limit, &destination.connection_limit);
        if !changed.0.is_empty() {
            changes.push(destination_change(Action::Change, new, destination, changed.0));
        }
    }
}
