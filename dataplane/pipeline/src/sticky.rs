//! Persistence: templates, which bring the clients of one network to the destination that the first of them was given.
//!
//! A template is an entry by (network, service) with a side record that says where it leads and how many connections
//! it has. It lives for the service's timeout after its last use, and as long as it has connections then: it is armed
//! again for 60 s, and again, until there are none.
//!
//! Invariants:
//! - Nothing is written for the arming. Whoever ends the last connection works out until when the template was armed
//!   then ([`settled`]), before it counts that connection out.
//! - A connection is counted in before it is published, and counted out by whoever removes its entry
//!   ([`Flags::CONTROLLED`]).
//! - The count carries a mark of its template's key, so that whoever comes too late does not change another record.
//! - No destination counts a template: it has [`Flags::DETACHED`].

use crate::connect::{Chosen, too_old};
use crate::context::Context;
use crate::entry::{Entry, Flags, State};
use crate::ids::{DestId, Generation, ServiceId};
use crate::inbound::{Served, Step};
use crate::keeper::{Connection, Keeper, at_home};
use crate::key::{Key, KeyParts};
use crate::packet::Packet;
use crate::pipeline::Shared;
use crate::reason::Reason;
use crate::scheduler::Excluded;
use crate::side::{Home, Kind, Record};
use crate::tables::{Place, Reserved, Wish};
use crate::tcp_state::TcpState;
use crate::time::{Seconds, Tick};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a service keeps its clients with their destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Persistence {
    /// For so long after the last use.
    pub timeout: Seconds,
    /// Clients with so many bits of their address in common count as one; `None`: with the whole address.
    pub prefix: Option<u8>,
}

impl Persistence {
    /// The network that a client counts as.
    pub fn network(&self, client: IpAddr) -> IpAddr {
        let Some(prefix) = self.prefix else { return client };
        match client {
            IpAddr::V4(addr) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
                Ipv4Addr::from_bits(addr.to_bits() & mask).into()
            }
            IpAddr::V6(addr) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
                Ipv6Addr::from_bits(addr.to_bits() & mask).into()
            }
        }
    }
}

/// The state of a template that lives by its service's timeout, and of one that was armed again.
const USED: State = State::Udp;
const ARMED: State = State::Tcp(TcpState::Close);
/// For how long.
const ARMING: u16 = 60;
/// A template with connections is armed on paper before ticks come round.
const LONG: u16 = 7200;
/// Times that a packet waits for another worker to make the template that it needs too.
const PATIENCE: usize = 64;
/// Times that a count is tried while others change it.
const ATTEMPTS: usize = 16;

/// The count in a record's first word, and the mark above it.
const COUNT: u64 = (1 << 24) - 1;

fn mark(key: &Key) -> u64 {
    let words = match key {
        Key::Narrow([word]) => [*word, 0, 0],
        Key::Wide(words) => *words,
    };
    words.iter().fold(0u64, |sum, word| (sum.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15))
        & !COUNT
}

fn lifetime(entry: Entry, persistence: &Persistence) -> u16 {
    if entry.state == USED { persistence.timeout.0 } else { ARMING }
}

/// A template as it is once its last connection has ended, `ago` seconds before `now`.
fn settled(entry: Entry, persistence: &Persistence, now: Tick, ago: u16) -> Entry {
    let lived = entry.tick.age(now).0.saturating_sub(ago);
    let Some(over) = lived.checked_sub(lifetime(entry, persistence)).filter(|over| *over > 0) else {
        return entry;
    };
    let armings = over.div_ceil(ARMING).saturating_sub(1);
    let since = lifetime(entry, persistence).wrapping_add(armings.wrapping_mul(ARMING));
    Entry { tick: Tick(entry.tick.0.wrapping_add(since)), state: ARMED, ..entry }
}

/// Whether a template leads anyone anywhere still.
pub fn lives(entry: Entry, record: &Record, persistence: &Persistence, now: Tick) -> bool {
    connections(record) > 0 || entry.tick.age(now).0 <= lifetime(entry, persistence)
}

