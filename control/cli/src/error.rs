//! What a verb ends with when it does not succeed: an exit code, and one line each for what is wrong.

use std::fmt;

/// The exit codes, the same for every verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// There is no more to do: nobody reads what is printed (`| head`).
    Done = 0,
    /// It was tried and failed.
    Failed = 1,
    /// The command line, the configuration or an input file is wrong.
    Usage = 2,
    /// There is no such object.
    NotFound = 3,
    /// The director cannot be reached.
    Unreachable = 4,
}

/// Why a verb did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitError {
    /// What the process ends with.
    pub code: Code,
    /// The lines for standard error, each `error: OBJECT: what is wrong: what to do`.
    pub lines: Vec<String>,
}

impl ExitError {
    /// One thing that is wrong.
    pub fn new(
        code: Code,
        object: impl fmt::Display,
        wrong: impl fmt::Display,
        remedy: impl fmt::Display,
    ) -> ExitError {
        ExitError { code, lines: vec![format!("error: {object}: {wrong}: {remedy}")] }
    }

    /// Several things that are wrong; each prints as a whole line.
    pub fn all<E: fmt::Display>(code: Code, errors: impl IntoIterator<Item = E>) -> ExitError {
        ExitError { code, lines: errors.into_iter().map(|error| error.to_string()).collect() }
    }

    /// A command line that cannot be understood, said in one line.
    pub fn usage(error: &clap::Error) -> ExitError {
        let text = error.to_string();
        let told = |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more information");
        let wrong: Vec<&str> = text.lines().take_while(told).flat_map(str::split_whitespace).collect();
        let wrong = wrong.join(" ");
        let wrong = wrong.strip_prefix("error: ").unwrap_or(&wrong);
        // The usage line names the verb that the words before the mistake led to.
        let usage = text.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or("sheave");
        let verb: Vec<&str> =
            usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
        let remedy = format!("see '{} --help'", verb.join(" "));
        ExitError::new(Code::Usage, "command line", wrong, remedy)
    }
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for ExitError {}
