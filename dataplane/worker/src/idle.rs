//! When an idle worker sleeps, and for how long. Pure.

use sheave_pipeline::Time;
use std::time::Duration;

/// What a worker does when it finds nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Spins for a moment, then sleeps until something arrives or is due.
    Adaptive,
    /// Never sleeps.
    Busy,
}

/// How long an adaptive worker goes on looking after it was last busy. Long enough to bridge the gaps between the
/// bursts of a busy link, short enough that an idle director costs nothing.
const SPIN: u64 = 50_000;

/// The longest sleep while sent frames have not come back: they are reaped when the worker looks, nobody calls.
const REAP: u64 = 1_000_000;

/// Decides after each turn whether to sleep.
#[derive(Debug)]
pub(crate) struct Idle {
    wait: Wait,
    last_busy: Time,
}

impl Idle {
    pub(crate) fn new(wait: Wait) -> Idle {
        Idle { wait, last_busy: Time::default() }
    }

    /// There was something to do in a turn at `now`.
    #[inline]
    pub(crate) fn busy(&mut self, now: Time) {
        self.last_busy = now;
    }

    /// How long to sleep after a turn at `now` without anything to do; `None` to go on at once. `due` is when the next timed
    /// work is, `in_flight` whether sent frames are still out, `ports` whether there is anything to receive from.
    pub(crate) fn after_turn(&self, turn: After, now: Time) -> Option<Duration> {
        // Without a port even a busy worker has nothing to look at.
        if self.wait == Wait::Busy && turn.ports {
            return None;
        }
        if turn.ports && now.0.saturating_sub(self.last_busy.0) < SPIN {
            return None;
        }
        let until_due = turn.due.0.saturating_sub(now.0);
        let nanos = if turn.in_flight { until_due.min(REAP) } else { until_due };
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }
}

/// What the decision needs to know of a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After {
    pub(crate) ports: bool,
    pub(crate) in_flight: bool,
    pub(crate) due: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: After = After { ports: true, in_flight: false, due: Time(1_000_000_000) };

    #[test]
    fn an_adaptive_worker_spins_for_a_moment_and_then_sleeps_until_due() {
        let mut idle = Idle::new(Wait::Adaptive);
        idle.busy(Time(1_000_000));
        assert_eq!(idle.after_turn(QUIET, Time(1_000_000 + SPIN - 1)), None);
        let slept = idle.after_turn(QUIET, Time(1_000_000 + SPIN));
        assert_eq!(slept, Some(Duration::from_nanos(1_000_000_000 - 1_000_000 - SPIN)));
    }

    #[test]
    fn frames_that_are_out_shorten_the_sleep() {
        let idle = Idle::new(Wait::Adaptive);
        let out = After { in_flight: true, ..QUIET };
        assert_eq!(idle.after_turn(out, Time(500_000)), Some(Duration::from_millis(1)));
    }

    #[test]
    fn what_is_due_is_not_slept_over() {
        let idle = Idle::new(Wait::Adaptive);
        assert_eq!(idle.after_turn(QUIET, Time(1_000_000_000)), None);
    }

    #[test]
    fn a_busy_worker_sleeps_only_without_ports() {
        let idle = Idle::new(Wait::Busy);
        assert_eq!(idle.after_turn(QUIET, Time(900_000_000)), None);
        let bare = After { ports: false, ..QUIET };
        assert_eq!(idle.after_turn(bare, Time(900_000_000)), Some(Duration::from_millis(100)));
    }
}
