//! The command line against what ipvsadm does with it, and what is printed against what ipvsadm prints.

mod golden;
mod grammar;
mod readers;
mod round_trip;
mod scripts;

use super::names::FileNames;
use super::{Refusal, change, parse};
use sheave_proto::config::{Config, ConfigErrorKind, validate};

/// The names that tests know.
fn names() -> FileNames {
    FileNames::new(
        "198.18.0.100 web.example.org web\n198.19.1.11 real1\n2001:db8::100 web6\n",
        "http 80/tcp\nhttp-alt 8080/tcp\ndomain 53/udp\ndomain 53/tcp\nftp 21/tcp\n",
    )
}

/// Carries out a command line on a configuration, and looks whether it is valid then.
fn run(config: &mut Config, line: &str) -> Result<(), Refusal> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let command = parse::parse(&words, "ipvsadm", &names())?;
    change::edit(config, &command)?;
    let invalid = validate(config).into_iter().find(|error| error.kind == ConfigErrorKind::Invalid);
    invalid.map_or(Ok(()), |error| Err(Refusal::usage(error.to_string())))
}

/// A configuration that some rules make.
fn made(rules: &str) -> Config {
    let mut config = Config::default();
    for line in rules.lines().filter(|line| !line.trim().is_empty()) {
        run(&mut config, line).unwrap_or_else(|refusal| panic!("{line}: {}", refusal.text));
    }
    config
}
