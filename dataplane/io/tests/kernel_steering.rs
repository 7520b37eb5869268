//! The steering program on interfaces, natively and generically: what is ours reaches the socket as it came, what is not
//! reaches the kernel. What exactly is ours is tested frame by frame in kernel_judgement*.rs.

mod common;

use common::judge::{sets, v4, v6};
use common::packets::*;
use common::{CLIENT, NetNs, RawSocket, VIP, close, receive, serve, syn, veth, wait_until};
use sheave_frame::{Burst, FramePool, PoolId, Port, PortId};
use sheave_io::Transport::Tcp;
use sheave_io::{AfXdpConfig, AfXdpPort, Endpoint, ModeWish, Steering, SteeringSets, Umem};

const OTHER: [u8; 4] = [198, 18, 0, 77];

/// What is ours.
fn ours() -> Vec<(&'static str, Vec<u8>)> {
    let mut frames = Vec::new();
    for c in [v4(), v6()] {
        let request = ether(&ip(c.client, c.vip, TCP, 0, &tcp(1000, 80, SYN)));
        frames.extend([
            ("a request", request.clone()),
            ("a request by UDP", ether(&ip(c.client, c.open, UDP, 0, &udp_datagram(1000, 53)))),
            ("a request with a tag", tagged(request.clone(), &[0x8100])),
            ("a request with two tags", tagged(request.clone(), &[0x88a8, 0x8100])),
            ("a request to another station's address", with(request.clone(), 0, &[2, 0, 0, 0, 0, 9])),
            ("a request with padding", [&request[..], &[0; 20]].concat()),
            ("a reply of a real server", ether(&ip(c.real, c.client, TCP, 0, &tcp(8080, 1000, ACK)))),
        ]);
    }
    let (c, c6) = (v4(), v6());
    let to_real = ip(c.client, c.real, TCP, 0, &tcp(1000, 8080, ACK));
    let group = addr("ff02::1:ff00:100");
    let who_has = ether(&discovery(135, c6.client, group, c6.vip));
    let later = ip_extended((c6.client, c6.vip), &[Extension::fragment(1448)], (TCP, &[1; 8]));
    frames.extend([
        ("who has the VIP", with(who_has, 0, &[0x33, 0x33, 0xff, 0, 1, 0])),
        ("echo to the VIP", ether(&ip(c6.client, c6.vip, ICMPV6, 0, &icmp(128, b"ping")))),
        ("a later fragment", ether(&ip(c.client, c.vip, TCP, 185, &[1; 8]))),
        ("a later fragment, v6", ether(&later)),
        ("an error about a packet to a real", ether(&ip(c.own, c.client, ICMP, 0, &icmp(3, &to_real)))),
    ]);
    frames
}

/// What is the kernel's.
fn theirs() -> Vec<(&'static str, Vec<u8>)> {
    let mut frames = Vec::new();
    for c in [v4(), v6()] {
        let request = ether(&ip(c.client, c.vip, TCP, 0, &tcp(1000, 80, SYN)));
        frames.extend([
            ("another port of the VIP", ether(&ip(c.client, c.vip, TCP, 0, &tcp(1000, 22, SYN)))),
            ("ssh to the director", ether(&ip(c.client, c.own, TCP, 0, &tcp(1000, 22, SYN)))),
            ("a reply of a real to the director", ether(&ip(c.real, c.own, TCP, 0, &tcp(8080, 1, ACK)))),
            ("broadcast", with(request.clone(), 0, &[0xff; 6])),
            ("three tags", tagged(request.clone(), &[0x8100; 3])),
            ("no ports", request[..request.len() - 18].to_vec()),
            ("half an IP header", request[..30].to_vec()),
            ("a bare Ethernet header", request[..14].to_vec()),
        ]);
    }
    frames
}

