//! Packets, built and read with etherparse.

use super::site::{CLIENT_SIDE, ROUTER_MAC, SERVER_SIDE, mac_of};
use etherparse::{
    EtherType, Ethernet2Header, IpDscp, IpEcn, IpNumber, Ipv4Header, LaxSlicedPacket, NetSlice, SlicedPacket,
    TcpHeader, TransportSlice, UdpHeader,
};
use sheave_frame::PortId;
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::flow::Proto;
use std::net::{Ipv4Addr, SocketAddrV4};

/// A TCP or UDP packet to be built. Checksums come out right.
#[derive(Debug, Clone)]
pub struct Packet {
    /// The interface of the director that it comes in on.
    pub port: PortId,
    /// Transport protocol.
    pub proto: Proto,
    /// Source.
    pub src: SocketAddrV4,
    /// Destination.
    pub dst: SocketAddrV4,
    /// TCP flags, as in the header.
    pub flags: u8,
    /// TCP sequence number.
    pub seq: u32,
    /// TCP acknowledgement number.
    pub ack: u32,
    /// Payload.
    pub payload: Vec<u8>,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Don't fragment.
    pub df: bool,
}

/// The flags by name.
#[allow(missing_docs, reason = "as in RFC 9293")]
impl Packet {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

impl Packet {
    /// A packet from a client, without payload.
    pub fn from_client(proto: Proto, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), flags: u8) -> Packet {
        Packet {
            port: CLIENT_SIDE,
            proto,
            src: SocketAddrV4::new(src.0, src.1),
            dst: SocketAddrV4::new(dst.0, dst.1),
            flags,
            seq: 1000,
            ack: 2000,
            payload: Vec::new(),
            ttl: 64,
            tos: 0,
            df: true,
        }
    }

    /// A packet from a real server.
    pub fn from_real(proto: Proto, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), flags: u8) -> Packet {
        Packet { port: SERVER_SIDE, ..Packet::from_client(proto, src, dst, flags) }
    }

    /// The same with a payload.
    pub fn payload(mut self, payload: &[u8]) -> Packet {
        self.payload = payload.to_vec();
        self
    }

    /// The frame.
    ///
    /// # Panics
    /// When the payload is larger than a packet can hold.
    pub fn bytes(&self) -> Vec<u8> {
        let (src, dst) = (self.src.ip().octets(), self.dst.ip().octets());
        let (number, transport_len) = match self.proto {
            Proto::Tcp => (IpNumber::TCP, TcpHeader::MIN_LEN),
            Proto::Udp => (IpNumber::UDP, UdpHeader::LEN),
        };
        let length = u16::try_from(transport_len + self.payload.len()).expect("a payload that fits");
        let mut ip = Ipv4Header::new(length, self.ttl, number, src, dst).expect("a length that fits");
        ip.dscp = IpDscp::try_new(self.tos >> 2).expect("six bits");
        ip.ecn = IpEcn::try_new(self.tos & 3).expect("two bits");
        ip.dont_fragment = self.df;
        ip.identification = 0x4711;
        ip.header_checksum = ip.calc_header_checksum();
        let mut bytes = self.ethernet().to_bytes().to_vec();
        bytes.extend(ip.to_bytes());
        match self.proto {
            Proto::Tcp => bytes.extend(self.tcp(&ip).to_bytes()),
            Proto::Udp => {
                let udp = UdpHeader::with_ipv4_checksum(self.src.port(), self.dst.port(), &ip, &self.payload);
                bytes.extend(udp.expect("a payload that fits").to_bytes());
            }
        }
        bytes.extend(&self.payload);
        bytes
    }

    /// The frame with the interface that it comes in on.
    pub fn framed(&self) -> (PortId, Vec<u8>) {
        (self.port, self.bytes())
    }

    fn ethernet(&self) -> Ethernet2Header {
        let source = if self.port == CLIENT_SIDE { ROUTER_MAC } else { Mac([2, 0, 0, 0, 1, 1]) };
        Ethernet2Header { source: source.0, destination: mac_of(self.port).0, ether_type: EtherType::IPV4 }
    }

    fn tcp(&self, ip: &Ipv4Header) -> TcpHeader {
        let mut tcp = TcpHeader::new(self.src.port(), self.dst.port(), self.seq, 8192);
        tcp.acknowledgment_number = self.ack;
        tcp.fin = self.flags & Packet::FIN != 0;
        tcp.syn = self.flags & Packet::SYN != 0;
        tcp.rst = self.flags & Packet::RST != 0;
        tcp.psh = self.flags & Packet::PSH != 0;
        tcp.ack = self.flags & Packet::ACK != 0;
        tcp.checksum = tcp.calc_checksum_ipv4(ip, &self.payload).expect("a payload that fits");
        tcp
    }
}

