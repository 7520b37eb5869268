//! The verifier has teeth: whatever a director does wrong to one packet in a million, it sees; and it sees nothing where
//! nothing is wrong.

use proptest::prelude::*;
use sheave_pktgen::schedule::Dice;
use sheave_pktgen::traffic::{Protocol, Sizes};
use sheave_pktgen::verify::Fault;
use sheave_pktgen::{Change, Expect, Mac, Real, Spread, Stream, Traffic, Verifier};
use std::net::SocketAddr;

const DIRECTOR: Mac = Mac([2, 0, 0, 0, 0, 0xd1]);
const MILLION: u32 = 1_000_000;

fn reals(v4: bool) -> Vec<Real> {
    let address = |n| if v4 { format!("198.19.1.{n}:8080") } else { format!("[2001:db8:0:19::{n}]:8080") };
    let real = |n: u8| Real { mac: Mac([2, 0, 0, 0, 1, n]), address: address(n).parse().expect("address") };
    (11..=14).map(real).collect()
}

fn expect(v4: bool, protocol: Protocol, change: Change) -> Expect {
    let to: &str = if v4 { "198.18.0.100:80" } else { "[2001:db8:0:18::100]:80" };
    let traffic = Traffic {
        protocol,
        flows: 1 << 14,
        sizes: Sizes::imix(),
        spread: Spread::Uniform,
        ..Traffic::to(to.parse().expect("address"))
    };
    Expect { traffic, change, from: Some(DIRECTOR), reals: reals(v4), order: true }
}

/// A director that takes every packet apart with etherparse and puts it together again, always right.
struct Director {
    expect: Expect,
}

impl Director {
    fn forward(&self, frame: &[u8], real: Real) -> Vec<u8> {
        let mut packet = etherparse::PacketHeaders::from_ethernet_slice(frame).expect("parses");
        let payload = packet.payload.slice().to_vec();
        let to = match self.expect.change {
            Change::Nat => real.address,
            _ => self.expect.traffic.to,
        };
        match (&mut packet.net, to) {
            (Some(etherparse::NetHeaders::Ipv4(ip, _)), SocketAddr::V4(to)) => {
                ip.time_to_live -= u8::from(self.expect.change != Change::Bare);
                ip.destination = to.ip().octets();
                ip.header_checksum = ip.calc_header_checksum();
            }
            (Some(etherparse::NetHeaders::Ipv6(ip, _)), SocketAddr::V6(to)) => {
                ip.hop_limit -= u8::from(self.expect.change != Change::Bare);
                ip.destination = to.ip().octets();
            }
            other => panic!("{other:?}"),
        }
        let net = packet.net.expect("there");
        let mut transport = packet.transport.expect("there");
        match &mut transport {
            etherparse::TransportHeader::Udp(udp) => udp.destination_port = to.port(),
            etherparse::TransportHeader::Tcp(tcp) => tcp.destination_port = to.port(),
            other => panic!("{other:?}"),
        }
        match &net {
            etherparse::NetHeaders::Ipv4(ip, _) => {
                transport.update_checksum_ipv4(ip, &payload).expect("short")
            }
            etherparse::NetHeaders::Ipv6(ip, _) => {
                transport.update_checksum_ipv6(ip, &payload).expect("short")
            }
            etherparse::NetHeaders::Arp(_) => panic!("ARP"),
        }
        let mut out = [&real.mac.0[..], &DIRECTOR.0, &frame[12..14]].concat();
        if self.expect.change == Change::Tun {
            out.extend(outer(real, frame.len() - 14));
        }
        match &net {
            etherparse::NetHeaders::Ipv4(ip, _) => out.extend(ip.to_bytes()),
            etherparse::NetHeaders::Ipv6(ip, _) => out.extend(ip.to_bytes()),
            etherparse::NetHeaders::Arp(_) => panic!("ARP"),
        }
        transport.write(&mut out).expect("room");
        out.extend(&payload);
        out
    }
}

fn outer(real: Real, length: usize) -> Vec<u8> {
    let SocketAddr::V4(to) = real.address else { panic!("IPv4 tunnels only") };
    let length = u16::try_from(length).expect("short");
    let header = etherparse::Ipv4Header::new(
        length,
        64,
        etherparse::IpNumber::IPV4,
        [198, 19, 1, 1],
        to.ip().octets(),
    );
    let mut header = header.expect("short");
    header.header_checksum = header.calc_header_checksum();
    header.to_bytes().to_vec()
}

const COMBINATIONS: [(bool, Protocol, Change); 8] = [
    (true, Protocol::Udp, Change::Nat),
    (true, Protocol::Tcp, Change::Nat),
    (true, Protocol::Udp, Change::Dr),
    (true, Protocol::Tcp, Change::Tun),
    (true, Protocol::Udp, Change::Bare),
    (true, Protocol::Udp, Change::Route),
    (false, Protocol::Udp, Change::Nat),
    (false, Protocol::Tcp, Change::Dr),
];

