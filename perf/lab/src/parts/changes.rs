//! How soon a change of the configuration is seen by the worker, under load.

use super::{Goal, Laboratory};
use crate::bench::{Bench, Family};
use crate::contender::Contender::SheaveNat;
use crate::control::Control;
use crate::measure::{Case, Kind, Meter};
use crate::plan::FEW;
use crate::stats::Runs;
use sheave_pktgen::clock;
use sheave_summary::Better;
use sheave_testbeds::{Error, Result};
use std::time::Duration;

const PART: &str = "changes under load";
const RATE: f64 = 100_000.0;

impl Laboratory<'_> {
    pub(crate) fn changes(&mut self, bench: &Bench) -> Result<()> {
        if !self.wants(PART) {
            return Ok(());
        }
        let case = Case { family: Family::V4, flows: FEW, size: "64", kind: Kind::Datagrams };
        let mut meter = Meter::new(bench, self.cli.seconds);
        let mut session = meter.open(SheaveNat, &case)?;
        let mut control = Control::connect(&bench.file("control.sock"))?;
        let mut times = Vec::new();
        session.at(RATE, Duration::from_secs_f64(self.cli.seconds), || {
            let weight = 1 + times.len() % 2;
            let epoch = control.weigh(Family::V4, weight)?;
            let committed = clock::now();
            while control.worker_epoch()? < epoch {
                if committed.elapsed() > Duration::from_secs(1) {
                    return Err(Error::new("sheaved: a change is not seen within a second"));
                }
            }
            times.push(committed.elapsed().as_secs_f64() * 1e3);
            Ok(())
        })?;
        let runs = Runs::of(times);
        self.row(PART, SheaveNat.name(), "from the answer until the worker has it", "ms", &runs);
        let (name, against) = ("a change is seen by the worker, under load".to_owned(), None);
        let goal =
            Goal { id: "B2", name, unit: "ms", against, target: 5.0, stretch: 1.0, better: Better::Lower };
        self.outcome(goal, &runs);
        Ok(())
    }
}
