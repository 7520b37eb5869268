//! The rules of one service and its destinations.
//!
//! A word that belongs to one protocol holds for those listens of a service that speak it, so a bundle may have
//! the words of all its protocols; a word that no listen could have is refused.

use std::collections::HashSet;

use super::super::addr::{DestAddr, Listen};
use super::super::error::Spot;
use super::super::service::{Destination, Service};
use super::super::tuning::MssClamp;
use super::super::words::{Forward, Helper, Scheduler, TunnelType};
use super::{Check, family};
use crate::wire::flow::Proto;

impl<'c> Check<'c> {
    pub(super) fn service(&mut self, at: usize, service: &'c Service) {
        let spot = Spot::Service(at);
        if let Some(interface) = &service.interface {
            self.interface_is_declared(spot, service.label(), interface);
        }
        self.scheduling(spot, service);
        self.protocols(spot, service);
        self.syn_proxy(spot, service);
        self.netmask(spot, service);
        self.sorry(spot, service);
        let mut seen = HashSet::new();
        for (of, destination) in service.destinations.iter().enumerate() {
            let spot = Spot::Destination(at, of);
            if !seen.insert(service.full_address(&destination.address)) {
                let label = service.destination_label(&destination.address);
                let remedy = "give it once; its weight says its share";
                self.wrong(spot, "address", label, "it is given twice", remedy);
            }
            self.destination(spot, service, destination);
        }
    }

    /// Words that only some schedulers have.
    fn scheduling(&mut self, spot: Spot, service: &Service) {
        let scheduler = service.scheduler;
        for flag in service.scheduler_flags.iter().filter(|flag| flag.scheduler() != scheduler) {
            let message = format!("scheduler flag {flag} does not fit scheduler {scheduler}");
            let remedy = format!("remove it, or use scheduler = \"{}\"", flag.scheduler());
            self.wrong(spot, "scheduler-flags", service.label(), message, remedy);
        }
        let table = service.mh_table.map(|table| ("mh-table", table.to_string(), Scheduler::Mh));
        let draws = service.draws.map(|draws| ("draws", draws.to_string(), Scheduler::Random));
        for (key, value, of) in table.into_iter().chain(draws).filter(|(_, _, of)| *of != scheduler) {
            let message = format!("{key} {value} does not fit scheduler {scheduler}");
            self.wrong(
                spot,
                key,
                service.label(),
                message,
                format!("remove it, or use scheduler = \"{of}\""),
            );
        }
        if let Some(slow_start) = service.slow_start.filter(|_| !scheduler.is_weighted()) {
            let message =
                format!("slow-start {slow_start} does not fit scheduler {scheduler}, which has no weights");
            self.wrong(
                spot,
                "slow-start",
                service.label(),
                message,
                "remove it, or use a weighted scheduler",
            );
        }
    }

    /// Words that only one protocol has.
    fn protocols(&mut self, spot: Spot, service: &Service) {
        let clamp = matches!(service.mss_clamp, MssClamp::At(_));
        let words = [
            ("one-packet", service.one_packet, Proto::Udp),
            ("sloppy", service.sloppy, Proto::Tcp),
            ("syn-proxy", service.syn_proxy, Proto::Tcp),
            ("mss-clamp", clamp, Proto::Tcp),
            ("helper", service.helper == Some(Helper::Ftp), Proto::Tcp),
        ];
        for (key, _, proto) in words.into_iter().filter(|(_, used, proto)| *used && !service.speaks(*proto)) {
            let message = format!("{key} is for {proto}, and the service has no {proto} port");
            self.wrong(
                spot,
                key,
                service.label(),
                message,
                format!("remove it, or listen on a {proto} port"),
            );
        }
    }

    /// The director can complete a handshake only for connections whose replies it rewrites.
    fn syn_proxy(&mut self, spot: Spot, service: &Service) {
        if !service.syn_proxy {
            return;
        }
        if service.forward != Forward::Nat {
            let message = format!("syn-proxy does not work under {}", service.forward);
            self.wrong(spot, "syn-proxy", service.label(), message, "remove it, or use forward = \"nat\"");
        }
        if service.sloppy {
            let message = "syn-proxy refuses the packets that sloppy takes";
            self.wrong(spot, "syn-proxy", service.label(), message, "remove one of the two");
        }
    }

    fn netmask(&mut self, spot: Spot, service: &Service) {
        let Some(netmask) = service.persistence.and_then(|persistence| persistence.netmask) else { return };
        let longest = |listen: &Listen| if listen.addr.is_ipv4() { 32 } else { 128 };
        if let Some(listen) = service.listens.iter().find(|listen| netmask > longest(listen)) {
            let message = format!("netmask {netmask} is beyond {}", family(listen.addr));
            let remedy = format!("write a prefix length from 0 to {}", longest(listen));
            self.wrong(spot, "persistence", service.label(), message, remedy);
        }
    }

