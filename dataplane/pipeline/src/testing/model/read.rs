//! What a frame is, as the model reads it: with etherparse, header by header.

use etherparse::{Ethernet2Slice, Ipv4HeaderSlice, Ipv6HeaderSlice, SingleVlanSlice};
use std::net::IpAddr;

/// What a frame turned out to be.
#[derive(Debug)]
pub(super) enum Read {
    /// Not even Ethernet, or tags that end early.
    Nothing,
    /// An IP packet, or what its Ethernet type says is one.
    Ip(Link, Result<Ip, Bad>),
    /// Anything else, by its Ethernet type.
    Other(Link, u16),
}

/// The Ethernet header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) dst: [u8; 6],
}

/// An IP header that cannot be read.
#[derive(Debug)]
pub(super) struct Bad;

/// An IP packet.
#[derive(Debug, Clone)]
pub(super) struct Ip {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) protocol: u8,
    /// Where it begins in the frame.
    pub(super) l3: usize,
    /// Where what its last header announces begins in the frame.
    pub(super) l4: usize,
    /// Bytes that its header claims.
    pub(super) len: usize,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) df: bool,
    pub(super) fragment: Option<Fragment>,
    /// Whether as many bytes are there as its header claims.
    pub(super) whole: bool,
    /// Whether the header's checksum is right; IPv6 has none.
    pub(super) sum_ok: bool,
    pub(super) ports: Option<(u16, u16)>,
    pub(super) transport: Transport,
}

/// Which part of a datagram it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Bytes of the datagram before it.
    pub(super) offset: usize,
    pub(super) more: bool,
    pub(super) id: u32,
    /// Where its part of the datagram begins, in bytes from the beginning of the packet.
    pub(super) data: usize,
}

/// What is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// A TCP segment: flags, sequence and acknowledgement numbers, bytes of payload.
    Tcp { flags: u8, seq: u32, ack: u32, payload: usize },
    /// A datagram.
    Udp,
    /// TCP or UDP with lengths that contradict each other.
    Broken,
    /// Anything else.
    Other,
}

pub(super) fn read(frame: &[u8]) -> Read {
    let Ok(ether) = Ethernet2Slice::from_slice_without_fcs(frame) else { return Read::Nothing };
    let (mut kind, mut at) = (ether.ether_type().0, 14);
    for _ in 0..2 {
        if !matches!(kind, 0x8100 | 0x88a8) {
            break;
        }
        let Ok(tag) = SingleVlanSlice::from_slice(&frame[at..]) else { return Read::Nothing };
        (kind, at) = (tag.ether_type().0, at + 4);
    }
    let link = Link { dst: ether.destination() };
    match kind {
        0x0800 => Read::Ip(link, v4(frame, at)),
        0x86dd => Read::Ip(link, v6(frame, at)),
        other => Read::Other(link, other),
    }
}

/// The packet that begins somewhere in a message, as much of it as is there.
pub(super) fn quoted(message: &[u8], at: usize, is_v4: bool) -> Result<Ip, Bad> {
    if at > message.len() {
        return Err(Bad);
    }
    if is_v4 { v4(message, at) } else { v6(message, at) }
}

fn v4(frame: &[u8], l3: usize) -> Result<Ip, Bad> {
    let packet = &frame[l3..];
    let header = Ipv4HeaderSlice::from_slice(packet).map_err(|_| Bad)?;
    let (len, header_len) = (usize::from(header.total_len()), header.slice().len());
    if len < header_len {
        return Err(Bad);
    }
    let fragment = Fragment {
        offset: usize::from(header.fragments_offset().value()) * 8,
        more: header.more_fragments(),
        id: header.identification().into(),
        data: header_len,
    };
    let mut ip = Ip {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        protocol: header.protocol().0,
        l3,
        l4: l3 + header_len,
        len,
        ttl: header.ttl(),
        tos: header.dcp().value() << 2 | header.ecn().value(),
        df: header.dont_fragment(),
        fragment: (fragment.offset != 0 || fragment.more).then_some(fragment),
        whole: len <= packet.len(),
        sum_ok: super::sums::folded(header.slice(), 0) == 0xffff,
        ports: None,
        transport: Transport::Other,
    };
    ip.look_inside(frame);
    Ok(ip)
}

