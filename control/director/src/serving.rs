//! The interfaces that are served: attaching, detaching, following them as they come and go.
//!
//! ```text
//!   wanted, there ----> Waiting ----attach----> Attached
//!                        ^  ^-----failed-----------|
//!                        |                         | gone, down, another index, not wanted
//!                        +---- all queues closed --+-- Closing
//! ```
//!
//! An interface is known by its name: its number in the data path stays, whatever index the kernel gives it. A queue's
//! socket must be closed before the queue can be bound again, so between two attachments stands [`State::Closing`].

use crate::dataplane::Dataplane;
use crate::deferral::Deferral;
use crate::interfaces::{Unusable, Wanted};
use crate::surroundings::HELD;
use sheave_frame::{FramePool, Mode, PoolId, Port, PortId};
use sheave_io::{
    AfXdpConfig, AfXdpPort, Attachment, PassDevice, PassQueue, QUEUES_PER_PORT, Steering, rx_queues,
};
use sheave_pipeline::Time;
use sheave_worker::{Command, PortPage, PortState};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;

/// Between two attempts at an interface: doubled each time, up to the longest.
const FIRST_RETRY: u64 = Time::SECOND;
const LONGEST_RETRY: u64 = 30 * Time::SECOND;

/// One queue of an attached interface.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) worker: usize,
    pub(crate) page: Arc<PortPage>,
    share: u32,
}

#[derive(Debug)]
struct Attached {
    attachment: Attachment,
    pass: PassDevice,
    queues: Vec<Queue>,
    /// Why its mode is not the best that was wished for.
    fallback: Option<String>,
    /// Put back when the interface is let go.
    _deferral: Option<Deferral>,
}

#[derive(Debug)]
enum State {
    Waiting { retry: Time, pause: u64 },
    Attached(Attached),
    Closing(Vec<Queue>),
}

/// One interface by name.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) port: PortId,
    pub(crate) index: u32,
    /// What it was attached with.
    queue_cores: Vec<u16>,
    state: State,
    /// Why it is not attached, or not in a better mode.
    why: Option<String>,
}

/// Something that happened to an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    Attached {
        name: String,
        port: PortId,
        mode: Mode,
        queues: u32,
    },
    Detached {
        name: String,
        port: PortId,
        why: String,
    },
    /// It could not be attached; said once for each reason.
    Failed {
        name: String,
        why: String,
    },
}

/// All interfaces that are, were or shall be served.
pub(crate) struct Serving {
    pub(crate) steering: Steering,
    interfaces: BTreeMap<String, Interface>,
}

impl Serving {
    pub(crate) fn new(steering: Steering) -> Serving {
        Serving { steering, interfaces: BTreeMap::new() }
    }

