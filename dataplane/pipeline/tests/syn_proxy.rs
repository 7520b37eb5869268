//! Connections behind the SYN proxy, packet by packet, read by an independent library.

use etherparse::{NetSlice, SlicedPacket, TcpHeader, TcpOptionElement, TransportSlice};
use sheave_frame::PortId;
use sheave_pipeline::entry::Entry;
use sheave_pipeline::ids::DestId;
use sheave_pipeline::key::{KeyParts, Side};
use sheave_pipeline::snapshot::{Clamp, Method};
use sheave_pipeline::testing::{
    CLIENT_SIDE, Drained, Error, Lab, NAT_REAL_PORT, Packet, SERVER_SIDE, Site, real, real6, vip, vip6,
};
use sheave_pipeline::{Reason, Resolve, Settings, Shared, Snapshot, Verdict, VerdictKind};
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const SYN: u8 = Packet::SYN;
const ACK: u8 = Packet::ACK;
const RST: u8 = Packet::RST;
const ISN: u32 = 1000;
const REAL_ISN: u32 = 0xffff_fff0;

/// A TCP packet that was sent, with the interface.
#[derive(Debug)]
struct Sent {
    port: PortId,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    tcp: TcpHeader,
    payload: Vec<u8>,
}

impl Sent {
    /// Reads a frame; its checksums must be right.
    fn of((port, frame): &(PortId, Vec<u8>)) -> Sent {
        let packet = SlicedPacket::from_ethernet(frame).expect("well-formed");
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("TCP: {packet:?}") };
        let header = tcp.to_header();
        let (src, dst, sum): (IpAddr, IpAddr, _) = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let ip = ip.header().to_header();
                assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                let (src, dst) = (ip.source, ip.destination);
                (src.into(), dst.into(), header.calc_checksum_ipv4(&ip, tcp.payload()))
            }
            Some(NetSlice::Ipv6(ip)) => {
                let ip = ip.header().to_header();
                let (src, dst) = (ip.source, ip.destination);
                (src.into(), dst.into(), header.calc_checksum_ipv6(&ip, tcp.payload()))
            }
            other => panic!("IP: {other:?}"),
        };
        assert_eq!(header.checksum, sum.expect("it fits"), "TCP checksum");
        let (from, to) = ((src, header.source_port), (dst, header.destination_port));
        Sent { port: *port, from, to, payload: tcp.payload().to_vec(), tcp: header }
    }

    /// Flags as letters, sequence and acknowledgement number.
    fn said(&self) -> (String, u32, u32) {
        let tcp = &self.tcp;
        let flags = [(tcp.syn, 'S'), (tcp.fin, 'F'), (tcp.rst, 'R'), (tcp.psh, 'P'), (tcp.ack, 'A')];
        let flags = flags.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect();
        (flags, tcp.sequence_number, tcp.acknowledgment_number)
    }
}

fn said(flags: &str, seq: u32, ack: u32) -> (String, u32, u32) {
    (flags.to_owned(), seq, ack)
}

struct Scene {
    lab: Lab,
    snapshot: Snapshot,
    client: (IpAddr, u16),
    vip: (IpAddr, u16),
    real: (IpAddr, u16),
}

impl Scene {
    fn of(mut site: Site, v6: bool) -> Scene {
        for service in &mut site.services {
            service.syn_proxy = true;
        }
        let snapshot = site.snapshot();
        let lab = Lab::new(Resolve::Control);
        if v6 {
            let client = ("2001:db8::7".parse().expect("an address"), 40_000);
            let (vip, real) = ((vip6(0).into(), 80), (real6(0).into(), NAT_REAL_PORT));
            return Scene { lab, snapshot, client, vip, real };
        }
        let client = (Ipv4Addr::new(192, 0, 2, 7).into(), 40_000);
        Scene { lab, snapshot, client, vip: (vip(0).into(), 80), real: (real(0).into(), NAT_REAL_PORT) }
    }

    fn v4() -> Scene {
        Scene::of(Site::with(Proto::Tcp, Method::Nat, 1), false)
    }

