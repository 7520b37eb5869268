//! The rules of one service and its destinations.

use std::collections::HashSet;

use super::super::addr::Listen;
use super::super::error::Spot;
use super::super::service::{Destination, Service};
use super::super::words::Forward;
use super::{Check, family};

impl<'c> Check<'c> {
    pub(super) fn service(&mut self, at: usize, service: &'c Service) {
        let spot = Spot::Service(at);
        if let Some(interface) = &service.interface {
            self.interface_is_declared(spot, service.label(), interface);
        }
        self.destinations(at, service);
        let Some(netmask) = service.persistence.and_then(|persistence| persistence.netmask) else { return };
        for listen in &service.listens {
            let longest = if listen.addr.is_ipv4() { 32 } else { 128 };
            if netmask > longest {
                let message = format!("netmask {netmask} is beyond {}", family(listen.addr));
                let remedy = format!("write a prefix length from 0 to {longest}");
                self.wrong(spot, "persistence", service.label(), message, remedy);
            }
        }
    }

    fn destinations(&mut self, at: usize, service: &'c Service) {
        let mut seen = HashSet::new();
        for (of, destination) in service.destinations.iter().enumerate() {
            let spot = Spot::Destination(at, of);
            let label = || service.destination_label(&destination.address);
            let address = destination.address;
            if !seen.insert(service.full_address(&address)) {
                let remedy = "give it once; its weight says its share".to_owned();
                self.wrong(spot, "address", label(), "it is given twice".to_owned(), remedy);
            }
            let (upper, lower) = (destination.upper_threshold, destination.lower_threshold);
            if lower > upper {
                let message = format!("lower-threshold {lower} is above upper-threshold {upper}");
                let remedy = "write a lower-threshold that is not above the upper".to_owned();
                self.wrong(spot, "lower-threshold", label(), message, remedy);
            }
            for listen in &service.listens {
                self.destination_fits(spot, service, destination, listen);
            }
        }
    }

    fn destination_fits(
        &mut self,
        spot: Spot,
        service: &Service,
        destination: &Destination,
        listen: &Listen,
    ) {
        let label = || service.destination_label(&destination.address);
        let (address, method) = (destination.address, service.forward_of(destination));
        if method != Forward::Tun && address.addr.is_ipv4() != listen.addr.is_ipv4() {
            let message = format!("{} under {method} does not fit {listen}", family(address.addr));
            let remedy = format!("write an address of {}, or forward = \"tun\"", family(listen.addr));
            self.wrong(spot, "address", label(), message, remedy);
        }
        let differs = address.port.filter(|port| listen.ports.single() != Some(*port));
        if let (Forward::Dr | Forward::Tun, Some(port)) = (method, differs) {
            let message = format!("port {port} differs from the service's {} under {method}", listen.ports);
            let remedy = "leave the port out, or use forward = \"nat\"".to_owned();
            self.wrong(spot, "address", label(), message, remedy);
        }
    }
}
