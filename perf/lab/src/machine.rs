//! What the machine was doing meanwhile: time of its processors, by whom; and whether it was fit to be measured on.

use sheave_testbeds::{Error, Result, run};
use std::collections::BTreeMap;
use std::fs;

/// The processor of the generator, and that of the director.
pub(crate) const GENERATOR_CORE: usize = 1;
pub(crate) const DIRECTOR_CORE: usize = 0;

/// Above these shares of a processor's time a run is not counted: taken by the host; used by somebody else.
const MOST_STEAL: f64 = 0.10;
const MOST_FOREIGN: f64 = 0.05;
/// How busy the machine may be before anything starts.
const MOST_IDLE: f64 = 0.10;

/// Huge pages for shared memory that asks for them, as docs/operations.md recommends, until this is dropped.
#[derive(Debug)]
pub(crate) struct HugePages {
    before: Option<String>,
}

const SHARED_HUGE: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

impl HugePages {
    pub(crate) fn new() -> HugePages {
        let text = fs::read_to_string(SHARED_HUGE).unwrap_or_default();
        let chosen = text.split(['[', ']']).nth(1).map(str::to_owned);
        HugePages { before: chosen.filter(|_| fs::write(SHARED_HUGE, "advise").is_ok()) }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = fs::write(SHARED_HUGE, before);
        }
    }
}

/// One processor's ticks since boot.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    busy: u64,
    idle: u64,
    steal: u64,
}

/// A look at all clocks.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    cores: Vec<Ticks>,
    /// Ticks of processes that are neither ours nor the kernel's, and of their children that have ended.
    foreign: u64,
}

/// What went on between two looks, as shares of the time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    pub(crate) busy: Vec<f64>,
    pub(crate) steal: f64,
    pub(crate) foreign: f64,
}

impl Look {
    pub(crate) fn now() -> Result<Look> {
        let text = fs::read_to_string("/proc/stat").map_err(Error::about("/proc/stat"))?;
        let cores = text.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
        Ok(Look { cores: cores.map(ticks).collect(), foreign: foreign() })
    }

    /// What went on since an earlier look.
    pub(crate) fn since(&self, earlier: &Look) -> Load {
        let mut load = Load::default();
        let mut total = 0;
        for (now, then) in self.cores.iter().zip(&earlier.cores) {
            let (busy, steal) = (now.busy - then.busy, now.steal - then.steal);
            let all = (busy + steal + now.idle.saturating_sub(then.idle)).max(1);
            load.busy.push(busy as f64 / all as f64);
            load.steal = load.steal.max(steal as f64 / all as f64);
            total = total.max(all);
        }
        // Less, when one ended for which nobody waited.
        let foreign = self.foreign.saturating_sub(earlier.foreign);
        load.foreign = foreign as f64 / total.max(1) as f64;
        load
    }
}

impl Load {
    /// Why a run under this load does not count.
    pub(crate) fn unfit(&self) -> Option<String> {
        if self.steal > MOST_STEAL {
            return Some(format!("the host took {:.0} % of a processor's time", self.steal * 100.0));
        }
        let percent = self.foreign * 100.0;
        (self.foreign > MOST_FOREIGN).then(|| format!("other processes used {percent:.0} % of a processor"))
    }
}

/// Whether the machine is quiet enough to start. Takes a second.
pub(crate) fn fit() -> Result<std::result::Result<(), String>> {
    let before = Look::now()?;
    sheave_pktgen::clock::pause(std::time::Duration::from_secs(1));
    let load = Look::now()?.since(&before);
    if load.busy.len() < 2 {
        return Ok(Err("one processor only: two are needed, for the generator and for the director".into()));
    }
    let busiest = load.busy.iter().copied().fold(load.steal, f64::max);
    Ok(if busiest > MOST_IDLE {
        Err(format!(
            "a processor is {:.0} % busy before anything has started: end what runs",
            busiest * 100.0
        ))
    } else {
        Ok(())
    })
}

fn ticks(line: &str) -> Ticks {
    let fields: Vec<u64> = line.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    let at = |n: usize| fields.get(n).copied().unwrap_or(0);
    Ticks { busy: at(0) + at(1) + at(2) + at(5) + at(6), idle: at(3) + at(4), steal: at(7) }
}

/// User and system ticks of all processes that do not descend from this one or from the kernel. Those of a process that
/// ends go over to its parent, so that the sum only grows.
fn foreign() -> u64 {
    let mut processes: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let text = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name, in brackets, may contain anything.
        let Some((_, rest)) = text.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |n: usize| fields.get(n).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let parent = u32::try_from(number(1)).unwrap_or(0);
        processes.insert(pid, (parent, (11..=14).map(number).sum()));
    }
    let own = std::process::id();
    let is_ours = |mut pid: u32| {
        while let Some((parent, _)) = processes.get(&pid) {
            if pid == own || pid == 2 {
                return true;
            }
            pid = *parent;
        }
        false
    };
    processes.iter().filter(|(pid, _)| !is_ours(**pid)).map(|(_, (_, ticks))| ticks).sum()
}

/// What this machine is, for the history.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) commit: String,
}

impl Machine {
    pub(crate) fn look() -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
        let cpu = name.trim_start_matches(['\t', ' ', ':']).to_owned();
        let cores = info.lines().filter(|line| line.starts_with("processor")).count();
        let said =
            |command: &[&str]| run(command).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned());
        let kernel = said(&["uname", "-r"]);
        // Run by root in somebody's clone.
        let commit =
            said(&["git", "-c", "safe.directory=*", "describe", "--always", "--dirty", "--exclude=*"]);
        Machine { cpu, cores, kernel, commit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_time_between_two_looks() {
        let look = |line: &str, foreign: u64| Look { cores: vec![ticks(line)], foreign };
        let before = look("cpu0 100 0 100 1000 0 0 0 0 0 0", 50);
        let after = look("cpu0 120 0 110 1050 5 5 5 5 0 0", 56);
        let load = after.since(&before);
        assert_eq!((load.busy[0], load.steal, load.foreign), (0.4, 0.05, 0.06));
        assert_eq!(load.unfit().expect("foreign"), "other processes used 6 % of a processor");
    }
}
