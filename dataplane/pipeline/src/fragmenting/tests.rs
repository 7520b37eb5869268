//! Fragments, put together again by others.

use super::*;
use etherparse::defrag::IpDefragPool;
use etherparse::{Ethernet2Header, IpNumber, Ipv4Header, Ipv4HeaderSlice, SlicedPacket};
use proptest::prelude::*;
use sheave_frame::{FrameId, PoolId, PortId};

const L3: usize = 14;
const NO_OPERATION: [u8; 1] = [1];
const RECORD_ROUTE: [u8; 7] = [7, 7, 4, 0, 0, 0, 0];
const LOOSE_ROUTE: [u8; 7] = [0x83, 7, 4, 192, 0, 2, 9];
const ROUTER_ALERT: [u8; 4] = [0x94, 4, 0, 0];

fn pool(frames: u32, size: usize) -> FramePool {
    let frame = |n| Frame::new(Box::leak(vec![0; size].into_boxed_slice()), FrameId(n), PoolId(0));
    FramePool::new(PoolId(0), (0..frames).map(frame).collect(), 0)
}

/// A packet of `len` bytes of data that all differ from their neighbours, behind an Ethernet header.
#[derive(Debug, Clone)]
struct Source {
    options: Vec<u8>,
    len: u16,
    offset: u16,
    more: bool,
}

impl Source {
    fn plain(len: u16) -> Source {
        Source { options: Vec::new(), len, offset: 0, more: false }
    }

    fn header(&self) -> Ipv4Header {
        let mut ip =
            Ipv4Header::new(self.len, 63, IpNumber(253), [192, 0, 2, 1], [198, 18, 0, 100]).expect("fits");
        ip.identification = 0xbeef;
        ip.dont_fragment = false;
        ip.options = self.options.as_slice().try_into().expect("at most 40 bytes, in words");
        ip.set_payload_len(self.len.into()).expect("fits");
        ip.fragment_offset = (self.offset / 8).try_into().expect("13 bits");
        ip.more_fragments = self.more;
        ip.header_checksum = ip.calc_header_checksum();
        ip
    }

    fn data(&self) -> Vec<u8> {
        (0..self.len).map(|n| (n % 251).to_le_bytes()[0]).collect()
    }

    fn frame(&self, pool: &mut FramePool) -> Frame {
        let mut bytes = Ethernet2Header { ether_type: etherparse::EtherType::IPV4, ..Default::default() }
            .to_bytes()
            .to_vec();
        bytes.extend(self.header().to_bytes());
        bytes.extend(self.data());
        let mut frame = pool.alloc().expect("a free frame");
        frame.fill(&bytes).expect("room");
        frame.set_ingress(PortId(3));
        frame
    }
}

/// Cuts and takes the frames' bytes; every frame goes home.
fn cut(source: &Source, mtu: u16, pool: &mut FramePool) -> Result<Vec<Vec<u8>>, Uncut> {
    let mut fragments = Vec::with_capacity(MOST);
    let frame = source.frame(pool);
    let outcome = fragment(frame, L3, mtu, pool, &mut fragments).map_err(|(frame, why)| {
        let whole = source.frame(pool);
        assert_eq!(frame.bytes(), whole.bytes(), "a frame that was not cut is as it was");
        [frame, whole].into_iter().for_each(|frame| pool.release(frame));
        why
    });
    let bytes = fragments.iter().map(|frame| frame.bytes().to_vec()).collect();
    fragments.drain(..).for_each(|frame| {
        assert_eq!(frame.ingress(), PortId(3));
        pool.release(frame);
    });
    assert_eq!(pool.free(), pool.total());
    outcome.map(|()| bytes)
}

