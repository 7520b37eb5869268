//! Man pages and completions, made from the grammar.

use crate::args::Cli;
use crate::client::Result;
use crate::error::{Code, ExitError};
use clap::CommandFactory;
use std::path::Path;

/// Prints the completion script of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result {
    clap_complete::generate(shell, &mut Cli::command(), "sheave", &mut std::io::stdout());
    Ok(())
}

/// Writes `sheave.1` and a page for each verb into `directory`.
pub(crate) fn man(directory: &Path) -> Result {
    let wrote =
        std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    wrote.map_err(|e| {
        ExitError::new(Code::Failed, directory.display(), e, "name a directory that can be written")
    })
}
