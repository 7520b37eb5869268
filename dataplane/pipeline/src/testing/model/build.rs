//! The frames that must come out, built anew: every length, address and checksum worked out from the packet.
//!
//! What is the director's to choose (the identification of a header of its own, the flow label of an outer one) is
//! taken from the frame that did come out.

use super::read::{Ip, Transport};
use super::sums::{folded, pseudo, seal_v4};
use crate::snapshot::Method;
use crate::testing::site::Destination;
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::tunnel::Encapsulation;
use std::net::IpAddr;

/// Hardware addresses: to, from.
pub(super) type Macs = (Mac, Mac);

/// The frame with other hardware addresses, without padding, the packet's time to live one less.
fn onward(frame: &[u8], ip: &Ip, macs: Macs) -> Vec<u8> {
    let mut sent = frame[..ip.l3 + ip.len].to_vec();
    sent[..6].copy_from_slice(&macs.0.0);
    sent[6..12].copy_from_slice(&macs.1.0);
    if ip.src.is_ipv4() {
        sent[ip.l3 + 8] -= 1;
        seal_v4(&mut sent[ip.l3..ip.l4]);
    } else {
        sent[ip.l3 + 7] -= 1;
    }
    sent
}

/// Direct routing.
pub(super) fn direct(frame: &[u8], ip: &Ip, macs: Macs) -> Vec<u8> {
    onward(frame, ip, macs)
}

/// Which end of a packet a translation changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Source,
    Destination,
}

/// Address translation of one end.
pub(super) fn translated(
    frame: &[u8],
    ip: &Ip,
    macs: Macs,
    (ends, addr, port): (Ends, IpAddr, u16),
) -> Vec<u8> {
    let mut sent = onward(frame, ip, macs);
    let port_at = if ends == Ends::Source { 0 } else { 2 };
    let at = ip.l3 + address_at(ends, ip.src);
    match addr {
        IpAddr::V4(addr) => {
            sent[at..at + 4].copy_from_slice(&addr.octets());
            seal_v4(&mut sent[ip.l3..ip.l4]);
        }
        IpAddr::V6(addr) => sent[at..at + 16].copy_from_slice(&addr.octets()),
    }
    if ip.is_later() {
        return sent;
    }
    sent[ip.l4 + port_at..ip.l4 + port_at + 2].copy_from_slice(&port.to_be_bytes());
    let (src, dst) = match ends {
        Ends::Source => (addr, ip.dst),
        Ends::Destination => (ip.src, addr),
    };
    let field = if ip.is_tcp() { 16 } else { 6 };
    let old = field_of(&frame[ip.l4..], field);
    if ip.is_tcp() || old != 0 {
        let before = Summed { segment: &frame[ip.l4..ip.l3 + ip.len], ends: (ip.src, ip.dst) };
        let after = Summed { segment: &sent[ip.l4..], ends: (src, dst) };
        let new = summed_alike(&before, &after, (ip.protocol, field, old));
        sent[ip.l4 + field..ip.l4 + field + 2].copy_from_slice(&new.to_be_bytes());
    }
    sent
}

fn field_of(segment: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([segment[at], segment[at + 1]])
}

struct Summed<'a> {
    segment: &'a [u8],
    ends: (IpAddr, IpAddr),
}

impl Summed<'_> {
    /// The sum of all but the checksum field.
    fn rest(&self, protocol: u8, field: usize) -> u16 {
        // A datagram's checksum covers what its own length says. Of a fragment the rest is missing here, before and
        // after alike.
        let len = if protocol == 17 { usize::from(field_of(self.segment, 4)) } else { self.segment.len() };
        let mut bytes = self.segment[..len.min(self.segment.len())].to_vec();
        bytes[field..field + 2].fill(0);
        folded(&bytes, pseudo(self.ends.0, self.ends.1, protocol, len))
    }
}

