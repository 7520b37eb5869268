//! ICMP errors about packets that the director forwarded: whose flow they are about, how they pass a NAT, and what
//! they mean when they are about one of our own tunnels.
//!
//! ```text
//!   | IP: somebody -> dst | ICMP: type, code, checksum, mtu | IP: src -> dst | TCP or UDP: 8 bytes or more
//!   '----- outer ---------'                                 '----- quote: a packet that we sent ----------'
//!
//!   towards the real:    outer dst VIP  -> real      quoted src VIP:port  -> real:port
//!   towards the client:  outer src any  -> VIP       quoted dst real:port -> VIP:port
//!
//!   | IP | ICMP | IP: director -> real | nothing, GRE, or UDP and GUE | IP: client -> VIP | TCP or UDP ...
//! ```
//!
//! Pure functions over IP packets, from their first byte on. [`read`] checks the bounds and the checksum of the
//! message before anything that it quotes is looked at; what it gives is used with the same bytes. Nothing here
//! panics or writes out of bounds, whatever the bytes are.
//!
//! It does not look flows up, take one from the time to live or check the outer IPv4 header's checksum: the same is
//! done to every packet. Whether errors may be believed (a flow that exists, a tunnel that is ours) is for the caller
//! to find out. Read RFC 5508 for NAT, RFC 2003 §4 and 2473 §8 for tunnels.

mod error;
mod translate;
mod tunnel;

pub use error::{Embedded, IcmpError, Unusable, read};
pub use translate::{Towards, renumber, translate};
pub use tunnel::{Answer, Inside, TunnelError};

#[cfg(test)]
mod tests;
