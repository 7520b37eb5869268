//! FTP through NAT: what is said on the control connection, and the data connections that follow from it.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use sheave_pipeline::entry::Entry;
use sheave_pipeline::ids::DestId;
use sheave_pipeline::side::Kind;
use sheave_pipeline::snapshot::Method;
use sheave_pipeline::sticky::{Persistence, connections};
use sheave_pipeline::testing::{
    CLIENT_SIDE, Lab, Packet, SERVER_SIDE, Site, cut, real, real6, together, vip, vip6,
};
use sheave_pipeline::time::Seconds;
use sheave_pipeline::{Resolve, Snapshot};
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, SocketAddr};

const CONTROL: u16 = 21;
const SYN_ACK: u8 = Packet::SYN | Packet::ACK;
const DATA: u8 = Packet::PSH | Packet::ACK;

/// A segment as it came out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Out {
    src: SocketAddr,
    dst: SocketAddr,
    seq: u32,
    ack: u32,
    text: String,
}

fn read(frame: &[u8]) -> Out {
    let sliced = SlicedPacket::from_ethernet(frame).expect("a packet");
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("TCP") };
    let (src, dst, checksum): (IpAddr, IpAddr, _) = match sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            assert_eq!(usize::from(header.total_len()), frame.len() - 14);
            let ends = (header.source_addr(), header.destination_addr());
            (ends.0.into(), ends.1.into(), tcp.calc_checksum_ipv4(header.source(), header.destination()))
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header();
            assert_eq!(usize::from(header.payload_length()), frame.len() - 54);
            let ends = (header.source_addr(), header.destination_addr());
            let sum = tcp.calc_checksum_ipv6(header.source(), header.destination());
            (ends.0.into(), ends.1.into(), sum)
        }
        _ => panic!("IP"),
    };
    assert_eq!(Ok(tcp.checksum()), checksum);
    Out {
        src: (src, tcp.source_port()).into(),
        dst: (dst, tcp.destination_port()).into(),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        text: String::from_utf8_lossy(tcp.payload()).into_owned(),
    }
}

struct Scene {
    lab: Lab,
    site: Site,
    snapshot: Snapshot,
    client: IpAddr,
    vip: IpAddr,
    real: IpAddr,
    /// Numbers of the control connection: what the client and the real server send next, as they count.
    next: (u32, u32),
    /// By how much the client is ahead of the real server's numbers.
    delta: u32,
}

const PORT: u16 = 40_000;

impl Scene {
    /// A greeted client.
    fn new(v6: bool) -> Scene {
        Scene::with(v6, Vec::new())
    }

    fn with(v6: bool, persistence: Vec<(u16, Persistence)>) -> Scene {
        let mut site = Site::default();
        let (vip, real, client): (IpAddr, IpAddr, IpAddr) = if v6 {
            (vip6(0).into(), real6(0).into(), "2001:db8:c::7".parse().expect("an address"))
        } else {
            (vip(0).into(), real(0).into(), [192, 0, 2, 7].into())
        };
        site.add(vip, CONTROL, Proto::Tcp, Method::Nat, 1).destinations[0].port = Some(CONTROL);
        site.ftp = vec![0];
        site.persistent = persistence;
        let lab = Lab::new(Resolve::Control);
        let snapshot = site.snapshot();
        let mut scene = Scene { lab, site, snapshot, client, vip, real, next: (1000, 5000), delta: 0 };
        let to_vip = (PORT, CONTROL);
        scene.client(to_vip, Packet::SYN, (999, 0), "").expect("forwarded");
        scene.real((CONTROL, PORT), SYN_ACK, (4999, 1000), "").expect("forwarded");
        scene.client(to_vip, Packet::ACK, (1000, 5000), "").expect("forwarded");
        assert_eq!(scene.says("220 Ready.\r\n"), "220 Ready.\r\n");
        scene
    }

