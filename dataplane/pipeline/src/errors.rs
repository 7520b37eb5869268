//! ICMP errors that concern connections of ours: whose they are, and how they get there.
//!
//! An error belongs to the connection of the packet that it quotes, and travels against that packet:
//!
//! | it quotes | it is sent to | it goes to | how |
//! |---|---|---|---|
//! | VIP -> client | the VIP | the real server | like the client's packets: translated (NAT), as it is (DR), in the tunnel |
//! | client -> real server (NAT) | the client | the client | translated, from the VIP |
//! | director -> real server (TUN) | the director | the client | as an error of the director's about the inner packet |
//!
//! Errors about packets of no connection are the kernel's. An error changes no entry, and none is sent about one.

use crate::answer::{Quote, ip_of, is_host};
use crate::connect::Chosen;
use crate::context::{Account, Context};
use crate::icmp::{self, IcmpError, Inside, Towards, TunnelError, Unusable};
use crate::ids::DestId;
use crate::ip::Ip;
use crate::keeper::{Connection, destination_of};
use crate::key::Key;

use crate::packet::Packet;
use crate::parse::{in_key, out_key};
use crate::reason::Reason;
use crate::rewrite;
use crate::snapshot::{Destination, Listen, Method, NextHop};
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_proto::wire::flow::FlowKey;
use std::net::IpAddr;

/// The connection that an error is about.
#[derive(Clone, Copy)]
struct Concerned<'s> {
    connection: Connection,
    listen: &'s Listen,
    /// `None`: it was removed or has failed since.
    destination: Option<(DestId, &'s Destination)>,
}

/// An error about a tunnel, and the connection of the packet inside.
struct Tunnelled<'s> {
    told: TunnelError,
    inside: Inside,
    listen: &'s Listen,
    id: DestId,
    destination: &'s Destination,
}

impl<'a> Context<'a> {
    /// Handles an ICMP error to a VIP, or one that quotes a packet to a real server.
    #[cold]
    pub(crate) fn icmp_error(&mut self, frame: Frame) -> Verdict {
        let Some((l3, ip)) = ip_of(&frame) else {
            return self.end(frame, Reason::IcmpTruncated);
        };
        if self.snapshot.is_broadcast(ip.src) {
            return self.end(frame, Reason::Martian);
        }
        let bytes = frame.bytes().get(l3..).unwrap_or_default();
        let error = match icmp::read(bytes) {
            Ok(error) => error,
            Err(why) => return self.end(frame, unusable(why)),
        };
        if let Some(tunnelled) = self.about_tunnel(bytes, &error) {
            return self.explain(frame, l3, &tunnelled);
        }
        let flow = match error.embedded(bytes) {
            Ok(embedded) => embedded.flow,
            Err(why) => return self.end(frame, unusable(why)),
        };
        if flow.src != error.dst {
            return self.end(frame, Reason::IcmpNotOurs);
        }
        if self.snapshot.is_vip(error.dst) {
            self.towards_real(frame, &error, &flow, (l3, &ip))
        } else {
            self.towards_client(frame, &error, &flow, (l3, &ip))
        }
    }

