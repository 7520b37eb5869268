//! The judge of what arrives: pure, fed with frames and the times of their arrival.
//!
//! A frame is either right in everything that the director was to change and was not to change, or has one fault. What
//! belongs to a flow's history (its real server, its order) is judged of right frames only, and only when all packets of
//! the flow are seen. Packets lost are those that never came below the highest sequence number of their flow.
//!
//! It shares no code with the director.

use crate::packet::{Places, folded, pattern, pseudo, sum};
use crate::traffic::{Mac, Protocol, Traffic};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use sheave_io::lab::{FIRST_PORT, PORT_BITS};
use std::net::{IpAddr, SocketAddr};

/// What the thing between generator and sink does to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Its hardware addresses.
    Bare,
    /// These, and it counts the hop.
    Route,
    /// It is routed, and the real server's address and port become the destination.
    Nat,
    /// Its hardware addresses, or it is routed as well.
    Dr,
    /// It is put into a packet to the real server.
    Tun,
}

impl std::str::FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Change, String> {
        Ok(match text {
            "bare" => Change::Bare,
            "route" => Change::Route,
            "nat" => Change::Nat,
            "dr" => Change::Dr,
            "tun" => Change::Tun,
            _ => return Err(format!("change {text}: unknown: use bare, route, nat, dr or tun")),
        })
    }
}

/// A real server as the sink knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Real {
    /// Its hardware address.
    pub mac: Mac,
    /// Its address; the port counts under NAT only.
    pub address: SocketAddr,
}

/// What is right.
#[derive(Debug, Clone)]
pub struct Expect {
    /// What was sent.
    pub traffic: Traffic,
    /// What should have become of it.
    pub change: Change,
    /// The hardware address that it comes from now; none: any.
    pub from: Option<Mac>,
    /// Where it may arrive.
    pub reals: Vec<Real>,
    /// Whether all packets of a judged flow are seen.
    pub order: bool,
}

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// It ends early, or its headers contradict each other.
    Malformed,
    /// A checksum is wrong.
    Checksum,
    /// It has an address or port that it should not have, or came to a place that is no real server's.
    Address,
    /// Another field of a header is not what it should be.
    Header,
    /// Its payload is not what was sent.
    Payload,
    /// Its flow was with another real server.
    Moved,
    /// It has come before.
    Duplicate,
    /// A later one of its flow came before it.
    Reordered,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 8] = [
        Fault::Malformed,
        Fault::Checksum,
        Fault::Address,
        Fault::Header,
        Fault::Payload,
        Fault::Moved,
        Fault::Duplicate,
        Fault::Reordered,
    ];
}

/// What a verifier found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdicts {
    /// Packets judged.
    pub judged: u64,
    /// Packets with each fault, in the order of [`Fault::ALL`].
    pub faults: [u64; Fault::ALL.len()],
    /// Packets that never came, of flows whose packets were all to be seen.
    pub lost: u64,
    /// Flows seen.
    pub flows: u64,
    /// Packets that went to each real server.
    pub reals: Vec<u64>,
    /// The first faulty packets, in words.
    pub examples: Vec<String>,
}

impl Verdicts {
    /// Packets with this fault.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// Packets with any fault.
    #[must_use]
    pub fn faulty(&self) -> u64 {
        self.faults.iter().sum()
    }
}

/// The history of a flow.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    /// The first sequence number seen, and the one after the highest.
    first: u32,
    next: u32,
    /// Which of the 64 numbers before `next` have come.
    window: u64,
    /// How many different ones have come.
    came: u32,
    /// The real server's number, from 1; 0: none yet.
    real: u16,
}

/// A right packet, taken apart.
struct Parsed {
    flow: u32,
    seq: u32,
    time: u64,
    real: usize,
}

const EXAMPLES: usize = 8;
const WINDOW: u32 = 64;

/// How long one packet was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// When it was sent, by the monotonic clock, in ns.
    pub sent: u64,
    /// The time until it arrived, in ns.
    pub time: u64,
}

/// Judges frames.
#[derive(Debug)]
pub struct Verifier {
    expect: Expect,
    flows: Vec<Flow>,
    verdicts: Verdicts,
    latency: Histogram<u64>,
    /// Of each right packet, where that is asked for.
    delays: Option<Vec<Delay>>,
}

