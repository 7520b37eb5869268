//! The first bytes of a frame, from fixed places.

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

/// The protocol and TCP flags (none of UDP), if the segment's own lengths agree: of `segment` bytes, with a header whose bytes 4 to 5 (UDP's
/// length) and 12 to 13 (TCP's data offset and flags) are these.
#[inline(always)]
pub(crate) fn transport(
    proto: u8,
    segment: usize,
    udp_len: u16,
    offset_flags: u16,
) -> Option<(Proto, TcpFlags)> {
    if proto == Proto::Tcp.number() {
        let [offset, flags] = offset_flags.to_be_bytes();
        let header = usize::from(offset >> 4) * 4;
        (header >= 20 && header <= segment).then_some((Proto::Tcp, TcpFlags(flags)))
    } else if proto == Proto::Udp.number() {
        let length = usize::from(udp_len);
        (length >= 8 && length <= segment).then_some((Proto::Udp, TcpFlags::default()))
    } else {
        None
    }
}
