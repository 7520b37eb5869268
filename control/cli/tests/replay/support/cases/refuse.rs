//! What is not forwarded: left to the kernel, answered, dropped.

use crate::support::Case;
use crate::support::frames::{
    CLIENT, D0, D1, GATEWAY, IP, Ip, Place, Tcp, Udp, VIP, arp, ethernet, fragment, from_real, icmp, ipv4,
    real, real_mac, resealed, to_vip, udp_from_real, udp_to_vip, with,
};

const BOTH: &str = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "web"

[[service.destination]]
address = "198.19.1.11:8080"

[[service]]
listen = "198.18.0.100:53/udp"
name = "dns"

[[service.destination]]
address = "198.19.1.11:5353"
"#;

/// The first VIP port that nothing listens on.
const CLOSED: u16 = 443;
/// The director's own address on d0.
const OWN: [u8; 4] = [198, 18, 0, 1];
const OTHER: Place = ([203, 0, 113, 8], 40_001);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        left_to_the_kernel(),
        malformed_ip(),
        malformed_transport(),
        cut_short(),
        arp_and_echo(),
        no_destination(),
        time_to_live(),
        too_large(),
        no_route(),
        table_full(),
        tuple_in_use(),
    ]
}

/// The ICMP error about `quoted`, a frame.
fn error(macs: ([u8; 6], [u8; 6]), addrs: ([u8; 4], [u8; 4]), quoted: &[u8]) -> Vec<u8> {
    let quote = &quoted[14..quoted.len().min(14 + 28)];
    icmp(macs, addrs, 3, 3, &[&[0; 4][..], quote].concat())
}

fn left_to_the_kernel() -> Case {
    let about = "Everything that is none of ours is passed, each with its reason.";
    let syn = || to_vip(CLIENT, 80, "S").build();
    let own = |port| Tcp { to: (OWN, port), ..to_vip(CLIENT, 80, "S") }.build();
    let from_client = (GATEWAY, D0);
    let mut tagged = syn();
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    Case::new("left-to-the-kernel", about, BOTH)
        // not-ours
        .d0(own(22))
        .d0(with(own(22), 24, 0xff))
        .d0(ipv4((GATEWAY, [0xff; 6]), IP, 17, (CLIENT.0, [255; 4]), &[0; 12]))
        .d1(udp_from_real(99, 53, CLIENT, b"").build())
        // not-our-mac
        .d0(with(syn(), 5, 0x77))
        // not-our-protocol
        .d0(ethernet(GATEWAY, D0, 0x88cc, b"lldp"))
        .d0(ipv4(from_client, IP, 47, (CLIENT.0, VIP), b"gre"))
        // no-service
        .d0(to_vip(CLIENT, CLOSED, "S").build())
        .d0(udp_to_vip(CLIENT, 80, b"").build())
        // no-entry
        .d0(to_vip(CLIENT, 80, "A").build())
        .d0(to_vip(CLIENT, 80, "SA").build())
        .d0(to_vip(CLIENT, 80, "F").build())
        .d0(to_vip((CLIENT.0, 20), 80, "S").build())
        .d1(from_real(11, 8080, CLIENT, "A").build())
        // own-address
        .d1(from_real(11, 8080, ([198, 19, 1, 1], 50_000), "SA").build())
        // icmp-not-ours: no error, or one about no connection
        .d0(icmp(from_client, (CLIENT.0, VIP), 13, 0, &[0; 16]))
        .d0(error(from_client, (CLIENT.0, VIP), &from_real(11, 8080, CLIENT, "A").build()))
        .d0(error(
            from_client,
            (CLIENT.0, VIP),
            &Tcp { from: (VIP, 80), to: CLIENT, ..to_vip(CLIENT, 80, "A") }.build(),
        ))
        .d1(error(
            (real_mac(11), D1),
            (real(11, 0).0, CLIENT.0),
            &Tcp { to: real(11, 8080), ..to_vip(CLIENT, 80, "A") }.build(),
        ))
        // no-service, and with it fragment-not-ours
        .d0(fragment(Tcp { payload: b"data", ..to_vip(CLIENT, CLOSED, "S") }.build(), true, 0))
        .d0(fragment(syn(), false, 3))
        // served with its tag, and not ours
        .d0(tagged)
        .d0(ethernet(GATEWAY, D0, 0x86dd, &[0x60, 0, 0, 0, 0, 0, 59, 64]))
}

