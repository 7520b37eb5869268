//! Connections that a helper looks into: both ends' segments on their way through.
//!
//! The side record keeps what the helper knows of the real server's stream. Its packets come to one worker, which
//! alone writes the record; the client's may come to another, which reads it.
//!
//! What was done to the numbers goes on for as long as the connection, whether its service still has the helper or not.
//! Fragments are not looked into: what one would grow by, those behind it would have to make way for.

use crate::connect::Chosen;
use crate::context::Context;
use crate::helper::{Control, Helper, Memory, ROOM, Report, Segment, Side, Stream};
use crate::inbound::Aside;
use crate::ip::Ip;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::seq::{Numbers, SeqAdjust};
use crate::side::Kind;
use crate::snapshot::Destination;
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_proto::wire::checksum::Delta;
use sheave_proto::wire::tcp::{self, TcpFlags};
use sheave_proto::wire::tcp_options::clamp_mss;
use sheave_proto::wire::{ipv4, ipv6};
use std::net::SocketAddr;

/// Words of the record: what was done to the numbers of the real server's stream, and what the helper remembers.
const ADJUST: usize = 0;
const MEMORY: usize = 1;

impl Context<'_> {
    /// Sends a client's packet on whose connection has a side record.
    #[cold]
    pub(crate) fn send_aside(
        &mut self,
        frame: Frame,
        packet: &Packet,
        to: Chosen<'_>,
        aside: Aside,
    ) -> Verdict {
        match aside.record.kind {
            Kind::Data => {
                let port = aside.record.real_port();
                let destination = Destination { port, ..*to.destination };
                self.send_in(frame, packet, Chosen { destination: &destination, ..to })
            }
            Kind::Helper => self.said_by_client(frame, packet, to, aside),
            Kind::Proxied => self.proxied_in(frame, packet, to, aside),
            Kind::Template => self.send_in(frame, packet, to),
        }
    }

    /// A segment of the client's: read, and its numbers translated.
    fn said_by_client(&mut self, mut frame: Frame, packet: &Packet, to: Chosen<'_>, aside: Aside) -> Verdict {
        let named = |verdict: Verdict| verdict.of(to.service).to(to.id);
        let Some(ip) = packet.ip(&frame) else { return named(self.end(frame, Reason::IpTruncated)) };
        let helper = self.looks_into(&ip, to);
        let control = Control {
            client: (ip.src, packet.sport).into(),
            vip: (ip.dst, packet.dport).into(),
            real: (to.destination.addr, to.destination.port.unwrap_or(packet.dport)).into(),
        };
        let adjust = SeqAdjust::from_word(self.shared.side.word(aside.id, ADJUST));
        let Some(bytes) = segment_mut(&mut frame, packet, 0) else {
            return named(self.end(frame, Reason::TcpTruncated));
        };
        if let Some(helper) = helper
            && let Ok(mut segment) = Segment::new(bytes, bytes.len())
        {
            let mut stream = Stream::default();
            let expect = |expected| self.expect(to, &expected);
            let report = helper.inspect((&control, Side::Client), &mut stream, &mut segment, expect);
            self.count_notes(&report);
        }
        let mut delta = Numbers { real: adjust, ..Numbers::default() }.to_real(bytes);
        if packet.flags.contains(TcpFlags::SYN) {
            delta = delta.and(self.leave_room(bytes, &control));
        }
        if let Some(mut header) = tcp::HeaderMut::new(bytes) {
            header.update_checksum(delta);
        }
        self.send_in(frame, packet, to)
    }

    /// The helper that looks into a packet.
    fn looks_into(&self, ip: &Ip, to: Chosen<'_>) -> Option<Helper> {
        self.snapshot.helper(to.service).filter(|_| ip.fragment.is_none())
    }

    /// Lowers the largest segment that a client's SYN announces: the real server's may grow on their way.
    fn leave_room(&self, syn: &mut [u8], control: &Control) -> Delta {
        let headers = if control.client.is_ipv6() { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let Some(hop) = self.snapshot.next_hop(control.client.ip()) else { return Delta::NONE };
        let largest = usize::from(hop.mtu).saturating_sub(headers + tcp::HEADER_LEN + ROOM);
        clamp_mss(syn, u16::try_from(largest).unwrap_or(u16::MAX))
    }

    /// A segment of the real server's: read, rewritten where it must be, and its numbers translated. Gives the new
    /// length of the packet.
    pub(crate) fn said_by_real(
        &mut self,
        frame: &mut Frame,
        packet: &Packet,
        (to, vip): (Chosen<'_>, SocketAddr),
        aside: Aside,
    ) -> Result<u16, Reason> {
        let ip = packet.ip(frame).ok_or(Reason::IpTruncated)?;
        let helper = self.looks_into(&ip, to);
        let control =
            Control { client: (ip.dst, packet.dport).into(), vip, real: (ip.src, packet.sport).into() };
        let side = self.shared.side;
        let [adjust, memory] = [ADJUST, MEMORY].map(|word| side.word(aside.id, word));
        let before = Stream { adjust: SeqAdjust::from_word(adjust), memory: Memory(memory) };
        let (len, after) = self.rewrite_said(frame, packet, (helper, to), (&control, before))?;
        let stored = side.change(aside.id, ADJUST, adjust, after.adjust.word());
        // Another worker has the real server's packets now: what it did not see it takes for the middle of a line.
        stored.map_err(|_| Reason::EntryBusy)?;
        let _lost = side.change(aside.id, MEMORY, memory, after.memory.0);
        set_len(frame, packet, len)?;
        Ok(len)
    }

    /// Length of the packet, and the stream, after a segment of the real server's.
    fn rewrite_said(
        &mut self,
        frame: &mut Frame,
        packet: &Packet,
        (helper, to): (Option<Helper>, Chosen<'_>),
        (control, before): (&Control, Stream),
    ) -> Result<(u16, Stream), Reason> {
        let l3 = usize::from(packet.l3);
        let mtu = self.snapshot.next_hop(control.client.ip()).map_or(u16::MAX, |hop| hop.mtu);
        let room = usize::from(mtu.saturating_sub(packet.len)).min(ROOM);
        let len = usize::from(packet.len) - (usize::from(packet.l4) - l3);
        let bytes = segment_mut(frame, packet, room).ok_or(Reason::TcpTruncated)?;
        let mut segment = Segment::new(bytes, len).map_err(|_| Reason::TcpTruncated)?;
        let mut stream = before;
        let seq = segment.seq();
        let expect = |expected| self.expect(to, &expected);
        let report = helper.map_or_else(Report::default, |helper| {
            helper.inspect((control, Side::Real), &mut stream, &mut segment, expect)
        });
        let now = segment.len();
        self.count_notes(&report);
        stream.adjust = stream.adjust.settled(seq).unwrap_or(stream.adjust);
        let numbers = Numbers { real: stream.adjust, ..Numbers::default() };
        if let Some(segment) = bytes.get_mut(..now) {
            let delta = numbers.to_client(segment);
            if let Some(mut header) = tcp::HeaderMut::new(segment) {
                header.update_checksum(delta);
            }
        }
        let len = i32::from(packet.len).saturating_add(report.change);
        Ok((u16::try_from(len).map_err(|_| Reason::NoRoom)?, stream))
    }
}

/// The TCP segment of a packet, and as much room behind it, as far as the frame has that.
pub(crate) fn segment_mut<'f>(frame: &'f mut Frame, packet: &Packet, room: usize) -> Option<&'f mut [u8]> {
    let end = usize::from(packet.l3) + usize::from(packet.len);
    frame.set_len(end + room).or_else(|_| frame.set_len(end)).ok()?;
    frame.bytes_mut().get_mut(usize::from(packet.l4)..)
}

/// Says in the IP header how long a packet is now.
fn set_len(frame: &mut Frame, packet: &Packet, len: u16) -> Result<(), Reason> {
    let l3 = usize::from(packet.l3);
    frame.set_len(l3 + usize::from(len)).map_err(|_| Reason::NoRoom)?;
    let header = frame.bytes_mut().get_mut(l3..).ok_or(Reason::NoRoom)?;
    if packet.v6 {
        let payload = len.saturating_sub(u16::try_from(ipv6::HEADER_LEN).unwrap_or(0));
        ipv6::HeaderMut::new(header).ok_or(Reason::IpTruncated)?.set_payload_len(payload);
    } else {
        let mut ip = ipv4::HeaderMut::new(header).ok_or(Reason::IpTruncated)?;
        ip.set_total_len(len);
        ip.update_checksum(Delta::NONE.word(packet.len, len));
    }
    Ok(())
}
