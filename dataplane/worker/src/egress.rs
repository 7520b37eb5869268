//! Where frames go after their verdict: an own port, another worker, the kernel, or home.

use crate::mesh::{Links, Parcel};
use crate::port::OwnPort;
use crate::stats::{Lost, Stats, bump};
use sheave_frame::{Frame, FramePool, PortId};
use std::sync::Arc;

/// Parcels taken from one ring a turn, at most: a busy neighbour must not starve the own ports.
const TAKE: usize = 256;

/// A worker's ways out.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) ports: Vec<OwnPort>,
    pub(crate) links: Links,
    /// The own port that sends for an interface, by interface number; `NOBODY` without one.
    route: Vec<u16>,
    /// Changes with every change of the ports.
    generation: u64,
    stats: Arc<Stats>,
}

const NOBODY: u16 = u16::MAX;

impl Egress {
    pub(crate) fn new(links: Links, stats: Arc<Stats>) -> Egress {
        Egress { ports: Vec::new(), links, route: Vec::new(), generation: 0, stats }
    }

    pub(crate) fn add(&mut self, port: OwnPort) {
        self.links.own(port.id(), true);
        self.ports.push(port);
        self.reroute();
    }

    /// Takes out the port of this queue.
    pub(crate) fn remove(&mut self, port: PortId, queue: u32) -> Option<OwnPort> {
        let at = self.ports.iter().position(|p| p.is(port, queue))?;
        let gone = self.ports.remove(at);
        if !self.ports.iter().any(|p| p.id() == port) {
            self.links.own(port, false);
        }
        self.reroute();
        Some(gone)
    }

    /// Takes out all ports.
    pub(crate) fn drain(&mut self) -> Vec<OwnPort> {
        for port in &self.ports {
            self.links.own(port.id(), false);
        }
        let ports = std::mem::take(&mut self.ports);
        self.reroute();
        ports
    }

    /// Changes with every change of the ports.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    fn reroute(&mut self) {
        self.generation += 1;
        self.route.fill(NOBODY);
        for (at, port) in (0u16..).zip(&self.ports) {
            let index = port.id().index();
            if self.route.len() <= index {
                self.route.resize(index + 1, NOBODY);
            }
            // The first queue sends for all, so that a flow's frames stay in order.
            if self.route[index] == NOBODY {
                self.route[index] = at;
            }
        }
    }

    #[inline]
    fn own(&mut self, port: PortId) -> Option<&mut OwnPort> {
        let at = *self.route.get(port.index())?;
        self.ports.get_mut(usize::from(at))
    }

    /// Sends frames, each by its [`Frame::egress`].
    #[inline]
    pub(crate) fn send_all(&mut self, frames: &mut Vec<Frame>, pool: &mut FramePool) {
        let Some(port) = frames.first().map(Frame::egress) else { return };
        // PERF: `perf`, 64 B: most bursts leave by one port, and move there as they are.
        let together = frames.iter().all(|frame| frame.egress() == port)
            && self.own(port).is_some_and(|own| own.queue_all(frames));
        if !together {
            for frame in frames.drain(..) {
                self.send(frame.egress(), frame, pool);
            }
        }
    }

    /// Sends a frame by an own port, or has the worker that owns one send it. A frame that has no way out goes
    /// back to the pool, counted.
    #[inline]
    pub(crate) fn send(&mut self, port: PortId, frame: Frame, pool: &mut FramePool) {
        let lost = if let Some(own) = self.own(port) {
            own.queue(frame).map_err(|frame| (Lost::TxFull, frame))
        } else {
            self.hand_over(port, frame)
        };
        self.settle(lost, pool);
    }

    #[cold]
    fn hand_over(&mut self, port: PortId, frame: Frame) -> Result<(), (Lost, Frame)> {
        let Some(worker) = self.links.owner(port) else { return Err((Lost::PortGone, frame)) };
        match self.links.give(worker, Parcel::Send(port, frame)) {
            Ok(()) => {
                bump(&self.stats.handed_over, 1);
                Ok(())
            }
            Err(Parcel::Send(_, frame) | Parcel::Home(frame)) => Err((Lost::HandoffFull, frame)),
        }
    }

    fn settle(&mut self, sent: Result<(), (Lost, Frame)>, pool: &mut FramePool) {
        if let Err((why, frame)) = sent {
            self.stats.lose(why);
            pool.release(frame);
        }
    }

    /// Takes what other workers gave. A frame whose interface has left this worker is not passed on again: two
    /// workers that each think the other owns it would play ping-pong.
    pub(crate) fn take_parcels(&mut self, pool: &mut FramePool) -> bool {
        let mut taken = false;
        for source in 0..self.links.sources() {
            for _ in 0..TAKE {
                let Some(parcel) = self.links.take(source) else { break };
                taken = true;
                match parcel {
                    Parcel::Home(frame) => pool.release(frame),
                    Parcel::Send(port, frame) => {
                        bump(&self.stats.taken_over, 1);
                        let sent = match self.own(port) {
                            Some(own) => own.queue(frame).map_err(|frame| (Lost::TxFull, frame)),
                            None => Err((Lost::PortGone, frame)),
                        };
                        self.settle(sent, pool);
                    }
                }
            }
        }
        taken
    }

    /// Sends frames of other pools home; those whose ring is full stay and try again next turn.
    pub(crate) fn send_home(&mut self, pool: &mut FramePool) {
        for _ in 0..pool.foreign() {
            let Some(frame) = pool.take_foreign() else { return };
            let home = usize::from(frame.home().0);
            if let Err(Parcel::Send(_, frame) | Parcel::Home(frame)) =
                self.links.give(home, Parcel::Home(frame))
            {
                pool.release(frame);
                return;
            }
        }
    }

    /// Flushes every port, every turn.
    pub(crate) fn flush(&mut self, pool: &mut FramePool) -> bool {
        let mut completed = false;
        for port in &mut self.ports {
            completed |= port.flush(pool);
        }
        completed
    }
}
