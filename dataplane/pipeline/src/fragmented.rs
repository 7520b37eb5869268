//! Fragments as they come in: each goes where the first one of its datagram goes.
//!
//! The first fragment is handled like any packet. What became of it is the decision about its datagram, 48 bits that
//! every worker can read:
//!
//! ```text
//!   in to a destination   | generation 8 | destination 16 |                 3 |
//!   out to a client       | generation 8 | destination 16 | listen 15 |     4 |
//!   left to the kernel                                                 |    1 |
//!   dropped or answered                                                |    2 |
//! ```
//!
//! A later fragment has no ports to rewrite and no checksum but the IP header's: only its addresses change.

use crate::answer::ip_of;
use crate::connect::Chosen;
use crate::context::{Account, Context};
use crate::counters;
use crate::fragments::{Arrived, DatagramKey, Decision, Piece, Refused, Settled};
use crate::ids::{DestId, Generation, ListenId, RealId};
use crate::ip::{Fragment, Ip};
use crate::key::Key;
use crate::packet::Packet;
use crate::parse::{Parsed, parse_first};
use crate::reason::Reason;
use crate::rewrite;
use crate::snapshot::{Method, NextHop};
use crate::verdict::{Verdict, VerdictKind};
use sheave_frame::Frame;
use sheave_proto::wire::flow::{Proto, Side};
use sheave_proto::wire::ipv6;
use std::net::IpAddr;

/// What was decided about a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// To this destination, in this life of it.
    In(DestId, Generation),
    /// From this destination, in this life of it, to the client, as this listen.
    Out(ListenId, DestId, Generation),
    /// To the kernel.
    Pass,
    /// Nowhere.
    Refused,
}

const KIND_BITS: u32 = 4;
const LISTEN_BITS: u32 = 15;

impl Course {
    fn decision(self) -> Decision {
        let life = |id: DestId, generation: Generation| u64::from(id.0) | (u64::from(generation.0) << 16);
        Decision::new(match self {
            Course::Pass => 1,
            Course::Refused => 2,
            Course::In(id, generation) => 3 | (life(id, generation) << KIND_BITS),
            Course::Out(listen, id, generation) => {
                4 | (u64::from(listen.0) << KIND_BITS) | (life(id, generation) << (KIND_BITS + LISTEN_BITS))
            }
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "cut out of the word")]
    fn of(decision: Decision) -> Course {
        let bits = decision.bits();
        let rest = bits >> KIND_BITS;
        let life = |word: u64| (DestId(word as u16), Generation((word >> 16) as u8));
        match bits & ((1 << KIND_BITS) - 1) {
            1 => Course::Pass,
            3 => Course::In(life(rest).0, life(rest).1),
            4 => {
                let (id, generation) = life(rest >> LISTEN_BITS);
                Course::Out(ListenId((rest & ((1 << LISTEN_BITS) - 1)) as u16), id, generation)
            }
            _ => Course::Refused,
        }
    }
}

/// A later fragment on its way.
struct Later<'s> {
    packet: Packet,
    of: Chosen<'s>,
    outbound: bool,
    /// What NAT writes.
    readdressed: Option<(Side, IpAddr)>,
}

impl<'a> Context<'a> {
    /// Handles a fragment that may be of a connection of ours.
    #[cold]
    pub(crate) fn fragment(&mut self, frame: Frame) -> Verdict {
        let Some((key, piece)) =
            ip_of(&frame).and_then(|(l3, ip)| Some((l3, ip, ip.fragment?))).map(|(l3, ip, fragment)| {
                let packet = frame.bytes().get(l3..).unwrap_or_default();
                (key_of(&ip, fragment), piece_of(packet, &ip, fragment))
            })
        else {
            return self.end(frame, Reason::FragmentMalformed);
        };
        let arrived =
            piece.and_then(|piece| Ok((piece, self.shared.datagrams.arrive(&key, piece, self.now)?)));
        match arrived {
            Err(why) => self.end(frame, refused(why)),
            Ok((_, (arrived, Some(decision)))) => {
                let verdict = self.by_decision(frame, decision);
                self.shared.datagrams.handled(&arrived);
                verdict
            }
            Ok((piece, (arrived, None))) if piece.is_first() => self.first(frame, &arrived),
            Ok((_, (arrived, None))) => self.early(frame, arrived),
        }
    }

