//! Persistence: the clients of a network go where the first of them went.
//!
//! A template ends the service's timeout after its last use. If it has connections then, it goes on for 60 s, and again,
//! until it has none.

use super::Model;
use super::connections::{Connection, Tuple};
use crate::ids::{DestId, Generation};
use crate::snapshot::{Health, Intent};
use crate::sticky::Persistence;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long it goes on while it has connections.
const ARMED: u64 = 60;

/// Where the clients of a network go.
#[derive(Debug, Clone)]
pub(super) struct Template {
    /// Which of all that there ever were.
    number: u64,
    destination: DestId,
    generation: Generation,
    /// The last second that it is alive in, if it has no connection then.
    until: u64,
    connections: usize,
}

/// By service and network.
#[derive(Debug, Default)]
pub(super) struct Templates {
    all: BTreeMap<(usize, IpAddr), Template>,
    made: u64,
}

impl Templates {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

/// What a client's template says of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It goes there, and is counted.
    There(DestId, u64),
    /// It is one too many there: it goes anywhere, and is not counted.
    Elsewhere,
    /// There is none that leads anywhere: it goes anywhere, and a new one leads there.
    New,
}

/// The bits of an address that count.
fn network(client: IpAddr, prefix: Option<u8>) -> IpAddr {
    let cut = |bytes: &mut [u8]| {
        let kept = prefix.map_or(bytes.len() * 8, usize::from);
        for (n, byte) in bytes.iter_mut().enumerate() {
            let bits = kept.saturating_sub(8 * n).min(8);
            *byte &= !u8::try_from(0xffu32 >> bits).expect("a byte");
        }
    };
    match client {
        IpAddr::V4(addr) => {
            let mut bytes = addr.octets();
            cut(&mut bytes);
            bytes.into()
        }
        IpAddr::V6(addr) => {
            let mut bytes = addr.octets();
            cut(&mut bytes);
            bytes.into()
        }
    }
}

impl Model {
    pub(super) fn persistence(&self, service: usize) -> Option<Persistence> {
        let all = self.site.persistent.iter();
        all.filter(|(of, _)| usize::from(*of) == service).map(|(_, persistence)| *persistence).next()
    }

    /// Asks the template of a client that opens a connection. It is used by that.
    pub(super) fn keep(&mut self, service: usize, client: IpAddr, persistence: &Persistence) -> Kept {
        let key = (service, network(client, persistence.prefix));
        let Some(template) = self.templates.all.get(&key).cloned() else { return Kept::New };
        let home = |d: &&crate::testing::Destination| d.id == template.destination && !d.removed;
        let all = self.service(service).map(|service| &service.destinations);
        let destination = all.and_then(|all| all.iter().find(home));
        let welcome = destination
            .filter(|d| d.generation == template.generation)
            .filter(|d| d.intent == Intent::Ready && d.health == Health::Up);
        let Some(destination) = welcome else {
            self.templates.all.remove(&key);
            return Kept::New;
        };
        let most = u64::from(destination.limits.connections);
        let (active, inactive) = self.live(destination.id);
        if most != 0 && active + inactive >= most {
            return Kept::Elsewhere;
        }
        let until = self.second + u64::from(persistence.timeout.0);
        if let Some(template) = self.templates.all.get_mut(&key) {
            template.until = until;
        }
        Kept::There(template.destination, template.number)
    }

    /// A client without a template is sent somewhere: from now on that is where its network goes. Nobody is kept at the
    /// sorry server.
    pub(super) fn keep_at(
        &mut self,
        service: usize,
        client: IpAddr,
        persistence: &Persistence,
        (destination, generation): (DestId, Generation),
    ) -> Option<u64> {
        if self.site.services[service].sorry == Some(destination) {
            return None;
        }
        self.templates.made += 1;
        let number = self.templates.made;
        let until = self.second + u64::from(persistence.timeout.0);
        let template = Template { number, destination, generation, until, connections: 0 };
        self.templates.all.insert((service, network(client, persistence.prefix)), template);
        Some(number)
    }

    /// Counts a connection in at its template.
    pub(super) fn kept(&mut self, connection: &Connection) {
        let number = connection.template;
        if let Some(template) = self.templates.all.values_mut().find(|t| Some(t.number) == number) {
            template.connections += 1;
        }
    }

    /// Counts a connection out that has ended, if its template is there still.
    pub(super) fn leaves(&mut self, tuple: &Tuple, connection: &Connection) {
        let Some(persistence) = self.persistence(connection.service) else { return };
        let key = (connection.service, network(tuple.1.0, persistence.prefix));
        if let Some(template) = self.templates.all.get_mut(&key)
            && Some(template.number) == connection.template
        {
            template.connections -= 1;
        }
    }

    /// Lets a second pass for all templates, once its connections have ended.
    pub(super) fn settle_templates(&mut self) {
        let (second, services) = (self.second, &self.site.services);
        let there = |service: usize, template: &Template| {
            let of = services.get(service).filter(|service| !service.removed);
            of.is_some_and(|service| {
                let home = |d: &crate::testing::Destination| {
                    d.id == template.destination && d.generation == template.generation && !d.removed
                };
                service.destinations.iter().any(home)
            })
        };
        self.templates.all.retain(|(service, _), template| {
            while template.until < second && template.connections > 0 {
                template.until += ARMED;
            }
            template.until >= second && there(*service, template)
        });
    }
}
