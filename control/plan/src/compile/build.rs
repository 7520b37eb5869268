//! Services and destinations, written into a snapshot under their numbers.

use super::Compiler;
use super::wanted::{Plain, Terms};
use crate::environment::Link;
use crate::ids::DestKey;
use sheave_frame::PortId;
use sheave_pipeline::ids::{DestId, ServiceId};
use sheave_pipeline::snapshot::{
    Clamp, Destination, Health, Listen, Method, OnRemoval, Ports, Real, Service, SnapshotBuilder, Timeouts,
};
use sheave_pipeline::time::Seconds;
use sheave_proto::config;
use sheave_proto::wire::flow::Proto;
use std::net::IpAddr;

impl Compiler {
    pub(super) fn service(&mut self, builder: &mut SnapshotBuilder, service: &Plain<'_>, links: &[Link]) {
        let (vip, port, proto) = service.place;
        let (Some(id), Some(listen)) =
            (self.ids.service(&service.model.name), self.ids.listen(vip, port, proto))
        else {
            return;
        };
        builder.listen(listen, Listen { service: id, vip, ports: Ports::One(port), proto });
        for port in answering(service.model, vip, links) {
            builder.answer(port, vip);
        }
        let mut members = Vec::with_capacity(service.destinations.len());
        for wanted in &service.destinations {
            let dest = self.destination(builder, wanted.key(id), wanted.terms, proto, links);
            members.extend(dest.map(|dest| (dest, wanted.terms.weight)));
        }
        let pool = members.iter().map(|(dest, _)| *dest).collect();
        let pool_version = self.pool_version(id, service.scheduler, members);
        let timeouts = service.timeouts;
        builder.service(
            id,
            Service {
                name: service.model.name.clone(),
                scheduler: service.scheduler,
                timeouts: Timeouts {
                    tcp: seconds(timeouts.tcp),
                    tcp_fin: seconds(timeouts.tcp_fin),
                    udp: seconds(timeouts.udp),
                },
                on_removal: on_removal(service.model.on_removal),
                pool,
                pool_version,
                backup_below: service.model.backup_below.get(),
                sorry: None,
                slow_start: Seconds(0),
                mss_clamp: clamp(service.model.mss_clamp),
                sloppy: service.model.sloppy,
            },
        );
    }

    pub(super) fn destination(
        &self,
        builder: &mut SnapshotBuilder,
        key: DestKey,
        terms: Terms,
        proto: Proto,
        links: &[Link],
    ) -> Option<DestId> {
        let (id, generation) = self.ids.held(&key)?;
        let method = key.method();
        // An address of the director's own is reached through no interface.
        let own = links.iter().any(|link| link.addresses.iter().any(|a| a.addr() == key.addr));
        let next_hop = builder.next_hop(key.addr).filter(|_| !own);
        let real = match method {
            Method::Nat => self.ids.real(key.addr, key.port, proto),
            Method::DirectRoute | Method::Tunnel | Method::Local => None,
        };
        if let Some(real) = real {
            builder.real(real, Real { addr: key.addr, port: Some(key.port), proto });
        }
        let tunnel = match (method, &next_hop) {
            (Method::Tunnel, Some(hop)) => builder
                .source(hop.port, hop.neighbour)
                .zip(self.tunnels.get(&key))
                .and_then(|(source, carriage)| carriage.tunnel(source, key.addr)),
            _ => None,
        };
        builder.destination(
            id,
            Destination {
                service: ServiceId(key.service),
                addr: key.addr,
                port: Some(key.port),
                weight: terms.weight,
                limits: terms.limits,
                intent: terms.intent,
                health: Health::Up,
                backup: terms.backup,
                method,
                generation,
                real,
                next_hop,
                tunnel,
            },
        );
        Some(id)
    }
}

/// The interfaces on which a VIP is answered and announced: the one that the service names, or those with a
/// connected network over it.
fn answering(service: &config::Service, vip: IpAddr, links: &[Link]) -> Vec<PortId> {
    let over = |link: &&Link| match &service.interface {
        Some(name) => *name == link.name,
        None => link.addresses.iter().any(|network| network.contains(vip)),
    };
    links.iter().filter(over).map(|link| link.port).collect()
}

fn on_removal(policy: config::OnRemoval) -> OnRemoval {
    match policy {
        config::OnRemoval::Reset => OnRemoval::Reset,
        config::OnRemoval::Keep => OnRemoval::Keep,
        config::OnRemoval::Drop => OnRemoval::Drop,
    }
}

fn clamp(clamp: config::MssClamp) -> Clamp {
    match clamp {
        config::MssClamp::Auto => Clamp::Auto,
        config::MssClamp::Off => Clamp::Off,
        config::MssClamp::At(bytes) => Clamp::To(bytes),
    }
}

fn seconds(timeout: config::Timeout) -> Seconds {
    // 12 h at most, which fits.
    Seconds(u16::try_from(timeout.as_secs()).unwrap_or(u16::MAX))
}
