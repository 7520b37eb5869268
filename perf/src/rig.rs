//! A worker's hands around a pipeline, without the worker.

use crate::packets::Packets;
use sheave_frame::Burst;
use sheave_pipeline::snapshot::Method;
use sheave_pipeline::testing::{CLIENT_SIDE, Lab, NAT_REAL_PORT, Packet, SERVER_SIDE, Site, vip};
use sheave_pipeline::{Resolve, Snapshot, VerdictKind};
use sheave_proto::wire::flow::Proto;
use std::net::Ipv4Addr;

/// Frames that are received before any is processed: enough to make the cost of reading the clock vanish, few enough
/// that their headers stay in the processor's second cache, as with a ring of this size.
pub const CHUNK: usize = 512;

/// Real servers behind the service.
const REALS: u8 = 8;

const PORT: u16 = 80;
const SYN: u8 = Packet::SYN;
const ACK: u8 = Packet::ACK;
const DATA: &[u8] = b"ten bytes!";

/// A pipeline, its service with one forwarding method, and flows of it.
#[derive(Debug)]
pub struct Rig {
    lab: Lab,
    snapshot: Snapshot,
    method: Method,
    flows: u32,
    /// Received, not yet processed.
    ready: Burst,
    burst: Burst,
}

impl Rig {
    /// A rig with room for `flows` flows, a power of two. None of them is open.
    #[must_use]
    pub fn new(method: Method, flows: u32) -> Rig {
        assert!(flows.is_power_of_two() && flows as usize >= CHUNK, "a power of two from {CHUNK} on");
        let entries = u64::from(flows) * if method == Method::Nat { 2 } else { 1 };
        let frames = u32::try_from(2 * CHUNK).expect("a small number");
        Rig {
            lab: Lab::sized(Resolve::Control, entries, frames),
            snapshot: Site::with(Proto::Tcp, method, REALS).snapshot(),
            method,
            flows,
            ready: Burst::with_capacity(CHUNK),
            burst: Burst::with_capacity(sheave_frame::BURST),
        }
    }

    /// The frames that open each flow.
    #[must_use]
    pub fn syns(&self) -> Packets {
        self.client_packets(SYN, b"")
    }

    /// Opens every flow and establishes it. Gives data from clients, and under NAT data from real servers: frames
    /// of 64 bytes.
    ///
    /// # Panics
    /// When a flow cannot be opened.
    pub fn establish(&mut self) -> (Packets, Option<Packets>) {
        let mut replies = (self.method == Method::Nat).then(|| Packets::new(SERVER_SIDE));
        for flow in 0..self.flows {
            let client = client(flow);
            self.handle(&to_vip(client, SYN));
            if let Some(replies) = &mut replies {
                let real = (self.last_sent_to(), NAT_REAL_PORT);
                let reply = |flags| Packet::from_real(Proto::Tcp, real, client, flags);
                self.handle(&reply(SYN | ACK));
                replies.push(&reply(ACK).payload(DATA).bytes());
            }
            self.handle(&to_vip(client, ACK));
            self.give_back();
        }
        (self.client_packets(ACK, DATA), replies)
    }

    /// Receives a chunk of frames: not part of what is measured.
    ///
    /// # Panics
    /// When the last chunk has not been processed.
    pub fn receive(&mut self, packets: &mut Packets) {
        let port = packets.port();
        for _ in 0..CHUNK {
            let mut frame = self.lab.pool.alloc().expect("a chunk has been given back");
            frame.fill(packets.next()).expect("a frame has room");
            frame.set_ingress(port);
            self.ready.push(frame).expect("the last chunk is processed");
        }
    }

    /// Processes the chunk in bursts of `burst` frames: what is measured. Not inlined, because callgrind counts between
    /// entering and leaving it by its name.
    #[inline(never)]
    pub fn process(&mut self, burst: usize) {
        while !self.ready.is_empty() {
            for frame in std::iter::from_fn(|| self.ready.pop()).take(burst) {
                self.burst.push(frame).expect("not more than a burst");
            }
            self.process_burst();
            self.give_back();
        }
    }

