//! How fast a destination answers: the time from the packet that opens a connection to the first one that comes back.
//!
//! Only under NAT, where the director sees both. One connection at a time is measured for each destination, so that
//! it costs a few words beside the snapshot and nothing for packets of connections that have been answered.
//!
//! ```text
//!   idle --opened--> waiting --its first reply--> idle, measured now
//!                       |---nothing for 3 s-----> the next that is opened: measured with what has passed
//! ```

use crate::time::Time;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How long an answer is waited for.
const PATIENCE: Units = 3_000_000;
/// After so long without a measurement a destination is worth a connection to measure by.
const STALE: Units = 10_000_000;

/// Microseconds, about: 1024 ns, in 31 bits.
type Units = u32;
const UNIT: u32 = 10;
const MASK: u32 = (1 << 31) - 1;

/// The response time of one destination. All is relaxed: ORDERING: estimates that stand for themselves.
#[derive(Debug, Default)]
pub(crate) struct ResponseTime {
    /// Microseconds, smoothed; 0 before the first measurement.
    average: AtomicU32,
    /// The connection that is measured, 0 for none; and since when, or when the last one was. 0 is never.
    probe: AtomicU64,
}

#[expect(clippy::cast_possible_truncation, reason = "wraps every half an hour: ages are short")]
fn units(now: Time) -> Units {
    (now.0 >> UNIT) as u32 & MASK
}

/// A word of the probe: the time with a bit that tells it from never.
fn word(tag: u32, at: Units) -> u64 {
    (u64::from(tag) << 32) | u64::from(at | !MASK)
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of the word")]
fn parts(word: u64) -> (u32, Units) {
    ((word >> 32) as u32, word as u32 & MASK)
}

/// The name of a connection, by where its entry is.
#[expect(clippy::cast_possible_truncation, reason = "enough to tell connections of one destination apart")]
fn tag(connection: u64) -> u32 {
    (connection ^ (connection >> 32)) as u32 | 1
}

impl ResponseTime {
    /// The average, in microseconds.
    pub(crate) fn get(&self) -> Option<u32> {
        Some(self.average.load(Ordering::Relaxed)).filter(|micros| *micros != 0)
    }

    /// Takes in a measurement: a quarter of the average is the new one.
    pub(crate) fn measured(&self, micros: u32) {
        let average = self.get().map_or(micros, |old| old - old / 4 + micros / 4);
        self.average.store(average.max(1), Ordering::Relaxed);
    }

    /// Forgets everything.
    pub(crate) fn reset(&self) {
        self.average.store(0, Ordering::Relaxed);
        self.probe.store(0, Ordering::Relaxed);
    }

    /// Whether the destination is worth a connection to measure by: nothing is known of it, or nothing new, and no
    /// connection is being measured.
    pub(crate) fn is_stale(&self, now: Time) -> bool {
        match self.probe.load(Ordering::Relaxed) {
            0 => true,
            probe => {
                let (tag, at) = parts(probe);
                age(at, now) > if tag == 0 { STALE } else { PATIENCE }
            }
        }
    }

    /// A connection is opened: it is measured if no other is.
    pub(crate) fn opened(&self, connection: u64, now: Time) {
        let probe = self.probe.load(Ordering::Relaxed);
        let (waiting, at) = parts(probe);
        if waiting != 0 {
            let waited = age(at, now);
            if waited <= PATIENCE {
                return;
            }
            self.measured(waited);
        }
        self.probe.store(word(tag(connection), units(now)), Ordering::Relaxed);
    }

    /// The first reply of a connection came.
    pub(crate) fn answered(&self, connection: u64, now: Time) {
        let (waiting, at) = parts(self.probe.load(Ordering::Relaxed));
        if waiting == tag(connection) {
            self.probe.store(word(0, units(now)), Ordering::Relaxed);
            self.measured(age(at, now));
        }
    }
}

fn age(at: Units, now: Time) -> Units {
    units(now).wrapping_sub(at) & MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(micros: u64) -> Time {
        Time(micros << UNIT)
    }

    #[test]
    fn one_connection_is_measured_at_a_time() {
        let time = ResponseTime::default();
        assert!(time.is_stale(at(0)) && time.get().is_none());
        time.opened(7, at(1_000));
        time.opened(8, at(1_100));
        assert!(!time.is_stale(at(1_200)));
        time.answered(8, at(1_200));
        assert_eq!(time.get(), None, "it is not the one");
        time.answered(7, at(1_400));
        assert_eq!(time.get(), Some(400));
        time.answered(7, at(9_000));
        assert_eq!(time.get(), Some(400), "only its first reply counts");
        time.opened(9, at(10_000));
        time.answered(9, at(10_800));
        assert_eq!(time.get(), Some(500), "300 of the old, 200 of the new");
    }

    #[test]
    fn no_answer_is_a_slow_one() {
        let time = ResponseTime::default();
        time.opened(7, at(1_000));
        assert!(!time.is_stale(at(3_001_000)));
        assert!(time.is_stale(at(3_001_001)));
        time.opened(8, at(4_001_000));
        assert_eq!(time.get(), Some(4_000_000));
        assert!(!time.is_stale(at(4_001_000)), "another one is measured now");
    }

    #[test]
    fn what_is_known_becomes_stale() {
        let time = ResponseTime::default();
        time.opened(7, at(1_000));
        time.answered(7, at(1_100));
        assert!(!time.is_stale(at(10_001_100)));
        assert!(time.is_stale(at(10_001_101)));
        time.reset();
        assert!(time.get().is_none() && time.is_stale(at(10_001_101)));
    }

    #[test]
    fn time_may_wrap() {
        let (time, before) = (ResponseTime::default(), u64::from(MASK) - 99);
        time.opened(7, at(before));
        time.answered(7, at(before + 250));
        assert_eq!(time.get(), Some(250));
    }
}
