//! Packets a second, as fast as they come: contenders in turns, and what that costs both processors.

use super::{AGAIN, Goal, Laboratory};
use crate::bench::{Bench, Family};
use crate::contender::Contender;
use crate::measure::{Case, Meter, Trial};
use crate::plan::{MANY, Round};
use crate::stats::{Runs, ratios};
use sheave_summary::Better;
use sheave_testbeds::{Error, Result};
use std::collections::BTreeMap;

/// The runs of each contender. Those of the same number belong to the same turn.
type Trials = BTreeMap<Contender, Vec<Trial>>;

fn of(trials: &Trials, who: Contender, number: impl Fn(&Trial) -> f64) -> Vec<f64> {
    trials.get(&who).into_iter().flatten().map(number).collect()
}

/// Time of both processors for a packet.
fn cost(trial: &Trial) -> f64 {
    trial.director_ns + trial.generator_ns
}

impl Laboratory<'_> {
    pub(crate) fn round(&mut self, bench: &Bench, round: &Round) -> Result<()> {
        let part = round.case.name();
        if !self.wants(&part) {
            return Ok(());
        }
        let mut meter = Meter::new(bench, self.cli.seconds);
        let mut who = round.who.clone();
        let mut trials = Trials::new();
        for _ in 0..round.turns {
            let mut turn = Trials::new();
            who.retain(|who| match self.turn(&mut meter, *who, round) {
                Ok(some) => turn.insert(*who, some).is_none(),
                Err(error) => {
                    self.miss(&part, *who, &error);
                    false
                }
            });
            // Only what everybody went through is compared.
            let least = turn.values().map(Vec::len).min().unwrap_or(0);
            for (who, some) in turn {
                trials.entry(who).or_default().extend(some.into_iter().take(least));
            }
        }
        trials.retain(|contender, _| who.contains(contender));
        self.take(&part, &who, &trials)?;
        self.rate_goals(&round.case, &trials);
        Ok(())
    }

    /// A contender's runs of one turn that count.
    fn turn(&mut self, meter: &mut Meter<'_>, who: Contender, round: &Round) -> Result<Vec<Trial>> {
        let mut session = meter.open(who, &round.case)?;
        let mut trials = Vec::new();
        for _ in 0..round.runs + AGAIN {
            let trial = session.trial(0.0)?;
            if trial.faulty > 0 {
                return Err(Error::new(format!(
                    "{} wrong packets of {} that were judged: {}",
                    trial.faulty,
                    trial.judged,
                    trial.examples.join(", ")
                )));
            }
            if self.counts(trial.unfit.clone()) {
                trials.push(trial);
            }
            if trials.len() == round.runs {
                break;
            }
        }
        Ok(trials)
    }

    fn take(&mut self, part: &str, who: &[Contender], trials: &Trials) -> Result<()> {
        let start = self.rows.len();
        for who in who {
            let runs = Runs::of(of(trials, *who, |t| t.forwarded / 1e6));
            self.row(part, who.name(), "throughput", "Mpps", &runs);
        }
        self.plot(start, &format!("{part}, packets a second"))?;
        let bare = of(trials, Contender::Bare, |t| t.forwarded);
        for who in who.iter().filter(|who| **who != Contender::Bare) {
            let runs = ratios(&of(trials, *who, |t| t.forwarded), &bare);
            self.row(part, who.name(), "throughput, of bare AF_XDP", "ratio", &runs);
        }
        // Nobody costs the generator less than nothing: the least seen is what generating costs by itself.
        let generating = trials.values().flatten().map(|t| t.generator_ns).fold(f64::MAX, f64::min);
        for who in who {
            let own = Runs::of(of(trials, *who, |t| t.director_ns));
            self.row(part, who.name(), "time of its core", "ns/packet", &own);
            let both = Runs::of(of(trials, *who, |t| cost(t) - generating));
            self.row(part, who.name(), "time of both cores", "ns/packet", &both);
        }
        Ok(())
    }

    fn rate_goals(&mut self, case: &Case, trials: &Trials) {
        use Contender::{Bare, Nft, SheaveNat, Testpmd};
        if case.size != "64" || case.family != Family::V4 {
            return;
        }
        let many = case.flows == MANY;
        let nat = of(trials, SheaveNat, |t| t.forwarded);
        let goals = if many {
            [("E1", Bare, 0.93, 0.96), ("E2-1M", Testpmd, 0.95, 1.0), ("E3-1M", Nft, 1.9, 2.1)]
        } else {
            [("E1-16k", Bare, 0.93, 0.96), ("E2", Testpmd, 0.95, 1.0), ("E3", Nft, 1.5, 1.65)]
        };
        for (id, peer, target, stretch) in goals {
            let name = format!("NAT to {}, {}", peer.name(), case.name());
            let against = Some(peer);
            let goal = Goal { id, name, unit: "ratio", against, target, stretch, better: Better::Higher };
            self.outcome(goal, &ratios(&nat, &of(trials, peer, |t| t.forwarded)));
        }
        // The same by the time of both processors, published beside it.
        let what = "NAT to nftables DNAT, by the time of both cores";
        let runs = ratios(&of(trials, Nft, cost), &of(trials, SheaveNat, cost));
        self.row(&case.name(), "ratio", what, "ratio", &runs);
    }
}
