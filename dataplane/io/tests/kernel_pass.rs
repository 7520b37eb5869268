//! The way back: what a worker passes reaches the kernel on the interface that it came in on.

mod common;

use common::judge::{sets, v4, v6};
use common::packets::{self, SYN, TCP, ether, tagged, tcp};
use common::{CLIENT, NetNs, OWN, RawSocket, VIP, close, ip, receive, run, serve, syn, veth, wait_until};
use sheave_frame::{Burst, PoolId, Port, PortId};
use sheave_io::Transport::Tcp;
use sheave_io::{
    Endpoint, ModeWish, PassDevice, PassPath, Passed, PortSet, Steering, SteeringCounters, SteeringSets, Umem,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

const PORT: u16 = 8080;

fn steering() -> Steering {
    let mut steering = Steering::load().expect("loaded");
    let services = [Endpoint::new(OWN, PORT, Tcp), Endpoint::new(VIP, 80, Tcp)].into();
    steering.apply(&SteeringSets { services, ..SteeringSets::default() }).expect("applied");
    steering
}

/// ```text
///   client ns: c0 198.18.0.2 <--> director ns: d0 198.18.0.1, worker: everything --> TAP --> d0 --> TCP listener
/// ```
///
/// A TCP connection whose every packet to the listener goes by the worker.
fn a_connection_by_way_of_the_worker(wish: ModeWish) {
    let (director, client) = (NetNs::new(), NetNs::new());
    let client_ns = client.path();
    director.run(|| {
        veth("d0", "c0");
        ip(&format!("link set c0 netns {client_ns}"));
        ip("addr add 198.18.0.1/24 dev d0");
    });
    client.run(|| {
        run("ethtool", "-K c0 tx off tso off gso off gro off");
        ip("link set c0 up");
        ip("addr add 198.18.0.2/24 dev c0");
    });
    let address = SocketAddr::from((Ipv4Addr::from(OWN), PORT));
    let listener = director.run(|| TcpListener::bind(address).expect("listening"));
    let (ready, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let (counters, passed) = std::thread::scope(|scope| {
        let worker = scope.spawn(|| director.run(|| pass_everything(wish, &ready, &stop)));
        wait_until("the worker is ready", || ready.load(Ordering::Acquire) || worker.is_finished());
        let server = scope.spawn(|| {
            listener.set_nonblocking(true).expect("set");
            let mut accepted = None;
            wait_until("a connection", || {
                accepted = listener.accept().ok();
                accepted.is_some()
            });
            let (mut stream, _) = accepted.expect("waited for it");
            stream.set_nonblocking(false).expect("set");
            stream.set_read_timeout(Some(common::PATIENCE)).expect("set");
            let mut received = Vec::new();
            stream.read_to_end(&mut received).expect("all");
            stream.write_all(&received).expect("sent");
        });
        let message: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        client.run(|| {
            let mut stream = TcpStream::connect_timeout(&address, common::PATIENCE).expect("connected");
            stream.set_read_timeout(Some(common::PATIENCE)).expect("set");
            stream.write_all(&message).expect("sent");
            stream.shutdown(std::net::Shutdown::Write).expect("shut");
            let mut echoed = Vec::new();
            stream.read_to_end(&mut echoed).expect("all");
            assert!(echoed == message, "the message came back changed");
        });
        server.join().expect("server");
        stop.store(true, Ordering::Release);
        worker.join().expect("worker")
    });
    assert!(counters.taken > 100, "{counters:?}");
    assert_eq!(
        (counters.taken, counters.reinjected),
        (passed, passed),
        "each frame is passed once: {counters:?}"
    );
    if wish == ModeWish::Generic {
        // Whether generic XDP sees a redirected frame again is up to the kernel; if it does, all are let through.
        assert!(counters.let_through == 0 || counters.let_through == passed, "{counters:?}");
    } else {
        assert_eq!(counters.let_through, 0, "{counters:?}");
    }
}

/// A worker that passes all that it receives, until it is told to stop.
fn pass_everything(wish: ModeWish, ready: &AtomicBool, stop: &AtomicBool) -> (SteeringCounters, u64) {
    let umem = Umem::new(1024, 1).expect("memory");
    let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
    let mut steering = Steering::load().expect("loaded");
    let mut served = serve(&mut steering, umem, "d0", PortId(2), wish);
    let device = PassDevice::open(&mut steering, served.port.ifindex()).expect("a way back");
    let mut path = PassPath::new();
    path.set(PortId(2), Some(device.queue().expect("a queue")));
    let mut burst = Burst::with_capacity(64);
    served.port.recv(&mut burst, &mut pool);
    let services = [Endpoint::new(OWN, PORT, Tcp)].into();
    steering.apply(&SteeringSets { services, ..SteeringSets::default() }).expect("applied");
    let mut set = PortSet::new().expect("set");
    set.set(served.port.wait_fd());
    let mut passed = 0;
    ready.store(true, Ordering::Release);
    // After the end, what the client's kernel still had to say; but for what found no frame to go into.
    let all = |steering: &mut Steering, port: &dyn Port, passed| {
        steering.counters().expect("readable").taken == passed + port.stats().rx_dropped
    };
    while !stop.load(Ordering::Acquire) || !all(&mut steering, &served.port, passed) {
        let _ = set.wait(Some(std::time::Duration::from_millis(5)));
        while served.port.recv(&mut burst, &mut pool) > 0 {
            while let Some(frame) = burst.pop() {
                assert_eq!(path.send(frame.ingress(), frame.bytes()), Passed::Sent);
                passed += 1;
                pool.release(frame);
            }
        }
    }
    let counters = steering.counters().expect("readable");
    close(served.port, &mut pool);
    device.close(&mut steering);
    umem.return_pool(pool).expect("whole");
    (counters, passed)
}

#[test]
fn a_tcp_connection_works_by_way_of_the_worker_natively() {
    a_connection_by_way_of_the_worker(ModeWish::Copy);
}

#[test]
fn a_tcp_connection_works_by_way_of_the_worker_generically() {
    a_connection_by_way_of_the_worker(ModeWish::Generic);
}

#[test]
fn a_passed_frame_is_seen_as_it_came_also_on_an_interface_that_came_back() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let umem = Umem::new(256, 1).expect("memory");
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let mut steering = steering();
        let target = sheave_io::ifindex("a0").expect("there");
        let device = PassDevice::open(&mut steering, target).expect("a way back");
        let mut path = PassPath::new();
        path.set(PortId(0), Some(device.queue().expect("a queue")));
        for round in 0..3u16 {
            let mut served = serve(&mut steering, umem, "a0", PortId(0), ModeWish::Auto);
            device.retarget(&mut steering, served.port.ifindex()).expect("retargeted");
            served.port.recv(&mut Burst::with_capacity(1), &mut pool);
            let inside = RawSocket::new("a0");
            let mut sent = syn((CLIENT, 1000 + round), (VIP, 80));
            sent.resize(60 + usize::from(round), 0xa5);
            RawSocket::new("a1").send(&sent);
            let mut burst = receive(&mut served.port, &mut pool, 1);
            assert_eq!(inside.take(), None, "it was taken");
            let frame = burst.pop().expect("one");
            assert_eq!(path.send(frame.ingress(), frame.bytes()), Passed::Sent);
            pool.release(frame);
            assert_eq!(inside.wait_for("the kernel has it", |frame| frame.len() == sent.len()), sent);
            ip("link del a0");
            close(served.port, &mut pool);
            steering.detach(served.attachment);
            veth("a0", "a1");
        }
        let name = device.name().to_owned();
        assert!(name.starts_with(sheave_io::PASS_DEVICE_PREFIX));
        device.close(&mut steering);
        assert!(sheave_io::ifindex(&name).is_ok(), "the worker's queue still holds it");
        path.set(PortId(0), None);
        wait_until("the device is gone", || sheave_io::ifindex(&name).is_err());
        umem.return_pool(pool).expect("whole");
    });
}

