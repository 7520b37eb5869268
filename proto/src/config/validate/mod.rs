//! Whether the parts of a configuration fit together, and whether the director can carry it out.
//!
//! The same rules hold for the file, the socket and replay. All errors are found in one go; each names the
//! object, the value and a remedy. Here is what concerns the whole: the director, interfaces, neighbours, routes,
//! names and listens. [`service`] has the rules of one service.

mod helper;
mod service;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::addr::{Listen, Ports};
use super::error::{ConfigError, Place, Spot};
use super::model::{Config, Interface};
use super::service::Service;
use super::value::{Cores, quote};
use crate::wire::flow::Proto;

/// The least MTU of a network that carries IPv4, and of one that carries IPv6.
const LEAST_MTU: (u16, u16) = (68, 1280);

/// Everything that is wrong with a configuration whose values are each right by themselves.
#[must_use]
pub fn validate(config: &Config) -> Vec<ConfigError> {
    let mut check = Check { declared: declared(config), found: Vec::new() };
    check.flood(config);
    check.interfaces(config);
    check.neighbours(config);
    check.routes(config);
    check.names(config);
    check.listens(config);
    check.helpers(config);
    for (at, service) in config.services.iter().enumerate() {
        check.service(at, service);
    }
    check.found
}

fn declared(config: &Config) -> HashSet<&str> {
    config.interfaces.iter().map(|interface| interface.name.as_str()).collect()
}

fn family(addr: IpAddr) -> &'static str {
    if addr.is_ipv4() { "IPv4" } else { "IPv6" }
}

struct Check<'c> {
    declared: HashSet<&'c str>,
    found: Vec<ConfigError>,
}

impl<'c> Check<'c> {
    fn wrong(
        &mut self,
        spot: Spot,
        key: &'static str,
        object: String,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let place = Some(Place { spot, key });
        self.found.push(ConfigError { place, ..ConfigError::invalid(object, message, remedy) });
    }

    fn interfaces(&mut self, config: &'c Config) {
        let mut seen = HashSet::new();
        for (at, interface) in config.interfaces.iter().enumerate() {
            let spot = Spot::Interface(at);
            if !seen.insert(interface.name.as_str()) {
                let message = "it is declared twice";
                self.wrong(spot, "name", interface.label(), message, "declare it once");
            }
            let v6 = interface.addresses.iter().any(|address| address.addr().is_ipv6());
            let (least, why) = if v6 { (LEAST_MTU.1, " with IPv6 addresses") } else { (LEAST_MTU.0, "") };
            if let Some(mtu) = interface.mtu.filter(|mtu| *mtu < least) {
                let message = format!("mtu {mtu} is under {least}{why}");
                let remedy = format!("write {least} or more, or leave it out to take the kernel's");
                self.wrong(spot, "mtu", interface.label(), message, remedy);
            }
            self.queue_cores(spot, interface, &config.director.cores);
        }
    }

    fn flood(&mut self, config: &'c Config) {
        let flood = config.director.flood;
        let pairs = [
            ("source-burst", flood.source_burst, "source-rate", flood.source_rate),
            ("vip-burst", flood.vip_burst, "vip-rate", flood.vip_rate),
        ];
        for (burst, value, rate, limit) in pairs {
            if value != 0 && limit == 0 {
                let message = format!("flood.{burst} {value} has no flood.{rate}");
                let remedy = format!("write a {rate}, or remove it");
                self.wrong(Spot::Director, "flood", "director".to_owned(), message, remedy);
            }
        }
    }

    /// The cores of queues have workers, as far as the configuration says where those are.
    fn queue_cores(&mut self, spot: Spot, interface: &'c Interface, cores: &Cores) {
        let Cores::List(cores) = cores else { return };
        for core in interface.queue_cores.iter().filter(|core| !cores.contains(core)) {
            let message = format!("core {core} in queue-cores has no worker");
            let remedy = "name cores of the director's list, or add it there";
            self.wrong(spot, "queue-cores", interface.label(), message, remedy);
        }
    }

