//! Expiry: every worker walks its share of the table once a second, a few blocks a turn, and looks at the entries of those
//! blocks in which something may be due.
//!
//! An entry is used no more from the moment it is due, found or not; the walk gives its slot and its counts back,
//! at most a second later.
//!
//! Invariant: no entry of a block is due before the block is looked at next. What is there when it is looked at says
//! itself when it is due, at the earliest; what comes or is used after that lives for the shortest timeout at least. Nothing
//! of this holds under another snapshot, so a new one is followed by rounds that look at everything.

use crate::entry::Reply;
use crate::keeper::Keeper;
use crate::key::{Key, KeyParts, Side};
use crate::pipeline::Shared;
use crate::snapshot::Snapshot;
use crate::tables::Tables;
use crate::time::Time;
use sheave_table::change::ChangeWriter;
use sheave_table::{Payload, SweepCursor, Table, Verdict};

/// Buckets that are looked at together, or passed over together.
const BLOCK: u64 = 16;
/// How long a pass takes. With the second that an entry may be late by itself that is less than 2 s.
const PASS: u64 = Time::SECOND * 9 / 10;
/// Blocks of one turn, at most.
const CHUNK: u64 = 256;
/// The walk goes on after this time, not each turn, which may be shorter than a block's share of a pass.
const STEP: u64 = 100_000;
/// How long a worker without connections sleeps, at most.
const IDLE: u64 = Time::SECOND / 4;
/// The longest timeout. Between two walks of `catch_up` no more may pass: ticks wrap.
const LONGEST: u64 = 43_200 * Time::SECOND;

/// Where the walk is: through this worker's share of the narrow table, then through that of the wide one.
#[derive(Debug)]
pub(crate) struct Sweeper {
    worker: usize,
    narrow: Share,
    wide: Share,
    /// Whether the walk is in the wide table.
    in_wide: bool,
    /// Whether this pass looks at everything, because somebody waits for it.
    thorough: bool,
    /// The snapshot that blocks were looked at under, and the shortest timeout in it.
    under: (u64, u16),
    /// Up to when the walk is in step.
    at: Time,
    /// When the tables were last found empty and that was counted as a pass.
    empty_at: Time,
    /// Of `catch_up`: when and in which snapshot it last walked, and until when nothing can be due after that.
    caught_up: Option<(Time, u64, Time)>,
}

/// One worker's share of a table.
#[derive(Debug)]
struct Share {
    cursor: SweepCursor,
    /// Of each of its blocks: the second until which nothing of it is due.
    quiet_until: Box<[u32]>,
    /// So many more blocks are looked at, whatever was known of them.
    unknown: u64,
}

impl Share {
    fn new<const K: usize>(table: &Table<K>, worker: usize, workers: usize) -> Share {
        let workers = workers.max(1);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let cursor = SweepCursor::share(table, number(worker.min(workers - 1)), number(workers));
        let blocks = usize::try_from(cursor.share_len().div_ceil(BLOCK)).unwrap_or(usize::MAX);
        Share { cursor, quiet_until: vec![0; blocks].into_boxed_slice(), unknown: 0 }
    }

    fn blocks(&self) -> u64 {
        self.quiet_until.len() as u64
    }

    /// Blocks until the share is through once more.
    fn left(&self) -> u64 {
        self.cursor.left().div_ceil(BLOCK)
    }

    /// Nothing is known any more. Two rounds: an answer's entry stays while its connection's own does, which may be found to
    /// be over later in the first.
    fn forget(&mut self) {
        self.unknown = 2 * self.blocks();
    }

    /// The number of the next block.
    fn next(&self) -> usize {
        let walked = (self.cursor.share_len() - self.cursor.left()) / BLOCK;
        usize::try_from(walked).unwrap_or(usize::MAX)
    }
}

impl Sweeper {
    pub(crate) fn new(tables: &Tables, worker: usize, workers: usize) -> Sweeper {
        Sweeper {
            worker,
            narrow: Share::new(tables.narrow, worker, workers),
            wide: Share::new(tables.wide, worker, workers),
            in_wide: false,
            thorough: false,
            under: (u64::MAX, 0),
            at: Time(0),
            empty_at: Time(0),
            caught_up: None,
        }
    }

    /// Blocks of a pass: tables without entries are left out.
    fn blocks(&self, tables: &Tables) -> u64 {
        let narrow = if tables.narrow.is_empty() { 0 } else { self.narrow.blocks() };
        let wide = if tables.wide.is_empty() { 0 } else { self.wide.blocks() };
        narrow + wide
    }

