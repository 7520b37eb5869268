//! The frame memory of the process, and the one place where addresses from the kernel become frames again.
//!
//! ```text
//!   UMEM   | pool 0: frame 0, 1, ... n-1 | pool 1: frame n ... | ...        a page each
//!   ledger | word | word | ...                                              who holds the frame, whose it is
//! ```
//!
//! Each frame begins some cache lines further into its page than the one before ([`place`]): were all at the same place of
//! their pages, the first lines of all packets of a burst would have to share the few places that the first cache has
//! for that address. The kernel calls such memory unaligned; addresses on the rings then say where the frame begins, and
//! in the upper 16 bits where in it the packet does.
//!
//! Invariants:
//! - The memory is never unmapped, so a frame may be `&'static mut`.
//! - For each frame there is either one [`Frame`] or a *loan* in the ledger: `lend` turns the first into the second,
//!   `reclaim` and `recover` turn it back. An address that the kernel gives back is believed only when the ledger says
//!   that this very socket holds that frame in that role; otherwise there would be two exclusive references.
//!
//! It knows nothing of sockets but their numbers.

use crate::mapping::{HUGE_PAGE, Mapping};
use sheave_frame::{Frame, FrameId, FramePool, HEADROOM, PoolId};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes of one frame.
pub(crate) const FRAME_BYTES: usize = 3776;
/// The longest packet that can be received, all its headers counted: 3,520 bytes, which is also what native XDP takes.
pub const LONGEST_PACKET: usize = FRAME_BYTES - HEADROOM;
/// No frame crosses a page: nothing says that the next one lies behind it for a device as well.
const PAGE: usize = 4096;
const LINE: usize = 64;
/// Different beginnings of frames in their pages.
const STAGGER: usize = (PAGE - FRAME_BYTES) / LINE;
/// Where an address has the place of the packet in its frame (`XSK_UNALIGNED_BUF_OFFSET_SHIFT`).
const START_AT: u32 = 48;

/// Where a frame begins in the memory.
///
/// PERF: `make perf-quick`. See the head of this file.
#[inline(always)]
const fn place(frame: usize) -> usize {
    frame * PAGE + frame % STAGGER * LINE
}

/// The address of a frame, of one of a packet in it.
#[inline(always)]
pub(crate) const fn frame_of(address: u64) -> u64 {
    address & ((1 << START_AT) - 1)
}

/// What a socket borrowed a frame for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// To receive into: it comes back through the RX ring.
    Fill = 1,
    /// To send from: it comes back through the completion ring.
    Send = 2,
}

/// The number of a socket in the ledger. 22 bits, never zero; wraps after four million sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder(u32);

const HOLDERS: u32 = 1 << 22;

impl Holder {
    #[cfg(test)]
    pub(crate) fn test(number: u32) -> Holder {
        assert!(number > 0 && number < HOLDERS);
        Holder(number)
    }

    /// The ledger word of a frame that this socket holds: | socket 22 | role 2 | home 8 |.
    fn word(self, role: Role, home: PoolId) -> u32 {
        (self.0 << 10) | ((role as u32) << 8) | u32::from(home.0)
    }
}

/// An address that is not this socket's to give back; nothing is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotLent;

/// Frame memory shared by all sockets and workers of the process; a handle to copy around.
#[derive(Debug, Clone, Copy)]
pub struct Umem {
    region: &'static Region,
}

#[derive(Debug)]
struct Region {
    _mapping: Mapping,
    start: NonNull<u8>,
    ledger: Box<[AtomicU32]>,
    frames_per_pool: u32,
    huge: bool,
    /// Pools not taken yet.
    free_pools: Mutex<Vec<bool>>,
    sockets: AtomicU32,
    pub(crate) anchors: Mutex<Vec<crate::xsk::Anchor>>,
}

