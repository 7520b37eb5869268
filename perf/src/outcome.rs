//! Numbers that are held against a target: `perf/summary.json` in the target directory.

use std::fmt;
use std::io;
use std::path::Path;

/// Which numbers are good ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Small ones.
    Lower,
    /// Large ones.
    Higher,
}

impl Better {
    const fn name(self) -> &'static str {
        match self {
            Better::Lower => "lower",
            Better::Higher => "higher",
        }
    }
}

/// One measured number.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What it is known by, as in P1.
    pub id: &'static str,
    /// What it is.
    pub name: &'static str,
    /// The median of the runs.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
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
    /// Puts it into the summary below `target`, in the place of an earlier one.
    ///
    /// # Errors
    /// When the summary cannot be written.
    pub fn record(&self, target: &Path) -> io::Result<()> {
        let directory = target.join("perf");
        std::fs::create_dir_all(&directory)?;
        let file = directory.join("summary.json");
        let earlier = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(&file, self.merged(&earlier))
    }

    /// The summary with this one in it: a list, one object a line.
    fn merged(&self, earlier: &str) -> String {
        let own = format!("{{\"id\":\"{}\",", self.id);
        let objects = earlier.lines().map(|line| line.trim_end_matches(','));
        let mut objects: Vec<&str> = objects.filter(|o| o.starts_with('{') && !o.starts_with(&own)).collect();
        let json = self.json();
        objects.push(&json);
        objects.sort_unstable();
        format!("[\n{}\n]\n", objects.join(",\n"))
    }

    fn json(&self) -> String {
        let Outcome { id, name, value, unit, target, stretch, better, runs, spread } = self;
        let better = better.name();
        format!(
            "{{\"id\":\"{id}\",\"name\":\"{name}\",\"value\":{value:.3},\"unit\":\"{unit}\",\"against\":null,\
             \"target\":{target},\"stretch\":{stretch},\"better\":\"{better}\",\"runs\":{runs},\"spread\":{spread:.3}}}"
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { id, name, value, unit, target, stretch, better, runs, spread } = self;
        let reached = |goal: f64| match better {
            Better::Lower => *value <= goal,
            Better::Higher => *value >= goal,
        };
        let how = match (reached(*target), reached(*stretch)) {
            (_, true) => "splendid",
            (true, false) => "reached",
            (false, false) => "MISSED",
        };
        write!(
            f,
            "{id:<3} {value:>9.2} {unit:<20} target {target}, stretch {stretch}: {how:<8} ({runs} runs within {spread:.2})  {name}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_holds_each_number_once() {
        let p2 = Outcome {
            id: "P2",
            name: "instructions",
            value: 300.04,
            unit: "instructions/packet",
            target: 320.0,
            stretch: 280.0,
            better: Better::Lower,
            runs: 1,
            spread: 0.0,
        };
        let p1 = Outcome { id: "P1", value: 40.0, ..p2.clone() };
        let line = |id: &str, value: &str| {
            format!(
                "{{\"id\":\"{id}\",\"name\":\"instructions\",\"value\":{value},\"unit\":\"instructions/packet\",\
                 \"against\":null,\"target\":320,\"stretch\":280,\"better\":\"lower\",\"runs\":1,\"spread\":0.000}}"
            )
        };
        let one = p2.merged("");
        assert_eq!(one, format!("[\n{}\n]\n", line("P2", "300.040")));
        let two = p1.merged(&one);
        assert_eq!(two, format!("[\n{},\n{}\n]\n", line("P1", "40.000"), line("P2", "300.040")));
        let again = Outcome { value: 250.0, ..p2 }.merged(&two);
        assert_eq!(again, format!("[\n{},\n{}\n]\n", line("P1", "40.000"), line("P2", "250.000")));
    }
}
