//! The loop around the packet path: ports, pool, turn, wait.
//!
//! Owns: [`Worker`] (one thread's ports, frames and pipeline; read [`Worker::turn`] first), [`Mesh`] (the rings
//! between workers), [`WorkerHandle`] (all that the control thread ever holds of a worker) and [`Stats`].
//!
//! Invariants:
//! - A frame is in exactly one place: [`Frames`] counts the places, and over all workers their sum is constant.
//! - One read of the clock a turn, one snapshot a turn; a sleeping worker holds no snapshot.
//! - Ports are flushed every turn, also when nothing was received or sent.
//!
//! It decides nothing about packets (that is the pipeline's) and knows no socket, file or configuration.

#![forbid(unsafe_code)]

mod clock;
mod command;
mod egress;
mod idle;
mod mesh;
mod port;
mod spawn;
mod stats;
mod worker;

pub use clock::Clock;
pub use command::{Command, Inject, KernelPath, Notify};
pub use idle::Wait;
pub use mesh::{Links, MAX_PORTS, MAX_WORKERS, Mesh};
pub use port::{PortPage, PortState};
pub use spawn::{Start, WorkerHandle, available_cores, spawn};
pub use stats::{Frames, Lost, Stats};
pub use worker::{Parts, Turn, Worker};
