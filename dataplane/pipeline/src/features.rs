//! What few services ask for: kept beside what every packet needs to know of them, and asked for only where a
//! connection begins.

use crate::helper::Helper;
use crate::ids::{ListenId, ServiceId};
use crate::sticky::Persistence;
use hashbrown::{HashMap, HashSet};

/// The features of a snapshot's services.
#[derive(Debug, Default)]
pub(crate) struct Features {
    helpers: HashMap<ServiceId, Helper, foldhash::fast::FixedState>,
    data: HashSet<ListenId, foldhash::fast::FixedState>,
    persistence: HashMap<ServiceId, Persistence, foldhash::fast::FixedState>,
    one_packet: HashSet<ServiceId, foldhash::fast::FixedState>,
}

impl Features {
    /// Has a service's connections looked into.
    pub(crate) fn help(&mut self, service: ServiceId, helper: Helper) {
        self.helpers.insert(service, helper);
    }

    /// Makes a listen one where only those connections begin that a helper expects.
    pub(crate) fn expect_at(&mut self, listen: ListenId) {
        self.data.insert(listen);
    }

    /// Keeps a service's clients with their destinations.
    pub(crate) fn persist(&mut self, service: ServiceId, persistence: Persistence) {
        self.persistence.insert(service, persistence);
    }

    /// Schedules each packet of a service's UDP by itself.
    pub(crate) fn send_once(&mut self, service: ServiceId) {
        self.one_packet.insert(service);
    }

    /// How a service keeps its clients, if it does.
    pub(crate) fn persistence(&self, service: ServiceId) -> Option<Persistence> {
        self.persistence.get(&service).copied()
    }

    /// The shortest timeout of all persistent services.
    pub(crate) fn shortest_persistence(&self) -> Option<u16> {
        self.persistence.values().map(|persistence| persistence.timeout.0).min()
    }

    /// Whether each packet of a service's UDP is scheduled by itself.
    pub(crate) fn sends_once(&self, service: ServiceId) -> bool {
        self.one_packet.contains(&service)
    }

    /// What looks into a service's connections.
    pub(crate) fn helper(&self, service: ServiceId) -> Option<Helper> {
        self.helpers.get(&service).copied()
    }

    /// Whether only expected connections begin there.
    pub(crate) fn expects(&self, listen: ListenId) -> bool {
        self.data.contains(&listen)
    }
}
