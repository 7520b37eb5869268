//! The TCP header (RFC 9293).
//!
//! ```text
//!   0                 2                 4                                   8
//!   +-----------------+-----------------+-----------------------------------+
//!   | source port     | dest. port      | sequence number                   |
//!   +-----------------+-----------------+----+---+-----------+--------------+
//!   | acknowledgement number            |off | 0 | flags     | window       |
//!   +-----------------+-----------------+----+---+-----------+--------------+
//!   | checksum        | urgent pointer  | options, up to 40 bytes ...
//!   +-----------------+-----------------+-----------------------------------
//! ```
//!
//! Options are skipped by the data offset here; `tcp_options.rs` walks them.

use super::checksum::{Address, Delta, l4_checksum};
use super::field::Field;
use super::{Malformed, ipv4::protocol};
use std::fmt;
use std::ops::BitOr;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;

const SRC_PORT: Field<0, 2> = Field;
const DST_PORT: Field<2, 2> = Field;
const SEQ: Field<4, 4> = Field;
const ACK: Field<8, 4> = Field;
const OFFSET: Field<12, 1> = Field;
const FLAGS: Field<13, 1> = Field;
const WINDOW: Field<14, 2> = Field;
const CHECKSUM: Field<16, 2> = Field;
const URGENT: Field<18, 2> = Field;

/// The flags of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// Reset the connection.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Push.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// The acknowledgement number counts.
    pub const ACK: TcpFlags = TcpFlags(0x10);
    /// The urgent pointer counts.
    pub const URG: TcpFlags = TcpFlags(0x20);
    /// ECN echo.
    pub const ECE: TcpFlags = TcpFlags(0x40);
    /// Congestion window reduced.
    pub const CWR: TcpFlags = TcpFlags(0x80);

    /// Whether all of `flags` are set.
    #[inline]
    #[must_use]
    pub const fn contains(self, flags: TcpFlags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of `flags` is set.
    #[inline]
    #[must_use]
    pub const fn intersects(self, flags: TcpFlags) -> bool {
        self.0 & flags.0 != 0
    }
}

impl BitOr for TcpFlags {
    type Output = TcpFlags;

