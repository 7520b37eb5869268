//! Fragments: all of them go where the first one of their datagram goes, and those that come before it wait.

use super::Model;
use super::judge::Case;
use super::outcome::{Leaving, Outcome};
use super::read::{Ip, Transport};
use crate::ids::{DestId, Generation};
use crate::reason::Reason;
use crate::snapshot::Method;
use crate::testing::site::Destination;
use crate::time::Time;
use crate::verdict::{Verdict, VerdictKind};
use sheave_frame::PortId;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What names a datagram: protocol (of IPv4), identification, ends.
type Name = (u8, u32, IpAddr, IpAddr);

/// Which part of a datagram a fragment is, in units of eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    start: usize,
    end: usize,
    last: bool,
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy)]
enum Course {
    In(DestId, Generation),
    /// As the listen with this number.
    Out(u16, DestId, Generation),
    Pass,
    Refused,
}

/// What is known of a datagram.
#[derive(Debug, Default)]
struct Datagram {
    opened: u64,
    pieces: Vec<Piece>,
    done: usize,
    end: Option<usize>,
    doom: Option<Reason>,
    course: Option<Course>,
    /// Nobody will be of it any more.
    over: bool,
}

/// A fragment that waits.
#[derive(Debug)]
struct Held {
    worker: usize,
    datagram: u64,
    piece: Piece,
    port: PortId,
    frame: Vec<u8>,
    ip: Ip,
    since: Time,
}

/// What is to be done when the frames of a fragment have been accounted for.
#[derive(Debug)]
enum Then {
    Decide(u64, Piece),
    Handled(u64, Piece),
    Settle,
}

/// All fragments that are on their way.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    names: BTreeMap<Name, u64>,
    datagrams: BTreeMap<u64, Datagram>,
    held: Vec<Held>,
    then: Option<Then>,
    next: u64,
}

const UNITS: usize = 8;
const PIECES: usize = 128;
const PER_DATAGRAM: usize = 64;
const IN_ALL: usize = 256;

impl Piece {
    fn of(ip: &Ip) -> Result<Piece, Reason> {
        let Some(fragment) = ip.fragment else { return Err(Reason::FragmentMalformed) };
        let len = ip.len.saturating_sub(fragment.data);
        let uneven = len == 0 || (fragment.more && len % UNITS != 0);
        let unsaid = if ip.src.is_ipv4() { 0 } else { 48 };
        if uneven || fragment.data - unsaid + fragment.offset + len > 65_535 {
            return Err(Reason::FragmentMalformed);
        }
        let piece = Piece {
            start: fragment.offset / UNITS,
            end: (fragment.offset + len).div_ceil(UNITS),
            last: !fragment.more,
        };
        let tiny = ip.is_tcp()
            && if piece.start == 0 { ip.transport == Transport::Broken } else { piece.start * UNITS < 20 };
        if tiny { Err(Reason::FragmentTiny) } else { Ok(piece) }
    }

    fn contradicts(self, other: Piece) -> bool {
        let over = self.start < other.end && other.start < self.end;
        let beyond = (other.last && self.end > other.end) || (self.last && other.end > self.end);
        over || beyond
    }
}

impl Fragments {
    /// Takes a fragment into its datagram; gives the datagram's number.
    fn admit(&mut self, name: Name, piece: Piece, second: u64) -> Result<u64, Reason> {
        let known = self.names.get(&name).copied();
        let open = known.filter(|n| self.datagrams.get(n).is_some_and(|d| second - d.opened <= 30));
        let number = open.unwrap_or_else(|| {
            known.into_iter().for_each(|old| self.forget(old));
            self.next += 1;
            self.names.insert(name, self.next);
            self.datagrams.insert(self.next, Datagram { opened: second, ..Datagram::default() });
            self.next
        });
        let datagram = self.datagrams.get_mut(&number).ok_or(Reason::FragmentUnmatched)?;
        if let Some(doom) = datagram.doom {
            return Err(doom);
        }
        if datagram.pieces.len() == PIECES {
            datagram.doom = Some(Reason::FragmentTooMany);
            return Err(Reason::FragmentTooMany);
        }
        let before = datagram.pieces.clone();
        datagram.pieces.push(piece);
        if piece.last && datagram.end.is_none() {
            datagram.end = Some(piece.end);
        }
        if before.iter().any(|other| *other != piece && piece.contradicts(*other)) {
            datagram.doom = Some(Reason::FragmentOverlap);
            return Err(Reason::FragmentOverlap);
        }
        if before.contains(&piece) { Err(Reason::FragmentDuplicate) } else { Ok(number) }
    }