/// What a frame turns out to be when read by others, all checksums right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Ethernet source and destination.
    pub macs: (Mac, Mac),
    /// The IP header in front, of a tunnel perhaps.
    pub ip: Ipv4Header,
    /// The header inside a tunnel.
    pub inner: Option<Ipv4Header>,
    /// Ports, for TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// The TCP header, for TCP.
    pub tcp: Option<TcpHeader>,
    /// What follows the last header.
    pub payload: Vec<u8>,
}

impl Seen {
    /// Reads a frame.
    ///
    /// # Panics
    /// When it is malformed anywhere, or a checksum is wrong.
    pub fn of(frame: &[u8]) -> Seen {
        let eth = Ethernet2Header::from_slice(frame).expect("an Ethernet header").0;
        let outer = header(&frame[14..]);
        assert_eq!(frame.len(), 14 + usize::from(outer.total_len), "no padding");
        let in_tunnel = outer.protocol == IpNumber::IPV4;
        let inner = in_tunnel.then(|| header(&frame[34..]));
        let ip_at = if in_tunnel { 34 } else { 14 };
        let packet = SlicedPacket::from_ip(&frame[ip_at..]).expect("a well-formed packet");
        let Some(NetSlice::Ipv4(net)) = &packet.net else { panic!("IPv4: {packet:?}") };
        let ip = net.header().to_header();
        let mut seen = Seen {
            macs: (Mac(eth.source), Mac(eth.destination)),
            ip: outer,
            inner,
            ports: None,
            tcp: None,
            payload: net.payload().payload.to_vec(),
        };
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                let header = tcp.to_header();
                let sum = header.calc_checksum_ipv4(&ip, tcp.payload()).expect("it fits");
                assert_eq!(sum, header.checksum, "TCP checksum");
                seen.ports = Some((header.source_port, header.destination_port));
                seen.payload = tcp.payload().to_vec();
                seen.tcp = Some(header);
            }
            Some(TransportSlice::Udp(udp)) => {
                let header = udp.to_header();
                if header.checksum != 0 {
                    let sum = header.calc_checksum_ipv4(&ip, udp.payload()).expect("it fits");
                    // On the wire, 0 is written as 0xFFFF.
                    let sum = if sum == 0 { 0xffff } else { sum };
                    assert_eq!(sum, header.checksum, "UDP checksum");
                }
                seen.ports = Some((header.source_port, header.destination_port));
                seen.payload = udp.payload().to_vec();
            }
            Some(TransportSlice::Icmpv4(icmp)) => {
                let header = icmp.header();
                assert_eq!(header.icmp_type.calc_checksum(icmp.payload()), header.checksum, "ICMP checksum");
            }
            _ => {}
        }
        seen
    }

    /// Source and destination with their ports.
    ///
    /// # Panics
    /// When it is neither TCP nor UDP.
    pub fn flow(&self) -> (SocketAddrV4, SocketAddrV4) {
        let ip = self.inner.as_ref().unwrap_or(&self.ip);
        let (sport, dport) = self.ports.expect("TCP or UDP");
        (SocketAddrV4::new(ip.source.into(), sport), SocketAddrV4::new(ip.destination.into(), dport))
    }

    /// Of an ICMP error: type, code, the last four bytes of its header, and what it quotes.
    ///
    /// # Panics
    /// When there are fewer than 8 bytes.
    pub fn icmp(&self) -> (u8, u8, [u8; 4], &[u8]) {
        let [kind, code, _, _, a, b, c, d] = *self.payload.first_chunk().expect("an ICMP header");
        (kind, code, [a, b, c, d], &self.payload[8..])
    }
}

fn header(bytes: &[u8]) -> Ipv4Header {
    let (header, _) = Ipv4Header::from_slice(bytes).expect("an IPv4 header");
    assert_eq!(header.calc_header_checksum(), header.header_checksum, "header checksum");
    assert!(LaxSlicedPacket::from_ip(bytes).is_ok());
    header
}
