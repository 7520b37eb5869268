//! The first bytes of a frame, from fixed places.

use super::Kind;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;

/// Bytes of a frame, from an offset that the compiler checks against the array.
#[inline(always)]
pub(crate) fn be16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
pub(crate) fn be32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
pub(crate) fn be64<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    (u64::from(be32(bytes, at)) << 32) | u64::from(be32(bytes, at + 4))
}

/// What kind of packet it is, if its lengths agree: of `room` bytes, of which `used` lie in front of the transport's header, whose
/// bytes 4 to 5 (UDP's length) and 12 to 13 (TCP's data offset and flags) are these.
#[inline(always)]
pub(crate) fn transport(
    proto: u8,
    (used, room): (usize, usize),
    udp_len: u16,
    offset_flags: u16,
) -> Option<Kind> {
    if proto == Proto::Tcp.number() {
        let [offset, flags] = offset_flags.to_be_bytes();
        let header = usize::from(offset >> 4) * 4;
        (header >= 20 && used + header <= room).then_some(Kind::tcp(TcpFlags(flags)))
    } else if proto == Proto::Udp.number() {
        let length = usize::from(udp_len);
        (length >= 8 && used + length <= room).then_some(Kind::udp())
    } else {
        None
    }
}
