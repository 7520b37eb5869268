//! A slow and obvious model of the whole packet path, to hold the pipeline against.
//!
//! It is written from what is documented, not from the pipeline: a map of connections by plain tuples, packets read
//! with etherparse and built anew with every checksum summed up in full, the TCP states as the documented table,
//! schedulers walked through naively. Where the choice is free (a scheduler that draws or hashes, an
//! identification) it checks that the choice is a legal one and adopts it.
//!
//! ```text
//!   Traffic, changes of the Site ---> frames ---> pipelines (1..n, shared tables) ---> verdicts, frames
//!                                       |                                                    |
//!                                       +-----------> Model::judge <-------------------------+
//! ```
//!
//! A [`Trial`] drives both from a seed, and makes the shortest trace that it can find of a disagreement.

mod build;
mod choose;
mod connections;
mod cut;
mod errors;
mod fragments;
mod judge;
mod network;
mod outcome;
mod read;
mod sums;
mod tally;
mod templates;
mod traffic;
mod trial;
mod wire;
mod world;

pub use outcome::Leaving;
pub use tally::Outcomes;
pub use traffic::{Dice, Traffic};
pub use trial::{Expiry, Trial};
pub use wire::Wire;

use super::site::{Destination, Service, Site};
use crate::ids::DestId;
use crate::time::Time;
use choose::{Loads, Memory, mark};
use connections::{Connection, Connections, End, Machine, Tuple};
use fragments::Fragments;
use network::Bucket;
use std::collections::BTreeMap;
use std::net::IpAddr;
use tally::Tally;
use templates::Templates;

/// The model.
#[derive(Debug)]
pub struct Model {
    site: Site,
    connections: Connections,
    machine: Machine,
    loads: Loads,
    memories: Vec<Memory>,
    templates: Templates,
    /// ICMP errors that each worker may send.
    buckets: Vec<Bucket>,
    fragments: Fragments,
    tally: Tally,
    /// Whether entries are given back the moment that they are due, so that counts are known exactly.
    exact: bool,
    second: u64,
}

impl Model {
    /// A model of so many workers.
    pub fn new(site: &Site, workers: usize, exact: bool) -> Model {
        let mut model = Model {
            site: site.clone(),
            connections: Connections::new(),
            machine: Machine::new(),
            loads: Loads::new(),
            memories: Vec::new(),
            templates: Templates::default(),
            buckets: vec![Bucket::default(); workers],
            fragments: Fragments::default(),
            tally: Tally::default(),
            exact,
            second: 0,
        };
        model.configure(site);
        model
    }

    /// From now on the configuration is this.
    pub fn configure(&mut self, site: &Site) {
        self.site = site.clone();
        self.memories.resize(site.services.len(), Memory::default());
        for d in site.services.iter().flat_map(|service| &service.destinations).filter(|d| !d.removed) {
            mark(self.loads.entry(d.id).or_default(), d);
        }
        self.settle();
    }

    /// From now on it is this time.
    pub fn wait_until(&mut self, now: Time) {
        for second in self.second + 1..=now.0 / Time::SECOND {
            self.second = second;
            self.settle();
        }
    }

    /// How many connections there are, and how many entries they must and may have.
    pub fn entries(&self) -> (usize, std::ops::RangeInclusive<usize>) {
        let all = self.connections.len();
        let nat = |c: &&Connection| c.nat;
        let most = all + self.connections.values().filter(nat).count();
        let least = all + self.connections.values().filter(nat).filter(|c| !c.detached).count();
        let templates = self.templates.len();
        (all, least + templates..=most + templates)
    }

    /// Active and inactive connections of a destination.
    pub fn live(&self, id: DestId) -> (u64, u64) {
        self.loads.get(&id).map_or((0, 0), |load| (load.active, load.inactive))
    }

    /// Compares the counters of all workers together.
    pub(super) fn check_counters(&self, counted: &BTreeMap<usize, u64>) -> Result<(), String> {
        self.tally.check(counted)
    }

    /// How often each outcome was.
    pub fn outcomes(&self) -> Outcomes {
        self.tally.outcomes()
    }

