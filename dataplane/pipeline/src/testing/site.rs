//! The network and its services, and the snapshot of them.

use crate::ids::{DestId, Generation, ListenId, RealId, ServiceId};
use crate::routes::{Route, Routes};
use crate::scheduler::Tables;
use crate::snapshot::{
    Destination as Snapped, Health, Intent, Interface, Limits, Listen, Method, OnRemoval, Real,
    SchedulerKind, Service as SnappedService, Snapshot, SnapshotBuilder, Timeouts,
};
use crate::time::Seconds;
use sheave_frame::PortId;
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr};

/// The interface towards the clients.
pub const CLIENT_SIDE: PortId = PortId(0);
/// The interface towards the real servers.
pub const SERVER_SIDE: PortId = PortId(1);
/// The router towards the clients.
pub const ROUTER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// The director's own addresses, by interface.
pub const DIRECTOR: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 19, 1, 1)];
/// The port of real servers under NAT.
pub const NAT_REAL_PORT: u16 = 8080;

const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// The director's hardware address on an interface.
pub const fn mac_of(port: PortId) -> Mac {
    Mac([2, 0, 0, 0, 0xd, if port.0 == 0 { 0 } else { 1 }])
}

/// The `n`th VIP.
pub const fn vip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, 100 + n)
}

/// The `n`th real server.
pub const fn real(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 1, 10 + n)
}

/// A service with one listen.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its VIP.
    pub vip: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Its protocol.
    pub proto: Proto,
    /// Its scheduler.
    pub scheduler: SchedulerKind,
    /// Its timeouts.
    pub timeouts: Timeouts,
    /// What becomes of connections of removed destinations.
    pub on_removal: OnRemoval,
    /// Its destinations.
    pub destinations: Vec<Destination>,
    /// Backups take part when fewer than this many others may be used.
    pub backup_below: u16,
    /// Which of its destinations is the sorry server.
    pub sorry: Option<DestId>,
    /// How long destinations take to reach their weight.
    pub slow_start: Seconds,
    /// Whether it is gone.
    pub removed: bool,
}

/// A destination.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its id.
    pub id: DestId,
    /// Its address.
    pub addr: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Its weight.
    pub weight: u32,
    /// How many connections it may have.
    pub limits: Limits,
    /// What the operator wants of it.
    pub intent: Intent,
    /// What health checks say of it.
    pub health: Health,
    /// Whether it waits until others are missing.
    pub backup: bool,
    /// How packets reach it.
    pub method: Method,
    /// Which life it is in.
    pub generation: Generation,
    /// Whether it is gone.
    pub removed: bool,
    /// Whether it is kept for its connections only.
    pub unscheduled: bool,
}

/// The network: change it, then take a [`Site::snapshot`].
#[derive(Debug, Clone)]
pub struct Site {
    /// The number of the last snapshot.
    pub epoch: u64,
    /// Services; the id is the place.
    pub services: Vec<Service>,
    /// MTU of both interfaces.
    pub mtu: [u16; 2],
    /// Whether real servers' hardware addresses are known.
    pub neighbours: bool,
    /// Whether there is a way to the clients.
    pub default_route: bool,
    /// Whether the interfaces have addresses.
    pub addresses: bool,
    /// Tables of hash schedulers that the next snapshot takes over as far as they stay the same.
    pub tables: Tables,
    next_destination: u16,
}

impl Default for Site {
    fn default() -> Site {
        Site {
            epoch: 0,
            services: Vec::new(),
            mtu: [1500; 2],
            neighbours: true,
            default_route: true,
            addresses: true,
            tables: Tables::default(),
            next_destination: 0,
        }
    }
}

impl Site {
    /// A site with one service on VIP 0, with real servers 0.. that all have weight 1.
    pub fn with(proto: Proto, method: Method, reals: u8) -> Site {
        let mut site = Site::default();
        site.add(vip(0), 80, proto, method, reals);
        site
    }

    /// Adds a service with rr and `reals` real servers.
    pub fn add(&mut self, vip: Ipv4Addr, port: u16, proto: Proto, method: Method, reals: u8) -> &mut Service {
        let destinations = (0..reals).map(|n| self.destination(n, port, method)).collect();
        self.services.push(Service {
            vip,
            port,
            proto,
            scheduler: SchedulerKind::Rr,
            timeouts: Timeouts { tcp: Seconds(900), tcp_fin: Seconds(120), udp: Seconds(300) },
            on_removal: OnRemoval::Reset,
            destinations,
            backup_below: 1,
            sorry: None,
            slow_start: Seconds(0),
            removed: false,
        });
        let last = self.services.len() - 1;
        &mut self.services[last]
    }