    /// Passes an error about what a VIP sent on to the real server that sent it.
    fn towards_real(
        &mut self,
        mut frame: Frame,
        error: &IcmpError,
        flow: &FlowKey,
        (l3, ip): (usize, &Ip),
    ) -> Verdict {
        let Some((key, concerned)) = self.by_flow(&flow.reversed()) else {
            return self.end(frame, Reason::IcmpNotOurs);
        };
        let (to, packet) = match self.usable(&concerned, self.along(key, flow, (l3, ip))) {
            Ok(usable) => usable,
            Err(reason) => return self.end(frame, reason).of(concerned.listen.service),
        };
        let named = |verdict: Verdict| verdict.of(to.service).to(to.id);
        let hop = match to.destination.next_hop {
            _ if to.destination.method == Method::Local => return named(self.end(frame, Reason::LocalNode)),
            Some(hop) => hop,
            None => return named(self.end(frame, Reason::NoRoute)),
        };
        if packet.len > self.largest(&to, &hop) {
            return named(self.end(frame, Reason::FragNeededQuiet));
        }
        let written = match to.destination.method {
            Method::Nat => {
                let record = self.shared.side.peek(concerned.connection.entry());
                if let Some(offsets) = record.and_then(|record| record.offsets()) {
                    let bytes = frame.bytes_mut().get_mut(l3..).unwrap_or_default();
                    // One that quotes too little of it says nothing of numbers.
                    let _unchanged = icmp::renumber(bytes, error, offsets.seq.wrapping_neg());
                }
                let own = record.and_then(|record| record.real_port()).or(to.destination.port);
                let port = own.unwrap_or(flow.sport);
                translate(&mut frame, &packet, error, Towards::Real, (to.destination.addr, port))
            }
            Method::DirectRoute | Method::Local => rewrite::direct(&mut frame, &packet),
            Method::Tunnel => {
                let ident = self.ident();
                rewrite::tunnel(&mut frame, &packet, to.destination, ident)
            }
        };
        self.pass_on(frame, &packet, &hop, (to, false), written)
    }

    /// Passes an error about what was sent to a NAT destination on to the client, as the VIP's.
    fn towards_client(
        &mut self,
        mut frame: Frame,
        error: &IcmpError,
        flow: &FlowKey,
        (l3, ip): (usize, &Ip),
    ) -> Verdict {
        let Some(real) = self.snapshot.real_at(flow.dst, flow.dport, flow.proto) else {
            return self.end(frame, Reason::IcmpNotOurs);
        };
        let key = out_key(self.snapshot, (flow.src, flow.sport), flow.dport, real);
        let packet = self.along(key, flow, (l3, ip));
        let Some(concerned) = self.replied(&packet, real).and_then(|connection| self.concerned(connection))
        else {
            return self.end(frame, Reason::IcmpNotOurs);
        };
        let (of, packet) = match self.usable(&concerned, packet) {
            Ok(usable) => usable,
            Err(reason) => return self.end(frame, reason).of(concerned.listen.service),
        };
        let named = |verdict: Verdict| verdict.of(of.service).to(of.id);
        let Some(hop) = self.snapshot.next_hop(flow.src) else {
            return named(self.end(frame, Reason::NoRoute));
        };
        if packet.len > hop.mtu {
            return named(self.end(frame, Reason::FragNeededQuiet));
        }
        let vip = (concerned.listen.vip, concerned.listen.port_of(concerned.connection.key));
        let written = translate(&mut frame, &packet, error, Towards::Client, vip);
        self.pass_on(frame, &packet, &hop, (of, true), written)
    }

    fn pass_on(
        &mut self,
        frame: Frame,
        packet: &Packet,
        hop: &NextHop,
        (of, outbound): (Chosen<'_>, bool),
        written: Result<(), Reason>,
    ) -> Verdict {
        let (service, destination) = (of.service, of.id);
        match written {
            Ok(()) => {
                let account = Account { service, destination, outbound, bytes: packet.bytes() };
                self.forward(frame, hop, account)
            }
            Err(reason) => self.end(frame, reason).of(service).to(destination),
        }
    }

    /// The connection of packets that a client sends along `flow`, and its key.
    fn by_flow(&self, flow: &FlowKey) -> Option<(Key, Concerned<'a>)> {
        let (client, port) = ((flow.src, flow.sport), flow.dport);
        let listen = self.snapshot.listen_at(flow.dst, port, flow.proto)?;
        let key = in_key(self.snapshot, client, port, listen);
        let connection = match self.tables().get(&key, self.tables().hash(&key)) {
            Some(found) => Connection { place: found.place, key, payload: found.payload },
            None => self.begun_wider(client, port, self.snapshot.listen(listen)?)?.1,
        };
        Some((connection.key, self.concerned(connection)?))
    }

    /// What else is known of a connection, if it still is one.
    fn concerned(&self, connection: Connection) -> Option<Concerned<'a>> {
        let (listen, service) = self.snapshot.serving(connection.key.listen()?)?;
        let destination = destination_of(self.shared, self.snapshot, listen.service, &connection);
        let live = !connection.entry().expired(&service.timeouts, self.tick);
        live.then_some(Concerned { connection, listen, destination })
    }

