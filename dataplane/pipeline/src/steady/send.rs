//! From entries to frames that leave.

use super::head::be32;
use super::plan::{End, Exit, Front, Plan, Target};
use super::sum::Sum;
use super::tunnel::Tunnels;
use super::{Class, HEAD, L3, L4, Lane, Way};
use crate::context::Context;
use crate::counters::{self, Traffic};
use crate::entry::Steady;
use crate::ids::{DestId, ServiceId};
use crate::snapshot::Method;
use crate::tables::Tables;
use crate::time::Tick;
use crate::verdict::Verdict;
use sheave_frame::{Burst, Frame};
use sheave_proto::wire::flow::Proto;
use sheave_table::Payload;
use sheave_table::counters::Rows;
use std::slice;

/// A packet that was sent on.
pub(super) struct Sent {
    pub(super) service: u16,
    pub(super) destination: DestId,
}

/// What packets are held against.
pub(super) struct Known<'a> {
    pub(super) plan: &'a Plan,
    pub(super) tables: &'a Tables,
    pub(super) tunnels: Tunnels<'a>,
    /// What entries look like in which packets change nothing, by [`Class`]: of those from clients, and from real servers.
    pub(super) from_client: [Steady; Class::COUNT],
    pub(super) from_real: [Steady; Class::COUNT],
}

/// Packets of one service and direction that are not counted yet.
struct Tally {
    service: ServiceId,
    outbound: bool,
    packets: u64,
    bytes: u64,
}

impl<'a> Context<'a> {
    /// Sends frames on for as long as nothing is to be done but that. Gives the first that is to go the long way,
    /// untouched; `None` at the end of the lanes. The first `done` frames of the burst are those that were sent on and
    /// have not moved yet.
    ///
    /// PERF: `established/*` and `instructions/*`. A function of its own, so that the loop's state stays in registers.
    /// Frames are changed where they are, and move on together.
    #[inline(never)]
    pub(crate) fn steady<'l>(
        &mut self,
        burst: &mut Burst,
        done: &mut usize,
        lanes: &mut slice::Iter<'l, Lane>,
    ) -> Option<(Frame, &'l Lane)> {
        let before = *done;
        if let Some(frames) = burst.as_mut_slice().get_mut(before..) {
            *done += self.send_steady(frames, lanes.as_slice());
        }
        *lanes = lanes.as_slice()[*done - before..].iter();
        let lane = lanes.next()?;
        burst.move_to(*done, &mut self.out.sends);
        *done = 0;
        Some((burst.pop()?, lane))
    }

    /// How many frames were sent on.
    #[inline(always)]
    fn send_steady(&mut self, frames: &mut [Frame], lanes: &[Lane]) -> usize {
        let known = Known::new(self);
        let rows = self.own.counters.rows();
        let mut tally = Tally::of(ServiceId(0), false);
        let mut count = 0;
        for (frame, lane) in frames.iter_mut().zip(lanes) {
            let outbound = lane.way.is_out();
            let sent = match lane.way {
                Way::In => known.inbound(frame, lane, &mut self.own.ident),
                Way::Out => known.outbound(frame, lane),
                Way::InV6 => known.inbound_v6(frame, lane, &mut self.own.ident),
                Way::OutV6 => known.outbound_v6(frame, lane),
                Way::Long => None,
            };
            let Some(Sent { service, destination }) = sent else { break };
            let (service, bytes) = (ServiceId(service), u64::from(lane.end) - L3 as u64);
            rows.add(counters::destination_row(destination), traffic(outbound, 1, bytes));
            tally.add(rows, service, outbound, bytes);
            self.out.note(Verdict::forward(service, destination));
            count += 1;
        }
        tally.count(rows);
        count
    }
}

