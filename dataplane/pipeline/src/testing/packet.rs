//! Packets, built and read with etherparse.

use super::site::{CLIENT_SIDE, ROUTER_MAC, SERVER_SIDE, mac_of};
use etherparse::{
    Ethernet2Header, IpDscp, IpEcn, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, LaxSlicedPacket,
    NetSlice, SlicedPacket, TcpHeader, TransportSlice, UdpHeader,
};
use sheave_frame::PortId;
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// A TCP or UDP packet to be built. Checksums come out right.
#[derive(Debug, Clone)]
pub struct Packet {
    /// The interface of the director that it comes in on.
    pub port: PortId,
    /// Transport protocol.
    pub proto: Proto,
    /// Source.
    pub src: SocketAddr,
    /// Destination.
    pub dst: SocketAddr,
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
    /// VLANs, the outer one first.
    pub tags: Vec<u16>,
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
    pub fn from_client(
        proto: Proto,
        src: (impl Into<IpAddr>, u16),
        dst: (impl Into<IpAddr>, u16),
        flags: u8,
    ) -> Packet {
        Packet {
            port: CLIENT_SIDE,
            proto,
            src: SocketAddr::new(src.0.into(), src.1),
            dst: SocketAddr::new(dst.0.into(), dst.1),
            flags,
            seq: 1000,
            ack: 2000,
            payload: Vec::new(),
            ttl: 64,
            tos: 0,
            df: true,
            tags: Vec::new(),
        }
    }

    /// A packet from a real server.
    pub fn from_real(
        proto: Proto,
        src: (impl Into<IpAddr>, u16),
        dst: (impl Into<IpAddr>, u16),
        flags: u8,
    ) -> Packet {
        Packet { port: SERVER_SIDE, ..Packet::from_client(proto, src, dst, flags) }
    }

    /// The same behind 802.1Q tags of these VLANs, the outer one first.
    pub fn tagged(mut self, tags: &[u16]) -> Packet {
        self.tags = tags.to_vec();
        self
    }

    /// The same with a payload.
    pub fn payload(mut self, payload: &[u8]) -> Packet {
        self.payload = payload.to_vec();
        self
    }

    /// The frame.
    ///
    /// # Panics
    /// When the payload is larger than a packet can hold, or the addresses are of two families.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = ethernet_header(self.port, self.src.ip(), &self.tags);
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.v4(&mut bytes, src, dst),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.v6(&mut bytes, src, dst),
            _ => panic!("addresses of two families: {self:?}"),
        }
        bytes.extend(&self.payload);
        bytes
    }

    fn transport(&self) -> (IpNumber, u16) {
        let (number, len) = match self.proto {
            Proto::Tcp => (IpNumber::TCP, TcpHeader::MIN_LEN),
            Proto::Udp => (IpNumber::UDP, UdpHeader::LEN),
        };
        (number, u16::try_from(len + self.payload.len()).expect("a payload that fits"))
    }

    fn v4(&self, bytes: &mut Vec<u8>, src: Ipv4Addr, dst: Ipv4Addr) {
        let (number, length) = self.transport();
        let mut ip = Ipv4Header::new(length, self.ttl, number, src.octets(), dst.octets())
            .expect("a length that fits");
        ip.dscp = IpDscp::try_new(self.tos >> 2).expect("six bits");
        ip.ecn = IpEcn::try_new(self.tos & 3).expect("two bits");
        ip.dont_fragment = self.df;
        ip.identification = 0x4711;
        ip.header_checksum = ip.calc_header_checksum();
        bytes.extend(ip.to_bytes());
        match self.proto {
            Proto::Tcp => {
                let mut tcp = self.tcp();
                tcp.checksum = tcp.calc_checksum_ipv4(&ip, &self.payload).expect("a payload that fits");
                bytes.extend(tcp.to_bytes());
            }
            Proto::Udp => {
                let udp = UdpHeader::with_ipv4_checksum(self.src.port(), self.dst.port(), &ip, &self.payload);
                bytes.extend(udp.expect("a payload that fits").to_bytes());
            }
        }
    }

    fn v6(&self, bytes: &mut Vec<u8>, src: Ipv6Addr, dst: Ipv6Addr) {
        let (number, length) = self.transport();
        let ip = Ipv6Header {
            traffic_class: self.tos,
            flow_label: Ipv6FlowLabel::try_new(0x4711).expect("20 bits"),
            payload_length: length,
            next_header: number,
            hop_limit: self.ttl,
            source: src.octets(),
            destination: dst.octets(),
        };
        bytes.extend(ip.to_bytes());
        match self.proto {
            Proto::Tcp => {
                let mut tcp = self.tcp();
                tcp.checksum = tcp.calc_checksum_ipv6(&ip, &self.payload).expect("a payload that fits");
                bytes.extend(tcp.to_bytes());
            }
            Proto::Udp => {
                let udp = UdpHeader::with_ipv6_checksum(self.src.port(), self.dst.port(), &ip, &self.payload);
                bytes.extend(udp.expect("a payload that fits").to_bytes());
            }
        }
    }

    /// The frame with the interface that it comes in on.
    pub fn framed(&self) -> (PortId, Vec<u8>) {
        (self.port, self.bytes())
    }

    fn tcp(&self) -> TcpHeader {
        let mut tcp = TcpHeader::new(self.src.port(), self.dst.port(), self.seq, 8192);
        tcp.acknowledgment_number = self.ack;
        tcp.fin = self.flags & Packet::FIN != 0;
        tcp.syn = self.flags & Packet::SYN != 0;
        tcp.rst = self.flags & Packet::RST != 0;
        tcp.psh = self.flags & Packet::PSH != 0;
        tcp.ack = self.flags & Packet::ACK != 0;
        tcp
    }
}

