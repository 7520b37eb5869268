//! The two connection tables as one: narrow keys in one, wide keys in the other.

use crate::key::Key;
use sheave_table::{
    Bucket, Found, Handle, Hash, Killed, Payload, Reservation, Reserve, Table, Update, Verdict,
};

/// The connection tables. Their memory is the process's for good.
#[derive(Debug, Clone, Copy)]
pub struct Tables {
    /// One-word keys: IPv4, services with one port.
    pub narrow: &'static Table<1>,
    /// Three-word keys: everything else.
    pub wide: &'static Table<3>,
}

/// Where an entry is: a handle, and of which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(u64);

impl Place {
    /// Slots of a table have numbers below 2^44: 2^49 bytes of wide ones.
    const WIDE: u64 = 1 << 52;
    /// Bits of a place, at most.
    pub const BITS: u32 = 53;

    #[inline]
    fn new(handle: Handle, wide: bool) -> Place {
        debug_assert!(handle.bits() < Place::WIDE, "a table of less than 2^44 slots");
        Place(handle.bits() | if wide { Place::WIDE } else { 0 })
    }

    /// As a number.
    #[inline]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The place of these bits. Those that did not come from [`Place::bits`] find nothing, or some other entry.
    #[inline]
    pub const fn from_bits(bits: u64) -> Place {
        Place(bits & (2 * Place::WIDE - 1))
    }

    /// That of an entry in the table of narrow keys.
    #[inline(always)]
    pub(crate) fn narrow(handle: Handle) -> Place {
        Place::new(handle, false)
    }

    /// That of an entry in the table of wide keys.
    #[inline(always)]
    pub(crate) fn wide(handle: Handle) -> Place {
        Place::new(handle, true)
    }

    /// The entry, if it is in the table of wide keys.
    #[inline(always)]
    pub(crate) fn as_wide(self) -> Option<Handle> {
        self.is_wide().then(|| self.handle())
    }

    /// The entry, if it is in the table of narrow keys.
    #[inline(always)]
    pub(crate) fn as_narrow(self) -> Option<Handle> {
        (!self.is_wide()).then(|| self.handle())
    }

    #[inline]
    const fn is_wide(self) -> bool {
        self.0 & Place::WIDE != 0
    }

    /// The entry, of whichever table.
    #[inline(always)]
    pub(crate) const fn handle(self) -> Handle {
        Handle::from_bits(self.0 & (Place::WIDE - 1))
    }
}

/// An entry as a look-up saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Names it from now on.
    pub place: Place,
    /// What it held.
    pub payload: Payload,
}

/// What came of a wish to make an entry.
#[derive(Debug)]
pub(crate) enum Wish {
    Reserved(Reserved),
    Exists(Seen),
    Busy,
    Full,
}

