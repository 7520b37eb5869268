//! Packets as bytes: shapes for the generator, and any packet of the stream written out.
//!
//! ```text
//!   | Ethernet 14 | IPv4 20 or IPv6 40 | UDP 8 or TCP 20 | sequence 4 | time 8 | pattern ...
//! ```
//!
//! The sequence number counts the packets of a flow from 0, in network byte order; the time is the monotonic clock's in
//! ns, in the machine's order. The last byte of the pattern depends on nothing but its place.

use crate::schedule;
use crate::traffic::{Protocol, Traffic};
use sheave_io::lab::{Entry, FIRST_PORT, GeneratorConfig, HEADER, PORT_BITS, SHAPES, Shape};
use std::net::IpAddr;

/// Bytes of the stamp.
pub const STAMP: usize = 12;
const ETHERNET: usize = 14;
const SYN: u8 = 0x02;
const PSH_ACK: u8 = 0x18;

/// Where things stand in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// The transport header.
    pub l4: usize,
    /// The stamp.
    pub stamp: usize,
    /// The last 32 bits of the source address.
    pub host: usize,
    /// The transport checksum.
    pub l4_sum: usize,
    /// The IPv4 header's checksum.
    pub ip_sum: Option<usize>,
}

impl Places {
    /// Those of a packet of this family and transport, without outer headers.
    #[must_use]
    pub fn of(v4: bool, udp: bool) -> Places {
        let l4 = if v4 { ETHERNET + 20 } else { ETHERNET + 40 };
        Places {
            l4,
            stamp: l4 + if udp { 8 } else { 20 },
            host: if v4 { 26 } else { 34 },
            l4_sum: l4 + if udp { 6 } else { 16 },
            ip_sum: v4.then_some(24),
        }
    }

    /// Bytes up to the end of the stamp: the shortest packet there is.
    #[must_use]
    pub fn header(&self) -> usize {
        self.stamp + STAMP
    }
}

/// The byte `at` bytes behind the stamp.
#[must_use]
pub fn pattern(at: usize) -> u8 {
    u8::try_from((at * 7 + 13) & 0xff).unwrap_or(0)
}

/// The sum of bytes as 16-bit words of the machine's order, not folded. An odd last byte counts as if a zero followed.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let rest = odd.first().map_or(0, |last| u64::from(u16::from_ne_bytes([*last, 0])));
    pairs.iter().map(|pair| u64::from(u16::from_ne_bytes(*pair))).sum::<u64>() + rest
}

/// Folds a sum to 16 bits.
#[must_use]
pub fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

/// The sum of a pseudo-header over the two addresses as they stand in the packet.
#[must_use]
pub fn pseudo(addresses: &[u8], protocol: u8, length: usize) -> u64 {
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    sum(addresses) + u64::from(u16::from(protocol).to_be()) + u64::from(length.to_be())
}

/// The shape of the packets of a flood.
pub(crate) const FLOOD: usize = SHAPES - 1;

/// All packets of some traffic.
#[derive(Debug, Clone)]
pub struct Stream {
    traffic: Traffic,
    places: Places,
    shapes: Vec<Shape>,
    round: Vec<Entry>,
}

impl Stream {
    /// The stream of this traffic.
    #[must_use]
    pub fn new(traffic: Traffic) -> Stream {
        let places = Places::of(traffic.to.is_ipv4(), traffic.protocol == Protocol::Udp);
        let sizes = traffic.sizes.0.iter().map(|(size, _)| usize::from(*size) - 4);
        let lengths: Vec<usize> = sizes.map(|length| length.max(places.header())).collect();
        let data = if traffic.protocol == Protocol::Syn { SYN } else { PSH_ACK };
        let mut shapes = vec![Shape::default(); SHAPES];
        for (at, length) in lengths.iter().enumerate() {
            shapes[at] = shape(&traffic, places, *length, data);
            shapes[at + SHAPES / 2] = shape(&traffic, places, *length, SYN);
        }
        if traffic.flood > 0 {
            let mut flood = traffic.clone();
            flood.to.set_port(traffic.to.port().wrapping_add(1));
            shapes[FLOOD] = shape(&flood, places, places.header(), SYN);
        }
        let round = schedule::round(&traffic);
        Stream { traffic, places, shapes, round }
    }

    /// What it is the stream of.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Its shapes.
    #[must_use]
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// One round of it.
    #[must_use]
    pub fn round(&self) -> &[Entry] {
        &self.round
    }

    /// The generator's configuration without a rate, for an interface.
    #[must_use]
    pub fn config(&self, ifindex: u32) -> GeneratorConfig {
        let Traffic { flows, flood, .. } = self.traffic;
        let entries = u32::try_from(self.round.len()).unwrap_or(u32::MAX);
        let (settled, fresh) = if self.traffic.fresh { (0, flows) } else { (flows, entries) };
        let opens = self.traffic.protocol == Protocol::Tcp && flood == 0;
        let opening = if opens { SHAPES / 2 } else { 0 };
        GeneratorConfig {
            ifindex,
            entries,
            first_host: self.traffic.first_host(),
            settled,
            fresh,
            opening: u32::try_from(opening).unwrap_or(0),
            canvas: self.longest(),
            ..GeneratorConfig::default()
        }
    }

