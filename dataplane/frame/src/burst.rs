//! A bounded queue of frames: what a port receives into and sends from.

use crate::Frame;

/// A bounded first-in first-out queue of frames. Its memory is allocated once.
///
/// The frames lie side by side, in front of them the places of those that were taken one by one. There is room for twice the
/// capacity, so that a frame moves up once at most for each one that was taken.
#[derive(Debug)]
pub struct Burst {
    frames: Vec<Frame>,
    /// Where the oldest frame is.
    first: usize,
    capacity: usize,
}

impl Burst {
    /// An empty burst for `capacity` frames.
    pub fn with_capacity(capacity: usize) -> Burst {
        Burst { frames: Vec::with_capacity(2 * capacity), first: 0, capacity }
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// Gives the frame back when the burst is full.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.len() == self.capacity {
            return Err(frame);
        }
        if self.frames.len() == 2 * self.capacity {
            self.move_up();
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Takes the oldest frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        let frame = std::mem::replace(self.frames.get_mut(self.first)?, Frame::hollow());
        self.taken(1);
        Some(frame)
    }

    /// The oldest `n` frames were taken out of their places.
    #[inline(always)]
    fn taken(&mut self, n: usize) {
        self.first += n;
        if self.first == self.frames.len() {
            self.frames.clear();
            self.first = 0;
        }
    }

    /// Appends the last `n` frames of `from`, in their order, or as many of them as there are and fit.
    #[inline]
    pub fn take_from(&mut self, from: &mut Vec<Frame>, n: usize) {
        let n = n.min(self.room()).min(from.len());
        if self.first != 0 {
            self.move_up();
        }
        self.frames.extend(from.drain(from.len() - n..));
    }

    /// Moves the oldest `n` frames, or all of them if there are fewer, to the end of `to`.
    #[inline]
    pub fn move_to(&mut self, n: usize, to: &mut Vec<Frame>) {
        if n >= self.frames.len() && self.first == 0 {
            // PERF: `instructions/*`. All of them move at once.
            return to.append(&mut self.frames);
        }
        let n = n.min(self.len());
        let frames = self.as_mut_slice().iter_mut().take(n);
        to.extend(frames.map(|frame| std::mem::replace(frame, Frame::hollow())));
        self.taken(n);
    }

    /// The frames side by side, writable, oldest first.
    #[inline(always)]
    pub fn as_mut_slice(&mut self) -> &mut [Frame] {
        self.frames.get_mut(self.first..).unwrap_or_default()
    }

    /// The oldest frame, left in place.
    #[inline]
    pub fn peek(&self) -> Option<&Frame> {
        self.frames.get(self.first)
    }

    /// Frames held.
    #[inline]
    pub fn len(&self) -> usize {
        self.frames.len() - self.first
    }

    /// Whether no frame is held.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frames that still fit.
    #[inline]
    pub fn room(&self) -> usize {
        self.capacity - self.len()
    }

    /// The frames, oldest first.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &Frame> {
        self.frames.iter().skip(self.first)
    }

    /// The frames, writable, oldest first.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Frame> {
        self.as_mut_slice().iter_mut()
    }

    /// Makes the places in front of the frames free.
    #[cold]
    fn move_up(&mut self) {
        self.frames.drain(..self.first).for_each(|hollow| _ = hollow.into_parts());
        self.first = 0;
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
