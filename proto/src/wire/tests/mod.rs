//! Sample packets, and the properties that hold across protocols.

mod built;
mod built6;
mod model;
mod model6;
mod rewritten;
mod rewritten6;
mod sums;
mod tunnelled;

use std::net::{Ipv4Addr, Ipv6Addr};

/// Client 192.0.2.1:40000 to 198.18.0.100:80, TOS 0xb9, identification 0x1234, DF, TTL 63, 44 bytes in all.
pub(super) const IP_HEADER: [u8; 20] = [
    0x45, 0xb9, 0x00, 0x2c, 0x12, 0x34, 0x40, 0x00, 0x3f, 0x06, 0xa0, 0x67, 0xc0, 0x00, 0x02, 0x01, 0xc6,
    0x12, 0x00, 0x64,
];

/// A SYN with a maximum segment size, in [`IP_HEADER`].
pub(super) const SYN: [u8; 24] = [
    0x9c, 0x40, 0x00, 0x50, 0x01, 0x02, 0x03, 0x04, 0x00, 0x00, 0x00, 0x00, 0x60, 0x02, 0xfa, 0xf0, 0x74,
    0x27, 0x00, 0x00, 0x02, 0x04, 0x05, 0xb4,
];

pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 100);
pub(super) const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub(super) const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 0x100);

/// [`IP_HEADER`] and [`SYN`].
pub(super) fn syn_packet() -> Vec<u8> {
    [IP_HEADER.as_slice(), &SYN].concat()
}
