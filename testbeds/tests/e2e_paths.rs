//! What does not fit on its way: path MTU discovery through each method, and datagrams in fragments.

use sheave_testbeds::Family::{V4, V6};
use sheave_testbeds::udp::UdpClient;
use sheave_testbeds::{Bed, Family, Method, Netns, Options, run, servers};

/// The MTU of the narrow link.
const NARROW: &str = "1300";

/// A client behind the client, which becomes a router: the link to it is narrow, and it does not know.
fn far_client(bed: &Bed) -> Netns {
    let lab = &bed.lab;
    let far = Netns::new("far").expect("namespace");
    let link = format!("link add n0 mtu {NARROW} type veth peer name f0 mtu 1500 netns {}", far.name());
    for arguments in [link.as_str(), "addr add 198.51.100.1/24 dev n0", "link set n0 up"] {
        lab.client.ip(arguments).expect("the near end");
    }
    for arguments in
        ["addr add 198.51.100.2/24 dev f0", "link set f0 up", "route add default via 198.51.100.1"]
    {
        far.ip(arguments).expect("the far end");
    }
    lab.client.sysctl("net.ipv4.ip_forward", "1").expect("forwarding");
    for router in [&lab.director, &lab.gateway] {
        router.ip("route add 198.51.100.0/24 via 198.18.0.2").expect("route");
    }
    far
}

/// Real servers send segments that are too large for the narrow link. The router before it says so, to the VIP, and
/// the director passes that on: the download goes on in smaller segments.
fn finds_the_path_mtu(method: Method) {
    let bed = Bed::start(method).expect("bed");
    let far = far_client(&bed);
    let digest = |text: String| text.split_whitespace().next().map(str::to_owned).expect("a digest");
    let file = servers::make_big_file(&bed.lab).expect("file");
    let sent = digest(run(&["sha256sum", file.to_str().expect("UTF-8 path")]).expect("digest"));
    let url = format!("http://{}/big", bed.lab.vip(80));
    let script =
        format!("set -o pipefail; curl --fail --silent --show-error --max-time 120 {url} | sha256sum");
    let received = digest(far.exec(&["bash", "-c", &script]).expect("download"));
    assert_eq!(received, sent, "{}", bed.director.state());
    // The server has learned it.
    let learned = |real: &sheave_testbeds::Real| {
        let route = real.netns.ip("route get 198.51.100.2").unwrap_or_default();
        route.contains(&format!("mtu {NARROW}"))
    };
    assert!(bed.lab.reals.iter().any(learned), "no real server knows of the narrow link");
}

#[test]
fn nat_finds_the_path_mtu() {
    finds_the_path_mtu(Method::Nat);
}

#[test]
fn direct_routing_finds_the_path_mtu() {
    finds_the_path_mtu(Method::Dr);
}

#[test]
fn tunnelling_finds_the_path_mtu() {
    finds_the_path_mtu(Method::Tun);
}

/// Datagrams of 8 KiB and their echoes come back whole, each in six fragments.
fn echoes_large_datagrams(method: Method, family: Family) {
    let options = Options { clients: family, servers: family, ..Options::default() };
    let bed = Bed::start_with(method, options, "").expect("bed");
    for _ in 0..3 {
        let mut client = UdpClient::open(&bed.lab.client, None, bed.lab.vip(7)).expect("client");
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

/// The VIP answers, whoever serves behind it.
#[test]
fn the_vip_can_be_pinged() {
    let bed = Bed::start(Method::Dr).expect("bed");
    let vip = bed.lab.vip(80).ip().to_string();
    bed.lab.client.exec(&["ping", "-c", "3", "-i", "0.2", "-W", "2", &vip]).expect("answers");
}
