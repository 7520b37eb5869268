//! The IP header of either family, read with care: for what is not a plain packet of a known flow, and for what is
//! needed seldom.

use sheave_proto::wire::eth::ethertype;
use sheave_proto::wire::ipv4::{self, Ipv4Error};
use sheave_proto::wire::{Malformed, ipv6};
use std::net::IpAddr;

/// What an IP header says, extension headers included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ip {
    /// Source.
    pub(crate) src: IpAddr,
    /// Destination.
    pub(crate) dst: IpAddr,
    /// What follows the last header: an IANA protocol number.
    pub(crate) protocol: u8,
    /// Where that begins, in bytes from the start of the packet.
    pub(crate) l4: usize,
    /// Bytes of the packet, without padding.
    pub(crate) len: usize,
    /// Time to live, hop limit.
    pub(crate) ttl: u8,
    /// Whether nobody on the way may fragment it: IPv6 always.
    pub(crate) df: bool,
    /// Which piece of a datagram it is, unless it is a whole one.
    pub(crate) fragment: Option<Fragment>,
}

/// A piece of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Bytes of the datagram's payload before it.
    pub(crate) offset: usize,
    /// Whether more come behind it.
    pub(crate) more: bool,
    /// Which datagram: together with the addresses and the protocol.
    pub(crate) id: u32,
    /// Where its data begins, in bytes from the start of the packet.
    pub(crate) data: usize,
}

/// Why a header could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadIp {
    /// Cut short.
    Truncated,
    /// Not the version that the Ethernet type says.
    Version,
    /// The header's length is impossible.
    HeaderLength,
    /// The packet's length is impossible.
    TotalLength,
    /// IPv6 extension headers that lead nowhere.
    Extensions,
}

impl Ip {
    /// Reads the header of `packet`, which may go on behind the IP packet (padding), or end before it does.
    pub(crate) fn read(ether_type: u16, packet: &[u8]) -> Result<Ip, BadIp> {
        if ether_type == ethertype::IPV6 { Ip::read_v6(packet) } else { Ip::read_v4(packet) }
    }

    fn read_v4(packet: &[u8]) -> Result<Ip, BadIp> {
        let ip = ipv4::parse_quoted(packet).map_err(|error| match error {
            Ipv4Error::BadVersion => BadIp::Version,
            Ipv4Error::Truncated if packet.len() < ipv4::HEADER_LEN => BadIp::Truncated,
            Ipv4Error::BadHeaderLength | Ipv4Error::Truncated => BadIp::HeaderLength,
            Ipv4Error::BadTotalLength | Ipv4Error::BadChecksum => BadIp::TotalLength,
        })?;
        let fragment = Fragment {
            offset: usize::from(ip.frag_offset),
            more: ip.mf,
            id: u32::from(ip.ident),
            data: ip.header_len,
        };
        Ok(Ip {
            src: ip.src.into(),
            dst: ip.dst.into(),
            protocol: ip.protocol,
            l4: ip.header_len,
            len: ip.total_len,
            ttl: ip.ttl,
            df: ip.df,
            fragment: ip.is_fragment().then_some(fragment),
        })
    }

    fn read_v6(packet: &[u8]) -> Result<Ip, BadIp> {
        let ip = ipv6::parse_quoted(packet).map_err(|error| match error {
            Malformed::BadVersion => BadIp::Version,
            Malformed::Truncated | Malformed::BadLength => BadIp::Truncated,
        })?;
        let upper = ip.upper(packet).map_err(|_| BadIp::Extensions)?;
        let fragment = upper.fragment.filter(|fragment| !fragment.is_atomic());
        let data = match fragment {
            Some(_) => ip.fragmented(packet).map_err(|_| BadIp::Extensions)?,
            None => None,
        };
        Ok(Ip {
            src: ip.src.into(),
            dst: ip.dst.into(),
            protocol: upper.protocol,
            l4: upper.offset,
            len: ip.total_len(),
            ttl: ip.hop_limit,
            df: true,
            fragment: fragment.map(|fragment| Fragment {
                offset: usize::from(fragment.offset),
                more: fragment.more,
                id: fragment.id,
                data: data.unwrap_or(upper.offset),
            }),
        })
    }

    /// The destination in a header that is otherwise broken, if that much is there.
    pub(crate) fn destination(ether_type: u16, packet: &[u8]) -> Option<IpAddr> {
        if ether_type == ethertype::IPV6 {
            let octets: [u8; 16] = *packet.get(24..40)?.first_chunk()?;
            return Some(IpAddr::from(octets));
        }
        let octets: [u8; 4] = *packet.get(16..20)?.first_chunk()?;
        Some(IpAddr::from(octets))
    }

    /// What follows the last header, as far as it is there.
    pub(crate) fn payload<'p>(&self, packet: &'p [u8]) -> &'p [u8] {
        packet.get(self.l4..self.len.min(packet.len())).unwrap_or_default()
    }

    /// Whether it begins where its datagram begins, so that the transport header is in it.
    pub(crate) fn has_ports(&self) -> bool {
        self.fragment.is_none_or(|fragment| fragment.offset == 0)
    }
}
