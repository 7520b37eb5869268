//! Random traffic in a small world, where everything meets often: few clients, few ports, all flags.

use super::Model;
use super::sums::seal_v4;
use crate::snapshot::{Method, Ports};
use crate::testing::site::{
    CLIENT_SIDE, DIRECTOR, NAT_REAL_PORT, SERVER_SIDE, Service, Site, real, real6, vip,
};
use crate::testing::{Error, Packet, cut};
use etherparse::PacketBuilder;
use sheave_frame::PortId;
use sheave_proto::wire::flow::Proto;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Numbers that look random, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall as this seed says.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        usize::try_from(self.number() % sides.max(1) as u64).expect("below a usize")
    }

    /// True once in `sides` times.
    pub fn once_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }

    /// A number below `sides`, 255 at most.
    pub fn small(&mut self, sides: usize) -> u8 {
        u8::try_from(self.roll(sides)).expect("a small number")
    }
}

/// Flags of segments, the usual ones more often.
const FLAGS: [u8; 20] = [
    0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x10, 0x10, 0x10, 0x18, 0x12, 0x11, 0x11, 0x04, 0x14, 0x00, 0x03,
    0x01, 0x06, 0x17,
];

/// Where frames come from.
#[derive(Debug)]
pub struct Traffic {
    /// What chooses them.
    pub dice: Dice,
    /// Some of the last frames, for retransmissions.
    recent: VecDeque<(PortId, Vec<u8>)>,
    /// Fragments that are still to come.
    pieces: Vec<(PortId, Vec<u8>)>,
}

impl Traffic {
    /// The traffic of a seed.
    pub fn new(seed: u64) -> Traffic {
        Traffic { dice: Dice::new(seed), recent: VecDeque::new(), pieces: Vec::new() }
    }

    /// The next frame, with the interface that it comes in on.
    pub fn frame(&mut self, site: &Site, model: &Model) -> (PortId, Vec<u8>) {
        if !self.pieces.is_empty() && self.dice.once_in(3) {
            // Late ones do not come in order, and some come twice.
            let at = self.dice.roll(self.pieces.len());
            let again = self.dice.once_in(12);
            return if again { self.pieces[at].clone() } else { self.pieces.swap_remove(at) };
        }
        let frame = match self.dice.roll(100) {
            0..4 => self.in_pieces(site, model),
            4..58 => self.of_client(site),
            58..84 => self.of_real(site, model),
            84..90 if !self.recent.is_empty() => self.dice.pick(self.recent.make_contiguous()).clone(),
            90..92 => self.echo(site),
            92..95 => self.complaint(site, model),
            _ => self.stray(site),
        };
        self.recent.push_back(frame.clone());
        if self.recent.len() > 16 {
            self.recent.pop_front();
        }
        frame
    }