    fn send(&mut self, packet: &Packet) -> Result<Out, &'static str> {
        let (verdict, out) = self.lab.send(&self.snapshot, packet.port, &packet.bytes());
        assert_eq!(self.lab.frames(), self.lab.pool.total());
        match (verdict.reason(), &out.sent[..]) {
            (None, [(_, frame)]) => Ok(read(frame)),
            (Some(reason), _) => Err(reason.name()),
            _ => panic!("{out:?}"),
        }
    }

    fn packet(
        &self,
        ends: (SocketAddr, SocketAddr),
        flags: u8,
        (seq, ack): (u32, u32),
        text: &str,
    ) -> Packet {
        let port = if ends.0.ip() == self.real { SERVER_SIDE } else { CLIENT_SIDE };
        let any = Packet::from_client(Proto::Tcp, ([192, 0, 2, 7], 1), (vip(0), 1), flags);
        Packet { port, src: ends.0, dst: ends.1, seq, ack, ..any }.payload(text.as_bytes())
    }

    fn client(
        &mut self,
        (from, to): (u16, u16),
        flags: u8,
        numbers: (u32, u32),
        text: &str,
    ) -> Result<Out, &'static str> {
        let ends = ((self.client, from).into(), (self.vip, to).into());
        self.send(&self.packet(ends, flags, numbers, text))
    }

    fn real(
        &mut self,
        (from, to): (u16, u16),
        flags: u8,
        numbers: (u32, u32),
        text: &str,
    ) -> Result<Out, &'static str> {
        let ends = ((self.real, from).into(), (self.client, to).into());
        self.send(&self.packet(ends, flags, numbers, text))
    }

    /// The real server says something, the client acknowledges it. What the client hears.
    fn says(&mut self, text: &str) -> String {
        let (client, real) = self.next;
        let heard = self.real((CONTROL, PORT), DATA, (real, client), text).expect("forwarded");
        assert_eq!((heard.src, heard.dst), ((self.vip, CONTROL).into(), (self.client, PORT).into()));
        assert_eq!((heard.seq, heard.ack), (real.wrapping_add(self.delta), client));
        // Once more, the same.
        let again = self.real((CONTROL, PORT), DATA, (real, client), text).expect("forwarded");
        assert_eq!(again, heard);
        let len = |text: &str| u32::try_from(text.len()).expect("short");
        self.next.1 = real.wrapping_add(len(text));
        self.delta = self.delta.wrapping_add(len(&heard.text)).wrapping_sub(len(text));
        let ack = self.next.1.wrapping_add(self.delta);
        let acked = self.client((PORT, CONTROL), Packet::ACK, (client, ack), "").expect("forwarded");
        assert_eq!((acked.seq, acked.ack), (client, self.next.1), "as the real server counts");
        heard.text
    }

    /// The client says something. What the real server hears.
    fn hears(&mut self, text: &str) -> String {
        let (client, real) = self.next;
        let ack = real.wrapping_add(self.delta);
        let heard = self.client((PORT, CONTROL), DATA, (client, ack), text).expect("forwarded");
        assert_eq!((heard.src, heard.dst), ((self.client, PORT).into(), (self.real, CONTROL).into()));
        assert_eq!((heard.seq, heard.ack), (client, real));
        self.next.0 = client.wrapping_add(u32::try_from(text.len()).expect("short"));
        heard.text
    }

    /// A data connection that the client opens from `port` to `vport`, which must reach `rport`.
    fn passive(&mut self, port: u16, vport: u16, rport: u16) {
        let open = self.client((port, vport), Packet::SYN, (1, 0), "").expect("expected");
        assert_eq!((open.src, open.dst), ((self.client, port).into(), (self.real, rport).into()));
        let answer = self.real((rport, port), SYN_ACK, (1, 2), "").expect("forwarded");
        assert_eq!((answer.src, answer.dst), ((self.vip, vport).into(), (self.client, port).into()));
        for text in ["a listing\r\n", "another\r\n"] {
            let data = self.real((rport, port), DATA, (2, 2), text).expect("forwarded");
            assert_eq!((data.text.as_str(), data.seq, data.src.port()), (text, 2, vport));
        }
        self.client((port, vport), Packet::ACK, (2, 9), "").expect("forwarded");
        let end = self.client((port, vport), Packet::RST, (2, 9), "").expect("forwarded");
        assert_eq!(end.dst, (self.real, rport).into());
    }

    fn records(&self) -> usize {
        self.lab.shared.side.0.in_use()
    }
}

