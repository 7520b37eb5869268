//! From bytes to what a frame is to us: decided already, or a packet of a known flow.
//!
//! Depends on nothing but the frame and the snapshot, so that a whole burst can be parsed before its first packet
//! is handled. Three answers are kept apart: not ours (whatever else is wrong with it), ours but malformed, ours.

use crate::ids::{ListenId, RealId};
use crate::ip::{BadIp, Ip};
use crate::key::Key;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::snapshot::{Interface, Ports, Snapshot};
use crate::tables::Tables;
use sheave_frame::Frame;
use sheave_proto::wire::arp;
use sheave_proto::wire::eth::{self, Eth, ethertype};
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::icmpv4::{self, icmp_type};
use sheave_proto::wire::ipv4::{self, protocol};
use sheave_proto::wire::ipv6::{self, next_header};
use sheave_proto::wire::tcp::{self, TcpFlags};
use sheave_proto::wire::{Malformed, icmpv6, udp};
use std::net::{IpAddr, Ipv4Addr};

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
    Echo,
    /// An ICMP error that may be about a packet of ours.
    Error,
    /// A fragment that may be of a datagram of ours.
    Fragment,
    /// ARP for IPv4.
    Arp,
    /// Neighbour discovery for IPv6.
    Ndp,
}

/// Whom an IP packet concerns.
enum Concern {
    Listen(Proto, (u16, u16), ListenId),
    Real(Proto, (u16, u16), RealId),
    Vip(Option<(u16, u16)>),
    Quoted,
    Fragment,
}

/// Parses a frame that came in on `interface`.
#[inline(never)]
pub(crate) fn parse(bytes: &[u8], interface: &Interface, snapshot: &Snapshot, tables: &Tables) -> Parsed {
    let Ok(eth) = eth::parse(bytes) else {
        return Parsed::Decided(Reason::NotOurs);
    };
    let packet = bytes.get(eth.payload_offset..).unwrap_or_default();
    if eth.ethertype == ethertype::IPV6 && is_ndp(packet) {
        let ours = eth.dst == interface.mac || eth.dst.is_multicast();
        return if ours { Parsed::Ndp } else { Parsed::Decided(Reason::NotOurMac) };
    }
    if let Some(reason) = not_to_us(&eth, interface) {
        return Parsed::Decided(reason);
    }
    match eth.ethertype {
        ethertype::IPV4 | ethertype::IPV6 => Walk { eth: &eth, packet, snapshot, tables }.ip(false),
        ethertype::ARP => match arp::parse(packet) {
            Ok(Some(_)) => Parsed::Arp,
            Ok(None) => Parsed::Decided(Reason::ArpSeen),
            Err(_) => Parsed::Decided(Reason::ArpMalformed),
        },
        _ => Parsed::Decided(Reason::NotOurProtocol),
    }
}

/// Parses the first fragment of a datagram like a whole packet.
pub(crate) fn parse_first(frame: &Frame, snapshot: &Snapshot, tables: &Tables) -> Parsed {
    let bytes = frame.bytes();
    let Ok(eth) = eth::parse(bytes) else {
        return Parsed::Decided(Reason::NotOurs);
    };
    let packet = bytes.get(eth.payload_offset..).unwrap_or_default();
    Walk { eth: &eth, packet, snapshot, tables }.ip(true)
}

/// Whether it looks like a neighbour solicitation or advertisement: those have no extension headers.
fn is_ndp(packet: &[u8]) -> bool {
    const TYPE_AT: usize = ipv6::HEADER_LEN;
    let kinds = [icmpv6::icmp_type::NEIGHBOUR_SOLICITATION, icmpv6::icmp_type::NEIGHBOUR_ADVERTISEMENT];
    packet.get(6) == Some(&next_header::ICMPV6)
        && packet.get(TYPE_AT).is_some_and(|kind| kinds.contains(kind))
}

