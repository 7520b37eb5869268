//! From entries to frames that leave.

use super::plan::{End, Exit, Front, Plan, Target};
use super::sum::Sum;
use super::tunnel::Tunnels;
use super::{HEAD, Kind, L3, L4, Lane, Way};
use crate::context::Context;
use crate::counters::{self, Traffic};
use crate::entry::Steady;
use crate::ids::{DestId, ServiceId};
use crate::keeper::{Connection, Keeper};
use crate::key::Key;
use crate::output::Output;
use crate::pipeline::Shared;
use crate::snapshot::Method;
use crate::tables::Place;
use crate::time::Tick;
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tcp::TcpFlags;
use sheave_table::change::ChangeWriter;
use sheave_table::counters::Rows;
use sheave_table::{Pattern, Payload, Table};
use std::hint::cold_path;

/// A packet that was sent on.
pub(super) struct Sent {
    pub(super) service: u16,
    pub(super) destination: DestId,
}

/// What packets are held against: made once for a burst.
pub(crate) struct Known<'a> {
    pub(super) plan: &'a Plan,
    pub(super) narrow: &'static Table<1>,
    pub(super) wide: &'static Table<3>,
    pub(super) tunnels: Tunnels<'a>,
    shared: &'a Shared,
    worker: usize,
    /// What entries look like in which packets change nothing: of those from clients, and from real servers.
    pub(super) from_client: Patterns,
    pub(super) from_real: Patterns,
}

/// A pattern for each protocol.
pub(super) struct Patterns {
    tcp: Pattern,
    udp: Pattern,
}

impl Patterns {
    fn new(of: fn(Proto, Tick) -> Pattern, now: Tick) -> Patterns {
        Patterns { tcp: of(Proto::Tcp, now), udp: of(Proto::Udp, now) }
    }

    /// For packets of a kind, unless they may always change something.
    #[inline(always)]
    pub(super) fn of(&self, kind: Kind) -> Option<Pattern> {
        let pattern = if kind.proto() == Proto::Udp { self.udp } else { self.tcp };
        (!kind.is_loud()).then_some(pattern)
    }
}

impl Context<'_> {
    /// Sends frames on for as long as nothing is to be done but that and to note states, and says how many. They stay where they are; the next
    /// one, if there is any, is to go the long way and untouched.
    ///
    /// PERF: `established/*` and `instructions/*`. A function of its own, so that the loop's state stays in registers.
    #[inline(never)]
    pub(crate) fn steady(&mut self, known: &Known<'_>, frames: &mut [Frame], lanes: &[Lane]) -> usize {
        let mut ledger = Ledger::new(self.own.counters.rows(), self.out);
        let (ident, changes) = (&mut self.own.ident, &mut self.own.changes);
        let mut frames = frames.iter_mut();
        let mut count = 0;
        for lane in lanes {
            let Some(frame) = frames.next() else { break };
            // PERF: `instructions/nat-*-64`. What most packets have in common is known where it is used.
            let sent = match lane.kind {
                Kind::TCP_IN => known
                    .inbound::<false>(frame, lane, (Kind::TCP_IN, ident), changes)
                    .map(|sent| ledger.add(&sent, lane, false, count)),
                Kind::TCP_OUT => known
                    .outbound::<false>(frame, lane, Kind::TCP_OUT, changes)
                    .map(|sent| ledger.add(&sent, lane, true, count)),
                Kind::UDP_IN => known
                    .inbound::<false>(frame, lane, (Kind::UDP_IN, ident), changes)
                    .map(|sent| ledger.add(&sent, lane, false, count)),
                kind => known
                    .others(frame, lane, ident, changes)
                    .map(|sent| ledger.add(&sent, lane, kind.is_out(), count)),
            };
            if sent.is_none() {
                cold_path();
                let Some(sent) = known.changing(frame, lane, ident, changes) else { break };
                ledger.add(&sent, lane, lane.kind.is_out(), count);
            }
            count += 1;
        }
        ledger.settle(count);
        count
    }
}

