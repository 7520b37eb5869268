//! Packets: every parser on arbitrary bytes against etherparse, and every rewrite.
//!
//! The input is taken as a frame, and also as the start of each protocol, so that the fuzzer need not first
//! find its way through the layers below.

mod agree;
mod later;
mod rewrite;

use sheave_proto::wire::eth::ethertype;
use sheave_proto::wire::ipv4::protocol;
use sheave_proto::wire::{eth, ipv4};

/// Nothing panics, parsers agree with etherparse, rewrites keep every checksum as right or wrong as it was.
pub fn wire(input: &[u8]) {
    as_frame(input);
    agree::arp(input);
    as_ipv4(input);
    as_ipv6(input);
    later::open(47, input);
    later::open(17, input);
    later::lines(input);
    agree::udp(input);
    agree::tcp(input);
    later::tcp_options(input);
    as_icmp(input);
}

fn as_frame(frame: &[u8]) {
    agree::eth(frame);
    rewrite::eth(frame);
    let Ok(header) = eth::parse(frame) else { return };
    let payload = &frame[header.payload_offset..];
    match header.ethertype {
        ethertype::ARP => agree::arp(payload),
        ethertype::IPV4 => as_ipv4(payload),
        ethertype::IPV6 => as_ipv6(payload),
        _ => {}
    }
}

fn as_ipv4(packet: &[u8]) {
    agree::ipv4(packet);
    let Ok(ip) = ipv4::parse(packet) else { return };
    rewrite::ipv4(packet);
    later::errors(packet);
    later::open(ip.protocol, ip.payload(packet));
    rewrite::quoted_by_an_error(packet, &ip);
    if ip.frag_offset != 0 {
        return;
    }
    let payload = ip.payload(packet);
    match ip.protocol {
        protocol::TCP => {
            agree::tcp(payload);
            later::tcp_options(payload);
        }
        protocol::UDP => agree::udp(payload),
        protocol::ICMP => as_icmp(payload),
        _ => {}
    }
}

fn as_ipv6(packet: &[u8]) {
    agree::ipv6(packet);
    later::ipv6(packet);
    later::errors(packet);
}

fn as_icmp(message: &[u8]) {
    agree::icmpv4(message);
    rewrite::echo(message);
    rewrite::quote(message);
}
