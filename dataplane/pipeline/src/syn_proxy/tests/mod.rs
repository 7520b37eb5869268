//! The proxy packet by packet.

mod talk;

use super::*;
use etherparse::{NetSlice, PacketHeaders, SlicedPacket, TransportHeader, TransportSlice};
use proptest::prelude::*;
use sheave_proto::wire::TooSmall;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::{ipv4, ipv6};

const OFFER: Offer = Offer { mss: 1400, window_scale: 7 };
const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;
const FIN_ACK: TcpFlags = TcpFlags(0x11);
const SYN: TcpFlags = TcpFlags::SYN;
const PSH_ACK: TcpFlags = TcpFlags(0x18);

fn flow(src: &str, dst: &str, dport: u16) -> FlowKey {
    FlowKey { proto: Proto::Tcp, src: src.parse().unwrap(), dst: dst.parse().unwrap(), sport: 40000, dport }
}

fn ends() -> Ends {
    Ends { client: flow("192.0.2.1", "198.18.0.100", 80), real: flow("192.0.2.1", "198.19.1.11", 8080) }
}

fn ends_v6() -> Ends {
    Ends {
        client: flow("2001:db8::1", "2001:db8:18::100", 80),
        real: flow("2001:db8::1", "2001:db8:19::11", 8080),
    }
}

fn cookies() -> Cookies {
    Cookies::new([1, 2])
}

fn now() -> Time {
    Time(1000 * Time::SECOND)
}

fn tick() -> Tick {
    now().tick()
}

fn segment(flags: TcpFlags, seq: u32, ack: u32, window: u16, options: SynOptions) -> Segment {
    let tcp = Tcp { sport: 0, dport: 0, seq, ack, header_len: 20, flags, window, checksum: 0 };
    Segment { tcp, options }
}

fn stamps(value: u32, echo: u32) -> SynOptions {
    SynOptions { timestamps: Some((value, echo)), ..SynOptions::default() }
}

const FULL: SynOptions =
    SynOptions { mss: Some(1460), window_scale: Some(9), sack_permitted: true, timestamps: Some((77, 0)) };

const PLAIN: SynOptions =
    SynOptions { mss: None, window_scale: None, sack_permitted: false, timestamps: None };

/// A client that has been answered, and answers.
fn accepted(ends: &Ends, options: SynOptions) -> Accepted {
    let syn_ack = answer(&cookies(), &ends.client, &segment(SYN, 999, 0, 64240, options), (OFFER, now()));
    let echo = syn_ack.options.timestamps.map(|(ours, _)| stamps(78, ours)).unwrap_or_default();
    let ack = segment(ACK, 1000, syn_ack.seq.wrapping_add(1), 502, echo);
    check(&cookies(), &ends.client, &ack, now()).unwrap()
}

fn connecting(options: SynOptions) -> (Connecting, Accepted) {
    let accepted = accepted(&ends(), options);
    (Connecting::new(&ends(), accepted, tick()).0, accepted)
}

fn packet(flow: FlowKey, flags: TcpFlags, seq: u32, ack: u32) -> Packet {
    Packet { seq, ack, flags, ..Packet::of(flow) }
}

#[test]
fn a_syn_is_answered_with_a_closed_window() {
    let syn = segment(SYN, 999, 0, 64240, FULL);
    let reply = answer(&cookies(), &ends().client, &syn, (OFFER, now()));
    let (ours, _) = reply.options.timestamps.unwrap();
    let options = SynOptions {
        mss: Some(1400),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some((ours, 77)),
    };
    let expected = Packet { options, ..packet(ends().client.reversed(), SYN_ACK, reply.seq, 1000) };
    assert_eq!(reply, expected);
    // The same again, as nothing is remembered.
    assert_eq!(answer(&cookies(), &ends().client, &syn, (OFFER, now())), expected);
}

