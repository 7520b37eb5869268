//! What operations answer with: one type each, for the director to write and clients to read.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::drain::DrainStatus;
use super::traffic::{Stats, UnixTime};
use super::words::{ConnState, CounterKind, DestinationState, NeighbourOrigin, NeighbourState};
use crate::config::{
    BackupBelow, Config, DestAddr, Draws, Forward, Helper, Intent, Listen, MhTable, Mode, MssClamp,
    OnRemoval, Persistence, Scheduler, SchedulerFlag, SlowStart, Sorry, Timeouts, TunnelPort, TunnelType,
    Weight,
};
use crate::wire::eth::Mac;
use crate::wire::flow::Proto;

/// The answer to `status.show`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// When this was so.
    pub as_of: UnixTime,
    /// The director's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: UnixTime,
    /// The number of the configuration in force; each change counts it up.
    pub epoch: u64,
    /// The configuration file, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_file: Option<String>,
    /// How many workers run.
    pub workers: u32,
    /// How many services there are.
    pub services: u32,
    /// How many destinations they have.
    pub destinations: u32,
    /// How many connections the table holds.
    pub connections: u64,
    /// How many of them are TCP and not established yet.
    #[serde(default)]
    pub half_open: u64,
    /// How many it can hold.
    pub max_connections: u64,
    /// The workers that are in flood mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floods: Vec<FloodStatus>,
    /// How many connections found no room in the table, while it is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// New connections that were dropped before a worker saw them.
    #[serde(default)]
    pub dropped_early: DroppedEarly,
    /// The interfaces, those that could not be attached too.
    pub interfaces: Vec<InterfaceStatus>,
}

/// A worker with a listen in flood mode: it takes no entries for new connections to that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FloodStatus {
    /// Its number.
    pub worker: u32,
    /// How many seconds it has been so.
    pub lasts: f64,
    /// New connections that it saw in the second before.
    pub rate: u64,
}

/// New connections beyond the rates of the steering program, since the director's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DroppedEarly {
    /// Beyond the rate of their source.
    pub by_source: u64,
    /// Beyond the rate of their virtual address.
    pub by_vip: u64,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InterfaceStatus {
    /// The kernel's name of it.
    pub name: String,
    /// The kernel's number of it; none when it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Its largest packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether its link is up.
    pub up: bool,
    /// How it is attached; none when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// How many queues are served.
    pub queues: u32,
    /// Why it is not attached, or not in a faster mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The answer to `service.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceList {
    /// When this was so.
    pub as_of: UnixTime,
    /// Every service, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
}

/// The answer to `service.show`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceShown {
    /// When this was so.
    pub as_of: UnixTime,
    /// The service.
    pub service: ServiceStatus,
}

/// Whether a setting is what it is by default: left out then.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

/// One service with what it is doing. Settings that are left out are at their default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What it listens on.
    pub listen: Vec<Listen>,
    /// How destinations are chosen.
    pub scheduler: Scheduler,
    /// Variants of the scheduler.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scheduler_flags: BTreeSet<SchedulerFlag>,
    /// mh: the slots of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mh_table: Option<MhTable>,
    /// random: how many destinations are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draws: Option<Draws>,
    /// The forwarding method of destinations that name none.
    pub forward: Forward,
    /// The timeouts of its entries, those that are the director's too.
    pub timeouts: Timeouts,
    /// Whether clients stay with their destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// UDP: each packet is scheduled by itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub one_packet: bool,
    /// TCP: packets without an entry are scheduled.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sloppy: bool,
    /// TCP under NAT: the director completes the handshake.
    #[serde(default, skip_serializing_if = "is_default")]
    pub syn_proxy: bool,
    /// TCP: what becomes of the maximum segment size.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mss_clamp: MssClamp,
    /// Whether DF is kept on the packet that wraps another.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub pmtu_discovery: bool,
    /// What follows connections that the protocol announces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helper: Option<Helper>,
    /// Where connections go when no destination can take them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sorry: Option<Sorry>,
    /// Backup destinations are used while fewer others are usable.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backup_below: BackupBelow,
    /// How long weights take to grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
    /// The one interface on which its address is answered, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// What happens to connections of a destination that goes away.
    pub on_removal: OnRemoval,
    /// Active connections.
    pub active: u64,
    /// Inactive connections.
    pub inactive: u64,
    /// Its traffic.
    pub stats: Stats,
    /// Its destinations, in the order of the configuration.
    pub destinations: Vec<DestinationStatus>,
}

/// The answer to `destination.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DestinationList {
    /// When this was so.
    pub as_of: UnixTime,
    /// The destinations, in the order of the configuration.
    pub destinations: Vec<DestinationStatus>,
}

