//! Hardware addresses that the pipeline learned by itself, where nobody else resolves them (replay).

use hashbrown::HashMap;
use sheave_frame::PortId;
use sheave_proto::wire::eth::Mac;
use std::net::IpAddr;

/// A bounded table of neighbours. Those of the snapshot go before these.
#[derive(Debug)]
pub(crate) struct Learned {
    macs: HashMap<(PortId, IpAddr), Mac, foldhash::fast::FixedState>,
    most: usize,
}

impl Learned {
    /// A table for `most` neighbours; with 0, nothing is learned.
    pub(crate) fn new(most: usize) -> Learned {
        Learned { macs: HashMap::with_capacity_and_hasher(most, foldhash::fast::FixedState::default()), most }
    }

    /// A neighbour's address.
    #[inline]
    pub(crate) fn get(&self, port: PortId, neighbour: IpAddr) -> Option<Mac> {
        if self.most == 0 {
            return None;
        }
        self.macs.get(&(port, neighbour)).copied()
    }

    /// Learns, if there is room. Says whether that is news.
    pub(crate) fn learn(&mut self, port: PortId, neighbour: IpAddr, mac: Mac) -> bool {
        let room = self.macs.len() < self.most;
        match self.macs.entry((port, neighbour)) {
            hashbrown::hash_map::Entry::Occupied(mut known) => known.insert(mac) != mac,
            hashbrown::hash_map::Entry::Vacant(free) if room => {
                free.insert(mac);
                true
            }
            hashbrown::hash_map::Entry::Vacant(_) => false,
        }
    }
}