/// A slot that waits for its payload. Dropped, it is given up.
#[derive(Debug)]
pub(crate) enum Reserved {
    Narrow(Reservation<'static, 1>),
    Wide(Reservation<'static, 3>),
}

impl Reserved {
    #[inline]
    pub(crate) fn place(&self) -> Place {
        match self {
            Reserved::Narrow(reservation) => Place::new(reservation.handle(), false),
            Reserved::Wide(reservation) => Place::new(reservation.handle(), true),
        }
    }

    #[inline]
    pub(crate) fn publish(self, payload: Payload) -> Result<Place, Killed> {
        match self {
            Reserved::Narrow(reservation) => Ok(Place::new(reservation.publish(payload)?, false)),
            Reserved::Wide(reservation) => Ok(Place::new(reservation.publish(payload)?, true)),
        }
    }
}

#[inline]
fn seen(found: Option<Found>, wide: bool) -> Option<Seen> {
    found.map(|found| Seen { place: Place::new(found.handle, wide), payload: found.payload })
}

impl Tables {
    /// Hashes a key.
    #[inline(always)]
    pub fn hash(&self, key: &Key) -> Hash {
        match key {
            Key::Narrow(key) => self.narrow.hash(key),
            Key::Wide(key) => self.wide.hash(key),
        }
    }

    /// Finds the entry of `key`.
    #[inline]
    pub fn get(&self, key: &Key, hash: Hash) -> Option<Seen> {
        match key {
            Key::Narrow(key) => seen(self.narrow.get(key, hash), false),
            Key::Wide(key) => seen(self.wide.get(key, hash), true),
        }
    }

    /// Fetches the first place of a key ahead.
    #[inline(always)]
    pub(crate) fn prefetch(&self, key: &Key, hash: Hash) {
        match key {
            Key::Narrow(_) => self.narrow.prefetch(Bucket::First, hash),
            Key::Wide(_) => self.wide.prefetch(Bucket::First, hash),
        }
    }

    /// Looks in the first place of a key; fetches the second one ahead when it is not there.
    #[inline(always)]
    pub(crate) fn find_first(&self, key: &Key, hash: Hash) -> Option<Seen> {
        let found = match key {
            Key::Narrow(key) => seen(self.narrow.find_first(key, hash), false),
            Key::Wide(key) => seen(self.wide.find_first(key, hash), true),
        };
        if found.is_none() {
            match key {
                Key::Narrow(_) => self.narrow.prefetch(Bucket::Second, hash),
                Key::Wide(_) => self.wide.prefetch(Bucket::Second, hash),
            }
        }
        found
    }

    /// Looks in the second place of a key.
    #[inline]
    pub(crate) fn find_second(&self, key: &Key, hash: Hash) -> Option<Seen> {
        match key {
            Key::Narrow(key) => seen(self.narrow.find_second(key, hash), false),
            Key::Wide(key) => seen(self.wide.find_second(key, hash), true),
        }
    }

    /// What the entry at `place` holds, if it is that of `key`.
    #[inline(always)]
    pub(crate) fn confirm(&self, place: Place, key: &Key) -> Option<Payload> {
        match key {
            Key::Narrow(key) => self.narrow.confirm(place.handle(), key),
            Key::Wide(key) => self.wide.confirm(place.handle(), key),
        }
    }

    /// Fetches an entry ahead.
    #[inline(always)]
    pub(crate) fn prefetch_place(&self, place: Place) {
        if place.is_wide() {
            self.wide.prefetch_handle(place.handle());
        } else {
            self.narrow.prefetch_handle(place.handle());
        }
    }

    /// Key and payload of the entry at `place`.
    #[inline]
    pub fn load(&self, place: Place) -> Option<(Key, Payload)> {
        if place.is_wide() {
            self.wide.load(place.handle()).map(|(key, payload)| (Key::Wide(key), payload))
        } else {
            self.narrow.load(place.handle()).map(|(key, payload)| (Key::Narrow(key), payload))
        }
    }

    /// Replaces what an entry holds, if that still is `seen`.
    ///
    /// # Errors
    /// It is another by now, or the entry is gone.
    #[inline(always)]
    pub fn update(&self, place: Place, seen: Payload, new: Payload) -> Result<(), Update> {
        if place.is_wide() {
            self.wide.update(place.handle(), seen, new)
        } else {
            self.narrow.update(place.handle(), seen, new)
        }
    }

    /// Removes an entry, if it still holds `seen`.
    ///
    /// # Errors
    /// It holds something else by now, or is gone.
    #[inline]
    pub fn remove(&self, place: Place, seen: Payload) -> Result<(), Update> {
        if place.is_wide() {
            self.wide.remove(place.handle(), seen)
        } else {
            self.narrow.remove(place.handle(), seen)
        }
    }

    /// Ends an entry, if it still holds `seen`, and takes its slot for the next one of its key.
    #[inline]
    pub(crate) fn renew(&self, place: Place, seen: Payload) -> Option<Reserved> {
        if place.is_wide() {
            self.wide.renew(place.handle(), seen).map(Reserved::Wide)
        } else {
            self.narrow.renew(place.handle(), seen).map(Reserved::Narrow)
        }
    }

    #[inline]
    pub(crate) fn reserve(&self, key: &Key, hash: Hash) -> Wish {
        match key {
            Key::Narrow(key) => match self.narrow.reserve(key, hash) {
                Reserve::Reserved(reservation) => Wish::Reserved(Reserved::Narrow(reservation)),
                Reserve::Exists(found) => {
                    Wish::Exists(Seen { place: Place::new(found.handle, false), payload: found.payload })
                }
                Reserve::Busy => Wish::Busy,
                Reserve::Full => Wish::Full,
            },
            Key::Wide(key) => match self.wide.reserve(key, hash) {
                Reserve::Reserved(reservation) => Wish::Reserved(Reserved::Wide(reservation)),
                Reserve::Exists(found) => {
                    Wish::Exists(Seen { place: Place::new(found.handle, true), payload: found.payload })
                }
                Reserve::Busy => Wish::Busy,
                Reserve::Full => Wish::Full,
            },
        }
    }

    /// Entries in both, nearly.
    pub fn len(&self) -> usize {
        self.narrow.len() + self.wide.len()
    }

    /// Whether there are none, nearly.
    pub fn is_empty(&self) -> bool {
        self.narrow.is_empty() && self.wide.is_empty()
    }

    /// Looks at every entry of some buckets, numbered through both tables: from `from` on, `buckets` of them. Gives
    /// the next bucket, `None` at the end.
    pub fn scan(&self, from: u64, buckets: usize, mut f: impl FnMut(Place, Key, Payload)) -> Option<u64> {
        let narrow = self.narrow.buckets();
        if from < narrow {
            let look =
                |handle, key: &[u64; 1], payload| f(Place::new(handle, false), Key::Narrow(*key), payload);
            return Some(self.narrow.scan(from, buckets, look).unwrap_or(narrow));
        }
        let look = |handle, key: &[u64; 3], payload| f(Place::new(handle, true), Key::Wide(*key), payload);
        self.wide.scan(from - narrow, buckets, look).map(|next| next + narrow)
    }

    /// Looks at every entry that is where one of `key` may be.
    pub(crate) fn around(&self, key: &Key, hash: Hash, mut f: impl FnMut(Place, Key, Payload)) {
        match key {
            Key::Narrow(_) => {
                self.narrow.sweep_places(hash, |handle, key, payload| {
                    f(Place::new(handle, false), Key::Narrow(*key), payload);
                    Verdict::Keep
                });
            }
            Key::Wide(_) => {
                self.wide.sweep_places(hash, |handle, key, payload| {
                    f(Place::new(handle, true), Key::Wide(*key), payload);
                    Verdict::Keep
                });
            }
        }
    }

    /// The place of an entry that a walk over the table of `key` met.
    #[inline]
    pub(crate) fn place(handle: Handle, key: &Key) -> Place {
        Place::new(handle, matches!(key, Key::Wide(_)))
    }
}
