//! The stable numbers of services, listens, destinations, real servers and interfaces.
//!
//! Counters, live state and connection entries refer to these numbers, so the same object keeps its number over
//! any change that does not concern it, and no number means two things at once (see [`crate::dealer`]).
//!
//! - A service is its name; one that is renamed but listens where it did stays the same service.
//! - A listen is its (VIP, port, protocol).
//! - A destination is its (service, address, port, forwarding method): one whose method changes is another one.
//!   One that is removed and added again gets another number or at least another generation, so that its old
//!   entries stay dead.
//! - A real server is its (address, port, protocol), shared by all services that reach it by NAT.
//! - An interface is its name, whatever index the kernel gives it; its number is never dealt again.

use crate::dealer::{Dealer, Exhausted};
use serde::{Deserialize, Serialize};
use sheave_frame::PortId;
use sheave_pipeline::ids::{DestId, Generation, ListenId, RealId, ServiceId};
use sheave_pipeline::snapshot::Method;
use sheave_proto::wire::flow::Proto;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Interfaces that can be numbered in the life of a process.
pub const PORTS: usize = 4096;

/// (Address, port, protocol): a listen, or a real server.
pub(crate) type Place = (IpAddr, u16, Proto);

/// What tells destinations apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DestKey {
    pub(crate) service: u16,
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
    method: u8,
}

impl DestKey {
    pub(crate) fn new(service: ServiceId, addr: IpAddr, port: u16, method: Method) -> DestKey {
        DestKey { service: service.0, addr, port, method: method_number(method) }
    }

    pub(crate) fn method(&self) -> Method {
        [Method::Nat, Method::DirectRoute, Method::Tunnel, Method::Local][usize::from(self.method.min(3))]
    }
}

fn method_number(method: Method) -> u8 {
    match method {
        Method::Nat => 0,
        Method::DirectRoute => 1,
        Method::Tunnel => 2,
        Method::Local => 3,
    }
}

/// All numbers in use and at rest. To be stored and read back as a whole.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ids {
    services: Dealer<String>,
    listens: Dealer<Place>,
    destinations: Dealer<DestKey>,
    reals: Dealer<Place>,
    ports: Dealer<String>,
    /// By destination number, how often it has been dealt.
    generations: Vec<u8>,
    /// What each service listened on last.
    listeners: Vec<(Place, String)>,
}

/// What a change of the numbers dealt newly: whatever is counted under these numbers starts at zero now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fresh {
    /// Services.
    pub services: Vec<ServiceId>,
    /// Destinations.
    pub destinations: Vec<DestId>,
}

impl Ids {
    /// The number of an interface, dealt now when it has none.
    ///
    /// # Errors
    /// [`Exhausted`] after [`PORTS`] different names.
    pub fn port(&mut self, name: &str) -> Result<PortId, Exhausted> {
        self.ports.hold(name.to_owned(), "interfaces", PORTS).map(PortId)
    }

    /// The number of an interface that has one.
    pub fn port_of(&self, name: &str) -> Option<PortId> {
        self.ports.get(&name.to_owned()).map(PortId)
    }

    /// The name of an interface.
    pub fn port_name(&self, port: PortId) -> Option<&str> {
        self.ports.iter().find(|(_, number)| *number == port.0).map(|(name, _)| name.as_str())
    }

    /// The number of a service.
    pub fn service(&self, name: &str) -> Option<ServiceId> {
        self.services.get(&name.to_owned()).map(ServiceId)
    }

    /// The number of a listen.
    pub fn listen(&self, vip: IpAddr, port: u16, proto: Proto) -> Option<ListenId> {
        self.listens.get(&(vip, port, proto)).map(ListenId)
    }

    /// The number and generation of a destination.
    pub fn destination(
        &self,
        service: ServiceId,
        addr: IpAddr,
        port: u16,
        method: Method,
    ) -> Option<(DestId, Generation)> {
        self.held(&DestKey::new(service, addr, port, method))
    }

    /// The number of a real server.
    pub fn real(&self, addr: IpAddr, port: u16, proto: Proto) -> Option<RealId> {
        self.reals.get(&(addr, port, proto)).map(RealId)
    }

    /// Says that quiet period number `period` is over (see [`crate::Sweeps`]): numbers let go long enough ago may
    /// be dealt again. Periods count up.
    pub fn quiet(&mut self, period: u64) {
        self.services.quiet(period);
        self.listens.quiet(period);
        self.destinations.quiet(period);
        self.reals.quiet(period);
    }

    /// Quiet periods are counted from the beginning again, by another process.
    pub(crate) fn restart(&mut self) {
        self.services.restart();
        self.listens.restart();
        self.destinations.restart();
        self.reals.restart();
    }

    pub(crate) fn held(&self, key: &DestKey) -> Option<(DestId, Generation)> {
        let number = self.destinations.get(key)?;
        let generation = self.generations.get(usize::from(number)).copied().unwrap_or_default();
        Some((DestId(number), Generation(generation)))
    }

    pub(crate) fn destinations(&self) -> impl Iterator<Item = &DestKey> {
        self.destinations.iter().map(|(key, _)| key)
    }

    /// Numbers exactly these services and listens. `services` maps each name to its listen.
    pub(crate) fn settle_services(
        &mut self,
        services: &BTreeMap<&str, Place>,
    ) -> Result<Vec<ServiceId>, Exhausted> {
        self.follow_renamed(services);
        let names: BTreeSet<String> = services.keys().map(|name| (*name).to_owned()).collect();
        let dealt = self.services.settle(&names, "services", ServiceId::COUNT)?;
        let listens: BTreeSet<Place> = services.values().copied().collect();
        self.listens.settle(&listens, "listens", ListenId::COUNT)?;
        Ok(dealt.into_iter().map(ServiceId).collect())
    }

