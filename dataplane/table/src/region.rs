//! The tables' memory: one piece without pointers, with a version, that a later process can take over.
//!
//! ```text
//! | header | narrow slots | wide slots | side records | records taken | ids, copy 0 | ids, copy 1 |
//!   4 KiB      16 B each     32 B each    32 B each       1 bit each
//! ```
//!
//! Every area starts a page. Everything in it is a 64-bit word in the machine's order, and atomic.
//!
//! Invariants:
//! - What the header says of sizes is written once, under a checksum.
//! - One process at a time uses a region: counts that go with the tables are kept outside, and made anew by the one
//!   that attaches.
//! - The ids are in two copies, of which at least one is whole at any moment.

use crate::{
    Narrow, Slab, Wide,
    hash::checksum,
    mapping::{Mapping, refuse},
    memory::AtomicWords,
    places::Shape,
    slab::Record,
    slot::Slot,
    sync::{AtomicU64, Ordering},
};
use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

const MAGIC: u64 = u64::from_ne_bytes(*b"sheaveT\n");
/// Raised when the layout changes in any way, that of slots, words, hash and header included.
const VERSION: u64 = 1;
/// Reads otherwise in the other byte order.
const BYTE_ORDER: u64 = 0x0102_0304_0506_0708;
const PAGE: usize = 4096;

/// What a region is made of.
#[derive(Clone, Debug)]
pub struct RegionConfig {
    /// Main-area slots of the table of one-word keys: see [`Table::slots_for`](crate::Table::slots_for).
    pub narrow_slots: u64,
    /// Main-area slots of the table of three-word keys; 0 for no such table.
    pub wide_slots: u64,
    /// Side records, at most [`Slab::MAX`].
    pub side_records: u32,
    /// The most bytes that [`Region::write_ids`] takes.
    pub ids_bytes: usize,
    /// Secret of the tables' hash.
    pub seed: u64,
    /// The time that the caller's ticks are counted from.
    pub tick_base_ns: u64,
    /// Whether to ask for huge pages.
    pub huge_pages: bool,
    /// Whether to have the narrow table's memory at hand from the start, not as it is first touched.
    pub populate: bool,
}

impl Default for RegionConfig {
    fn default() -> RegionConfig {
        RegionConfig {
            narrow_slots: Narrow::slots_for(1_000_000),
            wide_slots: 0,
            side_records: 1 << 16,
            ids_bytes: 1 << 20,
            seed: 0,
            tick_base_ns: 0,
            huge_pages: true,
            populate: true,
        }
    }
}

/// The memory of the tables, and the tables.
#[derive(Debug)]
pub struct Region {
    mapping: Mapping,
    header: &'static Header,
    narrow: &'static Narrow,
    wide: Option<&'static Wide>,
    side: &'static Slab,
    ids: [&'static [AtomicU64]; 2],
}

/// The first page.
#[repr(C)]
#[derive(Debug)]
struct Header {
    fixed: [AtomicU64; FIXED],
    /// Over the fixed words.
    checksum: AtomicU64,
    ids: [IdsHead; 2],
}

/// Says what a copy of the ids holds.
#[repr(C)]
#[derive(Debug)]
struct IdsHead {
    /// The copy with the higher one is the newer; 0 while it is being written.
    sequence: AtomicU64,
    bytes: AtomicU64,
    checksum: AtomicU64,
}

// SAFETY: atomic words only.
unsafe impl AtomicWords for Header {
    fn zero() -> Header {
        let head = || IdsHead { sequence: 0.into(), bytes: 0.into(), checksum: 0.into() };
        Header { fixed: std::array::from_fn(|_| 0.into()), checksum: 0.into(), ids: [head(), head()] }
    }
}

/// Words of [`Fixed`].
const FIXED: usize = 9;

/// What the header says once and for all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fixed {
    magic: u64,
    version: u64,
    byte_order: u64,
    narrow_slots: u64,
    wide_slots: u64,
    side_records: u64,
    ids_bytes: u64,
    seed: u64,
    tick_base_ns: u64,
}

impl Fixed {
    fn of(config: &RegionConfig) -> Fixed {
        Fixed {
            magic: MAGIC,
            version: VERSION,
            byte_order: BYTE_ORDER,
            narrow_slots: config.narrow_slots,
            wide_slots: config.wide_slots,
            side_records: u64::from(config.side_records.min(Slab::MAX)),
            ids_bytes: config.ids_bytes as u64,
            seed: config.seed,
            tick_base_ns: config.tick_base_ns,
        }
    }

    fn words(self) -> [u64; FIXED] {
        [
            self.magic,
            self.version,
            self.byte_order,
            self.narrow_slots,
            self.wide_slots,
            self.side_records,
            self.ids_bytes,
            self.seed,
            self.tick_base_ns,
        ]
    }