/// Why a frame's Ethernet destination makes it none of ours, if it does.
fn not_to_us(eth: &Eth, interface: &Interface) -> Option<Reason> {
    if eth.dst == interface.mac {
        return None;
    }
    if !eth.dst.is_multicast() {
        return Some(Reason::NotOurMac);
    }
    (eth.ethertype != ethertype::ARP).then_some(Reason::NotOurs)
}

/// The long way through an IP packet.
struct Walk<'a> {
    eth: &'a Eth,
    packet: &'a [u8],
    snapshot: &'a Snapshot,
    tables: &'a Tables,
}

impl Walk<'_> {
    /// `first`: a first fragment is to be handled like a whole packet.
    fn ip(&self, first: bool) -> Parsed {
        let ip = match Ip::read(self.eth.ethertype, self.packet) {
            Ok(ip) => ip,
            Err(error) => return Parsed::Decided(self.bad_header(error)),
        };
        let concern = match self.concern(&ip, first) {
            Ok(concern) => concern,
            Err(reason) => return Parsed::Decided(reason),
        };
        let from_client = match concern {
            Concern::Real(..) => false,
            Concern::Fragment => self.snapshot.is_vip(ip.dst),
            _ => true,
        };
        if let Err(reason) = self.check(&ip, from_client) {
            return Parsed::Decided(reason);
        }
        match concern {
            Concern::Listen(proto, (sport, dport), listen) => match self.flags(proto, &ip) {
                Err(reason) => Parsed::Decided(reason),
                Ok(flags) => {
                    let key = in_key(self.snapshot, (ip.src, sport), dport, listen);
                    Parsed::Inbound(self.plain(&ip, key, (proto, sport, dport), flags), listen)
                }
            },
            Concern::Real(proto, (sport, dport), real) => match self.flags(proto, &ip) {
                Err(reason) => Parsed::Decided(reason),
                Ok(flags) => {
                    let key = out_key(self.snapshot, (ip.dst, dport), sport, real);
                    Parsed::Outbound(self.plain(&ip, key, (proto, sport, dport), flags), real)
                }
            },
            Concern::Vip(ports) => self.vip(&ip, ports),
            Concern::Quoted => Parsed::Error,
            Concern::Fragment => Parsed::Fragment,
        }
    }

    fn flags(&self, proto: Proto, ip: &Ip) -> Result<TcpFlags, Reason> {
        flags(proto, ip.payload(self.packet), ip.fragment.is_none())
    }

    fn plain(&self, ip: &Ip, key: Key, flow: (Proto, u16, u16), flags: TcpFlags) -> Packet {
        // Offsets within a frame and lengths of a packet are below 2^16.
        let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let l3 = self.eth.payload_offset;
        Packet {
            key,
            hash: self.tables.hash(&key),
            hint: None,
            l3: short(l3),
            l4: short(l3 + ip.l4),
            len: short(ip.len),
            sport: flow.1,
            dport: flow.2,
            proto: flow.0,
            flags,
            ttl: ip.ttl,
            v6: ip.src.is_ipv6(),
            df: ip.df,
        }
    }

    /// Whom a packet concerns; the reason to pass it on when that is nobody here.
    fn concern(&self, ip: &Ip, first: bool) -> Result<Concern, Reason> {
        if ip.fragment.is_some() && !first && self.may_be_ours(ip) {
            return Ok(Concern::Fragment);
        }
        let ports = ports(ip, self.packet);
        if let Some((proto, ports)) = ports {
            if let Some(listen) = self.snapshot.listen_at(ip.dst, ports.1, proto) {
                return Ok(Concern::Listen(proto, ports, listen));
            }
            if let Some(real) = self.snapshot.real_at(ip.src, ports.0, proto) {
                let to_us = self.snapshot.is_own(ip.dst);
                return if to_us { Err(Reason::OwnAddress) } else { Ok(Concern::Real(proto, ports, real)) };
            }
        }
        if self.snapshot.is_vip(ip.dst) {
            return Ok(Concern::Vip(ports.map(|(_, ports)| ports)));
        }
        if self.quotes_ours(ip).is_some_and(|ours| ours) {
            return Ok(Concern::Quoted);
        }
        Err(Reason::NotOurs)
    }

    /// Whether a fragment may be of a datagram of ours, as far as its addresses tell: only the first has ports, but all
    /// of them must go one way.
    fn may_be_ours(&self, ip: &Ip) -> bool {
        // What a later fragment names in IPv6 may be a further extension header.
        let hidden = ip.src.is_ipv6() && ipv6::is_extension(ip.protocol);
        let ours = || {
            self.snapshot.is_vip(ip.dst)
                || (self.snapshot.is_real_addr(ip.src) && !self.snapshot.is_own(ip.dst))
        };
        (hidden || Proto::from_number(ip.protocol).is_some()) && ours()
    }

    /// Whether an ICMP error that is not for a VIP quotes a packet that went into a tunnel of ours or on to a NAT
    /// destination. What else is sent to the director's own addresses is the kernel's.
    fn quotes_ours(&self, ip: &Ip) -> Option<bool> {
        let message = ip.payload(self.packet);
        let kind = *message.first()?;
        let error = match ip.src {
            IpAddr::V4(_) => ip.protocol == protocol::ICMP && icmpv4::is_error_type(kind),
            IpAddr::V6(_) => ip.protocol == next_header::ICMPV6 && icmpv6::is_error_type(kind),
        };
        if !error {
            return None;
        }
        let quote = message.get(icmpv4::HEADER_LEN..)?;
        let quoted = Ip::read(self.eth.ethertype, quote).ok()?;
        if self.snapshot.is_own(ip.dst) {
            return Some(quoted.src == ip.dst && self.snapshot.is_tunnel_end(quoted.dst));
        }
        let (proto, (_, port)) = ports(&quoted, quote)?;
        Some(self.snapshot.real_at(quoted.dst, port, proto).is_some())
    }

    /// What is wrong with a header that does not parse: nothing to us, if it is known not to be ours.
    fn bad_header(&self, error: BadIp) -> Reason {
        let reason = match error {
            BadIp::Version => return Reason::IpVersion,
            BadIp::HeaderLength => Reason::IpHeaderLength,
            BadIp::TotalLength => Reason::IpTotalLength,
            BadIp::Truncated => return Reason::IpTruncated,
            BadIp::Extensions => Reason::IpExtensions,
        };
        let dst = Ip::destination(self.eth.ethertype, self.packet);
        if reason == Reason::IpHeaderLength && self.packet.first().is_some_and(|first| first & 0x0f < 5) {
            // Nothing in such a header is to be believed.
            return reason;
        }
        if dst.is_some_and(|dst| self.snapshot.is_vip(dst)) { reason } else { Reason::NotOurs }
    }

    /// The checks of every IP packet that is ours.
    fn check(&self, ip: &Ip, from_client: bool) -> Result<(), Reason> {
        if ip.len > self.packet.len() {
            return Err(Reason::IpTotalLength);
        }
        if ip.src.is_ipv4() && ipv4::verify_checksum(self.packet).is_err() {
            return Err(Reason::IpChecksum);
        }
        if from_client && is_martian(ip.src, ip.dst) {
            return Err(Reason::Martian);
        }
        Ok(())
    }

    /// A packet to a VIP that no listen is concerned by.
    fn vip(&self, ip: &Ip, ports: Option<(u16, u16)>) -> Parsed {
        let payload = ip.payload(self.packet);
        if ip.fragment.is_some() && ports.is_none() {
            return Parsed::Decided(Reason::FragmentNotOurs);
        }
        Parsed::Decided(match (ip.protocol, ports) {
            (protocol::TCP, None) => Reason::TcpTruncated,
            (protocol::UDP, None) => Reason::UdpTruncated,
            (protocol::TCP | protocol::UDP, Some(_)) => Reason::NoService,
            (protocol::ICMP, _) if ip.src.is_ipv4() => match icmpv4::parse(payload) {
                Err(_) => Reason::IcmpTruncated,
                Ok(_) if !icmpv4::checksum_ok(payload) => Reason::IcmpChecksum,
                Ok(icmp) if icmp.icmp_type == icmp_type::ECHO_REQUEST && icmp.code == 0 => {
                    return Parsed::Echo;
                }
                Ok(icmp) if icmp.is_error() => return Parsed::Error,
                Ok(_) => Reason::IcmpNotOurs,
            },
            (next_header::ICMPV6, _) if ip.src.is_ipv6() => match (icmpv6::parse(payload), ip.src, ip.dst) {
                (Err(_), ..) => Reason::IcmpTruncated,
                (Ok(_), IpAddr::V6(src), IpAddr::V6(dst)) if !icmpv6::checksum_ok(src, dst, payload) => {
                    Reason::IcmpChecksum
                }
                (Ok(icmp), ..) if icmp.icmp_type == icmpv6::icmp_type::ECHO_REQUEST && icmp.code == 0 => {
                    return Parsed::Echo;
                }
                (Ok(icmp), ..) if icmp.is_error() => return Parsed::Error,
                (Ok(_), ..) => Reason::IcmpNotOurs,
            },
            _ => Reason::NotOurProtocol,
        })
    }
}