fn malformed_ip() -> Case {
    let about = "IP headers that contradict themselves or the frame, and sources that no host has.";
    let syn = || to_vip(CLIENT, 80, "S").build();
    let from = |addr: [u8; 4]| to_vip((addr, 40_000), 80, "S").build();
    let mut padded = syn();
    padded.extend([0; 6]);
    Case::new("malformed-ip", about, BOTH)
        // ip-truncated
        .d0(syn()[..14 + 19].to_vec())
        .d0(syn()[..14].to_vec())
        // ip-version
        .d0(with(syn(), 14, 0x65))
        // ip-header-length
        .d0(with(syn(), 14, 0x44))
        .d0(with(syn(), 14, 0x4f))
        // ip-total-length
        .d0(resealed(with(syn(), 17, 200)))
        .d0(resealed(with(syn(), 17, 19)))
        // ip-checksum
        .d0(with(syn(), 22, 63))
        // martian-source
        .d0(from([127, 0, 0, 1]))
        .d0(from([224, 0, 0, 1]))
        .d0(from([255; 4]))
        .d0(from([0; 4]))
        .d0(from(VIP))
        .d0(from([198, 18, 0, 255]))
        // Padding behind the packet is no fault, and does not go on.
        .d0(padded)
}

fn malformed_transport() -> Case {
    let about = "TCP, UDP and ICMP headers that contradict themselves or the packet.";
    let from_client = (GATEWAY, D0);
    let raw = |protocol, payload: &[u8]| ipv4(from_client, IP, protocol, (CLIENT.0, VIP), payload);
    let syn = || to_vip(CLIENT, 80, "S").build();
    let tcp = syn()[34..].to_vec();
    let udp = udp_to_vip(CLIENT, 53, b"question").build()[34..].to_vec();
    let echo = icmp(from_client, (CLIENT.0, VIP), 8, 0, b"\0\x01\0\x02data");
    Case::new("malformed-transport", about, BOTH)
        // tcp-truncated
        .d0(raw(6, &tcp[..19]))
        .d0(raw(6, &tcp[..3]))
        // tcp-data-offset
        .d0(with(syn(), 46, 0x40))
        .d0(with(syn(), 46, 0x60))
        // tcp-flags
        .d0(to_vip(CLIENT, 80, "SF").build())
        // udp-truncated
        .d0(raw(17, &udp[..7]))
        .d0(raw(17, &udp[..2]))
        // udp-length
        .d0(raw(17, &with(udp.clone(), 5, 7)))
        .d0(raw(17, &with(udp, 5, 17)))
        // icmp-truncated
        .d0(raw(1, &echo[34..34 + 7]))
        // icmp-checksum
        .d0(with(echo, 45, b'X'))
}

fn cut_short() -> Case {
    let about = "Frames cut short by their capture are what they are: truncated.";
    let data = Tcp { payload: b"some data", ..to_vip(CLIENT, 80, "S") }.build();
    let short = |len| data[..len].to_vec();
    Case::new("cut-short", about, BOTH).d0(short(60)).d0(short(40)).d0(short(20)).d0(short(13)).d0(Vec::new())
}