    fn client_says(&self, flags: u8, seq: u32, ack: u32) -> Packet {
        Packet { seq, ack, ..Packet::from_client(Proto::Tcp, self.client, self.vip, flags) }
    }

    fn real_says(&self, flags: u8, seq: u32, ack: u32) -> Packet {
        Packet { seq, ack, ..Packet::from_real(Proto::Tcp, self.real, self.client, flags) }
    }

    fn send(&mut self, packet: &Packet) -> (Verdict, Vec<Sent>) {
        self.frame(packet.port, &packet.bytes())
    }

    fn frame(&mut self, port: PortId, bytes: &[u8]) -> (Verdict, Vec<Sent>) {
        let (verdict, out) = self.lab.send(&self.snapshot, port, bytes);
        assert_eq!(self.lab.frames(), self.lab.pool.total(), "no frame is lost");
        (verdict, out.sent.iter().map(Sent::of).collect())
    }

    /// Sends a packet that must have this outcome, and gives what was sent for it.
    fn expect(&mut self, reason: Reason, packet: &Packet) -> Vec<Sent> {
        let (verdict, sent) = self.send(packet);
        assert_eq!(verdict.reason(), Some(reason), "{packet:?}");
        sent
    }

    fn forwarded(&mut self, packet: &Packet) -> Sent {
        let (verdict, mut sent) = self.send(packet);
        assert_eq!(verdict.kind(), VerdictKind::Forward, "{verdict:?}");
        sent.pop().expect("one frame")
    }

    /// The client's SYN; the cookie that it gets.
    fn cookie(&mut self, isn: u32) -> u32 {
        let syn = self.client_says(SYN, isn, 0);
        let sent = self.expect(Reason::SynCookie, &syn);
        assert_eq!(sent.len(), 1);
        sent[0].tcp.sequence_number
    }

    /// The client acknowledges its cookie; the SYN that the real server gets.
    fn accepted(&mut self, isn: u32, cookie: u32) -> Sent {
        let ack = self.client_says(ACK, isn.wrapping_add(1), cookie.wrapping_add(1));
        let mut sent = self.expect(Reason::SynProxied, &ack);
        assert_eq!(sent.len(), 1);
        sent.pop().expect("one")
    }

    /// All of a handshake; the cookie.
    fn open(&mut self) -> u32 {
        let cookie = self.cookie(ISN);
        self.accepted(ISN, cookie);
        let answer = self.real_says(SYN | ACK, REAL_ISN, ISN + 1);
        assert_eq!(self.expect(Reason::SynProxied, &answer).len(), 2);
        cookie
    }

    fn tick(&mut self, seconds: u64) -> Vec<Sent> {
        self.lab.wait(seconds);
        let Drained { sent, .. } = self.lab.tick(&self.snapshot);
        assert_eq!(self.lab.frames(), self.lab.pool.total());
        sent.iter().map(Sent::of).collect()
    }

    fn state(&self) -> String {
        let (mut state, mut next) = ("none", Some(0));
        while let Some(from) = next {
            next = self.lab.shared.tables.scan(from, 1 << 20, |_, key, payload| {
                if let Side::In(_) = KeyParts::of(key).side {
                    state = Entry::from(payload).state.name();
                }
            });
        }
        state.to_owned()
    }

    fn entries(&self) -> usize {
        self.lab.shared.tables.len()
    }
}