    fn sorry(&mut self, spot: Spot, service: &Service) {
        let Some(sorry) = service.sorry else { return };
        let (address, own) = (sorry.address, sorry.forward);
        let label = || format!("sorry server {address} of {}", service.label());
        for (what, remedy) in (Fit { service, address, own }).faults() {
            self.wrong(spot, "sorry", label(), what, remedy);
        }
        if service.find_destination(&address).is_some() {
            let remedy = "give another address, or remove it and make that destination a backup";
            self.wrong(spot, "sorry", label(), "it is one of the destinations", remedy);
        }
    }

    fn destination(&mut self, spot: Spot, service: &Service, destination: &Destination) {
        let label = || service.destination_label(&destination.address);
        let (address, own) = (destination.address, destination.forward);
        for (what, remedy) in (Fit { service, address, own }).faults() {
            self.wrong(spot, "address", label(), what, remedy);
        }
        let (upper, lower) = (destination.upper_threshold, destination.lower_threshold);
        if lower > upper {
            let message = format!("lower-threshold {lower} is above upper-threshold {upper}");
            let remedy = "write a lower-threshold that is not above the upper";
            self.wrong(spot, "lower-threshold", label(), message, remedy);
        }
        self.tunnel(spot, service, destination);
    }

    /// Words that only tunnels have, and only some of those.
    fn tunnel(&mut self, spot: Spot, service: &Service, destination: &Destination) {
        let method = service.forward_of(destination);
        let kind = destination.tunnel.unwrap_or(TunnelType::Ipip);
        let words = [
            ("tunnel", destination.tunnel.map(|tunnel| tunnel.to_string()), TunnelType::ALL),
            ("tunnel-port", destination.tunnel_port.map(|port| port.to_string()), &[TunnelType::Gue][..]),
            (
                "tunnel-checksum",
                destination.tunnel_checksum.then(|| "true".to_owned()),
                &[TunnelType::Gre, TunnelType::Gue][..],
            ),
        ];
        for (key, value, kinds) in words {
            let Some(value) = value else { continue };
            let label = service.destination_label(&destination.address);
            if method != Forward::Tun {
                let message = format!("{key} {value} does not fit forward {method}");
                self.wrong(spot, key, label, message, "remove it, or use forward = \"tun\"");
            } else if !kinds.contains(&kind) {
                let message = format!("{key} {value} does not fit tunnel {kind}");
                let kinds: Vec<String> = kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
                let remedy = format!("remove it, or use tunnel = {}", kinds.join(" or "));
                self.wrong(spot, key, label, message, remedy);
            }
        }
    }
}

/// Whether packets of a service can be sent to an address by a method.
struct Fit<'s> {
    service: &'s Service,
    address: DestAddr,
    /// The method, if it is not the service's.
    own: Option<Forward>,
}

impl Fit<'_> {
    /// What is wrong, and what to do.
    fn faults(&self) -> Vec<(String, String)> {
        let method = self.own.unwrap_or(self.service.forward);
        let faults = [self.family(method), self.port(method), self.circle(method), self.unproxied()];
        faults.into_iter().flatten().collect()
    }

    fn family(&self, method: Forward) -> Option<(String, String)> {
        let DestAddr { addr, .. } = self.address;
        let other = |listen: &&Listen| listen.addr.is_ipv4() != addr.is_ipv4();
        let listen = self.service.listens.iter().find(other).filter(|_| method != Forward::Tun)?;
        let remedy = format!("write an address of {}, or forward = \"tun\"", family(listen.addr));
        Some((format!("{} under {method} does not fit {listen}", family(addr)), remedy))
    }

    /// Only NAT maps ports.
    fn port(&self, method: Forward) -> Option<(String, String)> {
        let port = self.address.port.filter(|_| method != Forward::Nat)?;
        let listens = || self.service.listens.iter();
        let differs = |listen: &Listen| listen.ports.single() != Some(port);
        let listen = listens().find(|listen| differs(listen))?;
        let message = format!("port {port} differs from the service's {} under {method}", listen.ports);
        Some((message, "leave the port out, or use forward = \"nat\"".to_owned()))
    }

    /// A packet that is sent to the virtual address comes back.
    fn circle(&self, method: Forward) -> Option<(String, String)> {
        let vip = self.service.listens.iter().any(|listen| listen.addr == self.address.addr);
        let remedy = "write the real server's own address, or forward = \"local\"".to_owned();
        (vip && method != Forward::Local).then(|| ("it is the service's virtual address".to_owned(), remedy))
    }

    fn unproxied(&self) -> Option<(String, String)> {
        let own = self.own.filter(|own| *own != Forward::Nat && self.service.syn_proxy)?;
        let remedy = "use forward = \"nat\", or remove syn-proxy from the service".to_owned();
        Some((format!("forward {own} does not work behind syn-proxy"), remedy))
    }
}
