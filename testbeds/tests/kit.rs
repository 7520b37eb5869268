//! The kit without a director: the topology is what its drawing says, and what it needs is there.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etherparse::PacketBuilder;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sheave_testbeds::http::{After, HttpConn, ask_once, greeting};
use sheave_testbeds::load::Load;
use sheave_testbeds::udp::UdpClient;
use sheave_testbeds::wait::wait_until;
use sheave_testbeds::{Capture, Lab, Method, Netns, addr, servers};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How long what is waited for may take.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn nginx_of_each_real_server_answers_by_its_name_through_the_directors_kernel() {
    let lab = Lab::new().expect("lab");
    lab.prepare(Method::Nat).expect("prepared for NAT");
    let nginx = servers::start_nginx(&lab).expect("nginx");
    assert_eq!(nginx.len(), 3);
    for real in &lab.reals {
        for port in [80, 8080] {
            assert_eq!(ask_once(&lab.client, real.at(port)).expect("answer"), real.name);
        }
    }
    let load = Load::keep_alive(lab.reals[0].at(80)).start(&lab.client);
    load.wait_server("r1", 50).expect("answers");
    let tally = load.finish();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    assert_eq!(tally.total(), tally.of("r1"));
}

#[test]
fn the_big_file_arrives_whole() {
    let lab = Lab::new().expect("lab");
    lab.prepare(Method::Nat).expect("prepared for NAT");
    let _nginx = servers::nginx(&lab, &lab.reals[0]).expect("nginx");
    let path = servers::make_big_file(&lab).expect("file");
    let mut connection = HttpConn::open(&lab.client, lab.reals[0].at(80)).expect("connect");
    let body = connection.get("/big", After::Close).expect("download");
    assert_eq!(body.len(), servers::BIG_FILE);
    assert!(body == std::fs::read(path).expect("file"), "the download differs from the file");
}

/// What the director will do for TUN, by hand: an inner packet client -> VIP in an outer one to the real server.
/// The echo must come to the client from the VIP, by way of the gateway.
#[test]
fn a_tunnelled_packet_is_stripped_and_answered_from_the_vip() {
    let lab = Lab::new().expect("lab");
    lab.prepare(Method::Tun).expect("prepared for TUN");
    let real = &lab.reals[1];
    let _echo = servers::udp_echo(&real.netns, "r2", lab.vip(7)).expect("echo");
    let mut client = UdpClient::open(&lab.client, Some(5555), lab.vip(7)).expect("client");

    let payload = b"through the pipe";
    let builder = PacketBuilder::ipv4(addr::CLIENT.octets(), addr::VIP.octets(), 64).udp(5555, 7);
    let mut inner = Vec::new();
    builder.write(&mut inner, payload).expect("packet");
    let ipip = lab
        .director
        .enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(4))))
        .expect("namespace")
        .expect("raw socket");
    ipip.send_to(&inner, &SockAddr::from(std::net::SocketAddrV4::new(real.ip, 0))).expect("sent");

    assert_eq!(client.answer(payload).expect("answer"), "r2");
}

/// DR by hand: the client's neighbour entry for the VIP names the gateway, which routes to one real server.
#[test]
fn a_vip_on_lo_is_answered_for_but_not_announced() {
    let lab = Lab::new().expect("lab");
    lab.prepare(Method::Dr).expect("prepared for DR");
    let real = &lab.reals[2];
    let _echo = servers::udp_echo(&real.netns, "r3", lab.vip(7)).expect("echo");
    lab.client.ip(&format!("route add {}/32 via {}", addr::VIP, addr::GATEWAY_OUTSIDE)).expect("route");
    lab.gateway.ip(&format!("route add {}/32 via {}", addr::VIP, real.ip)).expect("route");
    let mut client = UdpClient::open(&lab.client, None, lab.vip(7)).expect("client");
    assert_eq!(client.echo(1000).expect("answer"), "r3");
    // Nobody owns the VIP in ARP while no director runs.
    lab.client.ip(&format!("route del {}/32", addr::VIP)).expect("route");
    let ping = lab.client.exec(&["ping", "-c", "1", "-W", "1", &addr::VIP.to_string()]);
    assert!(ping.is_err(), "somebody answered ARP for the VIP");
}

#[test]
fn a_real_server_reaches_the_client_through_the_director() {
    let lab = Lab::new().expect("lab");
    lab.prepare(Method::Nat).expect("prepared for NAT");
    let target = (addr::CLIENT, 9000).into();
    let _greeter = servers::tcp_greeter(&lab.client, "client", target).expect("greeter");
    assert_eq!(greeting(&lab.reals[0].netns, target).expect("greeting"), "client");
}