/// What a server at 198.19.1.11 says: see [`real`].
fn pasv(addr: IpAddr, port: u16) -> String {
    let IpAddr::V4(addr) = addr else { panic!("IPv4") };
    let [a, b, c, d] = addr.octets();
    format!("227 Entering Passive Mode ({a},{b},{c},{d},{},{}).\r\n", port >> 8, port & 255)
}

#[test]
fn passive_transfers_one_after_the_other() {
    let mut scene = Scene::new(false);
    for (n, rport) in (0..).zip([40_000, 1024, 65_535, 40_000, 9999]) {
        scene.hears("PASV\r\n");
        let said = pasv(scene.real, rport);
        assert_eq!(scene.says(&said), pasv(scene.vip, rport));
        scene.passive(50_000 + n, rport, rport);
        assert_eq!(scene.says("226 Transfer complete.\r\n"), "226 Transfer complete.\r\n");
    }
    assert_ne!(scene.delta, 0, "the addresses are of different lengths");
}

#[test]
fn extended_passive_mode_of_both_families() {
    for v6 in [false, true] {
        let mut scene = Scene::new(v6);
        for n in 0..3 {
            scene.hears("EPSV\r\n");
            let text = format!("229 Entering Extended Passive Mode (|||{}|)\r\n", 30_000 + n);
            assert_eq!(scene.says(&text), text);
            scene.passive(50_000 + n, 30_000 + n, 30_000 + n);
        }
        assert_eq!(scene.delta, 0);
    }
}

#[test]
fn what_is_not_expected_is_left_to_the_kernel() {
    let mut scene = Scene::new(false);
    assert_eq!(scene.client((50_000, 40_000), Packet::SYN, (1, 0), ""), Err("no-service"));
    assert_eq!(scene.client((50_000, 20), Packet::SYN, (1, 0), ""), Err("no-service"));
    assert_eq!(scene.real((40_000, 50_000), Packet::SYN, (1, 0), ""), Err("no-entry"));
    let said = pasv(scene.real, 40_000);
    scene.says(&said);
    // It is expected once, and of this client.
    let stranger = ([192, 0, 2, 8], 50_000).into();
    let packet = scene.packet((stranger, (scene.vip, 40_000).into()), Packet::SYN, (1, 0), "");
    assert_eq!(scene.send(&packet), Err("no-service"));
    scene.passive(50_000, 40_000, 40_000);
    assert_eq!(scene.client((50_001, 40_000), Packet::SYN, (1, 0), ""), Err("no-service"));
    // An address of somebody else's is not followed.
    let foreign = pasv([192, 0, 2, 99].into(), 40_001);
    assert_eq!(scene.says(&foreign), foreign);
    assert_eq!(scene.client((50_000, 40_001), Packet::SYN, (1, 0), ""), Err("no-service"));
}

#[test]
fn a_port_that_another_real_server_offers_gets_another_name() {
    let mut scene = Scene::new(false);
    let other = scene.site.destination(1, CONTROL, Method::Nat);
    let other_addr = other.addr;
    scene.site.services[0].destinations.push(other);
    scene.site.services[0].destinations[1].port = Some(CONTROL);
    scene.snapshot = scene.site.snapshot();
    let text = pasv(scene.real, 40_000);
    scene.says(&text);
    // The same client's other control connection, at the other real server.
    let first = scene.real;
    scene.real = other_addr;
    let to_vip = (PORT + 1, CONTROL);
    scene.client(to_vip, Packet::SYN, (999, 0), "").expect("forwarded");
    scene.real((CONTROL, PORT + 1), SYN_ACK, (4999, 1000), "").expect("forwarded");
    scene.real((CONTROL, PORT + 1), DATA, (5000, 1000), "220 Ready.\r\n").expect("forwarded");
    let text = pasv(other_addr, 40_000);
    let heard = scene.real((CONTROL, PORT + 1), DATA, (5012, 1000), &text).expect("forwarded");
    assert_eq!(heard.text, pasv(scene.vip, 40_001));
    scene.passive(50_000, 40_001, 40_000);
    scene.real = first;
    scene.passive(50_000, 40_000, 40_000);
}

