//! Pipelines and model side by side, over traffic that a seed chooses.

use super::outcome::{Leaving, hex};
use super::traffic::{Dice, Traffic};
use super::wire::{Direct, Wire};
use super::{Model, Outcomes, world};
use crate::pipeline::{Resolve, Settings, Shared};
use crate::snapshot::Snapshot;
use crate::testing::{Lab, Site};
use crate::time::Time;
use sheave_frame::{BURST, Burst, PortId};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// When entries that are due are given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// All, before each burst: counts of connections are exact.
    AtOnce,
    /// By the sweep, a little each turn. What schedulers make of their counts is open then.
    BySweep,
}

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// What everything random follows from.
    pub seed: u64,
    /// Pipelines over the same tables.
    pub workers: usize,
    /// Frames of a burst, at most.
    pub burst: usize,
    /// Frames in all.
    pub frames: usize,
    /// When entries that are due are given back.
    pub expiry: Expiry,
}

/// One turn of one worker.
#[derive(Clone)]
struct Step {
    wait: u64,
    /// The configuration from now on, if it changes.
    site: Option<Arc<Site>>,
    worker: usize,
    frames: Vec<(PortId, Vec<u8>)>,
}

/// What is tried on: pipelines, and their model.
struct Bench {
    labs: Vec<Lab>,
    wire: Box<dyn Wire>,
    model: Model,
    site: Site,
    snapshot: Snapshot,
    now: Time,
    expiry: Expiry,
}

/// Makes a wire for so many workers.
type MakeWire<'a> = &'a dyn Fn(usize) -> Box<dyn Wire>;

/// Connections that the tables have room for: more than the traffic has.
const CONNECTIONS: u64 = 4096;
/// Frames that each worker has: a burst, and what waits.
const FRAMES: u32 = 400;

impl Trial {
    /// Runs it, and says how often each outcome was.
    ///
    /// # Errors
    /// Where pipelines and model disagree: the seed, and the shortest trace to there that was found.
    pub fn run(&self) -> Result<Outcomes, String> {
        self.run_over(&|_| Box::new(Direct))
    }

    /// The same over wires; each attempt gets one of its own, for so many workers.
    ///
    /// # Errors
    /// Likewise.
    pub fn run_over(&self, wire: &dyn Fn(usize) -> Box<dyn Wire>) -> Result<Outcomes, String> {
        let mut steps = Vec::new();
        let first = match self.explore(wire, &mut steps) {
            Ok(outcomes) => return Ok(outcomes),
            Err(first) => first,
        };
        let mut report = format!("{self:?}\n{first}\n");
        let site = self.world(&mut Dice::new(self.seed));
        let (steps, what) = self.shorten(wire, &site, (steps, first));
        let described = describe(&site, &steps);
        let _infallible = write!(report, "after {} steps:\n{described}{what}", steps.len());
        Err(report)
    }

    /// Makes traffic up and runs it; keeps the steps.
    fn explore(&self, wire: MakeWire<'_>, steps: &mut Vec<Step>) -> Result<Outcomes, String> {
        let mut dice = Dice::new(self.seed);
        let mut bench = Bench::new(self, wire, self.world(&mut dice));
        let mut traffic = Traffic::new(dice.number());
        let mut left = self.frames;
        while left > 0 {
            let step = self.step(&mut traffic, &bench, left);
            left -= step.frames.len();
            steps.push(step.clone());
            guarded(|| bench.turn(&step))?;
        }
        bench.check_counters()?;
        Ok(bench.model.outcomes())
    }

    /// The configuration to begin with.
    fn world(&self, dice: &mut Dice) -> Site {
        let mut site = world::site(dice);
        self.allow(&mut site);
        site
    }

    /// Whether a template leads anywhere depends on its connections: they are known exactly, or nobody is kept.
    fn allow(&self, site: &mut Site) {
        if self.expiry == Expiry::BySweep {
            site.persistent.clear();
        }
    }

    fn step(&self, traffic: &mut Traffic, bench: &Bench, left: usize) -> Step {
        let dice = &mut traffic.dice;
        let wait = match dice.roll(200) {
            0 => 60 + dice.roll(200),
            1..8 => dice.roll(20),
            8..60 => 1,
            _ => 0,
        } as u64
            * Time::SECOND
            + dice.number() % (Time::SECOND / 100);
        let changes = dice.once_in(40);
        let site = changes.then(|| {
            let mut site = bench.site.clone();
            world::change(&mut site, dice);
            self.allow(&mut site);
            Arc::new(site)
        });
        let (worker, count) = (dice.roll(self.workers), (1 + dice.roll(self.burst)).min(left));
        let now = site.as_deref().unwrap_or(&bench.site).clone();
        let frames = (0..count).map(|_| traffic.frame(&now, &bench.model)).collect();
        Step { wait, site, worker, frames }
    }

