//! From bytes to what a frame is to us: decided already, or a packet of a known flow.
//!
//! Depends on nothing but the frame and the snapshot, so that a whole burst can be parsed before its first packet
//! is handled. Three answers are kept apart: not ours (whatever else is wrong with it), ours but malformed, ours.

use crate::entry::{Key, in_key, out_key};
use crate::ids::{ListenId, RealId};
use crate::reason::Reason;
use crate::snapshot::Snapshot;
use sheave_frame::Frame;
use sheave_proto::wire::arp::{self, Arp};
use sheave_proto::wire::eth::{self, ethertype};
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::icmpv4::{self, icmp_type};
use sheave_proto::wire::ipv4::{self, Ipv4, Ipv4Error, protocol};
use sheave_proto::wire::tcp::{self, TcpFlags};
use sheave_proto::wire::{Malformed, udp};
use sheave_table::{Hash, Table};
use std::net::{IpAddr, Ipv4Addr};

/// Where the IP packet begins in every frame that is handled here: tagged ones are passed.
pub(crate) const L3: usize = eth::HEADER_LEN;

/// What a frame is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Parsed {
    /// Nothing more to find out.
    Decided(Reason),
    /// From a client to a listen.
    Inbound(Packet, ListenId),
    /// From a NAT destination's address and port to a client.
    Outbound(Packet, RealId),
    /// An echo request to a VIP.
    Echo(Ipv4),
    /// ARP for IPv4.
    Arp(Arp),
}

/// A TCP or UDP packet with the key of its entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    /// Key of the entry that this direction is found by.
    pub(crate) key: Key,
    /// Its hash.
    pub(crate) hash: Hash,
    /// The IP header.
    pub(crate) ip: Ipv4,
    /// Transport protocol.
    pub(crate) proto: Proto,
    /// Source port.
    pub(crate) sport: u16,
    /// TCP flags; none for UDP.
    pub(crate) flags: TcpFlags,
}

impl Packet {
    /// Bytes as counted: the IP packet, without padding.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.ip.total_len as u64
    }

    /// Whether it opens a connection: UDP always, TCP with a SYN and nothing that contradicts it.
    #[inline]
    pub(crate) fn opens(&self) -> bool {
        let rest = TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN;
        match self.proto {
            Proto::Udp => true,
            Proto::Tcp => self.flags.contains(TcpFlags::SYN) && !self.flags.intersects(rest),
        }
    }
}

/// Whom an IPv4 packet concerns.
enum Concern {
    Listen(Proto, (u16, u16), ListenId),
    Real(Proto, (u16, u16), RealId),
    Vip(Option<(u16, u16)>),
}

/// Parses a frame.
#[inline]
pub(crate) fn parse(frame: &Frame, snapshot: &Snapshot, table: &Table<1>) -> Parsed {
    let bytes = frame.bytes();
    let Some(interface) = snapshot.interface(frame.ingress()) else {
        return Parsed::Decided(Reason::NotOurs);
    };
    let Ok(eth) = eth::parse(bytes) else {
        return Parsed::Decided(Reason::NotOurs);
    };
    if eth.dst != interface.mac {
        if !eth.dst.is_multicast() {
            return Parsed::Decided(Reason::NotOurMac);
        }
        if eth.ethertype != ethertype::ARP {
            return Parsed::Decided(Reason::NotOurs);
        }
    }
    if eth.tags != 0 {
        return Parsed::Decided(Reason::VlanUnsupported);
    }
    let packet = bytes.get(L3..).unwrap_or_default();
    match eth.ethertype {
        ethertype::IPV4 => ipv4_packet(packet, snapshot, table),
        ethertype::ARP => match arp::parse(packet) {
            Ok(Some(arp)) => Parsed::Arp(arp),
            Ok(None) => Parsed::Decided(Reason::ArpSeen),
            Err(_) => Parsed::Decided(Reason::ArpMalformed),
        },
        ethertype::IPV6 => Parsed::Decided(Reason::Ipv6Unsupported),
        _ => Parsed::Decided(Reason::NotOurProtocol),
    }
}

