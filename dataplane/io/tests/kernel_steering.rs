//! The steering program takes exactly what is ours, natively and generically.

mod common;

use common::{
    CLIENT, NetNs, OUR_MAC, OWN, REAL, RawSocket, THEIR_MAC, VIP, close, receive, serve, syn, udp, veth,
    wait_until,
};
use etherparse::PacketBuilder;
use sheave_frame::{Burst, FramePool, PoolId, Port, PortId};
use sheave_io::{Endpoint, FrameSize, ModeWish, Steering, SteeringSets, Umem};

const OTHER: [u8; 4] = [198, 18, 0, 77];

fn sets() -> SteeringSets {
    SteeringSets {
        services: [Endpoint::new(VIP.into(), 80, 6), Endpoint::new(VIP.into(), 53, 17)].into(),
        vips: [VIP.into()].into(),
        reals: [Endpoint::new(REAL.into(), 8080, 6), Endpoint::new(REAL.into(), 53, 17)].into(),
        own: [OWN.into()].into(),
    }
}

/// ARP for Ethernet and IPv4, broadcast.
fn arp(op: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let head = [&[0xff; 6][..], &THEIR_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, op]].concat();
    [&head[..], &THEIR_MAC, &sender, &[0; 6], &target].concat()
}

fn echo(to: [u8; 4], reply: bool) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(THEIR_MAC, OUR_MAC).ipv4(CLIENT, to, 64);
    let builder = if reply { builder.icmpv4_echo_reply(1, 2) } else { builder.icmpv4_echo_request(1, 2) };
    let mut packet = Vec::new();
    builder.write(&mut packet, b"ping").expect("memory");
    packet
}

/// An ICMP error to `to` that quotes `quoted` (a whole frame) from its IP header on.
fn error(kind: u8, to: [u8; 4], quoted: &[u8]) -> Vec<u8> {
    let icmp = etherparse::Icmpv4Type::Unknown { type_u8: kind, code_u8: 0, bytes5to8: [0; 4] };
    let builder = PacketBuilder::ethernet2(THEIR_MAC, OUR_MAC).ipv4([198, 18, 0, 254], to, 64).icmpv4(icmp);
    let mut packet = Vec::new();
    builder.write(&mut packet, &quoted[14..]).expect("memory");
    packet
}

/// A frame with some bytes replaced.
fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// A frame with an IPv4 option, so that its ports stand four bytes later.
fn with_option(mut frame: Vec<u8>) -> Vec<u8> {
    frame[14] = 0x46;
    frame.splice(34..34, [1, 1, 1, 0]);
    frame
}

fn tagged(mut frame: Vec<u8>) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0, 0, 5]);
    frame
}

/// What is ours.
fn ours() -> Vec<(&'static str, Vec<u8>)> {
    let request = syn((CLIENT, 1000), (VIP, 80));
    let reply = syn((REAL, 8080), (CLIENT, 1000));
    let to_client = syn((VIP, 80), (CLIENT, 1000));
    let to_real = syn((CLIENT, 1000), (REAL, 8080));
    vec![
        ("a request by TCP", request.clone()),
        ("a request by UDP", udp((CLIENT, 1000), (VIP, 53), b"question")),
        ("a request with an IP option", with_option(request.clone())),
        ("a request to another station's address", with(request, 0, &[2, 0, 0, 0, 0, 9])),
        ("a reply of a real server", reply.clone()),
        ("a reply by UDP", udp((REAL, 53), (CLIENT, 1000), b"answer")),
        ("who has the VIP", arp(1, CLIENT, VIP)),
        ("the VIP says who has the client", arp(1, VIP, CLIENT)),
        ("another announces the VIP", arp(2, VIP, VIP)),
        ("an ARP reply to the VIP", arp(2, CLIENT, VIP)),
        ("echo to the VIP", echo(VIP, false)),
        ("unreachable about the VIP's packet", error(3, VIP, &to_client)),
        ("source quench about the VIP's packet", error(4, VIP, &to_client)),
        ("time exceeded about the VIP's packet", error(11, VIP, &to_client)),
        ("parameter problem about the VIP's packet", error(12, VIP, &to_client)),
        ("an error with a quoted IP option", error(3, VIP, &with_option(to_client))),
        ("an error to a client about its packet to a real", error(3, CLIENT, &to_real)),
        ("an error to the VIP about a packet to a real", error(3, VIP, &to_real)),
        ("padded to the minimum", [arp(1, CLIENT, VIP), vec![0; 18]].concat()),
    ]
}

