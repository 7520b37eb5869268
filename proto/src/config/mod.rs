//! The configuration: its model, its TOML and JSON forms, and what makes it valid.
//!
//! A text becomes a spanned tree (`tree`), a typed reader turns the tree into the model (`reader`, `read`),
//! and [`validate`] says whether the parts fit together. JSON from the control API takes the same way without
//! lines. So there is one set of spellings and one set of rules, and every error of a text is reported at
//! once. Nothing here opens a file, looks up a name or asks the kernel.

mod addr;
mod error;
mod model;
mod near;
mod patch;
mod read;
mod read_service;
mod reader;
mod service;
mod show;
mod tree;
mod tuning;
mod validate;
mod value;
mod words;

pub use addr::{Cidr, DestAddr, Listen, Ports};
pub use error::{ConfigError, ConfigErrorKind};
pub use model::{Announce, Config, Director, Flood, Interface, Neighbour, Route};
pub use patch::{DestinationPatch, ServicePatch, TimeoutsPatch};
pub use service::{Destination, OwnTimeouts, Persistence, Service, Sorry, Timeouts, Tunnel};
pub use show::to_toml;
pub use tuning::{BackupBelow, Draws, MhTable, MssClamp, SlowStart, TunnelPort};
pub use validate::validate;
pub use value::{Cores, Duration, Owner, Timeout, ValueError, Weight};
pub use words::{Forward, Helper, Intent, Mode, OnRemoval, Scheduler, SchedulerFlag, TunnelType, Wait};

pub(crate) use error::Errors;
pub(crate) use near::near;
pub(crate) use read_service::{destination_keys, service as read_service};
pub(crate) use reader::Reader;
pub(crate) use tree::Node;
pub(crate) use value::{bare, quote, serde_as_string, whole_secs};
pub(crate) use words::{unknown_word, vocabulary};

use toml::de::DeTable;

/// Reads and checks the text of a configuration file; `file` is what errors call it.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines; never an empty list.
pub fn parse(text: &str, file: &str) -> Result<Config, Vec<ConfigError>> {
    let lines = tree::Lines::of(text);
    let (document, faults) = DeTable::parse_recoverable(text);
    let mut errors = Errors::default();
    let mut seen = std::collections::HashSet::new();
    for fault in &faults {
        let line = fault.span().map(|span| lines.line_of(span.start));
        // What follows the first fault of a line is mostly its echo.
        if seen.insert(line) {
            errors.push("configuration", line, syntax(fault.message()));
        }
    }
    if !faults.is_empty() {
        return Err(errors.into_list(Some(file)));
    }
    let root = Node::from_toml(&document, &lines);
    checked(&root, errors).map_err(|errors| errors.into_list(Some(file)))
}

fn syntax(message: &str) -> ValueError {
    ValueError::new(format!("not TOML, {}", message.replace('\n', " ")), "correct the syntax of this line")
}

fn checked(root: &Node, mut errors: Errors) -> Result<Config, Errors> {
    let (config, origins) = read::config(root, &mut errors);
    errors.absorb(validate(&config), |place| origins.line(place));
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}

impl Config {
    /// Reads and checks the JSON form, whose spellings are those of the file.
    ///
    /// # Errors
    /// Everything that is wrong with it; never an empty list.
    pub fn from_json(value: &serde_json::Value) -> Result<Config, Vec<ConfigError>> {
        checked(&Node::from_json(value), Errors::default()).map_err(|errors| errors.into_list(None))
    }
}

impl Service {
    /// Reads one service. Whether it fits beside the others is for [`validate`] to say.
    ///
    /// # Errors
    /// Everything that cannot be read; never an empty list.
    pub fn from_json(value: &serde_json::Value) -> Result<Service, Vec<ConfigError>> {
        let mut errors = Errors::default();
        let node = Node::from_json(value);
        let service = read_service(&node, "without a listen", &mut errors);
        match service {
            Some((service, _)) if errors.is_empty() => Ok(service),
            _ => Err(errors.into_list(None)),
        }
    }
}

/// Reads the JSON form through the reader above, so that no second set of rules comes to be.
impl<'de> serde::Deserialize<'de> for Config {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Config::from_json(&value).map_err(|errors| serde::de::Error::custom(joined(&errors)))
    }
}

fn joined(errors: &[ConfigError]) -> String {
    errors.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
