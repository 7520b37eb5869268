//! The command line of ipvsadm 1.31, driving a sheave director: the program `sheave-ipvsadm`.
//!
//! `scan` and `grammar` know the words, `parse` makes a command of them, `change` makes requests of
//! that, `table` and `print` make of answers what ipvsadm prints. All of these are pure. What scripts depend on
//! (messages, exit codes, columns) is ipvsadm's; errors that it does not have are lines of our own form.
//!
//! Not ipvsadm's: a set of rules is restored as a whole or not at all, and the connections of what stays go on.

mod change;
mod command;
mod connections;
mod ftp;
mod grammar;
mod help;
mod import;
mod names;
mod parse;
mod print;
mod rules;
mod scan;
mod table;
mod values;

pub(crate) use ftp::shape as shape_ftp;

use crate::client::Client;
use crate::error::ExitError;
use change::Change;
use command::{Columns, Command, Format, Listing, VirtualService};
use names::{Names, SystemNames};
use print::Speech;
use serde::de::DeserializeOwned;
use sheave_proto::api::{
    Applied, ConfigShown, ConfigSource, Connection, ConnectionFilter, ConnectionPage, ErrorReply, Marked, Op,
    ServiceList, StickyEntry, StickyFilter, StickyPage,
};
use sheave_proto::config::{Config, Duration};
use std::fmt;
use std::path::PathBuf;

pub(crate) use help::man;
pub(crate) use import::{Imported, imported};
pub(crate) use rules::Saved;

/// The rules that make a configuration, with numbers for names.
pub(crate) fn save(config: &Config) -> Saved {
    rules::save(config, true, &names::FileNames::default())
}

/// Why a command is not done: what to say, and what to exit with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: u8,
    text: String,
}

impl Refusal {
    /// What ipvsadm exits with when its kernel refuses, or its options cannot be read.
    fn failed(text: impl Into<String>) -> Refusal {
        Refusal { code: 255, text: text.into() }
    }

    /// The command line is wrong.
    fn usage(text: impl Into<String>) -> Refusal {
        Refusal { code: 2, text: text.into() }
    }

    /// The director has no such thing.
    fn cannot(object: impl fmt::Display, wrong: impl fmt::Display, remedy: impl fmt::Display) -> Refusal {
        Refusal::usage(format!("error: {object}: {wrong}: {remedy}"))
    }
}

impl From<ExitError> for Refusal {
    fn from(error: ExitError) -> Refusal {
        Refusal { code: error.code as u8, text: error.to_string() }
    }
}

/// What a run leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// The exit code.
    pub code: u8,
}

/// A run of the program: where the director is, and what the program was called as.
#[derive(Debug)]
pub struct Program {
    /// What it was called as, as help and hints show it.
    pub name: String,
    /// The director's control socket.
    pub socket: PathBuf,
}

/// How long the director may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

impl Program {
    /// Carries out a command line; `input` reads all of standard input.
    pub fn run(&self, words: &[String], input: impl FnOnce() -> std::io::Result<String>) -> Outcome {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let names = SystemNames::read();
        let mut outcome = Outcome::default();
        if let Err(refusal) = self.carry_out(&words, input, &names, &mut outcome) {
            outcome.code = refusal.code;
            outcome.err.push_str(&refusal.text);
            outcome.err.push('\n');
        }
        outcome
    }

    fn carry_out(
        &self,
        words: &[&str],
        input: impl FnOnce() -> std::io::Result<String>,
        names: &dyn Names,
        outcome: &mut Outcome,
    ) -> Result<(), Refusal> {
        // Without a word it lists, with names.
        let command = match words {
            [] => Command::List(Listing::All, Format::default()),
            words => parse::parse(words, &self.name, names)?,
        };
        match command {
            Command::Help => outcome.out = help::usage(&self.name),
            Command::Version => outcome.out = help::version(),
            Command::List(Listing::Daemons, _) => {}
            Command::List(listing, format) => {
                outcome.out = Session::new(self)?.list(listing, Speech { format, names })?;
            }
            Command::Save(format) => {
                let saved = rules::save(&Session::new(self)?.config()?, format.numeric, names);
                outcome.out = saved.rules;
                outcome.err = saved.left_out.iter().map(|line| format!("note: {line}\n")).collect();
            }
            Command::Restore => {
                let text = input()
                    .map_err(|error| Refusal::cannot("standard input", error, "give it rules, one a line"))?;
                let commands = restored(&text, &self.name, names)?;
                Session::new(self)?.restore(&commands)?;
            }
            Command::Zero(service) => Session::new(self)?.zero(service.as_ref())?,
            command => Session::new(self)?.change(&command)?,
        }
        Ok(())
    }
}

/// The commands on the lines of a text, with the number of each line.
///
/// # Errors
/// Everything that is wrong with them.
fn restored(text: &str, program: &str, names: &dyn Names) -> Result<Vec<(usize, Command)>, Refusal> {
    let (mut commands, mut wrong) = (Vec::new(), Vec::new());
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.split('#').next().unwrap_or_default().replace('"', "");
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if words.first().is_some_and(|word| *word == "ipvsadm" || *word == program) {
            words.remove(0);
        }
        if words.is_empty() {
            continue;
        }
        match parse::parse(&words, program, names) {
            Ok(command) => commands.push((line, command)),
            Err(refusal) => wrong.push((line, refusal)),
        }
    }
    match all(&wrong) {
        Some(refusal) => Err(refusal),
        None => Ok(commands),
    }
}

