//! A running `sheaved` in the topology's director namespace, and the `sheave` command line that talks to it.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::topology::path_str;
use crate::wait::wait_until;
use crate::{Error, Lab, Method, Process, Result};

/// How long sheaved may take until its socket answers, and to end when told to.
const PATIENCE: Duration = Duration::from_secs(15);

/// One client's patience with the socket.
const SOCKET: Duration = Duration::from_secs(2);

/// A service for a configuration file.
#[derive(Debug, Clone)]
pub struct Service {
    /// What the command line calls it.
    pub name: &'static str,
    /// `ADDRESS:PORT/PROTO`.
    pub listen: String,
    /// The default method of its destinations.
    pub forward: Method,
    /// The scheduler's name.
    pub scheduler: &'static str,
    /// Address and weight.
    pub destinations: Vec<(SocketAddr, u32)>,
    /// Further lines of the service's table.
    pub more: String,
}

impl Service {
    /// `web`: HTTP on the VIP's port 80, over all real servers of the lab with weight 1.
    #[must_use]
    pub fn web(lab: &Lab, forward: Method) -> Self {
        Self::on(lab, "web", (80, "tcp"), forward, forward.web_port())
    }

    /// `echo`: UDP on the VIP's port 7, over all real servers of the lab with weight 1.
    #[must_use]
    pub fn echo(lab: &Lab, forward: Method) -> Self {
        Self::on(lab, "echo", (7, "udp"), forward, forward.echo_port())
    }

    /// `ftp`: FTP with its helper on the VIP's port 21, over all real servers of the lab with weight 1.
    #[must_use]
    pub fn ftp(lab: &Lab) -> Self {
        let more = "helper = \"ftp\"".to_owned();
        Self { more, ..Self::on(lab, "ftp", (21, "tcp"), Method::Nat, 21) }
    }

    fn on(
        lab: &Lab,
        name: &'static str,
        (port, proto): (u16, &str),
        forward: Method,
        real_port: u16,
    ) -> Self {
        Self {
            name,
            listen: format!("{}/{proto}", lab.vip(port)),
            forward,
            scheduler: "rr",
            destinations: lab.reals.iter().map(|real| (real.at(real_port), 1)).collect(),
            more: String::new(),
        }
    }

    /// The same with another weight for the destination on this real server.
    #[must_use]
    pub fn weigh(mut self, ip: Ipv4Addr, weight: u32) -> Self {
        for (address, old) in &mut self.destinations {
            if address.ip() == ip {
                *old = weight;
            }
        }
        self
    }

    fn write(&self, text: &mut String) {
        let Self { name, listen, forward, scheduler, destinations, more } = self;
        let forward = forward.name();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n[[service]]\nname = \"{name}\"\nlisten = \"{listen}\"\nscheduler = \"{scheduler}\"\nforward = \"{forward}\"\n{more}\n"
        );
        for (address, weight) in destinations {
            let _ = write!(text, "\n[[service.destination]]\naddress = \"{address}\"\nweight = {weight}\n");
        }
    }
}

/// `sheaved` with its files. Dropping it kills it; if that is because of a panic, what it knew and said is printed first.
#[derive(Debug)]
pub struct Director {
    process: Option<Process>,
    binaries: PathBuf,
    config: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    namespace: String,
    /// Lines of the configuration's `[director]` table beside the socket.
    director_lines: String,
}

impl Director {
    /// Starts sheaved with these services and waits until its socket answers.
    ///
    /// # Errors
    /// When the binaries are not built, or it does not come up; with what it said.
    pub fn start(lab: &Lab, services: &[Service]) -> Result<Self> {
        Self::start_with(lab, services, "")
    }

    /// As [`Director::start`], with further lines in the configuration's `[director]` table.
    ///
    /// # Errors
    /// As [`Director::start`].
    pub fn start_with(lab: &Lab, services: &[Service], director_lines: &str) -> Result<Self> {
        let mut director = Self {
            process: None,
            binaries: binaries()?,
            config: lab.file("sheaved.toml"),
            socket: lab.file("control.sock"),
            log: lab.file("sheaved.log"),
            namespace: lab.director.name().to_owned(),
            director_lines: director_lines.to_owned(),
        };
        director.write_config(services)?;
        director.spawn(lab)?;
        director.wait_ready()?;
        Ok(director)
    }

    /// Starts it again after it has ended, and waits until its socket answers.
    ///
    /// # Errors
    /// When it does not come up; with what it said.
    pub fn start_again(&mut self, lab: &Lab) -> Result<()> {
        self.spawn(lab)?;
        self.wait_ready()
    }

