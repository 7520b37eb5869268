//! The steering program: loaded once, attached to each interface by a link, told by maps what is ours.
//!
//! Owns the program and its maps, the numbering of interfaces in them, and a mirror of what they hold. A link
//! detaches when it is dropped, and when the process ends in whatever way: nothing is pinned. The program passes what
//! has no socket, so an interface may be attached before its sockets are there, and after they are gone. Any queue of
//! any interface may have any socket that is bound to it: who serves which is not decided here.
//!
//! What the program does is described in steering.bpf.c. It knows nothing of services beyond the sets. It sees only the
//! bytes of a frame: an 802.1Q tag that the hardware strips (`ethtool -K DEV rxvlan off`), or that a veth peer hands over
//! beside the frame (`txvlan off` on the peer), is invisible to XDP, and the frame looks untagged to a worker, too.

mod floods;
mod layout;
mod link;
mod sets;
mod tables;

pub use floods::{FloodLimits, Rate};
pub use layout::QUEUES_PER_PORT;
pub use sets::{Encapsulation, Endpoint, SteeringSets, Transport};

use crate::afxdp::{ModeWish, XdpMode};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, XskMap};
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use layout::{Address, Counter, EndpointKey, Entry, Limits, PORTS, PortEntry, Roles};
use link::{Flags, Link};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use tables::{Step, Tables};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/steering.bpf.o"));

/// The program could not be loaded, attached or told.
#[derive(Debug)]
pub struct SteeringError {
    what: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SteeringError {
    pub(crate) fn new(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> SteeringError {
        SteeringError { what: what.into(), source: Some(source.into()) }
    }
}

impl std::fmt::Display for SteeringError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.what)?;
        // The loader's own message often is "system call failed" with the reason one further down.
        let mut source = self.source.as_deref().map(|error| error as &dyn std::error::Error);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for SteeringError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|error| error as &(dyn std::error::Error + 'static))
    }
}

/// The program on one interface. Dropping it detaches.
#[derive(Debug)]
pub struct Attachment {
    _link: Link,
    ifindex: u32,
    mode: XdpMode,
    fallback: Option<String>,
}

impl Attachment {
    /// The interface.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// How it is attached.
    pub fn mode(&self) -> XdpMode {
        self.mode
    }

    /// Why it is not attached by the driver although that was wished for.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }
}

/// What the program counted, over all processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SteeringCounters {
    /// Frames given to a socket.
    pub taken: u64,
    /// Frames that are not ours.
    pub passed: u64,
    /// Frames of ours on a queue without a socket; the kernel got them.
    pub no_socket: u64,
    /// Frames that a worker passed, on their way to the kernel a second time (generic mode).
    pub let_through: u64,
    /// Frames that a worker passed.
    pub reinjected: u64,
    /// New connections of a source beyond its limit, dropped.
    pub flood_source: u64,
    /// New connections to a VIP beyond its limit, dropped.
    pub flood_vip: u64,
}

/// The program and its maps.
#[derive(Debug)]
pub struct Steering {
    ebpf: Ebpf,
    /// The place of each interface in the table of sockets.
    places: BTreeMap<u32, u32>,
    tables: Tables,
}

impl Steering {
    /// Loads the program. Takes some ten milliseconds.
    ///
    /// # Errors
    /// Without the privilege, or on a kernel that cannot do what it needs.
    pub fn load() -> Result<Steering, SteeringError> {
        let failed = |error| {
            SteeringError::new("steering program: cannot be loaded (CAP_BPF and CAP_NET_ADMIN)", error)
        };
        let mut ebpf = EbpfLoader::new().load(OBJECT).map_err(failed)?;
        for name in ["steer", "steer_frags"] {
            program::<Xdp>(&mut ebpf, name)?.load().map_err(|error| {
                SteeringError::new(format!("steering program {name}: refused by the kernel"), error)
            })?;
        }
        program::<SchedClassifier>(&mut ebpf, "reinject")?
            .load()
            .map_err(|error| SteeringError::new("steering program reinject: refused by the kernel", error))?;
        Ok(Steering { ebpf, places: BTreeMap::new(), tables: Tables::default() })
    }