    /// Another fragment of a datagram was handled: with the last one it is over.
    fn handled(&mut self, number: u64, piece: Piece) {
        let Some(datagram) = self.datagrams.get_mut(&number).filter(|d| d.doom.is_none()) else { return };
        datagram.done += piece.end - piece.start;
        if datagram.end.is_some_and(|end| datagram.done >= end) {
            self.forget(number);
        }
    }

    /// The next to come begins another datagram.
    fn forget(&mut self, number: u64) {
        self.names.retain(|_, other| *other != number);
        if self.held.iter().any(|held| held.datagram == number) {
            if let Some(datagram) = self.datagrams.get_mut(&number) {
                datagram.over = true;
            }
        } else {
            self.datagrams.remove(&number);
        }
    }

    /// The next of a worker's fragments that need not wait any more.
    fn settled(&mut self, worker: usize) -> Option<Held> {
        let settled = |held: &Held| {
            let datagram = self.datagrams.get(&held.datagram);
            held.worker == worker && datagram.is_none_or(|d| d.doom.is_some() || d.course.is_some() || d.over)
        };
        let at = self.held.iter().position(settled)?;
        Some(self.held.remove(at))
    }
}

impl Model {
    /// Whether a fragment may be of a datagram of ours, by its addresses.
    pub(super) fn is_ours_in_part(&self, ip: &Ip) -> bool {
        let hidden = ip.src.is_ipv6() && matches!(ip.protocol, 0 | 43 | 44 | 51 | 60);
        let services = || self.site.services.iter().filter(|s| !s.removed);
        let mut destinations = services().flat_map(|s| &s.destinations).filter(|d| !d.removed);
        let real = destinations.any(|d| d.method == Method::Nat && d.addr == ip.src) && !self.is_own(ip.dst);
        (hidden || matches!(ip.protocol, 6 | 17)) && (self.is_vip(ip.dst) || real)
    }

    /// A fragment.
    pub(super) fn fragment(&mut self, case: &Case<'_>) -> Result<Outcome, String> {
        let ip = case.ip;
        let piece = match Piece::of(ip) {
            Ok(piece) => piece,
            Err(Reason::FragmentTiny) => return Ok(Outcome::End(&[Reason::FragmentTiny])),
            Err(_) => return Ok(Outcome::End(&[Reason::FragmentMalformed])),
        };
        let id = ip.fragment.map_or(0, |fragment| fragment.id);
        let name = (if ip.src.is_ipv4() { ip.protocol } else { 0 }, id, ip.src, ip.dst);
        let number = match self.fragments.admit(name, piece, self.second) {
            Ok(number) => number,
            Err(why) => return Ok(refused(why)),
        };
        let course = self.fragments.datagrams.get(&number).and_then(|datagram| datagram.course);
        if let Some(course) = course {
            self.fragments.then = Some(Then::Handled(number, piece));
            return Ok(self.follow_course(case, course));
        }
        if piece.start == 0 {
            self.fragments.then = Some(Then::Decide(number, piece));
            return self.whole(case);
        }
        let held = || self.fragments.held.iter().filter(|held| held.worker == case.worker);
        if held().filter(|held| held.datagram == number).count() >= PER_DATAGRAM {
            if let Some(datagram) = self.fragments.datagrams.get_mut(&number) {
                datagram.doom = Some(Reason::FragmentTooMany);
            }
            self.fragments.then = Some(Then::Settle);
            return Ok(refused(Reason::FragmentTooMany));
        }
        if held().count() >= IN_ALL {
            // With one fragment the others of its datagram go.
            self.give_up_oldest(case.worker);
            self.fragments.then = Some(Then::Settle);
        }
        self.fragments.held.push(Held {
            worker: case.worker,
            datagram: number,
            piece,
            port: case.port,
            frame: case.frame.to_vec(),
            ip: ip.clone(),
            since: case.now,
        });
        Ok(Outcome::End(&[Reason::FragmentEarly]))
    }

