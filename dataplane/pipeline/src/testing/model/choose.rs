//! Which destination a new connection must go to, by the schedulers' formulas, walked through naively.
//!
//! Those that draw or hash are not repeated here: whatever they choose must be one that may be chosen.

use crate::ids::DestId;
use crate::snapshot::{Health, Intent, SchedulerKind};
use crate::testing::site::{Destination, Service};
use std::collections::BTreeMap;

/// What the model counts of a destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) active: u64,
    pub(super) inactive: u64,
    /// The mark of the thresholds: the upper one that was reached.
    pub(super) overloaded: Option<u32>,
}

impl Load {
    fn total(&self) -> u64 {
        self.active + self.inactive
    }
}

pub(super) type Loads = BTreeMap<DestId, Load>;

/// What rr and wrr remember of a service.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    /// The pool that it is of: another one begins anew. For rr there is only one.
    pool: Vec<(DestId, u32)>,
    rr: bool,
    last: Option<(DestId, usize)>,
    place: usize,
    level: u32,
}

/// The answer of a scheduler.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one, or none.
    Must(Option<DestId>),
    /// One of these; none, only if that is said too.
    May(Vec<DestId>, bool),
}

/// What a scheduler chooses from.
pub(super) struct Pool<'a> {
    pub(super) service: &'a Service,
    pub(super) loads: &'a mut Loads,
    pub(super) excluded: &'a [DestId],
}

/// The destinations that a service schedules, in order.
fn members(service: &Service) -> impl Iterator<Item = &Destination> {
    service.destinations.iter().filter(|d| !d.removed && !d.unscheduled && service.sorry != Some(d.id))
}

