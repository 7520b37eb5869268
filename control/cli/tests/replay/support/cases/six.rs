//! IPv6, and tags of both families.

use crate::support::Case;
use crate::support::frames::{D0, D1, GATEWAY, Mac, ethernet, icmp, real_mac, sum_words, tagged, to_vip};
use etherparse::{IpNumber, Ipv6Header, TcpHeader, UdpHeader};
use std::net::Ipv6Addr;

const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0xff, 0, 0, 0, 7);
const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0x100);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2);

const INTERFACES: &str = r#"
[[interface]]
name = "d0"
mac = "02:00:00:00:00:d0"
addresses = ["198.18.0.1/24", "2001:2::1/64"]

[[interface]]
name = "d1"
mac = "02:00:00:00:00:d1"
addresses = ["198.19.1.1/24", "2001:2:0:1::1/64"]

[[neighbour]]
address = "2001:2::2"
mac = "02:00:00:00:00:02"
interface = "d0"

[[neighbour]]
address = "2001:2:0:1::11"
mac = "02:00:00:00:01:0b"
interface = "d1"

[[neighbour]]
address = "2001:2:0:1::12"
mac = "02:00:00:00:01:0c"
interface = "d1"

[[neighbour]]
address = "198.19.1.12"
mac = "02:00:00:00:01:0c"
interface = "d1"

[[neighbour]]
address = "198.18.0.2"
mac = "02:00:00:00:00:02"
interface = "d0"

[[route]]
to = "0.0.0.0/0"
via = "198.18.0.2"
interface = "d0"

[[route]]
to = "::/0"
via = "2001:2::2"
interface = "d0"
"#;

fn config(services: &str) -> String {
    format!("{services}{INTERFACES}")
}

fn packet(macs: (Mac, Mac), next: u8, (from, to): (Ipv6Addr, Ipv6Addr), payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0x2a,
        flow_label: 0x12345.try_into().expect("20 bits"),
        payload_length: u16::try_from(payload.len()).expect("short"),
        next_header: IpNumber(next),
        hop_limit: 64,
        source: from.octets(),
        destination: to.octets(),
    };
    ethernet(macs.0, macs.1, 0x86dd, &[&header.to_bytes()[..], payload].concat())
}

type End = (Ipv6Addr, u16);

fn tcp(macs: (Mac, Mac), from: End, to: End, flags: &str, payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(from.1, to.1, 1000, 64_000);
    (header.syn, header.ack, header.fin) = (flags.contains('S'), flags.contains('A'), flags.contains('F'));
    header.checksum = header.calc_checksum_ipv6_raw(from.0.octets(), to.0.octets(), payload).expect("short");
    packet(macs, 6, (from.0, to.0), &[&header.to_bytes()[..], payload].concat())
}

fn udp(macs: (Mac, Mac), from: End, to: End, payload: &[u8]) -> Vec<u8> {
    let header =
        UdpHeader::with_ipv6_checksum(from.1, to.1, &header_of(from.0, to.0), payload).expect("short");
    packet(macs, 17, (from.0, to.0), &[&header.to_bytes()[..], payload].concat())
}

fn header_of(from: Ipv6Addr, to: Ipv6Addr) -> Ipv6Header {
    Ipv6Header { source: from.octets(), destination: to.octets(), ..Ipv6Header::default() }
}

/// An ICMPv6 message.
fn message(macs: (Mac, Mac), (from, to): (Ipv6Addr, Ipv6Addr), kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = [&[kind, 0, 0, 0][..], rest].concat();
    let len = u32::try_from(body.len()).expect("short").to_be_bytes();
    let pseudo = [&from.octets()[..], &to.octets(), &len, &[0, 0, 0, 58], &body].concat();
    let sum = etherparse::checksum::u32_16bit_word::ones_complement(sum_words(&pseudo)).to_be_bytes();
    body[2..4].copy_from_slice(&sum);
    let mut frame = packet(macs, 58, (from, to), &body);
    frame[14 + 7] = 255;
    frame
}

fn open(flags: &str, payload: &[u8]) -> Vec<u8> {
    tcp((GATEWAY, D0), (CLIENT, 40_000), (VIP, 80), flags, payload)
}

fn real(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 2, 0, 1, 0, 0, 0, last)
}

fn reply(flags: &str, payload: &[u8]) -> Vec<u8> {
    tcp((real_mac(11), D1), (real(0x11), 8080), (CLIENT, 40_000), flags, payload)
}

pub(crate) fn cases() -> Vec<Case> {
    vec![nat(), one_way(), kept(), neighbours(), extensions(), tags()]
}

fn nat() -> Case {
    let services = r#"
[[service]]
listen = "[2001:2::100]:80/tcp"
name = "web"

[[service.destination]]
address = "[2001:2:0:1::11]:8080"

[[service]]
listen = "[2001:2::100]:53/udp"
name = "dns"

[[service.destination]]
address = "[2001:2:0:1::11]:5353"
"#;
    let about = "IPv6 by NAT: addresses, ports and checksums; traffic class and flow label stay.";
    Case::new("ipv6-nat", about, &config(services))
        .d0(open("S", b""))
        .d1(reply("SA", b""))
        .d0(open("A", b""))
        .d0(open("A", b"GET / HTTP/1.1\r\n\r\n"))
        .d1(reply("A", b"HTTP/1.1 200 OK\r\n\r\n"))
        .d1(reply("FA", b""))
        .d0(open("FA", b""))
        .d0(udp((GATEWAY, D0), (CLIENT, 5000), (VIP, 53), b"question"))
        .d1(udp((real_mac(11), D1), (real(0x11), 5353), (CLIENT, 5000), b"answer"))
}

