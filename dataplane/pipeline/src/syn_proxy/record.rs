//! A proxied connection in three words of a side record.
//!
//! ```text
//!   word 0   63  61 60  59  58  57    54 53 52 51 49 48     32 31     16 15       0
//!           +------+---+----+----+--------+---+------+---------+---------+----------+
//!   connect.| 1    |   | ts |sack| scale  |   |tries |   mss   | window  |   sent   |    scale: 15 for none
//!           +------+---+----+----+--------+---+------+---------+---------+----------+
//!   open    | 2    |                                           | to real | to client|    scales, a byte each
//!           +------+-------------------------------------------+---------+----------+
//!   word 1   connecting: client's number, cookie
//!   word 2   connecting: client's timestamp, ours         open: offsets of sequence, of timestamps
//! ```
//!
//! Word 0 says what the others mean: it is read first, and to be changed last, by whoever finds it still as
//! it was. Word 1 stays as it is: a reader that sees a connection opening takes at worst the new offsets for
//! timestamps of a SYN that it sends once more, which the real server ignores.

use super::{Accepted, Connecting, MAX_TRIES, Stage};
use crate::seq::{Offsets, Windows};
use crate::syn_cookie::Negotiated;
use crate::time::Tick;

const KIND_AT: u32 = 61;
const CONNECTING: u64 = 1;
const OPEN: u64 = 2;

const STAMPS: u64 = 1 << 59;
const SACK: u64 = 1 << 58;
const SCALE_AT: u32 = 54;
const TRIES_AT: u32 = 49;
const MSS_AT: u32 = 32;
const WINDOW_AT: u32 = 16;
const NO_SCALE: u64 = 15;
const TO_REAL_AT: u32 = 8;

impl Stage {
    /// The words that say this; zeroes for a connection that is over.
    #[must_use]
    pub fn words(self) -> [u64; 3] {
        match self {
            Stage::Connecting(connecting) => connecting.words(),
            Stage::Open(Offsets { seq, timestamps, windows }) => {
                let scales =
                    (u64::from(windows.to_real) << TO_REAL_AT) | u64::from(windows.to_client.cast_unsigned());
                [(OPEN << KIND_AT) | scales, 0, pair(seq, timestamps)]
            }
            Stage::Closed(_) => [0; 3],
        }
    }

    /// What three words say. `None` for what [`Stage::words`] does not give for a connection.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of the words")]
    pub fn from_words(words: [u64; 3]) -> Option<Stage> {
        let (seq, timestamps) = unpair(words[2]);
        match words[0] >> KIND_AT {
            CONNECTING => Some(Stage::Connecting(Connecting::from_words(words))),
            OPEN => {
                let windows = Windows {
                    to_client: (words[0] as u8).cast_signed(),
                    to_real: (words[0] >> TO_REAL_AT) as u8,
                };
                Some(Stage::Open(Offsets { seq, timestamps, windows }))
            }
            _ => None,
        }
    }
}

impl Connecting {
    pub(crate) fn words(self) -> [u64; 3] {
        let Connecting { client: Accepted { isn, cookie, agreed, window }, tries, sent } = self;
        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        let first = (CONNECTING << KIND_AT)
            | flag(agreed.timestamps.is_some(), STAMPS)
            | flag(agreed.sack_permitted, SACK)
            | (agreed.window_scale.map_or(NO_SCALE, u64::from) << SCALE_AT)
            | (u64::from(tries) << TRIES_AT)
            | (u64::from(agreed.mss) << MSS_AT)
            | (u64::from(window) << WINDOW_AT)
            | u64::from(sent.0);
        let (theirs, ours) = agreed.timestamps.unwrap_or_default();
        [first, pair(isn, cookie), pair(theirs, ours)]
    }

    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of the words")]
    fn from_words([first, numbers, stamps]: [u64; 3]) -> Connecting {
        let (isn, cookie) = unpair(numbers);
        let scale = (first >> SCALE_AT) & 0xf;
        let agreed = Negotiated {
            mss: (first >> MSS_AT) as u16,
            window_scale: (scale != NO_SCALE).then_some(scale as u8),
            sack_permitted: first & SACK != 0,
            timestamps: (first & STAMPS != 0).then(|| unpair(stamps)),
        };
        let tries = ((first >> TRIES_AT) & 0x7) as u8;
        Connecting {
            client: Accepted { isn, cookie, agreed, window: (first >> WINDOW_AT) as u16 },
            tries: tries.clamp(1, MAX_TRIES),
            sent: Tick(first as u16),
        }
    }
}

fn pair(high: u32, low: u32) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are wanted")]
fn unpair(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
