//! The pipeline of one worker.

use crate::context::{Context, Own};
use crate::counters;
use crate::expire::Sweeper;
use crate::flood::{Floods, Room};
use crate::fragments::{Datagrams, Early};
use crate::hold::Holding;
use crate::ids::{ListenId, RealId};
use crate::limiter::Limiter;
use crate::live::Live;
use crate::neighbours::Learned;
use crate::output::Output;
use crate::parse::{Parsed, parse};
use crate::proxied::Waiting;
use crate::reason::Reason;
use crate::scheduler::Rng;
use crate::side::SideRecords;
use crate::snapshot::Snapshot;
use crate::stages::Stages;
use crate::steady::{Kind, Known, Lane, Way};
use crate::syn_cookie::Cookies;
use crate::tables::Tables;
use crate::time::Time;
use crate::verdict::{Verdict, VerdictKind};
use sheave_frame::{Burst, Frame, FramePool};
use sheave_table::change::ChangeWriter;
use sheave_table::{Slab, Table};
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
    /// The connection tables.
    pub tables: Tables,
    /// What entries have no room for.
    pub side: SideRecords,
    /// Live state of services and destinations.
    pub live: Live,
    /// Datagrams of which fragments are on their way.
    pub datagrams: Datagrams,
    /// Makes SYN cookies.
    pub(crate) cookies: Cookies,
}

impl Shared {
    /// Over tables and records that lie elsewhere (in a region).
    pub fn new(tables: Tables, side: SideRecords) -> Shared {
        // The tables' own seed, so that nobody outside knows it.
        let seed = tables.narrow.hash(&[u64::MAX]).mixed();
        let datagrams = usize::try_from(tables.narrow.buckets()).unwrap_or(usize::MAX).min(DATAGRAMS);
        let datagrams = Datagrams::new(datagrams, seed.into());
        let half = |n: u64| u64::from(tables.narrow.hash(&[u64::MAX - n]).mixed());
        let cookies = Cookies::new([half(1) << 32 | half(2), half(3) << 32 | half(4)]);
        Shared { tables, side, live: Live::new(), datagrams, cookies }
    }

    /// With tables of its own, each for this many connections. Their memory is never given back.
    pub fn on_heap(connections: u64, seed: u64) -> Shared {
        let narrow = Table::on_heap(Table::<1>::slots_for(connections), seed);
        let wide = Table::on_heap(Table::<3>::slots_for(connections), seed);
        let side = Slab::on_heap(SideRecords::records_for(connections));
        let tables = Tables { narrow: Box::leak(Box::new(narrow)), wide: Box::leak(Box::new(wide)) };
        Shared::new(tables, SideRecords(Box::leak(Box::new(side))))
    }
}

/// The packet path of one worker: its own mutable context beside what is shared.
#[derive(Debug)]
pub struct Pipeline {
    shared: Arc<Shared>,
    own: Own,
    sweeper: Sweeper,
    stages: Stages,
}

/// Datagrams of which fragments are on their way, at most.
const DATAGRAMS: usize = 4096;
/// Neighbours that a pipeline learns by itself, at most.
const LEARNED: usize = 65_536;

impl Pipeline {
    /// A pipeline over `shared`, counting into `counters`.
    pub fn new(
        settings: Settings,
        shared: Arc<Shared>,
        counters: sheave_table::counters::Writer,
    ) -> Pipeline {
        let learned = Learned::new(if settings.resolve == Resolve::Ask { LEARNED } else { 0 });
        let own = Own {
            settings,
            counters,
            holding: Holding::new(),
            learned,
            limiter: Limiter::new(),
            resets: Limiter::new(),
            floods: Floods::new(),
            rooms: [Room::default(); 2],
            waiting: Waiting::new(),
            ident: first_ident(&settings),
            rng: Rng::new(settings.seed, settings.worker),
            changes: None,
            early: Early::new(),
            pieces: Context::room_for_pieces(),
        };
        let sweeper = Sweeper::new(&shared.tables, settings.worker, settings.workers);
        Pipeline { shared, own, sweeper, stages: Stages::new() }
    }

    /// Tells every new connection, change of state and end of a connection to `changes` from now on.
    pub fn follow(&mut self, changes: ChangeWriter) {
        self.own.changes = Some(changes);
    }

