//! Persistence, and packets that are scheduled one by one.

use crate::support::Case;
use crate::support::frames::{CLIENT, Place, from_real, to_vip, udp_from_real, udp_to_vip};

const SECOND: u64 = 1_000_000;

fn web(keys: &str) -> String {
    format!(
        r#"
[[service]]
listen = ["198.18.0.100:80/tcp", "198.18.0.100:443/tcp", "198.18.0.100:443/udp"]
name = "web"
scheduler = "rr"
forward = "dr"
{keys}

[[service.destination]]
address = "198.19.1.11"

[[service.destination]]
address = "198.19.1.12"
"#
    )
}

/// A client of 203.0.113.0/24 and one of the next network.
const NEIGHBOUR: Place = ([203, 0, 113, 200], 40_000);
const STRANGER: Place = ([203, 0, 114, 7], 40_000);

fn port(client: Place, port: u16) -> Place {
    (client.0, port)
}

pub(crate) fn cases() -> Vec<Case> {
    vec![sticks(), moves(), ages(), under_nat(), any_port(), one_packet(), listed()]
}

fn sticks() -> Case {
    let about = "Persistence by /24 over all ports and protocols of a bundle: clients of one network share a \
                 destination, those of another get the next.";
    Case::new("persistence", about, &web(r#"persistence = { timeout = "5m", netmask = 24 }"#))
        .d0(to_vip(CLIENT, 80, "S").build())
        .d0(to_vip(STRANGER, 80, "S").build())
        .d0(to_vip(port(CLIENT, 40_001), 443, "S").build())
        .d0(udp_to_vip(NEIGHBOUR, 443, b"hello").build())
        .d0(udp_to_vip(STRANGER, 443, b"hello").build())
        .d0(to_vip(port(NEIGHBOUR, 40_001), 80, "S").build())
}

fn listed() -> Case {
    let about = "Sticky tables, listed by service, client and destination and cleared: the next connection of a client \
                 whose template is gone is scheduled anew, and those that it has go on. The template lives by them \
                 when their last use is long ago.";
    let keys = r#"persistence = { timeout = "20s", netmask = 24 }"#;
    let list = |case: Case, at, args| case.control(at, "sticky.list", args);
    let mut case = Case::new("sticky", about, &web(keys));
    case = case.d0(to_vip(CLIENT, 80, "S").build()).d0(to_vip(STRANGER, 443, "S").build());
    case = case.d0(udp_to_vip(CLIENT, 443, b"hello").build());
    case = list(case, 1, "{}");
    case = list(case, 1, r#"{"service":"198.18.0.100:443/udp","client":"203.0.113.99"}"#);
    case = list(case, 1, r#"{"client":"203.0.112.0/20","destination":"198.19.1.12"}"#);
    case = list(case, 1, r#"{"destination":"198.19.1.12:80"}"#);
    case = list(case, 1, r#"{"service":"mail"}"#);
    case = list(case, 1, r#"{"client":"203.0.113.99:80"}"#);
    case = list(case, 1, r#"{"cursor":"x"}"#);
    case = list(case, 30, r#"{"limit":1}"#);
    case.at(30 * SECOND, "d0", to_vip(CLIENT, 80, "A").build())
        .control(31, "sticky.clear", r#"{"service":"web","client":"203.0.113.7"}"#)
        .control(31, "sticky.list", "{}")
        .at(32 * SECOND, "d0", to_vip(CLIENT, 80, "A").build())
        .d0(to_vip(STRANGER, 80, "S").build())
        .d0(to_vip(([203, 0, 115, 9], 40_000), 80, "S").build())
        .d0(to_vip(NEIGHBOUR, 80, "S").build())
        .d0(to_vip(port(NEIGHBOUR, 40_001), 80, "S").build())
        .control(33, "sticky.list", "{}")
        .control(33, "sticky.clear", r#"{"service":"mail"}"#)
        .control(33, "sticky.clear", "{}")
        .control(33, "connections.list", r#"{"proto":"udp"}"#)
        .at(34 * SECOND, "d0", to_vip(port(STRANGER, 40_009), 443, "S").build())
        .control(35, "sticky.list", "{}")
        .at(36 * SECOND, "d0", to_vip(CLIENT, 80, "A").build())
}

fn moves() -> Case {
    let about = "A template leads to a destination of weight 0 still; not to one that is in maintenance or gone: its \
                 client is given another, and stays there.";
    let weight = |weight| format!(r#"{{"service":"web","address":"198.19.1.11","weight":{weight}}}"#);
    Case::new("persistence-moves", about, &web(r#"persistence = {}"#))
        .d0(to_vip(CLIENT, 80, "S").build())
        .control(1, "destination.set", &weight(0))
        .at(2 * SECOND, "d0", to_vip(port(CLIENT, 40_001), 443, "S").build())
        .d0(to_vip(STRANGER, 80, "S").build())
        .control(3, "destination.remove", r#"{"service":"web","address":"198.19.1.11"}"#)
        .at(4 * SECOND, "d0", to_vip(port(CLIENT, 40_002), 443, "S").build())
        .control(5, "destination.add", r#"{"service":"web","address":"198.19.1.11"}"#)
        .at(6 * SECOND, "d0", to_vip(port(CLIENT, 40_003), 80, "S").build())
        .d0(to_vip(port(CLIENT, 40_004), 80, "S").build())
}

fn ages() -> Case {
    let about = "A template lives for its timeout after its last use, and as long as it has connections then: armed \
                 for 60 s, again and again. Two clients get a destination each; their connections end 85 s after the \
                 beginning, so their templates are armed at 20 s and at 80 s, and end at 140 s: one client comes \
                 before, and one after that.";
    let keys = r#"persistence = { timeout = "20s" }
timeouts = { tcp-fin = "75s" }"#;
    let mut case = Case::new("persistence-expiry", about, &web(keys));
    for client in [CLIENT, STRANGER] {
        case = case.d0(to_vip(client, 80, "S").build()).d0(to_vip(client, 80, "A").build());
    }
    case.at(10 * SECOND, "d0", to_vip(CLIENT, 80, "FA").build())
        .d0(to_vip(STRANGER, 80, "FA").build())
        .at(139 * SECOND, "d0", to_vip(port(CLIENT, 40_001), 80, "S").build())
        .at(142 * SECOND, "d0", to_vip(port(STRANGER, 40_001), 80, "S").build())
}

fn under_nat() -> Case {
    let about = "Persistence under NAT: a client whose port is in use with its destination through another service \
                 waits for another port, and does not go elsewhere.";
    let nat = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "web"
scheduler = "rr"
persistence = {}

[[service.destination]]
address = "198.19.1.11:8080"

[[service.destination]]
address = "198.19.1.12:8080"

[[service]]
listen = "198.18.0.100:81/tcp"
name = "other"

[[service.destination]]
address = "198.19.1.11:8080"
"#;
    Case::new("persistence-nat", about, nat)
        .d0(to_vip(CLIENT, 80, "S").build())
        .d1(from_real(11, 8080, CLIENT, "SA").build())
        .d0(to_vip(port(CLIENT, 40_001), 81, "S").build())
        .d0(to_vip(port(CLIENT, 40_001), 80, "S").build())
        .d0(to_vip(port(CLIENT, 40_002), 80, "S").build())
        .d1(from_real(11, 8080, port(CLIENT, 40_002), "SA").build())
}

fn any_port() -> Case {
    let about = "Persistence of a service on every port: one template for all of them.";
    let any = r#"
[[service]]
listen = "198.18.0.100:*/udp"
name = "any"
scheduler = "rr"
persistence = {}

[[service.destination]]
address = "198.19.1.11"

[[service.destination]]
address = "198.19.1.12"
"#;
    Case::new("persistence-any-port", about, any)
        .d0(udp_to_vip(CLIENT, 53, b"ping").build())
        .d1(udp_from_real(11, 53, CLIENT, b"pong").build())
        .d0(udp_to_vip(CLIENT, 5000, b"ping").build())
        .d1(udp_from_real(11, 5000, CLIENT, b"pong").build())
        .d0(udp_to_vip(STRANGER, 53, b"ping").build())
        .d0(udp_to_vip(CLIENT, 9, b"ping").build())
}

fn one_packet() -> Case {
    let about = "one-packet: each datagram of one flow is scheduled by itself, and nothing is remembered of it; TCP of \
                 the same service has connections. What NAT sends there has no way back.";
    let log = r#"
[[service]]
listen = ["198.18.0.100:514/udp", "198.18.0.100:514/tcp"]
name = "log"
scheduler = "rr"
one-packet = true

[[service.destination]]
address = "198.19.1.11"
forward = "dr"

[[service.destination]]
address = "198.19.1.12:1514"
"#;
    Case::new("one-packet", about, log)
        .d0(udp_to_vip(CLIENT, 514, b"first").build())
        .d0(udp_to_vip(CLIENT, 514, b"second").build())
        .d0(udp_to_vip(CLIENT, 514, b"third").build())
        .d1(udp_from_real(12, 1514, CLIENT, b"answer").build())
        .d0(to_vip(CLIENT, 514, "S").build())
        .d0(to_vip(CLIENT, 514, "A").build())
}
