//! Flood mode: when more connections to a listen begin in a second than a worker is told to take entries for, or too many
//! have begun that nobody answered, no entry is made for a further one ([`crate::adrift`]). Each listen has its own: one that is
//! flooded does not take the others with it.
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
//! The room is shared by all listens and workers: each listen may have [`SHARE`] times as much as is left, so that there is
//! always some left for one that has none. TCP and UDP have room of their own. Datagrams that nobody is seen to answer are
//! no flood by themselves: beyond its room a listen of UDP is at ebb, and what begins takes the place of what is older.
//!
//! Pure: times and numbers go in. Rates are of this worker's own packets.

use crate::ids::ListenId;
use crate::time::Time;

/// Where a listen stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// Nothing is the matter.
    #[default]
    Calm,
    /// No entries are made.
    Flood { since: Time },
    /// It is over, but not long ago.
    Ebb { until: Time },
}

/// The meter of one listen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Meter {
    mode: Mode,
    /// Tokens that were taken and have not come back yet, each worth [`TOKEN`], and when they were last counted.
    taken: u64,
    counted: Time,
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
/// A listen may have so many times as many connections that nobody answered as there is room for more: alone three
/// quarters of all.
pub(crate) const SHARE: u64 = 3;
/// The same for datagrams at whose places in the table nobody makes room.
pub(crate) const STRETCHED: u64 = 4;
/// A flood is over with so many times as many at most.
pub(crate) const EASED: u64 = 2;

impl Meter {
    /// New connections in the last second.
    fn rate(&self) -> u64 {
        self.before.max(self.count)
    }

    /// A connection begins. Says whether the rate allows an entry.
    #[inline]
    pub(crate) fn arrived(&mut self, now: Time, rate: u32) -> bool {
        self.count += 1;
        !matches!(self.mode, Mode::Flood { .. }) && self.take(now, rate)
    }

    /// The same for a connection that began without an entry, and gets one during a flood too.
    #[inline]
    pub(crate) fn take(&mut self, now: Time, rate: u32) -> bool {
        // A second's worth at most: that is less than 2^62.
        let elapsed = now.0.saturating_sub(self.counted.0).min(Time::SECOND);
        self.counted = self.counted.max(now);
        let rate = u64::from(rate);
        self.taken = self.taken.saturating_sub(elapsed * rate);
        let after = self.taken + TOKEN;
        if after > rate * TOKEN {
            return false;
        }
        self.taken = after;
        true
    }

    /// Lets time pass. `crowded`: whether there are still too many that nobody answered.
    #[inline]
    fn tend(&mut self, now: Time, rate: u32, crowded: impl FnOnce() -> bool) {
        if now.0.saturating_sub(self.second.0) >= Time::SECOND {
            self.second_over(now, rate, crowded);
        }
    }

    #[cold]
    fn second_over(&mut self, now: Time, rate: u32, crowded: impl FnOnce() -> bool) {
        let seconds = (now.0 - self.second.0) / Time::SECOND;
        self.second = self.second.after(seconds * Time::SECOND);
        let counted = std::mem::take(&mut self.count);
        // Of several, nothing came in the last.
        self.before = if seconds == 1 { counted } else { 0 };
        match self.mode {
            Mode::Flood { .. } if rate == 0 || (self.before < u64::from(rate) && !crowded()) => {
                self.mode = Mode::Ebb { until: self.second.after(EBB) };
            }
            Mode::Ebb { until } if until <= now => self.mode = Mode::Calm,
            _ => {}
        }
    }
}

/// Room for connections that nobody answered, as a worker saw it last, less what it has taken since.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room {
    left: u64,
    next_look: Time,
}

impl Room {
    /// Takes a place for a listen that has `own` of them, and may have `share` times as many as are left.
    #[inline]
    pub(crate) fn take(&mut self, now: Time, (own, share): (u64, u64), left: impl Fn() -> u64) -> bool {
        if now >= self.next_look || own >= self.left.saturating_mul(share) {
            self.next_look = now.after(LOOK);
            self.left = left();
        }
        let suffices = own < self.left.saturating_mul(share);
        self.left -= u64::from(suffices);
        suffices
    }
}

/// What begins and ends for a worker as a whole: with the first of its listens, and with the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Begins { since: Time, rate: u64 },
    Ends { since: Time },
}

/// The listens of one worker.
#[derive(Debug)]
pub(crate) struct Floods {
    meters: Box<[Meter]>,
    /// Those that are not calm.
    astir: Vec<ListenId>,
    /// How many of them are in flood mode, and since when there is one.
    flooded: usize,
    since: Time,
}

impl Floods {
    pub(crate) fn new() -> Floods {
        Floods {
            meters: vec![Meter::default(); ListenId::COUNT].into_boxed_slice(),
            astir: Vec::with_capacity(ListenId::COUNT),
            flooded: 0,
            since: Time(0),
        }
    }

