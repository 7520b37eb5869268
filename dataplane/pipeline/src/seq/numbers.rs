//! All numbers of a connection's segments, translated where they lie.
//!
//! ```text
//!                         client              director             real server
//!   real's stream:  seq   R' + offset   <---   R' = real(R)   <---   R
//!                   ack   A             --->   real(A - offset)      (and SACK edges alike)
//!   client's:       seq   C             --->   client(C)
//!                   ack   client(A)     <---   A
//! ```
//!
//! The offset is what a SYN proxy leaves behind: the client knows the real server's stream by the numbers of
//! a cookie.

use super::SeqAdjust;
use sheave_proto::wire::checksum::Delta;
use sheave_proto::wire::tcp::{self, HeaderMut, Tcp, TcpFlags};
use sheave_proto::wire::tcp_options::{Number, rewrite_numbers};

/// How the numbers of a proxied connection differ on its two sides, from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offsets {
    /// Added to the real server's sequence numbers for the client.
    pub seq: u32,
    /// Added to the real server's timestamps for the client.
    pub timestamps: u32,
    /// The scale of windows.
    pub windows: Windows,
}

/// How windows are scaled anew: the SYN proxy promised the client a scale before the real server named its
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Windows {
    /// Powers of two by which the real server's windows become larger; negative: smaller.
    pub to_client: i8,
    /// Powers of two by which the client's windows become larger: for a real server that does not scale.
    pub to_real: u8,
}

impl Windows {
    /// A window of the real server's as the client reads it. One below the client's unit is none.
    #[inline]
    #[must_use]
    pub fn to_client(self, window: u16) -> u16 {
        let by = u32::from(self.to_client.unsigned_abs());
        if self.to_client < 0 { window.checked_shr(by).unwrap_or(0) } else { grown(window, by) }
    }

    /// A window of the client's as the real server reads it.
    #[inline]
    #[must_use]
    pub fn to_real(self, window: u16) -> u16 {
        grown(window, self.to_real.into())
    }
}

/// `window` times two to the power of `by`; as much as fits where it does not.
#[inline]
fn grown(window: u16, by: u32) -> u16 {
    let wide = u32::from(window).checked_shl(by.min(16)).unwrap_or(u32::MAX);
    u16::try_from(wide).unwrap_or(u16::MAX)
}

/// What happens to the numbers of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// The client's stream.
    pub client: SeqAdjust,
    /// The real server's stream.
    pub real: SeqAdjust,
    /// What has been different from the start.
    pub offsets: Offsets,
}

impl Numbers {
    /// Translates a segment from the client for the real server, and returns the change, for its checksum.
    /// One that is malformed stays as it is.
    #[inline]
    pub fn to_real(&self, segment: &mut [u8]) -> Delta {
        let Offsets { seq, timestamps, windows } = self.offsets;
        let ways = Ways {
            seq: |number| self.client.seq(number),
            ack: |number: u32| self.real.ack(number.wrapping_sub(seq)),
            window: |window| windows.to_real(window),
            timestamps: (0, timestamps.wrapping_neg()),
        };
        translate(segment, ways)
    }

    /// Translates a segment from the real server for the client, as [`Numbers::to_real`].
    #[inline]
    pub fn to_client(&self, segment: &mut [u8]) -> Delta {
        let Offsets { seq, timestamps, windows } = self.offsets;
        let ways = Ways {
            seq: |number| self.real.seq(number).wrapping_add(seq),
            ack: |number| self.client.ack(number),
            window: |window| windows.to_client(window),
            timestamps: (timestamps, 0),
        };
        translate(segment, ways)
    }
}

/// What becomes of each number in one direction.
struct Ways<S, A, W> {
    seq: S,
    ack: A,
    window: W,
    /// Added to the sender's timestamp, and to the one that it echoes.
    timestamps: (u32, u32),
}