/// The data at its offsets, and whether the last one says "more". Fragments must follow each other without a
/// gap.
fn joined(fragments: &[Vec<u8>], mtu: u16) -> (u16, Vec<u8>, bool) {
    let mut data = Vec::new();
    let mut start = None;
    let mut more = true;
    for bytes in fragments {
        let (ip, rest) = Ipv4Header::from_slice(&bytes[L3..]).expect("an IPv4 packet");
        assert!(bytes.len() - L3 <= mtu.into());
        assert_eq!(usize::from(ip.total_len), bytes.len() - L3);
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        assert_eq!((ip.identification, ip.time_to_live, ip.dont_fragment), (0xbeef, 63, false));
        let offset = ip.fragment_offset.byte_offset();
        let first = *start.get_or_insert(offset);
        assert_eq!(usize::from(offset - first), data.len());
        assert!(more, "something behind the last");
        more = ip.more_fragments;
        assert!(!more || rest.len() % 8 == 0);
        data.extend(rest);
    }
    (start.expect("at least one"), data, more)
}

fn option_list() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(NO_OPERATION.to_vec()),
        Just(RECORD_ROUTE.to_vec()),
        Just(LOOSE_ROUTE.to_vec()),
        Just(ROUTER_ALERT.to_vec()),
    ];
    prop::collection::vec(option, 0..6).prop_map(|options| {
        let mut bytes = options.concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    })
}

/// The options but "no operation", one by one.
fn options_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    let ip = Ipv4HeaderSlice::from_slice(&bytes[L3..]).expect("an IPv4 packet");
    let mut rest = ip.options();
    let mut options = Vec::new();
    while let [kind, ..] = rest {
        let len = match kind {
            0 => break,
            1 => 1,
            _ => rest[1].into(),
        };
        if *kind != 1 {
            options.push(rest[..len].to_vec());
        }
        rest = &rest[len..];
    }
    options
}

#[test]
fn literal_fragments() {
    let mut pool = pool(4, 2048);
    let source =
        Source { options: [&RECORD_ROUTE[..], &ROUTER_ALERT[..], &[0]].concat(), ..Source::plain(25) };
    // 32 bytes of header, 16 of data.
    let fragments = cut(&source, 55, &mut pool).expect("cut");
    assert_eq!(
        fragments.iter().map(|bytes| bytes[L3..L3 + 32].to_vec()).collect::<Vec<_>>(),
        [
            [
                0x48, 0, 0, 48, 0xbe, 0xef, 0x20, 0x00, 63, 253, 0x00, 0xcf, 192, 0, 2, 1, 198, 18, 0,
                100, //
                7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0,
            ],
            [
                0x48, 0, 0, 41, 0xbe, 0xef, 0x00, 0x02, 63, 253, 0x27, 0xd8, 192, 0, 2, 1, 198, 18, 0,
                100, //
                1, 1, 1, 1, 1, 1, 1, 0x94, 4, 0, 0, 0,
            ]
        ]
    );
    assert_eq!(fragments[0][L3 + 32..], source.data()[..16]);
    assert_eq!(fragments[1][L3 + 32..], source.data()[16..]);
}

#[test]
fn what_fits_is_left_as_it_is() {
    let mut pool = pool(4, 2048);
    for len in [0, 1, 1480] {
        let source = Source::plain(len);
        let frame = source.frame(&mut pool);
        let bytes = frame.bytes().to_vec();
        pool.release(frame);
        assert_eq!(cut(&source, 1500, &mut pool), Ok(vec![bytes]));
    }
    assert_eq!(cut(&Source::plain(1481), 1500, &mut pool).map(|fragments| fragments.len()), Ok(2));
}

#[test]
fn options_without_an_end_are_blanked() {
    for (mut options, expected) in [
        (vec![0x83, 0, 9, 9], [1, 1, 1, 1]),
        (vec![0x83, 5, 9, 9], [1, 1, 1, 1]),
        (vec![1, 1, 1, 0x83], [1, 1, 1, 1]),
        (vec![0x94, 3, 9, 7], [0x94, 3, 9, 1]),
        (vec![0x83, 1, 0, 7], [0x83, 1, 0, 7]),
        (vec![7, 2, 0, 7], [1, 1, 0, 7]),
    ] {
        blank_uncopied(&mut options);
        assert_eq!(options, expected);
    }
}

