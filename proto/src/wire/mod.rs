//! Packets as bytes: one file per protocol, fields named once, parsing, emitting, rewriting in place, checksums.
//!
//! Layers of a protocol's file:
//! - `parse(&[u8])` checks every length once and returns a small `Copy` value of what the director needs;
//! - `HeaderMut` is a checked view for rewriting a header where it lies; none of its methods can fail or panic;
//! - `emit` writes a header of its own into a buffer whose size the type system checks, where it is fixed.
//!
//! Invariants:
//! - No function here allocates, and none panics, whatever the bytes are.
//! - Numbers are in host order in every signature; they are big-endian on the wire. The one exception is
//!   inside [`checksum::Sum`], which says so.
//! - A field is a zero-sized value (`field.rs`), whose place within its header the compiler checks: an offset is written
//!   in exactly one place.
//! - A slice given to `parse` may be longer than the packet (Ethernet pads short frames): the lengths that
//!   the headers name decide, and are never trusted beyond the slice.
//!
//! It does not judge: whether a packet is ours, bogus or unwelcome is the pipeline's business. It does not
//! reassemble, and does not do what IPv6 options ask for.
//!
//! ```text
//!   | Ethernet (14, + 4 a tag) | IPv4 (20..60) | TCP (20..60) | payload
//!                                              | UDP (8)      | payload
//!                                              | ICMP (8)     | quoted IPv4 header | quoted 8 bytes or more
//!                              | IPv6 (40) | extension headers | TCP, UDP, ICMPv6, neighbour discovery ...
//!   | Ethernet                 | outer IPv4 or IPv6 | nothing, GRE, or UDP and GUE | IPv4 or IPv6 ... (tunnel.rs)
//! ```

pub mod arp;
pub mod checksum;
pub mod eth;
mod field;
pub mod flow;
pub mod gre;
pub mod gue;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod tcp;
pub mod tcp_options;
pub mod tunnel;
pub mod udp;

#[cfg(test)]
mod tests;

use std::fmt;

/// Why bytes are not the header that they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The bytes end before the header, or before what the header says follows.
    Truncated,
    /// A length or offset field contradicts the header that it is in.
    BadLength,
    /// The version field is another protocol's.
    BadVersion,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Truncated => "truncated",
            Malformed::BadLength => "impossible length",
            Malformed::BadVersion => "wrong version",
        })
    }
}

impl std::error::Error for Malformed {}

/// The buffer is too small for what was to be written into it; nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TooSmall;

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("buffer too small")
    }
}

impl std::error::Error for TooSmall {}