    /// Attaches the program to an interface: by its driver, or generically when wished or when the driver cannot.
    ///
    /// # Errors
    /// When no mode allowed works, or another program is attached there.
    pub fn attach(&mut self, ifindex: u32, wish: ModeWish) -> Result<Attachment, SteeringError> {
        let place = self.place(ifindex)?;
        let result = self.attach_at(ifindex, wish, place);
        if result.is_err() {
            self.forget(ifindex);
        }
        result
    }

    fn attach_at(&mut self, ifindex: u32, wish: ModeWish, place: u32) -> Result<Attachment, SteeringError> {
        let mut fallback = None;
        if wish != ModeWish::Generic {
            self.set_port(ifindex, place, XdpMode::Native)?;
            // Beyond a page of MTU drivers want a program that copes with frames in several buffers.
            let native = self
                .link(ifindex, "steer", Flags::Driver)
                .or_else(|_| self.link(ifindex, "steer_frags", Flags::Driver));
            match native {
                Ok(link) => {
                    return Ok(Attachment { _link: link, ifindex, mode: XdpMode::Native, fallback });
                }
                Err(error) if wish != ModeWish::Auto => return Err(error),
                Err(error) => {
                    tracing::info!(ifindex, reason = %error, "no native XDP: falling back to generic");
                    fallback = Some(format!("no native XDP: {error}"));
                }
            }
        }
        // Known as generic before it is attached, so that no reinjected frame is taken a second time.
        self.set_port(ifindex, place, XdpMode::Generic)?;
        let link = self
            .link(ifindex, "steer", Flags::Generic)
            .or_else(|_| self.link(ifindex, "steer_frags", Flags::Generic))?;
        Ok(Attachment { _link: link, ifindex, mode: XdpMode::Generic, fallback })
    }

    fn link(&mut self, ifindex: u32, name: &str, flags: Flags) -> Result<Link, SteeringError> {
        let what = || format!("interface index {ifindex}: cannot attach the steering program");
        let program: &mut Xdp = program(&mut self.ebpf, name)?;
        let fd = program.fd().map_err(|error| SteeringError::new(what(), error))?;
        Link::create(fd.as_fd(), ifindex, flags).map_err(|error| match error.raw_os_error() {
            Some(libc::EEXIST | libc::EBUSY) => SteeringError::new(
                format!(
                    "{}: another XDP program is attached there: detach it (ip link set dev NAME xdp off)",
                    what()
                ),
                error,
            ),
            Some(libc::EPERM) => {
                SteeringError::new(format!("{}: run with CAP_NET_ADMIN and CAP_BPF", what()), error)
            }
            _ => SteeringError::new(what(), error),
        })
    }

    /// Detaches the program and takes the interface's sockets out of the table.
    pub fn detach(&mut self, attachment: Attachment) {
        let ifindex = attachment.ifindex;
        drop(attachment);
        self.forget(ifindex);
    }

    fn forget(&mut self, ifindex: u32) {
        let Some(place) = self.places.remove(&ifindex) else { return };
        if let Ok(mut ports) = self.ports() {
            let _ = ports.remove(&ifindex);
        }
        if let Ok(mut sockets) = self.sockets() {
            for queue in 0..QUEUES_PER_PORT {
                let _ = sockets.unset(place * QUEUES_PER_PORT + queue);
            }
        }
    }

    /// The interface's place in the table of sockets: the one it has, or the first free one.
    fn place(&mut self, ifindex: u32) -> Result<u32, SteeringError> {
        if let Some(place) = self.places.get(&ifindex) {
            return Ok(*place);
        }
        let free = (0..PORTS).find(|place| self.places.values().all(|used| used != place));
        let place = free.ok_or_else(|| SteeringError {
            what: format!("interface index {ifindex}: {PORTS} interfaces are attached already: name fewer"),
            source: None,
        })?;
        self.places.insert(ifindex, place);
        Ok(place)
    }

