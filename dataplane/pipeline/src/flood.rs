//! Flood mode of one worker: when more connections begin in a second than it is told to take entries for, or too many
//! have begun that are not established, no entry is made for a further one ([`crate::adrift`]).
//!
//! ```text
//!            no token, or no room                 a second below the rate, and room
//!   calm ---------------------------> flood ------------------------------------------> ebb
//!     ^                                 ^------ no token, or no room ---------------------|
//!     '---------------------------------------- 60 s -------------------------------------'
//! ```
//!
//! At ebb new connections get entries again, but go where they would have gone at flood: who was answered then may only
//! speak now.
//!
//! Pure: times and numbers go in. Rates are of this worker's own packets; the room is what all workers have left together.

use crate::time::Time;

/// What a worker may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Connections a second, and as many at once; 0 is no bound.
    pub(crate) rate: u32,
    /// Connections that are not established, of all workers together.
    pub(crate) budget: u64,
}

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Nothing is the matter.
    Calm,
    /// No entries are made.
    Flood { since: Time },
    /// It is over, but not long ago.
    Ebb { until: Time },
}

/// The meter of one worker.
#[derive(Debug)]
pub(crate) struct Flood {
    mode: Mode,
    /// Tokens, each worth [`TOKEN`], and when they were last counted.
    credit: u64,
    credited: Time,
    /// Entries that may still be made before the room is looked at again, and when that is at the latest.
    room: u64,
    next_look: Time,
    /// New connections since the beginning of this second, and those of the one before.
    count: u64,
    second: Time,
    before: u64,
}

/// Time in nanoseconds times connections a second.
const TOKEN: u64 = Time::SECOND;
/// How often the room is looked at.
const LOOK: u64 = Time::SECOND / 1000;
/// How long after a flood its flows are expected: the timeout of a TCP handshake.
const EBB: u64 = 60 * Time::SECOND;

impl Flood {
    pub(crate) fn new() -> Flood {
        Flood {
            mode: Mode::Calm,
            credit: u64::MAX,
            credited: Time(0),
            room: 0,
            next_look: Time(0),
            count: 0,
            second: Time(0),
            before: 0,
        }
    }

    /// Where it stands.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether there is or was a flood whose flows are still expected.
    #[inline]
    pub(crate) fn recent(&self) -> bool {
        self.mode != Mode::Calm
    }

    /// New connections in the last second.
    pub(crate) fn rate(&self) -> u64 {
        self.before.max(self.count)
    }

    /// A connection begins. Says whether an entry may be made for it. `pending` is how many are not established.
    #[inline]
    pub(crate) fn arrived(&mut self, now: Time, limits: Limits, pending: impl Fn() -> u64) -> bool {
        if limits.rate == 0 {
            return true;
        }
        self.tend(now, limits, &pending);
        self.count += 1;
        if matches!(self.mode, Mode::Flood { .. }) {
            return false;
        }
        let taken = self.take(now, limits, pending);
        if !taken {
            self.mode = Mode::Flood { since: now };
        }
        taken
    }

    /// Whether an entry may be made for a connection that began without one.
    pub(crate) fn admits(&mut self, now: Time, limits: Limits, pending: impl Fn() -> u64) -> bool {
        limits.rate == 0 || self.take(now, limits, pending)
    }

    fn take(&mut self, now: Time, limits: Limits, pending: impl Fn() -> u64) -> bool {
        if now >= self.next_look || self.room == 0 {
            self.next_look = now.after(LOOK);
            self.room = limits.budget.saturating_sub(pending());
        }
        // A second's worth at most: that is less than 2^62.
        let elapsed = now.0.saturating_sub(self.credited.0).min(Time::SECOND);
        self.credited = self.credited.max(now);
        let rate = u64::from(limits.rate);
        self.credit = self.credit.min(rate * TOKEN).saturating_add(elapsed * rate).min(rate * TOKEN);
        if self.room == 0 || self.credit < TOKEN {
            return false;
        }
        self.room -= 1;
        self.credit -= TOKEN;
        true
    }

    /// Lets time pass.
    #[inline]
    pub(crate) fn tend(&mut self, now: Time, limits: Limits, pending: impl Fn() -> u64) {
        if now.0.saturating_sub(self.second.0) >= Time::SECOND {
            self.second_over(now, limits, pending);
        }
    }

