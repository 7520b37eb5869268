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
