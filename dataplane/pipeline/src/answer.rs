//! Packets that the director answers itself, each in the frame that it came in: echo, resets, ICMP errors. Tags stay
//! where they are.

use crate::context::Context;
use crate::icmp::Answer;
use crate::ip::Ip;
use crate::reason::Reason;
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_proto::wire::checksum::Delta;
use sheave_proto::wire::eth;
use sheave_proto::wire::ipv4::protocol;
use sheave_proto::wire::ipv6::next_header;
use sheave_proto::wire::{icmpv4, icmpv6, ipv4, ipv6, tcp};
use std::net::IpAddr;

/// Time to live of what the director sends by itself.
const TTL: u8 = 64;

/// What is wrong with a packet that its sender is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Its time to live ran out.
    TimeExceeded,
    /// Nobody serves it.
    PortUnreachable,
    /// It is too large for the way out and may not be fragmented.
    TooBig {
        /// What would fit, in bytes.
        mtu: u16,
    },
}

impl Problem {
    fn answer(self, to: IpAddr) -> Answer {
        match (to, self) {
            (IpAddr::V4(_), Problem::TimeExceeded) => Answer::V4(icmpv4::Error::TimeExceeded),
            (IpAddr::V4(_), Problem::PortUnreachable) => Answer::V4(icmpv4::Error::PortUnreachable),
            (IpAddr::V4(_), Problem::TooBig { mtu }) => {
                Answer::V4(icmpv4::Error::FragmentationNeeded { mtu })
            }
            (IpAddr::V6(_), Problem::TimeExceeded) => Answer::V6(icmpv6::Error::TimeExceeded),
            (IpAddr::V6(_), Problem::PortUnreachable) => Answer::V6(icmpv6::Error::PortUnreachable),
            (IpAddr::V6(_), Problem::TooBig { mtu }) => {
                Answer::V6(icmpv6::Error::PacketTooBig { mtu: u32::from(mtu) })
            }
        }
    }
}

/// Where the IP or ARP packet of a frame begins.
pub(crate) fn l3_of(frame: &Frame) -> usize {
    eth::parse(frame.bytes()).map_or(eth::HEADER_LEN, |eth| eth.payload_offset)
}

/// The IP header of a frame, and where it begins.
pub(crate) fn ip_of(frame: &Frame) -> Option<(usize, Ip)> {
    let eth = eth::parse(frame.bytes()).ok()?;
    let packet = frame.bytes().get(eth.payload_offset..)?;
    Some((eth.payload_offset, Ip::read(eth.ethertype, packet).ok()?))
}

impl Context<'_> {
    /// Answers an echo request to a VIP.
    #[cold]
    pub(crate) fn echo(&mut self, mut frame: Frame) -> Verdict {
        let Some((l3, ip)) = ip_of(&frame) else {
            return self.end(frame, Reason::IcmpTruncated);
        };
        if self.snapshot.is_broadcast(ip.src) {
            return self.end(frame, Reason::Martian);
        }
        match echo_in_place(&mut frame, l3, &ip) {
            Some(()) => self.reply(frame, ip.src, Reason::EchoReply),
            None => self.end(frame, Reason::IcmpTruncated),
        }
    }

    /// Whether a reset may be sent now: not too many have been lately. Errors are counted by themselves, so that whoever
    /// makes the director send those does not keep others from their resets.
    #[cold]
    pub(crate) fn may_reset(&mut self) -> bool {
        self.own.resets.take(self.now)
    }

    /// Answers a TCP segment with a reset from the VIP, if one may be sent ([`Context::may_reset`]).
    #[cold]
    pub(crate) fn send_reset(&mut self, mut frame: Frame) -> Verdict {
        let Some((l3, ip)) = ip_of(&frame) else { return self.end(frame, Reason::Removed) };
        match reset_in_place(&mut frame, l3, &ip, self.ident()) {
            Some(()) => self.reply(frame, ip.src, Reason::Reset),
            None => self.end(frame, Reason::Removed),
        }
    }

    /// Answers a packet with an ICMP error from `source` that quotes it, or drops it where no error may be sent.
    /// `reasons`: for the one and for the other.
    #[cold]
    pub(crate) fn error(
        &mut self,
        mut frame: Frame,
        source: Option<IpAddr>,
        problem: Problem,
        reasons: [Reason; 2],
    ) -> Verdict {
        let [loud, quiet] = reasons;
        let Some((l3, ip)) = ip_of(&frame) else {
            return self.end(frame, quiet);
        };
        let allowed = is_host(ip.src) && !self.snapshot.is_broadcast(ip.src) && ip.has_ports();
        let Some(source) = source.filter(|_| allowed) else {
            return self.end(frame, quiet);
        };
        if !self.own.limiter.take(self.now) {
            return self.end(frame, quiet);
        }
        let ident = self.ident();
        let quote = Quote { l3, len: ip.len, source, to: ip.src };
        match quote.answer_in_place(&mut frame, problem.answer(ip.src), ident) {
            Some(()) => self.reply(frame, ip.src, loud),
            None => self.end(frame, quiet),
        }
    }
}

/// Whether an address is a host's: no error is sent to any other (RFC 1812 §4.3.2.7, RFC 4443 §2.4).
pub(crate) fn is_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => {
            let [first, ..] = addr.octets();
            first != 0 && first < 224 && !addr.is_loopback()
        }
        IpAddr::V6(addr) => !addr.is_unspecified() && !addr.is_multicast() && !addr.is_loopback(),
    }
}

