//! Whole TCP connections from raw packets, for connections a second: a client that opens and closes them, and a responder
//! that answers by what is in a packet alone. Kernel endpoints would be the limit long before a director is.
//!
//! ```text
//!   client                      director                      responder
//!     SYN      ------------------------------------------------->
//!              <-------------------------------------------------   SYN ACK
//!     ACK      ------------------------------------------------->
//!     data     ------------------------------------------------->
//!              <-------------------------------------------------   ACK
//!              <-------------------------------------------------   data
//!     ACK      ------------------------------------------------->
//!     FIN ACK  ------------------------------------------------->
//!              <-------------------------------------------------   FIN ACK
//!     ACK      ------------------------------------------------->
//! ```
//!
//! Ten packets a connection. IPv4 only.

use crate::clock;
use crate::packet::{folded, pattern, pseudo, sum};
use crate::station::Station;
use crate::traffic::Mac;
use serde::{Deserialize, Serialize};
use sheave_frame::{BURST, Burst};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Bytes of a request and of an answer.
const REQUEST: usize = 32;
const ANSWER: usize = 64;
const HEADERS: usize = 54;

/// A TCP segment over IPv4, as far as it is needed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Hardware addresses: from, to.
    pub macs: [Mac; 2],
    /// From whom.
    pub from: SocketAddrV4,
    /// To whom.
    pub to: SocketAddrV4,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Bytes of payload.
    pub payload: usize,
}

impl Segment {
    /// Writes the frame, and returns its length.
    ///
    /// # Panics
    /// When the buffer is too short.
    pub fn write(&self, out: &mut [u8]) -> usize {
        let length = HEADERS + self.payload;
        out[..HEADERS].fill(0);
        out[..6].copy_from_slice(&self.macs[1].0);
        out[6..12].copy_from_slice(&self.macs[0].0);
        out[12] = 0x08;
        let total = u16::try_from(length - 14).unwrap_or(u16::MAX);
        out[14] = 0x45;
        out[16..18].copy_from_slice(&total.to_be_bytes());
        out[20] = 0x40;
        out[22..24].copy_from_slice(&[64, 6]);
        out[26..30].copy_from_slice(&self.from.ip().octets());
        out[30..34].copy_from_slice(&self.to.ip().octets());
        let check = !folded(sum(&out[14..34]));
        out[24..26].copy_from_slice(&check.to_ne_bytes());
        out[34..36].copy_from_slice(&self.from.port().to_be_bytes());
        out[36..38].copy_from_slice(&self.to.port().to_be_bytes());
        out[38..42].copy_from_slice(&self.seq.to_be_bytes());
        out[42..46].copy_from_slice(&self.ack.to_be_bytes());
        out[46..50].copy_from_slice(&[5 << 4, self.flags, 0xff, 0xff]);
        for (at, byte) in out[HEADERS..length].iter_mut().enumerate() {
            *byte = pattern(at);
        }
        let check = !folded(pseudo(&out[26..34], 6, length - 34) + sum(&out[34..length]));
        out[50..52].copy_from_slice(&check.to_ne_bytes());
        length
    }

    /// Reads a frame; `None` when it is something else.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Segment> {
        let mac = |at: usize| frame.get(at..)?.first_chunk().copied().map(Mac);
        let number = |at: usize| frame.get(at..)?.first_chunk().copied().map(u32::from_be_bytes);
        let port = |at: usize| frame.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
        if frame.len() < HEADERS || frame[12..15] != [0x08, 0x00, 0x45] || frame[23] != 6 {
            return None;
        }
        let total = usize::from(port(16)?) + 14;
        let offset = usize::from(frame[46] >> 4) * 4;
        Some(Segment {
            macs: [mac(6)?, mac(0)?],
            from: SocketAddrV4::new(Ipv4Addr::from(number(26)?), port(34)?),
            to: SocketAddrV4::new(Ipv4Addr::from(number(30)?), port(36)?),
            seq: number(38)?,
            ack: number(42)?,
            flags: frame[47],
            payload: total.checked_sub(34 + offset)?,
        })
    }

    /// The bytes of sequence space that it takes.
    fn span(&self) -> u32 {
        let flags = u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        u32::try_from(self.payload).unwrap_or(0).wrapping_add(flags)
    }

    /// An answer to it.
    fn answer(&self, flags: u8, payload: usize) -> Segment {
        Segment {
            macs: [self.macs[1], self.macs[0]],
            from: self.to,
            to: self.from,
            seq: self.ack,
            ack: self.seq.wrapping_add(self.span()),
            flags,
            payload,
        }
    }
}

/// What the responder answers: by the packet alone.
#[must_use]
pub fn respond(segment: &Segment) -> [Option<Segment>; 2] {
    match (segment.flags & (SYN | FIN | RST), segment.payload) {
        (SYN, _) if segment.flags & ACK == 0 => [Some(segment.answer(SYN | ACK, 0)), None],
        (FIN, _) => [Some(segment.answer(FIN | ACK, 0)), None],
        (0, 1..) => [Some(segment.answer(ACK, 0)), Some(segment.answer(PSH | ACK, ANSWER))],
        _ => [None, None],
    }
}

