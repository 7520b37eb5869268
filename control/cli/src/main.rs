//! `sheave VERB ...`: reads the command line and runs the verb.

#![forbid(unsafe_code)]

use clap::Parser;
use sheave_cli::ExitError;
use sheave_cli::args::Cli;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(cli) => sheave_cli::run(&cli),
        // Help and version are asked for, and belong on standard output.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.exit()
        }
        Err(error) => Err(ExitError::usage(&error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut out = std::io::stderr().lock();
            for line in &error.lines {
                // Where it cannot be said, the exit code still tells.
                let _unheard = writeln!(out, "{line}");
            }
            ExitCode::from(error.code as u8)
        }
    }
}