    fn bitor(self, other: TcpFlags) -> TcpFlags {
        TcpFlags(self.0 | other.0)
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let mut set = (0..).zip(NAMES).filter(|(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| name);
        f.write_str(set.next().unwrap_or("none"))?;
        set.try_for_each(|name| write!(f, "|{name}"))
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The fields of a TCP header, host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Bytes of the header, options included: 20 to 60.
    pub header_len: usize,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, not scaled.
    pub window: u16,
    /// Checksum field.
    pub checksum: u16,
}

/// Parses the header of a segment: `segment` is the IP payload.
///
/// # Errors
/// [`Malformed::Truncated`] when the bytes end within the header; [`Malformed::BadLength`] when the data
/// offset is below 20.
#[inline]
pub fn parse(segment: &[u8]) -> Result<Tcp, Malformed> {
    let header = segment.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    let header_len = usize::from(OFFSET.get_u8(header) >> 4) * 4;
    if header_len < HEADER_LEN {
        return Err(Malformed::BadLength);
    }
    if header_len > segment.len() {
        return Err(Malformed::Truncated);
    }
    Ok(Tcp {
        sport: SRC_PORT.get_u16(header),
        dport: DST_PORT.get_u16(header),
        seq: SEQ.get_u32(header),
        ack: ACK.get_u32(header),
        header_len,
        flags: TcpFlags(FLAGS.get_u8(header)),
        window: WINDOW.get_u16(header),
        checksum: CHECKSUM.get_u16(header),
    })
}

/// A header for rewriting in place.
#[derive(Debug)]
pub struct HeaderMut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> HeaderMut<'a> {
    /// A view of the header at the start of `segment`, if it is that long.
    #[inline]
    pub fn new(segment: &'a mut [u8]) -> Option<HeaderMut<'a>> {
        segment.first_chunk_mut().map(HeaderMut)
    }

    /// The checksum field, host order.
    #[inline]
    #[must_use]
    pub fn checksum(&self) -> u16 {
        CHECKSUM.get_u16(self.0)
    }

    /// Sets the checksum field, host order.
    #[inline]
    pub fn set_checksum(&mut self, checksum: u16) {
        CHECKSUM.set_u16(self.0, checksum);
    }

    /// Sets the sequence number and returns the change, for the checksum that a rewrite of a port brings in
    /// step.
    #[inline]
    pub fn rewrite_seq(&mut self, seq: u32) -> Delta {
        let delta = Delta::NONE.word32(SEQ.get_u32(self.0), seq);
        SEQ.set_u32(self.0, seq);
        delta
    }

    /// Sets the acknowledgement number and returns the change, as [`HeaderMut::rewrite_seq`].
    #[inline]
    pub fn rewrite_ack(&mut self, ack: u32) -> Delta {
        let delta = Delta::NONE.word32(ACK.get_u32(self.0), ack);
        ACK.set_u32(self.0, ack);
        delta
    }

    /// Replaces the window, not scaled, by what `f` makes of it and returns the change, as
    /// [`HeaderMut::rewrite_seq`].
    #[inline]
    pub fn rewrite_window(&mut self, f: impl FnOnce(u16) -> u16) -> Delta {
        let old = WINDOW.get_u16(self.0);
        let new = f(old);
        WINDOW.set_u16(self.0, new);
        Delta::NONE.word(old, new)
    }

    /// Brings the checksum in step with changes to the segment or its addresses.
    #[inline]
    pub fn update_checksum(&mut self, delta: Delta) {
        self.set_checksum(delta.apply(self.checksum()));
    }

    /// Sets the source port and brings the checksum in step with it and with `delta`, the change of the
    /// addresses.
    #[inline]
    pub fn rewrite_sport(&mut self, port: u16, delta: Delta) {
        let delta = delta.word(SRC_PORT.get_u16(self.0), port);
        SRC_PORT.set_u16(self.0, port);
        self.set_checksum(delta.apply(self.checksum()));
    }

    /// Sets the destination port and brings the checksum in step, as [`HeaderMut::rewrite_sport`].
    #[inline]
    pub fn rewrite_dport(&mut self, port: u16, delta: Delta) {
        let delta = delta.word(DST_PORT.get_u16(self.0), port);
        DST_PORT.set_u16(self.0, port);
        self.set_checksum(delta.apply(self.checksum()));
    }
}

/// A segment without options and payload, to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window.
    pub window: u16,
}

impl Segment {
    /// The reset that answers `segment`, which carries `payload_len` bytes, in the other direction.
    /// `None` for a reset, which is never answered.
    ///
    /// RFC 9293 §3.5.2: the reset takes its sequence number from the acknowledgement if there is one;
    /// otherwise it has sequence number zero and acknowledges all that the segment occupies.
    #[must_use]
    pub fn reset(segment: &Tcp, payload_len: usize) -> Option<Segment> {
        if segment.flags.contains(TcpFlags::RST) {
            return None;
        }
        let (seq, ack, flags) = if segment.flags.contains(TcpFlags::ACK) {
            (segment.ack, 0, TcpFlags::RST)
        } else {
            let controls = u32::from(segment.flags.contains(TcpFlags::SYN))
                + u32::from(segment.flags.contains(TcpFlags::FIN));
            let payload = u32::try_from(payload_len).unwrap_or(u32::MAX);
            let end = segment.seq.wrapping_add(payload).wrapping_add(controls);
            (0, end, TcpFlags::RST | TcpFlags::ACK)
        };
        Some(Segment { sport: segment.dport, dport: segment.sport, seq, ack, flags, window: 0 })
    }

    /// Writes the segment with its checksum.
    pub fn emit<A: Address>(&self, header: &mut [u8; HEADER_LEN], src: A, dst: A) {
        self.emit_unsummed(header, HEADER_LEN);
        let sum = l4_checksum(src, dst, protocol::TCP, header);
        CHECKSUM.set_u16(header, sum);
    }