fn arp_and_echo() -> Case {
    let about = "ARP for a VIP is answered where its network is, echo everywhere. Others who claim a VIP are \
                 reported, our own announcements are not.";
    let station = ([2, 0, 0, 0, 0, 9], [198, 18, 0, 9]);
    let ask = |target, to| arp(1, station, ([0; 6], target), to);
    let echo = |payload: &[u8]| icmp((GATEWAY, D0), (CLIENT.0, VIP), 8, 0, payload);
    let mut padded = ask(VIP, [0xff; 6]);
    padded.extend([0; 18]);
    Case::new("arp-and-echo", about, BOTH)
        .d0(ask(VIP, [0xff; 6]))
        .d0(padded)
        .d0(ask(VIP, D0))
        .d0(arp(1, (station.0, [0; 4]), ([0; 6], VIP), [0xff; 6]))
        .d0(ask([198, 18, 0, 1], [0xff; 6]))
        .d0(ask([198, 18, 0, 50], [0xff; 6]))
        .d1(ask(VIP, [0xff; 6]))
        .d0(arp(2, (station.0, VIP), ([0xff; 6], VIP), [0xff; 6]))
        .d0(arp(1, (D1, VIP), ([0; 6], VIP), [0xff; 6]))
        .d0(ask(VIP, [0xff; 6])[..41].to_vec())
        .d0(with(ask(VIP, [0xff; 6]), 18, 5))
        .d0(echo(b"\0\x01\0\x02some data"))
        .d1(icmp((real_mac(11), D1), (real(11, 0).0, VIP), 8, 0, b"\0\x01\0\x02odd"))
        .d0(echo(b"\0\x01\0\x02"))
}

fn no_destination() -> Case {
    let config = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "empty"

[[service]]
listen = "198.18.0.100:53/udp"
name = "quiesced"
scheduler = "wrr"

[[service.destination]]
address = "198.19.1.11:5353"
weight = 0
"#;
    let about = "No usable destination: port unreachable from the VIP, quoting at most 548 bytes.";
    let large: &'static [u8] = Box::leak(vec![0x55; 1200].into_boxed_slice());
    Case::new("no-destination", about, config)
        .d0(to_vip(CLIENT, 80, "S").build())
        .d0(udp_to_vip(CLIENT, 53, b"question").build())
        .d0(udp_to_vip(CLIENT, 53, large).build())
        .d0(to_vip(CLIENT, 80, "A").build())
}

fn time_to_live() -> Case {
    let ttl = |ttl| Ip { ttl, ..IP };
    let about = "A TTL that runs out: time exceeded, from the VIP towards clients, from the director's own \
                 address towards real servers. 2 is enough.";
    Case::new("ttl", about, BOTH)
        .d0(Tcp { ip: ttl(1), ..to_vip(CLIENT, 80, "S") }.build())
        .d0(Tcp { ip: ttl(0), ..to_vip(CLIENT, 80, "S") }.build())
        .d0(Tcp { ip: ttl(2), ..to_vip(CLIENT, 80, "S") }.build())
        .d1(Tcp { ip: ttl(1), ..from_real(11, 8080, CLIENT, "SA") }.build())
        .d1(Tcp { ip: ttl(2), ..from_real(11, 8080, CLIENT, "SA") }.build())
        .d0(Tcp { ip: ttl(1), ..to_vip(CLIENT, 80, "A") }.build())
        .d0(Udp { ip: ttl(1), ..udp_to_vip(CLIENT, 53, b"") }.build())
}

fn too_large() -> Case {
    let config = r#"
[[interface]]
name = "d0"
mac = "02:00:00:00:00:d0"
addresses = ["198.18.0.1/24"]
mtu = 1000

[[interface]]
name = "d1"
mac = "02:00:00:00:00:d1"
addresses = ["198.19.1.1/24"]
mtu = 1100

[[neighbour]]
address = "198.18.0.2"
mac = "02:00:00:00:00:02"
interface = "d0"

[[neighbour]]
address = "198.19.1.11"
mac = "02:00:00:00:01:0b"
interface = "d1"

[[route]]
to = "0.0.0.0/0"
via = "198.18.0.2"
interface = "d0"

[[service]]
listen = "198.18.0.100:53/udp"
name = "nat"

[[service.destination]]
address = "198.19.1.11:5353"

[[service]]
listen = "198.18.0.100:54/udp"
name = "tun"
forward = "tun"

[[service.destination]]
address = "198.19.1.11"
"#;
    let payload = |len: usize| -> &'static [u8] { Box::leak(vec![0x5a; len].into_boxed_slice()) };
    let ask = |port, len: usize| Udp { payload: payload(len - 28), ..udp_to_vip(CLIENT, port, b"") };
    let answer =
        |len: usize| Udp { macs: (real_mac(11), D1), from: real(11, 5353), to: CLIENT, ..ask(53, len) };
    let cut = Ip { df: false, ..IP };
    let about = "Larger than the way out: with DF the sender is told the usable MTU, without it the packet is \
                 fragmented, before it goes into a tunnel. A tunnel takes 20 bytes. What just fits goes.";
    Case::new("too-large", about, config)
        .d0(ask(53, 1101).build())
        .d0(ask(53, 1100).build())
        .d0(Udp { ip: cut, ..ask(53, 1101) }.build())
        .d0(ask(54, 1081).build())
        .d0(ask(54, 1080).build())
        .d0(Udp { ip: cut, ..ask(54, 1081) }.build())
        .d1(answer(1001).build())
        .d1(answer(1000).build())
        .d1(Udp { ip: cut, ..answer(1001) }.build())
}