    fn client(&mut self, v4: bool) -> (IpAddr, u16) {
        let n = 1 + self.dice.small(6);
        let port = if self.dice.once_in(200) { 20 } else { 1000 + u16::from(self.dice.small(12)) };
        let addr = if v4 {
            Ipv4Addr::new(192, 0, 2, n).into()
        } else {
            Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, n.into()).into()
        };
        (addr, port)
    }

    /// A datagram in fragments, the first of which may be any.
    fn in_pieces(&mut self, site: &Site, model: &Model) -> (PortId, Vec<u8>) {
        let whole = if self.dice.once_in(3) { self.answer(model) } else { self.question(site) };
        let Some(mut whole) = whole else { return self.stray(site) };
        let dice = &mut self.dice;
        if dice.once_in(3) {
            whole.flags = 0x02;
        }
        // The larger ones do not fit into what is narrow, in pieces either.
        let (most, step) = *dice.pick(&[(300, 64), (300, 200), (900, 400), (4000, 1440)]);
        let len = 40 + dice.roll(most);
        whole.payload = (0..len).map(|_| dice.small(256)).collect();
        whole.ttl = if dice.once_in(40) { dice.small(3) } else { 2 + dice.small(254) };
        whole.tos = dice.small(256);
        whole.df = false;
        // Few enough for datagrams to have the name of another.
        let id = u32::from(dice.small(12));
        let frame = whole.bytes();
        let mut all = cut(&frame, step, id);
        if dice.once_in(10) {
            // One that overlaps, unless it is left out again.
            let other = cut(&frame, step + 8, id);
            all.push(dice.pick(&other).clone());
        }
        if dice.once_in(8) {
            all.swap_remove(dice.roll(all.len()));
        }
        self.pieces.extend(all.into_iter().map(|piece| (whole.port, piece)));
        let at = self.dice.roll(self.pieces.len());
        if self.pieces.is_empty() { self.stray(site) } else { self.pieces.swap_remove(at) }
    }

    fn of_client(&mut self, site: &Site) -> (PortId, Vec<u8>) {
        match self.question(site) {
            Some(packet) => self.dress(packet),
            None => self.stray(site),
        }
    }

    /// A packet from a client to a service.
    fn question(&mut self, site: &Site) -> Option<Packet> {
        let listens = self.service(site)?.listens();
        let (vip, ports, proto) = *self.dice.pick(&listens);
        let port = match ports {
            Ports::One(port) => port,
            Ports::Range(first, last) => first + u16::from(self.dice.small(usize::from(last - first) + 1)),
            Ports::Any => 7000 + u16::from(self.dice.small(3)),
        };
        let client = self.client(vip.is_ipv4());
        let flags = *self.dice.pick(&FLAGS);
        Some(Packet::from_client(proto, client, (vip, port), flags))
    }

    /// A packet from a real server to the client of a connection.
    fn answer(&mut self, model: &Model) -> Option<Packet> {
        let flags = *self.dice.pick(&FLAGS);
        let client = self.client(self.dice.0 & 1 == 0);
        let (protocol, client, from) = model.some_connection(client)?;
        let proto = if protocol == 6 { Proto::Tcp } else { Proto::Udp };
        Some(Packet::from_real(proto, from, client, flags))
    }

    fn service<'s>(&mut self, site: &'s Site) -> Option<&'s Service> {
        let all: Vec<&Service> = site.services.iter().filter(|service| !service.removed).collect();
        (!all.is_empty()).then(|| *self.dice.pick(&all))
    }

    fn of_real(&mut self, site: &Site, model: &Model) -> (PortId, Vec<u8>) {
        if !self.dice.once_in(6)
            && let Some(answer) = self.answer(model)
        {
            return self.dress(answer);
        }
        let flags = *self.dice.pick(&FLAGS);
        let proto = *self.dice.pick(&[Proto::Tcp, Proto::Tcp, Proto::Udp]);
        // Anybody's: a real server's own business, most of the time.
        let destinations: Vec<_> = site.services.iter().flat_map(|s| &s.destinations).collect();
        if destinations.is_empty() {
            return self.stray(site);
        }
        let d = *self.dice.pick(&destinations);
        let to = if self.dice.once_in(10) && d.addr.is_ipv4() {
            (DIRECTOR[1].into(), 5000)
        } else {
            self.client(d.addr.is_ipv4())
        };
        self.dress(Packet::from_real(proto, (d.addr, d.port.unwrap_or(7001)), to, flags))
    }

    /// Gives a packet what varies: payload, time to live, tags, padding, a few oddities.
    fn dress(&mut self, mut packet: Packet) -> (PortId, Vec<u8>) {
        let dice = &mut self.dice;
        let len = match dice.roll(30) {
            0 => 1200 + dice.roll(260),
            1 => 560 + dice.roll(20),
            _ => dice.roll(40),
        };
        packet.payload = (0..len).map(|_| dice.small(256)).collect();
        packet.ttl = if dice.once_in(60) { dice.small(3) } else { 2 + dice.small(254) };
        packet.tos = dice.small(256);
        packet.df = !dice.once_in(3);
        (packet.seq, packet.ack) = (dice.small(256).into(), dice.small(256).into());
        match dice.roll(40) {
            0 => packet.tags = vec![7],
            1 => packet.tags = vec![100, 7],
            2 => packet.src = SocketAddr::new(odd_source(dice, &packet), packet.src.port()),
            _ => {}
        }
        let (port, mut bytes) = packet.framed();
        let l3 = 14 + 4 * packet.tags.len();
        match dice.roll(40) {
            0 if packet.src.is_ipv4() => with_options(&mut bytes, l3),
            0 | 1 if packet.src.is_ipv6() => with_extension(&mut bytes, l3),
            2 | 3 if packet.proto == Proto::Udp => {
                let at = l3 + if packet.src.is_ipv4() { 26 } else { 46 };
                bytes[at..at + 2].fill(0);
            }
            4 => {
                // A wrong checksum stays as wrong.
                let last = bytes.len() - 1;
                bytes[last] ^= 1 << dice.small(8);
            }
            5 => bytes[5] ^= 1,
            6 => bytes[..6].fill(0xff),
            7 if packet.src.is_ipv4() => bytes[l3 + 10] ^= 1,
            _ => {}
        }
        if bytes.len() < 60 && dice.once_in(2) {
            bytes.resize(60, 0);
        }
        (port, bytes)
    }

    /// An echo request to a VIP, or something like one.
    fn echo(&mut self, site: &Site) -> (PortId, Vec<u8>) {
        let Some(vip) = self.service(site).map(|service| service.vip) else { return self.stray(site) };
        let (client, id) = (self.client(vip.is_ipv4()).0, self.dice.small(256).into());
        let ether = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0xd, 0]);
        let payload: Vec<u8> = (0..self.dice.roll(50)).map(|_| self.dice.small(256)).collect();
        let mut bytes = Vec::new();
        let written = match (client, vip) {
            (IpAddr::V4(client), IpAddr::V4(vip)) => ether
                .ipv4(client.octets(), vip.octets(), 60)
                .icmpv4_echo_request(id, 1)
                .write(&mut bytes, &payload),
            (IpAddr::V6(client), IpAddr::V6(vip)) => ether
                .ipv6(client.octets(), vip.octets(), 60)
                .icmpv6_echo_request(id, 1)
                .write(&mut bytes, &payload),
            ends => panic!("addresses of two families: {ends:?}"),
        };
        written.expect("a packet that fits");
        if self.dice.once_in(6) {
            let last = bytes.len() - 1 - self.dice.roll(8);
            bytes[last] ^= 1 << self.dice.small(8);
        }
        (CLIENT_SIDE, bytes)
    }

    /// An ICMP error about a packet of a connection, or nearly.
    fn complaint(&mut self, site: &Site, model: &Model) -> (PortId, Vec<u8>) {
        let near = self.client(self.dice.0 & 2 == 0);
        let Some((protocol, client, vip, real)) = model.some_ends(near) else { return self.stray(site) };
        let proto = if protocol == 6 { Proto::Tcp } else { Proto::Udp };
        let dice = &mut self.dice;
        let (mut quoted, port) = if dice.once_in(2) {
            (Packet::from_client(proto, vip, client, 0x10), CLIENT_SIDE)
        } else {
            (Packet::from_client(proto, client, real, 0x10), SERVER_SIDE)
        };
        quoted.payload = vec![dice.small(256); dice.roll(30)];
        if dice.once_in(20) {
            quoted.src.set_port(1);
        }
        let mut quote = quoted.bytes().split_off(14);
        if dice.once_in(3) {
            quote.truncate(48);
        }
        if dice.once_in(20) {
            let at = dice.roll(quote.len());
            quote[at] ^= 1 << dice.small(8);
        }
        let v4 = client.0.is_ipv4();
        let kinds: &[(u8, u8)] = if v4 {
            &[(3, 1), (3, 3), (3, 4), (11, 0), (4, 0), (5, 0), (12, 0)]
        } else {
            &[(1, 0), (1, 4), (2, 0), (3, 0), (4, 0), (130, 0)]
        };
        // From the other end, or from anywhere on the way.
        let src = if dice.once_in(2) { quoted.dst.ip() } else { self.client(v4).0 };
        let (dst, kind, dice) = (quoted.src.ip(), *self.dice.pick(kinds), &mut self.dice);
        let ttl = if dice.once_in(30) { dice.small(3) } else { 60 };
        let mut bytes = Error { port, src, dst, kind, rest: [0, 0, 5, 0], quote, ttl }.bytes();
        if dice.once_in(20) {
            let at = bytes.len() - 1 - dice.roll(20);
            bytes[at] ^= 1 << dice.small(8);
        }
        (port, bytes)
    }

    /// What is not ours, or nearly.
    fn stray(&mut self, site: &Site) -> (PortId, Vec<u8>) {
        let flags = *self.dice.pick(&FLAGS);
        let client = self.client(true);
        let to: (IpAddr, u16) = match self.dice.roll(4) {
            0 => (vip(self.dice.small(8)).into(), 9999),
            1 => (DIRECTOR[0].into(), 22),
            2 => (real(self.dice.small(8)).into(), NAT_REAL_PORT),
            _ => (Ipv4Addr::new(203, 0, 113, 9).into(), 80),
        };
        let proto = *self.dice.pick(&[Proto::Tcp, Proto::Udp]);
        let (port, mut bytes) = self.dress(Packet::from_client(proto, client, to, flags));
        match self.dice.roll(12) {
            // Noise; protocols that are none of ours; the other interface.
            0 => {
                let len = self.dice.roll(90);
                bytes = (0..len).map(|_| self.dice.small(256)).collect();
            }
            1 => bytes[12..14].copy_from_slice(&[0x88, 0xb5]),
            2 if bytes[12] == 8 && bytes[14] == 0x45 => {
                bytes[23] = 132;
                if let Some(service) = self.service(site)
                    && let IpAddr::V4(vip) = service.vip
                {
                    bytes[30..34].copy_from_slice(&vip.octets());
                }
                seal_v4(&mut bytes[14..34]);
            }
            3 => return (SERVER_SIDE, bytes),
            _ => {}
        }
        (port, bytes)
    }
}

