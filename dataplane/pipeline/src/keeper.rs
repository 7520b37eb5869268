//! Keeping the entries of connections, and with each change the counts that follow from it.
//!
//! Whoever's compare-and-swap wins counts, so that every change is counted once, whichever worker makes it.

use crate::entry::{Entry, Flags, Reply, State};
use crate::ids::{DestId, RealId, ServiceId};
use crate::key::{Key, KeyParts, Side};
use crate::live::{Live, WorkerLive};
use crate::parse::out_key;
use crate::pipeline::Shared;
use crate::side::{Home, Record, SideRecords};
use crate::snapshot::{Destination, Listen, Method, Service, Snapshot};
use crate::tables::{Place, Reserved, Tables};
use crate::time::{Tick, Time};
use sheave_table::change::{Change, ChangeWriter};
use sheave_table::{Payload, Update};

/// The connections as one snapshot sees them at one moment.
pub(crate) struct Keeper<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) tables: Tables,
    pub(crate) side: SideRecords,
    live: &'a Live,
    own: &'a WorkerLive,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) now: Time,
    pub(crate) tick: Tick,
    changes: &'a mut Option<ChangeWriter>,
}

/// A connection as a look-up saw it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) place: Place,
    pub(crate) key: Key,
    pub(crate) payload: Payload,
}

impl Connection {
    #[inline(always)]
    pub(crate) fn entry(&self) -> Entry {
        Entry::from(self.payload)
    }

    /// The destination that it was made for, and which life of it; `None` when it is gone by now.
    pub(crate) fn home(&self, shared: &Shared) -> Option<Home> {
        let Entry { flags, destination, generation, .. } = self.entry();
        let here = Home { destination, generation };
        if flags.contains(Flags::SIDE) { Some(self.record(shared)?.home) } else { Some(here) }
    }

    /// Its side record; `None` when it has none, or is gone by now.
    pub(crate) fn record(&self, shared: &Shared) -> Option<Record> {
        shared.side.of(shared.tables, (self.place, &self.key), self.entry())
    }
}

/// Where a connection of `service` goes; `None` when that destination was removed or has failed since, or the
/// connection is gone by now.
#[inline(always)]
pub(crate) fn destination_of<'s>(
    shared: &Shared,
    snapshot: &'s Snapshot,
    service: ServiceId,
    connection: &Connection,
) -> Option<(DestId, &'s Destination)> {
    let entry = connection.entry();
    if entry.flags.intersects(ASIDE) {
        return destination_aside(shared, snapshot, service, connection);
    }
    at_home(snapshot, service, Home { destination: entry.destination, generation: entry.generation })
        .or_else(|| destination_aside(shared, snapshot, service, connection))
}

/// The same of a connection with a side record, or from an earlier life of its destination: TCP goes on where that
/// keeps it.
#[cold]
#[inline(never)]
pub(crate) fn destination_aside<'s>(
    shared: &Shared,
    snapshot: &'s Snapshot,
    service: ServiceId,
    connection: &Connection,
) -> Option<(DestId, &'s Destination)> {
    let entry = connection.entry();
    if entry.flags.contains(Flags::DETACHED) {
        return None;
    }
    let home = connection.home(shared)?;
    let destination = snapshot.destination(home.destination)?;
    let there = destination.service == service && destination.has(home.generation, entry.state);
    there.then_some((home.destination, destination))
}

/// Flags of a connection that does not simply go to the destination that its entry names.
pub(crate) const ASIDE: Flags = Flags::DETACHED.with(Flags::SIDE);

/// Whether a connection is of a life of its destination that was told to end with a reset.
#[cold]
pub(crate) fn was_reset(
    shared: &Shared,
    snapshot: &Snapshot,
    service: ServiceId,
    connection: &Connection,
) -> bool {
    let home = connection.home(shared);
    home.and_then(|home| Some((home, snapshot.destination(home.destination)?)))
        .is_some_and(|(home, d)| d.service == service && d.reset.have(home.generation))
}

