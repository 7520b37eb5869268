//! Services with more than one port.

use crate::support::Case;
use crate::support::frames::{CLIENT, Place, from_real, to_vip, udp_from_real, udp_to_vip};

/// Another connection of the same client.
const SECOND: Place = (CLIENT.0, 40_001);

const BUNDLE: &str = r#"
[[service]]
listen = ["198.18.0.100:80/tcp", "198.18.0.100:443/tcp", "198.18.0.100:443/udp"]
name = "web"
scheduler = "rr"

[[service.destination]]
address = "198.19.1.11"

[[service.destination]]
address = "198.19.1.12:8443"
"#;

const WIDE: &str = r#"
[[service]]
listen = "198.18.0.100:5000-5100/udp"
name = "range"

[[service.destination]]
address = "198.19.1.11"

[[service]]
listen = "198.18.0.100:*/udp"
name = "rest"

[[service.destination]]
address = "198.19.1.12"

[[service]]
listen = "198.18.0.100:5050/udp"
name = "one"

[[service.destination]]
address = "198.19.1.12:53"

[[service]]
listen = "198.18.0.100:8000-8100/tcp"
name = "mapped"

[[service.destination]]
address = "198.19.1.11:80"
"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![bundle(), bundle_grows(), wide()]
}

fn bundle() -> Case {
    let about = "A bundle under NAT: one pool for all its ports and protocols. A destination without a port keeps \
                 each packet's; one with a port takes all.";
    Case::new("bundle", about, BUNDLE)
        .d0(to_vip(CLIENT, 80, "S").build())
        .d1(from_real(11, 80, CLIENT, "SA").build())
        .d0(to_vip(SECOND, 443, "S").build())
        .d1(from_real(12, 8443, SECOND, "SA").build())
        .d0(udp_to_vip(CLIENT, 443, b"hello").build())
        .d1(udp_from_real(11, 443, CLIENT, b"hi").build())
        // The port of the other protocol, and a port that is none of the bundle's.
        .d1(udp_from_real(11, 80, CLIENT, b"hi").build())
        .d0(udp_to_vip(CLIENT, 80, b"hello").build())
        .d0(to_vip(SECOND, 22, "S").build())
}

fn bundle_grows() -> Case {
    let about = "A service that gets a second listen and loses it again keeps its connections, its counters and \
                 its destinations.";
    let one = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
scheduler = "rr"

[[service.destination]]
address = "198.19.1.11"
"#;
    let case = Case::new("bundle-grows", about, one);
    let text = case.config_text();
    let apply = |listen: &str| {
        let text = text.replace(r#""198.18.0.100:80/tcp""#, listen);
        serde_json::json!({ "toml": text, "file": "new.toml" }).to_string()
    };
    let two = apply(r#"["198.18.0.100:443/tcp", "198.18.0.100:80/tcp"]"#);
    let back = apply(r#""198.18.0.100:80/tcp""#);
    case.d0(to_vip(CLIENT, 80, "S").build())
        .d1(from_real(11, 80, CLIENT, "SA").build())
        .control(1, "config.apply", &two)
        .at(1_500_000, "d0", to_vip(CLIENT, 80, "A").build())
        .d1(from_real(11, 80, CLIENT, "A").build())
        .d0(to_vip(SECOND, 443, "S").build())
        .d1(from_real(11, 443, SECOND, "SA").build())
        .control(2, "config.apply", &back)
        .at(2_500_000, "d0", to_vip(CLIENT, 80, "A").build())
        .d1(from_real(11, 80, CLIENT, "A").build())
        .d0(to_vip(SECOND, 443, "A").build())
}

fn wide() -> Case {
    let about = "Ranges and any port under NAT: an exact port wins over a range, a range over any port. Destinations \
                 keep each packet's port, or map all to theirs.";
    let udp = |port, real, rport| {
        (udp_to_vip(CLIENT, port, b"ping").build(), udp_from_real(real, rport, CLIENT, b"pong").build())
    };
    let mut case = Case::new("wide-ports", about, WIDE);
    for (port, real, rport) in
        [(5000, 11, 5000), (5100, 11, 5100), (5050, 12, 53), (5101, 12, 5101), (9, 12, 9)]
    {
        let (ask, answer) = udp(port, real, rport);
        case = case.d0(ask).d1(answer);
    }
    // One client and port, two of the range's: two connections.
    case.d0(udp_to_vip(CLIENT, 5001, b"ping").build())
        .d1(udp_from_real(11, 5001, CLIENT, b"pong").build())
        .d1(udp_from_real(11, 5002, CLIENT, b"pong").build())
        // The mapped port is one for all of the range: the second connection's replies could not be told apart.
        .d0(to_vip(CLIENT, 8000, "S").build())
        .d1(from_real(11, 80, CLIENT, "SA").build())
        .d0(to_vip(CLIENT, 8001, "S").build())
        .d0(to_vip(SECOND, 8001, "S").build())
        .d1(from_real(11, 80, SECOND, "SA").build())
        .d0(to_vip(CLIENT, 8101, "S").build())
}
