//! The canonical text of a configuration: `config show`.
//!
//! The director is shown with the values in force. Of services and destinations, a few keys that everybody wants
//! to see are shown always, the others only where they differ from their default. The text parses back to the
//! same configuration.

use std::fmt::Write;

use super::model::{Config, Director, Flood, Interface, Neighbour, Route};
use super::service::{Destination, Service, Sorry};
use super::tuning::MssClamp;
use super::value::{Cores, Owner};
use super::words::Intent;

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

    /// A key whose value needs no quotes, if it is not what the default says.
    fn other<T: std::fmt::Display + PartialEq>(&mut self, key: &str, value: T, default: T) {
        if value != default {
            self.plain(key, value);
        }
    }

    /// A key whose value needs no quotes, if it is set.
    fn optional(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.plain(key, value);
        }
    }

    /// A key whose value is a string, if it is set.
    fn optional_text(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.text(key, value);
        }
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

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

/// A table on one line, of keys that are set.
fn table<const N: usize>(keys: [(&str, Option<String>); N]) -> String {
    let set = keys.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}", value?)));
    format!("{{ {} }}", set.collect::<Vec<_>>().join(", "))
}

/// A value that is set, as a string.
fn text(value: impl std::fmt::Display) -> Option<String> {
    Some(quoted(&value.to_string()))
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
    out.optional_text("name", director.name.as_ref());
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
    let (delay, refresh) = (text(announce.delay), text(announce.refresh));
    let repeat = Some(announce.repeat.to_string());
    out.plain("announce", table([("repeat", repeat), ("delay", delay), ("refresh", refresh)]));
    let timeouts = director.timeouts;
    let (tcp, tcp_fin, udp) = (text(timeouts.tcp), text(timeouts.tcp_fin), text(timeouts.udp));
    out.plain("timeouts", table([("tcp", tcp), ("tcp-fin", tcp_fin), ("udp", udp)]));
    let Flood { new_connections, source_rate, source_burst, vip_rate, vip_burst } = director.flood;
    let number = |number: u32| Some(number.to_string());
    let flood = [
        ("new-connections", number(new_connections)),
        ("source-rate", number(source_rate)),
        ("source-burst", number(source_burst)),
        ("vip-rate", number(vip_rate)),
        ("vip-burst", number(vip_burst)),
    ];
    out.plain("flood", table(flood));
}

fn interface(out: &mut Text, interface: &Interface) {
    out.header("[[interface]]");
    out.text("name", &interface.name);
    out.text("mode", interface.mode);
    out.optional_text("mac", interface.mac);
    if !interface.addresses.is_empty() {
        out.plain("addresses", list(&interface.addresses));
    }
    out.optional("mtu", interface.mtu);
    if !interface.queue_cores.is_empty() {
        out.plain("queue-cores", format_args!("{:?}", interface.queue_cores));
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
    out.optional_text("via", route.via);
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
    let default = Service::defaults();
    out.text("scheduler", service.scheduler);
    if !service.scheduler_flags.is_empty() {
        out.plain("scheduler-flags", list(&service.scheduler_flags));
    }
    out.optional("mh-table", service.mh_table);
    out.optional("draws", service.draws);
    out.text("forward", service.forward);
    let own = service.timeouts;
    if !own.is_empty() {
        let (tcp, tcp_fin, udp) =
            (own.tcp.and_then(text), own.tcp_fin.and_then(text), own.udp.and_then(text));
        out.plain("timeouts", table([("tcp", tcp), ("tcp-fin", tcp_fin), ("udp", udp)]));
    }
    if let Some(persistence) = service.persistence {
        let netmask = persistence.netmask.map(|bits| bits.to_string());
        out.plain("persistence", table([("timeout", text(persistence.timeout)), ("netmask", netmask)]));
    }
    out.other("one-packet", service.one_packet, default.one_packet);
    out.other("sloppy", service.sloppy, default.sloppy);
    out.other("syn-proxy", service.syn_proxy, default.syn_proxy);
    match service.mss_clamp {
        MssClamp::Auto => {}
        MssClamp::Off => out.text("mss-clamp", MssClamp::Off),
        MssClamp::At(bytes) => out.plain("mss-clamp", bytes),
    }
    out.other("pmtu-discovery", service.pmtu_discovery, default.pmtu_discovery);
    out.optional_text("helper", service.helper);
    if let Some(Sorry { address, forward }) = service.sorry {
        out.plain("sorry", table([("address", text(address)), ("forward", forward.and_then(text))]));
    }
    out.other("backup-below", service.backup_below, default.backup_below);
    out.optional_text("slow-start", service.slow_start);
    out.optional_text("interface", service.interface.as_ref());
    out.text("on-removal", service.on_removal);
    service.destinations.iter().for_each(|destination| self::destination(out, destination));
}

fn destination(out: &mut Text, destination: &Destination) {
    out.header("[[service.destination]]");
    out.text("address", destination.address);
    out.plain("weight", destination.weight);
    out.optional_text("forward", destination.forward);
    out.optional_text("tunnel", destination.tunnel);
    out.optional("tunnel-port", destination.tunnel_port);
    out.other("tunnel-checksum", destination.tunnel_checksum, false);
    if destination.state != Intent::Ready {
        out.text("state", destination.state);
    }
    out.other("backup", destination.backup, false);
    out.other("upper-threshold", destination.upper_threshold, 0);
    out.other("lower-threshold", destination.lower_threshold, 0);
    out.other("connection-limit", destination.connection_limit, 0);
}
