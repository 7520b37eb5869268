//! The datagrams whose fragments are on their way, shared by all workers, without a lock.
//!
//! A datagram is an entry of a table (its key, for as long as it lives) and a block (what is known of it):
//!
//! ```text
//!   table:  key -> | opened, s 26 | tag 12 | block 16 |
//!   block:  progress  | doom 2 | done 14 | end 14 | pieces 8 | tag 12 |
//!           decision  | decision 48 | decided 1 | tag 12 |
//!           entry     | handle of the entry |
//!           pieces    | piece | piece | ...
//! ```
//!
//! Invariants:
//! - Who removes an entry owns its block, alone; every other life of a block has another tag, and every word
//!   but the pieces carries it. So a decision is never read, or made, for another datagram.
//! - Of two fragments that arrive at the same moment, at least one sees the other: each is written before it
//!   looks.
//!
//! A worker that stands still between being admitted to a datagram and writing its piece, while that datagram
//! ends and its block is used again, leaves a stray piece. At worst the datagram that has the block then is
//! dropped as overlapping.
//!
//! An entry that nobody asks for stays until its block is needed: nothing here has to be swept.

use super::piece::{DatagramKey, Piece, Refused, Relation};
use crate::time::Time;
use sheave_table::slab::RecordId;
use sheave_table::{Found, Handle, Hash, Payload, Reserve, Slab, Table};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Fragments of a datagram, at most: 64 KiB over links of 576 bytes make 119.
pub(crate) const PIECES: usize = 128;
/// How long a datagram is known after its first fragment to arrive: what Linux grants to put one together.
const LIFETIME: u64 = 30;
/// Times that an arrival looks again because another worker makes or ends the same datagram.
const ATTEMPTS: usize = 4;
/// Blocks looked at for one whose datagram can give way.
const VICTIMS: usize = 8;

/// What the pipeline decided about a datagram: bits that only it understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision(u64);

impl Decision {
    /// How many bits there are.
    pub(crate) const BITS: u32 = 48;

    /// The decision of these bits. Higher ones are a mistake of the caller, which a debug build catches.
    pub(crate) fn new(bits: u64) -> Decision {
        debug_assert!(bits >> Decision::BITS == 0);
        Decision(bits & ((1 << Decision::BITS) - 1))
    }

    /// The bits given to [`Decision::new`].
    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

/// A fragment that was admitted to its datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    datagram: Datagram,
    pub(super) piece: Piece,
}

impl Arrived {
    /// Whether two fragments are of one datagram.
    pub(super) fn beside(&self, other: &Arrived) -> bool {
        self.datagram == other.datagram
    }
}

/// What is known of the datagram of a fragment that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The first fragment was not handled yet.
    Open,
    /// It was.
    Decided(Decision),
    /// The datagram is dropped, or forgotten.
    Refused(Refused),
}

/// A life of a block, and the entry that leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Datagram {
    handle: Handle,
    payload: Payload,
}

impl Datagram {
    const BLOCK: u32 = 16;
    const SECONDS: u32 = Payload::BITS - Datagram::BLOCK - TAG;

    fn payload(block: RecordId, tag: u64, now: Time) -> Payload {
        let seconds = (now.0 / Time::SECOND) & mask(Datagram::SECONDS);
        Payload::new(
            (seconds << (Datagram::BLOCK + TAG)) | (tag << Datagram::BLOCK) | u64::from(block.index()),
        )
    }

    #[expect(clippy::cast_possible_truncation, reason = "16 bits")]
    fn block(self) -> usize {
        (self.payload.bits() & mask(Datagram::BLOCK)) as usize
    }

    fn tag(self) -> u64 {
        (self.payload.bits() >> Datagram::BLOCK) & mask(TAG)
    }

    /// Whether its time is over. Never early: a started second does not count. One that was opened by a worker
    /// whose clock is ahead is young.
    fn is_over(self, now: Time) -> bool {
        let opened = self.payload.bits() >> (Datagram::BLOCK + TAG);
        let age = (now.0 / Time::SECOND).wrapping_sub(opened) & mask(Datagram::SECONDS);
        (LIFETIME + 1..=mask(Datagram::SECONDS) / 2).contains(&age)
    }
}

/// Bits of a tag.
const TAG: u32 = 12;

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// How far a datagram is: the word that admits fragments.
#[derive(Debug, Clone, Copy)]
struct Progress(u64);

impl Progress {
    const PIECES_AT: u32 = TAG;
    const END_AT: u32 = Progress::PIECES_AT + 8;
    const DONE_AT: u32 = Progress::END_AT + 14;
    const DOOM_AT: u32 = Progress::DONE_AT + 14;

