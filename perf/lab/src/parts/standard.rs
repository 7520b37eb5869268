//! After RFC 2544: throughput without loss, delay at shares of it, and bursts.

use super::{Goal, Laboratory};
use crate::bench::{Bench, Family};
use crate::contender::Contender::{self, Bare, Nft, SheaveNat};
use crate::gaps::Watch;
use crate::machine::{DIRECTOR_CORE, GENERATOR_CORE};
use crate::measure::{Case, Kind, Meter, delays, longest_burst, throughput};
use crate::plan::FEW;
use crate::stats::Runs;
use sheave_summary::Better;
use sheave_testbeds::Result;
use std::collections::BTreeMap;

const PART: &str = "after RFC 2544, 16 k flows, 64 B";
const SHARES: [f64; 3] = [0.1, 0.5, 0.8];
/// Runs for the delay at each share, and how often one is tried again that had too few whole windows.
const RUNS: usize = 3;
const STEPS: u32 = 7;
/// Length of a run that looks for loss, as a share of the others: the shorter, the more often the host leaves it alone.
const SHORT: f64 = 0.1;

/// Numbers of one contender, by what they are.
type Numbers = BTreeMap<(usize, String, &'static str), Vec<f64>>;

impl Laboratory<'_> {
    pub(crate) fn rfc2544(&mut self, bench: &Bench) -> Result<()> {
        if !self.wants(PART) {
            return Ok(());
        }
        let mut found: BTreeMap<Contender, Numbers> = BTreeMap::new();
        let mut who = vec![Bare, SheaveNat, Nft];
        for _ in 0..self.cli.turns.unwrap_or(3) {
            who.retain(|who| {
                let numbers = found.entry(*who).or_default();
                let done = standard(bench, *who, self.cli.seconds, numbers);
                if let Err(error) = &done {
                    self.miss(PART, *who, error);
                }
                done.is_ok()
            });
        }
        let kinds: Vec<_> = found.values().flat_map(BTreeMap::keys).cloned().collect();
        let mut kinds: Vec<_> = kinds.into_iter().collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            let start = self.rows.len();
            for (who, numbers) in &found {
                let runs = Runs::of(numbers.get(&kind).cloned().unwrap_or_default());
                self.row(PART, who.name(), &kind.1, kind.2, &runs);
            }
            self.plot(start, &kind.1)?;
        }
        let half =
            Runs::of(found.remove(&SheaveNat).and_then(|n| n.get(&delay(1, 1)).cloned()).unwrap_or_default());
        let name = "NAT, forwarding delay p99.9 at half load".to_owned();
        let (against, better) = (None, Better::Lower);
        let goal = Goal { id: "L2", name, unit: "us", against, target: 200.0, stretch: 100.0, better };
        self.outcome(goal, &half);
        Ok(())
    }
}

/// What a delay is called. Numbers keep the order of the shares.
fn delay(share: usize, what: usize) -> (usize, String, &'static str) {
    let percent = SHARES[share] * 100.0;
    let (name, unit) = [
        ("delay p50", "us"),
        ("delay p99.9", "us"),
        ("delay p99.9, the host's gaps included,", "us"),
        ("windows without a gap", "share"),
    ][what];
    (2 + 4 * share + what, format!("{name} at {percent:.0} % of its throughput"), unit)
}

fn standard(bench: &Bench, who: Contender, seconds: f64, numbers: &mut Numbers) -> Result<()> {
    let case = Case { family: Family::V4, flows: FEW, size: "64", kind: Kind::Datagrams };
    let watch = Watch::start(&[GENERATOR_CORE, DIRECTOR_CORE])?;
    let mut meter = Meter::new(bench, seconds * SHORT);
    let mut session = meter.open(who, &case)?;
    let most = session.trial(0.0)?.forwarded * 1.1;
    let rate = throughput(&mut session, most, STEPS, &watch)?;
    let burst = longest_burst(&mut session, &watch)?;
    drop(session);
    numbers.entry((0, "throughput without loss".to_owned(), "Mpps")).or_default().push(rate / 1e6);
    numbers.entry((1, "longest burst without loss".to_owned(), "packets")).or_default().push(burst as f64);
    // More packets are judged here: there are few of them, and a thousand are needed for the last percentile.
    let mut meter = Meter::new(bench, seconds).judging(4);
    let mut session = meter.open(who, &case)?;
    for (n, share) in SHARES.into_iter().enumerate() {
        let mut runs = 0;
        for _ in 0..2 * RUNS {
            let Some(found) = delays(&mut session, rate * share, &watch)? else { continue };
            let values = [found.p50, found.p999, found.all_p999, found.whole];
            for (what, value) in values.into_iter().enumerate() {
                numbers.entry(delay(n, what)).or_default().push(value);
            }
            runs += 1;
            if runs == RUNS {
                break;
            }
        }
    }
    Ok(())
}
