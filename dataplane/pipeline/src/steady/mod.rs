//! The short way: plain IPv4 packets of connections that are established, from and to destinations whose neighbour is
//! known. That is nearly all packets of a busy director, and nothing about them needs a decision.
//!
//! ```text
//!   read    bytes -> Lane            plain headers, a narrow key
//!   find    Lane  -> its entry       by the pipeline, a burst at a time
//!   send    entry -> Way, Front      one comparison says that nothing is to be done but to rewrite and send
//! ```
//!
//! Invariants:
//! - What goes the short way comes out as the long way would have made it: a property holds the two together.
//! - Whatever is not as expected, at any step, is `None` here and goes the long way, from the bytes of the frame again.
//!   Nothing has been written then.
//! - All that is looked up is worked out with the snapshot ([`Plan`]).

mod plan;
mod read;
mod send;

pub(crate) use plan::Plan;
pub(crate) use read::read;

use crate::key::Key;
use crate::packet::Packet;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;
use sheave_table::{Handle, Hash};

/// Where the IP header of an untagged frame begins, and the transport's behind a plain one.
const L3: usize = 14;
const L4: usize = L3 + 20;
/// Plain headers of IPv4 and TCP. Shorter frames go the long way.
const HEAD: usize = L4 + 20;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From a client to a listen.
    In,
    /// From a NAT destination to a client.
    Out,
    /// The long way: none of the other fields count.
    Long,
}

/// What the stages of a burst note of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    /// The key of its entry, a narrow one.
    pub(crate) key: u64,
    /// The key's hash.
    pub(crate) hash: Hash,
    /// Its entry, once `found`.
    pub(crate) handle: Handle,
    /// Bytes of the IP packet.
    pub(crate) len: u16,
    /// The number of the listen or of the real server.
    pub(crate) id: u16,
    /// Which way.
    pub(crate) way: Way,
    /// The protocol.
    pub(crate) proto: Proto,
    /// Whether no flag of it changes the state of an established connection.
    pub(crate) quiet: bool,
    /// Whether `handle` counts.
    pub(crate) found: bool,
}

impl Lane {
    /// For a frame that goes the long way.
    #[inline(always)]
    pub(crate) fn long() -> Lane {
        Lane {
            key: 0,
            hash: Hash::default(),
            handle: Handle::from_bits(0),
            len: 0,
            id: 0,
            way: Way::Long,
            proto: Proto::Tcp,
            quiet: false,
            found: false,
        }
    }

    /// The packet of this lane, for the long way after all. `bytes` is the frame that was read. `None` when more is to
    /// be asked of it first: whether its source may be a client's.
    #[inline(never)]
    pub(crate) fn packet(&self, bytes: &[u8]) -> Option<Packet> {
        let head = bytes.first_chunk::<HEAD>()?;
        // Loopback, "this" network, multicast and beyond, the VIP itself.
        let doubtful =
            matches!(head[L3 + 12], 0 | 127 | 224..) || head[L3 + 12..L3 + 16] == head[L3 + 16..L4];
        if self.way == Way::In && doubtful {
            return None;
        }
        let flags = if self.proto == Proto::Tcp { TcpFlags(head[L4 + 13]) } else { TcpFlags::default() };
        Some(Packet {
            key: Key::Narrow([self.key]),
            hash: self.hash,
            hint: self.found.then(|| crate::tables::Place::narrow(self.handle)),
            l3: 14,
            l4: 34,
            len: self.len,
            sport: crate::head::be16(head, L4),
            dport: crate::head::be16(head, L4 + 2),
            proto: self.proto,
            flags,
            ttl: head[L3 + 8],
            v6: false,
            df: head[L3 + 6] & 0x40 != 0,
        })
    }
}
