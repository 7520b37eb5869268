//! The kernel's interfaces, addresses, routes and neighbours as last heard. Pure.

use super::parse::{Address, Fact, KernelRoute, Link, Said};
use sheave_proto::wire::eth::Mac;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

/// Neighbours that are followed at most: a scan of a large network must not fill our memory.
const NEIGHBOURS: usize = 65_536;

/// What the kernel has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// By interface index.
    pub(crate) links: BTreeMap<u32, Link>,
    pub(crate) addresses: BTreeSet<Address>,
    pub(crate) routes: BTreeSet<KernelRoute>,
    pub(crate) neighbours: HashMap<(u32, IpAddr), Mac>,
    /// Those of them that somebody has set by hand. To ask the kernel about one would make it an ordinary one.
    pub(crate) permanent: HashSet<(u32, IpAddr)>,
}

/// What a fact changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Changed {
    /// Interfaces or their addresses.
    pub(crate) links: bool,
    /// Routes.
    pub(crate) routes: bool,
    /// Neighbours.
    pub(crate) neighbours: bool,
    /// The kernel has dropped routes without saying so: only a new dump tells.
    pub(crate) stale: bool,
}

impl Changed {
    pub(crate) fn any(self) -> bool {
        self.links || self.routes || self.neighbours
    }

    pub(crate) fn and(self, other: Changed) -> Changed {
        Changed {
            links: self.links | other.links,
            routes: self.routes | other.routes,
            neighbours: self.neighbours | other.neighbours,
            stale: self.stale | other.stale,
        }
    }
}

impl View {
    /// The interface of this name.
    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// Takes in one fact.
    pub(crate) fn learn(&mut self, fact: Fact) -> Changed {
        let mut changed = Changed::default();
        match fact {
            Fact::Link(link) => {
                let before = self.links.insert(link.index, link.clone());
                changed.links = before.as_ref() != Some(&link);
                if before.is_some_and(|before| before.up) && !link.up {
                    self.down(link.index, &mut changed);
                }
            }
            Fact::NoLink(index) => {
                changed.links = self.links.remove(&index).is_some();
                self.addresses.retain(|a| a.index != index);
                self.neighbours.retain(|(i, _), _| *i != index);
                self.permanent.retain(|(i, _)| *i != index);
                self.down(index, &mut changed);
            }
            Fact::Address(address) => changed.links = self.addresses.insert(address),
            Fact::NoAddress(address) => {
                changed.links = self.addresses.remove(&address);
                changed.stale = changed.links;
            }
            Fact::Route(route) => changed.routes = self.routes.insert(route),
            Fact::NoRoute(route) => changed.routes = self.routes.remove(&route),
            Fact::Neighbour(n) => {
                let key = (n.index, n.addr);
                changed.neighbours = match n.mac {
                    Some(_) if self.neighbours.len() >= NEIGHBOURS && !self.neighbours.contains_key(&key) => {
                        false
                    }
                    Some(mac) => self.neighbours.insert(key, mac) != Some(mac),
                    None => self.neighbours.remove(&key).is_some(),
                };
                if n.permanent && self.neighbours.contains_key(&key) {
                    self.permanent.insert(key);
                } else {
                    self.permanent.remove(&key);
                }
            }
            Fact::Done { .. } | Fact::Failed(_) | Fact::Overrun => {}
        }
        changed
    }

    /// The kernel removes the routes of an interface that goes down, and does not tell of those of IPv4.
    fn down(&mut self, index: u32, changed: &mut Changed) {
        let before = self.routes.len();
        self.routes.retain(|route| route.index != index);
        changed.routes |= self.routes.len() != before;
        changed.stale = true;
    }
}

/// What to do next, as the follower sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Links,
    Addresses,
    Routes,
    Neighbours,
}

const ORDER: [Ask; 4] = [Ask::Links, Ask::Addresses, Ask::Routes, Ask::Neighbours];

