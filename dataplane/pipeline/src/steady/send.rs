//! From entries to frames that leave.

use super::plan::{End, Exit, Front, Target};
use super::{HEAD, L3, L4, Lane, Way};
use crate::context::{Account, Context};
use crate::entry::Steady;
use crate::ids::{DestId, ServiceId};
use crate::verdict::Verdict;
use sheave_frame::{Burst, Frame};
use sheave_proto::wire::flow::Proto;
use sheave_table::Payload;
use std::slice;

/// What the time to live adds to the sum of the header when it is lowered by one: the complement of 0x0100.
const TTL: u32 = 0xfeff;

/// Where a packet goes.
struct Send<'p> {
    exit: &'p Exit,
    front: &'p Front,
    target: &'p Target,
    destination: DestId,
}

impl<'a> Context<'a> {
    /// Sends frames on for as long as nothing is to be done but that. Gives the first that is to go the long way,
    /// untouched; `None` at the end of the burst.
    ///
    /// PERF: `established/*` and `instructions/*`. A function of its own, so that the loop's state stays in registers.
    #[inline(never)]
    pub(crate) fn steady<'l>(
        &mut self,
        burst: &mut Burst,
        lanes: &mut slice::Iter<'l, Lane>,
    ) -> Option<(Frame, &'l Lane)> {
        for lane in lanes {
            let mut frame = burst.pop()?;
            if !(lane.found && lane.quiet) {
                return Some((frame, lane));
            }
            let Some(head) = frame.bytes_mut().first_chunk_mut::<HEAD>() else { return Some((frame, lane)) };
            let outbound = lane.way == Way::Out;
            let send = if outbound { self.steady_out(lane, head) } else { self.steady_in(lane) };
            let Some(Send { exit, front, target, destination }) = send else { return Some((frame, lane)) };
            if outbound {
                leave(head, exit, target.end.addr_was + front.end.addr_is);
                rewrite::<{ L3 + 12 }, L4>(head, lane.proto, &front.end, target.end.was + front.end.is);
            } else if target.nat {
                leave(head, exit, front.end.addr_was + target.end.addr_is);
                rewrite::<{ L3 + 16 }, { L4 + 2 }>(
                    head,
                    lane.proto,
                    &target.end,
                    front.end.was + target.end.is,
                );
            } else {
                leave(head, exit, 0);
            }
            // What Ethernet padded is cut off. The packet lies within the frame, as `read` has seen.
            frame.truncate(L3 + usize::from(lane.len));
            let (service, port) = (ServiceId(front.service), exit.port);
            self.count(Account { service, destination, outbound, bytes: u64::from(lane.len) });
            self.out.sends.push((port, frame));
            self.out.verdicts.push(Verdict::forward(service, destination));
        }
        None
    }

    #[inline(always)]
    fn steady_in(&self, lane: &Lane) -> Option<Send<'a>> {
        let snapshot = self.snapshot;
        let front = snapshot.plan().front(usize::from(lane.id))?;
        let payload = self.shared.tables.narrow.confirm(lane.handle, &[lane.key])?;
        if !Steady::from_client(lane.proto, self.tick).holds(payload) {
            return None;
        }
        let (destination, target) = self.target(payload, front)?;
        (lane.len <= target.exit.mtu).then_some(Send { exit: &target.exit, front, target, destination })
    }

    #[inline(always)]
    fn steady_out(&self, lane: &Lane, head: &[u8; HEAD]) -> Option<Send<'a>> {
        let snapshot = self.snapshot;
        let tables = self.shared.tables;
        let reply = tables.narrow.confirm(lane.handle, &[lane.key])?;
        let ([key], payload) = tables.narrow.load(Steady::reply(reply)?)?;
        // The same client, and the key of an in-entry: bit 15 tells the two kinds apart.
        let listen = usize::try_from(key ^ (lane.key & !0xffff)).ok()?;
        let front = snapshot.plan().front(listen).filter(|_| listen < 0x8000)?;
        if front.proto != lane.proto || !Steady::from_real(lane.proto, self.tick).holds(payload) {
            return None;
        }
        let (destination, target) = self.target(payload, front)?;
        let exit = snapshot.plan().exit(snapshot.few(crate::head::be32(head, L3 + 16))?)?;
        let fits = lane.len <= exit.mtu && target.nat && target.real == lane.id;
        fits.then_some(Send { exit, front, target, destination })
    }

    /// The target of an entry, if the entry is of its life and of this service.
    #[inline(always)]
    fn target(&self, payload: Payload, front: &Front) -> Option<(DestId, &'a Target)> {
        let snapshot = self.snapshot;
        let id = Steady::destination(payload);
        let target = snapshot.plan().target(usize::from(id.0))?;
        (target.generation == Steady::generation(payload).0 && target.service == front.service)
            .then_some((id, target))
    }
}

/// Writes the hardware addresses, takes one from the time to live, and brings the header's checksum in step with that
/// and with the `change` of an address that is about to be made.
#[inline(always)]
fn leave(head: &mut [u8; HEAD], exit: &Exit, change: u32) {
    if let Some(macs) = head.first_chunk_mut() {
        *macs = exit.macs;
    }
    head[L3 + 8] = head[L3 + 8].wrapping_sub(1);
    adjust::<{ L3 + 10 }>(head, TTL + change);
}

/// Writes an address and a port, and brings the transport's checksum in step.
#[inline(always)]
fn rewrite<const ADDR: usize, const PORT: usize>(
    head: &mut [u8; HEAD],
    proto: Proto,
    end: &End,
    change: u32,
) {
    head[ADDR..ADDR + 4].copy_from_slice(&end.addr.to_be_bytes());
    head[PORT..PORT + 2].copy_from_slice(&end.port.to_be_bytes());
    match proto {
        Proto::Tcp => adjust::<{ L4 + 16 }>(head, change),
        // RFC 768: zero says that there is none.
        Proto::Udp if head[L4 + 6..L4 + 8] == [0, 0] => {}
        Proto::Udp => {
            adjust::<{ L4 + 6 }>(head, change);
            if head[L4 + 6..L4 + 8] == [0, 0] {
                head[L4 + 6..L4 + 8].copy_from_slice(&[0xff; 2]);
            }
        }
    }
}

/// Brings a checksum in step with a change (RFC 1624 §3, equation 3).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
fn adjust<const AT: usize>(head: &mut [u8; HEAD], change: u32) {
    let old = u16::from_be_bytes([head[AT], head[AT + 1]]);
    let sum = u32::from(!old) + change;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    head[AT..AT + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
