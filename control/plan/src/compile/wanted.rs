//! What is wanted of the services, with every default filled in and in the words of the data path.

use super::CompileError;
use crate::desired::Desired;
use crate::ids::{DestKey, Place};
use sheave_pipeline::ids::ServiceId;
use sheave_pipeline::scheduler::{HashOptions, TableSize};
use sheave_pipeline::snapshot::{Method, SchedulerKind};
use sheave_proto::config;
use std::net::IpAddr;

/// A service of the kind that the data path serves so far: one listen with one port.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    pub(super) model: &'a config::Service,
    pub(super) timeouts: config::Timeouts,
    pub(super) place: Place,
    pub(super) scheduler: SchedulerKind,
    pub(super) destinations: Vec<Wanted>,
}

/// A destination with its defaults filled in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) addr: IpAddr,
    pub(super) port: u16,
    pub(super) method: Method,
    pub(super) weight: u32,
}

impl Wanted {
    pub(super) fn key(&self, service: ServiceId) -> DestKey {
        DestKey::new(service, self.addr, self.port, self.method)
    }
}

pub(super) fn plain_services(desired: &Desired) -> Result<Vec<Plain<'_>>, CompileError> {
    let config = desired.config();
    let refused = |service: &config::Service| CompileError::NotValidated { object: service.label() };
    config.services.iter().map(|service| plain(config, service).ok_or_else(|| refused(service))).collect()
}

fn plain<'a>(config: &config::Config, service: &'a config::Service) -> Option<Plain<'a>> {
    let [listen] = service.listens[..] else { return None };
    let place = (listen.addr, listen.ports.single()?, listen.proto);
    let destinations = service.destinations.iter().map(|destination| {
        Some(Wanted {
            addr: destination.address.addr,
            port: destination.address.port_under(listen.ports)?,
            method: method(service.forward_of(destination))?,
            weight: destination.weight.get(),
        })
    });
    Some(Plain {
        model: service,
        timeouts: config.timeouts_of(service),
        place,
        scheduler: scheduler(service.scheduler)?,
        destinations: destinations.collect::<Option<_>>()?,
    })
}

fn method(forward: config::Forward) -> Option<Method> {
    match forward {
        config::Forward::Nat => Some(Method::Nat),
        config::Forward::Dr => Some(Method::DirectRoute),
        config::Forward::Tun => Some(Method::Tunnel),
        config::Forward::Local => None,
    }
}

fn scheduler(scheduler: config::Scheduler) -> Option<SchedulerKind> {
    match scheduler {
        config::Scheduler::Rr => Some(SchedulerKind::Rr),
        config::Scheduler::Wrr => Some(SchedulerKind::Wrr),
        config::Scheduler::Lc => Some(SchedulerKind::Lc),
        config::Scheduler::Wlc => Some(SchedulerKind::Wlc),
        config::Scheduler::Dh => Some(SchedulerKind::Dh),
        config::Scheduler::Sh => Some(SchedulerKind::Sh(HashOptions::default())),
        config::Scheduler::Mh => Some(SchedulerKind::Mh(HashOptions::default(), TableSize::default())),
        config::Scheduler::Source => Some(SchedulerKind::Source),
        config::Scheduler::Sed => Some(SchedulerKind::Sed),
        config::Scheduler::Nq => Some(SchedulerKind::Nq),
        config::Scheduler::Fo => Some(SchedulerKind::Fo),
        config::Scheduler::Ovf => Some(SchedulerKind::Ovf),
        config::Scheduler::Twos => Some(SchedulerKind::Twos),
        _ => None,
    }
}
