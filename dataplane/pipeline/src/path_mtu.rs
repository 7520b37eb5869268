//! What a path is known to carry: path MTU discovery (RFC 1191, RFC 8201) of one destination, for the packets
//! that the director makes itself and whose senders it has to tell: those of its tunnels.
//!
//! What an error told ([`crate::icmp::TunnelError`]) counts at once, for all workers, and for ten minutes; then the
//! way out's own MTU is tried again. It never raises what is known. Errors about packets that the director only
//! passes on concern their senders, not this.

use crate::ids::Generation;
use crate::time::Time;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long a report counts, in seconds. RFC 8201 §4: five minutes at least, ten recommended.
const LASTS: u64 = 600;

/// What is known of one path, in one word. Zero at first: nothing.
///
/// ```text
///   | until when, in seconds, 40 | generation of the destination, 8 | MTU, 16 |
/// ```
#[derive(Debug, Default)]
pub struct PathMtu(AtomicU64);

const GENERATION_AT: u32 = 16;
const UNTIL_AT: u32 = 24;

impl PathMtu {
    /// Takes into account that the path to this life of a destination carries `mtu` bytes. More than what is known,
    /// and still counts, changes nothing.
    // ORDERING: Relaxed throughout: the word is all there is.
    pub(crate) fn learn(&self, mtu: u16, of: Generation, now: Time) {
        let until = now.0 / Time::SECOND + LASTS;
        let word = (until << UNTIL_AT) | (u64::from(of.0) << GENERATION_AT) | u64::from(mtu);
        // An error says that nothing changed.
        let _kept = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            known(old, of, now).is_none_or(|known| mtu <= known).then_some(word)
        });
    }

    /// The MTU of the path now, whose way out of here has `link`.
    #[inline]
    pub(crate) fn current(&self, link: u16, of: Generation, now: Time) -> u16 {
        match self.0.load(Ordering::Relaxed) {
            0 => link,
            word => known(word, of, now).map_or(link, |mtu| mtu.min(link)),
        }
    }
}

/// The MTU of a word that still counts. Never too early: the second in which it ends is part of its time.
#[expect(clippy::cast_possible_truncation, reason = "cut out of the word")]
fn known(word: u64, of: Generation, now: Time) -> Option<u16> {
    let same = (word >> GENERATION_AT) as u8 == of.0;
    (word != 0 && same && now.0 / Time::SECOND <= word >> UNTIL_AT).then_some(word as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 60 * Time::SECOND;
    const LIFE: Generation = Generation(7);

    #[test]
    fn what_is_learned_counts_at_once_and_for_ten_minutes() {
        let path = PathMtu::default();
        let current = |now: Time| path.current(1500, LIFE, now);
        assert_eq!(current(Time(0)), 1500);
        for start in [Time(0), Time(999_999_999), Time(77 * MINUTE + 1)] {
            path.learn(1400, LIFE, start);
            assert_eq!(current(start), 1400);
            assert_eq!(current(start.after(10 * MINUTE)), 1400);
            assert_eq!(current(start.after(10 * MINUTE + Time::SECOND)), 1500);
        }
    }

    #[test]
    fn nothing_raises_what_is_known() {
        let path = PathMtu::default();
        let current = |now: u64| path.current(1500, LIFE, Time(now));
        path.learn(1300, LIFE, Time(0));
        path.learn(1400, LIFE, Time(5 * MINUTE));
        assert_eq!(current(5 * MINUTE), 1300);
        assert_eq!(path.current(1200, LIFE, Time(5 * MINUTE)), 1200);
        // The higher one did not make it last longer; the same again does.
        assert_eq!(current(11 * MINUTE), 1500);
        path.learn(1300, LIFE, Time(11 * MINUTE));
        path.learn(1300, LIFE, Time(15 * MINUTE));
        assert_eq!(current(24 * MINUTE), 1300);
    }

    #[test]
    fn another_life_of_a_destination_begins_anew() {
        let path = PathMtu::default();
        path.learn(1300, LIFE, Time(0));
        let next = Generation(8);
        assert_eq!(path.current(1500, next, Time(0)), 1500);
        path.learn(1400, next, Time(0));
        assert_eq!(path.current(1500, next, Time(0)), 1400);
        assert_eq!(path.current(1500, LIFE, Time(0)), 1500);
    }

    proptest! {
        /// Against all that was ever learned, remembered: the lowest of what still counted when the next came.
        #[test]
        fn what_is_known_is_what_was_told(
            steps in prop::collection::vec((0u64..400, 68u16..1600), 1..40),
            link in 68u16..1600,
        ) {
            let path = PathMtu::default();
            let mut best: Option<(u16, u64)> = None;
            let mut second = 0;
            for (pause, mtu) in steps {
                second += pause;
                let now = Time(second * Time::SECOND);
                path.learn(mtu, LIFE, now);
                best = best.filter(|(_, until)| second <= *until);
                if best.is_none_or(|(known, _)| mtu <= known) {
                    best = Some((mtu, second + 600));
                }
                let expected = best.map_or(link, |(known, _)| known.min(link));
                prop_assert_eq!(path.current(link, LIFE, now), expected);
            }
        }
    }
}