impl Pool<'_> {
    /// Brings the mark of a destination's thresholds up to date, and says whether it may get a connection.
    fn eligible(&mut self, d: &Destination) -> bool {
        let load = self.loads.entry(d.id).or_default();
        mark(load, d);
        let full = d.limits.connections != 0 && load.total() >= u64::from(d.limits.connections);
        let up = d.intent == Intent::Ready && d.health == Health::Up;
        d.weight > 0 && up && load.overloaded.is_none() && !full
    }

    fn candidates(&mut self) -> Vec<Destination> {
        let all: Vec<Destination> = members(self.service).cloned().collect();
        let usable: Vec<Destination> = all.into_iter().filter(|d| self.eligible(d)).collect();
        let others = usable.iter().filter(|d| !d.backup).count();
        let backups = others < usize::from(self.service.backup_below);
        usable.into_iter().filter(|d| (backups || !d.backup) && !self.excluded.contains(&d.id)).collect()
    }

    /// Whether the choice depends on how many connections there are.
    fn counts(&self) -> bool {
        let kinds = [
            SchedulerKind::Lc,
            SchedulerKind::Wlc,
            SchedulerKind::Sed,
            SchedulerKind::Nq,
            SchedulerKind::Ovf,
        ];
        kinds.contains(&self.service.scheduler)
            || self.service.destinations.iter().any(|d| d.limits.upper != 0 || d.limits.connections != 0)
    }

    fn load(&self, d: &Destination) -> Load {
        self.loads.get(&d.id).copied().unwrap_or_default()
    }

    fn overhead(&self, d: &Destination) -> u128 {
        let load = self.load(d);
        u128::from(256 * load.active + load.inactive)
    }

    /// The first with the smallest `load / weight`.
    fn least(&self, of: &[Destination], load: impl Fn(&Destination) -> u128) -> Option<DestId> {
        let mut best: Option<&Destination> = None;
        for d in of {
            let better =
                best.is_none_or(|best| load(d) * u128::from(best.weight) < load(best) * u128::from(d.weight));
            best = if better { Some(d) } else { best };
        }
        best.map(|d| d.id)
    }

    /// The scheduler's choice; `memory` is the service's. Unless the counts are `exact`, what depends on them is open.
    pub(super) fn choose(&mut self, memory: &mut Memory, exact: bool) -> Choice {
        if !exact && self.counts() {
            let up = |d: &&Destination| d.weight > 0 && d.intent == Intent::Ready && d.health == Health::Up;
            let sorry = self.service.sorry;
            let used = |d: &&Destination| !d.removed && (!d.unscheduled || sorry == Some(d.id));
            let all = self.service.destinations.iter().filter(used);
            let all = all.filter(up).map(|d| d.id).filter(|id| !self.excluded.contains(id)).collect();
            return Choice::May(all, true);
        }
        let candidates = self.candidates();
        if candidates.is_empty() {
            return Choice::Must(self.sorry());
        }
        let idle = |d: &&Destination| self.load(d).active == 0;
        let fair = |d: &&Destination| self.load(d).active <= u64::from(d.weight);
        let sed = |d: &Destination| u128::from(self.load(d).active + 1);
        Choice::Must(match self.service.scheduler {
            SchedulerKind::Rr => self.round(memory, &candidates),
            SchedulerKind::Wrr => self.weighted_round(memory, &candidates),
            SchedulerKind::Lc => {
                // The first of the smallest.
                candidates.iter().min_by_key(|d| self.overhead(d)).map(|d| d.id)
            }
            SchedulerKind::Wlc => self.least(&candidates, |d| self.overhead(d)),
            SchedulerKind::Sed => self.least(&candidates, sed),
            SchedulerKind::Nq => {
                let first = candidates.iter().find(idle).map(|d| d.id);
                first.or_else(|| self.least(&candidates, sed))
            }
            SchedulerKind::Fo => heaviest(candidates.iter()),
            SchedulerKind::Ovf => heaviest(candidates.iter().filter(fair)),
            SchedulerKind::First => candidates.first().map(|d| d.id),
            SchedulerKind::Twos | SchedulerKind::Random(_) | SchedulerKind::Lrt => {
                return Choice::May(candidates.iter().map(|d| d.id).collect(), false);
            }
            _ => return Choice::May(candidates.iter().map(|d| d.id).collect(), true),
        })
    }

    /// The sorry server steps in when nobody else may be used, whoever the connection is from.
    fn sorry(&mut self) -> Option<DestId> {
        let id = self.service.sorry.filter(|_| self.excluded.is_empty())?;
        let sorry = self.service.destinations.iter().find(|d| d.id == id && !d.removed)?.clone();
        self.eligible(&sorry).then_some(id)
    }

    /// rr: whoever comes after the last one, or stands in its place if it has gone.
    fn round(&self, memory: &mut Memory, candidates: &[Destination]) -> Option<DestId> {
        if !memory.rr {
            *memory = Memory { rr: true, ..Memory::default() };
        }
        let order: Vec<DestId> = members(self.service).map(|d| d.id).collect();
        let first = memory.last.map_or(0, |(id, place)| {
            order.iter().position(|other| *other == id).map_or(place, |place| place + 1)
        });
        let first = if first < order.len() { first } else { 0 };
        let place = (first..order.len())
            .chain(0..first)
            .find(|place| candidates.iter().any(|d| d.id == order[*place]))?;
        memory.last = Some((order[place], place));
        Some(order[place])
    }

    /// wrr: a level falls from the largest weight in steps of their greatest common divisor; at each level everybody
    /// with that weight has a turn.
    fn weighted_round(&self, memory: &mut Memory, candidates: &[Destination]) -> Option<DestId> {
        let pool: Vec<(DestId, u32)> = members(self.service).map(|d| (d.id, d.weight)).collect();
        let top = pool.iter().map(|(_, weight)| *weight).max()?;
        let step = (1..=top).rev().find(|n| pool.iter().all(|(_, weight)| weight % n == 0))?;
        if memory.rr || memory.pool != pool {
            *memory = Memory { pool: pool.clone(), level: top, ..Memory::default() };
        }
        loop {
            while let Some((id, weight)) = pool.get(memory.place) {
                memory.place += 1;
                if *weight >= memory.level && candidates.iter().any(|d| d.id == *id) {
                    return Some(*id);
                }
            }
            memory.place = 0;
            memory.level = memory.level.checked_sub(step).filter(|level| *level > 0).unwrap_or(top);
        }
    }
}

/// The first of those with the largest weight.
fn heaviest<'a>(of: impl Iterator<Item = &'a Destination>) -> Option<DestId> {
    let mut best: Option<&Destination> = None;
    for d in of {
        best = if best.is_none_or(|best| d.weight > best.weight) { Some(d) } else { best };
    }
    best.map(|d| d.id)
}

/// Sets or clears the mark of a destination's thresholds.
pub(super) fn mark(load: &mut Load, d: &Destination) {
    let (upper, lower) = (u64::from(d.limits.upper), u64::from(d.limits.lower));
    let below = if lower == 0 { load.total() * 4 < upper * 3 } else { load.total() < lower };
    if upper != 0 && load.total() >= upper {
        load.overloaded = Some(d.limits.upper);
    } else if upper == 0 || below || load.overloaded.is_some_and(|reached| reached < d.limits.upper) {
        load.overloaded = None;
    }
}
