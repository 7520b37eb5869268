//! Packets whose next hop has no known hardware address: kept back, bounded, until it is known or too late.
//!
//! A held frame is finished but for its Ethernet header. Frames to one next hop leave in the order in which they
//! came. While one waits, its next hop is asked for once a second: by a message to the control thread, or by an
//! ARP request where the pipeline resolves by itself.

use crate::context::{Account, Context, address};
use crate::counters;
use crate::output::Punt;
use crate::reason::Reason;
use crate::snapshot::{Interface, NextHop};
use crate::time::Time;
use sheave_frame::{Frame, FramePool, PortId};
use sheave_proto::wire::arp::{self, Arp};
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::ndp::{self, Ndp, Solicitation};
use sheave_table::counters::Writer;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Frames that wait for one next hop, at most.
const PER_HOP: usize = 16;
/// Frames that wait in all, at most.
const IN_ALL: usize = 256;
/// How long a frame waits, at most.
const PATIENCE: u64 = 3 * Time::SECOND;
/// Between two requests for one next hop.
const REPEAT: u64 = Time::SECOND;

/// A frame that waits.
#[derive(Debug)]
struct Held {
    frame: Frame,
    port: PortId,
    neighbour: IpAddr,
    account: Option<Account>,
    since: Time,
}

/// A next hop that is waited for.
#[derive(Debug)]
struct Hop {
    port: PortId,
    neighbour: IpAddr,
    frames: usize,
    ask_at: Time,
}

/// What is held back.
#[derive(Debug)]
pub(crate) struct Holding {
    /// In order of arrival.
    frames: VecDeque<Held>,
    hops: Vec<Hop>,
    /// The snapshot in whose picture no waiting next hop had an address.
    epoch: u64,
}

impl Holding {
    /// Nothing held; the memory for all that can be.
    pub(crate) fn new() -> Holding {
        Holding { frames: VecDeque::with_capacity(IN_ALL), hops: Vec::with_capacity(IN_ALL), epoch: 0 }
    }

    /// Frames held.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// When the next frame's patience ends or the next request is due.
    pub(crate) fn next_due(&self) -> Option<Time> {
        let ask = self.hops.iter().map(|hop| hop.ask_at).min()?;
        let end = self.frames.front().map_or(ask, |held| held.since.after(PATIENCE));
        Some(ask.min(end))
    }

    /// Gives all frames back.
    pub(crate) fn clear(&mut self, pool: &mut FramePool) {
        self.hops.clear();
        while let Some(held) = self.frames.pop_front() {
            pool.release(held.frame);
        }
    }

    /// Drops what has waited too long.
    pub(crate) fn give_up_overdue(&mut self, now: Time, page: &Writer, pool: &mut FramePool) {
        while self.frames.front().is_some_and(|held| held.since.after(PATIENCE) <= now) {
            if let Some(held) = self.take(0) {
                // The packet's verdict was "hold"; what became of it shows here.
                page.add(counters::reason(Reason::Unresolved), 1);
                pool.release(held.frame);
            }
        }
    }

    fn hop(&self, port: PortId, neighbour: IpAddr) -> Option<usize> {
        self.hops.iter().position(|hop| hop.port == port && hop.neighbour == neighbour)
    }

    /// Takes out the frame at `index` and forgets its next hop with its last frame.
    fn take(&mut self, index: usize) -> Option<Held> {
        let held = self.frames.remove(index)?;
        if let Some(at) = self.hop(held.port, held.neighbour) {
            self.hops[at].frames -= 1;
            if self.hops[at].frames == 0 {
                self.hops.remove(at);
            }
        }
        Some(held)
    }
}