/// What must hold of a whole connection, in either family.
fn a_connection(mut scene: Scene) {
    let (client, vip, real) = (scene.client, scene.vip, scene.real);
    let syn = scene.client_says(SYN, ISN, 0);
    let sent = scene.expect(Reason::SynCookie, &syn);
    let cookie = sent[0].tcp.sequence_number;
    assert_eq!((sent.len(), sent[0].port, sent[0].from, sent[0].to), (1, CLIENT_SIDE, vip, client));
    assert_eq!(sent[0].said(), said("SA", cookie, ISN + 1));
    assert_eq!((sent[0].tcp.window_size, scene.entries()), (0, 0), "a closed window, and nothing is kept");

    let syn = scene.accepted(ISN, cookie);
    assert_eq!((syn.port, syn.from, syn.to), (SERVER_SIDE, client, real));
    assert_eq!(syn.said(), said("S", ISN, 0));
    assert_eq!((scene.entries(), scene.state().as_str()), (2, "SYN_RECV"));
    assert_eq!(scene.lab.live(DestId(0)), (1, 0));

    let answer = scene.real_says(SYN | ACK, REAL_ISN, ISN + 1);
    let both = scene.expect(Reason::SynProxied, &answer);
    let [to_real, to_client] = &both[..] else { panic!("{both:?}") };
    assert_eq!((to_real.port, to_real.from, to_real.to), (SERVER_SIDE, client, real));
    assert_eq!(to_real.said(), said("A", ISN + 1, REAL_ISN.wrapping_add(1)));
    assert_eq!((to_client.port, to_client.from, to_client.to), (CLIENT_SIDE, vip, client));
    assert_eq!(to_client.said(), said("A", cookie.wrapping_add(1), ISN + 1));
    assert_eq!(to_client.tcp.window_size, 8192, "the real server's window");
    assert_eq!(scene.state(), "ESTABLISHED");

    let hello = scene.client_says(ACK | Packet::PSH, ISN + 1, cookie.wrapping_add(1)).payload(b"hello");
    let there = scene.forwarded(&hello);
    assert_eq!((there.to, there.payload.as_slice()), (real, &b"hello"[..]));
    assert_eq!(there.said(), said("PA", ISN + 1, REAL_ISN.wrapping_add(1)));
    let world = scene.real_says(ACK, REAL_ISN.wrapping_add(1), ISN + 6).payload(&[7; 100]);
    let here = scene.forwarded(&world);
    assert_eq!((here.from, here.payload.len()), (vip, 100));
    assert_eq!(here.said(), said("A", cookie.wrapping_add(1), ISN + 6));
    // The SYN+ACK once more: the client's answer is what the real server misses.
    let again = scene.forwarded(&answer);
    assert_eq!(again.said(), said("SA", cookie, ISN + 1));

    let fin = scene.real_says(ACK | Packet::FIN, REAL_ISN.wrapping_add(101), ISN + 6);
    assert_eq!(scene.forwarded(&fin).said(), said("FA", cookie.wrapping_add(101), ISN + 6));
    let fin = scene.client_says(ACK | Packet::FIN, ISN + 6, cookie.wrapping_add(102));
    assert_eq!(scene.forwarded(&fin).said(), said("FA", ISN + 6, REAL_ISN.wrapping_add(102)));
    assert_eq!(scene.state(), "TIME_WAIT");
    // And the next one from the same port.
    let cookie = scene.cookie(ISN + 500);
    scene.accepted(ISN + 500, cookie);
    assert_eq!(scene.state(), "SYN_RECV");
    scene.lab.wait(2000);
    scene.lab.expire(&scene.snapshot);
    assert_eq!((scene.entries(), scene.lab.live(DestId(0))), (0, (0, 0)));
    assert_eq!(scene.lab.service(0)[0], 2, "connections are counted when there is one");
}

#[test]
fn a_connection_of_ipv4() {
    a_connection(Scene::v4());
}

#[test]
fn a_connection_of_ipv6() {
    a_connection(Scene::of(Site::with_v6(Proto::Tcp, Method::Nat, 1), true));
}

/// A SYN with options, as systems send them.
fn with_options(packet: &Packet, options: &[TcpOptionElement]) -> Vec<u8> {
    let bytes = packet.bytes();
    let mut tcp = TcpHeader::from_slice(&bytes[34..]).expect("TCP").0;
    tcp.set_options(options).expect("room");
    let mut ip = etherparse::Ipv4Header::from_slice(&bytes[14..]).expect("IPv4").0;
    ip.total_len = u16::try_from(20 + tcp.header_len()).expect("short");
    ip.header_checksum = ip.calc_header_checksum();
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).expect("short");
    [&bytes[..14], &ip.to_bytes(), &tcp.to_bytes()].concat()
}

