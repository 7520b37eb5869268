//! Sending a stream: through live frames, or through an AF_XDP socket.

use crate::clock;
use crate::packet::Stream;
use crate::station::Station;
use nix::sys::pthread::pthread_kill;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use sheave_frame::BURST;
use sheave_io::lab::{GeneratorConfig, GeneratorState, LiveGenerator};
use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// When a sender ends, whichever comes first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Until {
    /// After so many packets.
    pub packets: Option<u64>,
    /// After so long.
    pub time: Option<Duration>,
}

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sent {
    /// Packets.
    pub packets: u64,
    /// Their bytes, without frame check sequences.
    pub bytes: u64,
    /// Packets left out because the sender could not keep its rate.
    pub late: u64,
    /// Time from the first to the last.
    pub seconds: f64,
    /// Packets a second.
    pub rate: f64,
}

impl Sent {
    fn new(packets: u64, bytes: u64, late: u64, seconds: f64) -> Sent {
        let rate = if packets > 1 && seconds > 0.0 { (packets - 1) as f64 / seconds } else { 0.0 };
        Sent { packets, bytes, late, seconds, rate }
    }
}

impl From<GeneratorState> for Sent {
    fn from(state: GeneratorState) -> Sent {
        let seconds = state.last.saturating_sub(state.first) as f64 / 1e9;
        Sent::new(state.sent, state.bytes, state.late, seconds)
    }
}

/// Packets that one call of the kernel makes at once. More is faster, fewer keep a low rate smooth.
const BATCH: u32 = 64;
/// Behind its schedule by more than this a sender leaves packets out instead of sending them in a burst.
const SLACK: Duration = Duration::from_micros(200);
/// How often the sender's progress is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Sends through live frames, out of one interface.
#[derive(Debug)]
pub struct LiveSender {
    generator: Arc<LiveGenerator>,
    stream: Arc<Stream>,
    config: GeneratorConfig,
}

impl LiveSender {
    /// Prepares the stream for an interface of this network namespace.
    ///
    /// # Errors
    /// Without the privilege, or when there is no such interface.
    pub fn new(stream: Arc<Stream>, interface: &str) -> io::Result<LiveSender> {
        // The run is ended by a signal, which must not end the process.
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::new(AtomicBool::new(false)))?;
        let mut generator = LiveGenerator::load()?;
        let config = stream.config(sheave_io::ifindex(interface)?);
        generator.prepare(config, stream.shapes(), stream.round())?;
        Ok(LiveSender { generator: Arc::new(generator), stream, config })
    }

    /// Sends at `rate` packets a second (0: as fast as possible) from a processor, and tells of its progress now and then.
    /// The stream goes on where it stopped the last time. Must be called from the interface's network namespace.
    ///
    /// # Errors
    /// When the kernel cannot.
    pub fn send(
        &mut self,
        rate: f64,
        until: Until,
        core: Option<usize>,
        mut look: impl FnMut(Sent),
    ) -> io::Result<Sent> {
        let interval = if rate > 0.0 { whole(256e9 / rate).max(1) } else { 0 };
        let config = GeneratorConfig { interval, slack: whole(SLACK.as_secs_f64() * 256e9), ..self.config };
        let generator = Arc::get_mut(&mut self.generator)
            .ok_or_else(|| io::Error::other("generator: a run is under way"))?;
        generator.set(config)?;
        generator.restart()?;
        let start = clock::now();
        loop {
            let sent = self.generator.state()?.sent;
            let left = until.packets.map(|packets| packets.saturating_sub(sent));
            let time = until.time.map(|time| time.saturating_sub(start.elapsed()));
            if left == Some(0) || time == Some(Duration::ZERO) {
                break;
            }
            // With a rate most frames are thrown back, so their number says nothing about packets.
            let frames = match left {
                Some(left) if interval == 0 => u32::try_from(left).unwrap_or(u32::MAX),
                _ => u32::MAX,
            };
            self.run_once(core, frames, |state| {
                look(Sent::from(state));
                until.packets.is_some_and(|packets| state.sent >= packets)
                    || until.time.is_some_and(|time| start.elapsed() >= time)
            })?;
        }
        Ok(Sent::from(self.generator.state()?))
    }

    fn run_once(
        &self,
        core: Option<usize>,
        frames: u32,
        mut enough: impl FnMut(GeneratorState) -> bool,
    ) -> io::Result<()> {
        let (generator, stream) = (Arc::clone(&self.generator), Arc::clone(&self.stream));
        let (done, ended) = mpsc::channel::<()>();
        let runner = std::thread::spawn(move || {
            let _done = done;
            pin(core);
            let canvas = stream.canvas();
            generator.run(stream.traffic().program(), &canvas, frames, BATCH)
        });
        let mut stop = false;
        while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            stop = stop || enough(self.generator.state()?);
            if stop {
                interrupt(&runner);
            }
        }
        runner.join().unwrap_or_else(|_| Err(io::Error::other("generator: its thread panicked")))
    }
}

/// Ends the system call that the thread is in. It may have ended already.
fn interrupt(thread: &JoinHandle<io::Result<()>>) {
    let _ = pthread_kill(thread.as_pthread_t(), Signal::SIGUSR1);
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from f64 saturates")]
fn whole(number: f64) -> u64 {
    number as u64
}

/// Keeps the calling thread on a processor.
pub fn pin(core: Option<usize>) {
    if let Some(id) = core {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
}

/// Sends through AF_XDP sockets, which works on every kernel that has AF_XDP. All packets of a flow go through the same
/// one of the stations.
///
/// # Errors
/// Without a station.
pub fn send_af_xdp(
    stream: &Stream,
    stations: &mut [Station],
    rate: f64,
    until: Until,
    mut look: impl FnMut(Sent),
) -> io::Result<Sent> {
    if stations.is_empty() {
        return Err(io::Error::other("send: through no queue: use one at least"));
    }
    let start = clock::now();
    let (mut packets, mut bytes, mut late) = (0u64, 0u64, 0u64);
    let (mut round, mut position) = (0u32, 0usize);
    let mut looked = Duration::ZERO;
    let mut last = Duration::ZERO;
    loop {
        let elapsed = start.elapsed();
        if elapsed.saturating_sub(looked) > LOOK {
            looked = elapsed;
            look(Sent::new(packets, bytes, late, elapsed.as_secs_f64()));
        }
        let left = until.packets.map_or(u64::MAX, |most| most.saturating_sub(packets));
        if left == 0 || until.time.is_some_and(|time| elapsed >= time) {
            break;
        }
        let mut due = BURST as u64;
        if rate > 0.0 {
            let behind = whole(elapsed.as_secs_f64() * rate).saturating_sub(packets + late);
            let most = whole(SLACK.as_secs_f64() * rate).max(BURST as u64);
            late += behind.saturating_sub(most);
            due = behind.min(BURST as u64);
        }
        let mut burst = 0;
        while burst < due.min(left) {
            let time = clock::monotonic();
            let flow = stream.round()[position].flow as usize;
            let at = flow % stations.len();
            let made = stations[at].make(|buffer| {
                let length = stream.write(round, position, time, buffer);
                bytes += length as u64;
                length
            });
            if !made {
                break;
            }
            burst += 1;
            position += 1;
            if position == stream.round().len() {
                (round, position) = (round + 1, 0);
            }
        }
        if burst > 0 {
            packets += burst;
            last = start.elapsed();
        }
        stations.iter_mut().for_each(Station::flush);
    }
    stations.iter_mut().for_each(Station::drain);
    Ok(Sent::new(packets, bytes, late, last.as_secs_f64()))
}
