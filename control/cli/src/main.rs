//! `sheave VERB ...`: reads the command line and runs the verb.

#![forbid(unsafe_code)]

use clap::Parser;
use sheave_cli::args::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    match sheave_cli::run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.code as u8)
        }
    }
}
