//! What must become of a frame.

use super::build::{self, Complaint, Ends};
use super::choose::{Choice, Pool};
use super::connections::{Connection, End, Tuple};
use super::cut::Cut;
use super::errors::{is_error, quote};
use super::network::{Way, is_host, is_martian};
use super::outcome::{Bytes, Leaving, Outcome};
use super::read::{Ip, Read, Transport, read};
use super::templates::Kept;
use super::{Model, sums};
use crate::ids::{DestId, ListenId, ServiceId};
use crate::reason::Reason;
use crate::snapshot::{Method, OnRemoval, Ports};
use crate::testing::site::{Destination, mac_of};
use crate::time::Time;
use crate::verdict::{Verdict, VerdictKind};
use sheave_frame::PortId;
use sheave_proto::wire::flow::Proto;
use std::net::IpAddr;

const TCP: u8 = 6;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
/// FIN, RST and ACK: what a SYN that opens a connection has not.
const CONTRADICTS: u8 = 0x15;

/// Somebody listens: the number of the listen, and the service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listening {
    pub(super) number: u16,
    pub(super) service: usize,
}

/// A frame being judged.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) worker: usize,
    pub(super) now: Time,
    pub(super) port: PortId,
    pub(super) frame: &'a [u8],
    pub(super) ip: &'a Ip,
    pub(super) verdict: &'a Verdict,
    /// The frame that came out, if one did: for what the director may choose.
    pub(super) came: &'a [u8],
}

impl Case<'_> {
    fn opens(&self) -> bool {
        self.ip.protocol != TCP || self.ip.flags() & (SYN | CONTRADICTS) == SYN
    }
}

impl Model {
    /// Judges what became of a frame that came in on `port` of `worker`, and takes what came out of it.
    ///
    /// # Errors
    /// How it is wrong.
    pub fn judge(
        &mut self,
        (worker, now): (usize, Time),
        (port, frame): (PortId, &[u8]),
        verdict: &Verdict,
        leaving: &mut Leaving,
    ) -> Result<(), String> {
        let sent = matches!(verdict.kind(), VerdictKind::Forward | VerdictKind::Reply);
        let came = leaving.sent.front().filter(|_| sent).map_or(Vec::new(), |(_, frame)| frame.clone());
        let read = read(frame);
        let outcome = match &read {
            Read::Nothing => Ok(Outcome::End(&[Reason::NotOurs])),
            Read::Other(_, 0x0806) => Ok(Outcome::Anything),
            Read::Ip(_, Ok(ip)) if ip.protocol == 58 && is_discovery(frame, ip) => Ok(Outcome::Anything),
            Read::Ip(link, _) | Read::Other(link, _) if link.dst != mac_of(port).0 => {
                Ok(Outcome::End(&[Reason::NotOurMac, Reason::NotOurs]))
            }
            Read::Other(..) => Ok(Outcome::End(&[Reason::NotOurProtocol])),
            Read::Ip(_, Err(_)) => Ok(Outcome::Ignored),
            Read::Ip(_, Ok(ip)) => self.ip(&Case { worker, now, port, frame, ip, verdict, came: &came }),
        };
        let outcome = outcome.map_err(|what| format!("{what}; the verdict is {verdict:?}"))?;
        outcome.check(frame, verdict, leaving)?;
        self.tally.verdict(verdict);
        match &read {
            Read::Ip(_, Ok(ip)) => self.after_fragment((worker, now), ip, verdict, leaving),
            _ => Ok(()),
        }
    }

    fn ip(&mut self, case: &Case<'_>) -> Result<Outcome, String> {
        let ip = case.ip;
        if ip.fragment.is_none() || !self.is_ours_in_part(ip) {
            return self.whole(case);
        }
        match malformed(ip, !self.is_vip(ip.dst)) {
            Some(bad) => Ok(bad),
            None => self.fragment(case),
        }
    }