/// What became of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exchanged {
    /// Connections that ran from SYN to the last ACK.
    pub completed: u64,
    /// Connections that stood still and were given up.
    pub stalled: u64,
    /// Packets that did not belong there, or had a wrong checksum.
    pub unexpected: u64,
    /// Time.
    pub seconds: f64,
    /// Connections a second.
    pub rate: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Idle,
    Opening,
    Asking,
    Closing,
}

/// What a client does.
#[derive(Debug, Clone)]
pub struct Client {
    /// The service.
    pub to: SocketAddrV4,
    /// Hardware addresses: its own, the director's.
    pub macs: [Mac; 2],
    /// Its first address.
    pub first: Ipv4Addr,
    /// Pairs of address and port that it uses in turn.
    pub tuples: u32,
    /// Connections open at a time.
    pub concurrent: u32,
    /// For how long.
    pub time: Duration,
}

/// Ports of one of the client's addresses.
const PORTS: u32 = 16_384;
const FIRST_PORT: u32 = 1024;
/// A connection that stands still for longer is given up.
const PATIENCE: Duration = Duration::from_millis(500);
/// Of how many answers one is checked in full.
const CHECKED: u64 = 256;

/// The client at work.
struct Connections<'a> {
    client: &'a Client,
    station: &'a mut Station,
    stages: Vec<(Stage, Duration)>,
    next: u32,
    open: u32,
    seen: u64,
    sum: Exchanged,
}

impl Client {
    /// Opens and closes connections as fast as the answers come, and waits for the last of them.
    ///
    /// # Errors
    /// When there are fewer tuples than connections.
    pub fn run(&self, station: &mut Station, mut look: impl FnMut(Exchanged)) -> io::Result<Exchanged> {
        if self.concurrent == 0 || self.tuples < 2 * self.concurrent {
            return Err(io::Error::other("tuples: fewer than twice the concurrent connections: use more"));
        }
        let stages = vec![(Stage::Idle, Duration::ZERO); self.tuples as usize];
        let sum = Exchanged::default();
        let mut all = Connections { client: self, station, stages, next: 0, open: 0, seen: 0, sum };
        let mut burst = Burst::with_capacity(BURST);
        let (start, mut swept) = (clock::now(), Duration::ZERO);
        let mut done = None;
        loop {
            let now = start.elapsed();
            if done.is_none() && now >= self.time {
                done = Some(all.so_far(now));
            }
            // What is open is brought to its end, so that nothing of it comes to whoever is next.
            if done.is_some() && (all.open == 0 || now > self.time + PATIENCE) {
                break;
            }
            let count = all.station.receive(&mut burst);
            while let Some(frame) = burst.pop() {
                all.take(frame.bytes(), now);
                all.station.release(frame);
            }
            let wanted = if done.is_none() { self.concurrent } else { 0 };
            for _ in all.open..wanted {
                all.begin(now);
            }
            all.station.flush();
            if now - swept > PATIENCE / 5 {
                swept = now;
                all.sweep(now);
                look(all.so_far(now));
            }
            if count == 0 {
                all.station.wait(Duration::from_millis(1));
            }
        }
        Ok(done.unwrap_or_default())
    }

    fn tuple(&self, number: u32) -> SocketAddrV4 {
        let address = Ipv4Addr::from_bits(self.first.to_bits().wrapping_add(number / PORTS));
        SocketAddrV4::new(address, u16::try_from(FIRST_PORT + number % PORTS).unwrap_or(0))
    }

    fn number(&self, tuple: SocketAddrV4) -> Option<u32> {
        let host = tuple.ip().to_bits().wrapping_sub(self.first.to_bits());
        let port = u32::from(tuple.port()).checked_sub(FIRST_PORT)?;
        let number = host.checked_mul(PORTS)?.checked_add(port)?;
        (port < PORTS && number < self.tuples).then_some(number)
    }
}

