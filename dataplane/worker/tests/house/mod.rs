//! Workers without threads, on ports over memory: each test turns them by hand, with its own clock.
//!
//! ```text
//!   handle 0 -- port 0 -- worker ?  <== rings ==>  worker ? -- port 1 -- handle 1
//! ```

#![allow(dead_code, reason = "each test file uses its part")]

use sheave_frame::{PoolId, Port, PortId};
use sheave_io::{MemHandle, MemPort, PassQueue, PortSet, mem_pool};
use sheave_pipeline::testing::Site;
use sheave_pipeline::{Pipeline, Punt, Resolve, Settings, Shared, Snapshot, Time, counters};
use sheave_table::{CounterPage, Publisher, spsc};
use sheave_worker::{Command, KernelPath, Lost, Mesh, Parts, PortPage, Stats, Turn, Worker};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A frame, and the interface that it came in on.
type Given = (PortId, Vec<u8>);

/// What the kernel was given, and how much more it takes.
#[derive(Debug, Default, Clone)]
pub(crate) struct Kernel {
    pub(crate) frames: Arc<Mutex<Vec<Given>>>,
    pub(crate) room: Arc<AtomicUsize>,
}

impl KernelPath for Kernel {
    fn pass(&mut self, port: PortId, frame: &[u8]) -> bool {
        let taken =
            self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
        if taken {
            self.frames.lock().expect("whole").push((port, frame.to_vec()));
        }
        taken
    }

    fn set(&mut self, _: PortId, _: Option<PassQueue>) {}
}

/// One worker and the test's ends of it.
pub(crate) struct Room {
    pub(crate) worker: Worker,
    pub(crate) commands: spsc::Producer<Command>,
    pub(crate) punts: spsc::Consumer<Punt>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) page: Arc<CounterPage>,
}

/// Workers that share a table and a snapshot.
pub(crate) struct House {
    pub(crate) rooms: Vec<Room>,
    pub(crate) publisher: Publisher<Snapshot>,
    pub(crate) kernel: Kernel,
    pub(crate) notified: Arc<AtomicUsize>,
    pub(crate) now: Time,
    _sets: Vec<PortSet>,
}

pub(crate) const POOL: u32 = 2048;

impl House {
    pub(crate) fn new(workers: usize, site: &mut Site) -> House {
        let sets: Vec<PortSet> = (0..workers).map(|_| PortSet::new().expect("descriptors")).collect();
        let wakers: Vec<_> = sets.iter().map(PortSet::waker).collect();
        let publisher = Publisher::new(Box::new(site.snapshot()), workers);
        let shared = Arc::new(Shared::on_heap(4096, 7));
        let kernel = Kernel { room: Arc::new(AtomicUsize::new(usize::MAX)), ..Kernel::default() };
        let notified = Arc::new(AtomicUsize::new(0));
        let rooms = Mesh::build(&wakers)
            .into_iter()
            .map(|links| {
                let index = links.worker();
                let (page, writer) = CounterPage::with_writer(counters::PAGE_LEN);
                let settings = Settings { worker: index, workers, resolve: Resolve::Control, seed: 1 };
                let (commands, commands_out) = spsc::ring(64);
                let (punts_in, punts) = spsc::ring(64);
                let stats = Arc::new(Stats::default());
                let counted = notified.clone();
                let worker = Worker::new(Parts {
                    pipeline: Pipeline::new(settings, shared.clone(), writer),
                    pool: mem_pool(PoolId(u8::try_from(index).expect("few")), POOL, 2048),
                    snapshots: publisher.reader().expect("a place"),
                    links,
                    commands: commands_out,
                    punts: punts_in,
                    notify: Arc::new(move || {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }),
                    kernel: Box::new(kernel.clone()),
                    stats: stats.clone(),
                });
                Room { worker, commands, punts, stats, page }
            })
            .collect();
        House { rooms, publisher, kernel, notified, now: Time(Time::SECOND), _sets: sets }
    }

    /// Gives a worker a port over memory with `capacity` packets on each wire.
    pub(crate) fn open(&mut self, worker: usize, port: u16, capacity: usize) -> (MemHandle, Arc<PortPage>) {
        let (mem, handle) = MemPort::new(PortId(port), capacity);
        (handle, self.open_port(worker, Box::new(mem)))
    }

    /// Gives a worker any port.
    pub(crate) fn open_port(&mut self, worker: usize, port: Box<dyn Port>) -> Arc<PortPage> {
        let page = Arc::new(PortPage::new(port.caps()));
        self.tell(worker, Command::Open(port, page.clone()));
        page
    }

    pub(crate) fn tell(&mut self, worker: usize, command: Command) {
        self.rooms[worker].commands.push(command).expect("room for a command");
    }

    /// Turns one worker.
    pub(crate) fn turn(&mut self, worker: usize) -> Turn {
        self.now = self.now.after(1000);
        self.rooms[worker].worker.turn(self.now)
    }

    /// Turns all workers a few times: enough for a frame to cross, be sent and come home.
    pub(crate) fn settle(&mut self) {
        for _ in 0..4 {
            for worker in 0..self.rooms.len() {
                self.turn(worker);
            }
        }
    }

    /// Every frame is somewhere, and none is in two places.
    pub(crate) fn assert_conserved(&self) {
        let frames: Vec<_> = self.rooms.iter().map(|room| room.worker.frames()).collect();
        let (here, total) = frames.iter().fold((0, 0), |(h, t), f| (h + f.here(), t + f.total));
        assert_eq!(here, total, "{frames:?}");
    }

    /// Every frame is free in its own pool.
    pub(crate) fn assert_all_free(&self) {
        for room in &self.rooms {
            let frames = room.worker.frames();
            assert_eq!((frames.free, frames.foreign), (frames.total, 0), "{frames:?}");
        }
    }

    pub(crate) fn lost(&self, why: Lost) -> u64 {
        self.rooms.iter().map(|room| room.stats.lost(why)).sum()
    }
}
