//! What a worker counts of itself. Written by the worker alone, read by anybody.

use sheave_pipeline::{Reason, Time};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What becomes of frames after the pipeline has given its verdict: the reasons that only the worker can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Lost {
    /// No queue of that interface anywhere.
    PortGone,
    /// The port's ring and its backlog are full.
    TxFull,
    /// The ring to the worker that owns the way out is full.
    HandoffFull,
    /// The way back to the kernel is full.
    PassQueueFull,
}

impl Lost {
    /// All of them, in the order of their counters.
    pub const ALL: [Lost; 4] = [Lost::PortGone, Lost::TxFull, Lost::HandoffFull, Lost::PassQueueFull];

    /// The row of the table of reasons.
    pub const fn reason(self) -> Reason {
        match self {
            Lost::PortGone => Reason::PortGone,
            Lost::TxFull => Reason::TxFull,
            Lost::HandoffFull => Reason::HandoffFull,
            Lost::PassQueueFull => Reason::PassQueueFull,
        }
    }
}

/// Where a worker's frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frames {
    /// Frames that its pool owns, wherever they are.
    pub total: usize,
    /// Free in its pool.
    pub free: usize,
    /// Of other pools, in its pool on their way home.
    pub foreign: usize,
    /// In its ports (rings, kernel).
    pub ports: usize,
    /// Held back by its pipeline.
    pub held: usize,
    /// Waiting in its backlogs for room to be sent.
    pub backlog: usize,
    /// In the rings from other workers to it.
    pub rings: usize,
}

impl Frames {
    /// Frames that are here, whoever owns them. Summed over all workers it equals the sum of their totals.
    pub fn here(&self) -> usize {
        self.free + self.foreign + self.ports + self.held + self.backlog + self.rings
    }
}

macro_rules! stats {
    ($($field:ident: $doc:literal,)+) => {
        /// A worker's own counters, cumulative unless said otherwise.
        // ORDERING: all relaxed; each is a number of its own and none guards other memory.
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub struct Stats {
            $(pub(crate) $field: AtomicU64,)+
            lost: [AtomicU64; 4],
        }

        impl Stats {
            $(#[doc = $doc]
            pub fn $field(&self) -> u64 {
                self.$field.load(Relaxed)
            })+
        }
    };
}

stats! {
    turns: "Turns of the loop.",
    busy_turns: "Turns that found something to do.",
    sleeps: "Times that the worker went to sleep.",
    bursts: "Bursts received.",
    handed_over: "Frames given to other workers to send.",
    taken_over: "Frames taken from other workers to send.",
    injected: "Frames sent for the control thread.",
    inject_failed: "Frames of the control thread that could not be sent: no free frame, or no way out.",
    passed: "Frames given back to the kernel.",
    punts_lost: "Messages to the control thread lost because it did not keep up; the pipeline repeats them.",
    longest_turn: "The longest turn in nanoseconds, sleep excluded.",
    frames_total: "Frames that the pool owns (now).",
    frames_free: "Frames free in the pool (as of the last publication).",
    frames_here: "Frames of any pool that are with this worker (as of the last publication).",
    frames_held: "Frames held back for a next hop (as of the last publication).",
    frames_backlog: "Frames that wait for room to be sent (as of the last publication).",
    epoch: "The snapshot that the worker went by in its last turn.",
    as_of: "When the worker last published its gauges, in nanoseconds of its clock.",
}

impl Stats {
    /// Frames lost after their verdict, for this reason.
    pub fn lost(&self, why: Lost) -> u64 {
        self.lost[why as usize].load(Relaxed)
    }

    pub(crate) fn lose(&self, why: Lost) {
        bump(&self.lost[why as usize], 1);
    }

    pub(crate) fn gauges(&self, frames: Frames, now: Time) {
        let set = |gauge: &AtomicU64, value: usize| gauge.store(value as u64, Relaxed);
        set(&self.frames_total, frames.total);
        set(&self.frames_free, frames.free);
        set(&self.frames_here, frames.here());
        set(&self.frames_held, frames.held);
        set(&self.frames_backlog, frames.backlog);
        self.as_of.store(now.0, Relaxed);
    }
}

/// Adds to a counter that only this thread writes: no locked instruction.
#[inline]
pub(crate) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

/// Raises a maximum that only this thread writes.
#[inline]
pub(crate) fn raise(maximum: &AtomicU64, value: u64) {
    if value > maximum.load(Relaxed) {
        maximum.store(value, Relaxed);
    }
}
