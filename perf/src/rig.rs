//! A worker's hands around a pipeline, without the worker.

use crate::packets::{Packets, Sizes};
use sheave_frame::{Burst, Frame};
use sheave_pipeline::snapshot::Method;
use sheave_pipeline::testing::{CLIENT_SIDE, Lab, NAT_REAL_PORT, Packet, SERVER_SIDE, Site, vip, vip6};
use sheave_pipeline::{Output, Resolve, Settings, Shared, Snapshot, VerdictKind};
use sheave_proto::wire::checksum::Delta;
use sheave_proto::wire::flow::Proto;
use sheave_table::Reader;
use sheave_table::counters::CounterPage;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Frames that are received before any is processed: enough to make the cost of reading the clock vanish, few enough
/// that their headers stay in the processor's second cache, as with a ring of this size.
pub const CHUNK: usize = 512;

/// Real servers behind the service.
const REALS: u8 = 8;

/// Of the tables: the same numbers on every run.
const SEED: u64 = 7;

const PORT: u16 = 80;
const SYN: u8 = Packet::SYN;
const ACK: u8 = Packet::ACK;
const DATA: &[u8] = b"ten bytes!";

/// What a rig is to be.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Forwarding method.
    pub method: Method,
    /// Flows, a multiple of [`CHUNK`]. None of them is open at first.
    pub flows: u32,
    /// How long packets with data are.
    pub sizes: Sizes,
    /// Whether clients, VIP and real servers are of IPv6.
    pub v6: bool,
    /// Real servers behind the service.
    pub reals: u8,
    /// Connections that the table is made for.
    pub connections: u64,
}

impl Setup {
    /// IPv4, with a table that the flows fill as a well-measured one.
    #[must_use]
    pub fn new(method: Method, flows: u32) -> Setup {
        Setup { method, flows, sizes: Sizes::Small, v6: false, reals: REALS, connections: u64::from(flows) }
    }
}

/// A pipeline, its service with one forwarding method, and flows of it.
#[derive(Debug)]
pub struct Rig {
    lab: Lab,
    site: Site,
    snapshot: Snapshot,
    method: Method,
    flows: u32,
    sizes: Sizes,
    v6: bool,
    /// The first flow: workers that share tables have flows of their own.
    first: u32,
    /// Received, not yet processed.
    ready: Vec<Frame>,
    burst: Burst,
}

impl Rig {
    /// A rig with room for `flows` flows, a multiple of [`CHUNK`]. None of them is open.
    #[must_use]
    pub fn new(method: Method, flows: u32) -> Rig {
        Rig::of(&Setup::new(method, flows))
    }

    /// A rig as `setup` says.
    ///
    /// # Panics
    /// When its flows are not a multiple of [`CHUNK`].
    #[must_use]
    pub fn of(setup: &Setup) -> Rig {
        let shared = Arc::new(Shared::on_heap(setup.connections, SEED));
        Rig::over(setup, shared, 0, 1)
    }

    /// One of `workers` rigs over tables that they share; each has its own flows.
    ///
    /// # Panics
    /// As [`Rig::of`].
    #[must_use]
    pub fn over(setup: &Setup, shared: Arc<Shared>, worker: usize, workers: usize) -> Rig {
        let Setup { method, flows, sizes, v6, reals, .. } = *setup;
        assert!(flows != 0 && (flows as usize).is_multiple_of(CHUNK), "a multiple of {CHUNK}");
        let frames = u32::try_from(2 * CHUNK).expect("a small number");
        let mut site =
            if v6 { Site::with_v6(Proto::Tcp, method, reals) } else { Site::with(Proto::Tcp, method, reals) };
        let settings = Settings { worker, workers, resolve: Resolve::Control, seed: SEED };
        let mut lab = Lab::over(shared, settings, frames);
        // As a worker has it: each verdict is counted, and no list made of them.
        lab.out = Output::without_verdicts();
        Rig {
            lab,
            snapshot: site.snapshot(),
            site,
            method,
            flows,
            sizes,
            v6,
            first: u32::try_from(worker).expect("few") * flows,
            ready: Vec::with_capacity(CHUNK),
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
            let client = self.client(flow);
            self.handle(&self.to_vip(client, SYN));
            if let Some(replies) = &mut replies {
                let real = (self.last_sent_to(), NAT_REAL_PORT);
                let reply = |flags| Packet::from_real(Proto::Tcp, real, client, flags);
                self.handle(&reply(SYN | ACK));
                replies.push(&self.sized(reply(ACK), flow).bytes());
            }
            self.handle(&self.to_vip(client, ACK));
            self.give_back();
        }
        let mut data = Packets::new(CLIENT_SIDE);
        for flow in 0..self.flows {
            data.push(&self.sized(self.to_vip(self.client(flow), ACK), flow).bytes());
        }
        (data, replies)
    }

