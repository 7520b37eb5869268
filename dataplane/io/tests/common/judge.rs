//! The steering program run on frames that no interface carries.

#![allow(dead_code, reason = "each test file uses its share of the kit")]

use super::packets::addr;
use super::{NetNs, close, run, serve};
use aya::programs::{ProgramFd, loaded_programs};
use sheave_frame::{PoolId, PortId};
use sheave_io::Transport::{Tcp, Udp};
use sheave_io::{Encapsulation, Endpoint, ModeWish, Steering, SteeringSets, Umem};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Dropped,
    Passed,
    Taken,
}

/// The program as it is attached to the loopback interface of a namespace of its own, where a socket waits.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) steering: &'a mut Steering,
    program: ProgramFd,
}

impl Judge<'_> {
    /// Judges in a namespace.
    pub(crate) fn sit(f: impl FnOnce(&mut Judge<'_>) + Send) {
        NetNs::new().run(|| {
            let umem = Umem::new(256, 1).expect("memory");
            let mut pool = umem.take_pool(PoolId(0), 0).expect("a pool");
            let mut steering = Steering::load().expect("loaded");
            let served = serve(&mut steering, umem, "lo", PortId(0), ModeWish::Generic);
            let shown = run("ip", "-d link show dev lo");
            let id = shown.split_once("prog/xdp id ").and_then(|(_, rest)| rest.split(' ').next());
            let id: u32 = id.and_then(|id| id.parse().ok()).expect("the program's id");
            let info = loaded_programs().flatten().find(|info| info.id() == id).expect("it is loaded");
            let program = info.fd().expect("a descriptor of it");
            f(&mut Judge { steering: &mut steering, program });
            close(served.port, &mut pool);
            umem.return_pool(pool).expect("whole");
        });
    }

    /// What becomes of a frame of at least 14 bytes.
    pub(crate) fn fate(&self, frame: &[u8]) -> Fate {
        match test_run(&self.program, frame) {
            1 => Fate::Dropped,
            2 => Fate::Passed,
            4 => Fate::Taken,
            other => panic!("XDP verdict {other}"),
        }
    }
}

const BPF_PROG_TEST_RUN: libc::c_int = 10;

/// The beginning of `test` in `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Run {
    program: u32,
    verdict: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

fn test_run(program: &ProgramFd, frame: &[u8]) -> u32 {
    let mut attributes = Run {
        program: u32::try_from(program.as_fd().as_raw_fd()).expect("open"),
        size_in: u32::try_from(frame.len()).expect("small"),
        data_in: frame.as_ptr() as u64,
        repeat: 1,
        ..Run::default()
    };
    let size = size_of_val(&attributes);
    // SAFETY: reads `size_in` bytes at `data_in` and writes to the attributes only.
    let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut attributes, size) };
    assert!(result == 0, "BPF_PROG_TEST_RUN: {}", io::Error::last_os_error());
    attributes.verdict
}

pub(crate) const ETHERNET: usize = 14;
/// Where the payload of the smallest header begins.
pub(crate) const V4: usize = ETHERNET + 20;
pub(crate) const V6: usize = ETHERNET + 40;

/// The same of each family.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) client: IpAddr,
    pub(crate) vip: IpAddr,
    /// Every TCP port, and UDP port 53.
    pub(crate) open: IpAddr,
    pub(crate) own: IpAddr,
    pub(crate) real: IpAddr,
    /// Every UDP port.
    pub(crate) any_real: IpAddr,
    pub(crate) source: IpAddr,
    pub(crate) tunnels: [IpAddr; 3],
}

pub(crate) fn cast(prefix: &str) -> Cast {
    let at = |n: u8| addr(&format!("{prefix}{n}"));
    Cast {
        client: at(2),
        vip: at(100),
        open: at(101),
        own: at(1),
        real: at(11),
        any_real: at(12),
        source: at(3),
        tunnels: [at(21), at(22), at(23)],
    }
}

pub(crate) fn v4() -> Cast {
    cast("198.18.0.")
}

pub(crate) fn v6() -> Cast {
    cast("2001:db8::")
}

/// What these are to us.
pub(crate) fn sets() -> SteeringSets {
    let mut sets = SteeringSets::default();
    for c in [v4(), v6()] {
        sets.services.extend([
            Endpoint::new(c.vip, 80, Tcp),
            Endpoint::new(c.open, None, Tcp),
            Endpoint::new(c.open, 53, Udp),
        ]);
        sets.vips.extend([c.vip, c.open]);
        sets.reals.extend([Endpoint::new(c.real, 8080, Tcp), Endpoint::new(c.any_real, None, Udp)]);
        sets.own.extend([c.own, c.source]);
        sets.tunnel_sources.insert(c.source);
        let [ip, gre, gue] = c.tunnels;
        sets.tunnels.extend([
            (ip, Encapsulation::Ip),
            (gre, Encapsulation::Gre),
            (gue, Encapsulation::Gue(6080)),
        ]);
    }
    sets
}

/// What it is, the frame, and how many bytes of it settle that it is ours.
pub(crate) type Ours = (&'static str, Vec<u8>, usize);
pub(crate) type Theirs = (&'static str, Vec<u8>);

/// Ours from `needed` bytes on, and no earlier.
pub(crate) fn assert_ours(list: Vec<Ours>) {
    Judge::sit(|judge| {
        judge.steering.apply(&sets()).expect("applied");
        for (what, frame, needed) in list {
            for len in ETHERNET..=frame.len() {
                let fate = if len < needed { Fate::Passed } else { Fate::Taken };
                assert_eq!(judge.fate(&frame[..len]), fate, "{what}, {len} bytes of {}", frame.len());
            }
        }
    });
}

/// The kernel's at every length.
pub(crate) fn assert_theirs(list: Vec<Theirs>) {
    Judge::sit(|judge| {
        judge.steering.apply(&sets()).expect("applied");
        for (what, frame) in list {
            for len in ETHERNET..=frame.len() {
                assert_eq!(judge.fate(&frame[..len]), Fate::Passed, "{what}, {len} bytes of {}", frame.len());
            }
        }
    });
}
