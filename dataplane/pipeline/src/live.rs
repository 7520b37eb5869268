//! What changes while packets flow: beside the snapshot, in arrays by stable id, outliving snapshots.
//!
//! Shared by all workers and read by the control thread. Only changes of a connection's state and new
//! connections write here, never a plain packet.

use crate::ids::{DestId, ListenId, ServiceId};
use crate::path_mtu::PathMtu;
use crate::response::ResponseTime;
use crate::scheduler::Locality;
use crate::snapshot::{Limits, Snapshot};
use crate::time::Time;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Live state of one destination, on a cache line of its own: two workers that open connections to different
/// destinations do not share one.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct DestLive {
    active: AtomicU32,
    inactive: AtomicU32,
    /// The upper threshold that its connections reached, while the mark is set; 0 is without.
    overloaded: AtomicU32,
    response: ResponseTime,
    /// The time that it was taken into service, in nanoseconds; 0 is always.
    since: AtomicU64,
}

impl DestLive {
    /// Connections in an established or opening state, as IPVS counts them.
    pub fn active(&self) -> u32 {
        count(&self.active)
    }

    /// All other connections.
    pub fn inactive(&self) -> u32 {
        count(&self.inactive)
    }

    /// 256 x active + inactive: what lc and wlc compare.
    pub fn overhead(&self) -> u64 {
        u64::from(self.active()) * 256 + u64::from(self.inactive())
    }

    /// All connections.
    pub fn total(&self) -> u64 {
        u64::from(self.active()) + u64::from(self.inactive())
    }

    /// Whether it has as many connections as it may ever have.
    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        limits.connections != 0 && self.total() >= u64::from(limits.connections)
    }

    /// Whether it has too many connections for a new one.
    ///
    /// The mark for the thresholds is set when the connections reach `upper`, and cleared when they are fewer than
    /// `lower`, or than three quarters of `upper` when `lower` is 0, or when `upper` is raised. In between it stays as it is. So whoever changes a
    /// count, or the limits, asks, and not only those who want a connection opened. Workers that
    /// open connections at the same moment may each open one beyond a limit.
    // ORDERING: the mark stands for itself, nothing is published through it; it follows from counts that are
    // estimates while connections open and end.
    pub fn overloaded(&self, limits: &Limits) -> bool {
        let total = self.total();
        let full = self.is_full(limits);
        let reached = self.overloaded.load(Ordering::Relaxed);
        let (upper, lower) = (u64::from(limits.upper), u64::from(limits.lower));
        let below = if lower != 0 { total < lower } else { total * 4 < upper * 3 };
        // Of a threshold that was raised since, nothing was reached.
        let marked = reached >= limits.upper;
        let is = upper != 0 && (total >= upper || (marked && !below));
        let reaches = match is {
            true if total >= upper => limits.upper,
            true => reached,
            false => 0,
        };
        if reaches != reached {
            self.overloaded.store(reaches, Ordering::Relaxed);
        }
        is || full
    }

    /// The time from question to answer, in microseconds, as the measurements say; `None` without one.
    pub fn response_time(&self) -> Option<u32> {
        self.response.get()
    }

    /// Takes in a measured response time: a quarter of the average is the new one.
    pub fn measured(&self, micros: u32) {
        self.response.measured(micros);
    }

    /// How it is measured.
    pub(crate) fn response(&self) -> &ResponseTime {
        &self.response
    }

    /// The time from which on it grows to its weight, if there is one.
    // ORDERING: stands for itself.
    pub fn since(&self) -> Option<Time> {
        Some(Time(self.since.load(Ordering::Relaxed))).filter(|time| time.0 != 0)
    }

    /// Begins anew for a destination that got this number, or that has recovered: no overload, no response time.
    /// `since` is where it begins to grow to its weight; `None` is at its weight at once.
    // ORDERING: estimates that stand for themselves.
    pub fn begin(&self, since: Option<Time>) {
        self.overloaded.store(0, Ordering::Relaxed);
        self.response.reset();
        self.since.store(since.map_or(0, |time| time.0.max(1)), Ordering::Relaxed);
    }

    /// Counts a connection in (`+1`).
    // ORDERING: counts are read as estimates; exactness comes from every change being counted once.
    pub fn enter(&self, active: bool) {
        self.side(active).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection out (`-1`).
    pub fn leave(&self, active: bool) {
        self.side(active).fetch_sub(1, Ordering::Relaxed);
    }

    fn side(&self, active: bool) -> &AtomicU32 {
        if active { &self.active } else { &self.inactive }
    }
}

