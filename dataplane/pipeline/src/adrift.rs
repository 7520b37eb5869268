//! Packets without an entry while their listen is in flood mode, and what makes room for entries.
//!
//! Under direct routing and tunnelling a packet needs no entry to find its way: the choice is worked out from the flow
//! and the pool alone, the same for each of its packets, and an entry is made when the client acknowledges what the real
//! server has said. Under NAT the way back needs one: SYNs are answered with cookies ([`crate::proxied`]), the rest waits until
//! the flood is over.

use crate::connect::{Chosen, FTP_DATA, too_old};
use crate::context::Context;
use crate::counters::{self, Extra};
use crate::entry::{Entry, Flags, Reply, State};
use crate::flood::{EASED, SHARE, STRETCHED, Turn};
use crate::ids::{DestId, ListenId};
use crate::inbound::{Served, Step};
use crate::keeper::Connection;
use crate::key::{Key, KeyParts, Side};
use crate::live::Live;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::scheduler::{Excluded, Pick, Pool};
use crate::side::Kind;
use crate::snapshot::{Method, Snapshot};
use crate::tables::Tables;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;
use sheave_table::Hash;

/// An entry that is not established stays so many seconds, whoever wants its place.
const PATIENCE: u16 = 3;

/// How many more connections there is room for that nobody answered.
fn left(snapshot: &Snapshot, live: &Live, workers: usize, proto: Proto) -> u64 {
    match proto {
        Proto::Tcp => snapshot.half_open.saturating_sub(live.half_open(workers)),
        Proto::Udp => snapshot.half_open.saturating_mul(UDP).saturating_sub(live.unanswered(workers)),
    }
}

/// UDP may have so many times as many connections as TCP that nobody answered: they are nothing out of the ordinary.
const UDP: u64 = 3;

/// Whether a packet may be the one that follows a real server's SYN+ACK.
fn acknowledges(packet: &Packet) -> bool {
    let others = TcpFlags::SYN | TcpFlags::RST | TcpFlags::FIN;
    packet.flags.contains(TcpFlags::ACK) && !packet.flags.intersects(others)
}

impl<'a> Context<'a> {
    /// Takes note of a connection that begins. Says whether it may have an entry.
    #[inline]
    pub(crate) fn begins(&mut self, packet: &Packet) -> bool {
        let (now, rate) = (self.now, self.snapshot.new_connections);
        let Some(listen) = packet.key.listen().filter(|_| rate != 0) else { return true };
        self.tend_flood(listen);
        let in_time = self.own.floods.meter(listen).arrived(now, rate);
        if in_time && self.has_room(packet, listen) {
            return true;
        }
        if in_time && packet.proto == Proto::Udp {
            self.own.floods.waver(now, listen);
        } else {
            let turn = self.own.floods.enter(now, listen);
            self.tell_flood(turn);
        }
        false
    }

    /// Whether a connection that began without an entry may have one now.
    fn admits(&mut self, packet: &Packet) -> bool {
        let rate = self.snapshot.new_connections;
        let Some(listen) = packet.key.listen().filter(|_| rate != 0) else { return true };
        self.own.floods.meter(listen).take(self.now, rate) && self.has_room(packet, listen)
    }

    /// Whether there is room for one more connection that nobody has answered.
    fn has_room(&mut self, packet: &Packet, listen: ListenId) -> bool {
        self.takes_room(packet.proto, listen, SHARE)
            || (packet.proto == Proto::Udp && self.makes_datagram_room(packet, listen))
    }

    /// A datagram takes the place of one that is older. Two go for it: some find none to go.
    #[cold]
    fn makes_datagram_room(&mut self, packet: &Packet, listen: ListenId) -> bool {
        let udp = |entry: Entry| entry.state == State::Udp;
        if self.make_room_of(&packet.key, packet.hash, udp) {
            self.make_room_of(&packet.key, packet.hash, udp);
            return true;
        }
        self.takes_room(packet.proto, listen, STRETCHED)
    }

    fn takes_room(&mut self, proto: Proto, listen: ListenId, share: u64) -> bool {
        let (snapshot, live, workers) = (self.snapshot, &self.shared.live, self.own.settings.workers);
        let own = live.listen(listen).pending();
        let room = &mut self.own.rooms[usize::from(proto == Proto::Udp)];
        room.take(self.now, (own, share), || left(snapshot, live, workers, proto))
    }

    /// Whether packets of a connection may have found their way without an entry.
    #[inline]
    pub(crate) fn in_flood(&self, packet: &Packet) -> bool {
        packet.key.listen().is_some_and(|listen| self.own.floods.recent(listen))
    }

    /// Lets time pass for all meters.
    pub(crate) fn tend_floods(&mut self) {
        let mut at = 0;
        while let Some(listen) = self.own.floods.astir().get(at).copied() {
            self.tend_flood(listen);
            // Otherwise it is calm, and another has its place.
            at += usize::from(self.own.floods.recent(listen));
        }
    }

    /// The same for that of one listen.
    fn tend_flood(&mut self, listen: ListenId) {
        let (snapshot, live, workers) = (self.snapshot, &self.shared.live, self.own.settings.workers);
        let crowded = || {
            let tcp = snapshot.listen(listen).is_some_and(|listen| listen.proto == Proto::Tcp);
            let eased = left(snapshot, live, workers, Proto::Tcp).saturating_mul(EASED);
            tcp && live.listen(listen).pending() >= eased
        };
        let turn = self.own.floods.tend(self.now, (listen, snapshot.new_connections), crowded);
        self.tell_flood(turn);
    }

    /// Tells the control thread of a flood that has begun or ended.
    fn tell_flood(&self, turn: Option<Turn>) {
        let live = self.shared.live.worker(self.own.settings.worker);
        match turn {
            None => {}
            Some(Turn::Begins { since, rate }) => live.flood_begins(since, rate),
            Some(Turn::Ends { since }) => live.flood_ends(since, self.now),
        }
    }

