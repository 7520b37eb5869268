//! An ICMP error on its way through a NAT.

use super::error::{IcmpError, Unusable};
use sheave_proto::wire::checksum::Delta;
use sheave_proto::wire::flow::Side;
use sheave_proto::wire::{icmpv4, icmpv6, ipv4, ipv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which way an error travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// From the client's side: it quotes what the real server sent, by then from the VIP.
    Real,
    /// From the real server's side: it quotes what the client sent, by then to the real server.
    Client,
}

impl Towards {
    /// The end of the quoted flow that changes. Of the outer header it is the other one.
    const fn quoted_side(self) -> Side {
        match self {
            Towards::Real => Side::Source,
            Towards::Client => Side::Destination,
        }
    }
}

/// Translates the error that was [`read`](super::read) from `packet`: towards the real server, `addr` and `port` are
/// the real server's; towards the client they are the VIP's, and the error comes from the VIP then, whoever sent it.
///
/// The checksums of the outer header, of the message and of the quoted IPv4 header are right afterwards; that of the
/// quoted transport header stays as it is.
///
/// # Errors
/// [`Unusable`] as [`IcmpError::embedded`], and [`Unusable::QuoteMalformed`] when `addr` is of another family;
/// nothing is changed then.
pub fn translate(
    packet: &mut [u8],
    error: &IcmpError,
    towards: Towards,
    addr: IpAddr,
    port: u16,
) -> Result<(), Unusable> {
    error.embedded(packet)?;
    match (error.src, addr) {
        (IpAddr::V4(_), IpAddr::V4(addr)) => translate_v4(packet, error, towards, addr, port),
        (IpAddr::V6(_), IpAddr::V6(addr)) => translate_v6(packet, error, towards, addr, port),
        _ => None,
    }
    .ok_or(Unusable::QuoteMalformed)
}

/// Adds to the sequence number of the TCP segment that the error quotes, for a sender that counts otherwise than whoever
/// the error comes from has seen. The checksum of the message stays right; a quote that ends before stays as it is.
///
/// # Errors
/// [`Unusable`] as [`IcmpError::embedded`]; nothing is changed then.
pub fn renumber(packet: &mut [u8], error: &IcmpError, add: u32) -> Result<(), Unusable> {
    let at = error.embedded(packet)?.transport + 4;
    let message = packet.get_mut(error.message..error.end).ok_or(Unusable::Malformed)?;
    let offset = at.checked_sub(error.message).ok_or(Unusable::QuoteMalformed)?;
    let Some(field) = message.get_mut(offset..).and_then(|bytes| bytes.first_chunk_mut::<4>()) else {
        return Ok(());
    };
    let old = u32::from_be_bytes(*field);
    let new = old.wrapping_add(add);
    *field = new.to_be_bytes();
    // Headers are multiples of two bytes long: the number begins at an even offset.
    let sum =
        message.get_mut(2..).and_then(|bytes| bytes.first_chunk_mut::<2>()).ok_or(Unusable::Malformed)?;
    *sum = Delta::NONE.word32(old, new).apply(u16::from_be_bytes(*sum)).to_be_bytes();
    Ok(())
}

fn translate_v4(
    packet: &mut [u8],
    error: &IcmpError,
    towards: Towards,
    addr: Ipv4Addr,
    port: u16,
) -> Option<()> {
    let message = packet.get_mut(error.message..error.end)?;
    icmpv4::rewrite_quoted(message, towards.quoted_side(), addr, port).ok()?;
    let mut ip = ipv4::HeaderMut::new(packet)?;
    // ICMP has no pseudo-header: the change of the address is none of its checksum.
    let _ = match towards {
        Towards::Real => ip.rewrite_dst(addr),
        Towards::Client => ip.rewrite_src(addr),
    };
    Some(())
}

fn translate_v6(
    packet: &mut [u8],
    error: &IcmpError,
    towards: Towards,
    addr: Ipv6Addr,
    port: u16,
) -> Option<()> {
    let message = packet.get_mut(error.message..error.end)?;
    icmpv6::rewrite_quoted(message, towards.quoted_side(), addr, port).ok()?;
    let mut ip = ipv6::HeaderMut::new(packet)?;
    let delta = match towards {
        Towards::Real => ip.rewrite_dst(addr),
        Towards::Client => ip.rewrite_src(addr),
    };
    icmpv6::update_checksum(packet.get_mut(error.message..error.end)?, delta);
    Some(())
}
