//! What is wrong with a configuration, and the list it is collected in.
//!
//! A reader never stops at the first error: it pushes and goes on. The list is sorted by line when it is
//! handed out, so that an operator walks the file once from top to bottom.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::value::{ValueError, bare};

/// Whether a configuration is wrong, or right but beyond what the director does so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigErrorKind {
    /// It has no meaning, or contradicts itself.
    Invalid,
    /// It has a meaning that this version does not carry out yet.
    NotSupported,
}

/// One thing that is wrong with a configuration.
///
/// Its `Display` is the whole line for standard error: `error: FILE:LINE: OBJECT: what is wrong: what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Wrong, or not supported yet.
    pub kind: ConfigErrorKind,
    /// The file, if it came from one.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// The object, as in `service web`.
    pub object: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Where in the model, for those that [`validate`](super::validate) found.
    pub(super) place: Option<Place>,
}

impl ConfigError {
    /// An error of the kind `Invalid` without a line.
    #[must_use]
    pub fn invalid(
        object: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ConfigError {
        ConfigError {
            kind: ConfigErrorKind::Invalid,
            file: None,
            line: None,
            object: object.into(),
            message: message.into(),
            remedy: remedy.into(),
            place: None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("error: ")?;
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, Some(line)) => write!(f, "line {line}: ")?,
            (None, None) => {}
        }
        write!(f, "{}: {}: {}", self.object, self.message, self.remedy)
    }
}

impl std::error::Error for ConfigError {}

/// The table of the model that an error is about; numbers count the objects of the model, not of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spot {
    Director,
    Interface(usize),
    Neighbour(usize),
    Route(usize),
    Service(usize),
    Destination(usize, usize),
}

/// A table of the model and the key in it that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) spot: Spot,
    pub(super) key: &'static str,
}

/// What a reader has found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    list: Vec<ConfigError>,
    /// Errors beyond those that are kept.
    more: usize,
}

impl Errors {
    /// How many are kept: enough for any file that is meant well, and a bound on what a request can cost.
    pub(crate) const MOST: usize = 1000;

    /// Whether what is found from now on is only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= Self::MOST
    }

    fn keep(&mut self, error: ConfigError) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.list.push(error);
        }
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Notes an invalid value of the object that starts, or is, at `line`.
    pub(crate) fn push(&mut self, object: &str, line: Option<usize>, error: ValueError) {
        let error = ConfigError { line, ..ConfigError::invalid(object, error.message, error.remedy) };
        self.keep(error);
    }

    /// All of them, in the order of their lines, none twice.
    pub(crate) fn into_list(self, file: Option<&str>) -> Vec<ConfigError> {
        let mut list = self.list;
        list.sort_by_key(|error| error.line);
        list.dedup();
        if self.more > 0 {
            let message = format!("there are {} more errors", self.more);
            list.push(ConfigError::invalid("configuration", message, "correct these and check again"));
        }
        for error in &mut list {
            error.file = file.map(bare);
        }
        list
    }

    /// Takes over what [`validate`](super::validate) found, with the line of each.
    pub(super) fn absorb(&mut self, found: Vec<ConfigError>, line: impl Fn(Place) -> Option<usize>) {
        for mut error in found {
            error.line = error.place.take().and_then(&line);
            self.keep(error);
        }
    }
}