fn v6(frame: &[u8], l3: usize) -> Result<Ip, Bad> {
    let packet = &frame[l3..];
    let header = Ipv6HeaderSlice::from_slice(packet).map_err(|_| Bad)?;
    let len = 40 + usize::from(header.payload_length());
    let (mut protocol, mut at, mut seen) = (header.next_header().0, 40, 0);
    let mut fragment: Option<Fragment> = None;
    let end = len.min(packet.len());
    // RFC 8200 §4: hop-by-hop options first, at most one fragment header; nothing behind that of a later fragment.
    while matches!(protocol, 0 | 43 | 44 | 51 | 60) && fragment.is_none_or(|f| f.offset == 0) {
        let rest = packet.get(at..end).ok_or(Bad)?;
        let [next, units, word @ .., a, b, c, d] = rest.first_chunk::<8>().ok_or(Bad)?;
        seen += 1;
        if seen > 8 || (protocol == 0 && at != 40) || (protocol == 43 && word[1] != 0) {
            return Err(Bad);
        }
        let length = match protocol {
            44 if fragment.is_some() => return Err(Bad),
            44 => {
                let word = u16::from_be_bytes(*word);
                fragment = Some(Fragment {
                    offset: usize::from(word & 0xfff8),
                    more: word & 1 != 0,
                    id: u32::from_be_bytes([*a, *b, *c, *d]),
                    data: at + 8,
                });
                8
            }
            51 if *units == 0 => return Err(Bad),
            51 => (usize::from(*units) + 2) * 4,
            _ => (usize::from(*units) + 1) * 8,
        };
        (protocol, at) = (*next, at + length);
        if at > end {
            return Err(Bad);
        }
    }
    let mut ip = Ip {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        protocol,
        l3,
        l4: l3 + at,
        len,
        ttl: header.hop_limit(),
        tos: header.traffic_class(),
        df: true,
        fragment: fragment.filter(|fragment| fragment.offset != 0 || fragment.more),
        whole: len <= packet.len(),
        sum_ok: true,
        ports: None,
        transport: Transport::Other,
    };
    ip.look_inside(frame);
    Ok(ip)
}

impl Ip {
    /// Bytes behind the last header, as far as they are there.
    pub(super) fn segment<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        frame.get(self.l4..(self.l3 + self.len).min(frame.len())).unwrap_or_default()
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.protocol == 6
    }

    pub(super) fn flags(&self) -> u8 {
        match self.transport {
            Transport::Tcp { flags, .. } => flags,
            _ => 0,
        }
    }

    /// Whether the transport header is not in it.
    pub(super) fn is_later(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }

    fn look_inside(&mut self, frame: &[u8]) {
        if !matches!(self.protocol, 6 | 17) || self.is_later() {
            return;
        }
        let segment = self.segment(frame);
        self.transport = Transport::Broken;
        let word = |at: usize| Some(u16::from_be_bytes(*segment.get(at..)?.first_chunk()?));
        self.ports = word(0).zip(word(2));
        if self.protocol == 6 {
            if let Ok(tcp) = etherparse::TcpSlice::from_slice(segment) {
                self.transport = Transport::Tcp {
                    flags: segment[13],
                    seq: tcp.sequence_number(),
                    ack: tcp.acknowledgment_number(),
                    payload: tcp.payload().len(),
                };
            }
        } else if let Some(len) = word(4).map(usize::from)
            && segment.len() >= 8
            && len >= 8
            && (len <= segment.len() || self.fragment.is_some())
        {
            self.transport = Transport::Udp;
        }
    }
}
