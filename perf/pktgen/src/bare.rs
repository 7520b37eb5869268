//! Forwarding and nothing else: what any director on AF_XDP has to do at least. Its speed is the ceiling of all others.

use crate::clock;
use crate::send::pin;
use crate::station::{open, with_faults};
use crate::traffic::Mac;
use sheave_frame::{BURST, Burst, FramePool, PoolId, Port};
use sheave_io::{FaultRates, PortSet, Umem};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A way from one interface to the other: which hardware addresses its packets get.
#[derive(Debug, Clone)]
pub struct Way {
    /// The interface that they come in on.
    pub from: String,
    /// The one that they leave by.
    pub to: String,
    /// Their new source.
    pub source: Mac,
    /// Their new destination.
    pub destination: Mac,
}

/// What can be chosen.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The processor to stay on.
    pub core: Option<usize>,
    /// Whether to wait for packets instead of looking all the time.
    pub adaptive: bool,
    /// Faults in a million packets that go the first way, and their seed.
    pub faults: Option<(FaultRates, u64)>,
}

const FRAMES: u32 = 16_384;
/// How long an adaptive forwarder goes on looking after its last packet: as long as a director's worker does, so that what
/// a sleep costs both is the same.
const SPIN: Duration = Duration::from_micros(50);

/// Forwards both ways until told to stop; returns how many packets.
///
/// # Errors
/// Without the privilege, or when an interface cannot.
pub fn forward(
    ways: &[Way; 2],
    options: &Options,
    stop: &AtomicBool,
    ready: impl FnOnce(),
) -> io::Result<u64> {
    let umem = Umem::new(FRAMES, 1)?;
    let mut pool = umem.take_pool(PoolId(0), 0).ok_or_else(|| io::Error::other("pool: taken already"))?;
    let (first, first_take) = open(umem, (&ways[0].from, 0), 0, true)?;
    let (second, second_take) = open(umem, (&ways[1].from, 0), 1, true)?;
    pin(options.core);
    let mut set = PortSet::new()?;
    set.set(first.wait_fd().into_iter().chain(second.wait_fd()));
    let mut ports = [with_faults(first, None), with_faults(second, options.faults)];
    ready();
    let mut bursts = [Burst::with_capacity(BURST), Burst::with_capacity(BURST)];
    let (mut forwarded, mut last) = (0u64, clock::now());
    // ORDERING: only that it is seen some time counts.
    while !stop.load(Ordering::Relaxed) {
        let moved = turn(&mut ports, &mut bursts, ways, &mut pool);
        forwarded += moved as u64;
        if !options.adaptive {
            continue;
        }
        if moved > 0 {
            last = clock::now();
        } else if last.elapsed() > SPIN {
            let _ = set.wait(Some(Duration::from_millis(10)));
        }
    }
    for frame in bursts.iter_mut().flat_map(|burst| std::iter::from_fn(|| burst.pop())) {
        pool.release(frame);
    }
    set.set([]);
    drop((first_take, second_take));
    ports.into_iter().for_each(|port| port.close(&mut pool));
    Ok(forwarded)
}

fn turn(
    ports: &mut [Box<dyn Port>; 2],
    bursts: &mut [Burst; 2],
    ways: &[Way; 2],
    pool: &mut FramePool,
) -> usize {
    let mut moved = 0;
    for from in 0..2 {
        let burst = &mut bursts[from];
        let waiting = burst.len();
        moved += ports[from].recv(burst, pool);
        for frame in burst.iter_mut().skip(waiting) {
            if let Some(addresses) = frame.bytes_mut().first_chunk_mut::<12>() {
                addresses[..6].copy_from_slice(&ways[from].destination.0);
                addresses[6..].copy_from_slice(&ways[from].source.0);
            }
        }
        ports[1 - from].send(burst);
        ports[1 - from].flush(pool);
    }
    moved
}
