//! More new connections than a worker takes entries for.

use crate::support::Case;
use crate::support::frames::{CLIENT, Place, Tcp, from_real, to_vip, udp_to_vip, with};

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
    vec![adrift(), under_nat(), sticks(), proxied(), unanswered()]
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
    let about = "Flood mode under NAT, of each listen by itself: a datagram needs an entry for its answer, and does not get \
                 one; a SYN is answered with a cookie, and who acknowledges none is dropped.";
    Case::new("flood-nat", about, &web("nat", ""))
        .d0(udp_to_vip(CLIENT, 443, b"hello").build())
        .d0(udp_to_vip(stranger(1), 443, b"hello").build())
        .d0(udp_to_vip(stranger(2), 443, b"hello").build())
        .d0(udp_to_vip(stranger(3), 443, b"hello").build())
        .d0(udp_to_vip(CLIENT, 443, b"again").build())
        .d0(to_vip(stranger(1), 80, "S").build())
        .d0(to_vip(stranger(2), 80, "S").build())
        .d0(to_vip(CLIENT, 80, "S").build())
        .d0(to_vip(CLIENT, 80, "A").build())
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

const PROXY: &str = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "web"
scheduler = "rr"
syn-proxy = true

[[service.destination]]
address = "198.19.1.11:8080"

[[service.destination]]
address = "198.19.1.12:8080"
"#;

/// The numbers of the cookies for the client's SYNs of this case at seed 0, as the first replay gave them: whoever has
/// not seen an answer cannot know them.
const COOKIES: [u32; 2] = [4_152_442_466, 4_152_442_466];

fn proxied() -> Case {
    let about = "A service behind the SYN proxy: SYNs are answered with cookies and leave nothing behind. Who acknowledges one \
                 gets a real server, which gets the client's numbers; its own are translated in both directions.";
    let cookie = COOKIES[0];
    let says = |flags, seq, ack, payload| Tcp { seq, ack, payload, ..to_vip(CLIENT, 80, flags) };
    let answers = |flags, seq, ack, payload| Tcp { seq, ack, payload, ..from_real(11, 8080, CLIENT, flags) };
    Case::new("syn-proxy", about, PROXY)
        .d0(to_vip(stranger(1), 80, "S").build())
        .d0(to_vip(CLIENT, 80, "S").build())
        .d0(with(to_vip(CLIENT, 80, "S").build(), 51, 0))
        // Guessed, and cut off from a connection that was never there.
        .d0(says("A", 1001, cookie, b"").build())
        .d0(says("FA", 2001, cookie + 1, b"").build())
        .d0(says("A", 1001, cookie + 1, b"").build())
        // It may not send yet, and does.
        .d0(says("PA", 1001, cookie + 1, b"early").build())
        .d1(answers("SA", 7000, 1001, b"").build())
        .d0(says("PA", 1001, cookie + 1, b"hello").build())
        .d1(answers("PA", 7001, 1006, b"world").build())
        .d1(answers("FA", 7006, 1006, b"").build())
        .d0(says("FA", 1006, cookie + 7, b"").build())
        .d1(answers("A", 7007, 1007, b"").build())
}

fn unanswered() -> Case {
    let about = "A real server behind the SYN proxy that does not answer is asked again; one that refuses resets its client.";
    let cookie = COOKIES[1];
    let says = |from, flags, ack| Tcp { seq: 1001, ack, ..to_vip(from, 80, flags) };
    let other = udp_to_vip(stranger(9), 9, b"time passes");
    Case::new("syn-proxy-unanswered", about, PROXY)
        .d0(to_vip(CLIENT, 80, "S").build())
        .d0(says(CLIENT, "A", cookie + 1).build())
        .at(3 * SECOND, "d0", other.build())
        .at(6 * SECOND, "d0", other.build())
        .d1(Tcp { ack: 1001, ..from_real(11, 8080, CLIENT, "RA") }.build())
}
