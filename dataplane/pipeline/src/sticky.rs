//! Persistence: templates, which bring the clients of one network to the destination that the first of them was given.
//!
//! A template is an entry by (network, service) with a side record that says where it leads and how many connections
//! it has. It lives for the service's timeout after its last use, and as long as it has connections then: it is armed
//! again for 60 s, and again, until there are none.
//!
//! Invariants:
//! - Nothing is written for the arming while it has connections. Whoever ends one works out until when the template was
//!   armed then ([`settled`]), before it counts that connection out.
//! - A connection is counted in before it is published, and counted out by whoever removes its entry
//!   ([`Flags::CONTROLLED`]).
//! - The count carries a mark of its template, so that whoever comes too late does not change another one's, and its
//!   connections carry the template's number, so that none is counted out of a later one.
//! - A template is of a network of as many bits as its service's clients count by, or it leads nowhere.
//! - No destination counts a template: it has [`Flags::DETACHED`].

use crate::connect::{Chosen, too_old};
use crate::context::Context;
use crate::entry::{Entry, Flags, State, TemplateLife};
use crate::ids::{DestId, Generation, ServiceId};
use crate::inbound::{Served, Step};
use crate::keeper::{Connection, Keeper, at_home};
use crate::key::{Key, KeyParts};
use crate::packet::Packet;
use crate::pipeline::Shared;
use crate::reason::Reason;
use crate::scheduler::Excluded;
use crate::side::{Home, Kind, Record};
use crate::snapshot::Destination;
use crate::tables::{Place, Reserved, Wish};
use crate::tcp_state::TcpState;
use crate::time::{Seconds, Tick, Time};
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

    /// How many bits the network of a client has.
    fn bits(&self, client: IpAddr) -> u8 {
        let whole = if client.is_ipv4() { 32 } else { 128 };
        self.prefix.map_or(whole, |prefix| prefix.min(whole))
    }
}

/// The state of a template that lives by its service's timeout, and of one that was armed again.
const USED: State = State::Udp;
const ARMED: State = State::Tcp(TcpState::Close);
/// For how long.
const ARMING: u16 = 60;
/// So long after its end a connection may be found to have ended, in seconds.
const SOON: u16 = 4;
/// A template with connections is armed on paper before ticks come round.
const LONG: u16 = 7200;
/// Times that a packet waits for another worker to make the template that it needs too.
const PATIENCE: usize = 64;
/// Times that a count is tried while others change it.
const ATTEMPTS: usize = 16;

/// The count in a record's first word, and above it the mark: the template's life, and what tells it from others.
const COUNT: u64 = (1 << 24) - 1;
const LIFE_AT: u32 = u64::BITS - TemplateLife::BITS;