    #[cold]
    fn second_over(&mut self, now: Time, limits: Limits, pending: impl Fn() -> u64) {
        let seconds = (now.0 - self.second.0) / Time::SECOND;
        self.second = self.second.after(seconds * Time::SECOND);
        let counted = std::mem::take(&mut self.count);
        // Of several, nothing came in the last.
        self.before = if seconds == 1 { counted } else { 0 };
        match self.mode {
            Mode::Flood { .. } => {
                let low = limits.budget - limits.budget / 4;
                if limits.rate == 0 || (self.before < u64::from(limits.rate) && pending() < low) {
                    self.mode = Mode::Ebb { until: self.second.after(EBB) };
                }
            }
            Mode::Ebb { until } if until <= now => self.mode = Mode::Calm,
            Mode::Ebb { .. } | Mode::Calm => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { rate: 100, budget: 1000 };

    fn at(millis: u64) -> Time {
        Time(50 * Time::SECOND + millis * (Time::SECOND / 1000))
    }

    /// How many of so many get an entry at once.
    fn burst(flood: &mut Flood, count: usize, millis: u64) -> usize {
        (0..count).filter(|_| flood.arrived(at(millis), LIMITS, || 0)).count()
    }

    #[test]
    fn a_second_s_worth_at_once_and_then_the_rate() {
        let mut flood = Flood::new();
        assert_eq!(burst(&mut flood, 100, 0), 100);
        for millis in (10..2000).step_by(10) {
            assert!(flood.arrived(at(millis), LIMITS, || 0), "{millis}");
        }
        assert!(!flood.recent());
        assert!(!flood.arrived(at(1990), LIMITS, || 0));
        assert_eq!(flood.mode(), Mode::Flood { since: at(1990) });
    }

    #[test]
    fn a_flood_ends_after_a_second_below_the_rate() {
        let mut flood = Flood::new();
        assert_eq!(burst(&mut flood, 500, 0), 100);
        assert_eq!(flood.rate(), 500);
        for second in 1..5 {
            assert_eq!(burst(&mut flood, 100, second * 1000), 0, "as many as the rate is a flood still");
        }
        assert_eq!(burst(&mut flood, 99, 5000), 0);
        assert_eq!(burst(&mut flood, 1, 6000), 1);
        assert_eq!(flood.mode(), Mode::Ebb { until: at(66_000) });
        flood.tend(at(65_999), LIMITS, || 0);
        assert!(flood.recent());
        flood.tend(at(66_000), LIMITS, || 0);
        assert!(!flood.recent());
    }

    #[test]
    fn a_pause_is_a_second_below_the_rate() {
        let mut flood = Flood::new();
        assert_eq!(burst(&mut flood, 500, 0), 100);
        assert_eq!(burst(&mut flood, 50, 2500), 50, "the last whole second was without any");
        let mut flood = Flood::new();
        assert_eq!(burst(&mut flood, 500, 0), 100);
        assert_eq!(burst(&mut flood, 50, 1999), 0);
    }

    #[test]
    fn who_is_not_established_takes_room() {
        let mut flood = Flood::new();
        assert!(flood.arrived(at(0), LIMITS, || 999));
        assert!(!flood.arrived(at(0), LIMITS, || 1000), "the one before has taken the last");
        assert!(flood.recent());
        // As long as there are three quarters of them.
        flood.tend(at(1000), LIMITS, || 750);
        assert!(matches!(flood.mode(), Mode::Flood { .. }));
        flood.tend(at(2000), LIMITS, || 749);
        assert!(matches!(flood.mode(), Mode::Ebb { .. }));
    }

    #[test]
    fn who_comes_back_during_a_flood_is_admitted_by_the_same_tokens() {
        let mut flood = Flood::new();
        burst(&mut flood, 500, 0);
        assert!(!flood.admits(at(5), LIMITS, || 0));
        assert!(flood.admits(at(10), LIMITS, || 0));
        assert!(!flood.admits(at(10), LIMITS, || 0));
        assert!(!flood.admits(at(500), LIMITS, || 1000));
        assert!(matches!(flood.mode(), Mode::Flood { .. }));
    }

    #[test]
    fn without_a_bound_there_is_no_flood() {
        let mut flood = Flood::new();
        let none = Limits { rate: 0, budget: 0 };
        assert!((0..1_000_000).all(|_| flood.arrived(at(0), none, || u64::MAX)));
        assert!(!flood.recent() && flood.admits(at(0), none, || u64::MAX));
    }

    #[test]
    fn numbers_do_not_overflow() {
        let mut flood = Flood::new();
        let most = Limits { rate: u32::MAX, budget: u64::MAX };
        assert!(flood.arrived(Time(0), most, || 0));
        assert!(flood.arrived(Time(u64::MAX - EBB), most, || 0));
    }
}
