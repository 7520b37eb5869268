//! What happens on the four rings of one AF_XDP socket: frames in, frames out, frames back. No system call.
//!
//! ```text
//!   pool --refill--> fill ring --kernel--> RX ring --recv--> burst
//!   burst --send---> TX ring  --kernel--> completion ring --reap--> pool
//! ```
//!
//! Invariant: `in_fill + in_send` is the number of frames that the ledger of the UMEM has as held by this socket. A
//! descriptor that the kernel refuses never comes back by a ring; its frame stays held until the socket is closed.

use crate::ring::Descriptor;
use crate::umem::{Holder, Role, Umem, frame_of};
use crate::xsk::{FILL_ENTRIES, Rings};
use sheave_frame::{Burst, Frame, FramePool, PortId, PortStats};

/// The fill ring is topped up in lots, not frame by frame.
const LOT: u32 = 32;

/// The frames of one socket.
#[derive(Debug)]
pub(crate) struct Queue {
    umem: Umem,
    pub(crate) holder: Holder,
    rings: Rings,
    port: PortId,
    fill_limit: u32,
    in_fill: u32,
    in_send: u32,
    /// Frames that could not be sent (empty, or of other memory), on their way to the pool.
    strays: Vec<Frame>,
    pub(crate) stats: PortStats,
}

impl Queue {
    pub(crate) fn new(umem: Umem, rings: Rings, port: PortId, fill_limit: u32) -> Queue {
        let fill_limit = fill_limit.clamp(1, FILL_ENTRIES);
        let (holder, stats) = (umem.new_holder(), PortStats::default());
        Queue { umem, holder, rings, port, fill_limit, in_fill: 0, in_send: 0, strays: Vec::new(), stats }
    }

    /// Moves received frames into `burst` and tops up the fill ring.
    #[inline]
    pub(crate) fn recv(&mut self, burst: &mut Burst, pool: &mut FramePool) -> usize {
        let mut received = 0;
        let mut taken = false;
        while burst.room() > 0 {
            let Some(packet) = self.rings.rx.pop() else { break };
            taken = true;
            let Ok(mut frame) =
                self.umem.reclaim(packet.address, packet.len as usize, self.holder, Role::Fill)
            else {
                debug_assert!(false, "the kernel gave back address {} that it did not have", packet.address);
                self.stats.rx_invalid += 1;
                continue;
            };
            self.in_fill -= 1;
            // PERF: perf-quick: the kernel wrote the packet on another core, so that its first line is far away; all
            // of a burst are on their way before the first one is read.
            prefetch(frame.bytes().as_ptr());
            if frame.len() == 0 {
                self.stats.rx_invalid += 1;
                pool.release(frame);
                continue;
            }
            frame.set_ingress(self.port);
            self.stats.rx_bytes += frame.len() as u64;
            received += 1;
            if let Err(frame) = burst.push(frame) {
                pool.release(frame);
            }
        }
        if taken {
            self.rings.rx.release();
            self.stats.rx_frames += received as u64;
        }
        self.refill(pool);
        received
    }

    /// Gives the kernel frames to receive into, up to this queue's share.
    #[inline]
    fn refill(&mut self, pool: &mut FramePool) {
        let missing = self.fill_limit - self.in_fill;
        if missing < LOT.min(self.fill_limit) {
            return;
        }
        let missing = missing.min(self.rings.fill.room(missing));
        let mut given = 0;
        while given < missing {
            let Some(frame) = pool.alloc() else { break };
            match self.umem.lend(frame, self.holder, Role::Fill) {
                Ok(address) => {
                    let pushed = self.rings.fill.push(frame_of(address));
                    debug_assert!(pushed, "there was room for {missing}");
                    given += 1;
                }
                Err(stray) => self.strays.push(stray),
            }
        }
        if given > 0 {
            self.rings.fill.commit();
            self.in_fill += given;
        }
    }

    /// Moves frames of `burst` into the TX ring, as many as fit.
    #[inline]
    pub(crate) fn send(&mut self, burst: &mut Burst) -> usize {
        let wanted = u32::try_from(burst.len()).unwrap_or(u32::MAX);
        let room = self.rings.tx.room(wanted) as usize;
        let taken = burst.len().min(room);
        for _ in 0..taken {
            let Some(frame) = burst.pop() else { break };
            let len = frame.len();
            // The kernel refuses empty packets and then never gives their frames back.
            let lent = if len == 0 { Err(frame) } else { self.umem.lend(frame, self.holder, Role::Send) };
            match lent {
                Ok(address) => {
                    #[expect(clippy::cast_possible_truncation, reason = "a frame has at most a page")]
                    let pushed = self.rings.tx.push(Descriptor { address, len: len as u32, options: 0 });
                    debug_assert!(pushed, "there was room for {taken}");
                    self.in_send += 1;
                    self.stats.tx_frames += 1;
                    self.stats.tx_bytes += len as u64;
                }
                Err(stray) => {
                    debug_assert!(len == 0, "a frame of other memory was sent");
                    self.stats.tx_invalid += 1;
                    self.strays.push(stray);
                }
            }
        }
        if taken > 0 {
            self.rings.tx.commit();
        }
        self.stats.tx_ring_full += burst.len() as u64;
        taken
    }

