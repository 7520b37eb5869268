//! A port around a port that copies what goes by into a capture.
//!
//! What the steering program takes never reaches the kernel's own capture, so the director needs one of its own. Off, it
//! costs one branch a burst. On, frames are copied into a bounded channel; when whoever writes the file does not keep up,
//! copies are lost and counted, and the port goes on.

use sheave_frame::{Burst, Caps, Flushed, FramePool, Port, PortId, PortStats};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Which way a frame went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It was received.
    In,
    /// It was taken for sending.
    Out,
}

/// The copy of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// The port.
    pub port: PortId,
    /// Which way it went.
    pub way: Way,
    /// The time of the turn, as [`PcapTap::set_now`] was told last.
    pub now: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Shared {
    on: AtomicBool,
    now: AtomicU64,
    lost: AtomicU64,
}

/// Switches the taps that share it on and off, and takes their copies. Many ports can have one.
#[derive(Debug)]
pub struct TapHandle {
    shared: Arc<Shared>,
    sender: SyncSender<Copied>,
    receiver: Receiver<Copied>,
}

impl TapHandle {
    /// A switched-off tap for `capacity` copies waiting to be taken.
    pub fn new(capacity: usize) -> TapHandle {
        let (sender, receiver) = sync_channel(capacity);
        TapHandle { shared: Arc::default(), sender, receiver }
    }

    /// Puts the tap around a port.
    pub fn around<P: Port>(&self, port: P) -> PcapTap<P> {
        PcapTap { port, shared: Arc::clone(&self.shared), sender: self.sender.clone(), copies: Vec::new() }
    }

    /// Switches copying on or off.
    pub fn switch(&self, on: bool) {
        // ORDERING: a switch; a burst more or less does not matter.
        self.shared.on.store(on, Ordering::Relaxed);
    }

    /// Takes the oldest copy, if there is one.
    pub fn take(&self) -> Option<Copied> {
        self.receiver.try_recv().ok()
    }

    /// Copies lost because they were not taken in time.
    pub fn lost(&self) -> u64 {
        // ORDERING: a counter.
        self.shared.lost.load(Ordering::Relaxed)
    }
}

/// The port with the tap.
#[derive(Debug)]
pub struct PcapTap<P: Port> {
    port: P,
    shared: Arc<Shared>,
    sender: SyncSender<Copied>,
    /// Copies of frames offered for sending.
    copies: Vec<Copied>,
}

impl<P: Port> PcapTap<P> {
    /// Tells the time of the turn, in whatever unit the reader of the copies expects.
    #[inline]
    pub fn set_now(&self, now: u64) {
        if self.is_on() {
            // ORDERING: a number that is read by this thread.
            self.shared.now.store(now, Ordering::Relaxed);
        }
    }

    /// The port within.
    pub fn inner(&self) -> &P {
        &self.port
    }

    /// The port within.
    pub fn inner_mut(&mut self) -> &mut P {
        &mut self.port
    }

    #[inline]
    fn is_on(&self) -> bool {
        // ORDERING: see `switch`.
        self.shared.on.load(Ordering::Relaxed)
    }

    fn copy(&self, way: Way, bytes: &[u8]) -> Copied {
        // ORDERING: see `set_now`.
        let now = self.shared.now.load(Ordering::Relaxed);
        Copied { port: self.port.caps().port, way, now, bytes: bytes.to_vec() }
    }

    fn offer(&self, copy: Copied) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.sender.try_send(copy) {
            // ORDERING: a counter.
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cold]
    fn send_copied(&mut self, burst: &mut Burst) -> usize {
        // How many will be taken is known only afterwards, when they are out of reach.
        let copies: Vec<Copied> = burst.iter().map(|frame| self.copy(Way::Out, frame.bytes())).collect();
        self.copies.extend(copies);
        let taken = self.port.send(burst);
        for copy in std::mem::take(&mut self.copies).into_iter().take(taken) {
            self.offer(copy);
        }
        taken
    }
}

impl<P: Port> Port for PcapTap<P> {
    #[inline]
    fn recv(&mut self, burst: &mut Burst, pool: &mut FramePool) -> usize {
        let before = burst.len();
        let received = self.port.recv(burst, pool);
        if self.is_on() {
            for frame in burst.iter().skip(before) {
                self.offer(self.copy(Way::In, frame.bytes()));
            }
        }
        received
    }

    #[inline]
    fn send(&mut self, burst: &mut Burst) -> usize {
        if self.is_on() { self.send_copied(burst) } else { self.port.send(burst) }
    }

    #[inline]
    fn flush(&mut self, pool: &mut FramePool) -> Flushed {
        self.port.flush(pool)
    }

    fn caps(&self) -> Caps {
        self.port.caps()
    }

    fn stats(&self) -> PortStats {
        self.port.stats()
    }

    fn held(&self) -> usize {
        self.port.held()
    }

    fn close(self: Box<Self>, pool: &mut FramePool) {
        Box::new(self.port).close(pool);
    }

    fn wait_fd(&self) -> Option<RawFd> {
        self.port.wait_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{MemPort, mem_pool, retire};
    use sheave_frame::PoolId;

    #[test]
    fn both_ways_are_copied_as_far_as_they_went() {
        let tap = TapHandle::new(8);
        let (port, network) = MemPort::new(PortId(4), 2);
        let mut port = tap.around(port);
        let mut pool = mem_pool(PoolId(0), 8, 2048);
        let mut burst = Burst::with_capacity(8);
        assert!(network.inject(b"unseen"));
        assert_eq!(port.recv(&mut burst, &mut pool), 1);
        assert_eq!(tap.take(), None);
        tap.switch(true);
        port.set_now(77);
        assert!(network.inject(b"a") && network.inject(b"b"));
        assert_eq!(port.recv(&mut burst, &mut pool), 2);
        assert_eq!(port.send(&mut burst), 2, "two fit on the wire");
        let copies: Vec<_> =
            std::iter::from_fn(|| tap.take()).map(|c| (c.port, c.way, c.now, c.bytes)).collect();
        let copy = |way, bytes: &[u8]| (PortId(4), way, 77, bytes.to_vec());
        assert_eq!(
            copies,
            [copy(Way::In, b"a"), copy(Way::In, b"b"), copy(Way::Out, b"unseen"), copy(Way::Out, b"a")]
        );
        pool.release(burst.pop().expect("one stayed"));
        Box::new(port).close(&mut pool);
        assert_eq!(pool.free(), 8);
        retire(pool);
    }

    #[test]
    fn a_slow_reader_loses_copies_and_no_frames() {
        let tap = TapHandle::new(1);
        tap.switch(true);
        let (port, network) = MemPort::new(PortId(0), 8);
        let mut port = tap.around(port);
        let mut pool = mem_pool(PoolId(0), 8, 2048);
        let mut burst = Burst::with_capacity(8);
        for n in 0..5 {
            assert!(network.inject(&[n; 60]));
        }
        assert_eq!(port.recv(&mut burst, &mut pool), 5);
        assert_eq!(tap.lost(), 4);
        assert_eq!(port.send(&mut burst), 5);
        assert_eq!(tap.lost(), 9);
        assert_eq!(network.take_all().len(), 5);
        port.flush(&mut pool);
        assert_eq!(pool.free(), 8);
        retire(pool);
    }
}
