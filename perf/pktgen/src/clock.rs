//! The one clock of the laboratory's tools, which measure real time.

use std::time::Instant;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the home of the clock: these tools measure real time")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The monotonic clock in nanoseconds, as BPF programs read it.
#[must_use]
pub fn monotonic() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    time.map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
    })
}

/// Lets time go by: the pace of looking at counters.
#[expect(clippy::disallowed_methods, reason = "nothing tells when a kernel's counter changes")]
pub fn pause(time: std::time::Duration) {
    std::thread::sleep(time);
}
