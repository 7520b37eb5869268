//! Where each counter of a worker lies in its page.
//!
//! One page a worker, written by it alone; the control thread sums the pages. All are cumulative and 64 bits
//! wide, and outlive snapshots because ids do.

use crate::helper::Note;
use crate::ids::{DestId, ServiceId};
use crate::reason::Reason;
use crate::verdict::VerdictKind;

/// What is counted for a service and for a destination, as ipvsadm names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Traffic {
    /// Connections scheduled.
    Conns,
    /// Packets from clients.
    InPackets,
    /// Packets to clients (NAT only: under DR and TUN they do not pass the director).
    OutPackets,
    /// Bytes from clients, IP header and all that follows it.
    InBytes,
    /// Bytes to clients, likewise.
    OutBytes,
}

impl Traffic {
    /// All, in the order of their slots.
    pub const ALL: [Traffic; 5] =
        [Traffic::Conns, Traffic::InPackets, Traffic::OutPackets, Traffic::InBytes, Traffic::OutBytes];
}

/// What happened beside packets' outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Extra {
    /// Packets sent on without an entry, in flood mode.
    Adrift,
    /// Connections that were not established and had to make room for others.
    Evicted,
}

impl Extra {
    /// All, in the order of their slots.
    pub const ALL: [Extra; 2] = [Extra::Adrift, Extra::Evicted];

    /// The name: in counters, on the command line, in replay.
    pub const fn name(self) -> &'static str {
        match self {
            Extra::Adrift => "adrift",
            Extra::Evicted => "evicted",
        }
    }

    /// One sentence for operators.
    pub const fn help(self) -> &'static str {
        match self {
            Extra::Adrift => "packets sent on without an entry in the connection table, in flood mode",
            Extra::Evicted => "connections that were not established and had to make room for others",
        }
    }
}

const VERDICTS: usize = 0;
const REASONS: usize = 8;
const NOTES: usize = 112;
const EXTRAS: usize = 120;
const SERVICES: usize = 128;
// A stride of 8 keeps the counters of one id on one cache line.
const STRIDE: usize = 8;
const DESTINATIONS: usize = SERVICES + ServiceId::COUNT * STRIDE;

const _: () = assert!(REASONS + Reason::ALL.len() <= NOTES && VerdictKind::ALL.len() <= REASONS);
const _: () = assert!(NOTES + Note::ALL.len() <= EXTRAS && EXTRAS + Extra::ALL.len() <= SERVICES);

/// Slots of a page.
pub const PAGE_LEN: usize = DESTINATIONS + DestId::COUNT * STRIDE;

/// The slot of a verdict.
#[inline]
pub const fn verdict(kind: VerdictKind) -> usize {
    VERDICTS + kind as usize
}

/// The slot of a reason.
#[inline]
pub const fn reason(reason: Reason) -> usize {
    REASONS + reason as usize
}

/// The slot of what helpers note.
#[inline]
pub const fn note(note: Note) -> usize {
    NOTES + note as usize
}

/// The slot of something that happened beside packets' outcomes.
#[inline]
pub const fn extra(what: Extra) -> usize {
    EXTRAS + what as usize
}

/// A service's row; [`Traffic`] counts within it.
#[inline]
pub(crate) const fn service_row(id: ServiceId) -> usize {
    SERVICES / STRIDE + id.index()
}

/// A destination's row.
#[inline]
pub(crate) const fn destination_row(id: DestId) -> usize {
    DESTINATIONS / STRIDE + id.index()
}

/// The slot of a service's traffic.
#[inline]
pub const fn service(id: ServiceId, what: Traffic) -> usize {
    service_row(id) * STRIDE + what as usize
}

/// The slot of a destination's traffic.
#[inline]
pub const fn destination(id: DestId, what: Traffic) -> usize {
    destination_row(id) * STRIDE + what as usize
}
