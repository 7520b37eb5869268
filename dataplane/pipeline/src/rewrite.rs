//! What the forwarding methods do to a frame. All take one from the time to live, which the caller has checked,
//! and cut off what Ethernet padded. The Ethernet header is written later, with the next hop.

use crate::parse::{L3, Packet};
use crate::reason::Reason;
use crate::snapshot::Destination;
use sheave_frame::Frame;
use sheave_proto::wire::checksum::Delta;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::{ipip, ipv4, tcp, udp};
use std::net::{IpAddr, Ipv4Addr};

/// Bytes of the outer header.
const OUTER: u16 = 20;
const _: () = assert!(OUTER as usize == ipip::OVERHEAD);

/// NAT, to the real server: destination address and port.
#[inline]
pub(crate) fn nat_in(frame: &mut Frame, packet: &Packet, to: &Destination) -> Result<(), Reason> {
    let IpAddr::V4(real) = to.addr else { return Err(Reason::NoRoute) };
    let (mut ip, segment) = open(frame, packet)?;
    let delta = ip.rewrite_dst(real);
    rewrite_port(segment, packet.proto, Port::Destination(to.port), delta)
}

/// NAT, to the client: source address and port become the VIP's again.
#[inline]
pub(crate) fn nat_out(frame: &mut Frame, packet: &Packet, vip: (Ipv4Addr, u16)) -> Result<(), Reason> {
    let (mut ip, segment) = open(frame, packet)?;
    let delta = ip.rewrite_src(vip.0);
    rewrite_port(segment, packet.proto, Port::Source(vip.1), delta)
}

/// Direct routing: the packet stays as it is.
#[inline]
pub(crate) fn direct(frame: &mut Frame, packet: &Packet) -> Result<(), Reason> {
    open(frame, packet).map(|_| ())
}

/// Tunnelling: an outer header in front.
///
/// ```text
///   | Ethernet | packet                        |
///   | room, 14 | outer IPv4, 20 | packet       |     grown by 20 bytes to the front
/// ```
#[inline]
pub(crate) fn tunnel(frame: &mut Frame, packet: &Packet, to: &Destination, ident: u16) -> Result<(), Reason> {
    let (Some(IpAddr::V4(src)), IpAddr::V4(dst)) = (to.tunnel_source, to.addr) else {
        return Err(Reason::NoRoute);
    };
    let inner_len = u16::try_from(packet.ip.total_len).map_err(|_| Reason::NoRoom)?;
    open(frame, packet)?;
    let bytes = frame.prepend(OUTER).map_err(|_| Reason::NoRoom)?;
    let outer = bytes.get_mut(L3..).and_then(|b| b.first_chunk_mut()).ok_or(Reason::NoRoom)?;
    let Packet { ip, .. } = packet;
    ipip::Outer { src, dst, tos: ip.tos, ttl: ip.ttl.saturating_sub(1), df: ip.df, ident, inner_len }
        .emit(outer);
    Ok(())
}

/// Cuts off the padding, takes one from the time to live, and gives the IP header and what follows it.
#[inline]
fn open<'f>(frame: &'f mut Frame, packet: &Packet) -> Result<(ipv4::HeaderMut<'f>, &'f mut [u8]), Reason> {
    frame.set_len(L3 + packet.ip.total_len).map_err(|_| Reason::NoRoom)?;
    let bytes = frame.bytes_mut().get_mut(L3..).unwrap_or_default();
    let (header, segment) = bytes.split_at_mut_checked(packet.ip.header_len).ok_or(Reason::IpHeaderLength)?;
    let mut ip = ipv4::HeaderMut::new(header).ok_or(Reason::IpTruncated)?;
    ip.decrement_ttl().ok_or(Reason::TtlExceededQuiet)?;
    Ok((ip, segment))
}

enum Port {
    Source(u16),
    Destination(u16),
}

/// Sets a port and brings the checksum in step with it and with the change of the address.
#[inline]
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
