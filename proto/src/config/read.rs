//! From the value tree to the model: one function a table. Services and their destinations are in
//! [`read_service`](super::read_service).
//!
//! An object whose identity (name, listen, address) can be read is made even when other keys of it are
//! wrong, with their defaults, so that what does not fit together is found in the same run. Such a model is
//! never handed out: the errors are.

use std::net::IpAddr;
use std::path::PathBuf;

use super::addr::{Cidr, host_address};
use super::error::{Errors, Place, Spot};
use super::model::{Announce, Config, Director, Flood, Interface, Neighbour, Route};
use super::patch::TimeoutsPatch;
use super::read_service::service;
use super::reader::Reader;
use super::service::Timeouts;
use super::tree::{Node, Value};
use super::value::{Cores, Duration, Owner, ValueError, bare, quote};
use crate::wire::eth::Mac;

/// Which table of the tree each object of the model was read from.
#[derive(Debug, Default)]
pub(super) struct Origins<'t> {
    director: Option<&'t Node>,
    interfaces: Vec<&'t Node>,
    neighbours: Vec<&'t Node>,
    routes: Vec<&'t Node>,
    services: Vec<(&'t Node, Vec<&'t Node>)>,
}

impl Origins<'_> {
    /// The line of a key, or of its table when the key is not there.
    pub(super) fn line(&self, place: Place) -> Option<usize> {
        let node = match place.spot {
            Spot::Director => self.director.as_ref(),
            Spot::Interface(at) => self.interfaces.get(at),
            Spot::Neighbour(at) => self.neighbours.get(at),
            Spot::Route(at) => self.routes.get(at),
            Spot::Service(at) => self.services.get(at).map(|(node, _)| node),
            Spot::Destination(at, of) => self.services.get(at).and_then(|(_, nodes)| nodes.get(of)),
        }?;
        let entry = node.entries().and_then(|entries| entries.iter().find(|entry| entry.key == place.key));
        entry.and_then(|entry| entry.line).or(node.line)
    }
}

/// Reads a whole configuration.
pub(super) fn config<'t>(root: &'t Node, errors: &mut Errors) -> (Config, Origins<'t>) {
    let (mut config, mut origins) = (Config::default(), Origins::default());
    let Some(mut reader) = Reader::new(root, "configuration".to_owned(), errors) else {
        return (config, origins);
    };
    if let Some(entry) = reader.entry("director") {
        config.director = director(&entry.node, reader.errors());
        origins.director = Some(&entry.node);
    }
    for (at, node) in reader.list("interface", "write [[interface]], in JSON a list").iter().enumerate() {
        if let Some(interface) = interface(node, at, reader.errors()) {
            config.interfaces.push(interface);
            origins.interfaces.push(node);
        }
    }
    for (at, node) in reader.list("neighbour", "write [[neighbour]], in JSON a list").iter().enumerate() {
        if let Some(neighbour) = neighbour(node, at, reader.errors()) {
            config.neighbours.push(neighbour);
            origins.neighbours.push(node);
        }
    }
    for (at, node) in reader.list("route", "write [[route]], in JSON a list").iter().enumerate() {
        if let Some(route) = route(node, at, reader.errors()) {
            config.routes.push(route);
            origins.routes.push(node);
        }
    }
    for (at, node) in reader.list("service", "write [[service]], in JSON a list").iter().enumerate() {
        if let Some((service, nodes)) = service(node, &format!("#{}", at + 1), reader.errors()) {
            config.services.push(service);
            origins.services.push((node, nodes));
        }
    }
    reader.finish();
    (config, origins)
}

fn director(node: &Node, errors: &mut Errors) -> Director {
    let mut director = Director::default();
    let Some(mut reader) = Reader::new(node, "director".to_owned(), errors) else { return director };
    director.name = name(&mut reader, "name");
    director.cores = cores(&mut reader);
    director.socket = socket(&mut reader).unwrap_or(director.socket);
    director.socket_owner = owner(&mut reader, "socket-owner");
    director.socket_group = owner(&mut reader, "socket-group");
    director.wait = reader.parsed("wait").unwrap_or(director.wait);
    let bounds = 1..=Director::MOST_CONNECTIONS;
    director.max_connections = reader.integer("max-connections", bounds).unwrap_or(director.max_connections);
    director.hash_key = reader.text("hash-key").map_or(director.hash_key, str::to_owned);
    director.announce = reader.table("announce", announce).unwrap_or_default();
    director.timeouts = reader.table("timeouts", timeouts).unwrap_or_default();
    director.flood = reader.table("flood", flood).unwrap_or_default();
    reader.finish();
    director
}

