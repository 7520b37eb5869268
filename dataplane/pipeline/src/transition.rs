//! What a packet changes in its connection's entry: when it was used last, and its state. One step of the entry's word,
//! whichever way the packet goes; the counts that follow are the keeper's.

use crate::context::Context;
use crate::entry::{Entry, Flags, State};
use crate::keeper::{ASIDE, Connection, Keeper};
use crate::mss::Way;
use crate::packet::Packet;
use crate::tcp_state::{Event, Seen, TcpState, next};
use crate::time::Tick;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;
use sheave_table::Update;

/// Times that a packet looks again because another worker changed its entry meanwhile.
const ATTEMPTS: usize = 4;

/// A way that is as wide as its link: whose it is does not matter then.
const WHOLE: Way = Way { link: u16::MAX, usable: u16::MAX };

/// The connection's entry is gone, or no longer of use.
#[derive(Debug)]
pub(crate) struct Gone;

/// What an entry is after a packet.
#[inline(always)]
fn after(old: Entry, tick: Tick, seen: Seen, event: Option<Event>) -> Entry {
    let mut new = old;
    if old.tick.age(tick).0 > 0 {
        new.tick = tick;
        if old.state == State::Udp && old.flags.intersects(Flags::NO_OUTPUT.with(Flags::REPLIED)) {
            // It goes on for more than a second, and if answers pass here, there was one.
            new.flags = new.flags.with(Flags::ASSURED);
        }
    }
    if let (State::Tcp(state), Some(event)) = (old.state, event) {
        let state = next(state, seen, event);
        new.state = State::Tcp(state);
        if state == TcpState::Established {
            new.flags = new.flags.with(Flags::ASSURED);
        }
    }
    if seen == Seen::Out {
        new.flags = new.flags.without(Flags::NO_OUTPUT).with(Flags::REPLIED);
    }
    new
}

/// By which table a client's packet changes the state of a connection.
#[inline(always)]
pub(crate) fn seen_of_client(flags: Flags) -> Seen {
    if flags.contains(Flags::NO_OUTPUT) { Seen::InOnly } else { Seen::In }
}

/// Whether a SYN starts a new connection under the key of one in this state.
pub(crate) fn is_over(state: State, flags: Flags) -> bool {
    match state {
        State::Tcp(TcpState::TimeWait | TcpState::Close) => true,
        State::Tcp(TcpState::FinWait) => flags.contains(Flags::NO_OUTPUT),
        _ => false,
    }
}

impl Context<'_> {
    /// Notes a packet in its connection's entry: when, and what it does to the state.
    #[inline(always)]
    pub(crate) fn touch(&mut self, connection: Connection, packet: &Packet, seen: Seen) -> Result<(), Gone> {
        let mut connection = connection;
        let event = Event::of(packet.flags);
        for _ in 0..ATTEMPTS {
            match self.keeper().step(connection, connection.entry(), (seen, event)) {
                Ok(()) => return Ok(()),
                Err(Update::Gone) => return Err(Gone),
                Err(Update::Changed(payload)) => connection.payload = payload,
            }
            if connection.entry().flags.contains(Flags::DETACHED) {
                return Err(Gone);
            }
        }
        // So many others keep it alive that this packet need not.
        Ok(())
    }
}

impl Keeper<'_> {
    /// One attempt at it.
    #[inline(always)]
    fn step(
        &mut self,
        connection: Connection,
        old: Entry,
        (seen, event): (Seen, Option<Event>),
    ) -> Result<(), Update> {
        let new = after(old, self.tick, seen, event);
        if new.payload() == connection.payload {
            return Ok(());
        }
        if seen == Seen::Out && !old.flags.contains(Flags::REPLIED) {
            self.first_reply(&connection);
        }
        self.replace(connection, (old, new))
    }

    /// The first packet of a connection that its destination sent back.
    #[inline(always)]
    pub(crate) fn first_reply(&self, connection: &Connection) {
        if let Some(home) = connection.home(self.shared) {
            let live = self.shared.live.destination(home.destination);
            live.response().answered(connection.place.bits(), self.now);
        }
    }

    /// Notes a packet that is otherwise fit to go the short way to the destination that the entry names, or from there.
    /// `None`, and nothing is noted, where more is to be asked first. It is no packet of a client that may open a connection.
    ///
    /// PERF: `instructions/life-nat-64`. Six of a short connection's ten packets change its state.
    #[inline(always)]
    pub(crate) fn note(
        &mut self,
        connection: Connection,
        (proto, flags): (Proto, TcpFlags),
        outbound: bool,
    ) -> Option<()> {
        let entry = connection.entry();
        let of_proto = (entry.state == State::Udp) == (proto == Proto::Udp);
        if !of_proto || entry.flags.intersects(ASIDE) {
            return None;
        }
        // Of one that was used in this second, its service need not be asked whether it is due.
        if entry.tick != self.tick || flags.contains(TcpFlags::SYN) {
            let (_, service) = self.served(connection.key)?;
            let clamps = || service.mss_clamp.largest(WHOLE, false).is_some();
            if entry.expired(&service.timeouts, self.tick) || (flags.contains(TcpFlags::SYN) && clamps()) {
                return None;
            }
        }
        let seen = if outbound { Seen::Out } else { seen_of_client(entry.flags) };
        self.step(connection, entry, (seen, Event::of(flags))).ok()
    }
}
