//! Which messages of ICMP, ICMPv6 and neighbour discovery the steering program takes; see kernel_judgement.rs.

mod common;

use common::judge::{Cast, ETHERNET, Ours, Theirs, V4, V6, assert_ours, assert_theirs, v4, v6};
use common::packets::*;
use std::net::IpAddr;

/// An ICMP header.
const ICMP_LEN: usize = 8;

/// What an error of a family looks like.
struct Family {
    cast: Cast,
    number: u8,
    l4: usize,
    l3_len: usize,
    router: IpAddr,
    errors: &'static [u8],
    echo: u8,
}

fn families() -> [Family; 2] {
    let (v4, v6) = (v4(), v6());
    let (router4, router6) = (addr("203.0.113.9"), addr("2001:db8:ffff::9"));
    [
        Family {
            cast: v4,
            number: ICMP,
            l4: V4,
            l3_len: 20,
            router: router4,
            errors: &[3, 4, 11, 12],
            echo: 8,
        },
        Family {
            cast: v6,
            number: ICMPV6,
            l4: V6,
            l3_len: 40,
            router: router6,
            errors: &[1, 2, 3, 4, 100],
            echo: 128,
        },
    ]
}

impl Family {
    fn message(&self, to: IpAddr, kind: u8, behind: &[u8]) -> Vec<u8> {
        ether(&ip(self.router, to, self.number, 0, &icmp(kind, behind)))
    }

    /// An unreachable.
    fn error(&self, to: IpAddr, quoted: &[u8]) -> Vec<u8> {
        self.message(to, self.errors[0], quoted)
    }

    /// Bytes up to the ports of a packet that is quoted.
    fn to_quoted_ports(&self) -> usize {
        self.l4 + ICMP_LEN + self.l3_len + 4
    }

    /// Bytes up to the end of the header of a packet that is quoted.
    fn to_quoted_header(&self) -> usize {
        self.l4 + ICMP_LEN + self.l3_len
    }
}

#[test]
fn echo_requests_and_errors_to_a_vip_are_ours() {
    let (mut ours, mut theirs): (Vec<Ours>, Vec<Theirs>) = (Vec::new(), Vec::new());
    for f in families() {
        let c = &f.cast;
        let needed = f.l4 + ICMP_LEN;
        ours.push(("an echo request", f.message(c.vip, f.echo, b"ping"), needed));
        for kind in f.errors {
            ours.push(("an error about anything", f.message(c.vip, *kind, &[0; 48]), needed));
            ours.push(("an error about nothing", f.message(c.vip, *kind, &[]), needed));
            theirs.push(("the same to the director", f.message(c.own, *kind, &[0; 48])));
        }
        theirs.extend([
            ("an echo request to the director", f.message(c.own, f.echo, b"ping")),
            ("an echo request to a real", f.message(c.real, f.echo, b"ping")),
            ("an echo reply to a VIP", f.message(c.vip, if f.echo == 8 { 0 } else { 129 }, b"ping")),
            ("a redirect to a VIP", f.message(c.vip, if f.echo == 8 { 5 } else { 137 }, &[0; 48])),
            (
                "a timestamp, or a report of multicast",
                f.message(c.vip, if f.echo == 8 { 13 } else { 143 }, &[0; 12]),
            ),
            (
                "the other family's echo request",
                ether(&ip(f.router, c.vip, ICMP ^ ICMPV6 ^ f.number, 0, &icmp(f.echo, b"ping"))),
            ),
        ]);
    }
    assert_ours(ours);
    assert_theirs(theirs);
}