#[inline]
fn translate<S, A, W>(segment: &mut [u8], ways: Ways<S, A, W>) -> Delta
where
    S: Fn(u32) -> u32,
    A: Fn(u32) -> u32,
    W: Fn(u16) -> u16,
{
    let Ok(Tcp { seq, ack, flags, .. }) = tcp::parse(segment) else { return Delta::NONE };
    let Some(mut header) = HeaderMut::new(segment) else { return Delta::NONE };
    let acks = flags.contains(TcpFlags::ACK);
    let mut delta = header.rewrite_seq((ways.seq)(seq));
    if acks {
        delta = delta.and(header.rewrite_ack((ways.ack)(ack)));
    }
    // RFC 7323 §2.2: the window of a SYN is never scaled.
    if !flags.contains(TcpFlags::SYN) {
        delta = delta.and(header.rewrite_window(ways.window));
    }
    let (value, echo) = ways.timestamps;
    delta.and(rewrite_numbers(segment, |number, old| match number {
        Number::SackEdge => (ways.ack)(old),
        Number::Timestamp => old.wrapping_add(value),
        // RFC 7323 §3.2: without an acknowledgement, the echo is zero.
        Number::TimestampEcho if acks => old.wrapping_add(echo),
        Number::TimestampEcho => old,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sheave_proto::wire::checksum::l4_checksum;
    use std::net::Ipv4Addr;

    const ENDS: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 18, 0, 100));

    /// A segment with timestamps and two SACK blocks, its checksum right.
    fn segment(flags: u8, [seq, ack, ts, echo]: [u32; 4], window: u16, sack: [u32; 4]) -> Vec<u8> {
        let mut bytes = vec![0x9c, 0x40, 0, 80];
        bytes.extend([seq.to_be_bytes(), ack.to_be_bytes()].concat());
        bytes.extend([0xd0, flags]);
        bytes.extend(window.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 1, 8, 10]);
        bytes.extend([ts.to_be_bytes(), echo.to_be_bytes()].concat());
        bytes.extend([5, 18]);
        sack.iter().for_each(|edge| bytes.extend(edge.to_be_bytes()));
        bytes.resize(52, 0);
        bytes.extend(b"odd");
        let sum = l4_checksum(ENDS.0, ENDS.1, 6, &bytes);
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn with_checksum(mut bytes: Vec<u8>, delta: Delta) -> Vec<u8> {
        HeaderMut::new(&mut bytes).unwrap().update_checksum(delta);
        bytes
    }

    const NUMBERS: Numbers = Numbers {
        client: SeqAdjust::NONE,
        real: SeqAdjust { from: 5000, delta: 4, previous_delta: 1 },
        offsets: Offsets {
            seq: 0xffff_0000,
            timestamps: 0x8000_0000,
            windows: Windows { to_client: 2, to_real: 1 },
        },
    };

    #[test]
    fn both_directions() {
        let (ack, psh_ack) = (0x10, 0x18);
        let mut out = segment(psh_ack, [5000, 77, 1, 2], 100, [7, 8, 9, 10]);
        let delta = NUMBERS.to_client(&mut out);
        let expected = segment(psh_ack, [0xffff_1389, 77, 0x8000_0001, 2], 400, [7, 8, 9, 10]);
        assert_eq!(with_checksum(out, delta), expected);
        let edges = [5001, 5105, 5204, 5304].map(|edge: u32| edge.wrapping_add(0xffff_0000));
        let mut inward = segment(ack, [77, 0xffff_1389, 2, 0x8000_0001], 100, edges);
        let delta = NUMBERS.to_real(&mut inward);
        let expected = segment(ack, [77, 5000, 2, 1], 200, [5000, 5101, 5200, 5300]);
        assert_eq!(with_checksum(inward, delta), expected);
    }

    #[test]
    fn a_syn_has_an_unscaled_window_and_a_reset_may_have_no_acknowledgement() {
        let (syn_ack, rst) = (0x12, 0x04);
        let segment_of = |flags| {
            let mut bytes = segment(flags, [1, 2, 3, 4], 100, [0; 4]);
            let _ = NUMBERS.to_client(&mut bytes);
            tcp::parse(&bytes).unwrap()
        };
        assert_eq!((segment_of(syn_ack).window, segment_of(rst).window), (100, 400));
        let mut bytes = segment(rst, [1, 2, 3, 4], 100, [0; 4]);
        let _ = NUMBERS.to_real(&mut bytes);
        assert_eq!(tcp::parse(&bytes).map(|tcp| (tcp.seq, tcp.ack)), Ok((1, 2)));
        assert_eq!(bytes[27..31], [0, 0, 0, 4], "an echo that means nothing");
    }

    #[test]
    fn windows_keep_what_fits() {
        for (to_client, window, expected) in
            [(0, 65535, 65535), (3, 100, 800), (3, 65535, 65535), (-3, 807, 100), (-3, 7, 0), (14, 1, 16384)]
        {
            assert_eq!(Windows { to_client, to_real: 0 }.to_client(window), expected);
        }
        assert_eq!(Windows { to_client: 0, to_real: 14 }.to_real(4), 65535);
        for by in [i8::MIN, i8::MAX] {
            let _ = Windows { to_client: by, to_real: u8::MAX }.to_client(1);
        }
        assert_eq!(Windows { to_client: 0, to_real: 255 }.to_real(0), 0);
    }

    proptest! {
        /// What is sent is what arrives: an end's numbers come back to it as it knows them.
        #[test]
        fn an_echo_comes_back(
            word: u64, offset: [u32; 2], seq: u32, ts: u32,
            bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let real = SeqAdjust::from_word(word);
            let real = SeqAdjust { previous_delta: real.delta, ..real };
            let offsets = Offsets { seq: offset[0], timestamps: offset[1], windows: Windows::default() };
            let numbers = Numbers { client: SeqAdjust::NONE, real, offsets };
            let mut there = segment(0x10, [seq, 1, ts, 2], 3, [0; 4]);
            let delta = numbers.to_client(&mut there);
            let there = with_checksum(there, delta);
            prop_assert_eq!(l4_checksum(ENDS.0, ENDS.1, 6, &there), 0);
            let seen = tcp::parse(&there).unwrap().seq;
            let stamp = u32::from_be_bytes(there[23..27].try_into().unwrap());
            let mut back = segment(0x10, [1, seen, 2, stamp], 3, [seen; 4]);
            let delta = numbers.to_real(&mut back);
            prop_assert_eq!(with_checksum(back, delta), segment(0x10, [1, seq, 2, ts], 3, [seq; 4]));
            let (mut a, mut b) = (bytes.clone(), bytes);
            let _ = (numbers.to_client(&mut a), numbers.to_real(&mut b));
        }

        #[test]
        fn nothing_to_translate_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut after = bytes.clone();
            prop_assert_eq!(Numbers::default().to_client(&mut after), Delta::NONE);
            prop_assert_eq!(Numbers::default().to_real(&mut after), Delta::NONE);
            prop_assert_eq!(after, bytes);
        }
    }
}