    /// A whole packet, or what counts as one.
    pub(super) fn whole(&mut self, case: &Case<'_>) -> Result<Outcome, String> {
        let ip = case.ip;
        let listen = ip.ports.and_then(|(_, dport)| self.listen_at(ip.dst, dport, ip.protocol));
        let real = ip.ports.is_some_and(|(sport, _)| self.is_real(ip.src, sport, ip.protocol));
        let from_real = listen.is_none() && real;
        if from_real && self.is_own(ip.dst) {
            return Ok(Outcome::End(&[Reason::OwnAddress]));
        }
        let vip = self.is_vip(ip.dst);
        if listen.is_none() && !from_real && !vip {
            return Ok(self.elsewhere(case));
        }
        if let Some(bad) = malformed(ip, from_real) {
            return Ok(bad);
        }
        let broken = ip.transport == Transport::Broken;
        match listen {
            _ if broken && (listen.is_some() || from_real || ip.ports.is_none()) => Ok(Outcome::End(&[
                Reason::TcpTruncated,
                Reason::TcpOffset,
                Reason::UdpTruncated,
                Reason::UdpLength,
            ])),
            Some(listen) => self.inbound(case, listen),
            None if from_real => self.outbound(case),
            None => self.unserved(case),
        }
    }

    /// Everybody who listens here: one port before a range, a range before any port.
    fn listens_at(&self, (addr, port): End, protocol: u8) -> Vec<Listening> {
        let here = |(_, _, listen): &(ListenId, ServiceId, (IpAddr, Ports, Proto))| {
            listen.0 == addr && number(listen.2) == protocol && listen.1.contains(port)
        };
        let mut all: Vec<_> = self.site.listens().filter(here).collect();
        all.sort_by_key(|(_, _, (_, ports, _))| match ports {
            Ports::One(_) => 0,
            Ports::Range(..) => 1,
            Ports::Any => 2,
        });
        let listening = |(listen, service, _): (ListenId, ServiceId, _)| Listening {
            number: listen.0,
            service: service.index(),
        };
        all.into_iter().map(listening).collect()
    }

    /// The listen that takes this.
    pub(super) fn listen_at(&self, addr: IpAddr, port: u16, protocol: u8) -> Option<Listening> {
        self.listens_at((addr, port), protocol).first().copied()
    }

    /// The connection of a client's packets: at the listen there, or at one with wider ports that was before. Where
    /// there is one of either, it is the only one.
    pub(super) fn begun(&self, protocol: u8, client: End, to: End) -> Option<Tuple> {
        let all = self.listens_at(to, protocol).into_iter();
        let mut tuples = all.map(|listen| (protocol, client, to, listen.number));
        tuples.find(|tuple| self.connections.contains_key(tuple))
    }

    /// Whether replies of a NAT destination come from here.
    fn is_real(&self, addr: IpAddr, port: u16, protocol: u8) -> bool {
        let listens = self.site.listens().filter(|(_, _, (.., proto))| number(*proto) == protocol);
        listens.filter_map(|(_, service, (_, ports, _))| Some((self.service(service.index())?, ports))).any(
            |(service, ports)| {
                let one = if let Ports::One(port) = ports { Some(port) } else { None };
                let from = |d: &Destination| d.port.or(one).is_none_or(|own| own == port);
                let nat = |d: &&Destination| !d.removed && d.method == Method::Nat && d.addr == addr;
                service.destinations.iter().filter(nat).any(from)
            },
        )
    }

    fn inbound(&mut self, case: &Case<'_>, listen: Listening) -> Result<Outcome, String> {
        let (ip, (sport, dport)) = (case.ip, case.ip.ports.ok_or("no ports")?);
        let (client, here) = ((ip.src, sport), (ip.dst, dport));
        if let Some(tuple) = self.begun(ip.protocol, client, here) {
            let connection = self.connections[&tuple].clone();
            let index = connection.service;
            let Some(to) = self.destination_of(&connection).cloned() else {
                return self.orphaned(case, listen, &tuple);
            };
            if ip.is_tcp() && case.opens() && connection.is_over() {
                self.end(&tuple);
                return self.inbound(case, listen);
            }
            if ip.ttl <= 1 && to.method != Method::Local {
                return Ok(self.complain(case, ip.dst, Complaint::TimeExceeded));
            }
            self.follow(&tuple, if connection.nat { "IN" } else { "IN-ONLY" }, ip.flags());
            return Ok(self.onward(case, index, &to));
        }
        self.connect(case, listen.service, (ip.protocol, client, here, listen.number))
    }

    /// A connection whose destination was removed or has failed.
    fn orphaned(&mut self, case: &Case<'_>, listen: Listening, tuple: &Tuple) -> Result<Outcome, String> {
        if case.opens() {
            self.end(tuple);
            return self.inbound(case, listen);
        }
        let service = self.connections[tuple].service;
        if self.site.services[service].on_removal != OnRemoval::Reset {
            return Ok(Outcome::End(&[Reason::Removed]));
        }
        self.end(tuple);
        if case.ip.flags() & RST != 0 {
            return Ok(Outcome::End(&[Reason::Removed]));
        }
        Ok(self.reply(case, Reason::Reset, |macs| build::reset(case.frame, case.ip, macs, case.came)))
    }

