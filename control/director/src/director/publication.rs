//! From the desired state and the environment to what the workers read and the kernel steers.

use super::Director;
use crate::surroundings;
use sheave_io::{Encapsulation, Endpoint, FloodLimits, Rate, SteeringError, SteeringSets, Transport};
use sheave_pipeline::{Snapshot, Time};
use sheave_plan::{Carrier, Steered};
use sheave_proto::config::Flood;
use sheave_proto::wire::flow::Proto;
use std::num::NonZeroU32;

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
        tell(self.serving.steering.withdraw(&sets));
        self.epoch = snapshot.epoch;
        self.statistics.begin(self.compiler.fresh());
        self.compiler.fresh().begin(&snapshot, &self.dataplane.shared.live, self.now);
        self.statistics.forget(&snapshot);
        self.dataplane.shared.live.mark(&snapshot);
        self.dataplane.publisher.publish(Box::new(snapshot));
        tell(self.serving.steering.apply(&sets));
        self.announcer.up(places, self.now);
    }

    /// Puts the limits on new connections into force.
    pub(super) fn limit_floods(&mut self) {
        tell(self.serving.steering.limit(&limits(&self.desired.config().director.flood)));
    }

    fn steered(&self, snapshot: &Snapshot) -> SteeringSets {
        let Steered { services, vips, reals, mut own, tunnel_sources, tunnels } = Steered::of(snapshot);
        // Also addresses of interfaces that are not served: what real servers send there is the kernel's.
        own.extend(surroundings::own_addresses(self.netlink.view()).difference(&vips));
        SteeringSets {
            services: services.into_iter().map(endpoint).collect(),
            vips,
            reals: reals.into_iter().map(endpoint).collect(),
            own,
            tunnel_sources,
            tunnels: tunnels.into_iter().map(|(to, carrier)| (to, encapsulation(carrier))).collect(),
        }
    }
}

fn tell(outcome: Result<(), SteeringError>) {
    if let Err(e) = outcome {
        tracing::error!("steering: {e}");
    }
}

fn endpoint((addr, port, proto): sheave_plan::Endpoint) -> Endpoint {
    let transport = match proto {
        Proto::Tcp => Transport::Tcp,
        Proto::Udp => Transport::Udp,
    };
    Endpoint { addr, port, transport }
}

fn encapsulation(carrier: Carrier) -> Encapsulation {
    match carrier {
        Carrier::Ip => Encapsulation::Ip,
        Carrier::Gre => Encapsulation::Gre,
        Carrier::Gue(port) => Encapsulation::Gue(port),
    }
}

fn limits(flood: &Flood) -> FloodLimits {
    // Without a rate there is no limit; without a burst it is a second's worth.
    let rate = |per_second, burst| {
        let per_second = NonZeroU32::new(per_second)?;
        Some(Rate { per_second, burst: NonZeroU32::new(burst).unwrap_or(per_second) })
    };
    FloodLimits {
        source: rate(flood.source_rate, flood.source_burst),
        vip: rate(flood.vip_rate, flood.vip_burst),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_configuration() {
        let number = |n| NonZeroU32::new(n).unwrap();
        assert_eq!(limits(&Flood::default()), FloodLimits::default());
        let flood =
            Flood { source_rate: 10, source_burst: 50, vip_rate: 1000, vip_burst: 0, ..Flood::default() };
        let (source, vip) = ((number(10), number(50)), (number(1000), number(1000)));
        let rate = |(per_second, burst)| Some(Rate { per_second, burst });
        assert_eq!(limits(&flood), FloodLimits { source: rate(source), vip: rate(vip) });
        let bursts = Flood { source_burst: 5, vip_burst: 5, ..Flood::default() };
        assert_eq!(limits(&bursts), FloodLimits::default(), "a burst without a rate limits nothing");
    }
}
