//! A short way through parsing for IPv6: untagged frames with plain headers that hold a well-formed packet of a known
//! listen or real server. Whatever else a frame is, it is `None` here, and [`crate::parse`] finds out. (For IPv4 there is
//! a shorter one: [`crate::steady`].)
//!
//! What this accepts, it understands exactly as the long way does; a property holds the two together.

use crate::key::Key;
use crate::packet::Packet;
use crate::parse::Parsed;
use crate::snapshot::{Interface, Snapshot};
use crate::tables::Tables;
use sheave_proto::wire::eth::{HEADER_LEN as L3, ethertype};
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;
use std::net::Ipv6Addr;

/// A plain header of IPv6 with a TCP header behind it. Datagrams of UDP that are shorter go the long way.
const HEAD: usize = L3 + 40 + 20;

/// Bytes of a frame, from an offset that the compiler checks against the array.
#[inline(always)]
fn be16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
fn be32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
fn be64<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    (u64::from(be32(bytes, at)) << 32) | u64::from(be32(bytes, at + 4))
}

/// Parses a frame that came in on `interface`.
#[inline(always)]
pub(crate) fn parse(
    bytes: &[u8],
    interface: &Interface,
    snapshot: &Snapshot,
    tables: &Tables,
) -> Option<Parsed> {
    let head = bytes.first_chunk::<HEAD>()?;
    if head[..6] != interface.mac.0 || be16(head, 12) != ethertype::IPV6 {
        return None;
    }
    v6(bytes.len(), head, snapshot, tables)
}

/// TCP flags and whether the segment's own lengths agree: of `segment` bytes, with a header whose bytes 4 to 5 (UDP's
/// length) and 12 to 13 (TCP's data offset and flags) are these.
#[inline(always)]
fn transport(proto: u8, segment: usize, udp_len: u16, offset_flags: u16) -> Option<(Proto, TcpFlags)> {
    if proto == Proto::Tcp.number() {
        let [offset, flags] = offset_flags.to_be_bytes();
        let header = usize::from(offset >> 4) * 4;
        (header >= 20 && header <= segment).then_some((Proto::Tcp, TcpFlags(flags)))
    } else if proto == Proto::Udp.number() {
        let length = usize::from(udp_len);
        (length >= 8 && length <= segment).then_some((Proto::Udp, TcpFlags::default()))
    } else {
        None
    }
}

#[inline(always)]
fn v6(frame: usize, head: &[u8; HEAD], snapshot: &Snapshot, tables: &Tables) -> Option<Parsed> {
    let payload = be16(head, 18);
    let fits = usize::from(payload) + L3 + 40 <= frame && payload >= 8;
    if head[14] >> 4 != 6 || !fits {
        return None;
    }
    let (proto, flags) = transport(head[20], usize::from(payload), be16(head, 58), be16(head, 66))?;
    let addr =
        |at: usize| Ipv6Addr::from_bits((u128::from(be64(head, at)) << 64) | u128::from(be64(head, at + 8)));
    let (src, dst) = (addr(22), addr(38));
    let (sport, dport) = (be16(head, 54), be16(head, 56));
    let packet = |key: Key| Packet {
        key,
        hash: tables.hash(&key),
        hint: None,
        l3: 14,
        l4: 54,
        len: payload.saturating_add(40),
        sport,
        dport,
        proto,
        flags,
        ttl: head[21],
        v6: true,
        df: true,
    };
    if payload > u16::MAX - 40 {
        return None;
    }
    if let Some(listen) = snapshot.listen_at_v6(dst, dport, proto) {
        // Unspecified, loopback and mapped addresses, multicast, the VIP itself: likewise.
        let doubtful = head[22] == 0 || head[22] == 0xff || src == dst;
        let key = || Key::wide_in((src.into(), sport), dport, listen);
        return (!doubtful).then(|| Parsed::Inbound(packet(key()), listen));
    }
    let real = snapshot.real_at_v6(src, sport, proto)?;
    let own = snapshot.is_own(dst.into());
    (!own).then(|| Parsed::Outbound(packet(Key::wide_out((dst.into(), dport), sport, real)), real))
}
