//! When a processor was gone: its host ran something else for a while, which `/proc/stat` tells in hundredths of a second
//! only, if at all.
//!
//! A thread on each processor that goes before every other one asks to be woken again and again. When it is woken late the
//! processor was taken away, or the kernel kept it busy with something that lets nobody in. Nothing that a director does in
//! user space keeps this thread from running, so a director that takes its time is not excused by it.

use sheave_pktgen::clock;
use sheave_pktgen::send::pin;
use sheave_testbeds::{Error, Result, run};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it wants to be woken, and how far apart two times may be.
const PERIOD: Duration = Duration::from_micros(200);
const LONGEST: u64 = 300_000;

/// From when to when a processor was gone, by the monotonic clock, in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

/// The threads that watch. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    found: Arc<Mutex<Vec<Gap>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Begins to watch these processors.
    pub(crate) fn start(cores: &[usize]) -> Result<Watch> {
        let mut watch = Watch { stop: Arc::default(), found: Arc::default(), threads: Vec::new() };
        for core in cores.iter().copied() {
            let (stop, found) = (Arc::clone(&watch.stop), Arc::clone(&watch.found));
            let (tell, number) = mpsc::channel();
            watch.threads.push(std::thread::spawn(move || {
                pin(Some(core));
                let _ = tell.send(rustix::thread::gettid().as_raw_nonzero());
                look(&stop, &found);
            }));
            let number = number.recv().map_err(|_| Error::new("watch: its thread ended"))?;
            run(&["chrt", "--fifo", "--pid", "50", &number.to_string()])?;
        }
        Ok(watch)
    }

    /// What was found since a time.
    pub(crate) fn since(&self, begin: u64) -> Vec<Gap> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.iter().filter(|gap| gap.end >= begin).copied().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // ORDERING: only that it is seen some time counts.
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn look(stop: &AtomicBool, found: &Mutex<Vec<Gap>>) {
    let mut begin = clock::monotonic();
    // ORDERING: only that it is seen some time counts.
    while !stop.load(Ordering::Relaxed) {
        clock::pause(PERIOD);
        let end = clock::monotonic();
        if end - begin > LONGEST {
            found.lock().unwrap_or_else(PoisonError::into_inner).push(Gap { begin, end });
        }
        begin = end;
    }
}

/// A window of time.
pub(crate) const WINDOW: u64 = 50_000_000;
/// A window is touched by what happens this long before it, too.
const SHADOW: u64 = 2_000_000;

/// Whether nothing touches the window of this number.
pub(crate) fn is_whole(window: u64, gaps: &[Gap]) -> bool {
    let (begin, end) = (window * WINDOW, (window + 1) * WINDOW);
    gaps.iter().all(|gap| gap.end + SHADOW < begin || gap.begin > end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_spoils_the_windows_that_it_touches() {
        let at = |begin: u64, end: u64| [Gap { begin: begin * 1_000_000, end: end * 1_000_000 }];
        let whole = |gap: &[Gap]| (0..4).map(|window| is_whole(window, gap)).collect::<Vec<_>>();
        assert_eq!(whole(&at(60, 70)), [true, false, true, true]);
        assert_eq!(whole(&at(90, 110)), [true, false, false, true]);
        assert_eq!(whole(&at(90, 99)), [true, false, false, true]);
        assert_eq!(whole(&[]), [true; 4]);
    }
}