    /// What follows from a fragment once its own frames are accounted for.
    pub(super) fn after_fragment(
        &mut self,
        (worker, now): (usize, Time),
        ip: &Ip,
        verdict: &Verdict,
        leaving: &mut Leaving,
    ) -> Result<(), String> {
        match self.fragments.then.take() {
            None => return Ok(()),
            Some(Then::Handled(number, piece)) => {
                self.fragments.handled(number, piece);
                return Ok(());
            }
            Some(Then::Decide(number, piece)) => {
                let course = self.course(ip, verdict);
                if let Some(datagram) = self.fragments.datagrams.get_mut(&number) {
                    datagram.course = Some(course);
                }
                self.fragments.handled(number, piece);
            }
            Some(Then::Settle) => {}
        }
        self.release((worker, now), leaving)
    }

    /// What became of the first fragment, for all others.
    fn course(&self, ip: &Ip, verdict: &Verdict) -> Course {
        let to = verdict.destination.and_then(|id| Some((id, self.destination(id)?.generation)));
        let (sport, dport) = ip.ports.unwrap_or_default();
        match (verdict.kind(), to) {
            (VerdictKind::Pass, _) => Course::Pass,
            (VerdictKind::Forward | VerdictKind::Hold, Some((id, generation))) => {
                if self.listen_at(ip.dst, dport, ip.protocol).is_some() {
                    return Course::In(id, generation);
                }
                let mut all = self.replies(ip.protocol, (ip.dst, dport), (ip.src, sport));
                let of = all.find(|(_, c)| self.destination_of(c).is_some());
                of.map_or(Course::Refused, |(tuple, _)| Course::Out(tuple.3, id, generation))
            }
            _ => Course::Refused,
        }
    }

    fn destination(&self, id: DestId) -> Option<&Destination> {
        let services = self.site.services.iter().filter(|service| !service.removed);
        services.flat_map(|s| &s.destinations).find(|d| d.id == id && !d.removed)
    }

    /// A later fragment: it goes where the first one went.
    fn follow_course(&mut self, case: &Case<'_>, course: Course) -> Outcome {
        let (id, generation, out) = match course {
            Course::Pass => return Outcome::End(&[Reason::FragmentNotOurs]),
            Course::Refused => return Outcome::End(&[Reason::FragmentRefused]),
            Course::In(id, generation) => (id, generation, None),
            Course::Out(listen, id, generation) => (id, generation, Some(listen)),
        };
        let listens = |listen: u16| self.site.listens().find(|(id, ..)| id.0 == listen);
        let to = self.destination(id).filter(|to| to.generation == generation).cloned();
        let Some(to) = to.filter(|_| out.is_none_or(|listen| listens(listen).is_some())) else {
            return Outcome::End(&[Reason::Removed]);
        };
        let holds =
            |(_, s): &(usize, &crate::testing::site::Service)| s.destinations.iter().any(|d| d.id == id);
        let of = self.site.services.iter().enumerate().find(holds).map_or(0, |(index, _)| index);
        if out.is_none() && to.method == Method::Local {
            return Outcome::End(&[Reason::LocalNode]);
        }
        let towards = if out.is_some() { case.ip.dst } else { to.addr };
        if self.way(towards).is_none() {
            return Outcome::End(&[Reason::NoRoute]);
        }
        if case.ip.ttl <= 1 {
            return Outcome::End(&[Reason::TtlExceededQuiet]);
        }
        match out {
            None => self.onward(case, of, &to),
            Some(listen) => match listens(listen) {
                Some((_, _, (vip, ..))) => self.homeward(case, (of, id), (vip, 0)),
                None => Outcome::End(&[Reason::Removed]),
            },
        }
    }