impl Verifier {
    /// A verifier that has seen nothing.
    ///
    /// # Panics
    /// Never: the bounds of the histogram are right.
    #[must_use]
    pub fn new(expect: Expect) -> Verifier {
        let flows =
            if expect.order { vec![Flow::default(); expect.traffic.flows as usize] } else { Vec::new() };
        let verdicts = Verdicts { reals: vec![0; expect.reals.len()], ..Verdicts::default() };
        // From 1 ns to 100 s with 3 digits.
        let latency = Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("right bounds");
        Verifier { expect, flows, verdicts, latency, delays: None }
    }

    /// Judges a frame that arrived at this time of the monotonic clock, in ns.
    pub fn judge(&mut self, time: u64, frame: &[u8]) {
        self.verdicts.judged += 1;
        let fault = match parse(&self.expect, frame) {
            Ok(packet) => {
                let delay = time.saturating_sub(packet.time);
                self.latency.saturating_record(delay);
                if let Some(delays) = &mut self.delays {
                    delays.push(Delay { sent: packet.time, time: delay });
                }
                self.verdicts.reals[packet.real] += 1;
                self.follow(&packet).map(|()| packet.flow)
            }
            Err(fault) => Err(fault),
        };
        if let Err(fault) = fault {
            self.verdicts.faults[fault as usize] += 1;
            if self.verdicts.examples.len() < EXAMPLES {
                let bytes: Vec<String> = frame.iter().take(100).map(|byte| format!("{byte:02x}")).collect();
                self.verdicts.examples.push(format!("{fault:?}: {}", bytes.join("")));
            }
        }
    }

    fn follow(&mut self, packet: &Parsed) -> Result<(), Fault> {
        let Some(flow) = self.flows.get_mut(packet.flow as usize) else { return Ok(()) };
        let real = u16::try_from(packet.real + 1).unwrap_or(u16::MAX);
        if flow.real == 0 {
            let (first, next) = (packet.seq, packet.seq.wrapping_add(1));
            *flow = Flow { first, next, window: 1, came: 1, real };
            return Ok(());
        }
        let order = flow.take(packet.seq);
        if flow.real != real {
            return Err(Fault::Moved);
        }
        order
    }

    /// What it found so far.
    #[must_use]
    pub fn verdicts(&self) -> Verdicts {
        let seen = || self.flows.iter().filter(|flow| flow.real != 0);
        let lost = seen().map(|f| u64::from(f.next.wrapping_sub(f.first)).saturating_sub(u64::from(f.came)));
        Verdicts { lost: lost.sum(), flows: seen().count() as u64, ..self.verdicts.clone() }
    }

    /// How long packets were under way, in ns.
    #[must_use]
    pub fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// Keeps the delay of each packet from now on, for [`Verifier::delays`].
    pub fn keep_delays(&mut self) {
        self.delays.get_or_insert_default();
    }

    /// The delays of right packets, in the order of their arrival; none unless they are kept.
    #[must_use]
    pub fn delays(&self) -> &[Delay] {
        self.delays.as_deref().unwrap_or_default()
    }

    /// Forgets everything but what is right, and what is to be kept.
    pub fn restart(&mut self) {
        let delays = self.delays.as_ref().map(|_| Vec::new());
        *self = Verifier { delays, ..Verifier::new(self.expect.clone()) };
    }
}

impl Flow {
    /// Takes a sequence number into the history.
    fn take(&mut self, seq: u32) -> Result<(), Fault> {
        if seq >= self.next {
            let ahead = seq - self.next + 1;
            self.window = if ahead >= WINDOW { 0 } else { self.window << ahead };
            self.window |= 1;
            self.next = seq + 1;
            self.came += 1;
            return Ok(());
        }
        let behind = self.next - 1 - seq;
        // Farther back than can be told apart, or before the first that was seen.
        if behind >= WINDOW || seq < self.first {
            return Err(Fault::Reordered);
        }
        let bit = 1 << behind;
        if self.window & bit != 0 {
            return Err(Fault::Duplicate);
        }
        self.window |= bit;
        self.came += 1;
        Err(Fault::Reordered)
    }
}

