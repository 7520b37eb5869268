//! Kernel TCP endpoints: real servers that answer a request, and clients that ask, each connection once. They share the
//! generator's processor.

use sheave_pktgen::clock;
use sheave_pktgen::send::pin;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

const REQUEST: [u8; 32] = [b'q'; 32];
const ANSWER: [u8; 64] = [b'a'; 64];
const PATIENCE: Duration = Duration::from_secs(2);
const SERVERS: usize = 4;

/// What clients saw.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    pub(crate) rate: f64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

/// Serves on all addresses until told to stop; `ready` is called when clients may come.
pub(crate) fn serve(port: u16, core: usize, stop: &AtomicBool, ready: impl FnOnce()) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    listener.set_nonblocking(true)?;
    ready();
    std::thread::scope(|scope| {
        for _ in 0..SERVERS {
            scope.spawn(|| {
                pin(Some(core));
                // ORDERING: only that it is seen some time counts.
                while !stop.load(Ordering::Relaxed) {
                    match listener.accept() {
                        // A client that goes away is the client's business.
                        Ok((stream, _)) => drop(answer(stream)),
                        Err(_) => clock::pause(Duration::from_micros(50)),
                    }
                }
            });
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = REQUEST;
    while stream.read_exact(&mut request).is_ok() {
        stream.write_all(&ANSWER)?;
    }
    Ok(())
}

/// Asks from so many threads, one connection a request.
pub(crate) fn ask(to: SocketAddr, threads: usize, core: usize, time: Duration) -> Asked {
    let (done, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = clock::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                pin(Some(core));
                while start.elapsed() < time {
                    let counter = if once(to).is_ok() { &done } else { &failed };
                    // ORDERING: a count, read after all threads have ended.
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let done = done.into_inner();
    Asked { rate: done as f64 / seconds, done, failed: failed.into_inner() }
}

fn once(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    exchange(&mut stream)
}

fn exchange(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&REQUEST)?;
    stream.read_exact(&mut ANSWER.clone())
}

/// Requests one after the other on one connection; how long each took, in ns, sorted.
pub(crate) fn round_trips(to: SocketAddr, core: usize, time: Duration) -> io::Result<Vec<f64>> {
    pin(Some(core));
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
    let start = clock::now();
    while start.elapsed() < time {
        let before = clock::now();
        exchange(&mut stream)?;
        times.push(before.elapsed().as_secs_f64() * 1e9);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Opens so many connections, and keeps them.
pub(crate) fn open(to: SocketAddr, count: usize) -> io::Result<Vec<TcpStream>> {
    (0..count).map(|_| TcpStream::connect_timeout(&to, PATIENCE)).collect()
}

/// Accepts connections and keeps them until told to stop.
pub(crate) fn keep(port: u16, stop: &AtomicBool, accepted: &AtomicUsize) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    listener.set_nonblocking(true)?;
    let mut kept = Vec::new();
    // ORDERING: only that it is seen some time counts.
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                kept.push(stream);
                accepted.store(kept.len(), Ordering::Relaxed);
            }
            Err(_) => clock::pause(Duration::from_millis(1)),
        }
    }
    Ok(())
}