#[test]
fn what_cannot_be_cut_is_left_as_it_was() {
    let mut few = pool(3, 2048);
    assert_eq!(cut(&Source::plain(1500), 500, &mut few), Err(Uncut::NoFrame));
    let mut pool = pool(80, 4096);
    assert_eq!(cut(&Source::plain(100), 27, &mut pool), Err(Uncut::TooMany));
    assert_eq!(cut(&Source::plain(100), 0, &mut pool), Err(Uncut::TooMany));
    assert_eq!(cut(&Source::plain(64 * 48 + 1), 68, &mut pool), Err(Uncut::TooMany));
    assert_eq!(cut(&Source::plain(64 * 48), 68, &mut pool).map(|fragments| fragments.len()), Ok(64));
    // Padding, or a header that is none.
    for (at, value) in [(L3 + 3, 99), (L3, 0x65)] {
        let mut frame = Source::plain(100).frame(&mut pool);
        frame.bytes_mut()[at] = value;
        let mut fragments = Vec::with_capacity(MOST);
        let outcome = fragment(frame, L3, 68, &mut pool, &mut fragments);
        let (frame, why) = outcome.expect_err("malformed");
        assert_eq!((why, frame.bytes()[at], fragments.len()), (Uncut::Malformed, value, 0));
        pool.release(frame);
    }
}

proptest! {
    #[test]
    fn put_together_it_is_the_packet_again(
        options in option_list(),
        len in 0u16..3600,
        mtu in 68u16..2000,
        offset in (0u16..7000).prop_map(|units| units * 8),
        more in any::<bool>(),
    ) {
        let source = Source { options, len: if more { len / 8 * 8 } else { len }, offset, more };
        let mut pool = pool(80, 4096);
        let fragments = match cut(&source, mtu, &mut pool) {
            Ok(fragments) => fragments,
            Err(why) => {
                let room = (usize::from(mtu) - 20 - source.options.len()) / 8 * 8;
                prop_assert_eq!((why, usize::from(source.len) > room * MOST), (Uncut::TooMany, true));
                return Ok(());
            }
        };
        prop_assert_eq!(joined(&fragments, mtu), (offset, source.data(), source.more));
        let all = options_of(&fragments[0]);
        let copied: Vec<_> = all.iter().filter(|option| option[0] & 0x80 != 0).cloned().collect();
        for later in &fragments[1..] {
            prop_assert_eq!(options_of(later), copied.clone());
        }
        prop_assert!(fragments.iter().all(|bytes| bytes[..L3] == fragments[0][..L3]));
    }

    #[test]
    fn others_put_it_together_too(len in 9u16..3600, mtu in 100u16..1500, narrow in 68u16..100) {
        let mut pool = pool(80, 4096);
        let source = Source::plain(len);
        let mut defrag = IpDefragPool::<(), ()>::new();
        let mut whole = None;
        for bytes in cut(&source, mtu, &mut pool).expect("cut").iter().rev() {
            // Once more, over a link that is narrower still.
            let (ip, data) = Ipv4Header::from_slice(&bytes[L3..]).expect("an IPv4 packet");
            let mut again = Vec::with_capacity(MOST);
            let mut frame = pool.alloc().expect("a free frame");
            frame.fill(bytes).expect("room");
            prop_assert!(fragment(frame, L3, narrow, &mut pool, &mut again).is_ok());
            let pieces = data.len().div_ceil(usize::from(narrow - 20) / 8 * 8);
            prop_assert!(again.len() == pieces || (again.len() == 1 && ip.total_len <= narrow));
            for frame in again.drain(..) {
                let bytes = frame.bytes().to_vec();
                pool.release(frame);
                let sliced = SlicedPacket::from_ethernet(&bytes).expect("a packet");
                let done = defrag.process_sliced_packet(&sliced, (), ()).expect("fragments that agree");
                prop_assert!(whole.is_none() || done.is_none());
                whole = whole.or(done);
            }
        }
        match whole {
            Some(whole) => prop_assert_eq!(whole.payload, source.data()),
            // A packet that fits is no fragment.
            None => prop_assert!(len + 20 <= narrow),
        }
        prop_assert_eq!(pool.free(), pool.total());
    }
}
