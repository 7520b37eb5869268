//! What the benches and the allocation test drive: a pipeline with established flows, and their packets ready to be
//! received.
//!
//! Owns: flows, their packets in one block of memory, and [`Rig`], which fills frames outside the measured part.
//! Measured is what a worker does with frames that are in its hands: take them from the receive queue, process
//! them, take what is to be sent, give the frames back. No port, no system call, no copy of a packet.
//!
//! Nothing here reads a clock.

#![forbid(unsafe_code)]

mod packets;
mod rig;

use std::io;
use std::path::Path;

pub use packets::{Packets, Sizes};
pub use rig::{CHUNK, Rig, Setup};
pub use sheave_summary::{Better, Outcome};

/// Tells a number: on standard output, and in the summary of the target directory, in which cargo has given the bench
/// the directory `own`.
///
/// # Errors
/// When the summary cannot be written.
pub fn tell(outcome: &Outcome, own: &str) -> io::Result<()> {
    println!("{outcome}");
    let target = Path::new(own).parent().unwrap_or(Path::new("."));
    sheave_summary::record(&target.join("perf"), std::slice::from_ref(outcome))
}
