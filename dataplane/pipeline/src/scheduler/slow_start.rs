//! Slow start: the share of its weight that a new or recovered destination counts with.
//!
//! ```text
//!   share = max(1/100, age / slow-start), up to 1
//! ```
//!
//! It counts for every scheduler that weighs (wrr by letting turns go by) but the hashed ones: their tables hold the
//! full weight from the start, because two directors that have the same tables do not have the same clock.

use crate::live::DestLive;
use crate::time::{Seconds, Time};

/// The whole weight. Shares are whole numbers up to this, so that weights are multiplied and never divided.
pub(super) const FULL: u64 = 1024;
/// A hundredth.
const LEAST: u64 = FULL / 100;

/// The share of its weight that a destination counts with.
#[inline]
pub(super) fn share(live: &DestLive, duration: Seconds, now: Time) -> u64 {
    if duration == Seconds(0) {
        return FULL;
    }
    let Some(since) = live.since() else { return FULL };
    let (age, whole) = (now.0.saturating_sub(since.0), u64::from(duration.0) * Time::SECOND);
    if age >= whole {
        return FULL;
    }
    // 12 h at most, which leaves room for the factor. Divides only while a destination grows, and only for a
    // new connection.
    (age * FULL / whole).max(LEAST)
}
