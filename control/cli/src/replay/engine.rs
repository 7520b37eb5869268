//! The director without its rim: desired state, compiler and pipeline, driven frame by frame.

use super::report::{Names, Report};
use crate::error::{Code, ExitError};
use serde_json::{Value, json};
use sheave_frame::{Burst, Frame, FrameId, FramePool, HEADROOM, PoolId, PortId};
use sheave_pipeline::ids::DestId;
use sheave_pipeline::snapshot::Snapshot;
use sheave_pipeline::{Output, Pipeline, Resolve, Settings, Shared, Time, Verdict, counters};
use sheave_plan::{CompileError, Compiler, Desired, Drains, Environment, Happening, Plan, Step, View};
use sheave_proto::api::{
    self, Applied, Drain, DrainEnd, ErrorCode, ErrorReply, Op, PlanReport, Response, UnixTime,
};
use sheave_proto::config::{ConfigError, DestAddr};
use sheave_table::CounterPage;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a frame's memory: all that a frame can have.
const FRAME: usize = 65_535;
/// The longest packet that a frame takes.
pub(super) const LONGEST: usize = FRAME - HEADROOM;
/// Frames: more than the pipeline holds back.
const FRAMES: u32 = 1024;
/// A table for a few connections costs nothing; one much larger than the input is of no use.
const FEW: u64 = 4096;

/// The time of the tables, which begins with the first frame.
pub(super) fn since(start: u64, time: u64) -> Time {
    Time(time.saturating_sub(start))
}

/// What became of one frame.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) service: Option<String>,
    pub(super) destination: Option<String>,
    /// The interfaces that frames were sent to because of it, each once, in order.
    pub(super) out: Vec<PortId>,
}

#[derive(Debug)]
pub(super) struct Engine {
    desired: Desired,
    compiler: Compiler,
    drains: Drains,
    snapshot: Snapshot,
    epoch: u64,
    names: Names,
    shared: Arc<Shared>,
    page: Arc<CounterPage>,
    // Frames end with the process: the ones still held back at the end have nowhere to go.
    pipeline: ManuallyDrop<Pipeline>,
    pool: ManuallyDrop<FramePool>,
    burst: ManuallyDrop<Burst>,
    out: ManuallyDrop<Output>,
}

impl Engine {
    /// An engine in the given state. `frames` is how many there will be: each opens one connection at most.
    pub(super) fn new(desired: Desired, seed: u64, frames: usize) -> Result<Engine, ExitError> {
        let mut compiler = Compiler::new();
        let snapshot =
            compile(&mut compiler, &desired, 1).map_err(|errors| ExitError::all(Code::Usage, errors))?;
        let frames = u64::try_from(frames).unwrap_or(u64::MAX).max(FEW);
        let connections = u64::from(desired.config().director.max_connections).min(frames);
        let shared = Arc::new(Shared::on_heap(connections, seed));
        let (page, writer) = CounterPage::with_writer(counters::PAGE_LEN);
        let settings = Settings { worker: 0, workers: 1, resolve: Resolve::Ask, seed };
        let pipeline = Pipeline::new(settings, Arc::clone(&shared), writer);
        let mut engine = Engine {
            desired,
            compiler,
            drains: Drains::default(),
            snapshot: Snapshot::default(),
            epoch: 1,
            names: Names::default(),
            shared,
            page,
            pipeline: ManuallyDrop::new(pipeline),
            pool: ManuallyDrop::new(pool()),
            burst: ManuallyDrop::new(Burst::with_capacity(1)),
            out: ManuallyDrop::new(Output::new()),
        };
        engine.take(Time(0), snapshot);
        engine.follow_drains(Time(0), None);
        Ok(engine)
    }

