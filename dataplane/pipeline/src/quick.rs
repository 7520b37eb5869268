//! The short way through parsing: untagged frames with plain headers that hold a well-formed packet of a known
//! listen or real server. Whatever else a frame is, it is `None` here, and [`crate::parse`] finds out.
//!
//! What this accepts, it understands exactly as the long way does; a property holds the two together.

use crate::key::Key;
use crate::packet::Packet;
use crate::parse::Parsed;
use crate::snapshot::{Interface, Snapshot};
use crate::tables::Tables;
use sheave_proto::wire::eth::HEADER_LEN as L3;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Plain headers of IPv4 and of IPv6 with a TCP header behind them. Datagrams of UDP that are shorter go the long way.
const V4_HEAD: usize = L3 + 20 + 20;
const V6_HEAD: usize = L3 + 40 + 20;

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
    let head = bytes.first_chunk::<V4_HEAD>()?;
    if head[..6] != interface.mac.0 {
        return None;
    }
    match be16(head, 12) {
        0x0800 => v4(bytes.len(), head, snapshot, tables),
        0x86dd => v6(bytes.len(), bytes.first_chunk()?, snapshot, tables),
        _ => None,
    }
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
fn v4(frame: usize, head: &[u8; V4_HEAD], snapshot: &Snapshot, tables: &Tables) -> Option<Parsed> {
    let len = be16(head, 16);
    let plain = head[14] == 0x45 && be16(head, 20) & 0x3fff == 0;
    let fits = usize::from(len) + L3 <= frame && len >= 28;
    if !(plain && fits && checksum_ok(head)) {
        return None;
    }
    let (proto, flags) =
        transport(head[23], usize::from(len) - 20, be16(head, L3 + 24), be16(head, L3 + 32))?;
    let (src, dst) = (be32(head, 26), be32(head, 30));
    let (sport, dport) = (be16(head, 34), be16(head, 36));
    let packet = |key: Key| Packet {
        key,
        hash: tables.hash(&key),
        hint: None,
        l3: 14,
        l4: 34,
        len,
        sport,
        dport,
        proto,
        flags,
        ttl: head[22],
        v6: false,
        df: head[20] & 0x40 != 0,
    };
    let (client, server) = (Ipv4Addr::from_bits(src), Ipv4Addr::from_bits(dst));
    if let Some(listen) = snapshot.plain_listen_v4(server, dport, proto) {
        // Loopback, "this" network, multicast and beyond, the VIP itself: the long way knows which are refused.
        let doubtful = matches!(head[26], 0 | 127 | 224..) || src == dst;
        return (!doubtful).then(|| Parsed::Inbound(packet(Key::narrow_in(client, sport, listen)), listen));
    }
    if snapshot.has_wide_listens() {
        return None;
    }
    let real = snapshot.plain_real_v4(client, sport, proto)?;
    let own = snapshot.is_own_v4(server);
    (!own).then(|| Parsed::Outbound(packet(Key::narrow_out(server, dport, real)), real))
}

/// Whether the header's words sum to all ones.
#[inline(always)]
fn checksum_ok(head: &[u8; V4_HEAD]) -> bool {
    let sum = u64::from(be32(head, 14))
        + u64::from(be32(head, 18))
        + u64::from(be32(head, 22))
        + u64::from(be32(head, 26))
        + u64::from(be32(head, 30));
    // Not all bytes are zero, so that the sum modulo 0xffff is all ones in one spelling only.
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum == 0xffff
}

#[inline(always)]
fn v6(frame: usize, head: &[u8; V6_HEAD], snapshot: &Snapshot, tables: &Tables) -> Option<Parsed> {
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
