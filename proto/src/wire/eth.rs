//! Ethernet II frames, seen through up to two tags.
//!
//! ```text
//!   0           6           12    14
//!   +-----------+-----------+-----+----------
//!   | dst       | src       |type | payload         untagged
//!   +-----------+-----------+-----+-----+-----+---
//!   | dst       | src       |8100 | tci |type |     each tag: 4 bytes between the addresses and the type
//!   +-----------+-----------+-----+-----+-----+---
//! ```
//!
//! Read IEEE 802.1Q for the tags. Rewriting an address leaves the tags where they are.

use super::field::Field;
use super::{Malformed, TooSmall};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Bytes of an untagged header.
pub const HEADER_LEN: usize = 14;
/// Bytes of one tag.
pub const TAG_LEN: usize = 4;
/// Tags that [`parse`] sees through.
pub const MAX_TAGS: u8 = 2;

const DST: Field<0, 6> = Field;
const SRC: Field<6, 6> = Field;
const TYPE_AT: usize = 12;
const TYPE: Field<TYPE_AT, 2> = Field;
/// Of a tag, counted from its own first byte.
const TAG_TYPE: Field<0, 2> = Field;
const TAG_CONTROL: Field<2, 2> = Field;
/// Of a tag, counted from behind its type: the type of what follows.
const INNER_TYPE: Field<2, 2> = Field;
/// Bits of a tag's control field that name its network.
const VLAN_ID: u16 = 0x0fff;

/// Values of the type field.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// An 802.1Q tag follows.
    pub const VLAN: u16 = 0x8100;
    /// An 802.1ad (provider) tag follows.
    pub const PROVIDER_VLAN: u16 = 0x88a8;
}

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All stations.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// No station.
    pub const ZERO: Mac = Mac([0; 6]);

    /// Whether it addresses a group; the broadcast address does.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it is the broadcast address.
    #[inline]
    #[must_use]
    pub fn is_broadcast(self) -> bool {
        self == Mac::BROADCAST
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadMac;

impl fmt::Display for BadMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address: write six pairs of hexadecimal digits with colons between them")
    }
}

impl std::error::Error for BadMac {}

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Mac, BadMac> {
        let mut mac = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut mac {
            let pair = pairs.next().ok_or(BadMac)?;
            if pair.len() != 2 || !pair.bytes().all(|c| c.is_ascii_hexdigit()) {
                return Err(BadMac);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadMac)?;
        }
        if pairs.next().is_some() { Err(BadMac) } else { Ok(Mac(mac)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Mac, BadMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

/// What the link layer says about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eth {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// Type of the payload, behind the tags. Below 0x600 it is a length (802.3), and none of ours.
    pub ethertype: u16,
    /// Where the payload begins, in bytes from the start of the frame; at most the frame's length.
    pub payload_offset: usize,
    /// Tags seen through, at most [`MAX_TAGS`]. A frame with more has a tag's value as its `ethertype`.
    pub tags: u8,
}

/// Parses a frame's header.
///
/// # Errors
/// [`Malformed::Truncated`] when the frame ends within the header or a tag.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Eth, Malformed> {
    let header = frame.first_chunk::<HEADER_LEN>().ok_or(Malformed::Truncated)?;
    let mut eth = Eth {
        dst: Mac(DST.get(header)),
        src: Mac(SRC.get(header)),
        ethertype: TYPE.get_u16(header),
        payload_offset: HEADER_LEN,
        tags: 0,
    };
    while eth.tags < MAX_TAGS && matches!(eth.ethertype, ethertype::VLAN | ethertype::PROVIDER_VLAN) {
        let rest = frame.get(eth.payload_offset..).ok_or(Malformed::Truncated)?;
        let tag = rest.first_chunk::<TAG_LEN>().ok_or(Malformed::Truncated)?;
        eth.ethertype = INNER_TYPE.get_u16(tag);
        eth.payload_offset += TAG_LEN;
        eth.tags += 1;
    }
    Ok(eth)
}

/// The tags of a frame, as they are on the wire, to be written again in front of another payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tags {
    raw: [[u8; TAG_LEN]; MAX_TAGS as usize],
    count: u8,
}

impl Tags {
    /// No tag.
    pub const NONE: Tags = Tags { raw: [[0; TAG_LEN]; MAX_TAGS as usize], count: 0 };

    /// The tags of the frame that `eth` was parsed from.
    #[must_use]
    pub fn of(frame: &[u8], eth: &Eth) -> Tags {
        let behind = frame.get(TYPE_AT..eth.payload_offset).unwrap_or_default();
        let mut tags = Tags::NONE;
        for (raw, tag) in tags.raw.iter_mut().zip(behind.as_chunks().0) {
            *raw = *tag;
            tags.count += 1;
        }
        tags
    }