impl<'a> Known<'a> {
    #[inline]
    pub(crate) fn new(context: &Context<'a>) -> Known<'a> {
        Known {
            plan: context.snapshot.plan(),
            narrow: context.shared.tables.narrow,
            wide: context.shared.tables.wide,
            shared: context.shared,
            worker: context.own.settings.worker,
            tunnels: Tunnels { snapshot: context.snapshot, live: &context.shared.live, now: context.now },
            from_client: Patterns::new(Steady::from_client, context.tick),
            from_real: Patterns::new(Steady::from_real, context.tick),
        }
    }

    /// Sends on a packet that is neither quiet TCP of IPv4 nor UDP of a client's.
    #[inline(never)]
    fn others(
        &self,
        frame: &mut Frame,
        lane: &Lane,
        ident: &mut u16,
        changes: &mut Option<ChangeWriter>,
    ) -> Option<Sent> {
        match (lane.kind.way(), lane.kind.is_v6()) {
            (Way::In, false) => self.inbound::<false>(frame, lane, (lane.kind, ident), changes),
            (Way::Out, false) => self.outbound::<false>(frame, lane, lane.kind, changes),
            (Way::In, true) => self.inbound_v6::<false>(frame, lane, ident, changes),
            (Way::Out, true) => self.outbound_v6::<false>(frame, lane, changes),
            (Way::Long, _) => None,
        }
    }

    /// Sends on a packet that changes something in its entry, if nothing else is to be asked of it: not one that may open a
    /// connection.
    #[inline(never)]
    fn changing(
        &self,
        frame: &mut Frame,
        lane: &Lane,
        ident: &mut u16,
        changes: &mut Option<ChangeWriter>,
    ) -> Option<Sent> {
        match (lane.kind.way(), lane.kind.is_v6()) {
            (Way::In, _) if lane.kind.may_open() => None,
            (Way::In, false) => self.inbound::<true>(frame, lane, (lane.kind, ident), changes),
            (Way::Out, false) => self.outbound::<true>(frame, lane, lane.kind, changes),
            (Way::In, true) => self.inbound_v6::<true>(frame, lane, ident, changes),
            (Way::Out, true) => self.outbound_v6::<true>(frame, lane, changes),
            (Way::Long, _) => None,
        }
    }

    /// Sends a client's packet on. `CHANGING`: one that may change something in its entry.
    #[inline(always)]
    fn inbound<const CHANGING: bool>(
        &self,
        frame: &mut Frame,
        lane: &Lane,
        (kind, ident): (Kind, &mut u16),
        changes: &mut Option<ChangeWriter>,
    ) -> Option<Sent> {
        let front = self.plan.front(usize::from(lane.id))?;
        let (payload, handle) = if CHANGING {
            let found = self.narrow.at(lane.spot, &lane.narrow())?;
            (found.payload, Some(found.handle))
        } else {
            (self.narrow.still(lane.spot, self.from_client.of(kind)?)?, None)
        };
        let (destination, target) = self.target(payload, front)?;
        if lane.end > target.exit.end {
            return None;
        }
        if let Some(handle) = handle {
            let key = Key::Narrow(lane.narrow());
            let flags = frame.window::<HEAD>()?[L4 + 13];
            let of = (Connection { place: Place::narrow(handle), key, payload }, target.method);
            self.note(lane.kind, flags, of, changes)?;
        }
        let sent = Sent { service: front.service, destination };
        if target.method == Method::Nat {
            let head = frame.window_mut::<HEAD>()?;
            leave(head, &target.exit, [front.end.addr_out, target.end.addr_in]);
            rewrite::<{ L3 + 16 }, { L4 + 2 }, L4, HEAD, 4>(head, kind, &target.end, front.end.out);
        } else if target.method == Method::Tunnel {
            return self.tunnels.send(frame, lane, (&target.exit, destination), ident).then_some(sent);
        } else {
            leave(frame.window_mut::<HEAD>()?, &target.exit, [Sum::AGED, Sum::ZERO]);
        }
        finish(frame, lane, &target.exit);
        Some(sent)
    }

    /// Sends a real server's packet on, likewise.
    #[inline(always)]
    fn outbound<const CHANGING: bool>(
        &self,
        frame: &mut Frame,
        lane: &Lane,
        kind: Kind,
        changes: &mut Option<ChangeWriter>,
    ) -> Option<Sent> {
        // The out-entry is a hint by now: it is the in-entry that says whose connection it is, by its client and by the name
        // that its destination answers under.
        let reply = lane.spot.seen(Pattern::LIVE)?;
        let handle = Steady::reply(reply)?;
        let ([key], payload) = self.narrow.load(handle)?;
        // The same client, and the key of an in-entry: of no other is it a listen's number.
        let listen = usize::try_from(key ^ (lane.key[0] & !0xffff)).ok()?;
        let front = self.plan.front(listen)?;
        // The state tells the protocol as well.
        if !CHANGING && !self.from_real.of(kind)?.matches(payload) {
            return None;
        }
        let (destination, target) = self.target(payload, front)?;
        let exit = self.plan.exit(lane.client())?;
        if lane.end > exit.end || target.method != Method::Nat || target.real != lane.id {
            return None;
        }
        let head = frame.window_mut::<HEAD>()?;
        if CHANGING {
            let connection = Connection { place: Place::narrow(handle), key: Key::Narrow([key]), payload };
            self.note(kind, head[L4 + 13], (connection, target.method), changes)?;
        }
        leave(head, exit, [target.end.addr_out, front.end.addr_in]);
        rewrite::<{ L3 + 12 }, L4, L4, HEAD, 4>(head, kind, &front.end, target.end.out);
        finish(frame, lane, exit);
        Some(Sent { service: front.service, destination })
    }

    /// Notes a packet that changes something in its entry, and may go on the short way then. `flags` are its flags, if it
    /// is of TCP.
    #[inline(always)]
    pub(super) fn note(
        &self,
        kind: Kind,
        flags: u8,
        (connection, method): (Connection, Method),
        changes: &mut Option<ChangeWriter>,
    ) -> Option<()> {
        // Whether it fits into a tunnel is not known yet.
        if method == Method::Tunnel {
            return None;
        }
        let proto = kind.proto();
        let flags = if proto == Proto::Tcp { TcpFlags(flags) } else { TcpFlags::default() };
        let Tunnels { snapshot, now, .. } = self.tunnels;
        let mut keeper = Keeper::new(self.shared, snapshot, self.worker, now, changes);
        keeper.note(connection, (proto, flags), kind.is_out())
    }

    /// The target of an entry, if the entry is of its life and of this service.
    #[inline(always)]
    fn target(&self, payload: Payload, front: &Front<4>) -> Option<(DestId, &'a Target<4>)> {
        let id = Steady::destination(payload);
        let target = self.plan.target(usize::from(id.0))?;
        (target.generation == Steady::generation(payload).0 && target.service == front.service)
            .then_some((id, target))
    }
}

/// What is the same for all frames that leave.
#[inline(always)]
pub(super) fn finish(frame: &mut Frame, lane: &Lane, exit: &Exit) {
    // What Ethernet padded is cut off. The packet lies within the frame, as `read` has seen.
    frame.truncate(lane.end);
    frame.set_egress(exit.port);
}

/// Counts what was sent on: for each destination at once, for services what comes of one and in one direction together.
struct Ledger<'c> {
    rows: Rows<'c>,
    out: &'c mut Output,
    /// Which traffic is not counted yet, since which packet, and its bytes.
    of: Flow,
    since: usize,
    bytes: u64,
}

