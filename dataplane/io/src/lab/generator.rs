//! Packets made by a BPF program on live frames. What it does is described in generator.bpf.c.

use super::{failed, missing};
use aya::maps::{Array, MapData};
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, Pod};
use std::io;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/generator.bpf.o"));

/// Bytes of a packet that differ from the pattern, at most: headers and stamp.
pub const HEADER: usize = 96;
/// Shapes that one run can use.
pub const SHAPES: usize = 8;
/// Entries of a schedule, at most.
pub const ENTRIES: usize = 1 << 20;
/// A flow's number is its client's port above [`FIRST_PORT`] in so many low bits, and its client's address in the rest.
pub const PORT_BITS: u32 = 14;
/// The client's port of flow 0.
pub const FIRST_PORT: u16 = 1024;

/// Which packets to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// UDP over IPv4.
    Udp4,
    /// TCP over IPv4.
    Tcp4,
    /// UDP over IPv6.
    Udp6,
    /// TCP over IPv6.
    Tcp6,
}

impl Program {
    const ALL: [Program; 4] = [Program::Udp4, Program::Tcp4, Program::Udp6, Program::Tcp6];

    fn name(self) -> &'static str {
        match self {
            Program::Udp4 => "udp4",
            Program::Tcp4 => "tcp4",
            Program::Udp6 => "udp6",
            Program::Tcp6 => "tcp6",
        }
    }
}

/// `struct config` of the program.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct GeneratorConfig {
    /// Time between packets in 1/256 ns; 0: as fast as possible.
    pub interval: u64,
    /// How far behind its schedule it may catch up, in the same unit. What is farther is left out and counted.
    pub slack: u64,
    /// The interface to send out of.
    pub ifindex: u32,
    /// Entries of the schedule.
    pub entries: u32,
    /// The last 32 bits of the address of flow 0's client.
    pub first_host: u32,
    /// Flows below are the same in each round of the schedule.
    pub settled: u32,
    /// By how many flows the others of a round lie beyond those of the last.
    pub fresh: u32,
    /// Added to the number of the shape in the first round.
    pub opening: u32,
    /// Bytes of the pattern that the run is given.
    pub canvas: u32,
    /// Zero.
    pub unused: u32,
}

/// `struct state` of the program.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct GeneratorState {
    due: u64,
    /// Packets sent.
    pub sent: u64,
    /// Their bytes, without the frame check sequence.
    pub bytes: u64,
    /// Packets left out because the generator was too far behind.
    pub late: u64,
    /// Frames that were not used because no packet was due.
    pub early: u64,
    /// When the first packet was sent, in ns of the monotonic clock.
    pub first: u64,
    /// When the last one was.
    pub last: u64,
    position: u32,
    round: u32,
}

/// `struct entry` of the program: one packet of a round.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry {
    /// Whose packet it is.
    pub flow: u32,
    /// How many of this flow's packets come before it in the round.
    pub rank: u32,
    /// How many there are in the round.
    pub count: u32,
    /// Which shape it has.
    pub shape: u32,
}

/// `struct shape` of the program.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bytes of the frame, without the frame check sequence.
    pub length: u32,
    /// Sum of the IP header as it stands here, with a checksum of zero, in the machine's byte order.
    pub ip_sum: u32,
    /// Sum of the pseudo-header, the transport header as it stands here, and the payload.
    pub l4_sum: u32,
    /// Zero.
    pub unused: u32,
    /// Headers and stamp: source address, source port, stamp and checksums are zero.
    pub header: [u8; HEADER],
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { length: 0, ip_sum: 0, l4_sum: 0, unused: 0, header: [0; HEADER] }
    }
}

// JUSTIFICATION: maps take their values as bytes.
// SAFETY: numbers of 64 and 32 bits without padding; any bytes are a value.
unsafe impl Pod for GeneratorConfig {}
// SAFETY: as above.
unsafe impl Pod for GeneratorState {}
// SAFETY: as above.
unsafe impl Pod for Entry {}
// SAFETY: as above, and 96 bytes.
unsafe impl Pod for Shape {}

