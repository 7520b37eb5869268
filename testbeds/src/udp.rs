//! A UDP client: sends numbered datagrams and checks what comes back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::{Error, Netns, Result};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A UDP socket in a namespace, connected to one address: answers from any other are not seen.
#[derive(Debug)]
pub struct UdpClient {
    socket: UdpSocket,
    target: SocketAddr,
    sent: u32,
}

impl UdpClient {
    /// Opens a socket in `netns`, on a free port or on the given one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn open(netns: &Netns, port: Option<u16>, target: SocketAddr) -> Result<Self> {
        let open = || {
            let any = match target {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let socket = UdpSocket::bind((any, port.unwrap_or(0)))?;
            socket.connect(target)?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket = netns.enter(open)?.map_err(Error::about(format!("udp socket to {target}")))?;
        Ok(Self { socket, target, sent: 0 })
    }

    /// Sends one datagram with `size` bytes of payload (at least 4) and returns the name of the server that echoed it.
    ///
    /// # Errors
    /// When no answer comes, or one that is not the echo.
    pub fn echo(&mut self, size: usize) -> Result<String> {
        self.sent += 1;
        let mut payload = self.sent.to_be_bytes().to_vec();
        payload.resize(size.max(4), 0xa5);
        self.socket.send(&payload).map_err(Error::about(self.target))?;
        self.answer(&payload)
    }

    /// Waits for an echo of `payload` that was sent by other means.
    ///
    /// # Errors
    /// When no answer comes, or one that is not the echo.
    pub fn answer(&mut self, payload: &[u8]) -> Result<String> {
        let mut buffer = vec![0; 65536];
        let length = self.socket.recv(&mut buffer).map_err(|e| {
            Error::new(format!(
                "udp echo {} of {} bytes through {}: no answer: {e}",
                self.sent,
                payload.len(),
                self.target
            ))
        })?;
        let answer = &buffer[..length];
        let space = answer.iter().position(|byte| *byte == b' ');
        let (name, echoed) = answer.split_at(space.unwrap_or(0));
        if echoed.get(1..) == Some(payload) {
            return Ok(String::from_utf8_lossy(name).into_owned());
        }
        Err(Error::new(format!(
            "udp echo {} through {}: the answer is not the echo: {answer:02x?}",
            self.sent, self.target
        )))
    }
}
