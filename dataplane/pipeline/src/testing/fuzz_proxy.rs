//! The body of the fuzz target `syn_proxy`: a client and a real server who say anything to each other through the SYN
//! proxy, in either family, with any TCP options. Checksums are right and cookies known, which random frames never have.

use super::lab::Lab;
use super::packet::Packet;
use super::site::{CLIENT_SIDE, NAT_REAL_PORT, Site, real, real6, vip, vip6};
use crate::pipeline::Resolve;
use crate::snapshot::{Method, Snapshot};
use crate::time::Time;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use sheave_frame::PortId;
use sheave_proto::wire::checksum::{Delta, l4_checksum};
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::ipv4;
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

thread_local! {
    static WORLD: RefCell<(Lab, Snapshot)> = RefCell::new(world());
}

fn world() -> (Lab, Snapshot) {
    let mut site = Site::default();
    site.add(vip(0), 80, Proto::Tcp, Method::Nat, 1).syn_proxy = true;
    site.add(vip6(0), 80, Proto::Tcp, Method::Nat, 1).syn_proxy = true;
    (Lab::sized(Resolve::Control, 256, 600), site.snapshot())
}

/// What is known of the connection that is talked about.
struct Talk {
    v6: bool,
    client_port: u16,
    /// The client's initial number, the cookie's, the real server's.
    isn: u32,
    cookie: u32,
    real: u32,
}

/// Runs a talk. `data` is a list of words:
///
/// ```text
///   | what, who, family | port | flags | sequence, acknowledgement, signed | options, length | options | ...
/// ```
///
/// # Panics
/// When a frame is lost or made, has not exactly one verdict, or what is sent is malformed or has a wrong checksum.
pub fn syn_proxy(data: &[u8]) {
    WORLD.with_borrow_mut(|(lab, snapshot)| {
        let mut talk = Talk { v6: false, client_port: 40_000, isn: 1000, cookie: 0, real: 5000 };
        let mut rest = data;
        while let Some(([what, port, flags, seq, ack, length], behind)) = rest.split_first_chunk() {
            let (options, behind) = behind.split_at(usize::from(*length).min(behind.len()).min(40));
            rest = behind;
            talk.v6 = what & 1 != 0;
            talk.client_port = 40_000 + u16::from(port & 3);
            let off = |by: &u8| i32::from(by.cast_signed()).cast_unsigned();
            let word = match what >> 1 & 3 {
                0 => talk.client(Packet::SYN, talk.isn.wrapping_add(off(seq)), 0),
                1 => talk.client(
                    *flags | Packet::ACK,
                    talk.isn.wrapping_add(1).wrapping_add(off(seq)),
                    talk.cookie.wrapping_add(1).wrapping_add(off(ack)),
                ),
                2 => talk.server(
                    *flags | Packet::ACK,
                    talk.real.wrapping_add(off(seq)),
                    talk.isn.wrapping_add(1).wrapping_add(off(ack)),
                ),
                _ => {
                    lab.now = lab.now.after(u64::from(*seq) * Time::SECOND / 4);
                    lab.tick(snapshot).sent.iter().for_each(|(_, frame)| check(frame));
                    continue;
                }
            };
            let frame = with_options(&word, options);
            talk.heard(word.port, send(lab, snapshot, (word.port, frame)));
        }
    });
}

fn send(lab: &mut Lab, snapshot: &Snapshot, frame: (PortId, Vec<u8>)) -> Vec<(PortId, Vec<u8>)> {
    let (_, out) = lab.send(snapshot, frame.0, &frame.1);
    assert_eq!(lab.frames(), lab.pool.total(), "frames are conserved");
    out.sent.iter().for_each(|(_, frame)| check(frame));
    out.sent
}