/// What is the kernel's.
fn theirs() -> Vec<(&'static str, Vec<u8>)> {
    let request = syn((CLIENT, 1000), (VIP, 80));
    let to_client = syn((VIP, 80), (CLIENT, 1000));
    let short_quote = error(3, VIP, &to_client)[..14 + 20 + 8 + 22].to_vec();
    vec![
        ("another port of the VIP", syn((CLIENT, 1000), (VIP, 22))),
        ("the port by another protocol", udp((CLIENT, 1000), (VIP, 80), b"x")),
        ("ssh to the director", syn((CLIENT, 1000), (OWN, 22))),
        ("the service's port on another address", syn((CLIENT, 1000), (OWN, 80))),
        ("a reply of a real to the director itself", syn((REAL, 8080), (OWN, 1000))),
        ("another port of a real", syn((REAL, 22), (CLIENT, 1000))),
        ("ARP about others", arp(1, CLIENT, OWN)),
        ("reverse ARP", with(arp(1, CLIENT, VIP), 21, &[3])),
        ("ARP of another hardware", with(arp(1, CLIENT, VIP), 14, &[0, 6])),
        ("half an ARP", arp(1, CLIENT, VIP)[..41].to_vec()),
        ("echo to the director", echo(OWN, false)),
        ("an echo reply to the VIP", echo(VIP, true)),
        ("a redirect about the VIP's packet", error(5, VIP, &to_client)),
        ("an error about the director's own packet", error(3, OWN, &syn((OWN, 1000), (REAL, 8080)))),
        ("an error about another packet", error(3, OWN, &syn((OWN, 22), (CLIENT, 1000)))),
        ("an error about a later fragment", error(3, VIP, &with(to_client.clone(), 20, &[0, 9]))),
        ("an error with too short a quotation", short_quote),
        ("an error about IP in IP", error(3, OWN, &with(syn((OWN, 0), (REAL, 0)), 23, &[4]))),
        ("a first fragment", with(request.clone(), 20, &[0x20, 0])),
        ("a later fragment", with(request.clone(), 20, &[0, 1])),
        ("a tagged frame", tagged(request.clone())),
        ("broadcast", with(request.clone(), 0, &[0xff; 6])),
        ("multicast", with(request.clone(), 0, &[1, 0, 0x5e])),
        ("version 6 inside type 4", with(request.clone(), 14, &[0x65])),
        ("a header length below five", with(request.clone(), 14, &[0x44])),
        ("a header length beyond the frame", with(request.clone(), 14, &[0x4f])),
        ("IPv6", with(request.clone(), 12, &[0x86, 0xdd])),
        ("SCTP", with(request.clone(), 23, &[132])),
        ("no ports", request[..36].to_vec()),
        ("half an IP header", request[..30].to_vec()),
        ("a bare Ethernet header", request[..14].to_vec()),
    ]
}

fn takes_exactly_what_is_ours(wish: ModeWish) {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let umem = Umem::new(256, 1, FrameSize::B2048).expect("memory");
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let mut steering = Steering::load().expect("loaded");
        let mut served = serve(&mut steering, umem, "a0", PortId(0), wish);
        let network = RawSocket::new("a1");
        served.port.recv(&mut Burst::with_capacity(1), &mut pool);
        steering.apply(&sets()).expect("applied");
        for (what, frame) in ours() {
            network.send(&frame);
            let mut burst = receive(&mut served.port, &mut pool, 1);
            let received = burst.pop().expect("one");
            assert_eq!(received.bytes(), frame, "{what}");
            pool.release(received);
        }
        let taken = steering.counters().expect("readable").taken;
        assert_eq!(taken, ours().len() as u64);
        for (what, frame) in theirs() {
            let before = steering.counters().expect("readable").passed;
            network.send(&frame);
            wait_until(what, || steering.counters().expect("readable").passed > before);
            assert_nothing(&mut served.port, &mut pool, what);
        }
        assert_eq!(steering.counters().expect("readable").taken, taken);
        close(served.port, &mut pool);
        umem.return_pool(pool).expect("whole");
    });
}

fn assert_nothing(port: &mut dyn Port, pool: &mut FramePool, what: &str) {
    assert_eq!(port.recv(&mut Burst::with_capacity(1), pool), 0, "taken: {what}");
}

#[test]
fn takes_exactly_what_is_ours_natively() {
    takes_exactly_what_is_ours(ModeWish::Copy);
}

#[test]
fn takes_exactly_what_is_ours_generically() {
    takes_exactly_what_is_ours(ModeWish::Generic);
}

#[test]
fn sets_follow_what_is_applied() {
    let mut steering = Steering::load().expect("loaded");
    for next in [sets(), SteeringSets::default(), sets()] {
        steering.apply(&next).expect("applied");
        assert_eq!(steering.read_back().expect("readable"), next);
    }
    let mut more = sets();
    more.services.remove(&Endpoint::new(VIP.into(), 80, 6));
    more.services.insert(Endpoint::new(OTHER.into(), 80, 6));
    more.own.insert(OTHER.into());
    steering.apply(&more).expect("applied");
    assert_eq!((steering.read_back().expect("readable"), steering.sets()), (more.clone(), &more));
}

