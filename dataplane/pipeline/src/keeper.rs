//! Keeping the entries of connections, and with each change the counts that follow from it.
//!
//! Whoever's compare-and-swap wins counts, so that every change is counted once, whichever worker makes it.

use crate::entry::{Entry, Flags, Key, KeyParts, Reply, Side, State, out_key, same_client};
use crate::ids::{ListenId, RealId, ServiceId};
use crate::live::Live;
use crate::pipeline::Shared;
use crate::snapshot::{Destination, Listen, Service, Snapshot};
use crate::time::Tick;
use sheave_table::change::{Change, ChangeWriter};
use sheave_table::{Handle, Payload, Table, Update};

/// The connections as one snapshot sees them at one moment.
pub(crate) struct Keeper<'a> {
    table: &'static Table<1>,
    live: &'a Live,
    snapshot: &'a Snapshot,
    tick: Tick,
    changes: &'a mut Option<ChangeWriter>,
}

/// A connection as a look-up saw it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) handle: Handle,
    pub(crate) key: Key,
    pub(crate) payload: Payload,
}

impl Connection {
    #[inline]
    pub(crate) fn entry(&self) -> Entry {
        Entry::from(self.payload)
    }

    /// The listen that its key names.
    #[inline]
    pub(crate) fn listen(&self) -> Option<ListenId> {
        match KeyParts::of(self.key).side {
            Side::In(listen) => Some(listen),
            Side::Out(_) => None,
        }
    }
}

/// Where a connection of `service` goes; `None` when that destination was removed or has failed since.
#[inline]
pub(crate) fn destination_of(snapshot: &Snapshot, service: ServiceId, entry: Entry) -> Option<&Destination> {
    if entry.flags.contains(Flags::DETACHED) {
        return None;
    }
    let destination = snapshot.destination(entry.destination)?;
    (destination.generation == entry.generation && destination.service == service).then_some(destination)
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        snapshot: &'a Snapshot,
        tick: Tick,
        changes: &'a mut Option<ChangeWriter>,
    ) -> Keeper<'a> {
        Keeper { table: shared.table, live: &shared.live, snapshot, tick, changes }
    }

    /// Listen and service of a connection.
    #[inline]
    pub(crate) fn served(&self, key: Key) -> Option<(&'a Listen, &'a Service)> {
        let Side::In(listen) = KeyParts::of(key).side else { return None };
        self.snapshot.serving(listen)
    }

    /// The connection that an out-entry of `real` under `key` leads to, if it still is that one: its slot may
    /// have been used again many times over.
    #[inline]
    pub(crate) fn replied(&self, key: Key, real: RealId, reply: Reply) -> Option<Connection> {
        let (in_key, payload) = self.table.load(reply.of)?;
        let connection = Connection { handle: reply.of, key: in_key, payload };
        let (listen, _) = self.served(in_key)?;
        let destination = destination_of(self.snapshot, listen.service, connection.entry());
        // One whose destination is gone still answers to its name; the caller finds out what becomes of it.
        let same = destination.is_none_or(|d| d.real == Some(real));
        (same && same_client(in_key, key)).then_some(connection)
    }

    /// Whether an out-entry is in the way of another connection with its key.
    pub(crate) fn reply_in_use(&self, key: Key, real: RealId, reply: Reply) -> bool {
        reply.tentative
            || self.replied(key, real, reply).is_some_and(|connection| {
                self.served(connection.key).is_some_and(|(listen, service)| {
                    let entry = connection.entry();
                    destination_of(self.snapshot, listen.service, entry).is_some()
                        && !entry.expired(&service.timeouts, self.tick)
                })
            })
    }

    /// Replaces an entry and counts the change of its state.
    #[inline]
    pub(crate) fn update(&mut self, connection: Connection, new: Entry) -> Result<(), Update> {
        let old = connection.entry();
        let payload = new.payload();
        self.table.update(connection.handle, connection.payload, payload)?;
        let (was, is) = (old.counted(), new.counted());
        if was != is {
            let live = self.live.destination(old.destination);
            if let Some(active) = was {
                live.leave(active);
            }
            if let Some(active) = is {
                live.enter(active);
            }
        }
        if old.state != new.state || old.flags != new.flags {
            self.tell(connection, connection.payload, payload);
        }
        Ok(())
    }

    /// Counts a connection in that was just published.
    pub(crate) fn opened(&mut self, connection: Connection) {
        let entry = connection.entry();
        if let Some(active) = entry.counted() {
            let live = self.live.destination(entry.destination);
            live.enter(active);
            if let Some(destination) = self.snapshot.destination(entry.destination) {
                // The mark for the thresholds is set at the moment that they are reached.
                let _overloaded = live.overloaded(&destination.limits);
            }
        }
        self.tell(connection, Payload::default(), connection.payload);
    }

    /// Ends a connection: removes its entries and counts it out. `false` when somebody changed it meanwhile.
    pub(crate) fn retire(&mut self, connection: Connection) -> bool {
        if self.table.remove(connection.handle, connection.payload).is_err() {
            return false;
        }
        let entry = connection.entry();
        if let Some(active) = entry.counted() {
            self.live.destination(entry.destination).leave(active);
        }
        self.tell(connection, connection.payload, Payload::default());
        self.retire_reply(connection);
        true
    }

    /// Removes the out-entry of a connection that has ended. One that is not found (its destination is gone) is
    /// left to the sweep.
    fn retire_reply(&self, connection: Connection) {
        let KeyParts { client, port, .. } = KeyParts::of(connection.key);
        let entry = connection.entry();
        let destination = self.snapshot.destination(entry.destination);
        let Some(real) = destination.filter(|d| d.generation == entry.generation).and_then(|d| d.real) else {
            return;
        };
        let key = out_key(client, port, real);
        if let Some(found) = self.table.get(&key, self.table.hash(&key))
            && Reply::from(found.payload).of == connection.handle
        {
            // Somebody else has removed it already, then.
            let _gone = self.table.remove(found.handle, found.payload);
        }
    }

    /// Looks at an entry that no packet asks for: ends it when it is due, takes it off a destination that is
    /// gone. Says in how many seconds it is due, if it stays.
    pub(crate) fn examine(&mut self, handle: Handle, key: Key, payload: Payload) -> Option<u16> {
        if let Side::Out(real) = KeyParts::of(key).side {
            let reply = Reply::from(payload);
            let alive = reply.tentative
                || self.replied(key, real, reply).is_some_and(|c| !c.entry().flags.contains(Flags::DETACHED));
            if !alive {
                // One that changes at this moment is looked at again in the next pass.
                let _later = self.table.remove(handle, payload);
            }
            return None;
        }
        let connection = Connection { handle, key, payload };
        let entry = connection.entry();
        let Some((listen, service)) = self.served(key) else {
            self.retire(connection);
            return None;
        };
        let gone = destination_of(self.snapshot, listen.service, entry).is_none();
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

    fn tell(&mut self, connection: Connection, old: Payload, new: Payload) {
        if let Some(changes) = self.changes {
            changes.push(Change { handle: connection.handle.bits(), key: connection.key[0], old, new });
        }
    }
}