impl Connections<'_> {
    /// Opens the next connection.
    fn begin(&mut self, now: Duration) {
        for _ in 0..self.client.tuples {
            let number = self.next;
            self.next = (self.next + 1) % self.client.tuples;
            let stage = &mut self.stages[number as usize];
            if stage.0 == Stage::Idle {
                let Client { to, macs, .. } = *self.client;
                let from = self.client.tuple(number);
                let syn = Segment { macs, from, to, seq: 0, ack: 0, flags: SYN, payload: 0 };
                if self.station.make(|out| syn.write(out)) {
                    *stage = (Stage::Opening, now);
                    self.open += 1;
                }
                return;
            }
        }
    }

    fn take(&mut self, frame: &[u8], now: Duration) {
        self.seen += 1;
        let segment = Segment::read(frame).filter(|s| s.from == self.client.to && self.is_right(frame));
        let found = segment.and_then(|s| Some((s, self.client.number(s.to)?)));
        let Some((segment, number)) = found else {
            self.sum.unexpected += 1;
            return;
        };
        let stage = self.stages[number as usize].0;
        let flags = segment.flags & (SYN | FIN | RST);
        let (next, first, second) = match (stage, flags, segment.payload) {
            (Stage::Opening, SYN, 0) => {
                (Stage::Asking, segment.answer(ACK, 0), Some(segment.answer(PSH | ACK, REQUEST)))
            }
            // An acknowledgement alone; what is waited for comes behind it.
            (_, 0, 0) => return,
            (Stage::Asking, 0, _) => {
                (Stage::Closing, segment.answer(ACK, 0), Some(segment.answer(FIN | ACK, 0)))
            }
            (Stage::Closing, FIN, 0) => (Stage::Idle, segment.answer(ACK, 0), None),
            _ => {
                self.sum.unexpected += 1;
                return;
            }
        };
        for answer in [Some(first), second].into_iter().flatten() {
            self.station.make(|out| answer.write(out));
        }
        self.stages[number as usize] = (next, now);
        if next == Stage::Idle {
            self.open -= 1;
            self.sum.completed += 1;
        }
    }

    /// Whether a packet's checksums are right, looked at now and then.
    fn is_right(&self, frame: &[u8]) -> bool {
        if !self.seen.is_multiple_of(CHECKED) {
            return true;
        }
        let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let Some(segment) = frame.get(34..end) else { return false };
        folded(sum(&frame[14..34])) == 0xffff
            && folded(pseudo(&frame[26..34], 6, segment.len()) + sum(segment)) == 0xffff
    }

    fn sweep(&mut self, now: Duration) {
        for stage in &mut self.stages {
            if stage.0 != Stage::Idle && now.saturating_sub(stage.1) > PATIENCE {
                *stage = (Stage::Idle, now);
                self.open -= 1;
                self.sum.stalled += 1;
            }
        }
    }

    fn so_far(&self, now: Duration) -> Exchanged {
        let seconds = now.as_secs_f64();
        Exchanged { seconds, rate: self.sum.completed as f64 / seconds.max(1e-9), ..self.sum }
    }
}

/// Answers everything that arrives until told to stop; returns how many packets were answered.
pub fn serve(station: &mut Station, stop: &AtomicBool) -> u64 {
    let mut burst = Burst::with_capacity(BURST);
    let mut answered = 0;
    // ORDERING: only that it is seen some time counts.
    while !stop.load(Ordering::Relaxed) {
        let count = station.receive(&mut burst);
        while let Some(frame) = burst.pop() {
            let answers = Segment::read(frame.bytes()).map_or([None, None], |segment| respond(&segment));
            station.release(frame);
            for answer in answers.into_iter().flatten() {
                answered += u64::from(station.make(|out| answer.write(out)));
            }
        }
        station.flush();
        if count == 0 {
            station.wait(Duration::from_millis(1));
        }
    }
    answered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn() -> Segment {
        let (from, to) = ("198.18.128.0:1024", "198.18.0.100:80");
        let (from, to) = (from.parse().expect("address"), to.parse().expect("address"));
        let macs = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
        Segment { macs, from, to, seq: 7, ack: 0, flags: SYN, payload: 0 }
    }

    #[test]
    fn a_segment_survives_the_wire_and_an_independent_parser_agrees() {
        let segment = Segment { flags: PSH | ACK, payload: 33, ack: 9, ..syn() };
        let mut frame = [0; 128];
        let length = segment.write(&mut frame);
        assert_eq!(Segment::read(&frame[..length]), Some(segment));
        let packet = etherparse::PacketHeaders::from_ethernet_slice(&frame[..length]).expect("parses");
        let Some(etherparse::NetHeaders::Ipv4(ip, _)) = packet.net else { panic!("not IPv4") };
        let Some(etherparse::TransportHeader::Tcp(tcp)) = packet.transport else { panic!("not TCP") };
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, packet.payload.slice()).expect("short"));
    }

    #[test]
    fn the_responder_needs_no_memory() {
        let [answer, none] = respond(&syn());
        let answer = answer.expect("SYN ACK");
        assert_eq!((answer.flags, answer.ack, none), (SYN | ACK, 8, None));
        let data = Segment { flags: PSH | ACK, seq: 8, ack: 1, payload: 32, ..syn() };
        let [ack, data] = respond(&data).map(|a| a.map(|a| (a.flags, a.seq, a.ack, a.payload)));
        assert_eq!((ack, data), (Some((ACK, 1, 40, 0)), Some((PSH | ACK, 1, 40, ANSWER))));
        let fin = Segment { flags: FIN | ACK, seq: 40, ack: 65, ..syn() };
        assert_eq!(respond(&fin)[0].map(|a| (a.flags, a.ack)), Some((FIN | ACK, 41)));
        assert_eq!(respond(&Segment { flags: ACK, ..syn() }), [None, None]);
    }
}
