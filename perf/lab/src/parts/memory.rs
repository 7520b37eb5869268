//! Memory of a connection.

use super::Laboratory;
use crate::bench::{Bench, Family};
use crate::contender::Contender::{self, Haproxy, Nft, Nginx, SheaveDr, SheaveNat};
use crate::contender::Job;
use crate::endpoints;
use crate::measure::{Case, Kind, Meter};
use crate::plan::{FEW, MANY};
use crate::stats::Runs;
use sheave_testbeds::wait::wait_until;
use sheave_testbeds::{Error, Result};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const PART: &str = "memory of a connection";
const UNIT: &str = "B/connection";
/// Connections that a proxy holds: before, and then.
const FIRST: usize = 200;
const HELD: usize = 2000;

impl Laboratory<'_> {
    pub(crate) fn memory(&mut self, bench: &Bench) -> Result<()> {
        if !self.wants(PART) {
            return Ok(());
        }
        let start = self.rows.len();
        for who in [SheaveNat, SheaveDr] {
            match flows(bench, who) {
                Ok(each) => self.row(PART, who.name(), "resident, 1 M flows", UNIT, &Runs::of(vec![each])),
                Err(error) => self.miss(PART, who, &error),
            }
        }
        match conntrack(bench) {
            Ok(each) => self.row(PART, Nft.name(), "nf_conntrack, 1 M flows", UNIT, &Runs::of(vec![each])),
            Err(error) => self.miss(PART, Nft, &error),
        }
        bench.stations(false)?;
        for who in [Haproxy, Nginx] {
            match held(bench, who) {
                Ok([resident, kernel]) => {
                    let what = "resident and the kernel's sockets, 2000 connections";
                    self.row(PART, who.name(), what, UNIT, &Runs::of(vec![resident + kernel]));
                    let what = "resident alone, 2000 connections";
                    self.row(PART, who.name(), what, UNIT, &Runs::of(vec![resident]));
                }
                Err(error) => self.miss(PART, who, &error),
            }
        }
        bench.stations(true)?;
        self.plot(start, PART)
    }
}

fn case(flows: u32) -> Case {
    Case { family: Family::V4, flows, size: "64", kind: Kind::Datagrams }
}

/// Resident memory that a million flows take more than a few, for each.
fn flows(bench: &Bench, who: Contender) -> Result<f64> {
    let mut meter = Meter::new(bench, 0.2);
    let few = meter.open(who, &case(FEW))?.running.memory();
    let many = meter.open(who, &case(MANY))?.running.memory();
    Ok(many.saturating_sub(few) as f64 / f64::from(MANY - FEW))
}

/// The kernel's entries for connections. Their buckets come on top.
fn conntrack(bench: &Bench) -> Result<f64> {
    let before = slab("nf_conntrack");
    let mut meter = Meter::new(bench, 0.2);
    let session = meter.open(Nft, &case(MANY))?;
    let each = slab("nf_conntrack").saturating_sub(before) as f64 / f64::from(MANY);
    drop(session);
    Ok(each)
}

/// What a proxy and the kernel need for each connection that is open and quiet.
fn held(bench: &Bench, who: Contender) -> Result<[f64; 2]> {
    let running = who.start(bench, &Job::tcp(FEW))?;
    let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let server = bench.sink.thread({
        let (stop, accepted) = (Arc::clone(&stop), Arc::clone(&accepted));
        move || endpoints::keep(8080, &stop, &accepted)
    });
    let open = |count: usize| -> Result<Vec<TcpStream>> {
        let to = who.to(Family::V4);
        let target = accepted.load(Ordering::Relaxed) + count;
        let streams =
            bench.generator.enter(|| endpoints::open(to, count))?.map_err(Error::about("clients"))?;
        let all = || accepted.load(Ordering::Relaxed) >= target;
        wait_until(&format!("{}: {count} connections", who.name()), Duration::from_secs(30), all)?;
        Ok(streams)
    };
    let measure = || -> Result<[f64; 2]> {
        let first = open(FIRST)?;
        let before = (running.memory(), all_slabs());
        let rest = open(HELD)?;
        let after = (running.memory(), all_slabs());
        drop((first, rest));
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / HELD as f64;
        // Of four sockets of a connection two are the proxy's.
        Ok([each(after.0, before.0), each(after.1, before.1) / 2.0])
    };
    let result = measure();
    // ORDERING: the servers look at nothing else of ours.
    stop.store(true, Ordering::Relaxed);
    let _ = server.join();
    result
}

/// Bytes in use by a cache of the kernel.
fn slab(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
    let number = |n| line.and_then(|line| line.split_whitespace().nth(n)?.parse::<u64>().ok()).unwrap_or(0);
    number(1) * number(3)
}

/// Bytes in all caches of the kernel.
fn all_slabs() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