#[test]
fn options_are_negotiated_with_both_ends() {
    use TcpOptionElement::{MaximumSegmentSize, SelectiveAcknowledgementPermitted, Timestamp, WindowScale};
    let mut site = Site::with(Proto::Tcp, Method::Nat, 1);
    site.services[0].mss_clamp = Clamp::To(1400);
    let mut scene = Scene::of(site, false);
    let offered =
        [MaximumSegmentSize(1460), SelectiveAcknowledgementPermitted, Timestamp(77, 0), WindowScale(9)];
    let syn = with_options(&scene.client_says(SYN, ISN, 0), &offered);
    let (verdict, sent) = scene.frame(CLIENT_SIDE, &syn);
    assert_eq!(verdict.reason(), Some(Reason::SynCookie));
    let options: Vec<_> = sent[0].tcp.options_iterator().collect::<Result<_, _>>().expect("well-formed");
    let stamp = options.iter().find_map(|o| if let Timestamp(ours, 77) = o { Some(*ours) } else { None });
    let stamp = stamp.expect("an echo of the client's");
    for wanted in [MaximumSegmentSize(1400), SelectiveAcknowledgementPermitted, WindowScale(7)] {
        assert!(options.contains(&wanted), "{options:?}");
    }
    let cookie = sent[0].tcp.sequence_number;
    let ack = with_options(&scene.client_says(ACK, ISN + 1, cookie.wrapping_add(1)), &[Timestamp(78, stamp)]);
    let (_, sent) = scene.frame(CLIENT_SIDE, &ack);
    let options: Vec<_> = sent[0].tcp.options_iterator().collect::<Result<_, _>>().expect("well-formed");
    for wanted in
        [MaximumSegmentSize(1400), SelectiveAcknowledgementPermitted, Timestamp(78, 0), WindowScale(9)]
    {
        assert!(options.contains(&wanted), "{options:?}");
    }
    let mut answer = scene.real_says(SYN | ACK, REAL_ISN, ISN + 1);
    answer.port = SERVER_SIDE;
    let answer = with_options(&answer, &[MaximumSegmentSize(1460), Timestamp(5, 78), WindowScale(5)]);
    let (_, both) = scene.frame(SERVER_SIDE, &answer);
    assert_eq!(both.len(), 2);
    // 8192 bytes are 64 of the units of 128 bytes that the client was promised.
    assert_eq!(both[1].tcp.window_size, 64);
    // The real server counts in units of 32.
    let data = with_options(&scene.real_says(ACK, REAL_ISN.wrapping_add(1), ISN + 1), &[Timestamp(6, 78)]);
    let (_, sent) = scene.frame(SERVER_SIDE, &data);
    assert_eq!(sent[0].tcp.window_size, 2048);
    let options: Vec<_> = sent[0].tcp.options_iterator().collect::<Result<_, _>>().expect("well-formed");
    assert_eq!(options[0], Timestamp(stamp.wrapping_add(1), 78), "ours goes on from what the client knows");
}

#[test]
fn a_real_server_that_does_not_answer_is_asked_again_and_then_given_up() {
    let mut scene = Scene::v4();
    let cookie = scene.cookie(ISN);
    scene.accepted(ISN, cookie);
    assert!(scene.tick(1).is_empty());
    let mut asked = 0;
    let reset = loop {
        let sent = scene.tick(1);
        if let Some(reset) = sent.iter().find(|sent| sent.tcp.rst && sent.port == CLIENT_SIDE) {
            assert_eq!(sent.len(), 2, "{sent:?}");
            break reset.said();
        }
        for syn in sent {
            assert_eq!((syn.said(), syn.to), (said("S", ISN, 0), scene.real));
            asked += 1;
        }
    };
    assert_eq!((asked, reset), (3, said("RA", cookie.wrapping_add(1), ISN + 1)));
    assert_eq!((scene.entries(), scene.lab.live(DestId(0))), (0, (0, 0)));
    assert!(scene.tick(30).is_empty());
}

