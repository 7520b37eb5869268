//! A typed reader over one table of the value tree.
//!
//! It collects errors instead of stopping: a key that cannot be read is noted and counts as absent, so that
//! the rest is read and checked too. A key that nobody asked for is unknown; `finish` says so.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::error::Errors;
use super::near::near;
use super::tree::{Entry, Node, Value};
use super::value::{ValueError, quote};

/// Reads the keys of one table.
#[derive(Debug)]
pub(crate) struct Reader<'t, 'e> {
    entries: &'t [Entry],
    line: Option<usize>,
    object: String,
    /// The keys of the tables around this one, as in `timeouts.`.
    prefix: String,
    asked: Vec<&'static str>,
    errors: &'e mut Errors,
}

impl<'t, 'e> Reader<'t, 'e> {
    /// A reader of `node`, which must be a table.
    pub(crate) fn new(node: &'t Node, object: String, errors: &'e mut Errors) -> Option<Self> {
        match node.entries() {
            Some(entries) => {
                let (line, prefix, asked) = (node.line, String::new(), Vec::new());
                Some(Reader { entries, line, object, prefix, asked, errors })
            }
            None => {
                let message = format!("it is {}", node.kind());
                errors.push(&object, node.line, ValueError::new(message, "write a table of keys and values"));
                None
            }
        }
    }

    /// What the errors of this table are said about.
    pub(crate) fn object(&self) -> &str {
        &self.object
    }

    /// Where the errors go.
    pub(crate) fn errors(&mut self) -> &mut Errors {
        self.errors
    }

    /// The entry of a key, which is known from now on.
    pub(crate) fn entry(&mut self, key: &'static str) -> Option<&'t Entry> {
        self.asked.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Whether the key is there with the value null, which puts a setting back to its default.
    pub(crate) fn is_null(&mut self, key: &'static str) -> bool {
        self.entry(key).is_some_and(|entry| matches!(entry.node.value, Value::Null))
    }

    /// Notes what is wrong with the value of a key.
    pub(crate) fn wrong(&mut self, key: &str, line: Option<usize>, error: ValueError) {
        let named = error.message.contains(key);
        let message = match named && self.prefix.is_empty() {
            true => error.message,
            false => format!("in {}{key}, {}", self.prefix, error.message),
        };
        self.errors.push(&self.object, line.or(self.line), ValueError::new(message, error.remedy));
    }

    /// Notes that a key which must be there is not.
    pub(crate) fn missing(&mut self, key: &str, remedy: &str) {
        let message = format!("{}{key} is missing", self.prefix);
        self.errors.push(&self.object, self.line, ValueError::new(message, remedy));
    }

    fn wrong_kind(&mut self, key: &str, node: &Node, remedy: &str) {
        let message = format!("{}{key} is {}", self.prefix, node.kind());
        self.errors.push(&self.object, node.line.or(self.line), ValueError::new(message, remedy));
    }

    /// The text of a key.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<&'t str> {
        let entry = self.entry(key)?;
        self.text_in(key, &entry.node)
    }

    fn text_in(&mut self, key: &str, node: &'t Node) -> Option<&'t str> {
        match &node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.wrong_kind(key, node, "write a string");
                None
            }
        }
    }