    /// The interfaces by name.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = (&str, &Interface)> {
        self.interfaces.iter().map(|(name, interface)| (name.as_str(), interface))
    }

    /// The numbers of the attached interfaces by their index.
    pub(crate) fn served(&self) -> BTreeMap<u32, PortId> {
        self.interfaces.values().filter(|i| i.is_attached()).map(|i| (i.index, i.port)).collect()
    }

    /// Brings what is attached to what is wanted. `number` deals out the numbers of interfaces.
    pub(crate) fn reconcile(
        &mut self,
        wanted: &[Wanted],
        unusable: &[Unusable],
        now: Time,
        dataplane: &mut Dataplane,
        mut number: impl FnMut(&str) -> Option<PortId>,
    ) -> Vec<News> {
        let mut news = Vec::new();
        let names: Vec<String> = self.interfaces.keys().cloned().collect();
        for name in names {
            let why = match (wanted.iter().find(|w| w.name == name), unusable.iter().find(|u| u.name == name))
            {
                (Some(w), _) if self.interfaces[&name].index != w.index => "it came back with another index",
                (Some(w), _) if self.interfaces[&name].queue_cores != w.queue_cores => {
                    "its queues go to other workers"
                }
                (Some(_), _) => continue,
                (None, Some(u)) => u.why,
                (None, None) => "it is gone or down",
            };
            news.extend(self.detach(&name, why, dataplane));
        }
        for u in unusable {
            if let Some(interface) = self.interfaces.get_mut(&u.name) {
                interface.why = Some(u.why.to_owned());
                // Not tried again until it changes: then it has an index that differs from this one.
                interface.index = 0;
            } else if let Some(port) = number(&u.name) {
                let state = State::Waiting { retry: now, pause: FIRST_RETRY };
                let why = Some(u.why.to_owned());
                let interface = Interface { port, index: 0, queue_cores: Vec::new(), state, why };
                self.interfaces.insert(u.name.clone(), interface);
                news.push(News::Failed { name: u.name.clone(), why: u.why.to_owned() });
            }
        }
        for w in wanted {
            news.extend(self.attach(w, now, dataplane, &mut number));
        }
        // What is neither wanted nor attached any more is forgotten; its number is kept for its name.
        self.interfaces.retain(|name, interface| {
            matches!(interface.state, State::Attached(_) | State::Closing(_))
                || wanted.iter().any(|w| w.name == *name)
                || unusable.iter().any(|u| u.name == *name)
        });
        news
    }

    fn attach(
        &mut self,
        wanted: &Wanted,
        now: Time,
        dataplane: &mut Dataplane,
        number: &mut impl FnMut(&str) -> Option<PortId>,
    ) -> Option<News> {
        if !self.interfaces.contains_key(&wanted.name) {
            let port = number(&wanted.name)?;
            let state = State::Waiting { retry: now, pause: FIRST_RETRY };
            let interface =
                Interface { port, index: wanted.index, queue_cores: Vec::new(), state, why: None };
            self.interfaces.insert(wanted.name.clone(), interface);
        }
        let interface = self.interfaces.get_mut(&wanted.name)?;
        let State::Waiting { retry, pause } = interface.state else { return None };
        if interface.index != wanted.index {
            interface.index = wanted.index;
        } else if retry > now {
            return None;
        }
        match attach(&mut self.steering, wanted, interface.port, dataplane) {
            Ok(attached) => {
                let (mode, queues) = (attached.mode(), attached.queues.len());
                interface.why.clone_from(&attached.fallback);
                interface.queue_cores.clone_from(&wanted.queue_cores);
                interface.state = State::Attached(attached);
                let queues = u32::try_from(queues).unwrap_or(u32::MAX);
                Some(News::Attached { name: wanted.name.clone(), port: interface.port, mode, queues })
            }
            Err(why) => {
                interface.state =
                    State::Waiting { retry: now.after(pause), pause: (pause * 2).min(LONGEST_RETRY) };
                let known = interface.why.as_ref() == Some(&why);
                interface.why = Some(why.clone());
                (!known).then(|| News::Failed { name: wanted.name.clone(), why })
            }
        }
    }

    fn detach(&mut self, name: &str, why: &str, dataplane: &mut Dataplane) -> Option<News> {
        let interface = self.interfaces.get_mut(name)?;
        if !interface.is_attached() {
            return None;
        }
        let State::Attached(attached) = std::mem::replace(&mut interface.state, State::Closing(Vec::new()))
        else {
            return None;
        };
        // The program first: what comes from now on is the kernel's.
        self.steering.detach(attached.attachment);
        for queue in &attached.queues {
            dataplane.tell(queue.worker, Command::Close(interface.port, queue.page.caps.queue));
            dataplane.tell(queue.worker, Command::Pass(interface.port, None));
        }
        attached.pass.close(&mut self.steering);
        interface.state = State::Closing(attached.queues);
        interface.why = Some(why.to_owned());
        Some(News::Detached { name: name.to_owned(), port: interface.port, why: why.to_owned() })
    }

    /// Takes note of queues that their workers have closed. True when an interface is free to be attached again.
    pub(crate) fn tend(&mut self, now: Time, dataplane: &mut Dataplane) -> bool {
        let mut freed = false;
        for interface in self.interfaces.values_mut() {
            let State::Closing(queues) = &mut interface.state else { continue };
            queues.retain(|queue| {
                let closed = queue.page.state() == PortState::Closed;
                if closed {
                    dataplane.return_share(queue.worker, queue.share);
                }
                !closed
            });
            if queues.is_empty() {
                interface.state = State::Waiting { retry: now, pause: FIRST_RETRY };
                freed = true;
            }
        }
        freed
    }

    /// When the next attempt at an interface is due.
    pub(crate) fn next_due(&self) -> Option<Time> {
        let retry = |interface: &Interface| match interface.state {
            State::Waiting { retry, .. } if interface.index != 0 => Some(retry),
            _ => None,
        };
        self.interfaces.values().filter_map(retry).min()
    }

    /// Whether queues are on their way to be closed.
    pub(crate) fn closing(&self) -> bool {
        self.interfaces.values().any(|i| matches!(i.state, State::Closing(_)))
    }

    /// Detaches everything, for the end.
    pub(crate) fn detach_all(&mut self, dataplane: &mut Dataplane) {
        let names: Vec<String> = self.interfaces.keys().cloned().collect();
        for name in names {
            self.detach(&name, "the director stops", dataplane);
        }
    }
}

impl Interface {
    fn is_attached(&self) -> bool {
        matches!(self.state, State::Attached(_))
    }

    /// Its queues while it is attached.
    pub(crate) fn queues(&self) -> &[Queue] {
        match &self.state {
            State::Attached(attached) => &attached.queues,
            _ => &[],
        }
    }

    /// How it is attached.
    pub(crate) fn mode(&self) -> Option<Mode> {
        match &self.state {
            State::Attached(attached) => Some(attached.mode()),
            _ => None,
        }
    }

    /// Why it is not attached, or not in a better mode.
    pub(crate) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }
}

impl Attached {
    fn mode(&self) -> Mode {
        self.queues.first().map_or(Mode::Generic, |queue| queue.page.caps.mode)
    }
}

/// An interface half attached: what there is to finish or to undo.
struct Attaching {
    pass: PassDevice,
    attachment: Attachment,
    /// Each with its worker and its share of that worker's frames.
    sockets: Vec<(usize, u32, AfXdpPort)>,
}

