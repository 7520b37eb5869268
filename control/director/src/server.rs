//! The unix socket and its clients.
//!
//! Owns: the listener, every client's input and output, the subscriptions to events. Knows lines, not what they
//! mean: a request is handed to the [`Answer`] seam. No client can make another one wait: reading and answering is
//! bounded per client and turn, output is bounded per client, and who does not keep up is cut off with a reason.

use crate::outbox::Outbox;
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use sheave_pipeline::Time;
use sheave_proto::api::LineBuffer;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read, Write};

/// Connections accepted in one turn.
const ACCEPTS: usize = 64;

/// Requests of one client answered a turn.
const REQUESTS: usize = 4;

/// Bytes read at once.
const READ: usize = 16 << 10;

/// With so much output waiting no further request is read: a client that does not read waits for itself.
const SATED: usize = 256 << 10;

/// A subscriber may lag behind by so many bytes of events; beyond it is cut off.
const LAG: usize = 1 << 20;

/// The send buffer of a client that is told why it is cut off. The kernel doubles it, so it is about twice what the
/// client had before.
const FAREWELL: usize = 208 << 10;

/// A client that takes nothing of its output for so long is cut off.
const PATIENCE: u64 = 10 * Time::SECOND;

/// The token of the listener; clients have the ones above.
pub(crate) const LISTENER: Token = Token(0);
const FIRST_CLIENT: usize = 1024;

/// What the server asks of the rest of the director.
pub(crate) trait Answer {
    /// Answers one request line. The answer may say that the client wants events from now on.
    fn answer(&mut self, line: &[u8]) -> Reply;
    /// The line that tells a client why it is cut off.
    fn farewell(&self, why: Cut) -> Vec<u8>;
    /// A client was cut off.
    fn cut_off(&mut self, why: Cut);
}

/// An answer. Lines bring their ends along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) line: Vec<u8>,
    /// Events of the past that a subscriber asked for.
    pub(crate) then: Vec<Vec<u8>>,
    /// Send this client all events from now on.
    pub(crate) subscribe: bool,
}

/// Why a client was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It did not take its answers or events.
    Slow,
    /// Its line was longer than a request may be.
    Large,
    /// There are too many clients already.
    Crowd,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    lines: LineBuffer,
    out: Outbox,
    subscribed: bool,
    /// More may be there to read; the poll tells only once.
    readable: bool,
    writable: bool,
    /// No further requests: close when the output is out.
    closing: bool,
    /// Since when nothing of the waiting output was taken.
    stuck: Option<Time>,
}

/// What clients are held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of a request.
    pub(crate) line: usize,
    /// Clients at once.
    pub(crate) clients: usize,
}

/// The socket and its clients.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    clients: BTreeMap<usize, Client>,
    next: usize,
    limits: Limits,
    /// Clients with something to do in the next turn, whatever the poll says.
    restless: BTreeSet<usize>,
    accepting: bool,
}

