//! The director's host stays a host: what is not a virtual service's is the kernel's, with sheaved or without.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use sheave_testbeds::http::{After, HttpConn, ask_once, greeting};
use sheave_testbeds::servers::{ServerThread, tcp_greeter};
use sheave_testbeds::wait::{Stopwatch, pause, wait_until};
use sheave_testbeds::{Bed, Lab, Method, addr};

/// A service of the host itself: on both interfaces, and on a port that is a virtual service's elsewhere.
const OWN: [(Ipv4Addr, u16); 3] =
    [(addr::DIRECTOR_OUTSIDE, 2222), (addr::DIRECTOR_INSIDE, 2222), (addr::DIRECTOR_OUTSIDE, 80)];

fn own_servers(lab: &Lab) -> Vec<ServerThread> {
    OWN.iter().map(|at| tcp_greeter(&lab.director, "host", (*at).into()).expect("greeter")).collect()
}

/// The host's own servers answer, and it answers to ping, from either side.
fn host_answers(lab: &Lab) {
    for at in OWN {
        assert_eq!(greeting(&lab.client, at.into()).expect("the host's own server"), "host", "{at:?}");
    }
    assert_eq!(greeting(&lab.reals[0].netns, OWN[1].into()).expect("the host's own server"), "host");
    for (from, to) in [(&lab.client, addr::DIRECTOR_OUTSIDE), (&lab.reals[0].netns, addr::DIRECTOR_INSIDE)] {
        from.exec(&["ping", "-c", "2", "-i", "0.2", "-W", "3", &to.to_string()]).expect("ping of the host");
    }
}

#[test]
fn the_hosts_own_services_are_reachable_throughout() {
    let mut bed = Bed::start(Method::Nat).expect("bed");
    let _servers = own_servers(&bed.lab);
    let load = bed.close_load();
    load.wait_answers(100).expect("the service runs");
    host_answers(&bed.lab);
    bed.director.reload_by_signal().expect("reload");
    host_answers(&bed.lab);
    load.wait_answers(100).expect("the service runs");
    let tally = load.finish();
    assert_eq!(tally.failed, 0, "{:#?}", tally.failures);
}

/// A connection of the kernel's that began before sheaved lives through its start, its work and its violent end.
#[test]
fn kill_leaves_the_hosts_own_traffic_working() {
    let mut bed = Bed::start(Method::Nat).expect("bed");
    let _servers = own_servers(&bed.lab);
    // Routed by the director's kernel, to a port that is no destination's and to one that is.
    let open = |port| HttpConn::open(&bed.lab.client, bed.lab.reals[0].at(port)).expect("connection");
    let mut routed = [open(80), open(8080)];
    let load = bed.close_load();
    load.wait_answers(100).expect("the service runs");
    let mut ask = |when: &str| {
        for connection in &mut routed {
            assert_eq!(connection.ask(After::KeepAlive).expect(when), "r1");
        }
    };
    ask("routed while sheaved runs");
    bed.director.kill();
    ask("routed after it was killed");
    host_answers(&bed.lab);
    bed.director.start_again(&bed.lab).expect("start again");
    ask("routed after it was started again");
    load.wait_answers(100).expect("the service runs again");
}

#[test]
fn the_host_itself_connects_to_real_servers() {
    let bed = Bed::start(Method::Nat).expect("bed");
    assert!(bed.ask().is_ok());
    for real in &bed.lab.reals {
        for port in [80, 8080] {
            assert_eq!(ask_once(&bed.lab.director, real.at(port)).expect("answer"), real.name);
        }
    }
}

#[test]
fn a_real_server_connects_out_through_a_nat_director() {
    let bed = Bed::start(Method::Nat).expect("bed");
    assert!(bed.ask().is_ok());
    let target = (addr::CLIENT, 9000).into();
    let _greeter = tcp_greeter(&bed.lab.client, "outside", target).expect("greeter");
    for real in &bed.lab.reals {
        assert_eq!(greeting(&real.netns, target).expect("greeting"), "outside");
    }
}

/// The hard case: from the very address and port of a destination. A worker has the frame, finds no connection, and
/// gives it back to the kernel, which routes it as it came.
#[test]
fn what_a_real_server_sends_from_its_service_port_reaches_the_kernel() {
    let mut bed = Bed::start(Method::Nat).expect("bed");
    let real = &bed.lab.reals[2];
    bed.echoes.pop();
    let source: SocketAddr = real.at(Method::Nat.echo_port());
    let target: SocketAddr = (addr::CLIENT, 9999).into();
    let bind = |netns: &sheave_testbeds::Netns, at| {
        netns.enter(|| UdpSocket::bind(at)).expect("namespace").expect("socket")
    };
    let (sender, receiver) = (bind(&real.netns, source), bind(&bed.lab.client, target));
    receiver.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    for number in 0..20_u8 {
        sender.send_to(&[number; 100], target).expect("sent");
        let mut buffer = [0; 200];
        let (length, from) = receiver.recv_from(&mut buffer).expect("received");
        assert_eq!((from, &buffer[..length]), (source, [number; 100].as_slice()));
    }
}

/// The VIP answers ARP and echo, and is no address of the host's.
#[test]
fn the_vip_answers_ping() {
    let bed = Bed::start(Method::Nat).expect("bed");
    let vip = addr::VIP.to_string();
    bed.lab.client.exec(&["ping", "-c", "3", "-i", "0.2", "-W", "3", &vip]).expect("ping of the VIP");
    let neighbour = bed.lab.client.ip(&format!("neigh show {vip}")).expect("neighbours");
    assert!(neighbour.contains("02:00:00:00:00:d0"), "{neighbour}");
    let own = bed.lab.director.ip("-o -4 addr show").expect("addresses");
    assert!(!own.contains(&vip), "{own}");
}

/// The share of one processor that a process used while `time` went by.
fn cpu_share(pid: u32, time: Duration) -> f64 {
    // Fields 14 and 15 of stat, in clock ticks of 10 ms; the name in field 2 may contain blanks.
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("process runs");
        let (_, fields) = stat.rsplit_once(')').expect("stat has a name");
        fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u32>().expect("a number")).sum::<u32>()
    };
    let (before, watch) = (ticks(), Stopwatch::start());
    pause(time);
    f64::from(ticks() - before) / 100.0 / watch.elapsed().as_secs_f64()
}

#[test]
fn an_idle_director_uses_next_to_no_cpu() {
    let mut bed = Bed::start(Method::Nat).expect("bed");
    bed.ask().expect("it has worked once");
    let pid = bed.director.process().expect("runs").pid();
    // It may finish what the request and its own start left to do.
    wait_until("idle", Duration::from_secs(10), || cpu_share(pid, Duration::from_millis(500)) < 0.1)
        .expect("idle");
    let share = cpu_share(pid, Duration::from_secs(2));
    assert!(share < 0.1, "{:.1} % of a processor", share * 100.0);
}
