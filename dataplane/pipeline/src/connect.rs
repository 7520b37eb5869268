//! New connections: choosing a destination and making the entries.
//!
//! Under NAT a connection has two entries. The order of making them is what keeps them in step:
//!
//! ```text
//!   reserve in-entry -> publish out-entry, tentative, with the in-entry's handle -> publish in-entry
//!                    -> out-entry no longer tentative
//! ```
//!
//! so that an in-entry that is found always has its way back, and nobody takes an out-entry for a leftover while
//! its in-entry is on the way.

use crate::context::Context;
use crate::entry::{Entry, Flags, Reply, State, out_key};
use crate::ids::{DestId, RealId, ServiceId};
use crate::inbound::{Served, Step};
use crate::keeper::Connection;
use crate::parse::Packet;
use crate::reason::Reason;
use crate::scheduler::{Excluded, Pick, Pool};
use crate::snapshot::{Destination, Method};
use crate::tcp_state::{Event, Seen, TcpState, next};
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;
use sheave_table::{Handle, Reservation, Reserve};

/// A destination with its names.
#[derive(Clone, Copy)]
pub(crate) struct Chosen<'s> {
    pub(crate) service: ServiceId,
    pub(crate) id: DestId,
    pub(crate) destination: &'s Destination,
}

/// Why no out-entry was made.
enum NoReply {
    /// The key belongs to another connection.
    InUse,
    /// Nothing can be made now.
    Refused(Reason),
}

/// Flows from this port are the data connections of active FTP: a connection of their own they never open.
const FTP_DATA: u16 = 20;
/// Times that a leftover is cleared out of the way.
const ATTEMPTS: usize = 3;

impl<'a> Context<'a> {
    /// A packet without an entry: opens a connection, if it is one that does.
    #[cold]
    pub(crate) fn connect(&mut self, packet: &Packet, served: Served<'a>) -> Step<'a> {
        if self.snapshot.is_broadcast(packet.ip.src) {
            return Step::Refuse(Reason::Martian);
        }
        if let Some(reason) = not_opening(packet) {
            return Step::Refuse(reason);
        }
        if packet.ip.ttl <= 1 {
            return Step::Refuse(Reason::TtlExceeded);
        }
        match self.table().reserve(&packet.key, packet.hash) {
            Reserve::Reserved(reservation) => self.schedule(packet, served, reservation),
            Reserve::Exists(_) => Step::Again,
            Reserve::Busy => Step::Refuse(Reason::EntryBusy),
            Reserve::Full => Step::Refuse(Reason::TableFull),
        }
    }

    /// Chooses a destination and completes the entry. Dropping the reservation gives its slot up.
    fn schedule(&mut self, packet: &Packet, served: Served<'a>, reservation: Reservation<'a, 1>) -> Step<'a> {
        let mut excluded = Excluded::none();
        let pick =
            Pick { client: packet.ip.src.into(), client_port: packet.sport, vip: packet.ip.dst.into() };
        let (chosen, reply) = loop {
            let pool = Pool::new(self.snapshot, served.id, &self.shared.live, self.now, &excluded);
            let Some((id, destination)) = pool
                .and_then(|pool| pool.pick(&pick, &mut self.own.rng))
                .and_then(|id| Some((id, self.snapshot.destination(id)?)))
            else {
                let none = if excluded.is_empty() { Reason::NoDestination } else { Reason::NatTupleInUse };
                return Step::Refuse(none);
            };
            let chosen = Chosen { service: served.id, id, destination };
            if destination.method != Method::Nat {
                break (chosen, None);
            }
            let Some(real) = destination.real else {
                return Step::Refuse(Reason::NoRoute);
            };
            match self.make_reply(packet, real, reservation.handle()) {
                Ok(reply) => break (chosen, Some(reply)),
                Err(NoReply::Refused(reason)) => return Step::Refuse(reason),
                Err(NoReply::InUse) if excluded.add(id) => {}
                Err(NoReply::InUse) => return Step::Refuse(Reason::NatTupleInUse),
            }
        };
        self.publish(packet, chosen, reservation, reply)
    }

    /// Publishes the in-entry, and then its out-entry for good.
    fn publish(
        &mut self,
        packet: &Packet,
        chosen: Chosen<'a>,
        reservation: Reservation<'a, 1>,
        reply: Option<Handle>,
    ) -> Step<'a> {
        let of = reservation.handle();
        let tentative = Reply { of, tentative: true }.payload();
        let payload = self.new_entry(packet, chosen).payload();
        let Ok(handle) = reservation.publish(payload) else {
            if let Some(reply) = reply {
                // Nobody else touches a tentative one whose in-entry never was.
                let _gone = self.table().remove(reply, tentative);
            }
            return Step::Again;
        };
        if let Some(reply) = reply {
            // Gone already if the connection was ended at once, by a worker with a newer snapshot.
            let _gone = self.table().update(reply, tentative, Reply { of, tentative: false }.payload());
        }
        self.keeper().opened(Connection { handle, key: packet.key, payload });
        self.count_connection(chosen.service, chosen.id);
        Step::To(chosen.id, chosen.destination)
    }

    /// The entry of a connection that this packet opens.
    fn new_entry(&self, packet: &Packet, chosen: Chosen<'_>) -> Entry {
        // NAT sees both ways from the start; under DR and TUN the real server answers past the director.
        let (flags, seen) = match chosen.destination.method {
            Method::Nat => (Flags::NONE, Seen::In),
            Method::DirectRoute | Method::Tunnel => (Flags::NO_OUTPUT, Seen::InOnly),
        };
        let state = match packet.proto {
            Proto::Udp => State::Udp,
            Proto::Tcp => State::Tcp(next(TcpState::None, seen, Event::Syn)),
        };
        let generation = chosen.destination.generation;
        Entry { tick: self.tick, state, flags, destination: chosen.id, generation }
    }

    /// Publishes the out-entry of a connection whose in-entry will be `of`.
    fn make_reply(&mut self, packet: &Packet, real: RealId, of: Handle) -> Result<Handle, NoReply> {
        let table = self.table();
        let key = out_key(packet.ip.src, packet.sport, real);
        let hash = table.hash(&key);
        for _ in 0..ATTEMPTS {
            match table.reserve(&key, hash) {
                Reserve::Reserved(reservation) => {
                    if let Ok(handle) = reservation.publish(Reply { of, tentative: true }.payload()) {
                        return Ok(handle);
                    }
                }
                Reserve::Exists(found) => {
                    let reply = Reply::from(found.payload);
                    if self.keeper().reply_in_use(key, real, reply) {
                        return Err(NoReply::InUse);
                    }
                    // A leftover of a connection that has ended. Gone already is as good.
                    let _gone = table.remove(found.handle, found.payload);
                }
                Reserve::Busy => return Err(NoReply::Refused(Reason::EntryBusy)),
                Reserve::Full => return Err(NoReply::Refused(Reason::TableFull)),
            }
        }
        Err(NoReply::Refused(Reason::EntryBusy))
    }
}

/// Why a packet opens no connection, if it does not.
fn not_opening(packet: &Packet) -> Option<Reason> {
    if packet.proto == Proto::Tcp && !packet.opens() {
        let both = TcpFlags::SYN | TcpFlags::FIN;
        let neither = TcpFlags::RST | TcpFlags::ACK;
        let bogus = packet.flags.contains(both) && !packet.flags.intersects(neither);
        return Some(if bogus { Reason::TcpFlags } else { Reason::NoEntry });
    }
    (packet.sport == FTP_DATA).then_some(Reason::NoEntry)
}