    fn set_port(&mut self, ifindex: u32, place: u32, mode: XdpMode) -> Result<(), SteeringError> {
        let entry = PortEntry { base: place * QUEUES_PER_PORT, generic: u32::from(mode == XdpMode::Generic) };
        self.ports()?.insert(ifindex, entry, 0).map_err(|error| {
            SteeringError::new(format!("interface index {ifindex}: cannot be entered"), error)
        })
    }

    /// Sends what is ours on a queue to a socket, which must be bound to that queue.
    ///
    /// # Errors
    /// When the interface is not attached, or the queue is beyond [`QUEUES_PER_PORT`].
    pub fn set_socket(&mut self, ifindex: u32, queue: u32, fd: BorrowedFd<'_>) -> Result<(), SteeringError> {
        let at = self.socket_at(ifindex, queue)?;
        self.sockets()?.set(at, fd.as_raw_fd(), 0).map_err(|error| {
            SteeringError::new(format!("interface index {ifindex} queue {queue}: socket not accepted"), error)
        })
    }

    /// Leaves what is ours on a queue to the kernel. A socket that is closed is taken out by the kernel itself.
    ///
    /// # Errors
    /// When the interface is not attached, or the queue is beyond [`QUEUES_PER_PORT`].
    pub fn clear_socket(&mut self, ifindex: u32, queue: u32) -> Result<(), SteeringError> {
        let at = self.socket_at(ifindex, queue)?;
        // That there is none is what was asked for.
        let _ = self.sockets()?.unset(at);
        Ok(())
    }

    fn socket_at(&self, ifindex: u32, queue: u32) -> Result<u32, SteeringError> {
        match self.places.get(&ifindex) {
            Some(place) if queue < QUEUES_PER_PORT => Ok(place * QUEUES_PER_PORT + queue),
            Some(_) => Err(SteeringError {
                what: format!(
                    "interface index {ifindex} queue {queue}: only queues below {QUEUES_PER_PORT} can be served: \
                     reduce them with ethtool -L"
                ),
                source: None,
            }),
            None => {
                Err(SteeringError { what: format!("interface index {ifindex}: not attached"), source: None })
            }
        }
    }

    /// Brings the program's sets to `sets` by the fewest changes. What is ours before and after is ours all the while.
    ///
    /// # Errors
    /// When a set is full. What was changed until then stays, and the next call goes on from there.
    pub fn apply(&mut self, sets: &SteeringSets) -> Result<(), SteeringError> {
        let to = Tables::of(sets);
        self.go(self.tables.growth(&to))?;
        self.go(self.tables.shrinkage(&to, Roles::NONE))
    }

    /// Takes out what `sets` does not have, and adds nothing. What is the host's own stays the kernel's until nothing of
    /// it is steered any more.
    ///
    /// # Errors
    /// When the kernel does not let its maps be changed.
    pub fn withdraw(&mut self, sets: &SteeringSets) -> Result<(), SteeringError> {
        self.go(self.tables.shrinkage(&Tables::of(sets), Roles::OWN))
    }

    fn go(&mut self, steps: Vec<Step>) -> Result<(), SteeringError> {
        for step in steps {
            match step {
                Step::Roles(addr, Roles::NONE) => self.addresses()?.remove(&addr),
                Step::Roles(addr, roles) => {
                    // Its bucket is full again, which is worth one burst.
                    let entry = Entry { roles: roles.0, unused: 0, full_at: 0 };
                    self.addresses()?.insert(addr, entry, 0)
                }
                Step::Enter(key) => self.endpoints()?.insert(key, 1, 0),
                Step::Leave(key) => self.endpoints()?.remove(&key),
            }
            .map_err(|error| {
                let addr = match step {
                    Step::Roles(addr, _) => addr,
                    Step::Enter(key) | Step::Leave(key) => key.addr,
                };
                let what = format!("steering: {}: not changed: the table is full, or gone", addr.ip());
                SteeringError::new(what, error)
            })?;
            self.tables.take(step);
        }
        Ok(())
    }

