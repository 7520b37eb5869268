//! Connections a second through a contender: from raw packets, and between kernel endpoints.

use crate::bench::{Bench, Family, GENERATOR, OUTSIDE, VIP};
use crate::contender::{Contender, Job};
use crate::endpoints;
use crate::machine::{GENERATOR_CORE, Load, Look};
use sheave_pktgen::clock;
use sheave_pktgen::exchange::{Client, Exchanged, serve};
use sheave_pktgen::send::pin;
use sheave_pktgen::station::Station;
use sheave_testbeds::{Error, Result};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// One run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate {
    /// Connections a second.
    pub(crate) rate: f64,
    /// Median time of a request on a connection that stands, in µs; of kernel endpoints only.
    pub(crate) round_trip: f64,
    /// Times that an endpoint's kernel gave up waiting, for each connection.
    pub(crate) timeouts: f64,
    pub(crate) unfit: Option<String>,
}

/// Connections open at a time between kernel endpoints.
const ASKED: usize = 64;
/// The same of raw clients. The kernel's receive path has a queue of 256 packets on veth, and raw clients repeat nothing
/// that is lost: through it there are no more than it holds.
const CONCURRENT: u32 = 256;
const CONCURRENT_IN_KERNEL: u32 = 64;
/// Pairs of address and port of raw clients.
const TUPLES: u32 = 65_536;

/// The share of connections that may fail.
const MOST_FAILED: f64 = 0.05;

/// Raw connections: client and responder on AF_XDP sockets, sharing the generator's processor. Neither minds what the other's
/// address is, so the same packets go through who changes none.
pub(crate) fn raw(bench: &Bench, who: Contender, seconds: f64) -> Result<Rate> {
    let _running = who.start(bench, &Job::tcp(TUPLES))?;
    let [near, far] = if who == Contender::Direct { ["g1", "s1"] } else { ["g0", "s0"] };
    let stop = Arc::new(AtomicBool::new(false));
    let responder = bench.sink.thread({
        let stop = Arc::clone(&stop);
        move || {
            pin(Some(GENERATOR_CORE));
            Station::open(far, true).map(|mut station| serve(&mut station, &stop))
        }
    });
    let client = |seconds: f64| Client {
        to: SocketAddrV4::new(VIP, 80),
        macs: [GENERATOR, OUTSIDE],
        first: [198, 18, 128, 0].into(),
        tuples: TUPLES,
        concurrent: if who.is_in_kernel() { CONCURRENT_IN_KERNEL } else { CONCURRENT },
        time: Duration::from_secs_f64(seconds),
    };
    let run = || {
        pin(Some(GENERATOR_CORE));
        let mut station = Station::open(near, true).map_err(Error::about("client"))?;
        // Once over all tuples first, so that what is measured is their reuse.
        client(1.0).run(&mut station, |_| ()).map_err(Error::about("client"))?;
        let before = Look::now()?;
        let done = client(seconds).run(&mut station, |_| ()).map_err(Error::about("client"))?;
        Ok::<(Exchanged, Load), Error>((done, Look::now()?.since(&before)))
    };
    let result = bench.generator.enter(run)?;
    // ORDERING: the responder looks at nothing else of ours.
    stop.store(true, Ordering::Relaxed);
    let _ = responder.join();
    let (done, load) = result?;
    if done.completed == 0 {
        return Err(Error::new(format!("{}: no raw connection came through: {done:?}", who.name())));
    }
    soundness(who, done.completed, done.stalled + done.unexpected)?;
    Ok(Rate { rate: done.rate, unfit: load.unfit(), ..Rate::default() })
}

/// Connections between kernel endpoints.
pub(crate) fn kernel(bench: &Bench, who: Contender, seconds: f64) -> Result<Rate> {
    let _running = who.start(bench, &Job::tcp(TUPLES))?;
    let stop = Arc::new(AtomicBool::new(false));
    let (tell, ready) = mpsc::channel();
    let port = who.real_port();
    let server = bench.sink.thread({
        let stop = Arc::clone(&stop);
        move || endpoints::serve(port, GENERATOR_CORE, &stop, || _ = tell.send(()))
    });
    let up = ready.recv_timeout(Duration::from_secs(5));
    // Bare forwarding changes no address: its clients ask the real server itself.
    let to = if who == Contender::Bare { Family::V4.real(1, 80) } else { who.to(Family::V4) };
    let result =
        if up.is_ok() { clients(bench, who, to, seconds) } else { Err(Error::new("servers: not up")) };
    // ORDERING: the servers look at nothing else of ours.
    stop.store(true, Ordering::Relaxed);
    let _ = server.join();
    result
}

fn clients(bench: &Bench, who: Contender, to: SocketAddr, seconds: f64) -> Result<Rate> {
    let ask = |concurrent, time| {
        let asked = bench.generator.enter(|| endpoints::ask(to, concurrent, GENERATOR_CORE, time))?;
        asked.map_err(Error::about("clients"))
    };
    let (time, start) = (Duration::from_secs_f64(seconds), clock::now());
    while ask(1, Duration::from_millis(100))?.done == 0 {
        if start.elapsed() > Duration::from_secs(10) {
            return Err(Error::new(format!("{}: {to} does not answer", who.name())));
        }
    }
    let before = (Look::now()?, timeouts(bench)?);
    let asked = ask(ASKED, time)?;
    let after = (Look::now()?, timeouts(bench)?);
    let trips = bench.generator.enter(|| endpoints::round_trips(to, GENERATOR_CORE, time / 2))?;
    let trips = trips.map_err(Error::about("clients"))?;
    soundness(who, asked.done, asked.failed)?;
    Ok(Rate {
        rate: asked.rate,
        round_trip: trips.get(trips.len() / 2).copied().unwrap_or(0.0) / 1000.0,
        timeouts: (after.1 - before.1) as f64 / asked.done.max(1) as f64,
        unfit: after.0.since(&before.0).unfit(),
    })
}

/// How often the kernels of clients, servers and whoever is between them gave up waiting for an acknowledgement.
fn timeouts(bench: &Bench) -> Result<u64> {
    let all = [&bench.generator, &bench.director, &bench.sink];
    all.iter().map(|netns| netns.tcp_counter("TCPTimeouts")).sum()
}

/// Whether so few failed that the rate says something.
fn soundness(who: Contender, completed: u64, failed: u64) -> Result<()> {
    if failed as f64 > completed as f64 * MOST_FAILED {
        let name = who.name();
        return Err(Error::new(format!("{name}: {failed} connections failed, {completed} did not")));
    }
    Ok(())
}
