//! The connection to the director.

use crate::error::{Code, ExitError};
use serde::de::DeserializeOwned;
use sheave_proto::api::{ErrorCode, ErrorReply, Event, Id, Message, Op, Request, Response};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take. The director answers from memory; this is for one that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// One connection to the control socket.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
    last_id: i64,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nothing answers there.
    pub(crate) fn connect(socket: &Path) -> Result<Client> {
        let stream = UnixStream::connect(socket).map_err(|error| {
            let remedy = match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    "run as root or as a member of the socket's group (socket-group in [director])"
                }
                _ => "start sheaved, or name its socket with --socket or SHEAVE_SOCKET",
            };
            ExitError::new(Code::Unreachable, socket.display(), error, remedy)
        })?;
        let timed = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
        timed.map_err(|error| unreachable(socket, &error))?;
        Ok(Client { stream: BufReader::new(stream), socket: socket.to_owned(), last_id: 0 })
    }

    /// Asks for `op` and waits for the answer.
    ///
    /// # Errors
    /// The director's own, or that it did not answer.
    pub(crate) fn call<T: DeserializeOwned>(&mut self, op: Op) -> Result<T> {
        Ok(self.request(op)?.answer()?)
    }

    /// Waits for the next event, however long it takes; `None` when the director has ended.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn next_event(&mut self) -> Result<Option<Event>> {
        let forever = self.stream.get_ref().set_read_timeout(None);
        forever.map_err(|error| unreachable(&self.socket, &error))?;
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
        self.stream.get_mut().write_all(&line).map_err(|error| unreachable(&self.socket, &error))?;
        loop {
            match self.message()? {
                Some(Message::Response(response)) if response.id == id => return Ok(response),
                // Refused before the id could be read, as when too many clients are connected.
                Some(Message::Response(response)) if response.id == Id::None => return Ok(response),
                Some(_) => {}
                None => {
                    let closed = std::io::Error::other("it closed the connection");
                    return Err(unreachable(&self.socket, &closed));
                }
            }
        }
    }

    fn message(&mut self) -> Result<Option<Message>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).map_err(|error| unreachable(&self.socket, &error))?;
        if line.is_empty() {
            return Ok(None);
        }
        Message::parse(&line).map(Some).map_err(|error| {
            let wrong = format!("its answer cannot be read ({error})");
            ExitError::new(Code::Failed, self.socket.display(), wrong, "use programs of one version")
        })
    }
}

fn unreachable(socket: &Path, error: &std::io::Error) -> ExitError {
    let wrong = match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => "no answer in 30 s".to_owned(),
        _ => error.to_string(),
    };
    ExitError::new(Code::Unreachable, socket.display(), wrong, "see the director's log")
}
