//! What the forwarding methods do to a frame. All take one from the time to live, which the caller has checked,
//! and cut off what Ethernet padded. The hardware addresses are written later, with the next hop; tags stay.

use crate::answer::grow;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::snapshot::Destination;
use sheave_frame::Frame;
use sheave_proto::wire::checksum::Delta;
use sheave_proto::wire::eth::ethertype;
use sheave_proto::wire::flow::{Proto, Side};
use sheave_proto::wire::tunnel::Inner;
use sheave_proto::wire::{ipv4, ipv6, tcp, udp};
use std::net::IpAddr;

/// NAT, to the real server: destination address and port.
#[inline(always)]
pub(crate) fn nat_in(frame: &mut Frame, packet: &Packet, to: &Destination) -> Result<(), Reason> {
    let port = to.port.unwrap_or(packet.dport);
    let (segment, delta) = match to.addr {
        IpAddr::V4(real) => {
            let (mut ip, segment) = open_v4(frame, packet)?;
            (segment, ip.rewrite_dst(real))
        }
        IpAddr::V6(real) => {
            let (mut ip, segment) = open_v6(frame, packet)?;
            (segment, ip.rewrite_dst(real))
        }
    };
    rewrite_port(segment, packet.proto, Port::Destination(port), delta)
}

/// NAT, to the client: source address and port become the VIP's again.
#[inline(always)]
pub(crate) fn nat_out(frame: &mut Frame, packet: &Packet, vip: (IpAddr, u16)) -> Result<(), Reason> {
    let (segment, delta) = match vip.0 {
        IpAddr::V4(vip) => {
            let (mut ip, segment) = open_v4(frame, packet)?;
            (segment, ip.rewrite_src(vip))
        }
        IpAddr::V6(vip) => {
            let (mut ip, segment) = open_v6(frame, packet)?;
            (segment, ip.rewrite_src(vip))
        }
    };
    rewrite_port(segment, packet.proto, Port::Source(vip.1), delta)
}

/// NAT of a later fragment: an address alone, since ports and checksum are in the first one.
pub(crate) fn readdress(frame: &mut Frame, packet: &Packet, side: Side, addr: IpAddr) -> Result<(), Reason> {
    // The change of the transport's checksum is the first fragment's.
    let _delta = match addr {
        IpAddr::V4(addr) => {
            let (mut ip, _) = open_v4(frame, packet)?;
            match side {
                Side::Source => ip.rewrite_src(addr),
                Side::Destination => ip.rewrite_dst(addr),
            }
        }
        IpAddr::V6(addr) => {
            let (mut ip, _) = open_v6(frame, packet)?;
            match side {
                Side::Source => ip.rewrite_src(addr),
                Side::Destination => ip.rewrite_dst(addr),
            }
        }
    };
    Ok(())
}

/// Direct routing: the packet stays as it is, but for its time to live.
#[inline(always)]
pub(crate) fn direct(frame: &mut Frame, packet: &Packet) -> Result<(), Reason> {
    if packet.v6 { open_v6(frame, packet).map(|_| ()) } else { open_v4(frame, packet).map(|_| ()) }
}

/// Tunnelling: an outer header in front.
///
/// ```text
///            | Ethernet, tags | packet         |
///   | Ethernet, tags | outer IP | packet       |     grown to the front
/// ```
#[inline(always)]
pub(crate) fn tunnel(frame: &mut Frame, packet: &Packet, to: &Destination, ident: u16) -> Result<(), Reason> {
    let Some(tunnel) = &to.tunnel else { return Err(Reason::NoRoute) };
    direct(frame, packet)?;
    let l3 = usize::from(packet.l3);
    grow(frame, l3, usize::from(tunnel.overhead)).ok_or(Reason::NoRoom)?;
    let (ether, packet_bytes) = frame.bytes_mut().split_at_mut_checked(l3).ok_or(Reason::NoRoom)?;
    let outer_type = if to.addr.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
    if let Some(ether_type) = ether.last_chunk_mut() {
        *ether_type = outer_type.to_be_bytes();
    }
    let tos = match packet_bytes.get(usize::from(tunnel.overhead)..).and_then(<[u8]>::first_chunk) {
        Some([first, second]) if packet.v6 => (first << 4) | (second >> 4),
        Some([_, tos]) => *tos,
        None => return Err(Reason::NoRoom),
    };
    let inner = Inner {
        tos,
        ttl: packet.ttl.saturating_sub(1),
        df: packet.df && !packet.v6 && tunnel.discovers_mtu,
        ident,
        flow: packet.hash.mixed(),
    };
    tunnel.template(packet.v6).emit(packet_bytes, &inner).map_err(|_| Reason::NoRoom)
}

/// Cuts off the padding, takes one from the time to live, and gives the IP header and the transport's.
#[inline(always)]
fn open_v4<'f>(frame: &'f mut Frame, packet: &Packet) -> Result<(ipv4::HeaderMut<'f>, &'f mut [u8]), Reason> {
    let (header, segment) = cut(frame, packet)?;
    let mut ip = ipv4::HeaderMut::new(header).ok_or(Reason::IpTruncated)?;
    ip.decrement_ttl().ok_or(Reason::TtlExceededQuiet)?;
    Ok((ip, segment))
}

/// The same for IPv6.
#[inline(always)]
fn open_v6<'f>(frame: &'f mut Frame, packet: &Packet) -> Result<(ipv6::HeaderMut<'f>, &'f mut [u8]), Reason> {
    let (header, segment) = cut(frame, packet)?;
    let mut ip = ipv6::HeaderMut::new(header).ok_or(Reason::IpTruncated)?;
    ip.decrement_hop_limit().ok_or(Reason::TtlExceededQuiet)?;
    Ok((ip, segment))
}

#[inline(always)]
fn cut<'f>(frame: &'f mut Frame, packet: &Packet) -> Result<(&'f mut [u8], &'f mut [u8]), Reason> {
    let (l3, l4) = (usize::from(packet.l3), usize::from(packet.l4));
    frame.set_len(l3 + usize::from(packet.len)).map_err(|_| Reason::NoRoom)?;
    let (front, segment) = frame.bytes_mut().split_at_mut_checked(l4).ok_or(Reason::IpHeaderLength)?;
    Ok((front.get_mut(l3..).ok_or(Reason::IpTruncated)?, segment))
}

#[derive(Clone, Copy)]
enum Port {
    Source(u16),
    Destination(u16),
}

/// Sets a port and brings the checksum in step with it and with the change of the address.
#[inline(always)]
fn rewrite_port(segment: &mut [u8], proto: Proto, port: Port, delta: Delta) -> Result<(), Reason> {
    match proto {
        Proto::Tcp => {
            let mut header = tcp::HeaderMut::new(segment).ok_or(Reason::TcpTruncated)?;
            match port {
                Port::Source(port) => header.rewrite_sport(port, delta),
                Port::Destination(port) => header.rewrite_dport(port, delta),
            }
        }
        Proto::Udp => {
            let mut header = udp::HeaderMut::new(segment).ok_or(Reason::UdpTruncated)?;
            match port {
                Port::Source(port) => header.rewrite_sport(port, delta),
                Port::Destination(port) => header.rewrite_dport(port, delta),
            }
        }
    }
    Ok(())
}
