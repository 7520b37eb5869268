//! Fragments of a packet, and a packet of fragments, by hand.

/// Bytes of the fragment header of IPv6.
const FRAGMENT: usize = 8;

/// Cuts the packet in a frame without tags into fragments of `step` bytes of data, a multiple of eight, with this
/// identification.
///
/// # Panics
/// When there is no packet in it.
pub fn cut(frame: &[u8], step: usize, id: u32) -> Vec<Vec<u8>> {
    let six = frame[14] >> 4 == 6;
    let headers = 14 + if six { 40 } else { usize::from(frame[14] & 15) * 4 };
    let data = &frame[headers..];
    let short = |n: usize| u16::try_from(n).expect("short").to_be_bytes();
    let piece = |(n, part): (usize, &[u8])| {
        let (at, more) = (n * step, n * step + part.len() < data.len());
        let mut piece = frame[..headers].to_vec();
        if six {
            let next = std::mem::replace(&mut piece[14 + 6], 44);
            piece[14 + 4..14 + 6].copy_from_slice(&short(FRAGMENT + part.len()));
            piece.extend([next, 0]);
            piece.extend(short(at | usize::from(more)));
            piece.extend(id.to_be_bytes());
        } else {
            piece[16..18].copy_from_slice(&short(headers - 14 + part.len()));
            piece[18..20].copy_from_slice(&id.to_be_bytes()[2..]);
            piece[20..22].copy_from_slice(&short((at / 8) | if more { 0x2000 } else { 0 }));
            sum(&mut piece, headers);
        }
        piece.extend(part);
        piece
    };
    data.chunks(step).enumerate().map(piece).collect()
}

/// The frame that fragments make, `at` bytes into each of which the packet begins. They may come in any order.
///
/// # Panics
/// When they do not fit together.
pub fn together(fragments: &[Vec<u8>], at: usize) -> Vec<u8> {
    let six = fragments[0][at] >> 4 == 6;
    let headers = at + if six { 40 } else { usize::from(fragments[0][at] & 15) * 4 };
    let word = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut parts: Vec<(usize, bool, &[u8], &[u8])> = fragments
        .iter()
        .map(|f| {
            if six {
                let offset = word(&f[headers + 2..]);
                (offset & !7, offset & 1 != 0, &f[..headers], &f[headers + FRAGMENT..])
            } else {
                let offset = word(&f[at + 6..]);
                ((offset & 0x1fff) * 8, offset & 0x2000 != 0, &f[..headers], &f[headers..])
            }
        })
        .collect();
    parts.sort_by_key(|part| part.0);
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    assert!(first.0 == 0 && !last.1, "the first and the last are there");
    let mut data = Vec::new();
    for (offset, more, _, part) in &parts {
        assert_eq!((*offset, *more), (data.len(), offset + part.len() < last.0 + last.3.len()));
        data.extend_from_slice(part);
    }
    let mut whole = [&fragments[0][..14], &first.2[at..]].concat();
    let at = 14;
    let short = |n: usize| u16::try_from(n).expect("short").to_be_bytes();
    let len = whole.len();
    if six {
        whole[at + 6] = fragments[0][headers];
        whole[at + 4..at + 6].copy_from_slice(&short(data.len()));
    } else {
        whole[at + 2..at + 4].copy_from_slice(&short(len - at + data.len()));
        whole[at + 6..at + 8].fill(0);
        sum(&mut whole, len);
    }
    whole.extend(data);
    whole
}

/// Makes the checksum of the IPv4 header of a frame right.
fn sum(frame: &mut [u8], end: usize) {
    frame[24..26].fill(0);
    let words = frame[14..end].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum = etherparse::checksum::u32_16bit_word::ones_complement(words.sum());
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}
