//! What the counters of all workers together must say.

use crate::counters::{self, Traffic};
use crate::ids::{DestId, ServiceId};
use crate::reason::Reason;
use crate::verdict::{Verdict, VerdictKind};
use std::collections::BTreeMap;

/// How often each outcome was, by its name.
pub type Outcomes = BTreeMap<&'static str, u64>;

/// Counts by the slots of the counter pages.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<usize, u64>);

impl Tally {
    fn add(&mut self, slot: usize, n: u64) {
        *self.0.entry(slot).or_default() += n;
    }

    /// A verdict, and its reason.
    pub(super) fn verdict(&mut self, verdict: &Verdict) {
        self.add(counters::verdict(verdict.kind()), 1);
        if let Some(reason) = verdict.reason() {
            self.add(counters::reason(reason), 1);
        }
    }

    /// A reason beside that of a verdict.
    pub(super) fn reason(&mut self, reason: Reason) {
        self.add(counters::reason(reason), 1);
    }

    /// A new connection.
    pub(super) fn connection(&mut self, service: usize, destination: DestId) {
        self.traffic(service, destination, [(Traffic::Conns, 1)]);
    }

    /// A packet of a connection that went on its way.
    pub(super) fn packet(&mut self, service: usize, destination: DestId, outbound: bool, bytes: usize) {
        let (packets, volume) = if outbound {
            (Traffic::OutPackets, Traffic::OutBytes)
        } else {
            (Traffic::InPackets, Traffic::InBytes)
        };
        self.traffic(service, destination, [(packets, 1), (volume, bytes as u64)]);
    }

    fn traffic<const N: usize>(&mut self, service: usize, destination: DestId, what: [(Traffic, u64); N]) {
        let service = ServiceId(u16::try_from(service).expect("few services"));
        for (what, n) in what {
            self.add(counters::service(service, what), n);
            self.add(counters::destination(destination, what), n);
        }
    }

    /// How often each outcome was, by its name: `forward`, or the reason.
    pub(super) fn outcomes(&self) -> Outcomes {
        let reasons = Reason::ALL.iter().map(|reason| (reason.name(), counters::reason(*reason)));
        let all = reasons.chain([("forward", counters::verdict(VerdictKind::Forward))]);
        all.filter_map(|(name, slot)| Some((name, *self.0.get(&slot)?))).collect()
    }

    /// Compares with the sum of the workers' pages, of which these slots are not zero.
    pub(super) fn check(&self, counted: &BTreeMap<usize, u64>) -> Result<(), String> {
        let slots = self.0.keys().chain(counted.keys());
        let of = |counts: &BTreeMap<usize, u64>, slot: &usize| counts.get(slot).copied().unwrap_or(0);
        // What becomes of packets that wait is counted later, if at all; each fragment of one that is cut waits alone.
        let open = [Reason::Resolving, Reason::HoldFull, Reason::Unresolved].map(counters::reason);
        for slot in slots.filter(|slot| !open.contains(slot)) {
            let (expected, is) = (of(&self.0, slot), of(counted, slot));
            if expected != is {
                let name = Reason::ALL.iter().find(|reason| counters::reason(**reason) == *slot);
                return Err(format!("counter {slot} ({name:?}) is {is}, and should be {expected}"));
            }
        }
        Ok(())
    }
}