    /// One 802.1Q tag of a network, 0 to 4095, without priority.
    #[must_use]
    pub fn vlan(id: u16) -> Tags {
        let mut tags = Tags { count: 1, ..Tags::NONE };
        TAG_TYPE.set_u16(&mut tags.raw[0], ethertype::VLAN);
        TAG_CONTROL.set_u16(&mut tags.raw[0], id & VLAN_ID);
        tags
    }

    /// The networks that the tags name, the outermost first; 0 is a tag of priority alone.
    pub fn ids(&self) -> impl Iterator<Item = u16> + '_ {
        self.raw.iter().take(usize::from(self.count)).map(|tag| TAG_CONTROL.get_u16(tag) & VLAN_ID)
    }

    /// Bytes of a header with these tags: where the payload begins.
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> usize {
        HEADER_LEN + usize::from(self.count) * TAG_LEN
    }
}

/// A frame's addresses and outer type, for rewriting in place.
#[derive(Debug)]
pub struct HeaderMut<'a>(&'a mut [u8; HEADER_LEN]);

impl<'a> HeaderMut<'a> {
    /// A view of the header at the start of `frame`, if it is that long.
    #[inline]
    pub fn new(frame: &'a mut [u8]) -> Option<HeaderMut<'a>> {
        frame.first_chunk_mut().map(HeaderMut)
    }

    /// Sets the destination.
    #[inline]
    pub fn set_dst(&mut self, mac: Mac) {
        DST.set(self.0, mac.0);
    }

    /// Sets the source.
    #[inline]
    pub fn set_src(&mut self, mac: Mac) {
        SRC.set(self.0, mac.0);
    }

    /// Sets the type of what follows the 14 bytes: a tag, if there is one.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: u16) {
        TYPE.set_u16(self.0, ethertype);
    }
}

/// Writes an untagged header.
#[inline]
pub fn emit(header: &mut [u8; HEADER_LEN], dst: Mac, src: Mac, ethertype: u16) {
    DST.set(header, dst.0);
    SRC.set(header, src.0);
    TYPE.set_u16(header, ethertype);
}

