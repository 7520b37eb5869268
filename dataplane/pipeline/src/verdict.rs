//! The outcome of a packet. A packet is never an error.

use crate::ids::{DestId, ServiceId};
use crate::reason::Reason;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum VerdictKind {
    /// Sent on to a real server or to a client.
    Forward,
    /// Answered by the director itself.
    Reply,
    /// Left to the kernel, byte for byte as it came.
    Pass,
    /// Handed to the control thread.
    Punt,
    /// Kept back for now.
    Hold,
    /// Dropped.
    Drop,
}

impl VerdictKind {
    /// All kinds, in the order of their counters.
    pub const ALL: [VerdictKind; 6] = [
        VerdictKind::Forward,
        VerdictKind::Reply,
        VerdictKind::Pass,
        VerdictKind::Punt,
        VerdictKind::Hold,
        VerdictKind::Drop,
    ];

    /// The name, as in replay and in the counters.
    pub const fn name(self) -> &'static str {
        match self {
            VerdictKind::Forward => "forward",
            VerdictKind::Reply => "reply",
            VerdictKind::Pass => "pass",
            VerdictKind::Punt => "punt",
            VerdictKind::Hold => "hold",
            VerdictKind::Drop => "drop",
        }
    }
}

/// The outcome of one input frame, with what it concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// The reason; `None` for a plain forward and only for it.
    reason: Option<Reason>,
    /// The service that it concerned, where one is known.
    pub service: Option<ServiceId>,
    /// The destination that it concerned, where one is known.
    pub destination: Option<DestId>,
}

impl Verdict {
    /// A plain forward.
    pub const fn forward(service: ServiceId, destination: DestId) -> Verdict {
        Verdict { reason: None, service: Some(service), destination: Some(destination) }
    }

    /// Any other outcome; its kind is the reason's.
    pub const fn because(reason: Reason) -> Verdict {
        Verdict { reason: Some(reason), service: None, destination: None }
    }

    /// The same, concerning `service`.
    pub const fn of(mut self, service: ServiceId) -> Verdict {
        self.service = Some(service);
        self
    }

    /// The same, concerning `destination`.
    pub const fn to(mut self, destination: DestId) -> Verdict {
        self.destination = Some(destination);
        self
    }

    /// What became of the packet.
    pub const fn kind(self) -> VerdictKind {
        match self.reason {
            None => VerdictKind::Forward,
            Some(reason) => reason.kind(),
        }
    }

    /// Why, for anything but a plain forward.
    pub const fn reason(self) -> Option<Reason> {
        self.reason
    }
}