/// The checksum of `after` that is as right, or as wrong, as `old` was of `before`.
fn summed_alike(before: &Summed<'_>, after: &Summed<'_>, (protocol, field, old): (u8, usize, u16)) -> u16 {
    // The sum of anything but zeros is 0xffff where it is 0, so its complement is 0; a datagram's 0 would mean none.
    let spelled = |sum: u16| match (protocol, sum) {
        (17, 0) => 0xffff,
        (17, sum) => sum,
        (_, 0xffff) => 0,
        (_, sum) => sum,
    };
    let right = !after.rest(protocol, field);
    if spelled(!before.rest(protocol, field)) == old {
        return spelled(right);
    }
    // How far it is off stays; 0 and 0xffff are two spellings of the same.
    let off = folded(&[], u64::from(old) + u64::from(before.rest(protocol, field)));
    spelled(folded(&[], u64::from(off) + u64::from(right)))
}

/// An ICMP error with another outer address, at one end, and another address and port at an end of what it quotes. The
/// checksum of the quoted transport header stays as it is.
pub(super) fn quoting(
    frame: &[u8],
    ip: &Ip,
    quote: &Ip,
    macs: Macs,
    ((outer, inner), addr, port): ((Ends, Ends), IpAddr, u16),
) -> Vec<u8> {
    let mut sent = onward(frame, ip, macs);
    for (l3, ends) in [(ip.l3, outer), (quote.l3, inner)] {
        let at = l3 + address_at(ends, addr);
        match addr {
            IpAddr::V4(addr) => sent[at..at + 4].copy_from_slice(&addr.octets()),
            IpAddr::V6(addr) => sent[at..at + 16].copy_from_slice(&addr.octets()),
        }
    }
    let port_at = quote.l4 + if inner == Ends::Source { 0 } else { 2 };
    sent[port_at..port_at + 2].copy_from_slice(&port.to_be_bytes());
    let (mut src, mut dst) = (ip.src, ip.dst);
    *(if outer == Ends::Source { &mut src } else { &mut dst }) = addr;
    if addr.is_ipv4() {
        seal_v4(&mut sent[ip.l3..ip.l4]);
        seal_v4(&mut sent[quote.l3..quote.l4]);
    }
    sent[ip.l4 + 2..ip.l4 + 4].fill(0);
    let start = if addr.is_ipv4() { 0 } else { pseudo(src, dst, 58, sent.len() - ip.l4) };
    let sum = !folded(&sent[ip.l4..], start);
    sent[ip.l4 + 2..ip.l4 + 4].copy_from_slice(&sum.to_be_bytes());
    sent
}

/// Where an address lies in a header of its family.
fn address_at(ends: Ends, addr: IpAddr) -> usize {
    match (ends, addr.is_ipv4()) {
        (Ends::Source, true) => 12,
        (Ends::Destination, true) => 16,
        (Ends::Source, false) => 8,
        (Ends::Destination, false) => 24,
    }
}

/// Tunnelling, from the director's address to a destination.
pub(super) fn tunnelled(
    frame: &[u8],
    ip: &Ip,
    macs: Macs,
    (from, to): (IpAddr, &Destination),
    came: &[u8],
) -> Vec<u8> {
    let ends = (from, to.addr);
    let inner = onward(frame, ip, macs);
    let (ether, packet) = inner.split_at(ip.l3);
    let mut sent = ether.to_vec();
    let kind: u16 = if ends.0.is_ipv4() { 0x0800 } else { 0x86dd };
    sent[ip.l3 - 2..].copy_from_slice(&kind.to_be_bytes());
    let outer = came.get(ip.l3..).unwrap_or_default();
    let behind = outer.get(if ends.0.is_ipv4() { 20 } else { 40 }..).unwrap_or_default();
    let (protocol, between) = between(to.encapsulation, ip.src.is_ipv4(), packet, ends, behind);
    let head = Head { tos: ip.tos, df: ip.df && ip.src.is_ipv4(), ttl: ip.ttl - 1, protocol };
    sent.extend(head.bytes(ends, between.len() + packet.len(), outer));
    sent.extend(between);
    sent.extend(packet);
    sent
}

