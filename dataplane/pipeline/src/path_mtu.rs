//! What a path is known to carry: path MTU discovery (RFC 1191, RFC 8201) of one destination, for the packets
//! that the director makes itself and whose senders it has to tell: those of its tunnels.
//!
//! A report counts at once, for all workers, and for ten minutes; then the way out's own MTU is tried again. It
//! never raises what is known. Errors about packets that the director only passes on concern their senders, not
//! this.

use crate::time::Time;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long a report counts, in seconds. RFC 8201 §4: five minutes at least, ten recommended.
const LASTS: u64 = 600;
/// RFC 791: what every IPv4 link carries, header included.
const FLOOR_V4: u16 = 68;
/// RFC 8200 §5: what every IPv6 link carries.
const FLOOR_V6: u32 = 1280;
/// RFC 1191 §7.1: what links carry, as good a guess as any for routers that do not say.
const PLATEAUS: [u16; 11] = [65_535, 32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, FLOOR_V4];

/// An MTU that a router told, fit to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report(u16);

impl Report {
    /// From "fragmentation needed" about a packet of `total_len` bytes. RFC 1191 §3: an estimate never goes
    /// below 68; §5: a router that does not know of MTUs says 0, and the next lower plateau is taken.
    pub(crate) fn v4(mtu: u16, total_len: u16) -> Report {
        let plateau = || PLATEAUS.into_iter().find(|plateau| *plateau < total_len).unwrap_or(FLOOR_V4);
        Report(if mtu == 0 { plateau() } else { mtu.max(FLOOR_V4) })
    }

    /// From "packet too big". RFC 8201 §4: less than 1280 is discarded.
    pub(crate) fn v6(mtu: u32) -> Option<Report> {
        (mtu >= FLOOR_V6).then(|| Report(u16::try_from(mtu).unwrap_or(u16::MAX)))
    }
}

/// What is known of one path, in one word: until when, in seconds, and the MTU in the lower 16 bits. Zero at
/// first: nothing.
#[derive(Debug, Default)]
pub struct PathMtu(AtomicU64);

impl PathMtu {
    const MTU_BITS: u32 = 16;

    /// Takes a report into account. One that is above what is known, and still counts, changes nothing.
    // ORDERING: Relaxed throughout: the word is all there is.
    pub(crate) fn learn(&self, report: Report, now: Time) {
        let until = now.0 / Time::SECOND + LASTS;
        let word = (until << PathMtu::MTU_BITS) | u64::from(report.0);
        // An error says that nothing changed.
        let _kept = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
            known(old, now).is_none_or(|mtu| report.0 <= mtu).then_some(word)
        });
    }

    /// The MTU of the path now, whose way out of here has `link`.
    #[inline]
    pub(crate) fn current(&self, now: Time, link: u16) -> u16 {
        match self.0.load(Ordering::Relaxed) {
            0 => link,
            word => known(word, now).map_or(link, |mtu| mtu.min(link)),
        }
    }

    /// Forgets what is known: the path is another.
    pub(crate) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The MTU of a word that still counts. Never too early: the second in which it ends is part of its time.
#[expect(clippy::cast_possible_truncation, reason = "cut out of the word")]
fn known(word: u64, now: Time) -> Option<u16> {
    let until = word >> PathMtu::MTU_BITS;
    (word != 0 && now.0 / Time::SECOND <= until).then_some(word as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: u64 = 60 * Time::SECOND;

    #[test]
    fn a_report_counts_at_once_and_for_ten_minutes() {
        let path = PathMtu::default();
        assert_eq!(path.current(Time(0), 1500), 1500);
        for start in [Time(0), Time(999_999_999), Time(77 * MINUTE + 1)] {
            path.learn(Report::v4(1400, 1500), start);
            assert_eq!(path.current(start, 1500), 1400);
            assert_eq!(path.current(start.after(10 * MINUTE), 1500), 1400);
            assert_eq!(path.current(start.after(10 * MINUTE + Time::SECOND), 1500), 1500);
        }
    }

    #[test]
    fn nothing_raises_what_is_known() {
        let path = PathMtu::default();
        path.learn(Report::v4(1300, 1500), Time(0));
        path.learn(Report::v4(1400, 1500), Time(5 * MINUTE));
        assert_eq!(path.current(Time(5 * MINUTE), 1500), 1300);
        assert_eq!(path.current(Time(5 * MINUTE), 1200), 1200);
        // The higher report did not make it last longer; the same again does.
        assert_eq!(path.current(Time(11 * MINUTE), 1500), 1500);
        path.learn(Report::v4(1300, 1500), Time(11 * MINUTE));
        path.learn(Report::v4(1300, 1500), Time(15 * MINUTE));
        assert_eq!(path.current(Time(24 * MINUTE), 1500), 1300);
        path.forget();
        assert_eq!(path.current(Time(24 * MINUTE), 1500), 1500);
    }

    #[test]
    fn reports_have_floors() {
        for (mtu, len, expected) in [
            (1, 1500, 68),
            (67, 1500, 68),
            (68, 1500, 68),
            (552, 1500, 552),
            (65_535, 1500, 65_535),
            (0, 1500, 1492),
            (0, 1492, 1006),
            (0, 65_535, 32_000),
            (0, 60, 68),
        ] {
            assert_eq!(Report::v4(mtu, len), Report(expected), "{mtu} about {len}");
        }
        assert_eq!(Report::v6(1279), None);
        assert_eq!(Report::v6(0), None);
        assert_eq!(Report::v6(1280), Some(Report(1280)));
        assert_eq!(Report::v6(u32::MAX), Some(Report(u16::MAX)));
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
                path.learn(Report::v4(mtu, 1500), now);
                best = best.filter(|(_, until)| second <= *until);
                if best.is_none_or(|(known, _)| mtu <= known) {
                    best = Some((mtu, second + 600));
                }
                let expected = best.map_or(link, |(known, _)| known.min(link));
                prop_assert_eq!(path.current(now, link), expected);
            }
        }
    }
}