#[inline]
fn ipv4_packet(packet: &[u8], snapshot: &Snapshot, table: &Table<1>) -> Parsed {
    let ip = match ipv4::parse_quoted(packet) {
        Ok(ip) => ip,
        Err(error) => return Parsed::Decided(bad_header(error, packet, snapshot)),
    };
    let concern = match concern(&ip, packet, snapshot) {
        Ok(concern) => concern,
        Err(reason) => return Parsed::Decided(reason),
    };
    let from_client = !matches!(concern, Concern::Real(..));
    if let Err(reason) = check_ip(&ip, packet, from_client) {
        return Parsed::Decided(reason);
    }
    match concern {
        Concern::Listen(proto, (sport, _), listen) => match flags(proto, ip.payload(packet)) {
            Err(reason) => Parsed::Decided(reason),
            Ok(flags) => {
                let key = in_key(ip.src, sport, listen);
                let packet = Packet { key, hash: table.hash(&key), ip, proto, sport, flags };
                Parsed::Inbound(packet, listen)
            }
        },
        Concern::Real(proto, (sport, dport), real) => match flags(proto, ip.payload(packet)) {
            Err(reason) => Parsed::Decided(reason),
            Ok(flags) => {
                let key = out_key(ip.dst, dport, real);
                let packet = Packet { key, hash: table.hash(&key), ip, proto, sport, flags };
                Parsed::Outbound(packet, real)
            }
        },
        Concern::Vip(ports) => vip(&ip, ip.payload(packet), ports, snapshot),
    }
}

/// Whom a packet concerns; the reason to pass it on when that is nobody here.
#[inline]
fn concern(ip: &Ipv4, packet: &[u8], snapshot: &Snapshot) -> Result<Concern, Reason> {
    let ports = ports(ip, packet);
    if let Some((proto, ports)) = ports {
        if let Some(listen) = snapshot.listen_at(ip.dst, ports.1, proto) {
            return Ok(Concern::Listen(proto, ports, listen));
        }
        if let Some(real) = snapshot.real_at(ip.src, ports.0, proto) {
            let to_us = snapshot.is_own(IpAddr::V4(ip.dst));
            return if to_us { Err(Reason::OwnAddress) } else { Ok(Concern::Real(proto, ports, real)) };
        }
    }
    if snapshot.is_vip(IpAddr::V4(ip.dst)) {
        return Ok(Concern::Vip(ports.map(|(_, ports)| ports)));
    }
    if ip.protocol == protocol::ICMP && about_real(ip.payload(packet), snapshot) {
        return Err(Reason::IcmpErrorUnsupported);
    }
    Err(Reason::NotOurs)
}

/// Protocol and ports of a TCP or UDP packet, if they are there: not in later fragments, not if cut short.
#[inline]
fn ports(ip: &Ipv4, packet: &[u8]) -> Option<(Proto, (u16, u16))> {
    let proto = Proto::from_number(ip.protocol)?;
    if ip.frag_offset != 0 {
        return None;
    }
    let [a, b, c, d] = *ip.payload(packet).first_chunk::<4>()?;
    Some((proto, (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))))
}

/// What is wrong with a header that does not parse: nothing to us, if it is known not to be ours.
#[cold]
fn bad_header(error: Ipv4Error, packet: &[u8], snapshot: &Snapshot) -> Reason {
    let reason = match error {
        Ipv4Error::BadVersion => return Reason::IpVersion,
        Ipv4Error::BadHeaderLength => return Reason::IpHeaderLength,
        Ipv4Error::Truncated => Reason::IpHeaderLength,
        Ipv4Error::BadTotalLength | Ipv4Error::BadChecksum => Reason::IpTotalLength,
    };
    let Some(mut header) = packet.first_chunk::<{ ipv4::HEADER_LEN }>().copied() else {
        return Reason::IpTruncated;
    };
    let dst = ipv4::HeaderMut::new(&mut header).map(|header| IpAddr::V4(header.dst()));
    if dst.is_some_and(|dst| snapshot.is_vip(dst)) { reason } else { Reason::NotOurs }
}

