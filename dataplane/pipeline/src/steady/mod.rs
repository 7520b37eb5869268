//! The short way: plain packets of connections that exist, from and to destinations whose neighbour is known. That is
//! nearly all packets of a busy director, and nothing about them needs a decision.
//!
//! ```text
//!   read    bytes -> Lane            plain headers, the key of an entry
//!   find    Lane  -> its entry       by the pipeline, a burst at a time
//!   send    entry -> Target, Exit    one comparison says that nothing is to be done but to rewrite and send;
//!                                    if not, a change of the connection's state may be all that is (`transition`)
//! ```
//!
//! Invariants:
//! - What goes the short way comes out as the long way would have made it: a property holds the two together.
//! - Whatever is not as expected, at any step, is `None` here and goes the long way, from the bytes of the frame again.
//!   Nothing has been written then.
//! - All that is looked up is worked out with the snapshot ([`Plan`]).

mod doors;
mod head;
mod plan;
mod read;
mod send;
mod six;
mod sum;
#[cfg(test)]
mod tests;
mod tunnel;

pub(crate) use plan::Plan;
pub(crate) use read::read;
pub(crate) use send::Known;

use crate::entry::Steady;
use crate::key::{Key, KeyParts};
use crate::packet::Packet;
use crate::snapshot::Snapshot;
use crate::tables::{Place, Tables};
use head::be16;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;
use sheave_table::{Hash, Spot};
use std::net::IpAddr;

/// Where the IP header of an untagged frame begins, and the transport's behind a plain one.
const L3: usize = 14;
const L4: usize = L3 + 20;
/// Plain headers of IPv4 and TCP.
const HEAD: usize = L4 + 20;
/// The same of IPv6.
const HEAD_V6: usize = L3 + 40 + 20;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From a client to a listen.
    In,
    /// From a NAT destination to a client.
    Out,
    /// The long way: none of the other fields of its lane count.
    Long,
}

/// What kind of packet it is: which way it goes, and what it may do to its connection. Zero is the kind of most clients' packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind(u8);

impl Kind {
    /// TCP of IPv4 from a client to a listen, with no flag that changes the state of an established connection.
    pub(crate) const TCP_IN: Kind = Kind(0);
    /// The same from a NAT destination to a client.
    pub(crate) const TCP_OUT: Kind = Kind(Kind::OUT);
    /// UDP of IPv4 from a client to a listen.
    pub(crate) const UDP_IN: Kind = Kind(Kind::UDP);
    /// The long way.
    pub(crate) const LONG: Kind = Kind(1 << 7);

    /// TCP, with one of the flags that may change the state of any connection: as they lie in a header.
    const LOUD: u8 = TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0;
    const OUT: u8 = 1 << 3;
    const UDP: u8 = 1 << 4;
    const V6: u8 = 1 << 5;

    /// TCP with these flags, as from a client of IPv4.
    #[inline(always)]
    const fn tcp(flags: TcpFlags) -> Kind {
        const { assert!(Kind::LOUD < Kind::OUT, "bits of their own") };
        Kind(flags.0 & Kind::LOUD)
    }

    /// UDP, likewise.
    const fn udp() -> Kind {
        Kind(Kind::UDP)
    }

    /// The same from a real server.
    #[inline(always)]
    const fn out(self) -> Kind {
        Kind(self.0 | Kind::OUT)
    }

    /// The same of IPv6.
    #[inline(always)]
    const fn v6(self) -> Kind {
        Kind(self.0 | Kind::V6)
    }

    /// What is true of one of the two is true of this one.
    #[inline(always)]
    pub(crate) const fn or(self, other: Kind) -> Kind {
        Kind(self.0 | other.0)
    }

    /// Which way it goes.
    #[inline(always)]
    pub(crate) const fn way(self) -> Way {
        match self {
            Kind::LONG => Way::Long,
            Kind(bits) if bits & Kind::OUT != 0 => Way::Out,
            Kind(_) => Way::In,
        }
    }

    /// Whether it is of IPv6.
    #[inline(always)]
    pub(crate) const fn is_v6(self) -> bool {
        self.0 & Kind::V6 != 0
    }

    /// Whether its key is a narrow one.
    #[inline(always)]
    pub(crate) const fn is_narrow(self) -> bool {
        self.0 & (Kind::V6 | Kind::LONG.0) == 0
    }

    /// Whether it comes from a real server.
    #[inline(always)]
    pub(crate) const fn is_out(self) -> bool {
        self.0 & Kind::OUT != 0
    }

