//! The command line of sheaved.

use clap::Parser;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;

/// A virtual-server director: spreads connections to virtual addresses over real servers, by NAT, direct routing or
/// IP-in-IP tunnelling, in user space on AF_XDP.
///
/// It runs in the foreground until SIGTERM or SIGINT. SIGHUP reads the configuration file again.
#[derive(Debug, Parser)]
#[command(name = "sheaved", version)]
pub struct Args {
    /// The configuration file. Without one, every Ethernet interface that is up is served, and services come over
    /// the control socket.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Check the configuration file, report everything that is wrong with it, and exit: 0 if it is valid, 2 if not.
    #[arg(long, requires = "config")]
    pub check: bool,

    /// How much to log to standard error: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: LevelFilter,

    /// Print the manual page.
    #[arg(long, hide = true, exclusive = true)]
    pub man: bool,
}

/// A mistake on the command line as one line of standard error.
#[must_use]
pub fn usage(error: &clap::Error) -> String {
    let text = error.to_string();
    let wrong: Vec<&str> =
        text.lines().take_while(|line| !line.starts_with("Usage:")).flat_map(str::split_whitespace).collect();
    let wrong = wrong.join(" ");
    let wrong = wrong.strip_prefix("error: ").unwrap_or(&wrong);
    format!("error: command line: {wrong}: see 'sheaved --help'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["sheaved", "--config", "director.toml", "--check"]).expect("valid");
        assert!(args.check && args.config.is_some());
        assert!(Args::try_parse_from(["sheaved", "--check"]).is_err(), "nothing to check");
        assert!(Args::try_parse_from(["sheaved", "--log", "loud"]).is_err());
    }

    #[test]
    fn a_mistake_is_told_in_one_line() {
        let error = Args::try_parse_from(["sheaved", "--confg", "x"]).expect_err("no such option");
        assert_eq!(
            usage(&error),
            "error: command line: unexpected argument '--confg' found tip: a similar argument exists: '--config': \
             see 'sheaved --help'"
        );
    }
}
