//! sheaved: see [`sheave_director`].

#![forbid(unsafe_code)]

use clap::Parser;
use sheave_director::args::{self, Args};
use sheave_director::runtime;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => runtime::main(&args),
        // Help and version are asked for, and belong on standard output.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            eprintln!("{}", args::usage(&error));
            ExitCode::from(2)
        }
    }
}
