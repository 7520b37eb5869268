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
use crate::entry::{Entry, Flags, Reply, State};
use crate::ids::{DestId, ServiceId};
use crate::inbound::{Served, Step};
use crate::keeper::Connection;
use crate::key::KeyParts;
use crate::packet::Packet;
use crate::parse::out_key;
use crate::reason::Reason;
use crate::scheduler::{Excluded, Pick, Pool};
use crate::side::Home;
use crate::snapshot::{Destination, Method};
use crate::tables::{Place, Reserved, Wish};
use crate::tcp_state::{Event, Seen, TcpState, next};
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;

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
        if self.snapshot.is_broadcast(KeyParts::of(packet.key).client.0) {
            return Step::Refuse(Reason::Martian);
        }
        if let Some(reason) = not_opening(packet) {
            return Step::Refuse(reason);
        }
        if packet.ttl <= 1 {
            return Step::Refuse(Reason::TtlExceeded);
        }
        match self.tables().reserve(&packet.key, packet.hash) {
            Wish::Reserved(reserved) => self.schedule(packet, served, reserved),
            Wish::Exists(_) => Step::Again,
            Wish::Busy => Step::Refuse(Reason::EntryBusy),
            Wish::Full => Step::Refuse(Reason::TableFull),
        }
    }

    /// Chooses a destination and completes the entry. Dropping the reservation gives its slot up.
    fn schedule(&mut self, packet: &Packet, served: Served<'a>, reserved: Reserved) -> Step<'a> {
        let mut excluded = Excluded::none();
        let client = KeyParts::of(packet.key).client.0;
        let pick = Pick { client, client_port: packet.sport, vip: served.listen.vip };
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
            match self.make_reply(packet, destination, reserved.place()) {
                Ok(reply) => break (chosen, Some(reply)),
                Err(NoReply::Refused(reason)) => return Step::Refuse(reason),
                Err(NoReply::InUse) if excluded.add(id) => {}
                Err(NoReply::InUse) => return Step::Refuse(Reason::NatTupleInUse),
            }
        };
        self.publish(packet, chosen, reserved, reply)
    }

    /// Publishes the in-entry, and then its out-entry for good.
    fn publish(
        &mut self,
        packet: &Packet,
        chosen: Chosen<'a>,
        reserved: Reserved,
        reply: Option<Place>,
    ) -> Step<'a> {
        let of = reserved.place();
        let tentative = Reply { of, tentative: true }.payload();
        let payload = self.new_entry(packet, chosen).payload();
        let Ok(place) = reserved.publish(payload) else {
            if let Some(reply) = reply {
                // Nobody else touches a tentative one whose in-entry never was.
                let _gone = self.tables().remove(reply, tentative);
            }
            return Step::Again;
        };
        if let Some(reply) = reply {
            // Gone already if the connection was ended at once, by a worker with a newer snapshot.
            let _gone = self.tables().update(reply, tentative, Reply { of, tentative: false }.payload());
        }
        let home = Home { destination: chosen.id, generation: chosen.destination.generation };
        self.keeper().opened(Connection { place, key: packet.key, payload }, home);
        self.count_connection(chosen.service, chosen.id);
        Step::To(chosen.id, chosen.destination)
    }

    /// The entry of a connection that this packet opens.
    fn new_entry(&self, packet: &Packet, chosen: Chosen<'_>) -> Entry {
        // NAT sees both ways from the start; under DR and TUN the real server answers past the director.
        let (flags, seen) = match chosen.destination.method {
            Method::Nat => (Flags::NONE, Seen::In),
            Method::DirectRoute | Method::Tunnel | Method::Local => (Flags::NO_OUTPUT, Seen::InOnly),
        };
        let state = match packet.proto {
            Proto::Udp => State::Udp,
            Proto::Tcp => State::Tcp(next(TcpState::None, seen, Event::Syn)),
        };
        let generation = chosen.destination.generation;
        Entry { tick: self.tick, state, flags, destination: chosen.id, generation }
    }

    /// Publishes the out-entry of a connection to `destination` whose in-entry will be `of`.
    fn make_reply(
        &mut self,
        packet: &Packet,
        destination: &Destination,
        of: Place,
    ) -> Result<Place, NoReply> {
        let tables = self.tables();
        let client = KeyParts::of(packet.key).client;
        let port = destination.port.unwrap_or(packet.dport);
        let (addr, proto) = (destination.addr, packet.proto);
        let Some(real) = self.snapshot.real_at(addr, port, proto) else {
            return Err(NoReply::Refused(Reason::NoRoute));
        };
        if let Some(keeping) = self.snapshot.port_keeping_real(addr, proto).filter(|keeping| *keeping != real)
        {
            // From before the port had a name of its own.
            let key = out_key(self.snapshot, client, port, keeping);
            if let Some(found) = tables.get(&key, tables.hash(&key))
                && self.keeper().reply_in_use(&key, keeping, Reply::from(found.payload))
            {
                return Err(NoReply::InUse);
            }
        }
        let key = out_key(self.snapshot, client, port, real);
        let hash = tables.hash(&key);
        for _ in 0..ATTEMPTS {
            match tables.reserve(&key, hash) {
                Wish::Reserved(reserved) => {
                    if let Ok(place) = reserved.publish(Reply { of, tentative: true }.payload()) {
                        return Ok(place);
                    }
                }
                Wish::Exists(found) => {
                    if self.keeper().reply_in_use(&key, real, Reply::from(found.payload)) {
                        return Err(NoReply::InUse);
                    }
                    // A leftover of a connection that has ended. Gone already is as good.
                    let _gone = tables.remove(found.place, found.payload);
                }
                Wish::Busy => return Err(NoReply::Refused(Reason::EntryBusy)),
                Wish::Full => return Err(NoReply::Refused(Reason::TableFull)),
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
