//! A worker's free frames.

use crate::{Frame, PoolId};

/// A stack of free frames, last in first out (the warmest cache lines first). One a worker.
///
/// Frames of another worker's pool that end up here (they were sent through a queue of this worker) are kept
/// apart and go home with [`FramePool::take_foreign`].
#[derive(Debug)]
pub struct FramePool {
    free: Vec<Frame>,
    foreign: Vec<Frame>,
    id: PoolId,
    total: usize,
}

impl FramePool {
    /// A pool that owns `frames`; `others` is how many frames of other pools can be here at once.
    pub fn new(id: PoolId, frames: Vec<Frame>, others: usize) -> FramePool {
        debug_assert!(frames.iter().all(|f| f.home() == id));
        let total = frames.len();
        FramePool { free: frames, foreign: Vec::with_capacity(others), id, total }
    }

    /// Takes a free frame: empty, its start at the headroom.
    #[inline]
    pub fn alloc(&mut self) -> Option<Frame> {
        self.free.pop()
    }

    /// Gives a frame back. One of another pool is set aside for its way home.
    #[inline]
    pub fn release(&mut self, mut frame: Frame) {
        frame.reset();
        if frame.home() == self.id {
            self.free.push(frame);
        } else {
            self.foreign.push(frame);
        }
    }

    /// Gives frames back; `frames` is empty afterwards.
    #[inline]
    pub fn release_all(&mut self, frames: &mut Vec<Frame>) {
        let mut own = true;
        for frame in frames.iter_mut() {
            frame.reset();
            own &= frame.home() == self.id;
        }
        if own {
            self.free.append(frames);
        } else {
            frames.drain(..).for_each(|frame| self.release(frame));
        }
    }

    /// Takes a frame that belongs to another pool, if any is here.
    #[inline]
    pub fn take_foreign(&mut self) -> Option<Frame> {
        self.foreign.pop()
    }

    /// Frames free now.
    #[inline]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Frames of other pools that wait for their way home.
    #[inline]
    pub fn foreign(&self) -> usize {
        self.foreign.len()
    }

    /// Frames that this pool owns, wherever they are now.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Whose pool this is.
    pub fn id(&self) -> PoolId {
        self.id
    }
}

/// A pool that goes takes its frames along: their memory is the process's, nobody misses them.
impl Drop for FramePool {
    fn drop(&mut self) {
        for frame in self.free.drain(..).chain(self.foreign.drain(..)) {
            _ = frame.into_parts();
        }
    }
}
