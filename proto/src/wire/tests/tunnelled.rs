//! What goes into a tunnel, etherparse finds behind headers whose checksums it computes alike.

use super::model::{Packet, addr, packet, word};
use super::model6::{Packet6, addr6, packet6};
use crate::wire::tunnel::{self, Encapsulation, Family, Inner, Template};
use etherparse::{IpSlice, UdpSlice};
use proptest::prelude::*;
use std::net::IpAddr;

fn encapsulation() -> impl Strategy<Value = Encapsulation> {
    prop_oneof![
        Just(Encapsulation::Ipip),
        any::<bool>().prop_map(|checksum| Encapsulation::Gre { checksum }),
        (word(), any::<bool>()).prop_map(|(port, checksum)| Encapsulation::Gue { port, checksum }),
    ]
}

fn ends() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        (addr(), addr()).prop_map(|(src, dst)| (IpAddr::V4(src), IpAddr::V4(dst))),
        (addr6(), addr6()).prop_map(|(src, dst)| (IpAddr::V6(src), IpAddr::V6(dst))),
    ]
}

/// A packet of either family, its TOS and time to live.
fn inner() -> impl Strategy<Value = (Family, Vec<u8>, u8, u8)> {
    let v4 = |packet: Packet| (Family::V4, packet.build(), packet.tos, packet.ttl);
    let v6 = |packet: Packet6| (Family::V6, packet.build(), packet.upper.tos, packet.upper.ttl);
    prop_oneof![packet().prop_map(v4), packet6().prop_map(v6)]
}

fn check_header(outer: &IpSlice<'_>, ends: (IpAddr, IpAddr), inner: &Inner) -> Result<(), TestCaseError> {
    prop_assert_eq!((outer.source_addr(), outer.destination_addr()), ends);
    match outer {
        IpSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
            prop_assert_eq!(header.dscp.value() << 2 | header.ecn.value(), inner.tos);
            prop_assert_eq!((header.time_to_live, header.identification), (inner.ttl, inner.ident));
            prop_assert_eq!((header.dont_fragment, header.is_fragmenting_payload()), (inner.df, false));
        }
        IpSlice::Ipv6(ip) => {
            let header = ip.header();
            prop_assert_eq!((header.traffic_class(), header.hop_limit()), (inner.tos, inner.ttl));
            prop_assert_eq!(header.flow_label().value(), inner.flow & 0xf_ffff);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_tunnel_carries_any_packet(
        ends in ends(), encapsulation in encapsulation(), packet in inner(), df: bool, ident in word(), flow: u32,
    ) {
        let (family, packet, tos, ttl) = packet;
        let template = Template::new(ends.0, ends.1, encapsulation, family).unwrap();
        let mut bytes = [vec![0xaa; template.overhead()], packet.clone()].concat();
        let inner = Inner { tos, ttl, df, ident, flow };
        template.emit(&mut bytes, &inner).unwrap();

        let outer = IpSlice::from_slice(&bytes).unwrap();
        check_header(&outer, ends, &inner)?;
        let payload = outer.payload();
        let opened = tunnel::open(payload.ip_number.0, payload.payload).unwrap();
        prop_assert_eq!((opened.inner, &payload.payload[opened.offset..]), (family, packet.as_slice()));
        if let Encapsulation::Gue { port, checksum } = encapsulation {
            let udp = UdpSlice::from_slice(payload.payload).unwrap();
            prop_assert_eq!((udp.destination_port(), udp.source_port() >= 0xc000), (port, true));
            prop_assert_eq!(usize::from(udp.length()), payload.payload.len());
            let expected = match ends {
                (IpAddr::V4(src), IpAddr::V4(dst)) => {
                    udp.to_header().calc_checksum_ipv4_raw(src.octets(), dst.octets(), udp.payload())
                }
                (IpAddr::V6(src), IpAddr::V6(dst)) => {
                    udp.to_header().calc_checksum_ipv6_raw(src.octets(), dst.octets(), udp.payload())
                }
                _ => unreachable!("the ends are of one family"),
            };
            prop_assert_eq!(udp.checksum(), if checksum { expected.unwrap() } else { 0 });
        } else {
            prop_assert_eq!(opened.encapsulation, encapsulation);
        }
    }
}
