//! What the benches and the allocation test drive: a pipeline with established flows, and their packets ready to be
//! received.
//!
//! Owns: flows, their packets in one block of memory, and [`Rig`], which fills frames outside the measured part.
//! Measured is what a worker does with frames that are in its hands: take them from the receive queue, process
//! them, take what is to be sent, give the frames back. No port, no system call, no copy of a packet.
//!
//! Nothing here reads a clock.

#![forbid(unsafe_code)]

mod outcome;
mod packets;
mod rig;

pub use outcome::{Better, Outcome};
pub use packets::{Packets, Sizes};
pub use rig::{CHUNK, Rig, Setup};
