//! Packets through a contender: as many as it takes, as many as it takes without loss, and how long they are under way.

use crate::bench::{Bench, Family, GENERATOR, OUTSIDE};
use crate::contender::{Contender, Job, Running};
use crate::gaps::{WINDOW, Watch, is_whole};
use crate::machine::{DIRECTOR_CORE, GENERATOR_CORE, Load, Look};
use sheave_io::lab::Hook;
use sheave_pktgen::send::{LiveSender, Until, pin};
use sheave_pktgen::sink::{Received, VerifyingSink};
use sheave_pktgen::traffic::Protocol;
use sheave_pktgen::{Sizes, Stream, Traffic, clock};
use sheave_testbeds::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Case {
    pub(crate) family: Family,
    pub(crate) flows: u32,
    /// As `sheave-pktgen` spells sizes.
    pub(crate) size: &'static str,
    pub(crate) kind: Kind,
}

/// What kind of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// UDP.
    Datagrams,
    /// TCP, established before it is measured.
    Connections,
    /// The same with so many SYNs of a flood behind each packet.
    Flooded(u32),
}

impl Case {
    pub(crate) fn name(&self) -> String {
        let family = if self.family == Family::V6 { "IPv6, " } else { "" };
        let size = if self.size == "imix" { "IMIX".to_owned() } else { format!("{} B", self.size) };
        match self.flows {
            f if f >= 1 << 20 => format!("{family}{} M flows, {size}", f >> 20),
            f => format!("{family}{} k flows, {size}", f >> 10),
        }
    }

    fn traffic(&self, who: Contender) -> Result<Traffic> {
        let sizes: Sizes = self.size.parse().map_err(Error::new)?;
        let to = who.to(self.family);
        let (protocol, flood) = match self.kind {
            Kind::Datagrams => (Protocol::Udp, 0),
            Kind::Connections => (Protocol::Tcp, 0),
            Kind::Flooded(flood) => (Protocol::Tcp, flood),
        };
        let own = Traffic { flows: self.flows, sizes, protocol, flood, ..Traffic::to(to) };
        Ok(Traffic { source: GENERATOR, next_hop: OUTSIDE, ..own })
    }
}

/// One run as fast as possible, or at a rate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trial {
    /// Packets a second sent, and arrived, within the same time.
    pub(crate) offered: f64,
    pub(crate) forwarded: f64,
    /// Sent but never arrived, over the whole run, as a share.
    pub(crate) loss: f64,
    /// Busy time of the director's processor for each packet that arrived, in ns.
    pub(crate) director_ns: f64,
    /// Time of the generator's processor for each packet sent, in ns. It is always busy: what it does beside
    /// generating makes this longer.
    pub(crate) generator_ns: f64,
    pub(crate) judged: u64,
    pub(crate) faulty: u64,
    /// Some of the wrong ones, in words.
    pub(crate) examples: Vec<String>,
    /// Why it does not count.
    pub(crate) unfit: Option<String>,
}

/// How the time before and after what is measured is left out.
const LEAD: Duration = Duration::from_millis(100);

/// Generator and sink of a bench, kept over many runs.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    bench: &'a Bench,
    senders: BTreeMap<(Case, bool), LiveSender>,
    seconds: f64,
    /// One in so many flows is judged.
    judged: u32,
}

/// A contender that runs and is warm, with a sink that knows what is right.
#[derive(Debug)]
pub(crate) struct Session<'m, 'a> {
    bench: &'a Bench,
    sender: &'m mut LiveSender,
    sink: VerifyingSink,
    seconds: f64,
    flows: u32,
    /// What sends the flood as well, if there is one.
    flood: Option<LiveSender>,
    pub(crate) running: Running<'a>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(bench: &'a Bench, seconds: f64) -> Meter<'a> {
        Meter { bench, senders: BTreeMap::new(), seconds, judged: 256 }
    }

    /// Judges one in so many flows from now on: the more, the surer are percentiles, and the more the sink costs.
    pub(crate) fn judging(self, judged: u32) -> Meter<'a> {
        Meter { judged, ..self }
    }

    /// Starts a contender and sends one packet of each flow through it.
    pub(crate) fn open<'m>(&'m mut self, who: Contender, case: &Case) -> Result<Session<'m, 'a>> {
        let (bench, seconds, flows) = (self.bench, self.seconds, case.flows);
        let calm = match case.kind {
            Kind::Flooded(_) => Case { kind: Kind::Connections, ..case.clone() },
            _ => case.clone(),
        };
        let flooded = case.kind != calm.kind;
        let job = Job { family: case.family, tcp: case.kind != Kind::Datagrams, flooded, flows };
        let running = who.start(bench, &job)?;
        let expect = who.expect(&case.traffic(who)?);
        let judged = self.judged;
        let attach = || VerifyingSink::attach("s0", Hook::Tc, judged, expect);
        let sink = bench.sink.enter(attach)?.map_err(Error::about("sink"))?;
        let flood = if flooded { Some(self.fresh_sender(who, case)?) } else { None };
        let sender = self.sender(who, &calm)?;
        let mut session = Session { bench, sender, sink, seconds, flows, running, flood };
        session.warm_up(who)?;
        Ok(session)
    }

    fn sender(&mut self, who: Contender, case: &Case) -> Result<&mut LiveSender> {
        // Plain forwarding has another destination, so it is another stream.
        let key = (case.clone(), who == Contender::Route);
        if !self.senders.contains_key(&key) {
            // Streams of a million flows are large; there is one at a time.
            self.senders.retain(|(kept, _), _| kept == case);
            let sender = self.fresh_sender(who, case)?;
            self.senders.insert(key.clone(), sender);
        }
        self.senders.get_mut(&key).ok_or_else(|| Error::new("generator: gone"))
    }

    fn fresh_sender(&self, who: Contender, case: &Case) -> Result<LiveSender> {
        let stream = Arc::new(Stream::new(case.traffic(who)?));
        let sender = self.bench.generator.enter(|| LiveSender::new(stream, "g0"))?;
        sender.map_err(Error::about("generator"))
    }
}

