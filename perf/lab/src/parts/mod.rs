//! The parts of a measurement: each knows who takes turns in it, and which numbers become of it.
//!
//! Invariant: what a busy machine measured becomes no number.

mod changes;
mod clients;
mod floods;
mod memory;
mod rates;
mod standard;

use crate::contender::Contender;
use crate::machine::Machine;
use crate::publish::publish;
use crate::report::{self, Row};
use crate::stats::Runs;
use crate::{Cli, plot};
use sheave_summary::{Better, Outcome};
use sheave_testbeds::{Error, Result};
use std::path::{Path, PathBuf};

/// Times that a run which does not count is tried again.
const AGAIN: usize = 3;

/// Everything measured so far.
#[derive(Debug)]
pub(crate) struct Laboratory<'c> {
    cli: &'c Cli,
    directory: PathBuf,
    rows: Vec<Row>,
    plots: Vec<String>,
    outcomes: Vec<Outcome>,
    /// Why runs did not count, and how many did.
    unfit: Vec<String>,
    counted: usize,
    /// What could not be measured, and whether one of ours was among it.
    notes: Vec<String>,
    failed: bool,
}

/// The name of a number that has a target, and the target.
struct Goal {
    id: &'static str,
    name: String,
    unit: &'static str,
    against: Option<Contender>,
    target: f64,
    stretch: f64,
    better: Better,
}

impl<'c> Laboratory<'c> {
    pub(crate) fn new(cli: &'c Cli) -> Result<Laboratory<'c>> {
        let directory = cli.target.join(if cli.busy_ok { "perf/unfit" } else { "perf" });
        std::fs::create_dir_all(&directory).map_err(Error::about(directory.display()))?;
        Ok(Laboratory {
            cli,
            directory,
            rows: Vec::new(),
            plots: Vec::new(),
            outcomes: Vec::new(),
            unfit: Vec::new(),
            counted: 0,
            notes: Vec::new(),
            failed: false,
        })
    }

    fn wants(&self, part: &str) -> bool {
        let wanted = self.cli.only.as_ref().is_none_or(|word| part.contains(word));
        if wanted {
            eprintln!("{part}");
        }
        wanted
    }

    /// Notes whether a run counts.
    fn counts(&mut self, unfit: Option<String>) -> bool {
        self.counted += usize::from(unfit.is_none());
        let counts = unfit.is_none() || self.cli.busy_ok;
        self.unfit.extend(unfit);
        counts
    }

    /// Notes that somebody could not be measured. The others go on.
    fn miss(&mut self, part: &str, who: Contender, error: &Error) {
        self.failed |= who.is_ours();
        let note = format!("{part}: {}: not measured: {error}", who.name());
        eprintln!("{note}");
        self.notes.push(note);
    }

    fn row(&mut self, part: &str, who: &str, what: &str, unit: &'static str, runs: &Runs) {
        if runs.len() == 0 {
            return;
        }
        let (low, high) = runs.middle();
        let (part, who, what) = (part.to_owned(), who.to_owned(), what.to_owned());
        self.rows.push(Row { part, who, what, median: runs.median(), low, high, runs: runs.len(), unit });
    }

    fn outcome(&mut self, goal: Goal, runs: &Runs) {
        if runs.len() == 0 {
            return;
        }
        let Goal { id, name, unit, against, target, stretch, better } = goal;
        let (value, spread) = (runs.median(), runs.spread());
        let (id, against, runs) = (id.to_owned(), against.map(Contender::name), runs.len());
        self.outcomes.push(Outcome { id, name, value, unit, against, target, stretch, better, runs, spread });
    }

    /// A plot of the rows from `start` on.
    fn plot(&mut self, start: usize, title: &str) -> Result<()> {
        let file = title.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-").replace("--", "-");
        let rows = &self.rows[start..];
        if !rows.is_empty() {
            plot::bars(&self.directory, &file, title, rows)?;
            self.plots.push(file);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<()> {
        let machine = Machine::look();
        let text = report::text(&machine, &self.rows, &self.outcomes, &self.notes);
        println!("{text}");
        // A few runs beside a neighbour are tried again; many mean that nothing here can be believed.
        if self.unfit.len() * 3 > self.counted && !self.cli.busy_ok {
            let last = self.unfit.last().map_or("", String::as_str);
            let (bad, good) = (self.unfit.len(), self.counted);
            return Err(Error::new(format!(
                "machine: too busy to measure: {bad} runs did not count, {good} did; the last because {last}: nothing recorded"
            )));
        }
        self.write(&machine, &text)?;
        if self.failed {
            Err(Error::new("perf: not everything of ours could be measured: see above"))
        } else {
            Ok(())
        }
    }

    fn write(&self, machine: &Machine, text: &str) -> Result<()> {
        let rows = serde_json::json!({ "machine": machine, "rows": self.rows, "notes": self.notes });
        for (name, text) in [("matrix.json", &format!("{rows:#}\n")[..]), ("report.md", text)] {
            let file = self.directory.join(name);
            std::fs::write(&file, text).map_err(Error::about(file.display()))?;
        }
        for line in report::agreement(&self.directory, &self.outcomes) {
            println!("{line}");
        }
        sheave_summary::record(&self.directory, &self.outcomes).map_err(Error::about("summary.json"))?;
        if self.cli.busy_ok {
            println!("the machine was not asked whether it is quiet: see {}", self.directory.display());
            return Ok(());
        }
        if let Some(release) = &self.cli.release {
            let file = Path::new("perf/history/releases.csv");
            report::history(file, release, machine, &self.directory.join("summary.json"))?;
        }
        if self.cli.publish {
            publish(Path::new("docs/performance.md"), text, &self.directory, &self.plots)?;
        }
        Ok(())
    }
}