/// Follows the kernel: a dump of everything, then what changes; a new dump whenever something was lost.
///
/// Dumps and notifications come over one socket, so they are in order: what is heard while a dump runs belongs on
/// top of it.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// Complete, and current but for what a running dump will say.
    view: View,
    running: Option<Dump>,
    /// A further dump is wanted once this one is through.
    again: bool,
    requests: u32,
}

#[derive(Debug)]
struct Dump {
    view: View,
    step: usize,
    /// The number of the request that runs.
    request: u32,
    spoiled: bool,
}

impl Follower {
    /// What is known.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Begins a dump, or another one after the one that runs. Returns what to ask for and under which number.
    pub(crate) fn dump(&mut self) -> Option<(Ask, u32)> {
        if self.running.is_some() {
            self.again = true;
            return None;
        }
        self.again = false;
        self.requests += 1;
        self.running = Some(Dump { view: View::default(), step: 0, request: self.requests, spoiled: false });
        Some((ORDER[0], self.requests))
    }

    /// Messages were lost: whatever runs is worth nothing.
    pub(crate) fn lost(&mut self) -> Option<(Ask, u32)> {
        self.running = None;
        self.dump()
    }

    /// Takes in what was heard. Returns what changed in the view, and what to ask for next.
    pub(crate) fn hear(&mut self, said: Said) -> (Changed, Option<(Ask, u32)>) {
        let Some(dump) = &mut self.running else {
            return (self.view.learn(said.fact), None);
        };
        let answers = said.request == dump.request;
        match said.fact {
            Fact::Done { interrupted } if answers => {
                dump.spoiled |= interrupted;
                dump.step += 1;
                self.requests += 1;
                dump.request = self.requests;
                if let Some(ask) = ORDER.get(dump.step) {
                    return (Changed::default(), Some((*ask, dump.request)));
                }
                self.finish()
            }
            Fact::Failed(_) if answers => {
                dump.spoiled = true;
                self.finish()
            }
            fact => {
                dump.view.learn(fact.clone());
                // Notifications count at once; a dump's own words only when it is whole.
                if said.request == 0 { (self.view.learn(fact), None) } else { (Changed::default(), None) }
            }
        }
    }

    fn finish(&mut self) -> (Changed, Option<(Ask, u32)>) {
        let Some(dump) = self.running.take() else { return (Changed::default(), None) };
        if dump.spoiled || self.again {
            return (Changed::default(), self.dump());
        }
        let changed = Changed {
            links: self.view.links != dump.view.links || self.view.addresses != dump.view.addresses,
            routes: self.view.routes != dump.view.routes,
            neighbours: self.view.neighbours != dump.view.neighbours,
            stale: false,
        };
        self.view = dump.view;
        (changed, None)
    }