    pub(crate) fn meter(&mut self, listen: ListenId) -> &mut Meter {
        &mut self.meters[listen.index()]
    }

    /// The listens that are not calm.
    #[inline]
    pub(crate) fn astir(&self) -> &[ListenId] {
        &self.astir
    }

    /// Whether there is or was a flood whose flows are still expected.
    #[inline]
    pub(crate) fn recent(&self, listen: ListenId) -> bool {
        !self.astir.is_empty() && self.meters[listen.index()].mode != Mode::Calm
    }

    /// A listen is flooded, if it was not already.
    #[cold]
    pub(crate) fn enter(&mut self, now: Time, listen: ListenId) -> Option<Turn> {
        let meter = &mut self.meters[listen.index()];
        let was = std::mem::replace(&mut meter.mode, Mode::Flood { since: now });
        match was {
            Mode::Flood { .. } => {
                meter.mode = was;
                return None;
            }
            Mode::Ebb { .. } => {}
            Mode::Calm => self.astir.push(listen),
        }
        self.flooded += 1;
        if self.flooded > 1 {
            return None;
        }
        self.since = now;
        Some(Turn::Begins { since: now, rate: meter.rate() })
    }

    /// A listen takes entries only for as many as make room: it is at ebb, if it was calm.
    #[cold]
    pub(crate) fn waver(&mut self, now: Time, listen: ListenId) {
        let meter = &mut self.meters[listen.index()];
        match meter.mode {
            Mode::Flood { .. } => return,
            Mode::Ebb { .. } => {}
            Mode::Calm => self.astir.push(listen),
        }
        meter.mode = Mode::Ebb { until: now.after(EBB) };
    }

    /// Lets time pass for a listen. `crowded`: whether there are still too many that nobody answered.
    #[inline]
    pub(crate) fn tend(
        &mut self,
        now: Time,
        (listen, rate): (ListenId, u32),
        crowded: impl FnOnce() -> bool,
    ) -> Option<Turn> {
        let meter = &mut self.meters[listen.index()];
        let was = meter.mode;
        meter.tend(now, rate, crowded);
        let is = meter.mode;
        if was == is { None } else { self.left(listen, (was, is)) }
    }