// JUSTIFICATION: the raw pointer to the frame memory takes `Send` and `Sync` away.
// SAFETY: the ledger gives each frame's bytes to one holder at a time; all else in here is `Sync`.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Umem {
    /// Maps memory for `pools` pools of `frames_per_pool` frames: huge pages where the kernel has them reserved,
    /// transparent ones where it has not. It lives as long as the process.
    ///
    /// # Errors
    /// When nothing is asked for, when it is more than 4 GiB, or when there is not that much memory.
    pub fn new(frames_per_pool: u32, pools: u8) -> io::Result<Umem> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let frames = frames_per_pool
            .checked_mul(u32::from(pools))
            .filter(|frames| *frames > 0 && *frames <= 1 << 20)
            .ok_or_else(|| invalid("UMEM: between 1 and 1048576 frames are possible"))?;
        let bytes = frames as usize * PAGE;
        let rounded = bytes.next_multiple_of(HUGE_PAGE);
        let (mapping, huge) = match Mapping::huge(rounded) {
            Ok(mapping) => (mapping, true),
            Err(_) => {
                // One page more, to begin at a multiple of the huge page size.
                let mapping = Mapping::anonymous(rounded + HUGE_PAGE)?;
                mapping.advise_huge();
                (mapping, false)
            }
        };
        let skip = mapping.start().align_offset(HUGE_PAGE);
        if skip.saturating_add(bytes) > mapping.len() {
            return Err(io::Error::other("UMEM: the mapping cannot be aligned"));
        }
        // SAFETY: `skip` lies within the mapping, as checked.
        let start = unsafe { mapping.start().add(skip) };
        let region = Region {
            _mapping: mapping,
            start,
            ledger: (0..frames).map(|_| AtomicU32::new(0)).collect(),
            frames_per_pool,
            huge,
            free_pools: Mutex::new(vec![true; usize::from(pools)]),
            sockets: AtomicU32::new(1),
            anchors: Mutex::new(Vec::new()),
        };
        tracing::debug!(frames, bytes, huge, "frame memory mapped");
        Ok(Umem { region: Box::leak(Box::new(region)) })
    }

    /// The frames of one pool, once. `others` is how many frames of other pools may be in it at a time.
    pub fn take_pool(&self, id: PoolId, others: usize) -> Option<FramePool> {
        let mut pools = self.region.free_pools.lock().unwrap_or_else(PoisonError::into_inner);
        let free = pools.get_mut(usize::from(id.0))?;
        if !std::mem::take(free) {
            return None;
        }
        let first = u32::from(id.0) * self.region.frames_per_pool;
        let frames = (first..first + self.region.frames_per_pool)
            .map(|frame| {
                // ORDERING: nobody else knows of this frame yet; the pool is handed on by the caller.
                self.region.ledger[frame as usize].store(u32::from(id.0), Ordering::Relaxed);
                // SAFETY: the pool is taken once, and a frame is in one pool only: nobody else refers to it.
                Frame::new(unsafe { self.region.buffer(frame) }, FrameId(frame), id)
            })
            .rev()
            .collect();
        Some(FramePool::new(id, frames, others))
    }

    /// Takes a whole pool back, to be taken again: its worker has ended.
    ///
    /// # Errors
    /// Gives the pool back when frames of it are elsewhere, or frames of others in it.
    pub fn return_pool(&self, mut pool: FramePool) -> Result<(), FramePool> {
        let home = usize::from(pool.id().0);
        if pool.free() != pool.total() || pool.foreign() != 0 || !self.owns(&mut pool) {
            return Err(pool);
        }
        crate::mem::retire(pool);
        let mut pools = self.region.free_pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools[home] = true;
        Ok(())
    }

    /// Whether the frames of a pool that is all there are those of this memory.
    fn owns(&self, pool: &mut FramePool) -> bool {
        let mut frames = Vec::with_capacity(pool.total());
        while let Some(frame) = pool.alloc() {
            frames.push(frame);
        }
        let mut owns = frames.len() == self.region.frames_per_pool as usize;
        for frame in frames.into_iter().rev() {
            let headroom = frame.start();
            let id = frame.id().0;
            let place = self.region.start.as_ptr().wrapping_add(place(id as usize) + headroom);
            owns &= id / self.region.frames_per_pool == u32::from(pool.id().0)
                && frame.bytes().as_ptr() == place.cast_const()
                && frame.capacity() == FRAME_BYTES;
            pool.release(frame);
        }
        owns
    }

    /// Frames in all pools together.
    pub fn frames(&self) -> usize {
        self.region.ledger.len()
    }

    /// Whether it stands on reserved huge pages.
    pub fn is_huge(&self) -> bool {
        self.region.huge
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.region.start
    }

    pub(crate) fn bytes(&self) -> usize {
        self.frames() * PAGE
    }

    pub(crate) fn anchors(&self) -> std::sync::MutexGuard<'_, Vec<crate::xsk::Anchor>> {
        self.region.anchors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new socket.
    pub(crate) fn new_holder(&self) -> Holder {
        // ORDERING: only uniqueness matters.
        let number = self.region.sockets.fetch_add(1, Ordering::Relaxed);
        Holder(number % (HOLDERS - 1) + 1)
    }

    /// Writes a frame into the ledger as held by a socket, and returns the address of its packet.
    ///
    /// # Errors
    /// Gives the frame back when it does not lie in this memory.
    #[inline]
    pub(crate) fn lend(&self, frame: Frame, holder: Holder, role: Role) -> Result<u64, Frame> {
        let (id, start) = (frame.id().0 as usize, frame.start());
        if id >= self.region.ledger.len() {
            return Err(frame);
        }
        let (buffer, frame_id, home) = frame.into_parts();
        // The bounds make the place of the frame the only place that it can have.
        let place = place(id);
        let first = self.region.start.as_ptr().wrapping_add(place);
        if buffer.as_ptr() != first.cast_const() || buffer.len() != FRAME_BYTES {
            return Err(Frame::new(buffer, frame_id, home));
        }
        let word = &self.region.ledger[id];
        // ORDERING: whoever holds a frame is the only one to write its word, and a frame changes hands between threads
        // only over channels that synchronise.
        word.store(holder.word(role, PoolId((word.load(Ordering::Relaxed) & 0xff) as u8)), Ordering::Relaxed);
        Ok(place as u64 | (start as u64) << START_AT)
    }

    /// Makes a frame of an address that the kernel gave back; `len` is the length of its packet.
    ///
    /// # Errors
    /// When the ledger does not have the frame as held by this socket in this role. A packet that does not lie within
    /// its frame comes back as an empty one.
    #[inline]
    pub(crate) fn reclaim(
        &self,
        address: u64,
        len: usize,
        holder: Holder,
        role: Role,
    ) -> Result<Frame, NotLent> {
        let first = usize::try_from(frame_of(address)).map_err(|_| NotLent)?;
        let start = (address >> START_AT) as usize;
        let index = first / PAGE;
        let word = self.region.ledger.get(index).filter(|_| first == place(index)).ok_or(NotLent)?;
        // ORDERING: as in `lend`.
        let found = word.load(Ordering::Relaxed);
        let home = PoolId((found & 0xff) as u8);
        if found != holder.word(role, home) {
            return Err(NotLent);
        }
        word.store(u32::from(home.0), Ordering::Relaxed);
        let id = u32::try_from(index).map_err(|_| NotLent)?;
        // SAFETY: the ledger had this frame as lent, so no `Frame` refers to it; the word just written says that one
        // does from now on. The kernel gave the address back and does not touch the bytes any more.
        let buffer = unsafe { self.region.buffer(id) };
        match Frame::received(buffer, FrameId(id), home, start, len) {
            Ok(frame) | Err(frame) => Ok(frame),
        }
    }

    /// The frames that a socket still holds in a role, after it has been closed.
    ///
    /// # Safety
    /// The kernel must not write to these frames any more: the socket is closed and its queue released.
    pub(crate) unsafe fn recover(&self, holder: Holder, role: Role) -> impl Iterator<Item = Frame> {
        let region = self.region;
        (0u32..).zip(region.ledger.iter()).filter_map(move |(id, word)| {
            // ORDERING: as in `lend`.
            let found = word.load(Ordering::Relaxed);
            let home = PoolId((found & 0xff) as u8);
            if found != holder.word(role, home) {
                return None;
            }
            word.store(u32::from(home.0), Ordering::Relaxed);
            // SAFETY: as in `reclaim`; that the kernel is done with the bytes is the caller's promise.
            Some(Frame::new(unsafe { region.buffer(id) }, FrameId(id), home))
        })
    }
}

