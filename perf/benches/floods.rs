//! S1a and S1b: a flood of a million distinct SYNs a second for a minute, beside established connections. Nothing here
//! is a time: the minute is the pipeline's own.

use sheave_frame::{BURST, Burst, PortId};
use sheave_perf::{Better, Outcome};
use sheave_pipeline::counters::{self, Extra};
use sheave_pipeline::snapshot::{Method, Snapshot};
use sheave_pipeline::testing::{Lab, Packet, Site, vip};
use sheave_pipeline::{Resolve, Time, VerdictKind};
use sheave_proto::wire::checksum::Delta;
use sheave_proto::wire::flow::Proto;
use std::net::Ipv4Addr;
use std::path::Path;

const CONNECTIONS: u64 = 1_000_000;
const ESTABLISHED: u32 = 500_000;
const SECONDS: u32 = 60;
const RATE: u32 = 1_000_000;
/// What may begin without being established: what the compiler gives so many connections.
const BUDGET: u64 = CONNECTIONS / 4;
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);

/// A burst of frames of different clients, written over and over.
struct Frames {
    list: Vec<(PortId, Vec<u8>)>,
    burst: Burst,
}

impl Frames {
    fn new(flags: u8) -> Frames {
        let packet = Packet::from_client(Proto::Tcp, (FIRST, 0), (vip(0), 80), flags);
        Frames { list: vec![packet.framed(); BURST], burst: Burst::with_capacity(BURST) }
    }

    /// Lets the next frames be those of clients `from` on.
    fn clients(&mut self, from: u32) {
        for (n, (_, frame)) in (from..).zip(&mut self.list) {
            let addr = Ipv4Addr::from_bits(FIRST.to_bits() + n / 50_000);
            let port = u16::try_from(1024 + n % 50_000).expect("16 bits");
            let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
            let old = Ipv4Addr::new(frame[26], frame[27], frame[28], frame[29]);
            let delta = Delta::NONE.addr(old, addr);
            let sums = [(24, delta.apply(word(24))), (50, delta.word(word(34), port).apply(word(50)))];
            frame[26..30].copy_from_slice(&addr.octets());
            frame[34..36].copy_from_slice(&port.to_be_bytes());
            for (at, sum) in sums {
                frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            }
        }
    }

    /// Sends them; how many were forwarded.
    fn send(&mut self, lab: &mut Lab, snapshot: &Snapshot) -> usize {
        lab.fill(&mut self.burst, &self.list);
        let verdicts = lab.process(snapshot, &mut self.burst);
        for frame in lab.out.sends.drain(..) {
            lab.pool.release(frame);
        }
        lab.drain();
        verdicts.iter().filter(|verdict| verdict.kind() == VerdictKind::Forward).count()
    }
}

/// Established connections that are lost, and entries beyond the budget.
fn flood(method: Method) -> (f64, f64) {
    let mut site = Site::with(Proto::Tcp, method, 8);
    (site.new_connections, site.half_open) = (200_000, BUDGET);
    let snapshot = site.snapshot();
    let mut lab = Lab::sized(Resolve::Control, CONNECTIONS, 600);
    let (mut syns, mut acks) = (Frames::new(Packet::SYN), Frames::new(Packet::ACK));
    let step = u32::try_from(BURST).expect("small");
    for from in (0..ESTABLISHED).step_by(BURST) {
        for frames in [&mut syns, &mut acks] {
            frames.clients(from);
            assert_eq!(frames.send(&mut lab, &snapshot), BURST);
        }
        lab.now = lab.now.after(Time::SECOND / 1000);
    }
    let before = lab.shared.tables.len();
    let (mut most, mut next) = (before, ESTABLISHED + step);
    for _ in 0..SECONDS {
        for _ in 0..RATE / step {
            syns.clients(next);
            syns.send(&mut lab, &snapshot);
            next += step;
            lab.now = lab.now.after(Time::SECOND / u64::from(RATE / step));
            lab.pipeline.tick(lab.now, &snapshot, &mut lab.pool, &mut lab.out);
        }
        most = most.max(lab.shared.tables.len());
    }
    // One that is sent on without its entry has lost it.
    let adrift = |lab: &Lab| lab.page.get(counters::extra(Extra::Adrift));
    let (mut kept, drifted) = (0, adrift(&lab));
    for from in (0..ESTABLISHED).step_by(BURST) {
        acks.clients(from);
        kept += acks.send(&mut lab, &snapshot);
    }
    let sent = ESTABLISHED.div_ceil(step) * step;
    let each = if method == Method::Nat { 2 } else { 1 };
    let beyond = (most - before) as u64;
    let lost = u64::from(sent) - kept as u64 + adrift(&lab) - drifted;
    #[expect(clippy::cast_precision_loss, reason = "entries")]
    (lost as f64, beyond.saturating_sub(BUDGET * each) as f64)
}

fn record(id: &'static str, name: &'static str, value: f64) {
    let runs = 2;
    let (target, stretch, better, spread) = (0.0, 0.0, Better::Lower, 0.0);
    let outcome = Outcome { id, name, value, unit: "entries", target, stretch, better, runs, spread };
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    outcome.record(target).expect("the summary is written");
    println!("{outcome}");
}

fn main() {
    let worst = [Method::Nat, Method::DirectRoute]
        .map(flood)
        .into_iter()
        .fold((0.0f64, 0.0f64), |worst, now| (worst.0.max(now.0), worst.1.max(now.1)));
    record("S1a", "1 M distinct SYN/s for 60 s: established connections lost, NAT and DR", worst.0);
    record("S1b", "the same: growth of the table beyond its flood budget", worst.1);
}