#[test]
fn an_acknowledgement_of_a_cookie_is_a_client() {
    let reply = answer(&cookies(), &ends().client, &segment(SYN, 999, 0, 64240, PLAIN), (OFFER, now()));
    let cookie = reply.seq;
    let try_it = |flags, seq, ack| {
        let segment = segment(flags, seq, ack, 502, PLAIN);
        check(&cookies(), &ends().client, &segment, now()).map(|accepted| (accepted.isn, accepted.cookie))
    };
    let good = Some((999, cookie));
    let next = cookie.wrapping_add(1);
    assert_eq!(try_it(ACK, 1000, next), good);
    assert_eq!(try_it(PSH_ACK, 1000, next), good);
    assert_eq!(try_it(FIN_ACK, 1000, next), good);
    assert_eq!(try_it(ACK, 999, next), good, "a probe of the window");
    assert_eq!(try_it(ACK, 1001, next), None);
    assert_eq!(try_it(ACK, 1000, cookie), None);
    for flags in [SYN, SYN_ACK, RST, RST_ACK, TcpFlags::FIN, TcpFlags::default()] {
        assert_eq!(try_it(flags, 1000, next), None, "{flags}");
    }
}

#[test]
fn the_real_server_gets_the_clients_syn() {
    let (connecting, syn) = Connecting::new(&ends(), accepted(&ends(), FULL), tick());
    let options = SynOptions { timestamps: Some((78, 0)), ..FULL };
    // 502 units of 512 bytes are more than fit.
    let expected = Packet { window: 65535, options, ..packet(ends().real, SYN, 999, 0) };
    assert_eq!(syn, expected);
    assert_eq!(connecting.patience(), Seconds(1));
    let (_, syn) = Connecting::new(&ends(), accepted(&ends(), PLAIN), tick());
    let options = SynOptions { mss: Some(536), ..PLAIN };
    assert_eq!(syn, Packet { window: 502, options, ..packet(ends().real, SYN, 999, 0) });
}

#[test]
fn the_real_servers_answer_connects_both() {
    let (connecting, Accepted { cookie, agreed, .. }) = connecting(FULL);
    let (_, ours) = agreed.timestamps.unwrap();
    let theirs = SynOptions { window_scale: Some(8), timestamps: Some((0xffff_fff0, 78)), ..FULL };
    let step = connecting.from_real(&ends(), &segment(SYN_ACK, 0xffff_0000, 1000, 65160, theirs), OFFER);
    let offsets = Offsets {
        seq: cookie.wrapping_add(0x1_0000),
        timestamps: ours.wrapping_add(0x10),
        windows: Windows { to_client: 1, to_real: 0 },
    };
    assert_eq!(step.stage, Stage::Open(offsets));
    let to_real = Packet {
        window: 502,
        options: stamps(78, 0xffff_fff0),
        ..packet(ends().real, ACK, 1000, 0xffff_0001)
    };
    assert_eq!(step.to_real, Some(to_real));
    let to_client = Packet {
        window: 509,
        options: stamps(ours, 78),
        ..packet(ends().client.reversed(), ACK, cookie.wrapping_add(1), 1000)
    };
    assert_eq!(step.to_client, Some(to_client));
}

#[test]
fn a_real_server_may_do_without() {
    let (connecting, Accepted { cookie, agreed, .. }) = connecting(FULL);
    let step = connecting.from_real(&ends(), &segment(SYN_ACK, 0, 1000, 65160, PLAIN), OFFER);
    let windows = Windows { to_client: -7, to_real: 9 };
    assert_eq!(step.stage, Stage::Open(Offsets { seq: cookie, timestamps: 0, windows }));
    let (to_client, to_real) = (step.to_client.unwrap(), step.to_real.unwrap());
    assert_eq!((to_real.window, to_real.options), (65535, PLAIN));
    assert_eq!(
        (to_client.window, to_client.options.timestamps),
        (509, agreed.timestamps.map(|(a, b)| (b, a)))
    );
}