    /// A flow's packet with as much data as it is to have.
    fn sized(&self, packet: Packet, flow: u32) -> Packet {
        let headers = if self.v6 { 74 } else { 54 };
        // What fits on its way: the outer header of a tunnel needs room, too.
        let largest = if self.method == Method::Tunnel { 1474 } else { 1514 };
        let data = self.sizes.of(flow).min(largest).saturating_sub(headers).max(DATA.len());
        packet.payload(&vec![b'd'; data])
    }

    /// Receives a chunk of frames: not part of what is measured.
    ///
    /// # Panics
    /// When so many chunks have not been processed that no frame is left.
    pub fn receive(&mut self, packets: &mut Packets) {
        for _ in 0..CHUNK {
            let mut frame = self.lab.pool.alloc().expect("a chunk has been given back");
            packets.next_into(&mut frame);
            self.ready.push(frame);
        }
    }

    /// Processes the chunk in bursts of `burst` frames: what is measured. Not inlined, because callgrind counts between
    /// entering and leaving it by its name.
    #[inline(never)]
    pub fn process(&mut self, burst: usize) {
        while !self.ready.is_empty() {
            self.burst.take_from(&mut self.ready, burst);
            self.process_burst();
            self.give_back();
        }
    }

    /// Processes one burst under the snapshot that is published by now; says whether more is received. What a turn of a
    /// worker does, beside its ports.
    pub fn turn(&mut self, reader: &mut Reader<Snapshot>, burst: usize) -> bool {
        self.burst.take_from(&mut self.ready, burst);
        let pin = reader.pin();
        let lab = &mut self.lab;
        lab.pipeline.process(lab.now, &pin, &mut self.burst, &mut lab.pool, &mut lab.out);
        drop(pin);
        self.give_back();
        !self.ready.is_empty()
    }

    /// What its snapshot was made of.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// From now on as many new connections get an entry, in a second and without being established.
    pub fn bound(&mut self, new_connections: u32, half_open: u64) {
        (self.site.new_connections, self.site.half_open) = (new_connections, half_open);
        self.snapshot = self.site.snapshot();
    }

    /// Receives a chunk of SYNs, each of another client than all before it: from number `first` on.
    ///
    /// # Panics
    /// When so many chunks have not been processed that no frame is left.
    pub fn receive_strangers(&mut self, first: u32) {
        let start = Ipv4Addr::new(11, 0, 0, 0);
        let pattern = self.to_vip((start.into(), 0), SYN).bytes();
        for n in (first..).take(CHUNK) {
            let mut frame = self.lab.pool.alloc().expect("a chunk has been given back");
            frame.fill(&pattern).expect("a frame has room");
            frame.set_ingress(CLIENT_SIDE);
            let bytes = frame.bytes_mut();
            let address = Ipv4Addr::from_bits(start.to_bits() + (n >> 14));
            let port = 1024 + u16::try_from(n & 0x3fff).expect("14 bits");
            let moved = Delta::NONE.addr(start, address);
            for (at, change) in [(24, moved), (50, moved.word(0, port))] {
                let sum: &mut [u8; 2] = bytes[at..].first_chunk_mut().expect("headers");
                *sum = change.apply(u16::from_be_bytes(*sum)).to_be_bytes();
            }
            bytes[26..30].copy_from_slice(&address.octets());
            bytes[34..36].copy_from_slice(&port.to_be_bytes());
            self.ready.push(frame);
        }
    }

    /// Lets time pass, with a worker's work that no packet causes.
    pub fn pass(&mut self, nanoseconds: u64) {
        self.lab.now = self.lab.now.after(nanoseconds);
        self.lab.tick(&self.snapshot);
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
            packets.push(&self.to_vip(self.client(flow), flags).payload(payload).bytes());
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
        assert_eq!(self.otherwise(), 0, "{packet:?} is forwarded");
    }