#[test]
fn an_unplugged_interface_comes_back_with_another_index() {
    let lab = Lab::new().expect("lab");
    let index = || lab.director.ip("-o link show d1").map(|text| text.split(':').next().map(str::to_owned));
    let before = index().expect("d1 is there");
    lab.unplug("d1").expect("unplugged");
    index().expect_err("d1 is gone");
    lab.plug("d1").expect("plugged");
    assert_ne!(index().expect("d1 is back"), before);
    let inside = addr::DIRECTOR_INSIDE.to_string();
    lab.reals[0].netns.exec(&["ping", "-c", "1", "-W", "5", &inside]).expect("reachable again");
}

#[test]
fn a_dropped_namespace_is_gone_with_what_ran_in_it() {
    let netns = Netns::new("gone").expect("namespace");
    let name = netns.name().to_owned();
    let log = std::env::temp_dir().join(format!("{name}.log"));
    let process = netns.spawn(&["sleep", "1000"], &log).expect("process");
    let pid = process.pid();
    wait_until("process in its namespace", SOON, || {
        sheave_testbeds::run(&["ip", "netns", "pids", &name])
            .is_ok_and(|pids| pids.contains(&pid.to_string()))
    })
    .expect("started");
    // As if the guard had been lost: the namespace itself must see to it.
    std::mem::forget(process);
    drop(netns);
    // A killed process takes a moment to die; unreaped, it stays a zombie.
    wait_until("end of the process", SOON, || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    })
    .expect("killed");
    assert!(!std::path::Path::new("/run/netns").join(&name).exists());
    std::fs::remove_file(log).expect("log");
}

/// The namespaces that the process `pid` has made.
fn made_by(pid: u32) -> usize {
    let names = std::fs::read_dir("/run/netns").expect("names");
    names.flatten().filter(|n| n.file_name().to_string_lossy().starts_with(&format!("shv-{pid}-"))).count()
}

/// A process of its own that has a namespace, to be ended in some way by its maker. It ends with its input.
fn holder() -> Child {
    let own = std::env::current_exe().expect("path");
    let holder = Command::new(own)
        .args(["--ignored", "--exact", "holds_a_namespace"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("own binary starts");
    wait_until("namespace of the holder", SOON, || made_by(holder.id()) == 1).expect("made");
    holder
}

#[test]
#[ignore = "runs as a process of its own, started by the tests that end it"]
fn holds_a_namespace() {
    let _netns = Netns::new("held").expect("namespace");
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn a_terminated_process_leaves_no_namespace() {
    let mut holder = holder();
    let pid = Pid::from_raw(i32::try_from(holder.id()).expect("a process id"));
    kill(pid, Signal::SIGTERM).expect("signalled");
    let status = holder.wait().expect("ended");
    assert_eq!(status.code(), Some(128 + 15));
    assert_eq!(made_by(holder.id()), 0);
}

#[test]
fn the_next_run_clears_what_a_killed_one_left() {
    let mut killed = holder();
    killed.kill().expect("killed");
    killed.wait().expect("ended");
    let mut next = holder();
    assert_eq!(made_by(killed.id()), 0);
    drop(next.stdin.take());
    assert!(next.wait().expect("ended").success());
    assert_eq!(made_by(next.id()), 0);
}

#[test]
fn a_capture_shows_what_passed_and_tshark_reads_it() {
    let lab = Lab::new().expect("lab");
    lab.prepare(Method::Nat).expect("prepared for NAT");
    let _nginx = servers::nginx(&lab, &lab.reals[0]).expect("nginx");
    let capture = Capture::start(&lab, &lab.reals[0].netns, "r0", "tcp").expect("capture");
    ask_once(&lab.client, lab.reals[0].at(80)).expect("answer");
    let captured = capture.until("tcp.flags.fin == 1", 2).expect("capture");
    let syns = captured.fields("tcp.flags.syn == 1", &["ip.src", "tcp.checksum.status"]).expect("tshark");
    assert_eq!(syns, [["198.18.0.2", "1"], ["198.19.1.11", "1"]]);
    assert!(captured.lines().expect("tcpdump")[0].contains("Flags [S]"));
}

#[test]
fn addresses_are_of_the_benchmarking_network() {
    let all = [addr::CLIENT, addr::VIP, addr::DIRECTOR_INSIDE, addr::DIRECTOR_OUTSIDE, addr::real(9)];
    assert!(all.iter().all(|ip: &Ipv4Addr| matches!(ip.octets(), [198, 18 | 19, ..])));
}