#[test]
fn nobody_scales_without_the_client() {
    let (connecting, Accepted { cookie, .. }) = connecting(PLAIN);
    let step = connecting.from_real(&ends(), &segment(SYN_ACK, 0, 1000, 65160, FULL), OFFER);
    assert_eq!(step.stage, Stage::Open(Offsets { seq: cookie, ..Offsets::default() }));
    let (to_client, to_real) = (step.to_client.unwrap(), step.to_real.unwrap());
    assert_eq!((to_client.window, to_client.options), (65160, PLAIN));
    assert_eq!((to_real.window, to_real.options), (502, PLAIN));
}

#[test]
fn what_a_client_says_while_it_is_being_connected() {
    let (connecting, Accepted { cookie, agreed, .. }) = connecting(FULL);
    let (_, ours) = agreed.timestamps.unwrap();
    let next = cookie.wrapping_add(1);
    let say =
        |flags, seq, ack| connecting.from_client(&ends(), &segment(flags, seq, ack, 502, stamps(78, ours)));
    let stays = Some(Step { stage: Stage::Connecting(connecting), to_client: None, to_real: None });
    assert_eq!(say(SYN, 999, 0), stays, "its SYN, once more");
    assert_eq!(say(SYN, 5, 0), None, "another connection");
    assert_eq!(say(ACK, 1000, cookie), None, "another connection");
    for flags in [ACK, PSH_ACK, FIN_ACK] {
        assert_eq!(say(flags, 1000, next), stays, "{flags}");
    }
    assert_eq!(say(TcpFlags::FIN, 1000, 0), stays);
    assert_eq!(say(RST, 1001, 0), stays, "not the next number");
    let reset = packet(ends().real, RST, 1000, 0);
    let closed = Step { stage: Stage::Closed(Closed::ByClient), to_client: None, to_real: Some(reset) };
    assert_eq!(say(RST, 1000, 0), Some(closed));
    assert_eq!(say(RST_ACK, 1000, 7), Some(closed));
    // The latest window and timestamp are what the real server gets.
    let later = connecting.from_client(&ends(), &segment(ACK, 1000, next, 17, stamps(99, 0))).unwrap();
    let Stage::Connecting(later) = later.stage else { panic!("{later:?}") };
    let step = later.from_real(&ends(), &segment(SYN_ACK, 0, 1000, 65160, stamps(5, 78)), OFFER);
    let to_real = step.to_real.unwrap();
    assert_eq!((to_real.window, to_real.options), (17 << 9, stamps(99, 5)));
    assert_eq!(step.to_client.unwrap().options, stamps(ours, 99));
}

#[test]
fn what_a_real_server_says_while_it_is_being_connected() {
    let (connecting, Accepted { cookie, .. }) = connecting(FULL);
    let say = |flags, seq, ack| connecting.from_real(&ends(), &segment(flags, seq, ack, 502, PLAIN), OFFER);
    let stays = Step { stage: Stage::Connecting(connecting), to_client: None, to_real: None };
    let reset = packet(ends().client.reversed(), RST_ACK, cookie.wrapping_add(1), 1000);
    let closed = Step { stage: Stage::Closed(Closed::ByReal), to_client: Some(reset), to_real: None };
    assert_eq!(say(RST_ACK, 0, 1000), closed);
    for (flags, ack) in [(RST_ACK, 1001), (RST, 1000), (SYN, 1000), (TcpFlags::FIN, 1000)] {
        assert_eq!(say(flags, 0, ack), stays, "{flags} {ack}");
    }
    for (flags, ack) in [(SYN_ACK, 999), (ACK, 1000), (ACK, 5), (FIN_ACK, 5)] {
        let reset = packet(ends().real, RST, ack, 0);
        assert_eq!(say(flags, 0, ack), Step { to_real: Some(reset), ..stays }, "{flags} {ack}");
    }
}