/// The checks of every IP packet that is ours.
#[inline]
fn check_ip(ip: &Ipv4, packet: &[u8], from_client: bool) -> Result<(), Reason> {
    if ip.total_len > packet.len() {
        return Err(Reason::IpTotalLength);
    }
    if ipv4::verify_checksum(packet).is_err() {
        return Err(Reason::IpChecksum);
    }
    if from_client && is_martian(ip.src, ip.dst) {
        return Err(Reason::Martian);
    }
    if ip.is_fragment() {
        return Err(Reason::FragmentUnsupported);
    }
    Ok(())
}

/// Sources that no client has.
#[inline]
fn is_martian(src: Ipv4Addr, vip: Ipv4Addr) -> bool {
    src == vip || src.is_loopback() || src.is_multicast() || src.is_broadcast() || src.is_unspecified()
}

/// The TCP flags of a well-formed segment; none of a well-formed datagram.
#[inline]
fn flags(proto: Proto, segment: &[u8]) -> Result<TcpFlags, Reason> {
    match proto {
        Proto::Tcp => match tcp::parse(segment) {
            Ok(tcp) => Ok(tcp.flags),
            Err(Malformed::Truncated) if segment.len() < tcp::HEADER_LEN => Err(Reason::TcpTruncated),
            Err(_) => Err(Reason::TcpOffset),
        },
        Proto::Udp => match udp::parse(segment) {
            Ok(_) => Ok(TcpFlags::default()),
            Err(Malformed::Truncated) if segment.len() < udp::HEADER_LEN => Err(Reason::UdpTruncated),
            Err(_) => Err(Reason::UdpLength),
        },
    }
}

/// A packet to a VIP that no listen is concerned by.
fn vip(ip: &Ipv4, payload: &[u8], ports: Option<(u16, u16)>, snapshot: &Snapshot) -> Parsed {
    Parsed::Decided(match (ip.protocol, ports) {
        (protocol::TCP, None) => Reason::TcpTruncated,
        (protocol::UDP, None) => Reason::UdpTruncated,
        (protocol::TCP | protocol::UDP, Some(_)) => Reason::NoService,
        (protocol::ICMP, _) => match icmpv4::parse(payload) {
            Err(_) => Reason::IcmpTruncated,
            Ok(_) if !icmpv4::checksum_ok(payload) => Reason::IcmpChecksum,
            Ok(icmp) if icmp.icmp_type == icmp_type::ECHO_REQUEST && icmp.code == 0 => {
                return Parsed::Echo(*ip);
            }
            Ok(icmp) if icmp.is_error() && about_listen(payload, snapshot) => Reason::IcmpErrorUnsupported,
            Ok(_) => Reason::IcmpNotOurs,
        },
        _ => Reason::NotOurProtocol,
    })
}

/// Whether an ICMP error quotes a packet from a listen to a client.
fn about_listen(message: &[u8], snapshot: &Snapshot) -> bool {
    embedded(message).is_some_and(|e| snapshot.listen_at(e.src, e.sport, e.proto).is_some())
}

/// Whether an ICMP error quotes a packet to a NAT destination.
#[cold]
fn about_real(message: &[u8], snapshot: &Snapshot) -> bool {
    embedded(message).is_some_and(|e| snapshot.real_at(e.dst, e.dport, e.proto).is_some())
}

fn embedded(message: &[u8]) -> Option<icmpv4::Embedded> {
    let icmp = icmpv4::parse(message).ok()?;
    let quote = message.get(icmpv4::HEADER_LEN..)?;
    icmp.is_error().then(|| icmpv4::parse_embedded(quote).ok()).flatten()
}
