//! The value tree that TOML and JSON both become before they are read, so that one reader serves both.
//!
//! TOML values carry the line they stand on, JSON values none. Depth is bounded by the two parsers.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: Option<usize>,
    pub(crate) value: Value,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Value {
    Table(Vec<Entry>),
    Array(Vec<Node>),
    Text(String),
    /// None is a number too large for any key.
    Integer(Option<i64>),
    Boolean(bool),
    Null,
    /// A kind of value that no key takes, by its name.
    Other(&'static str),
}

/// A key with its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: Option<usize>,
    pub(crate) node: Node,
}

impl Node {
    /// How errors call the kind of the value.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Table(_) => "a table",
            Value::Array(_) => "a list",
            Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Boolean(_) => "a boolean",
            Value::Null => "null",
            Value::Other(kind) => kind,
        }
    }

    /// The entries, if it is a table.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The text of a key, if the node is a table that has it as a string.
    pub(crate) fn text_of(&self, key: &str) -> Option<&str> {
        match &self.entries()?.iter().find(|entry| entry.key == key)?.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes over a JSON value.
    pub(crate) fn from_json(value: &serde_json::Value) -> Node {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(boolean) => Value::Boolean(*boolean),
            Json::Number(number) if number.is_f64() => Value::Other("a fraction"),
            Json::Number(number) => Value::Integer(number.as_i64()),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => Value::Array(items.iter().map(Node::from_json).collect()),
            Json::Object(map) => {
                let entry = |(key, value): (&String, _)| Entry {
                    key: key.clone(),
                    line: None,
                    node: Node::from_json(value),
                };
                Value::Table(map.iter().map(entry).collect())
            }
        };
        Node { line: None, value }
    }

    /// Takes over a TOML document.
    pub(crate) fn from_toml(document: &Spanned<DeTable<'_>>, lines: &Lines) -> Node {
        Node { line: Some(1), value: toml_table(document.get_ref(), lines) }
    }
}

fn toml_table(table: &DeTable<'_>, lines: &Lines) -> Value {
    let entry = |(key, value): (&Spanned<_>, _)| Entry {
        key: String::from(AsRef::<str>::as_ref(key.get_ref())),
        line: Some(lines.line_of(key.span().start)),
        node: toml_node(value, lines),
    };
    Value::Table(table.iter().map(entry).collect())
}

fn toml_node(value: &Spanned<DeValue<'_>>, lines: &Lines) -> Node {
    let line = Some(lines.line_of(value.span().start));
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| toml_node(item, lines)).collect()),
        DeValue::Table(table) => toml_table(table, lines),
    };
    Node { line, value }
}

/// Where the lines of a text start.
#[derive(Debug)]
pub(crate) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(crate) fn of(text: &str) -> Lines {
        let after_breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        Lines { starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    /// The line, from 1, that a byte offset is on.
    pub(crate) fn line_of(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines() {
        let lines = Lines::of("a\nbc\n\nd");
        let found: Vec<usize> = (0..8).map(|offset| lines.line_of(offset)).collect();
        assert_eq!(found, [1, 1, 2, 2, 2, 3, 4, 4]);
        assert_eq!(Lines::of("").line_of(0), 1);
    }

    #[test]
    fn keys_and_values_keep_their_lines() {
        let text = "a = 1\n[[t]]\nb = [\n  2,\n]\n[[t]]\nc = { d = \"x\" }\n";
        let document = DeTable::parse(text).unwrap();
        let root = Node::from_toml(&document, &Lines::of(text));
        let entries = root.entries().unwrap();
        assert_eq!(entries[0].line, Some(1));
        let Value::Array(tables) = &entries[1].node.value else { panic!("{entries:?}") };
        assert_eq!((tables[0].line, tables[1].line), (Some(2), Some(6)));
        let b = &tables[0].entries().unwrap()[0];
        assert_eq!(b.line, Some(3));
        let Value::Array(items) = &b.node.value else { panic!("{b:?}") };
        assert_eq!(items[0].line, Some(4));
    }
}