#[test]
fn a_real_server_is_asked_four_times_in_fifteen_seconds() {
    let (connecting, syn) = Connecting::new(&ends(), accepted(&ends(), FULL), tick());
    let mut stage = connecting;
    let mut asked = Vec::new();
    for second in 1..60 {
        let step = stage.poll(&ends(), Tick(tick().0 + second));
        match step.stage {
            Stage::Connecting(next) => {
                stage = next;
                if let Some(again) = step.to_real {
                    assert_eq!(again, syn);
                    asked.push(second);
                }
                assert_eq!(step.to_client, None);
            }
            Stage::Closed(why) => {
                // A started second does not count: each wait is up to one longer.
                assert_eq!((asked.as_slice(), second, why), ([2, 5, 10].as_slice(), 19, Closed::NoAnswer));
                assert_eq!(step.to_real, Some(packet(ends().real, RST, 1000, 0)));
                assert_eq!(step.to_client.map(|packet| packet.flags), Some(RST_ACK));
                return;
            }
            Stage::Open(_) => panic!("nobody has answered"),
        }
    }
    panic!("it never ends");
}

#[test]
fn a_packet_on_the_wire() {
    let packet = Packet {
        window: 0x1234,
        options: SynOptions { mss: Some(1460), ..PLAIN },
        ..packet(ends().client, SYN, 0x0102_0304, 0)
    };
    let mut bytes = [0xaa; 44];
    assert_eq!(packet.write(&mut bytes), Ok(44));
    let expected = [
        0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0xb2, 0x54, 192, 0, 2, 1, 198, 18, 0, 100, // IPv4
        0x9c, 0x40, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x60, 2, 0x12, 0x34, 0x5c, 0xe4, 0, 0, 2, 4, 5, 0xb4,
    ];
    assert_eq!(bytes, expected);
    for len in 0..44 {
        assert_eq!(packet.write(&mut [0; 44][..len]), Err(TooSmall));
    }
    let mixed = FlowKey { src: ends_v6().client.src, ..packet.flow };
    assert_eq!(Packet { flow: mixed, ..packet }.write(&mut [0; 100]), Err(TooSmall));
}

#[test]
fn a_record_is_laid_out_as_the_picture_says() {
    let client = Accepted {
        isn: 1,
        cookie: 2,
        agreed: Negotiated {
            mss: 0x1234,
            window_scale: Some(9),
            sack_permitted: true,
            timestamps: Some((3, 4)),
        },
        window: 0x5678,
    };
    let connecting = Stage::Connecting(Connecting { client, tries: 2, sent: Tick(0x9abc) });
    let first = 1 << 61 | 1 << 59 | 1 << 58 | 9 << 54 | 2 << 49 | 0x1234_5678_9abc;
    assert_eq!(connecting.words(), [first, 0x1_0000_0002, 0x3_0000_0004]);
    let windows = Windows { to_client: -1, to_real: 9 };
    let open = Stage::Open(Offsets { seq: 5, timestamps: 6, windows });
    assert_eq!(open.words(), [2 << 61 | 0x09ff, 0, 0x5_0000_0006]);
    assert_eq!(Stage::Closed(Closed::ByReal).words(), [0; 3]);
    assert_eq!(Stage::from_words([0; 3]), None);
}

fn options() -> impl Strategy<Value = SynOptions> {
    (any::<Option<u16>>(), prop::option::of(0u8..=14), any::<bool>(), any::<Option<(u32, u32)>>()).prop_map(
        |(mss, window_scale, sack_permitted, timestamps)| SynOptions {
            mss,
            window_scale,
            sack_permitted,
            timestamps,
        },
    )
}

fn any_segment() -> impl Strategy<Value = Segment> {
    let near =
        |number: u32| prop_oneof![3 => number.wrapping_sub(2)..=number.wrapping_add(2), 1 => any::<u32>()];
    let flags = (0u8..64).prop_map(TcpFlags);
    (flags, near(1000), near(1000), any::<u16>(), options())
        .prop_map(|(flags, seq, ack, window, options)| segment(flags, seq, ack, window, options))
}

