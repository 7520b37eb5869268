//! One worker: its turn, and the loop around it.

use crate::clock::Clock;
use crate::command::{Command, Inject, KernelPath, Notify};
use crate::egress::Egress;
use crate::idle::{After, Idle, Wait};
use crate::mesh::Links;
use crate::port::OwnPort;
use crate::stats::{Frames, Lost, Stats, bump, raise};
use sheave_frame::{BURST, Burst, FramePool, PortId};
use sheave_io::PortSet;
use sheave_pipeline::{Output, Pipeline, Punt, Snapshot, Time};
use sheave_table::publish::Reader;
use sheave_table::spsc::{Consumer, Producer};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// How often a worker publishes its gauges and its ports' counters, in nanoseconds of its clock.
const PUBLISH: u64 = Time::SECOND / 4;

/// Commands obeyed a turn, at most.
const OBEY: usize = 16;

/// What a worker is made of.
pub struct Parts {
    /// The packet path.
    pub pipeline: Pipeline,
    /// Its frames.
    pub pool: FramePool,
    /// The published snapshot.
    pub snapshots: Reader<Snapshot>,
    /// Its rings to and from other workers.
    pub links: Links,
    /// What the control thread wants.
    pub commands: Consumer<Command>,
    /// Messages to the control thread.
    pub punts: Producer<Punt>,
    /// Wakes the control thread.
    pub notify: Notify,
    /// The way back to the kernel.
    pub kernel: Box<dyn KernelPath>,
    /// Its own counters.
    pub stats: Arc<Stats>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("worker", &self.links.worker()).finish_non_exhaustive()
    }
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There was something to do.
    Busy,
    /// There was nothing to do.
    Idle,
    /// The worker was told to stop; its ports are closed.
    Stopped,
}

/// One worker. It owns everything it touches but the tables, the snapshot and the rings' other ends.
pub struct Worker {
    pipeline: Pipeline,
    pool: FramePool,
    snapshots: Reader<Snapshot>,
    egress: Egress,
    control: Control,
    kernel: Box<dyn KernelPath>,
    rx: Burst,
    out: Output,
    stats: Arc<Stats>,
    published: Time,
}

/// The worker's ends of what joins it to the control thread.
struct Control {
    commands: Consumer<Command>,
    punts: Producer<Punt>,
    notify: Notify,
    news: bool,
}

impl Worker {
    /// A worker without ports.
    pub fn new(parts: Parts) -> Worker {
        let Parts { pipeline, pool, snapshots, links, commands, punts, notify, kernel, stats } = parts;
        stats.gauges(Frames { total: pool.total(), free: pool.free(), ..Frames::default() }, Time::default());
        Worker {
            pipeline,
            pool,
            snapshots,
            egress: Egress::new(links, stats.clone()),
            control: Control { commands, punts, notify, news: false },
            kernel,
            rx: Burst::with_capacity(BURST),
            out: Output::without_verdicts(),
            stats,
            published: Time::default(),
        }
    }

    /// One turn: what the control thread wants, what came in, what other workers gave, what is due; then
    /// everything is sent on its way. One snapshot for all of it; nothing here allocates, locks or calls the
    /// kernel, but for the ports' own kicks and the way back to the kernel.
    pub fn turn(&mut self, now: Time) -> Turn {
        let mut busy = match self.obey() {
            None => return Turn::Stopped,
            Some(obeyed) => obeyed,
        };
        let snapshot = self.snapshots.pin();
        self.stats.epoch.store(snapshot.epoch, Relaxed);
        for at in 0..self.egress.ports.len() {
            if self.egress.ports[at].recv(&mut self.rx, &mut self.pool) > 0 {
                busy = true;
                bump(&self.stats.bursts, 1);
                self.pipeline.process(now, &snapshot, &mut self.rx, &mut self.pool, &mut self.out);
                deliver(&mut self.out, &mut self.egress, &mut *self.kernel, &mut self.pool, &self.stats);
                self.control.post(&mut self.out, &self.stats);
            }
        }
        busy |= self.egress.take_parcels(&mut self.pool);
        self.pipeline.tick(now, &snapshot, &mut self.pool, &mut self.out);
        drop(snapshot);
        deliver(&mut self.out, &mut self.egress, &mut *self.kernel, &mut self.pool, &self.stats);
        self.control.post(&mut self.out, &self.stats);
        busy |= self.egress.flush(&mut self.pool);
        self.egress.send_home(&mut self.pool);
        self.egress.links.wake();
        self.control.tell();
        bump(&self.stats.turns, 1);
        if now.0.saturating_sub(self.published.0) >= PUBLISH {
            self.publish(now);
        }
        if !busy {
            return Turn::Idle;
        }
        bump(&self.stats.busy_turns, 1);
        Turn::Busy
    }