    fn from_words(words: [u64; FIXED]) -> Fixed {
        let [
            magic,
            version,
            byte_order,
            narrow_slots,
            wide_slots,
            side_records,
            ids_bytes,
            seed,
            tick_base_ns,
        ] = words;
        Fixed {
            magic,
            version,
            byte_order,
            narrow_slots,
            wide_slots,
            side_records,
            ids_bytes,
            seed,
            tick_base_ns,
        }
    }

    /// Refuses what another program or version wrote.
    fn check(&self) -> io::Result<()> {
        if self.magic != MAGIC {
            return Err(refuse("the memory is no table region: start without it"));
        }
        if self.byte_order != BYTE_ORDER {
            return Err(refuse("written in the other byte order: start without it, connections are lost"));
        }
        if self.version != VERSION {
            return Err(refuse(format!(
                "written in version {}, this program reads {VERSION}: start without it, connections are lost",
                self.version
            )));
        }
        Ok(())
    }
}

/// Where everything is.
#[derive(Clone, Copy, Debug)]
struct Layout {
    narrow: Shape,
    wide: Option<Shape>,
    records: usize,
    ids_words: usize,
    /// Starts of the areas in the order of the picture above, behind the header.
    starts: [usize; 6],
    end: usize,
}

impl Layout {
    /// `None` for sizes that no memory holds.
    fn of(fixed: &Fixed) -> Option<Layout> {
        let narrow = Shape::new(fixed.narrow_slots, Narrow::WAYS)?;
        let wide = match fixed.wide_slots {
            0 => None,
            slots => Some(Shape::new(slots, Wide::WAYS)?),
        };
        let records = usize::try_from(fixed.side_records).ok().filter(|n| *n <= Slab::MAX as usize)?;
        let ids_words = usize::try_from(fixed.ids_bytes).ok()?.div_ceil(8);
        let sizes = [
            narrow.slots().checked_mul(Narrow::SLOT_BYTES)?,
            wide.map_or(0, Shape::slots).checked_mul(Wide::SLOT_BYTES)?,
            records.checked_mul(size_of::<Record>())?,
            records.div_ceil(64).checked_mul(8)?,
            ids_words.checked_mul(8)?,
            ids_words.checked_mul(8)?,
        ];
        let mut end = PAGE;
        let mut starts = [0; 6];
        for (start, size) in starts.iter_mut().zip(sizes) {
            *start = end;
            end = end.checked_add(size)?.checked_next_multiple_of(PAGE)?;
        }
        Some(Layout { narrow, wide, records, ids_words, starts, end })
    }
}

impl Region {
    /// A new region: empty tables.
    ///
    /// # Errors
    /// There is not enough memory for what `config` asks.
    pub fn create(config: &RegionConfig) -> io::Result<Region> {
        let fixed = Fixed::of(config);
        let layout = Layout::of(&fixed)
            .ok_or_else(|| refuse("more slots than a table can have: lower max-connections"))?;
        let mapping = Mapping::create(layout.end, config.huge_pages)?;
        if config.populate {
            // The wide table's memory comes as it is needed: who has no use for it does not pay for it.
            mapping.populate(layout.starts[1])?;
        }
        let region = Region::over(mapping, &fixed, &layout)?;
        let words = fixed.words();
        for (to, from) in region.header.fixed.iter().zip(words) {
            // ORDERING: Relaxed; one process at a time uses a region.
            to.store(from, Ordering::Relaxed);
        }
        region.header.checksum.store(checksum(words), Ordering::Relaxed);
        Ok(region)
    }

    /// Takes over the region of an earlier process, which must be gone: entries that it had published are there,
    /// what it was in the middle of is undone.
    ///
    /// # Errors
    /// The memory is not a region, is one of another version, or is damaged. Nothing was changed.
    pub fn attach(fd: OwnedFd) -> io::Result<Region> {
        let mapping = Mapping::attach(fd)?;
        let header = Region::header(&mapping)?;
        // ORDERING: Relaxed throughout; one process at a time uses a region.
        let words = std::array::from_fn(|i| header.fixed[i].load(Ordering::Relaxed));
        let fixed = Fixed::from_words(words);
        fixed.check()?;
        if header.checksum.load(Ordering::Relaxed) != checksum(words) {
            return Err(refuse("the header is damaged: start without it, connections are lost"));
        }
        let layout = Layout::of(&fixed)
            .filter(|layout| layout.end <= mapping.len())
            .ok_or_else(|| refuse("smaller than its header says: start without it, connections are lost"))?;
        let region = Region::over(mapping, &fixed, &layout)?;
        region.narrow.recover();
        if let Some(wide) = region.wide {
            wide.recover();
        }
        region.side.recover();
        Ok(region)
    }

