//! Backends of [`sheave_frame::Port`], the steering program, and the way back to the kernel.
//!
//! Owns: the frame memory ([`Umem`]), AF_XDP sockets ([`AfXdpPort`]), ports over memory and captures ([`MemPort`],
//! [`PcapPort`]), wrappers around ports ([`PcapTap`], [`FaultInjector`]), waiting ([`PortSet`]), the program that decides
//! in the kernel what is ours ([`Steering`]), and the way back for what turns out not to be ([`PassPath`]); for measuring,
//! a packet generator and a sink ([`lab`]).
//!
//! Invariants:
//! - A frame is in one place: pool, hand, port, or lent to the kernel by one socket in one role (`umem.rs`).
//! - Nothing outlives the process: no program, no link, no device, whatever way it ends.
//!
//! It knows nothing of load balancing: the steering program sees sets of addresses and ports. This is one of the two
//! crates with unsafe code; why each is needed stands beside it.

#![cfg(target_os = "linux")]

mod afxdp;
mod fault;
mod kernel_path;
pub mod lab;
mod mapping;
mod mem;
mod netdev;
mod pcap;
mod portset;
mod queue;
mod ring;
mod steering;
mod tap;
mod umem;
mod xsk;

pub use afxdp::{AfXdpConfig, AfXdpPort, ModeWish, OpenError, XdpMode};
pub use fault::{FaultCounts, FaultInjector, FaultRates};
pub use kernel_path::{PASS_DEVICE_PREFIX, PassDevice, PassPath, PassQueue, Passed};
pub use mem::{MemHandle, MemPort, mem_pool, retire};
pub use netdev::{ifindex, rx_queues};
pub use pcap::{Capture, Captured, PcapPort, Recording};
pub use portset::{PortSet, Waker, Woken};
pub use steering::{
    Attachment, Encapsulation, Endpoint, FloodLimits, QUEUES_PER_PORT, Rate, Steering, SteeringCounters,
    SteeringError, SteeringSets, Transport,
};
pub use tap::{Copied, PcapTap, TapHandle, Way};
pub use umem::{LONGEST_PACKET, Umem};
