//! Waiting on conditions, and the kit's one clock.
//!
//! Real processes and a real kernel have no event for everything that a test waits for, so the kit polls; the only
//! sleep of the kit is here. A wait that is over its time is an error that says what was waited for.

use std::time::{Duration, Instant};

use crate::{Error, Result};

/// How often a condition is looked at: short against what a person notices, long against what it costs.
const POLL: Duration = Duration::from_millis(10);

/// Looks at `condition` until it holds, and returns how long that took.
///
/// # Errors
/// When it still does not hold after `timeout`; `what` names the condition then.
pub fn wait_until(what: &str, timeout: Duration, mut condition: impl FnMut() -> bool) -> Result<Duration> {
    wait_for(what, timeout, || condition().then_some(())).map(|((), took)| took)
}

/// Calls `attempt` until it yields a value, and returns that and how long it took.
///
/// # Errors
/// When there is still none after `timeout`; `what` names what was waited for then.
pub fn wait_for<T>(
    what: &str,
    timeout: Duration,
    mut attempt: impl FnMut() -> Option<T>,
) -> Result<(T, Duration)> {
    let watch = Stopwatch::start();
    loop {
        if let Some(value) = attempt() {
            return Ok((value, watch.elapsed()));
        }
        if watch.elapsed() >= timeout {
            return Err(Error::new(format!("{what}: not so within {timeout:?}")));
        }
        pause(POLL);
    }
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the kit's one clock: it watches real processes in real time"
    )]
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Lets `time` go by: between two looks at a condition, or as the length of a measurement; never in the hope that
/// something will have happened by then.
#[expect(clippy::disallowed_methods, reason = "the kit's one sleep: the pace of polling and of measuring")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_to_hold_ends_the_wait() {
        let mut looks = 0;
        wait_until("third look", Duration::from_secs(5), || {
            looks += 1;
            looks == 3
        })
        .expect("holds at the third look");
        assert_eq!(looks, 3);
    }

    #[test]
    fn a_condition_that_never_holds_is_an_error_that_names_it() {
        let error = wait_until("the moon in the pond", Duration::ZERO, || false).expect_err("never holds");
        assert!(error.to_string().contains("the moon in the pond"), "{error}");
    }
}
