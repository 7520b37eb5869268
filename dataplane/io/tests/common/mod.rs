//! Network namespaces, veth pairs and raw sockets for the tests with a kernel. They need root, and fail without.

#![allow(dead_code, reason = "each test file uses its share of the kit")]

pub(crate) mod judge;
pub(crate) mod packets;

use etherparse::PacketBuilder;
use sheave_frame::{Burst, FramePool, Port, PortId};
use sheave_io::{AfXdpConfig, AfXdpPort, Attachment, ModeWish, Steering, Umem};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A network namespace without a name: it goes with its last user, after a panic too.
#[derive(Debug)]
pub(crate) struct NetNs {
    file: File,
}

impl NetNs {
    /// Makes a namespace with `lo` up and IPv6 off, which would chatter.
    pub(crate) fn new() -> NetNs {
        let open = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .expect("unshare: the kernel tests need root (CAP_SYS_ADMIN)");
            for scope in ["all", "default"] {
                let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
            }
            File::open("/proc/thread-self/ns/net").expect("the namespace of this thread")
        };
        let file = std::thread::scope(|scope| scope.spawn(open).join()).expect("a namespace");
        let ns = NetNs { file };
        ns.run(|| ip("link set lo up"));
        ns
    }

    /// Runs `f` in a thread within the namespace.
    pub(crate) fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            nix::sched::setns(&self.file, nix::sched::CloneFlags::CLONE_NEWNET).expect("setns");
            f()
        };
        match std::thread::scope(|scope| scope.spawn(entered).join()) {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A path that iproute2 takes for this namespace.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

/// Runs `ip` with arguments separated by blanks.
pub(crate) fn ip(args: &str) {
    run("ip", args);
}

/// Runs a command with arguments separated by blanks, and returns what it printed.
pub(crate) fn run(program: &str, args: &str) -> String {
    let output = Command::new(program).args(args.split_whitespace()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: install it"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A veth pair, both ends up, without offloads.
///
/// ```text
///   outer (the network, as the test plays it) <====> inner (the director's)
/// ```
pub(crate) fn veth(inner: &str, outer: &str) {
    ip(&format!("link add {inner} type veth peer name {outer}"));
    for end in [inner, outer] {
        run("ethtool", &format!("-K {end} tx off tso off gso off gro off"));
        ip(&format!("link set {end} up"));
    }
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = now() + PATIENCE;
    while !condition() {
        assert!(now() < deadline, "waited in vain for: {what}");
        // Endpoints and worker share two cores: leave them some.
        // SAFETY: waits a millisecond for none.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 1) };
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock of a test's patience")]
fn now() -> Instant {
    Instant::now()
}

/// A raw socket on one interface.
#[derive(Debug)]
pub(crate) struct RawSocket {
    fd: OwnedFd,
}

impl RawSocket {
    /// Opens it.
    pub(crate) fn new(interface: &str) -> RawSocket {
        let protocol = u16::try_from(libc::ETH_P_ALL).expect("small").to_be();
        // SAFETY: takes numbers only.
        let fd = unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, i32::from(protocol))
        };
        assert!(fd >= 0, "raw socket: {}", io::Error::last_os_error());
        // SAFETY: just opened.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let index = sheave_io::ifindex(interface).expect("there is this interface");
        // SAFETY: all zeroes are an address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).expect("small");
        address.sll_protocol = protocol;
        address.sll_ifindex = i32::try_from(index).expect("small");
        let len = u32::try_from(size_of_val(&address)).expect("small");
        // SAFETY: a whole address of that length.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
        assert!(bound == 0, "bind {interface}: {}", io::Error::last_os_error());
        RawSocket { fd }
    }

    /// Sends a frame.
    pub(crate) fn send(&self, frame: &[u8]) {
        // SAFETY: `frame` is readable for its length.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert!(sent >= 0, "send: {}", io::Error::last_os_error());
    }

    /// Takes a frame that came in (not one that was sent here), if there is one.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        loop {
            let mut bytes = vec![0; 4096];
            // SAFETY: all zeroes are an address.
            let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
            let mut len = u32::try_from(size_of_val(&from)).expect("small");
            // SAFETY: `bytes` and `from` are writable for their lengths.
            let received = unsafe {
                libc::recvfrom(
                    self.fd.as_raw_fd(),
                    bytes.as_mut_ptr().cast(),
                    bytes.len(),
                    0,
                    (&raw mut from).cast(),
                    &raw mut len,
                )
            };
            let received = usize::try_from(received).ok()?;
            if from.sll_pkttype != 4 {
                bytes.truncate(received);
                return Some(bytes);
            }
        }
    }

    /// Waits for a frame that `wanted` knows.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut found = None;
        wait_until(what, || {
            found = std::iter::from_fn(|| self.take()).find(|frame| wanted(frame));
            found.is_some()
        });
        found.expect("waited for it")
    }
}

pub(crate) const CLIENT: [u8; 4] = [198, 18, 0, 2];
pub(crate) const VIP: [u8; 4] = [198, 18, 0, 100];
pub(crate) const OWN: [u8; 4] = [198, 18, 0, 1];
pub(crate) const REAL: [u8; 4] = [198, 19, 1, 11];
pub(crate) const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xd0];
pub(crate) const THEIR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xc0];

/// A UDP packet.
pub(crate) fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(THEIR_MAC, OUR_MAC).ipv4(from.0, to.0, 64).udp(from.1, to.1);
    let mut packet = Vec::new();
    builder.write(&mut packet, payload).expect("memory");
    packet
}

/// A TCP SYN.
pub(crate) fn syn(from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
    let builder =
        PacketBuilder::ethernet2(THEIR_MAC, OUR_MAC).ipv4(from.0, to.0, 64).tcp(from.1, to.1, 7, 1000).syn();
    let mut packet = Vec::new();
    builder.write(&mut packet, &[]).expect("memory");
    packet
}

/// The steering program on an interface, and the socket of its queue 0.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) port: AfXdpPort,
    pub(crate) attachment: Attachment,
}

/// Attaches and opens queue 0 of an interface.
pub(crate) fn serve(steering: &mut Steering, umem: Umem, name: &str, port: PortId, wish: ModeWish) -> Served {
    let ifindex = sheave_io::ifindex(name).expect("there is this interface");
    let attachment = steering.attach(ifindex, wish).expect("attached");
    let port = open(umem, name, port, &attachment, wish);
    steering.set_socket(ifindex, 0, port.fd()).expect("a socket on this queue");
    Served { port, attachment }
}

/// Opens queue 0 of an interface that is attached.
pub(crate) fn open(
    umem: Umem,
    name: &str,
    port: PortId,
    attachment: &Attachment,
    wish: ModeWish,
) -> AfXdpPort {
    let config = AfXdpConfig {
        name: name.to_owned(),
        ifindex: attachment.ifindex(),
        queue: 0,
        port,
        wish,
        attached: attachment.mode(),
        fill_frames: 128,
    };
    AfXdpPort::open(umem, &config).expect("open")
}

/// Receives until `n` frames are there.
pub(crate) fn receive(port: &mut dyn Port, pool: &mut FramePool, n: usize) -> Burst {
    let mut burst = Burst::with_capacity(n);
    wait_until("frames received", || {
        port.recv(&mut burst, pool);
        burst.len() == n
    });
    burst
}

/// Closes a port and checks that every frame is home.
pub(crate) fn close(port: impl Port, pool: &mut FramePool) {
    Box::new(port).close(pool);
    assert_eq!((pool.free(), pool.foreign()), (pool.total(), 0), "frames were lost");
}
