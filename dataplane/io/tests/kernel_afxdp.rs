//! AF_XDP sockets on veth: forwarding, rebinding, interfaces that vanish, modes.

mod common;

use common::{CLIENT, NetNs, RawSocket, VIP, close, ip, open, receive, run, serve, udp, veth, wait_until};
use sheave_frame::{Burst, Caps, Mode, PoolId, Port, PortId};
use sheave_io::{
    AfXdpConfig, AfXdpPort, Endpoint, ModeWish, PortSet, Steering, SteeringSets, Transport, Umem, XdpMode,
    retire,
};
use std::process::{Command, Stdio};

fn umem(pools: u8) -> Umem {
    Umem::new(512, pools).expect("memory")
}

fn steering() -> Steering {
    let mut steering = Steering::load().expect("the program loads");
    let services = [Endpoint::new(VIP, 53, Transport::Udp)].into();
    let sets = SteeringSets { services, ..SteeringSets::default() };
    steering.apply(&sets).expect("applied");
    steering
}

fn query(payload: &[u8]) -> Vec<u8> {
    udp((CLIENT, 1000), (VIP, 53), payload)
}

/// ```text
///   a1 (raw) <--> a0 --AF_XDP--> worker --AF_XDP--> b0 <--> b1 (raw)        one UMEM, two sockets
/// ```
#[test]
fn a_frame_is_forwarded_without_a_copy_and_grows_to_the_front() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        veth("b0", "b1");
        let (umem, mut steering) = (umem(1), steering());
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let mut a = serve(&mut steering, umem, "a0", PortId(0), ModeWish::Auto);
        let mut b = serve(&mut steering, umem, "b0", PortId(1), ModeWish::Auto);
        assert_eq!(a.port.caps(), Caps { port: PortId(0), queue: 0, mode: Mode::Copy });
        let (client, real) = (RawSocket::new("a1"), RawSocket::new("b1"));
        a.port.recv(&mut Burst::with_capacity(1), &mut pool);
        let sent = query(b"a question");
        client.send(&sent);
        let mut burst = receive(&mut a.port, &mut pool, 1);
        {
            let frame = burst.iter_mut().next().expect("one");
            assert_eq!((frame.bytes(), frame.start(), frame.ingress()), (&sent[..], 256, PortId(0)));
            // An outer header of 20 bytes between Ethernet and IP, as a tunnel needs it.
            let bytes = frame.prepend(20).expect("headroom");
            bytes.copy_within(20..34, 0);
            bytes[14..34].fill(0xee);
        }
        assert_eq!(b.port.send(&mut burst), 1);
        b.port.flush(&mut pool);
        let expected = [&sent[..14], &[0xee; 20], &sent[14..]].concat();
        assert_eq!(real.wait_for("the frame", |frame| frame.len() == sent.len() + 20), expected);
        wait_until("completion", || b.port.flush(&mut pool).in_flight == 0);
        assert_eq!(pool.free() + a.port.held() + b.port.held(), pool.total());
        let (received, forwarded) = (a.port.stats(), b.port.stats());
        assert_eq!((received.rx_frames, received.rx_bytes), (1, sent.len() as u64));
        assert_eq!((forwarded.tx_frames, forwarded.tx_invalid), (1, 0));
        Box::new(a.port).close(&mut pool);
        close(b.port, &mut pool);
        umem.return_pool(pool).expect("whole");
    });
}

#[test]
fn one_flush_sends_a_whole_ring_and_frames_of_other_pools_are_set_aside() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let umem = Umem::new(2048, 2).expect("memory");
        let mut steering = steering();
        let mut pool = umem.take_pool(PoolId(0), 2048).expect("a pool");
        let mut other = umem.take_pool(PoolId(1), 2048).expect("a pool");
        let mut served = serve(&mut steering, umem, "a0", PortId(0), ModeWish::Auto);
        let mut burst = Burst::with_capacity(1500);
        for n in 0..1500usize {
            let mut frame = if n % 3 == 0 { other.alloc() } else { pool.alloc() }.expect("free");
            frame.fill(&query(b"x")).expect("fits");
            burst.push(frame).expect("room");
        }
        assert_eq!(served.port.send(&mut burst), 1500);
        wait_until("all are sent", || served.port.flush(&mut pool).in_flight == 0);
        let received = std::fs::read_to_string("/proc/thread-self/net/dev").expect("counters");
        let line = received.lines().find(|line| line.trim_start().starts_with("a1:")).expect("a1");
        assert_eq!(line.split_whitespace().nth(2), Some("1500"), "{line}");
        assert_eq!(pool.foreign(), 500);
        while let Some(frame) = pool.take_foreign() {
            other.release(frame);
        }
        close(served.port, &mut pool);
        umem.return_pool(pool).expect("whole");
        umem.return_pool(other).expect("whole");
    });
}

