//! Packets with TCP or UDP, and errors about them: built and checked by etherparse.

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::{
    Icmpv4Header, Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, IpHeaders, IpNumber, IpSlice, Ipv4Header,
    Ipv4HeaderSlice, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader, PacketBuilder,
};
use proptest::prelude::*;
use sheave_proto::wire::flow::{FlowKey, Proto};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An error about a packet.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// Who sends it, and to whom.
    pub(super) ends: (IpAddr, IpAddr),
    /// The quoted packet's flow.
    pub(super) flow: FlowKey,
    /// Words of options in its IPv4 header; units of extension header in IPv6.
    pub(super) options: u8,
    /// Don't fragment, of IPv4.
    pub(super) df: bool,
    /// How many bytes of its payload there were, and how many behind the IP header are quoted.
    pub(super) payload: usize,
    pub(super) quoted: usize,
    pub(super) mtu: u16,
}

impl Case {
    /// The whole packet that the error is about.
    pub(super) fn packet(&self) -> Vec<u8> {
        let FlowKey { proto, src, dst, sport, dport } = self.flow;
        let ip = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = Ipv4Header::new(0, 63, 0.into(), src.octets(), dst.octets()).unwrap();
                header.dont_fragment = self.df;
                header.identification = 0x1234;
                header.options = vec![1; 4 * usize::from(self.options)].as_slice().try_into().unwrap();
                IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default())
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = Ipv6Header {
                    hop_limit: 63,
                    source: src.octets(),
                    destination: dst.octets(),
                    ..Ipv6Header::default()
                };
                let options = |units: u8| {
                    let payload = vec![0; 8 * usize::from(units) - 2];
                    Ipv6RawExtHeader::new_raw(IpNumber::UDP, &payload).unwrap()
                };
                let destination_options = (self.options != 0).then(|| options(self.options));
                IpHeaders::Ipv6(header, Ipv6Extensions { destination_options, ..Ipv6Extensions::default() })
            }
            _ => unreachable!("a flow is of one family"),
        };
        let payload = vec![0x5a; self.payload];
        let mut bytes = Vec::new();
        match proto {
            Proto::Udp => PacketBuilder::ip(ip).udp(sport, dport).write(&mut bytes, &payload).unwrap(),
            Proto::Tcp => PacketBuilder::ip(ip).tcp(sport, dport, 1, 2).write(&mut bytes, &payload).unwrap(),
        }
        bytes
    }

    /// Bytes of the IP headers of the packet.
    pub(super) fn ip_len(&self) -> usize {
        match self.flow.src {
            IpAddr::V4(_) => 20 + 4 * usize::from(self.options),
            IpAddr::V6(_) => 40 + 8 * usize::from(self.options),
        }
    }

    /// The error that quotes the packet as it is in `flow`, "too big" of either family.
    pub(super) fn error(&self) -> Vec<u8> {
        let packet = self.packet();
        let len = packet.len().min(self.ip_len() + self.quoted);
        too_big(self.ends, self.mtu, &packet[..len])
    }
}

/// The error "too big" of the ends' family with a quote.
pub(super) fn too_big(ends: (IpAddr, IpAddr), mtu: u16, quote: &[u8]) -> Vec<u8> {
    let fragmentation = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: mtu };
    let v4 = Icmpv4Type::DestinationUnreachable(fragmentation);
    error(ends, v4, Icmpv6Type::PacketTooBig { mtu: mtu.into() }, quote)
}

/// The error of the ends' family with a quote.
pub(super) fn error(ends: (IpAddr, IpAddr), v4: Icmpv4Type, v6: Icmpv6Type, quote: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    match ends {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            PacketBuilder::ipv4(src.octets(), dst.octets(), 64).icmpv4(v4).write(&mut bytes, quote).unwrap();
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            PacketBuilder::ipv6(src.octets(), dst.octets(), 64).icmpv6(v6).write(&mut bytes, quote).unwrap();
        }
        _ => unreachable!("the ends are of one family"),
    }
    bytes
}

/// Whether every checksum of an error is right by full computation: outer header, message, quoted IPv4 header.
pub(super) fn sums_up(packet: &[u8]) -> bool {
    let header_ok = |bytes: &[u8]| {
        let header = Ipv4HeaderSlice::from_slice(bytes).unwrap().to_header();
        header.header_checksum == header.calc_header_checksum()
    };
    match IpSlice::from_slice(packet).unwrap() {
        IpSlice::Ipv4(ip) => {
            let message = Icmpv4Slice::from_slice(ip.payload().payload).unwrap();
            let computed = Icmpv4Header::with_checksum(message.icmp_type(), message.payload()).checksum;
            header_ok(packet) && message.checksum() == computed && header_ok(message.payload())
        }
        IpSlice::Ipv6(ip) => {
            let header = ip.header();
            Icmpv6Slice::from_slice(ip.payload().payload)
                .unwrap()
                .is_checksum_valid(header.source(), header.destination())
        }
    }
}

fn word() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(0xffff), any::<u16>()]
}

pub(super) fn v4() -> impl Strategy<Value = IpAddr> {
    (word(), word())
        .prop_map(|(high, low)| IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))))
}

pub(super) fn v6() -> impl Strategy<Value = IpAddr> {
    prop::array::uniform8(word()).prop_map(|words| IpAddr::V6(Ipv6Addr::from(words)))
}

/// Six addresses of one family: two ends of the error, two of the flow, two to translate to.
pub(super) fn addrs() -> impl Strategy<Value = [IpAddr; 6]> {
    prop_oneof![prop::array::uniform6(v4()), prop::array::uniform6(v6())]
}

/// An error, and two ends to translate to.
pub(super) fn case() -> impl Strategy<Value = (Case, [(IpAddr, u16); 2])> {
    let proto = prop_oneof![Just(Proto::Tcp), Just(Proto::Udp)];
    let sizes = (0..10_u8, 0..200_usize, 8..220_usize);
    let ports = prop::array::uniform4(word());
    (addrs(), proto, ports, sizes, any::<bool>(), 1280..=1500_u16).prop_map(
        |([a, b, src, dst, c, d], proto, [sport, dport, e, f], (options, payload, quoted), df, mtu)| {
            let flow = FlowKey { proto, src, dst, sport, dport };
            (Case { ends: (a, b), flow, options, df, payload, quoted, mtu }, [(c, e), (d, f)])
        },
    )
}
