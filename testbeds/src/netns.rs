//! Network namespaces of our own: made under a unique name, removed on drop, after a panic, and on Ctrl-C.
//!
//! The name is `shv-PID-N-LABEL`. PID is the maker's, which is how a later run knows what a killed one left behind;
//! nothing is ever removed whose maker lives, or that has another prefix.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::process::{Process, run};
use crate::{Error, Result};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// What the names of our namespaces and scratch directories begin with.
const PREFIX: &str = "shv-";

/// The namespaces that exist now, for the signal handler.
static LIVE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
/// The scratch directories that exist now, for the signal handler.
static SCRATCH: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static COUNT: AtomicU32 = AtomicU32::new(0);
static PREPARED: Once = Once::new();

/// A network namespace, with its loopback up and IPv6 quiet. Dropping it kills what still runs in it.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace; `label` ends its name, for people (without a dash).
    ///
    /// # Errors
    /// Without root, or when the kernel refuses.
    pub fn new(label: &str) -> Result<Self> {
        if !geteuid().is_root() {
            return Err(Error::new("network namespaces: need root: run this with sudo"));
        }
        PREPARED.call_once(prepare);
        let name = unique_name(label);
        {
            // Under the lock, so that a signal never finds it made and not yet known.
            let mut known = live(&LIVE);
            run(&["ip", "netns", "add", &name])?;
            known.insert(name.clone());
        }
        let netns = Self { name };
        // Addresses that configure themselves would be traffic that no test asked for.
        netns.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        netns.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// The name that `ip netns exec` takes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last part of the name, for people.
    #[must_use]
    pub fn label(&self) -> &str {
        self.name.rsplit('-').next().unwrap_or(&self.name)
    }

    /// Runs a command in it to its end and returns what it printed.
    ///
    /// # Errors
    /// As [`run`].
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        let mut whole = vec!["ip", "netns", "exec", &self.name];
        whole.extend_from_slice(command);
        run(&whole)
    }

    /// Runs `ip ARGUMENTS` in it; the arguments are separated by blanks.
    ///
    /// # Errors
    /// As [`run`].
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut whole = vec!["ip", "-n", &self.name];
        whole.extend(arguments.split_whitespace());
        run(&whole)
    }

    /// Starts a process in it. Its output goes to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: &[&str], log: &Path) -> Result<Process> {
        let mut whole = Command::new("ip");
        whole.args(["netns", "exec", &self.name]).args(command);
        Process::start(command.first().unwrap_or(&"nothing"), whole, log)
    }

    /// Sets a kernel parameter of it, named with dots as sysctl does.
    ///
    /// # Errors
    /// When there is no such parameter, or it refuses the value.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.enter(|| fs::write(&path, value))?
            .map_err(|e| Error::new(format!("{}: sysctl {name}={value}: {e}", self.name)))
    }

    /// A counter of its TCP, as in `/proc/net/netstat`.
    ///
    /// # Errors
    /// When the kernel has no such counter.
    pub fn tcp_counter(&self, name: &str) -> Result<u64> {
        let path = "/proc/thread-self/net/netstat";
        let text = self.enter(|| fs::read_to_string(path))?.map_err(Error::about(path))?;
        let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
        let (names, values) = (lines.next().into_iter().flatten(), lines.next().into_iter().flatten());
        let value = names.zip(values).find(|(other, _)| *other == name).and_then(|(_, n)| n.parse().ok());
        value.ok_or_else(|| Error::new(format!("{}: {name}: no such counter of TCP", self.name)))
    }

    /// Runs `work` on a thread that is in the namespace, and returns what it returns. A socket that it opens stays in
    /// the namespace wherever it is used.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// When `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = self.path();
        let joined = thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter_here(&path)?;
                    Ok(work())
                })
                .join()
        });
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Starts a thread in the namespace. `work` is told by other means when to end.
    pub fn thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let path = self.path();
        thread::spawn(move || {
            enter_here(&path)?;
            Ok(work())
        })
    }

    fn path(&self) -> PathBuf {
        Path::new(NAMES).join(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
        live(&LIVE).remove(&self.name);
    }
}

/// A directory for what a testbed writes, removed with all that is in it when dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one that everyone may read: servers may drop their rights.
    pub(crate) fn new(label: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(unique_name(label));
        let mut known = live(&SCRATCH);
        fs::create_dir_all(&path).map_err(Error::about(path.display()))?;
        known.insert(path.clone());
        Ok(Self(path))
    }

    /// The path of `name` in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: the next run's sweep tries again.
        let _ = fs::remove_dir_all(&self.0);
        live(&SCRATCH).remove(&self.0);
    }
}

/// A set of what exists, also after a thread panicked while it held the lock: every change to it is one step.
fn live<T>(set: &'static Mutex<T>) -> std::sync::MutexGuard<'static, T> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unique_name(label: &str) -> String {
    // ORDERING: only the uniqueness of the number counts; it publishes nothing.
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{number}-{label}", std::process::id())
}

/// Puts the calling thread into the namespace at `path`, for good.
fn enter_here(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(Error::about(path.display()))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(Error::about(path.display()))
}

/// Once a process: clears what killed runs left, and sees to it that Ctrl-C leaves nothing.
fn prepare() {
    sweep();
    let signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]);
    let Ok(mut signals) = signals else { return };
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // Both stay locked to the end: nothing new is made meanwhile.
            let (names, paths) = (live(&LIVE), live(&SCRATCH));
            names.iter().for_each(|name| remove(name));
            for path in paths.iter() {
                let _ = fs::remove_dir_all(path);
            }
            std::process::exit(128 + signal);
        }
    });
}

/// Removes namespaces and scratch files whose maker is dead.
fn sweep() {
    for name in entries(Path::new(NAMES)).filter(|name| is_stale(name)) {
        remove(&name);
    }
    let scratch = std::env::temp_dir();
    for path in entries(&scratch).filter(|name| is_stale(name)).map(|name| scratch.join(name)) {
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = String> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Whether `name` is one of ours whose maker no longer runs.
fn is_stale(name: &str) -> bool {
    maker(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// The process id in one of our names.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

/// Kills what runs in the namespace and removes it. Best effort: it runs where nobody can be told.
fn remove(name: &str) {
    let pids = run(&["ip", "netns", "pids", name]).unwrap_or_default();
    let own = Pid::this();
    for pid in pids.split_whitespace().filter_map(|word| word.parse().ok()).map(Pid::from_raw) {
        if pid != own {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
    let _ = run(&["ip", "netns", "del", name]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_who_made_them() {
        assert_eq!(maker(&unique_name("x")), Some(std::process::id()));
        assert_eq!(maker("shv-12-0-client"), Some(12));
        assert_eq!(maker("other-12-0-client"), None);
        assert_eq!(maker("shv-client"), None);
    }

    #[test]
    fn only_what_a_dead_process_made_is_stale() {
        assert!(!is_stale(&unique_name("x")));
        // Process ids end at 2^22.
        assert!(is_stale("shv-4194305-0-client"));
        assert!(!is_stale("somebody-else"));
    }
}
