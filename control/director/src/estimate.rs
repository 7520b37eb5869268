//! Rates as IPVS computes them: sampled every two seconds, each sample moving the average by a quarter. Pure.

use sheave_proto::api::{Rates, Totals};

/// Both together.
pub(crate) fn plus(a: Totals, b: Totals) -> Totals {
    Totals {
        conns: a.conns.wrapping_add(b.conns),
        in_packets: a.in_packets.wrapping_add(b.in_packets),
        out_packets: a.out_packets.wrapping_add(b.out_packets),
        in_bytes: a.in_bytes.wrapping_add(b.in_bytes),
        out_bytes: a.out_bytes.wrapping_add(b.out_bytes),
    }
}

/// What came to `now` since `base`.
pub(crate) fn since(now: Totals, base: Totals) -> Totals {
    Totals {
        conns: now.conns.wrapping_sub(base.conns),
        in_packets: now.in_packets.wrapping_sub(base.in_packets),
        out_packets: now.out_packets.wrapping_sub(base.out_packets),
        in_bytes: now.in_bytes.wrapping_sub(base.in_bytes),
        out_bytes: now.out_bytes.wrapping_sub(base.out_bytes),
    }
}

/// Between two samples, in seconds.
pub(crate) const PERIOD: u64 = 2;

/// One average in fixed point with `FRACTION` binary places, rounded up when read as IPVS does.
#[derive(Debug, Clone, Copy, Default)]
struct Average<const FRACTION: u32> {
    last: u64,
    scaled: i64,
}

impl<const FRACTION: u32> Average<FRACTION> {
    fn sample(&mut self, total: u64) {
        let delta = total.wrapping_sub(self.last);
        self.last = total;
        // Per two seconds: one binary place less.
        let rate = i64::try_from(delta << (FRACTION - 1)).unwrap_or(i64::MAX);
        self.scaled += rate.saturating_sub(self.scaled) >> 2;
    }

    fn rate(&self) -> u64 {
        let up = (1u64 << (FRACTION - 1)) - 1;
        (u64::try_from(self.scaled).unwrap_or(0) + up) >> FRACTION
    }
}

/// The averages of one object.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Estimator {
    conns: Average<10>,
    in_packets: Average<10>,
    out_packets: Average<10>,
    in_bytes: Average<5>,
    out_bytes: Average<5>,
}

impl Estimator {
    /// Takes the totals, [`PERIOD`] seconds after the last ones.
    pub(crate) fn sample(&mut self, totals: Totals) {
        self.conns.sample(totals.conns);
        self.in_packets.sample(totals.in_packets);
        self.out_packets.sample(totals.out_packets);
        self.in_bytes.sample(totals.in_bytes);
        self.out_bytes.sample(totals.out_bytes);
    }

    /// The rates as of the last sample.
    pub(crate) fn rates(&self) -> Rates {
        Rates {
            cps: self.conns.rate(),
            inpps: self.in_packets.rate(),
            outpps: self.out_packets.rate(),
            inbps: self.in_bytes.rate(),
            outbps: self.out_bytes.rate(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_approached_by_a_quarter_each_sample() {
        let mut e = Estimator::default();
        let mut total = 0;
        let mut expected = 0.0f64;
        for _ in 0..40 {
            total += 2000;
            e.sample(Totals { in_packets: total, ..Totals::default() });
            expected += (1000.0 - expected) / 4.0;
            #[allow(clippy::cast_precision_loss, reason = "small numbers")]
            let rate = e.rates().inpps as f64;
            assert!((rate - expected).abs() <= 1.0, "{rate} is not {expected}");
        }
        assert_eq!(e.rates().inpps, 1000);
    }

    #[test]
    fn silence_lowers_the_rate_and_ends_at_zero() {
        let mut e = Estimator::default();
        e.sample(Totals { in_bytes: 8_000_000, ..Totals::default() });
        assert_eq!(e.rates().inbps, 1_000_000);
        for _ in 0..100 {
            e.sample(Totals { in_bytes: 8_000_000, ..Totals::default() });
        }
        assert_eq!(e.rates(), Rates::default());
    }
}