/// The Ethernet header, with tags, of a frame that comes in on `port`.
pub(super) fn ethernet_header(port: PortId, src: IpAddr, tags: &[u16]) -> Vec<u8> {
    let source = if port == CLIENT_SIDE { ROUTER_MAC } else { Mac([2, 0, 0, 0, 1, 1]) };
    let mut bytes = [mac_of(port).0, source.0].concat();
    for (n, vlan) in tags.iter().enumerate() {
        // Of two tags, the outer one is the provider's.
        let tag: u16 = if n + 1 < tags.len() { 0x88a8 } else { 0x8100 };
        bytes.extend([tag.to_be_bytes(), vlan.to_be_bytes()].concat());
    }
    let ether_type: u16 = if src.is_ipv4() { 0x0800 } else { 0x86dd };
    bytes.extend(ether_type.to_be_bytes());
    bytes
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

/// What an IPv6 packet, in a frame with or without tags, turns out to be when read by others, all checksums right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen6 {
    /// Ethernet source and destination.
    pub macs: (Mac, Mac),
    /// VLANs, the outer one first.
    pub tags: Vec<u16>,
    /// The header.
    pub ip: Ipv6Header,
    /// Ports, for TCP and UDP.
    pub ports: Option<(u16, u16)>,
    /// What follows the IP header, and extension headers.
    pub payload: Vec<u8>,
}

impl Seen6 {
    /// Reads a frame.
    ///
    /// # Panics
    /// When it is malformed anywhere, or a checksum is wrong.
    pub fn of(frame: &[u8]) -> Seen6 {
        let eth = Ethernet2Header::from_slice(frame).expect("an Ethernet header").0;
        let mut at = 12;
        let mut tags = Vec::new();
        while matches!(frame[at..at + 2], [0x81, 0x00] | [0x88, 0xa8]) {
            tags.push(u16::from_be_bytes([frame[at + 2], frame[at + 3]]) & 0xfff);
            at += 4;
        }
        assert_eq!(frame[at..at + 2], [0x86, 0xdd], "IPv6");
        Seen6 { tags, ..Seen6::packet(&frame[at + 2..], (Mac(eth.source), Mac(eth.destination))) }
    }

    /// Reads a packet.
    ///
    /// # Panics
    /// Likewise.
    pub fn packet(bytes: &[u8], macs: (Mac, Mac)) -> Seen6 {
        let packet = SlicedPacket::from_ip(bytes).expect("a well-formed packet");
        let Some(NetSlice::Ipv6(net)) = &packet.net else { panic!("IPv6: {packet:?}") };
        let ip = net.header().to_header();
        assert_eq!(bytes.len(), 40 + usize::from(ip.payload_length), "no padding");
        let mut seen =
            Seen6 { macs, tags: Vec::new(), ip: ip.clone(), ports: None, payload: bytes[40..].to_vec() };
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                let header = tcp.to_header();
                let sum = header.calc_checksum_ipv6(&ip, tcp.payload()).expect("it fits");
                assert_eq!(sum, header.checksum, "TCP checksum");
                seen.ports = Some((header.source_port, header.destination_port));
            }
            Some(TransportSlice::Udp(udp)) => {
                let header = udp.to_header();
                let sum = header.calc_checksum_ipv6(&ip, udp.payload()).expect("it fits");
                assert_eq!(if sum == 0 { 0xffff } else { sum }, header.checksum, "UDP checksum");
                seen.ports = Some((header.source_port, header.destination_port));
            }
            Some(TransportSlice::Icmpv6(icmp)) => {
                assert!(icmp.is_checksum_valid(ip.source, ip.destination), "ICMPv6 checksum");
            }
            _ => {}
        }
        seen
    }

    /// Source and destination with their ports.
    ///
    /// # Panics
    /// When it is neither TCP nor UDP.
    pub fn flow(&self) -> (SocketAddr, SocketAddr) {
        let (sport, dport) = self.ports.expect("TCP or UDP");
        let end = |addr: [u8; 16], port| SocketAddr::new(IpAddr::from(addr), port);
        (end(self.ip.source, sport), end(self.ip.destination, dport))
    }
}

fn header(bytes: &[u8]) -> Ipv4Header {
    let (header, _) = Ipv4Header::from_slice(bytes).expect("an IPv4 header");
    assert_eq!(header.calc_header_checksum(), header.header_checksum, "header checksum");
    assert!(LaxSlicedPacket::from_ip(bytes).is_ok());
    header
}
