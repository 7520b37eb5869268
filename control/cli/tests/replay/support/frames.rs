//! Frames of the golden cases, built with etherparse: nothing here is the product's own code.

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, IpFragOffset, IpNumber, Ipv4Header, PacketBuilder, TcpHeader,
    TcpOptionElement, UdpHeader,
};

pub(crate) type Mac = [u8; 6];
/// An address and a port.
pub(crate) type Place = ([u8; 4], u16);

pub(crate) const D0: Mac = [2, 0, 0, 0, 0, 0xd0];
pub(crate) const D1: Mac = [2, 0, 0, 0, 0, 0xd1];
/// The gateway that clients are behind, on d0.
pub(crate) const GATEWAY: Mac = [2, 0, 0, 0, 0, 2];
pub(crate) const VIP: [u8; 4] = [198, 18, 0, 100];
pub(crate) const CLIENT: Place = ([203, 0, 113, 7], 40_000);

/// The hardware address of real server 198.19.1.`last`, on d1.
pub(crate) const fn real_mac(last: u8) -> Mac {
    [2, 0, 0, 0, 1, last]
}

/// Real server 198.19.1.`last`.
pub(crate) const fn real(last: u8, port: u16) -> Place {
    ([198, 19, 1, last], port)
}

/// What an IP header says beside the addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ip {
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) df: bool,
    pub(crate) ident: u16,
}

pub(crate) const IP: Ip = Ip { tos: 0, ttl: 64, df: true, ident: 0x1234 };

fn header(ip: Ip, protocol: IpNumber, src: [u8; 4], dst: [u8; 4], payload: usize) -> Vec<u8> {
    let len = u16::try_from(payload).expect("a payload that fits");
    let mut header = Ipv4Header::new(len, ip.ttl, protocol, src, dst).expect("a length that fits");
    header.dscp = (ip.tos >> 2).try_into().expect("6 bits");
    header.ecn = (ip.tos & 3).try_into().expect("2 bits");
    header.dont_fragment = ip.df;
    header.identification = ip.ident;
    header.header_checksum = header.calc_header_checksum();
    header.to_bytes().to_vec()
}

/// An Ethernet frame.
pub(crate) fn ethernet(src: Mac, dst: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst[..], &src, &ethertype.to_be_bytes(), payload].concat()
}

/// An IPv4 packet in an Ethernet frame.
pub(crate) fn ipv4(
    macs: (Mac, Mac),
    ip: Ip,
    protocol: u8,
    addrs: ([u8; 4], [u8; 4]),
    payload: &[u8],
) -> Vec<u8> {
    let header = header(ip, IpNumber(protocol), addrs.0, addrs.1, payload.len());
    ethernet(macs.0, macs.1, 0x0800, &[header, payload.to_vec()].concat())
}

/// A TCP segment; `flags` are letters: S F R P A.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tcp {
    pub(crate) macs: (Mac, Mac),
    pub(crate) from: Place,
    pub(crate) to: Place,
    pub(crate) flags: &'static str,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) payload: &'static [u8],
    pub(crate) ip: Ip,
}

impl Tcp {
    pub(crate) fn build(self) -> Vec<u8> {
        let mut tcp = TcpHeader::new(self.from.1, self.to.1, self.seq, 64_000);
        let has = |letter| self.flags.contains(letter);
        (tcp.syn, tcp.fin, tcp.rst, tcp.psh, tcp.ack) = (has('S'), has('F'), has('R'), has('P'), has('A'));
        tcp.acknowledgment_number = if tcp.ack { self.ack } else { 0 };
        let (src, dst) = (self.from.0, self.to.0);
        tcp.checksum = tcp.calc_checksum_ipv4_raw(src, dst, self.payload).expect("short");
        let segment = [&tcp.to_bytes()[..], self.payload].concat();
        ipv4(self.macs, self.ip, 6, (src, dst), &segment)
    }
}

/// The same segment, without payload, with the option that announces the largest segment.
pub(crate) fn with_mss(tcp: Tcp, mss: u16) -> Vec<u8> {
    let frame = tcp.build();
    let mut header = TcpHeader::from_slice(&frame[34..]).expect("TCP").0;
    header.set_options(&[TcpOptionElement::MaximumSegmentSize(mss)]).expect("room");
    let (src, dst) = (tcp.from.0, tcp.to.0);
    header.checksum = header.calc_checksum_ipv4_raw(src, dst, &[]).expect("short");
    ipv4(tcp.macs, tcp.ip, 6, (src, dst), &header.to_bytes())
}

/// A segment from a client to a VIP.
pub(crate) fn to_vip(from: Place, port: u16, flags: &'static str) -> Tcp {
    let (macs, to) = ((GATEWAY, D0), (VIP, port));
    let (seq, ack) = (1000, if flags.contains('S') { 0 } else { 5001 });
    Tcp { macs, from, to, flags, seq, ack, payload: b"", ip: IP }
}

