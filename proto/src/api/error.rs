//! What a request is answered with when it is not done.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, ConfigErrorKind};

/// Why a request was not done. The codes are stable; texts are for people and may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request, or the configuration that it asks for, is wrong.
    Invalid,
    /// It has a meaning that this version does not carry out yet.
    NotSupported,
    /// There is no such object.
    NotFound,
    /// There is one already.
    Exists,
    /// There is no such operation.
    UnknownOp,
    /// The request is of another version of the API.
    UnknownVersion,
    /// The line is longer than a request may be.
    TooLarge,
    /// The client does not read what it is sent, and is cut off.
    TooSlow,
    /// It was right and could not be done.
    Failed,
}

/// One thing that is wrong with a request. Its `Display` is the line for standard error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorItem {
    /// What sort of error it is.
    pub code: ErrorCode,
    /// The object, as in `service web`.
    pub object: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// The configuration file, if it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl fmt::Display for ErrorItem {
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

impl From<ConfigError> for ErrorItem {
    fn from(error: ConfigError) -> ErrorItem {
        let code = match error.kind {
            ConfigErrorKind::Invalid => ErrorCode::Invalid,
            ConfigErrorKind::NotSupported => ErrorCode::NotSupported,
        };
        let ConfigError { object, message, remedy, file, line, .. } = error;
        ErrorItem { code, object, message, remedy, file, line }
    }
}

/// Everything that is wrong with a request: one error in front, and all of them when there are several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// The error that stands for all.
    #[serde(flatten)]
    pub first: Box<ErrorItem>,
    /// All errors, `first` among them, in the order of their lines; empty when there is only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<ErrorItem>,
}

impl ErrorReply {
    /// A single error.
    #[must_use]
    pub fn new(
        code: ErrorCode,
        object: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ErrorReply {
        let (object, message, remedy) = (object.into(), message.into(), remedy.into());
        let first = ErrorItem { code, object, message, remedy, file: None, line: None };
        ErrorReply { first: Box::new(first), all: Vec::new() }
    }

    /// There is no such service, destination, ...
    #[must_use]
    pub fn not_found(object: impl Into<String>, remedy: impl Into<String>) -> ErrorReply {
        ErrorReply::new(ErrorCode::NotFound, object, "there is no such object", remedy)
    }

    /// Every error, the one in front only once.
    #[must_use]
    pub fn items(&self) -> &[ErrorItem] {
        if self.all.is_empty() { std::slice::from_ref(&self.first) } else { &self.all }
    }
}

/// Errors of the configuration; the one in front is the first that is invalid, if any is.
///
/// # Panics
/// When there are none: no error is not an error.
impl From<Vec<ConfigError>> for ErrorReply {
    fn from(errors: Vec<ConfigError>) -> ErrorReply {
        let all: Vec<ErrorItem> = errors.into_iter().map(ErrorItem::from).collect();
        let invalid = all.iter().find(|error| error.code == ErrorCode::Invalid);
        let first = invalid.or_else(|| all.first()).cloned().expect("a refusal has a reason");
        let all = if all.len() > 1 { all } else { Vec::new() };
        ErrorReply { first: Box::new(first), all }
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, item) in self.items().iter().enumerate() {
            let gap = if at == 0 { "" } else { "\n" };
            write!(f, "{gap}{item}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ErrorReply {}
