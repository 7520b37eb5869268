//! The adjustment of one stream, against a model that counts bytes.

use super::*;
use proptest::prelude::*;

#[test]
fn serial_numbers_have_an_order_within_half_their_space() {
    for (a, b, later) in [
        (1, 0, true),
        (0, 0, false),
        (0, 1, false),
        (0, u32::MAX, true),
        (u32::MAX, 0, false),
        (0x7fff_ffff, 0, true),
        (0x8000_0000, 0, false),
        (0x8000_0001, 0, false),
    ] {
        assert_eq!(after(a, b), later, "{a:#x} after {b:#x}");
    }
}

#[test]
fn nothing_is_adjusted_at_first() {
    for number in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        assert_eq!((SeqAdjust::NONE.seq(number), SeqAdjust::NONE.ack(number)), (number, number));
    }
    assert_eq!(SeqAdjust::NONE.word(), 0);
    assert_eq!(SeqAdjust::from_word(0), SeqAdjust::NONE);
}

#[test]
fn two_changes_across_the_wrap() {
    // A segment of 40 bytes at ..f0 grows by 3; then one of 20 bytes at 0x100 shrinks by 5.
    let grown = SeqAdjust::NONE.resized(0xffff_fff0, 3).unwrap();
    assert_eq!(grown.parts(), (0xffff_fff0, 3, 0));
    assert_eq!(grown.seq(0xffff_fff0), 0xffff_fff0);
    assert_eq!(grown.seq(0x18), 0x1b);
    assert_eq!((grown.ack(0xffff_fff0), grown.ack(0x1b)), (0xffff_fff0, 0x18));
    let shrunk = grown.resized(0x100, -5).unwrap();
    assert_eq!(shrunk.parts(), (0x100, -2, 3));
    assert_eq!((shrunk.seq(0x18), shrunk.seq(0x100), shrunk.seq(0x114)), (0x1b, 0x103, 0x112));
    assert_eq!((shrunk.ack(0x1b), shrunk.ack(0x103), shrunk.ack(0x112)), (0x18, 0x100, 0x114));
}

#[test]
fn the_segment_that_comes_again_is_resized_once() {
    let adjust = SeqAdjust::NONE.resized(1000, 7).unwrap();
    assert_eq!(adjust.resized(1000, 7), Ok(adjust));
    assert_eq!(adjust.resized(900, 7), Ok(adjust));
    assert!(adjust.changes_at(1000) && !adjust.changes_at(1001) && !SeqAdjust::NONE.changes_at(0));
    assert_eq!(adjust.resized(2000, 0), Ok(adjust));
    assert_ne!(adjust.resized(1001, 7), Ok(adjust));
    // The first change may be anywhere, also where zero is ahead.
    assert_eq!(SeqAdjust::NONE.resized(0x9000_0000, 7).map(SeqAdjust::parts), Ok((0x9000_0000, 7, 0)));
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut adjust = SeqAdjust::NONE;
    for at in 0..4104u32 {
        adjust = adjust.resized(at * 1000 + 1, 511).unwrap();
    }
    assert_eq!(adjust.parts(), (4_103_001, 2_097_144, 2_096_633));
    assert_eq!(adjust.resized(5_000_000, 8), Err(TooFar));
    assert_eq!(adjust.resized(5_000_000, 7).map(|a| a.parts().1), Ok(2_097_151));
    assert_eq!(SeqAdjust::NONE.resized(0, 512), Err(TooFar));
    assert_eq!(SeqAdjust::NONE.resized(0, -513), Err(TooFar));
    assert_eq!(SeqAdjust::NONE.resized(0, -512).map(SeqAdjust::parts), Ok((0, -512, 0)));
    assert_eq!(SeqAdjust::NONE.resized(0, i32::MIN), Err(TooFar));
}

#[test]
fn a_change_settles_before_its_point_seems_to_lie_ahead() {
    let adjust = SeqAdjust::NONE.resized(1000, 7).unwrap();
    assert_eq!(adjust.settled(1000 + (1 << 30)), None);
    let settled = adjust.settled(1001 + (1 << 30)).unwrap();
    assert_eq!(settled.settled(0x7000_0000), None);
    for number in [0u32, 1000, 0x7fff_ffff, 0x8000_2000, u32::MAX] {
        assert_eq!(settled.seq(number), number.wrapping_add(7));
        assert_eq!(settled.ack(number.wrapping_add(7)), number);
    }
    // Left as it is, the point would lie ahead again here.
    assert_eq!(adjust.seq(0x8000_2000), 0x8000_2000);
    assert_eq!(settled.resized(500, 2).map(SeqAdjust::parts), Ok((500, 9, 7)));
    assert_eq!(SeqAdjust::NONE.settled(0x7000_0000), None);
}