    /// A destination at the `n`th real server with an id of its own.
    pub fn destination(&mut self, n: u8, service_port: u16, method: Method) -> Destination {
        let id = DestId(self.next_destination);
        self.next_destination += 1;
        Destination {
            id,
            addr: real(n),
            port: if method == Method::Nat { NAT_REAL_PORT } else { service_port },
            weight: 1,
            limits: Limits::default(),
            intent: Intent::Ready,
            health: Health::Up,
            backup: false,
            method,
            generation: Generation(1),
            removed: false,
            unscheduled: false,
        }
    }

    /// The next snapshot.
    pub fn snapshot(&mut self) -> Snapshot {
        self.epoch += 1;
        let mut builder = SnapshotBuilder::new(self.epoch);
        builder.reuse(self.tables.clone());
        self.network(&mut builder);
        let mut reals = Vec::new();
        for (id, service) in (0u16..).zip(&self.services).filter(|(_, s)| !s.removed) {
            self.service(&mut builder, id, service, &mut reals);
        }
        builder.build()
    }

    fn network(&self, builder: &mut SnapshotBuilder) {
        let mut routes = Routes::default();
        for port in [CLIENT_SIDE, SERVER_SIDE] {
            let own = DIRECTOR[port.index()];
            builder.interface(
                port,
                Interface {
                    name: format!("d{}", port.0),
                    mac: mac_of(port),
                    mtu: self.mtu[port.index()],
                    addresses: if self.addresses { vec![own] } else { Vec::new() },
                },
            );
            routes.add(own.into(), 24, Route { port, via: None });
        }
        if self.default_route {
            routes.add(
                Ipv4Addr::UNSPECIFIED.into(),
                0,
                Route { port: CLIENT_SIDE, via: Some(ROUTER.into()) },
            );
        }
        builder.routes(routes);
        builder.neighbour(CLIENT_SIDE, ROUTER.into(), ROUTER_MAC);
        if self.neighbours {
            for n in 0..40 {
                builder.neighbour(SERVER_SIDE, real(n).into(), Mac([2, 0, 0, 0, 1, 10 + n]));
            }
        }
    }

    fn service(&self, builder: &mut SnapshotBuilder, id: u16, service: &Service, reals: &mut Vec<Real>) {
        let here = service.destinations.iter().filter(|d| !d.removed);
        let proto = service.proto;
        for d in here.clone() {
            let real = Real { addr: d.addr.into(), port: d.port, proto };
            let real_id = (d.method == Method::Nat).then(|| {
                let place = reals.iter().position(|r| *r == real).unwrap_or_else(|| {
                    reals.push(real);
                    reals.len() - 1
                });
                RealId(u16::try_from(place).expect("few real servers"))
            });
            if let Some(real_id) = real_id {
                builder.real(real_id, real);
            }
            let next_hop = builder.next_hop(d.addr.into());
            let source = next_hop.and_then(|hop| builder.source(hop.port)).map(IpAddr::V4);
            builder.destination(
                d.id,
                Snapped {
                    service: ServiceId(id),
                    addr: d.addr.into(),
                    port: d.port,
                    weight: d.weight,
                    limits: d.limits,
                    intent: d.intent,
                    health: d.health,
                    backup: d.backup,
                    method: d.method,
                    generation: d.generation,
                    real: real_id,
                    next_hop,
                    tunnel_source: source,
                },
            );
        }
        let weights = here.clone().map(|d| d.weight);
        let scheduled = |d: &&Destination| !d.unscheduled && service.sorry != Some(d.id);
        let pool: Vec<DestId> = here.filter(scheduled).map(|d| d.id).collect();
        // The same pool has the same version, another one nearly always another.
        let counts = service.scheduler != SchedulerKind::Rr;
        let version = weights
            .zip(&pool)
            .filter(|_| counts)
            .fold(1u32, |v, (w, id)| v.wrapping_mul(31).wrapping_add(w ^ (u32::from(id.0) << 8)));
        builder.service(
            ServiceId(id),
            SnappedService {
                name: format!("{}:{}/{}", service.vip, service.port, service.proto),
                scheduler: service.scheduler,
                timeouts: service.timeouts,
                on_removal: service.on_removal,
                pool,
                pool_version: u16::try_from(version & 0xffff).unwrap_or_default(),
                backup_below: service.backup_below,
                sorry: service.sorry,
                slow_start: service.slow_start,
            },
        );
        builder.listen(
            ListenId(id),
            Listen { service: ServiceId(id), vip: service.vip.into(), port: service.port, proto },
        );
        builder.answer(CLIENT_SIDE, service.vip.into());
    }
}