/// One destination with what it is doing. Settings that are left out are at their default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DestinationStatus {
    /// The name of its service.
    pub service: String,
    /// Its address, with the port that packets are sent to.
    pub address: DestAddr,
    /// Its share of new connections.
    pub weight: Weight,
    /// How packets reach it.
    pub forward: Forward,
    /// tun: how packets are wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelType>,
    /// tun with GUE: the UDP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_port: Option<TunnelPort>,
    /// tun with GRE or GUE: whether the tunnel's header carries a checksum.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tunnel_checksum: bool,
    /// Whether it waits until others fail.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backup: bool,
    /// It counts as overloaded from so many connections on; 0 is never.
    #[serde(default)]
    pub upper_threshold: u32,
    /// It no longer does below so many.
    #[serde(default)]
    pub lower_threshold: u32,
    /// How many connections it is given at most; 0 is no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub connection_limit: u32,
    /// What the operator intends it to do: its `state` in the configuration.
    #[serde(default, skip_serializing_if = "is_default")]
    pub intent: Intent,
    /// Whether it is given connections.
    pub state: DestinationState,
    /// While it grows to its weight after it was added or has recovered: the part of it that counts now, up to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<f64>,
    /// How its drain goes, while it is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// Active connections.
    pub active: u64,
    /// Inactive connections.
    pub inactive: u64,
    /// Its traffic.
    pub stats: Stats,
}

/// The answer to every operation that changes something: `service.add`, `destination.set`, `config.apply`, ...
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Applied {
    /// Since when it is so.
    pub as_of: UnixTime,
    /// The number of the configuration that is in force now.
    pub epoch: u64,
    /// What changed; empty when all was so before.
    pub changes: Vec<Change>,
}

/// The answer to `config.plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlanReport {
    /// When this was so.
    pub as_of: UnixTime,
    /// The number of the configuration in force, which the plan is made against.
    pub epoch: u64,
    /// What would change.
    pub changes: Vec<Change>,
}

/// One change of a plan. Its `Display` is the line of a printed plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// What is done to it.
    pub kind: ChangeKind,
    /// The object, as in `service web`.
    pub object: String,
    /// What about it, as in `scheduler wlc -> rr`; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// What a change does to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is new.
    Add,
    /// It goes.
    Remove,
    /// It stays, and keys of it change.
    Change,
    /// It changes only when the director is started again.
    NeedsRestart,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.kind {
            ChangeKind::Add => '+',
            ChangeKind::Remove => '-',
            ChangeKind::Change => '~',
            ChangeKind::NeedsRestart => '!',
        };
        write!(f, "{sign} {}", self.object)?;
        match (self.detail.as_str(), self.kind) {
            ("", ChangeKind::NeedsRestart) => f.write_str(" (at the next start)"),
            ("", _) => Ok(()),
            (detail, ChangeKind::NeedsRestart) => write!(f, ": {detail} (at the next start)"),
            (detail, _) => write!(f, ": {detail}"),
        }
    }
}

/// The answer to `config.show`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigShown {
    /// When this was so.
    pub as_of: UnixTime,
    /// The number of the configuration in force.
    pub epoch: u64,
    /// Its text, fit for a file.
    pub toml: String,
    /// The same as an object, in the same spellings.
    pub config: Config,
}

/// The answer to `timeouts.show`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TimeoutsShown {
    /// When this was so.
    pub as_of: UnixTime,
    /// The timeouts of services that do not set their own.
    pub timeouts: Timeouts,
}

/// The answer to `stats.mark`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Marked {
    /// The moment that is counted from.
    pub as_of: UnixTime,
    /// How many services were marked.
    pub services: u32,
}

/// The answer to `connections.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConnectionPage {
    /// When the page was read; entries change while pages are turned.
    pub as_of: UnixTime,
    /// The entries that were asked for.
    pub entries: Vec<Connection>,
    /// Where the next page begins: to be given back as it is. None when this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One connection entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Connection {
    /// The protocol.
    pub proto: Proto,
    /// The client's address and port.
    pub client: DestAddr,
    /// The virtual address and port.
    pub vip: DestAddr,
    /// The real server's address and port.
    pub real: DestAddr,
    /// The name of the service; none when it is gone and the connection goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How packets reach the real server.
    pub forward: Forward,
    /// The state.
    pub state: ConnState,
    /// Seconds until it expires if no packet comes.
    pub expires_in: f64,
}

/// The answer to `neighbours.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NeighboursReport {
    /// When this was so.
    pub as_of: UnixTime,
    /// Each neighbour.
    pub neighbours: Vec<NeighbourStatus>,
}

/// One neighbour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeighbourStatus {
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The interface.
    pub interface: String,
    /// Whether packets can be sent to it.
    pub state: NeighbourState,
    /// Where it is known from.
    pub origin: NeighbourOrigin,
}

/// The answer to `counters.show`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CountersReport {
    /// When this was so.
    pub as_of: UnixTime,
    /// Each counter, those that are 0 too.
    pub counters: Vec<Counter>,
}

/// One counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Its name.
    pub name: String,
    /// What it counts.
    pub kind: CounterKind,
    /// One sentence for operators.
    pub help: String,
    /// Its value: cumulative, the sum over all workers.
    pub value: u64,
}

/// The answer to `events.subscribe`; events follow on the same connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Subscribed {
    /// When this was so.
    pub as_of: UnixTime,
    /// The number of the next event.
    pub next_seq: u64,
}