#[inline(always)]
pub(crate) fn at_home(snapshot: &Snapshot, service: ServiceId, home: Home) -> Option<(DestId, &Destination)> {
    let destination = snapshot.destination(home.destination)?;
    let same = destination.generation == home.generation && destination.service == service;
    same.then_some((home.destination, destination))
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        snapshot: &'a Snapshot,
        worker: usize,
        now: Time,
        changes: &'a mut Option<ChangeWriter>,
    ) -> Keeper<'a> {
        Keeper {
            shared,
            tables: shared.tables,
            side: shared.side,
            live: &shared.live,
            own: shared.live.worker(worker),
            snapshot,
            now,
            tick: now.tick(),
            changes,
        }
    }

    fn destination_of(
        &self,
        service: ServiceId,
        connection: &Connection,
    ) -> Option<(DestId, &'a Destination)> {
        destination_of(self.shared, self.snapshot, service, connection)
    }

    /// Listen and service of a connection.
    #[inline(always)]
    pub(crate) fn served(&self, key: Key) -> Option<(&'a Listen, &'a Service)> {
        self.snapshot.serving(key.listen()?)
    }

    /// The connection that an out-entry of `real` under `key` leads to, if it still is that one: its slot may
    /// have been used again many times over.
    #[inline]
    pub(crate) fn replied(&self, key: &Key, real: RealId, reply: Reply) -> Option<Connection> {
        let (in_key, payload) = self.tables.load(reply.of)?;
        if !in_key.same_client(key) {
            return None;
        }
        let connection = Connection { place: reply.of, key: in_key, payload };
        let (listen, _) = self.served(in_key)?;
        // One whose destination is gone still answers to its name; the caller finds out what becomes of it.
        let same = match self.destination_of(listen.service, &connection) {
            Some((_, d)) => d.real == Some(real) || self.answers_as(d, (key, real), listen, &connection),
            None => true,
        };
        same.then_some(connection)
    }

    /// Whether a connection's replies come under the name `real`, where they have more names than one: with a
    /// listen for each protocol, or a destination that keeps each packet's port.
    #[inline(never)]
    fn answers_as(
        &self,
        destination: &Destination,
        (key, real): (&Key, RealId),
        listen: &Listen,
        connection: &Connection,
    ) -> bool {
        let Some(real) = self.snapshot.real(real) else { return false };
        let from = real.port.or(KeyParts::of(*key).other_port);
        let own = self.side.peek(connection.entry()).and_then(|record| record.real_port());
        let to = own.or(destination.port).unwrap_or_else(|| listen.port_of(connection.key));
        destination.method == Method::Nat
            && (real.addr, real.proto, from) == (destination.addr, listen.proto, Some(to))
    }

    /// Whether an out-entry is in the way of another connection with its key.
    pub(crate) fn reply_in_use(&self, key: &Key, real: RealId, reply: Reply) -> bool {
        reply.tentative
            || self.replied(key, real, reply).is_some_and(|connection| {
                self.served(connection.key).is_some_and(|(listen, service)| {
                    self.destination_of(listen.service, &connection).is_some()
                        && !connection.entry().expired(&service.timeouts, self.tick)
                })
            })
    }

    /// Replaces an entry and counts the change of its state.
    pub(crate) fn update(&mut self, connection: Connection, new: Entry) -> Result<(), Update> {
        self.replace(connection, (connection.entry(), new))
    }

    /// The same, of an entry that was taken apart already.
    #[inline(always)]
    pub(crate) fn replace(
        &mut self,
        connection: Connection,
        (old, new): (Entry, Entry),
    ) -> Result<(), Update> {
        let payload = new.payload();
        let (was, is) = (old.counted(), new.counted());
        let home = if was == is { None } else { self.side.home(old) };
        self.tables.update(connection.place, connection.payload, payload)?;
        if let Some(Home { destination, .. }) = home {
            let live = self.live.destination(destination);
            if let Some(active) = was {
                live.leave(active);
            }
            if let Some(active) = is {
                live.enter(active);
            }
            if was.is_some() != is.is_some() {
                self.mark(destination);
            }
        }
        if old.state != new.state || old.flags != new.flags {
            if new.flags.contains(Flags::ASSURED) && !old.flags.contains(Flags::ASSURED) {
                self.pend(connection, -1);
            }
            self.tell(connection, connection.payload, payload);
        }
        Ok(())
    }

    /// Counts a connection in that was just published.
    #[inline(always)]
    pub(crate) fn opened(&mut self, connection: Connection, home: Home) {
        let entry = connection.entry();
        self.pend(connection, 1);
        if let Some(active) = entry.counted() {
            self.live.destination(home.destination).enter(active);
            self.mark(home.destination);
        }
        self.tell(connection, Payload::default(), connection.payload);
    }

    /// Sets or clears the mark for the thresholds at the moment that they are crossed, whether or not a scheduler looks.
    fn mark(&self, id: DestId) {
        if let Some(destination) = self.snapshot.destination(id) {
            let _overloaded = self.live.destination(id).overloaded(&destination.limits);
        }
    }

    /// Ends a connection: removes its entries, gives its side record back and counts it out. `false` when somebody
    /// changed it meanwhile.
    pub(crate) fn retire(&mut self, connection: Connection) -> bool {
        let entry = connection.entry();
        let home = self.side.home(entry);
        let port = self.side.peek(entry).and_then(|record| record.real_port());
        if self.tables.remove(connection.place, connection.payload).is_err() {
            return false;
        }
        self.ended(connection, home);
        self.retire_reply(connection, home, port);
        if let Some(record) = entry.record() {
            self.side.close(record);
        }
        if let Some(home) = home.filter(|_| entry.flags.contains(Flags::CONTROLLED)) {
            self.left(connection, home);
        }
        true
    }

    /// Ends a connection that nothing else counts and that has no side record, to begin another one under its key: takes its
    /// entry's place for that. Its out-entry stays, for the new one to take its place or for [`Keeper::retire_reply`]. `None`
    /// when somebody changed it meanwhile.
    pub(crate) fn renew(&mut self, connection: Connection) -> Option<Reserved> {
        let home = self.side.home(connection.entry());
        let reserved = self.tables.renew(connection.place, connection.payload)?;
        self.ended(connection, home);
        Some(reserved)
    }

    /// Counts a connection out whose in-entry is gone.
    #[inline(always)]
    fn ended(&mut self, connection: Connection, home: Option<Home>) {
        let entry = connection.entry();
        if let (Some(active), Some(Home { destination, .. })) = (entry.counted(), home) {
            self.live.destination(destination).leave(active);
            self.mark(destination);
        }
        if !entry.flags.contains(Flags::ASSURED) {
            self.pend(connection, -1);
        }
        self.tell(connection, connection.payload, Payload::default());
    }

    /// Counts a connection that has ended out of its template.
    #[cold]
    fn left(&mut self, connection: Connection, home: Home) {
        // Its listen may have gone without the service, which its template is of.
        let Some(id) = self.snapshot.destination(home.destination).map(|d| d.service) else { return };
        let Some(service) = self.snapshot.service(id) else { return };
        let entry = connection.entry();
        // It may have been due for a while.
        let ago = entry.tick.age(self.tick).0.saturating_sub(entry.state.timeout(&service.timeouts).0);
        let ago = if entry.expired(&service.timeouts, self.tick) { ago } else { 0 };
        let client = KeyParts::of(connection.key).client.0;
        self.leave_template(client, id, (home, entry.template), ago);
    }

    /// Removes the out-entry of a connection that has ended. One that is not found (its destination is gone) is
    /// left to the sweep.
    pub(crate) fn retire_reply(&self, connection: Connection, home: Option<Home>, port: Option<u16>) {
        let destination = home.and_then(|home| {
            let state = connection.entry().state;
            self.snapshot.destination(home.destination).filter(|d| d.has(home.generation, state))
        });
        let Some(destination) = destination else { return };
        let Some((listen, _)) = self.served(connection.key).filter(|_| destination.method == Method::Nat)
        else {
            return;
        };
        let parts = KeyParts::of(connection.key);
        let port = port.or(destination.port).unwrap_or_else(|| listen.port_of(connection.key));
        for real in self.names(destination, port, listen).into_iter().flatten() {
            let key = out_key(self.snapshot, parts.client, port, real);
            if let Some(found) = self.tables.get(&key, self.tables.hash(&key))
                && Reply::from(found.payload).of == connection.place
            {
                // Somebody else has removed it already, then.
                let _gone = self.tables.remove(found.place, found.payload);
            }
        }
    }

    /// The names that a destination's replies from `port` may go by: that of the one port first.
    #[inline]
    fn names(&self, destination: &Destination, port: u16, listen: &Listen) -> [Option<RealId>; 2] {
        let plain = self.snapshot.real_of(destination, port, listen.proto);
        let keeping = self.snapshot.port_keeping_real(destination.addr, listen.proto);
        [plain, keeping.filter(|keeping| Some(*keeping) != plain)]
    }

    /// The tables.
    pub(crate) fn tables(&self) -> Tables {
        self.tables
    }

    /// Looks at an entry that no packet asks for: ends it when it is due, takes it off a destination that is
    /// gone. Says in how many seconds it is due, if it stays.
    pub(crate) fn examine(&mut self, place: Place, key: Key, payload: Payload) -> Option<u16> {
        if let Side::Out(real) = KeyParts::of(key).side {
            let reply = Reply::from(payload);
            let alive = reply.tentative
                || self
                    .replied(&key, real, reply)
                    .is_some_and(|c| !c.entry().flags.contains(Flags::DETACHED));
            if !alive {
                // One that changes at this moment is looked at again in the next pass.
                let _later = self.tables.remove(place, payload);
            }
            return None;
        }
        let connection = Connection { place, key, payload };
        if let Side::Template(service) = KeyParts::of(key).side {
            return self.examine_template(connection, service);
        }
        let entry = connection.entry();
        let Some((listen, service)) = self.served(key) else {
            self.retire(connection);
            return None;
        };
        let gone = self.destination_of(listen.service, &connection).is_none();
        if entry.expired(&service.timeouts, self.tick) || (gone && entry.state == State::Udp) {
            self.retire(connection);
            return None;
        }
        if gone && !entry.flags.contains(Flags::DETACHED) {
            // It stays to be reset or dropped when its client speaks, but no longer names the destination, whose
            // id may go to another.
            let detached = Entry { flags: entry.flags.with(Flags::DETACHED), ..entry };
            let _later = self.update(connection, detached);
        }
        let left = entry.state.timeout(&service.timeouts).0 - entry.tick.age(self.tick).0;
        Some(left.saturating_add(1))
    }

    /// A connection was begun that is not established (`+1`), or no longer is that (`-1`). Its key says of which listen,
    /// whether that is there or not.
    #[inline]
    fn pend(&self, connection: Connection, more: i32) {
        self.own.pend(connection.entry().state == State::Udp, more);
        if let Some(listen) = connection.key.listen() {
            self.live.listen(listen).pend(more);
        }
    }

    #[inline(always)]
    fn tell(&mut self, connection: Connection, old: Payload, new: Payload) {
        if let Some(changes) = self.changes {
            tell(changes, connection, old, new);
        }
    }
}

/// A function of its own, so that what a packet of a connection needs stays small.
#[inline(never)]
fn tell(changes: &mut ChangeWriter, connection: Connection, old: Payload, new: Payload) {
    let (handle, key) = (connection.place.bits(), connection.key.head());
    changes.push(Change { handle, key, old, new });
}
