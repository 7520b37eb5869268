//! Ports over memory: what tests and replays put frames into and take frames out of.
//!
//! ```text
//!   MemHandle.inject -> | wire in  | -> recv        MemPort::pair: A's wire out is B's wire in
//!   MemHandle.take   <- | wire out | <- send
//! ```
//!
//! Frames are copied at the wire, as a real one does: each pool keeps its own. A frame sent comes back to the pool with
//! the next flush.

use sheave_frame::{BURST, Burst, Caps, Flushed, Frame, FramePool, Mode, Port, PortId, PortStats};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bounded queue of packets in one direction, and emptied buffers to be used again.
#[derive(Debug)]
struct Wire {
    packets: Mutex<Packets>,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Packets {
    queue: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

impl Wire {
    fn new(capacity: usize) -> Arc<Wire> {
        Arc::new(Wire { packets: Mutex::default(), capacity })
    }

    fn lock(&self) -> MutexGuard<'_, Packets> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, packets: &mut Packets, bytes: &[u8]) -> bool {
        if packets.queue.len() == self.capacity {
            return false;
        }
        let mut buffer = packets.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        packets.queue.push_back(buffer);
        true
    }
}

/// The other side of a [`MemPort`]: the network, as a test plays it.
#[derive(Debug, Clone)]
pub struct MemHandle {
    to_port: Arc<Wire>,
    from_port: Arc<Wire>,
}

impl MemHandle {
    /// Puts a packet on the wire towards the port. False when the wire is full.
    pub fn inject(&self, bytes: &[u8]) -> bool {
        self.to_port.put(&mut self.to_port.lock(), bytes)
    }

    /// Takes the oldest packet that the port sent.
    pub fn take(&self) -> Option<Vec<u8>> {
        self.from_port.lock().queue.pop_front()
    }

    /// Takes all packets that the port sent, oldest first.
    pub fn take_all(&self) -> Vec<Vec<u8>> {
        self.from_port.lock().queue.drain(..).collect()
    }

    /// Packets on the wire towards the port that it has not received yet.
    pub fn waiting(&self) -> usize {
        self.to_port.lock().queue.len()
    }
}

/// A port over memory.
#[derive(Debug)]
pub struct MemPort {
    id: PortId,
    input: Arc<Wire>,
    output: Arc<Wire>,
    /// Sent; back to the pool with the next flush.
    sent: Vec<Frame>,
    stats: PortStats,
}

impl MemPort {
    /// A port and the handle of its other side; `capacity` packets fit on each wire.
    pub fn new(id: PortId, capacity: usize) -> (MemPort, MemHandle) {
        let (input, output) = (Wire::new(capacity), Wire::new(capacity));
        let handle = MemHandle { to_port: Arc::clone(&input), from_port: Arc::clone(&output) };
        (MemPort::over(id, input, output), handle)
    }

    /// Two ports, each of which receives what the other one sends.
    pub fn pair(a: PortId, b: PortId, capacity: usize) -> (MemPort, MemPort) {
        let (there, back) = (Wire::new(capacity), Wire::new(capacity));
        (MemPort::over(a, Arc::clone(&back), Arc::clone(&there)), MemPort::over(b, there, back))
    }

    fn over(id: PortId, input: Arc<Wire>, output: Arc<Wire>) -> MemPort {
        MemPort { id, input, output, sent: Vec::with_capacity(BURST), stats: PortStats::default() }
    }
}

impl Port for MemPort {
    fn recv(&mut self, burst: &mut Burst, pool: &mut FramePool) -> usize {
        let mut packets = self.input.lock();
        let mut received = 0;
        while burst.room() > 0 && !packets.queue.is_empty() {
            let Some(mut frame) = pool.alloc() else {
                self.stats.fill_empty += 1;
                break;
            };
            let Some(packet) = packets.queue.pop_front() else {
                pool.release(frame);
                break;
            };
            let fits = frame.fill(&packet).is_ok();
            packets.spare.push(packet);
            if !fits {
                self.stats.rx_dropped += 1;
                pool.release(frame);
                continue;
            }
            frame.set_ingress(self.id);
            self.stats.rx_frames += 1;
            self.stats.rx_bytes += frame.len() as u64;
            received += 1;
            if let Err(frame) = burst.push(frame) {
                pool.release(frame);
            }
        }
        received
    }