    fn tag(self) -> u64 {
        self.0 & mask(TAG)
    }

    fn pieces(self) -> usize {
        ((self.0 >> Progress::PIECES_AT) & mask(8)) as usize
    }

    /// Units in all; zero while the last fragment has not come.
    fn end(self) -> u64 {
        (self.0 >> Progress::END_AT) & mask(14)
    }

    /// Units handled.
    fn done(self) -> u64 {
        (self.0 >> Progress::DONE_AT) & mask(14)
    }

    fn doom(self) -> Option<Refused> {
        match self.0 >> Progress::DOOM_AT {
            0 => None,
            1 => Some(Refused::Overlap),
            _ => Some(Refused::TooMany),
        }
    }

    /// With another piece; doomed instead where there is no room for it.
    fn admit(self, piece: Piece) -> Progress {
        if self.pieces() == PIECES {
            return self.doomed(Refused::TooMany);
        }
        let end = match piece.final_end() {
            Some(end) if self.end() == 0 => u64::from(end) << Progress::END_AT,
            _ => 0,
        };
        Progress((self.0 + (1 << Progress::PIECES_AT)) | end)
    }

    fn doomed(self, why: Refused) -> Progress {
        let doom = if why == Refused::Overlap { 1 } else { 2 };
        Progress(self.0 | (doom << Progress::DOOM_AT))
    }

    fn with_done(self, units: u16) -> Progress {
        let done = (self.done() + u64::from(units)).min(mask(14));
        Progress((self.0 & !(mask(14) << Progress::DONE_AT)) | (done << Progress::DONE_AT))
    }

    fn is_complete(self) -> bool {
        self.end() != 0 && self.done() >= self.end()
    }
}

/// What is known of a datagram.
#[derive(Debug)]
#[repr(align(64))]
struct Block {
    progress: AtomicU64,
    decision: AtomicU64,
    entry: AtomicU64,
    pieces: [AtomicU32; PIECES],
}

impl Block {
    const DECIDED: u64 = 1 << TAG;

    fn new() -> Block {
        Block {
            progress: AtomicU64::new(0),
            decision: AtomicU64::new(0),
            entry: AtomicU64::new(0),
            pieces: [const { AtomicU32::new(0) }; PIECES],
        }
    }

    /// Begins a new life, for the block's owner. Returns its tag.
    // ORDERING: Release, with the Acquire of `progress` and `decision`; beyond that the publication of the
    // entry hands all of it over.
    fn renew(&self) -> u64 {
        let old = self.progress();
        for piece in self.pieces.iter().take(old.pieces()) {
            piece.store(0, Ordering::Relaxed);
        }
        let tag = (old.tag() + 1) & mask(TAG);
        self.decision.store(tag, Ordering::Release);
        self.progress.store(tag, Ordering::Release);
        tag
    }

    // ORDERING: Acquire, with the Release of `renew` and `change`.
    fn progress(&self) -> Progress {
        Progress(self.progress.load(Ordering::Acquire))
    }

    /// One step of the datagram of `tag`, unless it is doomed. Gives what was before; failing that, what is
    /// there.
    // ORDERING: AcqRel: a step builds on the one before. Acquire on failure, as in `progress`.
    fn change(&self, tag: u64, step: impl Fn(Progress) -> Progress) -> Result<Progress, Progress> {
        self.progress
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                let progress = Progress(word);
                (progress.tag() == tag && progress.doom().is_none()).then(|| step(progress).0)
            })
            .map(Progress)
            .map_err(Progress)
    }

    /// How `piece`, whose place is `mine`, lies to all others that are here by now. Of two copies that arrive
    /// at the same moment both may be taken for the first.
    fn compare(&self, piece: Piece, mine: usize) -> Relation {
        // ORDERING: SeqCst, with the same fence of every other arrival: of two, the later in the order of
        // fences sees the place and the piece that the earlier took and wrote before its own.
        fence(Ordering::SeqCst);
        let mut relation = Relation::Apart;
        for (place, other) in self.pieces.iter().enumerate().take(self.progress().pieces()) {
            // A place that is taken but not written yet is empty: who takes it will see this piece.
            // ORDERING: Relaxed, ordered by the fence; the piece is all there is to see.
            let Some(other) = Piece::from_code(other.load(Ordering::Relaxed)) else { continue };
            match piece.relation(other) {
                Relation::Overlap => return Relation::Overlap,
                // Of two that are the same, the one that was admitted first counts.
                Relation::Same if place < mine => relation = Relation::Same,
                _ => {}
            }
        }
        relation
    }
}