/// A connection may be counted out by one worker a moment before another has counted it in: that reads as none.
// ORDERING: an estimate; exactness comes from every change being counted once.
fn count(side: &AtomicU32) -> u32 {
    let count = side.load(Ordering::Relaxed);
    if count.cast_signed() < 0 { 0 } else { count }
}

/// Live state of one service: the scheduler's cursor (its meaning is the scheduler's own).
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ServiceLive {
    /// What rr and wrr remember between new connections.
    pub cursor: AtomicU64,
}

/// Live state of one listen.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ListenLive {
    pending: AtomicU32,
}

impl ListenLive {
    /// Its connections that are not established.
    #[inline]
    pub fn pending(&self) -> u64 {
        count(&self.pending).into()
    }

    // ORDERING: an estimate; exactness comes from every change being counted once.
    pub(crate) fn pend(&self, more: i32) {
        self.pending.fetch_add(more.cast_unsigned(), Ordering::Relaxed);
    }
}

/// How often a worker has looked through its share of the connection table, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Passes(AtomicU64);

/// What one worker alone writes, on a cache line of its own. All is relaxed: ORDERING: estimates, and marks that stand
/// for themselves.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WorkerLive {
    /// Connections of TCP that this worker has begun, less those that it has seen established or ended; and of UDP.
    pending: [AtomicU64; 2],
    floods: AtomicU64,
    /// Since when it is in flood mode, in nanoseconds; 0 is not.
    flood_since: AtomicU64,
    flood_rate: AtomicU64,
    flood_lasted: AtomicU64,
}

/// A worker's flood mode, as the control thread sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FloodSeen {
    /// How often it has begun.
    pub times: u64,
    /// Since when it lasts, if it does.
    pub since: Option<Time>,
    /// New connections in the second before it began, the last time.
    pub rate: u64,
    /// Nanoseconds that the last one lasted that is over.
    pub lasted: u64,
}

impl WorkerLive {
    /// A connection was begun that is not established (`+1`), or no longer is that (`-1`).
    #[inline]
    pub(crate) fn pend(&self, udp: bool, more: i32) {
        let pending = &self.pending[usize::from(udp)];
        let now = pending.load(Ordering::Relaxed).wrapping_add_signed(more.into());
        pending.store(now, Ordering::Relaxed);
    }

    pub(crate) fn flood_begins(&self, since: Time, rate: u64) {
        self.flood_rate.store(rate, Ordering::Relaxed);
        self.flood_since.store(since.0.max(1), Ordering::Relaxed);
        self.floods.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn flood_ends(&self, since: Time, now: Time) {
        self.flood_lasted.store(now.0.saturating_sub(since.0), Ordering::Relaxed);
        self.flood_since.store(0, Ordering::Relaxed);
    }

    /// Its flood mode.
    pub fn flood(&self) -> FloodSeen {
        let since = self.flood_since.load(Ordering::Relaxed);
        FloodSeen {
            times: self.floods.load(Ordering::Relaxed),
            since: (since != 0).then_some(Time(since)),
            rate: self.flood_rate.load(Ordering::Relaxed),
            lasted: self.flood_lasted.load(Ordering::Relaxed),
        }
    }
}

/// All live state.
pub struct Live {
    destinations: Box<[DestLive]>,
    services: Box<[ServiceLive]>,
    listens: Box<[ListenLive]>,
    /// Apart from the rest of each: tunnels read them for every packet, and they change hardly ever.
    paths: Box<[PathMtu]>,
    passes: Box<[Passes]>,
    passes_wanted: AtomicBool,
    workers: Box<[WorkerLive]>,
    pub(crate) locality: Locality,
}

impl Live {
    /// Zeroed live state for every id that can be dealt out.
    pub fn new() -> Live {
        Live {
            destinations: std::iter::repeat_with(DestLive::default).take(DestId::COUNT).collect(),
            services: std::iter::repeat_with(ServiceLive::default).take(ServiceId::COUNT).collect(),
            listens: std::iter::repeat_with(ListenLive::default).take(ListenId::COUNT).collect(),
            paths: std::iter::repeat_with(PathMtu::default).take(DestId::COUNT).collect(),
            passes: std::iter::repeat_with(Passes::default).take(Live::WORKERS).collect(),
            passes_wanted: AtomicBool::new(false),
            workers: std::iter::repeat_with(WorkerLive::default).take(Live::WORKERS).collect(),
            locality: Locality::new(),
        }
    }

