//! The network and its services, and the snapshot of them.

use crate::helper::Helper;
use crate::ids::{DestId, Generation, ListenId, RealId, ServiceId};
use crate::routes::{Route, Routes};
use crate::scheduler::Tables;
use crate::snapshot::{
    Clamp, Destination as Snapped, Health, Intent, Interface, Limits, Listen, Lives, Method, OnRemoval,
    Ports, Real, SchedulerKind, Service as SnappedService, Snapshot, SnapshotBuilder, Timeouts, Tunnel,
};
use crate::sticky::Persistence;
use crate::time::Seconds;
use sheave_frame::PortId;
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tunnel::Encapsulation;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The interface towards the clients.
pub const CLIENT_SIDE: PortId = PortId(0);
/// The interface towards the real servers.
pub const SERVER_SIDE: PortId = PortId(1);
/// The router towards the clients.
pub const ROUTER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// The director's own addresses, by interface.
pub const DIRECTOR: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 19, 1, 1)];
/// The same for IPv6.
pub const DIRECTOR_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0x19, 0, 0, 0, 0, 1)];
/// The port of real servers under NAT.
pub const NAT_REAL_PORT: u16 = 8080;

/// Real servers whose hardware addresses are known.
pub(crate) const REALS: u8 = 120;

const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 2);

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

/// The `n`th VIP of IPv6.
pub const fn vip6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 1, n as u16)
}

/// The `n`th real server's address of IPv6.
pub const fn real6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x19, 0, 0, 0, 1, n as u16)
}

/// A service.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its VIP.
    pub vip: IpAddr,
    /// Its ports.
    pub ports: Ports,
    /// Its protocol.
    pub proto: Proto,
    /// What it listens on beside: it is a bundle then.
    pub more: Vec<(IpAddr, Ports, Proto)>,
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
    /// What SYNs may announce.
    pub mss_clamp: Clamp,
    /// Whether any TCP packet but a reset opens a connection.
    pub sloppy: bool,
    /// Whether SYNs are answered with cookies.
    pub syn_proxy: bool,
    /// Whether it is gone.
    pub removed: bool,
}

impl Service {
    /// Everything that it listens on.
    pub fn listens(&self) -> Vec<(IpAddr, Ports, Proto)> {
        let first = (self.vip, self.ports, self.proto);
        std::iter::once(first).chain(self.more.iter().copied()).collect()
    }
}

/// A destination.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its id.
    pub id: DestId,
    /// Its address.
    pub addr: IpAddr,
    /// Its port; `None`: each packet keeps its own.
    pub port: Option<u16>,
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
    /// TUN: what lies between the outer header and the packet.
    pub encapsulation: Encapsulation,
    /// TUN: whether the outer packet may not be fragmented where the inner one may not.
    pub discovers_mtu: bool,
    /// Which life it is in.
    pub generation: Generation,
    /// Which lives of it were told to end with a reset.
    pub reset: Lives,
    /// Which lives of it have TCP connections that go on.
    pub kept: Lives,
    /// Whether it is gone.
    pub removed: bool,
    /// Whether it is kept for its connections only.
    pub unscheduled: bool,
}

impl Destination {
    /// Begins another life of it. TCP connections of those before go on if it `keeps` them.
    pub fn begin_again(&mut self, keeps: bool) {
        let count = if keeps { self.kept.count + 1 } else { 0 };
        self.kept = Lives { last: self.generation, count };
        self.generation = Generation(self.generation.0.wrapping_add(1));
    }
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
    /// New connections that a worker takes entries for in a second; 0 is no bound.
    pub new_connections: u32,
    /// Connections that may have begun without being established.
    pub half_open: u64,
    /// Services with an FTP helper.
    pub ftp: Vec<u16>,
    /// Services that keep their clients with their destinations.
    pub persistent: Vec<(u16, Persistence)>,
    /// Services that schedule each datagram by itself.
    pub one_packet: Vec<u16>,
    /// Tables of hash schedulers that the next snapshot takes over as far as they stay the same.
    pub tables: Tables,
    next_destination: u16,
    /// What replies come from; the id is the place, for good.
    reals: Vec<Real>,
    /// What services listen on behind their first listen; the id follows from the place, for good. `None` is gone: one
    /// that comes again is another one.
    behind: Vec<Option<Behind>>,
}