/// Where to look for a block to take away, apart from what is read all the time.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Hand(AtomicU64);

/// All datagrams that are known.
pub struct Datagrams {
    table: Table<7>,
    blocks: Box<[Block]>,
    free: Slab,
    hand: Hand,
}

/// Why no datagram was found or made, or no fragment admitted to it.
enum Stop {
    /// It ended or began just now: look again.
    Again,
    Refused(Refused),
}

impl Datagrams {
    /// Datagrams that can be known at once, at most.
    pub const MAX: usize = 1 << Datagram::BLOCK;

    /// Room for `datagrams` at once (rounded up to a power of two, at most [`Datagrams::MAX`]), some 800 bytes
    /// each.
    pub fn new(datagrams: usize, seed: u64) -> Datagrams {
        let count = datagrams.clamp(1, Datagrams::MAX).next_power_of_two();
        Datagrams {
            // Filled to three eighths at most: a key finds room, also in a small table.
            table: Table::on_heap(Table::<7>::slots_for(count as u64), seed),
            blocks: std::iter::repeat_with(Block::new).take(count).collect(),
            free: Slab::on_heap(u32::try_from(count).unwrap_or(u32::MAX)),
            hand: Hand::default(),
        }
    }

    /// Datagrams known now, nearly.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether none is known, nearly.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Admits a fragment to its datagram, and says what was decided about that, if anything was.
    ///
    /// # Errors
    /// What is wrong with it beside the others, or that there is no room.
    pub(crate) fn arrive(
        &self,
        key: &DatagramKey,
        piece: Piece,
        now: Time,
    ) -> Result<(Arrived, Option<Decision>), Refused> {
        let hash = self.table.hash(&key.0);
        for _ in 0..ATTEMPTS {
            let admitted = self.find_or_open(key, hash, now).and_then(|datagram| self.admit(datagram, piece));
            match admitted {
                Ok(arrived) => return Ok((arrived, self.decision(arrived.datagram))),
                Err(Stop::Refused(why)) => return Err(why),
                Err(Stop::Again) => {}
            }
        }
        Err(Refused::NoRoom)
    }

    /// Notes what was decided about the first fragment, for all others. Only the first of several decisions
    /// counts.
    pub(crate) fn decide(&self, first: &Arrived, decision: Decision) {
        let tag = first.datagram.tag();
        let new = (decision.bits() << (TAG + 1)) | Block::DECIDED | tag;
        // ORDERING: Release, with the Acquire of `decision`. A failure leaves what is there, which is not
        // looked at.
        let _decided_or_over = self.block(first.datagram).decision.compare_exchange(
            tag,
            new,
            Ordering::Release,
            Ordering::Relaxed,
        );
    }

    /// Notes that a fragment needs nothing from here any more: it was handled, whatever became of it. A
    /// datagram whose fragments all were is over, and its identification good for another.
    pub(crate) fn handled(&self, arrived: &Arrived) {
        let step = |progress: Progress| progress.with_done(arrived.piece.units());
        let before = self.block(arrived.datagram).change(arrived.datagram.tag(), step);
        if before.is_ok_and(|before| step(before).is_complete()) {
            self.close(arrived.datagram);
        }
    }

    /// Drops the datagram of a fragment, from here on and as long as it would live.
    pub(super) fn doom(&self, arrived: &Arrived, why: Refused) {
        // One that is over, or doomed for another reason, stays that.
        let _already = self.block(arrived.datagram).change(arrived.datagram.tag(), |p| p.doomed(why));
    }

    /// Forgets the datagram of a fragment: the next to come begins another.
    pub(super) fn forget(&self, arrived: &Arrived) {
        self.close(arrived.datagram);
    }

    /// What became of the datagram of a fragment that waits.
    pub(super) fn fate(&self, arrived: &Arrived) -> Fate {
        let datagram = arrived.datagram;
        let progress = self.block(datagram).progress();
        if progress.tag() != datagram.tag() {
            return Fate::Refused(Refused::Unmatched);
        }
        if let Some(why) = progress.doom() {
            return Fate::Refused(why);
        }
        match self.decision(datagram) {
            Some(decision) => Fate::Decided(decision),
            None if self.is_known(datagram) => Fate::Open,
            None => Fate::Refused(Refused::Unmatched),
        }
    }

    fn is_known(&self, datagram: Datagram) -> bool {
        self.table.load(datagram.handle).is_some_and(|(_, payload)| payload == datagram.payload)
    }

