//! Load: many clients that ask over and over, and a tally of who answered and what failed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::http::{After, HttpConn};
use crate::wait::wait_until;
use crate::{Error, Netns, Result};

/// Failures that are kept in full; the rest is only counted.
const KEPT: usize = 40;

/// How long a test waits for answers that it says will come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What each client does.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Where the requests go.
    pub target: SocketAddr,
    /// Clients at once.
    pub clients: usize,
    /// Requests on one connection, then a new one; 1 is connection-close.
    pub per_connection: u32,
    /// Between two requests of a client: room for the other programs on a small machine.
    pub pace: Duration,
}

/// A request that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The server that had answered on this connection before; `None` if none had.
    pub server: Option<String>,
    /// What happened.
    pub what: String,
}

/// Counts so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Answers in full, by server.
    pub answers: BTreeMap<String, u64>,
    /// Requests that failed.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<Failure>,
}

impl Tally {
    /// Answers of all servers.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Answers of one server.
    #[must_use]
    pub fn of(&self, server: &str) -> u64 {
        self.answers.get(server).copied().unwrap_or(0)
    }

    fn fail(&mut self, server: Option<&str>, what: String) {
        self.failed += 1;
        if self.failures.len() < KEPT {
            self.failures.push(Failure { server: server.map(str::to_owned), what });
        }
    }
}

/// Load that runs until [`Running::finish`] or until it is dropped.
#[derive(Debug)]
pub struct Running {
    tally: Arc<Mutex<Tally>>,
    stops: Vec<Sender<()>>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    /// Connection-close requests by a few clients at a moderate pace.
    #[must_use]
    pub fn close(target: SocketAddr) -> Self {
        Self { target, clients: 8, per_connection: 1, pace: Duration::from_millis(2) }
    }

    /// The same on connections that stay open.
    #[must_use]
    pub fn keep_alive(target: SocketAddr) -> Self {
        Self { per_connection: u32::MAX, ..Self::close(target) }
    }

    /// Starts the clients in `netns`.
    #[must_use]
    pub fn start(self, netns: &Netns) -> Running {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let mut running = Running { tally: Arc::clone(&tally), stops: Vec::new(), threads: Vec::new() };
        for _ in 0..self.clients {
            let (stop, stopped) = mpsc::channel();
            let tally = Arc::clone(&tally);
            running.stops.push(stop);
            running.threads.push(netns.thread(move || self.client(&tally, &stopped)));
        }
        running
    }

    fn client(self, tally: &Mutex<Tally>, stopped: &Receiver<()>) {
        loop {
            let mut connection = match HttpConn::open_here(self.target) {
                Ok(connection) => Some(connection),
                Err(e) => {
                    lock(tally).fail(None, format!("connect: {e}"));
                    None
                }
            };
            for number in 0..self.per_connection {
                let Some(open) = &mut connection else { break };
                let last = number + 1 == self.per_connection;
                match open.ask(if last { After::Close } else { After::KeepAlive }) {
                    Ok(server) => *lock(tally).answers.entry(server).or_default() += 1,
                    Err(e) => {
                        lock(tally).fail(open.server(), format!("request {number}: {e}"));
                        break;
                    }
                }
                if stopped.recv_timeout(self.pace) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
            if connection.is_none() && stopped.recv_timeout(self.pace) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }
}

impl Running {
    /// The counts until now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Waits until `count` more requests were answered, by whomever.
    ///
    /// # Errors
    /// When they are not in time.
    pub fn wait_answers(&self, count: u64) -> Result<()> {
        let goal = self.tally().total() + count;
        self.wait(&format!("{count} more answers"), |tally| tally.total() >= goal)
    }

    /// Waits until `server` has answered `count` more requests.
    ///
    /// # Errors
    /// When it has not in time.
    pub fn wait_server(&self, server: &str, count: u64) -> Result<()> {
        let goal = self.tally().of(server) + count;
        self.wait(&format!("{count} more answers of {server}"), |tally| tally.of(server) >= goal)
    }

    /// Waits until `count` answers in a row came from others than `server`.
    ///
    /// # Errors
    /// When it goes on answering.
    pub fn wait_without(&self, server: &str, count: u64) -> Result<()> {
        let mut last = self.tally();
        self.wait(&format!("{count} answers in a row without {server}"), |tally| {
            if tally.of(server) != last.of(server) {
                last = tally.clone();
            }
            tally.total() >= last.total() + count
        })
    }

    fn wait(&self, what: &str, mut done: impl FnMut(&Tally) -> bool) -> Result<()> {
        let waited = wait_until(what, PATIENCE, || done(&self.tally()));
        waited.map(drop).map_err(|e| Error::new(format!("{e}; so far {:?}", self.tally())))
    }

    /// Ends the load, after the requests that are under way, and returns the counts.
    #[must_use]
    pub fn finish(mut self) -> Tally {
        self.stop();
        self.tally()
    }

    fn stop(&mut self) {
        self.stops.clear();
        for thread in self.threads.drain(..) {
            // A client that could not enter its namespace has counted nothing, which its user sees.
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    // Every change to a tally is complete before anything can panic.
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
