//! The kernel's interfaces, addresses, routes and neighbours, followed through netlink.
//!
//! Owns: the one netlink socket. What is heard goes into the [`View`]; when messages were lost, everything is asked
//! for again. Never blocks.

mod parse;
mod request;
mod view;

#[cfg(test)]
pub(crate) use parse::{Address, KernelNeighbour, KernelRoute};
pub(crate) use parse::{Fact, Link};
pub(crate) use view::{Changed, Follower, View};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

/// Multicast groups: links, neighbours, addresses and routes of both families.
const GROUPS: [u32; 6] = [1, 3, 5, 7, 9, 11];

/// What a whole dump's worth of notifications may queue up in the kernel.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The largest datagram that the kernel makes.
const DATAGRAM: usize = 64 << 10;

/// Datagrams read in one go before others get their turn.
const READS: usize = 64;

/// The kernel, followed.
pub(crate) struct Netlink {
    socket: Socket,
    buffer: Vec<u8>,
    follower: Follower,
}

impl Netlink {
    /// Opens the socket and asks for everything.
    pub(crate) fn open() -> io::Result<Netlink> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        // A smaller buffer only means that a flood of changes leads to a new dump sooner.
        let _ = socket.set_rx_buf_sz(RECEIVE_BUFFER);
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        let mut netlink =
            Netlink { socket, buffer: Vec::with_capacity(DATAGRAM), follower: Follower::default() };
        let first = netlink.follower.dump();
        netlink.ask(first)?;
        Ok(netlink)
    }

    /// The descriptor to wait on.
    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// What is known.
    pub(crate) fn view(&self) -> &View {
        self.follower.view()
    }

    /// Whether everything has been heard once and nothing is being asked for.
    pub(crate) fn settled(&self) -> bool {
        !self.follower.dumping()
    }

    /// Reads what is there, as far as one turn goes. The second value says whether more may be waiting.
    pub(crate) fn read(&mut self) -> io::Result<(Changed, bool)> {
        let mut changed = Changed::default();
        for _ in 0..READS {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(0) => return Ok((changed, false)),
                Ok(_) => changed = changed.and(self.take_in()?),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((self.refresh(changed)?, false));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                    tracing::warn!(
                        "netlink: changes came faster than they were read: asking for everything again"
                    );
                    let ask = self.follower.lost();
                    self.ask(ask)?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok((self.refresh(changed)?, true))
    }

    fn take_in(&mut self) -> io::Result<Changed> {
        let mut said = Vec::new();
        if let Err(why) = parse::parse(&self.buffer, |s| said.push(s)) {
            tracing::warn!("netlink: {why}: the rest of the datagram is skipped");
        }
        let mut changed = Changed::default();
        for said in said {
            if said.fact == Fact::Overrun {
                let ask = self.follower.lost();
                self.ask(ask)?;
                continue;
            }
            let (now, ask) = self.follower.hear(said);
            changed = changed.and(now);
            self.ask(ask)?;
        }
        Ok(changed)
    }

    /// Asks for everything again when the kernel has dropped something silently.
    fn refresh(&mut self, mut changed: Changed) -> io::Result<Changed> {
        if changed.stale {
            changed.stale = false;
            let ask = self.follower.dump();
            self.ask(ask)?;
        }
        Ok(changed)
    }

    fn ask(&mut self, ask: Option<(view::Ask, u32)>) -> io::Result<()> {
        if let Some((ask, number)) = ask {
            self.socket.send(&request::dump(ask, number), 0)?;
        }
        Ok(())
    }

    /// Has the kernel resolve a neighbour; the answer is heard like any other change.
    pub(crate) fn resolve(&mut self, index: u32, addr: IpAddr) -> io::Result<()> {
        self.socket.send(&request::resolve(index, addr), 0).map(drop)
    }
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netlink").field("fd", &self.fd()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token};

    #[test]
    fn the_kernel_tells_of_its_loopback_interface() {
        let mut netlink = Netlink::open().expect("a socket");
        assert!(!netlink.settled());
        let mut poll = Poll::new().expect("a poll");
        poll.registry()
            .register(&mut SourceFd(&netlink.fd()), Token(0), Interest::READABLE)
            .expect("registered");
        let mut events = Events::with_capacity(8);
        while !netlink.settled() {
            poll.poll(&mut events, None).expect("polled");
            while netlink.read().expect("read").1 {}
        }
        let lo = netlink.view().link("lo").expect("there is one everywhere");
        assert!(lo.loopback && lo.index > 0);
    }
}