/// What lies between the outer header and the packet, and the protocol that the outer header says it is.
fn between(
    encapsulation: Encapsulation,
    v4: bool,
    packet: &[u8],
    ends: (IpAddr, IpAddr),
    came: &[u8],
) -> (u8, Vec<u8>) {
    let number = if v4 { 4 } else { 41 };
    match encapsulation {
        Encapsulation::Ipip => (number, Vec::new()),
        Encapsulation::Gre { checksum } => {
            let kind = if v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
            let mut header = vec![if checksum { 0x80 } else { 0 }, 0, kind[0], kind[1]];
            if checksum {
                header.extend([0; 4]);
                let sum = !folded(&[header.as_slice(), packet].concat(), 0);
                header[4..6].copy_from_slice(&sum.to_be_bytes());
            }
            (47, header)
        }
        Encapsulation::Gue { port, checksum } => {
            // The source port is the director's to choose, of those that are nobody's.
            let source = came.get(..2).filter(|port| port[0] >= 0xc0).unwrap_or(&[0, 0]);
            let len = u16::try_from(12 + packet.len()).expect("a packet's length");
            let mut header = [source, &port.to_be_bytes(), &len.to_be_bytes(), &[0, 0]].concat();
            header.extend([0, number, 0, 0]);
            if checksum {
                let start = pseudo(ends.0, ends.1, 17, len.into());
                let sum = !folded(&[header.as_slice(), packet].concat(), start);
                header[6..8].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
            }
            (17, header)
        }
    }
}

/// Bytes that a tunnel to a destination puts in front of a packet.
pub(super) fn overhead(to: &Destination) -> usize {
    let outer = if to.addr.is_ipv4() { 20 } else { 40 };
    let between = match to.encapsulation {
        Encapsulation::Ipip => 0,
        Encapsulation::Gre { checksum: false } => 4,
        Encapsulation::Gre { checksum: true } => 8,
        Encapsulation::Gue { .. } => 12,
    };
    if to.method == Method::Tunnel { outer + between } else { 0 }
}

/// What an IP header of the director's own says.
struct Head {
    tos: u8,
    df: bool,
    ttl: u8,
    protocol: u8,
}

impl Head {
    /// The header in front of `payload` bytes; free choices as in `came`.
    fn bytes(&self, (src, dst): (IpAddr, IpAddr), payload: usize, came: &[u8]) -> Vec<u8> {
        let choice = |from: usize, to: usize| came.get(from..to).map_or(vec![0; to - from], <[u8]>::to_vec);
        let short = |n: usize| u16::try_from(n).expect("a packet's length").to_be_bytes();
        let mut bytes = Vec::with_capacity(40);
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                bytes.extend([0x45, self.tos]);
                bytes.extend(short(payload + 20));
                bytes.extend(choice(4, 6));
                bytes.extend([if self.df { 0x40 } else { 0 }, 0, self.ttl, self.protocol, 0, 0]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
                seal_v4(&mut bytes);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let label = choice(1, 4);
                bytes.extend([0x60 | self.tos >> 4, self.tos << 4 | label[0] & 0x0f, label[1], label[2]]);
                bytes.extend(short(payload));
                bytes.extend([self.protocol, self.ttl]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
            }
            ends => panic!("addresses of two families: {ends:?}"),
        }
        bytes
    }
}

/// Ethernet and IP header of an answer to `ip`, in front of `payload`.
fn answer(
    frame: &[u8],
    ip: &Ip,
    macs: Macs,
    (from, protocol, payload): (IpAddr, u8, &[u8]),
    came: &[u8],
) -> Vec<u8> {
    let mut sent = frame[..ip.l3].to_vec();
    sent[..6].copy_from_slice(&macs.0.0);
    sent[6..12].copy_from_slice(&macs.1.0);
    let head = Head { tos: 0, df: false, ttl: 64, protocol };
    sent.extend(head.bytes((from, ip.src), payload.len(), came.get(ip.l3..).unwrap_or_default()));
    sent.extend(payload);
    sent
}