#[test]
fn what_has_no_socket_is_the_kernels() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let umem = Umem::new(256, 1, FrameSize::B2048).expect("memory");
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let mut steering = Steering::load().expect("loaded");
        let mut served = serve(&mut steering, umem, "a0", PortId(0), ModeWish::Auto);
        steering.apply(&sets()).expect("applied");
        served.port.recv(&mut Burst::with_capacity(1), &mut pool);
        let ifindex = served.port.ifindex();
        assert!(steering.set_socket(ifindex, 64, served.port.fd()).is_err(), "beyond the table");
        assert!(steering.set_socket(ifindex + 1000, 0, served.port.fd()).is_err(), "not attached");
        steering.clear_socket(ifindex, 0).expect("cleared");
        let network = RawSocket::new("a1");
        network.send(&ours()[0].1);
        wait_until("it passes", || steering.counters().expect("readable").no_socket == 1);
        steering.set_socket(ifindex, 0, served.port.fd()).expect("set");
        network.send(&ours()[0].1);
        let mut burst = receive(&mut served.port, &mut pool, 1);
        pool.release(burst.pop().expect("one"));
        // A closed socket leaves the table by itself; a detached program sees nothing any more.
        close(served.port, &mut pool);
        network.send(&ours()[0].1);
        wait_until("it passes", || steering.counters().expect("readable").no_socket == 2);
        steering.detach(served.attachment);
        let before = steering.counters().expect("readable");
        network.send(&ours()[0].1);
        let inside = RawSocket::new("a0");
        network.send(&ours()[1].1);
        inside.wait_for("the kernel has it", |frame| frame == ours()[1].1);
        assert_eq!(steering.counters().expect("readable"), before);
        umem.return_pool(pool).expect("whole");
    });
}

#[test]
fn an_interface_of_another_program_is_left_alone_and_says_why() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let ifindex = sheave_io::ifindex("a0").expect("there");
        let (mut first, mut second) = (Steering::load().expect("loaded"), Steering::load().expect("loaded"));
        let attachment = first.attach(ifindex, ModeWish::Auto).expect("attached");
        let refusal = second.attach(ifindex, ModeWish::Auto).expect_err("taken").to_string();
        assert!(refusal.contains("another XDP program"), "{refusal}");
        // Dropping is detaching, at once.
        drop(attachment);
        let attachment = second.attach(ifindex, ModeWish::Auto).expect("free again");
        second.detach(attachment);
        assert!(second.attach(u32::from(u16::MAX), ModeWish::Auto).is_err(), "no such interface");
    });
}

/// Two queues of one interface: frames of each reach the socket of that queue and no other.
#[test]
fn each_queue_has_its_socket() {
    NetNs::new().run(|| {
        common::ip(
            "link add a0 numrxqueues 2 numtxqueues 2 type veth peer name a1 numrxqueues 2 numtxqueues 2",
        );
        common::ip("link set a0 up");
        common::ip("link set a1 up");
        assert_eq!(sheave_io::rx_queues("a0").expect("there"), 2);
        let umem = Umem::new(256, 1, FrameSize::B2048).expect("memory");
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let mut steering = Steering::load().expect("loaded");
        let ifindex = sheave_io::ifindex("a0").expect("there");
        let attachment = steering.attach(ifindex, ModeWish::Auto).expect("attached");
        let mut ports: Vec<_> = (0..2)
            .map(|queue| {
                let config = sheave_io::AfXdpConfig {
                    name: "a0".to_owned(),
                    ifindex,
                    queue,
                    port: PortId(0),
                    wish: ModeWish::Auto,
                    attached: attachment.mode(),
                    fill_frames: 64,
                };
                let mut port = sheave_io::AfXdpPort::open(umem, &config).expect("open");
                steering.set_socket(ifindex, queue, port.fd()).expect("set");
                port.recv(&mut Burst::with_capacity(1), &mut pool);
                port
            })
            .collect();
        steering.apply(&sets()).expect("applied");
        let network = RawSocket::new("a1");
        for n in 0..64 {
            network.send(&syn((CLIENT, 1000 + n), (VIP, 80)));
        }
        let mut counts = [0, 0];
        let mut burst = Burst::with_capacity(1);
        wait_until("all have come", || {
            for (port, count) in ports.iter_mut().zip(&mut counts) {
                *count += port.recv(&mut burst, &mut pool);
                while let Some(frame) = burst.pop() {
                    pool.release(frame);
                }
            }
            counts.iter().sum::<usize>() == 64
        });
        for port in ports {
            Box::new(port).close(&mut pool);
        }
        umem.return_pool(pool).expect("whole");
    });
}
