//! What has to do with the way of packets: tunnels of all kinds, path MTU discovery, segment sizes; and connections
//! whose beginning the director has not seen.

use crate::support::Case;
use crate::support::frames::{CLIENT, Ip, Place, Udp, from_real, to_vip, udp_to_vip, with_mss};

pub(crate) fn cases() -> Vec<Case> {
    vec![tunnels(), no_path_mtu_discovery(), segment_sizes(), sloppy()]
}

const fn other(n: u8) -> Place {
    ([203, 0, 113, n], 40_000)
}

fn payload(len: usize) -> &'static [u8] {
    Box::leak(vec![0x5a; len].into_boxed_slice())
}

fn tunnels() -> Case {
    let about = "GRE with and without a checksum, GUE with and without, to the default port and another. Each leaves its own MTU.";
    let config =
        ["gre'", "gre'\ntunnel-checksum = true", "gue'", "gue'\ntunnel-port = 6081\ntunnel-checksum = true"];
    let service = |(n, tunnel): (usize, &&str)| {
        format!(
            "[[service]]\nlisten = '198.18.0.100:{}/udp'\nforward = 'tun'\n\n[[service.destination]]\naddress = '198.19.1.11'\ntunnel = '{tunnel}\n\n",
            5000 + n
        )
    };
    let config: String = config.iter().enumerate().map(service).collect();
    let mut case = Case::new("tunnels", about, &format!("\n{config}"));
    for (port, overhead) in [(5000, 24), (5001, 28), (5002, 32), (5003, 32)] {
        let question = udp_to_vip(CLIENT, port, b"question");
        case = case.d0(question.build()).d0(Udp { sum: false, ..question }.build());
        for len in [1500 - overhead, 1501 - overhead] {
            case = case.d0(Udp { payload: payload(len - 28), ..question }.build());
        }
    }
    case
}

fn no_path_mtu_discovery() -> Case {
    let about = "Without path MTU discovery a tunnel takes every packet whole: the outer one may be fragmented, and is where it is too large.";
    let config = r#"
[[service]]
listen = "198.18.0.100:53/udp"
forward = "tun"
pmtu-discovery = false

[[service.destination]]
address = "198.19.1.11"
"#;
    let question = udp_to_vip(CLIENT, 53, b"question");
    let large = Udp { payload: payload(1472), ..question };
    Case::new("no-path-mtu-discovery", about, config).d0(question.build()).d0(large.build()).d0(Udp {
        ip: Ip { df: false, ..large.ip },
        ..large
    }
    .build())
}

fn segment_sizes() -> Case {
    let about = "SYNs announce at most what the way can carry, where a tunnel makes it narrower; or what the configuration says, both ways under NAT.";
    let service = |port: u16, forward: &str, clamp: &str| {
        let to = if forward == "nat" { ":8080" } else { "" };
        format!(
            "[[service]]\nlisten = '198.18.0.100:{port}/tcp'\nforward = '{forward}'\nmss-clamp = {clamp}\n\n[[service.destination]]\naddress = '198.19.1.11{to}'\n\n"
        )
    };
    let config = [
        service(80, "tun", "'auto'"),
        service(81, "tun", "'off'"),
        service(82, "nat", "'auto'"),
        service(83, "nat", "1000"),
        service(84, "dr", "1000"),
    ]
    .concat();
    let mut case = Case::new("segment-sizes", about, &format!("\n{config}"));
    for port in 80u16..85 {
        let syn = to_vip(other(port.to_be_bytes()[1]), port, "S");
        case = case.d0(with_mss(syn, 1460)).d0(with_mss(syn, 536)).d0(syn.build());
    }
    let answer = |n, flags| from_real(11, 8080, other(n), flags);
    case.d1(with_mss(answer(82, "SA"), 1460)).d1(with_mss(answer(83, "SA"), 1460))
}

fn sloppy() -> Case {
    let about = "A sloppy service picks connections up at any packet but a reset; one that is not leaves these to the kernel.";
    let config = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "sloppy"
sloppy = true

[[service.destination]]
address = "198.19.1.11:8080"

[[service]]
listen = "198.18.0.100:81/tcp"
name = "strict"

[[service.destination]]
address = "198.19.1.12:8080"
"#;
    let mut case = Case::new("sloppy", about, config);
    for port in [80, 81] {
        for (n, flags) in (1..).zip(["A", "PA", "FA", "SA", "R", "SF"]) {
            case = case.d0(to_vip(other(n), port, flags).build());
        }
    }
    case.d1(from_real(11, 8080, other(1), "A").build()).d0(to_vip(other(1), 80, "A").build())
}
