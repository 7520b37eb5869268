//! pcapng: sections of blocks.
//!
//! ```text
//!   section   | SECTION 4 | length 4 | order 4 | version 2+2 | section length 8 | options | length 4 |
//!   interface | 1 4 | length 4 | linktype 2 | 0 2 | snaplen 4 | options | length 4 |
//!   enhanced  | 6 4 | length 4 | interface 4 | time high 4, low 4 | captured 4 | original 4 | bytes | options | length 4 |
//!   simple    | 3 4 | length 4 | original 4 | bytes | length 4 |
//!   obsolete  | 2 4 | length 4 | interface 2 | drops 2 | time high 4, low 4 | captured 4 | original 4 | bytes | ... | length 4 |
//! ```

use super::{Capture, Cursor, NANOS, Packet, SECTION, Unreadable, ethernet, unreadable};

const ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const OBSOLETE: u32 = 2;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;
/// Options of an interface: the resolution of its times, and the seconds to add to them.
const OPTION_RESOLUTION: u16 = 9;
const OPTION_OFFSET: u16 = 14;

/// An interface of the section that is being read.
#[derive(Debug, Clone, Copy)]
struct Interface {
    snaplen: usize,
    /// Units of a second.
    units: u64,
    offset_seconds: i64,
}

#[derive(Debug, Default)]
struct Reader {
    interfaces: Vec<Interface>,
    packets: Vec<Packet>,
    nanoseconds: bool,
}

/// Indexes a pcapng file.
pub(super) fn read(file: &[u8]) -> Result<Capture, Unreadable> {
    let mut cursor = Cursor::new(file);
    let mut reader = Reader::default();
    while cursor.left() > 0 {
        let start = cursor.at;
        let kind = cursor.u32("a block")?;
        if kind == SECTION {
            cursor.big = section_order(cursor)?;
            reader.interfaces.clear();
        }
        let length = cursor.length("a block")?;
        if length < 12 || !length.is_multiple_of(4) || length > file.len() - start {
            return unreadable(start, format!("a block of {length} bytes, {} are left", file.len() - start));
        }
        let end = start + length - 4;
        let mut body = Cursor { end, ..cursor };
        cursor.at = end;
        if cursor.length("the end of a block")? != length {
            return unreadable(end, "the two lengths of a block differ");
        }
        match kind {
            SECTION => section(&mut body)?,
            INTERFACE => reader.interface(&mut body)?,
            OBSOLETE | SIMPLE | ENHANCED => reader.packet(kind, &mut body)?,
            // Statistics, names, secrets: nothing for us.
            _ => {}
        }
    }
    Ok(Capture { packets: reader.packets, nanoseconds: reader.nanoseconds })
}

/// The byte order of a section, behind its length.
fn section_order(mut cursor: Cursor<'_>) -> Result<bool, Unreadable> {
    cursor.u32("a section header")?;
    cursor.big = false;
    let at = cursor.at;
    match cursor.u32("a section header")? {
        ORDER => Ok(false),
        order if order.swap_bytes() == ORDER => Ok(true),
        order => unreadable(at, format!("{order:#010x} is not a byte order")),
    }
}

fn section(body: &mut Cursor<'_>) -> Result<(), Unreadable> {
    body.u32("a section header")?;
    let at = body.at;
    let major = body.u16("a section header")?;
    if major != 1 {
        return unreadable(at, format!("pcapng version {major} is not known: version 1 is"));
    }
    Ok(())
}

