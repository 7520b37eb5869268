//! Starting a worker's thread, and what the control thread keeps of it.

use crate::clock::Clock;
use crate::command::Command;
use crate::idle::Wait;
use crate::stats::Stats;
use crate::worker::{Parts, Worker};
use sheave_io::{PortSet, Waker};
use sheave_pipeline::Punt;
use sheave_table::spsc::{Consumer, Producer};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// All that the control thread has of a worker.
#[derive(Debug)]
pub struct WorkerHandle {
    index: usize,
    core: usize,
    commands: Producer<Command>,
    punts: Consumer<Punt>,
    waker: Waker,
    stats: Arc<Stats>,
    thread: Option<JoinHandle<Box<Worker>>>,
}

/// How to start a worker.
#[derive(Debug)]
pub struct Start {
    /// The core that it is pinned to.
    pub core: usize,
    /// What it does when idle.
    pub wait: Wait,
    /// Its clock.
    pub clock: Clock,
    /// What it sleeps on.
    pub ports: PortSet,
    /// Commands to it.
    pub commands: Producer<Command>,
    /// Messages from it.
    pub punts: Consumer<Punt>,
}

/// The cores that this process may run on.
pub fn available_cores() -> Vec<usize> {
    let mut cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cores.sort_unstable();
    cores
}

/// Starts a worker on its core.
///
/// # Errors
/// When the system refuses another thread.
pub fn spawn(parts: Parts, start: Start) -> io::Result<WorkerHandle> {
    let Start { core, wait, clock, mut ports, commands, punts } = start;
    let index = parts.links.worker();
    let (stats, waker) = (parts.stats.clone(), ports.waker());
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
            tracing::warn!(
                worker = index,
                core,
                "worker not pinned: the core is not available to this process"
            );
        }
        let mut worker = Box::new(Worker::new(parts));
        worker.run(clock, wait, &mut ports);
        worker
    })?;
    Ok(WorkerHandle { index, core, commands, punts, waker, stats, thread: Some(thread) })
}

impl WorkerHandle {
    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The core that it is pinned to.
    pub fn core(&self) -> usize {
        self.core
    }

    /// Its counters.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Sends a command and wakes the worker.
    ///
    /// # Errors
    /// Gives the command back when the worker has too many waiting.
    pub fn send(&mut self, command: Command) -> Result<(), Command> {
        self.commands.push(command)?;
        self.waker.wake();
        Ok(())
    }

    /// The next message of the worker.
    pub fn next_punt(&mut self) -> Option<Punt> {
        self.punts.pop()
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the thread to end, after [`Command::Stop`]. The worker's frames stay where they are until the
    /// process ends: the memory is never unmapped.
    pub fn join(mut self) {
        if let Some(Ok(worker)) = self.thread.take().map(JoinHandle::join) {
            std::mem::forget(worker);
        }
    }
}
