//! The value word of a slot, and what callers see of it.
//!
//! ```text
//!  63   62 61         54 53                                                0
//! +-------+-------------+--------------------------------------------------+
//! | phase |  generation |                     payload                      |
//! +-------+-------------+--------------------------------------------------+
//! ```
//!
//! The phase and the generation are the table's own; the payload is the caller's, never looked into. All three
//! change together, by compare-and-swap of the whole word.

/// Bits of a payload.
const PAYLOAD_BITS: u32 = 54;
const PAYLOAD_MASK: u64 = (1 << PAYLOAD_BITS) - 1;
const GENERATION_BITS: u32 = 8;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;
const PHASE_SHIFT: u32 = PAYLOAD_BITS + GENERATION_BITS;

/// What an entry holds: 54 bits that the table stores and compares but does not understand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Payload(u64);

impl Payload {
    /// How many bits a payload has.
    pub const BITS: u32 = PAYLOAD_BITS;

    /// The largest payload.
    pub const MAX: Payload = Payload(PAYLOAD_MASK);

    /// A payload of the low 54 bits of `bits`. Higher bits are a mistake of the caller, which a debug build
    /// catches.
    #[inline(always)]
    pub const fn new(bits: u64) -> Payload {
        debug_assert!(bits <= PAYLOAD_MASK);
        Payload(bits & PAYLOAD_MASK)
    }

    /// The bits given to [`Payload::new`].
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({:#x})", self.0)
    }
}

/// What the words of some live entries have in common: bits of their payloads.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    mask: u64,
    want: u64,
}

impl Pattern {
    /// Of all live entries.
    pub const LIVE: Pattern = Pattern::new(0, 0);

    /// Of the live entries whose payloads have the bits of `want` where `mask` has ones. No entry's if `want` has ones elsewhere.
    #[inline(always)]
    pub const fn new(mask: u64, want: u64) -> Pattern {
        let live = Word::new(Phase::Live, Generation(0), Payload(0)).0;
        Pattern { mask: (3 << PHASE_SHIFT) | (mask & PAYLOAD_MASK), want: live | (want & PAYLOAD_MASK) }
    }

    /// Whether a live entry that holds `payload` looks like that.
    #[inline(always)]
    pub const fn matches(self, payload: Payload) -> bool {
        payload.0 & self.mask == self.want & PAYLOAD_MASK
    }

    /// Whether a word looks like that.
    #[inline(always)]
    pub(crate) const fn holds(self, word: Word) -> bool {
        word.0 & self.mask == self.want
    }
}

/// Names an entry: its slot and the generation it was made with. Entries do not move, so a handle stays good until
/// the entry is removed, and finds nothing afterwards.
///
/// The generation has 8 bits: a handle that is kept while its slot is reused 256 times finds a stranger. Whoever
/// keeps handles for long compares the key that [`Table::load`](crate::Table::load) returns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(u64);

impl Handle {
    /// How many bits a handle has, at most: it fits a [`Payload`], so that one entry can point to another.
    pub const BITS: u32 = PAYLOAD_BITS;

    #[inline(always)]
    pub(crate) const fn new(slot: usize, generation: Generation) -> Handle {
        Handle(((slot as u64) << GENERATION_BITS) | generation.0)
    }

    /// The handle as a number, below 2^54.
    #[inline(always)]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The handle of these bits. Any bits make a handle that is safe to use; those that did not come from
    /// [`Handle::bits`] find nothing, or some other entry.
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Handle {
        Handle(bits & PAYLOAD_MASK)
    }

    /// The slot it names.
    #[inline(always)]
    pub const fn slot(self) -> u64 {
        self.0 >> GENERATION_BITS
    }

    #[inline(always)]
    pub(crate) const fn generation(self) -> Generation {
        Generation(self.0 & GENERATION_MASK)
    }

    /// That of another entry in the same slot.
    #[inline(always)]
    pub(crate) const fn of(self, generation: Generation) -> Handle {
        Handle((self.0 & !GENERATION_MASK) | generation.0)
    }
}

impl From<Handle> for Payload {
    #[inline(always)]
    fn from(handle: Handle) -> Payload {
        Payload(handle.0)
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({}.{})", self.slot(), self.generation().0)
    }
}

/// Counts the claims of a slot, modulo 256.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Generation(u64);