    fn interface_is_declared(&mut self, spot: Spot, object: String, name: &str) {
        if !self.declared.is_empty() && !self.declared.contains(name) {
            let message = format!("interface {} is not declared", quote(name));
            let remedy = "add an [[interface]] of that name, or name a declared one";
            self.wrong(spot, "interface", object, message, remedy);
        }
    }

    fn neighbours(&mut self, config: &'c Config) {
        let mut seen = HashSet::new();
        for (at, neighbour) in config.neighbours.iter().enumerate() {
            let spot = Spot::Neighbour(at);
            self.interface_is_declared(spot, neighbour.label(), &neighbour.interface);
            if !seen.insert((neighbour.address, neighbour.interface.as_str())) {
                let message = format!("it is given twice on interface {}", quote(&neighbour.interface));
                self.wrong(spot, "address", neighbour.label(), message, "give it once");
            }
        }
    }

    fn routes(&mut self, config: &'c Config) {
        let mut seen = HashSet::new();
        for (at, route) in config.routes.iter().enumerate() {
            let spot = Spot::Route(at);
            self.interface_is_declared(spot, route.label(), &route.interface);
            if !seen.insert(route.to) {
                let remedy = "give each network one route";
                self.wrong(spot, "to", route.label(), "it is given twice", remedy);
            }
            if let Some(via) = route.via.filter(|via| via.is_ipv4() != route.to.addr().is_ipv4()) {
                let message = format!("via {via} is not of the family of {}", route.to);
                let remedy = format!("write a next hop of {}", family(route.to.addr()));
                self.wrong(spot, "via", route.label(), message, remedy);
            }
        }
    }

    fn names(&mut self, config: &'c Config) {
        let mut seen: HashMap<&str, &Service> = HashMap::new();
        for (at, service) in config.services.iter().enumerate() {
            let spot = Spot::Service(at);
            let name = service.name.as_str();
            // Two services of the same listen have the same default name: `listens` says that better.
            if seen.insert(name, service).is_some_and(|first| first.listens != service.listens) {
                let message = format!("name {} is that of another service too", quote(name));
                self.wrong(spot, "name", service.label(), message, "give each service its own name");
            }
            if name.parse().is_ok_and(|listen: Listen| !service.listens.contains(&listen)) {
                let message = format!("name {} is a listen that is not its own", quote(name));
                self.wrong(spot, "name", service.label(), message, "choose another name");
            }
        }
    }

    fn listens(&mut self, config: &'c Config) {
        let mut exact: HashMap<Listen, &Service> = HashMap::new();
        let mut ranges: HashMap<(IpAddr, Proto), Vec<(Listen, &Service)>> = HashMap::new();
        let listens = config.services.iter().enumerate();
        let listens = listens.flat_map(|(at, service)| service.listens.iter().map(move |l| (at, service, l)));
        for (at, service, listen) in listens {
            let mut taken = exact.insert(*listen, service).map(|first| (*listen, first));
            if let Ports::Range(..) = listen.ports {
                let beside = ranges.entry((listen.addr, listen.proto)).or_default();
                let overlap = || beside.iter().find(|(other, _)| other.conflicts(listen)).copied();
                taken = taken.or_else(overlap);
                beside.push((*listen, service));
            }
            let Some((other, owner)) = taken else { continue };
            let own = std::ptr::eq(owner, service);
            let message = match (other == *listen, own) {
                (true, true) => format!("listen {listen} is listed twice"),
                (true, false) => format!("listen {listen} is taken by {}", owner.label()),
                (false, true) => format!("listen {listen} overlaps with {other}"),
                (false, false) => format!("listen {listen} overlaps with {other} of {}", owner.label()),
            };
            let remedy = match own {
                true => "list each port once",
                false => "give each service an address, port and protocol of its own",
            };
            self.wrong(Spot::Service(at), "listen", service.label(), message, remedy);
        }
    }
}