    fn send(&mut self, burst: &mut Burst) -> usize {
        let mut packets = self.output.lock();
        let mut taken = 0;
        while let Some(frame) = burst.peek() {
            if !self.output.put(&mut packets, frame.bytes()) {
                self.stats.tx_ring_full += burst.len() as u64;
                break;
            }
            self.stats.tx_frames += 1;
            self.stats.tx_bytes += frame.len() as u64;
            taken += 1;
            self.sent.extend(burst.pop());
        }
        taken
    }

    fn flush(&mut self, pool: &mut FramePool) -> Flushed {
        let completed = self.sent.len();
        for frame in self.sent.drain(..) {
            pool.release(frame);
        }
        Flushed { completed, in_flight: 0 }
    }

    fn caps(&self) -> Caps {
        Caps { port: self.id, queue: 0, mode: Mode::Memory }
    }

    fn stats(&self) -> PortStats {
        self.stats
    }

    fn held(&self) -> usize {
        self.sent.len()
    }

    fn close(mut self: Box<Self>, pool: &mut FramePool) {
        self.flush(pool);
    }
}

/// A pool of frames over plain memory, for ports without a kernel. The memory is never given back.
pub fn mem_pool(id: sheave_frame::PoolId, frames: u32, frame_size: usize) -> FramePool {
    let frames = (0..frames)
        .rev()
        .map(|n| {
            let buffer = Box::leak(vec![0; frame_size].into_boxed_slice());
            Frame::new(buffer, sheave_frame::FrameId(n), id)
        })
        .collect();
    FramePool::new(id, frames, 1024)
}

/// Ends a pool whose worker has ended. Frames are not dropped by accident: a debug build stops at one that is.
pub fn retire(mut pool: FramePool) {
    while let Some(frame) = pool.alloc().or_else(|| pool.take_foreign()) {
        let _ = frame.into_parts();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_frame::PoolId;

    #[test]
    fn packets_go_round_and_frames_come_home() {
        let (mut port, handle) = MemPort::new(PortId(2), 4);
        let mut pool = mem_pool(PoolId(0), 8, 2048);
        let mut burst = Burst::with_capacity(8);
        assert!(handle.inject(b"one") && handle.inject(b"two"));
        assert_eq!(port.recv(&mut burst, &mut pool), 2);
        assert_eq!(burst.peek().expect("two came").bytes(), b"one");
        assert!(burst.iter().all(|frame| frame.ingress() == PortId(2)));
        assert_eq!(port.send(&mut burst), 2);
        assert_eq!((port.held(), pool.free()), (2, 6));
        assert_eq!(port.flush(&mut pool), Flushed { completed: 2, in_flight: 0 });
        assert_eq!((port.held(), pool.free()), (0, 8));
        assert_eq!(handle.take_all(), [b"one".to_vec(), b"two".to_vec()]);
        assert_eq!((port.stats().rx_bytes, port.stats().tx_bytes), (6, 6));
        retire(pool);
    }

    #[test]
    fn a_full_wire_leaves_frames_with_the_caller_and_an_empty_pool_leaves_packets_on_the_wire() {
        let (mut a, mut b) = MemPort::pair(PortId(0), PortId(1), 2);
        let mut pool = mem_pool(PoolId(0), 4, 2048);
        let mut burst = Burst::with_capacity(4);
        for _ in 0..3 {
            let mut frame = pool.alloc().expect("free");
            frame.fill(b"packet").expect("fits");
            burst.push(frame).expect("room");
        }
        assert_eq!((a.send(&mut burst), burst.len(), a.stats().tx_ring_full), (2, 1, 1));
        let mut small = mem_pool(PoolId(1), 1, 2048);
        let mut received = Burst::with_capacity(4);
        assert_eq!(b.recv(&mut received, &mut small), 1);
        assert_eq!((b.recv(&mut received, &mut small), b.stats().fill_empty), (0, 2));
        small.release(received.pop().expect("one"));
        assert_eq!(b.recv(&mut received, &mut small), 1);
        small.release(received.pop().expect("two"));
        pool.release(burst.pop().expect("left"));
        Box::new(a).close(&mut pool);
        assert_eq!((pool.free(), small.free()), (4, 1));
        retire(pool);
        retire(small);
    }
}