/// What a slot is being used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Nobody's; its key words are zero.
    Free,
    /// Claimed by an inserter, who alone writes the key words. Lookups do not see it.
    Pending,
    /// An entry. Its key does not change.
    Live,
    /// On its way to free; whoever put a live one here, or claimed a pending one, clears it.
    Dying,
}

/// A value word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    /// Of a slot that was never used: looks like no live entry.
    pub(crate) const NO_ENTRY: Word = Word(0);

    #[inline(always)]
    pub(crate) const fn new(phase: Phase, generation: Generation, payload: Payload) -> Word {
        let phase = match phase {
            Phase::Free => 0u64,
            Phase::Pending => 1,
            Phase::Live => 2,
            Phase::Dying => 3,
        };
        Word((phase << PHASE_SHIFT) | (generation.0 << PAYLOAD_BITS) | payload.0)
    }

    #[inline(always)]
    pub(crate) const fn from_bits(bits: u64) -> Word {
        Word(bits)
    }

    #[inline(always)]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) const fn phase(self) -> Phase {
        match self.0 >> PHASE_SHIFT {
            0 => Phase::Free,
            1 => Phase::Pending,
            2 => Phase::Live,
            _ => Phase::Dying,
        }
    }

    #[inline(always)]
    pub(crate) const fn generation(self) -> Generation {
        Generation((self.0 >> PAYLOAD_BITS) & GENERATION_MASK)
    }

    #[inline(always)]
    pub(crate) const fn payload(self) -> Payload {
        Payload(self.0 & PAYLOAD_MASK)
    }

    /// Whether this is the live entry of `generation`.
    #[inline(always)]
    pub(crate) fn is_live(self, generation: Generation) -> bool {
        self.0 >> PAYLOAD_BITS == Word::new(Phase::Live, generation, Payload(0)).0 >> PAYLOAD_BITS
    }

    /// Whether phase and generation are the same, whatever the payload.
    #[inline(always)]
    pub(crate) const fn same_use(self, other: Word) -> bool {
        self.0 >> PAYLOAD_BITS == other.0 >> PAYLOAD_BITS
    }

    /// The word with another phase.
    #[inline(always)]
    pub(crate) const fn to(self, phase: Phase) -> Word {
        Word::new(phase, self.generation(), self.payload())
    }

    /// The word of the next claim of this slot: pending, one generation on, nothing in it.
    #[inline(always)]
    pub(crate) const fn claimed(self) -> Word {
        let next = Generation((self.generation().0 + 1) & GENERATION_MASK);
        Word::new(Phase::Pending, next, Payload(0))
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}.{} {:?}", self.phase(), self.generation().0, self.payload())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_zero_word_is_free() {
        let word = Word::from_bits(0);
        assert_eq!(word.phase(), Phase::Free);
        assert_eq!(word.generation(), Generation(0));
        assert_eq!(word.payload(), Payload::new(0));
    }

    #[test]
    fn fields_do_not_touch_each_other() {
        for phase in [Phase::Free, Phase::Pending, Phase::Live, Phase::Dying] {
            for generation in [0, 1, 127, 255] {
                for payload in [0, 1, PAYLOAD_MASK] {
                    let word = Word::new(phase, Generation(generation), Payload::new(payload));
                    assert_eq!(word.phase(), phase);
                    assert_eq!(word.generation(), Generation(generation));
                    assert_eq!(word.payload().bits(), payload);
                    assert_eq!(word.is_live(Generation(generation)), phase == Phase::Live);
                    assert!(!word.is_live(Generation(generation ^ 1)));
                }
            }
        }
    }

    #[test]
    fn generations_wrap() {
        let word = Word::new(Phase::Free, Generation(255), Payload::new(9));
        assert_eq!(word.claimed(), Word::new(Phase::Pending, Generation(0), Payload::new(0)));
    }

    #[test]
    fn a_handle_fits_a_payload() {
        let handle = Handle::new((1 << 46) - 1, Generation(0xA5));
        assert_eq!(handle.bits(), PAYLOAD_MASK & !0xFF | 0xA5);
        assert_eq!(Handle::from_bits(Payload::from(handle).bits()), handle);
        assert_eq!(handle.slot(), (1 << 46) - 1);
        assert_eq!(handle.generation(), Generation(0xA5));
    }
}
