//! What people see who look at a VIP from outside: ping, traceroute, and ports that nobody listens on.

use sheave_testbeds::Family::{V4, V6};
use sheave_testbeds::{Bed, Director, Family, Far, Lab, Method, Options, Service};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// A link as wide as all others.
const WIDE: u16 = 1500;

fn both(family: Family) -> Options {
    Options { clients: family, servers: family, ..Options::default() }
}

/// The VIP answers pings, whoever serves behind it, and is a router on the way to its services: the first packet that
/// it does not forward it complains about, from the VIP. The real server behind it answers as the VIP, too.
fn looks_right(method: Method, family: Family) {
    let bed = Bed::start_with(method, both(family), "").expect("bed");
    let far = Far::new(&bed.lab, WIDE).expect("a far client");
    let vip = bed.lab.vip(80).ip();
    let state = || bed.director.state();
    let text = vip.to_string();
    for size in ["0", "56", "1400"] {
        let ping = ["ping", "-n", "-c", "3", "-i", "0.2", "-W", "2", "-s", size, &text];
        let said = far.netns.exec(&ping).unwrap_or_else(|error| panic!("{error}\n{}", state()));
        assert!(said.contains(" 0% packet loss"), "{said}");
    }
    let (near, vip_hop) = (Far::router(family).to_owned(), text.clone());
    let hops = far.trace(&["-T", "-p", "80"], vip).unwrap_or_else(|error| panic!("{error}\n{}", state()));
    assert_eq!(hops, [near.clone(), vip_hop.clone(), vip_hop.clone()], "by TCP: {}", state());
    let hops = far.trace(&["-I"], vip).unwrap_or_else(|error| panic!("{error}\n{}", state()));
    assert_eq!(hops, [near, vip_hop], "by ICMP: {}", state());
}

#[test]
fn ping_and_traceroute_show_nat() {
    looks_right(Method::Nat, V4);
    looks_right(Method::Nat, V6);
}

#[test]
fn ping_and_traceroute_show_direct_routing() {
    looks_right(Method::Dr, V4);
    looks_right(Method::Dr, V6);
}

#[test]
fn ping_and_traceroute_show_tunnelling() {
    looks_right(Method::Tun, V4);
    looks_right(Method::Tun, V6);
}

/// A real server where nobody listens says so to the client, through whichever worker its error comes in on.
fn refusals_come_back(family: Family) {
    let lab = Lab::with(Options { outside_queues: 4, inside_queues: 4, ..both(family) }).expect("lab");
    lab.prepare(Method::Nat).expect("prepared");
    // Otherwise a real server complains about one client only so often.
    for real in &lab.reals {
        for key in ["net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"] {
            real.netns.sysctl(key, "0").expect("no limit");
        }
    }
    let director = Director::start_with(&lab, &[Service::echo(&lab, Method::Nat)], "cores = [0, 1]");
    let director = director.expect("sheaved");
    let target = lab.vip(7);
    let refused = |target: SocketAddr| {
        let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send(b"anybody?")?;
        socket.recv(&mut [0; 64])
    };
    for n in 0..40 {
        let answer = lab.client.enter(|| refused(target)).expect("entered").map_err(|error| error.kind());
        assert_eq!(answer, Err(ErrorKind::ConnectionRefused), "client {n}: {}", director.state());
    }
}

#[test]
fn refusals_come_back_through_any_worker() {
    refusals_come_back(V4);
    refusals_come_back(V6);
}
