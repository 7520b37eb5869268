//! The canonical text of a configuration: `config show`.
//!
//! Every service and the director are shown with the values in force, optional keys only where they are
//! set. The text parses back to the same configuration.

use std::fmt::Write;

use super::model::{Config, Destination, Director, Interface, Neighbour, Route, Service};
use super::value::{Cores, Owner};

/// The TOML text of a configuration, in a fixed order of tables and keys.
#[must_use]
pub fn to_toml(config: &Config) -> String {
    let mut out = Text::default();
    director(&mut out, &config.director);
    config.interfaces.iter().for_each(|interface| self::interface(&mut out, interface));
    config.neighbours.iter().for_each(|neighbour| self::neighbour(&mut out, neighbour));
    config.routes.iter().for_each(|route| self::route(&mut out, route));
    config.services.iter().for_each(|service| self::service(&mut out, service));
    out.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn header(&mut self, header: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.line(format_args!("{gap}{header}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("writing to a string does not fail");
    }

    /// A key whose value needs no quotes.
    fn plain(&mut self, key: &str, value: impl std::fmt::Display) {
        self.line(format_args!("{key} = {value}"));
    }

    /// A key whose value is a string.
    fn text(&mut self, key: &str, value: impl std::fmt::Display) {
        self.plain(key, quoted(&value.to_string()));
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => write!(out, "\\u{:04X}", u32::from(c)).expect("writing to a string"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

fn owner(out: &mut Text, key: &str, owner: Option<&Owner>) {
    match owner {
        Some(Owner::Id(id)) => out.plain(key, id),
        Some(Owner::Name(name)) => out.text(key, name),
        None => {}
    }
}

fn director(out: &mut Text, director: &Director) {
    out.header("[director]");
    if let Some(name) = &director.name {
        out.text("name", name);
    }
    match &director.cores {
        Cores::Auto => out.text("cores", "auto"),
        Cores::List(cores) => out.plain("cores", format_args!("{cores:?}")),
    }
    out.text("socket", director.socket.display());
    owner(out, "socket-owner", director.socket_owner.as_ref());
    owner(out, "socket-group", director.socket_group.as_ref());
    out.text("wait", director.wait);
    out.plain("max-connections", director.max_connections);
    out.text("hash-key", &director.hash_key);
    let announce = director.announce;
    let (repeat, delay, refresh) = (announce.repeat, announce.delay, announce.refresh);
    out.line(format_args!(
        "announce = {{ repeat = {repeat}, delay = \"{delay}\", refresh = \"{refresh}\" }}"
    ));
}

fn interface(out: &mut Text, interface: &Interface) {
    out.header("[[interface]]");
    out.text("name", &interface.name);
    out.text("mode", interface.mode);
    if let Some(mac) = interface.mac {
        out.text("mac", mac);
    }
    if !interface.addresses.is_empty() {
        out.plain("addresses", list(&interface.addresses));
    }
    if let Some(mtu) = interface.mtu {
        out.plain("mtu", mtu);
    }
}

fn neighbour(out: &mut Text, neighbour: &Neighbour) {
    out.header("[[neighbour]]");
    out.text("address", neighbour.address);
    out.text("mac", neighbour.mac);
    out.text("interface", &neighbour.interface);
}

fn route(out: &mut Text, route: &Route) {
    out.header("[[route]]");
    out.text("to", route.to);
    if let Some(via) = route.via {
        out.text("via", via);
    }
    out.text("interface", &route.interface);
}

fn service(out: &mut Text, service: &Service) {
    out.header("[[service]]");
    match &service.listens[..] {
        [one] => out.text("listen", one),
        many => out.plain("listen", list(many)),
    }
    if service.name != Service::default_name(&service.listens) {
        out.text("name", &service.name);
    }
    out.text("scheduler", service.scheduler);
    out.text("forward", service.forward);
    let timeouts = service.timeouts;
    let (tcp, tcp_fin, udp) = (timeouts.tcp, timeouts.tcp_fin, timeouts.udp);
    out.line(format_args!("timeouts = {{ tcp = \"{tcp}\", tcp-fin = \"{tcp_fin}\", udp = \"{udp}\" }}"));
    if let Some(persistence) = service.persistence {
        let netmask = persistence.netmask.map_or_else(String::new, |bits| format!(", netmask = {bits}"));
        out.line(format_args!("persistence = {{ timeout = \"{}\"{netmask} }}", persistence.timeout));
    }
    if let Some(interface) = &service.interface {
        out.text("interface", interface);
    }
    out.text("on-removal", service.on_removal);
    service.destinations.iter().for_each(|destination| self::destination(out, destination));
}

fn destination(out: &mut Text, destination: &Destination) {
    out.header("[[service.destination]]");
    out.text("address", destination.address);
    out.plain("weight", destination.weight);
    if let Some(forward) = destination.forward {
        out.text("forward", forward);
    }
    let thresholds =
        [("upper-threshold", destination.upper_threshold), ("lower-threshold", destination.lower_threshold)];
    for (key, value) in thresholds.into_iter().filter(|(_, value)| *value != 0) {
        out.plain(key, value);
    }
}