/// Takes bytes that must be there.
fn at<const N: usize>(frame: &[u8], place: usize) -> Result<[u8; N], Fault> {
    frame.get(place..).and_then(|rest| rest.first_chunk()).copied().ok_or(Fault::Malformed)
}

fn ensure(holds: bool, fault: Fault) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(fault) }
}

fn parse(expect: &Expect, frame: &[u8]) -> Result<Parsed, Fault> {
    let to = Mac(at(frame, 0)?);
    let from = Mac(at(frame, 6)?);
    ensure(expect.from.is_none_or(|right| right == from), Fault::Address)?;
    let (inner, outer_to) = match expect.change {
        Change::Tun => decapsulate(frame)?,
        _ => (frame.get(12..).ok_or(Fault::Malformed)?, None),
    };
    // From here on as if there were no outer header.
    let v4 = expect.traffic.to.is_ipv4();
    let places = Places::of(v4, expect.traffic.protocol == Protocol::Udp);
    let packet = Inner { bytes: inner, places, v4 };
    let end = packet.headers(expect)?;
    packet.checksums(end)?;
    let (address, port) = packet.destination()?;
    let real = real(expect, to, outer_to, SocketAddr::new(address, port)).ok_or(Fault::Address)?;
    let flow = packet.flow(expect)?;
    let (seq, time) = packet.stamp(end)?;
    Ok(Parsed { flow, seq, time, real })
}

/// Which real server this went to.
fn real(expect: &Expect, mac: Mac, outer: Option<IpAddr>, destination: SocketAddr) -> Option<usize> {
    let is = |real: &Real| match expect.change {
        Change::Nat => real.address == destination,
        Change::Tun => destination == expect.traffic.to && outer == Some(real.address.ip()),
        _ => destination == expect.traffic.to,
    };
    expect.reals.iter().position(|real| real.mac == mac && is(real))
}

/// Looks at the outer header; returns what it carries, with the type of it in front, and its destination.
fn decapsulate(frame: &[u8]) -> Result<(&[u8], Option<IpAddr>), Fault> {
    let kind: [u8; 2] = at(frame, 12)?;
    let (protocol, inner, to) = match kind {
        [0x08, 0x00] => {
            let header: [u8; 20] = at(frame, 14)?;
            ensure(header[0] == 0x45, Fault::Malformed)?;
            ensure(folded(sum(&header)) == 0xffff, Fault::Checksum)?;
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            ensure(frame.len() >= 14 + length, Fault::Malformed)?;
            (header[9], 34, IpAddr::from(at::<4>(frame, 30)?))
        }
        [0x86, 0xdd] => {
            let header: [u8; 40] = at(frame, 14)?;
            ensure(header[0] >> 4 == 6, Fault::Malformed)?;
            (header[6], 54, IpAddr::from(at::<16>(frame, 38)?))
        }
        _ => return Err(Fault::Header),
    };
    ensure(protocol == 4 || protocol == 41, Fault::Header)?;
    // Two bytes more, where a frame has its type: they are not looked at.
    Ok((frame.get(inner - 2..).ok_or(Fault::Malformed)?, Some(to)))
}

/// A packet without outer headers. `bytes` begins two bytes before its IP header.
struct Inner<'a> {
    bytes: &'a [u8],
    places: Places,
    v4: bool,
}

const BEFORE: usize = 12;