#[test]
fn errors_about_packets_to_a_real_are_ours_wherever_they_go() {
    let (mut ours, mut theirs): (Vec<Ours>, Vec<Theirs>) = (Vec::new(), Vec::new());
    for f in families() {
        let c = &f.cast;
        let to_real = ip(c.client, c.real, TCP, 0, &tcp(1000, 8080, ACK));
        for kind in f.errors {
            ours.push((
                "about a packet to a real",
                f.message(c.client, *kind, &to_real),
                f.to_quoted_ports(),
            ));
        }
        let any = ip(c.client, c.any_real, UDP, 0, &udp_datagram(9, 9));
        ours.extend([
            (
                "with eight bytes behind the header",
                f.error(c.client, &to_real[..f.l3_len + 8]),
                f.to_quoted_ports(),
            ),
            ("to every port of a real", f.error(c.client, &any), f.to_quoted_ports()),
            ("with a tag", tagged(f.error(c.client, &to_real), &[0x8100]), f.to_quoted_ports() + 4),
        ]);
        let about = |from, to, proto, payload: &[u8]| f.error(c.client, &ip(from, to, proto, 0, payload));
        theirs.extend([
            (
                "about the director's own packet to a real",
                f.error(c.own, &ip(c.own, c.real, TCP, 0, &tcp(1000, 8080, SYN))),
            ),
            ("about another port of a real", about(c.client, c.real, TCP, &tcp(1000, 22, ACK))),
            ("about the port by another protocol", about(c.client, c.real, UDP, &udp_datagram(1000, 8080))),
            ("about a packet from a real", about(c.real, c.client, TCP, &tcp(8080, 1000, ACK))),
            ("about a packet to a VIP", about(c.client, c.vip, TCP, &tcp(1000, 80, ACK))),
            ("about an echo request to a real", about(c.client, c.real, f.number, &icmp(f.echo, &[]))),
            ("that quotes another version", f.error(c.client, &with(to_real.clone(), 0, &[0x55]))),
            ("that quotes no ports", f.error(c.client, &to_real[..f.l3_len + 3])),
            ("that is no error", f.message(c.client, if f.echo == 8 { 5 } else { 137 }, &to_real)),
        ]);
    }
    let c = v4();
    let v4_error = |quoted: &[u8]| ether(&ip(addr("203.0.113.9"), c.client, ICMP, 0, &icmp(3, quoted)));
    let to_real = |fragment| ip(c.client, c.real, TCP, fragment, &tcp(1000, 8080, ACK));
    let mut options = with(to_real(0), 0, &[0x46]);
    options.splice(20..20, [1, 1, 1, 0]);
    ours.extend([
        ("with an option in the quotation", v4_error(&options), V4 + ICMP_LEN + 28),
        ("about a first fragment", v4_error(&to_real(0x2000)), V4 + ICMP_LEN + 24),
    ]);
    theirs.push(("about a later fragment", v4_error(&to_real(9))));
    theirs.push(("that quotes a header of no length", v4_error(&with(to_real(0), 0, &[0x44]))));
    let c = v6();
    let v6_error = |extensions: &[Extension]| {
        let quoted = ip_extended((c.client, c.real), extensions, (TCP, &tcp(1000, 8080, ACK)));
        ether(&ip(addr("2001:db8:ffff::9"), c.client, ICMPV6, 0, &icmp(2, &quoted)))
    };
    let dst = Extension::options(60, 0);
    let quoted = V6 + ICMP_LEN + 40;
    ours.extend([
        ("with options in the quotation", v6_error(&[dst, dst]), quoted + 16 + 4),
        ("about a first fragment, v6", v6_error(&[Extension::fragment(1)]), quoted + 8 + 4),
        ("with six headers in the quotation", v6_error(&[dst; 6]), quoted + 48 + 4),
    ]);
    theirs.extend([
        ("with seven headers in the quotation", v6_error(&[dst; 7])),
        ("about a later fragment, v6", v6_error(&[Extension::fragment(1448)])),
    ]);
    assert_ours(ours);
    assert_theirs(theirs);
}

#[test]
fn errors_about_our_tunnels_are_ours() {
    let (mut ours, mut theirs): (Vec<Ours>, Vec<Theirs>) = (Vec::new(), Vec::new());
    for f in families() {
        let c = &f.cast;
        let [by_ip, by_gre, by_gue] = c.tunnels;
        let inner = ip(c.client, c.vip, TCP, 0, &tcp(1000, 80, ACK));
        let about =
            |to: IpAddr, proto, payload: &[u8]| f.error(c.source, &ip(c.source, to, proto, 0, payload));
        let gue = [&udp_datagram(40_000, 6080)[..], &[0, 4, 0, 0], &inner].concat();
        ours.extend([
            ("IPv4 in it", about(by_ip, IPIP, &inner), f.to_quoted_header()),
            ("IPv6 in it", about(by_ip, SIT, &inner), f.to_quoted_header()),
            ("GRE", about(by_gre, GRE, &inner), f.to_quoted_header()),
            ("GUE", about(by_gue, UDP, &gue), f.to_quoted_ports()),
        ]);
        theirs.extend([
            ("IP in IP to where GRE goes", about(by_gre, IPIP, &inner)),
            ("GRE to where IP in IP goes", about(by_ip, GRE, &inner)),
            ("GUE to another port", about(by_gue, UDP, &udp_datagram(40_000, 6081))),
            ("UDP to where IP in IP goes", about(by_ip, UDP, &gue)),
            ("TCP to GUE's port", about(by_gue, TCP, &tcp(40_000, 6080, ACK))),
            ("a tunnel to elsewhere", about(c.client, IPIP, &inner)),
            ("to another address of the director", f.error(c.own, &ip(c.own, by_ip, IPIP, 0, &inner))),
            ("to a client", f.error(c.client, &ip(c.source, by_ip, IPIP, 0, &inner))),
        ]);
    }
    let (c, f) = (v4(), &families()[0]);
    let later = ip(c.source, c.tunnels[0], IPIP, 9, &[0; 8]);
    ours.push(("about a later fragment of a tunnel", f.error(c.source, &later), f.to_quoted_header()));
    let later = ip(c.source, c.tunnels[2], UDP, 9, &udp_datagram(40_000, 6080));
    theirs.push(("about a later fragment of GUE", f.error(c.source, &later)));
    assert_ours(ours);
    assert_theirs(theirs);
}