/// A segment from real server `last` to a client.
pub(crate) fn from_real(last: u8, port: u16, to: Place, flags: &'static str) -> Tcp {
    let (macs, from) = ((real_mac(last), D1), real(last, port));
    Tcp { macs, from, to, flags, seq: 5000, ack: 1001, payload: b"", ip: IP }
}

/// A datagram; without a checksum when `sum` is false.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Udp {
    pub(crate) macs: (Mac, Mac),
    pub(crate) from: Place,
    pub(crate) to: Place,
    pub(crate) payload: &'static [u8],
    pub(crate) sum: bool,
    pub(crate) ip: Ip,
}

impl Udp {
    pub(crate) fn build(self) -> Vec<u8> {
        let (src, dst) = (self.from.0, self.to.0);
        let mut udp =
            UdpHeader::without_ipv4_checksum(self.from.1, self.to.1, self.payload.len()).expect("short");
        if self.sum {
            udp.checksum = udp.calc_checksum_ipv4_raw(src, dst, self.payload).expect("short");
        }
        ipv4(self.macs, self.ip, 17, (src, dst), &[&udp.to_bytes()[..], self.payload].concat())
    }
}

/// A datagram from a client to a VIP.
pub(crate) fn udp_to_vip(from: Place, port: u16, payload: &'static [u8]) -> Udp {
    Udp { macs: (GATEWAY, D0), from, to: (VIP, port), payload, sum: true, ip: IP }
}

/// A datagram from real server `last` to a client.
pub(crate) fn udp_from_real(last: u8, port: u16, to: Place, payload: &'static [u8]) -> Udp {
    Udp { macs: (real_mac(last), D1), from: real(last, port), to, payload, sum: true, ip: IP }
}

/// An ICMP message in an IPv4 packet; the checksum is filled in.
pub(crate) fn icmp(macs: (Mac, Mac), addrs: ([u8; 4], [u8; 4]), kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0][..], rest].concat();
    let sum = etherparse::checksum::u32_16bit_word::ones_complement(sum_words(&message)).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    ipv4(macs, IP, 1, addrs, &message)
}

pub(crate) fn sum_words(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .fold(0u32, |sum, pair| sum + u32::from(pair[0]) * 256 + u32::from(pair.get(1).copied().unwrap_or(0)))
}

/// An ARP packet; `op` is 1 for a request, 2 for a reply.
pub(crate) fn arp(op: u16, sender: (Mac, [u8; 4]), target: (Mac, [u8; 4]), to: Mac) -> Vec<u8> {
    let packet = ArpEthIpv4Packet {
        operation: ArpOperation(op),
        sender_mac: sender.0,
        sender_ipv4: sender.1,
        target_mac: target.0,
        target_ipv4: target.1,
    };
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(sender.0, to).arp(packet.into()).write(&mut frame).expect("memory");
    frame
}

/// The same frame behind 802.1Q tags of these VLANs, the outer one first: of two, it is the provider's.
pub(crate) fn tagged(frame: Vec<u8>, vlans: &[u16]) -> Vec<u8> {
    let tag = |(n, vlan): (usize, &u16)| {
        let kind: u16 = if n + 1 < vlans.len() { 0x88a8 } else { 0x8100 };
        [kind.to_be_bytes(), vlan.to_be_bytes()].concat()
    };
    let tags: Vec<u8> = vlans.iter().enumerate().flat_map(tag).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

/// The same frame with byte `at` replaced.
pub(crate) fn with(mut frame: Vec<u8>, at: usize, byte: u8) -> Vec<u8> {
    frame[at] = byte;
    frame
}

/// The same frame with its IP header's checksum made right again.
pub(crate) fn resealed(mut frame: Vec<u8>) -> Vec<u8> {
    frame[24..26].fill(0);
    let len = usize::from(frame[14] & 15) * 4;
    let sum = etherparse::checksum::u32_16bit_word::ones_complement(sum_words(&frame[14..14 + len]));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The packet of a frame in fragments with `step` bytes of data, a multiple of eight.
pub(crate) fn cut(frame: &[u8], step: usize) -> Vec<Vec<u8>> {
    let (head, data) = frame.split_at(34);
    let piece = |(n, part): (usize, &[u8])| {
        let len = u16::try_from(20 + part.len()).expect("short").to_be_bytes();
        let piece = with(with([head, part].concat(), 16, len[0]), 17, len[1]);
        let offset = u16::try_from(n * step / 8).expect("13 bits");
        fragment(piece, (n + 1) * step < data.len(), offset)
    };
    data.chunks(step).enumerate().map(piece).collect()
}

/// The same frame with the bytes of a later fragment's offset field.
pub(crate) fn fragment(frame: Vec<u8>, more: bool, offset: u16) -> Vec<u8> {
    let offset = IpFragOffset::try_new(offset).expect("13 bits").value();
    let [high, low] = (offset | if more { 0x2000 } else { 0 }).to_be_bytes();
    resealed(with(with(frame, 20, high), 21, low))
}
