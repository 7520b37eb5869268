//! The director's hand on the data path: memory, workers, publication.
//!
//! Owns: the tables' region, the frame memory, the worker handles, the counter pages, the publisher of snapshots.
//! What cannot be told to a worker at once waits in an outbox; nothing here waits for a worker but the end.

use sheave_frame::PoolId;
use sheave_io::{PassPath, PortSet, Umem};
use sheave_pipeline::side::SideRecords;
use sheave_pipeline::tables::Tables;
use sheave_pipeline::{Pipeline, Punt, Resolve, Settings, Shared, Snapshot, counters};
use sheave_proto::config;
use sheave_table::change::{self, ChangeReader};
use sheave_table::{CounterPage, Narrow, Publisher, Reader, Region, RegionConfig, Wide, spsc};
use sheave_worker::{Clock, Command, Mesh, Notify, Parts, Start, Stats, Wait, WorkerHandle, spawn};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

/// Frames of one worker's pool.
const FRAMES: u32 = 8192;

/// Frames of other pools that may be with a worker at once before its list of them has to grow.
const FOREIGN: usize = 4096;

/// Commands that a worker may have waiting, and messages that it may have waiting for us.
const COMMANDS: usize = 256;
const PUNTS: usize = 1024;

/// Changes of connections that a worker may be ahead of us.
const CHANGES: usize = 4096;

/// Room for the numbers of services and destinations beside the connection table, twice. What is never written takes no
/// memory: all numbers that there are fit.
const IDS_BYTES: usize = 16 << 20;

/// Changes read in one go.
const DRAIN: usize = 8192;

/// One worker as the director sees it.
pub(crate) struct Worker {
    pub(crate) handle: WorkerHandle,
    outbox: VecDeque<Command>,
    changes: ChangeReader,
    /// Changes of connections heard of.
    pub(crate) changes_seen: u64,
    /// Frames that queues of this worker may still be given to receive into.
    frames_left: u32,
    /// Queues that it serves.
    pub(crate) queues: usize,
}

/// All of the data path that is not the kernel's.
pub(crate) struct Dataplane {
    pub(crate) region: Region,
    pub(crate) shared: Arc<Shared>,
    pub(crate) umem: Umem,
    pub(crate) workers: Vec<Worker>,
    pub(crate) pages: Vec<Arc<CounterPage>>,
    pub(crate) publisher: Publisher<Snapshot>,
    pub(crate) clock: Clock,
}

/// What the data path is made with.
pub(crate) struct Setup<'a> {
    pub(crate) director: &'a config::Director,
    pub(crate) cores: &'a [usize],
    pub(crate) clock: Clock,
    /// Wakes the control thread.
    pub(crate) notify: Notify,
}

fn named(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |e| io::Error::new(e.kind(), format!("{what}: {e}"))
}

/// Eight bytes that nobody can guess: the tables' hash must not be attacked.
fn seed() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Above so many connections pages of 4 KiB are felt: what the processor knows of pages covers no more.
const FELT: u64 = 100_000;
const SHARED_HUGE: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/// Says so when the table's memory has no huge pages and is so large that it would be faster with them.
fn small_pages(connections: u64) {
    let setting = std::fs::read_to_string(SHARED_HUGE).unwrap_or_default();
    let refused = setting.is_empty() || setting.contains("[never]") || setting.contains("[deny]");
    if refused && connections > FELT {
        tracing::info!(
            "connection table on pages of 4 KiB: for huge ones reserve some (vm.nr_hugepages), or write advise to {SHARED_HUGE}"
        );
    }
}

impl Dataplane {
    /// Makes the memory and starts the workers, without ports and with an empty snapshot. The reader is the control
    /// thread's own.
    pub(crate) fn start(setup: &Setup<'_>) -> io::Result<(Dataplane, Reader<Snapshot>)> {
        let seed = seed().map_err(named("random seed: /dev/urandom"))?;
        let connections = u64::from(setup.director.max_connections);
        let region = Region::create(&RegionConfig {
            narrow_slots: Narrow::slots_for(connections),
            wide_slots: Wide::slots_for(connections),
            side_records: SideRecords::records_for(connections),
            seed,
            ids_bytes: IDS_BYTES,
            ..RegionConfig::default()
        })
        .map_err(named("connection table: its memory cannot be had: lower max-connections"))?;
        if !region.huge_pages() {
            small_pages(connections);
        }
        let workers = u8::try_from(setup.cores.len()).map_err(io::Error::other)?;
        let umem = Umem::new(FRAMES, workers).map_err(named("frame memory"))?;
        let wide =
            region.wide().ok_or_else(|| io::Error::other("connection table: not as it was asked for"))?;
        let tables = Tables { narrow: region.narrow(), wide };
        let shared = Arc::new(Shared::new(tables, SideRecords(region.side())));
        let publisher = Publisher::new(Box::default(), setup.cores.len() + 1);
        let own = publisher.reader().ok_or_else(|| io::Error::other("no place for a reader"))?;
        let mut dataplane = Dataplane {
            region,
            shared,
            umem,
            workers: Vec::new(),
            pages: Vec::new(),
            publisher,
            clock: setup.clock,
        };
        dataplane.start_workers(setup, seed)?;
        Ok((dataplane, own))
    }