#[test]
fn a_queue_can_be_bound_again_and_again() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let (umem, mut steering) = (umem(1), steering());
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let client = RawSocket::new("a1");
        let attachment =
            steering.attach(sheave_io::ifindex("a0").expect("there"), ModeWish::Auto).expect("attached");
        for round in 0..20u8 {
            let mut port = open(umem, "a0", PortId(0), &attachment, ModeWish::Auto);
            steering.set_socket(attachment.ifindex(), 0, port.fd()).expect("a socket");
            port.recv(&mut Burst::with_capacity(1), &mut pool);
            client.send(&query(&[round]));
            let mut burst = receive(&mut port, &mut pool, 1);
            assert_eq!(burst.peek().and_then(|frame| frame.bytes().last().copied()), Some(round));
            // Close with a frame in each ring.
            client.send(&query(&[round]));
            assert_eq!(port.send(&mut burst), 1);
            close(port, &mut pool);
        }
        steering.detach(attachment);
        umem.return_pool(pool).expect("whole");
    });
}

#[test]
fn an_interface_that_vanishes_gives_all_frames_back_and_may_return() {
    NetNs::new().run(|| {
        let (umem, mut steering) = (umem(1), steering());
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let mut last = 0;
        for _ in 0..3 {
            veth("a0", "a1");
            let mut served = serve(&mut steering, umem, "a0", PortId(0), ModeWish::Auto);
            assert_ne!(served.port.ifindex(), last, "another index");
            last = served.port.ifindex();
            served.port.recv(&mut Burst::with_capacity(1), &mut pool);
            RawSocket::new("a1").send(&query(b"x"));
            let mut burst = receive(&mut served.port, &mut pool, 1);
            assert!(!served.port.is_gone());
            ip("link del a0");
            wait_until("the port sees it", || served.port.is_gone());
            assert_eq!(served.port.send(&mut burst), 0, "frames stay with the caller");
            served.port.flush(&mut pool);
            pool.release(burst.pop().expect("it stayed"));
            assert!(served.port.held() > 0);
            close(served.port, &mut pool);
            steering.detach(served.attachment);
        }
        umem.return_pool(pool).expect("whole");
    });
}

#[test]
fn an_interface_that_is_down_keeps_its_frames_and_sends_when_it_is_up() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let (umem, mut steering) = (umem(1), steering());
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let mut served = serve(&mut steering, umem, "a0", PortId(0), ModeWish::Auto);
        ip("link set a0 down");
        let mut burst = Burst::with_capacity(1);
        let mut frame = pool.alloc().expect("free");
        frame.fill(&query(b"x")).expect("fits");
        burst.push(frame).expect("room");
        assert_eq!(served.port.send(&mut burst), 1);
        assert_eq!(served.port.flush(&mut pool).in_flight, 1);
        assert!(!served.port.is_gone());
        ip("link set a0 up");
        wait_until("it is sent", || served.port.flush(&mut pool).in_flight == 0);
        served.port.recv(&mut burst, &mut pool);
        ip("link set a0 down");
        close(served.port, &mut pool);
        umem.return_pool(pool).expect("whole");
    });
}

#[test]
fn modes_fall_back_where_they_may() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        ip("link add br0 type bridge");
        ip("link set br0 up");
        let (umem, mut steering) = (umem(1), steering());
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        for (name, wish, attached, mode) in [
            ("a0", ModeWish::Auto, XdpMode::Native, Mode::Copy),
            ("a0", ModeWish::Copy, XdpMode::Native, Mode::Copy),
            ("a0", ModeWish::Generic, XdpMode::Generic, Mode::Generic),
            ("br0", ModeWish::Auto, XdpMode::Generic, Mode::Generic),
        ] {
            let served = serve(&mut steering, umem, name, PortId(0), wish);
            assert_eq!(
                (served.attachment.mode(), served.port.caps().mode),
                (attached, mode),
                "{name} {wish:?}"
            );
            close(served.port, &mut pool);
            steering.detach(served.attachment);
        }
        let bridge = sheave_io::ifindex("br0").expect("there");
        assert!(steering.attach(bridge, ModeWish::Copy).is_err(), "a bridge has no native XDP");
        let config = AfXdpConfig {
            name: "a0".to_owned(),
            ifindex: sheave_io::ifindex("a0").expect("there"),
            queue: 0,
            port: PortId(0),
            wish: ModeWish::ZeroCopy,
            attached: XdpMode::Native,
            fill_frames: 64,
        };
        let error = AfXdpPort::open(umem, &config).expect_err("veth has no zero-copy").to_string();
        assert!(error.contains("a0 queue 0") && error.contains("use mode \"auto\""), "{error}");
        umem.return_pool(pool).expect("whole");
    });
}

