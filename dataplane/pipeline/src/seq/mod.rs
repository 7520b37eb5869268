//! Sequence adjustment: what a change of a stream's length in passing does to the numbers of a TCP
//! connection.
//!
//! A helper that rewrites an address in a segment may make the segment longer or shorter. From then on the
//! receiver counts other numbers than the sender, and each packet's numbers are translated for the rest of
//! the connection: sequence numbers in the direction of the stream, acknowledgements and SACK edges against
//! it.
//!
//! ```text
//!   sender's numbers     ... | before | resized segment | after ...
//!                                     ^ from
//!   added in passing           previous_delta (also to it) | delta
//! ```
//!
//! A [`SeqAdjust`] is what IPVS calls `ip_vs_seq` (first sequence number, delta, previous delta). Invariants:
//! - One change is live at a time: there is one number at which the delta changes. Segments that began before
//!   the last but one change are not seen any more; a control channel in which each side waits for the other
//!   keeps that.
//! - It packs into one word, so that a shared table holds it whole: a reader sees either the state before a
//!   change or the one after it, and a change is one compare-and-swap.
//! - All zeroes is [`SeqAdjust::NONE`]: nothing to adjust.
//!
//! Differences that hold for all of a connection, as a SYN proxy makes them, are not here but in [`Offsets`]:
//! they have no point of change, and 2 GiB later there is none to be confused with.
//!
//! Read RFC 1982 (serial numbers) first.

mod numbers;
#[cfg(test)]
mod tests;

pub use numbers::{Numbers, Offsets, Windows};

/// Whether `a` comes after `b`: both are serial numbers modulo 2^32 (RFC 1982 §3.2), less than 2^31 apart.
#[inline]
#[must_use]
pub const fn after(a: u32, b: u32) -> bool {
    matches!(a.wrapping_sub(b), 1..0x8000_0000)
}

/// The stream has been changed by more than can be kept. It cannot be followed further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFar;

/// What is added to the sequence numbers of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeqAdjust {
    /// Where the segment began that was resized last, in the sender's numbers. Numbers after it get `delta`.
    from: u32,
    delta: i32,
    previous_delta: i32,
}

/// Bits of the delta in a word: two million bytes either way.
const DELTA_BITS: u32 = 22;
/// Bits of a single change: the rewrites of one segment.
const CHANGE_BITS: u32 = 10;
const _: () = assert!(DELTA_BITS + CHANGE_BITS == 32);

/// A number so far behind the last change that nothing from before it can still come: a window is at most
/// 2^30 bytes (RFC 7323 §2.3).
const SETTLED: u32 = 1 << 30;

impl SeqAdjust {
    /// Nothing to adjust.
    pub const NONE: SeqAdjust = SeqAdjust { from: 0, delta: 0, previous_delta: 0 };

    /// Where the change applies, what is added after it, and what before: for showing, and for the sync
    /// protocol.
    #[must_use]
    pub const fn parts(self) -> (u32, i32, i32) {
        (self.from, self.delta, self.previous_delta)
    }

    /// The sender's sequence number as the receiver counts.
    #[inline]
    #[must_use]
    pub fn seq(self, seq: u32) -> u32 {
        seq.wrapping_add_signed(if after(seq, self.from) { self.delta } else { self.previous_delta })
    }

    /// The receiver's acknowledgement, or an edge of a SACK block, as the sender counts.
    ///
    /// A number within the resized segment acknowledges nothing of it that the sender could make sense of. It
    /// never becomes one before that segment: what was acknowledged stays so.
    #[inline]
    #[must_use]
    pub fn ack(self, ack: u32) -> u32 {
        let before = ack.wrapping_add_signed(-self.previous_delta);
        if !after(before, self.from) {
            return before;
        }
        let behind = ack.wrapping_add_signed(-self.delta);
        if after(self.from, behind) { self.from } else { behind }
    }

    /// The adjustment after the segment that begins at `seq` has grown by `change` bytes (shrunk, if
    /// negative). A segment that comes again is resized again, but changes nothing here.
    ///
    /// # Errors
    /// [`TooFar`] when the changes, or this one, add up to more than fits.
    pub fn resized(self, seq: u32, change: i32) -> Result<SeqAdjust, TooFar> {
        let live = self.delta != self.previous_delta;
        if change == 0 || (live && !after(seq, self.from)) {
            return Ok(self);
        }
        let delta = self.delta.checked_add(change).ok_or(TooFar)?;
        if !fits(delta, DELTA_BITS) || !fits(change, CHANGE_BITS) {
            return Err(TooFar);
        }
        Ok(SeqAdjust { from: seq, delta, previous_delta: self.delta })
    }

    /// Whether the segment that begins at `seq` is the one that was resized last: should it come again, it
    /// must be resized again.
    #[inline]
    #[must_use]
    pub fn changes_at(self, seq: u32) -> bool {
        self.delta != self.previous_delta && seq == self.from
    }

    /// The adjustment without its point of change, once the stream has come so far (`seq`) that nothing from
    /// before it can come again; `None` when it has not, or has no such point. Without this, the point would
    /// seem to lie ahead after 2 GiB.
    #[inline]
    #[must_use]
    pub fn settled(self, seq: u32) -> Option<SeqAdjust> {
        let live = self.delta != self.previous_delta;
        (live && after(seq, self.from.wrapping_add(SETTLED)))
            .then_some(SeqAdjust { previous_delta: self.delta, ..self })
    }

    /// All of it in a word.
    ///
    /// ```text
    ///   63                32 31               10 9              0
    ///  +--------------------+-------------------+----------------+
    ///  |        from        |       delta       | its last change|
    ///  +--------------------+-------------------+----------------+
    /// ```
    #[inline]
    #[must_use]
    pub fn word(self) -> u64 {
        let change = self.delta.wrapping_sub(self.previous_delta).cast_unsigned();
        let low = (self.delta.cast_unsigned() << CHANGE_BITS) | (change & ((1 << CHANGE_BITS) - 1));
        (u64::from(self.from) << 32) | u64::from(low)
    }

    /// What a word says.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of the word")]
    pub fn from_word(word: u64) -> SeqAdjust {
        let low = (word as u32).cast_signed();
        let delta = low >> CHANGE_BITS;
        let change = (low << DELTA_BITS) >> DELTA_BITS;
        SeqAdjust { from: (word >> 32) as u32, delta, previous_delta: delta.wrapping_sub(change) }
    }
}

/// Whether `value` is a signed number of `bits` bits.
const fn fits(value: i32, bits: u32) -> bool {
    let top = 32 - bits;
    (value << top) >> top == value
}