/// The mark of a template that is made `now`. Of what life it is follows from that of the one `before`, if that had to
/// make way: its connections are there still.
fn mark(key: &Key, now: Time, before: Option<TemplateLife>) -> u64 {
    let words = match key {
        Key::Narrow([word]) => [now.0, *word, 0, 0],
        Key::Wide([a, b, c]) => [now.0, *a, *b, *c],
    };
    let mix = |sum: u64, word: &u64| (sum.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let any = words.iter().fold(0u64, mix);
    let life = before.map_or(TemplateLife::new(any >> LIFE_AT), TemplateLife::next);
    (any & !COUNT & ((1 << LIFE_AT) - 1)) | (life.number() << LIFE_AT)
}

fn life(word: u64) -> TemplateLife {
    TemplateLife::new(word >> LIFE_AT)
}

fn lifetime(entry: Entry, persistence: &Persistence) -> u16 {
    if entry.state == USED { persistence.timeout.0 } else { ARMING }
}

/// A template as it is once a connection of it has ended, `ago` seconds before `now`.
fn settled(entry: Entry, persistence: &Persistence, now: Tick, ago: u16) -> Entry {
    let lived = entry.tick.age(now).0.saturating_sub(ago);
    let Some(over) = lived.checked_sub(lifetime(entry, persistence)).filter(|over| *over > 0) else {
        return entry;
    };
    let armings = over.div_ceil(ARMING).saturating_sub(1);
    let since = lifetime(entry, persistence).wrapping_add(armings.wrapping_mul(ARMING));
    Entry { tick: Tick(entry.tick.0.wrapping_add(since)), state: ARMED, ..entry }
}

/// Whether the template of a network leads anyone anywhere still.
pub fn lives(
    entry: Entry,
    record: &Record,
    (network, persistence): (IpAddr, &Persistence),
    now: Tick,
) -> bool {
    let same = record.words[1] == u64::from(persistence.bits(network));
    same && (connections(record) > 0 || entry.tick.age(now).0 <= lifetime(entry, persistence))
}

/// What came of the wish to have a template count a new connection.
enum Join {
    /// It does, and this is where it leads.
    To(DestId, TemplateLife),
    /// There are as many connections as there may be where it leads.
    Full,
    /// It led nowhere, and is gone.
    Ended(TemplateLife),
    /// It changed meanwhile: look again.
    Again,
}

/// Removes a template that was found at `place`, for whoever is no worker. `false` when it has changed meanwhile.
///
/// Its connections go on.
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
    /// Counts a new connection in, if the template still leads somewhere.
    fn join(&mut self, service: ServiceId, persistence: &Persistence, template: Connection) -> Join {
        let entry = template.entry();
        let (Some(id), Some(record)) = (entry.record(), template.record(self.shared)) else {
            return Join::Again;
        };
        let (mark, network) = (record.words[0] & !COUNT, KeyParts::of(template.key).client.0);
        let lives = lives(entry, &record, (network, persistence), self.tick);
        let leads = at_home(self.snapshot, service, record.home);
        let Some((leads, destination)) = leads.filter(|(_, d)| lives && d.welcomes()) else {
            return if self.retire(template) { Join::Ended(life(mark)) } else { Join::Again };
        };
        if self.shared.live.destination(leads).is_full(&destination.limits) {
            return Join::Full;
        }
        let used = Entry { tick: self.tick, state: USED, ..entry };
        if used != entry && self.tables.update(template.place, template.payload, used.payload()).is_err() {
            return Join::Again;
        }
        let mut seen = self.side.word(id, 0);
        loop {
            if seen & !COUNT != mark {
                return Join::Again;
            }
            match self.side.change(id, 0, seen, seen + 1) {
                Ok(()) => break,
                Err(found) => seen = found,
            }
        }
        // If it is gone meanwhile, so is the count.
        let still = self.tables.confirm(template.place, &template.key).map(Entry::from);
        if still.is_some_and(|still| still.record() == Some(id)) {
            Join::To(leads, life(mark))
        } else {
            Join::Again
        }
    }

    /// Counts a connection out that ended `ago` seconds before now.
    #[cold]
    pub(crate) fn leave_template(
        &mut self,
        client: IpAddr,
        service: ServiceId,
        of: (Home, TemplateLife),
        ago: u16,
    ) {
        let Some(persistence) = self.snapshot.persistence(service) else { return };
        let key = Key::template(persistence.network(client), 0, service);
        let hash = self.tables.hash(&key);
        for _ in 0..ATTEMPTS {
            let Some(seen) = self.tables.get(&key, hash) else { return };
            let template = Connection { place: seen.place, key, payload: seen.payload };
            let entry = template.entry();
            let (Some(id), Some(record)) = (entry.record(), template.record(self.shared)) else { return };
            let word = record.words[0];
            let same = record.words[1] == u64::from(persistence.bits(client));
            if (record.home, life(word)) != of || !same || word & COUNT == 0 {
                // That is another one.
                return;
            }
            // Whoever is met last need not be the last to have ended.
            let settled = settled(entry, &persistence, self.tick, ago);
            if settled != entry
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
        let persistence = self.snapshot.persistence(service);
        let entry = template.entry();
        let record = template.record(self.shared);
        let home = record.and_then(|record| at_home(self.snapshot, service, record.home));
        let (Some(persistence), Some(record), Some(_)) = (persistence, record, home) else {
            self.retire(template);
            return None;
        };
        let (lived, life) = (entry.tick.age(self.tick).0, lifetime(entry, &persistence));
        if !lives(entry, &record, (network, &persistence), self.tick) {
            self.retire(template);
            return None;
        }
        if lived > LONG.saturating_add(life) {
            let armed = settled(entry, &persistence, self.tick, 0).payload();
            // One that changes at this moment is used.
            let _used = self.tables.update(template.place, template.payload, armed);
        }
        let left = expires_in(entry, &persistence, self.tick);
        // Armed on paper a moment ago: a connection that ended before that, and is found to have later, may say that it was not.
        let perhaps = lived > life && left > ARMING.saturating_sub(SOON);
        Some(if perhaps { 1 } else { left.saturating_add(1) })
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
        let lives = lives(entry, &record, (network, persistence), self.tick);
        let full = |id, d: &Destination| self.shared.live.destination(id).is_full(&d.limits);
        at_home(self.snapshot, service, record.home)
            .filter(|(id, destination)| lives && destination.welcomes() && !full(*id, destination))
            .map(|(id, _)| id)
    }

    /// Where a new connection of a persistent service goes, and which template counts it, if one does. What would be
    /// too much for its client's destination goes elsewhere; the template stays.
    pub(crate) fn choose_by_template(
        &mut self,
        packet: &Packet,
        served: Served<'a>,
        persistence: &Persistence,
    ) -> Result<(Chosen<'a>, Option<TemplateLife>), Step<'a>> {
        let network = persistence.network(KeyParts::of(packet.key).client.0);
        let key = Key::template(network, 0, served.id);
        let tables = self.tables();
        let hash = tables.hash(&key);
        let mut before = None;
        for _ in 0..PATIENCE {
            if let Some(seen) = tables.get(&key, hash) {
                let template = Connection { place: seen.place, key, payload: seen.payload };
                match self.keeper().join(served.id, persistence, template) {
                    Join::To(id, life) => {
                        let destination =
                            self.snapshot.destination(id).ok_or(Step::Refuse(Reason::NoDestination))?;
                        return Ok((Chosen { service: served.id, id, destination }, Some(life)));
                    }
                    Join::Full => {
                        let chosen = self.pick(packet, served, &Excluded::none());
                        return Ok((chosen.ok_or(Step::Refuse(Reason::NoDestination))?, None));
                    }
                    Join::Ended(life) => before = Some(life),
                    Join::Again => {}
                }
                continue;
            }
            match tables.reserve(&key, hash) {
                Wish::Reserved(reserved) => {
                    let bits = u64::from(persistence.bits(network));
                    let words = [mark(&key, self.now, before) | 1, bits, 0];
                    return self.new_template(packet, served, words, reserved);
                }
                Wish::Exists(_) => {}
                Wish::Busy => std::hint::spin_loop(),
                Wish::Full if self.make_room(&key, hash) => {}
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
        words: [u64; 3],
        reserved: Reserved,
    ) -> Result<(Chosen<'a>, Option<TemplateLife>), Step<'a>> {
        let Some(chosen) = self.pick(packet, served, &Excluded::none()) else {
            return Err(Step::Refuse(Reason::NoDestination));
        };
        if served.service.sorry == Some(chosen.id) {
            // Nobody is kept where nobody is served.
            return Ok((chosen, None));
        }
        let home = Home { destination: chosen.id, generation: chosen.destination.generation };
        let record = Record { kind: Kind::Template, home, words };
        let id = self.shared.side.open(&record).ok_or(Step::Refuse(Reason::SideRecordsFull))?;
        // It is no connection that waits to be established.
        let (flags, template) = (Flags::DETACHED.with(Flags::ASSURED), TemplateLife::default());
        let (destination, generation) = (DestId(0), Generation(0));
        let entry = Entry { tick: self.tick, state: USED, flags, destination, generation, template };
        if reserved.publish(entry.with_record(id).payload()).is_err() {
            self.shared.side.close(id);
            return Err(Step::Again);
        }
        Ok((chosen, Some(life(words[0]))))
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
                    if let Some(template) = counted {
                        self.give_up(packet, chosen, template);
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
    pub(crate) fn give_up(&mut self, packet: &Packet, chosen: Chosen<'_>, template: TemplateLife) {
        let home = Home { destination: chosen.id, generation: chosen.destination.generation };
        let client = KeyParts::of(packet.key).client.0;
        self.keeper().leave_template(client, chosen.service, (home, template), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERSISTENCE: Persistence = Persistence { timeout: Seconds(360), prefix: Some(24) };

    fn template(tick: u16, state: State) -> Entry {
        let (flags, destination, generation) = (Flags::DETACHED, DestId(7), Generation(1));
        Entry { tick: Tick(tick), state, flags, destination, generation, template: TemplateLife::default() }
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

    #[test]
    fn templates_that_follow_each_other_are_told_apart() {
        let key = Key::template(Ipv4Addr::new(192, 0, 2, 7).into(), 0, ServiceId(3));
        let first = mark(&key, Time(7), None);
        let mut marks = vec![first];
        for _ in 0..15 {
            marks.push(mark(&key, Time(7), marks.last().copied().map(life)));
        }
        assert!(marks.iter().all(|mark| mark & COUNT == 0));
        let lives: std::collections::BTreeSet<u64> = marks.iter().map(|mark| life(*mark).number()).collect();
        assert_eq!(lives.len(), 16);
        assert_ne!(mark(&key, Time(8), None), first);
    }
}
