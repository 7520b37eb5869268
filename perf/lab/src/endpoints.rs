//! Kernel TCP endpoints: real servers that answer a request, and clients that ask, each connection once. They share the
//! generator's processor, so each side is one thread that does what is ready and waits for more: threads that wait for one
//! another would be measured instead of what lies between them.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use sheave_pktgen::clock;
use sheave_pktgen::send::pin;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const REQUEST: [u8; 32] = [b'q'; 32];
const ANSWER: [u8; 64] = [b'a'; 64];
/// What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the clock is looked at while nothing comes.
const LOOK: Duration = Duration::from_millis(20);
const EVENTS: usize = 1024;

/// What clients saw.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    pub(crate) rate: f64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

/// Things with a number each; numbers are used again.
#[derive(Debug)]
struct Slots<T> {
    all: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slots<T> {
    fn new() -> Slots<T> {
        Slots { all: Vec::new(), free: Vec::new() }
    }

    fn add(&mut self, thing: T) -> usize {
        let at = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() - 1
        });
        self.all[at] = Some(thing);
        at
    }

    fn at(&mut self, number: usize) -> Option<&mut T> {
        self.all.get_mut(number)?.as_mut()
    }

    fn remove(&mut self, number: usize) {
        if self.all.get_mut(number).is_some_and(|slot| slot.take().is_some()) {
            self.free.push(number);
        }
    }
}

/// Serves on all addresses until told to stop; `ready` is called when clients may come.
pub(crate) fn serve(port: u16, core: usize, stop: &AtomicBool, ready: impl FnOnce()) -> io::Result<()> {
    const LISTENER: Token = Token(usize::MAX);
    pin(Some(core));
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(EVENTS));
    let mut listener = listen(port)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    ready();
    let mut clients = Slots::new();
    // ORDERING: only that it is seen some time counts.
    while !stop.load(Ordering::Relaxed) {
        wait(&mut poll, &mut events)?;
        for event in &events {
            if event.token() != LISTENER {
                let number = event.token().0;
                if clients.at(number).is_some_and(|stream| answer(stream).is_err()) {
                    clients.remove(number);
                }
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                let number = clients.add(stream);
                let Some(stream) = clients.at(number) else { continue };
                poll.registry().register(stream, Token(number), Interest::READABLE)?;
            }
        }
    }
    Ok(())
}

/// Answers every whole request that has come. Fails when the client is gone, whose business that is.
fn answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut request = REQUEST;
    loop {
        match stream.read(&mut request) {
            Ok(length) if length == REQUEST.len() => stream.write_all(&ANSWER)?,
            Ok(_) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn wait(poll: &mut Poll, events: &mut Events) -> io::Result<()> {
    match poll.poll(events, Some(LOOK)) {
        Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// A connection of a client.
#[derive(Debug)]
struct Asking {
    stream: TcpStream,
    asked: bool,
    since: Instant,
}

impl Asking {
    /// Goes on as far as it can: whether it is done.
    fn go_on(&mut self) -> io::Result<bool> {
        if !self.asked {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            match self.stream.write_all(&REQUEST) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(false);
                }
                written => written?,
            }
            self.asked = true;
        }
        match self.stream.read_exact(&mut ANSWER.clone()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            read => read.map(|()| true),
        }
    }
}

/// Asks for a time, so many at once, one connection a request.
pub(crate) fn ask(to: SocketAddr, concurrent: usize, core: usize, time: Duration) -> io::Result<Asked> {
    pin(Some(core));
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(EVENTS));
    let mut open = Slots::new();
    let (mut sum, start) = (Asked::default(), clock::now());
    let mut swept = start;
    let (mut now, mut count) = (start, 0);
    while now - start < time {
        for _ in count..concurrent {
            let stream = TcpStream::connect(to)?;
            let number = open.add(Asking { stream, asked: false, since: now });
            let Some(Asking { stream, .. }) = open.at(number) else { continue };
            poll.registry().register(stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        }
        count = concurrent;
        wait(&mut poll, &mut events)?;
        now = clock::now();
        for event in &events {
            let number = event.token().0;
            let Some(asking) = open.at(number) else { continue };
            match asking.go_on() {
                Ok(false) => continue,
                Ok(true) => sum.done += 1,
                Err(_) => sum.failed += 1,
            }
            open.remove(number);
            count -= 1;
        }
        if now - swept > PATIENCE / 10 {
            swept = now;
            let tired = |asking: &Option<Asking>| asking.as_ref().is_some_and(|a| now - a.since > PATIENCE);
            for number in (0..open.all.len()).filter(|at| tired(&open.all[*at])).collect::<Vec<_>>() {
                open.remove(number);
                count -= 1;
                sum.failed += 1;
            }
        }
    }
    sum.rate = sum.done as f64 / (now - start).as_secs_f64();
    Ok(sum)
}

/// Requests one after the other on one connection; how long each took, in ns, sorted.
pub(crate) fn round_trips(to: SocketAddr, core: usize, time: Duration) -> io::Result<Vec<f64>> {
    pin(Some(core));
    let mut stream = std::net::TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut times = Vec::new();
    let start = clock::now();
    while start.elapsed() < time {
        let before = clock::now();
        stream.write_all(&REQUEST)?;
        stream.read_exact(&mut ANSWER.clone())?;
        times.push(before.elapsed().as_secs_f64() * 1e9);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Opens so many connections, and keeps them.
pub(crate) fn open(to: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpStream>> {
    (0..count).map(|_| std::net::TcpStream::connect_timeout(&to, PATIENCE)).collect()
}

/// A listener for whom thousands may wait: where 128 may, as is usual, a connection beyond them counts as open at the client's end
/// and not at this one.
fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    rustix::net::listen(&listener, 4096)?;
    Ok(listener)
}

/// Accepts connections and keeps them until told to stop.
pub(crate) fn keep(port: u16, stop: &AtomicBool, accepted: &AtomicUsize) -> io::Result<()> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1));
    let mut listener = listen(port)?;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    let mut kept = Vec::new();
    // ORDERING: only that it is seen some time counts.
    while !stop.load(Ordering::Relaxed) {
        wait(&mut poll, &mut events)?;
        loop {
            match listener.accept() {
                Ok((stream, _)) => kept.push(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // One that was given up while it waited; others wait behind it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
            accepted.store(kept.len(), Ordering::Relaxed);
        }
    }
    Ok(())
}