fn kept() -> Case {
    let services = r#"
[[service]]
listen = ["[2001:2::100]:80/tcp", "[2001:2::100]:443/tcp"]
name = "web"
scheduler = "rr"
forward = "dr"
persistence = { timeout = "5m", netmask = 64 }

[[service.destination]]
address = "2001:2:0:1::11"

[[service.destination]]
address = "2001:2:0:1::12"
"#;
    let about = "Persistence of IPv6 by prefix: clients of one /64 share a destination on both ports.";
    let syn = |client, port| tcp((GATEWAY, D0), (client, 40_000), (VIP, port), "S", b"");
    let neighbour = Ipv6Addr::new(0x2001, 2, 0, 0xff, 1, 2, 3, 4);
    let stranger = Ipv6Addr::new(0x2001, 2, 0, 0xfe, 0, 0, 0, 7);
    Case::new("persistence-ipv6", about, &config(services))
        .d0(syn(CLIENT, 80))
        .d0(syn(stranger, 80))
        .d0(syn(neighbour, 80))
        .d0(syn(stranger, 443))
        .d0(syn(CLIENT, 443))
        .control(1, "sticky.list", r#"{"client":"2001:2:0:ff::/60"}"#)
        .at(2_000_000, "d0", syn(neighbour, 443))
}

fn one_way() -> Case {
    let services = r#"
[[service]]
listen = "[2001:2::100]:80/tcp"
name = "web"
scheduler = "rr"
forward = "tun"

[[service.destination]]
address = "2001:2:0:1::11"

[[service.destination]]
address = "198.19.1.12"

[[service.destination]]
address = "2001:2:0:1::12"
forward = "dr"

[[service]]
listen = "198.18.0.100:80/tcp"
name = "old"
forward = "tun"

[[service.destination]]
address = "2001:2:0:1::11"
"#;
    let about = "IPv6 in IPv6, in IPv4 and by direct routing; IPv4 in IPv6.";
    let syn = |port| tcp((GATEWAY, D0), (CLIENT, port), (VIP, 80), "S", b"");
    let data = |port| tcp((GATEWAY, D0), (CLIENT, port), (VIP, 80), "A", b"data");
    Case::new("ipv6-one-way", about, &config(services))
        .d0(syn(40_001))
        .d0(syn(40_002))
        .d0(syn(40_003))
        .d0(data(40_001))
        .d0(data(40_002))
        .d0(data(40_003))
        .d0(to_vip(([203, 0, 113, 7], 40_000), 80, "S").build())
}

const WEB: &str = r#"
[[service]]
listen = "[2001:2::100]:80/tcp"
name = "web"

[[service.destination]]
address = "[2001:2:0:1::11]:8080"
"#;

fn neighbours() -> Case {
    let about = "Neighbour discovery for a VIP is answered, for others it is the kernel's; echo to a VIP.";
    let group = |addr: Ipv6Addr| {
        let [.., a, b, c] = addr.octets();
        let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
        (to, [0x33, 0x33, 0xff, a, b, c])
    };
    let solicit = |target: Ipv6Addr| {
        let (to, mac) = group(target);
        let rest = [&[0; 4][..], &target.octets(), &[1, 1], &GATEWAY].concat();
        message((GATEWAY, mac), (ROUTER, to), 135, &rest)
    };
    let advertise = [&[0x60, 0, 0, 0][..], &ROUTER.octets(), &[2, 1], &GATEWAY].concat();
    let endless = [&[0; 4][..], &VIP.octets(), &[1, 0], &GATEWAY].concat();
    let (to, mac) = group(VIP);
    let echo = message((GATEWAY, D0), (CLIENT, VIP), 128, &[0, 1, 0, 2, b'p', b'i', b'n', b'g']);
    Case::new("ipv6-neighbours", about, &config(WEB))
        .d0(solicit(VIP))
        .d0(solicit(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1)))
        .d0(message((GATEWAY, D0), (ROUTER, Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1)), 136, &advertise))
        .d0(message((GATEWAY, mac), (ROUTER, to), 135, &endless))
        .d0(echo)
}

fn extensions() -> Case {
    let about = "Extension headers: walked where they may be, dropped where they are cut short.";
    let syn = open("S", b"");
    let segment = &syn[14 + 40..];
    // Destination options with padding alone (RFC 8200 §4.6), before the segment.
    let options = [&[6u8, 0, 1, 4, 0, 0, 0, 0][..], segment].concat();
    let macs = (GATEWAY, D0);
    Case::new("ipv6-extensions", about, &config(WEB))
        .d0(packet(macs, 60, (CLIENT, VIP), &options))
        .d0(packet(macs, 60, (CLIENT, VIP), &[6, 9, 1, 4, 0, 0, 0, 0]))
}

fn tags() -> Case {
    let services = format!(
        "{WEB}
[[service]]
listen = \"198.18.0.100:80/tcp\"
name = \"old\"
forward = \"dr\"

[[service.destination]]
address = \"198.19.1.12\"
"
    );
    let about = "802.1Q tags, one or two, stay on what passes through and on answers.";
    let ping = icmp((GATEWAY, D0), ([203, 0, 113, 7], [198, 18, 0, 100]), 8, 0, &[0, 1, 0, 2, 1, 2, 3, 4]);
    Case::new("tags", about, &config(&services))
        .d0(tagged(open("S", b""), &[7]))
        .d1(tagged(reply("SA", b""), &[7]))
        .d0(tagged(open("A", b"data"), &[30, 7]))
        .d0(tagged(to_vip(([203, 0, 113, 7], 40_000), 80, "S").build(), &[9]))
        .d0(tagged(ping, &[9]))
        // Three tags are more than anybody reads.
        .d0(tagged(tagged(open("S", b""), &[1, 2]), &[3]))
}