    /// A connection begins that may not have an entry.
    #[cold]
    pub(crate) fn connect_adrift(&mut self, packet: &Packet, served: Served<'a>) -> Step<'a> {
        match self.stateless(packet, served) {
            Ok(chosen) => self.drift(chosen),
            Err(reason) => Step::Refuse(reason),
        }
    }

    /// A packet without an entry that opens no connection, for this `reason`: if there is a flood, its connection may
    /// have begun without one.
    #[cold]
    pub(crate) fn stray(&mut self, packet: &Packet, served: Served<'a>, reason: Reason) -> Step<'a> {
        if reason != Reason::NoEntry || packet.proto != Proto::Tcp || packet.sport == FTP_DATA {
            return Step::Refuse(reason);
        }
        if let Some(listen) = packet.key.listen() {
            self.tend_flood(listen);
        }
        if !self.in_flood(packet) && !served.service.syn_proxy {
            return Step::Refuse(reason);
        }
        match self.stateless(packet, served) {
            // Whether it acknowledges one is seen with the frame at hand.
            Err(Reason::SynCookie) if packet.flags.contains(TcpFlags::ACK) => {
                Step::Refuse(Reason::SynProxied)
            }
            Err(_) => Step::Refuse(reason),
            Ok(chosen) if acknowledges(packet) && self.admits(packet) => {
                match self.reserve(packet, served) {
                    // It has found its way without an entry until now.
                    Step::Refuse(Reason::TableFull) => self.drift(chosen),
                    step => step,
                }
            }
            Ok(chosen) => self.drift(chosen),
        }
    }

    fn drift(&self, chosen: Chosen<'a>) -> Step<'a> {
        self.own.counters.add(counters::extra(Extra::Adrift), 1);
        Step::To(chosen.id, chosen.destination)
    }

    /// Where a packet goes without an entry.
    fn stateless(&mut self, packet: &Packet, served: Served<'a>) -> Result<Chosen<'a>, Reason> {
        let cookies = packet.proto == Proto::Tcp && self.snapshot.helper(served.id).is_none();
        let translated = if cookies { Reason::SynCookie } else { Reason::Flood };
        if self.snapshot.translates(served.id) {
            return Err(translated);
        }
        let id = self.pick_in_flood(packet, served, &Excluded::none()).ok_or(Reason::NoDestination)?;
        let destination = self.snapshot.destination(id).ok_or(Reason::NoDestination)?;
        let chosen = Chosen { service: served.id, id, destination };
        match destination.method {
            Method::Nat => Err(translated),
            _ if too_old(packet, chosen) => Err(Reason::TtlExceeded),
            _ => Ok(chosen),
        }
    }

    /// The destination of a flow whose packets may have no entry: that of the client's template, or what flow and pool
    /// say.
    #[cold]
    pub(crate) fn pick_in_flood(
        &mut self,
        packet: &Packet,
        served: Served<'a>,
        excluded: &Excluded,
    ) -> Option<DestId> {
        let client = KeyParts::of(packet.key).client.0;
        let vip = served.listen.vip;
        let mut pick = Pick { client, client_port: packet.sport, vip };
        if let Some(persistence) = self.snapshot.persistence(served.id) {
            pick = Pick { client: persistence.network(client), client_port: 0, vip };
            if let Some(id) = self.template_leads(pick.client, served.id, &persistence) {
                return Some(id);
            }
        }
        let pool = Pool::new(self.snapshot, served.id, &self.shared.live, self.now, excluded)?;
        pool.pick_by_flow(&pick, &mut self.own.rng)
    }

    /// Makes room at the places of a key: of the entries there that are not established, the one goes that was not used
    /// for longest. Says whether there is one.
    #[cold]
    pub(crate) fn make_room(&mut self, key: &Key, hash: Hash) -> bool {
        self.make_room_of(key, hash, |_| true)
    }

    /// The same, of those that some may go of.
    fn make_room_of(&mut self, key: &Key, hash: Hash, of: impl Fn(Entry) -> bool) -> bool {
        let tables = self.tables();
        let (tick, mut oldest) = (self.tick, None::<(u16, Connection)>);
        tables.around(key, hash, |place, key, payload| {
            let found = match KeyParts::of(key).side {
                Side::In(_) => Some(Connection { place, key, payload }),
                Side::Out(_) => self.connection_of(tables, &key, Reply::from(payload)),
                Side::Template(_) => None,
            };
            let Some(connection) = found.filter(|c| of(c.entry()) && self.may_go(c.entry())) else { return };
            let age = connection.entry().tick.age(tick).0;
            if age >= PATIENCE && oldest.is_none_or(|(oldest, _)| age > oldest) {
                oldest = Some((age, connection));
            }
        });
        let gone = oldest.is_some_and(|(_, connection)| self.keeper().retire(connection));
        self.own.counters.add(counters::extra(Extra::Evicted), u64::from(gone));
        gone
    }

    /// The connection whose way back an entry is.
    fn connection_of(&self, tables: Tables, key: &Key, reply: Reply) -> Option<Connection> {
        let (in_key, payload) = tables.load(reply.of).filter(|_| !reply.tentative)?;
        in_key.same_client(key).then_some(Connection { place: reply.of, key: in_key, payload })
    }

    /// Whether an entry may have to make room for another.
    fn may_go(&self, entry: Entry) -> bool {
        let expected = || self.shared.side.peek(entry).is_some_and(|record| record.kind == Kind::Data);
        !entry.flags.contains(Flags::ASSURED) && (!entry.flags.contains(Flags::SIDE) || !expected())
    }
}
