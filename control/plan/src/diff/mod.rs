//! What changes from one desired state to another: printable, and empty when nothing does.

mod services;

use crate::desired::Desired;
use sheave_proto::api;
use sheave_proto::config::{Config, Cores, Director, Flood, Interface};
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
        services::compare(&mut changes, &old.services, &new.services);
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

    fn shown<T: PartialEq + Display>(&mut self, key: &str, old: &T, new: &T) {
        self.note(key, old, new, T::to_string);
    }

    fn optional<T: PartialEq + Display>(&mut self, key: &str, old: &Option<T>, new: &Option<T>) {
        self.note(key, old, new, or_default);
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

fn list<'v, T: Display + 'v>(values: impl IntoIterator<Item = &'v T>) -> String {
    let values: Vec<String> = values.into_iter().map(T::to_string).collect();
    if values.is_empty() { "default".to_owned() } else { format!("[{}]", values.join(" ")) }
}

fn director(changes: &mut Vec<Change>, old: &Director, new: &Director) {
    let mut live = Differences::default();
    live.optional("name", &old.name, &new.name);
    live.note("announce", &old.announce, &new.announce, |a| {
        format!("{} every {} then {}", a.repeat, a.delay, a.refresh)
    });
    live.shown("timeouts tcp", &old.timeouts.tcp, &new.timeouts.tcp);
    live.shown("timeouts tcp-fin", &old.timeouts.tcp_fin, &new.timeouts.tcp_fin);
    live.shown("timeouts udp", &old.timeouts.udp, &new.timeouts.udp);
    flood(&mut live, &old.flood, &new.flood);
    changes.extend(live.into_change(Kind::Director, ""));
    let mut late = Differences::default();
    late.note("cores", &old.cores, &new.cores, |cores| match cores {
        Cores::Auto => "auto".to_owned(),
        Cores::List(cores) => list(cores),
    });
    late.note("socket", &old.socket, &new.socket, |path| path.display().to_string());
    late.optional("socket-owner", &old.socket_owner, &new.socket_owner);
    late.optional("socket-group", &old.socket_group, &new.socket_group);
    late.shown("wait", &old.wait, &new.wait);
    late.shown("max-connections", &old.max_connections, &new.max_connections);
    late.note("hash-key", &old.hash_key, &new.hash_key, |key| format!("{key:?}"));
    changes.extend(late.into_change(Kind::Director, "").map(|change| Change { restart: true, ..change }));
}

fn flood(live: &mut Differences, old: &Flood, new: &Flood) {
    live.shown("flood new-connections", &old.new_connections, &new.new_connections);
    live.shown("flood source-rate", &old.source_rate, &new.source_rate);
    live.shown("flood source-burst", &old.source_burst, &new.source_burst);
    live.shown("flood vip-rate", &old.vip_rate, &new.vip_rate);
    live.shown("flood vip-burst", &old.vip_burst, &new.vip_burst);
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
            changed.shown("mode", &old.mode, &new.mode);
            changed.optional("mac", &old.mac, &new.mac);
            changed.note("addresses", &old.addresses, &new.addresses, |l| list(l));
            changed.optional("mtu", &old.mtu, &new.mtu);
            changed.note("queue-cores", &old.queue_cores, &new.queue_cores, |l| list(l));
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
                changed.shown("mac", &old.mac, &new.mac);
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
