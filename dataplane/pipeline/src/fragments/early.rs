//! Fragments that came before the first one of their datagram: kept back, bounded, by the worker that got them.
//!
//! The first one may reach another worker, so what is held here is looked at again each turn. Frames leave in
//! the order in which they came.

use super::datagrams::{Arrived, Datagrams, Decision, Fate};
use super::piece::Refused;
use crate::time::Time;
use sheave_frame::{Frame, FramePool};
use std::collections::VecDeque;

/// Frames of one datagram, at most: 64 KiB over links of 1500 bytes make 45.
const PER_DATAGRAM: usize = 64;
/// Frames in all, at most.
const IN_ALL: usize = 256;
/// How long a frame waits, at most. Fragments that are out of order are so by milliseconds.
const PATIENCE: u64 = Time::SECOND;
/// How soon to look again at what another worker may decide.
const AGAIN: u64 = Time::SECOND / 1000;

/// A frame that waits.
#[derive(Debug)]
struct Held {
    frame: Frame,
    arrived: Arrived,
    since: Time,
}

/// A frame that waits no more.
#[derive(Debug)]
pub(crate) struct Settled {
    /// The frame.
    pub(crate) frame: Frame,
    /// Its place in its datagram.
    pub(crate) arrived: Arrived,
    /// What to do with it, or why to drop it.
    pub(crate) outcome: Result<Decision, Refused>,
}

/// What one worker holds back.
#[derive(Debug)]
pub(crate) struct Early {
    /// In order of arrival.
    frames: VecDeque<Held>,
}

impl Early {
    /// Nothing held; the memory for all that can be.
    pub(crate) fn new() -> Early {
        Early { frames: VecDeque::with_capacity(IN_ALL) }
    }

    /// Frames held.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Keeps a frame back. Gives back the frame that has to go for that, if one has: this one, where its
    /// datagram has too many; the oldest, where there are too many in all.
    #[must_use = "a frame that has to go is the caller's to release and to count"]
    pub(crate) fn hold(
        &mut self,
        frame: Frame,
        arrived: Arrived,
        now: Time,
        datagrams: &Datagrams,
    ) -> Option<(Frame, Refused)> {
        if self.frames.iter().filter(|held| held.arrived.beside(&arrived)).count() >= PER_DATAGRAM {
            datagrams.doom(&arrived, Refused::TooMany);
            return Some((frame, Refused::TooMany));
        }
        let oldest = if self.frames.len() >= IN_ALL { self.give_up_oldest(datagrams) } else { None };
        self.frames.push_back(Held { frame, arrived, since: now });
        oldest.map(|frame| (frame, Refused::Unmatched))
    }

    /// Takes out the first frame, from `place` on, that need not wait any more, and says where it was: the
    /// place to go on from.
    pub(crate) fn take_settled(&mut self, place: usize, datagrams: &Datagrams) -> Option<(usize, Settled)> {
        let (place, outcome) = (place..self.frames.len()).find_map(|place| {
            match datagrams.fate(&self.frames.get(place)?.arrived) {
                Fate::Open => None,
                Fate::Decided(decision) => Some((place, Ok(decision))),
                Fate::Refused(why) => Some((place, Err(why))),
            }
        })?;
        let Held { frame, arrived, .. } = self.frames.remove(place)?;
        Some((place, Settled { frame, arrived, outcome }))
    }

    /// Takes out a frame that has waited too long, if there is one. What else there is of its datagram follows,
    /// since that is forgotten.
    pub(crate) fn take_overdue(&mut self, now: Time, datagrams: &Datagrams) -> Option<Frame> {
        self.frames.front().filter(|held| held.since.after(PATIENCE) <= now)?;
        self.give_up_oldest(datagrams)
    }

    /// When to look again.
    pub(crate) fn next_due(&self, now: Time) -> Option<Time> {
        let oldest = self.frames.front()?;
        Some(oldest.since.after(PATIENCE).min(now.after(AGAIN)))
    }

    /// Gives all frames back.
    pub(crate) fn clear(&mut self, pool: &mut FramePool) {
        while let Some(held) = self.frames.pop_front() {
            pool.release(held.frame);
        }
    }

    /// Without one of its fragments a datagram is nothing: it is forgotten.
    fn give_up_oldest(&mut self, datagrams: &Datagrams) -> Option<Frame> {
        let held = self.frames.pop_front()?;
        datagrams.forget(&held.arrived);
        Some(held.frame)
    }
}
