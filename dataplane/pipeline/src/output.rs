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
    /// One for each input frame, in order, if they are asked for.
    pub verdicts: Vec<Verdict>,
    /// Whether they are.
    pub(crate) notes_verdicts: bool,
    /// Frames to send, in order, each by its [`Frame::egress`].
    pub sends: Vec<Frame>,
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
            notes_verdicts: true,
            sends: Vec::with_capacity(4 * n),
            passes: Burst::with_capacity(n),
            punts: Vec::with_capacity(2 * n),
        }
    }

    /// The same for whom the counters are enough: no verdicts.
    pub fn without_verdicts() -> Output {
        Output { notes_verdicts: false, ..Output::new() }
    }

    /// Notes a verdict, if it is asked for.
    #[inline(always)]
    pub(crate) fn note(&mut self, verdict: Verdict) {
        if self.notes_verdicts {
            self.verdicts.push(verdict);
        }
    }

    /// Has a frame leave by an interface.
    #[inline]
    pub(crate) fn send(&mut self, port: PortId, mut frame: Frame) {
        frame.set_egress(port);
        self.sends.push(frame);
    }
}

impl Default for Output {
    fn default() -> Output {
        Output::new()
    }
}
