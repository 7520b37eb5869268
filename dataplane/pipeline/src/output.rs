//! What a burst produced: verdicts, frames to send, frames for the kernel, requests to the control thread.

use crate::verdict::Verdict;
use sheave_frame::{Burst, Frame, PortId};
use sheave_proto::wire::eth::Mac;
use std::net::IpAddr;

/// A message to the control thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Punt {
    /// Resolve this neighbour's hardware address; the answer comes with a later snapshot.
    Resolve {
        /// On this interface.
        port: PortId,
        /// This address.
        neighbour: IpAddr,
    },
    /// Another station claims a VIP.
    Conflict {
        /// Seen on this interface.
        port: PortId,
        /// The VIP.
        vip: IpAddr,
        /// The claimant.
        mac: Mac,
    },
}

/// What came of one call of the pipeline. Reused from turn to turn; the worker empties it.
#[derive(Debug)]
pub struct Output {
    /// One for each input frame, in order.
    pub verdicts: Vec<Verdict>,
    /// Frames to send, in order, each with the interface that it leaves by.
    pub sends: Vec<(PortId, Frame)>,
    /// Frames for the kernel's receive path of the interface that they came in on.
    pub passes: Burst,
    /// Messages to the control thread.
    pub punts: Vec<Punt>,
}

impl Output {
    /// Room for what a burst of [`sheave_frame::BURST`] frames and as many released ones can produce.
    pub fn new() -> Output {
        let n = sheave_frame::BURST;
        Output {
            verdicts: Vec::with_capacity(n),
            sends: Vec::with_capacity(4 * n),
            passes: Burst::with_capacity(n),
            punts: Vec::with_capacity(2 * n),
        }
    }
}

impl Default for Output {
    fn default() -> Output {
        Output::new()
    }
}
