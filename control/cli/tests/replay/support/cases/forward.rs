//! What is forwarded: each method, both directions, and what decides where a connection goes.

use crate::support::Case;
use crate::support::frames::{
    CLIENT, IP, Ip, Place, Tcp, Udp, VIP, from_real, to_vip, udp_from_real, udp_to_vip, with,
};

const NAT: &str = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "web"
scheduler = "rr"

[[service.destination]]
address = "198.19.1.11:8080"

[[service.destination]]
address = "198.19.1.12:8080"
"#;

const DNS: &str = r#"
[[service]]
listen = "198.18.0.100:53/udp"
name = "dns"

[[service.destination]]
address = "198.19.1.11:5353"
"#;

fn methods(forward: &str) -> String {
    format!(
        r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "web"
scheduler = "rr"
forward = "{forward}"

[[service.destination]]
address = "198.19.1.11"

[[service.destination]]
address = "198.19.1.12"

[[service]]
listen = "198.18.0.100:53/udp"
name = "dns"
forward = "{forward}"

[[service.destination]]
address = "198.19.1.12"
"#
    )
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        nat_tcp(),
        nat_udp(),
        nat_bad_checksums(),
        one_way("dr", "Direct routing: only addresses of the frame, TTL and header checksum change."),
        one_way(
            "tun",
            "IP-in-IP: TOS with ECN and DF are copied out, the outer TTL is the inner one after its step.",
        ),
        mixed_methods(),
        schedulers(),
        least_connections(),
        order_of_inputs(),
    ]
}

/// A whole connection of `client` through real server `last`.
fn connection(case: Case, client: Place, last: u8) -> Case {
    let data = |segment: Tcp, payload| Tcp { payload, ..segment };
    case.d0(to_vip(client, 80, "S").build())
        .d1(from_real(last, 8080, client, "SA").build())
        .d0(Tcp { seq: 1001, ..to_vip(client, 80, "A") }.build())
        .d0(Tcp { seq: 1001, ..data(to_vip(client, 80, "PA"), b"GET / HTTP/1.0\r\n\r\n") }.build())
        .d1(Tcp { seq: 5001, ..data(from_real(last, 8080, client, "PA"), b"HTTP/1.0 200 OK\r\n\r\nodd") }
            .build())
        .d1(Tcp { seq: 5024, ..from_real(last, 8080, client, "FA") }.build())
        .d0(Tcp { seq: 1019, ..to_vip(client, 80, "FA") }.build())
        .d1(Tcp { seq: 5025, ..from_real(last, 8080, client, "A") }.build())
}

fn nat_tcp() -> Case {
    let about = "NAT with port mapping: two whole connections, one to each destination, both directions.";
    let case = connection(Case::new("nat-tcp", about, NAT), CLIENT, 11);
    connection(case, ([203, 0, 113, 8], 40_000), 12)
}

fn nat_udp() -> Case {
    let about = "NAT of UDP, both directions. A datagram without checksum stays without one; one whose \
                 checksum comes out as 0 carries 0xffff.";
    // The payload that makes the sum of the rewritten datagram come out as zero is found by trying.
    let (ask, answer) =
        (udp_to_vip(CLIENT, 53, b"question"), udp_from_real(11, 5353, CLIENT, b"odd answer!"));
    Case::new("nat-udp", about, DNS)
        .d0(ask.build())
        .d1(answer.build())
        .d0(Udp { sum: false, ..ask }.build())
        .d1(Udp { sum: false, ..answer }.build())
        .d0(zero_after_nat())
        .d0(Udp { payload: b"", ..ask }.build())
}

/// A datagram whose checksum is 0xffff once its destination is 198.19.1.11:5353.
fn zero_after_nat() -> Vec<u8> {
    let after =
        |payload: &'static [u8]| Udp { to: ([198, 19, 1, 11], 5353), payload, ..udp_to_vip(CLIENT, 53, b"") };
    let sum = |frame: &[u8]| u16::from_be_bytes([frame[40], frame[41]]);
    // The checksum of a payload of zeros is, by one's complement, what has to be in the payload instead.
    let [high, low] = sum(&after(&[0, 0]).build()).to_be_bytes();
    let payload: &'static [u8] = Box::leak(Box::new([high, low]));
    assert_eq!(sum(&after(payload).build()), 0xffff, "a sum of zero is sent as its other form");
    udp_to_vip(CLIENT, 53, payload).build()
}

fn nat_bad_checksums() -> Case {
    let about = "A TCP or UDP checksum that is wrong stays as wrong as it was.";
    let (segment, datagram) = (to_vip(CLIENT, 80, "S").build(), udp_to_vip(CLIENT, 53, b"question").build());
    let case = Case { bad_sums: true, ..Case::new("nat-bad-checksums", about, &[NAT, DNS].concat()) };
    let (tcp_sum, udp_sum) = (segment[51], datagram[41]);
    case.d0(with(segment, 51, tcp_sum ^ 1)).d0(with(datagram, 41, udp_sum ^ 1))
}