    /// A connection: protocol, client, and where the answers to it come from. Which, `near` decides.
    pub(crate) fn some_connection(&self, near: End) -> Option<(u8, End, End)> {
        let from = (if near.1.is_multiple_of(3) { 17 } else { 6 }, near, (IpAddr::from([0; 4]), 0), 0);
        let (tuple, connection) =
            self.connections.range(from..).next().or(self.connections.first_key_value())?;
        (tuple.1.0.is_ipv4() == connection.real.0.is_ipv4()).then_some((tuple.0, tuple.1, connection.real))
    }

    /// The same, and what the client talks to.
    pub(crate) fn some_ends(&self, near: End) -> Option<(u8, End, End, End)> {
        let (protocol, client, real) = self.some_connection(near)?;
        let from = (protocol, client, (IpAddr::from([0; 4]), 0), 0);
        let (tuple, _) = self.connections.range(from..).find(|(_, c)| c.real == real)?;
        Some((protocol, client, tuple.2, real))
    }

    fn service(&self, index: usize) -> Option<&Service> {
        self.site.services.get(index).filter(|service| !service.removed)
    }

    /// The destination that a connection goes to, if it still is the one that it was made for.
    fn destination_of(&self, connection: &Connection) -> Option<&Destination> {
        let all = &self.service(connection.service)?.destinations;
        let lives = |d: &Destination| if connection.state.is_some() { d.kept.count } else { 0 };
        let ago = |d: &Destination| d.generation.0.wrapping_sub(connection.generation.0);
        let here = |d: &&Destination| d.id == connection.destination && ago(d) <= lives(d);
        all.iter().find(here).filter(|d| !d.removed && !connection.detached)
    }

    /// Ends what is due, and what has lost its service or destination.
    fn settle(&mut self) {
        let due: Vec<Tuple> =
            self.connections.iter().filter(|(t, c)| self.is_due(t, c)).map(|(t, _)| *t).collect();
        for tuple in due {
            self.end(&tuple);
        }
        let lost = |(tuple, c): (&Tuple, &Connection)| self.destination_of(c).is_none().then_some(*tuple);
        let lost: Vec<Tuple> = self.connections.iter().filter_map(lost).collect();
        for tuple in lost {
            let connection = self.connections[&tuple].clone();
            if connection.state.is_none() {
                self.end(&tuple);
            } else if !connection.detached {
                self.count(&connection, -1);
                if let Some(connection) = self.connections.get_mut(&tuple) {
                    connection.detached = true;
                }
            }
        }
        self.settle_templates();
    }

    /// Whether a connection is over, if only because nobody listens there any more.
    fn is_due(&self, tuple: &Tuple, connection: &Connection) -> bool {
        let listens = self.site.listens().any(|(listen, ..)| listen.0 == tuple.3);
        let Some(service) = self.service(connection.service).filter(|_| listens) else { return true };
        self.second - connection.used > connection.lifetime(&service.timeouts)
    }

    /// Removes a connection.
    fn end(&mut self, tuple: &Tuple) {
        let Some(connection) = self.connections.remove(tuple) else { return };
        if !connection.detached {
            self.count(&connection, -1);
        }
        self.leaves(tuple, &connection);
    }

    /// Counts a connection in or out.
    fn count(&mut self, connection: &Connection, by: i64) {
        let load = self.loads.entry(connection.destination).or_default();
        let side = if connection.is_active() { &mut load.active } else { &mut load.inactive };
        *side = side.saturating_add_signed(by);
        let all = self.site.services.get(connection.service).map(|service| &service.destinations);
        if let Some(d) = all.and_then(|all| all.iter().find(|d| d.id == connection.destination)) {
            mark(load, d);
        }
    }

    /// Notes a segment in a connection's state.
    fn follow(&mut self, tuple: &Tuple, direction: &'static str, flags: u8) {
        let Some(mut connection) = self.connections.get(tuple).cloned() else { return };
        let before = connection.is_active();
        connection.used = self.second;
        connection.state = connection.state.map(|state| self.machine.next(direction, state, flags));
        if connection.is_active() != before {
            let load = self.loads.entry(connection.destination).or_default();
            let (to, from) = if before {
                (&mut load.inactive, &mut load.active)
            } else {
                (&mut load.active, &mut load.inactive)
            };
            (*to, *from) = (*to + 1, from.saturating_sub(1));
        }
        self.connections.insert(*tuple, connection);
    }
}