#[test]
fn active_transfers_of_both_families() {
    for v6 in [false, true] {
        let mut scene = Scene::new(v6);
        for port in [50_001, 50_002, 50_001] {
            let text = if v6 {
                format!("EPRT |2|{}|{port}|\r\n", scene.client)
            } else {
                format!("PORT 192,0,2,7,{},{}\r\n", port >> 8, port & 255)
            };
            assert_eq!(scene.hears(&text), text);
            let open = scene.real((20, port), Packet::SYN, (1, 0), "").expect("expected");
            assert_eq!((open.src, open.dst), ((scene.vip, 20).into(), (scene.client, port).into()));
            let answer = scene.client((port, 20), SYN_ACK, (1, 2), "").expect("forwarded");
            assert_eq!((answer.src, answer.dst), ((scene.client, port).into(), (scene.real, 20).into()));
            scene.real((20, port), DATA, (2, 2), "a listing").expect("forwarded");
            scene.real((20, port), Packet::RST, (2, 2), "").expect("forwarded");
        }
        // Only ports of the client itself.
        scene.hears("PORT 192,0,2,8,195,85\r\n");
        assert_eq!(scene.real((20, 50_005), Packet::SYN, (1, 0), ""), Err("no-entry"));
    }
}

/// What was said before has moved the numbers, for as long as the connection lasts.
#[test]
fn a_helper_that_is_taken_away_leaves_its_connections_in_step() {
    let mut scene = Scene::new(false);
    let text = pasv(scene.real, 9999);
    scene.says(&text);
    assert_ne!(scene.delta, 0);
    scene.site.ftp.clear();
    scene.snapshot = scene.site.snapshot();
    let text = pasv(scene.real, 40_001);
    assert_eq!(scene.says(&text), text, "nobody looks any more");
    assert_eq!(scene.hears("NOOP\r\n"), "NOOP\r\n");
    assert_eq!(scene.says("200 Nothing.\r\n"), "200 Nothing.\r\n");
    scene.site.ftp.push(0);
    scene.snapshot = scene.site.snapshot();
    // It takes a line to know where one begins.
    assert_eq!(scene.says("200 Nothing.\r\n"), "200 Nothing.\r\n");
    let text = pasv(scene.real, 40_002);
    assert_eq!(scene.says(&text), pasv(scene.vip, 40_002));
}

/// The others of a datagram say where they belong by bytes.
#[test]
fn fragments_keep_their_length() {
    for v6 in [false, true] {
        let mut scene = Scene::new(v6);
        if !v6 {
            let text = pasv(scene.real, 9999);
            scene.says(&text);
        }
        let said = if v6 { "229 Ext (|||40000|)\r\n".to_owned() } else { pasv(scene.real, 40_000) };
        let text = format!("{said}226 {}\r\n", "x".repeat(100));
        let (seq, ack) = (scene.next.1, scene.next.0);
        let ends = ((scene.real, CONTROL).into(), (scene.client, PORT).into());
        let whole = Packet { df: false, ..scene.packet(ends, DATA, (seq, ack), &text) }.bytes();
        let mut frames = Vec::new();
        for piece in cut(&whole, 88, 77) {
            let (verdict, out) = scene.lab.send(&scene.snapshot, SERVER_SIDE, &piece);
            assert_eq!(verdict.reason(), None);
            frames.extend(out.sent.into_iter().map(|(_, frame)| frame));
        }
        let heard = read(&together(&frames, 14));
        assert_eq!((heard.text, heard.seq), (text, seq.wrapping_add(scene.delta)));
        assert_eq!(scene.client((50_000, 40_000), Packet::SYN, (1, 0), ""), Err("no-service"));
    }
}

