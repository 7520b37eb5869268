//! What is wanted of the services, with every default filled in and in the words of the data path.

use super::CompileError;
use super::carriage::Carriage;
use crate::desired::Desired;
use crate::ids::{DestKey, RealKey, method_of};
use sheave_pipeline::ids::ServiceId;
use sheave_pipeline::scheduler::{HashOptions, TableSize};
use sheave_pipeline::snapshot::{Draws, Intent, Limits, Method, SchedulerKind};
use sheave_proto::config;
use sheave_proto::wire::flow::Proto;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A service.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    pub(super) model: &'a config::Service,
    /// What it listens on, and behind that where the connections begin that its helper expects.
    pub(super) listens: Vec<config::Listen>,
    pub(super) timeouts: config::Timeouts,
    pub(super) scheduler: SchedulerKind,
    pub(super) destinations: Vec<Wanted>,
    pub(super) sorry: Option<Wanted>,
}

impl Plain<'_> {
    /// Its destinations, the sorry server too.
    pub(super) fn all(&self) -> impl Iterator<Item = &Wanted> {
        self.destinations.iter().chain(&self.sorry)
    }

    /// Whether connections of a destination that is taken out go on.
    pub(super) fn keeps(&self) -> bool {
        self.model.on_removal == config::OnRemoval::Keep && self.model.speaks(Proto::Tcp)
    }
}

/// A destination with its defaults filled in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) addr: IpAddr,
    /// None: each packet keeps its own.
    pub(super) port: Option<u16>,
    pub(super) method: Method,
    pub(super) terms: Terms,
    pub(super) carriage: Carriage,
}

/// On what terms a destination is given connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    pub(super) weight: u32,
    pub(super) limits: Limits,
    pub(super) intent: Intent,
    pub(super) backup: bool,
}

impl Wanted {
    pub(super) fn key(&self, service: ServiceId) -> DestKey {
        DestKey::new(service, self.addr, self.port, self.method)
    }
}

/// The names under which the replies of a NAT destination are known: one for each of its ports, as far as they can
/// be told, and one for all others.
pub(super) fn real_keys(key: &DestKey, service: &config::Service) -> BTreeSet<RealKey> {
    let port = |listen: &config::Listen| key.port.or_else(|| listen.ports.single());
    let own = service.listens.iter().map(|listen| (key.addr, port(listen), listen.proto));
    let expected = service.helper_listens().into_iter().map(|listen| (key.addr, None, listen.proto));
    own.chain(expected).collect()
}

pub(super) fn plain_services(desired: &Desired) -> Result<Vec<Plain<'_>>, CompileError> {
    let config = desired.config();
    let refused = |service: &config::Service| CompileError::NotValidated { object: service.label() };
    config.services.iter().map(|service| plain(config, service).ok_or_else(|| refused(service))).collect()
}

fn plain<'a>(config: &config::Config, service: &'a config::Service) -> Option<Plain<'a>> {
    let wanted = |destination: &config::Destination| {
        let config::DestAddr { addr, port } = service.full_address(&destination.address);
        let method = method_of(service.forward_of(destination));
        Wanted { addr, port, method, terms: terms(destination), carriage: Carriage::of(service, destination) }
    };
    Some(Plain {
        model: service,
        listens: service.listens.iter().copied().chain(service.helper_listens()).collect(),
        timeouts: config.timeouts_of(service),
        scheduler: scheduler(service)?,
        destinations: service.destinations.iter().map(wanted).collect(),
        sorry: service.sorry.map(|sorry| wanted(&sorry.destination())),
    })
}

fn terms(destination: &config::Destination) -> Terms {
    Terms {
        weight: destination.weight.get(),
        limits: Limits {
            upper: destination.upper_threshold,
            lower: destination.lower_threshold,
            connections: destination.connection_limit,
        },
        intent: match destination.state {
            config::Intent::Ready => Intent::Ready,
            config::Intent::Drain => Intent::Drain,
            config::Intent::Maint => Intent::Maint,
        },
        backup: destination.backup,
    }
}

fn scheduler(service: &config::Service) -> Option<SchedulerKind> {
    use config::SchedulerFlag::{MhFallback, MhPort, ShFallback, ShPort};
    let options = |port, fallback| HashOptions {
        port: service.scheduler_flags.contains(&port),
        fallback: service.scheduler_flags.contains(&fallback),
    };
    Some(match service.scheduler {
        config::Scheduler::Rr => SchedulerKind::Rr,
        config::Scheduler::Wrr => SchedulerKind::Wrr,
        config::Scheduler::Lc => SchedulerKind::Lc,
        config::Scheduler::Wlc => SchedulerKind::Wlc,
        config::Scheduler::Lblc => SchedulerKind::Lblc,
        config::Scheduler::Lblcr => SchedulerKind::Lblcr,
        config::Scheduler::Dh => SchedulerKind::Dh,
        config::Scheduler::Sh => SchedulerKind::Sh(options(ShPort, ShFallback)),
        config::Scheduler::Mh => {
            SchedulerKind::Mh(options(MhPort, MhFallback), TableSize::new(service.mh_table().get())?)
        }
        config::Scheduler::Source => SchedulerKind::Source,
        config::Scheduler::Sed => SchedulerKind::Sed,
        config::Scheduler::Nq => SchedulerKind::Nq,
        config::Scheduler::Fo => SchedulerKind::Fo,
        config::Scheduler::Ovf => SchedulerKind::Ovf,
        config::Scheduler::Twos => SchedulerKind::Twos,
        config::Scheduler::Random => SchedulerKind::Random(Draws::new(service.draws().get())?),
        config::Scheduler::First => SchedulerKind::First,
        config::Scheduler::Lrt => SchedulerKind::Lrt,
    })
}
