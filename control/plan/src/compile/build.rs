//! Services and destinations, written into a snapshot under their numbers.

use super::Compiler;
use super::wanted::{Plain, Terms, real_keys};
use crate::environment::Link;
use crate::ids::DestKey;
use sheave_frame::PortId;
use sheave_pipeline::helper::Helper;
use sheave_pipeline::ids::{DestId, ServiceId};
use sheave_pipeline::snapshot::{
    Clamp, Destination, Health, Listen, Method, OnRemoval, Ports, Service, SnapshotBuilder, Timeouts,
};
use sheave_pipeline::sticky::Persistence;
use sheave_pipeline::time::Seconds;
use sheave_proto::config;
use std::net::IpAddr;

impl Compiler {
    pub(super) fn service(&mut self, builder: &mut SnapshotBuilder, service: &Plain<'_>, links: &[Link]) {
        let Some(id) = self.ids.service(&service.model.name) else { return };
        if let Some(config::Helper::Ftp) = service.model.helper {
            builder.help(id, Helper::Ftp);
        }
        for wanted in &service.listens {
            let config::Listen { addr: vip, ports, proto } = *wanted;
            let Some(listen) = self.ids.listen(wanted) else { return };
            builder.listen(listen, Listen { service: id, vip, ports: ports_of(ports), proto });
            if !service.model.listens.contains(wanted) {
                builder.expect_at(listen);
            }
            for port in answering(service.model, vip, links) {
                builder.answer(port, vip);
            }
        }
        let mut members = Vec::with_capacity(service.destinations.len());
        for wanted in &service.destinations {
            let dest = self.destination(builder, wanted.key(id), wanted.terms, service.model, links);
            members.extend(dest.map(|dest| (dest, wanted.terms.weight)));
        }
        let sorry = service
            .sorry
            .and_then(|sorry| self.destination(builder, sorry.key(id), sorry.terms, service.model, links));
        if let Some(config::Persistence { timeout, netmask: prefix }) = service.model.persistence {
            builder.persist(id, Persistence { timeout: seconds(timeout), prefix });
        }
        if service.model.one_packet {
            builder.send_once(id);
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
                sorry,
                slow_start: service.model.slow_start.map_or(Seconds(0), |s| {
                    // 12 h at most, which fits.
                    Seconds(u16::try_from(s.as_secs()).unwrap_or(u16::MAX))
                }),
                mss_clamp: clamp(service.model.mss_clamp),
                sloppy: service.model.sloppy,
                syn_proxy: service.model.syn_proxy,
            },
        );
    }

    pub(super) fn destination(
        &self,
        builder: &mut SnapshotBuilder,
        key: DestKey,
        terms: Terms,
        service: &config::Service,
        links: &[Link],
    ) -> Option<DestId> {
        let (id, generation) = self.ids.held(&key)?;
        let method = key.method();
        // An address of the director's own is reached through no interface.
        let own = links.iter().any(|link| link.addresses.iter().any(|a| a.addr() == key.addr));
        let next_hop = builder.next_hop(key.addr).filter(|_| !own);
        let mut real = None;
        if method == Method::Nat {
            let names = real_keys(&key, service);
            for (addr, port, proto) in names.iter().copied() {
                let Some(id) = self.ids.real(addr, port, proto) else { continue };
                real = port.and(Some(id)).filter(|_| names.len() == 1);
            }
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
                port: key.port,
                weight: terms.weight,
                limits: terms.limits,
                intent: terms.intent,
                health: Health::Up,
                backup: terms.backup,
                honours_templates: self.honoured.contains(&id),
                kept: self.ids.kept(&key),
                reset: self.reset.get(&key).copied().unwrap_or_default(),
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

fn ports_of(ports: config::Ports) -> Ports {
    match ports {
        config::Ports::One(port) => Ports::One(port),
        config::Ports::Range(first, last) => Ports::Range(first, last),
        config::Ports::Any => Ports::Any,
    }
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