proptest! {
    #[test]
    fn a_written_packet_is_what_etherparse_reads(
        v6: bool, seq: u32, ack: u32, flags in 0u8..64, window: u16, options in options(),
    ) {
        let flow = if v6 { ends_v6().client } else { ends().client };
        let packet = Packet { flow, seq, ack, flags: TcpFlags(flags), window, options };
        let mut bytes = [0xaa; Packet::MAX_LEN];
        let len = packet.write(&mut bytes).unwrap();
        let read = PacketHeaders::from_ip_slice(&bytes[..len]).unwrap();
        let Some(TransportHeader::Tcp(tcp)) = read.transport else { panic!("{read:?}") };
        let numbers = (tcp.sequence_number, tcp.acknowledgment_number, tcp.window_size);
        prop_assert_eq!(numbers, (seq, ack, window));
        prop_assert_eq!((tcp.source_port, tcp.destination_port), (flow.sport, flow.dport));
        prop_assert_eq!((tcp.syn, tcp.ack, tcp.rst), (flags & 2 != 0, flags & 16 != 0, flags & 4 != 0));
        let sliced = SlicedPacket::from_ip(&bytes[..len]).unwrap();
        let Some(TransportSlice::Tcp(slice)) = sliced.transport else { panic!("{sliced:?}") };
        let sum = match sliced.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                prop_assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
                slice.calc_checksum_ipv4(header.source(), header.destination()).unwrap()
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                slice.calc_checksum_ipv6(header.source(), header.destination()).unwrap()
            }
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(tcp.checksum, sum);
        let at = if v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        prop_assert_eq!(SynOptions::read(&bytes[at..len]), options);
    }

    #[test]
    fn every_stage_goes_into_words_and_back(
        isn: u32, cookie: u32, mss: u16, scale in prop::option::of(0u8..=14), sack: bool,
        stamps: Option<(u32, u32)>,
        window: u16, tries in 1u8..=MAX_TRIES, sent: u16, words: [u64; 3],
    ) {
        let agreed = Negotiated { mss, window_scale: scale, sack_permitted: sack, timestamps: stamps };
        let client = Accepted { isn, cookie, agreed, window };
        let stage = Stage::Connecting(Connecting { client, tries, sent: Tick(sent) });
        prop_assert_eq!(Stage::from_words(stage.words()), Some(stage));
        if let Some(stage) = Stage::from_words(words) {
            prop_assert_eq!(Stage::from_words(stage.words()), Some(stage));
        }
    }

    /// Whatever comes, in whatever state: nothing panics, and an end is only ever told of its own flow.
    #[test]
    fn no_segments_do_harm(
        words: [u64; 3],
        segments in prop::collection::vec((any::<bool>(), any_segment(), any::<u16>()), 0..20),
    ) {
        let mut words = [(words[0] & ((1 << KIND_BITS) - 1)) | (1 << KIND_BITS), (999 << 32) | 999, words[2]];
        for (from_client, segment, tick) in segments {
            let Some(Stage::Connecting(connecting)) = Stage::from_words(words) else { break };
            let step = if from_client {
                connecting.from_client(&ends(), &segment)
            } else {
                Some(connecting.from_real(&ends(), &segment, OFFER))
            };
            let polled = connecting.poll(&ends(), Tick(tick));
            for step in step.into_iter().chain([polled]) {
                prop_assert!(step.to_client.is_none_or(|packet| packet.flow == ends().client.reversed()));
                prop_assert!(step.to_real.is_none_or(|packet| packet.flow == ends().real));
                words = step.stage.words();
            }
            let _ = check(&cookies(), &ends().client, &segment, now());
            let _ = answer(&cookies(), &ends().client, &segment, (OFFER, now()));
        }
    }
}

/// The bits below the kind of a stage.
const KIND_BITS: u32 = 61;