#[test]
fn a_right_director_is_found_right() {
    for (v4, protocol, change) in COMBINATIONS {
        let expect = expect(v4, protocol, change);
        let stream = Stream::new(expect.traffic.clone());
        let director = Director { expect: expect.clone() };
        let mut verifier = Verifier::new(expect);
        let mut buffer = [0; 1600];
        for (at, entry) in stream.round().iter().enumerate() {
            let length = stream.write(0, at, 1000, &mut buffer);
            let real = reals(v4)[entry.flow as usize % 4];
            verifier.judge(1500, &director.forward(&buffer[..length], real));
        }
        let verdicts = verifier.verdicts();
        assert_eq!((verdicts.faulty(), verdicts.lost), (0, 0), "{v4} {protocol:?} {change:?}: {verdicts:?}");
        assert_eq!((verdicts.flows, verdicts.judged), (1 << 14, 1 << 14));
        assert_eq!(verdicts.reals, [1 << 12; 4]);
        assert_eq!(verifier.latency().max(), 500);
    }
}

proptest! {
    /// Whichever bit of a packet is flipped: it is seen. (But the time in the stamp cannot be: its checksum is.)
    #[test]
    fn no_flipped_bit_goes_unseen(which in 0usize..8, at in 0usize..1 << 14, bit: prop::sample::Index) {
        let (v4, protocol, change) = COMBINATIONS[which];
        let expect = expect(v4, protocol, change);
        let stream = Stream::new(expect.traffic.clone());
        let director = Director { expect: expect.clone() };
        let mut buffer = [0; 1600];
        let length = stream.write(0, at, 1000, &mut buffer);
        let mut frame = director.forward(&buffer[..length], reals(v4)[0]);
        let bit = bit.index(frame.len() * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
        let mut verifier = Verifier::new(expect);
        verifier.judge(1500, &frame);
        prop_assert_eq!(verifier.verdicts().faulty(), 1, "bit {} of {:?}", bit, COMBINATIONS[which]);
    }

    /// Neither does a packet that ends early; and no bytes make the verifier panic.
    #[test]
    fn no_cut_goes_unseen(which in 0usize..8, keep: prop::sample::Index, noise: Vec<u8>) {
        let (v4, protocol, change) = COMBINATIONS[which];
        let expect = expect(v4, protocol, change);
        let stream = Stream::new(expect.traffic.clone());
        let director = Director { expect: expect.clone() };
        let mut buffer = [0; 1600];
        let length = stream.write(0, 3, 1000, &mut buffer);
        let frame = director.forward(&buffer[..length], reals(v4)[0]);
        let mut verifier = Verifier::new(expect);
        verifier.judge(1500, &frame[..keep.index(frame.len())]);
        verifier.judge(1500, &noise);
        prop_assert_eq!(verifier.verdicts().faulty(), 2);
    }
}

/// What a bad director does to one packet.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sin {
    Corrupt,
    Misroute,
    Duplicate,
    Reorder,
    Drop,
}

/// A million packets through a director that sins once; what the verifier found.
fn million(sin: Sin) -> sheave_pktgen::Verdicts {
    let expect = Expect { order: true, ..expect(true, Protocol::Udp, Change::Nat) };
    let traffic = Traffic { sizes: Sizes::one(64), flows: 64, ..expect.traffic };
    let expect = Expect { traffic, ..expect };
    let stream = Stream::new(expect.traffic.clone());
    let director = Director { expect: expect.clone() };
    let mut verifier = Verifier::new(expect);
    let mut buffer = [0; 64];
    let turn = u32::try_from(stream.round().len()).expect("short");
    // Neither the first nor the last packet of its flow.
    let at = turn + u32::try_from(Dice(sin as u64).below(500_000)).expect("small");
    let mut held = None;
    for n in 0..MILLION {
        let (round, position) = (n / turn, (n % turn) as usize);
        let length = stream.write(round, position, 1000, &mut buffer);
        let flow = stream.round()[position].flow;
        let right = reals(true)[flow as usize % 4];
        let mut frame = director.forward(&buffer[..length], right);
        match sin {
            Sin::Corrupt if n == at => frame[50] ^= 4,
            Sin::Misroute if n == at => {
                frame = director.forward(&buffer[..length], reals(true)[(flow as usize + 1) % 4]);
            }
            Sin::Duplicate if n == at => verifier.judge(1500, &frame),
            Sin::Drop if n == at => continue,
            Sin::Reorder if n == at => {
                held = Some((flow, frame));
                continue;
            }
            _ => {}
        }
        verifier.judge(1500, &frame);
        if let Some((_, late)) = held.take_if(|(of, _)| *of == flow) {
            verifier.judge(1500, &late);
        }
    }
    verifier.verdicts()
}

#[test]
fn one_sin_in_a_million_is_caught() {
    for (sin, fault) in [
        (Sin::Corrupt, Some(Fault::Checksum)),
        (Sin::Misroute, Some(Fault::Moved)),
        (Sin::Duplicate, Some(Fault::Duplicate)),
        (Sin::Reorder, Some(Fault::Reordered)),
        (Sin::Drop, None),
    ] {
        let verdicts = million(sin);
        let lost = u64::from(sin == Sin::Drop || sin == Sin::Corrupt);
        assert_eq!((verdicts.faulty(), verdicts.lost), (u64::from(fault.is_some()), lost), "{sin:?}");
        if let Some(fault) = fault {
            assert_eq!(verdicts.of(fault), 1, "{sin:?}: {verdicts:?}");
        }
    }
}