    fn header(mapping: &Mapping) -> io::Result<&'static Header> {
        mapping
            .slice::<Header>(0, 1)
            .and_then(<[Header]>::first)
            .ok_or_else(|| refuse("shorter than a header: start without it"))
    }

    fn over(mapping: Mapping, fixed: &Fixed, layout: &Layout) -> io::Result<Region> {
        let [narrow, wide, records, taken, first, second] = layout.starts;
        let narrow = Narrow::over(
            area::<Slot<1>>(&mapping, narrow, layout.narrow.slots())?,
            layout.narrow,
            fixed.seed,
        );
        let wide = match layout.wide {
            None => None,
            Some(shape) => {
                let slots = area::<Slot<3>>(&mapping, wide, shape.slots())?;
                Some(&*Box::leak(Box::new(Wide::over(slots, shape, fixed.seed))))
            }
        };
        let side = Slab::over(
            area(&mapping, records, layout.records)?,
            area(&mapping, taken, layout.records.div_ceil(64))?,
        );
        let ids = [area(&mapping, first, layout.ids_words)?, area(&mapping, second, layout.ids_words)?];
        Ok(Region {
            header: Region::header(&mapping)?,
            mapping,
            narrow: Box::leak(Box::new(narrow)),
            wide,
            side: Box::leak(Box::new(side)),
            ids,
        })
    }

    /// The table of one-word keys.
    pub fn narrow(&self) -> &'static Narrow {
        self.narrow
    }

    /// The table of three-word keys, if there is one.
    pub fn wide(&self) -> Option<&'static Wide> {
        self.wide
    }

    /// The side records.
    pub fn side(&self) -> &'static Slab {
        self.side
    }

    /// The secret of the tables' hash.
    pub fn seed(&self) -> u64 {
        self.fixed().seed
    }

    /// The time that ticks are counted from.
    pub fn tick_base_ns(&self) -> u64 {
        self.fixed().tick_base_ns
    }

    /// Bytes of the region.
    pub fn bytes(&self) -> usize {
        self.mapping.len()
    }

    /// Whether it is in huge pages of its own. Ordinary memory may have become huge pages all the same.
    pub fn huge_pages(&self) -> bool {
        self.mapping.huge()
    }

    /// What to hand to a later process, for [`Region::attach`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.mapping.fd()
    }

    fn fixed(&self) -> Fixed {
        // ORDERING: Relaxed, written before this was made.
        Fixed::from_words(std::array::from_fn(|i| self.header.fixed[i].load(Ordering::Relaxed)))
    }

    /// Keeps `bytes`, what the numbers in entries mean, for a later process. Killed in the middle of it, the bytes
    /// kept before remain.
    ///
    /// # Errors
    /// They are more than the region was made for.
    pub fn write_ids(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self.fixed().ids_bytes;
        if bytes.len() as u64 > room {
            return Err(refuse(format!("{} bytes of ids, room for {room}: raise ids_bytes", bytes.len())));
        }
        // ORDERING: Release and Acquire on the sequence numbers: a copy is marked as being written before it
        // changes, and as whole after it has. The words themselves are Relaxed.
        let [a, b] = [0, 1].map(|copy: usize| self.header.ids[copy].sequence.load(Ordering::Acquire));
        let copy = usize::from(b < a);
        let head = &self.header.ids[copy];
        head.sequence.swap(0, Ordering::AcqRel);
        let words = || bytes.chunks(8).map(word_of);
        for (to, from) in self.ids[copy].iter().zip(words()) {
            to.store(from, Ordering::Relaxed);
        }
        head.bytes.store(bytes.len() as u64, Ordering::Relaxed);
        head.checksum.store(checksum(words()), Ordering::Relaxed);
        head.sequence.store(a.max(b) + 1, Ordering::Release);
        Ok(())
    }

    /// The bytes that [`Region::write_ids`] kept last; `None` if there are none.
    pub fn read_ids(&self) -> Option<Vec<u8>> {
        // ORDERING: Acquire, with the Release in `write_ids`.
        let [a, b] = [0, 1].map(|copy: usize| self.header.ids[copy].sequence.load(Ordering::Acquire));
        let newer = usize::from(b > a);
        self.read_copy(newer).or_else(|| self.read_copy(1 - newer))
    }

    fn read_copy(&self, copy: usize) -> Option<Vec<u8>> {
        let head = &self.header.ids[copy];
        // ORDERING: as in `read_ids`; the words are Relaxed.
        if head.sequence.load(Ordering::Acquire) == 0 {
            return None;
        }
        let len = usize::try_from(head.bytes.load(Ordering::Relaxed)).ok()?;
        let words = self.ids[copy].get(..len.div_ceil(8))?.iter().map(|word| word.load(Ordering::Relaxed));
        if checksum(words.clone()) != head.checksum.load(Ordering::Relaxed) {
            return None;
        }
        let mut bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        bytes.truncate(len);
        Some(bytes)
    }
}

fn area<T: AtomicWords>(mapping: &Mapping, start: usize, len: usize) -> io::Result<&'static [T]> {
    mapping.slice(start, len).ok_or_else(|| refuse("an area lies outside: start without it"))
}

/// Up to eight bytes as a word, zeroes after them.
fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}