impl Region {
    /// The bytes of a frame.
    ///
    /// # Safety
    /// `frame` is below the number of frames, and nobody else refers to its bytes.
    unsafe fn buffer(&self, frame: u32) -> &'static mut [u8] {
        // SAFETY: the caller gives a frame of this region, so the offset lies within the mapping.
        let start = unsafe { self.start.add(place(frame as usize)) };
        // SAFETY: so many initialised bytes lie there for ever, within the frame's page and so apart from those of
        // others, and the caller vouches for exclusiveness.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), FRAME_BYTES) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::retire;
    use proptest::prelude::*;

    fn end(umem: Umem, pools: [FramePool; 2]) {
        for pool in pools {
            umem.return_pool(pool).expect("all frames are home");
        }
        assert!(umem.take_pool(PoolId(0), 0).map(retire).is_some(), "it can be taken again");
    }

    fn umem() -> (Umem, FramePool, FramePool) {
        let umem = Umem::new(8, 2).expect("memory");
        let pools =
            (umem.take_pool(PoolId(0), 8).expect("first"), umem.take_pool(PoolId(1), 8).expect("second"));
        (umem, pools.0, pools.1)
    }

    #[test]
    fn a_pool_is_taken_once_and_frames_lie_where_their_ids_say() {
        let (umem, mut pool, mut second) = umem();
        assert!(umem.take_pool(PoolId(0), 8).is_none());
        assert!(umem.take_pool(PoolId(2), 8).is_none());
        assert_eq!((pool.total(), second.total(), umem.frames(), umem.bytes()), (8, 8, 16, 65536));
        let frame = second.alloc().expect("free");
        assert_eq!((frame.id(), frame.home()), (FrameId(8), PoolId(1)));
        let address = umem.lend(frame, Holder::test(1), Role::Send).expect("ours");
        assert_eq!(address, 8 * 4096 + 8 % 5 * 64 + (256 << 48));
        second.release(umem.reclaim(address, 0, Holder::test(1), Role::Send).expect("lent"));
        assert_eq!(second.free(), 8);
        let frame = pool.alloc().expect("free");
        assert_eq!(frame.id(), FrameId(0));
        let Err(mut pool) = umem.return_pool(pool) else { panic!("returned without a frame") };
        pool.release(frame);
        end(umem, [pool, second]);
    }

