//! Connections that follow from others: what a helper expects, and how it comes to be.
//!
//! An expectation is an entry in state LISTEN, with a side record that says which port of the real server it means.
//! It keeps its connection's place in the tables, and ages like any other:
//!
//! ```text
//!   passive, from any port of the client:   in-entry under client port 0; the client's SYN turns it into a
//!                                           connection of its own
//!   active, to a port of the client:        in-entry and out-entry as they will be; the real server's SYN finds them
//! ```
//!
//! Where expected connections begin at a VIP are listens of their own, which schedule nothing: what is not expected
//! there is left to the kernel.

use crate::connect::{Chosen, NoReply, Opening, Unpublished, Way};
use crate::context::Context;
use crate::entry::{Entry, Flags, State, TemplateLife};
use crate::helper::Expectation;
use crate::ids::ListenId;
use crate::inbound::{Served, Step};
use crate::keeper::Connection;
use crate::key::{Key, KeyParts};
use crate::packet::Packet;
use crate::parse::in_key;
use crate::reason::Reason;
use crate::side::{Home, Kind, Record};
use crate::snapshot::Destination;
use crate::tables::{Seen, Wish};
use crate::tcp_state::{self, Event, TcpState};

/// Ports of the VIP that are tried for one expectation.
const PORTS: u16 = 8;
/// The first that is.
const UNPRIVILEGED: u16 = 1024;
/// Times that a leftover is cleared out of the way.
const ATTEMPTS: usize = 3;

impl<'a> Context<'a> {
    /// Sees to it that a connection gets through, which goes where its parent goes (`to`). Says under which port of
    /// the VIP; `None` when there is no room for it.
    pub(crate) fn expect(&mut self, to: Chosen<'_>, expected: &Expectation) -> Option<u16> {
        let free = |at: u16| expected.vport.checked_add(at).unwrap_or(UNPRIVILEGED.saturating_add(at));
        let ports = if expected.client_port.is_some() { 1 } else { PORTS };
        (0..ports).map(free).find(|vport| self.expect_at(to, expected, *vport))
    }

    fn expect_at(&mut self, to: Chosen<'_>, expected: &Expectation, vport: u16) -> bool {
        let Some(listen) = self.data_listen(to, expected, vport) else { return false };
        let key = in_key(self.snapshot, (expected.client, expected.client_port.unwrap_or(0)), vport, listen);
        let hash = self.tables().hash(&key);
        for _ in 0..ATTEMPTS {
            match self.tables().reserve(&key, hash) {
                Wish::Reserved(reserved) => {
                    let reply = match expected.client_port {
                        None => None,
                        Some(port) => {
                            let (addr, rport, proto) = (expected.real, expected.rport, expected.proto);
                            let name = self.snapshot.real_at(addr, rport, proto);
                            let client = (expected.client, port);
                            let way = Way { client, real: (addr, rport), name, proto };
                            let Ok(reply) = self.make_reply(&way, reserved.place()) else { return false };
                            Some(reply)
                        }
                    };
                    let opening = self.expectation(key, to.destination, (to.id, expected.rport));
                    match self.publish(&opening, reserved, reply) {
                        Ok(_) => return true,
                        Err(Unpublished::Again) => {}
                        Err(Unpublished::Refused(_)) => return false,
                    }
                }
                Wish::Exists(Seen { place, payload }) => {
                    match self.kept(to, expected, Connection { place, key, payload }) {
                        Some(kept) => return kept,
                        None => continue,
                    }
                }
                Wish::Full if self.make_room(&key, hash) => {}
                Wish::Busy | Wish::Full => return false,
            }
        }
        false
    }

    /// The listen of the parent's service where an expected connection may begin.
    fn data_listen(&self, to: Chosen<'_>, expected: &Expectation, vport: u16) -> Option<ListenId> {
        let listen = self.snapshot.listen_at(expected.vip, vport, expected.proto)?;
        let own = self.snapshot.listen(listen).is_some_and(|listen| listen.service == to.service);
        (own && self.snapshot.expects(listen)).then_some(listen)
    }

