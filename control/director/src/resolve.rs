//! Which neighbours the kernel is asked to resolve, and how often. Pure.

use sheave_frame::PortId;
use sheave_pipeline::Time;
use std::collections::HashMap;
use std::net::IpAddr;

/// The kernel is not asked again for one neighbour within this time.
const AGAIN: u64 = Time::SECOND;

/// Without an answer for so long, a neighbour has failed.
const FAILED: u64 = 3 * Time::SECOND;

/// Nobody wishes for a neighbour any more when none has for so long. Longer than the time between two looks at the
/// next hops of destinations, so that one that stays silent is told of once.
const FORGOTTEN: u64 = 60 * Time::SECOND;

/// Neighbours being resolved at a time.
const MOST: usize = 4096;

/// Requests a second, over all neighbours: a scan through the director must not fill the kernel's table.
const RATE: u64 = 500;

type Hop = (PortId, IpAddr);

#[derive(Debug, Clone, Copy)]
struct Wish {
    first: Time,
    last: Time,
    told: bool,
}

/// Wishes for hardware addresses that have not been answered yet.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    wishes: HashMap<Hop, Wish>,
    /// No request before this time: the rate limit.
    clear: Time,
}

impl Resolver {
    /// Whether the kernel shall be asked for this neighbour now.
    pub(crate) fn wish(&mut self, hop: Hop, now: Time) -> bool {
        let known = self.wishes.get(&hop).copied();
        if known.is_some_and(|w| now < w.last.after(AGAIN)) {
            return false;
        }
        if known.is_none() && self.wishes.len() >= MOST {
            // Those that have failed make room: they are wished for again when they matter.
            self.wishes.retain(|_, wish| !wish.told);
            if self.wishes.len() >= MOST {
                return false;
            }
        }
        let clear = self.clear.max(Time(now.0.saturating_sub(Time::SECOND / 5)));
        if clear > now {
            return false;
        }
        self.clear = clear.after(Time::SECOND / RATE);
        let first = known.map_or(now, |w| w.first);
        self.wishes.insert(hop, Wish { first, last: now, told: known.is_some_and(|w| w.told) });
        true
    }

    /// Forgets what has been answered and what nobody wishes any more; returns what has failed since.
    pub(crate) fn settle(&mut self, now: Time, known: impl Fn(Hop) -> bool) -> Vec<Hop> {
        let mut failed = Vec::new();
        self.wishes.retain(|hop, wish| {
            if known(*hop) || now >= wish.last.after(FORGOTTEN) {
                return false;
            }
            if !wish.told && now >= wish.first.after(FAILED) {
                wish.told = true;
                failed.push(*hop);
            }
            true
        });
        failed
    }

    /// What is being resolved, and whether it has failed.
    pub(crate) fn wishes(&self) -> impl Iterator<Item = (Hop, bool)> {
        self.wishes.iter().map(|(hop, wish)| (*hop, wish.told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(last: u8) -> Hop {
        (PortId(0), IpAddr::from([198, 19, 1, last]))
    }

    const S: u64 = Time::SECOND;

    #[test]
    fn a_neighbour_is_asked_for_once_a_second_until_it_is_known() {
        let mut r = Resolver::default();
        assert!(r.wish(hop(1), Time(10 * S)));
        assert!(!r.wish(hop(1), Time(10 * S + S / 2)));
        assert!(r.wish(hop(2), Time(10 * S + S / 2)));
        assert!(r.wish(hop(1), Time(11 * S)));
        assert_eq!(r.settle(Time(11 * S), |h| h == hop(1)), []);
        assert_eq!(r.wishes().map(|(h, _)| h).collect::<Vec<_>>(), [hop(2)]);
    }

    #[test]
    fn one_that_does_not_answer_fails_once() {
        let mut r = Resolver::default();
        for second in 10..100 {
            if second % 20 == 10 {
                r.wish(hop(1), Time(second * S));
            }
            let failed = r.settle(Time(second * S), |_| false);
            assert_eq!(failed.len(), usize::from(second == 13), "second {second}");
        }
        assert_eq!(r.wishes().collect::<Vec<_>>(), [(hop(1), true)]);
        r.settle(Time(150 * S), |_| false);
        assert_eq!(r.wishes().count(), 0, "nobody wishes for it any more");
    }

    #[test]
    fn a_scan_is_held_to_the_rate() {
        let mut r = Resolver::default();
        let mut asked = 0u64;
        for step in 0..2000u64 {
            let addr =
                IpAddr::from([198, 19, u8::try_from(step / 250).unwrap(), u8::try_from(step % 250).unwrap()]);
            asked += u64::from(r.wish((PortId(0), addr), Time(10 * S + step * S / 2000)));
        }
        assert!((RATE..=RATE + RATE / 4).contains(&asked), "{asked} in a second");
    }
}
