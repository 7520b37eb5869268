//! Any IPv4 packet with TCP or UDP, described, and built by etherparse: the oracle that shares no code with
//! what it judges.

use crate::wire::flow::Proto;
use etherparse::{
    IpDscp, IpEcn, IpHeaders, Ipv4Extensions, Ipv4Header, Ipv4Options, PacketBuilder, TcpHeader, TcpOptions,
};
use proptest::prelude::*;
use std::net::Ipv4Addr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) proto: Proto,
    pub(super) src: Ipv4Addr,
    pub(super) dst: Ipv4Addr,
    pub(super) sport: u16,
    pub(super) dport: u16,
    pub(super) tos: u8,
    pub(super) ident: u16,
    pub(super) df: bool,
    pub(super) ttl: u8,
    pub(super) ip_options: Vec<u8>,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) tcp_flags: u8,
    pub(super) window: u16,
    pub(super) tcp_options: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

impl Packet {
    /// From the first byte of the IPv4 header on, with correct checksums.
    pub(super) fn build(&self) -> Vec<u8> {
        let mut header =
            Ipv4Header::new(0, self.ttl, 0.into(), self.src.octets(), self.dst.octets()).unwrap();
        header.dscp = IpDscp::try_from(self.tos >> 2).unwrap();
        header.ecn = IpEcn::try_from(self.tos & 3).unwrap();
        header.identification = self.ident;
        header.dont_fragment = self.df;
        header.options = Ipv4Options::try_from(self.ip_options.as_slice()).unwrap();
        let ip = PacketBuilder::ip(IpHeaders::Ipv4(header, Ipv4Extensions::default()));
        let mut bytes = Vec::new();
        match self.proto {
            Proto::Udp => ip.udp(self.sport, self.dport).write(&mut bytes, &self.payload).unwrap(),
            Proto::Tcp => ip.tcp_header(self.tcp()).write(&mut bytes, &self.payload).unwrap(),
        }
        bytes
    }

    pub(super) fn tcp(&self) -> TcpHeader {
        let flag = |bit: u8| self.tcp_flags & (1 << bit) != 0;
        TcpHeader {
            acknowledgment_number: self.ack,
            fin: flag(0),
            syn: flag(1),
            rst: flag(2),
            psh: flag(3),
            ack: flag(4),
            urg: flag(5),
            ece: flag(6),
            cwr: flag(7),
            options: TcpOptions::try_from_slice(&self.tcp_options).unwrap(),
            ..TcpHeader::new(self.sport, self.dport, self.seq, self.window)
        }
    }

    /// Bytes of the IPv4 header.
    pub(super) fn ip_len(&self) -> usize {
        20 + self.ip_options.len()
    }

    /// The TCP or UDP checksum field of the packet, built.
    pub(super) fn l4_checksum(&self) -> u16 {
        let at = self.ip_len() + self.checksum_offset();
        let bytes = self.build();
        u16::from_be_bytes([bytes[at], bytes[at + 1]])
    }

    /// Offset of the checksum field in the TCP or UDP header.
    pub(super) fn checksum_offset(&self) -> usize {
        match self.proto {
            Proto::Tcp => 16,
            Proto::Udp => 6,
        }
    }

    /// The same with a payload that makes the sum under its TCP or UDP checksum 0xFFFF, so that the checksum
    /// is 0 (0xFFFF as UDP writes it): the last 16 bits that are missing are just those of its checksum.
    pub(super) fn with_zero_checksum(mut self) -> Packet {
        self.payload.splice(0..2.min(self.payload.len()), [0, 0]);
        let missing = self.l4_checksum();
        self.payload[..2].copy_from_slice(&missing.to_be_bytes());
        self
    }

    /// The same with an identification that makes the IPv4 header's checksum 0.
    pub(super) fn with_zero_ip_checksum(mut self) -> Packet {
        self.ident = 0;
        let bytes = self.build();
        self.ident = u16::from_be_bytes([bytes[10], bytes[11]]);
        self
    }
}

/// Numbers that checksums trip over come often.
pub(super) fn word() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(0xffff), Just(1), Just(0xfffe), any::<u16>()]
}

pub(super) fn addr() -> impl Strategy<Value = Ipv4Addr> {
    (word(), word()).prop_map(|(high, low)| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
}

/// Whole 32-bit words of options. Their meaning is nothing to this layer.
fn options() -> impl Strategy<Value = Vec<u8>> {
    (0..=10_usize).prop_flat_map(|words| prop::collection::vec(any::<u8>(), words * 4))
}

pub(super) fn packet() -> impl Strategy<Value = Packet> {
    let ip = (addr(), addr(), any::<u8>(), word(), any::<bool>(), any::<u8>(), options());
    let transport = (prop_oneof![Just(Proto::Tcp), Just(Proto::Udp)], word(), word());
    let tcp = (any::<u32>(), any::<u32>(), any::<u8>(), word(), options());
    let payload = prop::collection::vec(any::<u8>(), 0..64);
    (ip, transport, tcp, payload).prop_map(|(ip, transport, tcp, payload)| {
        let (src, dst, tos, ident, df, ttl, ip_options) = ip;
        let (proto, sport, dport) = transport;
        let (seq, ack, tcp_flags, window, tcp_options) = tcp;
        Packet {
            proto,
            src,
            dst,
            sport,
            dport,
            tos,
            ident,
            df,
            ttl,
            ip_options,
            seq,
            ack,
            tcp_flags,
            window,
            tcp_options,
            payload,
        }
    })
}
