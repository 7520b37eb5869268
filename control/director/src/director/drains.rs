//! Drains: what is asked for, what becomes of it, and who is told.

use super::Director;
use sheave_pipeline::Time;
use sheave_pipeline::ids::DestId;
use sheave_plan::{Happening, Step};
use sheave_proto::api::{Applied, Drain, DrainEnd, DrainStatus, ErrorReply, EventBody, Op, UnixTime};
use sheave_proto::config::DestAddr;

impl Director {
    /// Drains a destination as a request asks for.
    ///
    /// # Errors
    /// When there is no such destination, or the state that it asks for cannot be.
    pub(crate) fn drain(&mut self, op: &Op, origin: &str) -> Result<Applied, ErrorReply> {
        let desired = self.desired.request(op)?;
        let asked = match op {
            Op::DestinationDrain { service, address, drain } => {
                self.named_destination(service, address).map(|id| (id, *drain))
            }
            _ => None,
        };
        self.apply_drain(desired, origin, asked)
    }

    fn named_destination(&self, service: &str, address: &DestAddr) -> Option<DestId> {
        let config = self.desired.config();
        let service = &config.services[config.find_service(service)?];
        self.compiler.ids().destination_of(service, &service.destinations[service.find_destination(address)?])
    }

    /// Brings the drains to what is wanted now.
    pub(crate) fn follow_drains(&mut self, asked: Option<(DestId, Drain)>) {
        let steps = self.drains.follow(&self.desired, self.compiler.ids(), asked, self.now);
        self.tell_of_drains(steps);
        if self.compiler.honour(self.drains.honouring()) {
            self.refresh();
        }
    }

    /// Goes on with the drains that something is due of.
    pub(super) fn advance_drains(&mut self) {
        if self.drains.next_due().is_none_or(|due| due > self.now) {
            return;
        }
        let live = &self.dataplane.shared.live;
        let settled = self.dataplane.publisher.seen_by_all(self.dataplane.publisher.epoch());
        let steps = self.drains.advance(self.now, settled, |id| live.destination(id).total());
        let mut changed = self.compiler.honour(self.drains.honouring());
        for step in &steps {
            changed |= step.what == Happening::Finished(DrainEnd::Reset) && self.compiler.reset(step.id);
        }
        if changed {
            self.refresh();
            self.store_ids();
        }
        self.tell_of_drains(steps);
    }

    fn tell_of_drains(&mut self, steps: Vec<Step>) {
        for Step { service, address, connections, what, .. } in steps {
            let body = match what {
                Happening::Progress(remaining) => {
                    let remaining = remaining.map(seconds);
                    EventBody::DrainProgress { service, address, connections, remaining }
                }
                Happening::Finished(end) => {
                    tracing::info!(service, %address, connections, %end, "drain finished");
                    EventBody::DrainFinished { service, address, end, connections }
                }
            };
            self.events.note(body);
        }
    }

    /// How the drain of a destination goes, while it does.
    pub(crate) fn drain_status(&self, id: DestId) -> Option<DrainStatus> {
        let running = self.drains.get(id)?;
        let UnixTime(now) = crate::wall::now();
        let at = |time: Time| UnixTime(now + seconds(time.0) - seconds(self.now.0));
        Some(DrainStatus {
            since: at(running.since),
            deadline: running.deadline.map(at),
            then: running.drain.then,
            templates: running.drain.templates,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / Time::SECOND as f64
}
