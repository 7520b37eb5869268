//! What happens in the director, for those who subscribed.

use serde::{Deserialize, Serialize};

use super::drain::DrainEnd;
use super::traffic::UnixTime;
use crate::config::{DestAddr, Mode};
use crate::wire::eth::Mac;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    #[serde(flatten)]
    pub body: EventBody,
    /// Its number: one more than that of the event before it, from 1 at the director's start.
    pub seq: u64,
    /// When.
    pub time: UnixTime,
}

impl Event {
    /// The line on the socket, line feed included.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        super::response::line(self)
    }
}

/// What happened; the `event` key is the variant's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum EventBody {
    /// The director serves.
    Started {
        /// Its version.
        version: String,
    },
    /// The director is about to end.
    Stopping {
        /// Why.
        reason: String,
    },
    /// Another configuration is in force.
    ConfigApplied {
        /// Its number.
        epoch: u64,
        /// How many changes it brought.
        changes: usize,
        /// Where it came from: `socket`, `file`, `signal`.
        origin: String,
    },
    /// A configuration was refused, and the one before it stays in force.
    ConfigRefused {
        /// Where it came from.
        origin: String,
        /// How many errors it has.
        errors: usize,
        /// The first of them.
        first: String,
    },
    /// There is a new service.
    ServiceAdded {
        /// Its name.
        service: String,
    },
    /// Keys of a service changed.
    ServiceChanged {
        /// Its name.
        service: String,
        /// What changed, as a plan says it.
        detail: String,
    },
    /// A service is gone.
    ServiceRemoved {
        /// Its name.
        service: String,
    },
    /// There is a new destination.
    DestinationAdded {
        /// The name of its service.
        service: String,
        /// Its address.
        address: DestAddr,
    },
    /// Keys of a destination changed.
    DestinationChanged {
        /// The name of its service.
        service: String,
        /// Its address.
        address: DestAddr,
        /// What changed, as a plan says it.
        detail: String,
    },
    /// A destination is gone.
    DestinationRemoved {
        /// The name of its service.
        service: String,
        /// Its address.
        address: DestAddr,
    },
    /// A drain goes on. Told when it begins, and then at most once a second while connections end.
    DrainProgress {
        /// The name of its service.
        service: String,
        /// Its address.
        address: DestAddr,
        /// Connections that are left, active and inactive.
        connections: u64,
        /// Seconds until its deadline, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remaining: Option<f64>,
    },
    /// A drain has ended.
    DrainFinished {
        /// The name of its service.
        service: String,
        /// Its address.
        address: DestAddr,
        /// How.
        end: DrainEnd,
        /// Connections that were left then.
        connections: u64,
    },
    /// A worker takes no entries for new connections beyond its bound any more: what can be is scheduled without.
    FloodEntered {
        /// The number of the worker.
        worker: u32,
        /// New connections that it saw in the last second.
        rate: u64,
    },
    /// A worker takes entries for all new connections again.
    FloodLeft {
        /// The number of the worker.
        worker: u32,
        /// How many seconds it was in flood mode.
        lasted: f64,
    },
    /// The connection table has no room for new connections; those that it holds are not concerned.
    TableFull {
        /// How many connections it holds.
        connections: u64,
    },
    /// The connection table has room again.
    TableRoom {
        /// How many connections it holds.
        connections: u64,
        /// How many found no room meanwhile.
        refused: u64,
    },
    /// An interface is served.
    InterfaceAttached {
        /// Its name.
        interface: String,
        /// How.
        mode: Mode,
        /// How many queues.
        queues: u32,
    },
    /// An interface is not served, or no longer.
    InterfaceDetached {
        /// Its name.
        interface: String,
        /// Why.
        reason: String,
    },
    /// A virtual address was announced on an interface.
    VipAnnounced {
        /// The address.
        address: std::net::IpAddr,
        /// The interface.
        interface: String,
    },
    /// Another station claims a virtual address of ours. Told at most once in ten seconds for each.
    VipConflict {
        /// The address.
        address: std::net::IpAddr,
        /// The interface.
        interface: String,
        /// The hardware address of the other station.
        mac: Mac,
    },
    /// A next hop does not answer.
    NeighbourFailed {
        /// Its address.
        address: std::net::IpAddr,
        /// The interface.
        interface: String,
    },
    /// A client of the socket was cut off.
    ClientCutOff {
        /// Why.
        reason: String,
    },
    /// Events before this one were not kept for this subscriber.
    EventsLost {
        /// How many.
        count: u64,
    },
}

impl EventBody {
    /// The `event` key.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            EventBody::Started { .. } => "started",
            EventBody::Stopping { .. } => "stopping",
            EventBody::ConfigApplied { .. } => "config-applied",
            EventBody::ConfigRefused { .. } => "config-refused",
            EventBody::ServiceAdded { .. } => "service-added",
            EventBody::ServiceChanged { .. } => "service-changed",
            EventBody::ServiceRemoved { .. } => "service-removed",
            EventBody::DestinationAdded { .. } => "destination-added",
            EventBody::DestinationChanged { .. } => "destination-changed",
            EventBody::DestinationRemoved { .. } => "destination-removed",
            EventBody::DrainProgress { .. } => "drain-progress",
            EventBody::DrainFinished { .. } => "drain-finished",
            EventBody::FloodEntered { .. } => "flood-entered",
            EventBody::FloodLeft { .. } => "flood-left",
            EventBody::TableFull { .. } => "table-full",
            EventBody::TableRoom { .. } => "table-room",
            EventBody::InterfaceAttached { .. } => "interface-attached",
            EventBody::InterfaceDetached { .. } => "interface-detached",
            EventBody::VipAnnounced { .. } => "vip-announced",
            EventBody::VipConflict { .. } => "vip-conflict",
            EventBody::NeighbourFailed { .. } => "neighbour-failed",
            EventBody::ClientCutOff { .. } => "client-cut-off",
            EventBody::EventsLost { .. } => "events-lost",
        }
    }
}
