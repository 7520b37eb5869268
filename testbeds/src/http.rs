//! A small HTTP/1.1 client on blocking sockets, enough to tell which server answered and whether it did so in full.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::{Error, Netns, Result};

/// How long a connection or an answer may take. Long enough for a lost packet to be sent again: that is no failure.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the connection shall stay open after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Ask for more.
    KeepAlive,
    /// The server closes.
    Close,
}

/// A connection to an HTTP server.
#[derive(Debug)]
pub struct HttpConn {
    stream: BufReader<TcpStream>,
    server: Option<String>,
}

impl HttpConn {
    /// Connects from `netns`.
    ///
    /// # Errors
    /// When nothing answers, or it refuses.
    pub fn open(netns: &Netns, target: SocketAddr) -> Result<Self> {
        netns.enter(|| Self::open_here(target))?.map_err(Error::about(format!("connect to {target}")))
    }

    /// Connects from the namespace that the thread is in.
    ///
    /// # Errors
    /// When nothing answers, or it refuses.
    pub fn open_here(target: SocketAddr) -> io::Result<Self> {
        Self::connect(target, TIMEOUT)
    }

    fn connect(target: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), server: None })
    }

    /// The server that answered last on this connection, once one has.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// Asks for `/` and returns the name of the server that answered.
    ///
    /// # Errors
    /// When the answer does not come, is not 200, or ends early.
    pub fn ask(&mut self, after: After) -> io::Result<String> {
        let body = self.get("/", after)?;
        let name = String::from_utf8_lossy(&body).trim().to_owned();
        self.server = Some(name.clone());
        Ok(name)
    }

    /// Asks for `path` and returns the body.
    ///
    /// # Errors
    /// When the answer does not come, is not 200, or ends early.
    pub fn get(&mut self, path: &str, after: After) -> io::Result<Vec<u8>> {
        let connection = if after == After::Close { "close" } else { "keep-alive" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: vip\r\nConnection: {connection}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let length = self.read_head()?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        if after == After::Close && self.stream.read(&mut [0])? != 0 {
            return Err(io::Error::other("bytes after the end of the answer"));
        }
        Ok(body)
    }

    /// Reads status and headers; returns the length of the body.
    fn read_head(&mut self) -> io::Result<usize> {
        let status = self.line()?;
        if !status.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(format!("status line {status:?}")));
        }
        let mut length = None;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return length.ok_or_else(|| io::Error::other("answer without a content-length"));
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(line.trim_end().to_owned())
    }
}

/// One request for `/` on a connection of its own, from `netns`; returns the name of the server.
///
/// # Errors
/// When it fails in any way.
pub fn ask_once(netns: &Netns, target: SocketAddr) -> Result<String> {
    let request = || HttpConn::open_here(target)?.ask(After::Close);
    netns.enter(request)?.map_err(Error::about(format!("http request to {target}")))
}

/// Whether a request for `/` from `netns`, on a connection of its own, is answered with at most `patience` for each of
/// its steps: a lost SYN is then a no, not a wait for the next one.
#[must_use]
pub fn answers_within(netns: &Netns, target: SocketAddr, patience: Duration) -> bool {
    let request = || HttpConn::connect(target, patience)?.ask(After::Close);
    netns.enter(request).is_ok_and(|answer| answer.is_ok())
}

/// Connects from `netns`, reads to the end, and returns what a greeter said.
///
/// # Errors
/// When nothing answers.
pub fn greeting(netns: &Netns, target: SocketAddr) -> Result<String> {
    let read = || {
        let mut stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    let text = netns.enter(read)?.map_err(Error::about(format!("greeting from {target}")))?;
    Ok(text.trim().to_owned())
}