/// Attaches the program to an interface and opens a socket on each of its queues. What was done is undone when a
/// step fails.
fn attach(
    steering: &mut Steering,
    wanted: &Wanted,
    port: PortId,
    dataplane: &mut Dataplane,
) -> Result<Attached, String> {
    let queues = rx_queues(&wanted.name).map_or(wanted.rx_queues, |n| n.max(1));
    if queues > QUEUES_PER_PORT {
        return Err(format!("it has {queues} queues: set it to at most {QUEUES_PER_PORT} with ethtool -L"));
    }
    // The way back is there before the first frame can need it.
    let pass = PassDevice::open(steering, wanted.index).map_err(|e| e.to_string())?;
    let attachment = match steering.attach(wanted.index, wanted.wish) {
        Ok(attachment) => attachment,
        Err(e) => {
            pass.close(steering);
            return Err(e.to_string());
        }
    };
    let mut attaching = Attaching { pass, attachment, sockets: Vec::new() };
    let ways = (0..queues)
        .try_for_each(|queue| attaching.open(steering, wanted, (port, queue), dataplane))
        .and_then(|()| attaching.ways());
    long_packets(&wanted.name);
    match ways {
        Ok(ways) => Ok(attaching.hand_over((port, &wanted.name), ways, dataplane)),
        Err(why) => {
            attaching.undo(steering, dataplane);
            Err(why)
        }
    }
}

/// Says so when an interface may bring packets that no frame holds.
fn long_packets(interface: &str) {
    let mtu = std::fs::read_to_string(format!("/sys/class/net/{interface}/mtu"));
    if let Some(mtu) = mtu.ok().and_then(|mtu| mtu.trim().parse::<u32>().ok())
        && mtu > u32::from(HELD)
    {
        tracing::warn!(
            interface,
            mtu,
            "packets of more than {HELD} bytes are dropped as they come (rx_dropped): set the MTU to that or less"
        );
    }
}

impl Attaching {
    /// Opens the socket of one queue for the worker of the core that is named for it, or the one that has the fewest.
    fn open(
        &mut self,
        steering: &mut Steering,
        wanted: &Wanted,
        (port, queue): (PortId, u32),
        dataplane: &mut Dataplane,
    ) -> Result<(), String> {
        let worker = match wanted.core_of(queue) {
            None => dataplane.next_worker(),
            Some(core) => dataplane.worker_on(core).ok_or_else(|| {
                format!("core {core} in queue-cores has no worker: name cores of the director's list")
            })?,
        };
        let share = dataplane.take_share(worker);
        let config = AfXdpConfig {
            name: wanted.name.clone(),
            ifindex: wanted.index,
            queue,
            port,
            wish: wanted.wish,
            attached: self.attachment.mode(),
            fill_frames: share,
        };
        match AfXdpPort::open(dataplane.umem, &config) {
            Ok(socket) => self.sockets.push((worker, share, socket)),
            Err(e) => {
                dataplane.return_share(worker, share);
                return Err(e.to_string());
            }
        }
        let (_, _, socket) = &self.sockets[self.sockets.len() - 1];
        steering.set_socket(wanted.index, queue, socket.fd().as_fd()).map_err(|e| e.to_string())
    }

    /// The way back to the kernel for each worker that has a queue.
    fn ways(&self) -> Result<BTreeMap<usize, PassQueue>, String> {
        let mut ways = BTreeMap::new();
        for (worker, _, _) in &self.sockets {
            if !ways.contains_key(worker) {
                let way =
                    self.pass.queue().map_err(|e| format!("{}: no further queue: {e}", self.pass.name()))?;
                ways.insert(*worker, way);
            }
        }
        Ok(ways)
    }

    fn hand_over(
        self,
        (port, name): (PortId, &str),
        ways: BTreeMap<usize, PassQueue>,
        dataplane: &mut Dataplane,
    ) -> Attached {
        for (worker, way) in ways {
            dataplane.tell(worker, Command::Pass(port, Some(way)));
        }
        let fallbacks = self.sockets.iter().map(|(_, _, socket)| socket.fallback());
        let fallback = fallbacks.chain([self.attachment.fallback()]).flatten().next().map(str::to_owned);
        let polls = self.sockets.iter().any(|(_, _, socket)| socket.polls());
        let deferral = polls.then(|| Deferral::of(name));
        let mut queues = Vec::new();
        for (worker, share, socket) in self.sockets {
            let page = Arc::new(PortPage::new(socket.caps()));
            dataplane.tell(worker, Command::Open(Box::new(socket), page.clone()));
            queues.push(Queue { worker, page, share });
        }
        Attached { attachment: self.attachment, pass: self.pass, queues, fallback, _deferral: deferral }
    }

    fn undo(self, steering: &mut Steering, dataplane: &mut Dataplane) {
        steering.detach(self.attachment);
        for (worker, share, socket) in self.sockets {
            dataplane.return_share(worker, share);
            // It has not been given a frame yet.
            Box::new(socket).close(&mut FramePool::new(PoolId(u8::MAX), Vec::new(), 0));
        }
        self.pass.close(steering);
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}