    /// Workers, at most.
    pub const WORKERS: usize = 256;

    /// How many passes over its share of the connection table a worker has completed, while they were wanted.
    ///
    /// When every worker has seen a snapshot without an id, and each has then completed two passes (one may have
    /// been under way), no entry refers to that id any more.
    // ORDERING: pairs with the release in `pass_completed`: who reads a count sees what that pass removed.
    pub fn passes(&self, worker: usize) -> u64 {
        self.passes.get(worker).map_or(0, |p| p.0.load(Ordering::Acquire))
    }

    /// Whether somebody waits for passes. Only then does every pass look at all entries, whether or not they can be due, and
    /// only those that began then are counted.
    // ORDERING: stands for itself: a pass that began before it was seen does not count.
    pub fn want_passes(&self, wanted: bool) {
        self.passes_wanted.store(wanted, Ordering::Relaxed);
    }

    pub(crate) fn passes_wanted(&self) -> bool {
        self.passes_wanted.load(Ordering::Relaxed)
    }

    // ORDERING: pairs with the acquire in `passes`.
    pub(crate) fn pass_completed(&self, worker: usize) {
        if let Some(passes) = self.passes.get(worker) {
            passes.0.fetch_add(1, Ordering::Release);
        }
    }

    /// A worker's.
    ///
    /// # Panics
    /// When there cannot be such a worker.
    #[inline]
    pub fn worker(&self, worker: usize) -> &WorkerLive {
        &self.workers[worker]
    }

    /// Connections of TCP that are not established, of so many workers.
    pub fn half_open(&self, workers: usize) -> u64 {
        self.pending(workers, 0)
    }

    /// Those of UDP that did not go on for more than a second, or were not answered.
    pub fn unanswered(&self, workers: usize) -> u64 {
        self.pending(workers, 1)
    }

    fn pending(&self, workers: usize, which: usize) -> u64 {
        let one = |worker: &WorkerLive| worker.pending[which].load(Ordering::Relaxed);
        let sum = self.workers.iter().take(workers).map(one).fold(0, u64::wrapping_add);
        // One worker's end may be seen before another's beginning.
        if sum.cast_signed() < 0 { 0 } else { sum }
    }

    /// A destination's.
    #[inline]
    pub fn destination(&self, id: DestId) -> &DestLive {
        &self.destinations[id.index()]
    }

    /// Brings the marks for the thresholds up to the limits of a snapshot that is new: what the one before called too much
    /// need not be too much now.
    pub fn mark(&self, snapshot: &Snapshot) {
        for (id, destination) in snapshot.destinations() {
            let _overloaded = self.destination(id).overloaded(&destination.limits);
        }
    }

    /// What the path to a destination is known to carry.
    #[inline]
    pub fn path(&self, id: DestId) -> &PathMtu {
        &self.paths[id.index()]
    }

    /// A listen's.
    #[inline]
    pub fn listen(&self, id: ListenId) -> &ListenLive {
        &self.listens[id.index()]
    }

    /// A service's.
    #[inline]
    pub fn service(&self, id: ServiceId) -> &ServiceLive {
        &self.services[id.index()]
    }
}

impl Default for Live {
    fn default() -> Live {
        Live::new()
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}
