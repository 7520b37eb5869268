//! The control thread's loop: the socket, netlink, signals, words of the workers, time. Nothing in it waits for anything
//! but the poll.

use crate::director::Director;
use crate::server::{LISTENER, Limits, Server};
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use sheave_pipeline::Time;
use sheave_proto::api::{EventBody, MAX_LINE};
use sheave_worker::Notify;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NETLINK: Token = Token(1);
const WORKERS: Token = Token(2);
const SIGNALS: [(Token, i32, &str); 3] =
    [(Token(3), SIGTERM, "SIGTERM"), (Token(4), SIGINT, "SIGINT"), (Token(5), SIGHUP, "SIGHUP")];

/// Clients of the socket at once.
const CLIENTS: usize = 512;

/// How long the kernel may take to tell what it has, and the workers to close their queues.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the loop waits on.
pub(crate) struct Control {
    poll: Poll,
    signals: Vec<(Token, UnixStream, &'static str)>,
    /// A worker has something to say.
    news: Arc<AtomicBool>,
    waker: Arc<Waker>,
    netlink_more: bool,
}

/// Why the loop ended.
pub(crate) type Reason = &'static str;

impl Control {
    /// Sets up signals and the wake-up.
    pub(crate) fn new() -> io::Result<Control> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WORKERS)?);
        let mut signals = Vec::new();
        for (token, signal, name) in SIGNALS {
            let (read, write) = std::os::unix::net::UnixStream::pair()?;
            read.set_nonblocking(true)?;
            signal_hook::low_level::pipe::register(signal, write)?;
            let mut read = UnixStream::from_std(read);
            poll.registry().register(&mut read, token, Interest::READABLE)?;
            signals.push((token, read, name));
        }
        Ok(Control { poll, signals, news: Arc::default(), waker, netlink_more: false })
    }

    /// What workers wake the loop with: one system call for any number of words until they are heard.
    pub(crate) fn notify(&self) -> Notify {
        let (news, waker) = (self.news.clone(), self.waker.clone());
        Arc::new(move || {
            // ORDERING: acquire and release, with the swap in `turn`: whoever clears it sees what was said before.
            if !news.swap(true, Ordering::AcqRel)
                && let Err(e) = waker.wake()
            {
                tracing::debug!("control thread not woken: {e}");
            }
        })
    }

    /// Hears out the kernel and attaches the interfaces: the first snapshot knows them all.
    pub(crate) fn settle(&mut self, director: &mut Director) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&director.netlink.fd()), NETLINK, Interest::READABLE)?;
        let mut events = Events::with_capacity(64);
        let clock = director.dataplane.clock;
        let end = clock.now().after(nanos(PATIENCE));
        while !director.netlink.settled() {
            if clock.now() >= end {
                return Err(io::Error::new(ErrorKind::TimedOut, "netlink: the kernel does not answer"));
            }
            self.poll(&mut events, Some(Duration::from_millis(20)))?;
            while director.netlink.read()?.1 {}
        }
        director.now = clock.now();
        director.reconcile();
        director.refresh();
        director.follow_drains(None);
        Ok(())
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Serves until a signal ends it.
    pub(crate) fn run(&mut self, director: &mut Director, listener: UnixListener) -> io::Result<Reason> {
        let listener = mio::net::UnixListener::from_std(listener);
        let mut server =
            Server::new(listener, Limits { line: MAX_LINE, clients: CLIENTS }, self.poll.registry())?;
        let mut events = Events::with_capacity(256);
        director.events.note(EventBody::Started { version: env!("CARGO_PKG_VERSION").to_owned() });
        loop {
            let timeout = self.timeout(director, &server);
            self.poll(&mut events, timeout)?;
            director.now = director.dataplane.clock.now();
            if let Some(reason) = self.turn(&events, director, &mut server)? {
                self.wind_up(director, &mut server, reason)?;
                return Ok(reason);
            }
        }
    }

    fn timeout(&self, director: &Director, server: &Server) -> Option<Duration> {
        if server.restless() || self.netlink_more || director.events.has_unsent() {
            return Some(Duration::ZERO);
        }
        let others = [server.next_due(), director.refresh_due()];
        let due = others.into_iter().flatten().fold(director.next_due(), Time::min);
        let now = director.dataplane.clock.now();
        if due <= now {
            return Some(Duration::ZERO);
        }
        // A millisecond is as fine as the poll waits: rounded up, or it would return too early again and again.
        Some(Duration::from_nanos(due.0 - now.0) + Duration::from_millis(1))
    }

    /// One turn. The reason to end, if there is one.
    fn turn(
        &mut self,
        events: &Events,
        director: &mut Director,
        server: &mut Server,
    ) -> io::Result<Option<Reason>> {
        let mut netlink = std::mem::take(&mut self.netlink_more);
        let mut reason = None;
        for event in events {
            match event.token() {
                NETLINK => netlink = true,
                WORKERS => {}
                LISTENER => server.ready(LISTENER, true, false),
                token if SIGNALS.iter().any(|(t, _, _)| *t == token) => {
                    reason = reason.or(self.signal(token, director));
                }
                token => {
                    let readable = event.is_readable() || event.is_read_closed() || event.is_error();
                    server.ready(token, readable, event.is_writable() || event.is_write_closed());
                }
            }
        }
        if netlink {
            let (changed, more) = director.netlink.read()?;
            self.netlink_more = more;
            director.heard(changed);
        }
        // ORDERING: acquire and release, with the swap in `notify`.
        if self.news.swap(false, Ordering::AcqRel) && director.take_punts() {
            self.news.store(true, Ordering::Release);
            self.waker.wake()?;
        }
        director.tick();
        if director.refresh_due().is_some_and(|due| due <= director.now) {
            director.refresh();
        }
        server.turn(self.poll.registry(), director.now, director);
        self.publish_events(director, server);
        Ok(reason)
    }

    fn publish_events(&mut self, director: &mut Director, server: &mut Server) {
        for line in director.events.take_unsent() {
            server.publish(&line, self.poll.registry(), director.now, director);
        }
    }

    /// Empties a signal's pipe and does what it asks for.
    fn signal(&mut self, token: Token, director: &mut Director) -> Option<Reason> {
        let (_, pipe, name) = self.signals.iter_mut().find(|(t, _, _)| *t == token)?;
        let mut byte = [0; 64];
        while matches!(pipe.read(&mut byte), Ok(n) if n > 0) {}
        if *name == "SIGHUP" {
            // What is wrong with the file has been logged; what is in force stays.
            let _ = director.reload("signal");
            return None;
        }
        Some(name)
    }

    /// Detaches, waits until the workers have sent what they had and closed their queues, says goodbye.
    fn wind_up(&mut self, director: &mut Director, server: &mut Server, reason: Reason) -> io::Result<()> {
        director.begin_stop(reason);
        self.publish_events(director, server);
        let clock = director.dataplane.clock;
        let end = clock.now().after(nanos(PATIENCE));
        let mut events = Events::with_capacity(64);
        while director.serving.closing() && clock.now() < end {
            self.poll(&mut events, Some(Duration::from_millis(5)))?;
            director.now = clock.now();
            director.dataplane.tend();
            director.serving.tend(director.now, &mut director.dataplane);
        }
        Ok(())
    }
}

fn nanos(duration: Duration) -> u64 {
    Time::SECOND * duration.as_secs()
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