impl Context<'_> {
    /// Keeps a finished frame back until its next hop is known. Always an error: what became of the frame.
    #[cold]
    pub(crate) fn hold(
        &mut self,
        frame: Frame,
        hop: &NextHop,
        account: Option<Account>,
    ) -> Result<(), Reason> {
        let NextHop { port, neighbour, .. } = *hop;
        let at = self.own.holding.hop(port, neighbour);
        let waiting = at.map_or(0, |at| self.own.holding.hops[at].frames);
        let refusal = if self.snapshot.interface(port).is_none() {
            Some(Reason::NoRoute)
        } else if waiting >= PER_HOP || self.own.holding.frames.len() >= IN_ALL {
            Some(Reason::HoldFull)
        } else if at.is_none() && !self.ask(port, neighbour) {
            Some(Reason::NoFrame)
        } else {
            None
        };
        if let Some(reason) = refusal {
            self.pool.release(frame);
            return Err(reason);
        }
        let (now, holding) = (self.now, &mut self.own.holding);
        match at {
            Some(at) => holding.hops[at].frames += 1,
            None => {
                if holding.hops.is_empty() {
                    holding.epoch = self.snapshot.epoch;
                }
                holding.hops.push(Hop { port, neighbour, frames: 1, ask_at: now.after(REPEAT) });
            }
        }
        holding.frames.push_back(Held { frame, port, neighbour, account, since: now });
        Err(Reason::Resolving)
    }

    /// Asks for a neighbour's address. `false`: there was no frame to ask with.
    fn ask(&mut self, port: PortId, neighbour: IpAddr) -> bool {
        if !self.asks() {
            self.out.punts.push(Punt::Resolve { port, neighbour });
            return true;
        }
        let Some(interface) = self.snapshot.interface(port) else { return true };
        let Some(mut frame) = self.pool.alloc() else { return false };
        match question(&mut frame, interface, neighbour) {
            Some(()) => {
                self.out.send(port, frame);
                true
            }
            None => {
                self.pool.release(frame);
                false
            }
        }
    }

    /// Sends what waits for addresses that this snapshot has, when it is a new one.
    #[inline]
    pub(crate) fn release_resolved(&mut self) {
        if self.own.holding.len() != 0 && self.own.holding.epoch != self.snapshot.epoch {
            self.release();
        }
    }

    /// Sends what waits for addresses that are known by now, as far as there is room in the output.
    pub(crate) fn release(&mut self) {
        self.own.holding.epoch = self.snapshot.epoch;
        let mut index = 0;
        while let Some(held) = self.own.holding.frames.get(index) {
            let (port, neighbour) = (held.port, held.neighbour);
            let known =
                self.snapshot.neighbour(port, neighbour).or_else(|| self.own.learned.get(port, neighbour));
            let Some(mac) = known else {
                index += 1;
                continue;
            };
            if self.out.sends.len() == self.out.sends.capacity() {
                // The rest goes next time.
                self.own.holding.epoch = self.snapshot.epoch.wrapping_sub(1);
                return;
            }
            let Some(mut held) = self.own.holding.take(index) else { return };
            let from = self.snapshot.interface(port).map(|interface| interface.mac);
            if from.is_some_and(|from| address(&mut held.frame, mac, from)) {
                if let Some(account) = held.account {
                    self.count(account);
                }
                self.out.send(port, held.frame);
            } else {
                self.own.counters.add(counters::reason(Reason::NoRoute), 1);
                self.pool.release(held.frame);
            }
        }
    }

    /// Drops what has waited too long and repeats requests that are due.
    pub(crate) fn tend_held(&mut self) {
        self.own.holding.give_up_overdue(self.now, &self.own.counters, self.pool);
        for at in 0..self.own.holding.hops.len() {
            let Hop { port, neighbour, ask_at, .. } = self.own.holding.hops[at];
            if ask_at <= self.now {
                self.own.holding.hops[at].ask_at = self.now.after(REPEAT);
                // Without a frame to ask with, the next second will do.
                self.ask(port, neighbour);
            }
        }
    }
}

/// Writes the question for a neighbour's address.
fn question(frame: &mut Frame, interface: &Interface, neighbour: IpAddr) -> Option<()> {
    let own = interface.source(neighbour);
    match neighbour {
        IpAddr::V4(target) => {
            // RFC 5227: without an address of one's own, the question is a probe.
            let sender = match own {
                Some(IpAddr::V4(own)) => own,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            frame.set_len(arp::FRAME_LEN).ok()?;
            let bytes = frame.bytes_mut().first_chunk_mut()?;
            Arp::request(interface.mac, sender, target).emit(bytes, Mac::BROADCAST);
        }
        IpAddr::V6(target) => {
            let (asked, sender) = match own {
                Some(IpAddr::V6(own)) => (Solicitation::request(target, interface.mac), own),
                _ => (Solicitation::probe(target), Ipv6Addr::UNSPECIFIED),
            };
            let group = ndp::solicited_node(target);
            let link = (interface.mac, ndp::multicast_mac(group));
            frame.set_len(ndp::FRAME_LEN).ok()?;
            let bytes = frame.bytes_mut().first_chunk_mut()?;
            let len = Ndp::Solicitation(asked).emit_frame(bytes, link, (sender, group));
            frame.set_len(len).ok()?;
        }
    }
    Some(())
}