/// Turns a whole echo request into its reply. `None` when the bytes are not what they were parsed as.
fn echo_in_place(frame: &mut Frame, l3: usize, ip: &Ip) -> Option<()> {
    frame.set_len(l3 + ip.len).ok()?;
    let packet = frame.bytes_mut().get_mut(l3..)?;
    let message = packet.get_mut(ip.l4..)?;
    // The sum over swapped addresses is the same; only the time to live changes it.
    match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            icmpv4::echo_reply(message).then_some(())?;
            let mut header = ipv4::HeaderMut::new(packet)?;
            header.set_src(dst);
            header.set_dst(src);
            header.set_ttl(TTL);
            let word = |ttl: u8| u16::from_be_bytes([ttl, ip.protocol]);
            header.update_checksum(Delta::NONE.word(word(ip.ttl), word(TTL)));
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            icmpv6::echo_reply(message).then_some(())?;
            let mut header = ipv6::HeaderMut::new(packet)?;
            header.set_src(dst);
            header.set_dst(src);
            header.set_hop_limit(TTL);
        }
        _ => return None,
    }
    Some(())
}

/// An IP header from `src` to `dst` in front of `payload` bytes, written to the start of `packet`; gives what
/// follows it.
fn head(
    packet: &mut [u8],
    (src, dst): (IpAddr, IpAddr),
    protocol: u8,
    payload: usize,
    ident: u16,
) -> Option<&mut [u8]> {
    let payload = u16::try_from(payload).ok()?;
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let total_len = payload.checked_add(20)?;
            let (header, rest) = packet.split_first_chunk_mut()?;
            ipv4::Header { tos: 0, total_len, ident, df: false, ttl: TTL, protocol, src, dst }.emit(header);
            Some(rest)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (header, rest) = packet.split_first_chunk_mut()?;
            ipv6::Header {
                traffic_class: 0,
                flow_label: 0,
                payload_len: payload,
                next_header: protocol,
                hop_limit: TTL,
                src,
                dst,
            }
            .emit(header);
            Some(rest)
        }
        _ => None,
    }
}

/// Bytes of an IP header without options of the family of `addr`.
const fn header_len(addr: IpAddr) -> usize {
    if addr.is_ipv4() { ipv4::HEADER_LEN } else { ipv6::HEADER_LEN }
}

/// Replaces a TCP segment by the reset that answers it. `None` for a reset.
fn reset_in_place(frame: &mut Frame, l3: usize, ip: &Ip, ident: u16) -> Option<()> {
    let segment = ip.payload(frame.bytes().get(l3..)?);
    let parsed = tcp::parse(segment).ok()?;
    let reset = tcp::Segment::reset(&parsed, segment.len() - parsed.header_len)?;
    frame.set_len(l3 + header_len(ip.src) + tcp::HEADER_LEN).ok()?;
    let packet = frame.bytes_mut().get_mut(l3..)?;
    let segment = head(packet, (ip.dst, ip.src), protocol::TCP, tcp::HEADER_LEN, ident)?;
    match (ip.dst, ip.src) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => reset.emit(segment.first_chunk_mut()?, src, dst),
        (IpAddr::V6(src), IpAddr::V6(dst)) => reset.emit(segment.first_chunk_mut()?, src, dst),
        _ => return None,
    }
    Some(())
}

/// A packet in a frame that an error is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quote {
    /// Where it begins.
    pub(crate) l3: usize,
    /// Its bytes, as far as they are there.
    pub(crate) len: usize,
    /// Where the error comes from.
    pub(crate) source: IpAddr,
    /// Whom it goes to.
    pub(crate) to: IpAddr,
}

impl Quote {
    /// Puts the headers of an ICMP error in front of as much of the packet as it quotes.
    ///
    /// ```text
    ///          | Ethernet, tags | packet           |
    ///   | Ethernet, tags | IP | ICMP, 8 | quote     |     grown to the front
    /// ```
    pub(crate) fn answer_in_place(self, frame: &mut Frame, answer: Answer, ident: u16) -> Option<()> {
        let Quote { l3, len, source, to } = self;
        let v4 = to.is_ipv4();
        let quote = if v4 { icmpv4::quote_len(len) } else { icmpv6::quote_len(len) };
        let overhead = header_len(to) + icmpv4::HEADER_LEN;
        frame.set_len(l3 + quote).ok()?;
        grow(frame, l3, overhead)?;
        let packet = frame.bytes_mut().get_mut(l3..)?;
        let protocol = if v4 { protocol::ICMP } else { next_header::ICMPV6 };
        let message = head(packet, (source, to), protocol, icmpv4::HEADER_LEN + quote, ident)?;
        match (answer, source, to) {
            (Answer::V6(error), IpAddr::V6(src), IpAddr::V6(dst)) => {
                icmpv6::emit_error_header(message, error, src, dst).ok()
            }
            (Answer::V4(error), IpAddr::V4(_), IpAddr::V4(_)) => {
                icmpv4::emit_error_header(message, error).ok()
            }
            _ => None,
        }
    }
}

/// Makes room for `n` bytes between the Ethernet header with its tags, `l3` bytes, and the packet.
#[inline(always)]
pub(crate) fn grow(frame: &mut Frame, l3: usize, n: usize) -> Option<()> {
    let bytes = frame.prepend(u16::try_from(n).ok()?).ok()?;
    if l3 == eth::HEADER_LEN {
        // The hardware addresses are written later.
        let ether_type: [u8; 2] = *bytes.get(n + 12..)?.first_chunk()?;
        *bytes.get_mut(12..)?.first_chunk_mut()? = ether_type;
    } else {
        bytes.copy_within(n..n + l3, 0);
    }
    Some(())
}
