//! sheaved: see [`sheave_director`].

#![forbid(unsafe_code)]

use clap::Parser;
use sheave_director::{args::Args, runtime};
use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::main(&Args::parse())
}