    /// The first fragment: decides about its datagram.
    fn first(&mut self, frame: Frame, arrived: &Arrived) -> Verdict {
        let parsed = parse_first(&frame, self.snapshot, &self.tables());
        let (verdict, course) = match parsed {
            Parsed::Inbound(packet, listen) => {
                let verdict = self.inbound(frame, &packet, listen);
                let course = self.course(verdict, Course::In);
                (verdict, course)
            }
            Parsed::Outbound(packet, real) => self.first_out(frame, &packet, real),
            Parsed::Decided(reason) => {
                let verdict = self.end(frame, reason);
                (verdict, self.course(verdict, Course::In))
            }
            _ => (self.end(frame, Reason::NotOurs), Course::Pass),
        };
        self.shared.datagrams.decide(arrived, course.decision());
        self.shared.datagrams.handled(arrived);
        self.settle();
        verdict
    }

    fn first_out(&mut self, frame: Frame, packet: &Packet, real: RealId) -> (Verdict, Course) {
        let listen = self.replied(packet, real).and_then(|connection| connection.key.listen());
        let verdict = self.outbound(frame, packet, real);
        let course = match listen {
            Some(listen) => self.course(verdict, |id, generation| Course::Out(listen, id, generation)),
            None if verdict.kind() == VerdictKind::Pass => Course::Pass,
            None => Course::Refused,
        };
        (verdict, course)
    }

    /// What the verdict about the first fragment means to the others.
    fn course(&self, verdict: Verdict, on: impl FnOnce(DestId, Generation) -> Course) -> Course {
        let destination = verdict.destination.and_then(|id| Some((id, self.snapshot.destination(id)?)));
        match (verdict.kind(), destination) {
            (VerdictKind::Pass, _) => Course::Pass,
            (VerdictKind::Forward | VerdictKind::Hold, Some((id, destination))) => {
                on(id, destination.generation)
            }
            _ => Course::Refused,
        }
    }

    /// A fragment whose first one has not come yet.
    fn early(&mut self, frame: Frame, arrived: Arrived) -> Verdict {
        let displaced = self.own.early.hold(frame, arrived, self.now, &self.shared.datagrams);
        let verdict = match displaced {
            None => return Verdict::because(Reason::FragmentEarly),
            Some((frame, why @ Refused::TooMany)) => self.end(frame, refused(why)),
            Some((frame, why)) => {
                self.refuse_held(frame, why);
                Verdict::because(Reason::FragmentEarly)
            }
        };
        // With one fragment the others of its datagram go.
        self.settle();
        verdict
    }

    /// Handles the fragments that were held back for what is decided by now, here or by another worker.
    fn settle(&mut self) {
        let mut place = 0;
        while let Some((at, settled)) = self.own.early.take_settled(place, &self.shared.datagrams) {
            place = at;
            let Settled { frame, arrived, outcome } = settled;
            match outcome {
                Ok(decision) => {
                    // The fragment's verdict was "hold"; what became of it shows in what is counted.
                    if let Some(reason) = self.by_decision(frame, decision).reason() {
                        self.own.counters.add(counters::reason(reason), 1);
                    }
                    self.shared.datagrams.handled(&arrived);
                }
                Err(why) => self.refuse_held(frame, why),
            }
        }
    }

    /// Handles what need not wait any more, gives up on what has waited too long.
    #[cold]
    pub(crate) fn tend_fragments(&mut self) {
        self.settle();
        while let Some(frame) = self.own.early.take_overdue(self.now, &self.shared.datagrams) {
            self.refuse_held(frame, Refused::Unmatched);
        }
        self.settle();
    }

    fn refuse_held(&mut self, frame: Frame, why: Refused) {
        self.own.counters.add(counters::reason(refused(why)), 1);
        self.pool.release(frame);
    }

    /// A later fragment: it goes where the first one went.
    fn by_decision(&mut self, frame: Frame, decision: Decision) -> Verdict {
        let (course, Some((l3, ip))) = (Course::of(decision), ip_of(&frame)) else {
            return self.end(frame, Reason::FragmentMalformed);
        };
        let (id, generation, listen) = match course {
            Course::Pass => return self.end(frame, Reason::FragmentNotOurs),
            Course::Refused => return self.end(frame, Reason::FragmentRefused),
            Course::In(id, generation) => (id, generation, None),
            Course::Out(listen, id, generation) => (id, generation, self.snapshot.listen(listen)),
        };
        let destination = self.snapshot.destination(id).filter(|d| d.generation == generation);
        let (Some(destination), true) = (destination, listen.is_some() || matches!(course, Course::In(..)))
        else {
            return self.end(frame, Reason::Removed);
        };
        let of = Chosen { service: destination.service, id, destination };
        let readdressed = match listen {
            Some(listen) => Some((Side::Source, listen.vip)),
            None => (destination.method == Method::Nat).then_some((Side::Destination, destination.addr)),
        };
        let packet = later(&ip, l3, self);
        let hop = if listen.is_some() { self.snapshot.next_hop(ip.dst) } else { destination.next_hop };
        let later = Later { packet, of, outbound: listen.is_some(), readdressed };
        self.send_later(frame, &later, hop).of(of.service).to(id)
    }