    /// Starts the process without waiting for anything.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&mut self, lab: &Lab) -> Result<()> {
        let program = self.binaries.join("sheaved");
        let command = [path_str(&program)?, "--config", path_str(&self.config)?];
        self.process = Some(lab.director.spawn(&command, &self.log)?);
        Ok(())
    }

    /// Replaces the configuration file; sheaved reads it at its next start or reload.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_config(&self, services: &[Service]) -> Result<()> {
        let text = self.config_text(services)?;
        fs::write(&self.config, text).map_err(Error::about(self.config.display()))
    }

    /// A configuration file with these services, as [`Director::write_config`] writes it.
    ///
    /// # Errors
    /// When the socket's path is not UTF-8.
    pub fn config_text(&self, services: &[Service]) -> Result<String> {
        let socket = path_str(&self.socket)?;
        let mut text =
            format!("[director]\nname = \"lab\"\nsocket = \"{socket}\"\n{}\n", self.director_lines);
        for service in services {
            service.write(&mut text);
        }
        Ok(text)
    }

    /// The process.
    ///
    /// # Errors
    /// When it was stopped.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().ok_or_else(|| Error::new("sheaved: not running"))
    }

    /// Where its socket is.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A program that was built with it.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// What it has printed, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs `sheave` with these arguments and returns what it printed.
    ///
    /// # Errors
    /// When it does not exit with 0; with what it said.
    pub fn sheave(&self, arguments: &[&str]) -> Result<String> {
        let output = self.sheave_output(arguments)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::new(format!("sheave {}: {}: {}", arguments.join(" "), output.status, said.trim())))
    }

    /// Runs `sheave` with these arguments, whatever its exit code.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn sheave_output(&self, arguments: &[&str]) -> Result<Output> {
        let program = self.binaries.join("sheave");
        Command::new(&program)
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .output()
            .map_err(Error::about(program.display()))
    }

    /// Runs `sheave` with these arguments and `--json`, and parses what it printed.
    ///
    /// # Errors
    /// When it fails, or prints something else than JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.sheave(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&text)
            .map_err(|e| Error::new(format!("sheave {} --json: {e}: {text}", arguments.join(" "))))
    }

    /// Sends the signal to reload the configuration file.
    ///
    /// # Errors
    /// When it is not running.
    pub fn reload_by_signal(&mut self) -> Result<()> {
        self.process()?.signal(Signal::SIGHUP)
    }

    /// Tells it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it has not after a while.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process()?.signal(Signal::SIGTERM)?;
        let status = self.process()?.wait_end(PATIENCE)?;
        self.process = None;
        Ok(status)
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Waits until the socket answers.
    ///
    /// # Errors
    /// When it does not, or the process has ended; with what it said.
    pub fn wait_ready(&mut self) -> Result<()> {
        let socket = self.socket.clone();
        let process = self.process()?;
        let mut end = None;
        let up = wait_until("sheaved: answer on its socket", PATIENCE, || {
            end = process.ended();
            end.is_some() || answers(&socket)
        });
        match (up, end) {
            (Ok(_), None) => Ok(()),
            (Ok(_), Some(status)) => {
                Err(Error::new(format!("sheaved: ended at start with {status}: {}", self.log().trim())))
            }
            (Err(e), _) => Err(Error::new(format!("{e}: it said: {}", self.log().trim()))),
        }
    }

    /// Everything about its state that helps to understand a failed test.
    #[must_use]
    pub fn state(&self) -> String {
        let mut text = String::new();
        for words in ["status", "stats", "connections --limit 30", "neighbours", "workers", "counters"] {
            let arguments: Vec<_> = words.split(' ').collect();
            let said = self.sheave(&arguments).unwrap_or_else(|e| format!("{e}\n"));
            let _ = write!(text, "--- sheave {words}\n{said}");
        }
        let _ = write!(text, "--- log of sheaved in {}\n{}", self.namespace, self.log());
        text
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.state());
        }
    }
}

/// Whether a director answers at `socket`: any answer to any request counts.
fn answers(socket: &Path) -> bool {
    let ask = || {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(SOCKET))?;
        (&stream).write_all(b"{\"v\":1,\"id\":1,\"op\":\"service.list\",\"args\":{}}\n")?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)
    };
    ask().is_ok_and(|length| length > 0)
}

/// A program of ours beside `sheaved`.
///
/// # Errors
/// When it is not built.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = binaries()?.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::new(format!("{}: not there: build it: cargo build -p {name}", path.display())))
}

/// The directory with `sheaved` and `sheave`: that of the running program, or above it for a test (`target/X/deps`).
fn binaries() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(Error::about("path of the running program"))?;
    let found = own.ancestors().skip(1).take(2).find(|directory| {
        let there = |name| directory.join(name).is_file();
        there("sheaved") && there("sheave")
    });
    found.map(Path::to_owned).ok_or_else(|| {
        let directory = own.parent().unwrap_or(&own).display();
        Error::new(format!(
            "sheaved and sheave: not in {directory} or above: build them: cargo build -p sheave-director -p sheave-cli"
        ))
    })
}