/// A name for people: not empty, not long, nothing that breaks a line.
pub(super) fn name(reader: &mut Reader<'_, '_>, key: &'static str) -> Option<String> {
    const LONGEST: usize = 128;
    let text = reader.text(key)?;
    let line = reader.entry(key)?.line;
    let fault = match text {
        _ if text.trim() != text => "begins or ends with a space",
        "" => "is empty",
        _ if text.chars().any(char::is_control) => "holds a control character",
        _ if text.chars().count() > LONGEST => "is longer than 128 characters",
        _ => return Some(text.to_owned()),
    };
    let remedy = "write 1 to 128 printable characters";
    reader.wrong(key, line, ValueError::new(format!("{key} {} {fault}", quote(text)), remedy));
    Some(text.to_owned())
}

fn cores(reader: &mut Reader<'_, '_>) -> Cores {
    let Some(entry) = reader.entry("cores") else { return Cores::Auto };
    if matches!(&entry.node.value, Value::Text(text) if text == "auto") {
        return Cores::Auto;
    }
    let list = core_list(reader, "cores", "write \"auto\" or a list of core numbers, as in [1, 2]");
    let mut cores = Vec::with_capacity(list.len());
    for (core, line) in list {
        if cores.contains(&core) {
            let message = format!("core {core} is listed twice in cores");
            reader.wrong("cores", line, ValueError::new(message, "list each core once"));
        } else {
            cores.push(core);
        }
    }
    Cores::List(cores)
}

/// The numbers of cores in a list that is not empty, each with its line.
fn core_list(reader: &mut Reader<'_, '_>, key: &'static str, remedy: &str) -> Vec<(u16, Option<usize>)> {
    const LAST: u16 = 4095;
    let Some(entry) = reader.entry(key) else { return Vec::new() };
    let message = match &entry.node.value {
        Value::Array(items) if !items.is_empty() => {
            let core = |item| Some((reader.integer_in(key, item, 0..=LAST)?, item.line));
            return items.iter().filter_map(core).collect();
        }
        Value::Array(_) => format!("{key} is empty"),
        _ => format!("{key} is {}", entry.node.kind()),
    };
    reader.wrong(key, entry.line, ValueError::new(message, remedy));
    Vec::new()
}

fn socket(reader: &mut Reader<'_, '_>) -> Option<PathBuf> {
    /// What fits into the kernel's socket address with its closing zero.
    const LONGEST: usize = 107;
    let text = reader.text("socket")?;
    if (1..=LONGEST).contains(&text.len()) && !text.contains('\0') {
        return Some(PathBuf::from(text));
    }
    let line = reader.entry("socket")?.line;
    let message = format!("socket {} cannot be a socket's path", quote(text));
    reader.wrong("socket", line, ValueError::new(message, "write a path of 1 to 107 bytes"));
    None
}

fn owner(reader: &mut Reader<'_, '_>, key: &'static str) -> Option<Owner> {
    let entry = reader.entry(key)?;
    if let Value::Integer(_) = entry.node.value {
        return reader.integer(key, 0..=u32::MAX - 1).map(Owner::Id);
    }
    name(reader, key).map(|text| text.parse().map_or(Owner::Name(text), Owner::Id))
}

fn announce(reader: &mut Reader<'_, '_>) -> Announce {
    const LONGEST: Duration = Duration::from_secs(24 * 3600);
    let default = Announce::default();
    let mut span = |key: &'static str, default: Duration| {
        let duration = reader.parsed(key).unwrap_or(default);
        if duration > LONGEST {
            let line = reader.entry(key).and_then(|entry| entry.line);
            let message = format!("{key} {duration} is out of bounds");
            reader.wrong(key, line, ValueError::new(message, "write one from \"0s\" to \"24h\""));
        }
        duration
    };
    let (delay, refresh) = (span("delay", default.delay), span("refresh", default.refresh));
    Announce { repeat: reader.integer("repeat", 0..=100).unwrap_or(default.repeat), delay, refresh }
}

fn timeouts(reader: &mut Reader<'_, '_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    TimeoutsPatch::read(reader).apply_to_director(&mut timeouts);
    timeouts
}

fn flood(reader: &mut Reader<'_, '_>) -> Flood {
    let default = Flood::default();
    let mut number = |key, default| reader.integer(key, 0..=u32::MAX).unwrap_or(default);
    Flood {
        new_connections: number("new-connections", default.new_connections),
        source_rate: number("source-rate", default.source_rate),
        source_burst: number("source-burst", default.source_burst),
        vip_rate: number("vip-rate", default.vip_rate),
        vip_burst: number("vip-burst", default.vip_burst),
    }
}