/// A source that no client has, or that few have.
fn odd_source(dice: &mut Dice, packet: &Packet) -> IpAddr {
    if packet.src.is_ipv4() {
        let odd = [
            [127, 0, 0, 1],
            [0; 4],
            [224, 0, 0, 5],
            [255; 4],
            [240, 1, 2, 3],
            [0, 0, 0, 7],
            [198, 18, 0, 77],
        ];
        let odd = IpAddr::from(*dice.pick(&odd));
        if dice.once_in(8) { packet.dst.ip() } else { odd }
    } else {
        let odd = [
            Ipv6Addr::LOCALHOST,
            Ipv6Addr::UNSPECIFIED,
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 5),
            real6(33),
        ];
        if dice.once_in(6) { packet.dst.ip() } else { (*dice.pick(&odd)).into() }
    }
}

/// Puts four bytes of options into an IPv4 header.
fn with_options(bytes: &mut Vec<u8>, l3: usize) {
    bytes.splice(l3 + 20..l3 + 20, [1, 1, 1, 0]);
    bytes[l3] = 0x46;
    let len = u16::from_be_bytes([bytes[l3 + 2], bytes[l3 + 3]]) + 4;
    bytes[l3 + 2..l3 + 4].copy_from_slice(&len.to_be_bytes());
    seal_v4(&mut bytes[l3..l3 + 24]);
}

/// Puts destination options behind an IPv6 header.
fn with_extension(bytes: &mut Vec<u8>, l3: usize) {
    let next = std::mem::replace(&mut bytes[l3 + 6], 60);
    bytes.splice(l3 + 40..l3 + 40, [next, 0, 1, 4, 0, 0, 0, 0]);
    let len = u16::from_be_bytes([bytes[l3 + 4], bytes[l3 + 5]]) + 8;
    bytes[l3 + 4..l3 + 6].copy_from_slice(&len.to_be_bytes());
}

/// How packets reach the destinations of a service at random.
pub(super) fn method(dice: &mut Dice) -> Method {
    *dice.pick(&[Method::Nat, Method::Nat, Method::Nat, Method::DirectRoute, Method::Tunnel])
}