    /// A packet without a connection: opens one, if it may.
    fn connect(&mut self, case: &Case<'_>, index: usize, tuple: Tuple) -> Result<Outcome, String> {
        let ip = case.ip;
        if !case.opens() {
            // SYN with FIN, and neither RST nor ACK.
            let bogus = ip.flags() & (SYN | CONTRADICTS) == SYN | 0x01;
            return Ok(Outcome::End(if bogus { &[Reason::TcpFlags] } else { &[Reason::NoEntry] }));
        }
        if tuple.1.1 == 20 {
            return Ok(Outcome::End(&[Reason::NoEntry]));
        }
        let service = &self.site.services[index];
        let used = |d: &Destination| !d.removed && (!d.unscheduled || service.sorry == Some(d.id));
        let local = |d: &Destination| used(d) && d.method == Method::Local;
        if ip.ttl <= 1 && !service.destinations.iter().any(local) {
            return Ok(self.complain(case, ip.dst, Complaint::TimeExceeded));
        }
        let Some((id, template)) = self.choose(case, index, &tuple)? else {
            return Ok(match case.verdict.reason() {
                Some(Reason::NatTupleInUse) => Outcome::End(&[Reason::NatTupleInUse]),
                _ => self.complain(case, ip.dst, Complaint::PortUnreachable),
            });
        };
        let service = &self.site.services[index];
        let to = service.destinations.iter().find(|d| d.id == id).ok_or("an unknown destination")?.clone();
        if ip.ttl <= 1 && to.method != Method::Local {
            return Ok(self.complain(case, ip.dst, Complaint::TimeExceeded));
        }
        let connection = Connection {
            service: index,
            destination: id,
            generation: to.generation,
            real: (to.addr, to.port.unwrap_or(tuple.2.1)),
            nat: to.method == Method::Nat,
            state: ip.is_tcp().then(|| self.machine.next("IN", 0, SYN)),
            used: self.second,
            detached: false,
            template,
        };
        self.count(&connection, 1);
        self.kept(&connection);
        self.connections.insert(tuple, connection);
        self.tally.connection(index, id);
        Ok(self.onward(case, index, &to))
    }

    /// The destination for a new connection, and the template that counts it. `None`: rightly none.
    fn choose(
        &mut self,
        case: &Case<'_>,
        index: usize,
        tuple: &Tuple,
    ) -> Result<Option<(DestId, Option<u64>)>, String> {
        let Some(persistence) = self.persistence(index) else {
            return Ok(self.schedule(case, index, tuple)?.map(|id| (id, None)));
        };
        let client = tuple.1.0;
        let (id, template) = match self.keep(index, client, &persistence) {
            Kept::There(id, template) => (id, Some(template)),
            kept => {
                let service = &self.site.services[index];
                let mut pool = Pool { service, loads: &mut self.loads, excluded: &[] };
                let Choice::Must(choice) = pool.choose(&mut self.memories[index], self.exact) else {
                    return Err("the model cannot keep who goes anywhere".to_owned());
                };
                let Some(id) = choice else { return Ok(None) };
                let chosen =
                    service.destinations.iter().find(|d| d.id == id).ok_or("an unknown destination")?;
                let home = (id, chosen.generation);
                let new = kept == Kept::New;
                (id, new.then(|| self.keep_at(index, client, &persistence, home)).flatten())
            }
        };
        let service = &self.site.services[index];
        let to = service.destinations.iter().find(|d| d.id == id).ok_or("an unknown destination")?;
        let real = (to.addr, to.port.unwrap_or(tuple.2.1));
        if case.ip.ttl <= 1 || to.method != Method::Nat || !self.is_taken(tuple, real) {
            return Ok(Some((id, template)));
        }
        // Nobody else may have its client.
        let refused = case.verdict.reason() == Some(Reason::NatTupleInUse);
        if refused { Ok(None) } else { Err(format!("{id:?} has a connection of this port")) }
    }

