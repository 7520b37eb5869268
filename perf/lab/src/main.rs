//! `sheave-perf`: measures the director end to end, side by side with its ceiling and its peers, in the same minutes.
//!
//! Owns: the topology ([`bench`]), who is measured ([`contender`]), how ([`measure`], [`connections`]), which numbers become
//! of it ([`parts`]), whether the machine was fit for it ([`machine`], [`gaps`]), and what is told of it ([`report`], [`plot`]). The
//! order of measuring is in [`plan`].
//!
//! Invariants:
//! - Contenders take turns: what is compared was measured within the same minute, again and again.
//! - What a busy machine measured is never recorded.

#![forbid(unsafe_code)]

mod bench;
mod connections;
mod contender;
mod control;
mod endpoints;
mod gaps;
mod machine;
mod measure;
mod parts;
mod plan;
mod plot;
mod publish;
mod report;
mod stats;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures the director side by side with its peers. Needs root.
#[derive(Debug, Parser)]
#[command(name = "sheave-perf", version)]
pub(crate) struct Cli {
    /// How much: quick (2 minutes), default (15) or full
    #[arg(value_enum, default_value = "default")]
    pub(crate) matrix: plan::Matrix,
    /// Measure on a busy machine too; nothing is recorded then
    #[arg(long)]
    pub(crate) busy_ok: bool,
    /// How many turns each contender has, instead of what the matrix says
    #[arg(long, value_name = "N")]
    pub(crate) turns: Option<usize>,
    /// Seconds of each run
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// Only the parts whose name contains this
    #[arg(long, value_name = "WORD")]
    pub(crate) only: Option<String>,
    /// The build directory, for results
    #[arg(long, value_name = "DIR", default_value = "target")]
    pub(crate) target: PathBuf,
    /// Add a line to perf/history/releases.csv, under this name of a release
    #[arg(long, value_name = "NAME")]
    pub(crate) release: Option<String>,
    /// Put the results into docs/performance.md, and the plots beside it
    #[arg(long)]
    pub(crate) publish: bool,
}

fn main() -> ExitCode {
    raise_limit();
    match plan::run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Clients and servers hold thousands of connections in this process. What is not to be had is missed later, by name.
fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
