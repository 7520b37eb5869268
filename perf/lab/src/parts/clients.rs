//! Connections a second and requests, with raw packets and with kernel endpoints.

use super::{AGAIN, Goal, Laboratory};
use crate::bench::Bench;
use crate::connections::{self, Rate};
use crate::contender::Contender::{self, Bare, Direct, Haproxy, Nft, Nginx, SheaveNat};
use crate::stats::{Runs, ratios};
use sheave_summary::Better;
use sheave_testbeds::Result;
use std::collections::BTreeMap;

const RAW: &str = "raw connections";
const KERNEL: &str = "connections between kernel endpoints";

/// What a bare forwarder lets through at least of what endpoints do without it.
const LEAST_OF_DIRECT: f64 = 0.5;
/// The share of connections that may wait for a timeout of the kernel.
const MOST_TIMEOUTS: f64 = 0.005;

/// The runs of each contender.
type Rates = BTreeMap<Contender, Vec<Rate>>;
/// One run.
type Measure = fn(&Bench, Contender, f64) -> Result<Rate>;

fn of(rates: &Rates, who: Contender, number: fn(&Rate) -> f64) -> Vec<f64> {
    rates.get(&who).into_iter().flatten().map(number).collect()
}

impl Laboratory<'_> {
    pub(crate) fn connections(&mut self, bench: &Bench) -> Result<()> {
        let raw = self.clients(bench, RAW, &[Direct, Bare, SheaveNat, Nft, Haproxy], connections::raw)?;
        let everybody = [Direct, Bare, SheaveNat, Nft, Haproxy, Nginx];
        bench.stations(false)?;
        let kernel = self.clients(bench, KERNEL, &everybody, connections::kernel)?;
        bench.stations(true)?;
        let rate = |rate: &Rate| rate.rate;
        let trip = |rate: &Rate| rate.round_trip;
        let start = self.rows.len();
        for who in kernel.keys() {
            self.row(KERNEL, who.name(), "round trip p50", "us", &Runs::of(of(&kernel, *who, trip)));
        }
        self.plot(start, "round trip of a request, median")?;
        self.endpoints(&kernel);
        let goal = |id, name: &str, unit, against, target, stretch, better| Goal {
            id,
            name: name.to_owned(),
            unit,
            against,
            target,
            stretch,
            better,
        };
        let (high, low) = (Better::Higher, Better::Lower);
        let nat = of(&raw, SheaveNat, rate);
        let name = "NAT, raw connections, one worker";
        self.outcome(goal("C2", name, "1/s", None, 90e3, 105e3, high), &Runs::of(nat.clone()));
        let name = "NAT to HAProxy, raw connections";
        let against = ratios(&nat, &of(&raw, Haproxy, rate));
        self.outcome(goal("C2-haproxy", name, "ratio", Some(Haproxy), 5.0, 6.0, high), &against);
        let name = "NAT to HAProxy, connections between kernel endpoints";
        let against = ratios(&of(&kernel, SheaveNat, rate), &of(&kernel, Haproxy, rate));
        self.outcome(goal("C3", name, "ratio", Some(Haproxy), 1.4, 1.6, high), &against);
        let name = "NAT to bare AF_XDP, round trip p50";
        let against = ratios(&of(&kernel, SheaveNat, trip), &of(&kernel, Bare, trip));
        self.outcome(goal("L1", name, "ratio", Some(Bare), 1.10, 1.05, low), &against);
        Ok(())
    }

    /// Whether the endpoints of the kernel were fit to measure anybody: what they do with nobody between is the most that they
    /// can, and the bare forwarder, which has a processor of its own, must come near that; and nobody may wait for timeouts.
    fn endpoints(&mut self, rates: &Rates) {
        let median = |who| Runs::of(of(rates, who, |rate| rate.rate)).median();
        let (direct, bare) = (median(Direct), median(Bare));
        if bare < direct * LEAST_OF_DIRECT {
            self.notes.push(format!(
                "{KERNEL}: not to be believed: {bare:.0} a second through the bare forwarder, {direct:.0} with nobody between"
            ));
        }
        for who in rates.keys() {
            let timeouts = Runs::of(of(rates, *who, |rate| rate.timeouts)).median();
            if timeouts > MOST_TIMEOUTS {
                let (name, percent) = (who.name(), timeouts * 100.0);
                self.notes.push(format!(
                    "{KERNEL}: not to be believed: {name}: {percent:.1} % of connections had to wait for a timeout"
                ));
            }
        }
    }

    fn clients(&mut self, bench: &Bench, part: &str, who: &[Contender], run: Measure) -> Result<Rates> {
        let mut rates = Rates::new();
        if !self.wants(part) {
            return Ok(rates);
        }
        let mut who = who.to_vec();
        let mut failures = BTreeMap::new();
        for _ in 0..self.cli.turns.unwrap_or(5) {
            let mut turn = BTreeMap::new();
            who.retain(|who| match run(bench, *who, self.cli.seconds) {
                Ok(rate) => {
                    if self.counts(rate.unfit.clone()) {
                        turn.insert(*who, rate);
                    }
                    true
                }
                Err(error) => {
                    self.miss(part, *who, &error);
                    let failed = failures.entry(*who).or_insert(0);
                    *failed += 1;
                    *failed < AGAIN
                }
            });
            // Only what everybody went through is compared.
            if turn.len() == who.len() {
                turn.into_iter().for_each(|(who, rate)| rates.entry(who).or_default().push(rate));
            }
        }
        let start = self.rows.len();
        for who in &who {
            let runs = Runs::of(of(&rates, *who, |rate| rate.rate / 1e3));
            self.row(part, who.name(), "rate", "k/s", &runs);
        }
        self.plot(start, &format!("{part}, thousands a second"))?;
        let bare = of(&rates, Bare, |rate| rate.rate);
        for who in who.iter().filter(|who| **who != Bare) {
            let runs = ratios(&of(&rates, *who, |rate| rate.rate), &bare);
            self.row(part, who.name(), "rate, of bare AF_XDP", "ratio", &runs);
        }
        Ok(rates)
    }
}