impl Server {
    /// A server on `listener`.
    pub(crate) fn new(mut listener: UnixListener, limits: Limits, registry: &Registry) -> io::Result<Server> {
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Server {
            listener,
            clients: BTreeMap::new(),
            next: FIRST_CLIENT,
            limits,
            restless: BTreeSet::new(),
            accepting: true,
        })
    }

    /// The poll told of a token.
    pub(crate) fn ready(&mut self, token: Token, readable: bool, writable: bool) {
        if token == LISTENER {
            self.accepting = true;
        } else if let Some(client) = self.clients.get_mut(&token.0) {
            client.readable |= readable;
            client.writable |= writable;
            self.restless.insert(token.0);
        }
    }

    /// Whether there is something to do at once.
    pub(crate) fn restless(&self) -> bool {
        self.accepting || !self.restless.is_empty()
    }

    /// When a client's patience ends next.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.clients.values().filter_map(|c| c.stuck).min().map(|since| since.after(PATIENCE))
    }

    /// One turn: new clients, then each client that has something to do, bounded.
    pub(crate) fn turn(&mut self, registry: &Registry, now: Time, answer: &mut dyn Answer) {
        self.accept(registry, answer);
        for id in std::mem::take(&mut self.restless) {
            self.serve(id, registry, now, answer);
        }
        let impatient: Vec<usize> = self
            .clients
            .iter()
            .filter(|(_, c)| c.stuck.is_some_and(|since| since.after(PATIENCE) <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in impatient {
            self.cut(id, Cut::Slow, registry, answer);
        }
    }

    fn accept(&mut self, registry: &Registry, answer: &mut dyn Answer) {
        if !std::mem::take(&mut self.accepting) {
            return;
        }
        for _ in 0..ACCEPTS {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, registry, answer),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    // Out of descriptors, most likely: try again when the poll tells of the next one.
                    tracing::warn!("control socket: cannot accept a client: {e}");
                    return;
                }
            }
        }
        self.accepting = true;
    }

    fn admit(&mut self, mut stream: UnixStream, registry: &Registry, answer: &mut dyn Answer) {
        if self.clients.len() >= self.limits.clients {
            let line = answer.farewell(Cut::Crowd);
            // One attempt: whoever does not take it is not waited for.
            let _ = stream.write(&line);
            answer.cut_off(Cut::Crowd);
            return;
        }
        let id = self.next;
        self.next += 1;
        if let Err(e) = registry.register(&mut stream, Token(id), Interest::READABLE | Interest::WRITABLE) {
            tracing::warn!("control socket: cannot watch a client: {e}");
            return;
        }
        let client = Client {
            stream,
            lines: LineBuffer::new(self.limits.line),
            out: Outbox::default(),
            subscribed: false,
            readable: true,
            writable: true,
            closing: false,
            stuck: None,
        };
        self.clients.insert(id, client);
        self.restless.insert(id);
    }

    fn serve(&mut self, id: usize, registry: &Registry, now: Time, answer: &mut dyn Answer) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let outcome = client.serve(now, answer);
        match outcome {
            Outcome::Quiet => {}
            Outcome::More => {
                self.restless.insert(id);
            }
            Outcome::Gone => self.drop_client(id, registry),
            Outcome::Cut(why) => self.cut(id, why, registry, answer),
        }
    }

    /// Sends an event to every subscriber. Those that lag too far behind are cut off.
    pub(crate) fn publish(&mut self, line: &[u8], registry: &Registry, now: Time, answer: &mut dyn Answer) {
        let subscribers: Vec<usize> =
            self.clients.iter().filter(|(_, c)| c.subscribed).map(|(id, _)| *id).collect();
        for id in subscribers {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            if client.out.len() > LAG {
                self.cut(id, Cut::Slow, registry, answer);
                continue;
            }
            client.out.push(line.to_vec());
            if client.write(now).is_err() {
                self.drop_client(id, registry);
            }
        }
    }

    /// Tells a client why it is cut off, as far as it takes that at once, and closes.
    fn cut(&mut self, id: usize, why: Cut, registry: &Registry, answer: &mut dyn Answer) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.out.keep_begun();
            client.out.push(answer.farewell(why));
            // What it has left lying fills its buffer: the reason takes room of its own.
            let _ = socket2::SockRef::from(&client.stream).set_send_buffer_size(FAREWELL);
            client.writable = true;
            let _ = client.write(Time::default());
            self.drop_client(id, registry);
            answer.cut_off(why);
        }
    }

    fn drop_client(&mut self, id: usize, registry: &Registry) {
        self.restless.remove(&id);
        if let Some(mut client) = self.clients.remove(&id) {
            let _ = registry.deregister(&mut client.stream);
        }
    }
}

/// What there was to read.
enum Next {
    Line(Vec<u8>),
    TooLong,
    /// No whole line; whether the client has closed its side.
    Nothing {
        ended: bool,
    },
}

/// What serving a client came to.
enum Outcome {
    /// Nothing until the poll tells.
    Quiet,
    /// There is more to do.
    More,
    Gone,
    Cut(Cut),
}

impl Client {
    fn serve(&mut self, now: Time, answer: &mut dyn Answer) -> Outcome {
        if self.write(now).is_err() {
            return Outcome::Gone;
        }
        if self.closing {
            return if self.out.is_empty() { Outcome::Gone } else { Outcome::Quiet };
        }
        for _ in 0..REQUESTS {
            if self.out.len() > SATED {
                return Outcome::Quiet;
            }
            let line = match self.next_line() {
                Ok(Next::Line(line)) => line,
                Ok(Next::Nothing { ended }) => return self.pause(ended),
                Ok(Next::TooLong) => return Outcome::Cut(Cut::Large),
                Err(_) => return Outcome::Gone,
            };
            if line.is_empty() {
                continue;
            }
            let reply = answer.answer(&line);
            self.subscribed |= reply.subscribe;
            self.out.push(reply.line);
            reply.then.into_iter().for_each(|line| self.out.push(line));
            if self.write(now).is_err() {
                return Outcome::Gone;
            }
        }
        Outcome::More
    }

    /// The next line: from what was read, or else from what is there to read. What a client sends ahead stays in
    /// the kernel until it is its turn.
    fn next_line(&mut self) -> io::Result<Next> {
        let mut ended = false;
        loop {
            match self.lines.next_line() {
                Some(Err(_)) => return Ok(Next::TooLong),
                Some(Ok(line)) => return Ok(Next::Line(line.to_vec())),
                None if ended || !self.readable => return Ok(Next::Nothing { ended }),
                None => ended = self.read()?,
            }
        }
    }

    /// No whole line is left: what now?
    fn pause(&mut self, ended: bool) -> Outcome {
        if ended {
            // A client may half-close and still want its answers.
            self.closing = true;
            return if self.out.is_empty() { Outcome::Gone } else { Outcome::Quiet };
        }
        Outcome::Quiet
    }

    /// Reads once. True at the end of the stream.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; READ];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(n) => self.lines.push(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => self.readable = false,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        Ok(false)
    }

    /// Writes what the client takes.
    fn write(&mut self, now: Time) -> io::Result<()> {
        while self.writable {
            let Some(front) = self.out.front() else { break };
            match self.stream.write(front) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.out.advance(n);
                    self.stuck = None;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if self.out.is_empty() {
            self.stuck = None;
        } else {
            self.stuck.get_or_insert(now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