#[test]
fn all_of_it_ends() {
    let mut scene = Scene::new(false);
    let text = pasv(scene.real, 40_000);
    scene.says(&text);
    scene.hears("PORT 192,0,2,7,195,85\r\n");
    let text = pasv(scene.real, 40_001);
    scene.says(&text);
    scene.passive(50_000, 40_001, 40_001);
    assert_eq!(scene.records(), 4);
    assert_eq!(scene.lab.live(DestId(0)), (1, 3));
    scene.lab.wait(122);
    scene.lab.expire(&scene.snapshot);
    // What nobody came for is forgotten after two minutes, the control connection goes on.
    assert_eq!((scene.records(), scene.lab.live(DestId(0))), (1, (1, 0)));
    assert_eq!(scene.says("221 Goodbye.\r\n"), "221 Goodbye.\r\n");
    scene.lab.wait(902);
    scene.lab.expire(&scene.snapshot);
    assert_eq!((scene.records(), scene.lab.live(DestId(0))), (0, (0, 0)));
    assert!(scene.lab.shared.tables.is_empty());
}

#[test]
fn a_template_counts_the_control_connection_only() {
    let persistence = Persistence { timeout: Seconds(60), prefix: None };
    let mut scene = Scene::with(false, vec![(0, persistence)]);
    for rport in [40_000, 40_001, 40_002] {
        let text = pasv(scene.real, rport);
        scene.says(&text);
        scene.passive(50_000, rport, rport);
        scene.lab.wait(11);
        scene.lab.expire(&scene.snapshot);
    }
    let text = pasv(scene.real, 40_003);
    scene.says(&text);
    scene.lab.wait(122);
    scene.lab.expire(&scene.snapshot);
    assert_eq!(scene.lab.live(DestId(0)), (1, 0), "the control connection is there still");
    let (mut counts, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let (tables, side) = (scene.lab.shared.tables, scene.lab.shared.side);
        next = tables.scan(from, 1 << 20, |place, key, payload| {
            let record = side.of(tables, (place, &key), Entry::from(payload));
            counts.extend(record.filter(|r| r.kind == Kind::Template).map(|r| connections(&r)));
        });
    }
    assert_eq!(counts, [1]);
}

#[test]
fn a_full_segment_leaves_room_for_the_address_to_grow() {
    let mut scene = Scene::new(false);
    let mut syn =
        scene.packet(((scene.client, 40_100).into(), (scene.vip, CONTROL).into()), Packet::SYN, (1, 0), "");
    syn.payload = Vec::new();
    // A header with the option, by hand: 1460.
    let mut bytes = syn.bytes();
    bytes.extend([2, 4, 0x05, 0xb4]);
    bytes[16..18].copy_from_slice(&44u16.to_be_bytes());
    bytes[46] = 0x60;
    fix_checksums(&mut bytes);
    let (verdict, out) = scene.lab.send(&scene.snapshot, CLIENT_SIDE, &bytes);
    assert_eq!(verdict.reason(), None);
    let frame = &out.sent[0].1;
    read(frame);
    assert_eq!(frame[54..58], [2, 4, 0x05, 0x84], "1460 less room for four addresses");
}

fn fix_checksums(frame: &mut [u8]) {
    use sheave_proto::wire::checksum::Sum;
    frame[24..26].fill(0);
    let sum = Sum::ZERO.bytes(&frame[14..34]).checksum();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[50..52].fill(0);
    let addr = |at: usize| std::net::Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let len = u16::try_from(frame.len() - 34).expect("short");
    let sum = Sum::pseudo_v4(addr(26), addr(30), 6, len).bytes(&frame[34..]).checksum();
    frame[50..52].copy_from_slice(&sum.to_be_bytes());
}
