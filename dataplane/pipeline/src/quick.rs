//! A short way through parsing for IPv6: untagged frames with plain headers that hold a well-formed packet of a known
//! listen or real server. Whatever else a frame is, it is `None` here, and [`crate::parse`] finds out. (For IPv4 there is
//! a shorter one: [`crate::steady`].)
//!
//! What this accepts, it understands exactly as the long way does; a property holds the two together.

use crate::head::{be16, be64, transport};
use crate::key::Key;
use crate::packet::Packet;
use crate::parse::Parsed;
use crate::snapshot::{Interface, Snapshot};
use crate::tables::Tables;
use sheave_proto::wire::eth::{HEADER_LEN as L3, ethertype};
use std::net::Ipv6Addr;

/// A plain header of IPv6 with a TCP header behind it. Datagrams of UDP that are shorter go the long way.
const HEAD: usize = L3 + 40 + 20;

/// Parses a frame that came in on `interface`.
#[inline(always)]
pub(crate) fn parse(
    bytes: &[u8],
    interface: &Interface,
    snapshot: &Snapshot,
    tables: &Tables,
) -> Option<Parsed> {
    let head = bytes.first_chunk::<HEAD>()?;
    if head[..6] != interface.mac.0 || be16(head, 12) != ethertype::IPV6 {
        return None;
    }
    v6(bytes.len(), head, snapshot, tables)
}

#[inline(always)]
fn v6(frame: usize, head: &[u8; HEAD], snapshot: &Snapshot, tables: &Tables) -> Option<Parsed> {
    let payload = be16(head, 18);
    let fits = usize::from(payload) + L3 + 40 <= frame && payload >= 8;
    if head[14] >> 4 != 6 || !fits {
        return None;
    }
    let (proto, flags) = transport(head[20], usize::from(payload), be16(head, 58), be16(head, 66))?;
    let addr =
        |at: usize| Ipv6Addr::from_bits((u128::from(be64(head, at)) << 64) | u128::from(be64(head, at + 8)));
    let (src, dst) = (addr(22), addr(38));
    let (sport, dport) = (be16(head, 54), be16(head, 56));
    let packet = |key: Key| Packet {
        key,
        hash: tables.hash(&key),
        hint: None,
        l3: 14,
        l4: 54,
        len: payload.saturating_add(40),
        sport,
        dport,
        proto,
        flags,
        ttl: head[21],
        v6: true,
        df: true,
    };
    if payload > u16::MAX - 40 {
        return None;
    }
    if let Some(listen) = snapshot.listen_at_v6(dst, dport, proto) {
        // Unspecified, loopback and mapped addresses, multicast, the VIP itself: likewise.
        let doubtful = head[22] == 0 || head[22] == 0xff || src == dst;
        let key = || Key::wide_in((src.into(), sport), dport, listen);
        return (!doubtful).then(|| Parsed::Inbound(packet(key()), listen));
    }
    let real = snapshot.real_at_v6(src, sport, proto)?;
    let own = snapshot.is_own(dst.into());
    (!own).then(|| Parsed::Outbound(packet(Key::wide_out((dst.into(), dport), sport, real)), real))
}

#[cfg(test)]
mod tests {
    use crate::parse::parse_any;
    use crate::pipeline::Shared;
    use crate::snapshot::{Method, Ports};
    use crate::testing::{CLIENT_SIDE, Packet, SERVER_SIDE, Site, real6, vip, vip6};
    use proptest::prelude::*;
    use proptest::sample::select;
    use sheave_proto::wire::flow::Proto;
    use std::net::IpAddr;
    use std::sync::OnceLock;

    /// Services of both families with one port, a range and every port; a bundle; one destination that keeps each
    /// packet's port.
    fn site(wide: bool) -> Site {
        let mut site = Site::default();
        for vip in [IpAddr::from(vip(0)), vip6(0).into()] {
            site.add(vip, 80, Proto::Tcp, Method::Nat, 2).more.push((vip, Ports::One(80), Proto::Udp));
            if wide {
                site.add(vip, 1, Proto::Tcp, Method::Nat, 1).ports = Ports::Range(90, 95);
                site.add(vip, 1, Proto::Udp, Method::Nat, 2).ports = Ports::Any;
                for destination in &mut site.services[1].destinations {
                    destination.port = None;
                }
            }
        }
        site
    }

    fn end(v6: bool) -> impl Strategy<Value = (IpAddr, u16)> {
        let v4 =
            ["198.18.0.100", "198.19.1.10", "198.18.0.1", "192.0.2.7", "127.0.0.1", "224.0.0.1", "0.0.0.0"];
        let v6s = [vip6(0), real6(0)].map(|addr| addr.to_string());
        let v6s = v6s.iter().map(String::as_str).chain(["2001:db8::7", "::1", "ff02::1", "::ffff:192.0.2.7"]);
        let list: Vec<&str> = if v6 { v6s.collect() } else { v4.to_vec() };
        let list: Vec<IpAddr> = list.into_iter().map(|addr| addr.parse().expect("an address")).collect();
        (select(list), select(vec![0, 1, 80, 90, 95, 96, 8080, 40_000]))
    }

    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let ends = any::<bool>().prop_flat_map(|v6| (end(v6), end(v6)));
        let flaw = prop::option::weighted(0.3, (0usize..80, any::<u8>()));
        (ends, any::<bool>(), 0u8..64, 0usize..9, flaw).prop_map(|((from, to), udp, flags, payload, flaw)| {
            let proto = if udp { Proto::Udp } else { Proto::Tcp };
            let mut packet = Packet::from_client(proto, from, to, flags).payload(&vec![7; payload]);
            packet.port = CLIENT_SIDE;
            let mut bytes = packet.bytes();
            if let Some((at, value)) = flaw {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn the_short_way_understands_what_the_long_way_does(frame in frame(), wide: bool) {
            static SHARED: OnceLock<Shared> = OnceLock::new();
            let tables = SHARED.get_or_init(|| Shared::on_heap(16, 7)).tables;
            let snapshot = site(wide).snapshot();
            let interface = snapshot.interface(CLIENT_SIDE).expect("there");
            if let Some(short) = super::parse(&frame, interface, &snapshot, &tables) {
                let long = parse_any(&frame, interface, &snapshot, &tables);
                prop_assert_eq!(format!("{short:?}"), format!("{long:?}"));
            }
        }
    }

    #[test]
    fn plain_packets_take_the_short_way() {
        let tables = Shared::on_heap(16, 7).tables;
        let snapshot = site(true).snapshot();
        let interface = snapshot.interface(SERVER_SIDE).expect("there");
        let client: (std::net::Ipv6Addr, u16) = ("2001:db8::7".parse().expect("an address"), 40_000);
        let mut ask = Packet::from_client(Proto::Tcp, client, (vip6(0), 80), Packet::ACK);
        ask.port = SERVER_SIDE;
        let answer = Packet::from_real(Proto::Tcp, (real6(0), 8080), client, Packet::ACK);
        for packet in [ask, answer] {
            assert!(super::parse(&packet.bytes(), interface, &snapshot, &tables).is_some(), "{packet:?}");
        }
    }
}