    #[inline]
    fn process_burst(&mut self) {
        let lab = &mut self.lab;
        let (burst, pool, out) = (&mut self.burst, &mut lab.pool, &mut lab.out);
        lab.pipeline.process(lab.now, &self.snapshot, burst, pool, out);
    }

    /// The real server that the last packet was sent to.
    fn last_sent_to(&self) -> IpAddr {
        let frame = self.lab.out.sends.last().expect("a packet was forwarded");
        if self.v6 {
            let octets: [u8; 16] = *frame.bytes()[38..].first_chunk().expect("an IPv6 header");
            return IpAddr::from(octets);
        }
        let octets: [u8; 4] = *frame.bytes()[30..].first_chunk().expect("an IPv4 header");
        IpAddr::from(octets)
    }

    /// The address and port of a flow's client.
    fn client(&self, flow: u32) -> (IpAddr, u16) {
        let flow = self.first + flow;
        let port = 1024 + u16::try_from(flow % 64).expect("less than 64");
        let host = 0x0a00_0001 + flow / 64;
        let addr = if self.v6 {
            IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8_00ff << 80) | u128::from(host)))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits(host))
        };
        (addr, port)
    }

    fn to_vip(&self, client: (IpAddr, u16), flags: u8) -> Packet {
        let vip: IpAddr = if self.v6 { vip6(0).into() } else { vip(0).into() };
        Packet::from_client(Proto::Tcp, client, (vip, PORT), flags)
    }

    /// The packets of whole connections of all flows, a kind each, in order: SYN to FIN, ten of them, under NAT with one
    /// real server.
    ///
    /// # Panics
    /// Unless there is one real server and NAT.
    #[must_use]
    pub fn exchanges(&self) -> [Packets; 10] {
        const FIN: u8 = Packet::FIN;
        let real: IpAddr = if self.v6 {
            sheave_pipeline::testing::real6(0).into()
        } else {
            sheave_pipeline::testing::real(0).into()
        };
        assert!(self.method == Method::Nat && self.snapshot.reals().count() == 1, "one known real server");
        let from_client = |flags, payload: &[u8]| self.client_packets(flags, payload);
        let from_real = |flags, payload: &[u8]| {
            let mut packets = Packets::new(SERVER_SIDE);
            for flow in 0..self.flows {
                let reply = Packet::from_real(Proto::Tcp, (real, NAT_REAL_PORT), self.client(flow), flags);
                packets.push(&reply.payload(payload).bytes());
            }
            packets
        };
        [
            from_client(SYN, b""),
            from_real(SYN | ACK, b""),
            from_client(ACK, b""),
            from_client(ACK, DATA),
            from_real(ACK, b""),
            from_real(ACK, DATA),
            from_client(ACK, b""),
            from_client(FIN | ACK, b""),
            from_real(FIN | ACK, b""),
            from_client(ACK, b""),
        ]
    }

    /// What it counts in.
    #[must_use]
    pub fn counters(&self) -> Arc<CounterPage> {
        Arc::clone(&self.lab.page)
    }

    /// Entries in the tables now.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.lab.shared.tables.len()
    }

    #[inline]
    fn give_back(&mut self) {
        let out = &mut self.lab.out;
        self.lab.pool.release_all(&mut out.sends);
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

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_proto::wire::checksum::{checksum, l4_checksum};

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
    fn strangers_are_who_they_say() {
        let mut rig = Rig::new(Method::Nat, 512);
        let mut seen = std::collections::HashSet::new();
        for first in [0, (1 << 14) - 100, 59_999_488] {
            rig.receive_strangers(first);
            for frame in &rig.ready {
                let bytes = frame.bytes();
                let [source, vip]: [Ipv4Addr; 2] = [26, 30].map(|at| {
                    let octets: [u8; 4] = *bytes[at..].first_chunk().expect("an address");
                    octets.into()
                });
                let end = 14 + usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
                assert_eq!(checksum(&bytes[14..34]), 0, "the header's");
                assert_eq!(l4_checksum(source, vip, 6, &bytes[34..end]), 0, "the segment's");
                assert!(seen.insert((source, [bytes[34], bytes[35]])), "each is another one");
            }
            rig.process(64);
        }
        assert_eq!(seen.len(), 3 * CHUNK);
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