    /// What live frames are filled with: the longest packet, all pattern behind its stamp.
    #[must_use]
    pub fn canvas(&self) -> Vec<u8> {
        let header = self.places.header();
        (0..self.longest() as usize).map(|at| at.checked_sub(header).map_or(0, pattern)).collect()
    }

    fn longest(&self) -> u32 {
        self.shapes.iter().map(|shape| shape.length).max().unwrap_or(0)
    }

    /// Mean bytes of a packet, without the frame check sequence.
    #[must_use]
    pub fn mean_length(&self) -> f64 {
        let total: u64 = self.round.iter().map(|e| u64::from(self.shapes[e.shape as usize].length)).sum();
        total as f64 / self.round.len() as f64
    }

    /// Writes the packet at this position of a round into `buffer`, and returns its length. What the generator's program
    /// does, in Rust.
    ///
    /// # Panics
    /// When the buffer is shorter than the packet.
    pub fn write(&self, round: u32, position: usize, time: u64, buffer: &mut [u8]) -> usize {
        let config = self.config(0);
        let entry = self.round[position];
        let shape = &self.shapes[(entry.shape + if round == 0 { config.opening } else { 0 }) as usize];
        let settled = entry.flow < config.settled;
        let flow =
            if settled { entry.flow } else { entry.flow.wrapping_add(round.wrapping_mul(config.fresh)) };
        let seq = if settled { round.wrapping_mul(entry.count).wrapping_add(entry.rank) } else { 0 };
        let host = config.first_host.wrapping_add(flow >> PORT_BITS).to_be_bytes();
        let port = u16::try_from(flow & ((1 << PORT_BITS) - 1)).unwrap_or(0) + FIRST_PORT;
        let Places { l4, stamp, host: host_at, l4_sum, ip_sum } = self.places;
        let length = shape.length as usize;
        let header = self.places.header();
        buffer[..header].copy_from_slice(&shape.header[..header]);
        buffer[host_at..host_at + 4].copy_from_slice(&host);
        buffer[l4..l4 + 2].copy_from_slice(&port.to_be_bytes());
        buffer[stamp..stamp + 4].copy_from_slice(&seq.to_be_bytes());
        buffer[stamp + 4..header].copy_from_slice(&time.to_ne_bytes());
        for (at, byte) in buffer[header..length].iter_mut().enumerate() {
            *byte = pattern(at);
        }
        if let Some(at) = ip_sum {
            let check = !folded(u64::from(shape.ip_sum) + sum(&host));
            buffer[at..at + 2].copy_from_slice(&check.to_ne_bytes());
        }
        let varying = sum(&host) + sum(&port.to_be_bytes()) + sum(&buffer[stamp..header]);
        let mut check = !folded(u64::from(shape.l4_sum) + varying);
        if check == 0 && self.traffic.protocol == Protocol::Udp {
            check = 0xffff;
        }
        buffer[l4_sum..l4_sum + 2].copy_from_slice(&check.to_ne_bytes());
        length
    }
}

/// A shape: everything of a packet but what differs from flow to flow.
fn shape(traffic: &Traffic, places: Places, length: usize, flags: u8) -> Shape {
    let mut packet: Vec<u8> =
        (0..length).map(|at| at.checked_sub(places.header()).map_or(0, pattern)).collect();
    let udp = traffic.protocol == Protocol::Udp;
    let protocol = if udp { 17 } else { 6 };
    packet[..6].copy_from_slice(&traffic.next_hop.0);
    packet[6..12].copy_from_slice(&traffic.source.0);
    let l3 = ip_header(traffic, protocol, length - ETHERNET, &mut packet[12..places.l4]);
    let l4_length = length - places.l4;
    let l4 = &mut packet[places.l4..];
    l4[2..4].copy_from_slice(&traffic.to.port().to_be_bytes());
    if udp {
        l4[4..6].copy_from_slice(&word(l4_length));
    } else {
        // Sequence 1, acknowledgement 1 but in a SYN, window 65535.
        l4[7] = u8::from(flags != SYN);
        l4[11] = u8::from(flags != SYN);
        l4[12..14].copy_from_slice(&[5 << 4, flags]);
        l4[14..16].copy_from_slice(&[0xff, 0xff]);
    }
    let addresses = if traffic.to.is_ipv4() { 26..34 } else { 22..54 };
    let l4_sum = pseudo(&packet[addresses], protocol, l4_length) + sum(&packet[places.l4..]);
    let mut header = [0; HEADER];
    header[..places.header()].copy_from_slice(&packet[..places.header()]);
    Shape {
        length: u32::try_from(length).unwrap_or(0),
        ip_sum: u32::try_from(l3).unwrap_or(0),
        l4_sum: u32::try_from(l4_sum).unwrap_or(0),
        unused: 0,
        header,
    }
}

