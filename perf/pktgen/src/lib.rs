//! A packet generator and a sink that verifies.
//!
//! ```text
//!   Traffic --> Stream (shapes + schedule) --> live frames or AF_XDP --> ... a director ... --> Sink --> Verifier
//!   what to send     every packet of it                                                                  right or not
//! ```
//!
//! Owns: what packets look like and in which order they come ([`Stream`]), sending them ([`send`]), whole TCP exchanges
//! ([`exchange`]), forwarding as the bare minimum that any director has to do ([`bare`]), counting and judging what
//! arrives ([`sink`], [`verify`]).
//!
//! Invariants:
//! - A packet is a function of its place in the stream and the time: both senders send the same.
//! - The verifier does not share code with the director, and takes time as an argument.

#![forbid(unsafe_code)]

pub mod bare;
pub mod clock;
pub mod exchange;
pub mod packet;
pub mod schedule;
pub mod send;
pub mod sink;
pub mod station;
pub mod traffic;
pub mod verify;

pub use packet::Stream;
pub use traffic::{Mac, Sizes, Spread, Traffic};
pub use verify::{Change, Expect, Real, Verdicts, Verifier};
