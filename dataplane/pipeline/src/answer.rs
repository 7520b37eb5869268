//! Packets that the director answers itself, each in the frame that it came in: echo, resets, ICMP errors.

use crate::context::Context;
use crate::parse::{L3, Packet};
use crate::reason::Reason;
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_proto::wire::checksum::Delta;
use sheave_proto::wire::ipv4::{self, Ipv4, protocol};
use sheave_proto::wire::{icmpv4, tcp};
use std::net::Ipv4Addr;

/// Time to live of what the director sends by itself.
const TTL: u8 = 64;

/// Bytes that an ICMP error puts in front of what it quotes.
const ERROR_OVERHEAD: u16 = 28;
const _: () = assert!(ERROR_OVERHEAD as usize == ipv4::HEADER_LEN + icmpv4::HEADER_LEN);
/// Bytes of a segment without options and payload.
const SEGMENT: u16 = 40;
const _: () = assert!(SEGMENT as usize == ipv4::HEADER_LEN + tcp::HEADER_LEN);

impl Context<'_> {
    /// Answers an echo request to a VIP.
    pub(crate) fn echo(&mut self, mut frame: Frame, ip: &Ipv4) -> Verdict {
        if self.snapshot.is_broadcast(ip.src) {
            return self.end(frame, Reason::Martian);
        }
        match echo_in_place(&mut frame, ip) {
            Some(()) => self.reply(frame, ip.src, Reason::EchoReply),
            None => self.end(frame, Reason::IcmpTruncated),
        }
    }

    /// Answers a TCP segment with a reset from the VIP.
    pub(crate) fn reset(&mut self, mut frame: Frame, packet: &Packet) -> Verdict {
        match reset_in_place(&mut frame, packet, self.ident()) {
            Some(()) => self.reply(frame, packet.ip.src, Reason::Reset),
            None => self.end(frame, Reason::Removed),
        }
    }

    /// Answers a packet with an ICMP error that quotes it, or drops it where no error may be sent. `reasons`:
    /// for the one and for the other.
    pub(crate) fn error(
        &mut self,
        mut frame: Frame,
        ip: &Ipv4,
        source: Option<Ipv4Addr>,
        error: icmpv4::Error,
        reasons: [Reason; 2],
    ) -> Verdict {
        let [loud, quiet] = reasons;
        let Some(source) = source.filter(|_| is_host(ip.src) && !self.snapshot.is_broadcast(ip.src)) else {
            return self.end(frame, quiet);
        };
        if !self.own.limiter.take(self.now) {
            return self.end(frame, quiet);
        }
        let ident = self.ident();
        match error_in_place(&mut frame, ip, source, error, ident) {
            Some(()) => self.reply(frame, ip.src, loud),
            None => self.end(frame, quiet),
        }
    }
}

/// Whether an address is a host's: no error is sent to any other (RFC 1812 §4.3.2.7).
fn is_host(addr: Ipv4Addr) -> bool {
    let [first, ..] = addr.octets();
    first != 0 && first < 224 && !addr.is_loopback()
}

/// Turns a whole echo request into its reply. `None` when the bytes are not what they were parsed as.
fn echo_in_place(frame: &mut Frame, ip: &Ipv4) -> Option<()> {
    frame.set_len(L3 + ip.total_len).ok()?;
    let packet = frame.bytes_mut().get_mut(L3..)?;
    icmpv4::echo_reply(ip.payload_mut(packet)).then_some(())?;
    let mut header = ipv4::HeaderMut::new(packet)?;
    // The sum over swapped addresses is the same; only the time to live changes it.
    header.set_src(ip.dst);
    header.set_dst(ip.src);
    header.set_ttl(TTL);
    let word = |ttl: u8| u16::from_be_bytes([ttl, ip.protocol]);
    header.update_checksum(Delta::NONE.word(word(ip.ttl), word(TTL)));
    Some(())
}

/// Replaces a TCP segment by the reset that answers it. `None` for a reset.
fn reset_in_place(frame: &mut Frame, packet: &Packet, ident: u16) -> Option<()> {
    let ip = &packet.ip;
    let segment = ip.payload(frame.bytes().get(L3..)?);
    let parsed = tcp::parse(segment).ok()?;
    let reset = tcp::Segment::reset(&parsed, segment.len() - parsed.header_len)?;
    let total_len = SEGMENT;
    frame.set_len(L3 + usize::from(total_len)).ok()?;
    let (header, segment) = frame.bytes_mut().get_mut(L3..)?.split_first_chunk_mut()?;
    let (src, dst) = (ip.dst, ip.src);
    ipv4::Header { tos: 0, total_len, ident, df: false, ttl: TTL, protocol: protocol::TCP, src, dst }
        .emit(header);
    reset.emit(segment.first_chunk_mut()?, src, dst);
    Some(())
}

/// Puts the headers of an ICMP error in front of as much of the packet as it quotes.
///
/// ```text
///              | Ethernet     | packet                 |
///   | Ethernet | IPv4, 20 | ICMP, 8 | quote, up to 548 |     grown by 28 bytes to the front
/// ```
fn error_in_place(
    frame: &mut Frame,
    ip: &Ipv4,
    src: Ipv4Addr,
    error: icmpv4::Error,
    ident: u16,
) -> Option<()> {
    let quote = icmpv4::quote_len(ip.total_len);
    frame.set_len(L3 + quote).ok()?;
    let bytes = frame.prepend(ERROR_OVERHEAD).ok()?;
    let (header, message) = bytes.get_mut(L3..)?.split_first_chunk_mut()?;
    icmpv4::emit_error_header(message, error).ok()?;
    let total_len = ERROR_OVERHEAD.saturating_add(u16::try_from(quote).ok()?);
    ipv4::Header {
        tos: 0,
        total_len,
        ident,
        df: false,
        ttl: TTL,
        protocol: protocol::ICMP,
        src,
        dst: ip.src,
    }
    .emit(header);
    Some(())
}