#[test]
fn all_of_a_tagged_connection_is_tagged() {
    for tags in [&[7][..], &[100, 7]] {
        let mut scene = Scene::v4();
        let tagged = |scene: &mut Scene, packet: Packet| {
            let out = scene.lab.send(&scene.snapshot, packet.port, &packet.tagged(tags).bytes()).1;
            out.sent.iter().map(|sent| tagged_as(sent, tags)).collect::<Vec<Sent>>()
        };
        let syn = scene.client_says(SYN, ISN, 0);
        let cookie = tagged(&mut scene, syn)[0].tcp.sequence_number;
        let ack = scene.client_says(ACK, ISN + 1, cookie.wrapping_add(1));
        assert_eq!(tagged(&mut scene, ack)[0].said(), said("S", ISN, 0));
        // The real server is asked once more, by nobody's packet.
        scene.lab.wait(2);
        let again = scene.lab.tick(&scene.snapshot).sent;
        assert_eq!(tagged_as(&again[0], tags).said(), said("S", ISN, 0));
        let answer = scene.real_says(SYN | ACK, REAL_ISN, ISN + 1);
        assert_eq!(tagged(&mut scene, answer).len(), 2);
    }
}

/// What was sent, which has these tags.
fn tagged_as(sent: &(PortId, Vec<u8>), tags: &[u16]) -> Sent {
    let packet = SlicedPacket::from_ethernet(&sent.1).expect("well-formed");
    let found: Vec<u16> = packet.vlan_ids().iter().map(|id| id.value()).collect();
    assert_eq!(found, tags, "tags");
    Sent::of(sent)
}

#[test]
fn a_real_server_that_refuses_resets_its_client() {
    let mut scene = Scene::v4();
    let cookie = scene.cookie(ISN);
    scene.accepted(ISN, cookie);
    let refusal = scene.real_says(RST | ACK, 0, ISN + 1);
    let sent = scene.expect(Reason::SynProxied, &refusal);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].said(), said("RA", cookie.wrapping_add(1), ISN + 1));
    assert_eq!((scene.entries(), scene.lab.live(DestId(0))), (0, (0, 0)));
    assert!(scene.tick(30).is_empty(), "nobody asks again");
}

#[test]
fn without_a_destination_the_client_is_reset() {
    let mut site = Site::with(Proto::Tcp, Method::Nat, 1);
    site.services[0].destinations[0].weight = 0;
    let mut scene = Scene::of(site, false);
    let cookie = scene.cookie(ISN);
    let ack = scene.client_says(ACK, ISN + 1, cookie.wrapping_add(1));
    let sent = scene.expect(Reason::Reset, &ack);
    assert_eq!((sent[0].said().0.as_str(), sent[0].tcp.sequence_number), ("R", cookie.wrapping_add(1)));
    assert_eq!(scene.entries(), 0);
}

/// The acknowledgement is the last that its sender's time to live allows: it is told so.
#[test]
fn an_acknowledgement_may_be_too_old() {
    let mut scene = Scene::v4();
    let cookie = scene.cookie(ISN);
    let old = Packet { ttl: 1, ..scene.client_says(ACK, ISN + 1, cookie.wrapping_add(1)) };
    let (verdict, out) = scene.lab.send(&scene.snapshot, CLIENT_SIDE, &old.bytes());
    assert_eq!((verdict.reason(), out.sent.len()), (Some(Reason::TtlExceeded), 1));
    assert_eq!((scene.entries(), scene.lab.frames()), (0, scene.lab.pool.total()));
}

#[test]
fn who_has_no_cookie_gets_nothing() {
    let mut scene = Scene::v4();
    let cookie = scene.cookie(ISN);
    for (flags, seq, ack) in [
        (ACK, ISN + 1, cookie.wrapping_add(2)),
        (ACK, ISN + 2, cookie.wrapping_add(1)),
        (SYN | ACK, ISN + 1, cookie.wrapping_add(1)),
        (RST, ISN + 1, 0),
        (RST | ACK, ISN + 1, cookie.wrapping_add(1)),
        (0, ISN + 1, cookie.wrapping_add(1)),
    ] {
        let packet = scene.client_says(flags, seq, ack);
        assert!(scene.expect(Reason::NoEntry, &packet).is_empty(), "{flags:#x}");
    }
    scene.lab.wait(128);
    let late = scene.client_says(ACK, ISN + 1, cookie.wrapping_add(1));
    scene.expect(Reason::NoEntry, &late);
    assert_eq!(scene.entries(), 0);
}