/// Writes the type of the frame and the IP header, and returns the header's sum.
fn ip_header(traffic: &Traffic, protocol: u8, length: usize, out: &mut [u8]) -> u64 {
    match (traffic.first_client, traffic.to.ip()) {
        (IpAddr::V6(client), IpAddr::V6(to)) => {
            out[..2].copy_from_slice(&[0x86, 0xdd]);
            let header = &mut out[2..];
            header[0] = 6 << 4;
            header[4..6].copy_from_slice(&word(length - 40));
            header[6..8].copy_from_slice(&[protocol, 64]);
            header[8..20].copy_from_slice(&client.octets()[..12]);
            header[24..40].copy_from_slice(&to.octets());
        }
        (_, to) => {
            out[..2].copy_from_slice(&[0x08, 0x00]);
            let header = &mut out[2..];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&word(length));
            header[6] = 0x40;
            header[8..10].copy_from_slice(&[64, protocol]);
            if let IpAddr::V4(to) = to {
                header[16..20].copy_from_slice(&to.octets());
            }
        }
    }
    sum(&out[2..])
}

fn word(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Sizes;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    fn traffic(v4: bool, protocol: Protocol, size: u16) -> Traffic {
        let to = if v4 { "198.18.0.100:80" } else { "[2001:db8:0:18::100]:80" };
        let to = to.parse().expect("address");
        Traffic { protocol, sizes: Sizes::one(size), flows: 100_000, ..Traffic::to(to) }
    }

    proptest! {
        /// An independent parser finds every packet right, its checksums included.
        #[test]
        fn packets_are_right(
            v4: bool, which in 0usize..3, size in 64u16..1519, round in 0u32..3, at in 0usize..100_000, time: u64,
        ) {
            let protocol = [Protocol::Udp, Protocol::Tcp, Protocol::Syn][which];
            let stream = Stream::new(traffic(v4, protocol, size));
            let mut buffer = vec![0xee; 1600];
            let length = stream.write(round, at, time, &mut buffer);
            let packet = SlicedPacket::from_ethernet(&buffer[..length]).expect("parses");
            let entry = stream.round()[at];
            let (source_port, payload) = match (packet.transport, packet.net) {
                (Some(TransportSlice::Udp(udp)), Some(NetSlice::Ipv4(ip))) => {
                    let header = ip.header();
                    prop_assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
                    let right = udp.to_header().calc_checksum_ipv4(&header.to_header(), udp.payload()).expect("short");
                    prop_assert_eq!(udp.checksum(), right);
                    (udp.source_port(), udp.payload())
                }
                (Some(TransportSlice::Udp(udp)), Some(NetSlice::Ipv6(ip))) => {
                    let right = udp.to_header().calc_checksum_ipv6(&ip.header().to_header(), udp.payload());
                    prop_assert_eq!(udp.checksum(), right.expect("short"));
                    (udp.source_port(), udp.payload())
                }
                (Some(TransportSlice::Tcp(tcp)), net) => {
                    let right = match net {
                        Some(NetSlice::Ipv4(ip)) => tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).expect("short"),
                        Some(NetSlice::Ipv6(ip)) => tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).expect("short"),
                        _ => 0,
                    };
                    prop_assert_eq!(tcp.checksum(), right);
                    prop_assert_eq!(tcp.syn(), protocol == Protocol::Syn || round == 0);
                    (tcp.source_port(), tcp.payload())
                }
                other => return Err(TestCaseError::fail(format!("{other:?}"))),
            };
            prop_assert_eq!(u32::from(source_port - FIRST_PORT), entry.flow % (1 << PORT_BITS));
            prop_assert_eq!(&payload[..4], &(round * entry.count + entry.rank).to_be_bytes());
            prop_assert_eq!(&payload[4..12], &time.to_ne_bytes());
            prop_assert!(payload[12..].iter().enumerate().all(|(at, byte)| *byte == pattern(at)));
        }
    }

    #[test]
    fn a_packet_is_these_bytes() {
        let stream = Stream::new(Traffic { flows: 1, ..traffic(true, Protocol::Udp, 64) });
        let mut buffer = [0; 64];
        assert_eq!(stream.write(0, 0, 0x0102_0304_0506_0708, &mut buffer), 60);
        #[rustfmt::skip]
        let expected = [
            2, 0, 0, 0, 0, 0xd0, 2, 0, 0, 0, 0, 0xe0, 8, 0,
            0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0x2e, 0x4b, 198, 18, 128, 0, 198, 18, 0, 100,
            4, 0, 0, 80, 0, 26, 0xba, 0xcc,
            0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 13, 20, 27, 34, 41, 48,
        ];
        assert_eq!(buffer[..24], expected[..24]);
        assert_eq!(buffer[26..40], expected[26..40]);
        assert_eq!(buffer[42..60], expected[42..60]);
    }
}
