//! Capture files as replay reads and writes them: pcap in either byte order with micro- or nanoseconds, and
//! pcapng; Ethernet only.
//!
//! A file is read whole and indexed: nothing is allocated that the file itself does not back, whatever lengths it
//! claims. What is wrong is reported with the offset at which it stands. A packet that its capture cut short is
//! given as it was captured.
//!
//! Read draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng first.
//!
//! ```text
//!   pcap     | magic 4 | version 4 | zone 4 | sigfigs 4 | snaplen 4 | linktype 4 |   then for each packet
//!            | seconds 4 | fraction 4 | captured 4 | original 4 | bytes ...
//!   pcapng   | type 4 | length 4 | body ... | length 4 |   blocks, all of this form
//! ```

mod pcapng;

use std::io::{self, Write};
use std::ops::Range;

/// Link type of Ethernet, in both formats.
const ETHERNET: u32 = 1;
const MICRO: u32 = 0xa1b2_c3d4;
const NANO: u32 = 0xa1b2_3c4d;
/// The type of pcapng's first block: the same read in either byte order.
const SECTION: u32 = 0x0a0d_0d0a;
const NANOS: u64 = 1_000_000_000;
/// What output files claim as the longest packet: no reader cuts below it.
const SNAPLEN: u32 = 262_144;

/// One packet of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Nanoseconds since 1970.
    pub(crate) time: u64,
    /// Where its bytes are in the file.
    pub(crate) bytes: Range<usize>,
}

/// An indexed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capture {
    /// The packets in the order of the file.
    pub(crate) packets: Vec<Packet>,
    /// Whether times are finer than microseconds.
    pub(crate) nanoseconds: bool,
}

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The offset in the file, in bytes.
    pub(crate) offset: usize,
    /// What is wrong.
    pub(crate) message: String,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.message)
    }
}

fn unreadable<T>(offset: usize, message: impl Into<String>) -> Result<T, Unreadable> {
    Err(Unreadable { offset, message: message.into() })
}

/// A file read from front to back, in the byte order that it declares.
#[derive(Debug, Clone, Copy)]
struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
    /// Where what is being read ends: the file, or a block.
    end: usize,
    big: bool,
}

