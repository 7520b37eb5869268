//! Numbers that are held against a target: `summary.json`, which the benches and the laboratory share.
//!
//! Owns: what such a number is, and the file: a list, one object a line, each id once.

#![forbid(unsafe_code)]

use serde::Serialize;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Small numbers are good ones.
    Lower,
    /// Large ones.
    Higher,
}

/// A number that is held against a target: one line of the summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// What it is known by, as in P1.
    pub id: String,
    /// What it is.
    pub name: String,
    /// The median of the runs.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// Whom it is compared with, if it is a ratio.
    pub against: Option<&'static str>,
    /// What it has to reach.
    pub target: f64,
    /// What would be splendid.
    pub stretch: f64,
    /// Which way is better.
    pub better: Better,
    /// How often it was measured.
    pub runs: usize,
    /// How far the runs are apart.
    pub spread: f64,
}

impl Outcome {
    /// How it stands to its target, in a word.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        let reaches = |bound: f64| match self.better {
            Better::Lower => self.value <= bound,
            Better::Higher => self.value >= bound,
        };
        if reaches(self.stretch) {
            "stretch"
        } else if reaches(self.target) {
            "target"
        } else {
            "missed"
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { id, name, value, unit, target, stretch, runs, spread, .. } = self;
        let how = self.verdict();
        write!(
            f,
            "{id:<3} {value:>9.2} {unit:<20} target {target}, stretch {stretch}: {how:<8} ({runs} runs within {spread:.2})  {name}"
        )
    }
}

/// Puts outcomes into the summary of a directory, in the place of earlier ones of the same id.
///
/// # Errors
/// When the summary cannot be written.
pub fn record(directory: &Path, outcomes: &[Outcome]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let file = directory.join("summary.json");
    let earlier = fs::read_to_string(&file).unwrap_or_default();
    fs::write(file, merged(&earlier, outcomes)?)
}

fn merged(earlier: &str, outcomes: &[Outcome]) -> io::Result<String> {
    let lines = earlier.lines().map(|line| line.trim_end_matches(',').to_owned());
    let mut lines: Vec<String> = lines.filter(|line| line.starts_with('{')).collect();
    for outcome in outcomes {
        let own = format!("{{\"id\":\"{}\",", outcome.id);
        lines.retain(|line| !line.starts_with(&own));
        lines.push(serde_json::to_string(outcome)?);
    }
    lines.sort_unstable();
    Ok(format!("[\n{}\n]\n", lines.join(",\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(id: &str, value: f64) -> Outcome {
        Outcome {
            id: id.to_owned(),
            name: "a ratio".to_owned(),
            value,
            unit: "ratio",
            against: Some("bare AF_XDP"),
            target: 0.93,
            stretch: 0.96,
            better: Better::Higher,
            runs: 10,
            spread: 0.01,
        }
    }

    #[test]
    fn the_summary_holds_each_number_once() {
        let line = |id: &str, value: f64| {
            format!(
                "{{\"id\":\"{id}\",\"name\":\"a ratio\",\"value\":{value},\"unit\":\"ratio\",\"against\":\"bare AF_XDP\",\
                 \"target\":0.93,\"stretch\":0.96,\"better\":\"higher\",\"runs\":10,\"spread\":0.01}}"
            )
        };
        let one = merged("", &[outcome("E2", 0.5)]).expect("numbers");
        assert_eq!(one, format!("[\n{}\n]\n", line("E2", 0.5)));
        let two = merged(&one, &[outcome("E1", 0.95)]).expect("numbers");
        assert_eq!(two, format!("[\n{},\n{}\n]\n", line("E1", 0.95), line("E2", 0.5)));
        let again = merged(&two, &[outcome("E2", 0.25)]).expect("numbers");
        assert_eq!(again, format!("[\n{},\n{}\n]\n", line("E1", 0.95), line("E2", 0.25)));
    }

    #[test]
    fn a_target_is_reached_from_its_side() {
        assert_eq!(outcome("E1", 0.96).verdict(), "stretch");
        assert_eq!(outcome("E1", 0.93).verdict(), "target");
        assert_eq!(outcome("E1", 0.92).verdict(), "missed");
        assert_eq!(Outcome { better: Better::Lower, ..outcome("L1", 0.5) }.verdict(), "stretch");
    }
}