    /// The beginning of a worker's turn: fragments whose datagrams were decided elsewhere go, others give up.
    pub(super) fn tend(&mut self, (worker, now): (usize, Time), leaving: &mut Leaving) -> Result<(), String> {
        self.release((worker, now), leaving)?;
        self.overdue(worker, now);
        self.release((worker, now), leaving)
    }

    /// Gives up on what a worker has held for too long.
    pub(super) fn overdue(&mut self, worker: usize, now: Time) {
        loop {
            let oldest = self.fragments.held.iter().find(|held| held.worker == worker);
            if oldest.is_none_or(|held| held.since.after(Time::SECOND) > now) {
                return;
            }
            self.give_up_oldest(worker);
        }
    }

    fn give_up_oldest(&mut self, worker: usize) {
        let Some(at) = self.fragments.held.iter().position(|held| held.worker == worker) else { return };
        let held = self.fragments.held.remove(at);
        self.tally.reason(Reason::FragmentUnmatched);
        self.fragments.forget(held.datagram);
    }

    /// Accounts for the fragments of a worker that need not wait any more.
    fn release(&mut self, (worker, now): (usize, Time), leaving: &mut Leaving) -> Result<(), String> {
        while let Some(held) = self.fragments.settled(worker) {
            let datagram = self.fragments.datagrams.get(&held.datagram);
            let state = datagram.map_or((None, None, true), |d| (d.doom, d.course, d.over));
            let (doom, course) = match state {
                (Some(doom), ..) => (Some(doom), None),
                (None, Some(course), false) => (None, Some(course)),
                // What was decided about a datagram that is over may be forgotten by now.
                (None, Some(course), true) if !leaving.sent.is_empty() => (None, Some(course)),
                (None, ..) => (Some(Reason::FragmentUnmatched), None),
            };
            if let Some(course) = course {
                let came = leaving.sent.front().map_or(Vec::new(), |(_, frame)| frame.clone());
                let verdict = Verdict::because(Reason::FragmentEarly);
                let case = Case {
                    worker,
                    now,
                    port: held.port,
                    frame: &held.frame,
                    ip: &held.ip,
                    verdict: &verdict,
                    came: &came,
                };
                let outcome = self.follow_course(&case, course);
                let ended = outcome.take(&held.frame, leaving).map_err(|what| {
                    format!("a fragment that was held, {}: {what}", super::outcome::hex(&held.frame))
                })?;
                ended.into_iter().for_each(|reason| self.tally.reason(reason));
                self.fragments.handled(held.datagram, held.piece);
            }
            doom.into_iter().for_each(|why| self.tally.reason(why));
            let others = self.fragments.held.iter().any(|other| other.datagram == held.datagram);
            if !others && self.fragments.datagrams.get(&held.datagram).is_some_and(|d| d.over) {
                self.fragments.datagrams.remove(&held.datagram);
            }
        }
        Ok(())
    }
}

fn refused(why: Reason) -> Outcome {
    Outcome::End(match why {
        Reason::FragmentOverlap => &[Reason::FragmentOverlap],
        Reason::FragmentDuplicate => &[Reason::FragmentDuplicate],
        Reason::FragmentTooMany => &[Reason::FragmentTooMany],
        _ => &[Reason::FragmentUnmatched],
    })
}