    /// Every interface by its number and name.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = (PortId, &str)> {
        self.snapshot.interfaces().map(|(port, interface)| (port, interface.name.as_str()))
    }

    /// Lets time pass up to `now`, then carries out a request as the director would at `time` (nanoseconds since
    /// 1970): what was due before it had ended by the state before it.
    pub(super) fn request(&mut self, now: Time, request: &api::Request, time: u64) -> Response {
        self.pass_time(now);
        let as_of = UnixTime::since_epoch(Duration::from_nanos(time));
        match self.answer(now, &request.op, as_of) {
            Ok(answer) => Response::ok(request.id.clone(), &answer),
            Err(error) => Response::error(request.id.clone(), error),
        }
    }

    /// Lets time pass up to `now`, then handles a frame that came in on `interface`.
    pub(super) fn frame(
        &mut self,
        now: Time,
        interface: &str,
        bytes: &[u8],
        mut send: impl FnMut(PortId, &[u8]),
    ) -> Result<Outcome, ExitError> {
        let full = || ExitError::new(Code::Failed, "replay", "no free frame", "report this as a bug");
        let mut out = Vec::new();
        self.pass_time(now);
        let mut frame = self.pool.alloc().ok_or_else(full)?;
        let ready = frame.fill(bytes).is_ok();
        frame.set_ingress(self.compiler.ids().port_of(interface).unwrap_or(PortId::NONE));
        let queued = self.burst.push(frame);
        if let Err(frame) = queued {
            self.pool.release(frame);
        }
        if !ready || self.burst.is_empty() {
            return Err(full());
        }
        self.pipeline.process(now, &self.snapshot, &mut self.burst, &mut self.pool, &mut self.out);
        self.pipeline.tick(now, &self.snapshot, &mut self.pool, &mut self.out);
        self.deliver(&mut out, &mut send);
        let verdict = self.out.verdicts.pop().ok_or_else(full)?;
        self.out.verdicts.clear();
        Ok(Outcome {
            verdict,
            service: verdict.service.and_then(|id| self.names.service(id)),
            destination: verdict.destination.and_then(|id| self.names.destination(id)),
            out,
        })
    }

    /// All counters as they are now.
    pub(super) fn report(&self) -> Report {
        Report::new(&self.page, &self.shared.live, &self.names, &self.snapshot, self.pipeline.held())
    }

    fn answer(&mut self, now: Time, op: &Op, as_of: UnixTime) -> Result<Value, ErrorReply> {
        let (shared, snapshot) = (&*self.shared, &self.snapshot);
        let view = View { shared, snapshot, now: now.tick(), as_of };
        match op {
            Op::ConnectionsList(filter) => Ok(json!(view.connections(&self.desired, filter)?)),
            Op::StickyList { filter, limit, cursor } => {
                Ok(json!(view.sticky(&self.desired, filter, (*limit, cursor.as_deref()))?))
            }
            Op::StickyClear(filter) => Ok(json!(view.clear_sticky(&self.desired, filter)?)),
            _ => self.change(now, op, as_of),
        }
    }

    /// Either all of a change takes effect, or nothing.
    fn change(&mut self, now: Time, op: &Op, as_of: UnixTime) -> Result<Value, ErrorReply> {
        let desired = match op {
            Op::ServiceAdd(_)
            | Op::ServiceSet { .. }
            | Op::ServiceRemove { .. }
            | Op::DestinationAdd { .. }
            | Op::DestinationSet { .. }
            | Op::DestinationRemove { .. }
            | Op::DestinationDrain { .. }
            | Op::TimeoutsSet(_)
            | Op::ConfigApply(_)
            | Op::ConfigPlan(_) => self.desired.request(op)?,
            _ => {
                let (message, remedy) = (
                    "a replay cannot carry it out",
                    "send operations that change something, connections.list or sticky.list",
                );
                return Err(ErrorReply::new(
                    ErrorCode::NotSupported,
                    format!("op {}", op.name()),
                    message,
                    remedy,
                ));
            }
        };
        let changes = Plan::diff(&self.desired, &desired).report();
        if matches!(op, Op::ConfigPlan(_)) {
            return Ok(json!(PlanReport { as_of, epoch: self.epoch, changes }));
        }
        let mut compiler = self.compiler.clone();
        let snapshot = compile(&mut compiler, &desired, self.epoch + 1)?;
        self.epoch += 1;
        self.compiler = compiler;
        self.desired = desired;
        self.take(now, snapshot);
        let asked = match op {
            Op::DestinationDrain { service, address, drain } => {
                self.named_destination(service, address).map(|id| (id, *drain))
            }
            _ => None,
        };
        self.follow_drains(now, asked);
        Ok(json!(Applied { as_of, epoch: self.epoch, changes }))
    }

    /// What happens between frames: expiry, packets that have waited too long, kept destinations that are done.
    fn pass_time(&mut self, now: Time) {
        while let Some(deadline) = self.drains.next_deadline().filter(|deadline| *deadline <= now) {
            // What was due before it had ended by then.
            self.pipeline.expire_due(deadline, &self.snapshot, &mut self.pool);
            let live = &self.shared.live;
            let steps = self.drains.advance(deadline, true, |id| live.destination(id).total());
            let mut changed = self.compiler.honour(self.drains.honouring());
            for Step { id, what, .. } in steps {
                changed |= what == Happening::Finished(DrainEnd::Reset) && self.compiler.reset(id);
            }
            if changed {
                self.compile_again(deadline);
            }
        }
        self.pipeline.expire_due(now, &self.snapshot, &mut self.pool);
        let live = &self.shared.live;
        let connections = |id| {
            let live = live.destination(id);
            u64::from(live.active()) + u64::from(live.inactive())
        };
        if self.compiler.kept() > 0 && self.compiler.retire(self.epoch, connections) {
            self.compile_again(now);
        }
    }

    /// The same state, of which something beside the configuration has changed.
    fn compile_again(&mut self, now: Time) {
        // It compiled before, so it does again: nothing is numbered newly.
        if let Ok(snapshot) = compile(&mut self.compiler, &self.desired, self.epoch + 1) {
            self.epoch += 1;
            self.take(now, snapshot);
        }
    }

    fn follow_drains(&mut self, now: Time, asked: Option<(DestId, Drain)>) {
        self.drains.follow(&self.desired, self.compiler.ids(), asked, now);
        if self.compiler.honour(self.drains.honouring()) {
            self.compile_again(now);
        }
    }

    fn named_destination(&self, service: &str, address: &DestAddr) -> Option<DestId> {
        let config = self.desired.config();
        let service = &config.services[config.find_service(service)?];
        self.compiler.ids().destination_of(service, &service.destinations[service.find_destination(address)?])
    }

    fn deliver(&mut self, out: &mut Vec<PortId>, send: &mut impl FnMut(PortId, &[u8])) {
        for frame in self.out.sends.drain(..) {
            let port = frame.egress();
            send(port, frame.bytes());
            if !out.contains(&port) {
                out.push(port);
            }
            self.pool.release(frame);
        }
        while let Some(frame) = self.out.passes.pop() {
            self.pool.release(frame);
        }
        self.out.punts.clear();
    }

    fn take(&mut self, now: Time, snapshot: Snapshot) {
        self.compiler.fresh().begin(&snapshot, &self.shared.live, now);
        self.names.learn(&snapshot);
        self.snapshot = snapshot;
    }
}

fn compile(compiler: &mut Compiler, desired: &Desired, epoch: u64) -> Result<Snapshot, Vec<ConfigError>> {
    let environment = Environment::of_configuration(desired, compiler.ids_mut())?;
    let error =
        |error: CompileError| vec![ConfigError::invalid("configuration", error.to_string(), "use less")];
    compiler.compile(desired, &environment, epoch).map_err(error)
}

/// Frames over memory that is the process's for good; what is not used costs nothing.
fn pool() -> FramePool {
    let frames = usize::try_from(FRAMES).unwrap_or(usize::MAX);
    let memory = Box::leak(vec![0u8; frames * FRAME].into_boxed_slice());
    let frames =
        memory.chunks_exact_mut(FRAME).zip(0..).map(|(buf, id)| Frame::new(buf, FrameId(id), PoolId(0)));
    FramePool::new(PoolId(0), frames.collect(), 0)
}
