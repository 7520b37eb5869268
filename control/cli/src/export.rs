//! `sheave export`: a configuration of ours in the words of others, as far as they have words for it.

use crate::client::Result;
use crate::error::{Code, ExitError};
use crate::import;
use crate::ipvsadm::Saved;
use clap::{Subcommand, ValueHint};
use sheave_proto::config::{Config, parse};
use std::path::{Path, PathBuf};

const RULES: &str = "\
Examples:
  sheave export ipvsadm > rules
  sheave export ipvsadm sheave.toml > rules";

/// Verbs that write what others are configured with.
#[derive(Debug, Subcommand)]
pub enum ExportVerb {
    /// Rules as ipvsadm saves them; what rules cannot say is told on standard error
    #[command(after_help = RULES)]
    Ipvsadm {
        /// A configuration file; - is standard input [default: the configuration in force]
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
}

/// The rules of a configuration, with what they leave out.
pub(crate) fn rules(config: &Config) -> Saved {
    crate::ipvsadm::save(config)
}

/// Reads a configuration file.
///
/// # Errors
/// Everything that is wrong with it; what is only not supported yet is taken as it is written.
pub(crate) fn config(file: &Path) -> Result<Config> {
    let text = import::text(file)?;
    parse(&text, &file.display().to_string()).map_err(|errors| ExitError::all(Code::Usage, &errors))
}
