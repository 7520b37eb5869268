//! Real servers that have not answered: their SYNs are sent again.

use super::{STATE, ends, put};
use crate::context::Context;
use crate::entry::Entry;
use crate::keeper::{Connection, at_home};
use crate::key::{Key, KeyParts};
use crate::snapshot::{Destination, NextHop};
use crate::syn_proxy::{self, Connecting, Ends, Stage};
use crate::tables::Place;
use crate::time::{Seconds, Tick};
use sheave_frame::Frame;
use sheave_proto::wire::eth::{Mac, Tags, emit_tagged, ethertype};
use sheave_proto::wire::flow::{FlowKey, Proto};
use sheave_table::RecordId;
use std::collections::VecDeque;

/// SYNs that are sent again in one turn, at most.
const AT_ONCE: usize = 32;

/// A worker's connections whose real servers have not answered: those that wait for 1, 2, 4 and 8 s, each in the order
/// of time. One that was answered meanwhile is found out when its time comes, or when room is needed.
#[derive(Debug)]
pub(crate) struct Waiting([VecDeque<Waits>; 4]);

#[derive(Debug, Clone, Copy)]
struct Waits {
    place: Place,
    key: Key,
    record: RecordId,
    since: Tick,
    tags: Tags,
}

impl Waiting {
    /// Of each length of time.
    const MOST: usize = 8192;

    pub(crate) fn new() -> Waiting {
        Waiting(std::array::from_fn(|_| VecDeque::with_capacity(Waiting::MOST)))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(VecDeque::is_empty)
    }

    fn push(&mut self, connecting: Connecting, waits: Waits) {
        let queue = usize::try_from(connecting.patience().0.trailing_zeros()).unwrap_or(0);
        if let Some(queue) = self.0.get_mut(queue).filter(|queue| queue.len() < Waiting::MOST) {
            queue.push_back(waits);
        }
    }

    /// The next one whose time is over.
    fn take_due(&mut self, now: Tick) -> Option<Waits> {
        let due = |(queue, seconds): (&mut VecDeque<Waits>, u16)| {
            queue.pop_front_if(|waits| waits.since.expired(Seconds(seconds), now))
        };
        self.0.iter_mut().zip([1, 2, 4, 8]).find_map(due)
    }
}

impl Context<'_> {
    /// Whether there is room for one more that waits.
    pub(super) fn room_to_wait(&mut self) -> bool {
        // Most are answered at once: two go for each that comes.
        for _ in 0..2 {
            let first = self.own.waiting.0[0].front().copied();
            if first.is_some_and(|waits| self.connecting(&waits).is_none()) {
                self.own.waiting.0[0].pop_front();
            }
        }
        self.own.waiting.0[0].len() < Waiting::MOST
    }

    /// Sees to it that a real server is asked again.
    pub(super) fn wait_for_answer(
        &mut self,
        (place, key): (Place, Key),
        (record, tags): (RecordId, Tags),
        connecting: Connecting,
    ) {
        self.own.waiting.push(connecting, Waits { place, key, record, since: self.tick, tags });
    }

    /// Asks real servers again that had their time, and gives up on those that were asked often enough.
    pub(crate) fn tend_proxied(&mut self) {
        for _ in 0..AT_ONCE {
            let Some(waits) = self.own.waiting.take_due(self.tick) else { return };
            self.ask_again(&waits);
        }
    }

    /// A connection that still waits.
    fn connecting(&self, waits: &Waits) -> Option<(Connection, Connecting)> {
        let payload = self.tables().confirm(waits.place, &waits.key)?;
        let connection = Connection { place: waits.place, key: waits.key, payload };
        let record = connection.record(self.shared)?;
        match Stage::from_words(record.words) {
            Some(Stage::Connecting(connecting)) if Entry::from(payload).record() == Some(waits.record) => {
                Some((connection, connecting))
            }
            _ => None,
        }
    }

    fn ask_again(&mut self, waits: &Waits) {
        let Some((connection, connecting)) = self.connecting(waits) else { return };
        let service = waits.key.listen().and_then(|listen| self.snapshot.listen(listen)).map(|l| l.service);
        let home = connection.home(self.shared).zip(service);
        let destination = home.and_then(|(home, service)| at_home(self.snapshot, service, home));
        // Without a destination the client is told so when it speaks.
        let Some((_, destination)) = destination else { return };
        let Some(ends) = self.ends_of(waits.key, destination) else { return };
        let step = connecting.poll(&ends, self.tick);
        if let Stage::Connecting(again) = step.stage {
            let words = |stage: Connecting| Stage::Connecting(stage).words()[STATE];
            let (old, new) = (words(connecting), words(again));
            if self.shared.side.change(waits.record, STATE, old, new).is_err() {
                return;
            }
            self.wait_for_answer((waits.place, waits.key), (waits.record, waits.tags), again);
        } else if !self.keeper().retire(connection) {
            return;
        }
        self.send_fresh(step.to_real.as_ref(), destination.next_hop, waits.tags);
        if let Some(reset) = step.to_client.filter(|_| self.may_reset()) {
            let hop = self.snapshot.next_hop(reset.flow.dst);
            self.send_fresh(Some(&reset), hop, waits.tags);
        }
    }

    /// The two flows of a connection, by the key of its entry.
    pub(super) fn ends_of(&self, key: Key, to: &Destination) -> Option<Ends> {
        let (listen, _) = self.snapshot.serving(key.listen()?)?;
        let (src, sport) = KeyParts::of(key).client;
        let client = FlowKey { proto: Proto::Tcp, src, dst: listen.vip, sport, dport: listen.port_of(key) };
        Some(ends(&client, to))
    }

    /// Sends a packet of the proxy's in a frame of its own, if there is one.
    pub(super) fn send_fresh(
        &mut self,
        packet: Option<&syn_proxy::Packet>,
        hop: Option<NextHop>,
        tags: Tags,
    ) {
        let Some((packet, hop)) = packet.zip(hop) else { return };
        let Some(mut frame) = self.pool.alloc() else { return };
        if fill(&mut frame, packet, tags).is_none() {
            self.pool.release(frame);
            return;
        }
        // What is lost comes again.
        let _lost = self.deliver(frame, &hop, None);
    }
}

/// The packet, behind an Ethernet header without addresses.
fn fill(frame: &mut Frame, packet: &syn_proxy::Packet, tags: Tags) -> Option<()> {
    let kind = if packet.flow.dst.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
    frame.set_len(tags.header_len()).ok()?;
    let l3 = emit_tagged(frame.bytes_mut(), Mac::ZERO, Mac::ZERO, &tags, kind).ok()?;
    put(frame, l3, packet)
}