/// Writes a header with the tags of the frame that it answers or continues, and returns where its payload
/// begins: [`Tags::header_len`].
///
/// # Errors
/// [`TooSmall`] when `frame` is shorter than that.
#[inline]
pub fn emit_tagged(
    frame: &mut [u8],
    dst: Mac,
    src: Mac,
    tags: &Tags,
    ethertype: u16,
) -> Result<usize, TooSmall> {
    let len = tags.header_len();
    let header = frame.get_mut(..len).ok_or(TooSmall)?;
    let (addresses, behind) = header.split_first_chunk_mut::<TYPE_AT>().ok_or(TooSmall)?;
    DST.set(addresses, dst.0);
    SRC.set(addresses, src.0);
    let (raw, ethertype_field) = behind.as_chunks_mut::<TAG_LEN>();
    raw.copy_from_slice(tags.raw.get(..raw.len()).ok_or(TooSmall)?);
    ethertype_field.copy_from_slice(&ethertype.to_be_bytes());
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DST: Mac = Mac([0x02, 0, 0, 0, 0, 0xd0]);
    const SRC: Mac = Mac([0x02, 0, 0, 0, 0x01, 0x11]);
    const UNTAGGED: [u8; 14] = [0x02, 0, 0, 0, 0, 0xd0, 0x02, 0, 0, 0, 0x01, 0x11, 0x08, 0x00];

    fn tagged(tags: &[[u8; 4]], ethertype: [u8; 2]) -> Vec<u8> {
        [&UNTAGGED[..12], tags.as_flattened(), &ethertype].concat()
    }

    #[test]
    fn parses_and_emits_an_untagged_header() {
        let eth = Eth { dst: DST, src: SRC, ethertype: ethertype::IPV4, payload_offset: 14, tags: 0 };
        assert_eq!(parse(&UNTAGGED), Ok(eth));
        let mut header = [0xaa; HEADER_LEN];
        emit(&mut header, DST, SRC, ethertype::IPV4);
        assert_eq!(header, UNTAGGED);
    }

    #[test]
    fn sees_through_two_tags_and_no_more() {
        let (vlan, provider) = ([0x81, 0x00, 0x20, 0x07], [0x88, 0xa8, 0x00, 0x01]);
        for (tags, ethertype, count, offset) in [
            (vec![vlan], ethertype::IPV4, 1, 18),
            (vec![provider, vlan], ethertype::IPV4, 2, 22),
            (vec![vlan, vlan], ethertype::IPV4, 2, 22),
            (vec![provider, vlan, vlan], ethertype::VLAN, 2, 22),
        ] {
            let eth = parse(&tagged(&tags, [0x08, 0x00])).unwrap();
            assert_eq!((eth.ethertype, eth.tags, eth.payload_offset), (ethertype, count, offset), "{tags:?}");
            assert_eq!((eth.dst, eth.src), (DST, SRC));
        }
    }

    #[test]
    fn refuses_every_shorter_frame() {
        let frame = tagged(&[[0x88, 0xa8, 0, 1], [0x81, 0, 0, 2]], [0x08, 0x00]);
        for len in 0..frame.len() {
            assert_eq!(parse(&frame[..len]), Err(Malformed::Truncated), "{len} bytes");
        }
        assert_eq!(parse(&frame).map(|eth| eth.payload_offset), Ok(frame.len()));
    }

    #[test]
    fn rewrites_in_place_and_keeps_the_tags() {
        let mut frame = tagged(&[[0x81, 0x00, 0x20, 0x07]], [0x08, 0x00]);
        let mut header = HeaderMut::new(&mut frame).unwrap();
        header.set_dst(Mac([1, 2, 3, 4, 5, 6]));
        header.set_src(Mac::BROADCAST);
        assert_eq!(
            frame,
            [1, 2, 3, 4, 5, 6, 255, 255, 255, 255, 255, 255, 0x81, 0x00, 0x20, 0x07, 0x08, 0x00]
        );
        HeaderMut::new(&mut frame).unwrap().set_ethertype(ethertype::ARP);
        assert_eq!(frame[12..14], [0x08, 0x06]);
        assert!(HeaderMut::new(&mut [0; 13]).is_none());
    }

    #[test]
    fn tags_are_written_again_as_they_were() {
        let (vlan, provider) = ([0x81, 0x00, 0x20, 0x07], [0x88, 0xa8, 0xf0, 0x01]);
        for (raw, ids) in [(vec![], vec![]), (vec![vlan], vec![7]), (vec![provider, vlan], vec![1, 7])] {
            let frame = [tagged(&raw, [0x86, 0xdd]), vec![0xee; 9]].concat();
            let tags = Tags::of(&frame, &parse(&frame).unwrap());
            assert_eq!(tags.ids().collect::<Vec<_>>(), ids);
            assert_eq!(tags.header_len(), 14 + 4 * raw.len());
            let mut buf = [0xaa; 40];
            assert_eq!(emit_tagged(&mut buf, DST, SRC, &tags, ethertype::IPV6), Ok(tags.header_len()));
            assert_eq!(buf[..tags.header_len()], tagged(&raw, [0x86, 0xdd]));
            assert_eq!(buf[tags.header_len()..], [0xaa; 40][tags.header_len()..]);
            let short = &mut buf[..tags.header_len() - 1];
            assert_eq!(emit_tagged(short, DST, SRC, &tags, ethertype::IPV6), Err(TooSmall));
        }
        let mut frame = [0; 18];
        assert_eq!(emit_tagged(&mut frame, DST, SRC, &Tags::vlan(0x1007), ethertype::ARP), Ok(18));
        assert_eq!(frame, *tagged(&[[0x81, 0x00, 0x00, 0x07]], [0x08, 0x06]));
    }

    #[test]
    fn reads_and_shows_hardware_addresses() {
        assert_eq!("02:00:00:00:01:11".parse(), Ok(SRC));
        assert_eq!(SRC.to_string(), "02:00:00:00:01:11");
        assert_eq!("AB:cd:EF:01:23:45".parse(), Ok(Mac([0xab, 0xcd, 0xef, 0x01, 0x23, 0x45])));
        for bad in [
            "",
            "02:00:00:00:01",
            "02:00:00:00:01:11:22",
            "2:0:0:0:1:11",
            "02-00-00-00-01-11",
            "+2:00:00:00:01:11",
            "0g:00:00:00:01:11",
        ] {
            assert_eq!(bad.parse::<Mac>(), Err(BadMac), "{bad}");
        }
        assert_eq!(serde_json::to_string(&SRC).unwrap(), "\"02:00:00:00:01:11\"");
        assert_eq!(serde_json::from_str::<Mac>("\"02:00:00:00:01:11\"").unwrap(), SRC);
        let error = serde_json::from_str::<Mac>("\"02\"").unwrap_err().to_string();
        assert!(error.starts_with("not a MAC address"), "{error}");
    }

    #[test]
    fn knows_group_addresses() {
        assert!(Mac::BROADCAST.is_multicast() && Mac::BROADCAST.is_broadcast());
        let group = Mac([0x01, 0, 0x5e, 0, 0, 0x12]);
        assert!(group.is_multicast() && !group.is_broadcast());
        assert!(!SRC.is_multicast() && !SRC.is_broadcast());
    }
}
