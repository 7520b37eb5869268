//! Where packets end: counted, sampled, dropped; or all given to one socket. What the programs do is described in sink.bpf.c.

use super::{failed, missing};
use crate::afxdp::XdpMode;
use aya::maps::{Array, MapData, PerCpuArray, RingBuf, XskMap};
use aya::programs::tc::{self, NlOptions, TcAttachOptions};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sink.bpf.o"));

/// Where the sink hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// The ingress of the kernel's receive path: best on veth.
    Tc,
    /// The driver.
    Xdp,
}

/// Which packets are copied to user space.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    /// Where the client's port stands in the frame.
    pub port_at: u32,
    /// All packets of the flows whose client's port has none of these bits.
    pub mask: u32,
    /// Of these, those whose number has none of these bits; only 0 lets the order of packets be judged.
    pub every: u32,
    /// The last four bytes of a hardware address, as they stand in memory: what is for it is counted apart and never
    /// sampled. 0: none.
    pub aside: u32,
}

/// What the sink counted.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// IPv4 and IPv6 packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames of other protocols, which were left to the kernel.
    pub others: u64,
    /// Packets copied to user space.
    pub sampled: u64,
    /// Packets that should have been, but found no room.
    pub lost: u64,
    /// When the first sample came, in ns of the monotonic clock.
    pub first: u64,
    /// When the last one did.
    pub last: u64,
    /// Packets set aside, which are not among the others.
    pub aside: u64,
}

// JUSTIFICATION: maps take their values as bytes.
// SAFETY: numbers of one width without padding; any bytes are a value.
unsafe impl Pod for Sampling {}
// SAFETY: as above.
unsafe impl Pod for Counts {}

/// A packet as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// When, in ns of the monotonic clock.
    pub time: u64,
    /// The frame.
    pub frame: &'a [u8],
}

/// The sink on one interface. Dropping it takes it off.
pub struct Sink {
    _ebpf: Ebpf,
    counts: PerCpuArray<MapData, Counts>,
    samples: RingBuf<MapData>,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

impl Sink {
    /// Hangs it on an interface of this network namespace.
    ///
    /// # Errors
    /// Without CAP_BPF and CAP_NET_ADMIN, or when the interface takes no such program.
    pub fn attach(name: &str, hook: Hook, sampling: Sampling) -> io::Result<Sink> {
        let mut ebpf = load()?;
        let mut config: Array<MapData, Sampling> =
            Array::try_from(take(&mut ebpf, "config")?).map_err(failed("config"))?;
        config.set(0, sampling, 0).map_err(failed("config"))?;
        let what = format!("sink: cannot be attached to {name}");
        match hook {
            Hook::Tc => attach_tc(&mut ebpf, name).map_err(|e| failed(&what)(&*e))?,
            Hook::Xdp => attach_xdp(&mut ebpf, "sink_xdp", name, aya::programs::XdpMode::Default)?,
        }
        Ok(Sink {
            counts: PerCpuArray::try_from(take(&mut ebpf, "counts")?).map_err(failed("counts"))?,
            samples: RingBuf::try_from(take(&mut ebpf, "samples")?).map_err(failed("samples"))?,
            _ebpf: ebpf,
        })
    }

    /// What it counted so far, over all processors.
    ///
    /// # Errors
    /// When the kernel does not let its map be read.
    pub fn counts(&self) -> io::Result<Counts> {
        let values = self.counts.get(&0, 0).map_err(failed("counts"))?;
        Ok(values.iter().fold(Counts::default(), |sum, c| Counts {
            packets: sum.packets + c.packets,
            bytes: sum.bytes + c.bytes,
            others: sum.others + c.others,
            sampled: sum.sampled + c.sampled,
            lost: sum.lost + c.lost,
            first: if sum.first == 0 || (c.first != 0 && c.first < sum.first) { c.first } else { sum.first },
            last: sum.last.max(c.last),
            aside: sum.aside + c.aside,
        }))
    }