    fn block(&self, datagram: Datagram) -> &Block {
        // Payloads are made here alone, of blocks that there are; the mask is for the compiler.
        &self.blocks[datagram.block() & (self.blocks.len() - 1)]
    }

    fn decision(&self, datagram: Datagram) -> Option<Decision> {
        // ORDERING: Acquire, with the Release of `decide`: who follows a decision sees what was done before it.
        let word = self.block(datagram).decision.load(Ordering::Acquire);
        let ours = word & mask(TAG) == datagram.tag() && word & Block::DECIDED != 0;
        ours.then(|| Decision::new(word >> (TAG + 1)))
    }

    fn find_or_open(&self, key: &DatagramKey, hash: Hash, now: Time) -> Result<Datagram, Stop> {
        if let Some(Found { handle, payload }) = self.table.get(&key.0, hash) {
            let datagram = Datagram { handle, payload };
            if !datagram.is_over(now) {
                return Ok(datagram);
            }
            self.close(datagram);
        }
        self.open(key, hash, now)
    }

    fn open(&self, key: &DatagramKey, hash: Hash, now: Time) -> Result<Datagram, Stop> {
        let id = self.free.alloc().or_else(|| self.take_away()).ok_or(Stop::Refused(Refused::NoRoom))?;
        let stop = match (self.blocks.get(id.index() as usize), self.table.reserve(&key.0, hash)) {
            (Some(block), Reserve::Reserved(reservation)) => {
                let payload = Datagram::payload(id, block.renew(), now);
                // ORDERING: Relaxed, handed over by the publication, and only ever a hint of where to look.
                block.entry.store(reservation.handle().bits(), Ordering::Relaxed);
                match reservation.publish(payload) {
                    Ok(handle) => return Ok(Datagram { handle, payload }),
                    Err(_) => Stop::Again,
                }
            }
            (_, Reserve::Full) => Stop::Refused(Refused::NoRoom),
            _ => Stop::Again,
        };
        self.free.free(id);
        Err(stop)
    }

    /// Ends the next datagram in the order of blocks, old or not, and gives its block to the caller.
    #[cold]
    fn take_away(&self) -> Option<RecordId> {
        (0..VICTIMS).find_map(|_| {
            // ORDERING: Relaxed, a number that nothing else depends on.
            let at = self.hand.0.fetch_add(1, Ordering::Relaxed) & (self.blocks.len() as u64 - 1);
            let index = usize::try_from(at).ok()?;
            // ORDERING: Relaxed, a hint: what it leads to is checked.
            let handle = Handle::from_bits(self.blocks[index].entry.load(Ordering::Relaxed));
            let (_, payload) = self.table.load(handle)?;
            let datagram = Datagram { handle, payload };
            let ours = datagram.block() == index && self.table.remove(handle, payload).is_ok();
            ours.then(|| RecordId::from_index(u32::try_from(index).ok()?)).flatten()
        })
    }

    /// Ends a datagram. Of several who do, one gives its block back.
    fn close(&self, datagram: Datagram) {
        if self.table.remove(datagram.handle, datagram.payload).is_ok()
            && let Ok(index) = u32::try_from(datagram.block())
            && let Some(id) = RecordId::from_index(index)
        {
            self.free.free(id);
        }
    }

    fn admit(&self, datagram: Datagram, piece: Piece) -> Result<Arrived, Stop> {
        let (block, tag) = (self.block(datagram), datagram.tag());
        let arrived = Arrived { datagram, piece };
        let place = match block.change(tag, |progress| progress.admit(piece)) {
            Ok(before) => before.pieces(),
            Err(found) if found.tag() != tag => return Err(Stop::Again),
            Err(found) => return Err(Stop::Refused(found.doom().unwrap_or(Refused::Overlap))),
        };
        let Some(mine) = block.pieces.get(place) else {
            return Err(Stop::Refused(Refused::TooMany));
        };
        // ORDERING: Relaxed, ordered by the fence in `compare`.
        mine.store(piece.code(), Ordering::Relaxed);
        match block.compare(piece, place) {
            Relation::Apart => Ok(arrived),
            Relation::Same => Err(Stop::Refused(Refused::Duplicate)),
            Relation::Overlap => {
                self.doom(&arrived, Refused::Overlap);
                Err(Stop::Refused(Refused::Overlap))
            }
        }
    }
}

impl std::fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagrams")
            .field("known", &self.len())
            .field("room", &self.blocks.len())
            .finish_non_exhaustive()
    }
}
