//! Numbers: traffic of services and destinations, workers with their queues and frames.
//!
//! Totals are cumulative since the director's start, 64 bits wide, and survive a reload. Rates are those of
//! IPVS: sampled every 2 seconds, an average that a new sample moves by a quarter of its distance.

use serde::{Deserialize, Serialize};

use crate::config::{DestAddr, Listen, Mode};

/// A time: seconds since 1970-01-01T00:00:00Z, fractions included.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub f64);

impl UnixTime {
    /// So long after the epoch.
    #[must_use]
    pub fn since_epoch(since: std::time::Duration) -> UnixTime {
        UnixTime(since.as_secs_f64())
    }
}

/// What was counted, in ipvsadm's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Totals {
    /// Connections scheduled.
    pub conns: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients; NAT only, under DR and TUN they do not pass the director.
    pub out_packets: u64,
    /// Bytes from clients, IP header and all that follows it.
    pub in_bytes: u64,
    /// Bytes to clients, likewise.
    pub out_bytes: u64,
}

/// What is counted in a second, in ipvsadm's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rates {
    /// Connections scheduled.
    pub cps: u64,
    /// Packets from clients.
    pub inpps: u64,
    /// Packets to clients.
    pub outpps: u64,
    /// Bytes from clients.
    pub inbps: u64,
    /// Bytes to clients.
    pub outbps: u64,
}

/// Totals and rates together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stats {
    /// Since the director's start.
    pub totals: Totals,
    /// Now.
    pub rates: Rates,
    /// Since `stats.mark` was asked for last, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_mark: Option<Totals>,
}

/// The answer to `stats.show`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StatsReport {
    /// When this was so.
    pub as_of: UnixTime,
    /// The sum over all services.
    pub total: Stats,
    /// Each service.
    pub services: Vec<ServiceStats>,
}

/// The numbers of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStats {
    /// Its name.
    pub name: String,
    /// What it listens on.
    pub listen: Vec<Listen>,
    /// Its own numbers.
    pub stats: Stats,
    /// Those of its destinations.
    pub destinations: Vec<DestinationStats>,
}

/// The numbers of one destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DestinationStats {
    /// Its address, with its port.
    pub address: DestAddr,
    /// Its numbers.
    pub stats: Stats,
}

/// The answer to `workers.show`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorkersReport {
    /// When this was so.
    pub as_of: UnixTime,
    /// Each worker.
    pub workers: Vec<WorkerStatus>,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WorkerStatus {
    /// Its number, from 0.
    pub worker: u32,
    /// The core that it is pinned to.
    pub core: u32,
    /// Turns of its loop.
    pub turns: u64,
    /// Turns that had nothing to do.
    pub idle_turns: u64,
    /// Times that it went to sleep.
    pub sleeps: u64,
    /// Frames received.
    pub packets: u64,
    /// The number of the configuration that it works with.
    pub epoch: u64,
    /// Where its frames are.
    pub frames: FrameCounts,
    /// Its queues.
    pub queues: Vec<QueueStatus>,
}

/// Where the frames of a worker's pool are; the sum never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FrameCounts {
    /// How many it has.
    pub total: u64,
    /// Free, in the pool.
    pub free: u64,
    /// In the rings of its queues, or with the kernel.
    pub in_ports: u64,
    /// Kept back: held packets, leftovers of a full ring.
    pub held: u64,
    /// With other workers.
    pub elsewhere: u64,
}

/// One queue of an interface; counters are those of its socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct QueueStatus {
    /// The interface.
    pub interface: String,
    /// The number of the queue.
    pub queue: u32,
    /// How it is attached.
    pub mode: Mode,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames handed over for sending.
    pub tx_frames: u64,
    /// Bytes handed over for sending.
    pub tx_bytes: u64,
    /// Kicks of the kernel for sending.
    pub tx_kicks: u64,
    /// Sends that found the ring full.
    pub tx_ring_full: u64,
    /// Frames that the kernel dropped for other reasons than those below.
    pub rx_dropped: u64,
    /// Descriptors that the kernel refused on receiving.
    pub rx_invalid: u64,
    /// Descriptors that the kernel refused on sending.
    pub tx_invalid: u64,
    /// Frames dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// Times that the kernel found no frame to receive into.
    pub fill_empty: u64,
    /// Times that the kernel found nothing to send.
    pub tx_empty: u64,
}
