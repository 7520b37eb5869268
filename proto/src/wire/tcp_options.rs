//! The options of a TCP header (RFC 9293 §3.1; window scale and timestamps: RFC 7323; SACK: RFC 2018).
//!
//! ```text
//!   +------+-----+-----------+
//!   | kind | len | len - 2   |     kind 0: end, 1: no operation, both without a length
//!   +------+-----+-----------+
//! ```
//!
//! The walk stops at the first option that does not fit: what comes behind it cannot be known. Options begin at any
//! byte, so that a change of one may belong to two words of the checksum; the functions here return it as a
//! [`Delta`] and leave the checksum field to whoever has all changes together.

use super::checksum::{Address, Delta, l4_checksum};
use super::ipv4::protocol;
use super::tcp::{self, HEADER_LEN, HeaderMut, Segment};

/// Bytes of a header with all the options of [`SynOptions`].
pub const MAX_SYN_LEN: usize = HEADER_LEN + 20;

/// Values of the kind field.
pub mod kind {
    /// No option follows.
    pub const END: u8 = 0;
    /// Padding.
    pub const NOP: u8 = 1;
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Window scale.
    pub const WINDOW_SCALE: u8 = 3;
    /// Selective acknowledgements are understood.
    pub const SACK_PERMITTED: u8 = 4;
    /// Selective acknowledgements.
    pub const SACK: u8 = 5;
    /// Timestamps.
    pub const TIMESTAMPS: u8 = 8;
}

/// RFC 7323 §2.3: more is taken as 14.
const MAX_WINDOW_SCALE: u8 = 14;

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOption<'a> {
    /// Kind, see [`kind`].
    pub kind: u8,
    /// Where its value begins, in bytes from the start of the segment.
    pub at: usize,
    /// What follows its length.
    pub value: &'a [u8],
}

/// The options of a segment, without padding.
#[derive(Debug, Clone)]
pub struct TcpOptions<'a> {
    header: &'a [u8],
    at: usize,
}

/// Walks the options of a segment. There are none in one that is malformed.
#[inline]
#[must_use]
pub fn options(segment: &[u8]) -> TcpOptions<'_> {
    TcpOptions { header: header(segment), at: HEADER_LEN }
}

/// The header with its options.
#[inline]
fn header(segment: &[u8]) -> &[u8] {
    let len = tcp::parse(segment).map_or(0, |tcp| tcp.header_len);
    segment.get(..len).unwrap_or_default()
}

/// The first option at or behind `at`: its kind, and where its value begins and ends.
#[inline]
fn find(header: &[u8], mut at: usize) -> Option<(u8, usize, usize)> {
    while *header.get(at)? == kind::NOP {
        at += 1;
    }
    let kind = *header.get(at)?;
    if kind == kind::END {
        return None;
    }
    let len = usize::from(*header.get(at + 1)?);
    (len >= 2 && at + len <= header.len()).then_some((kind, at + 2, at + len))
}

impl<'a> Iterator for TcpOptions<'a> {
    type Item = TcpOption<'a>;

    #[inline]
    fn next(&mut self) -> Option<TcpOption<'a>> {
        let Some((kind, at, end)) = find(self.header, self.at) else {
            self.at = self.header.len();
            return None;
        };
        self.at = end;
        Some(TcpOption { kind, at, value: self.header.get(at..end)? })
    }
}

/// Lowers the maximum segment size in a SYN to `max`, where it is larger, and returns the change. A segment
/// without the option gets none.
#[inline]
pub fn clamp_mss(segment: &mut [u8], max: u16) -> Delta {
    let len = header(segment).len();
    let header = segment.get_mut(..len).unwrap_or_default();
    let (mut delta, mut at) = (Delta::NONE, HEADER_LEN);
    while let Some((kind, value, end)) = find(header, at) {
        at = end;
        if kind == kind::MSS && end == value + 2 {
            delta = delta.and(lower(header, value, max));
        }
    }
    delta
}

/// Lowers the 16-bit number at `at` to `max`.
fn lower(header: &mut [u8], at: usize, max: u16) -> Delta {
    let Some(field) = header.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
        return Delta::NONE;
    };
    let old = u16::from_be_bytes(*field);
    let new = old.min(max);
    *field = new.to_be_bytes();
    Delta::NONE.word_at(at, old, new)
}

/// A 32-bit number in an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// An edge of a selective acknowledgement: what is added to the acknowledgement number is added to it.
    SackEdge,
    /// The sender's timestamp.
    Timestamp,
    /// The timestamp of the other side that it echoes.
    TimestampEcho,
}