    /// Moves frames that have been sent to `pool`.
    #[inline]
    pub(crate) fn reap(&mut self, pool: &mut FramePool) -> usize {
        let mut completed = 0;
        while let Some(address) = self.rings.completion.pop() {
            if let Ok(frame) = self.umem.reclaim(address, 0, self.holder, Role::Send) {
                pool.release(frame);
                completed += 1;
                self.in_send -= 1;
            } else {
                debug_assert!(false, "the kernel completed address {address} that it did not have");
                self.stats.tx_invalid += 1;
            }
        }
        if completed > 0 {
            self.rings.completion.release();
        }
        self.reap_strays(pool);
        completed
    }

    fn reap_strays(&mut self, pool: &mut FramePool) {
        while let Some(stray) = self.strays.pop() {
            pool.release(stray);
        }
    }

    /// Descriptors in the TX ring that the kernel has not taken yet.
    #[inline]
    pub(crate) fn unsent(&mut self) -> u32 {
        self.rings.tx.pending()
    }

    /// Frames given for sending that have not come back.
    #[inline]
    pub(crate) fn in_flight(&self) -> usize {
        self.in_send as usize
    }

    pub(crate) fn tx_needs_wakeup(&self) -> bool {
        self.rings.tx.needs_wakeup()
    }

    pub(crate) fn fill_needs_wakeup(&self) -> bool {
        self.rings.fill.needs_wakeup()
    }

    pub(crate) fn held(&self) -> usize {
        self.in_fill as usize + self.in_send as usize + self.strays.len()
    }

    /// Unmaps the rings, gives back what is ours to give, and returns what the kernel holds.
    pub(crate) fn end(mut self, pool: &mut FramePool) -> Lent {
        self.reap_strays(pool);
        Lent { umem: self.umem, holder: self.holder, frames: (self.in_fill + self.in_send) as usize }
    }
}

/// The frames that a closed queue had lent to the kernel.
#[derive(Debug)]
pub(crate) struct Lent {
    umem: Umem,
    holder: Holder,
    frames: usize,
}

impl Lent {
    /// Gives all of them to `pool`.
    ///
    /// # Safety
    /// The kernel must not write to them any more: the socket is closed and its queue released.
    pub(crate) unsafe fn recover(self, pool: &mut FramePool) {
        let mut found = 0;
        for role in [Role::Fill, Role::Send] {
            // SAFETY: the caller's promise.
            for frame in unsafe { self.umem.recover(self.holder, role) } {
                pool.release(frame);
                found += 1;
            }
        }
        debug_assert_eq!(found, self.frames, "the ledger and the queue disagree");
    }
}

