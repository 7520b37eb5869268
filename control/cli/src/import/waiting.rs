//! Blocks for which there is no part of the director yet, carried over word for word as TOML: statements become
//! keys, blocks become tables, nothing is left out.

use super::tree::Statement;
use toml::{Table, Value};

/// Blocks whose lines are items of a list.
const LISTS: [&str; 22] = [
    "group",
    "notification_email",
    "static_ipaddress",
    "static_routes",
    "static_rules",
    "track_bfd",
    "track_file",
    "track_group",
    "track_interface",
    "track_process",
    "track_script",
    "track_src_ip",
    "unicast_peer",
    "unicast_src_ip",
    "url_list",
    "virtual_ipaddress",
    "virtual_ipaddress_excluded",
    "virtual_routes",
    "virtual_rules",
    "virtual_server_group",
    "linkbeat_interfaces",
    "vrrp_garp_extra_if",
];

/// A block as TOML.
pub(crate) fn block(statement: &Statement) -> String {
    text(&table(std::slice::from_ref(statement)))
}

/// A table as TOML.
pub(crate) fn text(table: &Table) -> String {
    toml::to_string(table).expect("a table of strings, numbers, lists and tables has a TOML form")
}

/// Statements as a table.
pub(crate) fn table(statements: &[Statement]) -> Table {
    let mut table = Table::new();
    for statement in statements {
        let key = key(statement.key());
        let value = value(statement);
        let is_block = statement.block.is_some();
        match table.get_mut(&key) {
            Some(Value::Array(values)) if is_block => values.push(value),
            Some(there) => {
                // A word that is said again becomes a list of all that is said.
                let again = [there.clone(), value];
                *there = Value::Array(again.into_iter().flat_map(flat).collect());
            }
            None if is_block && matches!(value, Value::Table(_)) => {
                table.insert(key, Value::Array(vec![value]));
            }
            None => {
                table.insert(key, value);
            }
        }
    }
    table
}

fn flat(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        value => vec![value],
    }
}

/// A key in the form of our own.
fn key(word: &str) -> String {
    word.to_lowercase().replace('_', "-")
}

fn scalar(word: &str) -> Value {
    match word.parse::<i64>() {
        Ok(number) if number.to_string() == word => Value::Integer(number),
        _ => Value::String(word.to_owned()),
    }
}

fn value(statement: &Statement) -> Value {
    let arguments = statement.arguments();
    let Some(inner) = &statement.block else {
        return match arguments {
            [] => Value::Boolean(true),
            [one] => scalar(one),
            many => Value::Array(many.iter().map(|word| scalar(word)).collect()),
        };
    };
    let items = || Value::Array(inner.iter().map(|item| Value::String(item.text())).collect());
    let is_list = LISTS.contains(&statement.key());
    if is_list && arguments.is_empty() && inner.iter().all(|item| item.block.is_none()) {
        return items();
    }
    let mut table = if is_list { Table::from_iter([("items".to_owned(), items())]) } else { table(inner) };
    if !arguments.is_empty() {
        table.insert("name".to_owned(), Value::String(arguments.join(" ")));
    }
    Value::Table(table)
}
