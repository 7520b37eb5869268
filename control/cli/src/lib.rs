//! The operator's command line.
//!
//! Owns: one module a verb, each with its arguments and a `run`; [`ExitError`], which all end with.
//!
//! It holds no state of its own: what the director knows is asked of the director, and [`replay`] runs the
//! pipeline itself.

#![forbid(unsafe_code)]

pub mod args;
mod client;
mod error;
pub mod export;
pub mod import;
pub mod ipvsadm;
mod pages;
pub mod replay;
mod show;
mod verbs;

pub use error::{Code, ExitError};

/// Carries out a command line.
///
/// # Errors
/// Lines for standard error and an exit code.
pub fn run(cli: &args::Cli) -> Result<(), ExitError> {
    verbs::run(cli)
}