    /// Lets all connections expire: not part of what is measured.
    ///
    /// # Panics
    /// When any is left.
    pub fn expire(&mut self) {
        self.lab.wait(3600);
        self.lab.expire(&self.snapshot);
        assert!(self.lab.shared.tables.is_empty(), "every connection is over");
    }

    /// How many packets were forwarded so far.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.lab.verdict(VerdictKind::Forward)
    }

    /// How many packets had another outcome.
    #[must_use]
    pub fn otherwise(&self) -> u64 {
        let all: u64 = VerdictKind::ALL.iter().map(|kind| self.lab.verdict(*kind)).sum();
        all - self.forwarded()
    }

    fn client_packets(&self, flags: u8, payload: &[u8]) -> Packets {
        let mut packets = Packets::new(CLIENT_SIDE);
        for flow in 0..self.flows {
            packets.push(&to_vip(client(flow), flags).payload(payload).bytes());
        }
        packets
    }

    /// Handles one packet. What came of it stays.
    fn handle(&mut self, packet: &Packet) {
        let (port, bytes) = packet.framed();
        let mut frame = self.lab.pool.alloc().expect("a frame is free");
        frame.fill(&bytes).expect("a frame has room");
        frame.set_ingress(port);
        self.burst.push(frame).expect("the last burst is processed");
        self.process_burst();
        let verdicts = &self.lab.out.verdicts;
        assert!(verdicts.iter().all(|v| v.reason().is_none()), "{packet:?}: {verdicts:?}");
    }

    #[inline]
    fn process_burst(&mut self) {
        let lab = &mut self.lab;
        let (burst, pool, out) = (&mut self.burst, &mut lab.pool, &mut lab.out);
        lab.pipeline.process(lab.now, &self.snapshot, burst, pool, out);
    }

    /// The real server that the last packet was sent to.
    fn last_sent_to(&self) -> Ipv4Addr {
        let (_, frame) = self.lab.out.sends.last().expect("a packet was forwarded");
        let octets: [u8; 4] = *frame.bytes()[30..].first_chunk().expect("an IPv4 header");
        Ipv4Addr::from(octets)
    }

    #[inline]
    fn give_back(&mut self) {
        let out = &mut self.lab.out;
        out.verdicts.clear();
        for (_, frame) in out.sends.drain(..) {
            self.lab.pool.release(frame);
        }
        while let Some(frame) = out.passes.pop() {
            self.lab.pool.release(frame);
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        while let Some(frame) = self.ready.pop() {
            self.lab.pool.release(frame);
        }
    }
}

/// The address and port of a flow's client.
fn client(flow: u32) -> (Ipv4Addr, u16) {
    let port = u16::try_from(flow % 64).expect("less than 64");
    (Ipv4Addr::from_bits(0x0a00_0001 + flow / 64), 1024 + port)
}

fn to_vip(client: (Ipv4Addr, u16), flags: u8) -> Packet {
    Packet::from_client(Proto::Tcp, client, (vip(0), PORT), flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn established_flows_are_forwarded_both_ways() {
        for method in [Method::Nat, Method::DirectRoute, Method::Tunnel] {
            let mut rig = Rig::new(method, 512);
            let (mut data, replies) = rig.establish();
            assert_eq!(replies.is_some(), method == Method::Nat);
            let before = rig.forwarded();
            for packets in std::iter::once(&mut data).chain(replies.clone().as_mut()) {
                assert_eq!(packets.count(), 512);
                rig.receive(packets);
                rig.process(32);
            }
            let chunks = if replies.is_some() { 2 } else { 1 };
            assert_eq!(rig.forwarded() - before, chunks * CHUNK as u64);
            assert_eq!(rig.otherwise(), 0);
        }
    }

    #[test]
    fn flows_that_are_over_are_opened_again() {
        let mut rig = Rig::new(Method::Nat, 1024);
        let mut syns = rig.syns();
        for round in 1..4 {
            rig.receive(&mut syns);
            rig.process(64);
            assert_eq!(rig.lab.service(0)[0], round * CHUNK as u64, "connections");
            rig.expire();
        }
    }
}