    /// Runs these steps anew.
    fn replay(&self, wire: MakeWire<'_>, site: &Site, steps: &[Step]) -> Result<(), String> {
        let mut bench = Bench::new(self, wire, site.clone());
        for step in steps {
            guarded(|| bench.turn(step))?;
        }
        guarded(|| bench.check_counters())
    }

    /// Leaves out whatever is not needed for a disagreement, in ever smaller pieces.
    fn shorten(
        &self,
        wire: MakeWire<'_>,
        site: &Site,
        (mut steps, mut what): (Vec<Step>, String),
    ) -> (Vec<Step>, String) {
        // One frame a step: single ones can be left out then.
        let single = |step: &Step| {
            let rest = Step { wait: 0, site: None, frames: Vec::new(), ..step.clone() };
            let alone = |frame: &(PortId, Vec<u8>)| Step { frames: vec![frame.clone()], ..rest.clone() };
            let head = Step { frames: Vec::new(), ..step.clone() };
            std::iter::once(head).chain(step.frames.iter().map(alone)).collect::<Vec<_>>()
        };
        // Another disagreement on the way would be another trace.
        let kind = |what: &str| {
            what.lines()
                .last()
                .unwrap_or_default()
                .trim_start()
                .split(' ')
                .take(5)
                .fold(String::new(), |all, word| all + word)
        };
        let wanted = kind(&what);
        let singles: Vec<Step> = steps.iter().flat_map(single).collect();
        if let Err(again) = self.replay(wire, site, &singles) {
            (steps, what) = (singles, again);
        }
        let mut piece = steps.len() / 2;
        let mut tries = 300;
        while piece > 0 && tries > 0 {
            let mut at = 0;
            while at < steps.len() && tries > 0 {
                let end = (at + piece).min(steps.len());
                let fewer = [&steps[..at], &steps[end..]].concat();
                tries -= 1;
                match self.replay(wire, site, &fewer) {
                    Err(again) if kind(&again) == wanted => (steps, what) = (fewer, again),
                    _ => at = end,
                }
            }
            piece /= 2;
        }
        (steps, what)
    }
}

