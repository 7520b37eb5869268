//! What changes from one desired state to another: printable, and empty when nothing does.

use crate::desired::Desired;
use sheave_proto::api;
use sheave_proto::config::{Config, Cores, DestAddr, Destination, Director, Interface, Listen, Service};
use std::collections::HashMap;
use std::fmt::{self, Display};

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is new.
    Add,
    /// It stays, with other settings.
    Change,
    /// It goes.
    Remove,
}

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The director itself.
    Director,
    /// An interface.
    Interface,
    /// A static neighbour.
    Neighbour,
    /// A static route.
    Route,
    /// A virtual service.
    Service,
    /// A destination of a service.
    Destination,
}

/// One change. Displays as one line: `~ destination web 198.19.1.11:8080: weight 1 -> 3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What happens.
    pub action: Action,
    /// To what kind of object.
    pub kind: Kind,
    /// The object's name; empty for the director.
    pub name: String,
    /// The service's name, of a destination.
    pub service: Option<String>,
    /// The settings: all that matter of a new object, those that differ of a changed one.
    pub settings: Vec<String>,
    /// Whether it takes effect only at the next start of the director.
    pub restart: bool,
}

impl Change {
    fn new(action: Action, kind: Kind, name: impl Display) -> Change {
        Change { action, kind, name: name.to_string(), service: None, settings: Vec::new(), restart: false }
    }
}

impl From<&Change> for api::Change {
    fn from(change: &Change) -> api::Change {
        let kind = match (change.restart, change.action) {
            (true, _) => api::ChangeKind::NeedsRestart,
            (false, Action::Add) => api::ChangeKind::Add,
            (false, Action::Change) => api::ChangeKind::Change,
            (false, Action::Remove) => api::ChangeKind::Remove,
        };
        let word = match change.kind {
            Kind::Director => "director",
            Kind::Interface => "interface",
            Kind::Neighbour => "neighbour",
            Kind::Route => "route",
            Kind::Service => "service",
            Kind::Destination => "destination",
        };
        let mut object = word.to_owned();
        for word in change.service.iter().chain([&change.name]).filter(|word| !word.is_empty()) {
            object.push(' ');
            object.extend(word.escape_debug());
        }
        api::Change { kind, object, detail: change.settings.join(", ") }
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        api::Change::from(self).fmt(f)
    }
}

/// A list of changes, in the order of the configuration. Displays one a line, or `no change`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The changes.
    pub changes: Vec<Change>,
}

impl Plan {
    /// What leads from `old` to `new`.
    pub fn diff(old: &Desired, new: &Desired) -> Plan {
        let (old, new) = (old.config(), new.config());
        let mut changes = Vec::new();
        director(&mut changes, &old.director, &new.director);
        interfaces(&mut changes, old, new);
        neighbours(&mut changes, old, new);
        routes(&mut changes, old, new);
        services(&mut changes, &old.services, &new.services);
        Plan { changes }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes as the control API shows them.
    pub fn report(&self) -> Vec<api::Change> {
        self.changes.iter().map(api::Change::from).collect()
    }

    /// Whether some of it waits for a restart.
    pub fn needs_restart(&self) -> bool {
        self.changes.iter().any(|change| change.restart)
    }
}

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.changes.split_first() else { return f.write_str("no change") };
        first.fmt(f)?;
        rest.iter().try_for_each(|change| write!(f, "\n{change}"))
    }
}

/// Collects the settings that differ.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn note<T: PartialEq>(&mut self, key: &str, old: &T, new: &T, show: impl Fn(&T) -> String) {
        if old != new {
            self.0.push(format!("{key} {} -> {}", show(old), show(new)));
        }
    }

    fn into_change(self, kind: Kind, name: impl Display) -> Option<Change> {
        let changed = Change { settings: self.0, ..Change::new(Action::Change, kind, name) };
        (!changed.settings.is_empty()).then_some(changed)
    }
}

/// An optional setting.
fn or_default<T: Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "default".to_owned(), T::to_string)
}

fn list<T: Display>(values: &[T]) -> String {
    if values.is_empty() {
        return "default".to_owned();
    }
    format!("[{}]", values.iter().map(T::to_string).collect::<Vec<_>>().join(" "))
}

