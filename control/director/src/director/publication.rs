//! From the desired state and the environment to what the workers read and the kernel steers.

use super::Director;
use crate::surroundings;
use sheave_io::{Endpoint, SteeringSets};
use sheave_pipeline::{Snapshot, Time};
use sheave_plan::Steered;

/// Publishing takes at most this part of the control thread's time: however fast neighbours come and go, clients are
/// answered and announcements made.
const SHARE: u64 = 4;

impl Director {
    /// Compiles what is wanted for the environment as it is now, and publishes it.
    pub(crate) fn refresh(&mut self) {
        let began = self.dataplane.clock.now();
        self.stale = false;
        self.environment = surroundings::environment(self.netlink.view(), &self.serving.served());
        match self.compiler.compile(&self.desired, &self.environment, self.epoch + 1) {
            Ok(snapshot) => self.publish(snapshot),
            Err(e) => tracing::error!("no snapshot, the one before stays: {e}"),
        }
        let ended = self.dataplane.clock.now();
        self.next_refresh = ended.after((ended.0 - began.0) * (SHARE - 1));
    }

    /// When [`Director::refresh`] is due, if it is.
    pub(crate) fn refresh_due(&self) -> Option<Time> {
        self.stale.then_some(self.next_refresh)
    }

    pub(super) fn publish(&mut self, snapshot: Snapshot) {
        let sets = self.steered(&snapshot);
        let places: Vec<_> = snapshot.announcements().collect();
        let before = self.serving.steering.sets();
        let both = in_both(before, &sets);
        if both != *before {
            self.steer(&both);
        }
        self.epoch = snapshot.epoch;
        self.statistics.begin(self.compiler.fresh());
        self.statistics.forget(&snapshot);
        self.dataplane.publisher.publish(Box::new(snapshot));
        self.steer(&sets);
        self.announcer.up(places, self.now);
    }

    fn steer(&mut self, sets: &SteeringSets) {
        if let Err(e) = self.serving.steering.apply(sets) {
            tracing::error!("steering: {e}");
        }
    }

    fn steered(&self, snapshot: &Snapshot) -> SteeringSets {
        let Steered { services, vips, reals, mut own } = Steered::of(snapshot);
        // Also addresses of interfaces that are not served: what real servers send there is the kernel's.
        own.extend(surroundings::own_addresses(self.netlink.view()).difference(&vips));
        let endpoint = |(addr, port, proto): sheave_plan::Endpoint| Endpoint::new(addr, port, proto.number());
        SteeringSets {
            services: services.into_iter().map(endpoint).collect(),
            vips: vips.into_iter().collect(),
            reals: reals.into_iter().map(endpoint).collect(),
            own: own.into_iter().collect(),
        }
    }
}

fn in_both(a: &SteeringSets, b: &SteeringSets) -> SteeringSets {
    SteeringSets {
        services: a.services.intersection(&b.services).copied().collect(),
        vips: a.vips.intersection(&b.vips).copied().collect(),
        reals: a.reals.intersection(&b.reals).copied().collect(),
        // What is the host's own stays the kernel's until nothing of it is steered any more.
        own: a.own.clone(),
    }
}