    fn send_later(&mut self, mut frame: Frame, later: &Later<'_>, hop: Option<NextHop>) -> Verdict {
        let Later { packet, of, outbound, readdressed } = later;
        if !outbound && of.destination.method == Method::Local {
            return self.end(frame, Reason::LocalNode);
        }
        let Some(hop) = hop else { return self.end(frame, Reason::NoRoute) };
        if packet.ttl <= 1 {
            return self.end(frame, Reason::TtlExceededQuiet);
        }
        let account =
            Account { service: of.service, destination: of.id, outbound: *outbound, bytes: packet.bytes() };
        let tunnel = !outbound && of.destination.method == Method::Tunnel;
        let largest = if *outbound { hop.mtu } else { self.largest(of, &hop) };
        if packet.len > largest && tunnel {
            return self.too_large_in(frame, packet, *of, &hop, largest);
        }
        if packet.len > largest && packet.df {
            // RFC 1122 §3.2.2: no error about a fragment other than the first.
            return self.end(frame, Reason::FragNeededQuiet);
        }
        let written = match readdressed {
            Some((side, addr)) => rewrite::readdress(&mut frame, packet, *side, *addr),
            None if tunnel => {
                let ident = self.ident();
                rewrite::tunnel(&mut frame, packet, of.destination, ident)
            }
            None => rewrite::direct(&mut frame, packet),
        };
        match written {
            Ok(()) if packet.len > largest => {
                self.send_cut(frame, (packet.l3, largest), &hop, account, Ok(()))
            }
            Ok(()) => self.forward(frame, &hop, account),
            Err(reason) => self.end(frame, reason),
        }
    }
}

/// A later fragment as a packet: without ports, its flow told by its addresses alone.
fn later(ip: &Ip, l3: usize, context: &Context<'_>) -> Packet {
    let key = Key::wide_in((ip.src, 0), 0, ListenId(0));
    Packet::along((key, context.tables().hash(&key)), Proto::Udp, (0, 0), (l3, ip))
}

fn key_of(ip: &Ip, fragment: Fragment) -> DatagramKey {
    match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            DatagramKey::v4(src, dst, ip.protocol, u16::try_from(fragment.id).unwrap_or_default())
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => DatagramKey::v6(src, dst, fragment.id),
        // No packet is of two families.
        _ => DatagramKey::v6(std::net::Ipv6Addr::UNSPECIFIED, std::net::Ipv6Addr::UNSPECIFIED, 0),
    }
}

fn piece_of(packet: &[u8], ip: &Ip, fragment: Fragment) -> Result<Piece, Refused> {
    let unsaid = if ip.src.is_ipv4() { 0 } else { ipv6::HEADER_LEN + ipv6::FRAGMENT_LEN };
    let before = fragment.data.saturating_sub(unsaid);
    let len = ip.len.saturating_sub(fragment.data);
    let piece = Piece::new(fragment.offset, len, fragment.more, before)?;
    piece.check_transport(ip.protocol, ip.payload(packet))?;
    Ok(piece)
}

const fn refused(why: Refused) -> Reason {
    match why {
        Refused::Tiny => Reason::FragmentTiny,
        Refused::Uneven | Refused::TooLong => Reason::FragmentMalformed,
        Refused::Overlap => Reason::FragmentOverlap,
        Refused::Duplicate => Reason::FragmentDuplicate,
        Refused::TooMany => Reason::FragmentTooMany,
        Refused::NoRoom => Reason::FragmentNoRoom,
        Refused::Unmatched => Reason::FragmentUnmatched,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_course_reads_back(kind in 0u8..4, listen in 0u16..0x8000, id: u16, generation: u8) {
            let (listen, id, generation) = (ListenId(listen), DestId(id), Generation(generation));
            let course = match kind {
                0 => Course::Pass,
                1 => Course::Refused,
                2 => Course::In(id, generation),
                _ => Course::Out(listen, id, generation),
            };
            prop_assert_eq!(Course::of(course.decision()), course);
        }
    }
}
