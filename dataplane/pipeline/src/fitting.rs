//! Packets and their ways out: what fits, and what becomes of a packet that does not.
//!
//! | too large, and | what happens |
//! |---|---|
//! | may not be fragmented (DF, IPv6) | the sender is told what would fit |
//! | may be fragmented | it is, under TUN before it goes into the tunnel: its receiver puts it together |
//! | in a tunnel without path MTU discovery | what is in the tunnel stays whole, the outer packet is fragmented |
//!
//! In the end the router with the narrow link does the same for everybody; the director only knows earlier.

use crate::answer::Problem;
use crate::connect::Chosen;
use crate::context::{Account, Context};
use crate::counters;
use crate::fragmenting::{MOST, fragment};
use crate::ids::ServiceId;
use crate::mss::{Way, announce};
use crate::packet::Packet;
use crate::reason::Reason;
use crate::rewrite;
use crate::snapshot::{Destination, Method, NextHop};
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_proto::wire::ipv6;
use std::net::IpAddr;

impl Context<'_> {
    /// Bytes of a packet that fits on its way to a destination, through the tunnel if there is one.
    #[inline(always)]
    pub(crate) fn largest(&self, to: &Chosen<'_>, hop: &NextHop) -> u16 {
        match &to.destination.tunnel {
            None => hop.mtu,
            Some(tunnel) => {
                let path = self.shared.live.path(to.id).current(hop.mtu, to.destination.generation, self.now);
                path.saturating_sub(tunnel.overhead)
            }
        }
    }

    /// A client's packet of more than the `largest` bytes.
    #[cold]
    #[inline(never)]
    pub(crate) fn too_large_in(
        &mut self,
        mut frame: Frame,
        packet: &Packet,
        to: Chosen<'_>,
        hop: &NextHop,
        largest: u16,
    ) -> Verdict {
        let Chosen { service, id, destination } = to;
        let account = Account { service, destination: id, outbound: false, bytes: packet.bytes() };
        if wrapped_first(packet, destination) {
            let ident = self.ident();
            let written = rewrite::tunnel(&mut frame, packet, destination, ident);
            let path = largest.saturating_add(destination.tunnel.map_or(0, |tunnel| tunnel.overhead));
            return self.send_cut(frame, (packet.l3, path), hop, account, written);
        }
        if packet.df {
            let vip = packet.ip(&frame).map(|ip| ip.dst);
            return self.tell_too_large(frame, largest, vip).of(service).to(id);
        }
        let written = match destination.method {
            Method::Nat => rewrite::nat_in(&mut frame, packet, destination),
            Method::DirectRoute | Method::Local => rewrite::direct(&mut frame, packet),
            Method::Tunnel => return self.send_cut_inside(frame, packet, to, hop, largest),
        };
        self.send_cut(frame, (packet.l3, largest), hop, account, written)
    }

    /// A real server's packet that is too large for its way to the client.
    #[cold]
    #[inline(never)]
    pub(crate) fn too_large_out(
        &mut self,
        mut frame: Frame,
        packet: &Packet,
        vip: (IpAddr, u16),
        hop: &NextHop,
        account: Account,
    ) -> Verdict {
        if packet.df {
            let source = self.own_address(&frame, packet);
            let Account { service, destination, .. } = account;
            return self.tell_too_large(frame, hop.mtu, source).of(service).to(destination);
        }
        let written = rewrite::nat_out(&mut frame, packet, vip);
        self.send_cut(frame, (packet.l3, hop.mtu), hop, account, written)
    }

    fn tell_too_large(&mut self, frame: Frame, mtu: u16, source: Option<IpAddr>) -> Verdict {
        self.error(frame, source, Problem::TooBig { mtu }, [Reason::FragNeeded, Reason::FragNeededQuiet])
    }

    /// Sends a finished packet in fragments of at most so many bytes.
    pub(crate) fn send_cut(
        &mut self,
        frame: Frame,
        (l3, mtu): (u16, u16),
        hop: &NextHop,
        account: Account,
        written: Result<(), Reason>,
    ) -> Verdict {
        let named = |verdict: Verdict| verdict.of(account.service).to(account.destination);
        if let Err(reason) = written {
            return named(self.end(frame, reason));
        }
        match self.cut(frame, l3, mtu) {
            Ok(pieces) => self.send_pieces(pieces, hop, account, |_, _| Ok(())),
            Err(frame) => named(self.end(frame, Reason::NoFrame)),
        }
    }

    /// Sends a packet in fragments of at most so many bytes, each in the tunnel.
    fn send_cut_inside(
        &mut self,
        mut frame: Frame,
        packet: &Packet,
        to: Chosen<'_>,
        hop: &NextHop,
        mtu: u16,
    ) -> Verdict {
        let Chosen { service, id, destination } = to;
        let named = |verdict: Verdict| verdict.of(service).to(id);
        if frame.set_len(usize::from(packet.l3) + usize::from(packet.len)).is_err() {
            return named(self.end(frame, Reason::NoRoom));
        }
        match self.cut(frame, packet.l3, mtu) {
            Ok(pieces) => {
                let account = Account { service, destination: id, outbound: false, bytes: packet.bytes() };
                self.send_pieces(pieces, hop, account, |context, frame| {
                    let len = frame.bytes().len() - usize::from(packet.l3);
                    let len = u16::try_from(len).map_err(|_| Reason::NoRoom)?;
                    let ident = context.ident();
                    rewrite::tunnel(frame, &Packet { len, ..*packet }, destination, ident)
                })
            }
            Err(frame) => named(self.end(frame, Reason::NoFrame)),
        }
    }

    /// The fragments of a packet, in the list that there is for them; the frame where there are too many of them.
    fn cut(&mut self, frame: Frame, l3: u16, mtu: u16) -> Result<Vec<Frame>, Frame> {
        let room = self.out.sends.capacity() - self.out.sends.len();
        let mut pieces = std::mem::take(&mut self.own.pieces);
        let cut = fragment(frame, usize::from(l3), mtu, self.pool, &mut pieces);
        let stop = match cut {
            Ok(()) if pieces.len() <= room => return Ok(pieces),
            Ok(()) => {
                let first = pieces.swap_remove(0);
                pieces.drain(..).for_each(|frame| self.pool.release(frame));
                first
            }
            Err((frame, _)) => frame,
        };
        self.own.pieces = pieces;
        Err(stop)
    }

    /// Finishes and sends the fragments of one packet, which counts as one. What becomes of the first is its verdict.
    fn send_pieces(
        &mut self,
        mut pieces: Vec<Frame>,
        hop: &NextHop,
        account: Account,
        finish: impl Fn(&mut Self, &mut Frame) -> Result<(), Reason>,
    ) -> Verdict {
        let mut first = None;
        for mut frame in pieces.drain(..) {
            let counted = if first.is_none() { Some(account) } else { None };
            let sent = match finish(self, &mut frame) {
                Ok(()) => self.deliver(frame, hop, counted),
                Err(reason) => {
                    self.pool.release(frame);
                    Err(reason)
                }
            };
            if let (Some(_), Err(reason)) = (first, sent) {
                self.own.counters.add(counters::reason(reason), 1);
            }
            first = first.or(Some(sent));
        }
        self.own.pieces = pieces;
        match first {
            Some(Err(reason)) => Verdict::because(reason).of(account.service).to(account.destination),
            _ => Verdict::forward(account.service, account.destination),
        }
    }

    /// Lowers what a SYN announces to what its service wants of it.
    #[cold]
    #[inline(never)]
    pub(crate) fn clamp_mss(&self, frame: &mut Frame, packet: &Packet, service: ServiceId, way: Way) {
        let largest =
            self.snapshot.service(service).and_then(|service| service.mss_clamp.largest(way, packet.v6));
        let (from, to) = (usize::from(packet.l4), usize::from(packet.l3) + usize::from(packet.len));
        if let (Some(largest), Some(segment)) = (largest, frame.bytes_mut().get_mut(from..to)) {
            announce(segment, largest);
        }
    }

    /// A list with room for all fragments of a packet.
    pub(crate) fn room_for_pieces() -> Vec<Frame> {
        Vec::with_capacity(MOST)
    }
}

/// Whether a packet goes into its tunnel whole, so that what comes out is whole: where an outer IPv4 header allows it,
/// and either nobody is to be told or the packet is one that every IPv6 link carries.
fn wrapped_first(packet: &Packet, to: &Destination) -> bool {
    let Some(tunnel) = to.tunnel.as_ref().filter(|_| to.addr.is_ipv4()) else { return false };
    !tunnel.discovers_mtu || (packet.v6 && packet.len <= ipv6::MIN_MTU)
}
