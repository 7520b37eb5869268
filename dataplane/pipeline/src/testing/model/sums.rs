//! Checksums the slow way: every byte, every time.

use std::net::IpAddr;

/// The ones' complement sum of the bytes as 16-bit words, on top of `start`.
pub(super) fn folded(bytes: &[u8], start: u64) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).expect("folded to 16 bits")
}

/// The sum of the pseudo-header that TCP, UDP and `ICMPv6` put in front.
pub(super) fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> u64 {
    let mut bytes = Vec::with_capacity(40);
    for addr in [src, dst] {
        match addr {
            IpAddr::V4(addr) => bytes.extend(addr.octets()),
            IpAddr::V6(addr) => bytes.extend(addr.octets()),
        }
    }
    bytes.extend(u32::try_from(len).expect("a packet's length").to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    u64::from(folded(&bytes, 0))
}

/// Writes the checksum of an IPv4 header, `header` long.
pub(super) fn seal_v4(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = !folded(header, 0);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}
