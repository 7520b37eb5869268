//! Others' opinions on what the director sends: tshark's decoders and checksums, the kernel's ARP.

use sheave_testbeds::http::{After, HttpConn};
use sheave_testbeds::udp::UdpClient;
use sheave_testbeds::{Bed, Capture, Captured, Director, Lab, Method, Service, addr, servers};

/// Frames that tshark finds anything wrong with: checksums, lengths, malformed protocols.
const WRONG: &str =
    "ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || _ws.malformed";

fn nothing_wrong(captured: &Captured, least: usize) {
    let all = captured.fields("", &["frame.number"]).expect("tshark");
    assert!(all.len() >= least, "only {} frames", all.len());
    let wrong = captured.lines().expect("tcpdump");
    let numbers = captured.fields(WRONG, &["frame.number", "_ws.expert.message"]).expect("tshark");
    assert!(numbers.is_empty(), "{numbers:?} of {wrong:#?}");
}

/// TCP with data in both directions and UDP, to one server.
fn traffic(bed: &Bed) {
    let mut connection = HttpConn::open(&bed.lab.client, bed.lab.vip(80)).expect("connection");
    for _ in 0..20 {
        connection.ask(After::KeepAlive).expect("answer");
    }
    connection.ask(After::Close).expect("answer");
    // Odd sizes too: the last byte of a checksum is easily lost.
    let mut client = UdpClient::open(&bed.lab.client, None, bed.lab.vip(7)).expect("client");
    for size in [4, 5, 100, 101, 1400] {
        client.echo(size).expect("echo");
    }
}

/// A bed with one real server, so that one cable sees everything.
fn single(method: Method) -> Bed {
    let options = sheave_testbeds::Options { reals: 1, ..sheave_testbeds::Options::default() };
    Bed::start_with(method, options, "").expect("bed")
}

#[test]
fn what_nat_sends_is_right_on_both_sides() {
    let bed = single(Method::Nat);
    let outside = Capture::start(&bed.lab, &bed.lab.client, "c0", "ip").expect("capture");
    let inside = Capture::start(&bed.lab, &bed.lab.reals[0].netns, "r0", "ip").expect("capture");
    traffic(&bed);
    let (outside, inside) = (outside.finish().expect("capture"), inside.finish().expect("capture"));
    nothing_wrong(&outside, 50);
    nothing_wrong(&inside, 50);
    let stray = format!("ip.dst == {} && ip.src != {}", addr::CLIENT, addr::VIP);
    assert_eq!(outside.fields(&stray, &["ip.src"]).expect("tshark"), Vec::<Vec<String>>::new());
    // Rewritten is the destination alone; a router's decrement shows in the TTL.
    let requests = format!("ip.src == {}", addr::CLIENT);
    for row in inside.fields(&requests, &["ip.dst", "ip.ttl", "eth.src", "eth.dst"]).expect("tshark") {
        assert_eq!(row, ["198.19.1.11", "63", "02:00:00:00:00:d1", "02:00:00:00:01:0b"]);
    }
}

#[test]
fn what_direct_routing_sends_is_the_clients_packet() {
    let bed = single(Method::Dr);
    let inside = Capture::start(&bed.lab, &bed.lab.reals[0].netns, "r0", "ip").expect("capture");
    traffic(&bed);
    let inside = inside.finish().expect("capture");
    nothing_wrong(&inside, 50);
    let requests = format!("ip.src == {}", addr::CLIENT);
    let rows = inside.fields(&requests, &["ip.dst", "eth.src", "eth.dst"]).expect("tshark");
    assert!(rows.len() > 20, "{rows:?}");
    for row in rows {
        assert_eq!(row, ["198.18.0.100", "02:00:00:00:00:d1", "02:00:00:00:01:0b"]);
    }
}

#[test]
fn what_tunnelling_sends_is_ip_in_ip() {
    let bed = single(Method::Tun);
    let inside = Capture::start(&bed.lab, &bed.lab.reals[0].netns, "r0", "ip").expect("capture");
    traffic(&bed);
    let inside = inside.finish().expect("capture");
    nothing_wrong(&inside, 50);
    // Of each field the outer value and the inner one.
    let rows = inside.fields("ip.proto == 4", &["ip.src", "ip.dst", "ip.proto"]).expect("tshark");
    assert!(rows.len() > 20, "{rows:?}");
    for row in rows {
        assert_eq!(row[..2], ["198.19.1.1,198.18.0.2", "198.19.1.11,198.18.0.100"]);
        assert!(["4,6", "4,17"].contains(&row[2].as_str()), "{row:?}");
    }
}

/// A VIP that comes up is announced in both forms; the kernel's neighbour entry follows.
#[test]
fn a_vip_is_announced_to_neighbours_that_had_another_address() {
    let lab = Lab::new().expect("lab");
    lab.prepare(Method::Nat).expect("prepared");
    let _nginx = servers::start_nginx(&lab).expect("nginx");
    let (vip, elsewhere) = (addr::VIP, "02:00:00:00:00:ee");
    lab.client.ip(&format!("neigh add {vip} lladdr {elsewhere} dev c0 nud stale")).expect("neighbour");
    let capture = Capture::start(&lab, &lab.client, "c0", "arp").expect("capture");
    let _director = Director::start(&lab, &[Service::web(&lab, Method::Nat)]).expect("sheaved");
    let gratuitous = format!("arp.src.proto_ipv4 == {vip} && arp.dst.proto_ipv4 == {vip}");
    let request = format!("{gratuitous} && arp.opcode == 1");
    let captured = capture.until(&format!("{gratuitous} && arp.opcode == 2"), 1).expect("reply form");
    let senders = captured.fields(&gratuitous, &["arp.src.hw_mac", "eth.dst"]).expect("tshark");
    assert!(senders.iter().all(|row| row == &["02:00:00:00:00:d0", "ff:ff:ff:ff:ff:ff"]), "{senders:?}");
    assert!(!captured.fields(&request, &["arp.opcode"]).expect("tshark").is_empty(), "request form");
    nothing_wrong(&captured, 2);
    let neighbour = lab.client.ip(&format!("neigh show {vip}")).expect("neighbours");
    assert!(neighbour.contains("02:00:00:00:00:d0"), "{neighbour}");
}
