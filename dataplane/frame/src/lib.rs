//! Frames, bursts, pools and ports: the words that the packet path and its I/O backends share.
//!
//! Owns: [`Frame`] (a move-only packet buffer that knows where its packet starts), [`Burst`] (a bounded queue
//! of frames), [`FramePool`] (a worker's free frames) and the [`Port`] trait.
//!
//! Invariants:
//! - A frame has exactly one owner. Dropping one outside its pool or port is a bug that a debug build catches.
//! - The sum of frames over pools, ports and hands is constant ([`FramePool::total`]).
//! - Nothing here allocates after construction.
//!
//! It knows nothing of load balancing, sockets or the kernel.

#![forbid(unsafe_code)]

mod burst;
#[allow(clippy::module_inception, reason = "the frame type deserves its own file")]
mod frame;
mod pool;
mod port;

pub use burst::Burst;
pub use frame::{Frame, FrameId, NoRoom, PoolId};
pub use pool::FramePool;
pub use port::{Caps, Flushed, Mode, Port, PortId, PortStats};

/// Frames handled in one turn of a worker, at most.
pub const BURST: usize = 64;

/// Bytes kept free in front of a received packet, for outer headers. What the kernel reserves for XDP in copy
/// mode (`XDP_PACKET_HEADROOM`), so that every backend offers the same.
pub const HEADROOM: usize = 256;