#[test]
fn a_wrong_checksum_says_nothing() {
    let mut scene = Scene::v4();
    let mut syn = scene.client_says(SYN, ISN, 0).bytes();
    syn[50] ^= 1;
    let (verdict, sent) = scene.frame(CLIENT_SIDE, &syn);
    assert_eq!((verdict.reason(), sent.len()), (Some(Reason::TcpChecksum), 0));
}

#[test]
fn who_waits_for_its_real_server() {
    let mut scene = Scene::v4();
    let cookie = scene.cookie(ISN);
    scene.accepted(ISN, cookie);
    let next = cookie.wrapping_add(1);
    for packet in [
        scene.client_says(ACK | Packet::PSH, ISN + 1, next).payload(b"too early"),
        scene.client_says(ACK, ISN, next),
        scene.client_says(SYN, ISN, 0),
        scene.client_says(RST, ISN + 5, 0),
    ] {
        assert!(scene.expect(Reason::SynProxyWaits, &packet).is_empty());
    }
    assert_eq!(scene.state(), "SYN_RECV");
    // A packet of the real server's that is no answer: an earlier connection of its own.
    let stale = scene.real_says(ACK, 77, 99);
    let sent = scene.expect(Reason::SynProxied, &stale);
    assert_eq!((sent.len(), sent[0].said()), (1, said("R", 99, 0)));
    // Another connection from the same port begins, and takes the place of the first.
    let other = scene.cookie(ISN + 70);
    assert_eq!(scene.entries(), 2);
    assert_eq!(scene.accepted(ISN + 70, other).said(), said("S", ISN + 70, 0));
    assert_eq!((scene.entries(), scene.lab.live(DestId(0))), (2, (1, 0)));
    // The client ends it before the real server has answered.
    let reset = scene.client_says(RST, ISN + 71, 0);
    let sent = scene.expect(Reason::SynProxied, &reset);
    assert_eq!((sent.len(), sent[0].port, sent[0].said()), (1, SERVER_SIDE, said("R", ISN + 71, 0)));
    assert_eq!(scene.entries(), 0);
}

#[test]
fn in_flood_mode_every_nat_service_is_proxied() {
    let mut site = Site::with(Proto::Tcp, Method::Nat, 1);
    site.new_connections = 1;
    let snapshot = site.snapshot();
    let mut scene = Scene { snapshot, ..Scene::v4() };
    let other = Packet::from_client(Proto::Tcp, (scene.client.0, 1), scene.vip, SYN);
    scene.forwarded(&other);
    let cookie = scene.open();
    let data = scene.client_says(ACK, ISN + 1, cookie.wrapping_add(1)).payload(b"data");
    assert_eq!(scene.forwarded(&data).said(), said("A", ISN + 1, REAL_ISN.wrapping_add(1)));
    let guess = Packet::from_client(Proto::Tcp, (scene.client.0, 2), scene.vip, ACK);
    scene.expect(Reason::CookieWrong, &guess);
    // Long after the flood the connection is still translated, and others begin as ever.
    scene.lab.wait(100);
    let data = scene.real_says(ACK, REAL_ISN.wrapping_add(1), ISN + 5);
    assert_eq!(scene.forwarded(&data).said(), said("A", cookie.wrapping_add(1), ISN + 5));
    let other = Packet::from_client(Proto::Tcp, (scene.client.0, 3), scene.vip, SYN);
    scene.forwarded(&other);
}