fn interface(node: &Node, at: usize, errors: &mut Errors) -> Option<Interface> {
    let label = node.text_of("name").map_or_else(|| format!("#{}", at + 1), bare);
    let mut reader = Reader::new(node, format!("interface {label}"), errors)?;
    let name = interface_name(&mut reader, "name", "name the interface, as in name = \"eth0\"");
    let mut interface = Interface::named(name.clone().unwrap_or_default());
    interface.mode = reader.parsed("mode").unwrap_or(interface.mode);
    interface.mac = mac(&mut reader);
    for item in reader.list("addresses", "write a list, as in [\"198.18.0.1/24\"]") {
        let Some(address) = reader.parsed_in::<Cidr>("addresses", item) else { continue };
        if let Err(error) = host_address(address.addr()) {
            reader.wrong("addresses", item.line, error);
        } else if interface.addresses.contains(&address) {
            let message = format!("address {address} is listed twice");
            reader.wrong("address", item.line, ValueError::new(message, "list it once"));
        } else {
            interface.addresses.push(address);
        }
    }
    interface.mtu = reader.integer("mtu", 0..=u16::MAX);
    let list = core_list(&mut reader, "queue-cores", "write a list of core numbers, as in [1, 2]");
    interface.queue_cores = list.into_iter().map(|(core, _)| core).collect();
    reader.finish();
    name.map(|_| interface)
}

/// The kernel's rules for an interface name.
pub(crate) fn interface_name(reader: &mut Reader<'_, '_>, key: &'static str, remedy: &str) -> Option<String> {
    const LONGEST: usize = 15;
    let Some(entry) = reader.entry(key) else {
        reader.missing(key, remedy);
        return None;
    };
    let text = reader.text(key)?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
    if text.is_empty() || text.len() > LONGEST || text == "." || text == ".." || text.contains(odd) {
        let message = format!("{} cannot be an interface's name", quote(text));
        let remedy = "write the kernel's name of it, 1 to 15 characters without space, slash or colon";
        reader.wrong(key, entry.line, ValueError::new(message, remedy));
    }
    Some(text.to_owned())
}

fn mac(reader: &mut Reader<'_, '_>) -> Option<Mac> {
    let mac: Mac = reader.parsed("mac")?;
    if mac.is_multicast() || mac == Mac::ZERO {
        let line = reader.entry("mac")?.line;
        let message = format!("mac {mac} is not the address of one station");
        let remedy = "write a unicast address, whose first byte is even";
        reader.wrong("mac", line, ValueError::new(message, remedy));
    }
    Some(mac)
}

fn neighbour(node: &Node, at: usize, errors: &mut Errors) -> Option<Neighbour> {
    let label = node.text_of("address").map_or_else(|| format!("#{}", at + 1), bare);
    let mut reader = Reader::new(node, format!("neighbour {label}"), errors)?;
    let address = host(&mut reader, "address");
    if reader.entry("address").is_none() {
        reader.missing("address", "write the neighbour's IP address");
    }
    let mac = mac(&mut reader);
    if reader.entry("mac").is_none() {
        reader.missing("mac", "write the neighbour's hardware address");
    }
    let interface = interface_name(&mut reader, "interface", "name the interface that it is reached through");
    reader.finish();
    Some(Neighbour { address: address?, mac: mac.unwrap_or(Mac::ZERO), interface: interface? })
}

fn host(reader: &mut Reader<'_, '_>, key: &'static str) -> Option<IpAddr> {
    let address = reader.parsed(key)?;
    if let Err(error) = host_address(address) {
        let line = reader.entry(key)?.line;
        reader.wrong(key, line, error);
    }
    Some(address)
}

fn route(node: &Node, at: usize, errors: &mut Errors) -> Option<Route> {
    let label = node.text_of("to").map_or_else(|| format!("#{}", at + 1), bare);
    let mut reader = Reader::new(node, format!("route {label}"), errors)?;
    let to: Option<Cidr> = reader.parsed("to");
    match (reader.entry("to"), to) {
        (None, _) => reader.missing("to", "write the network, as in to = \"0.0.0.0/0\""),
        (Some(entry), Some(to)) if to != to.network() => {
            let message = format!("to {to} has bits set beyond its prefix");
            reader.wrong("to", entry.line, ValueError::new(message, format!("write {}", to.network())));
        }
        _ => {}
    }
    let via = host(&mut reader, "via");
    let interface = interface_name(&mut reader, "interface", "name the interface that leads there");
    reader.finish();
    Some(Route { to: to?, via, interface: interface? })
}
