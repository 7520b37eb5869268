//! A TCP segment whose payload is read and rewritten where it lies.

use sheave_proto::wire::Malformed;
use sheave_proto::wire::checksum::{Delta, Sum};
use sheave_proto::wire::tcp;
use std::ops::Range;

/// The text does not fit where it should go; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// A TCP segment at the start of a buffer; what lies behind it is room to grow into.
#[derive(Debug)]
pub struct Segment<'a> {
    buf: &'a mut [u8],
    len: usize,
    header_len: usize,
    seq: u32,
}

impl<'a> Segment<'a> {
    /// The segment of `len` bytes, header and payload, at the start of `buf`.
    ///
    /// # Errors
    /// [`Malformed`] when it is not a segment.
    pub fn new(buf: &'a mut [u8], len: usize) -> Result<Segment<'a>, Malformed> {
        let parsed = tcp::parse(buf.get(..len).ok_or(Malformed::Truncated)?)?;
        Ok(Segment { buf, len, header_len: parsed.header_len, seq: parsed.seq })
    }

    /// Bytes of the segment as it is now, header included. The IP header is to say so.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a length of the segment, not of a collection")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The payload as it is now.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.buf.get(self.header_len..self.len).unwrap_or_default()
    }

    /// The sequence number of the payload's first byte; of a SYN, one less.
    #[must_use]
    pub fn seq(&self) -> u32 {
        self.seq
    }

    /// Replaces a range of the payload by `text`, moves what follows, and brings the checksum in step: it is
    /// as right or as wrong as before. Returns by how many bytes the segment has grown.
    ///
    /// # Errors
    /// [`NoRoom`] when the buffer, or a packet, is too small for the result, or the range is not within the
    /// payload.
    pub fn replace(&mut self, range: Range<usize>, text: &[u8]) -> Result<i32, NoRoom> {
        let start = self.header_len.checked_add(range.start).ok_or(NoRoom)?;
        let end = self.header_len.checked_add(range.end).ok_or(NoRoom)?;
        if start > end || end > self.len {
            return Err(NoRoom);
        }
        let new_end = start + text.len();
        let new_len = self.len - (end - start) + text.len();
        if new_len > self.buf.len() {
            return Err(NoRoom);
        }
        let (Ok(old_size), Ok(new_size)) = (u16::try_from(self.len), u16::try_from(new_len)) else {
            return Err(NoRoom);
        };
        // From an even offset on, so that the bytes keep their places in the words that are summed.
        let even = start & !1;
        let old = self.sum(even, self.len);
        self.buf.copy_within(end..self.len, new_end);
        self.buf.get_mut(start..new_end).ok_or(NoRoom)?.copy_from_slice(text);
        let new = self.sum(even, new_len);
        self.len = new_len;
        if let Some(mut header) = tcp::HeaderMut::new(self.buf) {
            let delta = Delta::NONE.word(old, new).word(old_size, new_size);
            header.set_checksum(delta.apply(header.checksum()));
        }
        Ok(i32::from(new_size) - i32::from(old_size))
    }

    fn sum(&self, from: usize, to: usize) -> u16 {
        Sum::ZERO.bytes(self.buf.get(from..to).unwrap_or_default()).fold()
    }
}