/// A service and a direction, as one number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flow(u32);

impl Flow {
    #[inline(always)]
    const fn new(service: u16, outbound: bool) -> Flow {
        Flow(service as u32 | ((outbound as u32) << 16))
    }

    #[expect(clippy::cast_possible_truncation, reason = "cut in two")]
    const fn service(self) -> ServiceId {
        ServiceId(self.0 as u16)
    }

    const fn outbound(self) -> bool {
        self.0 >> 16 != 0
    }
}

impl<'c> Ledger<'c> {
    #[inline(always)]
    const fn new(rows: Rows<'c>, out: &'c mut Output) -> Ledger<'c> {
        Ledger { rows, out, of: Flow::new(0, false), since: 0, bytes: 0 }
    }

    /// Adds a packet, behind `count` others.
    #[inline(always)]
    fn add(&mut self, sent: &Sent, lane: &Lane, outbound: bool, count: usize) {
        let (of, bytes) = (Flow::new(sent.service, outbound), u64::from(lane.end) - L3 as u64);
        self.rows.add(counters::destination_row(sent.destination), traffic(outbound, 1, bytes));
        if of != self.of {
            self.turn(of, count);
        }
        self.bytes += bytes;
        self.out.note(Verdict::forward(ServiceId(sent.service), sent.destination));
    }

    /// Goes on with other traffic, behind `count` packets.
    #[inline(never)]
    fn turn(&mut self, of: Flow, count: usize) {
        self.settle(count);
        (self.of, self.since, self.bytes) = (of, count, 0);
    }

    /// Counts what is not counted yet, behind `count` packets.
    #[inline(always)]
    fn settle(&self, count: usize) {
        let packets = count - self.since;
        if packets != 0 {
            let adds = traffic(self.of.outbound(), packets as u64, self.bytes);
            self.rows.add(counters::service_row(self.of.service()), adds);
        }
    }
}

