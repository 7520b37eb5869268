//! The connection to the director.

use crate::error::{Code, ExitError};
use serde::de::DeserializeOwned;
use sheave_proto::api::{
    ConnectionFilter, ConnectionPage, ErrorCode, ErrorReply, Event, Id, Message, Op, Request, Response,
    StickyPage,
};
use sheave_proto::config::Duration;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// What a verb gives.
pub(crate) type Result<T = ()> = std::result::Result<T, ExitError>;

/// A refusal by the director: every error a line, the first one's code decides how to exit.
impl From<ErrorReply> for ExitError {
    fn from(reply: ErrorReply) -> ExitError {
        let code = match reply.first.code {
            ErrorCode::NotFound => Code::NotFound,
            ErrorCode::Exists | ErrorCode::Failed | ErrorCode::TooSlow => Code::Failed,
            ErrorCode::Invalid
            | ErrorCode::NotSupported
            | ErrorCode::UnknownOp
            | ErrorCode::UnknownVersion
            | ErrorCode::TooLarge => Code::Usage,
        };
        ExitError::all(code, reply.items())
    }
}

/// An answer of which there are several: each says where the next one begins.
pub(crate) trait Page: DeserializeOwned {
    /// How many entries it has.
    fn len(&self) -> usize;
    /// Takes in the page after it; that one's cursor counts.
    fn join(&mut self, next: Self);
    /// Where the next one begins.
    fn cursor(&self) -> Option<&String>;
}

macro_rules! page {
    ($page:ty) => {
        impl Page for $page {
            fn len(&self) -> usize {
                self.entries.len()
            }

            fn join(&mut self, next: Self) {
                self.entries.extend(next.entries);
                self.cursor = next.cursor;
            }

            fn cursor(&self) -> Option<&String> {
                self.cursor.as_ref()
            }
        }
    };
}

page!(ConnectionPage);
page!(StickyPage);

/// One connection to the control socket.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
    /// How long an answer may take. The director answers from memory; this is for one that hangs.
    patience: Duration,
    last_id: i64,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nothing answers there.
    pub(crate) fn connect(socket: &Path, patience: Duration) -> Result<Client> {
        let stream = UnixStream::connect(socket).map_err(|error| not_there(socket, &error))?;
        // No time at all is not a timeout to the system.
        let limit = Some(patience.as_std().max(std::time::Duration::from_millis(1)));
        let client =
            Client { stream: BufReader::new(stream), socket: socket.to_owned(), patience, last_id: 0 };
        let stream = client.stream.get_ref();
        let timed = stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit));
        timed.map_err(|error| client.lost(&error))?;
        Ok(client)
    }

    /// Asks for `op` and waits for the answer.
    ///
    /// # Errors
    /// The director's own, or that it did not answer.
    pub(crate) fn call<T: DeserializeOwned>(&mut self, op: Op) -> Result<T> {
        Ok(self.ask(op)??)
    }

    /// Asks for `op` and waits for the answer, with the director's refusal as it is.
    ///
    /// # Errors
    /// That it did not answer.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, op: Op) -> Result<std::result::Result<T, ErrorReply>> {
        Ok(self.request(op)?.answer())
    }

    /// Asks for page after page until there are `limit` entries, or, with 0, all; gives them as one page.
    ///
    /// # Errors
    /// The director's own, or that it did not answer.
    pub(crate) fn pages<P: Page>(
        &mut self,
        limit: u64,
        ask: impl Fn(u32, Option<String>) -> Op,
    ) -> Result<P> {
        let limit = if limit == 0 { u64::MAX } else { limit };
        let size = |left: u64| ConnectionFilter::LARGEST_PAGE.min(u32::try_from(left).unwrap_or(u32::MAX));
        let mut all: P = self.call(ask(size(limit), None))?;
        loop {
            let left = limit.saturating_sub(all.len() as u64);
            match all.cursor().filter(|_| left > 0).cloned() {
                Some(cursor) => all.join(self.call(ask(size(left), Some(cursor)))?),
                None => return Ok(all),
            }
        }
    }

    /// Waits for the next event, however long it takes; `None` when the director has ended.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>> {
        let forever = self.stream.get_ref().set_read_timeout(None);
        forever.map_err(|error| self.lost(&error))?;
        loop {
            match self.message()? {
                None => return Ok(None),
                Some(Message::Event(event)) => return Ok(Some(event)),
                // A response without a request: the director says why it cuts us off.
                Some(Message::Response(response)) => {
                    response.answer::<serde_json::Value>()?;
                }
            }
        }
    }

    fn request(&mut self, op: Op) -> Result<Response> {
        self.last_id += 1;
        let id = Id::Number(self.last_id);
        let line = Request { id: id.clone(), op }.to_line();
        // A director that refuses the connection may have closed it by now, and has said why: read on.
        let sent = self.stream.get_mut().write_all(&line);
        loop {
            match self.message()? {
                Some(Message::Response(response)) if response.id == id => return Ok(response),
                // Refused before the id could be read, as when too many clients are connected.
                Some(Message::Response(response)) if response.id == Id::None => return Ok(response),
                Some(_) => {}
                None => {
                    let closed = std::io::Error::other("it closed the connection");
                    return Err(self.lost(sent.as_ref().err().unwrap_or(&closed)));
                }
            }
        }
    }

    fn message(&mut self) -> Result<Option<Message>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).map_err(|error| self.lost(&error))?;
        if line.is_empty() {
            return Ok(None);
        }
        Message::parse(&line).map(Some).map_err(|error| {
            let wrong = format!("its answer cannot be read ({error})");
            ExitError::new(Code::Failed, director(&self.socket), wrong, "use programs of one version")
        })
    }

    /// The connection is there, and what is expected of it does not come.
    fn lost(&self, error: &std::io::Error) -> ExitError {
        let wrong = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => format!("no answer in {}", self.patience),
            _ => error.to_string(),
        };
        ExitError::new(Code::Unreachable, director(&self.socket), wrong, "see the director's log")
    }
}

fn not_there(socket: &Path, error: &std::io::Error) -> ExitError {
    let start = "start sheaved, or name its socket with --socket or SHEAVE_SOCKET";
    let (wrong, remedy) = match error.kind() {
        ErrorKind::NotFound => ("there is no such socket".to_owned(), start),
        ErrorKind::ConnectionRefused => ("nobody listens there".to_owned(), start),
        ErrorKind::PermissionDenied => (
            "you may not connect to it".to_owned(),
            "run as root or as a member of the socket's group (socket-group in [director])",
        ),
        _ => (error.to_string(), start),
    };
    ExitError::new(Code::Unreachable, director(socket), wrong, remedy)
}

fn director(socket: &Path) -> String {
    format!("director at {}", socket.display())
}