impl<'a> Known<'a> {
    #[inline(always)]
    fn new(context: &Context<'a>) -> Known<'a> {
        let tick = context.tick;
        let classes =
            |of: fn(Proto, Tick) -> Steady| [of(Proto::Tcp, tick), Steady::NEVER, of(Proto::Udp, tick)];
        Known {
            plan: context.snapshot.plan(),
            tables: &context.shared.tables,
            tunnels: Tunnels { snapshot: context.snapshot, live: &context.shared.live, now: context.now },
            from_client: classes(Steady::from_client),
            from_real: classes(Steady::from_real),
        }
    }

    /// Sends a client's packet on.
    #[inline(always)]
    fn inbound(&self, frame: &mut Frame, lane: &Lane, ident: &mut u16) -> Option<Sent> {
        let front = self.plan.front(usize::from(lane.id))?;
        let payload = self.tables.narrow.at(lane.spot, &lane.narrow())?.payload;
        if !self.from_client[lane.class as usize].holds(payload) {
            return None;
        }
        let (destination, target) = self.target(payload, front)?;
        if lane.end > target.exit.end {
            return None;
        }
        let head = frame.head_mut::<HEAD>()?;
        match target.method {
            Method::Nat => {
                leave(head, &target.exit, [front.end.addr_out, target.end.addr_in]);
                rewrite::<{ L3 + 16 }, { L4 + 2 }, L4, HEAD, 4>(head, lane, &target.end, front.end.out);
            }
            Method::Tunnel => {
                let sent = Sent { service: front.service, destination };
                return self.tunnels.send(frame, lane, (&target.exit, destination), ident).then_some(sent);
            }
            Method::DirectRoute | Method::Local => leave(head, &target.exit, [Sum::AGED, Sum::default()]),
        }
        finish(frame, lane, &target.exit);
        Some(Sent { service: front.service, destination })
    }

    /// Sends a real server's packet on.
    #[inline(always)]
    fn outbound(&self, frame: &mut Frame, lane: &Lane) -> Option<Sent> {
        let narrow = self.tables.narrow;
        let reply = narrow.at(lane.spot, &lane.narrow())?.payload;
        let ([key], payload) = narrow.load(Steady::reply(reply)?)?;
        // The same client, and the key of an in-entry: of no other is it a listen's number.
        let listen = usize::try_from(key ^ (lane.key[0] & !0xffff)).ok()?;
        let front = self.plan.front(listen)?;
        // The state tells the protocol as well.
        if !self.from_real[lane.class as usize].holds(payload) {
            return None;
        }
        let (destination, target) = self.target(payload, front)?;
        let head = frame.head_mut::<HEAD>()?;
        let exit = self.plan.exit(be32(head, L3 + 16))?;
        if lane.end > exit.end || target.method != Method::Nat || target.real != lane.id {
            return None;
        }
        leave(head, exit, [target.end.addr_out, front.end.addr_in]);
        rewrite::<{ L3 + 12 }, L4, L4, HEAD, 4>(head, lane, &front.end, target.end.out);
        finish(frame, lane, exit);
        Some(Sent { service: front.service, destination })
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

impl Tally {
    #[inline(always)]
    const fn of(service: ServiceId, outbound: bool) -> Tally {
        Tally { service, outbound, packets: 0, bytes: 0 }
    }

    /// Adds a packet.
    #[inline(always)]
    fn add(&mut self, rows: Rows<'_>, service: ServiceId, outbound: bool, bytes: u64) {
        if (service, outbound) != (self.service, self.outbound) {
            std::mem::replace(self, Tally::of(service, outbound)).count(rows);
        }
        self.packets += 1;
        self.bytes += bytes;
    }

    /// Counts them.
    #[inline]
    fn count(self, rows: Rows<'_>) {
        if self.packets != 0 {
            let adds = traffic(self.outbound, self.packets, self.bytes);
            rows.add(counters::service_row(self.service), adds);
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
    lane: &Lane,
    end: &End<A>,
    was: Sum,
) {
    head[ADDR..ADDR + A].copy_from_slice(&end.addr);
    head[PORT..PORT + 2].copy_from_slice(&end.port);
    let at = match lane.class.proto() {
        Proto::Tcp => L4 + 16,
        Proto::Udp => L4 + 6,
    };
    // RFC 768: zero says that there is none.
    if lane.class.proto() == Proto::Udp && head[at..at + 2] == [0, 0] {
        return;
    }
    adjust(head, at, [was, end.sum]);
    if lane.class.proto() == Proto::Udp && head[at..at + 2] == [0, 0] {
        head[at..at + 2].copy_from_slice(&[0xff; 2]);
    }
}

/// Brings a checksum in step with a change.
#[inline(always)]
fn adjust<const N: usize>(head: &mut [u8; N], at: usize, change: [Sum; 2]) {
    let new = Sum::checksum([head[at], head[at + 1]]).and(change[0]).and(change[1]).to_checksum();
    head[at..at + 2].copy_from_slice(&new);
}
