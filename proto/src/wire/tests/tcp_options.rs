//! Of `tcp_options.rs`: options at even and odd places, broken ones, and changes with their checksum.

use super::*;
use crate::wire::tcp::{TcpFlags, parse};
use crate::wire::tests::{CLIENT, CLIENT6, SYN, VIP, VIP6};

/// The segment of [`SYN`] with other options, a payload, and a right checksum.
fn with(options: &[u8], payload: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let mut bytes = [&SYN[..HEADER_LEN], options, payload].concat();
    bytes[12] = u8::try_from(5 + options.len() / 4).unwrap() << 4;
    bytes[16..18].fill(0);
    let sum = l4_checksum(CLIENT, VIP, protocol::TCP, &bytes);
    HeaderMut::new(&mut bytes).unwrap().set_checksum(sum);
    bytes
}

fn checksum_ok(segment: &[u8]) -> bool {
    l4_checksum(CLIENT, VIP, protocol::TCP, segment) == 0
}

fn kinds(segment: &[u8]) -> Vec<(u8, usize, usize)> {
    options(segment).map(|option| (option.kind, option.at, option.value.len())).collect()
}

#[test]
fn walks_over_options() {
    assert_eq!(kinds(&SYN), [(2, 22, 2)]);
    assert_eq!(options(&SYN).next().map(|option| option.value), Some([0x05, 0xb4].as_slice()));
    let many = with(&[1, 1, 4, 2, 1, 3, 3, 7, 2, 4, 5, 0xb4, 30, 3, 9, 0], &[2, 4, 0, 0]);
    assert_eq!(kinds(&many), [(4, 24, 0), (3, 27, 1), (2, 30, 2), (30, 34, 1)]);
    assert_eq!(kinds(&with(&[], &[2, 4, 0, 0])), []);
}

#[test]
fn stops_at_the_first_option_that_does_not_fit() {
    for broken in [
        [3, 3, 7, 0, 2, 4, 5, 0xb4], // end
        [3, 3, 7, 2, 0, 4, 5, 0xb4], // shorter than itself
        [3, 3, 7, 2, 1, 4, 5, 0xb4],
        [3, 3, 7, 2, 6, 4, 5, 0xb4], // longer than the header
        [3, 3, 7, 1, 1, 1, 1, 2],    // without a length
    ] {
        let segment = with(&broken, &[4; 8]);
        assert_eq!(kinds(&segment), [(3, 22, 1)], "{broken:?}");
        let mut options = options(&segment);
        assert_eq!((options.next().is_some(), options.next(), options.next()), (true, None, None));
    }
    // Without a header there is nothing to walk.
    for len in 0..SYN.len() {
        assert_eq!(kinds(&SYN[..len]), []);
        assert_eq!(clamp_mss(&mut { SYN }[..len], 1), Delta::NONE);
        assert_eq!(rewrite_numbers(&mut { SYN }[..len], |_, old| old + 1), Delta::NONE);
    }
}

#[test]
fn clamps_the_segment_size_wherever_it_lies() {
    for (options, at) in [
        ([2, 4, 0x05, 0xb4, 1, 1, 1, 1], 22),
        ([1, 2, 4, 0x05, 0xb4, 1, 1, 1], 23),
        ([1, 1, 2, 4, 0x05, 0xb4, 1, 1], 24),
        ([1, 1, 1, 2, 4, 0x05, 0xb4, 0], 25),
    ] {
        let before = with(&options, b"odd");
        let mut segment = before.clone();
        let delta = clamp_mss(&mut segment, 1400);
        assert_eq!(segment[at..at + 2], [0x05, 0x78], "{options:?}");
        HeaderMut::new(&mut segment).unwrap().update_checksum(delta);
        assert!(checksum_ok(&segment), "{options:?}");
        let changed = (0..segment.len()).filter(|at| segment[*at] != before[*at]);
        assert!(changed.into_iter().all(|byte| [16, 17, at, at + 1].contains(&byte)));
        // It is not raised, and of what does not change there is no change.
        assert_eq!(clamp_mss(&mut segment, 1401), Delta::NONE);
        assert_eq!(SynOptions::read(&segment).mss, Some(1400));
    }
    let mut other_length = with(&[2, 3, 0xff, 2, 4, 0xff, 0xff, 0], &[]);
    let _ = clamp_mss(&mut other_length, 1);
    assert_eq!(other_length[20..28], [2, 3, 0xff, 2, 4, 0, 1, 0]);
}