    /// Hands over the samples that are there, `most` at most, and says how many these were.
    pub fn drain(&mut self, most: usize, mut judge: impl FnMut(Sample<'_>)) -> usize {
        for count in 0..most {
            let Some(record) = self.samples.next() else { return count };
            if let Some(sample) = parse(&record) {
                judge(sample);
            }
        }
        most
    }
}

/// `struct record` of the program.
fn parse(record: &[u8]) -> Option<Sample<'_>> {
    let (time, rest) = record.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let frame = rest.get(4..)?.get(..usize::try_from(u32::from_ne_bytes(*length)).ok()?)?;
    Some(Sample { time: u64::from_ne_bytes(*time), frame })
}

/// All that an interface receives goes to AF_XDP sockets. Dropping it ends that.
pub struct TakeAll {
    _ebpf: Ebpf,
    sockets: XskMap<MapData>,
    mode: XdpMode,
}

impl std::fmt::Debug for TakeAll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TakeAll").finish_non_exhaustive()
    }
}

impl TakeAll {
    /// Attaches it to an interface of this network namespace, by the driver if that can.
    ///
    /// # Errors
    /// Without CAP_BPF and CAP_NET_ADMIN, or when another program is attached there.
    pub fn attach(name: &str) -> io::Result<TakeAll> {
        let mut ebpf = load()?;
        let mode = match attach_xdp(&mut ebpf, "take", name, aya::programs::XdpMode::Driver) {
            Ok(_) => XdpMode::Native,
            Err(_) => {
                attach_xdp(&mut ebpf, "take", name, aya::programs::XdpMode::Skb)?;
                XdpMode::Generic
            }
        };
        let sockets = XskMap::try_from(take(&mut ebpf, "sockets")?).map_err(failed("sockets"))?;
        Ok(TakeAll { _ebpf: ebpf, sockets, mode })
    }

    /// How it is attached.
    pub fn mode(&self) -> XdpMode {
        self.mode
    }

    /// Gives what a queue receives to a socket that is bound to it.
    ///
    /// # Errors
    /// When the kernel does not accept the socket.
    pub fn set_socket(&mut self, queue: u32, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.sockets.set(queue, fd.as_raw_fd(), 0).map_err(failed("sockets"))
    }
}

fn load() -> io::Result<Ebpf> {
    EbpfLoader::new().load(OBJECT).map_err(failed("sink: cannot be loaded"))
}

fn take(ebpf: &mut Ebpf, name: &str) -> io::Result<aya::maps::Map> {
    ebpf.take_map(name).ok_or_else(|| missing(name))
}

fn attach_xdp(ebpf: &mut Ebpf, program: &str, name: &str, mode: aya::programs::XdpMode) -> io::Result<()> {
    let found: &mut Xdp = ebpf
        .program_mut(program)
        .ok_or_else(|| missing(program))?
        .try_into()
        .map_err(failed::<ProgramError>(program))?;
    match found.load() {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
        Err(error) => return Err(failed(program)(error)),
    }
    // The link lives as long as the program's handle, and so as long as the loader.
    found.attach(name, mode).map_err(failed(&format!("{program}: cannot be attached to {name}")))?;
    Ok(())
}

type AttachError = Box<dyn std::error::Error>;

fn attach_tc(ebpf: &mut Ebpf, name: &str) -> Result<(), AttachError> {
    let program: &mut SchedClassifier =
        ebpf.program_mut("sink_tc").ok_or_else(|| missing("sink_tc"))?.try_into()?;
    program.load()?;
    // A kernel older than 6.6 has no tcx; its classifier hangs on a queueing discipline.
    if program.attach(name, TcAttachType::Ingress).is_err() {
        tc::qdisc_add_clsact(name)?;
        let options = TcAttachOptions::Netlink(NlOptions::default());
        program.attach_with_options(name, TcAttachType::Ingress, options)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_time_length_and_frame() {
        let record = [9, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c', b'x'];
        let sample = parse(&record).expect("whole");
        assert_eq!((sample.time, sample.frame), (9, &b"abc"[..]));
        assert!(parse(&record[..18]).is_none());
        assert!(parse(&record[..11]).is_none());
    }
}
