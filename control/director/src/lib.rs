//! sheaved, the director: socket server, netlink, interfaces, announcements, statistics.
//!
//! One control thread owns the desired state and answers the socket; the workers' threads forward packets. Read
//! [`runtime`] for how it starts and ends, `control` for the loop, `director` for how a change goes.
//!
//! Invariants:
//! - The control thread waits for nothing but its poll, and no client, file or kernel message can make it.
//! - Desired state changes as a whole or not at all.
//!
//! It knows nothing of packets' contents (the pipeline's) and of how a configuration becomes a snapshot (the plan's).

#![forbid(unsafe_code)]

pub mod args;
pub mod runtime;

mod announce;
mod conflict;
mod control;
mod cores;
mod dataplane;
mod deferral;
mod director;
mod estimate;
mod events;
mod interfaces;
mod netlink;
mod ops;
mod outbox;
mod pressure;
mod resolve;
mod server;
mod serving;
mod show;
mod socket;
mod standing;
mod stats;
mod surroundings;
mod wall;
