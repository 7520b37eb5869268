//! Limits on new connections, as the operator gives them and as the program counts them.

use super::layout;
use std::num::NonZeroU32;

const SECOND: u64 = 1_000_000_000;

/// How many new connections are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// A second, in the long run.
    pub per_second: NonZeroU32,
    /// At once, after a while without.
    pub burst: NonZeroU32,
}

/// Limits on new TCP connections (SYN without ACK) to services, over all processors. What is beyond is dropped
/// before it reaches a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FloodLimits {
    /// Of each source: an IPv4 address, or an IPv6 network of 64 bits.
    pub source: Option<Rate>,
    /// To each VIP.
    pub vip: Option<Rate>,
}

impl FloodLimits {
    pub(crate) fn layout(&self) -> layout::Limits {
        layout::Limits { source: limit(self.source), vip: limit(self.vip) }
    }
}

/// Rounded in favour of the client: by less than a thousandth below a million a second.
fn limit(rate: Option<Rate>) -> layout::Limit {
    let Some(rate) = rate else { return layout::Limit::default() };
    let cost = (SECOND / u64::from(rate.per_second.get())).max(1);
    layout::Limit { cost, depth: cost * u64::from(rate.burst.get()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u32, burst: u32) -> Option<Rate> {
        let number = |n| NonZeroU32::new(n).expect("not zero");
        Some(Rate { per_second: number(per_second), burst: number(burst) })
    }

    #[test]
    fn a_rate_becomes_a_cost_and_a_depth() {
        let limits = FloodLimits { source: rate(1000, 50), vip: None };
        let source = layout::Limit { cost: 1_000_000, depth: 50_000_000 };
        assert_eq!(limits.layout(), layout::Limits { source, vip: layout::Limit::default() });
        assert_eq!(limit(rate(3, 1)).cost, 333_333_333);
    }

    #[test]
    fn no_rate_is_no_limit_and_none_overflows() {
        assert_eq!(FloodLimits::default().layout(), layout::Limits::default());
        assert_eq!(limit(rate(u32::MAX, 1)).cost, 1, "zero would be no limit");
        assert_eq!(limit(rate(1, u32::MAX)).depth, SECOND * u64::from(u32::MAX));
    }
}