    /// Whether a dump is running.
    pub(crate) fn dumping(&self) -> bool {
        self.running.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::KernelNeighbour;
    use super::*;

    fn said(request: u32, fact: Fact) -> Said {
        Said { request, fact }
    }

    fn link(index: u32, name: &str, up: bool) -> Fact {
        Fact::Link(Link {
            index,
            name: name.into(),
            mac: None,
            mtu: 1500,
            up,
            carrier: up,
            ethernet: true,
            loopback: false,
            enslaved: false,
            kind: None,
            rx_queues: 1,
        })
    }

    fn route(index: u32) -> KernelRoute {
        KernelRoute { to: "198.18.0.0".parse().unwrap(), prefix: 24, priority: 0, via: None, index }
    }

    fn neighbour(last: u8, known: bool) -> Fact {
        Fact::Neighbour(KernelNeighbour {
            index: 1,
            addr: IpAddr::from([198, 18, 0, last]),
            mac: known.then_some(Mac([2, 0, 0, 0, 0, last])),
            permanent: false,
        })
    }

    const DONE: Fact = Fact::Done { interrupted: false };

    /// Runs a whole dump that says `facts` as links; returns the last number used.
    fn dump(follower: &mut Follower, facts: Vec<Fact>) -> Changed {
        let (_, mut request) = follower.dump().expect("none runs");
        for fact in facts {
            assert_eq!(follower.hear(said(request, fact)).1, None);
        }
        loop {
            match follower.hear(said(request, DONE)) {
                (changed, None) => return changed,
                (_, Some((_, next))) => request = next,
            }
        }
    }

    #[test]
    fn a_dump_replaces_the_view_only_when_it_is_whole() {
        let mut f = Follower::default();
        assert_eq!(f.dump(), Some((Ask::Links, 1)));
        assert_eq!(f.hear(said(1, link(1, "d0", true))), (Changed::default(), None));
        assert!(f.view().links.is_empty());
        assert_eq!(f.hear(said(1, DONE)).1, Some((Ask::Addresses, 2)));
        assert_eq!(f.hear(said(2, DONE)).1, Some((Ask::Routes, 3)));
        assert_eq!(f.hear(said(3, Fact::Route(route(1)))).1, None);
        assert_eq!(f.hear(said(3, DONE)).1, Some((Ask::Neighbours, 4)));
        let (changed, ask) = f.hear(said(4, DONE));
        assert!(changed.links && changed.routes && !changed.neighbours && ask.is_none());
        assert_eq!(f.view().link("d0").map(|l| l.index), Some(1));
    }

    #[test]
    fn what_is_heard_during_a_dump_lies_on_top_of_it() {
        let mut f = Follower::default();
        dump(&mut f, vec![link(1, "d0", true), neighbour(9, true)]);
        let (_, request) = f.dump().expect("none runs");
        f.hear(said(request, link(1, "d0", true)));
        f.hear(said(request, neighbour(9, true)));
        let (changed, _) = f.hear(said(0, neighbour(9, false)));
        assert!(changed.neighbours, "at once");
        let mut next = request;
        while let (_, Some((_, n))) = f.hear(said(next, DONE)) {
            next = n;
        }
        assert!(f.view().neighbours.is_empty(), "and after the dump");
    }

    #[test]
    fn an_interrupted_or_lost_dump_starts_over() {
        let mut f = Follower::default();
        let (_, request) = f.dump().unwrap();
        f.hear(said(request, Fact::Done { interrupted: true }));
        f.hear(said(2, DONE));
        f.hear(said(3, DONE));
        assert_eq!(f.hear(said(4, DONE)).1, Some((Ask::Links, 6)), "spoiled: all over again");
        assert_eq!(f.lost(), Some((Ask::Links, 7)));
        assert_eq!(f.hear(said(6, DONE)).1, None, "an answer to what was given up is not heard as an end");
        assert!(f.dumping());
    }

    #[test]
    fn an_interface_that_goes_down_takes_its_routes_along() {
        let mut f = Follower::default();
        dump(&mut f, vec![link(1, "d0", true), Fact::Route(route(1)), Fact::Route(route(2))]);
        let (changed, _) = f.hear(said(0, link(1, "d0", false)));
        assert!(changed.links && changed.routes && changed.stale);
        assert_eq!(f.view().routes.iter().map(|r| r.index).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn what_changes_nothing_says_so() {
        let mut f = Follower::default();
        dump(&mut f, vec![link(1, "d0", true), neighbour(9, true)]);
        assert_eq!(f.hear(said(0, neighbour(9, true))).0, Changed::default());
        assert_eq!(f.hear(said(0, link(1, "d0", true))).0, Changed::default());
        assert!(f.hear(said(0, neighbour(9, false))).0.any());
    }

    #[test]
    fn a_neighbour_is_permanent_until_it_is_replaced_or_gone() {
        let mut view = View::default();
        let set = |mac: Option<Mac>, permanent| {
            Fact::Neighbour(KernelNeighbour { index: 1, addr: IpAddr::from([198, 18, 0, 5]), mac, permanent })
        };
        let mac = Some(Mac([2, 0, 0, 0, 0, 5]));
        for (fact, permanent) in [
            (set(mac, true), 1),
            (set(mac, false), 0),
            (set(mac, true), 1),
            (set(None, true), 0),
            (set(mac, true), 1),
            (Fact::NoLink(1), 0),
        ] {
            view.learn(fact);
            assert_eq!(view.permanent.len(), permanent);
        }
    }
}
