//! Next hops whose hardware address is not known.

use crate::support::Case;
use crate::support::frames::{CLIENT, D1, arp, from_real, real, real_mac, to_vip};

const CONFIG: &str = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "web"
scheduler = "rr"

[[service.destination]]
address = "198.19.1.21:8080"
"#;

/// An answer of a real server to a request for its address.
fn answer(last: u8) -> Vec<u8> {
    arp(2, (real_mac(last), real(last, 0).0), (D1, [198, 19, 1, 1]), D1)
}

fn syn(client: u8) -> Vec<u8> {
    to_vip(([203, 0, 113, client], 40_000), 80, "S").build()
}

pub(crate) fn cases() -> Vec<Case> {
    vec![learned(), asked_again(), too_late(), full(), by_request()]
}

fn learned() -> Case {
    let about = "A packet whose next hop has no known address is held, an ARP request asks for it, and its answer \
                 releases what waits, in order. From then on the address is known, and a later change is seen.";
    Case::new("resolve", about, CONFIG)
        .d0(syn(1))
        .d0(syn(2))
        .d0(to_vip(([203, 0, 113, 1], 40_000), 80, "S").build())
        .d1(answer(99))
        .d1(answer(21))
        .d0(syn(3))
        .d1(from_real(21, 8080, ([203, 0, 113, 1], 40_000), "SA").build())
        .d1(arp(1, ([2, 0, 0, 0, 1, 0x77], real(21, 0).0), ([0; 6], [198, 19, 1, 1]), [0xff; 6]))
        .d0(syn(4))
        .at(5_000_000, "d0", to_vip(CLIENT, 80, "A").build())
}

fn asked_again() -> Case {
    let about = "Asked for once a second while something waits; after three seconds it is dropped. A later packet \
                 begins anew.";
    let other = |at| (at, "d0", to_vip(CLIENT, 80, "A").build());
    let mut case = Case::new("unresolved", about, CONFIG).d0(syn(1));
    case.frames.extend([500_000, 1_100_000, 2_200_000, 2_900_000, 3_500_000, 6_000_000].map(other));
    case.at(7_000_000, "d0", syn(2)).at(7_200_000, "d1", answer(21))
}

fn too_late() -> Case {
    let about = "An answer that comes after three seconds of silence releases nothing: what waited was given up \
                 before it.";
    let case = Case::new("resolve-too-late", about, CONFIG);
    case.d0(syn(1)).at(10_000_000, "d1", answer(21)).at(11_000_000, "d0", syn(2))
}

fn full() -> Case {
    let about = "At most 16 packets wait for one next hop.";
    let mut case = Case::new("hold-full", about, CONFIG);
    for client in 1..=18 {
        case = case.d0(syn(client));
    }
    case.d1(answer(21))
}

fn by_request() -> Case {
    let about = "A static neighbour that a new configuration brings releases what waits for it.";
    let known = "[[neighbour]]\naddress = \"198.19.1.21\"\nmac = \"02:00:00:00:01:15\"\ninterface = \"d1\"\n";
    let case = Case::new("resolve-by-request", about, CONFIG);
    let text = format!("{}{known}", case.config_text());
    let args = serde_json::json!({ "toml": text, "file": "new.toml" }).to_string();
    case.d0(syn(1)).at(1_500_000, "d0", to_vip(CLIENT, 80, "A").build()).control(1, "config.apply", &args)
}
