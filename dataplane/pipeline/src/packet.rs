//! A packet of a flow that concerns us, as far as its handling needs to know it again and again. What is needed
//! seldom is read from the frame again: see [`crate::ip`].

use crate::ip::Ip;
use crate::key::Key;
use crate::tables::Place;
use sheave_frame::Frame;
use sheave_proto::wire::eth::ethertype;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;
use sheave_table::Hash;

/// A TCP or UDP packet with the key of its entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    /// Key of the entry that this direction is found by.
    pub(crate) key: Key,
    /// Its hash.
    pub(crate) hash: Hash,
    /// Where an earlier stage found the entry: to be confirmed.
    pub(crate) hint: Option<Place>,
    /// Where the IP header begins in the frame.
    pub(crate) l3: u16,
    /// Where the transport header begins in the frame.
    pub(crate) l4: u16,
    /// Bytes of the IP packet, without padding.
    pub(crate) len: u16,
    /// Source port.
    pub(crate) sport: u16,
    /// Destination port.
    pub(crate) dport: u16,
    /// Transport protocol.
    pub(crate) proto: Proto,
    /// TCP flags; none for UDP.
    pub(crate) flags: TcpFlags,
    /// Time to live, hop limit.
    pub(crate) ttl: u8,
    /// Whether it is IPv6.
    pub(crate) v6: bool,
    /// IPv4: don't fragment. IPv6 routers never do.
    pub(crate) df: bool,
}

impl Packet {
    /// What an IP packet at `l3` in its frame is where it takes part in a flow without being of it, as a later fragment or
    /// an error: with that flow's key, protocol and ports.
    pub(crate) fn along(
        (key, hash): (Key, Hash),
        proto: Proto,
        ports: (u16, u16),
        (l3, ip): (usize, &Ip),
    ) -> Packet {
        // Offsets within a frame and lengths of a packet are below 2^16.
        let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        Packet {
            key,
            hash,
            hint: None,
            l3: short(l3),
            l4: short(l3 + ip.l4),
            len: short(ip.len),
            sport: ports.0,
            dport: ports.1,
            proto,
            flags: TcpFlags::default(),
            ttl: ip.ttl,
            v6: ip.src.is_ipv6(),
            df: ip.df,
        }
    }

    /// Bytes as counted: the IP packet, without padding.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.len)
    }

    /// Its IP header, read from its frame again.
    pub(crate) fn ip(&self, frame: &Frame) -> Option<Ip> {
        Ip::read(self.ether_type(), frame.bytes().get(usize::from(self.l3)..)?).ok()
    }

    /// The Ethernet type of its family.
    pub(crate) const fn ether_type(&self) -> u16 {
        if self.v6 { ethertype::IPV6 } else { ethertype::IPV4 }
    }

    /// Whether it opens a connection: UDP always, TCP with a SYN and nothing that contradicts it.
    #[inline]
    pub(crate) fn opens(&self) -> bool {
        const CONTRADICTED: u8 = TcpFlags::ACK.0 | TcpFlags::RST.0 | TcpFlags::FIN.0;
        match self.proto {
            Proto::Udp => true,
            Proto::Tcp => self.flags.0 & (TcpFlags::SYN.0 | CONTRADICTED) == TcpFlags::SYN.0,
        }
    }
}