/// Removes a template that was found at `place`, for whoever is no worker. `false` when it has changed meanwhile.
///
/// Its connections go on. One that ends after its client has got another template to the same destination is counted
/// out of that: it then lives for its timeout after its last use only, though it may have connections.
pub fn clear(shared: &Shared, place: Place, entry: Entry) -> bool {
    let removed = shared.tables.remove(place, entry.payload()).is_ok();
    if let Some(record) = entry.record().filter(|_| removed) {
        shared.side.close(record);
    }
    removed
}

/// How many connections a template has.
pub fn connections(record: &Record) -> u64 {
    record.words[0] & COUNT
}

/// Seconds until a template expires if no connection is opened, and those that it has last.
pub fn expires_in(entry: Entry, persistence: &Persistence, now: Tick) -> u16 {
    let (lived, life) = (entry.tick.age(now).0, lifetime(entry, persistence));
    match lived.checked_sub(life) {
        None => life - lived,
        Some(over) => (ARMING - over % ARMING) % ARMING,
    }
}

impl Keeper<'_> {
    /// Counts a new connection in, if the template still leads somewhere. Otherwise it is gone, or is to be looked at
    /// again.
    fn join(
        &mut self,
        service: ServiceId,
        persistence: &Persistence,
        template: Connection,
    ) -> Option<DestId> {
        let entry = template.entry();
        let (id, record) = (entry.record()?, template.record(self.shared)?);
        let lives = lives(entry, &record, persistence, self.tick);
        let leads = at_home(self.snapshot, service, record.home)
            .filter(|(_, destination)| lives && destination.welcomes());
        let Some((leads, _)) = leads else {
            self.retire(template);
            return None;
        };
        let used = Entry { tick: self.tick, state: USED, ..entry };
        if used != entry {
            self.tables.update(template.place, template.payload, used.payload()).ok()?;
        }
        let mut seen = self.side.word(id, 0);
        loop {
            if seen & !COUNT != mark(&template.key) {
                return None;
            }
            match self.side.change(id, 0, seen, seen + 1) {
                Ok(()) => break,
                Err(found) => seen = found,
            }
        }
        // If it is gone meanwhile, so is the count.
        let still = self.tables.confirm(template.place, &template.key).map(Entry::from)?;
        (still.record() == Some(id)).then_some(leads)
    }

    /// Counts a connection out that ended `ago` seconds before now.
    #[cold]
    pub(crate) fn leave_template(&mut self, client: IpAddr, service: ServiceId, home: Home, ago: u16) {
        let Some(persistence) = self.snapshot.persistence(service) else { return };
        let key = Key::template(persistence.network(client), 0, service);
        let hash = self.tables.hash(&key);
        for _ in 0..ATTEMPTS {
            let Some(seen) = self.tables.get(&key, hash) else { return };
            let template = Connection { place: seen.place, key, payload: seen.payload };
            let entry = template.entry();
            let (Some(id), Some(record)) = (entry.record(), template.record(self.shared)) else { return };
            let word = record.words[0];
            if record.home != home || word & !COUNT != mark(&key) || word & COUNT == 0 {
                // That is a later one.
                return;
            }
            let settled = settled(entry, &persistence, self.tick, ago);
            if connections(&record) == 1
                && settled != entry
                && self.tables.update(template.place, template.payload, settled.payload()).is_err()
            {
                continue;
            }
            if self.side.change(id, 0, word, word - 1).is_ok() {
                return;
            }
        }
    }

    /// Looks at a template that no packet asks for, as [`Keeper::examine`] does at connections.
    pub(crate) fn examine_template(&mut self, template: Connection, service: ServiceId) -> Option<u16> {
        let network = KeyParts::of(template.key).client.0;
        let persistence = self.snapshot.persistence(service).filter(|p| p.network(network) == network);
        let entry = template.entry();
        let record = template.record(self.shared);
        let home = record.and_then(|record| at_home(self.snapshot, service, record.home));
        let (Some(persistence), Some(record), Some(_)) = (persistence, record, home) else {
            self.retire(template);
            return None;
        };
        let (lived, life) = (entry.tick.age(self.tick).0, lifetime(entry, &persistence));
        if !lives(entry, &record, &persistence, self.tick) {
            self.retire(template);
            return None;
        }
        if lived > LONG.saturating_add(life) {
            let armed = settled(entry, &persistence, self.tick, 0).payload();
            // One that changes at this moment is used.
            let _used = self.tables.update(template.place, template.payload, armed);
        }
        Some(expires_in(entry, &persistence, self.tick).saturating_add(1))
    }
}