#[test]
fn neighbour_discovery_about_a_vip_is_ours() {
    let c = v6();
    let (group, everyone) = (addr("ff02::1:ff00:100"), addr("ff02::1"));
    let needed = V6 + ICMP_LEN + 16;
    let to_group = |frame| with(frame, 0, &[0x33, 0x33, 0xff, 0, 1, 0]);
    let to_all = |frame| with(frame, 0, &[0x33, 0x33, 0, 0, 0, 1]);
    let who_has = |target| to_group(ether(&discovery(135, c.client, group, target)));
    let extended =
        ip_extended((c.client, group), &[Extension::options(60, 0)], (ICMPV6, &who_has(c.vip)[V6..]));
    assert_ours(vec![
        ("who has the VIP", who_has(c.vip), needed),
        ("who has it, without a source", to_group(ether(&discovery(135, addr("::"), group, c.vip))), needed),
        ("who has it, asked of one", ether(&discovery(135, c.client, c.vip, c.vip)), needed),
        ("another claims the VIP", to_all(ether(&discovery(136, c.client, everyone, c.vip))), needed),
        ("another claims it before one", ether(&discovery(136, c.client, c.own, c.vip)), needed),
        ("with options", to_group(ether(&extended)), needed + 8),
        ("with a tag", tagged(who_has(c.vip), &[0x8100]), needed + 4),
        ("with a link-layer address", [&who_has(c.vip)[..], &[1, 1, 2, 0, 0, 0, 0, 1]].concat(), needed),
    ]);
    assert_theirs(vec![
        ("who has another", who_has(c.own)),
        ("another's advertisement", to_all(ether(&discovery(136, c.client, everyone, c.client)))),
        ("an advertisement to a VIP about another", ether(&discovery(136, c.client, c.vip, c.client))),
        ("a router's advertisement", to_all(ether(&discovery(134, c.client, everyone, c.vip)))),
        ("a redirect", ether(&discovery(137, c.client, c.vip, c.vip))),
        ("an echo request to many", to_all(ether(&ip(c.client, c.vip, ICMPV6, 0, &icmp(128, b"ping"))))),
        ("a request by TCP to many", to_all(ether(&ip(c.client, c.vip, TCP, 0, &tcp(1000, 80, SYN))))),
        ("no ICMP", to_group(ether(&ip(c.client, group, UDP, 0, &who_has(c.vip)[V6..])))),
    ]);
}

#[test]
fn arp_about_a_vip_is_ours() {
    let arp = |op: u8, sender: [u8; 4], target: [u8; 4]| {
        let head = [&[0xff; 6][..], &common::THEIR_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, op]].concat();
        [&head[..], &common::THEIR_MAC, &sender, &[0; 6], &target].concat()
    };
    let (vip, client, own) = ([198, 18, 0, 100], [198, 18, 0, 2], [198, 18, 0, 1]);
    let asked = arp(1, client, vip);
    let needed = ETHERNET + 28;
    assert_ours(vec![
        ("who has the VIP", asked.clone(), needed),
        ("the VIP asks", arp(1, vip, client), needed),
        ("another announces the VIP", arp(2, vip, vip), needed),
        ("an answer to the VIP", arp(2, client, vip), needed),
        ("padded to the minimum", [&asked[..], &[0; 18]].concat(), needed),
    ]);
    assert_theirs(vec![
        ("about others", arp(1, client, own)),
        ("reverse ARP", arp(3, client, vip)),
        ("of other hardware", with(asked.clone(), 14, &[0, 6])),
        ("of another protocol", with(asked.clone(), 16, &[0x86, 0xdd])),
        ("of longer addresses", with(asked.clone(), 19, &[16])),
        ("half of it", asked[..needed - 1].to_vec()),
    ]);
}