    /// The value that the text of a key means.
    pub(crate) fn parsed<T: FromStr>(&mut self, key: &'static str) -> Option<T>
    where
        T::Err: Into<ReadError>,
    {
        let entry = self.entry(key)?;
        self.parsed_in(key, &entry.node)
    }

    /// The value that a text in a list, or beside one, means.
    pub(crate) fn parsed_in<T: FromStr>(&mut self, key: &'static str, node: &'t Node) -> Option<T>
    where
        T::Err: Into<ReadError>,
    {
        let text = self.text_in(key, node)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let error = error.into().of(text);
                self.wrong(key, node.line, error);
                None
            }
        }
    }

    /// The integer of a key, within bounds.
    pub(crate) fn integer<T>(&mut self, key: &'static str, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let entry = self.entry(key)?;
        self.integer_in(key, &entry.node, bounds)
    }

    /// The integer in a list, or beside one, within bounds.
    pub(crate) fn integer_in<T>(&mut self, key: &str, node: &Node, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        let remedy = format!("write an integer from {} to {}", bounds.start(), bounds.end());
        let Value::Integer(number) = node.value else {
            self.wrong_kind(key, node, &remedy);
            return None;
        };
        let within = number.and_then(|n| T::try_from(n).ok()).filter(|n| bounds.contains(n));
        if within.is_none() {
            let shown = number.map_or_else(|| "a number".to_owned(), |n| n.to_string());
            let message = format!("{}{key} {shown} is out of bounds", self.prefix);
            self.errors.push(&self.object, node.line.or(self.line), ValueError::new(message, remedy));
        }
        within
    }

    /// The number of a key whose type knows its bounds.
    pub(crate) fn number<T>(&mut self, key: &'static str) -> Option<T>
    where
        T: TryFrom<u32, Error = ValueError>,
    {
        let number = self.integer(key, 0..=u32::MAX)?;
        let line = self.entry(key)?.line;
        T::try_from(number).map_err(|error| self.wrong(key, line, error)).ok()
    }

    /// Whether a key says true.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let entry = self.entry(key)?;
        let Value::Boolean(boolean) = entry.node.value else {
            self.wrong_kind(key, &entry.node, "write true or false");
            return None;
        };
        Some(boolean)
    }

    /// The items of a key that is a list; none when it is not there.
    pub(crate) fn list(&mut self, key: &'static str, remedy: &str) -> &'t [Node] {
        let Some(entry) = self.entry(key) else { return &[] };
        match &entry.node.value {
            Value::Array(items) => items,
            _ => {
                self.wrong_kind(key, &entry.node, remedy);
                &[]
            }
        }
    }

    /// Reads a table within this one; errors stay those of the same object.
    pub(crate) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Reader<'t, '_>) -> T,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        let Some(entries) = entry.node.entries() else {
            self.wrong_kind(key, &entry.node, "write a table, { key = value }");
            return None;
        };
        let mut inner = Reader {
            entries,
            line: entry.node.line,
            object: self.object.clone(),
            prefix: format!("{}{key}.", self.prefix),
            asked: Vec::new(),
            errors: &mut *self.errors,
        };
        let value = read(&mut inner);
        inner.finish();
        Some(value)
    }

    /// Notes every key that nobody asked for.
    pub(crate) fn finish(self) {
        for entry in self.entries.iter().filter(|entry| !self.asked.contains(&entry.key.as_str())) {
            if self.errors.is_full() {
                // Only counted; finding the word that was meant has a price.
                self.errors.push(&self.object, None, ValueError::new("", ""));
                continue;
            }
            let remedy = match near(&entry.key, self.asked.iter().copied())[..] {
                [] if self.asked.is_empty() => "remove it, there are no keys here".to_owned(),
                [] => format!("remove it, or use one of {}", self.known_keys()),
                [nearest, ..] => format!("write {nearest} if that is meant, or remove it"),
            };
            let message = format!("key {}{} is not known", self.prefix, quote(&entry.key));
            self.errors.push(&self.object, entry.line.or(self.line), ValueError::new(message, remedy));
        }
    }

    fn known_keys(&self) -> String {
        let mut keys = self.asked.clone();
        keys.sort_unstable();
        keys.dedup();
        keys.join(", ")
    }
}

/// The error of a value's `FromStr`, before it is known which text it was.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It says all.
    Value(ValueError),
    /// What the text is not, and what to write.
    Not(&'static str, &'static str),
}

impl ReadError {
    fn of(self, text: &str) -> ValueError {
        match self {
            ReadError::Value(error) => error,
            ReadError::Not(what, remedy) => ValueError::new(format!("{} is not {what}", quote(text)), remedy),
        }
    }
}

impl From<ValueError> for ReadError {
    fn from(error: ValueError) -> ReadError {
        ReadError::Value(error)
    }
}

impl From<crate::wire::eth::BadMac> for ReadError {
    fn from(_: crate::wire::eth::BadMac) -> ReadError {
        ReadError::Not("a MAC address", "write six pairs of hexadecimal digits, as in 02:00:00:00:00:d0")
    }
}

impl From<crate::wire::flow::UnknownProto> for ReadError {
    fn from(_: crate::wire::flow::UnknownProto) -> ReadError {
        ReadError::Not("a protocol", "write tcp or udp")
    }
}

impl From<std::net::AddrParseError> for ReadError {
    fn from(_: std::net::AddrParseError) -> ReadError {
        ReadError::Not("an address", "write an IPv4 or IPv6 address, not a name")
    }
}
