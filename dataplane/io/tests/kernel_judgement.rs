//! What the steering program takes, frame by frame, and how much of each frame it must have seen for that.
//!
//! Every frame that is ours is judged at every length: ours from the byte on that settles it, the kernel's below.

mod common;

use common::judge::{Cast, ETHERNET, V4, V6, assert_ours, assert_theirs, v4, v6};
use common::packets::*;
use std::net::IpAddr;

/// A request to port 80 of the VIP.
fn request(c: &Cast) -> Vec<u8> {
    ether(&ip(c.client, c.vip, TCP, 0, &tcp(1000, 80, SYN)))
}

#[test]
fn ports_decide_in_both_families() {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (c, l4) in [(v4(), V4), (v6(), V6)] {
        let packet = |from, to, proto, payload: &[u8]| ether(&ip(from, to, proto, 0, payload));
        ours.extend([
            ("a port of a VIP", request(&c), l4 + 4),
            ("every port of a VIP", packet(c.client, c.open, TCP, &tcp(1000, 1, ACK)), l4 + 4),
            ("port 0 of every port", packet(c.client, c.open, TCP, &tcp(1000, 0, ACK)), l4 + 4),
            ("a port beside every port", packet(c.client, c.open, UDP, &udp_datagram(1000, 53)), l4 + 4),
            ("a real's port", packet(c.real, c.client, TCP, &tcp(8080, 1000, ACK)), l4 + 4),
            ("every port of a real", packet(c.any_real, c.client, UDP, &udp_datagram(9, 9)), l4 + 4),
            ("a real that is a client of a VIP", packet(c.real, c.vip, TCP, &tcp(1, 80, SYN)), l4 + 4),
            ("a real answers from VIP to VIP", packet(c.real, c.vip, TCP, &tcp(8080, 22, ACK)), l4 + 4),
        ]);
        theirs.extend([
            ("another port of a VIP", packet(c.client, c.vip, TCP, &tcp(1000, 22, SYN))),
            ("port 0 of a VIP", packet(c.client, c.vip, TCP, &tcp(1000, 0, SYN))),
            ("the port by another protocol", packet(c.client, c.vip, UDP, &udp_datagram(1000, 80))),
            ("another port beside every port", packet(c.client, c.open, UDP, &udp_datagram(1000, 80))),
            ("another port of a real", packet(c.real, c.client, TCP, &tcp(22, 1000, ACK))),
            ("every port by another protocol", packet(c.any_real, c.client, TCP, &tcp(9, 9, ACK))),
            ("a real's port to the director", packet(c.real, c.own, TCP, &tcp(8080, 1000, ACK))),
            ("every port to the director", packet(c.any_real, c.own, UDP, &udp_datagram(9, 9))),
            ("a VIP as the source", packet(c.vip, c.client, TCP, &tcp(80, 1000, ACK))),
            ("a real as the destination", packet(c.client, c.real, TCP, &tcp(1000, 8080, ACK))),
            ("SCTP to a VIP", packet(c.client, c.vip, 132, &tcp(1000, 80, 0))),
            ("a multicast address of hardware", with(request(&c), 0, &[0x33, 0x33])),
            ("another version of IP", with(request(&c), ETHERNET, &[0x55])),
            ("another protocol than IP", with(request(&c), 12, &[0x88, 0xcc])),
        ]);
    }
    assert_ours(ours);
    assert_theirs(theirs);
}

#[test]
fn an_ipv6_packet_never_counts_as_one_of_ipv4() {
    let mapped = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => IpAddr::V6(addr.to_ipv6_mapped()),
        IpAddr::V6(_) => panic!("{addr} is IPv6"),
    };
    let (c, c6) = (v4(), v6());
    // The octets of an IPv4 VIP at the front, as its own key has them.
    let alike = addr("c612:64::");
    let solicitation = |target| ether(&discovery(135, c6.client, c6.vip, target));
    assert_theirs(vec![
        ("to a mapped VIP", ether(&ip(c6.client, mapped(c.vip), TCP, 0, &tcp(1000, 80, SYN)))),
        ("to an address like a VIP", ether(&ip(c6.client, alike, TCP, 0, &tcp(1000, 80, SYN)))),
        ("from a mapped real", ether(&ip(mapped(c.real), c6.client, TCP, 0, &tcp(8080, 1000, ACK)))),
        ("a solicitation for a mapped VIP", solicitation(mapped(c.vip))),
        ("a solicitation for an address like a VIP", solicitation(alike)),
    ]);
}

