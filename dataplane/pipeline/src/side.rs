//! Side records: what the entry of a connection has no room for.
//!
//! An entry with [`Flags::SIDE`](crate::entry::Flags::SIDE) names a record where others name their destination. The
//! record says where the connection goes, and keeps three words for the feature that asked for it.
//!
//! ```text
//!            63   56 55                24 23        16 15                 0
//!           +-------+--------------------+------------+--------------------+
//!   word 0  | kind  |         0          | generation |    destination     |
//!           +-------+--------------------+------------+--------------------+
//!   words 1 to 3: as the kind says
//! ```
//!
//! Invariants:
//! - A record belongs to one entry, from before that is published until after it is removed. Who removes the entry
//!   gives the record back: [`crate::keeper`], and nobody else.
//! - Kind, destination and generation never change while it does.
//! - Who follows an entry to its record looks at the entry once more ([`SideRecords::of`]). While that is there, what
//!   was read was its own.

use crate::entry::{Entry, Flags};
use crate::ids::{DestId, Generation};
use crate::key::Key;
use crate::seq::Offsets;
use crate::syn_proxy::Stage;
use crate::tables::{Place, Tables};
use sheave_table::{RecordId, Slab};

/// The side records of all entries. Their memory is the process's for good.
#[derive(Debug, Clone, Copy)]
pub struct SideRecords(pub &'static Slab);

/// A destination, and which life of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// The destination.
    pub destination: DestId,
    /// Which life.
    pub generation: Generation,
}

/// What a record is for, and so what its words mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A connection that others follow from.
    Helper = 1,
    /// A connection that the SYN proxy makes or has made. All words: [`Stage`].
    Proxied = 2,
    /// A persistence template. Word 1: how many connections it has, and which one it is. Word 2: of a network of how
    /// many bits.
    Template = 3,
    /// A connection that follows from another ([`crate::expect`]), or the expectation of one. Word 1: the real
    /// server's port.
    Data = 4,
}

impl Kind {
    fn from_code(code: u64) -> Option<Kind> {
        [Kind::Helper, Kind::Proxied, Kind::Template, Kind::Data]
            .into_iter()
            .find(|kind| *kind as u64 == code)
    }
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What it is for.
    pub kind: Kind,
    /// Where its connection goes.
    pub home: Home,
    /// What the kind keeps.
    pub words: [u64; 3],
}

const KIND_AT: u32 = 56;
const GENERATION_AT: u32 = DestId::BITS;
/// Where the kind's own words begin.
const OWN: usize = 1;

impl Record {
    /// A connection that goes to another port of its destination.
    pub(crate) fn data(home: Home, rport: u16) -> Record {
        Record { kind: Kind::Data, home, words: [rport.into(), 0, 0] }
    }

    /// The real server's port, where it is not the destination's.
    pub fn real_port(&self) -> Option<u16> {
        u16::try_from(self.words[0]).ok().filter(|_| self.kind == Kind::Data)
    }

    /// Whether it is of a connection whose real server has not answered the SYN proxy.
    pub(crate) fn connecting(&self) -> bool {
        let connecting = || matches!(Stage::from_words(self.words), Some(Stage::Connecting(_)));
        self.kind == Kind::Proxied && connecting()
    }

    /// How the numbers of its connection differ, if the SYN proxy has made it.
    pub(crate) fn offsets(&self) -> Option<Offsets> {
        match Stage::from_words(self.words) {
            Some(Stage::Open(offsets)) if self.kind == Kind::Proxied => Some(offsets),
            _ => None,
        }
    }

    fn head(&self) -> u64 {
        let Home { destination, generation } = self.home;
        ((self.kind as u64) << KIND_AT)
            | (u64::from(generation.0) << GENERATION_AT)
            | u64::from(destination.0)
    }

    /// `None` for the words of one that is free.
    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of the word")]
    fn from_words([head, words @ ..]: [u64; 4]) -> Option<Record> {
        let kind = Kind::from_code(head >> KIND_AT)?;
        let home =
            Home { destination: DestId(head as u16), generation: Generation((head >> GENERATION_AT) as u8) };
        Some(Record { kind, home, words })
    }
}

impl SideRecords {
    /// How many there are for so many connections: one for each.
    pub fn records_for(connections: u64) -> u32 {
        u32::try_from(connections).unwrap_or(Slab::MAX).min(Slab::MAX)
    }

    /// Makes a record, for an entry that is about to be published. `None` when there is no room.
    pub fn open(self, record: &Record) -> Option<RecordId> {
        let id = self.0.alloc()?;
        let [a, b, c] = record.words;
        self.0.write(id, [record.head(), a, b, c]);
        Some(id)
    }

    /// The record of an entry that was found at `place` under `key`. `None` when it has none, or is gone by now, so
    /// that the entry is to be looked up again.
    #[cold]
    pub fn of(self, tables: Tables, (place, key): (Place, &Key), entry: Entry) -> Option<Record> {
        let id = entry.record()?;
        let record = Record::from_words(self.0.read(id))?;
        let still = tables.confirm(place, key).map(Entry::from)?;
        (still.record() == Some(id)).then_some(record)
    }

    /// Where the connection goes whose entry was found at `place` under `key`, and to which port of the real server if
    /// not the destination's. `None` when it is gone by now.
    pub fn home_of(
        self,
        tables: Tables,
        (place, key): (Place, &Key),
        entry: Entry,
    ) -> Option<(Home, Option<u16>)> {
        if entry.flags.contains(Flags::SIDE) {
            return self.of(tables, (place, key), entry).map(|record| (record.home, record.real_port()));
        }
        Some((Home { destination: entry.destination, generation: entry.generation }, None))
    }

    /// Where an entry goes that nobody else may have removed yet: for whoever is about to try. What it says only
    /// counts if that succeeds.
    #[inline]
    pub(crate) fn home(self, entry: Entry) -> Option<Home> {
        if entry.flags.contains(Flags::SIDE) {
            return self.home_aside(entry);
        }
        Some(Home { destination: entry.destination, generation: entry.generation })
    }

    #[cold]
    fn home_aside(self, entry: Entry) -> Option<Home> {
        self.peek(entry).map(|record| record.home)
    }

    /// The record of an entry, likewise.
    pub(crate) fn peek(self, entry: Entry) -> Option<Record> {
        Record::from_words(self.0.read(entry.record()?))
    }

    /// One of the kind's words, from 0.
    pub fn word(self, id: RecordId, word: usize) -> u64 {
        self.0.word(id, word + OWN)
    }

    /// Replaces one of the kind's words if it still is `seen`.
    ///
    /// # Errors
    /// The word that was found instead.
    pub fn change(self, id: RecordId, word: usize, seen: u64, new: u64) -> Result<(), u64> {
        self.0.change_word(id, word + OWN, seen, new)
    }

    /// Adds to one of the kind's words.
    pub fn add(self, id: RecordId, word: usize, more: i64) {
        let mut seen = self.word(id, word);
        while let Err(found) = self.change(id, word, seen, seen.wrapping_add_signed(more)) {
            seen = found;
        }
    }

    /// Gives a record back whose entry was removed, or never published.
    pub(crate) fn close(self, id: RecordId) {
        let freed = self.0.free(id);
        debug_assert!(freed, "record {} had an owner", id.index());
    }
}
