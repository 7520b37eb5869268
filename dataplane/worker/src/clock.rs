//! The one place of the data path that reads a clock.

use sheave_pipeline::Time;
use std::time::Instant;

/// Turns the monotonic clock into [`Time`]: nanoseconds since the tick base.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: Instant,
}

impl Clock {
    /// A clock whose tick base is now.
    pub fn start() -> Clock {
        Clock { base: read() }
    }

    /// The time now.
    #[inline]
    pub fn now(&self) -> Time {
        let nanos = read().saturating_duration_since(self.base).as_nanos();
        // 64 bits of nanoseconds last for 584 years.
        Time(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the data path's one clock; everything below takes time as an argument"
)]
#[inline]
fn read() -> Instant {
    Instant::now()
}