impl Talk {
    fn ends(&self) -> [(IpAddr, u16); 3] {
        let [client, vip, real]: [IpAddr; 3] = if self.v6 {
            let client = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1);
            [client.into(), vip6(0).into(), real6(0).into()]
        } else {
            [Ipv4Addr::new(192, 0, 2, 1).into(), vip(0).into(), real(0).into()]
        };
        [(client, self.client_port), (vip, 80), (real, NAT_REAL_PORT)]
    }

    fn client(&self, flags: u8, seq: u32, ack: u32) -> Packet {
        let [client, vip, _] = self.ends();
        Packet { seq, ack, ..Packet::from_client(Proto::Tcp, client, vip, flags) }
    }

    fn server(&self, flags: u8, seq: u32, ack: u32) -> Packet {
        let [client, _, real] = self.ends();
        Packet { seq, ack, ..Packet::from_real(Proto::Tcp, real, client, flags) }
    }

    /// Takes the cookie from an answer.
    fn heard(&mut self, said_on: PortId, sent: Vec<(PortId, Vec<u8>)>) {
        for (port, frame) in sent {
            let tcp = frame.get(if self.v6 { 54 } else { 34 }..).unwrap_or_default();
            if let ([_, _, _, _, a, b, c, d, .., flags], true) =
                (tcp.get(..14).unwrap_or_default(), port == CLIENT_SIDE && said_on == CLIENT_SIDE)
                && flags & Packet::SYN != 0
            {
                self.cookie = u32::from_be_bytes([*a, *b, *c, *d]);
            }
        }
    }
}

/// The frame with these options, padded, and all lengths and checksums right.
fn with_options(packet: &Packet, options: &[u8]) -> Vec<u8> {
    let mut frame = packet.bytes();
    let padded = options.len().next_multiple_of(4);
    let l4 = if packet.src.is_ipv4() { 34 } else { 54 };
    frame.splice(
        l4 + 20..l4 + 20,
        options.iter().copied().chain(std::iter::repeat_n(0, padded - options.len())),
    );
    frame[l4 + 12] += u8::try_from(padded / 4 * 16).unwrap_or_default();
    let at = if packet.src.is_ipv4() { 16 } else { 18 };
    let old = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let new = old + u16::try_from(padded).unwrap_or_default();
    frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
    if let Some(mut ip) = ipv4::HeaderMut::new(&mut frame[14..]).filter(|_| packet.src.is_ipv4()) {
        ip.update_checksum(Delta::NONE.word(old, new));
    }
    frame[l4 + 16..l4 + 18].fill(0);
    let segment = &frame[l4..];
    let sum = match (packet.src.ip(), packet.dst.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => l4_checksum(src, dst, 6, segment),
        (IpAddr::V6(src), IpAddr::V6(dst)) => l4_checksum(src, dst, 6, segment),
        _ => 0,
    };
    frame[l4 + 16..l4 + 18].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// What is sent is TCP with a right checksum, by another library.
fn check(frame: &[u8]) {
    let packet = SlicedPacket::from_ethernet(frame).expect("well-formed");
    let (Some(net), Some(TransportSlice::Tcp(tcp))) = (&packet.net, &packet.transport) else {
        panic!("not TCP: {packet:?}")
    };
    let header = tcp.to_header();
    let sum = match net {
        NetSlice::Ipv4(ip) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "header checksum");
            header.calc_checksum_ipv4(&ip, tcp.payload())
        }
        NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()),
        _ => panic!("not IP"),
    };
    assert_eq!(header.checksum, sum.expect("it fits"), "TCP checksum");
}

/// Inputs to start from: a whole connection in each family, one whose real server does not answer, one that is refused.
pub fn syn_proxy_seeds() -> Vec<(&'static str, Vec<u8>)> {
    const OPTIONS: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 7];
    let word = |what: u8, flags: u8, seq: u8, ack: u8, options: &[u8]| {
        let length = u8::try_from(options.len()).unwrap_or_default();
        [&[what, 0, flags, seq, ack, length], options].concat()
    };
    let open = |v6: u8, options: &[u8]| {
        [
            word(v6, 0, 0, 0, options),
            word(2 | v6, 0, 0, 0, &[]),
            word(4 | v6, Packet::SYN, 0, 0, options),
            word(2 | v6, Packet::PSH, 0, 0, &[]),
            word(4 | v6, 0, 1, 0, &[]),
            word(4 | v6, Packet::FIN, 1, 0, &[]),
            word(2 | v6, Packet::FIN, 0, 1, &[]),
        ]
        .concat()
    };
    let asked = [word(0, 0, 0, 0, &OPTIONS), word(2, 0, 0, 0, &[])].concat();
    let time = word(6, 0, 20, 0, &[]).repeat(4);
    vec![
        ("open-v4", open(0, &OPTIONS)),
        ("open-v6", open(1, &OPTIONS)),
        ("open-plain", open(0, &[])),
        ("silent", [asked.clone(), time].concat()),
        ("refused", [asked, word(4, Packet::RST, 0, 0, &[])].concat()),
    ]
}