impl<'a> Cursor<'a> {
    fn new(file: &'a [u8]) -> Cursor<'a> {
        Cursor { file, at: 0, end: file.len(), big: false }
    }

    fn left(&self) -> usize {
        self.end - self.at
    }

    fn take(&mut self, len: usize, what: &str) -> Result<Range<usize>, Unreadable> {
        if len > self.left() {
            return unreadable(self.at, format!("{what} needs {len} bytes, {} are left", self.left()));
        }
        let start = self.at;
        self.at += len;
        Ok(start..self.at)
    }

    fn u16(&mut self, what: &str) -> Result<u16, Unreadable> {
        let range = self.take(2, what)?;
        let bytes = self.file.get(range).and_then(|b| b.try_into().ok()).unwrap_or([0; 2]);
        Ok(if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&mut self, what: &str) -> Result<u32, Unreadable> {
        let range = self.take(4, what)?;
        let bytes = self.file.get(range).and_then(|b| b.try_into().ok()).unwrap_or([0; 4]);
        Ok(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// A length: 32 bits, which an index of memory holds.
    fn length(&mut self, what: &str) -> Result<usize, Unreadable> {
        self.u32(what).map(|length| usize::try_from(length).unwrap_or(usize::MAX))
    }
}

/// Indexes a file.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn read(file: &[u8]) -> Result<Capture, Unreadable> {
    let mut cursor = Cursor::new(file);
    let magic = cursor.u32("the magic number of a pcap or pcapng file")?;
    if magic == SECTION {
        return pcapng::read(file);
    }
    let (big, nanoseconds) = match (magic, magic.swap_bytes()) {
        (MICRO, _) => (false, false),
        (NANO, _) => (false, true),
        (_, MICRO) => (true, false),
        (_, NANO) => (true, true),
        _ => return unreadable(0, format!("neither pcap nor pcapng: it starts with {magic:#010x}")),
    };
    cursor.big = big;
    pcap(cursor, nanoseconds)
}

fn pcap(mut cursor: Cursor<'_>, nanoseconds: bool) -> Result<Capture, Unreadable> {
    let major = cursor.u16("the file header")?;
    if major != 2 {
        return unreadable(4, format!("pcap version {major} is not known: version 2 is"));
    }
    cursor.take(14, "the file header")?;
    let link = cursor.u32("the file header")?;
    // The upper half holds the length of a frame check sequence, in files that have one.
    ethernet(link & 0xffff, cursor.at - 4)?;
    let mut packets = Vec::new();
    while cursor.left() > 0 {
        let start = cursor.at;
        let seconds = u64::from(cursor.u32("a packet header")?);
        let fraction = u64::from(cursor.u32("a packet header")?);
        let captured = cursor.length("a packet header")?;
        cursor.u32("a packet header")?;
        let fraction = if nanoseconds { fraction } else { fraction * 1000 };
        if fraction >= NANOS {
            return unreadable(
                start,
                format!("packet {}: the fraction of a second is more than one", packets.len()),
            );
        }
        let bytes = cursor.take(captured, &format!("packet {}", packets.len()))?;
        packets.push(Packet { time: seconds * NANOS + fraction, bytes });
    }
    Ok(Capture { packets, nanoseconds })
}

fn ethernet(link: u32, offset: usize) -> Result<(), Unreadable> {
    if link == ETHERNET {
        return Ok(());
    }
    unreadable(offset, format!("link type {link} is not Ethernet (1)"))
}

/// Writes a pcap file in little-endian byte order.
#[derive(Debug)]
pub(crate) struct Writer<W: Write> {
    to: W,
    nanoseconds: bool,
}

impl<W: Write> Writer<W> {
    /// Starts a file.
    ///
    /// # Errors
    /// When `to` cannot be written.
    pub(crate) fn new(mut to: W, nanoseconds: bool) -> io::Result<Writer<W>> {
        to.write_all(&(if nanoseconds { NANO } else { MICRO }).to_le_bytes())?;
        for half in [2u16, 4] {
            to.write_all(&half.to_le_bytes())?;
        }
        for word in [0, 0, SNAPLEN, ETHERNET] {
            to.write_all(&word.to_le_bytes())?;
        }
        Ok(Writer { to, nanoseconds })
    }

    /// Adds a packet. Times beyond the format's 32 bits of seconds stand still at its end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&mut self, time: u64, packet: &[u8]) -> io::Result<()> {
        let fraction = if self.nanoseconds { time % NANOS } else { time % NANOS / 1000 };
        let len = u32::try_from(packet.len()).map_err(io::Error::other)?;
        for word in [saturated(time / NANOS), saturated(fraction), len, len] {
            self.to.write_all(&word.to_le_bytes())?;
        }
        self.to.write_all(packet)
    }

    /// Writes what is still buffered.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn saturated(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header and one packet of 3 bytes, captured of 60, at 1.5 s.
    fn sample(big: bool, nano: bool) -> Vec<u8> {
        let fraction: u32 = if nano { 500_000_000 } else { 500_000 };
        let mut file = Vec::new();
        let mut put = |word: u32| file.extend(if big { word.to_be_bytes() } else { word.to_le_bytes() });
        put(if nano { NANO } else { MICRO });
        put(if big { 0x0002_0004 } else { 0x0004_0002 });
        for word in [0, 0, 3, 1, 1, fraction, 3, 60] {
            put(word);
        }
        file.extend(*b"abc");
        file
    }

    #[test]
    fn both_byte_orders_and_both_resolutions_read_alike() {
        for (big, nano) in [(false, false), (false, true), (true, false), (true, true)] {
            let packets = vec![Packet { time: 1_500_000_000, bytes: 40..43 }];
            assert_eq!(read(&sample(big, nano)), Ok(Capture { packets, nanoseconds: nano }));
        }
    }

    #[test]
    fn what_is_wrong_is_reported_with_its_offset() {
        let good = sample(false, false);
        let broken = |at: usize, byte: u8| {
            let mut file = good.clone();
            file[at] = byte;
            read(&file).expect_err("broken").to_string()
        };
        assert_eq!(broken(0, 0), "at byte 0: neither pcap nor pcapng: it starts with 0xa1b2c300");
        assert_eq!(broken(4, 3), "at byte 4: pcap version 3 is not known: version 2 is");
        assert_eq!(broken(20, 113), "at byte 20: link type 113 is not Ethernet (1)");
        assert_eq!(broken(31, 1), "at byte 24: packet 0: the fraction of a second is more than one");
        assert_eq!(broken(35, 0xff), "at byte 40: packet 0 needs 4278190083 bytes, 3 are left");
        assert_eq!(read(b"abc").expect_err("short").offset, 0);
        assert_eq!(
            read(&good[..30]).expect_err("short").to_string(),
            "at byte 28: a packet header needs 4 bytes, 2 are left"
        );
        assert_eq!(read(&good[..24]).map(|c| c.packets.len()), Ok(0), "a file without packets is fine");
    }

    #[test]
    fn a_written_file_is_byte_for_byte_what_the_format_says() {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, false).expect("memory");
        writer.write(1_500_000_999, b"abc").expect("memory");
        writer.finish().expect("memory");
        let mut want = sample(false, false);
        want[16..20].copy_from_slice(&SNAPLEN.to_le_bytes());
        want[36..40].copy_from_slice(&3u32.to_le_bytes());
        assert_eq!(file, want);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_neither_panic_nor_claim_more_than_there_is(
            head in prop::sample::select(vec![MICRO, NANO, MICRO.swap_bytes(), SECTION]),
            tail in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let mut file = head.to_le_bytes().to_vec();
            file.extend(&tail);
            if let Ok(capture) = read(&file) {
                prop_assert!(capture.packets.iter().all(|p| p.bytes.end <= file.len()));
            }
        }

        #[test]
        fn what_is_written_reads_back(
            packets in prop::collection::vec((0..u64::from(u32::MAX) * NANOS, prop::collection::vec(any::<u8>(), 0..80)), 0..20),
        ) {
            let mut file = Vec::new();
            let mut writer = Writer::new(&mut file, true).expect("memory");
            for (time, bytes) in &packets {
                writer.write(*time, bytes).expect("memory");
            }
            writer.finish().expect("memory");
            let back = read(&file).expect("readable");
            let back: Vec<_> = back.packets.iter().map(|p| (p.time, file[p.bytes.clone()].to_vec())).collect();
            prop_assert_eq!(back, packets);
        }
    }
}