    /// The destination by the scheduler alone. `None`: rightly none.
    fn schedule(&mut self, case: &Case<'_>, index: usize, tuple: &Tuple) -> Result<Option<DestId>, String> {
        let mut excluded = Vec::new();
        let in_use = case.verdict.reason() == Some(Reason::NatTupleInUse);
        let quiet = [Reason::NoDestination, Reason::NoDestinationQuiet];
        let refused = case.verdict.reason().is_some_and(|reason| quiet.contains(&reason));
        loop {
            let service = &self.site.services[index];
            let mut pool = Pool { service, loads: &mut self.loads, excluded: &excluded };
            let choice = pool.choose(&mut self.memories[index], self.exact);
            let taken = |id: DestId| {
                let d = service.destinations.iter().find(|d| d.id == id);
                d.is_some_and(|d| {
                    d.method == Method::Nat && self.is_taken(tuple, (d.addr, d.port.unwrap_or(tuple.2.1)))
                })
            };
            match choice {
                Choice::Must(Some(id)) if case.ip.ttl > 1 && taken(id) => excluded.push(id),
                Choice::Must(None) if in_use == excluded.is_empty() => {
                    return Err(format!("none may be used, because of {excluded:?}"));
                }
                Choice::Must(choice) => return Ok(choice),
                Choice::May(legal, none) => {
                    return match case.verdict.destination {
                        Some(id) if legal.contains(&id) && !taken(id) => Ok(Some(id)),
                        None if in_use && legal.iter().any(|id| taken(*id)) => Ok(None),
                        None if case.ip.ttl <= 1 && !(none && refused) => {
                            let real = |d: &&Destination| d.method != Method::Local && legal.contains(&d.id);
                            Ok(service.destinations.iter().find(real).map(|d| d.id))
                        }
                        None if none && case.verdict.service.is_some() => Ok(None),
                        _ => Err(format!("only one of {legal:?} may be chosen")),
                    };
                }
            }
        }
    }

    /// Whether a client's port is in use towards a real server.
    fn is_taken(&self, tuple: &Tuple, real: End) -> bool {
        self.replies(tuple.0, tuple.1, real)
            .any(|(other, c)| other != tuple && self.destination_of(c).is_some())
    }

    /// The connections that a packet of a real server to a client may be of.
    pub(super) fn replies(
        &self,
        protocol: u8,
        client: End,
        real: End,
    ) -> impl Iterator<Item = (&Tuple, &Connection)> {
        let mine = move |t: &&Tuple| t.0 == protocol && t.1 == client;
        let from = (protocol, client, (IpAddr::from([0; 4]), 0), 0);
        let all = self.connections.range(from..).take_while(move |(t, _)| mine(t));
        all.filter(move |(_, c)| c.nat && c.real == real)
    }

    fn outbound(&mut self, case: &Case<'_>) -> Result<Outcome, String> {
        let (ip, (sport, dport)) = (case.ip, case.ip.ports.ok_or("no ports")?);
        let found: Vec<(Tuple, bool, usize)> = self
            .replies(ip.protocol, (ip.dst, dport), (ip.src, sport))
            .map(|(tuple, c)| (*tuple, self.destination_of(c).is_some(), c.service))
            .collect();
        let Some((tuple, _, index)) = found.iter().find(|(_, alive, _)| *alive).copied() else {
            // What is left of one whose destination is gone is not always found any more.
            let left = !found.is_empty() || !self.exact;
            return Ok(Outcome::End(if left {
                &[Reason::NoEntry, Reason::Removed]
            } else {
                &[Reason::NoEntry]
            }));
        };
        if ip.ttl <= 1 {
            let own = self.own(case.port, ip.src);
            return Ok(self.complain(case, own, Complaint::TimeExceeded));
        }
        if self.way(ip.dst).is_none() {
            return Ok(Outcome::End(&[Reason::NoRoute]));
        }
        self.follow(&tuple, "OUT", ip.flags());
        let id = self.connections[&tuple].destination;
        Ok(self.homeward(case, (index, id), tuple.2))
    }

    /// Sends a real server's packet on, as from the VIP.
    pub(super) fn homeward(
        &mut self,
        case: &Case<'_>,
        (index, id): (usize, DestId),
        (vip, vport): End,
    ) -> Outcome {
        let ip = case.ip;
        let Some(way) = self.way(ip.dst) else { return Outcome::End(&[Reason::NoRoute]) };
        if ip.len > way.mtu && ip.df {
            let own = self.own(case.port, ip.src);
            return self.too_large(case, own, way.mtu);
        }
        let Some(macs) = way.macs else { return Outcome::Waits };
        let frame = build::translated(case.frame, ip, macs, (Ends::Source, vip, vport));
        self.tally.packet(index, id, true, ip.len);
        if ip.len > way.mtu {
            let cut = Cut { port: way.port, whole: Bytes(frame), overhead: 0, mtu: way.mtu };
            return Outcome::Cut { service: index, destination: id, cut };
        }
        Outcome::Forward { service: index, destination: id, port: way.port, frame: Bytes(frame) }
    }