    #[test]
    fn only_what_was_lent_comes_back_and_only_once() {
        let (umem, mut pool, second) = umem();
        let (me, other) = (Holder::test(3), Holder::test(4));
        let address = umem.lend(pool.alloc().expect("free"), me, Role::Fill).expect("ours");
        for (address, holder, role) in [
            (address + 4096 + 64, me, Role::Fill),
            (address + 64, me, Role::Fill),
            (address + 1, me, Role::Fill),
            (address, other, Role::Fill),
            (address, me, Role::Send),
            (place(16) as u64, me, Role::Fill),
            (u64::MAX, me, Role::Fill),
        ] {
            assert_eq!(umem.reclaim(address, 60, holder, role).unwrap_err(), NotLent);
        }
        let frame = umem.reclaim(address + (40 << 48), 60, me, Role::Fill).expect("lent");
        assert_eq!((frame.start(), frame.len()), (296, 60));
        assert_eq!(umem.reclaim(address + (40 << 48), 60, me, Role::Fill).unwrap_err(), NotLent);
        pool.release(frame);
        end(umem, [pool, second]);
    }

    #[test]
    fn a_packet_beyond_its_frame_comes_back_empty() {
        let (umem, mut pool, second) = umem();
        let address = umem.lend(pool.alloc().expect("free"), Holder::test(1), Role::Fill).expect("ours");
        let frame = umem.reclaim(address, LONGEST_PACKET + 1, Holder::test(1), Role::Fill).expect("lent");
        assert_eq!(frame.len(), 0);
        pool.release(frame);
        end(umem, [pool, second]);
    }

    #[test]
    fn a_frame_of_other_memory_is_not_lent() {
        let (umem, pool, second) = umem();
        let stray = Frame::new(Box::leak(vec![0; FRAME_BYTES].into_boxed_slice()), FrameId(3), PoolId(0));
        let stray = umem.lend(stray, Holder::test(1), Role::Send).unwrap_err();
        let _ = stray.into_parts();
        end(umem, [pool, second]);
    }

    #[test]
    fn more_than_can_be_numbered_is_refused() {
        assert!(Umem::new(0, 1).is_err());
        assert!(Umem::new(u32::MAX, 2).is_err());
        assert!(Umem::new((1 << 20) + 1, 1).is_err());
    }

    proptest! {
        /// Lending, reclaiming (also of addresses made up) and recovering in any order neither lose nor double a frame.
        #[test]
        fn frames_are_conserved(steps in prop::collection::vec((0u8..4, any::<u16>(), 1u32..4), 1..120)) {
            let (umem, mut pool, second) = umem();
            let mut lent: Vec<(u64, Holder, Role)> = Vec::new();
            for (step, any, socket) in steps {
                let holder = Holder::test(socket);
                let role = if any & 1 == 0 { Role::Fill } else { Role::Send };
                match step {
                    0 => if let Some(frame) = pool.alloc() {
                        lent.push((umem.lend(frame, holder, role).expect("ours"), holder, role));
                    },
                    1 if !lent.is_empty() => {
                        let (address, holder, role) = lent.swap_remove(usize::from(any) % lent.len());
                        pool.release(umem.reclaim(address, 0, holder, role).expect("lent"));
                    }
                    2 => {
                        let address = if any & 2 == 0 { place(usize::from(any / 4)) as u64 } else { u64::from(any) };
                        let known = lent
                            .iter()
                            .position(|l| frame_of(l.0) == frame_of(address) && l.1 == holder && l.2 == role);
                        match (umem.reclaim(address, 0, holder, role), known) {
                            (Ok(frame), Some(at)) => { lent.swap_remove(at); pool.release(frame); }
                            (Err(NotLent), None) => {}
                            (result, known) => {
                                let got = result.map(Frame::into_parts).is_ok();
                                prop_assert!(false, "reclaimed {got}, known {known:?}");
                            }
                        }
                    }
                    _ => {
                        // SAFETY: no kernel in this test.
                        for frame in unsafe { umem.recover(holder, role) } { pool.release(frame); }
                        lent.retain(|l| l.1 != holder || l.2 != role);
                    }
                }
                prop_assert_eq!(pool.free() + lent.len(), 8);
            }
            for (_, holder, role) in lent {
                // SAFETY: no kernel in this test.
                for frame in unsafe { umem.recover(holder, role) } {
                    pool.release(frame);
                }
            }
            end(umem, [pool, second]);
        }
    }
}
