//! What lblc and lblcr remember: for each service and VIP the destinations that it went to.
//!
//! A fixed number of lines, found by hash among four places; the one that was used longest ago gives way. Nothing is
//! locked: workers that change a line at the same moment may lose a choice, which is then made again. What is read
//! is only a hint. Whether a destination that is named there may be used is asked each time.

use super::rng::mix;
use crate::ids::{DestId, ServiceId};
use crate::time::Time;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many VIPs of services are remembered, about.
const LINES: usize = 4096;
/// Places among which a line is found.
const WAYS: usize = 4;
/// Seconds after which an unused line is forgotten, and a set that stayed the same is made smaller.
const DAY: u32 = 86_400;

/// The memory of all services.
pub(crate) struct Locality(Box<[Line]>);

/// Of one VIP of a service. All loads and stores are relaxed: ORDERING: each word is a hint that stands for itself.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Line {
    /// Which service and VIP; 0 is free.
    name: AtomicU64,
    /// When it was last used, in seconds.
    used: AtomicU32,
    /// When its set was last changed, in seconds.
    changed: AtomicU32,
    /// The destinations, each number plus 1; 0 is free.
    set: [AtomicU32; Line::MOST],
}

/// Seconds since the tick base.
fn seconds(now: Time) -> u32 {
    u32::try_from(now.0 / Time::SECOND).unwrap_or(u32::MAX)
}

impl Locality {
    /// Nothing remembered.
    pub(crate) fn new() -> Locality {
        Locality(std::iter::repeat_with(Line::default).take(LINES).collect())
    }

    /// What is remembered of a VIP, which counts as used now.
    pub(super) fn find(&self, service: ServiceId, vip: IpAddr, now: Time) -> Option<&Line> {
        let name = name(service, vip);
        let line = self.ways(name).iter().find(|line| line.name.load(Ordering::Relaxed) == name)?;
        let idle = seconds(now).saturating_sub(line.used.load(Ordering::Relaxed));
        line.used.store(seconds(now), Ordering::Relaxed);
        (idle <= DAY).then_some(line)
    }

    /// Remembers one destination of a VIP, and nothing else of it.
    pub(super) fn begin(&self, service: ServiceId, vip: IpAddr, now: Time, id: DestId) {
        let name = name(service, vip);
        let age = |line: &&Line| match line.name.load(Ordering::Relaxed) {
            known if known == name => (0, 0),
            0 => (1, 0),
            _ => (2, line.used.load(Ordering::Relaxed)),
        };
        let Some(line) = self.ways(name).iter().min_by_key(age) else { return };
        line.set.iter().for_each(|place| place.store(0, Ordering::Relaxed));
        line.name.store(name, Ordering::Relaxed);
        line.used.store(seconds(now), Ordering::Relaxed);
        line.put(0, Some(id), now);
    }

    fn ways(&self, name: u64) -> &[Line] {
        let first = (name >> 32) as usize % (LINES / WAYS) * WAYS;
        &self.0[first..first + WAYS]
    }
}

impl Line {
    /// Destinations of a set, at most.
    pub(super) const MOST: usize = 12;

    /// The destination at a place of the set.
    pub(super) fn get(&self, place: usize) -> Option<DestId> {
        let number = self.set[place].load(Ordering::Relaxed).checked_sub(1)?;
        u16::try_from(number).ok().map(DestId)
    }

    /// Changes a place of the set.
    pub(super) fn put(&self, place: usize, id: Option<DestId>, now: Time) {
        self.set[place].store(id.map_or(0, |id| u32::from(id.0) + 1), Ordering::Relaxed);
        self.changed.store(seconds(now), Ordering::Relaxed);
    }

    /// Whether the set has stayed the same for a day.
    pub(super) fn settled(&self, now: Time) -> bool {
        seconds(now).saturating_sub(self.changed.load(Ordering::Relaxed)) > DAY
    }
}

/// VIPs come from the configuration: no key is needed.
fn name(service: ServiceId, vip: IpAddr) -> u64 {
    let bits = match vip {
        IpAddr::V4(vip) => u128::from(vip.to_bits()) | 1 << 127,
        IpAddr::V6(vip) => vip.to_bits(),
    };
    let [high, low] = [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
    mix(mix(high ^ (u64::from(service.0) << 48)).wrapping_add(low)).max(1)
}

impl std::fmt::Debug for Locality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Locality").finish_non_exhaustive()
    }
}
