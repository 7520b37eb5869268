//! Choices against the formulas, written down another way.

mod eligible;
mod hashed;
mod load;
mod locality;
mod maglev;
mod random;
mod slow_start;
mod turns;

use super::{Excluded, HashOptions, Pick, Pool, Rng, TableSize};
use crate::ids::{DestId, ServiceId};
use crate::live::Live;
use crate::snapshot::{Draws, Method, SchedulerKind, Snapshot};
use crate::testing::{Destination, Service, Site};
use crate::time::Time;
use sheave_proto::wire::flow::Proto;
use std::net::Ipv4Addr;

/// A service and everything that its scheduler looks at.
struct Bench {
    site: Site,
    snapshot: Snapshot,
    live: Live,
    excluded: Excluded,
    rng: Rng,
    now: Time,
    flow: Pick,
}

const FALLBACK: HashOptions = HashOptions { port: true, fallback: true };

/// Every hash scheduler but dh, which has one destination for each VIP.
fn hashed(options: HashOptions) -> [SchedulerKind; 3] {
    [
        SchedulerKind::Sh(options),
        SchedulerKind::Mh(options, TableSize::new(1021).expect("a size")),
        SchedulerKind::Source,
    ]
}

/// Every scheduler that finds a destination whenever one may be used.
fn all() -> Vec<SchedulerKind> {
    use SchedulerKind::{First, Fo, Lblc, Lblcr, Lc, Lrt, Nq, Ovf, Random, Rr, Sed, Twos, Wlc, Wrr};
    let mut all =
        vec![Rr, Wrr, Lc, Wlc, Lblc, Lblcr, Sed, Nq, Fo, Ovf, Twos, Random(Draws::default()), First, Lrt];
    all.extend(hashed(FALLBACK));
    all
}

impl Bench {
    fn new(scheduler: SchedulerKind, weights: &[u32]) -> Bench {
        let reals = u8::try_from(weights.len()).expect("few");
        let mut site = Site::with(Proto::Tcp, Method::DirectRoute, reals);
        site.services[0].scheduler = scheduler;
        let flow =
            Pick { client: Ipv4Addr::new(192, 0, 2, 1).into(), client_port: 1024, vip: site.services[0].vip };
        let mut bench = Bench {
            snapshot: site.snapshot(),
            site,
            live: Live::new(),
            excluded: Excluded::none(),
            rng: Rng::new(7, 0),
            now: Time(Time::SECOND),
            flow,
        };
        bench.weigh(weights);
        bench
    }

    fn weigh(&mut self, weights: &[u32]) {
        self.change(|service| {
            for (destination, weight) in service.destinations.iter_mut().zip(weights) {
                destination.weight = *weight;
            }
        });
    }

    fn change(&mut self, change: impl FnOnce(&mut Service)) {
        change(&mut self.site.services[0]);
        self.snapshot = self.site.snapshot();
    }

    fn change_one(&mut self, place: usize, change: impl FnOnce(&mut Destination)) {
        self.change(|service| change(&mut service.destinations[place]));
    }

    fn pick(&mut self) -> Option<DestId> {
        let Bench { snapshot, live, excluded, rng, now, flow, .. } = self;
        Pool::new(snapshot, ServiceId(0), live, *now, excluded).expect("a service").pick(flow, rng)
    }

    /// The next choices as letters: A is the first destination.
    fn picks(&mut self, n: usize) -> String {
        (0..n).map(|_| letter(self.pick())).collect()
    }

    /// The next choices, each of which opens a connection that stays active.
    fn opens(&mut self, n: usize) -> String {
        let mut open = || {
            let id = self.pick();
            if let Some(id) = id {
                self.live.destination(id).enter(true);
            }
            letter(id)
        };
        (0..n).map(|_| open()).collect()
    }

    /// How often each destination is chosen out of `n` times.
    fn shares(&mut self, n: u32) -> Vec<u32> {
        let mut shares = vec![0; self.site.services[0].destinations.len()];
        (0..n).filter_map(|_| self.pick()).for_each(|id| shares[id.index()] += 1);
        shares
    }

    fn load(&self, id: u16, active: u32, inactive: u32) {
        (0..active).for_each(|_| self.live.destination(DestId(id)).enter(true));
        (0..inactive).for_each(|_| self.live.destination(DestId(id)).enter(false));
    }

    fn unload(&self, id: u16, active: u32) {
        (0..active).for_each(|_| self.live.destination(DestId(id)).leave(true));
    }
}

fn letter(id: Option<DestId>) -> char {
    id.map_or('-', |id| char::from(b'A' + u8::try_from(id.0).expect("few")))
}