#[test]
fn a_way_that_is_closed_takes_nothing() {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let mut steering = steering();
        let device =
            PassDevice::open(&mut steering, sheave_io::ifindex("a0").expect("there")).expect("a way back");
        let mut queue = device.queue().expect("a queue");
        ip(&format!("link set {} down", device.name()));
        assert_eq!(queue.send(&syn((CLIENT, 1), (VIP, 80))), Passed::NoWay);
        ip(&format!("link del {}", device.name()));
        assert_eq!(queue.send(&syn((CLIENT, 1), (VIP, 80))), Passed::NoWay);
        assert!(device.queue().is_err() || device.name().starts_with(sheave_io::PASS_DEVICE_PREFIX));
    });
}

/// Frames with tags, fragments, IPv6: each reaches the kernel once, and never the worker a second time. The kernel shows
/// an outer tag beside the frame, not in it.
fn whatever_is_passed_arrives_once(wish: ModeWish) {
    NetNs::new().run(|| {
        veth("a0", "a1");
        let umem = Umem::new(256, 1).expect("memory");
        let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
        let mut steering = Steering::load().expect("loaded");
        let mut served = serve(&mut steering, umem, "a0", PortId(0), wish);
        let device = PassDevice::open(&mut steering, served.port.ifindex()).expect("a way back");
        let mut path = PassPath::new();
        path.set(PortId(0), Some(device.queue().expect("a queue")));
        steering.apply(&sets()).expect("applied");
        served.port.recv(&mut Burst::with_capacity(1), &mut pool);
        let (network, kernel) = (RawSocket::new("a1"), RawSocket::new("a0"));
        let mut frames = Vec::new();
        for c in [v4(), v6()] {
            let request = ether(&packets::ip(c.client, c.vip, TCP, 0, &tcp(1000, 80, SYN)));
            frames.extend([(request.clone(), 0), (tagged(request.clone(), &[0x8100]), 4)]);
            frames.push((tagged(request, &[0x88a8, 0x8100]), 4));
        }
        let c = v4();
        frames.push((ether(&packets::ip(c.client, c.vip, TCP, 185, &[1; 40])), 0));
        for (frame, tag) in &frames {
            network.send(frame);
            let mut burst = receive(&mut served.port, &mut pool, 1);
            let received = burst.pop().expect("one");
            assert_eq!(received.bytes(), frame);
            assert_eq!(path.send(PortId(0), received.bytes()), Passed::Sent);
            pool.release(received);
            let untagged = [&frame[..12], &frame[12 + tag..]].concat();
            kernel.wait_for("the kernel has it", |seen| seen == frame || *seen == untagged);
        }
        let counters = steering.counters().expect("readable");
        let all = frames.len() as u64;
        assert_eq!((counters.taken, counters.reinjected), (all, all), "{counters:?}");
        assert_eq!(served.port.recv(&mut Burst::with_capacity(1), &mut pool), 0, "one came a second time");
        device.close(&mut steering);
        close(served.port, &mut pool);
        umem.return_pool(pool).expect("whole");
    });
}

#[test]
fn whatever_is_passed_arrives_once_natively() {
    whatever_is_passed_arrives_once(ModeWish::Copy);
}

#[test]
fn whatever_is_passed_arrives_once_generically() {
    whatever_is_passed_arrives_once(ModeWish::Generic);
}
