//! Packets of both families, byte by byte: headers are put before what they carry.

#![allow(dead_code, reason = "each test file uses its share of the kit")]

use super::{OUR_MAC, THEIR_MAC};
use std::net::IpAddr;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const IPIP: u8 = 4;
pub(crate) const SIT: u8 = 41;
pub(crate) const GRE: u8 = 47;

/// TCP flags.
pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

pub(crate) fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]]
        .concat()
}

pub(crate) fn udp_datagram(from: u16, to: u16) -> Vec<u8> {
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 8, 0, 0]].concat()
}

/// ICMP of either family: type, code, checksum, four bytes, and what follows.
pub(crate) fn icmp(kind: u8, behind: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], behind].concat()
}

/// An IP packet of the family of its addresses. `fragment`: the IPv4 field, 0 for a whole one.
pub(crate) fn ip(from: IpAddr, to: IpAddr, proto: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = fragment.to_be_bytes();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [a, b] = u16::try_from(20 + payload.len()).expect("small").to_be_bytes();
            let head = [0x45, 0, a, b, 0, 7, high, low, 64, proto, 0, 0];
            [&head[..], &from.octets(), &to.octets(), payload].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            assert_eq!(fragment, 0, "that is an extension header");
            let [a, b] = u16::try_from(payload.len()).expect("small").to_be_bytes();
            [&[0x60, 0, 0, 0, a, b, proto, 64][..], &from.octets(), &to.octets(), payload].concat()
        }
        _ => panic!("{from} and {to} are of two families"),
    }
}

/// An extension header of IPv6, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extension {
    pub(crate) number: u8,
    /// As it stands in the header.
    len: u8,
    /// Bytes 2 and 3.
    more: [u8; 2],
    size: usize,
}

impl Extension {
    /// Hop-by-hop options (0), routing (43) or destination options (60), with `units` times eight bytes more.
    pub(crate) fn options(number: u8, units: u8) -> Extension {
        Extension { number, len: units, more: [0; 2], size: 8 + 8 * usize::from(units) }
    }

    pub(crate) fn routing(segments_left: u8) -> Extension {
        Extension { more: [0, segments_left], ..Extension::options(43, 2) }
    }

    pub(crate) fn authentication(len: u8) -> Extension {
        Extension { number: 51, len, more: [0; 2], size: 8 + 4 * usize::from(len) }
    }

    /// `field`: offset and flag.
    pub(crate) fn fragment(field: u16) -> Extension {
        Extension { number: 44, len: 0, more: field.to_be_bytes(), size: 8 }
    }
}

/// Extension headers before a payload of a protocol: the number of the first, and all the bytes.
pub(crate) fn extended(extensions: &[Extension], proto: u8, payload: &[u8]) -> (u8, Vec<u8>) {
    let (mut next, mut bytes) = (proto, payload.to_vec());
    for extension in extensions.iter().rev() {
        let mut header = vec![0; extension.size];
        header[..4].copy_from_slice(&[next, extension.len, extension.more[0], extension.more[1]]);
        header.append(&mut bytes);
        (next, bytes) = (extension.number, header);
    }
    (next, bytes)
}

/// An IPv6 packet with extension headers.
pub(crate) fn ip_extended(
    (from, to): (IpAddr, IpAddr),
    extensions: &[Extension],
    (proto, payload): (u8, &[u8]),
) -> Vec<u8> {
    let (next, payload) = extended(extensions, proto, payload);
    ip(from, to, next, 0, &payload)
}

/// An Ethernet frame around an IP packet.
pub(crate) fn ether(packet: &[u8]) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    [&OUR_MAC[..], &THEIR_MAC, &kind, packet].concat()
}

/// A frame with tags before its type, outermost first.
pub(crate) fn tagged(mut frame: Vec<u8>, tpids: &[u16]) -> Vec<u8> {
    for tpid in tpids.iter().rev() {
        let [a, b] = tpid.to_be_bytes();
        frame.splice(12..12, [a, b, 0, 5]);
    }
    frame
}

/// A frame with some bytes replaced.
pub(crate) fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// A neighbour solicitation (135) or advertisement (136), as a packet.
pub(crate) fn discovery(kind: u8, from: IpAddr, to: IpAddr, target: IpAddr) -> Vec<u8> {
    let IpAddr::V6(target) = target else { panic!("{target} is not IPv6") };
    ip(from, to, ICMPV6, 0, &icmp(kind, &target.octets()))
}
