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
use crate::entry::{Entry, Flags, Reply, State, TemplateLife};
use crate::ids::{DestId, RealId, ServiceId};
use crate::inbound::{Aside, Served, Step};
use crate::keeper::{ASIDE, Connection};
use crate::key::{End, Key, KeyParts};
use crate::packet::Packet;
use crate::parse::out_key;
use crate::reason::Reason;
use crate::scheduler::{Excluded, Pick, Pool};
use crate::side::{Home, Kind, Record};
use crate::snapshot::{Destination, Method, SchedulerKind, Snapshot};
use crate::syn_proxy::{Accepted, Connecting};
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

/// A connection that is about to be.
pub(crate) struct Opening {
    pub(crate) key: Key,
    /// Its entry, without a side record.
    pub(crate) entry: Entry,
    /// Where it goes.
    pub(crate) home: Home,
    /// The side record that it is to have.
    pub(crate) record: Option<Record>,
}

/// Both ends of a connection under NAT, as the real server sees them.
pub(crate) struct Way {
    pub(crate) client: End,
    pub(crate) real: End,
    /// The name that the real server's packets come under.
    pub(crate) name: Option<RealId>,
    pub(crate) proto: Proto,
}

impl Way {
    /// From `client` to `port` of a destination.
    #[inline(always)]
    pub(crate) fn new(
        snapshot: &Snapshot,
        client: End,
        (to, port): (&Destination, u16),
        proto: Proto,
    ) -> Way {
        Way { client, real: (to.addr, port), name: snapshot.real_of(to, port, proto), proto }
    }
}

/// Why it was not published.
pub(crate) enum Unpublished {
    /// Somebody else was faster.
    Again,
    /// There is no room.
    Refused(Reason),
}

/// Why no out-entry was made.
pub(crate) enum NoReply {
    /// The key belongs to another connection.
    InUse,
    /// Nothing can be made now.
    Refused(Reason),
}

/// Flows from this port are the data connections of active FTP: a connection of their own they never open.
pub(crate) const FTP_DATA: u16 = 20;
/// Times that a leftover is cleared out of the way.
const ATTEMPTS: usize = 3;

