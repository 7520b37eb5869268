//! ICMP errors, built and read with etherparse.

use super::packet::ethernet_header;
use etherparse::{
    Icmpv4Header, Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, IpSlice, Ipv4HeaderSlice, PacketBuilder,
};
use sheave_frame::PortId;
use std::net::IpAddr;

/// An ICMP error to be built. Checksums come out right.
#[derive(Debug, Clone)]
pub struct Error {
    /// The interface of the director that it comes in on.
    pub port: PortId,
    /// Who sends it.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// Type and code.
    pub kind: (u8, u8),
    /// The last four bytes of its header.
    pub rest: [u8; 4],
    /// The packet that it quotes, or as much of it as it does.
    pub quote: Vec<u8>,
    /// Time to live.
    pub ttl: u8,
}

impl Error {
    /// "Too big" of the family of `src`, about the packet in a frame without tags.
    pub fn too_big(
        port: PortId,
        src: impl Into<IpAddr>,
        dst: impl Into<IpAddr>,
        mtu: u16,
        frame: &[u8],
    ) -> Error {
        let (src, quote) = (src.into(), frame.get(14..).unwrap_or_default());
        let most = if src.is_ipv4() { 548 } else { 1232 };
        Error {
            port,
            src,
            dst: dst.into(),
            kind: if src.is_ipv4() { (3, 4) } else { (2, 0) },
            rest: u32::from(mtu).to_be_bytes(),
            quote: quote.get(..most).unwrap_or(quote).to_vec(),
            ttl: 64,
        }
    }

    /// The frame.
    ///
    /// # Panics
    /// When the addresses are of two families.
    pub fn bytes(&self) -> Vec<u8> {
        let (code, rest) = (self.kind.1, self.rest);
        let mut packet = Vec::new();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let kind = Icmpv4Type::Unknown { type_u8: self.kind.0, code_u8: code, bytes5to8: rest };
                let builder = PacketBuilder::ipv4(src.octets(), dst.octets(), self.ttl).icmpv4(kind);
                builder.write(&mut packet, &self.quote)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let kind = Icmpv6Type::Unknown { type_u8: self.kind.0, code_u8: code, bytes5to8: rest };
                let builder = PacketBuilder::ipv6(src.octets(), dst.octets(), self.ttl).icmpv6(kind);
                builder.write(&mut packet, &self.quote)
            }
            _ => panic!("addresses of two families: {self:?}"),
        }
        .expect("a quote that fits");
        let mut bytes = ethernet_header(self.port, self.src, &[]);
        bytes.extend(packet);
        bytes
    }

    /// Reads a frame without tags, which came in or left on `port`.
    ///
    /// # Panics
    /// When it is no ICMP message, or a checksum is wrong: the outer header's, the message's, the quoted header's.
    pub fn of(port: PortId, frame: &[u8]) -> Error {
        let packet = &frame[14..];
        let (src, dst, ttl, payload): (IpAddr, IpAddr, u8, Vec<u8>) = match IpSlice::from_slice(packet) {
            Ok(IpSlice::Ipv4(ip)) => {
                let header = ip.header();
                check_header(packet);
                let message = Icmpv4Slice::from_slice(ip.payload().payload).expect("ICMP");
                let sum = Icmpv4Header::with_checksum(message.icmp_type(), message.payload()).checksum;
                assert_eq!(message.checksum(), sum, "ICMP checksum");
                let ends = (header.source_addr().into(), header.destination_addr().into());
                (ends.0, ends.1, header.ttl(), ip.payload().payload.to_vec())
            }
            Ok(IpSlice::Ipv6(ip)) => {
                let header = ip.header();
                let message = Icmpv6Slice::from_slice(ip.payload().payload).expect("ICMPv6");
                assert!(message.is_checksum_valid(header.source(), header.destination()), "ICMPv6 checksum");
                let ends = (header.source_addr().into(), header.destination_addr().into());
                (ends.0, ends.1, header.hop_limit(), ip.payload().payload.to_vec())
            }
            Err(error) => panic!("{error}: {packet:02x?}"),
        };
        let [kind, code, _, _, a, b, c, d] = *payload.first_chunk().expect("an ICMP header");
        let quote = payload[8..].to_vec();
        if src.is_ipv4() {
            check_header(&quote);
        }
        Error { port, src, dst, kind: (kind, code), rest: [a, b, c, d], quote, ttl }
    }

    /// The MTU that it tells.
    pub fn mtu(&self) -> u32 {
        u32::from_be_bytes(self.rest)
    }
}

fn check_header(packet: &[u8]) {
    let header = Ipv4HeaderSlice::from_slice(packet).expect("an IPv4 header").to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "header checksum");
}
