//! Time as the packet path sees it: an argument.

/// Nanoseconds since the tick base of the tables (the start of the process, or of a replay). Monotonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time(pub u64);

/// Whole seconds of [`Time`], modulo 2^16: what an entry stores. Longer than the longest timeout (12 h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tick(pub u16);

/// A whole number of seconds: timeouts of entries, 1 s to 12 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub u16);

impl Time {
    /// Nanoseconds of a second.
    pub const SECOND: u64 = 1_000_000_000;

    /// The second that this time lies in.
    #[inline]
    pub fn tick(self) -> Tick {
        #[allow(clippy::cast_possible_truncation, reason = "ticks are modulo 2^16 on purpose")]
        Tick((self.0 / Time::SECOND) as u16)
    }

    /// This time and `nanos` more.
    #[inline]
    pub fn after(self, nanos: u64) -> Time {
        Time(self.0.saturating_add(nanos))
    }
}

impl Tick {
    /// Seconds by which the clocks of two workers may differ: each reads its own once a turn.
    const SKEW: u16 = 1024;

    /// Whole seconds from `self` to `now`; 0 when `self` lies ahead, written by a worker that read its clock
    /// later.
    #[inline]
    pub fn age(self, now: Tick) -> Seconds {
        let age = now.0.wrapping_sub(self.0);
        Seconds(if age > u16::MAX - Tick::SKEW { 0 } else { age })
    }

    /// Whether an entry last used at `self` has outlived `timeout` at `now`. Never early: a started second does
    /// not count.
    #[inline]
    pub fn expired(self, timeout: Seconds, now: Tick) -> bool {
        self.age(now) > timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_ahead_is_no_age() {
        assert_eq!(Tick(7).age(Tick(5)), Seconds(0));
        assert_eq!(Tick(3).age(Tick(u16::MAX)), Seconds(0));
        assert_eq!(Tick(u16::MAX).age(Tick(3)), Seconds(4));
        assert_eq!(Tick(0).age(Tick(43_200)), Seconds(43_200));
    }

    #[test]
    fn expiry_is_never_early_and_at_most_a_second_late_across_the_wrap() {
        for base in [0u64, 65_530, 1_000_000] {
            let seen = Time((base * 1000 + 999) * 1_000_000);
            let at = |ms: u64| Time(seen.0 + ms * 1_000_000).tick();
            assert!(!seen.tick().expired(Seconds(10), at(10_000)));
            assert!(seen.tick().expired(Seconds(10), at(11_001)));
        }
    }
}
