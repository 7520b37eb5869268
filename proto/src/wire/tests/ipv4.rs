//! Of `ipv4.rs`: literal headers, each contradiction, and rewrites in place.

use super::*;
use crate::wire::tests::{CLIENT, IP_HEADER, VIP, syn_packet};

fn with(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut packet = syn_packet();
    for (at, value) in changes {
        packet[*at] = *value;
    }
    packet
}

#[test]
fn parses_and_emits_a_header() {
    let packet = syn_packet();
    let ip = parse(&packet).unwrap();
    let expected = Ipv4 {
        header_len: 20,
        total_len: 44,
        tos: 0xb9,
        ident: 0x1234,
        df: true,
        mf: false,
        frag_offset: 0,
        ttl: 63,
        protocol: protocol::TCP,
        src: CLIENT,
        dst: VIP,
    };
    assert_eq!(ip, expected);
    assert_eq!((ip.is_fragment(), ip.payload_len()), (false, 24));
    let header = Header {
        tos: ip.tos,
        total_len: 44,
        ident: ip.ident,
        df: ip.df,
        ttl: ip.ttl,
        protocol: ip.protocol,
        src: ip.src,
        dst: ip.dst,
    };
    let mut bytes = [0xaa; HEADER_LEN];
    header.emit(&mut bytes);
    assert_eq!(bytes, IP_HEADER);
    Header { df: false, ..header }.emit(&mut bytes);
    assert_eq!(bytes[6..8], [0, 0]);
    assert_eq!(verify_checksum(&bytes), Ok(()));
}

#[test]
fn reads_fragments() {
    let ip = parse(&with(&[(6, 0x20)])).unwrap();
    assert_eq!((ip.df, ip.mf, ip.frag_offset, ip.is_fragment()), (false, true, 0, true));
    let ip = parse(&with(&[(6, 0x1f), (7, 0xff)])).unwrap();
    assert_eq!((ip.df, ip.mf, ip.frag_offset, ip.is_fragment()), (false, false, 65528, true));
    // The reserved bit changes nothing.
    assert!(!parse(&with(&[(6, 0x80)])).unwrap().is_fragment());
}

#[test]
fn each_contradiction_has_its_own_error() {
    let packet = syn_packet();
    for len in 0..packet.len() {
        assert_eq!(parse(&packet[..len]), Err(Ipv4Error::Truncated), "{len} bytes");
    }
    assert_eq!(parse(&with(&[(0, 0x65)])), Err(Ipv4Error::BadVersion));
    for ihl in 0..5 {
        assert_eq!(parse(&with(&[(0, 0x40 | ihl)])), Err(Ipv4Error::BadHeaderLength), "{ihl}");
    }
    assert_eq!(parse(&with(&[(0, 0x4f)])), Err(Ipv4Error::Truncated));
    assert_eq!(parse(&with(&[(0, 0x4b)])), Ok(Ipv4 { header_len: 44, ..parse(&packet).unwrap() }));
    assert_eq!(parse(&with(&[(3, 19)])), Err(Ipv4Error::BadTotalLength));
    assert_eq!(parse(&with(&[(3, 0)])), Err(Ipv4Error::BadTotalLength));
    assert_eq!(parse(&with(&[(0, 0x46), (3, 23)])), Err(Ipv4Error::BadTotalLength));
    assert_eq!(parse(&with(&[(3, 45)])), Err(Ipv4Error::Truncated));
}

#[test]
fn the_payload_ends_where_the_packet_does() {
    let mut packet = syn_packet();
    packet.extend([0xee; 16]);
    let ip = parse(&packet).unwrap();
    assert_eq!(ip.payload(&packet).len(), 24);
    assert_eq!(ip.payload_mut(&mut packet).len(), 24);
    assert_eq!(ip.payload(&packet[..30]).len(), 10);
    assert_eq!(ip.payload(&packet[..10]), [0; 0]);
    assert_eq!(ip.payload_mut(&mut packet[..10]), [0; 0]);
}

