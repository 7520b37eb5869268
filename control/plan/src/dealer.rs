//! Deals out numbers to keys: the same number for the same key for as long as it is held, and no number again
//! before nothing can mean its old owner.
//!
//! A number that is let go rests until the caller says that enough quiet time has passed
//! ([`Dealer::quiet`]): by then every worker has finished a sweep of its connection entries that began after the
//! number had disappeared from the snapshot. Fresh numbers are dealt first, then rested ones, the oldest first.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Quiet periods that a number rests: one that had begun when it was let go, and a whole one after it.
const REST: u64 = 2;

/// There is no free number left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// What was to be numbered.
    pub what: &'static str,
    /// How many there can be.
    pub limit: usize,
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: the limit of {} is reached: remove some, or wait a few seconds if some were removed just now",
            self.what, self.limit
        )
    }
}

impl std::error::Error for Exhausted {}

/// A number let go, and since which quiet period it has been out of the published snapshot.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Resting {
    number: u16,
    /// `None` until the first quiet period after it was let go.
    since: Option<u64>,
}

/// Numbers below a limit for keys of one kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "K: Ord + Serialize", deserialize = "K: Ord + Deserialize<'de>"))]
pub(crate) struct Dealer<K: Ord> {
    /// As pairs: keys are structures, which JSON does not take as names.
    #[serde(with = "pairs")]
    held: BTreeMap<K, u16>,
    resting: VecDeque<Resting>,
    rested: VecDeque<u16>,
    /// Never dealt yet: this one and all above.
    fresh: u32,
}

mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub(super) fn serialize<K: Serialize, S: Serializer>(
        map: &BTreeMap<K, u16>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K: Ord + Deserialize<'de>, D: Deserializer<'de>>(
        d: D,
    ) -> Result<BTreeMap<K, u16>, D::Error> {
        Ok(Vec::<(K, u16)>::deserialize(d)?.into_iter().collect())
    }
}

impl<K: Ord> Default for Dealer<K> {
    fn default() -> Self {
        Dealer { held: BTreeMap::new(), resting: VecDeque::new(), rested: VecDeque::new(), fresh: 0 }
    }
}

impl<K: Ord + Clone> Dealer<K> {
    /// The number of a key that is held.
    pub(crate) fn get(&self, key: &K) -> Option<u16> {
        self.held.get(key).copied()
    }

    /// All keys with their numbers, in the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, u16)> {
        self.held.iter().map(|(key, number)| (key, *number))
    }

    /// Lets go of every key that is not wanted and deals a number to every wanted one that has none, in the
    /// order of the keys: what the configuration lists first does not matter. Returns the numbers dealt.
    pub(crate) fn settle(
        &mut self,
        wanted: &BTreeSet<K>,
        what: &'static str,
        limit: usize,
    ) -> Result<Vec<u16>, Exhausted> {
        let resting = &mut self.resting;
        self.held.retain(|key, number| {
            let keep = wanted.contains(key);
            if !keep {
                resting.push_back(Resting { number: *number, since: None });
            }
            keep
        });
        let mut dealt = Vec::new();
        for key in wanted {
            if !self.held.contains_key(key) {
                let number = self.deal(limit).ok_or(Exhausted { what, limit })?;
                self.held.insert(key.clone(), number);
                dealt.push(number);
            }
        }
        Ok(dealt)
    }

    /// Deals a number to one key, or returns the one that it holds.
    pub(crate) fn hold(&mut self, key: K, what: &'static str, limit: usize) -> Result<u16, Exhausted> {
        if let Some(number) = self.get(&key) {
            return Ok(number);
        }
        let number = self.deal(limit).ok_or(Exhausted { what, limit })?;
        self.held.insert(key, number);
        Ok(number)
    }

    /// Gives the number of `old` to `new`, when `old` holds one and `new` does not.
    pub(crate) fn rename(&mut self, old: &K, new: K) {
        if !self.held.contains_key(&new)
            && let Some(number) = self.held.remove(old)
        {
            self.held.insert(new, number);
        }
    }

    /// Periods are counted from the beginning again: what rests begins its rest anew.
    pub(crate) fn restart(&mut self) {
        self.resting.iter_mut().for_each(|resting| resting.since = None);
    }

    /// Says that quiet period `period` is over: numbers that have rested long enough may be dealt again.
    pub(crate) fn quiet(&mut self, period: u64) {
        for resting in &mut self.resting {
            resting.since.get_or_insert(period);
        }
        // In the order of letting go, so that those that have rested longest are in front.
        while let Some(first) = self.resting.front()
            && first.since.is_some_and(|since| since + REST <= period)
        {
            self.rested.extend(self.resting.pop_front().map(|resting| resting.number));
        }
    }

    /// Whether numbers wait for quiet periods.
    pub(crate) fn rests(&self) -> bool {
        !self.resting.is_empty()
    }

    fn deal(&mut self, limit: usize) -> Option<u16> {
        match u16::try_from(self.fresh) {
            Ok(fresh) if usize::from(fresh) < limit => {
                self.fresh += 1;
                Some(fresh)
            }
            _ => self.rested.pop_front(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(dealer: &mut Dealer<&'static str>, wanted: &[&'static str]) -> Result<Vec<u16>, Exhausted> {
        dealer.settle(&wanted.iter().copied().collect(), "service", 3)
    }

    #[test]
    fn a_held_key_keeps_its_number_whatever_comes_and_goes() {
        let mut dealer = Dealer::default();
        assert_eq!(settle(&mut dealer, &["b", "a"]), Ok(vec![0, 1]));
        assert_eq!((dealer.get(&"a"), dealer.get(&"b")), (Some(0), Some(1)));
        assert_eq!(settle(&mut dealer, &["c", "b"]), Ok(vec![2]));
        assert_eq!((dealer.get(&"a"), dealer.get(&"b"), dealer.get(&"c")), (None, Some(1), Some(2)));
    }

    #[test]
    fn a_number_is_dealt_again_only_after_two_quiet_periods() {
        let mut dealer = Dealer::default();
        settle(&mut dealer, &["a", "b", "c"]).unwrap();
        settle(&mut dealer, &["a", "c"]).unwrap();
        let full = Exhausted { what: "service", limit: 3 };
        for period in [7, 8] {
            dealer.quiet(period);
            assert_eq!(
                settle(&mut dealer.clone(), &["a", "c", "d"]),
                Err(full.clone()),
                "after period {period}"
            );
        }
        dealer.quiet(9);
        assert_eq!(settle(&mut dealer, &["a", "c", "d"]), Ok(vec![1]));
        assert_eq!(
            full.to_string(),
            "service: the limit of 3 is reached: remove some, or wait a few seconds if some were removed just now"
        );
    }

    #[test]
    fn a_rest_begins_anew_where_periods_do() {
        let mut dealer = Dealer::default();
        settle(&mut dealer, &["a", "b", "c"]).unwrap();
        settle(&mut dealer, &["a", "c"]).unwrap();
        dealer.quiet(100);
        dealer.restart();
        (1..=3).for_each(|period| dealer.quiet(period));
        assert_eq!(settle(&mut dealer, &["a", "c", "d"]), Ok(vec![1]));
    }

    #[test]
    fn a_renamed_key_keeps_its_number() {
        let mut dealer = Dealer::default();
        settle(&mut dealer, &["a", "b"]).unwrap();
        dealer.rename(&"a", "z");
        dealer.rename(&"b", "z");
        assert_eq!((dealer.get(&"z"), dealer.get(&"a"), dealer.get(&"b")), (Some(0), None, Some(1)));
    }
}