    /// Sends a client's packet on.
    pub(super) fn onward(&mut self, case: &Case<'_>, index: usize, to: &Destination) -> Outcome {
        let ip = case.ip;
        if to.method == Method::Local {
            self.tally.packet(index, to.id, false, ip.len);
            return Outcome::End(&[Reason::LocalNode]);
        }
        let Some(way) = self.way(to.addr) else { return Outcome::End(&[Reason::NoRoute]) };
        let overhead = build::overhead(to);
        if ip.len + overhead > way.mtu {
            return self.too_large_in(case, index, to, &way, overhead);
        }
        let Some(macs) = way.macs else { return Outcome::Waits };
        let frame = match to.method {
            Method::Nat => {
                let port = to.port.unwrap_or(ip.ports.map_or(0, |(_, dport)| dport));
                build::translated(case.frame, ip, macs, (Ends::Destination, to.addr, port))
            }
            Method::Tunnel => {
                let ends = (self.own(way.port, to.addr), to);
                build::tunnelled(case.frame, ip, macs, ends, case.came)
            }
            Method::DirectRoute | Method::Local => build::direct(case.frame, ip, macs),
        };
        self.tally.packet(index, to.id, false, ip.len);
        Outcome::Forward { service: index, destination: to.id, port: way.port, frame: Bytes(frame) }
    }

    /// A client's packet that does not fit.
    fn too_large_in(
        &mut self,
        case: &Case<'_>,
        index: usize,
        to: &Destination,
        way: &Way,
        overhead: usize,
    ) -> Outcome {
        let ip = case.ip;
        // The least packet of IPv6 goes through every tunnel of IPv4.
        let wrapped = overhead != 0 && to.addr.is_ipv4() && ip.src.is_ipv6() && ip.len <= 1280;
        if ip.df && !wrapped {
            return self.too_large(case, ip.dst, way.mtu - overhead);
        }
        let Some(macs) = way.macs else { return Outcome::Waits };
        let (whole, overhead) = match to.method {
            Method::Nat => {
                let port = to.port.unwrap_or(ip.ports.map_or(0, |(_, dport)| dport));
                (build::translated(case.frame, ip, macs, (Ends::Destination, to.addr, port)), 0)
            }
            Method::Tunnel if wrapped => {
                let ends = (self.own(way.port, to.addr), to);
                (build::tunnelled(case.frame, ip, macs, ends, case.came), 0)
            }
            Method::Tunnel | Method::DirectRoute | Method::Local => {
                (build::direct(case.frame, ip, macs), overhead)
            }
        };
        self.tally.packet(index, to.id, false, ip.len);
        let cut = Cut { port: way.port, whole: Bytes(whole), overhead, mtu: way.mtu - overhead };
        Outcome::Cut { service: index, destination: to.id, cut }
    }

    fn too_large(&mut self, case: &Case<'_>, from: IpAddr, mtu: usize) -> Outcome {
        self.complain(case, from, Complaint::TooBig(u16::try_from(mtu).expect("an MTU")))
    }

    /// Tells the sender of a packet what is wrong with it, where that is allowed.
    fn complain(&mut self, case: &Case<'_>, from: IpAddr, what: Complaint) -> Outcome {
        let (loud, quiet): (Reason, &[Reason]) = match what {
            Complaint::TimeExceeded => (Reason::TtlExceeded, &[Reason::TtlExceededQuiet]),
            Complaint::PortUnreachable => (Reason::NoDestination, &[Reason::NoDestinationQuiet]),
            Complaint::TooBig(_) => (Reason::FragNeeded, &[Reason::FragNeededQuiet]),
        };
        if !is_host(case.ip.src) || case.ip.is_later() || !self.buckets[case.worker].take(case.now) {
            return Outcome::End(quiet);
        }
        self.reply(case, loud, |macs| build::error(case.frame, case.ip, macs, (from, what), case.came))
    }