fn takes_exactly_what_is_ours(wish: ModeWish) {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let umem = Umem::new(256, 1).expect("memory");
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
    more.services.remove(&Endpoint::new(VIP, 80, Tcp));
    more.services.insert(Endpoint::new(OTHER, 80, Tcp));
    more.own.insert(OTHER.into());
    steering.apply(&more).expect("applied");
    assert_eq!(steering.read_back().expect("readable"), more);
    // Taken out is what goes, but for the host's own; nothing new is there yet.
    let mut less = sets();
    less.services.clear();
    less.own.clear();
    less.vips.insert(OTHER.into());
    steering.withdraw(&less).expect("withdrawn");
    let left = steering.read_back().expect("readable");
    assert_eq!(left, SteeringSets { services: [].into(), ..more });
}

#[test]
fn what_has_no_socket_is_the_kernels() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let umem = Umem::new(256, 1).expect("memory");
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

/// Two interfaces of two queues, dealt crosswise to two workers.
///
/// ```text
///   a0 queue 0 -- worker 0 -- b0 queue 1          a0 queue 1 -- worker 1 -- b0 queue 0
/// ```
#[test]
fn any_queue_of_any_interface_may_have_any_worker() {
    NetNs::new().run(|| {
        let umem = Umem::new(256, 2).expect("memory");
        let mut pools = [0, 1].map(|id| umem.take_pool(PoolId(id), 0).expect("a pool"));
        let mut steering = Steering::load().expect("loaded");
        let mut workers: [Vec<AfXdpPort>; 2] = [Vec::new(), Vec::new()];
        let mut attachments = Vec::new();
        for (number, name, far) in [(0, "a0", "a1"), (1, "b0", "b1")] {
            let queues = "numrxqueues 2 numtxqueues 2";
            common::ip(&format!("link add {name} {queues} type veth peer name {far} {queues}"));
            for end in [name, far] {
                common::ip(&format!("link set {end} up"));
            }
            assert_eq!(sheave_io::rx_queues(name).expect("there"), 2);
            let ifindex = sheave_io::ifindex(name).expect("there");
            let attachment = steering.attach(ifindex, ModeWish::Auto).expect("attached");
            for queue in 0..2u32 {
                let config = AfXdpConfig {
                    name: name.to_owned(),
                    ifindex,
                    queue,
                    port: PortId(number),
                    wish: ModeWish::Auto,
                    attached: attachment.mode(),
                    fill_frames: 64,
                };
                let worker = (u32::from(number) + queue) % 2;
                let mut port = AfXdpPort::open(umem, &config).expect("open");
                steering.set_socket(ifindex, queue, port.fd()).expect("set");
                port.recv(&mut Burst::with_capacity(1), &mut pools[worker as usize]);
                workers[worker as usize].push(port);
            }
            attachments.push(attachment);
        }
        steering.apply(&sets()).expect("applied");
        let networks = ["a1", "b1"].map(RawSocket::new);
        for n in 0..64 {
            networks[0].send(&syn((CLIENT, 1000 + n), (VIP, 80)));
            networks[1].send(&syn((CLIENT, 2000 + n), (VIP, 80)));
        }
        // By interface and queue. The source port tells where a frame was sent.
        let mut counts = [[0; 2]; 2];
        wait_until("all have come", || {
            for (ports, pool) in workers.iter_mut().zip(&mut pools) {
                for port in ports {
                    let (mut burst, at) = (Burst::with_capacity(1), port.caps());
                    port.recv(&mut burst, pool);
                    while let Some(frame) = burst.pop() {
                        let interface = usize::from(frame.bytes()[34..36] >= 2000u16.to_be_bytes()[..]);
                        assert_eq!((frame.ingress(), at.port.index()), (at.port, interface));
                        counts[interface][at.queue as usize] += 1;
                        pool.release(frame);
                    }
                }
            }
            counts.map(|queues| queues.iter().sum::<usize>()) == [64, 64]
        });
        assert!(counts.iter().flatten().all(|count| *count > 0), "not spread over the queues: {counts:?}");
        for (ports, mut pool) in workers.into_iter().zip(pools) {
            for port in ports {
                Box::new(port).close(&mut pool);
            }
            umem.return_pool(pool).expect("whole");
        }
    });
}
