//! Of `ndp.rs`: literal frames both ways, and every check of RFC 4861 §7.1.

use super::*;
use crate::wire::tests::{CLIENT6, VIP6};

const HOST: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
const OURS: Mac = Mac([0x02, 0, 0, 0, 0, 0xd0]);
/// The VIP's group.
const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x0100);

const REQUEST: [u8; FRAME_LEN] = [
    0x33, 0x33, 0xff, 0, 0x01, 0x00, 0x02, 0, 0, 0, 0, 0x01, 0x86, 0xdd, // to the group, from the host
    0x60, 0, 0, 0, 0, 32, 58, 255, // hop limit 255
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, // client
    0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0xff, 0x00, 0x01, 0x00, // group
    135, 0, 0x1a, 0x13, 0, 0, 0, 0, // solicitation
    0x20, 0x01, 0x0d, 0xb8, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x00, // VIP
    1, 1, 0x02, 0, 0, 0, 0, 0x01, // from the host
];
const ANSWER: [u8; FRAME_LEN] = [
    0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0xd0, 0x86, 0xdd, //
    0x60, 0, 0, 0, 0, 32, 58, 255, //
    0x20, 0x01, 0x0d, 0xb8, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x00, // VIP
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, // client
    136, 0, 0x87, 0x77, 0x60, 0, 0, 0, // advertisement, solicited, override
    0x20, 0x01, 0x0d, 0xb8, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x00, // VIP
    2, 1, 0x02, 0, 0, 0, 0, 0xd0, // at ours
];

fn read(packet: &[u8]) -> Result<Option<Ndp>, NdpError> {
    let ip = ipv6::parse(packet).unwrap();
    parse(&ip, &ip.packet(packet)[ipv6::HEADER_LEN..])
}

/// The packet of a frame with other bytes, counted from the IPv6 header on, its checksum right again.
fn with(frame: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut packet = frame[eth::HEADER_LEN..].to_vec();
    for (at, value) in changes {
        packet[*at] = *value;
    }
    fixed(packet)
}

fn fixed(mut packet: Vec<u8>) -> Vec<u8> {
    let len = u16::try_from(packet.len() - ipv6::HEADER_LEN).unwrap();
    ipv6::HeaderMut::new(&mut packet).unwrap().set_payload_len(len);
    let ip = ipv6::parse(&packet).unwrap();
    icmpv6::finish(&mut packet[ipv6::HEADER_LEN..], ip.src, ip.dst).unwrap();
    packet
}

fn emitted(message: Ndp, link: (Mac, Mac), ends: (Ipv6Addr, Ipv6Addr)) -> Vec<u8> {
    let mut frame = [0xaa; FRAME_LEN];
    let len = message.emit_frame(&mut frame, link, ends);
    frame[..len].to_vec()
}

#[test]
fn a_request_and_its_answer() {
    let request = Solicitation::request(VIP6, HOST);
    let message = Ndp::Solicitation(request);
    assert_eq!(emitted(message, (HOST, multicast_mac(GROUP)), (CLIENT6, GROUP)), REQUEST);
    assert_eq!(read(&REQUEST[eth::HEADER_LEN..]), Ok(Some(message)));
    let (answer, to) = request.answer(CLIENT6, OURS);
    assert_eq!(to, CLIENT6);
    let message = Ndp::Advertisement(answer);
    assert_eq!(emitted(message, (OURS, HOST), (VIP6, to)), ANSWER);
    assert_eq!(read(&ANSWER[eth::HEADER_LEN..]), Ok(Some(message)));
}

#[test]
fn a_probe_has_no_source_and_is_answered_to_all() {
    let probe = Solicitation::probe(VIP6);
    let message = Ndp::Solicitation(probe);
    let frame = emitted(message, (HOST, multicast_mac(GROUP)), (Ipv6Addr::UNSPECIFIED, GROUP));
    assert_eq!(frame.len(), FRAME_LEN - 8);
    assert_eq!(frame[18..20], [0, 24]);
    assert_eq!(frame[22..38], [0; 16]);
    assert_eq!(frame[54..62], [135, 0, 0x4a, 0xd7, 0, 0, 0, 0]);
    assert_eq!(read(&frame[eth::HEADER_LEN..]), Ok(Some(message)));
    let (answer, to) = probe.answer(Ipv6Addr::UNSPECIFIED, OURS);
    assert_eq!((answer, to), (Advertisement::announcement(VIP6, OURS), ALL_NODES));
}