    /// Turns until told to stop. `ports` is what an idle worker sleeps on.
    pub fn run(&mut self, clock: Clock, wait: Wait, ports: &mut PortSet) {
        let mut idle = Idle::new(wait);
        let mut watched = 0;
        let mut now = clock.now();
        loop {
            let turn = self.turn(now);
            if turn == Turn::Stopped {
                return;
            }
            let end = clock.now();
            raise(&self.stats.longest_turn, end.0.saturating_sub(now.0));
            now = end;
            if self.watch(&mut watched, ports) {
                continue;
            }
            if turn == Turn::Busy {
                idle.busy(now);
                continue;
            }
            let after = After {
                ports: !self.egress.ports.is_empty(),
                in_flight: self.egress.ports.iter().any(OwnPort::in_flight),
                due: self.due(now),
            };
            if let Some(sleep) = idle.after_turn(after, now) {
                bump(&self.stats.sleeps, 1);
                // Why it ended does not matter: the next turn looks everywhere.
                let _ = ports.wait(Some(sleep));
                now = clock.now();
            }
        }
    }

    /// When the next timed work is.
    fn due(&self, now: Time) -> Time {
        self.pipeline.next_due(now).min(self.published.after(PUBLISH))
    }

    /// Brings `ports` up to date with the ports that there are. True when it changed.
    fn watch(&self, generation: &mut u64, ports: &mut PortSet) -> bool {
        let current = self.egress.generation();
        if *generation == current {
            return false;
        }
        *generation = current;
        ports.set(self.egress.ports.iter().filter_map(OwnPort::wait_fd));
        true
    }

    /// Does what the control thread wants. `None` when that is to stop.
    fn obey(&mut self) -> Option<bool> {
        for done in 0..OBEY {
            match self.control.commands.pop() {
                None => return Some(done > 0),
                Some(Command::Open(port, page)) => self.egress.add(OwnPort::open(port, page)),
                Some(Command::Close(port, queue)) => self.close(port, queue),
                Some(Command::Pass(port, queue)) => self.kernel.set(port, queue),
                Some(Command::Inject(inject)) => self.inject(&inject),
                Some(Command::Stop) => {
                    self.stop();
                    return None;
                }
            }
        }
        Some(true)
    }

    fn close(&mut self, port: PortId, queue: u32) {
        if let Some(own) = self.egress.remove(port, queue) {
            own.close(&mut self.pool, &self.stats);
            self.control.news = true;
        }
    }

    fn inject(&mut self, inject: &Inject) {
        let Some(mut frame) = self.pool.alloc() else {
            bump(&self.stats.inject_failed, 1);
            return;
        };
        match frame.fill(inject.bytes()) {
            Ok(()) => {
                bump(&self.stats.injected, 1);
                self.egress.send(inject.port, frame, &mut self.pool);
            }
            Err(_) => {
                bump(&self.stats.inject_failed, 1);
                self.pool.release(frame);
            }
        }
    }

    /// Sends what is queued as far as there is room, and closes all ports.
    fn stop(&mut self) {
        self.egress.take_parcels(&mut self.pool);
        self.egress.flush(&mut self.pool);
        for own in self.egress.drain() {
            own.close(&mut self.pool, &self.stats);
        }
        self.egress.send_home(&mut self.pool);
        self.egress.links.wake();
        self.control.news = true;
        self.control.tell();
    }

    fn publish(&mut self, now: Time) {
        self.published = now;
        self.egress.ports.iter().for_each(OwnPort::publish);
        self.stats.gauges(self.frames(), now);
    }

    /// Where the frames are. Only between turns.
    pub fn frames(&self) -> Frames {
        Frames {
            total: self.pool.total(),
            free: self.pool.free(),
            foreign: self.pool.foreign(),
            ports: self.egress.ports.iter().map(OwnPort::held).sum(),
            held: self.pipeline.held(),
            backlog: self.egress.ports.iter().map(OwnPort::backlog).sum(),
            rings: self.egress.links.waiting(),
        }
    }
}

/// Sends everything in `out` but its messages to the control thread on its way.
fn deliver(
    out: &mut Output,
    egress: &mut Egress,
    kernel: &mut dyn KernelPath,
    pool: &mut FramePool,
    stats: &Stats,
) {
    egress.send_all(&mut out.sends, pool);
    while let Some(frame) = out.passes.pop() {
        if kernel.pass(frame.ingress(), frame.bytes()) {
            bump(&stats.passed, 1);
        } else {
            stats.lose(Lost::PassQueueFull);
        }
        pool.release(frame);
    }
}

impl Control {
    /// Sends the pipeline's messages; what does not fit is counted, and repeated by the pipeline in its time.
    fn post(&mut self, out: &mut Output, stats: &Stats) {
        for punt in out.punts.drain(..) {
            match self.punts.push(punt) {
                Ok(()) => self.news = true,
                Err(_) => bump(&stats.punts_lost, 1),
            }
        }
    }

    /// Wakes the control thread, once a turn at most.
    fn tell(&mut self) {
        if self.news {
            self.news = false;
            (self.notify)();
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("frames", &self.frames()).finish_non_exhaustive()
    }
}