fn director(changes: &mut Vec<Change>, old: &Director, new: &Director) {
    let mut live = Differences::default();
    live.note("name", &old.name, &new.name, or_default);
    live.note("announce", &old.announce, &new.announce, |a| {
        format!("{} every {} then {}", a.repeat, a.delay, a.refresh)
    });
    changes.extend(live.into_change(Kind::Director, ""));
    let mut late = Differences::default();
    late.note("cores", &old.cores, &new.cores, |cores| match cores {
        Cores::Auto => "auto".to_owned(),
        Cores::List(cores) => list(cores),
    });
    late.note("socket", &old.socket, &new.socket, |path| path.display().to_string());
    late.note("socket-owner", &old.socket_owner, &new.socket_owner, or_default);
    late.note("socket-group", &old.socket_group, &new.socket_group, or_default);
    late.note("wait", &old.wait, &new.wait, ToString::to_string);
    late.note("max-connections", &old.max_connections, &new.max_connections, ToString::to_string);
    late.note("hash-key", &old.hash_key, &new.hash_key, |key| format!("{key:?}"));
    changes.extend(late.into_change(Kind::Director, "").map(|change| Change { restart: true, ..change }));
}

/// Objects of one kind, told apart by a key: removed ones first, then new and changed ones in their order.
fn compare<'a, T: 'a, K: PartialEq>(
    changes: &mut Vec<Change>,
    old: &'a [T],
    new: &'a [T],
    key: impl Fn(&'a T) -> K,
    show: impl Fn(Option<&'a T>, Option<&'a T>) -> Option<Change>,
) {
    changes.extend(
        old.iter().filter(|o| !new.iter().any(|n| key(n) == key(o))).filter_map(|o| show(Some(o), None)),
    );
    changes.extend(new.iter().filter_map(|n| show(old.iter().find(|o| key(o) == key(n)), Some(n))));
}

fn interfaces(changes: &mut Vec<Change>, old: &Config, new: &Config) {
    let show = |old: Option<&Interface>, new: Option<&Interface>| match (old, new) {
        (None, Some(new)) => Some(Change::new(Action::Add, Kind::Interface, &new.name)),
        (Some(old), None) => Some(Change::new(Action::Remove, Kind::Interface, &old.name)),
        (Some(old), Some(new)) => {
            let mut changed = Differences::default();
            changed.note("mode", &old.mode, &new.mode, ToString::to_string);
            changed.note("mac", &old.mac, &new.mac, or_default);
            changed.note("addresses", &old.addresses, &new.addresses, |a| list(a));
            changed.note("mtu", &old.mtu, &new.mtu, or_default);
            changed.into_change(Kind::Interface, &new.name)
        }
        (None, None) => None,
    };
    compare(changes, &old.interfaces, &new.interfaces, |i| &i.name, show);
}

fn neighbours(changes: &mut Vec<Change>, old: &Config, new: &Config) {
    compare(
        changes,
        &old.neighbours,
        &new.neighbours,
        |n| (n.address, &n.interface),
        |old, new| match (old, new) {
            (None, Some(new)) => Some(Change {
                settings: vec![format!("{} on {}", new.mac, new.interface)],
                ..Change::new(Action::Add, Kind::Neighbour, new.address)
            }),
            (Some(old), None) => Some(Change::new(Action::Remove, Kind::Neighbour, old.address)),
            (Some(old), Some(new)) => {
                let mut changed = Differences::default();
                changed.note("mac", &old.mac, &new.mac, ToString::to_string);
                changed.into_change(Kind::Neighbour, new.address)
            }
            (None, None) => None,
        },
    );
}

fn routes(changes: &mut Vec<Change>, old: &Config, new: &Config) {
    let way = |via: &Option<std::net::IpAddr>, interface: &str| match via {
        Some(via) => format!("via {via} on {interface}"),
        None => format!("on {interface}"),
    };
    compare(
        changes,
        &old.routes,
        &new.routes,
        |r| r.to,
        |old, new| match (old, new) {
            (None, Some(new)) => Some(Change {
                settings: vec![way(&new.via, &new.interface)],
                ..Change::new(Action::Add, Kind::Route, new.to)
            }),
            (Some(old), None) => Some(Change::new(Action::Remove, Kind::Route, old.to)),
            (Some(old), Some(new)) => {
                let (old, new, to) = (way(&old.via, &old.interface), way(&new.via, &new.interface), new.to);
                let changed = Change {
                    settings: vec![format!("{old} -> {new}")],
                    ..Change::new(Action::Change, Kind::Route, to)
                };
                (old != new).then_some(changed)
            }
            (None, None) => None,
        },
    );
}

/// Services by name and by listens.
struct Index<'a> {
    named: HashMap<&'a str, &'a Service>,
    listening: HashMap<&'a [Listen], &'a Service>,
}

