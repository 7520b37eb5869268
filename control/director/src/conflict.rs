//! Which claims of other stations to our VIPs are news. Pure.

use crate::announce::Place;
use sheave_pipeline::Time;
use std::collections::BTreeMap;

/// A conflict about a VIP is answered, logged and told of at most this often.
const CONFLICT: u64 = 10 * Time::SECOND;

/// The conflicts that were news lately.
#[derive(Debug, Default)]
pub(crate) struct Conflicts(BTreeMap<Place, Time>);

impl Conflicts {
    /// Whether a claim heard `now` is to be answered and told of.
    pub(crate) fn is_news(&mut self, place: Place, now: Time) -> bool {
        self.0.retain(|_, last| now < last.after(CONFLICT));
        if self.0.contains_key(&place) {
            return false;
        }
        self.0.insert(place, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_frame::PortId;

    #[test]
    fn a_claim_is_news_once_in_a_while_and_each_vip_for_itself() {
        let mut conflicts = Conflicts::default();
        let place = |last: u8| (PortId(0), [198, 18, 0, last].into());
        assert!(conflicts.is_news(place(100), Time(5)));
        assert!(!conflicts.is_news(place(100), Time(5 + CONFLICT - 1)));
        assert!(conflicts.is_news(place(101), Time(6)));
        assert!(conflicts.is_news(place(100), Time(5 + CONFLICT)));
        assert!(conflicts.is_news(place(101), Time(6 + 2 * CONFLICT)));
        assert_eq!(conflicts.0.len(), 1, "what is long over is forgotten");
    }
}