#[test]
fn each_packet_may_come_to_another_worker() {
    let mut site = Site::with(Proto::Tcp, Method::Nat, 1);
    site.services[0].syn_proxy = true;
    let snapshot = site.snapshot();
    let shared = Arc::new(Shared::on_heap(64, 7));
    let lab = |worker| {
        let settings = Settings { worker, workers: 3, resolve: Resolve::Control, seed: 1 };
        Lab::over(Arc::clone(&shared), settings, 20)
    };
    let mut labs = [lab(0), lab(1), lab(2)];
    let scene = Scene::v4();
    let mut send = |worker: usize, packet: &Packet| {
        let (verdict, out) = labs[worker].send(&snapshot, packet.port, &packet.bytes());
        (verdict, out.sent.iter().map(Sent::of).collect::<Vec<_>>())
    };
    let cookie = send(0, &scene.client_says(SYN, ISN, 0)).1[0].tcp.sequence_number;
    assert_eq!(send(1, &scene.client_says(ACK, ISN + 1, cookie.wrapping_add(1))).1.len(), 1);
    assert_eq!(send(2, &scene.real_says(SYN | ACK, REAL_ISN, ISN + 1)).1.len(), 2);
    let (_, sent) = send(0, &scene.client_says(ACK, ISN + 1, cookie.wrapping_add(1)));
    assert_eq!(sent[0].said(), said("A", ISN + 1, REAL_ISN.wrapping_add(1)));
    let (_, sent) = send(1, &scene.real_says(ACK, REAL_ISN.wrapping_add(1), ISN + 1));
    assert_eq!(sent[0].said(), said("A", cookie.wrapping_add(1), ISN + 1));
    assert_eq!(shared.live.half_open(3), 0, "whoever began it, it is established");
    for lab in &mut labs {
        lab.wait(30);
        assert_eq!(lab.tick(&snapshot), Drained::default());
    }
}

/// As many as may wait; then the next is turned away, until some have been answered or given up.
#[test]
fn only_so_many_wait() {
    let mut scene = Scene { lab: Lab::sized(Resolve::Control, 16_384, 600), ..Scene::v4() };
    let begin = |scene: &mut Scene, port: u16| {
        scene.client.1 = port;
        let cookie = scene.cookie(ISN);
        let ack = scene.client_says(ACK, ISN + 1, cookie.wrapping_add(1));
        scene.send(&ack).0.reason()
    };
    for port in 0..8192 {
        assert_eq!(begin(&mut scene, 10_000 + port), Some(Reason::SynProxied), "{port}");
    }
    assert_eq!(begin(&mut scene, 9_999), Some(Reason::SynProxyFull));
    // The first one is answered.
    scene.client.1 = 10_000;
    let answer = scene.real_says(SYN | ACK, REAL_ISN, ISN + 1);
    scene.expect(Reason::SynProxied, &answer);
    assert_eq!(begin(&mut scene, 9_999), Some(Reason::SynProxied));
    assert_eq!(begin(&mut scene, 9_998), Some(Reason::SynProxyFull));
}

/// An error about a segment of the real server's quotes the numbers that the client knows: the real server gets its own.
#[test]
fn errors_quote_the_numbers_of_whom_they_go_to() {
    for v6 in [false, true] {
        let mut scene = match v6 {
            false => Scene::v4(),
            true => Scene::of(Site::with_v6(Proto::Tcp, Method::Nat, 1), true),
        };
        scene.open();
        let data = scene.real_says(ACK, REAL_ISN.wrapping_add(1), ISN + 1).payload(&[7; 100]);
        let (_, out) = scene.lab.send(&scene.snapshot, SERVER_SIDE, &data.bytes());
        let error = Error::too_big(CLIENT_SIDE, scene.client.0, scene.vip.0, 1280, &out.sent[0].1);
        let (verdict, out) = scene.lab.send(&scene.snapshot, CLIENT_SIDE, &error.bytes());
        assert_eq!(verdict.kind(), VerdictKind::Forward, "{verdict:?}");
        let quote = Error::of(SERVER_SIDE, &out.sent[0].1).quote;
        let tcp = &quote[if v6 { 40 } else { 20 }..];
        assert_eq!(tcp[4..8], REAL_ISN.wrapping_add(1).to_be_bytes());
        assert_eq!(tcp[..2], NAT_REAL_PORT.to_be_bytes());
    }
}
