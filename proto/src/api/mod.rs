//! The control API: what the director and its clients say to each other over the socket.
//!
//! One JSON object a line, in both directions:
//!
//! ```text
//!   {"v":1,"id":7,"op":"destination.set","args":{...}}  ->
//!                                                       <-  {"id":7,"ok":{...}}
//!                                                       <-  {"id":7,"error":{"code":...,"all":[...]}}
//!                                                       <-  {"event":"started","seq":1,"time":...}
//! ```
//!
//! `args` use the spellings of the configuration and are read by the configuration's reader. A service is
//! named by its name or its listen string, a destination by its service and address. Every state that is
//! shown carries `as-of`, the time at which it was true. Clients ignore keys of an answer that they do not
//! know; the director refuses keys of a request that it does not know. Nothing here does I/O.

mod answer;
mod args;
mod drain;
mod error;
mod event;
mod framing;
mod request;
mod response;
mod sticky;
mod traffic;
mod words;

pub use answer::{
    Applied, Change, ChangeKind, ConfigShown, Connection, ConnectionPage, Counter, CountersReport,
    DestinationList, DestinationStatus, DroppedEarly, FloodStatus, InterfaceStatus, Marked, NeighbourStatus,
    NeighboursReport, PlanReport, ServiceList, ServiceShown, ServiceStatus, Status, Subscribed,
    TimeoutsShown,
};
pub use drain::{Deadline, Drain, DrainEnd, DrainStatus, Rest, Templates};
pub use error::{ErrorCode, ErrorItem, ErrorReply};
pub use event::{Event, EventBody};
pub use framing::{LineBuffer, LineTooLong, MAX_LINE};
pub use request::{ConfigSource, ConnectionFilter, Op, Request, VERSION, parse_request};
pub use response::{Id, Message, Outcome, Response};
pub use sticky::{Clients, StickyCleared, StickyEntry, StickyFilter, StickyPage};
pub use traffic::{
    DestinationStats, FrameCounts, QueueStatus, Rates, ServiceStats, Stats, StatsReport, Totals, UnixTime,
    WorkerStatus, WorkersReport,
};
pub use words::{ConnState, CounterKind, DestinationState, NeighbourOrigin, NeighbourState, OpName};

#[cfg(test)]
mod tests;
