//! Requests: each is answered from the control thread's own state, at once and in bounded time.

use crate::director::Director;
use crate::server::{Answer, Cut, Reply};
use crate::{show, wall};
use serde::Serialize;
use sheave_plan::{Desired, Plan, View};
use sheave_proto::api::{
    Applied, ErrorCode, ErrorReply, EventBody, Id, MAX_LINE, Op, PlanReport, Response, Subscribed,
    parse_request,
};

/// Where changes over the socket come from, in events.
const ORIGIN: &str = "socket";

impl Answer for Director {
    fn answer(&mut self, line: &[u8]) -> Reply {
        let request = match parse_request(line) {
            Ok(request) => request,
            Err(refusal) => return Reply::of(&refusal),
        };
        if let Op::EventsSubscribe { since } = request.op {
            let next_seq = self.events.next_seq();
            let answer = Response::ok(request.id, &Subscribed { as_of: wall::now(), next_seq });
            let then = since.map_or_else(Vec::new, |since| self.events.past(since));
            return Reply { line: answer.to_line(), then, subscribe: true };
        }
        Reply::of(&self.respond(request.id, &request.op))
    }

    fn farewell(&self, why: Cut) -> Vec<u8> {
        let (code, message, remedy) = match why {
            Cut::Slow => {
                (ErrorCode::TooSlow, "it does not read what it is sent", "read faster, or ask for less")
            }
            Cut::Large => (ErrorCode::TooLarge, "its line is longer than a request may be", REMEDY_LARGE),
            Cut::Crowd => (ErrorCode::Failed, "there are too many clients", "close some, and try again"),
        };
        Response::error(Id::None, ErrorReply::new(code, "client", message, remedy)).to_line()
    }

    fn cut_off(&mut self, why: Cut) {
        let reason = match why {
            Cut::Slow => "too slow",
            Cut::Large => "a line too long",
            Cut::Crowd => "too many clients",
        };
        tracing::warn!("control socket: client cut off: {reason}");
        self.events.note(EventBody::ClientCutOff { reason: reason.to_owned() });
    }
}

const _: () = assert!(MAX_LINE == 1 << 20, "the remedy names the limit");
const REMEDY_LARGE: &str = "send requests of at most 1048576 bytes";

impl Reply {
    fn of(response: &Response) -> Reply {
        Reply { line: response.to_line(), then: Vec::new(), subscribe: false }
    }
}

impl Director {
    fn respond(&mut self, id: Id, op: &Op) -> Response {
        fn done<T: Serialize>(id: Id, outcome: Result<T, ErrorReply>) -> Response {
            match outcome {
                Ok(answer) => Response::ok(id, &answer),
                Err(error) => Response::error(id, error),
            }
        }
        match op {
            Op::StatusShow => Response::ok(id, &show::status(self)),
            Op::ServiceList => Response::ok(id, &show::services(self)),
            Op::ServiceShow { service } => done(id, show::service(self, service)),
            Op::DestinationList { service } => done(id, show::destinations(self, service.as_deref())),
            Op::ConfigShow => Response::ok(id, &show::config(self)),
            Op::StatsMark { service } => done(id, show::mark(self, service.as_deref())),
            Op::TimeoutsShow => Response::ok(id, &show::timeouts(self)),
            Op::DestinationDrain { .. } => done(id, self.drain(op, ORIGIN)),
            Op::StickyList { filter, limit, cursor } => {
                let page = (*limit, cursor.as_deref());
                done(id, self.look(|view, desired| view.sticky(desired, filter, page)))
            }
            Op::StickyClear(filter) => {
                done(id, self.look(|view, desired| view.clear_sticky(desired, filter)))
            }
            Op::StatsShow { service } => done(id, show::stats(self, service.as_deref())),
            Op::ConnectionsList(filter) => {
                done(id, self.look(|view, desired| view.connections(desired, filter)))
            }
            Op::NeighboursList => Response::ok(id, &show::neighbours(self)),
            Op::WorkersShow => Response::ok(id, &show::workers(self)),
            Op::CountersShow => Response::ok(id, &show::counters(self)),
            Op::ConfigPlan(_) => done(id, self.plan(op)),
            Op::ConfigReload => done(id, self.reload(ORIGIN)),
            Op::ServiceAdd(_)
            | Op::ServiceSet { .. }
            | Op::ServiceRemove { .. }
            | Op::DestinationAdd { .. }
            | Op::DestinationSet { .. }
            | Op::DestinationRemove { .. }
            | Op::TimeoutsSet(_)
            | Op::ConfigApply(_) => done(id, self.change(op)),
            Op::EventsSubscribe { .. } => done::<Applied>(
                id,
                Err(ErrorReply::new(ErrorCode::Failed, "request", "not answered here", "-")),
            ),
        }
    }

    /// Asks for something of what the tables hold now.
    fn look<T>(
        &mut self,
        ask: impl FnOnce(View<'_>, &Desired) -> Result<T, ErrorReply>,
    ) -> Result<T, ErrorReply> {
        let snapshot = self.current.pin();
        let (shared, now) = (&self.dataplane.shared, self.now.tick());
        ask(View { shared, snapshot: &snapshot, now, as_of: wall::now() }, &self.desired)
    }

    fn plan(&self, op: &Op) -> Result<PlanReport, ErrorReply> {
        let desired = self.desired.request(op)?;
        let changes = Plan::diff(&self.desired, &desired).report();
        Ok(PlanReport { as_of: wall::now(), epoch: self.epoch, changes })
    }

    fn change(&mut self, op: &Op) -> Result<Applied, ErrorReply> {
        let outcome = self.desired.request(op).and_then(|desired| self.apply(desired, ORIGIN));
        if let (Err(error), Op::ConfigApply(_)) = (&outcome, op) {
            self.refused(error, ORIGIN);
        }
        outcome
    }
}