    /// The error as a packet of its connection: its time to live is still to be taken from.
    fn along(&self, key: Key, quoted: &FlowKey, at: (usize, &Ip)) -> Packet {
        Packet::along((key, self.tables().hash(&key)), quoted.proto, (quoted.dport, quoted.sport), at)
    }

    /// The destination of a connection, if an error about it can go on.
    fn usable(&self, concerned: &Concerned<'a>, packet: Packet) -> Result<(Chosen<'a>, Packet), Reason> {
        let (id, destination) = concerned.destination.ok_or(Reason::Removed)?;
        if packet.ttl <= 1 {
            return Err(Reason::TtlExceededQuiet);
        }
        Ok((Chosen { service: concerned.listen.service, id, destination }, packet))
    }

    /// The connection of the packet that was in one of our tunnels when it caused this error.
    fn about_tunnel(&self, packet: &[u8], error: &IcmpError) -> Option<Tunnelled<'a>> {
        let told = error.tunnel(packet).ok()?;
        if told.source != error.dst || !self.snapshot.is_tunnel_end(told.real) {
            return None;
        }
        let inside = told.inside?;
        let (_, to) = self.by_flow(&inside.embedded.flow)?;
        let (id, destination) = to.destination?;
        let ours = destination.addr == told.real
            && destination.tunnel.is_some_and(|tunnel| tunnel.encapsulation == inside.encapsulation);
        ours.then_some(Tunnelled { told, inside, listen: to.listen, id, destination })
    }

    /// Remembers what an error says of the path through a tunnel, and tells the client what it means.
    fn explain(&mut self, mut frame: Frame, l3: usize, tunnelled: &Tunnelled<'_>) -> Verdict {
        let Tunnelled { told, inside, listen, id, destination } = tunnelled;
        if let Some(mtu) = told.path_mtu {
            self.shared.live.path(*id).learn(mtu, destination.generation, self.now);
        }
        let named = |verdict: Verdict| verdict.of(listen.service).to(*id);
        let client = inside.embedded.flow.src;
        let allowed = is_host(client) && !self.snapshot.is_broadcast(client);
        let Some(answer) = inside.answer.filter(|_| allowed && self.own.limiter.take(self.now)) else {
            return named(self.end(frame, Reason::TunnelErrorQuiet));
        };
        let (at, len) = (l3 + inside.embedded.at, inside.end - inside.embedded.at);
        if frame.bytes().len() < at + len {
            return named(self.end(frame, Reason::TunnelErrorQuiet));
        }
        frame.bytes_mut().copy_within(at..at + len, l3);
        let ident = self.ident();
        let quote = Quote { l3, len, source: listen.vip, to: client };
        named(match quote.answer_in_place(&mut frame, answer, ident) {
            Some(()) => self.reply(frame, client, Reason::TunnelError),
            None => self.end(frame, Reason::TunnelErrorQuiet),
        })
    }
}

/// Translates an error through NAT, and does what is done to every packet on its way.
fn translate(
    frame: &mut Frame,
    packet: &Packet,
    error: &IcmpError,
    towards: Towards,
    (addr, port): (IpAddr, u16),
) -> Result<(), Reason> {
    let bytes = frame.bytes_mut().get_mut(usize::from(packet.l3)..).unwrap_or_default();
    icmp::translate(bytes, error, towards, addr, port).map_err(unusable)?;
    rewrite::direct(frame, packet)
}

/// What becomes of an error that cannot be used.
const fn unusable(why: Unusable) -> Reason {
    match why {
        Unusable::Malformed => Reason::IcmpTruncated,
        Unusable::Checksum => Reason::IcmpChecksum,
        Unusable::QuoteTruncated | Unusable::QuoteMalformed | Unusable::QuoteChecksum => Reason::IcmpQuote,
        // A later fragment, another protocol, another message: none of our connections sent what it quotes.
        Unusable::Fragment | Unusable::NotError | Unusable::QuoteFragment | Unusable::QuoteProtocol(_) => {
            Reason::IcmpNotOurs
        }
    }
}