impl Inner<'_> {
    /// Bytes at a place as [`Places`] counts them.
    fn at<const N: usize>(&self, place: usize) -> Result<[u8; N], Fault> {
        at(self.bytes, place - BEFORE)
    }

    fn slice(&self, from: usize, to: usize) -> Result<&[u8], Fault> {
        self.bytes.get(from - BEFORE..to - BEFORE).ok_or(Fault::Malformed)
    }

    /// Checks the headers; returns where the packet ends.
    fn headers(&self, expect: &Expect) -> Result<usize, Fault> {
        let udp = expect.traffic.protocol == Protocol::Udp;
        let protocol = if udp { 17 } else { 6 };
        let (length, found, hops) = if self.v4 {
            let header: [u8; 20] = self.at(14)?;
            ensure(header[0] == 0x45, Fault::Malformed)?;
            // Neither options nor fragments were sent.
            ensure(header[1] == 0 && header[6] & 0xbf == 0 && header[7] == 0, Fault::Header)?;
            (usize::from(u16::from_be_bytes([header[2], header[3]])), header[9], header[8])
        } else {
            let header: [u8; 8] = self.at(14)?;
            ensure(header[..4] == [0x60, 0, 0, 0], Fault::Header)?;
            (usize::from(u16::from_be_bytes([header[4], header[5]])) + 40, header[6], header[7])
        };
        let kind: [u8; 2] = self.at(12)?;
        let right_kind = if self.v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        ensure(expect.change == Change::Tun || kind == right_kind, Fault::Header)?;
        ensure(found == protocol, Fault::Header)?;
        let right_hops: &[u8] = match expect.change {
            Change::Bare => &[64],
            Change::Route | Change::Nat => &[63],
            Change::Dr | Change::Tun => &[63, 64],
        };
        ensure(right_hops.contains(&hops), Fault::Header)?;
        let end = 14 + length;
        ensure(end >= self.places.header() && self.bytes.len() + BEFORE >= end, Fault::Malformed)?;
        let lengths: Vec<u16> = expect.traffic.sizes.0.iter().map(|(size, _)| size - 4).collect();
        ensure(lengths.iter().any(|l| usize::from(*l).max(self.places.header()) == end), Fault::Malformed)?;
        self.transport(end, udp)?;
        Ok(end)
    }

    fn transport(&self, end: usize, udp: bool) -> Result<(), Fault> {
        if udp {
            let length: [u8; 2] = self.at(self.places.l4 + 4)?;
            return ensure(usize::from(u16::from_be_bytes(length)) == end - self.places.l4, Fault::Malformed);
        }
        let [offset, flags]: [u8; 2] = self.at(self.places.l4 + 12)?;
        ensure(offset == 5 << 4 && (flags == 0x02 || flags == 0x18), Fault::Header)
    }

    fn checksums(&self, end: usize) -> Result<(), Fault> {
        if self.v4 {
            let header: [u8; 20] = self.at(14)?;
            ensure(folded(sum(&header)) == 0xffff, Fault::Checksum)?;
        }
        let (addresses, protocol) = if self.v4 { (26..34, 23) } else { (22..54, 20) };
        let [protocol] = self.at(protocol)?;
        let check: [u8; 2] = self.at(self.places.l4_sum)?;
        // A datagram was never sent without.
        ensure(protocol != 17 || check != [0, 0], Fault::Checksum)?;
        let addresses = self.slice(addresses.start, addresses.end)?;
        let total = pseudo(addresses, protocol, end - self.places.l4) + sum(self.slice(self.places.l4, end)?);
        ensure(folded(total) == 0xffff, Fault::Checksum)
    }

    fn destination(&self) -> Result<(IpAddr, u16), Fault> {
        let address = if self.v4 { self.at::<4>(30)?.into() } else { self.at::<16>(38)?.into() };
        Ok((address, u16::from_be_bytes(self.at(self.places.l4 + 2)?)))
    }

    /// Which flow its source says that it is of.
    fn flow(&self, expect: &Expect) -> Result<u32, Fault> {
        if let IpAddr::V6(client) = expect.traffic.first_client {
            ensure(self.at::<12>(22)? == client.octets()[..12], Fault::Address)?;
        }
        let host = u32::from_be_bytes(self.at(self.places.host)?);
        let port = u16::from_be_bytes(self.at(self.places.l4)?);
        let host = host.wrapping_sub(expect.traffic.first_host());
        let port = u32::from(port.checked_sub(FIRST_PORT).ok_or(Fault::Address)?);
        ensure(host < 1 << (32 - PORT_BITS) && port < 1 << PORT_BITS, Fault::Address)?;
        let flow = (host << PORT_BITS) | port;
        ensure(expect.traffic.fresh || flow < expect.traffic.flows, Fault::Address)?;
        Ok(flow)
    }

    fn stamp(&self, end: usize) -> Result<(u32, u64), Fault> {
        let rest = self.slice(self.places.header(), end)?;
        ensure(rest.iter().enumerate().all(|(at, byte)| *byte == pattern(at)), Fault::Payload)?;
        let seq = u32::from_be_bytes(self.at(self.places.stamp)?);
        Ok((seq, u64::from_ne_bytes(self.at(self.places.stamp + 4)?)))
    }
}
