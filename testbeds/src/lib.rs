//! The namespaces kit: networks of our own on one machine, for the demo and for tests against real traffic.
//!
//! Owns: network namespaces and what lives in them ([`Netns`], [`Process`]), the basic topology ([`Lab`]), the
//! servers and clients that put traffic on it ([`servers`], [`http`], [`load`], [`udp`]), the handle on a
//! running `sheaved` ([`Director`]), and all of it together ([`Bed`]).
//!
//! Invariants:
//! - Nothing outside namespaces that this process made is touched, and no address outside 198.18.0.0/15 and 2001:2::/48 is sent to.
//! - Whatever is made is removed: on drop, after a panic, on SIGINT and SIGTERM; after a SIGKILL by the next run.
//! - Waiting is for a condition ([`wait::wait_until`]), never for a time.
//!
//! It needs root, and says so; it never skips silently. It does not judge: assertions belong to the tests.

#![forbid(unsafe_code)]

mod bed;
mod capture;
pub mod director;
mod error;
mod far;
pub mod http;
pub mod load;
mod netns;
mod process;
pub mod servers;
mod topology;
pub mod udp;
pub mod wait;

pub use bed::Bed;
pub use capture::{Capture, Captured};
pub use director::{Director, Service};
pub use error::{Error, Result};
pub use far::Far;
pub use netns::Netns;
pub use process::{Process, run};
pub use topology::{Family, Lab, Method, Options, Real, addr};
