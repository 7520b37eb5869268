//! Fragments that come in.

use crate::support::Case;
use crate::support::frames::{
    CLIENT, D1, IP, Ip, Tcp, Udp, cut, fragment, real, real_mac, to_vip, udp_from_real, udp_to_vip,
};

const METHODS: &str = r#"
[[service]]
listen = "198.18.0.100:53/udp"
name = "nat"

[[service.destination]]
address = "198.19.1.11:5353"

[[service.destination]]
address = "198.19.1.12:5353"

[[service]]
listen = "198.18.0.100:54/udp"
name = "dr"
forward = "dr"

[[service.destination]]
address = "198.19.1.12"

[[service]]
listen = "198.18.0.100:55/udp"
name = "tun"
forward = "tun"

[[service.destination]]
address = "198.19.1.12"

[[service]]
listen = "198.18.0.100:56/udp"
name = "nobody"
"#;

pub(crate) fn cases() -> Vec<Case> {
    vec![in_order_and_not(), refused()]
}

fn payload(len: usize) -> &'static [u8] {
    Box::leak(vec![0x5a; len].into_boxed_slice())
}

/// A datagram to the VIP, in pieces.
fn pieces(port: u16, ident: u16, step: usize) -> Vec<Vec<u8>> {
    let ip = Ip { df: false, ident, ..IP };
    cut(&Udp { ip, payload: payload(1992), ..udp_to_vip(CLIENT, port, b"") }.build(), step)
}

fn in_order_and_not() -> Case {
    let about = "All fragments of a datagram go where the first one goes, those that come before it too; also those that are the kernel's.";
    let mut case = Case::new("fragments", about, METHODS);
    for (ident, port) in [(1, 53), (2, 54), (3, 55), (4, 57)] {
        let ordered = pieces(port, ident, 800);
        let mixed = pieces(port, ident + 10, 800);
        case = ordered.iter().chain(mixed.iter().rev()).fold(case, |case, piece| case.d0(piece.clone()));
    }
    let ip = Ip { df: false, ident: 20, ..IP };
    let answer = udp_from_real(11, 5353, CLIENT, payload(1992));
    let answer = cut(&Udp { ip, ..answer }.build(), 800);
    let case = answer.iter().rev().fold(case, |case, piece| case.d1(piece.clone()));
    // From a port that no destination has: the real server's own.
    let own = Udp {
        macs: (real_mac(11), D1),
        from: real(11, 999),
        ip: Ip { ident: 21, ..ip },
        ..udp_from_real(11, 5353, CLIENT, payload(1992))
    };
    cut(&own.build(), 800).iter().rev().fold(case, |case, piece| case.d1(piece.clone()))
}

fn refused() -> Case {
    let about = "Fragments that are wrong, by themselves or beside others; that are too many; whose first one never comes, or is refused itself.";
    let all = |port, ident| pieces(port, ident, 800);
    let tcp = |ident| {
        let ip = Ip { df: false, ident, ..IP };
        Tcp { ip, payload: payload(100), ..to_vip(CLIENT, 53, "S") }.build()
    };
    let case = Case::new("fragments-refused", about, METHODS)
        // fragment-malformed: uneven; beyond the longest datagram.
        .d0(pieces(53, 1, 801)[0].clone())
        .d0(fragment(all(53, 2)[2].clone(), false, 8190))
        // fragment-tiny: the header of TCP ends behind the first, or in the second.
        .d0(cut(&tcp(3), 16)[0].clone())
        .d0(cut(&tcp(4), 8)[1].clone())
        // fragment-duplicate, then fragment-overlap, which ends the datagram.
        .d0(all(53, 5)[0].clone())
        .d0(all(53, 5)[0].clone())
        .d0(pieces(53, 5, 808)[1].clone())
        .d0(pieces(53, 5, 792)[1].clone())
        .d0(all(53, 5)[2].clone())
        // Nobody serves: the first is answered, the others dropped.
        .d0(all(56, 6)[1].clone())
        .d0(all(56, 6)[0].clone())
        .d0(all(56, 6)[2].clone());
    // fragment-too-many before the first.
    let case = pieces(53, 7, 24)[1..67].iter().fold(case, |case, piece| case.d0(piece.clone()));
    // fragment-unmatched: a second later it is too late, and the first comes as if it were alone.
    case.d0(all(53, 8)[1].clone()).at(2_000_000, "d0", all(53, 8)[0].clone())
}