    #[cold]
    fn left(&mut self, listen: ListenId, (was, is): (Mode, Mode)) -> Option<Turn> {
        if is == Mode::Calm {
            self.astir.retain(|other| *other != listen);
        }
        if !matches!(was, Mode::Flood { .. }) {
            return None;
        }
        self.flooded -= 1;
        (self.flooded == 0).then_some(Turn::Ends { since: self.since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 100;
    const ONE: ListenId = ListenId(7);
    const OTHER: ListenId = ListenId(9);

    fn at(millis: u64) -> Time {
        Time(50 * Time::SECOND + millis * (Time::SECOND / 1000))
    }

    fn tend(floods: &mut Floods, listen: ListenId, millis: u64, crowded: bool) -> Option<Turn> {
        floods.tend(at(millis), (listen, RATE), || crowded)
    }

    fn arrived(floods: &mut Floods, millis: u64) -> bool {
        tend(floods, ONE, millis, false);
        let may = floods.meter(ONE).arrived(at(millis), RATE);
        if !may {
            floods.enter(at(millis), ONE);
        }
        may
    }

    /// How many of so many get an entry at once.
    fn burst(floods: &mut Floods, count: usize, millis: u64) -> usize {
        (0..count).filter(|_| arrived(floods, millis)).count()
    }

    fn mode(floods: &mut Floods) -> Mode {
        floods.meter(ONE).mode
    }

    #[test]
    fn a_second_s_worth_at_once_and_then_the_rate() {
        let mut floods = Floods::new();
        assert_eq!(burst(&mut floods, 100, 0), 100);
        for millis in (10..2000).step_by(10) {
            assert!(arrived(&mut floods, millis), "{millis}");
        }
        assert!(!floods.recent(ONE));
        assert!(!arrived(&mut floods, 1990));
        assert_eq!(mode(&mut floods), Mode::Flood { since: at(1990) });
    }

    #[test]
    fn a_flood_ends_after_a_second_below_the_rate() {
        let mut floods = Floods::new();
        assert_eq!(burst(&mut floods, 500, 0), 100);
        assert_eq!(floods.meter(ONE).rate(), 500);
        for second in 1..5 {
            assert_eq!(burst(&mut floods, 100, second * 1000), 0, "as many as the rate is a flood still");
        }
        assert_eq!(burst(&mut floods, 99, 5000), 0);
        assert_eq!(burst(&mut floods, 1, 6000), 1);
        assert_eq!(mode(&mut floods), Mode::Ebb { until: at(66_000) });
        tend(&mut floods, ONE, 65_999, false);
        assert!(floods.recent(ONE));
        tend(&mut floods, ONE, 66_000, false);
        assert!(!floods.recent(ONE) && floods.astir().is_empty());
    }

    #[test]
    fn a_pause_is_a_second_below_the_rate() {
        let mut floods = Floods::new();
        assert_eq!(burst(&mut floods, 500, 0), 100);
        assert_eq!(burst(&mut floods, 50, 2500), 50, "the last whole second was without any");
        let mut floods = Floods::new();
        assert_eq!(burst(&mut floods, 500, 0), 100);
        assert_eq!(burst(&mut floods, 50, 1999), 0);
    }

    #[test]
    fn a_flood_lasts_as_long_as_nobody_answers() {
        let mut floods = Floods::new();
        burst(&mut floods, 101, 0);
        tend(&mut floods, ONE, 1000, true);
        tend(&mut floods, ONE, 2000, true);
        assert_eq!(mode(&mut floods), Mode::Flood { since: at(0) });
        tend(&mut floods, ONE, 3000, false);
        assert!(matches!(mode(&mut floods), Mode::Ebb { .. }));
    }

    #[test]
    fn who_comes_back_during_a_flood_is_admitted_by_the_same_tokens() {
        let mut floods = Floods::new();
        burst(&mut floods, 500, 0);
        assert!(!floods.meter(ONE).take(at(5), RATE));
        assert!(floods.meter(ONE).take(at(10), RATE));
        assert!(!floods.meter(ONE).take(at(10), RATE));
        assert!(matches!(mode(&mut floods), Mode::Flood { .. }));
    }

    #[test]
    fn a_worker_is_flooded_from_the_first_listen_to_the_last() {
        let mut floods = Floods::new();
        assert_eq!(floods.enter(at(0), ONE), Some(Turn::Begins { since: at(0), rate: 0 }));
        assert_eq!((floods.enter(at(1), ONE), floods.enter(at(2), OTHER)), (None, None));
        assert_eq!(mode(&mut floods), Mode::Flood { since: at(0) });
        assert_eq!(floods.astir(), [ONE, OTHER]);
        assert_eq!(tend(&mut floods, ONE, 1000, false), None);
        assert_eq!(floods.enter(at(1001), ONE), None, "once more");
        assert_eq!(tend(&mut floods, OTHER, 2000, false), None);
        assert_eq!(tend(&mut floods, ONE, 3000, false), Some(Turn::Ends { since: at(0) }));
        assert!(floods.recent(ONE) && floods.recent(OTHER) && !floods.recent(ListenId(8)));
        assert_eq!(floods.astir(), [ONE, OTHER]);
        assert_eq!(tend(&mut floods, OTHER, 90_000, false), None);
        assert_eq!(floods.astir(), [ONE]);
    }

    #[test]
    fn a_listen_that_wavers_is_at_ebb_and_no_flood() {
        let mut floods = Floods::new();
        floods.waver(at(0), ONE);
        floods.waver(at(500), ONE);
        assert_eq!((mode(&mut floods), floods.astir()), (Mode::Ebb { until: at(60_500) }, &[ONE][..]));
        assert!(arrived(&mut floods, 600));
        assert!(matches!(floods.enter(at(700), ONE), Some(Turn::Begins { .. })));
        floods.waver(at(800), ONE);
        assert_eq!((mode(&mut floods), floods.astir().len()), (Mode::Flood { since: at(700) }, 1));
    }

    #[test]
    fn a_listen_may_have_three_times_what_is_left() {
        let mut room = Room::default();
        let mut own = 0;
        while room.take(at(0), (own, SHARE), || 1000 - own) {
            own += 1;
        }
        assert_eq!(own, 750);
        // 250 are left to the next one, and so on.
        let mut next = 0;
        while room.take(at(0), (next, SHARE), || 250 - next) {
            next += 1;
        }
        assert_eq!(next, 188);
        assert!(room.take(at(0), (0, SHARE), || 62));
        assert!(!Room::default().take(at(0), (0, SHARE), || 0));
    }

    #[test]
    fn the_room_is_looked_at_once_in_a_while() {
        let looks = std::cell::Cell::new(0);
        let left = || {
            looks.set(looks.get() + 1);
            1000
        };
        let mut room = Room::default();
        assert!((0..100).all(|_| room.take(at(0), (5, SHARE), left)));
        assert_eq!(looks.get(), 1);
        assert!(room.take(at(0).after(LOOK), (5, SHARE), left));
        assert_eq!(looks.get(), 2);
    }

    #[test]
    fn numbers_do_not_overflow() {
        let mut floods = Floods::new();
        assert!(floods.meter(ONE).arrived(Time(0), u32::MAX));
        let late = Time(u64::MAX - EBB);
        floods.tend(late, (ONE, u32::MAX), || false);
        assert!(floods.meter(ONE).arrived(late, u32::MAX));
        assert!(Room::default().take(late, (u64::MAX - 1, SHARE), || u64::MAX));
    }
}