    /// Writes the header of a segment whose header has `header_len` bytes, with a checksum field of 0.
    pub(super) fn emit_unsummed(&self, header: &mut [u8; HEADER_LEN], header_len: usize) {
        SRC_PORT.set_u16(header, self.sport);
        DST_PORT.set_u16(header, self.dport);
        SEQ.set_u32(header, self.seq);
        ACK.set_u32(header, self.ack);
        let words = u8::try_from(header_len / 4).unwrap_or_default() & 0x0f;
        OFFSET.set_u8(header, words << 4);
        FLAGS.set_u8(header, self.flags.0);
        WINDOW.set_u16(header, self.window);
        CHECKSUM.set_u16(header, 0);
        URGENT.set_u16(header, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{CLIENT, SYN, VIP};

    fn with(at: usize, value: u8) -> [u8; 24] {
        let mut segment = SYN;
        segment[at] = value;
        segment
    }

    fn segment(flags: TcpFlags) -> Tcp {
        Tcp { flags, ack: 0x0a0b_0c0d, ..parse(&SYN).unwrap() }
    }

    #[test]
    fn parses_a_segment() {
        let expected = Tcp {
            sport: 40000,
            dport: 80,
            seq: 0x0102_0304,
            ack: 0,
            header_len: 24,
            flags: TcpFlags::SYN,
            window: 64240,
            checksum: 0x7427,
        };
        assert_eq!(parse(&SYN), Ok(expected));
    }

    #[test]
    fn the_data_offset_lies_within_the_segment() {
        for len in 0..SYN.len() {
            assert_eq!(parse(&SYN[..len]), Err(Malformed::Truncated), "{len} bytes");
        }
        for offset in 0..5 {
            assert_eq!(parse(&with(12, offset << 4)), Err(Malformed::BadLength), "{offset}");
        }
        assert_eq!(parse(&with(12, 0x70)), Err(Malformed::Truncated));
        assert_eq!(parse(&with(12, 0x50)).map(|tcp| tcp.header_len), Ok(20));
        // The reserved bits beside it are not part of it.
        assert_eq!(parse(&with(12, 0x6f)).map(|tcp| tcp.header_len), Ok(24));
    }

    #[test]
    fn shows_flags() {
        assert_eq!(TcpFlags::default().to_string(), "none");
        assert_eq!((TcpFlags::SYN | TcpFlags::ACK).to_string(), "SYN|ACK");
        assert_eq!(TcpFlags(0xff).to_string(), "FIN|SYN|RST|PSH|ACK|URG|ECE|CWR");
        assert!(TcpFlags(0x12).contains(TcpFlags::SYN | TcpFlags::ACK));
        assert!(!TcpFlags(0x10).contains(TcpFlags::SYN | TcpFlags::ACK));
        assert!(TcpFlags(0x10).intersects(TcpFlags::SYN | TcpFlags::ACK));
        assert!(!TcpFlags(0x08).intersects(TcpFlags::SYN | TcpFlags::ACK));
    }

    #[test]
    fn a_syn_is_reset_by_acknowledging_it() {
        let reset = Segment::reset(&parse(&SYN).unwrap(), 0).unwrap();
        let mut bytes = [0xaa; HEADER_LEN];
        reset.emit(&mut bytes, VIP, CLIENT);
        let expected =
            [0x00, 0x50, 0x9c, 0x40, 0, 0, 0, 0, 0x01, 0x02, 0x03, 0x05, 0x50, 0x14, 0, 0, 0x86, 0xc1, 0, 0];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_reset_takes_its_numbers_from_the_segment() {
        let (rst, rst_ack) = (TcpFlags::RST, TcpFlags::RST | TcpFlags::ACK);
        for (flags, payload, expected) in [
            (TcpFlags::ACK, 100, Some((0x0a0b_0c0d, 0, rst))),
            (TcpFlags::ACK | TcpFlags::FIN, 100, Some((0x0a0b_0c0d, 0, rst))),
            (TcpFlags::SYN | TcpFlags::ACK, 0, Some((0x0a0b_0c0d, 0, rst))),
            (TcpFlags::PSH, 100, Some((0, 0x0102_0304 + 100, rst_ack))),
            (TcpFlags::FIN, 100, Some((0, 0x0102_0304 + 101, rst_ack))),
            (TcpFlags::SYN | TcpFlags::FIN, 0, Some((0, 0x0102_0304 + 2, rst_ack))),
            (TcpFlags::RST, 0, None),
            (TcpFlags::RST | TcpFlags::ACK, 0, None),
        ] {
            let reset = Segment::reset(&segment(flags), payload);
            assert_eq!(reset.map(|reset| (reset.seq, reset.ack, reset.flags)), expected, "{flags}");
        }
        let last = Tcp { seq: u32::MAX, ..segment(TcpFlags::SYN) };
        assert_eq!(Segment::reset(&last, 0).map(|reset| reset.ack), Some(0));
    }

    #[test]
    fn rewrites_ports_with_the_checksum() {
        let mut bytes = SYN;
        let mut header = HeaderMut::new(&mut bytes).unwrap();
        header.rewrite_sport(40001, Delta::NONE);
        header.rewrite_dport(81, Delta::NONE);
        assert_eq!(header.checksum(), 0x7425);
        assert_eq!(bytes[..4], [0x9c, 0x41, 0x00, 0x51]);
        assert!(HeaderMut::new(&mut [0; 19]).is_none());
    }
}