impl<'a> Index<'a> {
    fn of(services: &'a [Service]) -> Index<'a> {
        Index {
            named: services.iter().map(|service| (service.name.as_str(), service)).collect(),
            listening: services.iter().map(|service| (&service.listens[..], service)).collect(),
        }
    }

    /// The service here that is the same as `service` of `other`: by name, else one whose name is not there but
    /// whose listens are the same, which is how a renamed service keeps its connections.
    fn same(&self, service: &Service, other: &Index<'_>) -> Option<&'a Service> {
        let named = self.named.get(service.name.as_str());
        let listening = || {
            let found = self.listening.get(&service.listens[..])?;
            (!other.named.contains_key(found.name.as_str())).then_some(found)
        };
        named.or_else(listening).copied()
    }
}

fn services(changes: &mut Vec<Change>, old: &[Service], new: &[Service]) {
    let (before, after) = (Index::of(old), Index::of(new));
    for gone in old.iter().filter(|service| after.same(service, &before).is_none()) {
        changes.push(Change::new(Action::Remove, Kind::Service, &gone.name));
    }
    for service in new {
        let Some(old) = before.same(service, &after) else {
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
    changed.note("name", &old.name, &new.name, Clone::clone);
    changed.note("listen", &old.listens, &new.listens, |l| list(l));
    changed.note("scheduler", &old.scheduler, &new.scheduler, ToString::to_string);
    changed.note("forward", &old.forward, &new.forward, ToString::to_string);
    changed.note("timeouts tcp", &old.timeouts.tcp, &new.timeouts.tcp, ToString::to_string);
    changed.note("timeouts tcp-fin", &old.timeouts.tcp_fin, &new.timeouts.tcp_fin, ToString::to_string);
    changed.note("timeouts udp", &old.timeouts.udp, &new.timeouts.udp, ToString::to_string);
    changed.note("persistence", &old.persistence, &new.persistence, |p| {
        p.map_or_else(|| "off".to_owned(), |p| p.timeout.to_string())
    });
    changed.note("interface", &old.interface, &new.interface, or_default);
    changed.note("on-removal", &old.on_removal, &new.on_removal, ToString::to_string);
    if reordered(old, new) {
        changed.0.push("order of destinations".to_owned());
    }
    changed.into_change(Kind::Service, &new.name)
}

/// Whether those destinations that both have stand in another order: rr and wrr walk them in order.
fn reordered(old: &Service, new: &Service) -> bool {
    let positions: Vec<usize> = new.destinations.iter().filter_map(|d| find(old, new, d)).collect();
    !positions.is_sorted()
}

/// Where `service` has the destination that `destination` of `of` is.
fn find(service: &Service, of: &Service, destination: &Destination) -> Option<usize> {
    let address = full(of, &destination.address);
    service.destinations.iter().position(|other| full(service, &other.address) == address)
}

/// A destination's address with its port.
fn full(service: &Service, address: &DestAddr) -> DestAddr {
    DestAddr { addr: address.addr, port: address.port_under(service.listen().ports) }
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
    let address = full(service, &destination.address);
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
        changed.note("weight", &before.weight, &destination.weight, ToString::to_string);
        changed.note("forward", &old.forward_of(before), &new.forward_of(destination), ToString::to_string);
        changed.note(
            "upper-threshold",
            &before.upper_threshold,
            &destination.upper_threshold,
            ToString::to_string,
        );
        changed.note(
            "lower-threshold",
            &before.lower_threshold,
            &destination.lower_threshold,
            ToString::to_string,
        );
        if !changed.0.is_empty() {
            changes.push(destination_change(Action::Change, new, destination, changed.0));
        }
    }
}