/// What some packets of a direction add to a row of counters.
#[inline(always)]
fn traffic(outbound: bool, packets: u64, bytes: u64) -> [(usize, u64); 2] {
    if outbound {
        [(Traffic::OutPackets as usize, packets), (Traffic::OutBytes as usize, bytes)]
    } else {
        [(Traffic::InPackets as usize, packets), (Traffic::InBytes as usize, bytes)]
    }
}

/// Writes the hardware addresses, takes one from the time to live, and brings the header's checksum in step with that
/// and with the change of an address that is about to be made.
#[inline(always)]
pub(super) fn leave(head: &mut [u8; HEAD], exit: &Exit, change: [Sum; 2]) {
    if let Some(macs) = head.first_chunk_mut() {
        *macs = exit.macs;
    }
    head[L3 + 8] = head[L3 + 8].wrapping_sub(1);
    adjust(head, L3 + 10, change);
}

/// Writes an address and a port, and brings the transport's checksum in step with them and with what was there.
/// `L4` is where the transport's header begins.
#[inline(always)]
pub(super) fn rewrite<
    const ADDR: usize,
    const PORT: usize,
    const L4: usize,
    const N: usize,
    const A: usize,
>(
    head: &mut [u8; N],
    kind: Kind,
    end: &End<A>,
    was: Sum,
) {
    head[ADDR..ADDR + A].copy_from_slice(&end.addr);
    head[PORT..PORT + 2].copy_from_slice(&end.port);
    match kind.proto() {
        Proto::Tcp => adjust(head, L4 + 16, [was, end.sum]),
        // RFC 768: zero says that there is none.
        Proto::Udp if head[L4 + 6..L4 + 8] == [0, 0] => {}
        Proto::Udp => {
            adjust(head, L4 + 6, [was, end.sum]);
            if head[L4 + 6..L4 + 8] == [0, 0] {
                head[L4 + 6..L4 + 8].copy_from_slice(&[0xff; 2]);
            }
        }
    }
}

/// Brings a checksum in step with a change.
#[inline(always)]
fn adjust<const N: usize>(head: &mut [u8; N], at: usize, change: [Sum; 2]) {
    let new = Sum::checksum([head[at], head[at + 1]]).and(change[0]).and(change[1]).to_checksum();
    head[at..at + 2].copy_from_slice(&new);
}
