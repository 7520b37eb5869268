//! The sink at work: counts everything, judges a sample, until it is told to end.

use crate::verify::{Change, Delay, Expect, Verdicts, Verifier};
use crate::{clock, packet::Places, traffic::FLOODED, traffic::Protocol};
use serde::{Deserialize, Serialize};
use sheave_io::lab::{self, Counts, Hook, Sampling};
use std::io;
use std::time::Duration;

/// How long packets were under way, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Latency {
    /// Packets measured.
    pub count: u64,
    /// The shortest.
    pub min: f64,
    /// Half were faster.
    pub p50: f64,
    /// Nine in ten were.
    pub p90: f64,
    /// 99 in 100.
    pub p99: f64,
    /// 999 in 1000.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Received {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Samples that were to be judged, but found no room.
    pub unjudged: u64,
    /// What was right and wrong about the sample.
    pub verdicts: Verdicts,
    /// How long the sample was under way.
    pub latency: Latency,
}

/// The sink of one interface.
#[derive(Debug)]
pub struct VerifyingSink {
    sink: lab::Sink,
    verifier: Verifier,
    base: Counts,
}

/// Samples judged in one go.
const BITE: usize = 4096;

impl VerifyingSink {
    /// Attaches it to an interface of this network namespace. Judges all packets of one in `one_in` flows (a power of
    /// two), or, when the order of packets is not to be judged, one in `one_in` packets.
    ///
    /// # Errors
    /// Without the privilege, or when the interface takes no such program.
    pub fn attach(interface: &str, hook: Hook, one_in: u32, expect: Expect) -> io::Result<VerifyingSink> {
        if !one_in.is_power_of_two() || one_in > 1024 {
            return Err(io::Error::other(format!(
                "one in {one_in}: not possible: use a power of two up to 1024"
            )));
        }
        let places = Places::of(expect.traffic.to.is_ipv4(), expect.traffic.protocol == Protocol::Udp);
        let outer = match (expect.change, expect.reals.first().map(|real| real.address.is_ipv4())) {
            (Change::Tun, Some(false)) => 40,
            (Change::Tun, _) => 20,
            _ => 0,
        };
        let bits = one_in - 1;
        let (mask, every) = if expect.order { (bits, 0) } else { (0, bits) };
        let [_, _, station @ ..] = if expect.traffic.flood > 0 { FLOODED.0 } else { [0; 6] };
        let aside = u32::from_ne_bytes(station);
        let port_at = u32::try_from(places.l4 + outer).unwrap_or(0);
        let sink = lab::Sink::attach(interface, hook, Sampling { port_at, mask, every, aside })?;
        Ok(VerifyingSink { sink, verifier: Verifier::new(expect), base: Counts::default() })
    }

    /// Judges the samples that are there; to be called every ten milliseconds or so.
    pub fn work(&mut self) -> usize {
        let mut count = 0;
        loop {
            let verifier = &mut self.verifier;
            let some = self.sink.drain(BITE, |sample| verifier.judge(sample.time, sample.frame));
            count += some;
            if some < BITE {
                return count;
            }
        }
    }

    /// Works until nothing has arrived for `quiet`.
    ///
    /// # Errors
    /// When the kernel does not let the counters be read.
    pub fn settle(&mut self, quiet: Duration) -> io::Result<()> {
        let mut packets = self.sink.counts()?.packets;
        let mut since = clock::now();
        while since.elapsed() < quiet {
            clock::pause(Duration::from_millis(5));
            self.work();
            let now = self.sink.counts()?.packets;
            if now != packets {
                (packets, since) = (now, clock::now());
            }
        }
        Ok(())
    }

    /// Packets that arrived since the start.
    ///
    /// # Errors
    /// When the kernel does not let the counters be read.
    pub fn packets(&self) -> io::Result<u64> {
        Ok(self.sink.counts()?.packets - self.base.packets)
    }

    /// Starts counting and judging anew.
    ///
    /// # Errors
    /// When the kernel does not let the counters be read.
    pub fn restart(&mut self) -> io::Result<()> {
        self.work();
        self.verifier.restart();
        self.base = self.sink.counts()?;
        Ok(())
    }

    /// Keeps the delay of each judged packet from now on.
    pub fn keep_delays(&mut self) {
        self.verifier.keep_delays();
    }

    /// These delays, of what arrived since the start.
    #[must_use]
    pub fn delays(&self) -> &[Delay] {
        self.verifier.delays()
    }

    /// What arrived since then.
    ///
    /// # Errors
    /// When the kernel does not let the counters be read.
    pub fn received(&self) -> io::Result<Received> {
        let counts = self.sink.counts()?;
        Ok(Received {
            packets: counts.packets - self.base.packets,
            bytes: counts.bytes - self.base.bytes,
            unjudged: counts.lost - self.base.lost,
            verdicts: self.verifier.verdicts(),
            latency: latency(&self.verifier),
        })
    }
}

/// The percentiles of a verifier.
#[must_use]
pub fn latency(verifier: &Verifier) -> Latency {
    let times = verifier.latency();
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    if times.is_empty() {
        return Latency::default();
    }
    Latency {
        count: times.len(),
        min: times.min() as f64 / 1000.0,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: times.max() as f64 / 1000.0,
    }
}
