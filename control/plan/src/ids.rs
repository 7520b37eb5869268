//! The stable numbers of services, listens, destinations, real servers and interfaces.
//!
//! Counters, live state and connection entries refer to these numbers, so the same object keeps its number over
//! any change that does not concern it, and no number means two things at once (see [`crate::dealer`]).
//!
//! - A service is its name; one that is renamed but listens where it did, be it in part, stays the same service.
//! - A listen is its (VIP, ports, protocol), whatever else its service listens on.
//! - A destination is its (service, address, port, forwarding method): one whose method changes is another one.
//!   One that keeps each packet's port stays the same when its service begins to listen on a second port, or stops.
//!   One that is removed and added again gets another number or at least another generation, so that its old
//!   entries stay dead.
//! - A real server is its (address, port, protocol), shared by all services that reach it by NAT; without a port it
//!   stands for those ports that have no name of their own. A port that has one keeps it for as long as that is so.
//! - An interface is its name, whatever index the kernel gives it; its number is never dealt again.

use crate::dealer::{Dealer, Exhausted};
use crate::renamed::renamed;
use serde::{Deserialize, Serialize};
use sheave_frame::PortId;
use sheave_pipeline::ids::{DestId, Generation, ListenId, RealId, ServiceId};
use sheave_pipeline::live::Live;
use sheave_pipeline::snapshot::{Lives, Method};
use sheave_pipeline::{Snapshot, Time};
use sheave_proto::config::{self, Listen};
use sheave_proto::wire::flow::Proto;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Interfaces that can be numbered in the life of a process.
pub const PORTS: usize = 4096;

/// Lives of a destination whose connections may go on, at most: long before generations come round.
const KEPT: u8 = 127;

/// What tells real servers apart: (address, port or none for every one, protocol).
pub(crate) type RealKey = (IpAddr, Option<u16>, Proto);

/// What tells destinations apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DestKey {
    pub(crate) service: u16,
    pub(crate) addr: IpAddr,
    /// None: each packet keeps its own.
    pub(crate) port: Option<u16>,
    method: u8,
}

impl DestKey {
    pub(crate) fn new(service: ServiceId, addr: IpAddr, port: Option<u16>, method: Method) -> DestKey {
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

/// A forwarding method in the words of the data path.
pub(crate) fn method_of(forward: config::Forward) -> Method {
    match forward {
        config::Forward::Nat => Method::Nat,
        config::Forward::Dr => Method::DirectRoute,
        config::Forward::Tun => Method::Tunnel,
        config::Forward::Local => Method::Local,
    }
}

/// All numbers in use and at rest. To be stored and read back as a whole.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ids {
    services: Dealer<String>,
    listens: Dealer<Listen>,
    destinations: Dealer<DestKey>,
    reals: Dealer<RealKey>,
    interfaces: Dealer<String>,
    /// By destination number, how often it has been dealt.
    generations: Vec<u8>,
    /// By destination number, how many lives before this one have connections that go on.
    #[serde(default)]
    kept: BTreeMap<u16, u8>,
    /// What each service listened on last.
    listeners: BTreeMap<String, Vec<Listen>>,
    /// By service number, the one port that it listened on last, if it was one.
    ports: BTreeMap<u16, Option<u16>>,
}

/// What a change of the numbers dealt newly: whatever is counted under these numbers starts at zero now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fresh {
    /// Services.
    pub services: Vec<ServiceId>,
    /// Destinations.
    pub destinations: Vec<DestId>,
    /// Destinations that had their numbers before and take connections again, which they did not for a while.
    pub recovered: Vec<DestId>,
}

impl Fresh {
    /// Begins the live state of new and recovered destinations, before workers see the snapshot: those of a service
    /// with a slow start that was there before grow to their weight from `now` on.
    pub fn begin(&self, snapshot: &Snapshot, live: &Live, now: Time) {
        for id in self.destinations.iter().chain(&self.recovered) {
            let Some(service) = snapshot.destination(*id).map(|d| d.service) else { continue };
            let slow = snapshot.service(service).is_some_and(|s| s.slow_start.0 > 0)
                && !self.services.contains(&service);
            live.destination(*id).begin(slow.then_some(now));
        }
    }
}