    /// Numbers exactly these destinations and the real servers behind them.
    pub(crate) fn settle_destinations(
        &mut self,
        destinations: &BTreeSet<DestKey>,
        reals: &BTreeSet<Place>,
    ) -> Result<Vec<DestId>, Exhausted> {
        let dealt = self.destinations.settle(destinations, "destinations", DestId::COUNT)?;
        for number in &dealt {
            let index = usize::from(*number);
            if self.generations.len() <= index {
                self.generations.resize(index + 1, 0);
            }
            self.generations[index] = self.generations[index].wrapping_add(1);
        }
        self.reals.settle(reals, "real servers reached by nat", RealId::COUNT)?;
        Ok(dealt.into_iter().map(DestId).collect())
    }

    /// A name that is new for a listen whose service is gone otherwise: the same service under another name. Its
    /// connections and counters go on.
    fn follow_renamed(&mut self, services: &BTreeMap<&str, Place>) {
        let held = |name: &str| self.services.get(&name.to_owned()).is_some();
        let unknown: Vec<_> = services.iter().filter(|(name, _)| !held(name)).collect();
        for (name, place) in unknown {
            let before = self.listeners.iter().find(|(listen, _)| listen == place).map(|(_, name)| name);
            if let Some(before) = before
                && !services.contains_key(before.as_str())
            {
                self.services.rename(before, (*name).to_owned());
            }
        }
        self.listeners = services.iter().map(|(name, place)| (*place, (*name).to_owned())).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "198.18.0.100";

    fn place(port: u16) -> Place {
        (WEB.parse().unwrap(), port, Proto::Tcp)
    }

    fn destination(service: ServiceId, last: u8, method: Method) -> DestKey {
        DestKey::new(service, format!("198.19.1.{last}").parse().unwrap(), 8080, method)
    }

    #[test]
    fn a_renamed_service_stays_the_same_and_a_moved_one_too() {
        let mut ids = Ids::default();
        ids.settle_services(&BTreeMap::from([("web", place(80)), ("mail", place(25))])).unwrap();
        let (web, mail) = (ids.service("web"), ids.service("mail"));
        assert_ne!(web, mail);
        ids.settle_services(&BTreeMap::from([("www", place(80)), ("mail", place(587))])).unwrap();
        assert_eq!((ids.service("www"), ids.service("web"), ids.service("mail")), (web, None, mail));
    }

    #[test]
    fn services_that_swap_their_listens_keep_their_names() {
        let mut ids = Ids::default();
        ids.settle_services(&BTreeMap::from([("a", place(80)), ("b", place(81))])).unwrap();
        let before = (ids.service("a"), ids.service("b"));
        ids.settle_services(&BTreeMap::from([("a", place(81)), ("b", place(80))])).unwrap();
        assert_eq!((ids.service("a"), ids.service("b")), before);
    }

    #[test]
    fn a_number_dealt_again_has_another_generation() {
        let mut ids = Ids::default();
        let keys = |services: std::ops::RangeInclusive<u16>| -> BTreeSet<DestKey> {
            services.map(|service| destination(ServiceId(service), 11, Method::Tunnel)).collect()
        };
        let none = BTreeSet::new();
        let mut wanted = keys(0..=u16::MAX);
        ids.settle_destinations(&wanted, &none).unwrap();
        let gone = destination(ServiceId(7), 11, Method::Tunnel);
        let (id, generation) = ids.held(&gone).unwrap();
        wanted.remove(&gone);
        ids.settle_destinations(&wanted, &none).unwrap();
        (1..=3).for_each(|period| ids.quiet(period));
        wanted.insert(gone);
        assert_eq!(ids.settle_destinations(&wanted, &none), Ok(vec![id]), "the only one that is free");
        let (again, other) = ids.held(&gone).unwrap();
        assert_eq!((again, gone.method()), (id, Method::Tunnel));
        assert_ne!(other, generation);
        wanted.insert(destination(ServiceId(7), 12, Method::Tunnel));
        let full = ids.settle_destinations(&wanted, &none).unwrap_err();
        assert_eq!(full.limit, 65_536);
    }

    #[test]
    fn the_numbers_survive_being_stored() {
        let mut ids = Ids::default();
        ids.port("d0").unwrap();
        let d1 = ids.port("d1").unwrap();
        ids.settle_services(&BTreeMap::from([("web", place(80))])).unwrap();
        let web = ids.service("web").unwrap();
        let key = destination(web, 11, Method::DirectRoute);
        ids.settle_destinations(&BTreeSet::from([key]), &BTreeSet::from([place(8080)])).unwrap();
        let stored = serde_json::to_string(&ids).unwrap();
        let mut back: Ids = serde_json::from_str(&stored).unwrap();
        assert_eq!(back.service("web"), Some(web));
        assert_eq!((back.port_of("d1"), back.port_name(d1)), (Some(d1), Some("d1")));
        assert_eq!(back.held(&key), ids.held(&key));
        assert_eq!(back.real(WEB.parse().unwrap(), 8080, Proto::Tcp), Some(RealId(0)));
        assert_eq!(back.port("d2"), Ok(PortId(2)), "goes on where it stopped");
    }
}
