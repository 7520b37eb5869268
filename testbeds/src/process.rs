//! Processes that the kit starts: run to their end, or held by a guard that kills them when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::wait_for;
use crate::{Error, Result};

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started, or fails: with its arguments and what it said.
pub fn run(command: &[&str]) -> Result<String> {
    let shown = command.join(" ");
    let (program, arguments) = command.split_first().ok_or_else(|| Error::new("empty command"))?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Error::new(format!("{shown}: cannot be started: {e}: install `{program}`")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(format!("{shown}: {}: {}{}", output.status, text.trim(), said.trim())))
}

/// A process of ours. Dropping the guard kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to the file `log` (appended).
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file =
            File::options().create(true).append(true).open(log).map_err(Error::about(log.display()))?;
        let copy = file.try_clone().map_err(Error::about(log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .spawn()
            .map_err(|e| Error::new(format!("{name}: cannot be started: {e}")))?;
        Ok(Self { child, name: name.to_owned(), log: log.to_owned() })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far, to either stream.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended, or `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).map_err(Error::about(&self.name))?;
        kill(Pid::from_raw(pid), signal).map_err(|e| Error::new(format!("{}: {signal}: {e}", self.name)))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub fn wait_end(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let what = format!("{}: end of the process", self.name);
        wait_for(&what, timeout, || self.ended()).map(|(status, _)| status)
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        // Either fails only when it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_says_what_and_why() {
        let error = run(&["sh", "-c", "echo no such luck >&2; exit 3"]).expect_err("exits 3");
        let said = error.to_string();
        assert!(said.contains("sh -c") && said.contains("no such luck") && said.contains('3'), "{said}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&["no-such-program-here"]).expect_err("does not exist");
        assert!(error.to_string().contains("install `no-such-program-here`"), "{error}");
    }

    #[test]
    fn output_comes_back() {
        assert_eq!(run(&["echo", "a", "b"]).expect("echo works"), "a b\n");
    }
}