impl Reader {
    fn interface(&mut self, body: &mut Cursor<'_>) -> Result<(), Unreadable> {
        let at = body.at;
        ethernet(u32::from(body.u16("an interface")?), at)?;
        body.u16("an interface")?;
        let snaplen = body.length("an interface")?;
        let mut interface = Interface { snaplen, units: 1_000_000, offset_seconds: 0 };
        while body.left() >= 4 {
            let (code, len) = (body.u16("an option")?, usize::from(body.u16("an option")?));
            if code == 0 {
                break;
            }
            let at = body.at;
            let value = body.take(len, "an option")?;
            let value = body.file.get(value).unwrap_or_default();
            match (code, value) {
                (OPTION_RESOLUTION, [exponent]) => interface.units = units(*exponent, at)?,
                (OPTION_OFFSET, value) => {
                    if let Ok(value) = value.try_into() {
                        let offset =
                            if body.big { i64::from_be_bytes(value) } else { i64::from_le_bytes(value) };
                        interface.offset_seconds = offset;
                    }
                }
                _ => {}
            }
            body.take(len.next_multiple_of(4) - len, "an option")?;
        }
        self.nanoseconds |= interface.units > 1_000_000;
        self.interfaces.push(interface);
        Ok(())
    }

    fn packet(&mut self, kind: u32, body: &mut Cursor<'_>) -> Result<(), Unreadable> {
        let what = format!("packet {}", self.packets.len());
        let at = body.at;
        let index = match kind {
            ENHANCED => body.length(&what)?,
            OBSOLETE => {
                let index = body.u16(&what)?;
                body.u16(&what)?;
                usize::from(index)
            }
            _ => 0,
        };
        let Some(interface) = self.interfaces.get(index).copied() else {
            return unreadable(
                at,
                format!("{what} is of interface {index}, which the section does not declare"),
            );
        };
        if kind == SIMPLE {
            return self.simple(&what, interface, body);
        }
        let (high, low) = (body.u32(&what)?, body.u32(&what)?);
        let captured = body.length(&what)?;
        body.u32(&what)?;
        let time = time((u64::from(high) << 32) | u64::from(low), interface);
        let Some(time) = time else {
            return unreadable(at, format!("{what} has a time that is not between 1970 and 2554"));
        };
        let bytes = body.take(captured, &what)?;
        self.packets.push(Packet { time, bytes });
        Ok(())
    }

    /// A packet without a time has that of the one before it.
    fn simple(&mut self, what: &str, interface: Interface, body: &mut Cursor<'_>) -> Result<(), Unreadable> {
        let original = body.length(what)?;
        let snaplen = if interface.snaplen == 0 { original } else { interface.snaplen };
        let bytes = body.take(original.min(snaplen), what)?;
        let time = self.packets.last().map_or(0, |packet| packet.time);
        self.packets.push(Packet { time, bytes });
        Ok(())
    }
}

/// Units of a second: a power of ten, or with the highest bit set of two.
fn units(exponent: u8, at: usize) -> Result<u64, Unreadable> {
    let base: u64 = if exponent & 0x80 == 0 { 10 } else { 2 };
    match base.checked_pow(u32::from(exponent & 0x7f)) {
        Some(units) => Ok(units),
        None => unreadable(at, format!("times in units of {base} to the power of -{}", exponent & 0x7f)),
    }
}