    /// Whether it is a client's SYN, with nothing that contradicts it but perhaps an ACK.
    #[inline(always)]
    pub(crate) const fn may_open(self) -> bool {
        self.0 & (Kind::LOUD | Kind::OUT | Kind::UDP) == TcpFlags::SYN.0
    }

    /// Whether it has a flag that may change the state of any connection.
    #[inline(always)]
    pub(crate) const fn is_loud(self) -> bool {
        self.0 & Kind::LOUD != 0
    }

    #[inline(always)]
    const fn proto(self) -> Proto {
        if self.0 & Kind::UDP != 0 { Proto::Udp } else { Proto::Tcp }
    }
}

/// What the stages of a burst note of a packet: a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Lane {
    /// The key of its entry: of IPv4 a narrow one, its only word the first one here; of IPv6 a wide one.
    pub(crate) key: [u64; 3],
    /// The key's hash.
    pub(crate) hash: Hash,
    /// Where its entry seems to be.
    pub(crate) spot: Spot,
    /// Where the IP packet ends in the frame.
    pub(crate) end: u16,
    /// The number of the listen or of the real server.
    pub(crate) id: u16,
    /// What kind of packet it is.
    pub(crate) kind: Kind,
}

impl Lane {
    /// For a frame that goes the long way.
    pub(crate) const LONG: Lane =
        Lane { key: [0; 3], hash: Hash::ZERO, spot: Spot::NOWHERE, end: 0, id: 0, kind: Kind::LONG };

    /// The key, of IPv4.
    #[inline(always)]
    pub(crate) const fn narrow(&self) -> [u64; 1] {
        [self.key[0]]
    }

    /// The client's address, of IPv4.
    #[inline(always)]
    pub(crate) const fn client(&self) -> u32 {
        (self.key[0] >> 32) as u32
    }

    /// Under NAT, the hash of the key that replies have in the connection that seems to be there, of an IPv4 client.
    pub(crate) fn reply_before(&self, snapshot: &Snapshot, tables: &Tables) -> Option<Hash> {
        if self.kind.way() != Way::In || self.kind.is_v6() {
            return None;
        }
        let payload = tables.narrow.at(self.spot, &self.narrow())?.payload;
        let real = snapshot.plan().real(Steady::destination(payload))?;
        let KeyParts { client, .. } = KeyParts::of(Key::Narrow(self.narrow()));
        let IpAddr::V4(addr) = client.0 else { return None };
        Some(tables.narrow.hash(&Key::narrow_out_words(addr, client.1, real)))
    }

    /// The packet of this lane, for the long way after all. `bytes` is the frame that was read. `None` when more is to
    /// be asked of it first: whether its source may be a client's.
    #[inline(never)]
    pub(crate) fn packet(&self, bytes: &[u8], tables: &Tables) -> Option<Packet> {
        if self.kind.is_v6() {
            return self.packet_v6(bytes, tables);
        }
        let head = bytes.first_chunk::<HEAD>()?;
        // Loopback, "this" network, multicast and beyond, the VIP itself.
        let doubtful =
            matches!(head[L3 + 12], 0 | 127 | 224..) || head[L3 + 12..L3 + 16] == head[L3 + 16..L4];
        if !self.kind.is_out() && doubtful {
            return None;
        }
        let proto = self.kind.proto();
        let flags = if proto == Proto::Tcp { TcpFlags(head[L4 + 13]) } else { TcpFlags::default() };
        Some(Packet {
            key: Key::Narrow(self.narrow()),
            hash: self.hash,
            hint: tables.narrow.at(self.spot, &self.narrow()).map(|found| Place::narrow(found.handle)),
            l3: 14,
            l4: 34,
            len: self.end - 14,
            sport: be16(head, L4),
            dport: be16(head, L4 + 2),
            proto,
            flags,
            ttl: head[L3 + 8],
            v6: false,
            df: head[L3 + 6] & 0x40 != 0,
        })
    }

    /// The same of IPv6. `read_v6` has asked all there is to ask.
    fn packet_v6(&self, bytes: &[u8], tables: &Tables) -> Option<Packet> {
        let head = bytes.first_chunk::<HEAD_V6>()?;
        let proto = self.kind.proto();
        let flags = if proto == Proto::Tcp { TcpFlags(head[L3 + 53]) } else { TcpFlags::default() };
        Some(Packet {
            key: Key::Wide(self.key),
            hash: self.hash,
            hint: tables.wide.at(self.spot, &self.key).map(|found| Place::wide(found.handle)),
            l3: 14,
            l4: 54,
            len: self.end - 14,
            sport: be16(head, L3 + 40),
            dport: be16(head, L3 + 42),
            proto,
            flags,
            ttl: head[L3 + 7],
            v6: true,
            df: true,
        })
    }
}
