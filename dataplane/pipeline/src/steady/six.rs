//! The short way of IPv6. It differs from that of IPv4 in what headers look like: there is no checksum but the
//! transport's, and what is looked up has wide keys.

use super::head::{be16, be64, transport};
use super::plan::{Exit, Front, Target};
use super::send::{Known, Sent, finish, rewrite};
use super::{HEAD_V6, L3, Lane, Way};
use crate::entry::Steady;
use crate::ids::DestId;
use crate::keeper::Connection;
use crate::key::Key;
use crate::snapshot::{Method, Snapshot};
use crate::tables::Place;
use sheave_frame::Frame;
use sheave_proto::wire::flow::Proto;
use sheave_table::change::ChangeWriter;
use sheave_table::{Bucket, Pattern, Payload, Table};
use std::net::Ipv6Addr;

/// Where the transport's header begins behind a plain one.
const L4: usize = L3 + 40;

/// Reads a frame that is the director's and IPv6 into its lane. `false` when it is to go the long way.
#[inline(never)]
pub(super) fn read_v6(lane: &mut Lane, frame: &Frame, snapshot: &Snapshot, table: &Table<3>) -> bool {
    let Some(head) = frame.window::<HEAD_V6>() else { return false };
    let payload = usize::from(be16(head, L3 + 4));
    if head[L3] >> 4 != 6 || head[L3 + 7] < 2 || payload + L4 > frame.len() {
        return false;
    }
    let Some(kind) = transport(head[L3 + 6], (0, payload), be16(head, L4 + 4), be16(head, L4 + 12)) else {
        return false;
    };
    let Some((way, id, key)) = flow(head, kind.proto(), snapshot) else { return false };
    lane.key = key;
    lane.hash = table.hash(&key);
    lane.spot = table.approach(Bucket::First, lane.hash);
    // The packet lies within the frame.
    lane.end = be16(head, L3 + 4).wrapping_add(54);
    lane.id = id;
    lane.kind = if way == Way::Out { kind.v6().out() } else { kind.v6() };
    true
}

/// Whose packet it is: which way, of which listen or real server, under which key.
#[inline(always)]
fn flow(head: &[u8; HEAD_V6], proto: Proto, snapshot: &Snapshot) -> Option<(Way, u16, [u64; 3])> {
    let addr =
        |at: usize| Ipv6Addr::from_bits((u128::from(be64(head, at)) << 64) | u128::from(be64(head, at + 8)));
    let (client, server) = (addr(L3 + 8), addr(L3 + 24));
    let (sport, dport) = (be16(head, L4), be16(head, L4 + 2));
    if snapshot.may_be_here_v6(server) {
        if let Some(listen) = snapshot.listen_at_v6(server, dport, proto) {
            // Unspecified, loopback and mapped addresses, multicast, the VIP itself.
            let doubtful = head[L3 + 8] == 0 || head[L3 + 8] == 0xff || client == server;
            let key = Key::wide_in((client.into(), sport), dport, listen).words();
            return (!doubtful).then_some((Way::In, listen.0, key));
        }
        if snapshot.is_own(server.into()) {
            return None;
        }
    }
    let real = snapshot.real_at_v6(client, sport, proto)?;
    Some((Way::Out, real.0, Key::wide_out((server.into(), dport), sport, real).words()))
}

impl<'a> Known<'a> {
    /// Sends a client's packet on. `CHANGING`: one that may change something in its entry.
    #[inline(never)]
    pub(super) fn inbound_v6<const CHANGING: bool>(
        &self,
        frame: &mut Frame,
        lane: &Lane,
        ident: &mut u16,
        changes: &mut Option<ChangeWriter>,
    ) -> Option<Sent> {
        let front = self.plan.front_v6(usize::from(lane.id))?;
        let (payload, handle) = if CHANGING {
            let found = self.wide.at(lane.spot, &lane.key)?;
            (found.payload, Some(found.handle))
        } else {
            (self.wide.still(lane.spot, self.from_client.of(lane.kind)?)?, None)
        };
        let (destination, target) = self.target_v6(payload, front)?;
        if lane.end > target.exit.end {
            return None;
        }
        let head = frame.window_mut::<HEAD_V6>()?;
        if let Some(handle) = handle {
            let connection = Connection { place: Place::wide(handle), key: Key::Wide(lane.key), payload };
            self.note(lane.kind, head[L4 + 13], (connection, target.method), changes)?;
        }
        match target.method {
            Method::Nat => {
                leave(head, &target.exit);
                rewrite::<{ L3 + 24 }, { L4 + 2 }, L4, HEAD_V6, 16>(
                    head,
                    lane.kind,
                    &target.end,
                    front.end.out,
                );
            }
            Method::Tunnel => {
                let sent = Sent { service: front.service, destination };
                return self.tunnels.send(frame, lane, (&target.exit, destination), ident).then_some(sent);
            }
            Method::DirectRoute | Method::Local => leave(head, &target.exit),
        }
        finish(frame, lane, &target.exit);
        Some(Sent { service: front.service, destination })
    }

    /// Sends a real server's packet on, likewise.
    #[inline(never)]
    pub(super) fn outbound_v6<const CHANGING: bool>(
        &self,
        frame: &mut Frame,
        lane: &Lane,
        changes: &mut Option<ChangeWriter>,
    ) -> Option<Sent> {
        let reply = lane.spot.seen(Pattern::LIVE)?;
        let handle = Steady::reply_wide(reply)?;
        let (key, payload) = self.wide.load(handle)?;
        let listen = Key::listen_of_reply(&lane.key, &key)?;
        let front = self.plan.front_v6(listen.index())?;
        // The state tells the protocol as well.
        if !CHANGING && !self.from_real.of(lane.kind)?.matches(payload) {
            return None;
        }
        let (destination, target) = self.target_v6(payload, front)?;
        let head = frame.window_mut::<HEAD_V6>()?;
        let to = (u128::from(be64(head, L3 + 24)) << 64) | u128::from(be64(head, L3 + 32));
        let exit = self.plan.exit_v6(to)?;
        if lane.end > exit.end || target.method != Method::Nat || target.real != lane.id {
            return None;
        }
        if CHANGING {
            let connection = Connection { place: Place::wide(handle), key: Key::Wide(key), payload };
            self.note(lane.kind, head[L4 + 13], (connection, target.method), changes)?;
        }
        leave(head, exit);
        rewrite::<{ L3 + 8 }, L4, L4, HEAD_V6, 16>(head, lane.kind, &front.end, target.end.out);
        finish(frame, lane, exit);
        Some(Sent { service: front.service, destination })
    }

    /// The target of an entry, if the entry is of its life and of this service.
    #[inline(always)]
    fn target_v6(&self, payload: Payload, front: &Front<16>) -> Option<(DestId, &'a Target<16>)> {
        let id = Steady::destination(payload);
        let target = self.plan.target_v6(usize::from(id.0))?;
        (target.generation == Steady::generation(payload).0 && target.service == front.service)
            .then_some((id, target))
    }
}

/// Writes the hardware addresses and takes one from the hop limit.
#[inline(always)]
fn leave(head: &mut [u8; HEAD_V6], exit: &Exit) {
    if let Some(macs) = head.first_chunk_mut() {
        *macs = exit.macs;
    }
    head[L3 + 7] = head[L3 + 7].wrapping_sub(1);
}
