//! The AF_XDP port: one socket on one queue of one interface.
//!
//! Owns the mode that the socket ended up in, when to kick the kernel, and what its answers mean. Opening and closing
//! may take some ten milliseconds (a queue is not free at once after a close): for start and change, not for the turn.

use crate::queue::Queue;
use crate::umem::Umem;
use crate::xsk::{self, Socket, Target};
use sheave_frame::{BURST, Burst, Caps, Flushed, FramePool, Mode, Port, PortId, PortStats};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// Which mode an interface shall work in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModeWish {
    /// The best that works: zero-copy, else copy, else generic.
    #[default]
    Auto,
    /// Zero-copy or not at all.
    ZeroCopy,
    /// Native XDP, the kernel copies.
    Copy,
    /// Generic XDP, the kernel copies.
    Generic,
}

impl std::str::FromStr for ModeWish {
    type Err = String;

    fn from_str(text: &str) -> Result<ModeWish, String> {
        match text {
            "auto" => Ok(ModeWish::Auto),
            "zero-copy" => Ok(ModeWish::ZeroCopy),
            "copy" => Ok(ModeWish::Copy),
            "generic" => Ok(ModeWish::Generic),
            other => Err(format!("mode {other}: unknown: use auto, zero-copy, copy or generic")),
        }
    }
}

/// How the steering program is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    /// By the driver.
    Native,
    /// By the kernel's receive path, which works with every driver.
    Generic,
}

/// Which queue to serve, and how.
#[derive(Debug, Clone)]
pub struct AfXdpConfig {
    /// The interface's name, for messages.
    pub name: String,
    /// Its index in the kernel.
    pub ifindex: u32,
    /// The queue.
    pub queue: u32,
    /// Its number in the data path.
    pub port: PortId,
    /// The mode wished for.
    pub wish: ModeWish,
    /// How the steering program is attached there.
    pub attached: XdpMode,
    /// Frames that this queue may hold for receiving: a share of the worker's pool.
    pub fill_frames: u32,
}

