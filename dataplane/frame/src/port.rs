//! The seam between the packet path and its I/O.

use crate::{Burst, FramePool};

/// An interface as the data path numbers it: dense, stable for the life of the process for one interface name,
/// whatever index the kernel gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

impl PortId {
    /// No interface: a frame that was not received.
    pub const NONE: PortId = PortId(u16::MAX);

    /// The number as an index.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// How a port moves its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// AF_XDP, the driver reads and writes the frames themselves.
    ZeroCopy,
    /// AF_XDP with native XDP, the kernel copies.
    Copy,
    /// AF_XDP with generic XDP, the kernel copies.
    Generic,
    /// No kernel: memory or a file.
    Memory,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::ZeroCopy => "zero-copy",
            Mode::Copy => "copy",
            Mode::Generic => "generic",
            Mode::Memory => "memory",
        })
    }
}

/// What a port can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// The interface.
    pub port: PortId,
    /// The queue of that interface which this port serves.
    pub queue: u32,
    /// How frames move.
    pub mode: Mode,
}

/// What a flush found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flushed {
    /// Frames that came back from sending and went to the pool.
    pub completed: usize,
    /// Frames handed over for sending that have not come back yet.
    pub in_flight: usize,
}

/// Cumulative counters of a port, 64 bits wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames handed over for sending.
    pub tx_frames: u64,
    /// Bytes handed over for sending.
    pub tx_bytes: u64,
    /// Kicks of the kernel (system calls) for sending.
    pub tx_kicks: u64,
    /// Sends refused because the ring was full; the frames stayed with the caller.
    pub tx_ring_full: u64,
    /// `XDP_STATISTICS`: frames that the kernel dropped for other reasons.
    pub rx_dropped: u64,
    /// `XDP_STATISTICS`: descriptors that the kernel refused on receiving.
    pub rx_invalid: u64,
    /// `XDP_STATISTICS`: descriptors that the kernel refused on sending.
    pub tx_invalid: u64,
    /// `XDP_STATISTICS`: frames dropped because the receive ring was full.
    pub rx_ring_full: u64,
    /// `XDP_STATISTICS`: times that the kernel found no frame to receive into.
    pub fill_empty: u64,
    /// `XDP_STATISTICS`: times that the kernel found nothing to send.
    pub tx_empty: u64,
}

/// One queue of one interface: where frames come from and go to.
///
/// ```text
///   recv: wire -> burst         send: burst -> ring         flush: kick the ring, reap what was sent -> pool
/// ```
pub trait Port: Send + std::fmt::Debug {
    /// Receives frames into `burst`, as many as are there and fit, and gives the backend new memory from `pool`.
    /// Received frames carry this port's [`PortId`] as ingress. Returns how many came.
    fn recv(&mut self, burst: &mut Burst, pool: &mut FramePool) -> usize;

    /// Takes frames from the front of `burst` for sending, as many as fit. What does not fit stays in `burst`:
    /// it is the caller's. Returns how many were taken.
    fn send(&mut self, burst: &mut Burst) -> usize;

    /// Makes sure that what was taken is being sent, and returns frames that have been sent to `pool`. To be
    /// called every turn, also when nothing was received or sent.
    fn flush(&mut self, pool: &mut FramePool) -> Flushed;

    /// What this port can do.
    fn caps(&self) -> Caps;

    /// Its counters.
    fn stats(&self) -> PortStats;

    /// Frames that the port holds now (rings, kernel), for the conservation check.
    fn held(&self) -> usize;

    /// Ends the port and returns every frame that it holds to `pool`. Frames in the kernel's hands come back
    /// because the backend closes its socket first.
    fn close(self: Box<Self>, pool: &mut FramePool);

    /// The descriptor that becomes readable when frames arrive, where there is one to wait on.
    fn wait_fd(&self) -> Option<std::os::fd::RawFd> {
        None
    }
}
