//! Where the lines of a server's replies begin, and which of them are replies.
//!
//! A reply is worth a look only if it is one: a line of its own, not the middle of a line that happens to
//! begin a segment, and not a line of a longer reply, such as a listing, whose text is somebody else's. An
//! attacker who can choose a file's name, or how the server's bytes are cut into segments (by his window, or
//! by acknowledging nothing), must not be able to have a line taken for a reply.
//!
//! For that the stream is followed in order: where it goes on, whether in the middle of a line, and within
//! which reply of several lines (RFC 959 §4.2: from `213-` to `213 `). The same is kept of the moment before
//! the last segment, for when that one comes again. After a gap the middle of a line is assumed, and no reply
//! of several lines; what comes again from further back is not looked at.

use super::Memory;
use crate::seq::after;

/// A reply's code, 100 to 599, of which several lines have come and not the last; or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Within(Option<u16>);

impl Within {
    const BITS: u32 = 9;
    const FIRST: u16 = 100;

    fn bits(self) -> u64 {
        self.0.map_or(0, |code| u64::from(code - Within::FIRST) + 1)
    }

    fn from_bits(bits: u64) -> Within {
        let value = (bits & ((1 << Within::BITS) - 1)) as u16;
        Within(value.checked_sub(1).map(|code| code + Within::FIRST))
    }

    /// Takes the next line in. Its code, if it is a whole reply or the last line of one.
    pub(super) fn line(&mut self, line: &[u8]) -> Option<u16> {
        let (code, last) = code(line)?;
        match (self.0, last) {
            (None, true) => Some(code),
            (None, false) => {
                self.0 = Some(code);
                None
            }
            (Some(open), true) if open == code => {
                self.0 = None;
                Some(code)
            }
            (Some(_), _) => None,
        }
    }
}

/// The code that a line begins with, and whether no more lines of its reply follow.
fn code(line: &[u8]) -> Option<(u16, bool)> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    let last = match rest.first() {
        Some(b' ') | None => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    let [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] = digits else { return None };
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    Some((code, last))
}

/// How the stream stands at some number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// In the middle of a line.
    pub(super) mid_line: bool,
    /// The reply that it is in.
    pub(super) within: Within,
}

/// The stream of replies so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replies {
    /// Where it goes on.
    next: u32,
    /// How it stands there.
    now: Standing,
    /// Bytes of the last segment: zero before the first, [`TOO_LONG`] for one that is not remembered.
    back: u16,
    /// How it stood before that.
    earlier: Standing,
}

const BACK_BITS: u32 = 12;
const TOO_LONG: u16 = (1 << BACK_BITS) - 1;

impl Replies {
    /// How the stream stands where a segment begins; `None` when that can no longer be known.
    pub(super) fn at(&self, seq: u32) -> Option<Standing> {
        if self.back == 0 || after(seq, self.next) {
            return Some(Standing { mid_line: true, within: Within(None) });
        }
        match self.next.wrapping_sub(seq) {
            0 => Some(self.now),
            back if back == u32::from(self.back) && self.back != TOO_LONG => Some(self.earlier),
            _ => None,
        }
    }

    /// Takes in that the segment of `len` bytes at `seq` has been looked at, and how the stream stood before
    /// and stands after it. One that brings nothing new changes nothing.
    pub(super) fn seen(&mut self, seq: u32, len: usize, before: Standing, now: Standing) {
        // What is longer than any segment is none.
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        let next = seq.wrapping_add(u32::from(len));
        if len != 0 && (self.back == 0 || after(next, self.next)) {
            *self = Replies { next, now, back: len.min(TOO_LONG), earlier: before };
        }
    }
}

/// ```text
///   63             32 31    20  19    18       17         9 8              0
///  +-----------------+-------+------+---------+------------+----------------+
///  |      next       | back  | now: mid-line, earlier: ...  | now: within    | earlier: within
///  +-----------------+-------+------+---------+------------+----------------+
/// ```
impl From<Replies> for Memory {
    fn from(replies: Replies) -> Memory {
        let Replies { next, now, back, earlier } = replies;
        let standing = |s: Standing| (u64::from(s.mid_line) << Within::BITS) | s.within.bits();
        const BITS: u32 = Within::BITS + 1;
        Memory(
            (u64::from(next) << 32)
                | (u64::from(back) << (2 * BITS))
                | (standing(now) << BITS)
                | standing(earlier),
        )
    }
}

impl From<Memory> for Replies {
    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of the word")]
    fn from(Memory(word): Memory) -> Replies {
        const BITS: u32 = Within::BITS + 1;
        let standing = |bits: u64| Standing {
            mid_line: bits & (1 << Within::BITS) != 0,
            within: Within::from_bits(bits),
        };
        Replies {
            next: (word >> 32) as u32,
            back: (word >> (2 * BITS)) as u16 & TOO_LONG,
            now: standing(word >> BITS),
            earlier: standing(word),
        }
    }
}