    fn expectation(&self, key: Key, to: &Destination, (id, rport): (crate::ids::DestId, u16)) -> Opening {
        let home = Home { destination: id, generation: to.generation };
        let entry = Entry {
            tick: self.tick,
            state: State::Tcp(TcpState::Listen),
            flags: Flags::NONE,
            destination: id,
            generation: to.generation,
            template: TemplateLife::default(),
        };
        Opening { key, entry, home, record: Some(Record::data(home, rport)) }
    }

    /// Whether what has the place of an expectation is as good as that: the same one from before, or the connection
    /// that it has become. `None` if it had ended, and is out of the way now.
    fn kept(&mut self, to: Chosen<'_>, expected: &Expectation, connection: Connection) -> Option<bool> {
        let entry = connection.entry();
        let over = matches!(entry.state, State::Tcp(TcpState::TimeWait | TcpState::Close));
        let timeouts = self.snapshot.service(to.service).map(|service| service.timeouts);
        if over || timeouts.is_none_or(|timeouts| entry.expired(&timeouts, self.tick)) {
            self.keeper().retire(connection);
            return None;
        }
        let record = connection.record(self.shared)?;
        let same = record.real_port() == Some(expected.rport)
            && self.snapshot.destination(record.home.destination).is_some_and(|d| d.addr == expected.real);
        if same && entry.state == State::Tcp(TcpState::Listen) {
            // It waits from now on again. Whoever changed it meanwhile has done more.
            let again = Entry { tick: self.tick, ..entry };
            let _later = self.keeper().update(connection, again);
        }
        Some(same)
    }

    /// A client opens a connection where only expected ones begin.
    #[cold]
    pub(crate) fn connect_expected(&mut self, packet: &Packet, served: Served<'a>) -> Step<'a> {
        let tables = self.tables();
        let client = KeyParts::of(packet.key).client;
        let Some(listen) = packet.key.listen() else { return Step::Refuse(Reason::NoService) };
        let key = in_key(self.snapshot, (client.0, 0), packet.dport, listen);
        let Some(Seen { place, payload }) = tables.get(&key, tables.hash(&key)) else {
            return Step::Refuse(Reason::NoService);
        };
        let expectation = Connection { place, key, payload };
        let Some(record) = expectation.record(self.shared).filter(|record| record.kind == Kind::Data) else {
            return Step::Again;
        };
        let destination = self
            .snapshot
            .destination(record.home.destination)
            .filter(|d| d.service == served.id && d.generation == record.home.generation);
        let due = expectation.entry().expired(&served.service.timeouts, self.tick);
        let (Some(destination), Some(rport), false) = (destination, record.real_port(), due) else {
            self.keeper().retire(expectation);
            return Step::Refuse(Reason::NoService);
        };
        let reserved = match tables.reserve(&packet.key, packet.hash) {
            Wish::Reserved(reserved) => reserved,
            Wish::Exists(_) => return Step::Again,
            Wish::Busy => return Step::Refuse(Reason::EntryBusy),
            Wish::Full if self.make_room(&packet.key, packet.hash) => return Step::Again,
            Wish::Full => return Step::Refuse(Reason::TableFull),
        };
        // It is expected once.
        if !self.keeper().retire(expectation) {
            return Step::Again;
        }
        let way = Way::new(self.snapshot, client, (destination, rport), packet.proto);
        let reply = match self.make_reply(&way, reserved.place()) {
            Ok(reply) => reply,
            Err(NoReply::InUse) => return Step::Refuse(Reason::NatTupleInUse),
            Err(NoReply::Refused(reason)) => return Step::Refuse(reason),
        };
        let id = record.home.destination;
        let mut opening = self.expectation(packet.key, destination, (id, rport));
        opening.entry.state = State::Tcp(tcp_state::next(TcpState::None, tcp_state::Seen::In, Event::Syn));
        match self.publish(&opening, reserved, Some(reply)) {
            Ok(aside) => {
                self.count_connection(served.id, id);
                aside.map_or(Step::Again, |aside| Step::Aside(id, destination, aside))
            }
            Err(Unpublished::Again) => Step::Again,
            Err(Unpublished::Refused(reason)) => Step::Refuse(reason),
        }
    }
}