    /// Walks on as far as the time since the last call asks for, at most [`CHUNK`] blocks.
    pub(crate) fn advance(
        &mut self,
        shared: &Shared,
        snapshot: &Snapshot,
        now: Time,
        changes: &mut Option<ChangeWriter>,
    ) {
        if now.0.saturating_sub(self.at.0) < STEP {
            return;
        }
        if self.under.0 != snapshot.epoch {
            self.under = (snapshot.epoch, shortest_timeout(snapshot));
            self.narrow.forget();
            self.wide.forget();
        }
        let blocks = self.blocks(&shared.tables);
        if blocks == 0 {
            self.at = now;
            if self.empty_at.after(PASS) <= now {
                self.empty_at = now;
                shared.live.pass_completed(self.worker);
            }
            return;
        }
        // Never behind by more than one pass: a second one at once would find nothing new.
        self.at = self.at.max(Time(now.0.saturating_sub(PASS)));
        let due = scale(now.0.saturating_sub(self.at.0), blocks, PASS).min(CHUNK);
        if due == 0 {
            return;
        }
        self.at = self.at.after(scale(due, PASS, blocks));
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
        let blocks = self.blocks(&shared.tables);
        if blocks == 0 {
            return idle;
        }
        self.at.after(scale(CHUNK.min(blocks), PASS, blocks)).clamp(now, idle)
    }

    /// Walks over the next `blocks` blocks.
    fn walk(&mut self, keeper: &mut Keeper<'_>, shared: &Shared, blocks: u64) {
        let tables = &shared.tables;
        let mut left = blocks;
        while left > 0 && !tables.is_empty() {
            let empty = if self.in_wide { tables.wide.is_empty() } else { tables.narrow.is_empty() };
            let share = if self.in_wide { &mut self.wide } else { &mut self.narrow };
            let ahead = share.left();
            let steps = if empty { 0 } else { left.min(ahead) };
            let glance = Glance { shortest: self.under.1, everything: self.thorough };
            if self.in_wide {
                glance.over(share, steps, tables.wide, Key::Wide, keeper);
            } else {
                glance.over(share, steps, tables.narrow, Key::Narrow, keeper);
            }
            left -= steps;
            if empty || steps == ahead {
                self.next_table(shared);
            }
        }
    }

    /// The walk has reached the end of a table's share.
    fn next_table(&mut self, shared: &Shared) {
        if self.in_wide {
            if self.thorough {
                shared.live.pass_completed(self.worker);
            }
            self.thorough = shared.live.passes_wanted();
        }
        self.in_wide = !self.in_wide;
    }

    /// Looks at every entry of this worker's share. Says in how many seconds the first of them is due.
    fn walk_all(&mut self, keeper: &mut Keeper<'_>, shared: &Shared) -> Option<u16> {
        if shared.tables.is_empty() {
            return None;
        }
        let mut due: Option<u16> = None;
        // Wherever the walk was: to its end, and then once more from the beginning.
        for _ in 0..2 {
            let (narrow, wide) = (&mut self.narrow.cursor, &mut self.wide.cursor);
            due = earlier(due, sweep(shared.tables.narrow, narrow, u64::MAX, Key::Narrow, keeper));
            due = earlier(due, sweep(shared.tables.wide, wide, u64::MAX, Key::Wide, keeper));
        }
        shared.live.pass_completed(self.worker);
        due
    }
}

/// How blocks are walked over.
struct Glance {
    /// The shortest timeout of all, in seconds.
    shortest: u16,
    /// Whether all are looked at.
    everything: bool,
}

impl Glance {
    /// Looks at the entries of the next `blocks` blocks, as far as some may be due.
    fn over<const K: usize>(
        self,
        share: &mut Share,
        blocks: u64,
        table: &Table<K>,
        key_of: fn([u64; K]) -> Key,
        keeper: &mut Keeper<'_>,
    ) {
        let now = u32::try_from(keeper.now.0 / Time::SECOND).unwrap_or(u32::MAX);
        for _ in 0..blocks {
            let known = share.unknown == 0 && !self.everything;
            share.unknown = share.unknown.saturating_sub(1);
            let at = share.next();
            if known && now < share.quiet_until[at] {
                share.cursor.skip(BLOCK);
                continue;
            }
            let due = sweep(table, &mut share.cursor, BLOCK, key_of, keeper);
            // What is used from now on is not due before the shortest timeout is over.
            let quiet = due.unwrap_or(u16::MAX).min(self.shortest.saturating_add(1));
            share.quiet_until[at] = now.saturating_add(quiet.into());
        }
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
    // The shortest of the constant ones: CLOSE.
    const CONSTANT: u16 = 10;
    // Where any segment may begin a connection, one without flags leaves it in the state before the first.
    const NONE: u16 = 3;
    let constant = if snapshot.services().any(|(_, service)| service.sloppy) { NONE } else { CONSTANT };
    let configured =
        snapshot.services().flat_map(|(_, s)| [s.timeouts.tcp, s.timeouts.tcp_fin, s.timeouts.udp]);
    let configured = configured.map(|seconds| seconds.0);
    configured.chain(snapshot.shortest_persistence()).min().unwrap_or(constant).min(constant)
}
