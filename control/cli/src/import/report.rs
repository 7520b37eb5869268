//! What was imported, printed as a configuration: what is carried as it is, the rest as remarks that name the line
//! they stand for.

use super::tree::{Place, Statement};
use super::waiting;
use crate::ipvsadm::shape_ftp;
use sheave_proto::config::{Config, ConfigErrorKind, Service, to_toml, validate};
use std::fmt::Write;

/// A remark about a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Note {
    pub(crate) place: Place,
    pub(crate) text: String,
}

impl Note {
    pub(crate) fn new(place: &Place, text: impl Into<String>) -> Note {
        Note { place: place.clone(), text: text.into() }
    }

    /// Of a statement that means nothing here.
    pub(crate) fn lost(statement: &Statement, why: &str) -> Note {
        Note::new(&statement.place, format!("{}: {why}", statement.text()))
    }
}

/// A service that was read, with what belongs to it.
#[derive(Debug, Clone)]
pub(crate) struct Carried {
    pub(crate) place: Place,
    pub(crate) service: Service,
    pub(crate) notes: Vec<Note>,
    /// Why it cannot be active, with a listen that only holds the place of those that are not known.
    pub(crate) dormant: Option<String>,
    /// Configuration for which there is no part yet, as TOML.
    pub(crate) waiting: Option<toml::Table>,
}

impl Carried {
    pub(crate) fn new(place: &Place, service: Service) -> Carried {
        Carried { place: place.clone(), service, notes: Vec::new(), dormant: None, waiting: None }
    }
}

/// All that was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Import {
    /// The director's settings; services are apart.
    pub(crate) config: Config,
    pub(crate) services: Vec<Carried>,
    pub(crate) notes: Vec<Note>,
    /// Blocks for which there is no part yet.
    pub(crate) waiting: Vec<Statement>,
}

/// What stands in the place of listens that are not known.
pub(crate) const UNKNOWN: &str = "192.0.2.1:1/tcp";
/// The same of IPv6.
pub(crate) const UNKNOWN_6: &str = "[2001:db8::1]:1/tcp";

/// Gives a service of port 21 what follows from it, as IPVS does by itself.
fn follow_ftp(carried: &mut Carried) {
    let before = carried.service.clone();
    shape_ftp(&mut carried.service);
    if carried.service != before && carried.dormant.is_none() {
        let what = match carried.service.helper {
            Some(_) => "the helper is what the kernel's ip_vs_ftp is",
            None => "data connections come to it by the same templates",
        };
        carried.notes.push(Note::new(&carried.place, format!("FTP: {what}")));
    }
}

impl Import {
    /// The configuration, as far as it is valid, with everything else as remarks.
    pub(crate) fn print(mut self, origin: &str) -> String {
        let mut text = format!("# Imported from {origin}.\n");
        self.services.iter_mut().for_each(follow_ftp);
        let mut accepted = Config { services: Vec::new(), ..self.config.clone() };
        let services: Vec<String> =
            self.services.iter_mut().map(|carried| service(carried, &mut accepted)).collect();
        self.notes.sort();
        notes(&mut text, &self.notes);
        director(&mut text, &self.config);
        for service in services {
            text.push('\n');
            text.push_str(&service);
        }
        for statement in &self.waiting {
            text.push('\n');
            let place = &statement.place;
            remark(&mut text, &format!("{place}: not active yet: there is no part of sheave for it"));
            remark(&mut text, &waiting::block(statement));
        }
        text
    }
}

/// Each line of a text as a remark.
fn remark(text: &mut String, lines: &str) {
    for line in lines.trim_end().lines() {
        // Writing to a String cannot fail.
        let _ = if line.is_empty() { writeln!(text, "#") } else { writeln!(text, "# {}", plain(line)) };
    }
}

/// Without characters that cannot stand in a remark.
fn plain(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect()
}

fn notes(text: &mut String, notes: &[Note]) {
    for note in notes {
        remark(text, &format!("{}: {}", note.place, note.text.replace('\n', " ")));
    }
}

/// The settings of the director that are not the defaults.
fn director(text: &mut String, config: &Config) {
    let part = |config: &Config| {
        let toml = to_toml(&Config { services: Vec::new(), ..config.clone() });
        toml.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (ours, defaults) = (part(config), part(&Config::default()));
    let lines: Vec<&String> = ours.iter().filter(|line| !defaults.contains(line)).collect();
    if lines.is_empty() {
        return;
    }
    text.push_str("\n[director]\n");
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
}

/// The text of one service alone.
pub(crate) fn toml_of(service: &Service) -> String {
    let alone = Config { services: vec![service.clone()], ..Config::default() };
    let text = to_toml(&alone);
    let at = text.find("[[service]]").unwrap_or_default();
    text[at..].to_owned()
}

/// The text of a service with what belongs to it; it joins `accepted` if it fits there.
fn service(carried: &mut Carried, accepted: &mut Config) -> String {
    let mut text = String::new();
    let toml = toml_of(&carried.service);
    accepted.services.push(carried.service.clone());
    let errors = if carried.dormant.is_some() { Vec::new() } else { validate(accepted) };
    let invalid = errors.iter().any(|error| error.kind == ConfigErrorKind::Invalid);
    if invalid || carried.dormant.is_some() {
        accepted.services.pop();
    }
    let mut known = accepted.clone();
    known.services.pop();
    for error in &errors {
        let said = error.to_string();
        let said = said.strip_prefix("error: ").unwrap_or(&said);
        // What those before it cannot have yet is said there.
        if error.object.ends_with(&carried.service.label()) {
            carried.notes.push(Note::new(&carried.place, said));
        }
    }
    carried.notes.sort();
    notes(&mut text, &carried.notes);
    if let Some(why) = &carried.dormant {
        remark(&mut text, &format!("{}: not active: {why}", carried.place));
        let unknown = [UNKNOWN, UNKNOWN_6].map(|listen| format!("listen = \"{listen}\""));
        let named = "listen = [\"ADDRESS:PORT/PROTO\"]";
        remark(&mut text, &toml.replace(&unknown[0], named).replace(&unknown[1], named));
    } else if invalid {
        remark(&mut text, &format!("{}: not active: it is not valid here, see above", carried.place));
        remark(&mut text, &toml);
    } else {
        text.push_str(&toml);
    }
    if let Some(waiting) = &carried.waiting {
        remark(&mut text, &format!("{}: not active yet: its health checks", carried.place));
        remark(&mut text, &waiting::text(waiting));
    }
    text
}