    /// Answers a packet.
    fn reply(&self, case: &Case<'_>, reason: Reason, build: impl FnOnce(build::Macs) -> Vec<u8>) -> Outcome {
        match self.way(case.ip.src).map(|way| (way.port, way.macs)) {
            None => Outcome::End(&[Reason::NoRoute]),
            Some((_, None)) => Outcome::Waits,
            Some((port, Some(macs))) => Outcome::Reply(reason, port, Bytes(build(macs))),
        }
    }

    /// A packet that is for none of ours: an ICMP error about one of ours, perhaps.
    fn elsewhere(&mut self, case: &Case<'_>) -> Outcome {
        const NOT_OURS: Outcome = Outcome::End(&[Reason::NotOurs]);
        let (ip, message) = (case.ip, case.ip.segment(case.frame));
        let v4 = ip.src.is_ipv4();
        // Any error of ICMP, also those that say nothing of a flow.
        let error = |kind: u8| if v4 { matches!(kind, 3..=5 | 11 | 12) } else { kind < 128 };
        if ip.protocol != if v4 { 1 } else { 58 } || !message.first().is_some_and(|kind| error(*kind)) {
            return NOT_OURS;
        }
        if self.is_own(ip.dst) {
            // About a tunnel, perhaps.
            return Outcome::Anything;
        }
        let Some(quote) = quote(case) else {
            return Outcome::Ignored;
        };
        if !quote.ports.is_some_and(|(_, dport)| self.is_real(quote.dst, dport, quote.protocol)) {
            return NOT_OURS;
        }
        if let Some(bad) = malformed(ip, false) {
            return bad;
        }
        let start = if v4 { 0 } else { sums::pseudo(ip.src, ip.dst, 58, message.len()) };
        if sums::folded(message, start) != 0xffff {
            return Outcome::End(&[Reason::IcmpChecksum]);
        }
        if !is_error(v4, message[0]) {
            return Outcome::End(&[Reason::NotOurs, Reason::IcmpNotOurs]);
        }
        self.error_to_client(case, &quote)
    }

    /// A packet to a VIP that no service is concerned by.
    fn unserved(&mut self, case: &Case<'_>) -> Result<Outcome, String> {
        let (ip, v4) = (case.ip, case.ip.src.is_ipv4());
        let message = ip.segment(case.frame);
        if ip.fragment.is_some() && ip.ports.is_none() {
            return Ok(Outcome::End(&[Reason::FragmentNotOurs]));
        }
        match ip.protocol {
            6 | 17 => Ok(Outcome::End(&[Reason::NoService])),
            1 if v4 => Ok(self.icmp(case, message, (sums::folded(message, 0), 8))),
            58 if !v4 => {
                let start = sums::pseudo(ip.src, ip.dst, 58, message.len());
                Ok(self.icmp(case, message, (sums::folded(message, start), 128)))
            }
            _ => Ok(Outcome::End(&[Reason::NotOurProtocol])),
        }
    }

    fn icmp(&mut self, case: &Case<'_>, message: &[u8], (sum, echo): (u16, u8)) -> Outcome {
        if message.len() < 8 {
            return Outcome::End(&[Reason::IcmpTruncated]);
        }
        if sum != 0xffff {
            return Outcome::End(&[Reason::IcmpChecksum]);
        }
        if message[..2] == [echo, 0] {
            return self.reply(case, Reason::EchoReply, |macs| build::echo(case.frame, case.ip, macs));
        }
        if is_error(case.ip.src.is_ipv4(), message[0]) {
            return self.error_to_vip(case);
        }
        Outcome::End(&[Reason::IcmpNotOurs])
    }
}

/// What is wrong with a packet that is ours, if anything is.
fn malformed(ip: &Ip, from_real: bool) -> Option<Outcome> {
    if !ip.whole {
        return Some(Outcome::End(&[Reason::IpTotalLength]));
    }
    if !ip.sum_ok {
        return Some(Outcome::End(&[Reason::IpChecksum]));
    }
    if !from_real && (is_martian(ip.src) || ip.src == ip.dst) {
        return Some(Outcome::End(&[Reason::Martian]));
    }
    None
}

fn number(proto: Proto) -> u8 {
    match proto {
        Proto::Tcp => TCP,
        Proto::Udp => 17,
    }
}

/// Whether it is neighbour discovery, right behind the IPv6 header.
fn is_discovery(frame: &[u8], ip: &Ip) -> bool {
    ip.src.is_ipv6() && frame.get(ip.l3 + 6) == Some(&58) && matches!(frame.get(ip.l3 + 40), Some(135 | 136))
}
