//! What a SYN flood leaves of the traffic that was there before.

use super::{AGAIN, Goal, Laboratory};
use crate::bench::{Bench, Family};
use crate::contender::Contender::SheaveNat;
use crate::measure::{Case, Kind, Meter};
use crate::plan::FEW;
use crate::stats::Runs;
use sheave_summary::Better;
use sheave_testbeds::{Error, Result};

const PART: &str = "under a SYN flood, 16 k flows, 66 B";
/// SYNs of the flood behind each packet of an established connection.
const EACH: u32 = 4;
/// A rate that loses nothing, and what may be lost at it all the same.
const CALM: f64 = 100_000.0;
const MOST_LOST: f64 = 0.05;
/// So many times what the director can forward are sent, if the generator can.
const OVERLOAD: f64 = 4.0;

impl Laboratory<'_> {
    /// The flood comes to another service of the same VIP; its new connections are limited before AF_XDP. Compared is what
    /// arrives of the established connections with what was sent of them.
    pub(crate) fn flood(&mut self, bench: &Bench) -> Result<()> {
        if !self.wants(PART) {
            return Ok(());
        }
        let (mut alone, mut offered, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.cli.turns.unwrap_or(5) {
            let case = Case { family: Family::V4, flows: FEW, size: "70", kind: Kind::Flooded(EACH) };
            let mut meter = Meter::new(bench, self.cli.seconds);
            let mut session = match meter.open(SheaveNat, &case) {
                Ok(session) => session,
                Err(error) => {
                    self.miss(PART, SheaveNat, &error);
                    return Ok(());
                }
            };
            // Flows that the director knows nothing of would look as if the flood had ended them.
            let calm = session.trial(CALM)?;
            if calm.loss > MOST_LOST {
                let percent = calm.loss * 100.0;
                let why =
                    format!("{percent:.0} % do not come through without a flood: not all are established");
                self.miss(PART, SheaveNat, &Error::new(why));
                continue;
            }
            for _ in 0..AGAIN {
                let most = session.trial(0.0)?;
                session.turn_over();
                let flooded = session.trial(most.forwarded * OVERLOAD)?;
                session.turn_over();
                if self.counts(most.unfit.or(flooded.unfit)) {
                    alone.push(most.forwarded / 1e6);
                    offered.push(flooded.offered / most.forwarded);
                    left.push(flooded.forwarded * f64::from(1 + EACH) / flooded.offered);
                    break;
                }
            }
        }
        let who = SheaveNat.name();
        self.row(PART, who, "throughput without the flood", "Mpps", &Runs::of(alone));
        self.row(PART, who, "sent under the flood, to that", "times", &Runs::of(offered));
        let left = Runs::of(left);
        self.row(PART, who, "what gets through of established connections", "ratio", &left);
        let (name, against) =
            ("established connections under a SYN flood, what gets through".to_owned(), None);
        let better = Better::Higher;
        self.outcome(
            Goal { id: "S1c", name, unit: "ratio", against, target: 0.75, stretch: 0.9, better },
            &left,
        );
        Ok(())
    }
}
