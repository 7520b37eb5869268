//! Floods of SYNs: who is connected goes on, who comes is served, and the operator sees what happens.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use etherparse::PacketBuilder;
use sheave_testbeds::wait::{pause, wait_until};
use sheave_testbeds::{Bed, Method, Options, Result, addr};
use socket2::{Domain, Protocol, Socket, Type};

/// SYNs to the VIP's web port, many times what makes a flood and few enough for a shared processor, until it is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Flood {
    /// From 60,000 places, or from as many ports of one source.
    fn start(bed: &Bed, source: Option<Ipv4Addr>) -> Flood {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let packets: Vec<Vec<u8>> = (0..60_000).map(|n| syn(source, n)).collect();
        let thread = bed.lab.client.thread(move || send(&packets, &ended));
        Flood { stop, thread: Some(thread) }
    }

    /// Ends it; how many were sent.
    fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("once").join().expect("no panic").expect("raw socket")
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn syn(source: Option<Ipv4Addr>, n: u32) -> Vec<u8> {
    let stranger = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 51, 100, 1)) + n % 250);
    let port = 1024 + u16::try_from(n).expect("16 bits");
    let mut packet = Vec::new();
    PacketBuilder::ipv4(source.unwrap_or(stranger).octets(), addr::VIP.octets(), 64)
        .tcp(port, 80, n, 64_000)
        .syn()
        .write(&mut packet, &[])
        .expect("memory");
    packet
}

fn send(packets: &[Vec<u8>], stop: &AtomicBool) -> u64 {
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).expect("raw socket");
    let to = SocketAddr::from((addr::VIP, 0)).into();
    let mut sent = 0;
    for burst in packets.chunks(100).cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        for packet in burst {
            sent += u64::from(raw.send_to(packet, &to).is_ok());
        }
        pause(Duration::from_millis(5));
    }
    sent
}

/// What `sheave status` says, as lines.
fn status(bed: &Bed) -> String {
    bed.director.sheave(&["status"]).expect("status")
}

fn counter(bed: &Bed, name: &str) -> u64 {
    let report = bed.director.json(&["counters", "--all"]).expect("counters");
    let list = report["counters"].as_array().cloned().unwrap_or_default();
    let found = list.iter().find(|counter| counter["name"] == name).expect("the counter is there");
    found["value"].as_u64().expect("a number")
}

/// Keep-alive connections through a flood, and new ones too.
fn goes_on(method: Method) {
    let bed = Bed::start_with(method, Options::default(), "flood = { new-connections = 500 }").expect("bed");
    let connected = bed.keep_alive_load();
    connected.wait_answers(50).expect("answers before the flood");
    let flood = Flood::start(&bed, None);
    wait_until("flood mode", Duration::from_secs(10), || status(&bed).contains("in flood mode"))
        .unwrap_or_else(|error| panic!("{error}\n{}", bed.director.state()));
    connected.wait_answers(200).expect("answers to who is connected");
    let coming = bed.close_load();
    coming.wait_answers(100).unwrap_or_else(|error| panic!("{error}\n{}", bed.director.state()));
    let (coming, connected) = (coming.finish(), connected.finish());
    assert_eq!(connected.failed, 0, "{connected:?}\n{}", bed.director.state());
    assert_eq!(coming.failed, 0, "{coming:?}\n{}", bed.director.state());
    // Many more than had an entry, and few of them have one. Cookies for strangers have no way back from here.
    let without = if method == Method::Nat { "no-route" } else { "adrift" };
    wait_until("SYNs without an entry", Duration::from_secs(10), || counter(&bed, without) > 10_000)
        .unwrap_or_else(|error| panic!("{error}\n{}", bed.director.state()));
    assert!(status(&bed).contains("not established"), "{}", status(&bed));
    assert!(flood.finish() > 10_000);
    let half_open = bed.director.json(&["status"]).expect("status")["half-open"].as_u64().expect("a number");
    assert!(half_open < 5000, "{half_open}\n{}", bed.director.state());
    wait_until("the end of flood mode", Duration::from_secs(10), || !status(&bed).contains("in flood mode"))
        .unwrap_or_else(|error| panic!("{error}\n{}", bed.director.state()));
    let log = bed.director.log();
    assert!(log.contains("flood: new connections"), "{log}");
}

#[test]
fn nat_goes_on_through_a_flood() {
    goes_on(Method::Nat);
}

#[test]
fn direct_routing_goes_on_through_a_flood() {
    goes_on(Method::Dr);
}

#[test]
fn tunnelling_goes_on_through_a_flood() {
    goes_on(Method::Tun);
}

/// A source and a VIP beyond their rates are held back before a worker sees them, and the operator sees it.
#[test]
fn the_steering_program_holds_sources_and_vips_to_their_rates() {
    for (limit, name, said) in [
        ("source-rate = 200", "flood-source", "beyond source-rate"),
        ("vip-rate = 200", "flood-vip", "beyond vip-rate"),
    ] {
        let lines = format!("flood = {{ {limit} }}");
        let bed = Bed::start_with(Method::Dr, Options::default(), &lines).expect("bed");
        let connected = bed.keep_alive_load();
        connected.wait_answers(50).expect("answers before the flood");
        let flood = Flood::start(&bed, Some(addr::CLIENT));
        wait_until("drops", Duration::from_secs(10), || counter(&bed, name) > 10_000)
            .unwrap_or_else(|error| panic!("{error}\n{}", bed.director.state()));
        connected.wait_answers(100).expect("answers to who is connected");
        let connected = connected.finish();
        assert_eq!(connected.failed, 0, "{connected:?}\n{}", bed.director.state());
        let sent = flood.finish();
        let status = status(&bed);
        assert!(status.contains(said), "{status}");
        assert!(counter(&bed, name) <= sent, "no more than were sent");
        assert_eq!(counter(&bed, "adrift"), 0, "no worker has seen a flood");
    }
}
