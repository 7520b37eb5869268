//! What few services ask for: kept beside what every packet needs to know of them, and asked for only where a
//! connection begins.

use crate::helper::Helper;
use crate::ids::{ListenId, ServiceId};
use hashbrown::{HashMap, HashSet};

/// The features of a snapshot's services.
#[derive(Debug, Default)]
pub(crate) struct Features {
    helpers: HashMap<ServiceId, Helper, foldhash::fast::FixedState>,
    data: HashSet<ListenId, foldhash::fast::FixedState>,
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

    /// What looks into a service's connections.
    pub(crate) fn helper(&self, service: ServiceId) -> Option<Helper> {
        self.helpers.get(&service).copied()
    }

    /// Whether only expected connections begin there.
    pub(crate) fn expects(&self, listen: ListenId) -> bool {
        self.data.contains(&listen)
    }
}