/// A queue could not be opened.
#[derive(Debug)]
pub struct OpenError {
    what: String,
    /// What the kernel said.
    pub source: io::Error,
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let remedy = match self.source.raw_os_error() {
            Some(libc::EPERM) => "run with CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF",
            Some(libc::EBUSY) => "another program has an AF_XDP socket on this queue: end it",
            Some(libc::EOPNOTSUPP) => "the driver cannot do this: use mode \"auto\"",
            Some(libc::ENOBUFS | libc::ENOMEM) => {
                "raise the limit of locked memory, or use a smaller frame pool"
            }
            _ => "see the kernel's message",
        };
        write!(f, "{}: {}: {remedy}", self.what, self.source)
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A queue of an interface, served by an AF_XDP socket.
#[derive(Debug)]
pub struct AfXdpPort {
    socket: Socket,
    queue: Queue,
    name: String,
    ifindex: u32,
    caps: Caps,
    fallback: Option<String>,
    /// Whether the driver works when it is called, rather than in interrupts.
    polls: bool,
    gone: bool,
}

const REBIND_ATTEMPTS: u32 = 200;
const REBIND_PAUSE: Duration = Duration::from_millis(1);

/// Kicks of one flush at most; each sends 32 frames or more, the ring holds 2048.
const KICKS: u32 = 64;

impl AfXdpPort {
    /// Opens the socket in the best mode that the wish and the interface allow, and logs which it became and why.
    ///
    /// # Errors
    /// When no mode allowed works, or the queue stays busy for longer than a close can explain.
    pub fn open(umem: Umem, config: &AfXdpConfig) -> Result<AfXdpPort, OpenError> {
        let zero_copy = match (config.wish, config.attached) {
            (ModeWish::Auto | ModeWish::ZeroCopy, XdpMode::Native) => Some(bind(umem, config, true)),
            (ModeWish::ZeroCopy, XdpMode::Generic) => {
                Some(Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)))
            }
            _ => None,
        };
        let (name, queue) = (&config.name, config.queue);
        let mut fallback = None;
        let (opened, mode) = match (zero_copy, config.attached) {
            (Some(Ok(opened)), _) => (Ok(opened), Mode::ZeroCopy),
            (Some(Err(error)), _) if config.wish == ModeWish::ZeroCopy => (Err(error), Mode::ZeroCopy),
            (Some(Err(error)), _) => {
                tracing::info!(interface = %name, queue, reason = %error, "no zero-copy: falling back to copy mode");
                fallback = Some(format!("no zero-copy: {error}"));
                (bind(umem, config, false), Mode::Copy)
            }
            (None, XdpMode::Native) => (bind(umem, config, false), Mode::Copy),
            (None, XdpMode::Generic) => (bind(umem, config, false), Mode::Generic),
        };
        let (socket, rings) = opened.map_err(|source| OpenError {
            what: format!("interface {name} queue {queue}: no AF_XDP socket in {mode} mode"),
            source,
        })?;
        // In copy mode somebody else's processor may do the driver's part.
        let polls = mode == Mode::ZeroCopy && xsk::prefer_busy_poll(socket.as_fd());
        tracing::info!(interface = %name, queue, %mode, polls, "AF_XDP socket bound");
        Ok(AfXdpPort {
            socket,
            queue: Queue::new(umem, rings, config.port, config.fill_frames),
            name: name.clone(),
            ifindex: config.ifindex,
            caps: Caps { port: config.port, queue, mode },
            fallback,
            polls,
            gone: false,
        })
    }

    /// Why the mode is not the best that was wished for, if it is not.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// The socket, to be put into the steering program's map.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The interface's index when the port was opened.
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Whether the interface has vanished: the port will never move a frame again and should be closed. Asks the kernel:
    /// for idle turns, not for each.
    pub fn is_gone(&mut self) -> bool {
        if !self.gone
            && let Err(error) = self.socket.kick_rx()
        {
            self.gone = is_fatal(error);
        }
        self.gone
    }

    /// Whether the driver works within the calls of whoever owns the port, rather than in interrupts.
    pub fn polls(&self) -> bool {
        self.polls
    }

    /// Whether the interface was found to have vanished so far, without asking.
    pub fn known_gone(&self) -> bool {
        self.gone
    }

    #[inline]
    fn kick(&mut self) {
        let mut unsent = self.queue.unsent();
        if unsent == 0 || self.gone {
            return;
        }
        if self.caps.mode == Mode::ZeroCopy {
            // The driver drains the ring by itself; it wants to be woken when it sleeps.
            if self.queue.tx_needs_wakeup() {
                self.kick_once();
            }
            return;
        }
        for _ in 0..KICKS {
            let again = self.kick_once();
            let left = self.queue.unsent();
            if left == 0 || !again || left == unsent {
                break;
            }
            unsent = left;
        }
    }

    #[inline]
    fn kick_once(&mut self) -> bool {
        self.queue.stats.tx_kicks += 1;
        let after = after_kick(self.socket.kick_tx());
        self.gone |= after == AfterKick::Gone;
        after == AfterKick::GoOn
    }
}

