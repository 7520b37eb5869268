//! A bounded queue of frames: what a port receives into and sends from.

use crate::Frame;
use std::collections::VecDeque;

/// A bounded first-in first-out queue of frames. Its memory is allocated once.
#[derive(Debug)]
pub struct Burst {
    frames: VecDeque<Frame>,
    capacity: usize,
}

impl Burst {
    /// An empty burst for `capacity` frames.
    pub fn with_capacity(capacity: usize) -> Burst {
        Burst { frames: VecDeque::with_capacity(capacity), capacity }
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// Gives the frame back when the burst is full.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.frames.len() == self.capacity {
            return Err(frame);
        }
        self.frames.push_back(frame);
        Ok(())
    }

    /// Takes the oldest frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// Appends the last `n` frames of `from`, in their order, or as many of them as there are and fit.
    #[inline]
    pub fn take_from(&mut self, from: &mut Vec<Frame>, n: usize) {
        let n = n.min(self.room()).min(from.len());
        self.frames.extend(from.drain(from.len() - n..));
    }

    /// Moves the oldest `n` frames, or all of them if there are fewer, to the end of `to`.
    #[inline]
    pub fn move_to(&mut self, n: usize, to: &mut Vec<Frame>) {
        // PERF: `instructions/*`. The same memory as another collection for a moment, of which many move at once.
        let mut frames = Vec::from(std::mem::take(&mut self.frames));
        if n < frames.len() {
            to.extend(frames.drain(..n));
        } else {
            to.append(&mut frames);
        }
        self.frames = frames.into();
    }

    /// The frames side by side, writable, oldest first.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Frame] {
        self.frames.make_contiguous()
    }

    /// The oldest frame, left in place.
    #[inline]
    pub fn peek(&self) -> Option<&Frame> {
        self.frames.front()
    }

    /// Frames held.
    #[inline]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether no frame is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames that still fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.capacity - self.frames.len()
    }

    /// The frames, oldest first.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter()
    }

    /// The frames, writable, oldest first.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Frame> {
        self.frames.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameId, PoolId};

    fn frames(ids: std::ops::Range<u32>) -> Vec<Frame> {
        ids.map(|n| Frame::new(Box::leak(vec![0; 512].into_boxed_slice()), FrameId(n), PoolId(0))).collect()
    }

    fn ids<'f>(frames: impl IntoIterator<Item = &'f Frame>) -> Vec<u32> {
        frames.into_iter().map(|frame| frame.id().0).collect()
    }

    #[test]
    fn many_frames_move_in_their_order() {
        let (mut burst, mut from, mut to) = (Burst::with_capacity(4), frames(0..6), Vec::new());
        burst.take_from(&mut from, 9);
        assert_eq!((ids(&from), ids(burst.iter())), (vec![0, 1], vec![2, 3, 4, 5]));
        burst.take_from(&mut from, 1);
        assert_eq!(ids(&from), [0, 1], "there is no room");
        burst.move_to(1, &mut to);
        assert!(burst.push(from.pop().expect("two are left")).is_ok());
        assert_eq!((ids(&to), ids(burst.as_mut_slice().iter())), (vec![2], vec![3, 4, 5, 1]));
        burst.move_to(9, &mut to);
        assert_eq!((ids(&to), burst.len(), burst.room()), (vec![2, 3, 4, 5, 1], 0, 4));
        for frame in to.into_iter().chain(from) {
            _ = frame.into_parts();
        }
    }
}
