//! One queue of one interface as a worker holds it: the port, its backlog and its page of counters.

use crate::stats::{Lost, Stats};
use sheave_frame::{Burst, Caps, Frame, FramePool, Port, PortId, PortStats};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Frames that wait for room in the ring, at most. Beyond it the way out is full: a longer queue would only add
/// delay.
pub(crate) const BACKLOG: usize = 512;

/// Where a port is in its life with a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortState {
    /// On its way to the worker.
    New,
    /// Served.
    Open,
    /// Closed; its frames are back.
    Closed,
}

macro_rules! page {
    ($($field:ident,)+) => {
        /// What a port shows of itself: written by its worker, read by the control thread.
        #[derive(Debug)]
        pub struct PortPage {
            /// What the port can do.
            pub caps: Caps,
            state: AtomicU8,
            held: AtomicU64,
            $($field: AtomicU64,)+
        }

        impl PortPage {
            /// A page for a port that is about to be handed over.
            pub fn new(caps: Caps) -> PortPage {
                PortPage {
                    caps,
                    state: AtomicU8::new(0),
                    held: AtomicU64::new(0),
                    $($field: AtomicU64::new(0),)+
                }
            }

            /// The port's counters as last published.
            pub fn stats(&self) -> PortStats {
                PortStats { $($field: self.$field.load(Ordering::Relaxed),)+ }
            }

            fn publish(&self, stats: PortStats, held: usize) {
                $(self.$field.store(stats.$field, Ordering::Relaxed);)+
                self.held.store(held as u64, Ordering::Relaxed);
            }
        }
    };
}

page! {
    rx_frames, rx_bytes, tx_frames, tx_bytes, tx_kicks, tx_ring_full,
    rx_dropped, rx_invalid, tx_invalid, rx_ring_full, fill_empty, tx_empty,
}

impl PortPage {
    /// Where the port is in its life.
    pub fn state(&self) -> PortState {
        // ORDERING: acquire, with the release in `set`: who sees Closed sees the final counters.
        match self.state.load(Ordering::Acquire) {
            0 => PortState::New,
            1 => PortState::Open,
            _ => PortState::Closed,
        }
    }

    /// Frames that the port held when it was last published.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn set(&self, state: PortState) {
        // ORDERING: release, with the acquire in `state`.
        self.state.store(state as u8, Ordering::Release);
    }
}

/// A port in a worker's hands.
#[derive(Debug)]
pub(crate) struct OwnPort {
    port: Box<dyn Port>,
    backlog: Burst,
    page: Arc<PortPage>,
    in_flight: bool,
}

impl OwnPort {
    pub(crate) fn open(port: Box<dyn Port>, page: Arc<PortPage>) -> OwnPort {
        page.set(PortState::Open);
        OwnPort { port, backlog: Burst::with_capacity(BACKLOG), page, in_flight: false }
    }

    pub(crate) fn id(&self) -> PortId {
        self.page.caps.port
    }

    pub(crate) fn is(&self, port: PortId, queue: u32) -> bool {
        self.page.caps.port == port && self.page.caps.queue == queue
    }

    #[inline]
    pub(crate) fn recv(&mut self, burst: &mut Burst, pool: &mut FramePool) -> usize {
        self.port.recv(burst, pool)
    }

    /// Queues a frame for sending.
    #[inline]
    pub(crate) fn queue(&mut self, frame: Frame) -> Result<(), Frame> {
        match self.backlog.push(frame) {
            Ok(()) => Ok(()),
            Err(frame) => {
                // The burst of this turn may not have been offered to the ring yet.
                self.port.send(&mut self.backlog);
                self.backlog.push(frame)
            }
        }
    }

    /// Queues all frames for sending if there is room for them; otherwise none, and says so.
    #[inline]
    pub(crate) fn queue_all(&mut self, frames: &mut Vec<Frame>) -> bool {
        let fit = frames.len() <= self.backlog.room();
        if fit {
            self.backlog.take_from(frames, frames.len());
        }
        fit
    }

    /// Sends what is queued as far as there is room, and reaps what was sent.
    #[inline]
    pub(crate) fn flush(&mut self, pool: &mut FramePool) -> bool {
        if !self.backlog.is_empty() {
            self.port.send(&mut self.backlog);
        }
        let flushed = self.port.flush(pool);
        self.in_flight = flushed.in_flight > 0 || !self.backlog.is_empty();
        flushed.completed > 0
    }

    /// Whether frames are out that only a further flush brings back.
    pub(crate) fn in_flight(&self) -> bool {
        self.in_flight
    }

    pub(crate) fn wait_fd(&self) -> Option<std::os::fd::RawFd> {
        self.port.wait_fd()
    }

    pub(crate) fn held(&self) -> usize {
        self.port.held()
    }

    pub(crate) fn backlog(&self) -> usize {
        self.backlog.len()
    }

    pub(crate) fn publish(&self) {
        self.page.publish(self.port.stats(), self.port.held());
    }

    /// Ends the port, with a last attempt to send what waits; every frame it had is in `pool` afterwards.
    pub(crate) fn close(mut self, pool: &mut FramePool, stats: &Stats) {
        self.flush(pool);
        while let Some(frame) = self.backlog.pop() {
            stats.lose(Lost::PortGone);
            pool.release(frame);
        }
        self.page.publish(self.port.stats(), 0);
        self.port.close(pool);
        self.page.set(PortState::Closed);
    }
}