#[test]
fn an_announcement_overrides() {
    let news = Advertisement::announcement(VIP6, OURS);
    let message = Ndp::Advertisement(news);
    let frame = emitted(message, (OURS, multicast_mac(ALL_NODES)), (VIP6, ALL_NODES));
    assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(frame[54..62], [136, 0, 0xf6, 0x2d, 0x20, 0, 0, 0]);
    assert_eq!(read(&frame[eth::HEADER_LEN..]), Ok(Some(message)));
    let router = read(&with(&frame, &[(44, 0xff), (38, 0x20), (24, 0x20)]));
    let expected = Advertisement { router: true, solicited: true, ..news };
    assert_eq!(router, Ok(Some(Ndp::Advertisement(expected))), "reserved bits are not read");
}

#[test]
fn groups_of_addresses() {
    let addr = |text: &str| text.parse::<Ipv6Addr>().unwrap();
    for (owner, group) in [
        ("2001:db8:18::100", "ff02::1:ff00:100"),
        ("fe80::2aa:ff:fe28:9c5a", "ff02::1:ff28:9c5a"),
        ("2001:db8::ffff:ffff:ffff", "ff02::1:ffff:ffff"),
    ] {
        assert_eq!(solicited_node(addr(owner)), addr(group));
    }
    assert_eq!(multicast_mac(GROUP).to_string(), "33:33:ff:00:01:00");
    assert_eq!(multicast_mac(ALL_NODES).to_string(), "33:33:00:00:00:01");
}

/// RFC 4861 §7.1.1 and §7.1.2.
#[test]
fn each_check_has_its_own_error() {
    assert_eq!(read(&with(&REQUEST, &[(7, 254)])), Err(NdpError::HopLimit));
    assert_eq!(read(&with(&REQUEST, &[(41, 1)])), Err(NdpError::Code));
    assert_eq!(read(&with(&REQUEST, &[(48, 0xff)])), Err(NdpError::Target));
    assert_eq!(read(&with(&REQUEST, &[(65, 0)])), Err(NdpError::Option));
    assert_eq!(read(&with(&REQUEST, &[(65, 2)])), Err(NdpError::Option));
    let mut wrong = REQUEST[eth::HEADER_LEN..].to_vec();
    wrong[43] ^= 1;
    assert_eq!(read(&wrong), Err(NdpError::Checksum));
    // To a group, solicited.
    let to_group: Vec<_> = (24..).zip(GROUP.octets()).collect();
    assert_eq!(read(&with(&ANSWER, &to_group)), Err(NdpError::Solicited));
    // A probe with a source link-layer address, and one that is not to the target's group.
    let from_nobody: Vec<_> = (8..24).map(|at| (at, 0)).collect();
    assert_eq!(read(&with(&REQUEST, &from_nobody)), Err(NdpError::Probe));
    let probe = emitted(
        Ndp::Solicitation(Solicitation::probe(VIP6)),
        (HOST, OURS),
        (Ipv6Addr::UNSPECIFIED, ALL_NODES),
    );
    assert_eq!(read(&probe[eth::HEADER_LEN..]), Err(NdpError::Probe));
}

#[test]
fn refuses_every_shorter_message() {
    for len in 8..32 {
        let packet = fixed(REQUEST[eth::HEADER_LEN..][..40 + len].to_vec());
        let expected = match len {
            ..24 => Err(NdpError::Truncated),
            24 => Ok(Some(Ndp::Solicitation(Solicitation { target: VIP6, mac: None }))),
            _ => Err(NdpError::Option),
        };
        assert_eq!(read(&packet), expected, "{len} bytes");
    }
    let ip = ipv6::parse(&REQUEST[eth::HEADER_LEN..]).unwrap();
    assert_eq!(parse(&ip, &[135, 0, 0, 0, 0, 0, 0]), Ok(None));
}

#[test]
fn other_messages_and_options_are_left_alone() {
    for icmp_type in [1, 128, 133, 134, 137, 143] {
        assert_eq!(read(&with(&REQUEST, &[(40, icmp_type)])), Ok(None), "{icmp_type}");
    }
    // A nonce (RFC 3971) before the hardware address; a second address is not read.
    let mut packet = REQUEST[eth::HEADER_LEN..].to_vec();
    packet.splice(64..64, [14, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    packet.extend([1, 1, 9, 9, 9, 9, 9, 9]);
    let expected = Ndp::Solicitation(Solicitation::request(VIP6, HOST));
    assert_eq!(read(&fixed(packet)), Ok(Some(expected)));
    // The other kind's option says nothing.
    let other = read(&with(&REQUEST, &[(64, 2)]));
    assert_eq!(other, Ok(Some(Ndp::Solicitation(Solicitation { target: VIP6, mac: None }))));
}
