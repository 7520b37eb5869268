//! From what the operator wants to what the workers read: desired state, validation, plan, snapshot.
//!
//! Owns: [`Desired`] (what is wanted, always valid as a whole), [`Plan`] (what changes, printable), [`Ids`] (the
//! stable numbers of all objects), [`Compiler`] (desired state and [`Environment`] to snapshot) and [`View`] (what the
//! tables hold, for people). The director and replay use the same code.
//!
//! Invariants:
//! - Nothing edits a state in place: each change makes a new one, validated as a whole, or none at all.
//! - An object keeps its number over every change that does not concern it, and no number means two things.
//! - The same calls give the same snapshots: no clock, no randomness, no iteration over unordered maps that shows.
//!
//! It knows nothing of sockets, netlink or threads.

#![forbid(unsafe_code)]

mod compile;
mod dealer;
mod desired;
mod diff;
mod drains;
mod entries;
mod environment;
mod ids;
mod network;
mod renamed;
mod steered;
mod sweeps;

pub use compile::{CompileError, Compiler};
pub use dealer::Exhausted;
pub use desired::{Desired, edit};
pub use diff::{Action, Change, Kind, Plan};
pub use drains::{Drains, Happening, Running, Step};
pub use entries::View;
pub use environment::{DEFAULT_MTU, Environment, KernelNeighbour, KernelRoute, Link};
pub use ids::{Fresh, Ids, PORTS};
pub use steered::{Carrier, Endpoint, Steered};
pub use sweeps::Sweeps;
