//! The kit's error: a sentence that names the object, what is wrong with it and, where known, what to do.

use std::fmt;

/// What went wrong, in words. The kit's callers are people who read a test's output, not programs.
pub struct Error(String);

/// A result with the kit's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// For `map_err`: an error about `object`, caused by what is passed to the returned closure.
    pub fn about<E: fmt::Display>(object: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |cause| Self(format!("{object}: {cause}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// Tests fail with the Debug form: it shall read as well as the other.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