/// Nanoseconds since 1970, when they fit.
fn time(stamp: u64, interface: Interface) -> Option<u64> {
    let seconds = stamp / interface.units;
    let rest = u128::from(stamp % interface.units) * u128::from(NANOS) / u128::from(interface.units);
    let seconds = seconds.checked_add_signed(interface.offset_seconds)?;
    seconds.checked_mul(NANOS)?.checked_add(u64::try_from(rest).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    /// A block of `kind` in the given byte order; `body` in whole words.
    fn block(kind: u32, body: &[u8], big: bool) -> Vec<u8> {
        let word = |word: u32| if big { word.to_be_bytes() } else { word.to_le_bytes() };
        let length = u32::try_from(body.len() + 12).expect("short");
        [&word(kind)[..], &word(length), body, &word(length)].concat()
    }

    fn section(big: bool) -> Vec<u8> {
        let body = if big {
            [&[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0][..], &[0xff; 8]].concat()
        } else {
            [&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat()
        };
        block(SECTION, &body, big)
    }

    const ETHERNET_LE: [u8; 8] = [1, 0, 0, 0, 0, 0, 4, 0];

    #[test]
    fn packets_of_two_sections_with_their_own_resolutions_and_orders() {
        let nanos = [&ETHERNET_LE[..], &[9, 0, 1, 0, 9, 0, 0, 0], &[0; 4]].concat();
        let enhanced =
            [&[0; 8][..], &[0x00, 0xca, 0x9a, 0x3b], &[3, 0, 0, 0], &[60, 0, 0, 0], b"abc\0"].concat();
        // Microseconds by default, two seconds to add.
        let micros =
            [&[0, 1, 0, 0, 0, 4, 0, 0][..], &[0, 14, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2], &[0; 4]].concat();
        let old =
            [&[0, 0, 0, 7][..], &[0; 4], &[0, 0, 0, 5], &[0, 0, 0, 2], &[0, 0, 0, 2], b"de\0\0"].concat();
        let simple = [&[0, 0, 0, 4][..], b"fghi"].concat();
        let file = [
            section(false),
            block(INTERFACE, &nanos, false),
            block(5, b"stat", false),
            block(ENHANCED, &enhanced, false),
            section(true),
            block(INTERFACE, &micros, true),
            block(OBSOLETE, &old, true),
            block(SIMPLE, &simple, true),
        ]
        .concat();
        let capture = read(&file).expect("readable");
        assert!(capture.nanoseconds);
        let packets: Vec<_> = capture.packets.iter().map(|p| (p.time, &file[p.bytes.clone()])).collect();
        assert_eq!(
            packets,
            [(1_000_000_000, &b"abc"[..]), (2_000_005_000, &b"de"[..]), (2_000_005_000, &b"fghi"[..])]
        );
    }

    #[test]
    fn what_is_wrong_is_reported_with_its_offset() {
        let interface = block(INTERFACE, &ETHERNET_LE, false);
        let wrong = |blocks: &[&[u8]]| {
            read(&[&section(false), &blocks.concat()[..]].concat()).unwrap_err().to_string()
        };
        assert_eq!(
            wrong(&[&block(ENHANCED, &[0; 20], false)]),
            "at byte 36: packet 0 is of interface 0, which the section does not declare"
        );
        assert_eq!(
            wrong(&[&block(INTERFACE, &[0; 8], false)]),
            "at byte 36: link type 0 is not Ethernet (1)"
        );
        assert_eq!(
            wrong(&[&interface, &[6, 0, 0, 0, 255, 255, 255, 0]]),
            "at byte 48: a block of 16777215 bytes, 8 are left"
        );
        let mut differing = interface.clone();
        differing[16] = 24;
        assert_eq!(wrong(&[&differing]), "at byte 44: the two lengths of a block differ");
        let claims = [&[0; 12][..], &[200, 0, 0, 0], &[0; 4]].concat();
        let cut = wrong(&[&interface, &block(ENHANCED, &claims, false)]);
        assert_eq!(cut, "at byte 76: packet 0 needs 200 bytes, 0 are left");
        let late = [&[0; 4][..], &[255; 8], &[0; 8]].concat();
        assert!(wrong(&[&interface, &block(ENHANCED, &late, false)]).contains("has a time"));
    }

    #[test]
    fn times_in_powers_of_two_and_coarse_ones() {
        let at = |stamp, exponent| {
            let units = units(exponent, 0).expect("in range");
            time(stamp, Interface { snaplen: 0, units, offset_seconds: 0 })
        };
        assert_eq!(at(3, 0), Some(3_000_000_000));
        assert_eq!(at(3 << 19, 0x80 | 20), Some(1_500_000_000));
        assert_eq!(at(1_500_000_000_001, 12), Some(1_500_000_000));
        assert!(units(20, 0).is_err() && units(0xff, 0).is_err());
    }
}
