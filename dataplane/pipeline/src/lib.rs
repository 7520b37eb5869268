//! The pure packet path: a burst of frames, a snapshot, the tables and the time go in; verdicts and frames to
//! send come out.
//!
//! It knows nothing of threads, sockets, clocks or configuration files, and its result never depends on the size
//! of the burst. Read [`Pipeline::process`] first; [`reason`] lists every outcome.

#![forbid(unsafe_code)]

pub mod counters;
pub mod entry;
pub mod fragments;
pub mod helper;
pub mod icmp;
pub mod ids;
pub mod key;
pub mod live;
pub mod mss;
pub mod output;
pub mod path_mtu;
pub mod reason;
pub mod routes;
pub mod scheduler;
pub mod seq;
pub mod side;
pub mod snapshot;
pub mod sticky;
pub mod syn_cookie;
pub mod syn_proxy;
pub mod tables;
pub mod tcp_state;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
mod transition;
pub mod verdict;

mod adrift;
mod answer;
mod arp;
mod connect;
mod context;
mod errors;
mod expect;
mod expire;
mod features;
mod fitting;
mod flood;
mod fragmented;
mod fragmenting;
mod helped;
mod hold;
mod inbound;
mod index;
mod ip;
mod keeper;
mod limiter;
mod ndp;
mod neighbours;
mod outbound;
mod overlap;
mod packet;
mod parse;
mod pipeline;
mod places;
mod proxied;
mod response;
mod rewrite;
mod stages;
mod steady;

pub use output::{Output, Punt};
pub use pipeline::{Pipeline, Resolve, Settings, Shared};
pub use reason::Reason;
pub use snapshot::Snapshot;
pub use time::Time;
pub use verdict::{Verdict, VerdictKind};
