//! A foreign configuration as a tree of statements, each with its place.

use std::fmt;
use std::rc::Rc;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: Rc<str>,
    /// From 1.
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Some words, and the block that they open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) place: Place,
    /// At least one.
    pub(crate) words: Vec<String>,
    pub(crate) block: Option<Vec<Statement>>,
}

impl Statement {
    pub(crate) fn new(place: Place, words: Vec<String>) -> Statement {
        Statement { place, words, block: None }
    }

    /// The first word.
    pub(crate) fn key(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The word after so many others; empty when there is none.
    pub(crate) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// What follows the first word.
    pub(crate) fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// The statements of the block.
    pub(crate) fn inner(&self) -> &[Statement] {
        self.block.as_deref().unwrap_or_default()
    }

    /// The last of the block's statements that begin with a word.
    pub(crate) fn last(&self, key: &str) -> Option<&Statement> {
        self.inner().iter().rev().find(|statement| statement.key() == key)
    }

    /// The statement as one line.
    pub(crate) fn text(&self) -> String {
        self.words.join(" ")
    }
}

/// Statements put together from what a file holds, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    /// The statements of each open block, the outermost first; what opened a block is the last of the one before.
    open: Vec<Vec<Statement>>,
    top: Vec<Statement>,
}

impl Builder {
    fn level(&mut self) -> &mut Vec<Statement> {
        self.open.last_mut().unwrap_or(&mut self.top)
    }

    /// Adds a statement.
    pub(crate) fn statement(&mut self, statement: Statement) {
        self.level().push(statement);
    }

    /// Opens the block of the statement that was added last; `false` when there is none.
    pub(crate) fn open(&mut self) -> bool {
        let free = self.level().last().is_some_and(|statement| statement.block.is_none());
        if free {
            self.open.push(Vec::new());
        }
        free
    }

    /// Closes the innermost block; `false` when there is none.
    pub(crate) fn close(&mut self) -> bool {
        let Some(inner) = self.open.pop() else { return false };
        if let Some(owner) = self.level().last_mut() {
            owner.block = Some(inner);
        }
        true
    }

    /// The whole tree.
    ///
    /// # Errors
    /// The place of a block that is not closed.
    pub(crate) fn finish(mut self) -> Result<Vec<Statement>, Place> {
        if self.open.is_empty() {
            return Ok(self.top);
        }
        self.open.pop();
        let opener = self.level().last().map(|statement| statement.place.clone());
        Err(opener.unwrap_or(Place { file: Rc::from(""), line: 0 }))
    }
}
