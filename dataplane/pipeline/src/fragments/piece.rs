//! One fragment by itself: which datagram it is of, which part of it, and what is wrong with it alone.

use sheave_proto::wire::ipv4::protocol;
use sheave_proto::wire::tcp;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a unit: offsets count these.
const UNIT: usize = 8;
/// What a length field can say at most, IPv4's of the whole packet, IPv6's of what follows the fixed header.
const LONGEST: usize = 65_535;

/// Why a fragment was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The first fragment ends within the transport header, or another one begins there.
    Tiny,
    /// It is empty, or not the last and no multiple of eight bytes.
    Uneven,
    /// The datagram would be longer than 65535 bytes.
    TooLong,
    /// It overlaps another, or one of its datagram did before.
    Overlap,
    /// It is here already.
    Duplicate,
    /// Its datagram has too many.
    TooMany,
    /// Too many datagrams begin at this moment.
    NoRoom,
    /// The first fragment did not come in time, or the room was needed for others.
    Unmatched,
}

/// Which datagram a fragment is of: a key of the shared table, exact in both families.
///
/// ```text
///   | protocol 8, family 8, identification 32 | source 128 | destination 128 | 0 | 0 |
/// ```
///
/// Neither the interface nor the VLAN is part of it: the fragments of one datagram may take different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DatagramKey(pub(super) [u64; 7]);

impl DatagramKey {
    /// RFC 791 §3.2: source, destination, protocol and identification name a datagram.
    pub(crate) fn v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, ident: u16) -> DatagramKey {
        let what = (u64::from(protocol) << 40) | (4 << 32) | u64::from(ident);
        DatagramKey([what, 0, u64::from(src.to_bits()), 0, u64::from(dst.to_bits()), 0, 0])
    }

    /// RFC 8200 §4.5: source, destination and identification do; the next header of later fragments may be
    /// another.
    pub(crate) fn v6(src: Ipv6Addr, dst: Ipv6Addr, ident: u32) -> DatagramKey {
        let ([s1, s2], [d1, d2]) = (halves(src), halves(dst));
        DatagramKey([(6 << 32) | u64::from(ident), s1, s2, d1, d2, 0, 0])
    }
}

#[expect(clippy::cast_possible_truncation, reason = "each half is cut out of the address")]
fn halves(addr: Ipv6Addr) -> [u64; 2] {
    let bits = addr.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

/// The part of a datagram that a fragment is, in units of eight bytes. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    start: u16,
    end: u16,
    last: bool,
}

/// How two pieces of one datagram lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Apart,
    Same,
    Overlap,
}

impl Piece {
    /// The piece that headers describe: `len` bytes of the datagram's payload at `offset`, with `more` to come.
    /// `before` is what the reassembled packet's length field would count ahead of that payload: IPv4's header,
    /// IPv6's extension headers in front of the fragment header.
    ///
    /// # Errors
    /// What is wrong with it by itself.
    pub(crate) fn new(offset: usize, len: usize, more: bool, before: usize) -> Result<Piece, Refused> {
        if len == 0 || (more && !len.is_multiple_of(UNIT)) || !offset.is_multiple_of(UNIT) {
            return Err(Refused::Uneven);
        }
        // RFC 8200 §4.5, and the same of IPv4: what no length field can name is discarded.
        if before + offset + len > LONGEST {
            return Err(Refused::TooLong);
        }
        let units = |bytes: usize| u16::try_from(bytes.div_ceil(UNIT)).map_err(|_| Refused::TooLong);
        Ok(Piece { start: units(offset)?, end: units(offset + len)?, last: !more })
    }

    /// Whether it begins where its datagram begins.
    pub(crate) fn is_first(self) -> bool {
        self.start == 0
    }

    /// Checks that the transport header of `protocol` lies in the first fragment and in no other. `payload` is
    /// what follows the IP headers.
    ///
    /// RFC 1858 §3 and RFC 3128: who looks at the first fragment must see all that it decides by, and no other
    /// fragment may lie over it. RFC 8200 §4.5 asks the same of IPv6.
    ///
    /// # Errors
    /// [`Refused::Tiny`].
    pub(crate) fn check_transport(self, protocol: u8, payload: &[u8]) -> Result<(), Refused> {
        // UDP's eight bytes are one unit: no fragment is smaller but a last one, and that is no first one then.
        let tiny = match protocol {
            protocol::TCP if self.is_first() => tcp::parse(payload).is_err(),
            protocol::TCP => usize::from(self.start) * UNIT < tcp::HEADER_LEN,
            _ => false,
        };
        if tiny { Err(Refused::Tiny) } else { Ok(()) }
    }

    pub(super) fn units(self) -> u16 {
        self.end - self.start
    }

    /// Where its datagram ends, if it says so.
    pub(super) fn final_end(self) -> Option<u16> {
        self.last.then_some(self.end)
    }

    pub(super) fn relation(self, other: Piece) -> Relation {
        let over = self.start < other.end && other.start < self.end;
        let beyond = (other.last && self.end > other.end) || (self.last && other.end > self.end);
        match (self == other, over || beyond) {
            (true, _) => Relation::Same,
            (false, true) => Relation::Overlap,
            (false, false) => Relation::Apart,
        }
    }

    /// The piece in a word: start 13 bits, end 14, last 1. Not zero.
    pub(super) fn code(self) -> u32 {
        u32::from(self.start) | (u32::from(self.end) << 13) | (u32::from(self.last) << 27)
    }

    /// The piece of a word; `None` of zero.
    pub(super) fn from_code(code: u32) -> Option<Piece> {
        let piece = Piece {
            start: (code & 0x1fff) as u16,
            end: ((code >> 13) & 0x3fff) as u16,
            last: (code >> 27) & 1 != 0,
        };
        (code != 0).then_some(piece)
    }
}