impl Session<'_, '_> {
    fn warm_up(&mut self, who: Contender) -> Result<()> {
        let start = clock::now();
        while self.sink.packets().map_err(Error::about("sink"))? == 0 {
            if start.elapsed() > Duration::from_secs(10) {
                let log = self.running.log();
                return Err(Error::new(format!("{}: nothing comes through; it said: {log}", who.name())));
            }
            self.send(1000.0, Until { packets: Some(16), time: None }, |_, _| Ok(()))?;
        }
        let rate = who.opening();
        let packets = if rate == 0.0 { 4096 } else { self.flows.max(4096) };
        self.send(rate, Until { packets: Some(packets.into()), time: None }, |_, _| Ok(()))?;
        self.settle()
    }

    fn settle(&mut self) -> Result<()> {
        self.sink.settle(Duration::from_millis(30)).map_err(Error::about("sink"))?;
        self.sink.restart().map_err(Error::about("sink"))
    }

    /// Sends, and looks at the sink every now and then; returns how many packets were sent.
    fn send(
        &mut self,
        rate: f64,
        until: Until,
        mut look: impl FnMut(u64, u64) -> Result<()> + Send,
    ) -> Result<u64> {
        let Session { bench, sender, sink, .. } = self;
        let mut failed = None;
        let sent = bench.generator.enter(|| {
            // Whoever looks at the sink must not take time from the director.
            pin(Some(GENERATOR_CORE));
            sender.send(rate, until, Some(GENERATOR_CORE), |sent| {
                sink.work();
                let arrived = sink.packets().unwrap_or(0);
                if let Err(error) = look(sent.packets, arrived) {
                    failed.get_or_insert(error);
                }
            })
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        sent.map(|sent| sent.packets).map_err(Error::about("generator"))
    }

    /// The flood begins, or ends: whoever did not send up to now sends from now on.
    pub(crate) fn turn_over(&mut self) {
        if let Some(flood) = &mut self.flood {
            std::mem::swap(flood, self.sender);
        }
    }

    /// One run at a rate (0: as fast as possible).
    pub(crate) fn trial(&mut self, rate: f64) -> Result<Trial> {
        self.settle()?;
        let seconds = self.seconds;
        let (start, mut marks) = (clock::now(), Vec::new());
        let until = Until { packets: None, time: Some(Duration::from_secs_f64(seconds) + 2 * LEAD) };
        let total = self.send(rate, until, |sent, arrived| {
            let time = start.elapsed();
            let end = Duration::from_secs_f64(seconds) + LEAD;
            if (marks.is_empty() && time >= LEAD && sent > 0) || (marks.len() == 1 && time >= end) {
                marks.push((time, sent, arrived, Look::now()?));
            }
            Ok(())
        })?;
        self.sink.settle(Duration::from_millis(30)).map_err(Error::about("sink"))?;
        let received = self.sink.received().map_err(Error::about("sink"))?;
        let [first, last] = &marks[..] else {
            return Err(Error::new("run: too short to be looked at twice"));
        };
        let time = (last.0 - first.0).as_secs_f64();
        let (offered, forwarded) = ((last.1 - first.1) as f64 / time, (last.2 - first.2) as f64 / time);
        Ok(trial(&received, total, (offered, forwarded), &last.3.since(&first.3)))
    }

    /// Sends at a rate for a time, and does something meanwhile, again and again.
    pub(crate) fn at(
        &mut self,
        rate: f64,
        time: Duration,
        mut act: impl FnMut() -> Result<()> + Send,
    ) -> Result<()> {
        self.send(rate, Until { packets: None, time: Some(time) }, |_, _| act()).map(drop)
    }

    /// A burst of so many packets, as fast as possible; the share that was lost.
    pub(crate) fn burst(&mut self, packets: u64) -> Result<f64> {
        self.settle()?;
        let sent = self.send(0.0, Until { packets: Some(packets), time: None }, |_, _| Ok(()))?;
        self.sink.settle(Duration::from_millis(50)).map_err(Error::about("sink"))?;
        let arrived = self.sink.packets().map_err(Error::about("sink"))?;
        Ok(1.0 - arrived as f64 / sent.max(1) as f64)
    }
}

fn trial(received: &Received, sent: u64, rates: (f64, f64), load: &Load) -> Trial {
    let (offered, forwarded) = rates;
    let busy = load.busy.get(DIRECTOR_CORE).copied().unwrap_or(0.0);
    Trial {
        offered,
        forwarded,
        loss: 1.0 - received.packets.min(sent) as f64 / sent.max(1) as f64,
        director_ns: busy * 1e9 / forwarded,
        generator_ns: 1e9 / offered,
        judged: received.verdicts.judged,
        faulty: received.verdicts.faulty(),
        examples: received.verdicts.examples.clone(),
        unfit: load.unfit(),
    }
}

/// "Zero" loss: two busy virtual processors lose up to 9.5 ms at a time to their host, whatever the code.
pub(crate) const ZERO_LOSS: f64 = 1e-3;

/// How often something is tried until both processors are there all the while.
const TRIES: usize = 8;

/// Tries until it goes well, or goes wrong while both processors are there all the while.
fn fairly(watch: &Watch, mut goes_well: impl FnMut() -> Result<bool>) -> Result<bool> {
    for _ in 0..TRIES {
        let begin = clock::monotonic();
        if goes_well()? {
            return Ok(true);
        }
        if watch.since(begin).is_empty() {
            break;
        }
    }
    Ok(false)
}

/// The highest rate without loss, by bisection between 0 and `most`.
pub(crate) fn throughput(session: &mut Session<'_, '_>, most: f64, steps: u32, watch: &Watch) -> Result<f64> {
    let (mut good, mut bad) = (0.0, most);
    for _ in 0..steps {
        let rate = f64::midpoint(good, bad);
        // A generator that cannot keep the rate has not shown that the director can.
        let keeps = fairly(watch, || {
            let trial = session.trial(rate)?;
            Ok(trial.loss <= ZERO_LOSS && trial.offered > rate * 0.98)
        })?;
        if keeps { good = rate } else { bad = rate }
    }
    Ok(good)
}

/// The longest burst at the generator's full speed without loss, by doubling.
pub(crate) fn longest_burst(session: &mut Session<'_, '_>, watch: &Watch) -> Result<u64> {
    let mut longest = 0;
    for exponent in 5..=16 {
        if !fairly(watch, || Ok(session.burst(1 << exponent)? <= ZERO_LOSS))? {
            break;
        }
        longest = 1 << exponent;
    }
    Ok(longest)
}

/// How long packets were under way at a rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delays {
    /// Medians and the like, of packets sent while both processors were there, in µs.
    pub(crate) p50: f64,
    pub(crate) p999: f64,
    /// The same percentile of all packets.
    pub(crate) all_p999: f64,
    /// The share of windows that count.
    pub(crate) whole: f64,
}

/// Fewer packets say nothing about one in a thousand.
const FEWEST: usize = 4000;

/// One run at a rate: the delays of packets that were sent in windows from which the host took nothing. `None` when these
/// were too few.
pub(crate) fn delays(session: &mut Session<'_, '_>, rate: f64, watch: &Watch) -> Result<Option<Delays>> {
    session.sink.keep_delays();
    let begin = clock::monotonic();
    let trial = session.trial(rate)?;
    if trial.unfit.is_some() {
        return Ok(None);
    }
    let gaps = watch.since(begin);
    let lead = begin + u64::try_from(LEAD.as_nanos()).unwrap_or(0);
    let mut windows: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for delay in session.sink.delays().iter().filter(|delay| delay.sent > lead) {
        windows.entry(delay.sent / WINDOW).or_default().push(delay.time);
    }
    let count = windows.len();
    let mut all: Vec<u64> = windows.values().flatten().copied().collect();
    windows.retain(|window, _| is_whole(*window, &gaps));
    let mut good: Vec<u64> = windows.values().flatten().copied().collect();
    if good.len() < FEWEST {
        return Ok(None);
    }
    all.sort_unstable();
    good.sort_unstable();
    let at = |times: &[u64], of_thousand: usize| times[times.len() * of_thousand / 1000] as f64 / 1000.0;
    let whole = windows.len() as f64 / count as f64;
    Ok(Some(Delays { p50: at(&good, 500), p999: at(&good, 999), all_p999: at(&all, 999), whole }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_have_names_for_people() {
        let case = |family, flows, size| Case { family, flows, size, kind: Kind::Datagrams };
        assert_eq!(case(Family::V4, 1 << 14, "64").name(), "16 k flows, 64 B");
        assert_eq!(case(Family::V6, 1 << 20, "imix").name(), "IPv6, 1 M flows, IMIX");
    }
}
