//! Packets from clients to a listen.

use crate::answer::Problem;
use crate::connect::Chosen;
use crate::context::{Account, Context};
use crate::entry::{Entry, Flags};
use crate::ids::{DestId, ListenId, ServiceId};
use crate::keeper::{ASIDE, Connection, at_home, destination_aside, destination_of, was_reset};
use crate::key::KeyParts;
use crate::mss::Way;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::rewrite;
use crate::side::{Home, Record};
use crate::snapshot::{Destination, Listen, Method, OnRemoval, Service};
use crate::transition::{Gone, is_over, seen_of_client};
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;
use sheave_table::RecordId;

/// Times that a packet looks again because another worker changed its entry meanwhile.
const ATTEMPTS: usize = 4;

/// The service that a packet is for.
#[derive(Clone, Copy)]
pub(crate) struct Served<'s> {
    pub(crate) listen: &'s Listen,
    pub(crate) service: &'s Service,
    pub(crate) id: ServiceId,
}

/// The side record of a packet's connection.
#[derive(Clone, Copy)]
pub(crate) struct Aside {
    pub(crate) id: RecordId,
    pub(crate) record: Record,
}

/// What is to become of a packet.
pub(crate) enum Step<'s> {
    /// It goes to this destination.
    To(DestId, &'s Destination),
    /// It goes to this destination, by way of what its side record is for.
    Aside(DestId, &'s Destination, Aside),
    /// It ends here.
    Refuse(Reason),
    /// Its entry changed: look again.
    Again,
}

impl<'a> Context<'a> {
    /// Handles a packet from a client.
    ///
    /// Cost, from frequent to rare: a packet of a known connection is one look-up, at most one write to its entry
    /// a second, and a rewrite; one that opens a connection reserves an entry (two under NAT) and schedules.
    #[inline(always)]
    pub(crate) fn inbound(&mut self, frame: Frame, packet: &Packet, id: ListenId) -> Verdict {
        let Some((listen, service)) = self.snapshot.serving(id) else {
            return self.end(frame, Reason::NoService);
        };
        let served = Served { listen, service, id: listen.service };
        let hint = packet.hint.and_then(|place| Some((place, self.tables().confirm(place, &packet.key)?)));
        let Some((place, payload)) = hint else {
            return self.look_up(frame, packet, served);
        };
        match self.follow(packet, served, Connection { place, key: packet.key, payload }) {
            Step::To(id, destination) => {
                self.send_in(frame, packet, Chosen { service: served.id, id, destination })
            }
            Step::Aside(id, destination, aside) => {
                self.send_aside(frame, packet, Chosen { service: served.id, id, destination }, aside)
            }
            Step::Refuse(reason) => self.refuse(frame, packet, served, reason).of(served.id),
            Step::Again => self.look_up(frame, packet, served),
        }
    }

    /// The same for one that no earlier stage has found the entry of.
    #[inline(never)]
    fn look_up(&mut self, frame: Frame, packet: &Packet, served: Served<'a>) -> Verdict {
        for _ in 0..ATTEMPTS {
            let found = match self.tables().get(&packet.key, packet.hash) {
                Some(found) => {
                    let (place, payload) = (found.place, found.payload);
                    Some((served, Connection { place, key: packet.key, payload }))
                }
                None if self.snapshot.has_wide_listens() => {
                    self.begun_wider(KeyParts::of(packet.key).client, packet.dport, served.listen)
                }
                None => None,
            };
            let (served, step) = match found {
                Some((served, connection)) => (served, self.follow(packet, served, connection)),
                None => (served, self.connect(packet, served, None)),
            };
            match step {
                Step::To(id, destination) => {
                    return self.send_in(frame, packet, Chosen { service: served.id, id, destination });
                }
                Step::Aside(id, destination, aside) => {
                    let chosen = Chosen { service: served.id, id, destination };
                    return self.send_aside(frame, packet, chosen, aside);
                }
                Step::Refuse(reason) => return self.refuse(frame, packet, served, reason).of(served.id),
                Step::Again => {}
            }
        }
        self.end(frame, Reason::EntryBusy).of(served.id)
    }

    /// A packet of a connection that has an entry.
    #[inline(always)]
    fn follow(&mut self, packet: &Packet, served: Served<'a>, connection: Connection) -> Step<'a> {
        let entry = connection.entry();
        if entry.expired(&served.service.timeouts, self.tick) {
            self.keeper().retire(connection);
            return Step::Again;
        }
        if entry.flags.intersects(ASIDE) {
            return self.follow_aside(packet, served, connection);
        }
        let home = Home { destination: entry.destination, generation: entry.generation };
        let Some((id, destination)) = at_home(self.snapshot, served.id, home) else {
            return self.follow_kept(packet, served, connection);
        };
        self.follow_to(packet, served, connection, (id, destination))
    }

    /// The same of one from an earlier life of its destination.
    #[cold]
    #[inline(never)]
    fn follow_kept(&mut self, packet: &Packet, served: Served<'a>, connection: Connection) -> Step<'a> {
        match destination_aside(self.shared, self.snapshot, served.id, &connection) {
            Some(to) => self.follow_to(packet, served, connection, to),
            None => self.orphaned(packet, served, connection),
        }
    }

    /// The same of one with a side record, or that has left its destination.
    #[cold]
    #[inline(never)]
    fn follow_aside(&mut self, packet: &Packet, served: Served<'a>, connection: Connection) -> Step<'a> {
        let Some((id, destination)) = destination_of(self.shared, self.snapshot, served.id, &connection)
        else {
            return self.orphaned(packet, served, connection);
        };
        let (Some(record), Some(of)) = (connection.entry().record(), connection.record(self.shared)) else {
            return Step::Again;
        };
        if of.connecting() {
            // Its state changes with the real server's answer.
            return Step::Aside(id, destination, Aside { id: record, record: of });
        }
        match self.follow_to(packet, served, connection, (id, destination)) {
            Step::To(id, destination) => Step::Aside(id, destination, Aside { id: record, record: of }),
            step => step,
        }
    }

    /// A packet of a connection that goes to this destination.
    #[inline(always)]
    fn follow_to(
        &mut self,
        packet: &Packet,
        served: Served<'a>,
        connection: Connection,
        (id, destination): (DestId, &'a Destination),
    ) -> Step<'a> {
        let entry = connection.entry();
        if packet.proto == Proto::Tcp && packet.opens() && is_over(entry.state, entry.flags) {
            return self.begin_anew(packet, served, connection);
        }
        if packet.ttl <= 1 && destination.method != Method::Local {
            return Step::Refuse(Reason::TtlExceeded);
        }
        match self.touch(connection, packet, seen_of_client(entry.flags)) {
            Ok(()) => Step::To(id, destination),
            Err(Gone) => Step::Again,
        }
    }

    /// A packet of a connection whose destination was removed or has failed.
    #[cold]
    fn orphaned(&mut self, packet: &Packet, served: Served<'a>, connection: Connection) -> Step<'a> {
        let reset = packet.flags.contains(TcpFlags::RST);
        let entry = connection.entry();
        if entry.flags.contains(Flags::SIDE) && !self.still(&connection) {
            return Step::Again;
        }
        let told = was_reset(self.shared, self.snapshot, served.id, &connection);
        match if told { OnRemoval::Reset } else { served.service.on_removal } {
            _ if packet.opens() => {
                self.keeper().retire(connection);
                Step::Again
            }
            // A reset is not answered.
            OnRemoval::Reset if reset => {
                self.keeper().retire(connection);
                Step::Refuse(Reason::Removed)
            }
            OnRemoval::Reset if self.may_reset() => {
                self.keeper().retire(connection);
                Step::Refuse(Reason::Reset)
            }
            // Without a reset the entry stays: its client speaks again.
            OnRemoval::Reset | OnRemoval::Keep | OnRemoval::Drop => Step::Refuse(Reason::Removed),
        }
    }

    /// Whether the entry of a connection with a side record is still there.
    fn still(&self, connection: &Connection) -> bool {
        let found = self.tables().confirm(connection.place, &connection.key).map(Entry::from);
        found.is_some_and(|entry| entry.record() == connection.entry().record())
    }

    /// Sends a client's packet on to its destination.
    #[inline(always)]
    pub(crate) fn send_in(&mut self, mut frame: Frame, packet: &Packet, to: Chosen<'_>) -> Verdict {
        let Chosen { service, id, destination } = to;
        let named = |verdict: Verdict| verdict.of(service).to(id);
        if destination.method == Method::Local {
            return named(self.left_to_local(frame, packet, to));
        }
        let Some(hop) = &destination.next_hop else {
            return named(self.end(frame, Reason::NoRoute));
        };
        let mtu = self.largest(&to, hop);
        if packet.len > mtu {
            return self.too_large_in(frame, packet, to, hop, mtu);
        }
        if packet.flags.contains(TcpFlags::SYN) {
            let way = Way { link: hop.mtu, usable: mtu };
            self.clamp_mss(&mut frame, packet, service, way);
        }
        let written = match destination.method {
            Method::Nat => rewrite::nat_in(&mut frame, packet, destination),
            Method::DirectRoute | Method::Local => rewrite::direct(&mut frame, packet),
            Method::Tunnel => {
                let ident = self.ident();
                rewrite::tunnel(&mut frame, packet, destination, ident)
            }
        };
        match written {
            Ok(()) => {
                let account = Account { service, destination: id, outbound: false, bytes: packet.bytes() };
                self.forward(frame, hop, account)
            }
            Err(reason) => named(self.end(frame, reason)),
        }
    }

    /// A packet that the director's own stack serves: it is left to the kernel as it came.
    #[cold]
    fn left_to_local(&mut self, frame: Frame, packet: &Packet, to: Chosen<'_>) -> Verdict {
        let Chosen { service, id: destination, .. } = to;
        self.count(Account { service, destination, outbound: false, bytes: packet.bytes() });
        self.end(frame, Reason::LocalNode)
    }

    /// Ends a client's packet, with an answer where the reason is one.
    #[cold]
    pub(crate) fn refuse(
        &mut self,
        frame: Frame,
        packet: &Packet,
        served: Served<'a>,
        reason: Reason,
    ) -> Verdict {
        let vip = packet.ip(&frame).map(|ip| ip.dst);
        match reason {
            Reason::TtlExceeded => {
                self.error(frame, vip, Problem::TimeExceeded, [reason, Reason::TtlExceededQuiet])
            }
            Reason::NoDestination => {
                self.error(frame, vip, Problem::PortUnreachable, [reason, Reason::NoDestinationQuiet])
            }
            Reason::Reset => self.send_reset(frame),
            Reason::SynCookie => self.answer_with_cookie(frame, packet, served),
            Reason::SynProxied => self.accept_cookie(frame, packet, served),
            _ => self.end(frame, reason),
        }
    }
}
