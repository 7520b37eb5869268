//! What workers and the control thread share: connection tables, their memory, snapshot publication, counter
//! pages and rings.
//!
//! Owns: [`Table`] (entries by key, found without a lock), the `region` (the tables' memory as one versioned,
//! pointer-free piece), [`Slab`] (side records), [`Publisher`] and [`Reader`] (immutable snapshots),
//! [`CounterPage`], [`spsc`] rings and the [`change`] ring.
//!
//! Invariants:
//! - An entry never moves: a [`Handle`] finds it for as long as it lives, and nothing else under the generation
//!   it was made with.
//! - Nothing here locks, allocates or enters the kernel after construction, but for what its own documentation
//!   names (publication, on the control thread).
//! - Atomics are imported in `sync` alone, so that every protocol here can be run under loom.
//!
//! It knows nothing of packets or of load balancing: keys and payloads are words. One of the two houses where
//! `unsafe` is allowed; the README of this directory lists the claims and the tests that prove them.

mod conn;
mod glance;
mod hash;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(not(loom))]
mod mapping;
mod memory;
mod places;
mod reserve;
mod slot;
mod sweep;
mod sync;
mod word;

pub mod change;
pub mod counters;
pub mod publish;
#[cfg(not(loom))]
pub mod region;
pub mod slab;
pub mod spsc;

pub use conn::{Bucket, Found, Table, Update};
pub use counters::CounterPage;
pub use glance::Spot;
pub use hash::Hash;
pub use publish::{Publisher, Reader};
#[cfg(not(loom))]
pub use region::{Region, RegionConfig};
pub use reserve::{Killed, Reservation, Reserve};
pub use slab::{RecordId, Slab};
pub use sweep::{SweepCursor, Swept, Verdict};
pub use word::{Handle, Pattern, Payload};

/// A table with keys of one word (IPv4): slots of 16 bytes, buckets of one cache line.
pub type Narrow = Table<1>;

/// A table with keys of three words (IPv6): slots of 32 bytes, buckets of two neighbouring cache lines.
pub type Wide = Table<3>;
