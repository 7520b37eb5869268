//! Captures on the wire, and what tshark makes of them: an opinion of someone else on what was sent.
//!
//! The capture is taken at the switch's end of a cable. The director's own end would not show what goes past its
//! kernel, and a tunnelled real server's own end sees packets with the outer header already stripped.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::process::run;
use crate::topology::path_str;
use crate::wait::wait_until;
use crate::{Error, Lab, Netns, Process, Result};

/// How long tcpdump may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A capture that runs.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Process,
    file: PathBuf,
}

/// A capture that has ended.
#[derive(Debug)]
pub struct Captured {
    file: PathBuf,
}

impl Capture {
    /// Begins to capture what passes through `interface` of `host`, as far as `filter` (in tcpdump's words) lets it.
    ///
    /// # Errors
    /// When tcpdump does not begin.
    pub fn start(lab: &Lab, host: &Netns, interface: &str, filter: &str) -> Result<Self> {
        let port = Lab::port(host, interface);
        let file = lab.file(&format!("{port}.pcap"));
        let log = lab.file(&format!("{port}.tcpdump"));
        let path = path_str(&file)?;
        // Each start has a log of its own: the words that it is waited for must not be an earlier capture's.
        let _ = std::fs::remove_file(&log);
        let command =
            ["tcpdump", "-i", &port, "-U", "--immediate-mode", "-s", "0", "-Z", "root", "-w", path, filter];
        let tcpdump = lab.switch().spawn(&command, &log)?;
        wait_until("tcpdump: begin of the capture", PATIENCE, || tcpdump.log().contains("listening on"))
            .map_err(|e| Error::new(format!("{e}: {}", tcpdump.log().trim())))?;
        Ok(Self { tcpdump, file })
    }

    /// Waits until `count` frames that match `filter` (in tshark's words) were captured, and ends the capture.
    ///
    /// # Errors
    /// When they are not in time.
    pub fn until(self, filter: &str, count: usize) -> Result<Captured> {
        let captured = Captured { file: self.file.clone() };
        let enough = || captured.fields(filter, &["frame.number"]).is_ok_and(|rows| rows.len() >= count);
        wait_until(&format!("{count} frames of {filter:?} on the wire"), PATIENCE, enough)?;
        self.finish()
    }

    /// Ends the capture.
    ///
    /// # Errors
    /// When tcpdump does not end.
    pub fn finish(mut self) -> Result<Captured> {
        self.tcpdump.signal(Signal::SIGINT)?;
        self.tcpdump.wait_end(PATIENCE)?;
        Ok(Captured { file: self.file.clone() })
    }
}

impl Captured {
    /// The named fields of each frame that matches `filter` (both in tshark's words; an empty filter is all frames).
    /// Checksums are verified.
    ///
    /// # Errors
    /// When tshark refuses the file, the filter or a field.
    pub fn fields(&self, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>> {
        let mut command =
            vec!["tshark", "-n", "-r", path_str(&self.file)?, "-T", "fields", "-E", "separator=|"];
        for option in ["ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE"] {
            command.extend(["-o", option]);
        }
        if !filter.is_empty() {
            command.extend(["-Y", filter]);
        }
        for field in fields {
            command.extend(["-e", field]);
        }
        let text = run(&command)?;
        Ok(text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect())
    }

    /// One line a frame, as tcpdump prints it.
    ///
    /// # Errors
    /// When tcpdump refuses the file.
    pub fn lines(&self) -> Result<Vec<String>> {
        let text = run(&["tcpdump", "-n", "-t", "-r", path_str(&self.file)?])?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}
