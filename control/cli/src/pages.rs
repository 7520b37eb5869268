//! Man pages and completions, made from the grammar.

use crate::args::Cli;
use crate::client::Result;
use crate::error::{Code, ExitError};
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use std::io;
use std::path::Path;

/// The completion script of a shell.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sheave", &mut script);
    script
}

/// Writes the completion script of every shell into `directory`.
pub(crate) fn all_completions(directory: &Path) -> Result {
    into(directory, || {
        Shell::value_variants().iter().try_for_each(|shell| {
            clap_complete::generate_to(*shell, &mut Cli::command(), "sheave", directory).map(drop)
        })
    })
}

/// Writes `sheave.1`, a page for each verb, and `sheave-ipvsadm.8` into `directory`.
pub(crate) fn man(directory: &Path) -> Result {
    into(directory, || {
        clap_mangen::generate_to(Cli::command(), directory)?;
        std::fs::write(directory.join("sheave-ipvsadm.8"), crate::ipvsadm::man())
    })
}

fn into(directory: &Path, write: impl FnOnce() -> io::Result<()>) -> Result {
    std::fs::create_dir_all(directory).and_then(|()| write()).map_err(|e| {
        ExitError::new(Code::Failed, directory.display(), e, "name a directory that can be written")
    })
}