impl Ids {
    /// The number of an interface, dealt now when it has none.
    ///
    /// # Errors
    /// [`Exhausted`] after [`PORTS`] different names.
    pub fn port(&mut self, name: &str) -> Result<PortId, Exhausted> {
        self.interfaces.hold(name.to_owned(), "interfaces", PORTS).map(PortId)
    }

    /// The number of an interface that has one.
    pub fn port_of(&self, name: &str) -> Option<PortId> {
        self.interfaces.get(&name.to_owned()).map(PortId)
    }

    /// The name of an interface.
    pub fn port_name(&self, port: PortId) -> Option<&str> {
        self.interfaces.iter().find(|(_, number)| *number == port.0).map(|(name, _)| name.as_str())
    }

    /// The number of a service.
    pub fn service(&self, name: &str) -> Option<ServiceId> {
        self.services.get(&name.to_owned()).map(ServiceId)
    }

    /// The number of a listen.
    pub fn listen(&self, listen: &Listen) -> Option<ListenId> {
        self.listens.get(listen).map(ListenId)
    }

    /// The number and generation of a destination; without a port it keeps each packet's.
    pub fn destination(
        &self,
        service: ServiceId,
        addr: IpAddr,
        port: Option<u16>,
        method: Method,
    ) -> Option<(DestId, Generation)> {
        self.held(&DestKey::new(service, addr, port, method))
    }

