//! What the steering program steers by, as values; and the shortest way from one state to the next.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// An address, a port and a protocol, as a key of the steering program: all in network byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub addr: Ipv4Addr,
    /// The port, in network byte order.
    pub port: [u8; 2],
    /// The IP protocol number: 6 or 17.
    pub proto: u8,
}

impl Endpoint {
    /// An endpoint with a port in host byte order.
    pub fn new(addr: Ipv4Addr, port: u16, proto: u8) -> Endpoint {
        Endpoint { addr, port: port.to_be_bytes(), proto }
    }

    /// `struct endpoint` of the program.
    pub(crate) fn key(self) -> [u8; 8] {
        let [a, b, c, d] = self.addr.octets();
        let [high, low] = self.port;
        [a, b, c, d, high, low, self.proto, 0]
    }

    pub(crate) fn of_key(key: [u8; 8]) -> Endpoint {
        let [a, b, c, d, high, low, proto, _] = key;
        Endpoint { addr: Ipv4Addr::new(a, b, c, d), port: [high, low], proto }
    }
}

/// What is ours. Everything else is the kernel's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SteeringSets {
    /// Virtual services: packets to them are ours.
    pub services: BTreeSet<Endpoint>,
    /// Virtual addresses: ARP about them and echo requests to them are ours.
    pub vips: BTreeSet<Ipv4Addr>,
    /// NAT destinations: packets from them are ours, unless they go to an `own` address.
    pub reals: BTreeSet<Endpoint>,
    /// The director's own addresses on its interfaces.
    pub own: BTreeSet<Ipv4Addr>,
}

/// One change of one set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Service(Change, Endpoint),
    Vip(Change, Ipv4Addr),
    Real(Change, Endpoint),
    Own(Change, Ipv4Addr),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Add,
    Remove,
}

impl SteeringSets {
    /// The changes from `self` to `to`: what comes first, then what goes, so that what is in both is never out.
    ///
    /// Own addresses are added before the destinations whose replies they except, and removed after.
    pub(crate) fn steps(&self, to: &SteeringSets) -> Vec<Step> {
        use Change::{Add, Remove};
        let mut steps = Vec::new();
        steps.extend(to.own.difference(&self.own).map(|a| Step::Own(Add, *a)));
        steps.extend(to.vips.difference(&self.vips).map(|a| Step::Vip(Add, *a)));
        steps.extend(to.reals.difference(&self.reals).map(|e| Step::Real(Add, *e)));
        steps.extend(to.services.difference(&self.services).map(|e| Step::Service(Add, *e)));
        steps.extend(self.services.difference(&to.services).map(|e| Step::Service(Remove, *e)));
        steps.extend(self.reals.difference(&to.reals).map(|e| Step::Real(Remove, *e)));
        steps.extend(self.vips.difference(&to.vips).map(|a| Step::Vip(Remove, *a)));
        steps.extend(self.own.difference(&to.own).map(|a| Step::Own(Remove, *a)));
        steps
    }

    /// Notes a change that has been made.
    pub(crate) fn take(&mut self, step: Step) {
        fn change<T: Ord>(set: &mut BTreeSet<T>, change: Change, item: T) {
            match change {
                Change::Add => set.insert(item),
                Change::Remove => set.remove(&item),
            };
        }
        match step {
            Step::Service(what, endpoint) => change(&mut self.services, what, endpoint),
            Step::Vip(what, addr) => change(&mut self.vips, what, addr),
            Step::Real(what, endpoint) => change(&mut self.reals, what, endpoint),
            Step::Own(what, addr) => change(&mut self.own, what, addr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_what_the_program_reads() {
        let endpoint = Endpoint::new(Ipv4Addr::new(198, 18, 0, 100), 8080, 6);
        assert_eq!(endpoint.key(), [198, 18, 0, 100, 0x1f, 0x90, 6, 0]);
        assert_eq!(Endpoint::of_key(endpoint.key()), endpoint);
    }

    fn sets() -> impl Strategy<Value = SteeringSets> {
        let addrs = || prop::collection::btree_set((0u8..6).prop_map(|n| Ipv4Addr::new(198, 18, 0, n)), 0..6);
        let ends = || {
            let end = (0u8..3, 80u16..82, prop_oneof![Just(6u8), Just(17)]);
            let end =
                end.prop_map(|(n, port, proto)| Endpoint::new(Ipv4Addr::new(198, 18, 0, n), port, proto));
            prop::collection::btree_set(end, 0..8)
        };
        (ends(), addrs(), ends(), addrs()).prop_map(|(services, vips, reals, own)| SteeringSets {
            services,
            vips,
            reals,
            own,
        })
    }

    proptest! {
        /// The steps lead there, touch nothing that stays, and remove nothing before all is added.
        #[test]
        fn steps_are_minimal_and_add_first(from in sets(), to in sets()) {
            let steps = from.steps(&to);
            let mut now = from.clone();
            let mut removed = false;
            for step in &steps {
                let before = now.clone();
                now.take(*step);
                prop_assert_ne!(&before, &now, "a step without effect");
                let removes = matches!(step, Step::Service(Change::Remove, _) | Step::Vip(Change::Remove, _)
                    | Step::Real(Change::Remove, _) | Step::Own(Change::Remove, _));
                prop_assert!(removes || !removed, "added after removing");
                removed |= removes;
            }
            prop_assert_eq!(&now, &to);
            let size = |a: &SteeringSets, b: &SteeringSets| a.services.symmetric_difference(&b.services).count()
                + a.vips.symmetric_difference(&b.vips).count()
                + a.reals.symmetric_difference(&b.reals).count()
                + a.own.symmetric_difference(&b.own).count();
            prop_assert_eq!(steps.len(), size(&from, &to));
        }
    }
}
