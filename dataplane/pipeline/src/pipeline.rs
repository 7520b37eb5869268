//! The pipeline of one worker.

use crate::live::Live;
use crate::output::Output;
use crate::snapshot::Snapshot;
use crate::time::Time;
use sheave_frame::{Burst, FramePool};
use std::sync::Arc;

/// Who finds out a next hop's hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolve {
    /// The kernel, asked by the control thread; the answer comes with a snapshot.
    Control,
    /// The pipeline itself: it sends the ARP request and learns from answers (replay).
    Ask,
}

/// How a worker's pipeline is set up.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Which worker this is, from 0.
    pub worker: usize,
    /// How many workers share the tables.
    pub workers: usize,
    /// Who resolves neighbours.
    pub resolve: Resolve,
    /// Where identifications and other arbitrary numbers start: the same seed gives the same bytes.
    pub seed: u64,
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The connection table.
    pub table: sheave_table::Table<1>,
    /// Live state of services and destinations.
    pub live: Live,
}

/// The packet path of one worker: its own mutable context beside what is shared.
#[derive(Debug)]
pub struct Pipeline {
    settings: Settings,
    shared: Arc<Shared>,
    counters: sheave_table::counters::Writer,
}

impl Pipeline {
    /// A pipeline over `shared`, counting into `counters`.
    pub fn new(settings: Settings, shared: Arc<Shared>, counters: sheave_table::counters::Writer) -> Pipeline {
        Pipeline { settings, shared, counters }
    }

    /// Handles every frame of `burst`, in order. Afterwards `burst` is empty: each frame is in `out`, held back
    /// inside, or in `pool`.
    pub fn process(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        burst: &mut Burst,
        pool: &mut FramePool,
        out: &mut Output,
    ) {
        let _ = (now, snapshot, burst, pool, out);
    }

    /// The work of a turn that no packet causes, bounded: expires entries of this worker's share of the table,
    /// releases held packets whose next hop is known by now, gives up on those that waited too long.
    pub fn tick(&mut self, now: Time, snapshot: &Snapshot, pool: &mut FramePool, out: &mut Output) {
        let _ = (now, snapshot, pool, out);
    }

    /// Expires everything that is due at `now`, unbounded: for replay, before each frame.
    pub fn expire_due(&mut self, now: Time, snapshot: &Snapshot) {
        let _ = (now, snapshot);
    }

    /// When `tick` next has something to do: how long an idle worker may sleep.
    pub fn next_due(&self, now: Time) -> Time {
        now.after(Time::SECOND / 4)
    }

    /// Frames held back inside, for the conservation check.
    pub fn held(&self) -> usize {
        0
    }
}