    /// Handles every frame of `burst`, in order. Afterwards `burst` is empty: each frame is in `out`, held back
    /// inside, or in `pool`.
    ///
    /// Several passes, of which all but the last ([`crate::stages`]) only spare it its waits for memory. The last handles
    /// frame by frame. Only this one changes anything, and it believes nothing of the others without looking again, so
    /// that the result does not depend on the size of the burst.
    pub fn process(
        &mut self,
        now: Time,
        snapshot: &Snapshot,
        burst: &mut Burst,
        pool: &mut FramePool,
        out: &mut Output,
    ) {
        let mut context = context(&mut self.own, &self.shared, now, snapshot, pool, out);
        context.release_resolved();
        if context.own.early.len() != 0 {
            context.tend_fragments();
        }
        let known = Known::new(&context);
        let stages = &mut self.stages;
        let mut forwarded = 0;
        while !burst.is_empty() {
            let len = burst.len();
            // How many of the others are handled, and how many frames of the burst's beginning are to be sent where they lie.
            let (mut others, mut sent) = (0, 0);
            for step in stages.steps(len) {
                let mut ready = stages.step(step, burst.as_mut_slice(), snapshot, &context.shared.tables);
                forwarded += ready.len() as u64;
                while !ready.is_empty() {
                    let frames = burst.as_mut_slice().get_mut(sent..).unwrap_or_default();
                    let count = context.steady(&known, frames, &stages.lanes[ready.clone()]);
                    (sent, ready.start) = (sent + count, ready.start + count);
                    let Some(lane) = ready.next().and_then(|at| stages.lanes.get(at)) else { break };
                    burst.move_to(std::mem::take(&mut sent), &mut context.out.sends);
                    let Some(frame) = burst.pop() else { break };
                    let verdict = if lane.kind == Kind::LONG {
                        others += 1;
                        let parsed = stages.others.get(others - 1);
                        context.handle(frame, parsed.unwrap_or(&Parsed::Decided(Reason::NotOurs)))
                    } else {
                        context.long_way(frame, lane)
                    };
                    forwarded -= u64::from(!context.conclude(verdict));
                }
            }
            burst.move_to(sent, &mut context.out.sends);
        }
        context.own.counters.add(counters::verdict(VerdictKind::Forward), forwarded);
    }

    /// The work of a turn that no packet causes, bounded: expires entries of this worker's share of the table,
    /// releases held packets whose next hop is known by now, gives up on those that waited too long.
    pub fn tick(&mut self, now: Time, snapshot: &Snapshot, pool: &mut FramePool, out: &mut Output) {
        let mut context = context(&mut self.own, &self.shared, now, snapshot, pool, out);
        if context.own.holding.len() != 0 {
            context.release_resolved();
            context.tend_held();
        }
        if context.own.early.len() != 0 {
            context.tend_fragments();
        }
        if !context.own.floods.astir().is_empty() {
            context.tend_floods();
        }
        if !context.own.waiting.is_empty() {
            context.tend_proxied();
        }
        self.sweeper.advance(&self.shared, snapshot, now, &mut self.own.changes);
    }

    /// Expires everything that is due at `now`, connections and held packets, unbounded: for replay, before each
    /// frame.
    pub fn expire_due(&mut self, now: Time, snapshot: &Snapshot, pool: &mut FramePool) {
        self.own.holding.give_up_overdue(now, &self.own.counters, pool);
        while let Some(frame) = self.own.early.take_overdue(now, &self.shared.datagrams) {
            self.own.counters.add(counters::reason(Reason::FragmentUnmatched), 1);
            pool.release(frame);
        }
        self.sweeper.catch_up(&self.shared, snapshot, now, &mut self.own.changes);
    }

    /// When `tick` next has something to do: how long an idle worker may sleep.
    pub fn next_due(&self, now: Time) -> Time {
        let sweep = self.sweeper.next_due(&self.shared, now);
        let held = self.own.holding.next_due().map_or(sweep, |held| held.min(sweep));
        self.own.early.next_due(now).map_or(held, |early| early.min(held))
    }

    /// Frames held back inside, for the conservation check.
    pub fn held(&self) -> usize {
        self.own.holding.len() + self.own.early.len()
    }

    /// Gives up on all held packets: at the end, so that no frame is lost.
    pub fn give_back(&mut self, pool: &mut FramePool) {
        self.own.holding.clear(pool);
        self.own.early.clear(pool);
    }
}

impl Context<'_> {
    /// A frame by what it was parsed to.
    #[inline]
    fn handle(&mut self, frame: Frame, parsed: &Parsed) -> Verdict {
        match parsed {
            Parsed::Inbound(packet, listen) => self.inbound(frame, packet, *listen),
            Parsed::Outbound(packet, real) => self.outbound(frame, packet, *real),
            Parsed::Decided(reason) => self.end(frame, *reason),
            Parsed::Echo => self.echo(frame),
            Parsed::Error => self.icmp_error(frame),
            Parsed::Fragment => self.fragment(frame),
            Parsed::Arp => self.arp(frame),
            Parsed::Ndp => self.ndp(frame),
        }
    }

    /// A frame that could have gone the short way, but for what was found.
    #[inline(never)]
    fn long_way(&mut self, frame: Frame, lane: &Lane) -> Verdict {
        match (lane.packet(frame.bytes(), &self.tables()), lane.kind.way()) {
            (Some(packet), Way::In) => self.inbound(frame, &packet, ListenId(lane.id)),
            (Some(packet), Way::Out) => self.outbound(frame, &packet, RealId(lane.id)),
            _ => {
                let Some(interface) = self.snapshot.interface(frame.ingress()) else {
                    return self.end(frame, Reason::NotOurs);
                };
                let parsed = parse(frame.bytes(), interface, self.snapshot, &self.tables());
                self.handle(frame, &parsed)
            }
        }
    }
}

fn context<'a>(
    own: &'a mut Own,
    shared: &'a Shared,
    now: Time,
    snapshot: &'a Snapshot,
    pool: &'a mut FramePool,
    out: &'a mut Output,
) -> Context<'a> {
    Context { now, tick: now.tick(), snapshot, shared, own, pool, out }
}

/// Different workers start at different numbers, and seeds at different ones again.
fn first_ident(settings: &Settings) -> u16 {
    let mixed = (settings.seed ^ (settings.worker as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as u16
}