/// A service, and what it listens on.
type Behind = (u16, (IpAddr, Ports, Proto));

/// The number of the first listen that is not the first of its service.
const BEHIND: usize = 4000;

impl Default for Site {
    fn default() -> Site {
        Site {
            epoch: 0,
            services: Vec::new(),
            mtu: [1500; 2],
            neighbours: true,
            default_route: true,
            addresses: true,
            new_connections: 0,
            half_open: u64::MAX,
            ftp: Vec::new(),
            persistent: Vec::new(),
            one_packet: Vec::new(),
            tables: Tables::default(),
            next_destination: 0,
            reals: Vec::new(),
            behind: Vec::new(),
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
    pub fn add(
        &mut self,
        vip: impl Into<IpAddr>,
        port: u16,
        proto: Proto,
        method: Method,
        reals: u8,
    ) -> &mut Service {
        let vip = vip.into();
        let destinations = (0..reals).map(|n| self.destination_for(vip, n, port, method)).collect();
        self.services.push(Service {
            vip,
            ports: Ports::One(port),
            proto,
            more: Vec::new(),
            scheduler: SchedulerKind::Rr,
            timeouts: Timeouts { tcp: Seconds(900), tcp_fin: Seconds(120), udp: Seconds(300) },
            on_removal: OnRemoval::Reset,
            destinations,
            backup_below: 1,
            sorry: None,
            slow_start: Seconds(0),
            mss_clamp: Clamp::Auto,
            sloppy: false,
            syn_proxy: false,
            removed: false,
        });
        let last = self.services.len() - 1;
        &mut self.services[last]
    }

    /// Takes over the numbers that another state of this site has dealt out.
    pub(crate) fn keep_ids(&mut self, other: &Site) {
        self.epoch = other.epoch;
        self.next_destination = self.next_destination.max(other.next_destination);
        self.reals.clone_from(&other.reals);
        self.behind.clone_from(&other.behind);
    }

    /// A site with one service on VIP 0 of IPv6, likewise.
    pub fn with_v6(proto: Proto, method: Method, reals: u8) -> Site {
        let mut site = Site::default();
        site.add(vip6(0), 80, proto, method, reals);
        site
    }

    /// A destination at the `n`th real server with an id of its own.
    pub fn destination(&mut self, n: u8, service_port: u16, method: Method) -> Destination {
        self.destination_for(vip(0).into(), n, service_port, method)
    }

    /// The same with an address of the family of `vip`.
    pub fn destination_for(&mut self, vip: IpAddr, n: u8, service_port: u16, method: Method) -> Destination {
        let id = DestId(self.next_destination);
        self.next_destination += 1;
        Destination {
            id,
            addr: if vip.is_ipv4() { real(n).into() } else { real6(n).into() },
            port: Some(if method == Method::Nat { NAT_REAL_PORT } else { service_port }),
            weight: 1,
            limits: Limits::default(),
            intent: Intent::Ready,
            health: Health::Up,
            backup: false,
            method,
            encapsulation: Encapsulation::Ipip,
            discovers_mtu: true,
            generation: Generation(1),
            reset: Lives::default(),
            kept: Lives::default(),
            removed: false,
            unscheduled: false,
        }
    }

    /// The next snapshot.
    pub fn snapshot(&mut self) -> Snapshot {
        self.epoch += 1;
        let mut builder = SnapshotBuilder::new(self.epoch);
        builder.reuse(self.tables.clone());
        builder.flood(self.new_connections, self.half_open);
        self.network(&mut builder);
        self.number_listens();
        let mut reals = std::mem::take(&mut self.reals);
        for (id, service) in (0u16..).zip(&self.services).filter(|(_, s)| !s.removed) {
            self.service(&mut builder, id, service, &mut reals);
        }
        for (number, real) in (0..).zip(&reals).filter(|(_, real)| self.stands_beside(real)) {
            builder.real(RealId(number), *real);
        }
        self.reals = reals;
        for (id, service, (vip, ports, proto)) in self.listens() {
            builder.listen(id, Listen { service, vip, ports, proto });
            builder.answer(CLIENT_SIDE, vip);
        }
        builder.build()
    }

    /// Gives a number to each listen that has none.
    fn number_listens(&mut self) {
        let present: Vec<Behind> = (0u16..)
            .zip(&self.services)
            .filter(|(_, service)| !service.removed)
            .flat_map(|(id, service)| service.more.iter().map(move |listen| (id, *listen)))
            .collect();
        for behind in &mut self.behind {
            behind.take_if(|behind| !present.contains(behind));
        }
        let new = present.into_iter().filter(|listen| !self.behind.contains(&Some(*listen)));
        let new: Vec<_> = new.map(Some).collect();
        self.behind.extend(new);
    }

    /// All that is listened on as of the last snapshot: the first listen of a service has its number.
    pub(crate) fn listens(&self) -> impl Iterator<Item = (ListenId, ServiceId, (IpAddr, Ports, Proto))> {
        let number = |n: usize| u16::try_from(n).expect("few services, few listens");
        let services = self.services.iter().enumerate().filter(|(_, service)| !service.removed);
        let first = services
            .map(move |(n, s)| (ListenId(number(n)), ServiceId(number(n)), (s.vip, s.ports, s.proto)));
        let behind = self.behind.iter().enumerate().filter_map(move |(n, behind)| {
            let (service, listen) = (*behind)?;
            Some((ListenId(number(BEHIND + n)), ServiceId(service), listen))
        });
        first.chain(behind)
    }

    /// Whether a name has its port at an address where another one stands for every port: it stays then, whoever
    /// brought it in.
    fn stands_beside(&self, real: &Real) -> bool {
        let services = self.services.iter().filter(|s| !s.removed);
        real.port.is_some()
            && services.filter(|s| keeps_ports(s, real.proto)).any(|s| {
                let keeps = |d: &&Destination| !d.removed && d.method == Method::Nat && d.port.is_none();
                s.destinations.iter().filter(keeps).any(|d| d.addr == real.addr)
            })
    }

    fn network(&self, builder: &mut SnapshotBuilder) {
        let mut routes = Routes::default();
        for port in [CLIENT_SIDE, SERVER_SIDE] {
            let own: [(IpAddr, u8); 2] =
                [(DIRECTOR[port.index()].into(), 24), (DIRECTOR_V6[port.index()].into(), 64)];
            builder.interface(
                port,
                Interface {
                    name: format!("d{}", port.0),
                    mac: mac_of(port),
                    mtu: self.mtu[port.index()],
                    addresses: if self.addresses { own.to_vec() } else { Vec::new() },
                },
            );
            for (addr, prefix) in own {
                routes.add(addr, prefix, Route { port, via: None });
            }
        }
        let routers: [(IpAddr, IpAddr); 2] =
            [(Ipv4Addr::UNSPECIFIED.into(), ROUTER.into()), (Ipv6Addr::UNSPECIFIED.into(), ROUTER_V6.into())];
        for (anywhere, router) in routers.into_iter().filter(|_| self.default_route) {
            routes.add(anywhere, 0, Route { port: CLIENT_SIDE, via: Some(router) });
        }
        builder.routes(routes);
        builder.neighbour(CLIENT_SIDE, ROUTER.into(), ROUTER_MAC);
        builder.neighbour(CLIENT_SIDE, ROUTER_V6.into(), ROUTER_MAC);
        if self.neighbours {
            for n in 0..REALS {
                let mac = Mac([2, 0, 0, 0, 1, 10 + n]);
                builder.neighbour(SERVER_SIDE, real(n).into(), mac);
                builder.neighbour(SERVER_SIDE, real6(n).into(), mac);
            }
        }
    }

    fn service(&self, builder: &mut SnapshotBuilder, id: u16, service: &Service, reals: &mut Vec<Real>) {
        let here = service.destinations.iter().filter(|d| !d.removed);
        for d in here.clone() {
            let mut names = Vec::new();
            for (_, ports, proto) in service.listens().iter().filter(|_| d.method == Method::Nat) {
                let one = match ports {
                    Ports::One(port) => Some(*port),
                    Ports::Range(..) | Ports::Any => None,
                };
                let real = Real { addr: d.addr, port: d.port.or(one), proto: *proto };
                let place = reals.iter().position(|r| *r == real).unwrap_or_else(|| {
                    reals.push(real);
                    reals.len() - 1
                });
                let id = RealId(u16::try_from(place).expect("few real servers"));
                builder.real(id, real);
                names.push((id, real.port));
            }
            names.dedup();
            let real = match names[..] {
                [(id, Some(_))] => Some(id),
                _ => None,
            };
            let next_hop = builder.next_hop(d.addr);
            let source = next_hop.and_then(|hop| builder.source(hop.port, hop.neighbour));
            let tunnel = source
                .filter(|_| d.method == Method::Tunnel)
                .and_then(|source| Tunnel::new(source, d.addr, d.encapsulation, d.discovers_mtu));
            builder.destination(
                d.id,
                Snapped {
                    service: ServiceId(id),
                    addr: d.addr,
                    port: d.port,
                    weight: d.weight,
                    limits: d.limits,
                    intent: d.intent,
                    health: d.health,
                    backup: d.backup,
                    honours_templates: false,
                    reset: d.reset,
                    kept: d.kept,
                    method: d.method,
                    generation: d.generation,
                    real,
                    next_hop,
                    tunnel,
                },
            );
        }
        let scheduled = |d: &&Destination| !d.unscheduled && service.sorry != Some(d.id);
        let pool: Vec<(DestId, u32)> = here.filter(scheduled).map(|d| (d.id, d.weight)).collect();
        // The same pool has the same version, another one nearly always another.
        let counts = service.scheduler != SchedulerKind::Rr;
        let version = pool
            .iter()
            .filter(|_| counts)
            .fold(1u32, |v, (id, w)| v.wrapping_mul(31).wrapping_add(w ^ (u32::from(id.0) << 8)));
        let pool = pool.into_iter().map(|(id, _)| id).collect();
        builder.service(
            ServiceId(id),
            SnappedService {
                name: format!("{}:{:?}/{}", service.vip, service.ports, service.proto),
                scheduler: service.scheduler,
                timeouts: service.timeouts,
                on_removal: service.on_removal,
                pool,
                pool_version: u16::try_from(version & 0xffff).unwrap_or_default(),
                backup_below: service.backup_below,
                sorry: service.sorry,
                slow_start: service.slow_start,
                mss_clamp: service.mss_clamp,
                sloppy: service.sloppy,
                syn_proxy: service.syn_proxy,
            },
        );
        for (_, persistence) in self.persistent.iter().filter(|(service, _)| *service == id) {
            builder.persist(ServiceId(id), *persistence);
        }
        if self.one_packet.contains(&id) {
            builder.send_once(ServiceId(id));
        }
        if self.ftp.contains(&id) {
            data_listens(builder, id, service);
        }
    }
}

/// Whether a service has a listen of more than one port of a protocol.
fn keeps_ports(service: &Service, of: Proto) -> bool {
    service.listens().into_iter().any(|(_, ports, proto)| proto == of && !matches!(ports, Ports::One(_)))
}

/// Where data connections of FTP begin: below the control connection's port, and at every unprivileged port.
fn data_listens(builder: &mut SnapshotBuilder, id: u16, service: &Service) {
    let (service_id, proto) = (ServiceId(id), service.proto);
    builder.help(service_id, Helper::Ftp);
    let Ports::One(control) = service.ports else { panic!("FTP has one port") };
    for (n, ports) in [(1000, Ports::One(control - 1)), (2000, Ports::Range(1024, u16::MAX))] {
        let listen = ListenId(n + id);
        builder.listen(listen, Listen { service: service_id, vip: service.vip, ports, proto });
        builder.expect_at(listen);
    }
    for (n, destination) in (1000..).zip(&service.destinations) {
        builder.real(RealId(n + id * 100), Real { addr: destination.addr, port: None, proto });
    }
}
