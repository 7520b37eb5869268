//! More new connections than a worker takes entries for.

use crate::support::Case;
use crate::support::frames::{CLIENT, Place, to_vip, udp_to_vip};

const SECOND: u64 = 1_000_000;

fn web(forward: &str, keys: &str) -> String {
    format!(
        r#"
[director]
flood = {{ new-connections = 2 }}

[[service]]
listen = ["198.18.0.100:80/tcp", "198.18.0.100:443/udp"]
name = "web"
scheduler = "wlc"
forward = "{forward}"
{keys}

[[service.destination]]
address = "198.19.1.11"

[[service.destination]]
address = "198.19.1.12"
"#
    )
}

/// The `n`th source of a flood.
fn stranger(n: u8) -> Place {
    ([198, 51, 100, n], 1024)
}

pub(crate) fn cases() -> Vec<Case> {
    vec![adrift(), under_nat(), sticks()]
}

fn adrift() -> Case {
    let about = "Flood mode under DR: two connections a second get an entry. The third and later ones go where flow and \
                 pool say, the same for all their packets, and get their entry with the first acknowledgement that there \
                 is a token for. Established connections go on. A minute after the flood everything is as before it.";
    let flood = (1..5).fold(Case::new("flood", about, &web("dr", "")), |case, n| {
        case.d0(to_vip(stranger(n), 80, "S").build())
    });
    flood
        .d0(to_vip(stranger(1), 80, "A").build())
        .d0(to_vip(CLIENT, 80, "S").build())
        .d0(to_vip(CLIENT, 80, "S").build())
        // No token is left.
        .d0(to_vip(CLIENT, 80, "A").build())
        .d0(udp_to_vip(CLIENT, 443, b"hello").build())
        .d0(to_vip(stranger(9), 80, "SF").build())
        .at(3 * SECOND, "d0", to_vip(CLIENT, 80, "A").build())
        .d0(to_vip(CLIENT, 80, "PA").build())
        .d0(to_vip(stranger(7), 80, "A").build())
        .d0(to_vip(stranger(8), 80, "R").build())
        .at(80 * SECOND, "d0", to_vip(CLIENT, 80, "FA").build())
        .d0(to_vip(stranger(8), 80, "A").build())
}

fn under_nat() -> Case {
    let about = "Flood mode under NAT: a datagram needs an entry for its answer, and does not get one.";
    Case::new("flood-nat", about, &web("nat", ""))
        .d0(udp_to_vip(CLIENT, 443, b"hello").build())
        .d0(udp_to_vip(stranger(1), 443, b"hello").build())
        .d0(udp_to_vip(stranger(2), 443, b"hello").build())
        .d0(udp_to_vip(stranger(3), 443, b"hello").build())
        .d0(udp_to_vip(CLIENT, 443, b"again").build())
        .at(3 * SECOND, "d0", udp_to_vip(stranger(3), 443, b"again").build())
}

fn sticks() -> Case {
    let about = "Flood mode and persistence: a client with a template goes where that leads, one without goes with its \
                 whole network, and gets its template with its entry.";
    let other: Place = ([203, 0, 113, 99], 40_000);
    let keys = r#"persistence = { timeout = "5m", netmask = 24 }"#;
    Case::new("flood-persistence", about, &web("dr", keys))
        .d0(to_vip(CLIENT, 80, "S").build())
        .d0(to_vip(stranger(1), 80, "S").build())
        .d0(to_vip(([192, 0, 2, 1], 1024), 80, "S").build())
        .d0(to_vip(other, 80, "S").build())
        .d0(to_vip(([192, 0, 2, 2], 1025), 80, "S").build())
        .at(3 * SECOND, "d0", to_vip(([192, 0, 2, 2], 1025), 80, "A").build())
        .d0(to_vip(([192, 0, 2, 3], 1026), 80, "S").build())
}
