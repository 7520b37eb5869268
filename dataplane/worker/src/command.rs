//! What the control thread and a worker say to each other.

use crate::port::PortPage;
use sheave_frame::{Port, PortId};
use sheave_io::{PassPath, PassQueue, Passed};
use std::sync::Arc;

/// The way back into the kernel's receive path. A seam: the kernel's in production, a list in tests.
pub trait KernelPath: Send + std::fmt::Debug {
    /// Gives a frame to the kernel as if it had just come in on `port`. False when the way is full or missing.
    fn pass(&mut self, port: PortId, frame: &[u8]) -> bool;

    /// Sets or takes away the way of `port`.
    fn set(&mut self, port: PortId, queue: Option<PassQueue>);
}

impl KernelPath for PassPath {
    fn pass(&mut self, port: PortId, frame: &[u8]) -> bool {
        self.send(port, frame) == Passed::Sent
    }

    fn set(&mut self, port: PortId, queue: Option<PassQueue>) {
        PassPath::set(self, port, queue);
    }
}

/// Wakes the control thread; cheap when it is awake.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

/// Bytes of an injected frame, at most: an announcement, not a payload.
const INJECT: usize = 64;

/// A frame that the control thread wants sent.
#[derive(Clone, Copy)]
pub struct Inject {
    /// Out of this interface.
    pub port: PortId,
    len: u8,
    bytes: [u8; INJECT],
}

impl Inject {
    /// A frame with these bytes; `None` when they are more than an announcement can have.
    pub fn new(port: PortId, frame: &[u8]) -> Option<Inject> {
        let mut bytes = [0; INJECT];
        bytes.get_mut(..frame.len())?.copy_from_slice(frame);
        Some(Inject { port, len: u8::try_from(frame.len()).ok()?, bytes })
    }

    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for Inject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inject").field("port", &self.port.0).field("len", &self.len).finish_non_exhaustive()
    }
}

/// Control thread to worker.
#[derive(Debug)]
pub enum Command {
    /// Serve this queue from now on.
    Open(Box<dyn Port>, Arc<PortPage>),
    /// Stop serving this queue: its frames come back, then its page says [`crate::PortState::Closed`].
    Close(PortId, u32),
    /// Set or take away the way back to the kernel of an interface.
    Pass(PortId, Option<PassQueue>),
    /// Send a frame.
    Inject(Inject),
    /// Close all ports and end.
    Stop,
}