    /// The sets as the program sees them.
    ///
    /// # Errors
    /// When the kernel does not let its maps be read.
    pub fn read_back(&mut self) -> Result<SteeringSets, SteeringError> {
        let roles = |entry: Entry| Roles(entry.roles);
        let addresses: Result<_, _> =
            self.addresses()?.iter().map(|item| item.map(|(addr, entry)| (addr, roles(entry)))).collect();
        let endpoints: Result<_, _> = self.endpoints()?.keys().collect();
        let tables =
            Tables::new(addresses.map_err(wrong("addresses"))?, endpoints.map_err(wrong("endpoints"))?);
        Ok(tables.sets())
    }

    /// Limits new connections from now on. Buckets keep what they hold, as far as it fits.
    ///
    /// # Errors
    /// When the kernel does not let its maps be changed.
    pub fn limit(&mut self, limits: &FloodLimits) -> Result<(), SteeringError> {
        let map = map(&mut self.ebpf, "limits")?;
        let mut array = Array::<_, Limits>::try_from(map).map_err(wrong("limits"))?;
        // A packet may meet the old rate with the new burst.
        array.set(0, limits.layout(), 0).map_err(wrong("limits"))
    }

    fn addresses(&mut self) -> Result<HashMap<&mut MapData, Address, Entry>, SteeringError> {
        HashMap::try_from(map(&mut self.ebpf, "addresses")?).map_err(wrong("addresses"))
    }

    fn endpoints(&mut self) -> Result<HashMap<&mut MapData, EndpointKey, u8>, SteeringError> {
        HashMap::try_from(map(&mut self.ebpf, "endpoints")?).map_err(wrong("endpoints"))
    }

    fn ports(&mut self) -> Result<HashMap<&mut MapData, u32, PortEntry>, SteeringError> {
        HashMap::try_from(map(&mut self.ebpf, "ports")?).map_err(wrong("ports"))
    }

    fn sockets(&mut self) -> Result<XskMap<&mut MapData>, SteeringError> {
        XskMap::try_from(map(&mut self.ebpf, "xsks")?).map_err(wrong("xsks"))
    }

    /// The TAP devices whose frames go on to which interface.
    pub(crate) fn pass_targets(&mut self) -> Result<HashMap<&mut MapData, u32, u32>, SteeringError> {
        HashMap::try_from(map(&mut self.ebpf, "pass_targets")?).map_err(wrong("pass_targets"))
    }

    /// The program that sends frames of a TAP device on.
    pub(crate) fn reinject(&mut self) -> Result<&mut SchedClassifier, SteeringError> {
        program(&mut self.ebpf, "reinject")
    }

    /// What the program counted since it was loaded.
    ///
    /// # Errors
    /// When the kernel does not let its maps be read.
    pub fn counters(&mut self) -> Result<SteeringCounters, SteeringError> {
        let counters =
            PerCpuArray::<_, u64>::try_from(map(&mut self.ebpf, "counters")?).map_err(wrong("counters"))?;
        let sum = |which: Counter| {
            let values = counters.get(&(which as u32), 0).map_err(wrong("counters"))?;
            Ok::<u64, SteeringError>(values.iter().sum())
        };
        Ok(SteeringCounters {
            taken: sum(Counter::Taken)?,
            passed: sum(Counter::Passed)?,
            no_socket: sum(Counter::NoSocket)?,
            let_through: sum(Counter::LetThrough)?,
            reinjected: sum(Counter::Reinjected)?,
            flood_source: sum(Counter::FloodSource)?,
            flood_vip: sum(Counter::FloodVip)?,
        })
    }
}

fn map<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::maps::Map, SteeringError> {
    let missing = || SteeringError { what: format!("steering map {name}: not in the program"), source: None };
    ebpf.map_mut(name).ok_or_else(missing)
}

fn wrong(name: &str) -> impl Fn(aya::maps::MapError) -> SteeringError {
    move |error| SteeringError::new(format!("steering map {name}"), error)
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, SteeringError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let missing =
        || SteeringError { what: format!("steering program {name}: not in the object"), source: None };
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    program.try_into().map_err(|error| SteeringError::new(format!("steering program {name}"), error))
}
