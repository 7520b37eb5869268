//! A place on a network: one AF_XDP socket on a queue of an interface, with frames of its own.

use sheave_frame::{BURST, Burst, Frame, FramePool, PoolId, Port, PortId};
use sheave_io::lab::TakeAll;
use sheave_io::{AfXdpConfig, AfXdpPort, FaultInjector, FaultRates, ModeWish, PortSet, Umem, XdpMode};
use std::io;
use std::time::Duration;

/// Frames of one station.
const FRAMES: u32 = 8192;
const FILL: u32 = 4096;

/// A station that sends, and receives everything that comes if it was opened for that.
#[derive(Debug)]
pub struct Station {
    port: Option<Box<dyn Port>>,
    pool: FramePool,
    out: Burst,
    set: PortSet,
    take: Option<TakeAll>,
}

/// Opens a socket on a queue of an interface of this network namespace, and gives it all that arrives there if it
/// `receives`.
///
/// # Errors
/// Without the privilege, or when the interface cannot.
pub fn open(
    umem: Umem,
    (interface, queue): (&str, u32),
    number: u16,
    receives: bool,
) -> io::Result<(AfXdpPort, Option<TakeAll>)> {
    let mut take = if receives { Some(TakeAll::attach(interface)?) } else { None };
    let config = AfXdpConfig {
        name: interface.to_owned(),
        ifindex: sheave_io::ifindex(interface)?,
        queue,
        port: PortId(number),
        wish: ModeWish::Auto,
        attached: take.as_ref().map_or(XdpMode::Native, TakeAll::mode),
        fill_frames: if receives { FILL } else { 0 },
    };
    let port = AfXdpPort::open(umem, &config).map_err(io::Error::other)?;
    if let Some(take) = &mut take {
        take.set_socket(queue, port.fd())?;
    }
    Ok((port, take))
}

/// A port with faults around it, or without.
#[must_use]
pub fn with_faults(port: AfXdpPort, faults: Option<(FaultRates, u64)>) -> Box<dyn Port> {
    match faults {
        Some((rates, seed)) => Box::new(FaultInjector::new(port, FaultRates::default(), rates, seed)),
        None => Box::new(port),
    }
}

impl Station {
    /// Opens one on queue 0 of an interface of this network namespace.
    ///
    /// # Errors
    /// Without the privilege, or when the interface cannot.
    pub fn open(interface: &str, receives: bool) -> io::Result<Station> {
        Station::on(interface, 0, receives)
    }

    /// Opens one on any queue.
    ///
    /// # Errors
    /// Likewise, or when there is no such queue.
    pub fn on(interface: &str, queue: u32, receives: bool) -> io::Result<Station> {
        let umem = Umem::new(FRAMES, 1)?;
        let pool = umem.take_pool(PoolId(0), 0).ok_or_else(|| io::Error::other("pool: taken already"))?;
        let (port, take) = open(umem, (interface, queue), 0, receives)?;
        let mut set = PortSet::new()?;
        set.set(port.wait_fd());
        Ok(Station { port: Some(Box::new(port)), pool, out: Burst::with_capacity(BURST), set, take })
    }

    /// Makes a packet to be sent: `write` fills a buffer and says how long it became. False when no frame is free.
    pub fn make(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.out.room() == 0 {
            self.flush();
        }
        let Some(mut frame) = self.pool.alloc() else { return false };
        let room = frame.tailroom();
        if frame.set_len(room).is_err() {
            self.pool.release(frame);
            return false;
        }
        let length = write(frame.bytes_mut());
        let fits = frame.set_len(length).is_ok();
        match self.out.push(frame) {
            Ok(()) => fits,
            Err(frame) => {
                self.pool.release(frame);
                false
            }
        }
    }

    /// Sends what was made, and takes back what has been sent.
    pub fn flush(&mut self) {
        if let Some(port) = &mut self.port {
            port.send(&mut self.out);
            port.flush(&mut self.pool);
        }
    }

    /// Waits until everything has been sent, or a second has gone by.
    pub fn drain(&mut self) {
        for _ in 0..1000 {
            let Some(port) = &mut self.port else { return };
            port.send(&mut self.out);
            if port.flush(&mut self.pool).in_flight == 0 && self.out.is_empty() {
                return;
            }
            let _ = self.set.wait(Some(Duration::from_millis(1)));
        }
    }

    /// Takes what has been received into `burst`; each frame is to be released.
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        self.port.as_mut().map_or(0, |port| port.recv(burst, &mut self.pool))
    }

    /// Gives a received frame back.
    pub fn release(&mut self, frame: Frame) {
        self.pool.release(frame);
    }

    /// Waits until something arrives, or the time is up.
    pub fn wait(&mut self, time: Duration) {
        let _ = self.set.wait(Some(time));
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        while let Some(frame) = self.out.pop() {
            self.pool.release(frame);
        }
        self.set.set([]);
        // First nothing more is taken, then the socket goes.
        self.take = None;
        if let Some(port) = self.port.take() {
            port.close(&mut self.pool);
        }
    }
}
