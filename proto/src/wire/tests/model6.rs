//! Any IPv6 packet with TCP or UDP behind any extension headers, described, and built by etherparse.

use super::model::{Packet, packet, word};
use crate::wire::flow::Proto;
use etherparse::{
    IpAuthHeader, IpFragOffset, IpHeaders, IpNumber, Ipv6Extensions, Ipv6FragmentHeader, Ipv6Header,
    Ipv6RawExtHeader, Ipv6RoutingExtensions, PacketBuilder,
};
use proptest::prelude::*;
use std::net::Ipv6Addr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet6 {
    /// Transport, TOS (as traffic class), time to live (as hop limit) and payload; the rest is not used.
    pub(super) upper: Packet,
    pub(super) src: Ipv6Addr,
    pub(super) dst: Ipv6Addr,
    pub(super) label: u32,
    pub(super) extensions: Extensions,
}

/// Units of eight bytes behind the first of each header that is there; an authentication header has so many
/// units of four.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extensions {
    hop_by_hop: Option<u8>,
    destination: Option<u8>,
    routing: Option<u8>,
    fragment: Option<u32>,
    authentication: Option<u8>,
}

impl Packet6 {
    /// From the first byte of the IPv6 header on, with a correct checksum.
    pub(super) fn build(&self) -> Vec<u8> {
        let Packet { proto, sport, dport, ref payload, .. } = self.upper;
        let ip = PacketBuilder::ip(IpHeaders::Ipv6(self.header(), self.extensions.headers()));
        let mut bytes = Vec::new();
        match proto {
            Proto::Udp => ip.udp(sport, dport).write(&mut bytes, payload).unwrap(),
            Proto::Tcp => ip.tcp_header(self.upper.tcp()).write(&mut bytes, payload).unwrap(),
        }
        bytes
    }

    fn header(&self) -> Ipv6Header {
        Ipv6Header {
            traffic_class: self.upper.tos,
            flow_label: self.label.try_into().unwrap(),
            payload_length: 0,
            next_header: IpNumber::UDP,
            hop_limit: self.upper.ttl,
            source: self.src.octets(),
            destination: self.dst.octets(),
        }
    }

    /// Bytes of the IPv6 header and its extension headers.
    pub(super) fn ip_len(&self) -> usize {
        40 + self.extensions.headers().header_len()
    }

    /// Offset of the TCP or UDP checksum in the packet.
    pub(super) fn checksum_at(&self) -> usize {
        self.ip_len() + self.upper.checksum_offset()
    }

    /// The same with a payload that makes the checksum 0 (0xFFFF as UDP writes it).
    pub(super) fn with_zero_checksum(mut self) -> Packet6 {
        let payload = &mut self.upper.payload;
        payload.splice(0..2.min(payload.len()), [0, 0]);
        let (at, bytes) = (self.checksum_at(), self.build());
        self.upper.payload[..2].copy_from_slice(&bytes[at..at + 2]);
        self
    }
}

impl Extensions {
    fn headers(&self) -> Ipv6Extensions {
        // The second byte of the payload is a routing header's segments left: 0.
        let raw = |units: u8| {
            let payload = vec![0; 6 + 8 * usize::from(units)];
            Ipv6RawExtHeader::new_raw(IpNumber::UDP, &payload).unwrap()
        };
        Ipv6Extensions {
            hop_by_hop_options: self.hop_by_hop.map(raw),
            destination_options: self.destination.map(raw),
            routing: self.routing.map(|units| Ipv6RoutingExtensions {
                routing: raw(units),
                final_destination_options: (units & 1 == 1).then(|| raw(units)),
            }),
            fragment: self
                .fragment
                .map(|id| Ipv6FragmentHeader::new(IpNumber::UDP, IpFragOffset::ZERO, false, id)),
            auth: self.authentication.map(|units| {
                IpAuthHeader::new(IpNumber::UDP, 1, 2, &vec![0x5a; 4 * usize::from(units)]).unwrap()
            }),
        }
    }

    /// The identification of the atomic fragment that it is, if it is one.
    pub(super) fn fragment(&self) -> Option<u32> {
        self.fragment
    }
}

pub(super) fn addr6() -> impl Strategy<Value = Ipv6Addr> {
    prop::array::uniform8(word()).prop_map(Ipv6Addr::from)
}

fn extensions() -> impl Strategy<Value = Extensions> {
    let units = || prop::option::of(0..4_u8);
    (units(), units(), units(), prop::option::of(any::<u32>()), units()).prop_map(
        |(hop_by_hop, destination, routing, fragment, authentication)| Extensions {
            hop_by_hop,
            destination,
            routing,
            fragment,
            authentication,
        },
    )
}

pub(super) fn packet6() -> impl Strategy<Value = Packet6> {
    (packet(), addr6(), addr6(), 0..=0xf_ffff_u32, extensions())
        .prop_map(|(upper, src, dst, label, extensions)| Packet6 { upper, src, dst, label, extensions })
}
