//! Expiry: every worker walks its share of the table once a second, a few buckets a turn.
//!
//! An entry is used no more from the moment it is due, found or not; the walk gives its slot and its counts back,
//! at most a second later.

use crate::entry::Reply;
use crate::keeper::Keeper;
use crate::key::{Key, KeyParts, Side};
use crate::pipeline::Shared;
use crate::snapshot::Snapshot;
use crate::tables::Tables;
use crate::time::Time;
use sheave_table::change::ChangeWriter;
use sheave_table::{Payload, SweepCursor, Table, Verdict};

/// Where the walk is: through this worker's share of the narrow table, then through that of the wide one.
#[derive(Debug)]
pub(crate) struct Sweeper {
    worker: usize,
    narrow: SweepCursor,
    wide: SweepCursor,
    /// Whether the walk is in the wide table.
    in_wide: bool,
    /// Up to when the walk is in step.
    at: Time,
    /// When the tables were last found empty and that was counted as a pass.
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
    pub(crate) fn new(tables: &Tables, worker: usize, workers: usize) -> Sweeper {
        fn share<const K: usize>(table: &Table<K>, worker: usize, workers: usize) -> SweepCursor {
            let workers = workers.max(1);
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            SweepCursor::share(table, number(worker.min(workers - 1)), number(workers))
        }
        Sweeper {
            worker,
            narrow: share(tables.narrow, worker, workers),
            wide: share(tables.wide, worker, workers),
            in_wide: false,
            at: Time(0),
            empty_at: Time(0),
            caught_up: None,
        }
    }

    /// Buckets of a pass: tables without entries are left out.
    fn share(&self, tables: &Tables) -> u64 {
        let narrow = if tables.narrow.is_empty() { 0 } else { self.narrow.share_len() };
        let wide = if tables.wide.is_empty() { 0 } else { self.wide.share_len() };
        narrow + wide
    }

    /// Walks on as far as the time since the last call asks for, at most [`CHUNK`] buckets.
    pub(crate) fn advance(
        &mut self,
        shared: &Shared,
        snapshot: &Snapshot,
        now: Time,
        changes: &mut Option<ChangeWriter>,
    ) {
        let share = self.share(&shared.tables);
        if share == 0 {
            self.at = now;
            if self.empty_at.after(PASS) <= now {
                self.empty_at = now;
                shared.live.pass_completed(self.worker);
            }
            return;
        }
        // Never behind by more than one pass: a second one at once would find nothing new.
        self.at = self.at.max(Time(now.0.saturating_sub(PASS)));
        let due = scale(now.0.saturating_sub(self.at.0), share, PASS).min(CHUNK);
        if due == 0 {
            return;
        }
        self.at = self.at.after(scale(due, PASS, share));
        self.walk(&mut Keeper::new(shared, snapshot, self.worker, now, changes), shared, due);
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
        while now.0.saturating_sub(at.0) > LONGEST && !shared.tables.is_empty() {
            at = at.after(LONGEST);
            self.walk_all(&mut Keeper::new(shared, snapshot, self.worker, at, changes), shared);
        }
        let next_due = self.walk_all(&mut Keeper::new(shared, snapshot, self.worker, now, changes), shared);
        // What is used from now on is not due before the shortest timeout is over.
        let seconds =
            u64::from(next_due.unwrap_or(u16::MAX).min(shortest_timeout(snapshot).saturating_add(1)));
        let quiet_until = Time((now.0 / Time::SECOND).saturating_add(seconds).saturating_mul(Time::SECOND));
        self.caught_up = Some((now, snapshot.epoch, quiet_until));
    }

    /// When `advance` next has a turn's worth of work.
    pub(crate) fn next_due(&self, shared: &Shared, now: Time) -> Time {
        let idle = now.after(IDLE);
        let share = self.share(&shared.tables);
        if share == 0 {
            return idle;
        }
        self.at.after(scale(CHUNK.min(share), PASS, share)).clamp(now, idle)
    }

    /// Looks at the entries of the next `buckets` buckets.
    fn walk(&mut self, keeper: &mut Keeper<'_>, shared: &Shared, buckets: u64) {
        let mut left = buckets;
        while left > 0 && !shared.tables.is_empty() {
            let (cursor, empty) = if self.in_wide {
                (&mut self.wide, shared.tables.wide.is_empty())
            } else {
                (&mut self.narrow, shared.tables.narrow.is_empty())
            };
            let step = if empty { 0 } else { left.min(cursor.left()) };
            left -= step;
            let wrapped = empty || step == cursor.left();
            if !empty {
                if self.in_wide {
                    sweep(shared.tables.wide, cursor, step, Key::Wide, keeper);
                } else {
                    sweep(shared.tables.narrow, cursor, step, Key::Narrow, keeper);
                }
            }
            if wrapped {
                if self.in_wide {
                    shared.live.pass_completed(self.worker);
                }
                self.in_wide = !self.in_wide;
            }
        }
    }

    /// Looks at every entry of this worker's share. Says in how many seconds the first of them is due.
    fn walk_all(&mut self, keeper: &mut Keeper<'_>, shared: &Shared) -> Option<u16> {
        if shared.tables.is_empty() {
            return None;
        }
        let mut due: Option<u16> = None;
        // Wherever the walk was: to its end, and then once more from the beginning.
        for _ in 0..2 {
            due = earlier(due, sweep(shared.tables.narrow, &mut self.narrow, u64::MAX, Key::Narrow, keeper));
            due = earlier(due, sweep(shared.tables.wide, &mut self.wide, u64::MAX, Key::Wide, keeper));
        }
        shared.live.pass_completed(self.worker);
        due
    }
}

/// The smaller of two that are there.
fn earlier(a: Option<u16>, b: Option<u16>) -> Option<u16> {
    a.into_iter().chain(b).min()
}

/// Looks at the entries of the next `buckets` buckets of one table's share, at most to its end. Says in how many
/// seconds the first of them is due.
fn sweep<const K: usize>(
    table: &Table<K>,
    cursor: &mut SweepCursor,
    buckets: u64,
    key_of: fn([u64; K]) -> Key,
    keeper: &mut Keeper<'_>,
) -> Option<u16> {
    let mut next_due: Option<u16> = None;
    let buckets = usize::try_from(buckets).unwrap_or(usize::MAX);
    let tables = keeper.tables();
    // PERF: perf, 1 M flows: half of the entries are looked at together with another one, which lies anywhere.
    let ahead = |key: &[u64; K], payload: Payload| {
        if let Side::Out(_) = KeyParts::of(key_of(*key)).side {
            tables.prefetch_place(Reply::from(payload).of);
        }
    };
    table.sweep_ahead(cursor, buckets, ahead, |handle, key, payload| {
        let key = key_of(*key);
        next_due = earlier(next_due, keeper.examine(Tables::place(handle, &key), key, payload));
        // The keeper removes by itself, because it counts what it removes.
        Verdict::Keep
    });
    next_due
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
    let configured = configured.map(|seconds| seconds.0);
    configured.chain(snapshot.shortest_persistence()).min().unwrap_or(CONSTANT).min(CONSTANT)
}
