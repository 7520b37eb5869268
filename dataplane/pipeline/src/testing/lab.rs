//! A pipeline with its pool and its output, driven by hand.

use crate::counters::{self, Traffic};
use crate::ids::{DestId, ServiceId};
use crate::output::{Output, Punt};
use crate::pipeline::{Pipeline, Resolve, Settings, Shared};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use crate::time::Time;
use crate::verdict::{Verdict, VerdictKind};
use sheave_frame::{BURST, Burst, Frame, FrameId, FramePool, PoolId, PortId};
use sheave_table::counters::CounterPage;
use std::cell::RefCell;
use std::sync::Arc;

const FRAME: usize = 4096;

thread_local! {
    /// Memory of frames is for good; labs come and go.
    static SPARE: RefCell<Vec<&'static mut [u8]>> = const { RefCell::new(Vec::new()) };
}

/// A pipeline to drive.
#[derive(Debug)]
pub struct Lab {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// What workers share.
    pub shared: Arc<Shared>,
    /// Free frames.
    pub pool: FramePool,
    /// What the last calls produced, until it is drained.
    pub out: Output,
    /// The counters.
    pub page: Arc<CounterPage>,
    /// The time of the next call.
    pub now: Time,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drained {
    /// Frames sent, with the interface.
    pub sent: Vec<(PortId, Vec<u8>)>,
    /// Frames passed to the kernel.
    pub passed: Vec<Vec<u8>>,
    /// Messages to the control thread.
    pub punts: Vec<Punt>,
}

impl Lab {
    /// A lab with room for 4096 connections and with 600 frames.
    pub fn new(resolve: Resolve) -> Lab {
        Lab::sized(resolve, 4096, 600)
    }

    /// A lab with room for so many connections and with so many frames.
    pub fn sized(resolve: Resolve, connections: u64, frames: u32) -> Lab {
        let shared = Arc::new(Shared::on_heap(connections, 7));
        Lab::over(shared, Settings { worker: 0, workers: 1, resolve, seed: 1 }, frames)
    }

    /// One worker's lab over what workers share.
    pub fn over(shared: Arc<Shared>, settings: Settings, frames: u32) -> Lab {
        let (page, writer) = CounterPage::with_writer(counters::PAGE_LEN);
        let id = PoolId(0);
        let memory = || {
            let spare = SPARE.with_borrow_mut(Vec::pop);
            spare.unwrap_or_else(|| Box::leak(vec![0; FRAME].into_boxed_slice()))
        };
        let frames = (0..frames).map(|n| Frame::new(memory(), FrameId(n), id)).collect();
        Lab {
            pipeline: Pipeline::new(settings, Arc::clone(&shared), writer),
            shared,
            pool: FramePool::new(id, frames, 0),
            out: Output::new(),
            page,
            now: Time(1_000 * Time::SECOND),
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.after(seconds * Time::SECOND);
    }

    /// Handles these frames as one burst. What came out stays in [`Lab::out`].
    ///
    /// # Panics
    /// When there are more frames than the pool has, or than a burst.
    pub fn burst(&mut self, snapshot: &Snapshot, frames: &[(PortId, Vec<u8>)]) -> Vec<Verdict> {
        let mut burst = Burst::with_capacity(BURST);
        self.fill(&mut burst, frames);
        self.process(snapshot, &mut burst)
    }

    /// Puts these frames into a burst.
    ///
    /// # Panics
    /// When there are more frames than the pool has, or than the burst takes.
    pub fn fill(&mut self, burst: &mut Burst, frames: &[(PortId, Vec<u8>)]) {
        for (port, bytes) in frames {
            let mut frame = self.pool.alloc().expect("a free frame");
            frame.fill(bytes).expect("room for the packet");
            frame.set_ingress(*port);
            burst.push(frame).expect("room in the burst");
        }
    }

    /// Handles a burst. What came out stays in [`Lab::out`].
    ///
    /// # Panics
    /// When the pipeline leaves some of it.
    pub fn process(&mut self, snapshot: &Snapshot, burst: &mut Burst) -> Vec<Verdict> {
        self.pipeline.process(self.now, snapshot, burst, &mut self.pool, &mut self.out);
        assert!(burst.is_empty(), "the whole burst is handled");
        std::mem::take(&mut self.out.verdicts)
    }

    /// Handles one frame and gives what came out.
    pub fn send(&mut self, snapshot: &Snapshot, port: PortId, bytes: &[u8]) -> (Verdict, Drained) {
        let verdicts = self.burst(snapshot, &[(port, bytes.to_vec())]);
        let [verdict] = verdicts[..] else { panic!("one frame has one verdict: {verdicts:?}") };
        (verdict, self.drain())
    }

    /// The work of a turn without packets.
    pub fn tick(&mut self, snapshot: &Snapshot) -> Drained {
        self.pipeline.tick(self.now, snapshot, &mut self.pool, &mut self.out);
        self.drain()
    }

    /// Expires all that is due.
    pub fn expire(&mut self, snapshot: &Snapshot) {
        self.pipeline.expire_due(self.now, snapshot, &mut self.pool);
    }

    /// Takes what came out; the frames go back to the pool.
    pub fn drain(&mut self) -> Drained {
        let mut drained = Drained { punts: std::mem::take(&mut self.out.punts), ..Drained::default() };
        for frame in self.out.sends.drain(..) {
            drained.sent.push((frame.egress(), frame.bytes().to_vec()));
            self.pool.release(frame);
        }
        while let Some(frame) = self.out.passes.pop() {
            drained.passed.push(frame.bytes().to_vec());
            self.pool.release(frame);
        }
        drained
    }

    /// How often a reason was counted.
    pub fn reason(&self, reason: Reason) -> u64 {
        self.page.get(counters::reason(reason))
    }

    /// How often a verdict was counted.
    pub fn verdict(&self, kind: VerdictKind) -> u64 {
        self.page.get(counters::verdict(kind))
    }

    /// Traffic of a service: conns, packets in and out, bytes in and out.
    pub fn service(&self, id: u16) -> [u64; 5] {
        Traffic::ALL.map(|what| self.page.get(counters::service(ServiceId(id), what)))
    }

    /// Traffic of a destination, likewise.
    pub fn destination(&self, id: DestId) -> [u64; 5] {
        Traffic::ALL.map(|what| self.page.get(counters::destination(id, what)))
    }

    /// Active and inactive connections of a destination.
    pub fn live(&self, id: DestId) -> (u32, u32) {
        let live = self.shared.live.destination(id);
        (live.active(), live.inactive())
    }

    /// Every counter that is not zero, by its slot.
    pub fn counters(&self) -> Vec<(usize, u64)> {
        (0..self.page.len()).map(|i| (i, self.page.get(i))).filter(|(_, n)| *n != 0).collect()
    }

    /// Frames in all hands: always as many as the pool has in total.
    pub fn frames(&self) -> usize {
        self.pool.free() + self.out.sends.len() + self.out.passes.len() + self.pipeline.held()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.drain();
        self.pipeline.give_back(&mut self.pool);
        while let Some(frame) = self.pool.alloc() {
            let (memory, _, _) = frame.into_parts();
            SPARE.with_borrow_mut(|spare| spare.push(memory));
        }
    }
}
