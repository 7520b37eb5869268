//! Waiting: over all ports of a worker, and for a word from another thread.
//!
//! A [`Waker`] is a token, like that of `std::thread::park`: waking before waiting makes the wait return at once, so no
//! wake-up is lost whatever the order; and a worker that is awake costs its waker one atomic swap, no system call.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const AWAKE: u32 = 0;
const WAITING: u32 = 1;
const WOKEN: u32 = 2;

#[derive(Debug)]
struct Shared {
    state: AtomicU32,
    event: File,
}

/// Wakes one [`PortSet`].
#[derive(Debug, Clone)]
pub struct Waker(Arc<Shared>);

impl Waker {
    /// Ends the wait that is going on, or the next one. What was written before is seen after that wait.
    #[inline]
    pub fn wake(&self) {
        // ORDERING: pairs with the swaps in `PortSet::wait`. An unconditional swap, not a load first: only so does
        // a wait that takes an earlier token away also see what this caller has written.
        if self.0.state.swap(WOKEN, Ordering::AcqRel) == WAITING {
            // The counter cannot overflow: one write a wait.
            let _ = (&self.0.event).write(&1u64.to_ne_bytes());
        }
    }
}

/// Why a wait ended. Neither means that the time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Woken {
    /// A port has something, or is in trouble.
    pub ports: bool,
    /// A [`Waker`] was used.
    pub waker: bool,
}

/// What one worker waits on.
#[derive(Debug)]
pub struct PortSet {
    shared: Arc<Shared>,
    /// The event first, then the ports.
    fds: Vec<libc::pollfd>,
}

impl PortSet {
    /// A set without ports.
    ///
    /// # Errors
    /// When the process has too many files open.
    pub fn new() -> std::io::Result<PortSet> {
        // SAFETY: takes numbers only.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: just opened, and nobody else's.
        let event = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let first = poll_in(event.as_raw_fd());
        let shared = Arc::new(Shared { state: AtomicU32::new(AWAKE), event });
        Ok(PortSet { shared, fds: vec![first] })
    }

    /// Replaces the ports. Their descriptors must be taken out before they are closed.
    pub fn set(&mut self, ports: impl IntoIterator<Item = RawFd>) {
        self.fds.truncate(1);
        self.fds.extend(ports.into_iter().map(poll_in));
    }

    /// A handle that wakes this set.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.shared))
    }

    /// Waits until a port has something, somebody wakes us, or the time is up; `None` waits without limit.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Woken {
        let state = &self.shared.state;
        // ORDERING: pairs with the swap in `wake`: what its caller wrote is seen by whoever takes the token.
        if state.compare_exchange(AWAKE, WAITING, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // ORDERING: as above; a swap, to see also what a second waker wrote meanwhile.
            let _ = state.swap(AWAKE, Ordering::AcqRel);
            return Woken { ports: self.poll(Some(Duration::ZERO)), waker: true };
        }
        let ports = self.poll(timeout);
        // ORDERING: as above.
        let waker = self.shared.state.swap(AWAKE, Ordering::AcqRel) == WOKEN;
        if waker {
            let _ = (&self.shared.event).read(&mut [0; 8]);
        }
        Woken { ports, waker }
    }

    /// Whether a port has something before the time is up.
    fn poll(&mut self, timeout: Option<Duration>) -> bool {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `fds` are that many `pollfd`, `timeout` is null or lives until the call is over, no signal mask.
        let ready = unsafe {
            libc::ppoll(self.fds.as_mut_ptr(), self.fds.len() as libc::nfds_t, timeout, std::ptr::null())
        };
        ready > 0 && self.fds[1..].iter().any(|fd| fd.revents != 0)
    }
}

fn poll_in(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Option<Duration> = Some(Duration::from_secs(20));

    #[test]
    fn waking_before_waiting_counts_once() {
        let mut set = PortSet::new().expect("set");
        let waker = set.waker();
        waker.wake();
        waker.clone().wake();
        assert_eq!(set.wait(LONG), Woken { ports: false, waker: true });
        assert_eq!(set.wait(Some(Duration::ZERO)), Woken::default());
    }

    #[test]
    fn each_word_from_another_thread_arrives() {
        let mut set = PortSet::new().expect("set");
        let waker = set.waker();
        let (to, from) = mpsc::sync_channel::<u32>(1);
        let sender = std::thread::spawn(move || {
            for n in 0..2000 {
                to.send(n).expect("open");
                waker.wake();
            }
        });
        let mut next = 0;
        while next < 2000 {
            match from.try_recv() {
                Ok(n) => {
                    assert_eq!(n, next);
                    next += 1;
                }
                Err(_) => assert!(set.wait(LONG).waker, "a wake-up was lost"),
            }
        }
        sender.join().expect("sender");
    }

    #[test]
    fn a_port_with_something_ends_the_wait() {
        let (one, mut other) = std::os::unix::net::UnixStream::pair().expect("pair");
        let mut set = PortSet::new().expect("set");
        set.set([one.as_raw_fd()]);
        assert_eq!(set.wait(Some(Duration::from_micros(10))), Woken::default());
        other.write_all(b"x").expect("open");
        assert_eq!(set.wait(LONG), Woken { ports: true, waker: false });
        set.waker().wake();
        assert_eq!(set.wait(LONG), Woken { ports: true, waker: true });
        set.set([]);
        assert_eq!(set.wait(Some(Duration::ZERO)), Woken::default());
    }
}