impl<'a> Context<'a> {
    /// Where the template of a client's network leads, if it has one that leads somewhere. It is not used by that.
    pub(crate) fn template_leads(
        &mut self,
        network: IpAddr,
        service: ServiceId,
        persistence: &Persistence,
    ) -> Option<DestId> {
        let key = Key::template(network, 0, service);
        let seen = self.tables().get(&key, self.tables().hash(&key))?;
        let template = Connection { place: seen.place, key, payload: seen.payload };
        let (entry, record) = (template.entry(), template.record(self.shared)?);
        let lives = connections(&record) > 0 || entry.tick.age(self.tick).0 <= lifetime(entry, persistence);
        at_home(self.snapshot, service, record.home)
            .filter(|(_, destination)| lives && destination.welcomes())
            .map(|(id, _)| id)
    }

    /// Where a new connection of a persistent service goes, and whether it is counted by a template.
    pub(crate) fn choose_by_template(
        &mut self,
        packet: &Packet,
        served: Served<'a>,
        persistence: &Persistence,
    ) -> Result<(Chosen<'a>, bool), Step<'a>> {
        let network = persistence.network(KeyParts::of(packet.key).client.0);
        let key = Key::template(network, 0, served.id);
        let tables = self.tables();
        let hash = tables.hash(&key);
        for _ in 0..PATIENCE {
            if let Some(seen) = tables.get(&key, hash) {
                let template = Connection { place: seen.place, key, payload: seen.payload };
                let joined = self.keeper().join(served.id, persistence, template);
                if let Some((id, destination)) =
                    joined.and_then(|id| Some((id, self.snapshot.destination(id)?)))
                {
                    return Ok((Chosen { service: served.id, id, destination }, true));
                }
                continue;
            }
            match tables.reserve(&key, hash) {
                Wish::Reserved(reserved) => return self.new_template(packet, served, &key, reserved),
                Wish::Exists(_) => {}
                Wish::Busy => std::hint::spin_loop(),
                Wish::Full => return Err(Step::Refuse(Reason::TableFull)),
            }
        }
        Err(Step::Refuse(Reason::EntryBusy))
    }

    /// Makes the template of a client that has none, with its first connection.
    fn new_template(
        &mut self,
        packet: &Packet,
        served: Served<'a>,
        key: &Key,
        reserved: Reserved,
    ) -> Result<(Chosen<'a>, bool), Step<'a>> {
        let Some(chosen) = self.pick(packet, served, &Excluded::none()) else {
            return Err(Step::Refuse(Reason::NoDestination));
        };
        if served.service.sorry == Some(chosen.id) {
            // Nobody is kept where nobody is served.
            return Ok((chosen, false));
        }
        let home = Home { destination: chosen.id, generation: chosen.destination.generation };
        let record = Record { kind: Kind::Template, home, words: [mark(key) | 1, 0, 0] };
        let id = self.shared.side.open(&record).ok_or(Step::Refuse(Reason::SideRecordsFull))?;
        // It is no connection that waits to be established.
        let (flags, nowhere) = (Flags::DETACHED.with(Flags::ASSURED), (DestId(0), Generation(0)));
        let entry =
            Entry { tick: self.tick, state: USED, flags, destination: nowhere.0, generation: nowhere.1 };
        if reserved.publish(entry.with_record(id).payload()).is_err() {
            self.shared.side.close(id);
            return Err(Step::Again);
        }
        Ok((chosen, true))
    }

    /// A packet of a service that schedules each by itself: no entry is made.
    #[inline(never)]
    pub(crate) fn send_once(&mut self, packet: &Packet, served: Served<'a>) -> Step<'a> {
        let chosen = match self.snapshot.persistence(served.id) {
            None => match self.pick(packet, served, &Excluded::none()) {
                Some(chosen) => chosen,
                None => return Step::Refuse(Reason::NoDestination),
            },
            Some(persistence) => match self.choose_by_template(packet, served, &persistence) {
                Err(step) => return step,
                Ok((chosen, counted)) => {
                    if counted {
                        self.give_up(packet, chosen);
                    }
                    chosen
                }
            },
        };
        if too_old(packet, chosen) {
            return Step::Refuse(Reason::TtlExceeded);
        }
        self.count_connection(chosen.service, chosen.id);
        Step::To(chosen.id, chosen.destination)
    }

    /// Counts out a connection that came to nothing.
    pub(crate) fn give_up(&mut self, packet: &Packet, chosen: Chosen<'_>) {
        let home = Home { destination: chosen.id, generation: chosen.destination.generation };
        let client = KeyParts::of(packet.key).client.0;
        self.keeper().leave_template(client, chosen.service, home, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERSISTENCE: Persistence = Persistence { timeout: Seconds(360), prefix: Some(24) };

    fn template(tick: u16, state: State) -> Entry {
        let (flags, destination, generation) = (Flags::DETACHED, DestId(7), Generation(1));
        Entry { tick: Tick(tick), state, flags, destination, generation }
    }

    #[test]
    fn a_network_is_what_the_prefix_leaves() {
        let of = |prefix, addr: &str| {
            let persistence = Persistence { prefix, ..PERSISTENCE };
            persistence.network(addr.parse().expect("an address")).to_string()
        };
        assert_eq!(of(None, "192.0.2.7"), "192.0.2.7");
        assert_eq!(of(Some(24), "192.0.2.7"), "192.0.2.0");
        assert_eq!(of(Some(0), "192.0.2.7"), "0.0.0.0");
        assert_eq!(of(Some(32), "192.0.2.7"), "192.0.2.7");
        assert_eq!(of(None, "2001:db8::7"), "2001:db8::7");
        assert_eq!(of(Some(64), "2001:db8:1:2:3::7"), "2001:db8:1:2::");
        assert_eq!(of(Some(0), "2001:db8::7"), "::");
        assert_eq!(of(Some(128), "2001:db8::7"), "2001:db8::7");
    }

    #[test]
    fn the_last_connection_says_until_when_a_template_was_armed() {
        // (Seconds from the last use to the end of the last connection, seconds from then to the template's.)
        for (ended, left) in [(0, 360), (360, 0), (361, 59), (420, 0), (421, 59), (900, 0), (899, 1)] {
            for late in [0u16, 2, 500] {
                let now = Tick(1000 + ended + late);
                let after = settled(template(1000, USED), &PERSISTENCE, now, late);
                let due = after.tick.0 + lifetime(after, &PERSISTENCE);
                assert_eq!(due, 1000 + ended + left, "{ended} {late}");
            }
        }
        let armed = settled(template(1000, ARMED), &PERSISTENCE, Tick(1061), 0);
        assert_eq!(armed.tick.0 + lifetime(armed, &PERSISTENCE), 1120);
    }

    #[test]
    fn what_is_left_counts_the_arming() {
        let left = |lived: u16| {
            expires_in(template(65_000, USED), &PERSISTENCE, Tick(65_000u16.wrapping_add(lived)))
        };
        assert_eq!([0, 359, 360, 361, 420, 421].map(left), [360, 1, 0, 59, 0, 59]);
    }
}
