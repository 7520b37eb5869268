//! Expiry: every worker walks its share of the table once a second, a few buckets a turn.
//!
//! An entry is used no more from the moment it is due, found or not; the walk gives its slot and its counts back,
//! at most a second later.

use crate::keeper::Keeper;
use crate::pipeline::Shared;
use crate::snapshot::Snapshot;
use crate::time::{Tick, Time};
use sheave_table::change::ChangeWriter;
use sheave_table::{SweepCursor, Table, Verdict};

/// Where the walk is.
#[derive(Debug)]
pub(crate) struct Sweeper {
    worker: usize,
    cursor: SweepCursor,
    /// Buckets of this worker's share.
    share: u64,
    /// Up to when the walk is in step.
    at: Time,
    /// When the table was last found empty and that was counted as a pass.
    empty_at: Time,
    /// Of `catch_up`: when and in which snapshot it last walked, and until when nothing can be due after that.
    caught_up: Option<(Time, u64, Time)>,
}

/// How long a pass takes. With the second that an entry may be late by itself that is less than 2 s.
const PASS: u64 = Time::SECOND * 9 / 10;
/// Buckets of one turn, at most.
const CHUNK: u64 = 4096;
/// How long a worker without connections sleeps, at most.
const IDLE: u64 = Time::SECOND / 4;
/// The longest timeout. Between two walks of `catch_up` no more may pass: ticks wrap.
const LONGEST: u64 = 43_200 * Time::SECOND;

impl Sweeper {
    pub(crate) fn new(table: &Table<1>, worker: usize, workers: usize) -> Sweeper {
        let workers = workers.max(1);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let cursor = SweepCursor::share(table, number(worker.min(workers - 1)), number(workers));
        let share = table.buckets().div_ceil(workers as u64);
        Sweeper { worker, cursor, share, at: Time(0), empty_at: Time(0), caught_up: None }
    }

    /// Walks on as far as the time since the last call asks for, at most [`CHUNK`] buckets.
    pub(crate) fn advance(
        &mut self,
        shared: &Shared,
        snapshot: &Snapshot,
        now: Time,
        changes: &mut Option<ChangeWriter>,
    ) {
        if shared.table.is_empty() {
            self.at = now;
            if self.empty_at.after(PASS) <= now {
                self.empty_at = now;
                shared.live.pass_completed(self.worker);
            }
            return;
        }
        // Never behind by more than one pass: a second one at once would find nothing new.
        self.at = self.at.max(Time(now.0.saturating_sub(PASS)));
        let due = scale(now.0.saturating_sub(self.at.0), self.share, PASS).min(CHUNK);
        if due == 0 {
            return;
        }
        self.at = self.at.after(scale(due, PASS, self.share));
        self.walk(shared, snapshot, now.tick(), due, changes);
    }

    /// Walks everything at once, if something may be due or the snapshot is another.
    pub(crate) fn catch_up(
        &mut self,
        shared: &Shared,
        snapshot: &Snapshot,
        now: Time,
        changes: &mut Option<ChangeWriter>,
    ) {
        let (mut at, epoch, quiet_until) = self.caught_up.unwrap_or((now, u64::MAX, now));
        if epoch == snapshot.epoch && now < quiet_until {
            return;
        }
        while now.0.saturating_sub(at.0) > LONGEST && !shared.table.is_empty() {
            at = at.after(LONGEST);
            self.walk(shared, snapshot, at.tick(), u64::MAX, changes);
        }
        let next_due = self.walk(shared, snapshot, now.tick(), u64::MAX, changes);
        // What is used from now on is not due before the shortest timeout is over.
        let seconds =
            u64::from(next_due.unwrap_or(u16::MAX).min(shortest_timeout(snapshot).saturating_add(1)));
        let quiet_until = Time((now.0 / Time::SECOND).saturating_add(seconds).saturating_mul(Time::SECOND));
        self.caught_up = Some((now, snapshot.epoch, quiet_until));
    }

    /// When `advance` next has a turn's worth of work.
    pub(crate) fn next_due(&self, shared: &Shared, now: Time) -> Time {
        let idle = now.after(IDLE);
        if shared.table.is_empty() {
            return idle;
        }
        self.at.after(scale(CHUNK.min(self.share), PASS, self.share)).clamp(now, idle)
    }

    /// Looks at the entries of the next `buckets` buckets. Says in how many seconds the first of them is due.
    fn walk(
        &mut self,
        shared: &Shared,
        snapshot: &Snapshot,
        tick: Tick,
        buckets: u64,
        changes: &mut Option<ChangeWriter>,
    ) -> Option<u16> {
        if shared.table.is_empty() {
            return None;
        }
        let mut keeper = Keeper::new(shared, snapshot, tick, changes);
        let mut next_due: Option<u16> = None;
        let mut look = |handle, key: &[u64; 1], payload| {
            if let Some(due) = keeper.examine(handle, *key, payload) {
                next_due = Some(next_due.map_or(due, |first| first.min(due)));
            }
            // The keeper removes by itself, because it counts what it removes.
            Verdict::Keep
        };
        if buckets == u64::MAX {
            // A whole share, from its beginning, wherever the walk was.
            let rest = shared.table.sweep(&mut self.cursor, usize::MAX, &mut look);
            debug_assert!(rest.wrapped);
        }
        let count = usize::try_from(buckets).unwrap_or(usize::MAX);
        if shared.table.sweep(&mut self.cursor, count, &mut look).wrapped {
            shared.live.pass_completed(self.worker);
        }
        next_due
    }
}

/// `a * b / c` without overflow; `c` is not 0.
fn scale(a: u64, b: u64, c: u64) -> u64 {
    u64::try_from(u128::from(a) * u128::from(b) / u128::from(c)).unwrap_or(u64::MAX)
}

/// The shortest time after which any entry can be due.
fn shortest_timeout(snapshot: &Snapshot) -> u16 {
    // The shortest of the constant ones: CLOSE. No entry is left in the state before its first change.
    const CONSTANT: u16 = 10;
    let configured =
        snapshot.services().flat_map(|(_, s)| [s.timeouts.tcp, s.timeouts.tcp_fin, s.timeouts.udp]);
    configured.map(|seconds| seconds.0).min().unwrap_or(CONSTANT).min(CONSTANT)
}
