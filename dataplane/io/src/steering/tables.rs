//! The sets as the program's maps hold them; and the shortest way from one state to the next.
//!
//! The maps are changed one entry at a time under running traffic. Invariant of both ways below: a role or endpoint
//! that is in the state before and in the state after is in every state in between.

use super::layout::{Address, EndpointKey, Kind, Roles};
use super::sets::{Encapsulation, Endpoint, SteeringSets, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The contents of the maps `addresses` and `endpoints`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tables {
    addresses: BTreeMap<Address, Roles>,
    endpoints: BTreeSet<EndpointKey>,
}

/// One change of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Gives an address these roles in place of those that it has. With none its entry goes.
    Roles(Address, Roles),
    Enter(EndpointKey),
    Leave(EndpointKey),
}

impl Tables {
    pub(crate) fn of(sets: &SteeringSets) -> Tables {
        let mut tables = Tables::default();
        let roles =
            [(&sets.vips, Roles::VIP), (&sets.own, Roles::OWN), (&sets.tunnel_sources, Roles::TUNNEL_SOURCE)];
        for (addrs, role) in roles {
            addrs.iter().for_each(|addr| tables.give(*addr, role));
        }
        sets.services.iter().for_each(|endpoint| tables.enter(Kind::Service, endpoint));
        sets.reals.iter().for_each(|endpoint| tables.enter(Kind::Real, endpoint));
        for (addr, encapsulation) in &sets.tunnels {
            match encapsulation {
                Encapsulation::Ip => tables.give(*addr, Roles::TUNNEL_IP),
                Encapsulation::Gre => tables.give(*addr, Roles::TUNNEL_GRE),
                Encapsulation::Gue(port) => {
                    tables.enter(Kind::Gue, &Endpoint::new(*addr, *port, Transport::Udp));
                }
            }
        }
        tables
    }

    pub(crate) fn new(addresses: BTreeMap<Address, Roles>, endpoints: BTreeSet<EndpointKey>) -> Tables {
        Tables { addresses, endpoints }
    }

    /// The sets that these are the tables of.
    pub(crate) fn sets(&self) -> SteeringSets {
        let mut sets = SteeringSets {
            vips: self.having(Roles::VIP).collect(),
            own: self.having(Roles::OWN).collect(),
            tunnel_sources: self.having(Roles::TUNNEL_SOURCE).collect(),
            ..SteeringSets::default()
        };
        for (kind, set) in [(Kind::Service, &mut sets.services), (Kind::Real, &mut sets.reals)] {
            for transport in [Transport::Tcp, Transport::Udp] {
                let every = Roles::ported(kind, transport == Transport::Udp, true);
                set.extend(self.having(every).map(|addr| Endpoint::new(addr, None, transport)));
            }
            set.extend(self.endpoints(kind));
        }
        for (role, how) in [(Roles::TUNNEL_IP, Encapsulation::Ip), (Roles::TUNNEL_GRE, Encapsulation::Gre)] {
            sets.tunnels.extend(self.having(role).map(|addr| (addr, how)));
        }
        let gue = self.endpoints(Kind::Gue).filter_map(|e| Some((e.addr, Encapsulation::Gue(e.port?))));
        sets.tunnels.extend(gue);
        sets
    }

