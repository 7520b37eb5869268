//! `sheave-ipvsadm`, also as `ipvsadm`: the command line of ipvsadm for a sheave director.

#![forbid(unsafe_code)]

use sheave_cli::ipvsadm::{Outcome, Program};
use sheave_proto::config::Director;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let name = words.next().unwrap_or_else(|| "ipvsadm".to_owned());
    let mut words: Vec<String> = words.collect();
    // The one option that is not ipvsadm's; it comes first, and its value is the next word.
    let named = (words.first().is_some_and(|word| word == "--socket") && words.len() > 1)
        .then(|| words.drain(..2).next_back())
        .flatten();
    let socket = named.map(PathBuf::from).or_else(|| std::env::var_os("SHEAVE_SOCKET").map(PathBuf::from));
    let socket = socket.unwrap_or_else(|| PathBuf::from(Director::SOCKET));
    let Outcome { out, err, code } =
        Program { name, socket }.run(&words, || std::io::read_to_string(std::io::stdin()));
    // Where it cannot be said, the exit code still tells.
    let _unheard = std::io::stderr().write_all(err.as_bytes());
    let _unheard = std::io::stdout().write_all(out.as_bytes());
    ExitCode::from(code)
}