#[test]
fn tags_are_seen_through_two_deep() {
    const C: u16 = 0x8100;
    const S: u16 = 0x88a8;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for (c, l4) in [(v4(), V4), (v6(), V6)] {
        ours.extend([
            ("802.1Q", tagged(request(&c), &[C]), l4 + 8),
            ("802.1ad", tagged(request(&c), &[S]), l4 + 8),
            ("802.1Q in 802.1ad", tagged(request(&c), &[S, C]), l4 + 12),
            ("802.1Q in 802.1Q", tagged(request(&c), &[C, C]), l4 + 12),
        ]);
        theirs.extend([
            ("three tags", tagged(request(&c), &[S, C, C])),
            ("another kind of tag", tagged(request(&c), &[0x9100])),
            ("a tag that is all", tagged(request(&c), &[C])[..ETHERNET + 4].to_vec()),
            ("multicast with a tag", with(tagged(request(&c), &[C]), 0, &[0x33, 0x33])),
        ]);
    }
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1]].concat();
    let arp = [&arp[..], &[198, 18, 0, 2], &[0; 6], &[198, 18, 0, 100]].concat();
    ours.push(("ARP with a tag", tagged(arp, &[C]), ETHERNET + 4 + 28));
    assert_ours(ours);
    assert_theirs(theirs);
}

#[test]
fn extension_headers_are_walked_within_bounds() {
    let c = v6();
    let to_vip = |extensions: &[Extension]| {
        ether(&ip_extended((c.client, c.vip), extensions, (TCP, &tcp(1000, 80, SYN))))
    };
    let (hop, dst) = (Extension::options(0, 0), Extension::options(60, 0));
    let huge = Extension::options(60, 50);
    assert_ours(vec![
        ("hop-by-hop options", to_vip(&[hop]), V6 + 8 + 4),
        ("destination options", to_vip(&[dst]), V6 + 8 + 4),
        ("options that fill 408 bytes", to_vip(&[huge]), V6 + 408 + 4),
        ("a route that is at its end", to_vip(&[Extension::routing(0)]), V6 + 24 + 4),
        ("an authentication header", to_vip(&[Extension::authentication(4)]), V6 + 24 + 4),
        ("a fragment that is the whole", to_vip(&[Extension::fragment(0)]), V6 + 8 + 4),
        ("six headers", to_vip(&[hop, dst, dst, dst, dst, dst]), V6 + 48 + 4),
        (
            "six different ones",
            to_vip(&[
                hop,
                dst,
                Extension::routing(0),
                Extension::fragment(0),
                Extension::authentication(1),
                dst,
            ]),
            V6 + 8 + 8 + 24 + 8 + 12 + 8 + 4,
        ),
    ]);
    assert_theirs(vec![
        ("seven headers", to_vip(&[hop, dst, dst, dst, dst, dst, dst])),
        ("hop-by-hop options behind others", to_vip(&[dst, hop])),
        ("a route that goes on", to_vip(&[Extension::routing(1)])),
        ("a fragment in a fragment", to_vip(&[Extension::fragment(0), Extension::fragment(1)])),
        ("an authentication header of no length", to_vip(&[Extension::authentication(0)])),
        ("no next header", ether(&ip(c.client, c.vip, 59, 0, &[]))),
        ("ESP", ether(&ip(c.client, c.vip, 50, 0, &[0; 40]))),
        ("a header that says it is longer than the frame", with(to_vip(&[dst]), V6 + 1, &[200])),
        ("options longer than any frame", with(to_vip(&[dst, dst, dst]), V6 + 1, &[255])),
    ]);
}

