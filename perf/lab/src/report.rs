//! What is told: the numbers with targets for machines, all of them in a table for people, one line a release for history.

use crate::machine::Machine;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use serde_json::Value;
use sheave_summary::Outcome;
use sheave_testbeds::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A row of the table: anything measured.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) part: String,
    pub(crate) who: String,
    pub(crate) what: String,
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) runs: usize,
    pub(crate) unit: &'static str,
}

/// Three significant digits are more than these machines give.
pub(crate) fn short(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Everything, as Markdown.
pub(crate) fn text(machine: &Machine, rows: &[Row], outcomes: &[Outcome], notes: &[String]) -> String {
    let Machine { cpu, cores, kernel, commit } = machine;
    let mut text =
        format!("{cpu}, {cores} processors, Linux {kernel}; commit {commit}.\n\n{}\n", goals(outcomes));
    for part in rows.chunk_by(|a, b| a.part == b.part) {
        let name = part.first().map_or("", |row| &row.part);
        text += &format!("\n**{name}**\n\n{}\n", table(part));
    }
    for note in notes {
        text += &format!("\n- {note}\n");
    }
    text
}

fn table(rows: &[Row]) -> String {
    let mut table = markdown(["who", "what", "median", "middle half", "runs", "unit"]);
    for row in rows {
        let middle = format!("{} - {}", short(row.low), short(row.high));
        let cells = [row.who.clone(), row.what.clone(), short(row.median), middle, row.runs.to_string()];
        table.add_row(cells.into_iter().chain([row.unit.to_owned()]));
    }
    for column in [2, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

fn goals(outcomes: &[Outcome]) -> String {
    let mut table = markdown(["id", "what", "value", "spread", "target", "stretch", "reached"]);
    for o in outcomes {
        let value = format!("{} {}", short(o.value), o.unit);
        let cells = [o.id.clone(), o.name.clone(), value, short(o.spread), short(o.target), short(o.stretch)];
        table.add_row(cells.into_iter().chain([o.verdict().to_owned()]));
    }
    table.to_string()
}

fn markdown<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(header);
    table
}

/// How this run stands to the one before, number by number: medians that are farther apart than the spreads of both
/// disagree.
pub(crate) fn agreement(directory: &Path, outcomes: &[Outcome]) -> Vec<String> {
    let text = fs::read_to_string(directory.join("summary.json")).unwrap_or_default();
    let earlier: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    let stands = |o: &Outcome| {
        let before = earlier.iter().find(|before| before["id"] == *o.id)?;
        let (value, spread) = (before["value"].as_f64()?, before["spread"].as_f64()?);
        let word = if (o.value - value).abs() > o.spread + spread { "differs from" } else { "agrees with" };
        let now = format!("{} (spread {})", short(o.value), short(o.spread));
        Some(format!("{} {word} the run before: {now}, {} (spread {})", o.id, short(value), short(spread)))
    };
    outcomes.iter().filter_map(stands).collect()
}

/// Adds a release's line to a table of all releases: a column for each number of the summary.
pub(crate) fn history(file: &Path, release: &str, machine: &Machine, summary: &Path) -> Result<()> {
    let numbers = fs::read_to_string(summary).map_err(Error::about(summary.display()))?;
    let numbers: Vec<Value> = serde_json::from_str(&numbers).map_err(Error::about(summary.display()))?;
    let earlier = fs::read_to_string(file).unwrap_or_default();
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).map_err(Error::about(directory.display()))?;
    }
    fs::write(file, with_line(&earlier, release, machine, &numbers)).map_err(Error::about(file.display()))
}

fn with_line(earlier: &str, release: &str, machine: &Machine, numbers: &[Value]) -> String {
    let mut lines = earlier.lines();
    let header = lines.next().unwrap_or("release,commit,cpu,processors,kernel");
    let mut columns: Vec<&str> = header.split(',').collect();
    let Machine { cpu, cores, kernel, commit } = machine;
    let mut cells = BTreeMap::from([
        ("release", release.to_owned()),
        ("commit", commit.clone()),
        ("cpu", cpu.replace(',', " ")),
        ("processors", cores.to_string()),
        ("kernel", kernel.clone()),
    ]);
    for number in numbers {
        if let (Some(id), Some(value)) = (number["id"].as_str(), number["value"].as_f64()) {
            if !columns.contains(&id) {
                columns.push(id);
            }
            cells.insert(id, short(value));
        }
    }
    // Columns that an earlier line had not yet are empty there.
    let padded = lines.map(|line| {
        let missing = columns.len().saturating_sub(line.split(',').count());
        format!("{line}{}\n", ",".repeat(missing))
    });
    let own: Vec<String> = columns.iter().map(|c| cells.remove(c).unwrap_or_default()).collect();
    format!("{}\n{}{}\n", columns.join(","), padded.collect::<String>(), own.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_summary::Better;

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
    fn numbers_are_as_short_as_they_are_sure() {
        assert_eq!([0.9512, 1.2345, 123.45, 12345.6].map(short), ["0.951", "1.23", "123.5", "12346"]);
    }

    #[test]
    fn the_history_has_a_line_a_release() {
        let machine = Machine { cpu: "a, b".into(), cores: 2, kernel: "6".into(), commit: "abc".into() };
        let one = with_line("", "0.1", &machine, &[serde_json::json!({ "id": "E1", "value": 0.95 })]);
        assert_eq!(one, "release,commit,cpu,processors,kernel,E1\n0.1,abc,a  b,2,6,0.950\n");
        let both = with_line(&one, "0.2", &machine, &[serde_json::json!({ "id": "C2", "value": 99e3 })]);
        let header = "release,commit,cpu,processors,kernel,E1,C2\n";
        assert_eq!(both, format!("{header}0.1,abc,a  b,2,6,0.950,\n0.2,abc,a  b,2,6,,99000\n"));
    }

    #[test]
    fn medians_farther_apart_than_their_spreads_disagree() {
        let directory = std::env::temp_dir().join(format!("shv-{}-0-report", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        sheave_summary::record(&directory, &[outcome("E1", 0.95), outcome("E2", 0.95)]).expect("recorded");
        let found = agreement(&directory, &[outcome("E1", 0.965), outcome("E2", 0.98), outcome("E3", 2.0)]);
        fs::remove_dir_all(&directory).expect("removed");
        let before = "the run before: 0.965 (spread 0.010), 0.950 (spread 0.010)";
        assert_eq!(found[0], format!("E1 agrees with {before}"));
        assert_eq!(found[1], format!("E2 differs from {}", before.replace("0.965", "0.980")));
        assert_eq!(found.len(), 2);
    }
}
