//! What does not fit on its way: path MTU discovery through each method, and datagrams in fragments.

use sheave_testbeds::Family::{V4, V6};
use sheave_testbeds::servers::{self, ServerThread};
use sheave_testbeds::udp::UdpClient;
use sheave_testbeds::{Bed, Director, Family, Far, Lab, Method, Netns, Options, Result, Service, run};
use std::net::SocketAddr;

/// The MTU of the narrow link on the clients' side.
const NARROW: u16 = 1300;
/// The MTU of the narrow link on the real servers' side: a packet of IPv6 still has its 1280 bytes in a tunnel there.
const NARROW_INSIDE: &str = "1400";
/// The director's own towards the real servers, and what a tunnel of IPv4 or IPv6 leaves of it.
const fn usable(method: Method, family: Family) -> &'static str {
    match (method, family) {
        (Method::Nat | Method::Dr, _) => NARROW_INSIDE,
        (Method::Tun, V4) => "1380",
        (Method::Tun, V6) => "1360",
    }
}

/// Bytes of an upload.
const UPLOAD: usize = 10_000_000;

fn both(family: Family) -> Options {
    Options { clients: family, servers: family, ..Options::default() }
}

/// Real servers send segments that are too large for the narrow link. The router before it says so, to the VIP, and
/// the director passes that on: the download goes on in smaller segments.
fn finds_the_path_mtu(method: Method, family: Family) {
    let bed = Bed::start_with(method, both(family), "").expect("bed");
    let far = Far::new(&bed.lab, NARROW).expect("a far client");
    let digest = |text: String| text.split_whitespace().next().map(str::to_owned).expect("a digest");
    let file = servers::make_big_file(&bed.lab).expect("file");
    let sent = digest(run(&["sha256sum", file.to_str().expect("UTF-8 path")]).expect("digest"));
    let url = format!("http://{}/big", bed.lab.vip(80));
    let script =
        format!("set -o pipefail; curl --fail --silent --show-error --max-time 120 {url} | sha256sum");
    let received = digest(far.netns.exec(&["bash", "-c", &script]).expect("download"));
    assert_eq!(received, sent, "{}", bed.director.state());
    // The server has learned it.
    let learned =
        |real: &sheave_testbeds::Real| knows(&real.netns, Far::address(family), &NARROW.to_string());
    assert!(bed.lab.reals.iter().any(learned), "no real server knows of the narrow link");
}

/// Whether a host knows the MTU of its way to an address.
fn knows(host: &Netns, address: &str, mtu: &str) -> bool {
    host.ip(&format!("route get {address}")).unwrap_or_default().contains(&format!("mtu {mtu} "))
}

#[test]
fn nat_finds_the_path_mtu() {
    finds_the_path_mtu(Method::Nat, V4);
}

#[test]
fn nat_finds_the_path_mtu_ipv6() {
    finds_the_path_mtu(Method::Nat, V6);
}

#[test]
fn direct_routing_finds_the_path_mtu() {
    finds_the_path_mtu(Method::Dr, V4);
}

#[test]
fn direct_routing_finds_the_path_mtu_ipv6() {
    finds_the_path_mtu(Method::Dr, V6);
}

#[test]
fn tunnelling_finds_the_path_mtu() {
    finds_the_path_mtu(Method::Tun, V4);
}

#[test]
fn tunnelling_finds_the_path_mtu_ipv6() {
    finds_the_path_mtu(Method::Tun, V6);
}

/// Clients send segments that are too large for the director's own way to the real servers, and nobody clamps what
/// they announce: the VIP says what fits, and the upload goes on in smaller segments.
fn tells_what_fits(method: Method, family: Family) {
    let lab = Lab::with(both(family)).expect("lab");
    lab.prepare(method).expect("prepared");
    lab.director.ip(&format!("link set d1 mtu {NARROW_INSIDE}")).expect("narrow");
    let port = if method == Method::Nat { 9009 } else { 9 };
    let sink = |real: &sheave_testbeds::Real| {
        let address = if method == Method::Nat { real.at(port) } else { lab.vip(port) };
        servers::tcp_sink(&real.netns, &real.name, address)
    };
    let _sinks: Vec<ServerThread> = lab.reals.iter().map(sink).collect::<Result<_>>().expect("sinks");
    let destinations: Vec<(SocketAddr, u32)> = lab.reals.iter().map(|real| (real.at(port), 1)).collect();
    let service = Service {
        name: "sink",
        listen: format!("{}/tcp", lab.vip(9)),
        destinations,
        more: "mss-clamp = \"off\"".to_owned(),
        ..Service::web(&lab, method)
    };
    let director = Director::start(&lab, &[service]).expect("sheaved");
    servers::upload(&lab.client, lab.vip(9), UPLOAD)
        .unwrap_or_else(|error| panic!("{error}\n{}", director.state()));
    let vip = lab.vip(9).ip().to_string();
    let usable = usable(method, family);
    assert!(knows(&lab.client, &vip, usable), "the client does not know of {usable} bytes");
}

#[test]
fn what_fits_is_told_for_nat() {
    tells_what_fits(Method::Nat, V4);
    tells_what_fits(Method::Nat, V6);
}

#[test]
fn what_fits_is_told_for_direct_routing() {
    tells_what_fits(Method::Dr, V4);
    tells_what_fits(Method::Dr, V6);
}

#[test]
fn what_fits_is_told_for_tunnelling() {
    tells_what_fits(Method::Tun, V4);
    tells_what_fits(Method::Tun, V6);
}

/// Datagrams of 8 KiB and their echoes come back whole, each in six fragments.
fn echoes_large_datagrams(method: Method, family: Family) {
    let bed = Bed::start_with(method, both(family), "").expect("bed");
    for _ in 0..3 {
        let mut client = UdpClient::open(&bed.lab.client, None, bed.lab.vip(7)).expect("client");
        // IPv6 has its first datagram refused where its fragments do not fit into a tunnel, and learns by that.
        if (method, family) == (Method::Tun, V6) {
            drop(client.echo(8192));
        }
        let first = client.echo(8192).unwrap_or_else(|error| panic!("{error}\n{}", bed.director.state()));
        for size in [1500, 3000, 8192, 20_000] {
            assert_eq!(client.echo(size).expect("echo"), first);
        }
    }
}

#[test]
fn nat_takes_fragments() {
    echoes_large_datagrams(Method::Nat, V4);
}

#[test]
fn nat_takes_fragments_ipv6() {
    echoes_large_datagrams(Method::Nat, V6);
}

#[test]
fn direct_routing_takes_fragments() {
    echoes_large_datagrams(Method::Dr, V4);
}

#[test]
fn direct_routing_takes_fragments_ipv6() {
    echoes_large_datagrams(Method::Dr, V6);
}

#[test]
fn tunnelling_takes_fragments() {
    echoes_large_datagrams(Method::Tun, V4);
}

#[test]
fn tunnelling_takes_fragments_ipv6() {
    echoes_large_datagrams(Method::Tun, V6);
}