fn one_way(method: &'static str, about: &'static str) -> Case {
    let other = ([203, 0, 113, 8], 40_000);
    let marked = Ip { tos: 0xbb, ttl: 17, df: false, ident: 0xbeef };
    Case::new(method, about, &methods(method))
        .d0(to_vip(CLIENT, 80, "S").build())
        .d0(Tcp { seq: 1001, ip: marked, ..to_vip(CLIENT, 80, "A") }.build())
        .d0(Tcp { seq: 1001, payload: b"odd", ..to_vip(CLIENT, 80, "PA") }.build())
        .d0(to_vip(other, 80, "S").build())
        .d0(Tcp { seq: 1004, ..to_vip(CLIENT, 80, "FA") }.build())
        .d0(Tcp { seq: 1001, ..to_vip(other, 80, "R") }.build())
        .d0(udp_to_vip(CLIENT, 53, b"question").build())
        .d0(Udp { sum: false, ip: marked, ..udp_to_vip(other, 53, b"") }.build())
}

fn mixed_methods() -> Case {
    let config = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "web"
scheduler = "rr"
forward = "nat"

[[service.destination]]
address = "198.19.1.11"

[[service.destination]]
address = "198.19.1.11"
forward = "dr"
"#;
    // One address may stand in a pool once: another real server for each method.
    let config = config.replacen("198.19.1.11\"\nforward", "198.19.1.12\"\nforward", 1)
        + "\n[[service.destination]]\naddress = \"198.18.0.2\"\nforward = \"tun\"\n";
    let syn = |last| to_vip(([203, 0, 113, last], 40_000), 80, "S").build();
    Case::new(
        "mixed-methods",
        "Each destination of one service by another method, one of them back the way they came.",
        &config,
    )
    .d0(syn(1))
    .d0(syn(2))
    .d0(syn(3))
    .d0(syn(4))
}

fn schedulers() -> Case {
    let config = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "wrr"
scheduler = "wrr"

[[service.destination]]
address = "198.19.1.11:8081"
weight = 4

[[service.destination]]
address = "198.19.1.11:8082"
weight = 0

[[service.destination]]
address = "198.19.1.12:8083"
weight = 2

[[service]]
listen = "198.18.0.100:81/tcp"
name = "rr"
scheduler = "rr"

[[service.destination]]
address = "198.19.1.12:9000"

[[service.destination]]
address = "198.19.1.11:9000"
weight = 0

[[service.destination]]
address = "198.19.1.11:9001"
weight = 7
"#;
    let about = "rr and wrr take turns in the order of the configuration; weight 0 gets nothing.";
    let mut case = Case::new("schedulers-in-turn", about, config);
    for last in 1..=7 {
        for port in [80, 81] {
            case = case.d0(to_vip(([203, 0, 113, last], 40_000), port, "S").build());
        }
    }
    case
}

fn least_connections() -> Case {
    let config = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "wlc"

[[service.destination]]
address = "198.19.1.11:8081"

[[service.destination]]
address = "198.19.1.12:8082"
weight = 3

[[service]]
listen = "198.18.0.100:81/tcp"
name = "lc"
scheduler = "lc"

[[service.destination]]
address = "198.19.1.11:9001"

[[service.destination]]
address = "198.19.1.12:9002"
weight = 3
"#;
    let about = "lc and wlc: the least of 256 x active + inactive, by weight for wlc; the first of equals. \
                 A reset connection counts as inactive.";
    let mut case = Case::new("schedulers-by-load", about, config);
    for last in 1..=6 {
        for port in [80, 81] {
            case = case.d0(to_vip(([203, 0, 113, last], 40_000), port, "S").build());
        }
    }
    for (port, flags) in [(80, "A"), (80, "R"), (81, "A"), (81, "R")] {
        case = case.d0(to_vip(([203, 0, 113, 1], 40_000), port, flags).build());
    }
    for last in 7..=9 {
        for port in [80, 81] {
            case = case.d0(to_vip(([203, 0, 113, last], 40_000), port, "S").build());
        }
    }
    case
}

fn order_of_inputs() -> Case {
    let about = "Frames are taken by time; of equal times in the order of the inputs, then of the file. A file \
                 need not be in order itself.";
    let syn = |last| to_vip(([203, 0, 113, last], 40_000), 80, "S").build();
    let reply = |last: u8, real| from_real(real, 8080, ([203, 0, 113, last], 40_000), "SA").build();
    Case::new("order-of-inputs", about, NAT)
        .at(2000, "d0", syn(2))
        .at(1000, "d0", syn(1))
        .at(2000, "d1", reply(2, 12))
        .at(1000, "d1", reply(1, 11))
        .at(1000, "d0", with(syn(1), 5, 0xd9))
        .at(1500, "d1", reply(VIP[3], 11))
        .at(2500, "d0", Tcp { ip: IP, ..to_vip(([203, 0, 113, 1], 40_000), 80, "A") }.build())
}