/// The generator: programs and maps. One run at a time.
pub struct LiveGenerator {
    ebpf: Ebpf,
    config: Array<MapData, GeneratorConfig>,
    state: Array<MapData, GeneratorState>,
    schedule: Array<MapData, Entry>,
    shapes: Array<MapData, Shape>,
}

impl std::fmt::Debug for LiveGenerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveGenerator").finish_non_exhaustive()
    }
}

impl LiveGenerator {
    /// Loads the programs.
    ///
    /// # Errors
    /// Without CAP_BPF and CAP_NET_ADMIN, or on a kernel that cannot do what it needs.
    pub fn load() -> io::Result<LiveGenerator> {
        let mut ebpf = EbpfLoader::new().load(OBJECT).map_err(failed("generator: cannot be loaded"))?;
        for which in Program::ALL {
            let name = which.name();
            let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
            let program: &mut Xdp = program.try_into().map_err(failed::<ProgramError>(name))?;
            program.load().map_err(failed(name))?;
        }
        Ok(LiveGenerator {
            config: array(&mut ebpf, "config")?,
            state: array(&mut ebpf, "state")?,
            schedule: array(&mut ebpf, "schedule")?,
            shapes: array(&mut ebpf, "shapes")?,
            ebpf,
        })
    }

    /// Sets what the next run sends, and starts its counters anew. `schedule` is `config.entries` long.
    ///
    /// # Errors
    /// When there are too many shapes or entries.
    pub fn prepare(
        &mut self,
        config: GeneratorConfig,
        shapes: &[Shape],
        schedule: &[Entry],
    ) -> io::Result<()> {
        for (at, shape) in (0u32..).zip(shapes) {
            self.shapes.set(at, shape, 0).map_err(failed("shapes"))?;
        }
        for (at, entry) in (0u32..).zip(schedule) {
            self.schedule.set(at, entry, 0).map_err(failed("schedule"))?;
        }
        self.set(config)?;
        self.state.set(0, GeneratorState::default(), 0).map_err(failed("state"))
    }

    /// Changes the configuration; the schedule goes on where it stands. Without a run under way.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set(&mut self, config: GeneratorConfig) -> io::Result<()> {
        self.config.set(0, config, 0).map_err(failed("config"))
    }

    /// Starts the counters and the clock anew; the schedule goes on where it stands.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn restart(&mut self) -> io::Result<()> {
        let GeneratorState { position, round, .. } = self.state()?;
        let state = GeneratorState { position, round, ..GeneratorState::default() };
        self.state.set(0, state, 0).map_err(failed("state"))
    }

    /// Runs over `frames` frames, `batch` at a time, of `pattern`: as many bytes as the longest packet. Must be called
    /// from the interface's network namespace. A signal ends it.
    ///
    /// # Errors
    /// When the kernel cannot, or will not.
    pub fn run(&self, program: Program, pattern: &[u8], frames: u32, batch: u32) -> io::Result<()> {
        let name = program.name();
        let found = self.ebpf.program(name).ok_or_else(|| missing(name))?;
        let found: &Xdp = found.try_into().map_err(failed::<ProgramError>(name))?;
        let options = TestRunOptions {
            data_in: Some(pattern),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(batch),
            ..TestRunOptions::default()
        };
        match found.test_run(options) {
            Ok(_) => Ok(()),
            Err(ProgramError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::Interrupted => {
                Ok(())
            }
            Err(error) => Err(failed("generator: no run on live frames (Linux 5.18 or newer)")(error)),
        }
    }

    /// What it has done since it was prepared or restarted, also while it runs.
    ///
    /// # Errors
    /// When the kernel does not let its map be read.
    pub fn state(&self) -> io::Result<GeneratorState> {
        self.state.get(&0, 0).map_err(failed("state"))
    }
}

fn array<V: Pod>(ebpf: &mut Ebpf, name: &str) -> io::Result<Array<MapData, V>> {
    let map = ebpf.take_map(name).ok_or_else(|| missing(name))?;
    Array::try_from(map).map_err(failed(name))
}