    /// The number of a real server.
    pub fn real(&self, addr: IpAddr, port: Option<u16>, proto: Proto) -> Option<RealId> {
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

    /// Whether numbers wait for quiet periods.
    pub fn rests(&self) -> bool {
        self.services.rests() || self.listens.rests() || self.destinations.rests() || self.reals.rests()
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

    /// The number of a destination of the configuration.
    pub fn destination_of(
        &self,
        service: &config::Service,
        destination: &config::Destination,
    ) -> Option<DestId> {
        let config::DestAddr { addr, port } = service.full_address(&destination.address);
        let method = method_of(service.forward_of(destination));
        self.destination(self.service(&service.name)?, addr, port, method).map(|(id, _)| id)
    }

    /// The number of a service's sorry server.
    pub fn sorry_of(&self, service: &config::Service) -> Option<DestId> {
        self.destination_of(service, &service.sorry?.destination())
    }

    /// Begins another life of a destination: entries of those before are dead, but TCP's if it `keeps` its connections.
    /// Returns the lives that ended.
    pub(crate) fn renew(&mut self, key: &DestKey, keeps: bool) -> Option<Lives> {
        let number = self.destinations.get(key)?;
        let generation = self.generations.get_mut(usize::from(number))?;
        let last = Generation(*generation);
        *generation = generation.wrapping_add(1);
        let count = self.kept.remove(&number).unwrap_or(0).saturating_add(1).min(KEPT);
        if keeps {
            self.kept.insert(number, count);
        }
        Some(Lives { last, count })
    }

    /// The lives of a destination whose TCP connections go on.
    pub(crate) fn kept(&self, key: &DestKey) -> Lives {
        let held = self.held(key).zip(self.destinations.get(key));
        held.map_or(Lives::default(), |((_, Generation(now)), number)| Lives {
            last: Generation(now.wrapping_sub(1)),
            count: self.kept.get(&number).copied().unwrap_or(0),
        })
    }

    /// The key of a destination.
    pub(crate) fn key_of(&self, id: DestId) -> Option<DestKey> {
        self.destinations.iter().find(|(_, number)| *number == id.0).map(|(key, _)| *key)
    }

    pub(crate) fn destinations(&self) -> impl Iterator<Item = &DestKey> {
        self.destinations.iter().map(|(key, _)| key)
    }

    /// Numbers exactly these services and listens. `services` maps each name to what it listens on.
    pub(crate) fn settle_services(
        &mut self,
        services: &BTreeMap<&str, &[Listen]>,
    ) -> Result<Vec<ServiceId>, Exhausted> {
        self.follow_renamed(services);
        let names: BTreeSet<String> = services.keys().map(|name| (*name).to_owned()).collect();
        let dealt = self.services.settle(&names, "services", ServiceId::COUNT)?;
        let listens: BTreeSet<Listen> = services.values().copied().flatten().copied().collect();
        self.listens.settle(&listens, "listens", ListenId::COUNT)?;
        Ok(dealt.into_iter().map(ServiceId).collect())
    }

    /// Destinations that keep each packet's port are named with the port of their service, if that has only one:
    /// those of a service that has one no longer, or has one now, go on under their new names. `ports` has the one
    /// port of each service, if it is one.
    pub(crate) fn follow_ports(&mut self, wanted: &BTreeSet<DestKey>, ports: BTreeMap<u16, Option<u16>>) {
        for key in wanted {
            let (now, before) = (ports.get(&key.service), self.ports.get(&key.service));
            if let Some(before) = before
                && now == Some(&key.port)
            {
                let old = DestKey { port: *before, ..*key };
                if !wanted.contains(&old) {
                    self.destinations.rename(&old, *key);
                }
            }
        }
        self.ports = ports;
    }

    /// Numbers exactly these destinations and the real servers behind them.
    pub(crate) fn settle_destinations(
        &mut self,
        destinations: &BTreeSet<DestKey>,
        reals: &BTreeSet<RealKey>,
    ) -> Result<Vec<DestId>, Exhausted> {
        let dealt = self.destinations.settle(destinations, "destinations", DestId::COUNT)?;
        for number in &dealt {
            let index = usize::from(*number);
            if self.generations.len() <= index {
                self.generations.resize(index + 1, 0);
            }
            self.generations[index] = self.generations[index].wrapping_add(1);
            self.kept.remove(number);
        }
        self.reals.settle(reals, "real servers reached by nat", RealId::COUNT)?;
        Ok(dealt.into_iter().map(DestId).collect())
    }

    /// These names of real servers, and those with a port that were dealt before where one of these stands for every
    /// port of the address: replies of connections that are there go by them still, whoever brought them in.
    pub(crate) fn with_those_beside(&self, mut reals: BTreeSet<RealKey>) -> BTreeSet<RealKey> {
        // Most numbers are for what is wanted.
        let room = (RealId::COUNT / 2).saturating_sub(reals.len());
        let stands = |(addr, port, proto): &RealKey| port.is_some() && reals.contains(&(*addr, None, *proto));
        let others = self.reals.iter().map(|(key, _)| *key).filter(|key| !reals.contains(key));
        let beside: Vec<RealKey> = others.filter(stands).take(room).collect();
        reals.extend(beside);
        reals
    }

    /// Every real server's number and name.
    pub(crate) fn reals(&self) -> impl Iterator<Item = (RealId, RealKey)> {
        self.reals.iter().map(|(key, number)| (RealId(number), *key))
    }

    /// The connections and counters of a renamed service go on.
    fn follow_renamed(&mut self, services: &BTreeMap<&str, &[Listen]>) {
        let before = self.listeners.iter().map(|(name, listens)| (name.as_str(), &listens[..])).collect();
        for (name, before) in renamed(&before, services) {
            self.services.rename(&before.to_owned(), name.to_owned());
        }
        self.listeners =
            services.iter().map(|(name, listens)| ((*name).to_owned(), listens.to_vec())).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "198.18.0.100";

    fn on(ports: &str) -> Vec<Listen> {
        ports.split(',').map(|port| format!("{WEB}:{port}/tcp").parse().unwrap()).collect()
    }

    fn settle(ids: &mut Ids, services: &[(&str, &str)]) -> Vec<ServiceId> {
        let listens: Vec<_> = services.iter().map(|(name, ports)| (*name, on(ports))).collect();
        ids.settle_services(&listens.iter().map(|(name, listens)| (*name, &listens[..])).collect()).unwrap()
    }

    fn destination(service: ServiceId, last: u8, method: Method) -> DestKey {
        DestKey::new(service, format!("198.19.1.{last}").parse().unwrap(), Some(8080), method)
    }

    #[test]
    fn a_renamed_service_stays_the_same_and_a_moved_one_too() {
        let mut ids = Ids::default();
        settle(&mut ids, &[("web", "80"), ("mail", "25")]);
        let (web, mail) = (ids.service("web"), ids.service("mail"));
        assert_ne!(web, mail);
        settle(&mut ids, &[("www", "80"), ("mail", "587")]);
        assert_eq!((ids.service("www"), ids.service("web"), ids.service("mail")), (web, None, mail));
    }

    #[test]
    fn a_bundle_that_grows_or_is_reordered_stays_the_same() {
        let mut ids = Ids::default();
        settle(&mut ids, &[("80", "80"), ("mail", "25")]);
        let (web, mail, http) = (ids.service("80"), ids.service("mail"), ids.listen(&on("80")[0]));
        settle(&mut ids, &[("80,443", "80,443"), ("mail", "25")]);
        assert_eq!(ids.service("80,443"), web);
        let https = ids.listen(&on("443")[0]);
        settle(&mut ids, &[("443,80", "443,80"), ("mail", "25")]);
        assert_eq!((ids.service("443,80"), ids.service("mail")), (web, mail));
        assert_eq!((ids.listen(&on("80")[0]), ids.listen(&on("443")[0])), (http, https));
        // It falls apart: one part stays what it was, the other is new.
        let fresh = settle(&mut ids, &[("a", "443"), ("b", "80"), ("mail", "25")]);
        assert_eq!(
            fresh,
            [if ids.service("a") == web { ids.service("b") } else { ids.service("a") }.unwrap()]
        );
    }

    #[test]
    fn a_destination_that_keeps_the_port_stays_when_its_service_gets_another() {
        let mut ids = Ids::default();
        let key = |port| DestKey::new(ServiceId(0), WEB.parse().unwrap(), port, Method::Nat);
        let none = BTreeSet::new();
        let mut settle = |port: Option<u16>, keys: &[DestKey]| {
            let wanted = keys.iter().copied().collect();
            ids.follow_ports(&wanted, BTreeMap::from([(0, port)]));
            ids.settle_destinations(&wanted, &none).unwrap();
            keys.iter().map(|key| ids.held(key).unwrap()).collect::<Vec<_>>()
        };
        let first = settle(Some(80), &[key(Some(80)), key(Some(8080))]);
        assert_eq!(settle(None, &[key(None), key(Some(8080))]), first);
        assert_eq!(settle(Some(443), &[key(Some(443)), key(Some(8080))]), first);
        // The first now goes where the second did, and the second keeps the port.
        let turned = settle(None, &[key(Some(8080)), key(Some(443))]);
        assert_eq!(turned, [first[1], first[0]]);
        assert_ne!(settle(Some(443), &[key(Some(80))]), [first[0]], "another port is another one");
    }

    #[test]
    fn services_that_swap_their_listens_keep_their_names() {
        let mut ids = Ids::default();
        settle(&mut ids, &[("a", "80"), ("b", "81")]);
        let before = (ids.service("a"), ids.service("b"));
        settle(&mut ids, &[("a", "81"), ("b", "80")]);
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
        settle(&mut ids, &[("web", "80")]);
        let web = ids.service("web").unwrap();
        let key = destination(web, 11, Method::DirectRoute);
        ids.settle_destinations(
            &BTreeSet::from([key]),
            &BTreeSet::from([(WEB.parse().unwrap(), Some(8080), Proto::Tcp)]),
        )
        .unwrap();
        let stored = serde_json::to_string(&ids).unwrap();
        let mut back: Ids = serde_json::from_str(&stored).unwrap();
        assert_eq!(back.service("web"), Some(web));
        assert_eq!((back.port_of("d1"), back.port_name(d1)), (Some(d1), Some("d1")));
        assert_eq!(back.held(&key), ids.held(&key));
        assert_eq!(back.real(WEB.parse().unwrap(), Some(8080), Proto::Tcp), Some(RealId(0)));
        assert_eq!(back.port("d2"), Ok(PortId(2)), "goes on where it stopped");
    }
}