/// One refusal of all that is wrong; the first decides how to exit.
fn all(wrong: &[(usize, Refusal)]) -> Option<Refusal> {
    let (_, first) = wrong.first()?;
    let lines = wrong.iter().map(|(line, refusal)| {
        let what = refusal.text.strip_prefix("error: ").unwrap_or(&refusal.text);
        format!("error: standard input:{line}: {what}\n")
    });
    let text = lines.collect::<String>() + "error: standard input: nothing was changed: correct it";
    Some(Refusal { code: first.code, text })
}

/// A director that is asked.
struct Session {
    client: Client,
}

impl Session {
    fn new(program: &Program) -> Result<Session, Refusal> {
        Ok(Session { client: Client::connect(&program.socket, PATIENCE)? })
    }

    fn ask<T: DeserializeOwned>(&mut self, op: Op) -> Result<Result<T, ErrorReply>, Refusal> {
        Ok(self.client.ask(op)?)
    }

    fn config(&mut self) -> Result<Config, Refusal> {
        let shown: ConfigShown = self.client.call(Op::ConfigShow)?;
        Ok(shown.config)
    }

    fn change(&mut self, command: &Command) -> Result<(), Refusal> {
        let op = match change::change(&self.config()?, command)? {
            Change::One(op) => op,
            Change::Whole(config) => apply(&config),
        };
        let answer: Result<Applied, ErrorReply> = self.ask(op)?;
        answer.map(drop).map_err(|reply| change::refused(command, &reply))
    }

    /// Counts anew from now on. The director's totals go on: others may read them.
    fn zero(&mut self, service: Option<&VirtualService>) -> Result<(), Refusal> {
        let config = self.config()?;
        let service = service.map(|service| change::named(&config, service)).transpose()?;
        let _: Marked = self.client.call(Op::StatsMark { service })?;
        Ok(())
    }

    /// All of the commands, or none.
    fn restore(&mut self, commands: &[(usize, Command)]) -> Result<(), Refusal> {
        let mut config = self.config()?;
        let mut wrong = Vec::new();
        for (line, command) in commands {
            if let Err(refusal) = change::edit(&mut config, command) {
                wrong.push((*line, refusal));
            }
        }
        if let Some(refusal) = all(&wrong) {
            return Err(refusal);
        }
        let answer: Result<Applied, ErrorReply> = self.ask(apply(&config))?;
        answer.map(drop).map_err(|reply| Refusal::usage(reply.to_string()))
    }

    fn list(&mut self, listing: Listing, speech: Speech<'_>) -> Result<String, Refusal> {
        match listing {
            Listing::Connections => {
                let (config, templates) = (self.config()?, self.templates()?);
                let templates = connections::templates(&config, &templates);
                Ok(connections::listing(&self.connections()?, &templates, speech))
            }
            Listing::Timeouts => Ok(print::timeouts(&self.config()?.director.timeouts)),
            Listing::Daemons => Ok(String::new()),
            Listing::All | Listing::One(_) => {
                let config = self.config()?;
                let numbers: ServiceList = self.client.call(Op::ServiceList)?;
                let templates = match speech.format.columns {
                    Columns::PersistentConn => self.templates()?,
                    _ => Vec::new(),
                };
                table(&config, &numbers, &templates, listing, speech)
            }
        }
    }

    fn connections(&mut self) -> Result<Vec<Connection>, Refusal> {
        let ask = |limit, cursor| {
            Op::ConnectionsList(ConnectionFilter { limit, cursor, ..ConnectionFilter::default() })
        };
        let all: ConnectionPage = self.client.pages(0, ask)?;
        Ok(all.entries)
    }

    fn templates(&mut self) -> Result<Vec<StickyEntry>, Refusal> {
        let ask = |limit, cursor| Op::StickyList { filter: StickyFilter::default(), limit, cursor };
        let all: StickyPage = self.client.pages(0, ask)?;
        Ok(all.entries)
    }
}

fn apply(config: &Config) -> Op {
    Op::ConfigApply(ConfigSource::Object(serde_json::json!(config)))
}

/// The list of all services, or of one.
fn table(
    config: &Config,
    numbers: &ServiceList,
    templates: &[StickyEntry],
    listing: Listing,
    speech: Speech<'_>,
) -> Result<String, Refusal> {
    let mut rows = table::rows(config, &numbers.services);
    table::count_clients(&mut rows, config, templates);
    if !speech.format.unsorted {
        print::sort(&mut rows);
    }
    match listing {
        Listing::One(service) => {
            rows.retain(|row| row.id.is(&service));
            if rows.is_empty() {
                return Err(Refusal { code: 1, text: "No such service".to_owned() });
            }
            Ok(print::listing(&rows, speech))
        }
        _ => Ok(print::banner(config.director.max_connections) + &print::listing(&rows, speech)),
    }
}

#[cfg(test)]
mod tests;
