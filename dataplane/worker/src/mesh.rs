//! The rings between workers, and who owns a queue of which interface.
//!
//! ```text
//!   worker 0 --- to send / going home ---> worker 1        one single-producer ring for each ordered pair
//!            <-- to send / going home ----
//! ```

use sheave_frame::{Frame, PortId};
use sheave_io::Waker;
use sheave_table::spsc::{self, Consumer, Producer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Interfaces that the data path can number.
pub const MAX_PORTS: usize = 4096;

/// Workers at most: one bit each in the directory.
pub const MAX_WORKERS: usize = 64;

/// Frames in a ring between two workers.
const RING: usize = 1024;

/// A frame on its way between two workers.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// To be sent out of this interface by the worker that gets it.
    Send(PortId, Frame),
    /// Belongs to the pool of the worker that gets it.
    Home(Frame),
}

/// Which workers own a queue of which interface. Each worker writes its own bit.
#[derive(Debug)]
struct Directory {
    owners: Box<[AtomicU64]>,
}

/// A worker's ends of the rings, before it is built.
#[derive(Debug)]
pub struct Links {
    me: usize,
    directory: Arc<Directory>,
    to: Vec<Option<(Producer<Parcel>, Waker)>>,
    from: Vec<Consumer<Parcel>>,
    /// Workers that got something since they were last woken.
    wake: u64,
}

/// All rings between a set of workers.
#[derive(Debug)]
pub struct Mesh;

impl Mesh {
    /// The links of as many workers as there are wakers, each waker being that worker's.
    ///
    /// # Panics
    /// When there are more than [`MAX_WORKERS`]: configuration has refused that.
    pub fn build(wakers: &[Waker]) -> Vec<Links> {
        assert!(wakers.len() <= MAX_WORKERS, "at most {MAX_WORKERS} workers");
        let directory = Arc::new(Directory {
            owners: std::iter::repeat_with(AtomicU64::default).take(MAX_PORTS).collect(),
        });
        let mut links: Vec<Links> = (0..wakers.len())
            .map(|me| Links { me, directory: directory.clone(), to: Vec::new(), from: Vec::new(), wake: 0 })
            .collect();
        for from in 0..wakers.len() {
            for to in 0..wakers.len() {
                if from == to {
                    links[from].to.push(None);
                    continue;
                }
                let (producer, consumer) = spsc::ring(RING);
                links[from].to.push(Some((producer, wakers[to].clone())));
                links[to].from.push(consumer);
            }
        }
        links
    }
}

impl Links {
    /// Which worker these are the links of.
    pub fn worker(&self) -> usize {
        self.me
    }

    /// The worker, other than this one, that sends for an interface: with several, each worker settles on one of
    /// them, so that a flow's frames stay in order.
    #[inline]
    pub(crate) fn owner(&self, port: PortId) -> Option<usize> {
        // ORDERING: relaxed; a stale owner answers with port-gone, nothing else hangs on it.
        let owners = self.directory.owners.get(port.index())?.load(Relaxed) & !(1 << self.me);
        if owners == 0 {
            return None;
        }
        // The first owner at or after this worker's own number, around the circle.
        let turned = owners.rotate_right(u32::try_from(self.me).unwrap_or(0));
        Some((turned.trailing_zeros() as usize + self.me) % MAX_WORKERS)
    }

    /// Says whether this worker owns a queue of `port`.
    pub(crate) fn own(&self, port: PortId, owned: bool) {
        let Some(owners) = self.directory.owners.get(port.index()) else { return };
        if owned {
            owners.fetch_or(1 << self.me, Relaxed);
        } else {
            owners.fetch_and(!(1 << self.me), Relaxed);
        }
    }

    /// Gives a parcel to another worker, which is woken by [`Links::wake`].
    #[inline]
    pub(crate) fn give(&mut self, worker: usize, parcel: Parcel) -> Result<(), Parcel> {
        let Some(Some((ring, _))) = self.to.get_mut(worker) else { return Err(parcel) };
        ring.push(parcel)?;
        self.wake |= 1 << worker;
        Ok(())
    }

    /// Wakes every worker that was given something since the last call.
    #[inline]
    pub(crate) fn wake(&mut self) {
        while self.wake != 0 {
            let worker = self.wake.trailing_zeros() as usize;
            self.wake &= self.wake - 1;
            if let Some(Some((_, waker))) = self.to.get(worker) {
                waker.wake();
            }
        }
    }

    /// Takes the next parcel of the `i`-th ring to this worker.
    #[inline]
    pub(crate) fn take(&mut self, i: usize) -> Option<Parcel> {
        self.from[i].pop()
    }

    /// Rings to this worker.
    #[inline]
    pub(crate) fn sources(&self) -> usize {
        self.from.len()
    }

    /// Parcels in the rings to this worker.
    pub(crate) fn waiting(&self) -> usize {
        self.from.iter().map(Consumer::len).sum()
    }
}