    fn start_workers(&mut self, setup: &Setup<'_>, seed: u64) -> io::Result<()> {
        let sets: Vec<PortSet> = setup.cores.iter().map(|_| PortSet::new()).collect::<io::Result<_>>()?;
        let wakers: Vec<_> = sets.iter().map(PortSet::waker).collect();
        let wait = match setup.director.wait {
            config::Wait::Adaptive => Wait::Adaptive,
            config::Wait::Busy => Wait::Busy,
        };
        for ((ports, links), core) in sets.into_iter().zip(Mesh::build(&wakers)).zip(setup.cores) {
            let index = links.worker();
            let (page, writer) = CounterPage::with_writer(counters::PAGE_LEN);
            let settings =
                Settings { worker: index, workers: setup.cores.len(), resolve: Resolve::Control, seed };
            let mut pipeline = Pipeline::new(settings, self.shared.clone(), writer);
            let (changes_in, changes) = change::ring(CHANGES);
            pipeline.follow(changes_in);
            let (commands, commands_out) = spsc::ring(COMMANDS);
            let (punts_in, punts) = spsc::ring(PUNTS);
            let missing = || io::Error::other("a worker's pool or place is taken");
            let parts = Parts {
                pipeline,
                pool: self
                    .umem
                    .take_pool(PoolId(u8::try_from(index).map_err(io::Error::other)?), FOREIGN)
                    .ok_or_else(missing)?,
                snapshots: self.publisher.reader().ok_or_else(missing)?,
                links,
                commands: commands_out,
                punts: punts_in,
                notify: setup.notify.clone(),
                kernel: Box::new(PassPath::new()),
                stats: Arc::new(Stats::default()),
            };
            let start = Start { core: *core, wait, clock: setup.clock, ports, commands, punts };
            let handle = spawn(parts, start).map_err(named("worker thread"))?;
            self.pages.push(page);
            self.workers.push(Worker {
                handle,
                outbox: VecDeque::new(),
                changes,
                changes_seen: 0,
                // A quarter of the pool stays free for what is under way.
                frames_left: FRAMES / 4 * 3,
                queues: 0,
            });
        }
        Ok(())
    }

    /// Tells a worker something, now or as soon as it has room for it. The order is kept.
    pub(crate) fn tell(&mut self, worker: usize, command: Command) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.outbox.push_back(command);
            worker.deliver();
        }
    }

    /// The worker for a further queue: the one with the fewest.
    pub(crate) fn next_worker(&self) -> usize {
        (0..self.workers.len()).min_by_key(|w| (self.workers[*w].queues, *w)).unwrap_or(0)
    }

    /// The worker on a core.
    pub(crate) fn worker_on(&self, core: u16) -> Option<usize> {
        self.workers.iter().position(|worker| worker.handle.core() == usize::from(core))
    }

    /// Gives up a share of a worker's frames for a queue's receiving: the first ones get plenty, later ones less,
    /// and some are always left.
    pub(crate) fn take_share(&mut self, worker: usize) -> u32 {
        const MOST: u32 = 1024;
        const LEAST: u32 = 16;
        let worker = &mut self.workers[worker];
        let share = (worker.frames_left / 4).clamp(LEAST, MOST);
        worker.frames_left = worker.frames_left.saturating_sub(share);
        worker.queues += 1;
        share
    }

    /// Takes a share back.
    pub(crate) fn return_share(&mut self, worker: usize, share: u32) {
        let worker = &mut self.workers[worker];
        worker.frames_left += share;
        worker.queues = worker.queues.saturating_sub(1);
    }

    /// The next message of any worker.
    pub(crate) fn next_punt(&mut self) -> Option<Punt> {
        self.workers.iter_mut().find_map(|worker| worker.handle.next_punt())
    }

    /// What is done once a turn of the control thread: waiting commands, changes of connections, old snapshots.
    pub(crate) fn tend(&mut self) {
        for worker in &mut self.workers {
            worker.deliver();
            worker.drain();
        }
        self.publisher.reclaim();
    }

    /// Whether commands still wait for a worker.
    pub(crate) fn behind(&self) -> bool {
        self.workers.iter().any(|worker| !worker.outbox.is_empty())
    }

    /// Ends the workers and waits for them.
    pub(crate) fn stop(mut self) {
        for index in 0..self.workers.len() {
            self.tell(index, Command::Stop);
        }
        for mut worker in self.workers.drain(..) {
            while !worker.outbox.is_empty() && !worker.handle.is_finished() {
                worker.deliver();
                std::thread::yield_now();
            }
            worker.handle.join();
        }
    }
}

impl Worker {
    fn deliver(&mut self) {
        while let Some(command) = self.outbox.pop_front() {
            if let Err(command) = self.handle.send(command) {
                self.outbox.push_front(command);
                return;
            }
        }
    }

    fn drain(&mut self) {
        for _ in 0..DRAIN {
            if self.changes.pop().is_none() {
                return;
            }
            self.changes_seen += 1;
        }
    }

    /// Changes of connections that came too fast to be heard.
    pub(crate) fn changes_lost(&self) -> u64 {
        self.changes.lost()
    }
}

impl std::fmt::Debug for Dataplane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dataplane").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_a_seed_of_its_own() {
        let seeds = [seed().expect("random"), seed().expect("random")];
        assert_ne!(seeds[0], seeds[1]);
    }
}