/// The reset that answers a segment (RFC 9293 §3.10.7.1).
pub(super) fn reset(frame: &[u8], ip: &Ip, macs: Macs, came: &[u8]) -> Vec<u8> {
    let Transport::Tcp { flags, seq, ack, payload } = ip.transport else {
        panic!("a reset answers TCP: {ip:?}")
    };
    let (sport, dport) = ip.ports.expect("TCP has ports");
    let (seq, ack, flags) = if flags & 0x10 != 0 {
        (ack, 0, 0x04)
    } else {
        let taken = u32::from(flags & 0x02 != 0) + u32::from(flags & 0x01 != 0);
        (0, seq.wrapping_add(taken).wrapping_add(u32::try_from(payload).expect("short")), 0x14)
    };
    let mut segment = [dport.to_be_bytes(), sport.to_be_bytes()].concat();
    segment.extend([seq.to_be_bytes(), ack.to_be_bytes(), [0x50, flags, 0, 0], [0; 4]].concat());
    let sum = !folded(&segment, pseudo(ip.dst, ip.src, 6, 20));
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    answer(frame, ip, macs, (ip.dst, 6, &segment), came)
}

/// What an ICMP error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complaint {
    TimeExceeded,
    PortUnreachable,
    TooBig(u16),
}

/// The ICMP error about a packet, from `from`.
pub(super) fn error(
    frame: &[u8],
    ip: &Ip,
    macs: Macs,
    (from, what): (IpAddr, Complaint),
    came: &[u8],
) -> Vec<u8> {
    let v4 = ip.src.is_ipv4();
    let (kind, code, word) = match (what, v4) {
        (Complaint::TimeExceeded, true) => (11, 0, 0),
        (Complaint::PortUnreachable, true) => (3, 3, 0),
        (Complaint::TooBig(mtu), true) => (3, 4, u32::from(mtu)),
        (Complaint::TimeExceeded, false) => (3, 0, 0),
        (Complaint::PortUnreachable, false) => (1, 4, 0),
        (Complaint::TooBig(mtu), false) => (2, 0, u32::from(mtu)),
    };
    // RFC 1812 §4.3.2.3: 576 bytes in all; RFC 4443 §3.1: 1280.
    let most = if v4 { 576 - 20 - 8 } else { 1280 - 40 - 8 };
    let quote = &frame[ip.l3..ip.l3 + ip.len.min(most)];
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(quote);
    let start = if v4 { 0 } else { pseudo(from, ip.src, 58, message.len()) };
    let sum = !folded(&message, start);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    answer(frame, ip, macs, (from, if v4 { 1 } else { 58 }, &message), came)
}

/// The answer to an echo request: the same packet the other way round, and an answer.
pub(super) fn echo(frame: &[u8], ip: &Ip, macs: Macs) -> Vec<u8> {
    let mut sent = frame[..ip.l3 + ip.len].to_vec();
    sent[..6].copy_from_slice(&macs.0.0);
    sent[6..12].copy_from_slice(&macs.1.0);
    let (l3, l4) = (ip.l3, ip.l4);
    let (src, dst) = (ip.src, ip.dst);
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            sent[l3 + 12..l3 + 16].copy_from_slice(&dst.octets());
            sent[l3 + 16..l3 + 20].copy_from_slice(&src.octets());
            sent[l3 + 8] = 64;
            seal_v4(&mut sent[l3..l4]);
            sent[l4] = 0;
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            sent[l3 + 8..l3 + 24].copy_from_slice(&dst.octets());
            sent[l3 + 24..l3 + 40].copy_from_slice(&src.octets());
            sent[l3 + 7] = 64;
            sent[l4] = 129;
        }
        ends => panic!("addresses of two families: {ends:?}"),
    }
    sent[l4 + 2..l4 + 4].fill(0);
    let start = if src.is_ipv4() { 0 } else { pseudo(dst, src, 58, ip.len - (l4 - l3)) };
    let sum = !folded(&sent[l4..], start);
    sent[l4 + 2..l4 + 4].copy_from_slice(&sum.to_be_bytes());
    sent
}