/// The key of packets from a client to a listen.
pub(crate) fn in_key(snapshot: &Snapshot, client: (IpAddr, u16), vport: u16, listen: ListenId) -> Key {
    let one = snapshot.listen(listen).is_some_and(|listen| matches!(listen.ports, Ports::One(_)));
    match client.0 {
        IpAddr::V4(addr) if one => Key::narrow_in(addr, client.1, listen),
        _ => Key::wide_in(client, vport, listen),
    }
}

/// The key of packets from a NAT destination to a client.
pub(crate) fn out_key(snapshot: &Snapshot, client: (IpAddr, u16), rport: u16, real: RealId) -> Key {
    let one = snapshot.real(real).is_some_and(|real| real.port.is_some());
    match client.0 {
        IpAddr::V4(addr) if one => Key::narrow_out(addr, client.1, real),
        _ => Key::wide_out(client, rport, real),
    }
}

/// Sources that no client has.
fn is_martian(src: IpAddr, vip: IpAddr) -> bool {
    let broadcast = src == IpAddr::V4(Ipv4Addr::BROADCAST);
    src == vip || src.is_loopback() || src.is_multicast() || src.is_unspecified() || broadcast
}

/// The TCP flags of a well-formed segment; none of a well-formed datagram.
fn flags(proto: Proto, segment: &[u8], whole: bool) -> Result<TcpFlags, Reason> {
    match proto {
        Proto::Tcp => match tcp::parse(segment) {
            Ok(tcp) => Ok(tcp.flags),
            Err(Malformed::Truncated) if segment.len() < tcp::HEADER_LEN => Err(Reason::TcpTruncated),
            Err(_) => Err(Reason::TcpOffset),
        },
        Proto::Udp => match if whole { udp::parse(segment) } else { udp::parse_first(segment) } {
            Ok(_) => Ok(TcpFlags::default()),
            Err(Malformed::Truncated) if segment.len() < udp::HEADER_LEN => Err(Reason::UdpTruncated),
            Err(_) => Err(Reason::UdpLength),
        },
    }
}

/// Protocol and ports of a TCP or UDP packet, if they are there: not in later fragments, not if cut short.
fn ports(ip: &Ip, packet: &[u8]) -> Option<(Proto, (u16, u16))> {
    let proto = Proto::from_number(ip.protocol)?;
    if !ip.has_ports() {
        return None;
    }
    let [a, b, c, d] = *ip.payload(packet).first_chunk::<4>()?;
    Some((proto, (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))))
}