/// A panic is a disagreement, too.
fn guarded(f: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

impl Bench {
    fn new(trial: &Trial, wire: MakeWire<'_>, mut site: Site) -> Bench {
        let shared = Arc::new(Shared::on_heap(CONNECTIONS, trial.seed));
        let settings =
            |worker| Settings { worker, workers: trial.workers, resolve: Resolve::Control, seed: trial.seed };
        let lab = |worker| Lab::over(Arc::clone(&shared), settings(worker), FRAMES);
        let labs: Vec<Lab> = (0..trial.workers).map(lab).collect();
        let snapshot = site.snapshot();
        let model = Model::new(&site, trial.workers, trial.expiry == Expiry::AtOnce);
        let now = labs[0].now;
        Bench { labs, wire: wire(trial.workers), model, site, snapshot, now, expiry: trial.expiry }
    }

    fn turn(&mut self, step: &Step) -> Result<(), String> {
        self.now = self.now.after(step.wait);
        self.model.wait_until(self.now);
        if let Some(site) = &step.site {
            // What is due by now is so by the timeouts until now.
            self.expire(Expiry::AtOnce)?;
            // Ids that were dealt out stay so, whatever else changes.
            let mut site = Site::clone(site);
            site.keep_ids(&self.site);
            self.snapshot = site.snapshot();
            // As the control thread does.
            self.labs[0].shared.live.mark(&self.snapshot);
            self.model.configure(&site);
            self.site = site;
        }
        self.expire(self.expiry)?;
        self.burst(step)?;
        self.check_counts()
    }

    fn expire(&mut self, expiry: Expiry) -> Result<(), String> {
        for (worker, lab) in self.labs.iter_mut().enumerate() {
            lab.now = self.now;
            match expiry {
                Expiry::AtOnce => {
                    lab.expire(&self.snapshot);
                    self.model.overdue(worker, self.now);
                }
                Expiry::BySweep => {
                    let drained = lab.tick(&self.snapshot);
                    let (sent, passed) = (drained.sent.into(), drained.passed.into());
                    self.model.tend((worker, self.now), &mut Leaving { sent, passed })?;
                }
            }
        }
        Ok(())
    }

    fn burst(&mut self, step: &Step) -> Result<(), String> {
        let (worker, lab) = (step.worker, &mut self.labs[step.worker]);
        let mut burst = Burst::with_capacity(BURST);
        self.wire.arrive(worker, lab, &step.frames, &mut burst);
        let arrived: Vec<_> = burst.iter().map(|frame| (frame.ingress(), frame.bytes().to_vec())).collect();
        let verdicts = lab.process(&self.snapshot, &mut burst);
        let sent = lab.out.sends.iter().map(|frame| (frame.egress(), frame.bytes().to_vec())).collect();
        let passed = lab.out.passes.iter().map(|frame| frame.bytes().to_vec()).collect();
        let mut leaving = Leaving { sent, passed };
        self.wire.leave(worker, lab);
        let frames = lab.frames() + self.wire.held(worker);
        if frames != lab.pool.total() {
            return Err(format!("{frames} frames of {} are left", lab.pool.total()));
        }
        if verdicts.len() != arrived.len() {
            return Err(format!("{} verdicts for {} frames", verdicts.len(), arrived.len()));
        }
        self.model.tend((step.worker, self.now), &mut leaving)?;
        for ((port, frame), verdict) in arrived.iter().zip(&verdicts) {
            self.model
                .judge((step.worker, self.now), (*port, frame), verdict, &mut leaving)
                .map_err(|what| format!("{port:?} {}\n  {what}", hex(frame)))?;
        }
        if !leaving.sent.is_empty() || !leaving.passed.is_empty() {
            return Err(format!("no frame accounts for {leaving:?}"));
        }
        Ok(())
    }

    /// Entries and connections of each destination, where they are known exactly.
    fn check_counts(&self) -> Result<(), String> {
        if self.expiry != Expiry::AtOnce {
            return Ok(());
        }
        let (connections, entries) = self.model.entries();
        let is = self.labs[0].shared.tables.len();
        // What one worker's sweep leaves to another's is gone with its next one.
        let most = if self.labs.len() == 1 { *entries.end() } else { usize::MAX };
        if !(*entries.start()..=most).contains(&is) {
            return Err(format!("{connections} connections have {is} entries, and should have {entries:?}"));
        }
        for d in self.site.services.iter().flat_map(|service| &service.destinations) {
            let (active, inactive) = self.labs[0].live(d.id);
            let expected = self.model.live(d.id);
            if (u64::from(active), u64::from(inactive)) != expected {
                return Err(format!(
                    "{:?} has {:?} connections, and should have {expected:?}",
                    d.id,
                    (active, inactive)
                ));
            }
        }
        Ok(())
    }

    fn check_counters(&self) -> Result<(), String> {
        let mut counted = BTreeMap::new();
        for (slot, n) in self.labs.iter().flat_map(Lab::counters) {
            *counted.entry(slot).or_insert(0) += n;
        }
        self.model.check_counters(&counted)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for (worker, lab) in self.labs.iter_mut().enumerate() {
            self.wire.close(worker, lab);
        }
    }
}

/// The steps for people.
fn describe(site: &Site, steps: &[Step]) -> String {
    let mut text = services(site);
    let mut known = text.clone();
    for step in steps {
        let wait = step.wait as f64 / Time::SECOND as f64;
        let mut say = |what: String| {
            // Writing to a string does not fail.
            let _infallible = writeln!(text, "{what}");
        };
        say(format!("+{wait:.3} s, worker {}", step.worker));
        if let Some(new) = &step.site {
            let (old, new) = (std::mem::replace(&mut known, services(new)), services(new));
            old.lines().filter(|line| !new.contains(line)).for_each(|line| say(format!("- {line}")));
            new.lines().filter(|line| !old.contains(line)).for_each(|line| say(format!("+ {line}")));
        }
        for (port, frame) in &step.frames {
            say(format!("  {port:?} {}", hex(frame)));
        }
    }
    text
}

fn services(site: &Site) -> String {
    let mut text = format!("mtu {:?}, default route {}\n", site.mtu, site.default_route);
    for (n, service) in site.services.iter().enumerate().filter(|(_, service)| !service.removed) {
        let _infallible = writeln!(
            text,
            "service {n}: {:?} {:?} {:?} {:?}, backups below {}, sorry {:?}, kept {:?}",
            service.listens(),
            service.scheduler,
            service.timeouts,
            service.on_removal,
            service.backup_below,
            service.sorry,
            site.persistent.iter().find(|(of, _)| usize::from(*of) == n).map(|(_, how)| how)
        );
        for d in service.destinations.iter().filter(|d| !d.removed) {
            let _infallible = writeln!(
                text,
                "  {:?}.{} {}:{:?} {:?} weight {} {:?} {:?} {:?}{}{}",
                d.id,
                d.generation.0,
                d.addr,
                d.port,
                d.method,
                d.weight,
                d.limits,
                d.intent,
                d.health,
                if d.backup { " backup" } else { "" },
                if d.unscheduled { " unscheduled" } else { "" }
            );
        }
    }
    text
}