fn no_route() -> Case {
    let config = r#"
[[interface]]
name = "d0"
mac = "02:00:00:00:00:d0"
addresses = ["198.18.0.1/24"]

[[interface]]
name = "d1"
mac = "02:00:00:00:00:d1"
addresses = ["198.19.1.1/24"]

[[neighbour]]
address = "198.18.0.9"
mac = "02:00:00:00:00:09"
interface = "d0"

[[neighbour]]
address = "198.19.1.11"
mac = "02:00:00:00:01:0b"
interface = "d1"

[[service]]
listen = "198.18.0.100:80/tcp"
name = "far"

[[service.destination]]
address = "192.0.2.1"

[[service]]
listen = "198.18.0.100:81/tcp"
name = "near"

[[service.destination]]
address = "198.19.1.11"

[[service]]
listen = "198.18.0.100:82/tcp"
name = "self"

[[service.destination]]
address = "198.19.1.1"
"#;
    let near = ([198, 18, 0, 9], 40_000);
    let about = "No route: to a destination, back to a client, for an answer of the director's own. One of the \
                 director's own addresses is reached through no interface.";
    Case::new("no-route", about, config)
        .d0(to_vip(near, 80, "S").build())
        .d0(to_vip(near, 81, "S").build())
        .d1(from_real(11, 81, near, "SA").build())
        .d0(to_vip(CLIENT, 81, "S").build())
        .d1(from_real(11, 81, CLIENT, "SA").build())
        .d0(Tcp { ip: Ip { ttl: 1, ..IP }, ..to_vip(CLIENT, 81, "A") }.build())
        .d0(to_vip(near, 82, "S").build())
}

fn table_full() -> Case {
    let config = format!(
        "[director]\nmax-connections = 1\n{}",
        BOTH.replace("name = \"web\"", "name = \"web\"\nforward = \"dr\"").replace(":8080", ":80")
    );
    let about = "A table that is full refuses new connections and keeps the ones it has.";
    let mut case = Case::new("table-full", about, &config);
    let client = |n: u8| ([203, 0, 113, n], 40_000);
    for n in 1..=20 {
        case = case.d0(to_vip(client(n), 80, "S").build());
    }
    for n in [1, 20] {
        case = case.d0(to_vip(client(n), 80, "A").build());
    }
    case
}

fn tuple_in_use() -> Case {
    let config = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "one"

[[service.destination]]
address = "198.19.1.11:8080"

[[service]]
listen = "198.18.0.100:81/tcp"
name = "two"

[[service.destination]]
address = "198.19.1.11:8080"

[[service.destination]]
address = "198.19.1.12:8080"

[[service]]
listen = "198.18.0.100:82/tcp"
name = "three"

[[service.destination]]
address = "198.19.1.12:8080"
"#;
    let about = "Replies must be unambiguous: a destination that the client and port use through another service \
                 is skipped, and none left is a drop. Another port is another connection.";
    Case::new("nat-tuple-in-use", about, config)
        .d0(to_vip(CLIENT, 80, "S").build())
        .d0(to_vip(CLIENT, 81, "S").build())
        .d0(to_vip(CLIENT, 82, "S").build())
        .d0(to_vip(OTHER, 82, "S").build())
        .d1(from_real(11, 8080, CLIENT, "SA").build())
        .d1(from_real(12, 8080, CLIENT, "SA").build())
        .d1(from_real(12, 8080, OTHER, "SA").build())
}