impl<'a> Context<'a> {
    /// A SYN of a connection that is over: ends it, and opens another in its place.
    pub(crate) fn begin_anew(
        &mut self,
        packet: &Packet,
        served: Served<'a>,
        connection: Connection,
    ) -> Step<'a> {
        let before = connection.entry();
        // From before a narrower listen took its port, it has another key.
        if before.flags.intersects(ASIDE.with(Flags::CONTROLLED)) || connection.key != packet.key {
            self.keeper().retire(connection);
            return Step::Again;
        }
        let Some(place) = self.keeper().renew(connection) else { return Step::Again };
        let step = self.connect(packet, served, Some(place));
        let same =
            |id: DestId, to: &Destination| (id, to.generation) == (before.destination, before.generation);
        // To the same destination, the new one's way back is in the place of the old one's.
        if !matches!(&step, Step::To(id, to) if same(*id, to)) {
            let home = Home { destination: before.destination, generation: before.generation };
            self.keeper().retire_reply(connection, Some(home), None);
        }
        step
    }

    /// A packet without an entry: opens a connection, if it is one that does. `place` is where its entry is to be, if it
    /// has one already.
    pub(crate) fn connect(
        &mut self,
        packet: &Packet,
        served: Served<'a>,
        place: Option<Reserved>,
    ) -> Step<'a> {
        if self.snapshot.is_broadcast(KeyParts::of(packet.key).client.0) {
            return Step::Refuse(Reason::Martian);
        }
        if let Some(reason) = not_opening(packet, served.service.sloppy) {
            return self.stray(packet, served, reason);
        }
        if packet.ttl <= 1 && !self.serves_itself(served) {
            return Step::Refuse(Reason::TtlExceeded);
        }
        if packet.key.listen().is_some_and(|listen| self.snapshot.expects(listen)) {
            drop(place);
            return self.connect_expected(packet, served);
        }
        if packet.proto == Proto::Udp && self.snapshot.sends_once(served.id) {
            return self.send_once(packet, served);
        }
        if served.service.syn_proxy && packet.proto == Proto::Tcp {
            return Step::Refuse(Reason::SynCookie);
        }
        match place {
            _ if !self.begins(packet) => {
                drop(place);
                self.connect_adrift(packet, served)
            }
            Some(place) => self.schedule(packet, served, place),
            None => self.reserve(packet, served),
        }
    }

    /// Makes an entry.
    #[inline]
    pub(crate) fn reserve(&mut self, packet: &Packet, served: Served<'a>) -> Step<'a> {
        match self.tables().reserve(&packet.key, packet.hash) {
            Wish::Reserved(reserved) => self.schedule(packet, served, reserved),
            Wish::Exists(_) => Step::Again,
            Wish::Busy => Step::Refuse(Reason::EntryBusy),
            Wish::Full if self.make_room(&packet.key, packet.hash) => Step::Again,
            Wish::Full => Step::Refuse(Reason::TableFull),
        }
    }

    /// Whether some destination of a service is the director's own stack, which no packet is too old for.
    fn serves_itself(&self, served: Served<'a>) -> bool {
        let local = |id: &DestId| self.snapshot.destination(*id).is_some_and(|d| d.method == Method::Local);
        served.service.pool.iter().chain(&served.service.sorry).any(local)
    }

    /// Chooses a destination and completes the entry. Dropping the reservation gives its slot up.
    #[inline(always)]
    fn schedule(&mut self, packet: &Packet, served: Served<'a>, reserved: Reserved) -> Step<'a> {
        self.schedule_for(packet, served, reserved, None)
    }

    /// The same, of a connection that the SYN proxy makes for a client that it has accepted.
    pub(crate) fn schedule_for(
        &mut self,
        packet: &Packet,
        served: Served<'a>,
        reserved: Reserved,
        accepted: Option<&Accepted>,
    ) -> Step<'a> {
        let (chosen, reply, counted) = match self.choose(packet, served, &reserved) {
            Ok(choice) => choice,
            Err(step) => return step,
        };
        let mut entry = self.new_entry(packet, chosen);
        if let Some(template) = counted {
            entry.flags = entry.flags.with(Flags::CONTROLLED);
            entry.template = template;
        }
        let home = Home { destination: chosen.id, generation: chosen.destination.generation };
        let helped = self.looked_into(packet, chosen).then_some((Kind::Helper, [0; 3]));
        let words = accepted.map(|accepted| (Kind::Proxied, Connecting::begin(*accepted, self.tick).words()));
        let record = words.or(helped).map(|(kind, words)| Record { kind, home, words });
        if accepted.is_some() {
            entry.state = State::Tcp(TcpState::SynRecv);
        }
        let opening = Opening { key: packet.key, entry, home, record };
        let place = reserved.place();
        let published = self.publish(&opening, reserved, reply);
        if let Some(template) = counted.filter(|_| published.is_err()) {
            self.give_up(packet, chosen, template);
        }
        match published {
            Ok(aside) => {
                self.count_connection(chosen.service, chosen.id);
                if served.service.scheduler == SchedulerKind::Lrt && chosen.destination.method == Method::Nat
                {
                    self.shared.live.destination(chosen.id).response().opened(place.bits(), self.now);
                }
                match aside {
                    None => Step::To(chosen.id, chosen.destination),
                    Some(aside) => Step::Aside(chosen.id, chosen.destination, aside),
                }
            }
            Err(Unpublished::Again) => Step::Again,
            Err(Unpublished::Refused(reason)) => Step::Refuse(reason),
        }
    }

    /// Chooses where a connection goes, and makes its out-entry if it has one. Says which template counts it.
    #[inline(always)]
    fn choose(
        &mut self,
        packet: &Packet,
        served: Served<'a>,
        reserved: &Reserved,
    ) -> Result<(Chosen<'a>, Option<Place>, Option<TemplateLife>), Step<'a>> {
        if let Some(persistence) = self.snapshot.persistence(served.id) {
            let (chosen, counted) = self.choose_by_template(packet, served, &persistence)?;
            let reply = if too_old(packet, chosen) {
                Err(NoReply::Refused(Reason::TtlExceeded))
            } else {
                self.reply_of(packet, chosen, reserved)
            };
            return match reply {
                Ok(reply) => Ok((chosen, reply, counted)),
                Err(no) => {
                    if let Some(template) = counted {
                        self.give_up(packet, chosen, template);
                    }
                    // The client's destination is the only one for it.
                    Err(Step::Refuse(match no {
                        NoReply::Refused(reason) => reason,
                        NoReply::InUse => Reason::NatTupleInUse,
                    }))
                }
            };
        }
        let mut excluded = None;
        loop {
            let so_far = excluded.as_ref().unwrap_or(Excluded::NONE);
            let Some(chosen) = self.pick(packet, served, so_far) else {
                let none = if so_far.is_empty() { Reason::NoDestination } else { Reason::NatTupleInUse };
                return Err(Step::Refuse(none));
            };
            if too_old(packet, chosen) {
                return Err(Step::Refuse(Reason::TtlExceeded));
            }
            match self.reply_of(packet, chosen, reserved) {
                Ok(reply) => return Ok((chosen, reply, None)),
                Err(NoReply::Refused(reason)) => return Err(Step::Refuse(reason)),
                Err(NoReply::InUse) if excluded.get_or_insert_with(Excluded::none).add(chosen.id) => {}
                Err(NoReply::InUse) => return Err(Step::Refuse(Reason::NatTupleInUse)),
            }
        }
    }

    /// The destination that is next by the scheduler.
    #[inline]
    pub(crate) fn pick(
        &mut self,
        packet: &Packet,
        served: Served<'a>,
        excluded: &Excluded,
    ) -> Option<Chosen<'a>> {
        if self.in_flood(packet) {
            let id = self.pick_in_flood(packet, served, excluded)?;
            return Some(Chosen { service: served.id, id, destination: self.snapshot.destination(id)? });
        }
        let client = KeyParts::of(packet.key).client.0;
        let pick = Pick { client, client_port: packet.sport, vip: served.listen.vip };
        let pool = Pool::new(self.snapshot, served.id, &self.shared.live, self.now, excluded)?;
        let id = pool.pick(&pick, &mut self.own.rng)?;
        Some(Chosen { service: served.id, id, destination: self.snapshot.destination(id)? })
    }

    /// The out-entry of a connection, under NAT.
    #[inline(always)]
    fn reply_of(
        &mut self,
        packet: &Packet,
        chosen: Chosen<'a>,
        reserved: &Reserved,
    ) -> Result<Option<Place>, NoReply> {
        if chosen.destination.method != Method::Nat {
            return Ok(None);
        }
        let (client, to) = (KeyParts::of(packet.key).client, chosen.destination);
        let port = to.port.unwrap_or(packet.dport);
        let way = Way::new(self.snapshot, client, (to, port), packet.proto);
        self.make_reply(&way, reserved.place()).map(Some)
    }

    /// Whether a helper looks into the connection that a packet opens.
    fn looked_into(&self, packet: &Packet, chosen: Chosen<'_>) -> bool {
        let nat_tcp = packet.proto == Proto::Tcp && chosen.destination.method == Method::Nat;
        nat_tcp && self.snapshot.helper(chosen.service).is_some()
    }

    /// Publishes the in-entry, and then its out-entry for good.
    #[inline]
    pub(crate) fn publish(
        &mut self,
        opening: &Opening,
        reserved: Reserved,
        reply: Option<Place>,
    ) -> Result<Option<Aside>, Unpublished> {
        let of = reserved.place();
        let tentative = Reply { of, tentative: true }.payload();
        let published = self.publish_in(opening, reserved);
        if let Some(reply) = reply {
            let _gone = match published {
                // Gone already if the connection was ended at once, by a worker with a newer snapshot.
                Ok(_) => self.tables().update(reply, tentative, Reply { of, tentative: false }.payload()),
                // Nobody else touches a tentative one whose in-entry never was.
                Err(_) => self.tables().remove(reply, tentative),
            };
        }
        let (connection, aside) = published?;
        self.keeper().opened(connection, opening.home);
        Ok(aside)
    }

    /// Publishes the in-entry, with its side record if it is to have one.
    #[inline(always)]
    fn publish_in(
        &self,
        opening: &Opening,
        reserved: Reserved,
    ) -> Result<(Connection, Option<Aside>), Unpublished> {
        let mut entry = opening.entry;
        let mut aside = None;
        if let Some(record) = opening.record {
            let full = Unpublished::Refused(Reason::SideRecordsFull);
            let id = self.shared.side.open(&record).ok_or(full)?;
            entry = entry.with_record(id);
            aside = Some(Aside { id, record });
        }
        let payload = entry.payload();
        match reserved.publish(payload) {
            Ok(place) => Ok((Connection { place, key: opening.key, payload }, aside)),
            Err(_) => {
                if let Some(Aside { id, .. }) = aside {
                    self.shared.side.close(id);
                }
                Err(Unpublished::Again)
            }
        }
    }

    /// The entry of a connection that this packet opens.
    #[inline(always)]
    fn new_entry(&self, packet: &Packet, chosen: Chosen<'_>) -> Entry {
        // NAT sees both ways from the start; under DR and TUN the real server answers past the director.
        let (flags, seen) = match chosen.destination.method {
            Method::Nat => (Flags::NONE, Seen::In),
            Method::DirectRoute | Method::Tunnel | Method::Local => (Flags::NO_OUTPUT, Seen::InOnly),
        };
        let state = match packet.proto {
            Proto::Udp => State::Udp,
            // The client alone says so.
            Proto::Tcp if self.in_flood(packet) => State::Tcp(TcpState::SynRecv),
            // Mid-flow (`sloppy`) it may be any other than a SYN.
            Proto::Tcp => {
                let state =
                    Event::of(packet.flags).map_or(TcpState::None, |event| next(TcpState::None, seen, event));
                State::Tcp(state)
            }
        };
        let generation = chosen.destination.generation;
        let template = TemplateLife::default();
        Entry { tick: self.tick, state, flags, destination: chosen.id, generation, template }
    }

    /// Publishes the out-entry of a connection whose in-entry will be `of`.
    pub(crate) fn make_reply(&mut self, way: &Way, of: Place) -> Result<Place, NoReply> {
        let tables = self.tables();
        let Way { client, real: (addr, port), name, proto } = *way;
        let Some(real) = name else {
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
                    if let Some(reserved) = tables.renew(found.place, found.payload)
                        && let Ok(place) = reserved.publish(Reply { of, tentative: true }.payload())
                    {
                        return Ok(place);
                    }
                }
                Wish::Busy => return Err(NoReply::Refused(Reason::EntryBusy)),
                Wish::Full if self.make_room(&key, hash) => {}
                Wish::Full => return Err(NoReply::Refused(Reason::TableFull)),
            }
        }
        Err(NoReply::Refused(Reason::EntryBusy))
    }
}

/// Whether a packet's time to live ends here: not in the director's own stack.
pub(crate) fn too_old(packet: &Packet, chosen: Chosen<'_>) -> bool {
    packet.ttl <= 1 && chosen.destination.method != Method::Local
}

/// Why a packet opens no connection, if it does not.
fn not_opening(packet: &Packet, sloppy: bool) -> Option<Reason> {
    if packet.proto == Proto::Tcp && !packet.opens() {
        let both = TcpFlags::SYN | TcpFlags::FIN;
        let neither = TcpFlags::RST | TcpFlags::ACK;
        if packet.flags.contains(both) && !packet.flags.intersects(neither) {
            return Some(Reason::TcpFlags);
        }
        if !sloppy || packet.flags.contains(TcpFlags::RST) {
            return Some(Reason::NoEntry);
        }
    }
    (packet.sport == FTP_DATA).then_some(Reason::NoEntry)
}