#[test]
fn shifts_selective_acknowledgements_wherever_they_lie() {
    for before in [0, 1, 2, 3] {
        let mut options = vec![1; before];
        options.extend([5, 18, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        options.resize(24, 0);
        let mut segment = with(&options, b"odd");
        let delta = rewrite_numbers(&mut segment, |number, old| {
            assert_eq!(number, Number::SackEdge);
            old.wrapping_add(3)
        });
        let at = HEADER_LEN + before + 2;
        assert_eq!(segment[at..at + 16], [0, 0, 0, 1, 0, 0, 0, 4, 1, 2, 3, 7, 5, 6, 7, 11]);
        HeaderMut::new(&mut segment).unwrap().update_checksum(delta);
        assert!(checksum_ok(&segment), "after {before}");
    }
    let mut cut = with(&[5, 8, 0, 0, 0, 1, 9, 9], &[]);
    let _ = rewrite_numbers(&mut cut, |_, old| old + 1);
    assert_eq!(cut[20..], [5, 8, 0, 0, 0, 2, 9, 9], "half an edge is none");
}

#[test]
fn rewrites_every_timestamp_wherever_it_lies() {
    for before in 0..4 {
        let mut options = vec![1; before];
        options.extend([8, 10, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 8, 6, 7, 7, 7, 7]);
        options.extend([8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        options.resize(32, 0);
        let mut segment = with(&options, b"odd");
        let delta = rewrite_numbers(&mut segment, |number, old| match number {
            Number::Timestamp => old - 1,
            Number::TimestampEcho => old.wrapping_add(2),
            Number::SackEdge => panic!("there is none"),
        });
        let at = HEADER_LEN + before;
        assert_eq!(
            segment[at..at + 26],
            [8, 10, 0, 0, 0, 0, 0, 0, 0, 1, 8, 6, 7, 7, 7, 7, 8, 10, 1, 2, 3, 3, 5, 6, 7, 10]
        );
        HeaderMut::new(&mut segment).unwrap().update_checksum(delta);
        assert!(checksum_ok(&segment), "after {before}");
    }
}

#[test]
fn sequence_numbers_change_with_their_checksum() {
    let mut segment = with(&[], b"payload");
    let mut header = HeaderMut::new(&mut segment).unwrap();
    let delta = header.rewrite_seq(0xfffe_fdfc).and(header.rewrite_ack(0x0102_0304));
    let delta = delta.and(header.rewrite_window(|old| !old));
    header.rewrite_dport(8080, delta);
    assert_eq!(segment[2..12], [0x1f, 0x90, 0xff, 0xfe, 0xfd, 0xfc, 1, 2, 3, 4]);
    assert_eq!(segment[14..16], [0x05, 0x0f]);
    assert!(checksum_ok(&segment));
}

const SEGMENT: Segment = Segment {
    sport: 80,
    dport: 40000,
    seq: 1,
    ack: 2,
    flags: TcpFlags(0x12), // SYN, ACK
    window: 0xffff,
};

#[test]
fn writes_what_a_syn_offers() {
    let all = SynOptions {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((0x0102_0304, 0x0506_0708)),
    };
    let (mss, scale) = ([2, 4, 0x05, 0xb4].as_slice(), [1, 3, 3, 7].as_slice());
    let stamps = [8, 10, 1, 2, 3, 4, 5, 6, 7, 8].as_slice();
    for (offer, expected) in [
        (SynOptions::default(), vec![]),
        (SynOptions { mss: Some(1460), ..SynOptions::default() }, mss.to_vec()),
        (SynOptions { timestamps: None, ..all }, [mss, &[1, 1, 4, 2], scale].concat()),
        (SynOptions { sack_permitted: false, ..all }, [mss, &[1, 1], stamps, scale].concat()),
        (all, [mss, &[4, 2], stamps, scale].concat()),
    ] {
        let mut bytes = [0xaa; MAX_SYN_LEN];
        let len = offer.emit(&SEGMENT, &mut bytes, CLIENT, VIP);
        assert_eq!(len, HEADER_LEN + expected.len(), "{offer:?}");
        assert_eq!(bytes[HEADER_LEN..len], expected);
        assert!(bytes[len..].iter().all(|byte| *byte == 0xaa));
        assert!(checksum_ok(&bytes[..len]));
        let tcp = parse(&bytes[..len]).unwrap();
        assert_eq!((tcp.sport, tcp.dport, tcp.seq, tcp.ack, tcp.header_len), (80, 40000, 1, 2, len));
        assert_eq!((tcp.flags, tcp.window), (TcpFlags::SYN | TcpFlags::ACK, 0xffff));
        assert_eq!(SynOptions::read(&bytes[..len]), offer);
        let len = offer.emit(&SEGMENT, &mut bytes, CLIENT6, VIP6);
        assert_eq!(l4_checksum(CLIENT6, VIP6, 6, &bytes[..len]), 0);
    }
}

#[test]
fn reads_what_counts() {
    let read = |options: &[u8]| SynOptions::read(&with(options, &[]));
    assert_eq!(read(&[3, 3, 200, 0]).window_scale, Some(14));
    assert_eq!(read(&[2, 4, 1, 1, 2, 4, 2, 2]).mss, Some(0x0202));
    // Lengths that these options do not have.
    assert_eq!(read(&[2, 3, 1, 3, 4, 1, 1, 0]), SynOptions::default());
    assert_eq!(read(&[4, 3, 1, 8, 4, 1, 1, 0]), SynOptions::default());
}
