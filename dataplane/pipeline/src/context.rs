//! What the handling of one packet works with, and the ways in which it can end.

use crate::counters::{self, Traffic};
use crate::flood::{Floods, Room};
use crate::fragments::Early;
use crate::helper::Report;
use crate::hold::Holding;
use crate::ids::{DestId, ServiceId};
use crate::keeper::Keeper;
use crate::limiter::Limiter;
use crate::neighbours::Learned;
use crate::output::Output;
use crate::pipeline::{Resolve, Settings, Shared};
use crate::proxied::Waiting;
use crate::reason::Reason;
use crate::scheduler::Rng;
use crate::snapshot::{NextHop, Snapshot};
use crate::tables::Tables;
use crate::time::{Tick, Time};
use crate::verdict::{Verdict, VerdictKind};
use sheave_frame::{Frame, FramePool};
use sheave_proto::wire::eth::Mac;
use sheave_table::change::ChangeWriter;
use sheave_table::counters::Writer;
use std::net::IpAddr;

/// What a worker's pipeline keeps to itself between packets.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) settings: Settings,
    pub(crate) counters: Writer,
    pub(crate) holding: Holding,
    pub(crate) learned: Learned,
    /// For ICMP errors, and for resets.
    pub(crate) limiter: Limiter,
    pub(crate) resets: Limiter,
    pub(crate) floods: Floods,
    /// For connections that nobody answered: of TCP, of UDP.
    pub(crate) rooms: [Room; 2],
    /// Real servers that have not answered the SYN proxy.
    pub(crate) waiting: Waiting,
    pub(crate) ident: u16,
    pub(crate) rng: Rng,
    pub(crate) changes: Option<ChangeWriter>,
    /// Fragments that came before the first one of their datagram.
    pub(crate) early: Early,
    /// For the fragments of a packet, while it is cut.
    pub(crate) pieces: Vec<Frame>,
}

/// Which counters a forwarded packet moves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) service: ServiceId,
    pub(crate) destination: DestId,
    pub(crate) outbound: bool,
    pub(crate) bytes: u64,
}

/// Everything that one packet is handled with.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) tick: Tick,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) shared: &'a Shared,
    pub(crate) own: &'a mut Own,
    pub(crate) pool: &'a mut FramePool,
    pub(crate) out: &'a mut Output,
}

impl<'a> Context<'a> {
    /// The connection tables.
    #[inline]
    pub(crate) fn tables(&self) -> Tables {
        self.shared.tables
    }

    /// Ends a packet that goes nowhere from here: drops it or passes it to the kernel, by the kind of `reason`.
    #[inline]
    pub(crate) fn end(&mut self, frame: Frame, reason: Reason) -> Verdict {
        if reason.kind() == VerdictKind::Pass {
            return match self.out.passes.push(frame) {
                Ok(()) => Verdict::because(reason),
                Err(frame) => self.end(frame, Reason::PassQueueFull),
            };
        }
        debug_assert!(
            matches!(reason.kind(), VerdictKind::Drop | VerdictKind::Punt),
            "{reason} is not the end of a frame"
        );
        self.pool.release(frame);
        Verdict::because(reason)
    }

    /// Sends a finished packet, all but its hardware addresses, to a real server or a client.
    #[inline(always)]
    pub(crate) fn forward(&mut self, mut frame: Frame, hop: &NextHop, account: Account) -> Verdict {
        let Account { service, destination, .. } = account;
        if let Some(mac) = hop.mac
            && address(&mut frame, mac, hop.source)
        {
            self.count(account);
            self.out.send(hop.port, frame);
            return Verdict::forward(service, destination);
        }
        match self.deliver(frame, hop, Some(account)) {
            Ok(()) => Verdict::forward(service, destination),
            Err(reason) => Verdict::because(reason).of(service).to(destination),
        }
    }

    /// Sends a packet of the director's own to the client or real server `to`: the answer to a packet that got
    /// the outcome `reason`.
    pub(crate) fn reply(&mut self, frame: Frame, to: IpAddr, reason: Reason) -> Verdict {
        let Some(hop) = self.snapshot.next_hop(to) else {
            return self.end(frame, Reason::NoRoute);
        };
        Verdict::because(self.deliver(frame, &hop, None).err().unwrap_or(reason))
    }

    /// Puts the hardware addresses on and sends. Otherwise holds the frame back or drops it, and says why.
    #[cold]
    pub(crate) fn deliver(
        &mut self,
        mut frame: Frame,
        hop: &NextHop,
        account: Option<Account>,
    ) -> Result<(), Reason> {
        let Some(mac) = hop.mac.or_else(|| self.own.learned.get(hop.port, hop.neighbour)) else {
            return self.hold(frame, hop, account);
        };
        if !address(&mut frame, mac, hop.source) {
            self.pool.release(frame);
            return Err(Reason::NoRoute);
        }
        if let Some(account) = account {
            self.count(account);
        }
        self.out.send(hop.port, frame);
        Ok(())
    }

    /// Counts a packet of a connection.
    #[inline(always)]
    pub(crate) fn count(&self, account: Account) {
        let (packets, bytes) = if account.outbound {
            (Traffic::OutPackets, Traffic::OutBytes)
        } else {
            (Traffic::InPackets, Traffic::InBytes)
        };
        let adds = [(packets as usize, 1), (bytes as usize, account.bytes)];
        let rows = self.own.counters.rows();
        rows.add(counters::service_row(account.service), adds);
        rows.add(counters::destination_row(account.destination), adds);
    }

    /// Counts a new connection.
    pub(crate) fn count_connection(&self, service: ServiceId, destination: DestId) {
        self.own.counters.add(counters::service(service, Traffic::Conns), 1);
        self.own.counters.add(counters::destination(destination, Traffic::Conns), 1);
    }

    /// Counts what a helper has noted of a segment.
    pub(crate) fn count_notes(&self, report: &Report) {
        for (note, count) in report.noted() {
            self.own.counters.add(counters::note(note), count.into());
        }
    }

    /// The verdict of an input frame, noted and, unless it is a plain forward, counted. Says whether it is.
    #[inline(always)]
    pub(crate) fn conclude(&mut self, verdict: Verdict) -> bool {
        if let Some(reason) = verdict.reason() {
            self.own.counters.add(counters::verdict(reason.kind()), 1);
            self.own.counters.add(counters::reason(reason), 1);
        }
        self.out.note(verdict);
        verdict.reason().is_none()
    }

    /// The next identification for an IP header of our own.
    pub(crate) fn ident(&mut self) -> u16 {
        self.own.ident = self.own.ident.wrapping_add(1);
        self.own.ident
    }

    /// Whether the pipeline resolves neighbours itself.
    pub(crate) fn asks(&self) -> bool {
        self.own.settings.resolve == Resolve::Ask
    }

    /// The connections as this packet sees them.
    #[inline]
    pub(crate) fn keeper(&mut self) -> Keeper<'_> {
        Keeper::new(self.shared, self.snapshot, self.own.settings.worker, self.now, &mut self.own.changes)
    }
}

/// Writes the hardware addresses of a frame; `false` if it is too short for them. What lies behind them, tags and
/// type, stays.
#[inline(always)]
pub(crate) fn address(frame: &mut Frame, to: Mac, from: Mac) -> bool {
    let Some(header) = frame.bytes_mut().first_chunk_mut::<12>() else { return false };
    let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (to.0, from.0);
    *header = [a, b, c, d, e, f, g, h, i, j, k, l];
    true
}
