//! When a VIP is announced: a pure state machine, `(event, now) -> announcements`.
//!
//! A VIP that comes up on an interface is announced in a block of repetitions, in a second block a while later
//! (switches drop frames while they learn), and from then on once in a while. Each announcement is two frames: a
//! gratuitous ARP request and a reply (RFC 5227 leaves both in use; some stacks listen to one only).

use sheave_frame::PortId;
use sheave_pipeline::Time;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Between two announcements of one block.
const SPACING: u64 = Time::SECOND / 5;

/// Announcements a second, over all VIPs. Beyond it they are late, not lost.
const RATE: u64 = 200;

/// How VIPs are announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Announcements of a block; 0 announces nothing.
    pub(crate) repeat: u8,
    /// Nanoseconds from the first block to the second; 0 for none.
    pub(crate) delay: u64,
    /// Nanoseconds between refreshes; 0 for none.
    pub(crate) refresh: u64,
}

/// A VIP on an interface.
pub(crate) type Place = (PortId, IpAddr);

/// One announcement to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announce {
    pub(crate) place: Place,
    /// The first one since the VIP came up here.
    pub(crate) first: bool,
}

#[derive(Debug, Clone, Copy)]
struct Schedule {
    /// When it was announced first.
    up: Time,
    /// Announcements made since it came up.
    made: u32,
    next: Option<Time>,
}

/// All VIPs that are up, and when each is announced next.
#[derive(Debug)]
pub(crate) struct Announcer {
    settings: Settings,
    places: BTreeMap<Place, Schedule>,
    /// No announcement before this time: the rate limit.
    clear: Time,
}

impl Announcer {
    pub(crate) fn new(settings: Settings) -> Announcer {
        Announcer { settings, places: BTreeMap::new(), clear: Time::default() }
    }

    /// The settings changed: what is scheduled goes on, what comes next follows them.
    pub(crate) fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// These VIPs are up on these interfaces, and no others. Those that were not up before start their blocks.
    pub(crate) fn up(&mut self, places: impl IntoIterator<Item = Place>, now: Time) {
        let mut before = std::mem::take(&mut self.places);
        for place in places {
            let fresh = Schedule { up: now, made: 0, next: (self.settings.repeat > 0).then_some(now) };
            self.places.insert(place, before.remove(&place).unwrap_or(fresh));
        }
    }

    /// The interface went away: what is up on it starts over when it is back.
    pub(crate) fn down(&mut self, port: PortId) {
        self.places.retain(|(p, _), _| *p != port);
    }

    /// Announces once more, now: someone else claimed it.
    pub(crate) fn again(&mut self, place: Place, now: Time) {
        if let Some(schedule) = self.places.get_mut(&place) {
            schedule.next = (self.settings.repeat > 0).then_some(now);
        }
    }