#[test]
fn the_word_is_laid_out_as_the_picture_says() {
    let adjust = SeqAdjust::NONE.resized(7, 5).unwrap().resized(0x0102_0304, -2).unwrap();
    assert_eq!(adjust.word(), 0x0102_0304_0000_0000 | 3 << 10 | 0x3fe);
    assert_eq!(SeqAdjust::from_word(adjust.word()), adjust);
}

/// A stream of segments, each with its length as sent and as it leaves here.
#[derive(Debug, Clone)]
struct Stream {
    first: u32,
    lens: Vec<(u32, u32)>,
}

fn stream() -> impl Strategy<Value = Stream> {
    let segment = (1u32..1500, prop_oneof![3 => Just(0i32), 1 => -60i32..60])
        .prop_map(|(len, change)| (len, len.saturating_add_signed(change).max(1)));
    let first = prop_oneof![any::<u32>(), (u32::MAX - 4000)..=u32::MAX];
    (first, prop::collection::vec(segment, 1..60)).prop_map(|(first, lens)| Stream { first, lens })
}

/// A segment's place: where it begins and ends, as sent and as received.
#[derive(Debug, Clone, Copy)]
struct Place {
    sent: (u32, u32),
    received: (u32, u32),
}

impl Stream {
    /// The naive way: count every byte, in numbers without end.
    fn places(&self) -> Vec<Place> {
        let (mut sent, mut received) = (u64::from(self.first), u64::from(self.first));
        let low = |wide: u64| u32::try_from(wide & 0xffff_ffff).unwrap();
        let places = self.lens.iter().map(|&(old, new)| {
            let place = Place {
                sent: (low(sent), low(sent + u64::from(old))),
                received: (low(received), low(received + u64::from(new))),
            };
            sent += u64::from(old);
            received += u64::from(new);
            place
        });
        places.collect()
    }
}

proptest! {
    #[test]
    fn every_number_is_what_counting_bytes_gives(stream in stream(), through_words: bool) {
        let mut adjust = SeqAdjust::NONE;
        // Where the segment is that was resized before the last one that was: nothing before it comes again.
        let (mut oldest, mut last) = (0, 0);
        let places = stream.places();
        for (i, (&(old, new), place)) in stream.lens.iter().zip(&places).enumerate() {
            if old != new {
                (oldest, last) = (last, i);
                let change = i32::try_from(new).unwrap() - i32::try_from(old).unwrap();
                adjust = adjust.resized(place.sent.0, change).unwrap();
            }
            if through_words {
                adjust = SeqAdjust::from_word(adjust.word());
            }
            // This segment, and each that can come again.
            for again in &places[oldest..=i] {
                let resized_before = again.sent.0 == places[oldest].sent.0 && oldest != last;
                if !resized_before {
                    prop_assert_eq!(adjust.seq(again.sent.0), again.received.0);
                    prop_assert_eq!(adjust.ack(again.received.0), again.sent.0);
                }
                prop_assert_eq!(adjust.ack(again.received.1), again.sent.1);
            }
            prop_assert_eq!(adjust.seq(place.sent.1), place.received.1);
        }
    }

    #[test]
    fn acknowledgements_never_go_back_nor_beyond_what_was_sent(
        from: u32, delta in -60i32..60, change in -60i32..60, len in 61u32..200,
    ) {
        let adjust = SeqAdjust::NONE
            .resized(from.wrapping_sub(1000), delta).unwrap()
            .resized(from, change).unwrap();
        let start = from.wrapping_add_signed(delta).wrapping_sub(100);
        let mut last = adjust.ack(start);
        for step in 1..100 + len.saturating_add_signed(change) {
            let ack = adjust.ack(start.wrapping_add(step));
            prop_assert!(!after(last, ack), "{} then {}", last, ack);
            prop_assert!(!after(ack, from.wrapping_add(len)));
            last = ack;
        }
        let end = from.wrapping_add(len);
        prop_assert_eq!(adjust.ack(end.wrapping_add_signed(delta + change)), end);
    }

    #[test]
    fn every_word_is_an_adjustment(word: u64, number: u32, change: i32) {
        let adjust = SeqAdjust::from_word(word);
        prop_assert_eq!(adjust.word(), word);
        let _ = (adjust.seq(number), adjust.ack(number));
        let _ = (adjust.settled(number), adjust.resized(number, change));
    }
}