#[test]
fn later_fragments_go_by_their_addresses() {
    const MORE: u16 = 0x2000;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let c = v4();
    let part = |from, to, proto, field, payload: &[u8]| ether(&ip(from, to, proto, field, payload));
    let segment = tcp(1000, 80, ACK);
    ours.extend([
        ("a first one by its ports", part(c.client, c.vip, TCP, MORE, &segment), V4 + 4),
        ("a first one that may be no fragment", part(c.client, c.vip, TCP, MORE | 0x4000, &segment), V4 + 4),
        ("a first one of a real", part(c.real, c.client, TCP, MORE, &tcp(8080, 1000, ACK)), V4 + 4),
        // The later ones of its datagram come, too: they must find out where it goes.
        ("a first one to another port", part(c.client, c.vip, TCP, MORE, &tcp(1000, 22, ACK)), V4 + 4),
        ("a later one", part(c.client, c.vip, TCP, MORE | 100, &[1; 8]), V4),
        ("a last one", part(c.client, c.vip, TCP, 185, &[1; 8]), V4),
        ("a last one to every port", part(c.client, c.open, TCP, 185, &[1; 8]), V4),
        ("a last one of UDP", part(c.client, c.open, UDP, 185, &[1; 8]), V4),
        ("a last one of a real", part(c.real, c.client, TCP, 185, &[1; 8]), V4),
        ("a last one of every port of a real", part(c.any_real, c.client, UDP, 185, &[1; 8]), V4),
    ]);
    theirs.extend([
        ("a last one without such a service", part(c.client, c.vip, UDP, 185, &[1; 8])),
        ("a last one of no such real", part(c.real, c.client, UDP, 185, &[1; 8])),
        ("a last one of a real to the director", part(c.real, c.own, TCP, 185, &[1; 8])),
        ("a last one between others", part(c.client, c.own, TCP, 185, &[1; 8])),
        ("a first one of an echo request", part(c.client, c.vip, ICMP, MORE, &icmp(8, &[]))),
        ("a last one of an echo request", part(c.client, c.vip, ICMP, 185, &icmp(8, &[]))),
        ("an error in fragments", part(c.client, c.vip, ICMP, MORE, &icmp(3, &[0; 28]))),
    ]);
    let c = v6();
    let part = |from, to, field, proto, payload: &[u8]| {
        ether(&ip_extended((from, to), &[Extension::fragment(field)], (proto, payload)))
    };
    let options = |proto: u8| [&[proto, 0][..], &[0; 6]].concat();
    ours.extend([
        ("a first one by its ports, v6", part(c.client, c.vip, 1, TCP, &segment), V6 + 8 + 4),
        ("a first one of a real, v6", part(c.real, c.client, 1, TCP, &tcp(8080, 1000, ACK)), V6 + 8 + 4),
        ("a later one, v6", part(c.client, c.vip, 1448 | 1, TCP, &[1; 8]), V6 + 8),
        ("a last one, v6", part(c.client, c.vip, 1448, TCP, &[1; 8]), V6 + 8),
        ("a last one of a real, v6", part(c.real, c.client, 1448, TCP, &[1; 8]), V6 + 8),
        ("a last one that began with options", part(c.client, c.vip, 1448, 60, &[1; 8]), V6 + 8),
        (
            "a first one that begins with options",
            part(c.client, c.vip, 1, 60, &[options(TCP), segment].concat()),
            V6 + 16 + 4,
        ),
        (
            "a last one of a real that began with options",
            part(c.any_real, c.client, 1448, 60, &[1; 8]),
            V6 + 8,
        ),
    ]);
    theirs.extend([
        ("a last one without such a service, v6", part(c.client, c.vip, 1448, UDP, &[1; 8])),
        ("a last one of a real to the director, v6", part(c.real, c.own, 1448, TCP, &[1; 8])),
        ("a last one that began with options, to others", part(c.client, c.own, 1448, 60, &[1; 8])),
        ("a first one of an echo request, v6", part(c.client, c.vip, 1, ICMPV6, &icmp(128, &[]))),
        ("a last one of an echo request, v6", part(c.client, c.vip, 1448, ICMPV6, &icmp(128, &[]))),
        ("a solicitation in fragments", part(c.client, c.vip, 1, ICMPV6, &icmp(135, &[0; 16]))),
    ]);
    assert_ours(ours);
    assert_theirs(theirs);
}