/// Asks for the cache line at `address`.
#[inline(always)]
fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // JUSTIFICATION: nothing in the safe language asks for memory ahead.
        // SAFETY: a prefetch reads nothing and faults on no address, not even a bad one; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::retire;
    use crate::ring::{Consumer, Producer, testing};
    use proptest::prelude::*;
    use sheave_frame::PoolId;

    /// The kernel's ends of the rings.
    struct Kernel {
        rx: Producer<Descriptor>,
        tx: Consumer<Descriptor>,
        fill: Consumer<u64>,
        completion: Producer<u64>,
    }

    impl Kernel {
        /// Receives a packet as the kernel does: a frame off the fill ring, the packet behind its headroom.
        fn receive(&mut self, len: u32) -> bool {
            let Some(address) = self.fill.pop() else { return false };
            self.fill.release();
            let pushed = self.rx.push(Descriptor { address: address | 256 << 48, len, options: 0 });
            self.rx.commit();
            pushed
        }

        fn complete(&mut self) -> Option<Descriptor> {
            let descriptor = self.tx.pop()?;
            self.tx.release();
            assert!(self.completion.push(descriptor.address));
            self.completion.commit();
            Some(descriptor)
        }
    }

    fn setup(fill_limit: u32) -> (Queue, Kernel, FramePool, FramePool) {
        let umem = Umem::new(64, 2).expect("memory");
        let pool = umem.take_pool(PoolId(0), 64).expect("first");
        let other = umem.take_pool(PoolId(1), 64).expect("second");
        let (kernel_rx, rx) = testing::pair(64, 0);
        let (tx, kernel_tx) = testing::pair(8, 0);
        let (fill, kernel_fill) = testing::pair(64, 0);
        let (kernel_completion, completion) = testing::pair(64, 0);
        let rings = Rings { rx, tx, fill, completion };
        let kernel =
            Kernel { rx: kernel_rx, tx: kernel_tx, fill: kernel_fill, completion: kernel_completion };
        (Queue::new(umem, rings, PortId(5), fill_limit), kernel, pool, other)
    }

    #[test]
    fn a_packet_comes_in_and_goes_out_grown_to_the_front() {
        let (mut queue, mut kernel, mut pool, other) = setup(40);
        let mut burst = Burst::with_capacity(64);
        assert_eq!(queue.recv(&mut burst, &mut pool), 0);
        assert_eq!((queue.held(), pool.free()), (40, 24));
        assert!(kernel.receive(60));
        assert_eq!(queue.recv(&mut burst, &mut pool), 1);
        let mut frame = burst.pop().expect("received");
        assert_eq!((frame.start(), frame.len(), frame.ingress()), (256, 60, PortId(5)));
        frame.prepend(20).expect("room");
        burst.push(frame).expect("room");
        assert_eq!(queue.send(&mut burst), 1);
        let sent = kernel.complete().expect("sent");
        assert_eq!((sent.address >> 48, sent.len), (236, 80));
        assert_eq!((queue.in_flight(), queue.reap(&mut pool), queue.in_flight()), (1, 1, 0));
        assert_eq!(pool.free() + queue.held(), 64);
        // SAFETY: no kernel in this test.
        unsafe { queue.end(&mut pool).recover(&mut pool) };
        assert_eq!(pool.free(), 64);
        retire(pool);
        retire(other);
    }

    #[test]
    fn what_does_not_fit_stays_with_the_caller_and_a_foreign_frame_is_set_aside() {
        let (mut queue, mut kernel, mut pool, mut other) = setup(4);
        let mut burst = Burst::with_capacity(16);
        for _ in 0..10 {
            let mut frame = other.alloc().expect("free");
            frame.fill(&[7; 60]).expect("fits");
            burst.push(frame).expect("room");
        }
        assert_eq!(queue.send(&mut burst), 8);
        assert_eq!((burst.len(), queue.stats.tx_ring_full), (2, 2));
        while kernel.complete().is_some() {}
        assert_eq!(queue.reap(&mut pool), 8);
        assert_eq!((pool.free(), pool.foreign()), (64, 8));
        while let Some(frame) = pool.take_foreign().or_else(|| burst.pop()) {
            other.release(frame);
        }
        assert_eq!(other.free(), 64);
        retire(pool);
        retire(other);
    }

    #[test]
    fn an_empty_frame_is_not_sent_and_not_lost() {
        let (mut queue, mut kernel, mut pool, other) = setup(4);
        let mut burst = Burst::with_capacity(4);
        burst.push(pool.alloc().expect("free")).expect("room");
        assert_eq!(queue.send(&mut burst), 1);
        assert!(kernel.complete().is_none());
        assert_eq!((queue.held(), queue.reap(&mut pool), pool.free()), (1, 0, 64));
        assert_eq!(queue.stats.tx_invalid, 1);
        retire(pool);
        retire(other);
    }

    proptest! {
        /// Whatever kernel and worker do in whatever order, each frame is in one place, and all come home.
        #[test]
        fn frames_are_conserved(steps in prop::collection::vec(0u8..7, 1..150), limit in 1u32..64) {
            let (mut queue, mut kernel, mut pool, other) = setup(limit);
            let mut burst = Burst::with_capacity(16);
            for step in steps {
                match step {
                    0 | 1 => { let _ = kernel.receive(60); }
                    2 => { let _ = queue.recv(&mut burst, &mut pool); }
                    3 => { let _ = queue.send(&mut burst); }
                    4 => { let _ = kernel.complete(); }
                    5 => { let _ = queue.reap(&mut pool); }
                    _ => if let Some(frame) = burst.pop() { pool.release(frame); }
                }
                prop_assert_eq!(pool.free() + queue.held() + burst.len(), 64);
            }
            while let Some(frame) = burst.pop() { pool.release(frame); }
            // SAFETY: no kernel in this test.
            unsafe { queue.end(&mut pool).recover(&mut pool) };
            prop_assert_eq!(pool.free(), 64);
            retire(pool);
            retire(other);
        }
    }
}