#[test]
fn large_mtus_take_the_program_for_several_buffers() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        for end in ["a0", "a1"] {
            ip(&format!("link set {end} mtu 9000"));
        }
        let (umem, mut steering) = (umem(1), steering());
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let mut served = serve(&mut steering, umem, "a0", PortId(0), ModeWish::Copy);
        assert_eq!(served.attachment.mode(), XdpMode::Native);
        served.port.recv(&mut Burst::with_capacity(1), &mut pool);
        let client = RawSocket::new("a1");
        client.send(&query(b"small"));
        let mut burst = receive(&mut served.port, &mut pool, 1);
        pool.release(burst.pop().expect("one"));
        client.send(&query(&[1; 5000]));
        wait_until("the large one is counted", || served.port.stats().rx_dropped == 1);
        close(served.port, &mut pool);
        umem.return_pool(pool).expect("whole");
    });
}

#[test]
fn a_queue_is_bound_by_one_and_rebound_by_waiting() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let (umem, mut steering) = (umem(1), steering());
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let served = serve(&mut steering, umem, "a0", PortId(0), ModeWish::Auto);
        let config = AfXdpConfig {
            name: "a0".to_owned(),
            ifindex: served.port.ifindex(),
            queue: 7,
            port: PortId(0),
            wish: ModeWish::Copy,
            attached: XdpMode::Native,
            fill_frames: 64,
        };
        assert!(AfXdpPort::open(umem, &config).is_err(), "there is no queue 7");
        let error = AfXdpPort::open(umem, &AfXdpConfig { queue: 0, ..config }).expect_err("it is taken");
        assert_eq!(error.source.raw_os_error(), Some(libc::EBUSY));
        close(served.port, &mut pool);
        umem.return_pool(pool).expect("whole");
    });
}

#[test]
fn a_wait_ends_when_a_frame_arrives() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let (umem, mut steering) = (umem(1), steering());
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let mut served = serve(&mut steering, umem, "a0", PortId(0), ModeWish::Auto);
        served.port.recv(&mut Burst::with_capacity(1), &mut pool);
        let mut set = PortSet::new().expect("set");
        set.set(served.port.wait_fd());
        let client = RawSocket::new("a1");
        client.send(&query(b"x"));
        let woken = set.wait(Some(common::PATIENCE));
        assert!(woken.ports && !woken.waker);
        let mut burst = receive(&mut served.port, &mut pool, 1);
        pool.release(burst.pop().expect("one"));
        close(served.port, &mut pool);
        retire(pool);
    });
}

/// Not a test: the process that the next one kills. It serves the interface k0 of its namespace and then waits.
#[test]
#[ignore = "run by killed_it_leaves_nothing_behind"]
fn victim() {
    let (umem, mut steering) = (umem(1), steering());
    let pool = umem.take_pool(PoolId(0), 0).expect("a pool");
    let served = serve(&mut steering, umem, "k0", PortId(0), ModeWish::Auto);
    let device = sheave_io::PassDevice::open(&mut steering, served.port.ifindex()).expect("a way back");
    println!("serving");
    let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
    drop(device);
    retire(pool);
}

#[test]
fn killed_it_leaves_nothing_behind() {
    NetNs::new().run(|| {
        veth("k0", "k1");
        let myself = std::env::current_exe().expect("this test");
        let mut child = Command::new(myself)
            .args(["--ignored", "--exact", "victim", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("spawned");
        wait_until("it serves", || {
            let links = run("ip", "-d link show");
            links.contains("prog/xdp") && links.contains(sheave_io::PASS_DEVICE_PREFIX)
        });
        child.kill().expect("killed");
        child.wait().expect("dead");
        wait_until("nothing is left", || {
            let links = run("ip", "-d link show");
            !links.contains("prog/xdp") && !links.contains(sheave_io::PASS_DEVICE_PREFIX)
        });
    });
}
