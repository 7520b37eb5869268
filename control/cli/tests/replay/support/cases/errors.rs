//! ICMP errors about packets that the director forwarded.

use crate::support::Case;
use crate::support::frames::{
    CLIENT, D0, D1, GATEWAY, IP, Place, Tcp, VIP, icmp, ipv4, real, real_mac, resealed, to_vip, with,
};

const METHODS: &str = r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "nat"

[[service.destination]]
address = "198.19.1.11:8080"

[[service]]
listen = "198.18.0.100:81/tcp"
name = "dr"
forward = "dr"

[[service.destination]]
address = "198.19.1.12"

[[service]]
listen = "198.18.0.100:82/tcp"
name = "tun"
forward = "tun"

[[service.destination]]
address = "198.19.1.12"
"#;

/// Routers: one before the client, one before the real servers; and the director before these.
const OUTER: [u8; 4] = [203, 0, 113, 1];
const INNER: [u8; 4] = [198, 19, 1, 254];
const DIRECTOR: [u8; 4] = [198, 19, 1, 1];

pub(crate) fn cases() -> Vec<Case> {
    vec![errors()]
}

/// "Fragmentation needed" with this MTU, about a frame.
pub(super) fn too_big(from_inside: bool, ends: ([u8; 4], [u8; 4]), mtu: u16, about: &[u8]) -> Vec<u8> {
    let macs = if from_inside { (real_mac(12), D1) } else { (GATEWAY, D0) };
    let rest = [&[0, 0][..], &mtu.to_be_bytes(), &about[14..about.len().min(14 + 548)]].concat();
    icmp(macs, ends, 3, 4, &rest)
}

/// A segment of the VIP's as its client gets it.
fn answer(port: u16) -> Vec<u8> {
    Tcp { macs: (D0, GATEWAY), from: (VIP, port), to: CLIENT, ..to_vip(CLIENT, port, "A") }.build()
}

/// A segment of the client's as it is on its way to a real server.
fn forwarded(to: Place) -> Vec<u8> {
    Tcp { macs: (D1, real_mac(11)), to, ..to_vip(CLIENT, 80, "A") }.build()
}

/// The same in the tunnel.
fn tunnelled(source: [u8; 4]) -> Vec<u8> {
    let inner = Tcp { payload: &[0x5a; 600], ..to_vip(CLIENT, 82, "A") }.build();
    ipv4((D1, real_mac(12)), IP, 4, (source, real(12, 0).0), &inner[14..])
}

fn errors() -> Case {
    let about = "ICMP errors go where the packet came from that they are about: through NAT translated, with DR as they are, with TUN in the tunnel. \
Those about the tunnel itself become errors about what was in it, and count for everybody from then on. Those about no connection are the kernel's.";
    let large = |from: Place, port| Tcp { payload: &[0x5a; 1000], ..to_vip(from, port, "A") }.build();
    let outer = |mtu, about: &[u8]| too_big(false, (OUTER, VIP), mtu, about);
    Case::new("icmp-errors", about, METHODS)
        .d0(to_vip(CLIENT, 80, "S").build())
        .d0(to_vip(CLIENT, 81, "S").build())
        .d0(to_vip(CLIENT, 82, "S").build())
        // From the clients' side, about what the VIP sent.
        .d0(outer(1400, &answer(80)))
        .d0(outer(1400, &answer(81)))
        .d0(outer(1400, &answer(82)))
        // From the real servers' side, about what a client sent: by a router, and by the real server.
        .d1(too_big(true, (INNER, CLIENT.0), 1400, &forwarded(real(11, 8080))))
        .d1(icmp(
            (real_mac(11), D1),
            (real(11, 0).0, CLIENT.0),
            3,
            3,
            &[&[0; 4][..], &forwarded(real(11, 8080))[14..]].concat(),
        ))
        // About the tunnel: the client is told, and so is whoever sends too much afterwards.
        .d0(large(CLIENT, 82))
        .d1(too_big(true, (INNER, DIRECTOR), 600, &tunnelled(DIRECTOR)))
        .d0(large(CLIENT, 82))
        .d1(icmp(
            (real_mac(12), D1),
            (INNER, DIRECTOR),
            11,
            1,
            &[&[0; 4][..], &tunnelled(DIRECTOR)[14..]].concat(),
        ))
        // icmp-not-ours: no connection; not what the VIP sent; not what this director sent.
        .d0(outer(1400, &answer(443)))
        .d0(outer(1400, &forwarded(real(11, 8080))))
        .d1(too_big(true, (INNER, CLIENT.0), 1400, &forwarded(real(11, 8081))))
        .d1(too_big(true, (INNER, DIRECTOR), 600, &tunnelled([198, 19, 1, 2])))
        // icmp-quote, icmp-checksum, and one whose time to live is over.
        .d0(icmp((GATEWAY, D0), (OUTER, VIP), 3, 4, &[&[0; 4][..], &answer(80)[14..36]].concat()))
        .d0(with(outer(1400, &answer(80)), 60, 0xff))
        .d0({
            let mut late = outer(1400, &answer(80));
            late[22] = 1;
            resealed(late)
        })
        // Ten minutes later the path is tried again.
        .at(611_000_000, "d0", to_vip(CLIENT, 82, "S").build())
        .d0(large(CLIENT, 82))
}