    /// What is to be announced at `now`.
    pub(crate) fn due(&mut self, now: Time) -> Vec<Announce> {
        let mut announcements = Vec::new();
        // An idle time saves up no more than a fifth of a second's worth.
        let mut clear = self.clear.max(Time(now.0.saturating_sub(Time::SECOND / 5)));
        // Whoever has waited longest comes first, so that a refresh of many does not keep a new VIP silent.
        let mut waiting: Vec<(Time, Place)> = self
            .places
            .iter()
            .filter_map(|(place, s)| Some((s.next.filter(|next| *next <= now)?, *place)))
            .collect();
        waiting.sort_unstable();
        for (_, place) in waiting {
            if clear > now {
                break;
            }
            let Some(schedule) = self.places.get_mut(&place) else { continue };
            clear = clear.after(Time::SECOND / RATE);
            let first = schedule.made == 0;
            announcements.push(Announce { place, first });
            if first {
                schedule.up = now;
            }
            schedule.made = schedule.made.saturating_add(1);
            schedule.next = following(self.settings, *schedule, now);
        }
        self.clear = clear;
        announcements
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<Time> {
        let next = self.places.values().filter_map(|s| s.next).min()?;
        Some(next.max(self.clear))
    }
}

/// When the next announcement follows the one just made.
fn following(settings: Settings, schedule: Schedule, now: Time) -> Option<Time> {
    let block = u32::from(settings.repeat);
    if schedule.made != block && schedule.made < 2 * block && (schedule.made < block || settings.delay > 0) {
        return Some(now.after(SPACING));
    }
    if schedule.made == block && settings.delay > 0 {
        return Some(schedule.up.after(settings.delay).max(now.after(SPACING)));
    }
    (settings.refresh > 0).then(|| now.after(settings.refresh))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Settings = Settings { repeat: 5, delay: 5 * Time::SECOND, refresh: 60 * Time::SECOND };

    fn place(port: u16, last: u8) -> Place {
        (PortId(port), IpAddr::from([198, 18, 0, last]))
    }

    /// Runs until `end`, from one due time to the next; returns (milliseconds, announcement).
    fn run(a: &mut Announcer, from: Time, end: Time) -> Vec<(u64, Announce)> {
        let mut made = Vec::new();
        let mut now = from;
        loop {
            made.extend(a.due(now).into_iter().map(|x| (now.0 / 1_000_000, x)));
            match a.next_due() {
                Some(next) if next <= end => now = next.max(now),
                _ => return made,
            }
        }
    }

    fn seconds(n: u64) -> Time {
        Time(n * Time::SECOND)
    }

    #[test]
    fn two_blocks_and_then_a_refresh_a_minute() {
        let mut a = Announcer::new(DEFAULT);
        a.up([place(0, 100)], seconds(10));
        let made = run(&mut a, seconds(10), seconds(140));
        let times: Vec<u64> = made.iter().map(|(t, _)| *t).collect();
        assert_eq!(
            times,
            [10_000, 10_200, 10_400, 10_600, 10_800, 15_000, 15_200, 15_400, 15_600, 15_800, 75_800, 135_800]
        );
        assert!(made[0].1.first && made[1..].iter().all(|(_, x)| !x.first));
    }

    #[test]
    fn the_second_block_counts_from_the_first_announcement_however_late_that_was() {
        let mut a = Announcer::new(DEFAULT);
        a.up([place(0, 100)], seconds(10));
        let times: Vec<u64> = run(&mut a, seconds(12), seconds(18)).iter().map(|(t, _)| *t).collect();
        assert_eq!(times[..6], [12_000, 12_200, 12_400, 12_600, 12_800, 17_000]);
    }

    #[test]
    fn nothing_repeat_nothing_refresh() {
        let mut a = Announcer::new(Settings { repeat: 0, ..DEFAULT });
        a.up([place(0, 100)], seconds(0));
        assert_eq!(run(&mut a, seconds(0), seconds(500)), []);
        let mut a = Announcer::new(Settings { repeat: 2, delay: 0, refresh: 0 });
        a.up([place(0, 100)], seconds(0));
        assert_eq!(run(&mut a, seconds(0), seconds(500)).len(), 2);
    }

    #[test]
    fn what_stays_up_is_not_announced_anew_and_what_went_away_is_silent() {
        let mut a = Announcer::new(DEFAULT);
        a.up([place(0, 100)], seconds(0));
        run(&mut a, seconds(0), seconds(10));
        a.up([place(0, 100), place(1, 100)], seconds(10));
        let made = run(&mut a, seconds(10), seconds(12));
        assert!(made.iter().all(|(_, x)| x.place == place(1, 100)) && made.len() == 5);
        a.up([place(1, 100)], seconds(13));
        assert!(run(&mut a, seconds(13), seconds(300)).iter().all(|(_, x)| x.place == place(1, 100)));
    }

    #[test]
    fn an_interface_that_comes_back_starts_over() {
        let mut a = Announcer::new(DEFAULT);
        a.up([place(0, 100)], seconds(0));
        run(&mut a, seconds(0), seconds(10));
        a.down(PortId(0));
        assert_eq!(a.next_due(), None);
        a.up([place(0, 100)], seconds(20));
        assert!(a.due(seconds(20))[0].first);
    }

    #[test]
    fn many_vips_are_spread_over_time_and_none_is_forgotten() {
        let mut a = Announcer::new(Settings { repeat: 1, delay: 0, refresh: 0 });
        let all: Vec<Place> = (0..1000).map(|i| place(i / 250, u8::try_from(i % 250).unwrap())).collect();
        a.up(all.iter().copied(), seconds(0));
        let made = run(&mut a, seconds(0), seconds(100));
        let mut places: Vec<Place> = made.iter().map(|(_, x)| x.place).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!((made.len(), places.len()), (1000, 1000));
        for second in 0..4 {
            let within = made.iter().filter(|(t, _)| t / 1000 == second).count();
            assert!(within <= 200 + 40, "{within} in second {second}");
        }
    }
}
