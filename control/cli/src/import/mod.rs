//! `sheave import`: configurations of others as ours, and `sheave export`, the way back.
//!
//! Nothing is dropped silently: each line that is not carried over is named by a remark, and what waits for a part of
//! the director that is not there yet is kept as remarks.

mod keepalived;
mod lvs_cf;
mod report;
mod rules;
mod tree;
mod waiting;

use crate::client::Result;
use crate::error::{Code, ExitError};
use clap::{Subcommand, ValueHint};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tree::Place;

const KEEPALIVED: &str = "\
Examples:
  sheave import keepalived /etc/keepalived/keepalived.conf > sheave.toml";

const LVS_CF: &str = "\
Examples:
  sheave import lvs-cf /etc/sysconfig/ha/lvs.cf > sheave.toml";

const RULES: &str = "\
Examples:
  sheave import ipvsadm rules.txt > sheave.toml
  ipvsadm -S -n | sheave import ipvsadm - > sheave.toml";

/// Verbs that read what others are configured with.
#[derive(Debug, Subcommand)]
pub enum ImportVerb {
    /// From keepalived.conf, with what it includes
    #[command(after_help = KEEPALIVED)]
    Keepalived {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// From Piranha's lvs.cf
    #[command(after_help = LVS_CF)]
    LvsCf {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// From rules that ipvsadm saved, or the ipvsadm commands of a script
    #[command(after_help = RULES)]
    Ipvsadm {
        /// The file; - is standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// The configuration that a file of others comes to, as text.
///
/// # Errors
/// When the file cannot be read or understood.
pub(crate) fn run(verb: &ImportVerb) -> Result<String> {
    match verb {
        ImportVerb::Keepalived { file } => {
            let text = text(file)?;
            let (statements, notes) = keepalived::read(file, &text, &Disk).map_err(unreadable)?;
            Ok(keepalived::import(&statements, notes).print(&origin(file, "keepalived")))
        }
        ImportVerb::LvsCf { file } => {
            let text = text(file)?;
            let name = file.display().to_string();
            let statements = lvs_cf::read(&name, &text).map_err(unreadable)?;
            Ok(lvs_cf::import(&statements).print(&origin(file, "Piranha")))
        }
        ImportVerb::Ipvsadm { file } => {
            let text = text(file)?;
            let name = if file.as_os_str() == "-" { "-".to_owned() } else { file.display().to_string() };
            Ok(rules::import(&name, &text).print(&origin(file, "ipvsadm")))
        }
    }
}

fn origin(file: &Path, whose: &str) -> String {
    format!("{} ({whose})", file.display())
}

fn unreadable((place, wrong): (Place, String)) -> ExitError {
    ExitError::new(Code::Usage, place, wrong, "correct it and import again")
}

/// The text of a file, or of standard input.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn text(file: &Path) -> Result<String> {
    let read = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| {
        let wrong = match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            _ => error.to_string(),
        };
        ExitError::new(Code::Usage, file.display(), wrong, "name a file to import")
    })
}

/// Files of this machine.
struct Disk;

impl keepalived::Files for Disk {
    fn find(&self, from: &Path, pattern: &str) -> std::io::Result<Vec<(PathBuf, String)>> {
        let whole = from.join(pattern);
        let (Some(directory), Some(name)) = (whole.parent(), whole.file_name().and_then(|n| n.to_str()))
        else {
            return Ok(Vec::new());
        };
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let entries = match std::fs::read_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let found = path.file_name().and_then(|n| n.to_str());
            if path.is_file() && found.is_some_and(|found| matches(name.as_bytes(), found.as_bytes())) {
                paths.push(path);
            }
        }
        paths.sort();
        paths.into_iter().map(|path| Ok((path.clone(), std::fs::read_to_string(&path)?))).collect()
    }
}

/// Whether a name is of a pattern with `*` and `?`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            // A hidden file is no part of "everything".
            matches(rest, name) || name.split_first().is_some_and(|(_, behind)| matches(pattern, behind))
        }
        (Some((b'?', rest)), Some((_, behind))) => matches(rest, behind),
        (Some((p, rest)), Some((n, behind))) => p == n && matches(rest, behind),
        _ => false,
    }
}
