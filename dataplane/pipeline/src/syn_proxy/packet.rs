//! Packets of the proxy's own: described, then written.

use sheave_proto::wire::flow::{FlowKey, Proto};
use sheave_proto::wire::tcp::{self, TcpFlags};
use sheave_proto::wire::tcp_options::{MAX_SYN_LEN, SynOptions};
use sheave_proto::wire::{TooSmall, ipv4, ipv6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Time to live, or hop limit, of what the director sends by itself.
const TTL: u8 = 64;

/// A TCP packet without payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// From where to where.
    pub flow: FlowKey,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; 0 where it does not count.
    pub ack: u32,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, as in the header.
    pub window: u16,
    /// Options.
    pub options: SynOptions,
}

impl Packet {
    /// Bytes of the longest, IP header included.
    pub const MAX_LEN: usize = ipv6::HEADER_LEN + MAX_SYN_LEN;

    /// Nothing yet, for a flow.
    pub(super) fn of(flow: FlowKey) -> Packet {
        let flags = TcpFlags::default();
        Packet { flow, seq: 0, ack: 0, flags, window: 0, options: SynOptions::default() }
    }

    /// Writes the packet from its IP header on, and returns its length.
    ///
    /// # Errors
    /// [`TooSmall`] when `bytes` do not hold it. [`Packet::MAX_LEN`] do. One whose addresses are of two
    /// families is no packet either.
    pub fn write(&self, bytes: &mut [u8]) -> Result<usize, TooSmall> {
        debug_assert_eq!(self.flow.proto, Proto::Tcp);
        match (self.flow.src, self.flow.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.write_v4(bytes, src, dst),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.write_v6(bytes, src, dst),
            _ => Err(TooSmall),
        }
    }

    fn write_v4(&self, bytes: &mut [u8], src: Ipv4Addr, dst: Ipv4Addr) -> Result<usize, TooSmall> {
        let mut segment = [0; MAX_SYN_LEN];
        let len = self.options.emit(&self.segment(), &mut segment, src, dst);
        let (header, rest) = bytes.split_first_chunk_mut().ok_or(TooSmall)?;
        put(rest, &segment, len)?;
        let total = ipv4::HEADER_LEN + len;
        let total_len = u16::try_from(total).map_err(|_| TooSmall)?;
        // RFC 6864 §4.1: what may not be fragmented needs no identification.
        let protocol = ipv4::protocol::TCP;
        ipv4::Header { tos: 0, total_len, ident: 0, df: true, ttl: TTL, protocol, src, dst }.emit(header);
        Ok(total)
    }

    fn write_v6(&self, bytes: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) -> Result<usize, TooSmall> {
        let mut segment = [0; MAX_SYN_LEN];
        let len = self.options.emit(&self.segment(), &mut segment, src, dst);
        let (header, rest) = bytes.split_first_chunk_mut().ok_or(TooSmall)?;
        put(rest, &segment, len)?;
        let payload_len = u16::try_from(len).map_err(|_| TooSmall)?;
        let next_header = ipv6::next_header::TCP;
        ipv6::Header { traffic_class: 0, flow_label: 0, payload_len, next_header, hop_limit: TTL, src, dst }
            .emit(header);
        Ok(ipv6::HEADER_LEN + len)
    }

    fn segment(&self) -> tcp::Segment {
        let Packet { flow: FlowKey { sport, dport, .. }, seq, ack, flags, window, .. } = *self;
        tcp::Segment { sport, dport, seq, ack, flags, window }
    }
}

/// The first `len` bytes of a segment.
fn put(bytes: &mut [u8], segment: &[u8], len: usize) -> Result<(), TooSmall> {
    let (to, from) = (bytes.get_mut(..len).ok_or(TooSmall)?, segment.get(..len).ok_or(TooSmall)?);
    to.copy_from_slice(from);
    Ok(())
}