    fn having(&self, role: Roles) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().filter(move |(_, roles)| roles.has(role)).map(|(addr, _)| addr.ip())
    }

    fn endpoints(&self, kind: Kind) -> impl Iterator<Item = Endpoint> {
        self.endpoints.iter().filter(move |key| key.kind == kind as u8).map(|key| {
            let udp = key.proto == Transport::Udp.number();
            let transport = if udp { Transport::Udp } else { Transport::Tcp };
            Endpoint::new(key.addr.ip(), u16::from_be_bytes(key.port), transport)
        })
    }

    fn give(&mut self, addr: IpAddr, role: Roles) {
        let roles = self.addresses.entry(Address::of(addr)).or_default();
        *roles = roles.and(role);
    }

    fn enter(&mut self, kind: Kind, endpoint: &Endpoint) {
        self.give(
            endpoint.addr,
            Roles::ported(kind, endpoint.transport == Transport::Udp, endpoint.port.is_none()),
        );
        if let Some(port) = endpoint.port {
            self.endpoints.insert(EndpointKey {
                addr: Address::of(endpoint.addr),
                port: port.to_be_bytes(),
                proto: endpoint.transport.number(),
                kind: kind as u8,
            });
        }
    }

    fn roles(&self, addr: Address) -> Roles {
        self.addresses.get(&addr).copied().unwrap_or_default()
    }

    /// The steps that add what `to` has more. Own addresses come before the destinations whose replies they except.
    pub(crate) fn growth(&self, to: &Tables) -> Vec<Step> {
        let gains = |addr: &Address| to.roles(*addr).without(self.roles(*addr));
        let (own, others): (Vec<Address>, Vec<Address>) = to
            .addresses
            .keys()
            .filter(|addr| gains(addr) != Roles::NONE)
            .partition(|addr| gains(addr).has(Roles::OWN));
        let roles = own.into_iter().chain(others);
        let roles = roles.map(|addr| Step::Roles(addr, self.roles(addr).and(to.roles(addr))));
        let endpoints = to.endpoints.difference(&self.endpoints).map(|key| Step::Enter(*key));
        endpoints.chain(roles).collect()
    }

    /// The steps that take away what `to` has not, but for roles to `keep`. Own addresses go last.
    pub(crate) fn shrinkage(&self, to: &Tables, keep: Roles) -> Vec<Step> {
        let stays = |addr: &Address| self.roles(*addr).only(to.roles(*addr).and(keep));
        let (own, others): (Vec<Address>, Vec<Address>) = self
            .addresses
            .keys()
            .filter(|addr| stays(addr) != self.roles(**addr))
            .partition(|addr| self.roles(**addr).without(stays(addr)).has(Roles::OWN));
        let roles = |addr: Address| Step::Roles(addr, stays(&addr));
        let endpoints = self.endpoints.difference(&to.endpoints).map(|key| Step::Leave(*key));
        others.into_iter().map(roles).chain(endpoints).chain(own.into_iter().map(roles)).collect()
    }

    /// Notes a change that has been made.
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Roles(addr, Roles::NONE) => {
                self.addresses.remove(&addr);
            }
            Step::Roles(addr, roles) => {
                self.addresses.insert(addr, roles);
            }
            Step::Enter(key) => {
                self.endpoints.insert(key);
            }
            Step::Leave(key) => {
                self.endpoints.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VIP: [u8; 4] = [198, 18, 0, 100];

    #[test]
    fn a_key_is_what_the_program_reads() {
        let services = [Endpoint::new(VIP, 8080, Transport::Tcp)].into();
        let tables = Tables::of(&SteeringSets { services, ..SteeringSets::default() });
        let key = EndpointKey { addr: Address::of(VIP.into()), port: [0x1f, 0x90], proto: 6, kind: 8 };
        assert_eq!(tables.endpoints, [key].into());
        assert_eq!(tables.addresses, [(key.addr, Roles(0x100))].into());
    }

    #[test]
    fn every_port_is_a_role_and_no_endpoint() {
        let services = [Endpoint::new(VIP, None, Transport::Udp)].into();
        let tables = Tables::of(&SteeringSets { services, vips: [VIP.into()].into(), ..Default::default() });
        assert!(tables.endpoints.is_empty());
        assert_eq!(tables.addresses, [(Address::of(VIP.into()), Roles(0xa01))].into());
    }

    fn addr() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u8..4).prop_map(|n| IpAddr::from([198, 18, 0, n])),
            (0u16..4).prop_map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n])),
        ]
    }

    fn sets() -> impl Strategy<Value = SteeringSets> {
        let addrs = || prop::collection::btree_set(addr(), 0..5);
        let endpoints = || {
            let port = prop_oneof![Just(None), (80u16..82).prop_map(Some)];
            let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)];
            let endpoint = (addr(), port, transport);
            prop::collection::btree_set(
                endpoint.prop_map(|(addr, port, transport)| Endpoint { addr, port, transport }),
                0..8,
            )
        };
        let kind = prop_oneof![
            Just(Encapsulation::Ip),
            Just(Encapsulation::Gre),
            (6080u16..6082).prop_map(Encapsulation::Gue)
        ];
        let tunnels = prop::collection::btree_set((addr(), kind), 0..4);
        (endpoints(), addrs(), endpoints(), addrs(), addrs(), tunnels).prop_map(
            |(services, vips, reals, own, tunnel_sources, tunnels)| SteeringSets {
                services,
                vips,
                reals,
                own,
                tunnel_sources,
                tunnels,
            },
        )
    }

    /// What is in both states, as far as that can be said entry by entry.
    fn common(a: &Tables, b: &Tables) -> Tables {
        let addresses = a.addresses.keys().map(|addr| (*addr, a.roles(*addr).only(b.roles(*addr))));
        Tables {
            addresses: addresses.filter(|(_, roles)| *roles != Roles::NONE).collect(),
            endpoints: a.endpoints.intersection(&b.endpoints).copied().collect(),
        }
    }

    fn walk(from: &Tables, to: &Tables, steps: &[Step]) -> Result<Tables, TestCaseError> {
        let both = common(from, to);
        let mut now = from.clone();
        for step in steps {
            let before = now.clone();
            now.take(*step);
            prop_assert_ne!(&before, &now, "a step without effect");
            prop_assert_eq!(&common(&both, &now), &both, "what stays was gone for a moment");
        }
        Ok(now)
    }

    proptest! {
        #[test]
        fn what_is_read_back_is_what_was_meant(sets in sets()) {
            let tables = Tables::of(&sets);
            prop_assert_eq!(tables.sets(), sets);
        }

        /// Growing and then shrinking leads there, no entry is touched twice in one of them, and what is in both
        /// states is never away.
        #[test]
        fn the_way_is_short_and_what_stays_stays(from in sets(), to in sets()) {
            let (from, to) = (Tables::of(&from), Tables::of(&to));
            let growth = from.growth(&to);
            let middle = walk(&from, &to, &growth)?;
            prop_assert_eq!(common(&middle, &to), to.clone(), "something is missing");
            let shrinkage = middle.shrinkage(&to, Roles::NONE);
            prop_assert_eq!(walk(&middle, &to, &shrinkage)?, to.clone());
            prop_assert!(growth.len() <= to.addresses.len() + to.endpoints.len());
            prop_assert!(shrinkage.len() <= middle.addresses.len() + middle.endpoints.len());
        }

        /// Own addresses are known before and after all that they except.
        #[test]
        fn own_addresses_come_first_and_go_last(from in sets(), to in sets()) {
            let (from, to) = (Tables::of(&from), Tables::of(&to));
            let mut now = from.clone();
            let mut others = false;
            for step in from.growth(&to) {
                let Step::Roles(addr, roles) = step else { continue };
                let own = roles.has(Roles::OWN) && !now.roles(addr).has(Roles::OWN);
                prop_assert!(!(own && others));
                others |= !own;
                now.take(step);
            }
            let kept = now.shrinkage(&to, Roles::OWN);
            let keeps = |step: &Step| match step {
                Step::Roles(addr, roles) => now.roles(*addr).has(Roles::OWN) == roles.has(Roles::OWN),
                _ => true,
            };
            prop_assert!(kept.iter().all(keeps));
            let mut own = false;
            for step in now.shrinkage(&to, Roles::NONE) {
                let loses = matches!(step, Step::Roles(addr, roles)
                    if now.roles(addr).has(Roles::OWN) && !roles.has(Roles::OWN));
                prop_assert!(loses || !own);
                own |= loses;
            }
        }
    }
}