#[test]
fn quoted_packets_may_be_cut_short() {
    let packet = syn_packet();
    assert_eq!(parse_quoted(&packet[..28]), parse(&packet));
    assert_eq!(parse_quoted(&packet[..20]), parse(&packet));
    assert_eq!(parse_quoted(&packet[..19]), Err(Ipv4Error::Truncated));
    assert_eq!(parse_quoted(&with(&[(0, 0x46)])[..20]), Err(Ipv4Error::Truncated));
}

#[test]
fn verifies_checksums_options_included() {
    assert_eq!(verify_checksum(&syn_packet()), Ok(()));
    for at in 0..20 {
        let mut packet = syn_packet();
        packet[at] ^= 0x01;
        assert_ne!(verify_checksum(&packet), Ok(()), "byte {at}");
    }
    // Four bytes of options (no operation); 46 instead of 45 takes 0x100 from the checksum, they 0x202.
    let mut packet = syn_packet();
    packet.splice(20..20, [1, 1, 1, 1]);
    packet[0] = 0x46;
    packet[10..12].copy_from_slice(&(0xa067_u16 - 0x100 - 0x202).to_be_bytes());
    assert_eq!(verify_checksum(&packet), Ok(()));
    packet[23] = 0;
    assert_eq!(verify_checksum(&packet), Err(Ipv4Error::BadChecksum));
    assert_eq!(verify_checksum(&packet[..23]), Err(Ipv4Error::Truncated));
    assert_eq!(verify_checksum(&[]), Err(Ipv4Error::Truncated));
}

#[test]
fn takes_one_from_the_ttl() {
    let mut packet = syn_packet();
    let mut header = HeaderMut::new(&mut packet).unwrap();
    assert_eq!(header.decrement_ttl(), Some(62));
    assert_eq!(header.ttl(), 62);
    assert_eq!(header.checksum(), 0xa167);
    header.set_ttl(1);
    assert_eq!(header.decrement_ttl(), None);
    header.set_ttl(0);
    assert_eq!(header.decrement_ttl(), None);
    assert_eq!((header.ttl(), header.checksum()), (0, 0xa167));
}

#[test]
fn sets_fields_and_nothing_else() {
    let mut packet = syn_packet();
    let mut header = HeaderMut::new(&mut packet).unwrap();
    header.set_src(Ipv4Addr::new(1, 2, 3, 4));
    header.set_dst(Ipv4Addr::new(5, 6, 7, 8));
    header.set_total_len(0x0102);
    header.set_checksum(0x0304);
    assert_eq!((header.src(), header.dst()), (Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::new(5, 6, 7, 8)));
    let expected = with(&[
        (2, 1),
        (3, 2),
        (10, 3),
        (11, 4),
        (12, 1),
        (13, 2),
        (14, 3),
        (15, 4),
        (16, 5),
        (17, 6),
        (18, 7),
        (19, 8),
    ]);
    assert_eq!(packet, expected);
    assert!(HeaderMut::new(&mut [0; 19]).is_none());
}

#[test]
fn a_template_writes_what_a_header_writes() {
    let template = Template::new(protocol::TCP, CLIENT, VIP);
    let mut bytes = [0xaa; HEADER_LEN];
    template.emit(&mut bytes, &Varying { tos: 0xb9, total_len: 44, ident: 0x1234, df: true, ttl: 63 });
    assert_eq!(bytes, IP_HEADER);
    template.emit(&mut bytes, &Varying { tos: 0, total_len: 20, ident: 0, df: false, ttl: 0 });
    assert_eq!(verify_checksum(&bytes), Ok(()));
    assert_eq!(bytes[6..8], [0, 0]);
}

#[test]
fn makes_fragments() {
    let mut packet = syn_packet();
    let mut header = HeaderMut::new(&mut packet).unwrap();
    header.set_fragment(0xfff8, true);
    assert_eq!(packet, with(&[(6, 0x3f), (7, 0xff)]));
    let ip = parse(&packet).unwrap();
    assert_eq!((ip.frag_offset, ip.mf, ip.df), (0xfff8, true, false));
    HeaderMut::new(&mut packet).unwrap().set_fragment(8, false);
    assert_eq!(packet, with(&[(6, 0), (7, 1)]));
}