/// Replaces every such number in a segment by what `f` makes of it, and returns the change.
#[inline]
pub fn rewrite_numbers(segment: &mut [u8], mut f: impl FnMut(Number, u32) -> u32) -> Delta {
    let len = header(segment).len();
    let header = segment.get_mut(..len).unwrap_or_default();
    let (mut delta, mut at) = (Delta::NONE, HEADER_LEN);
    while let Some((kind, value, end)) = find(header, at) {
        at = end;
        let numbers = match (kind, end - value) {
            (kind::SACK, _) => [Number::SackEdge; 2],
            (kind::TIMESTAMPS, 8) => [Number::Timestamp, Number::TimestampEcho],
            _ => continue,
        };
        let places = (value..end).step_by(4).filter(|place| place + 4 <= end);
        for (place, number) in places.zip(numbers.into_iter().cycle()) {
            delta = delta.and(rewrite_number(header, place, |old| f(number, old)));
        }
    }
    delta
}

/// Replaces the 32-bit number at `at`.
fn rewrite_number(header: &mut [u8], at: usize, f: impl FnOnce(u32) -> u32) -> Delta {
    let Some(field) = header.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) else {
        return Delta::NONE;
    };
    let old = *field;
    *field = f(u32::from_be_bytes(old)).to_be_bytes();
    let ([a, b, c, d], [e, f, g, h]) = (old, *field);
    Delta::NONE.word_at(at, u16::from_be_bytes([a, b]), u16::from_be_bytes([e, f])).word_at(
        at,
        u16::from_be_bytes([c, d]),
        u16::from_be_bytes([g, h]),
    )
}

/// What a SYN or SYN+ACK offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SynOptions {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale, at most 14.
    pub window_scale: Option<u8>,
    /// Whether selective acknowledgements are understood.
    pub sack_permitted: bool,
    /// Timestamp value and echo reply.
    pub timestamps: Option<(u32, u32)>,
}

impl SynOptions {
    /// Reads those of a segment; of an option that comes twice, the last counts.
    #[must_use]
    pub fn read(segment: &[u8]) -> SynOptions {
        let mut read = SynOptions::default();
        for option in options(segment) {
            match (option.kind, option.value) {
                (kind::MSS, [a, b]) => read.mss = Some(u16::from_be_bytes([*a, *b])),
                (kind::WINDOW_SCALE, [shift]) => read.window_scale = Some((*shift).min(MAX_WINDOW_SCALE)),
                (kind::SACK_PERMITTED, []) => read.sack_permitted = true,
                (kind::TIMESTAMPS, [a, b, c, d, e, f, g, h]) => {
                    let value = u32::from_be_bytes([*a, *b, *c, *d]);
                    read.timestamps = Some((value, u32::from_be_bytes([*e, *f, *g, *h])));
                }
                _ => {}
            }
        }
        read
    }

    /// Writes a segment with these options and its checksum, and returns its length.
    #[must_use]
    pub fn emit<A: Address>(
        &self,
        segment: &Segment,
        bytes: &mut [u8; MAX_SYN_LEN],
        src: A,
        dst: A,
    ) -> usize {
        let mut at = HEADER_LEN;
        let mut put = |option: &[u8]| {
            if let Some(room) = bytes.get_mut(at..at + option.len()) {
                room.copy_from_slice(option);
                at += option.len();
            }
        };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            put(&[kind::MSS, 4, a, b]);
        }
        // Each of these is padded to whole words; SACK permitted takes the place of the padding of timestamps.
        let sack = if self.sack_permitted { [kind::SACK_PERMITTED, 2] } else { [kind::NOP; 2] };
        if let Some((value, echo)) = self.timestamps {
            put(&sack);
            put(&[kind::TIMESTAMPS, 10]);
            put(&value.to_be_bytes());
            put(&echo.to_be_bytes());
        } else if self.sack_permitted {
            put(&[kind::NOP; 2]);
            put(&sack);
        }
        if let Some(shift) = self.window_scale {
            put(&[kind::NOP, kind::WINDOW_SCALE, 3, shift]);
        }
        finish(segment, bytes, at, (src, dst));
        at
    }
}

/// Writes the fixed header in front of options that end at `len`, and the checksum over both.
fn finish<A: Address>(segment: &Segment, bytes: &mut [u8; MAX_SYN_LEN], len: usize, ends: (A, A)) {
    if let Some(header) = bytes.first_chunk_mut() {
        segment.emit_unsummed(header, len);
    }
    let written = bytes.get(..len).unwrap_or_default();
    let sum = l4_checksum(ends.0, ends.1, protocol::TCP, written);
    if let Some(mut header) = HeaderMut::new(bytes) {
        header.set_checksum(sum);
    }
}

#[cfg(test)]
#[path = "tests/tcp_options.rs"]
mod tests;
