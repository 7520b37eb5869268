//! A payload rewritten in place is the segment built anew.

use super::*;
use proptest::prelude::*;
use sheave_proto::wire::Malformed;

proptest! {
    #[test]
    fn a_rewritten_segment_is_the_one_built_anew(
        payload in prop::collection::vec(any::<u8>(), 0..80),
        text in prop::collection::vec(any::<u8>(), 0..40),
        cut in any::<(prop::sample::Index, prop::sample::Index)>(),
        room in 0usize..64,
    ) {
        let (a, b) = (cut.0.index(payload.len() + 1), cut.1.index(payload.len() + 1));
        let range = a.min(b)..a.max(b);
        let wanted = [&payload[..range.start], &text, &payload[range.end..]].concat();
        let before = segment(7, &payload);
        let mut buf = before.clone();
        buf.resize(before.len() + room, 0x55);
        let mut view = Segment::new(&mut buf, before.len()).unwrap();
        let result = view.replace(range, &text);
        let len = view.len();
        if wanted.len() > payload.len() + room {
            prop_assert_eq!(result, Err(NoRoom));
            prop_assert_eq!(buf[..len].to_vec(), before.clone());
        } else {
            let grown = i32::try_from(wanted.len()).unwrap() - i32::try_from(payload.len()).unwrap();
            prop_assert_eq!(result, Ok(grown));
            prop_assert_eq!(buf[..len].to_vec(), segment(7, &wanted));
        }
        prop_assert!(buf[len.max(before.len())..].iter().all(|byte| *byte == 0x55));
    }

    #[test]
    fn a_wrong_checksum_stays_as_wrong(
        payload in prop::collection::vec(any::<u8>(), 1..20), text: [u8; 3], error in 1u16..0xffff,
    ) {
        let mut buf = segment(7, &payload);
        let len = buf.len();
        let sum = u16::from_be_bytes([buf[16], buf[17]]);
        let wrong = Sum::ZERO.word(sum).word(error).fold();
        buf[16..18].copy_from_slice(&wrong.to_be_bytes());
        let residue_before = residue(&buf);
        buf.resize(len + 3, 0);
        let mut view = Segment::new(&mut buf, len).unwrap();
        view.replace(0..1, &text).unwrap();
        let len = view.len();
        prop_assert_eq!(residue(&buf[..len]) % 0xffff, residue_before % 0xffff);
    }
}

#[test]
fn ranges_outside_the_payload_are_refused() {
    let mut buf = segment(7, b"abc");
    let len = buf.len();
    let mut view = Segment::new(&mut buf, len).unwrap();
    #[expect(clippy::reversed_empty_ranges, reason = "what is tested")]
    for range in [0..4, 2..1, 4..4, 0..usize::MAX, usize::MAX..usize::MAX] {
        assert_eq!(view.replace(range, b""), Err(NoRoom));
    }
    assert_eq!(view.payload(), b"abc");
    assert_eq!((view.len(), view.seq()), (27, 7));
    assert_eq!(view.replace(3..3, b""), Ok(0));
}

#[test]
fn a_packet_has_an_end() {
    let mut buf = segment(7, &[b'a'; 65500]);
    let len = buf.len();
    buf.resize(70000, 0);
    let mut view = Segment::new(&mut buf, len).unwrap();
    assert_eq!(view.replace(0..0, &[b'b'; 12]), Err(NoRoom));
    assert_eq!(view.replace(0..0, &[b'b'; 11]), Ok(11));
}

#[test]
fn what_is_no_segment_is_refused() {
    assert_eq!(Segment::new(&mut [0; 19], 19).err(), Some(Malformed::Truncated));
    assert_eq!(Segment::new(&mut [0; 19], 20).err(), Some(Malformed::Truncated));
    assert_eq!(Segment::new(&mut [0; 20], 20).err(), Some(Malformed::BadLength));
}
