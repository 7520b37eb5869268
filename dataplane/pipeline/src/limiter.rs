//! A token bucket: how many ICMP errors a worker sends, and how many resets.

use crate::time::Time;

/// Tokens come at a steady rate up to a burst.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// Nanoseconds' worth of tokens in the bucket.
    credit: u64,
    seen: Time,
}

impl Limiter {
    /// Errors a second, and as many at once; and as many resets.
    pub(crate) const RATE: u64 = 1000;
    const COST: u64 = Time::SECOND / Limiter::RATE;
    const FULL: u64 = Limiter::RATE * Limiter::COST;

    /// A full bucket.
    pub(crate) fn new() -> Limiter {
        Limiter { credit: Limiter::FULL, seen: Time(0) }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        let earned = now.0.saturating_sub(self.seen.0);
        self.seen = self.seen.max(now);
        self.credit = self.credit.saturating_add(earned).min(Limiter::FULL);
        match self.credit.checked_sub(Limiter::COST) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate() {
        let mut limiter = Limiter::new();
        let taken = |limiter: &mut Limiter, at: u64| (0..5000).filter(|_| limiter.take(Time(at))).count();
        assert_eq!(taken(&mut limiter, 0), 1000);
        assert_eq!(taken(&mut limiter, Time::SECOND / 4), 250);
        assert_eq!(taken(&mut limiter, Time::SECOND / 4 + 999_999), 0);
        assert_eq!(taken(&mut limiter, Time::SECOND * 1000), 1000);
    }
}