fn bind(umem: Umem, config: &AfXdpConfig, zero_copy: bool) -> io::Result<(Socket, xsk::Rings)> {
    let target = Target { ifindex: config.ifindex, queue: config.queue, zero_copy };
    let mut attempt = 0;
    loop {
        match xsk::open(umem, target) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && attempt < REBIND_ATTEMPTS => {
                attempt += 1;
                pause();
            }
            result => return result,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when the kernel has released a queue")]
fn pause() {
    std::thread::sleep(REBIND_PAUSE);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterKick {
    /// Kick on while frames are left.
    GoOn,
    /// Nothing more can be sent now; the next flush tries again.
    Later,
    /// The interface has vanished.
    Gone,
}

fn after_kick(result: Result<(), libc::c_int>) -> AfterKick {
    match result {
        // The budget of this kick is used up (or nothing moves: the caller sees that by the ring).
        Ok(()) | Err(libc::EAGAIN) => AfterKick::GoOn,
        // The queueing discipline dropped a frame, which is completed all the same.
        Err(libc::EBUSY) => AfterKick::GoOn,
        // No memory for now; the interface is down, and may come up again.
        Err(libc::ENOBUFS | libc::ENOMEM | libc::ENETDOWN | libc::EINTR) => AfterKick::Later,
        Err(error) if is_fatal(error) => AfterKick::Gone,
        Err(_) => AfterKick::Later,
    }
}

/// The socket is not bound any more.
fn is_fatal(error: libc::c_int) -> bool {
    matches!(error, libc::ENXIO | libc::EBADF | libc::ENODEV)
}

impl Port for AfXdpPort {
    #[inline]
    fn recv(&mut self, burst: &mut Burst, pool: &mut FramePool) -> usize {
        let received = self.queue.recv(burst, pool);
        // Less than a burst was there: the driver has not been asked since.
        let ask = self.polls && received < BURST;
        if (ask || self.queue.fill_needs_wakeup())
            && let Err(error) = self.socket.kick_rx()
        {
            self.gone |= is_fatal(error);
        }
        received
    }

    #[inline]
    fn send(&mut self, burst: &mut Burst) -> usize {
        if self.gone {
            return 0;
        }
        self.queue.send(burst)
    }

    #[inline]
    fn flush(&mut self, pool: &mut FramePool) -> Flushed {
        self.kick();
        let completed = self.queue.reap(pool);
        Flushed { completed, in_flight: self.queue.in_flight() }
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn stats(&self) -> PortStats {
        let kernel = self.socket.statistics();
        let mut stats = self.queue.stats;
        stats.rx_dropped += kernel.rx_dropped;
        stats.rx_invalid += kernel.rx_invalid_descs;
        stats.tx_invalid += kernel.tx_invalid_descs;
        stats.rx_ring_full += kernel.rx_ring_full;
        stats.fill_empty += kernel.rx_fill_ring_empty_descs;
        stats.tx_empty += kernel.tx_ring_empty_descs;
        stats
    }

    fn held(&self) -> usize {
        self.queue.held()
    }

    fn close(self: Box<Self>, pool: &mut FramePool) {
        let AfXdpPort { socket, queue, name, ifindex, caps, .. } = *self;
        // The mappings of the rings keep the socket alive, so they go first.
        let lent = queue.end(pool);
        drop(socket);
        if !is_released(ifindex, caps.queue) {
            // The kernel may still write into these frames: better lost than overwritten.
            tracing::error!(interface = %name, queue = caps.queue, ?lent, "queue not released: its frames are lost");
            return;
        }
        // SAFETY: the kernel writes to frames only on behalf of a socket bound to the queue, and the queue has just been
        // seen to be free.
        unsafe { lent.recover(pool) };
        tracing::debug!(interface = %name, queue = caps.queue, "AF_XDP socket closed");
    }

    fn wait_fd(&self) -> Option<RawFd> {
        Some(self.socket.as_fd().as_raw_fd())
    }
}

/// Waits until a queue's former socket has let go of it, or the time that this can take is over.
fn is_released(ifindex: u32, queue: u32) -> bool {
    for _ in 0..REBIND_ATTEMPTS {
        if xsk::is_free(ifindex, queue) {
            return true;
        }
        pause();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_to_a_kick_has_its_consequence() {
        for (answer, after) in [
            (Ok(()), AfterKick::GoOn),
            (Err(libc::EAGAIN), AfterKick::GoOn),
            (Err(libc::EBUSY), AfterKick::GoOn),
            (Err(libc::ENOBUFS), AfterKick::Later),
            (Err(libc::ENETDOWN), AfterKick::Later),
            (Err(libc::ENXIO), AfterKick::Gone),
            (Err(libc::EPERM), AfterKick::Later),
        ] {
            assert_eq!(after_kick(answer), after, "{answer:?}");
        }
    }

    #[test]
    fn modes_are_spelt_as_in_the_configuration() {
        assert_eq!("auto".parse(), Ok(ModeWish::Auto));
        assert_eq!("zero-copy".parse(), Ok(ModeWish::ZeroCopy));
        assert_eq!("copy".parse(), Ok(ModeWish::Copy));
        assert_eq!("generic".parse(), Ok(ModeWish::Generic));
        assert!("native".parse::<ModeWish>().unwrap_err().contains("use auto"));
    }
}
