//! The director's state, and how it changes.
//!
//! ```text
//!   file, socket, signal --> desired --+
//!                                      +--> compile --> publish --> steering --> announcements, events
//!   netlink ----------> environment ---+
//! ```
//!
//! A change is complete before the next one begins: workers see the state before it or the state after it. What is no
//! longer ours is taken out of the steering program before the snapshot that does not know it is published, what is
//! ours now is put in after, so that no worker is given a packet that it cannot know.

use crate::announce::{self, Announcer};
use crate::dataplane::Dataplane;
use crate::events::EventLog;
use crate::netlink::{Changed, Netlink};
use crate::resolve::Resolver;
use crate::serving::{News, Serving};
use crate::stats::Statistics;
use crate::{interfaces, surroundings};
use sheave_frame::PortId;
use sheave_io::{Endpoint, SteeringSets};
use sheave_pipeline::{Punt, Snapshot, Time};
use sheave_plan::{Action, Compiler, Desired, Environment, Kind, Plan, Steered, Sweeps};
use sheave_proto::api::{Applied, ErrorCode, ErrorItem, ErrorReply, EventBody, UnixTime};
use sheave_proto::config::{self, Mode};
use sheave_proto::wire::arp::{self, Arp};
use sheave_proto::wire::eth::Mac;
use sheave_table::Reader;
use sheave_worker::{Command, Inject};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// How often what is removed is looked at: whether its numbers are free, whether its last connection is gone.
const SWEEP: u64 = Time::SECOND;

/// How often the kernel is asked to look whether next hops in use are still there.
const REFRESH_NEIGHBOURS: u64 = 20 * Time::SECOND;

/// Messages of workers taken in one turn.
const PUNTS: usize = 1024;

/// A conflict about a VIP is answered and logged at most this often.
const CONFLICT: u64 = 10 * Time::SECOND;

/// All that the control thread knows.
pub(crate) struct Director {
    pub(crate) file: Option<PathBuf>,
    pub(crate) started: UnixTime,
    pub(crate) desired: Desired,
    pub(crate) compiler: Compiler,
    environment: Environment,
    pub(crate) epoch: u64,
    /// The newest epoch that every worker has reached.
    seen: u64,
    pub(crate) dataplane: Dataplane,
    pub(crate) serving: Serving,
    pub(crate) netlink: Netlink,
    pub(crate) resolver: Resolver,
    pub(crate) statistics: Statistics,
    pub(crate) events: EventLog,
    pub(crate) current: Reader<Snapshot>,
    announcer: Announcer,
    sweeps: Sweeps,
    conflicts: BTreeMap<(PortId, IpAddr), Time>,
    /// What is published is no longer what the environment asks for.
    stale: bool,
    /// Interfaces changed since they were last looked at.
    links_changed: bool,
    next_sweep: Time,
    next_refresh: Time,
    pub(crate) now: Time,
}

/// What a director is made of.
pub(crate) struct Made {
    pub(crate) file: Option<PathBuf>,
    pub(crate) started: UnixTime,
    pub(crate) desired: Desired,
    pub(crate) dataplane: Dataplane,
    pub(crate) serving: Serving,
    pub(crate) netlink: Netlink,
    pub(crate) current: Reader<Snapshot>,
}

fn settings(config: &config::Announce) -> announce::Settings {
    let nanos = |d: config::Duration| d.as_millis().saturating_mul(1_000_000);
    announce::Settings { repeat: config.repeat, delay: nanos(config.delay), refresh: nanos(config.refresh) }
}

impl Director {
    pub(crate) fn new(made: Made) -> Director {
        let Made { file, started, desired, dataplane, serving, netlink, current } = made;
        let now = dataplane.clock.now();
        Director {
            file,
            started,
            announcer: Announcer::new(settings(&desired.config().director.announce)),
            desired,
            compiler: Compiler::new(),
            environment: Environment::default(),
            epoch: 0,
            seen: 0,
            statistics: Statistics::new(dataplane.pages.clone(), now),
            dataplane,
            serving,
            netlink,
            resolver: Resolver::default(),
            events: EventLog::new(),
            current,
            sweeps: Sweeps::new(),
            conflicts: BTreeMap::new(),
            stale: true,
            links_changed: false,
            next_sweep: now.after(SWEEP),
            next_refresh: now.after(REFRESH_NEIGHBOURS),
            now,
        }
    }

    // ---- changes of what is wanted

    /// Puts another desired state into force.
    ///
    /// # Errors
    /// When it cannot be compiled; everything stays as it is then.
    pub(crate) fn apply(&mut self, desired: Desired, origin: &str) -> Result<Applied, ErrorReply> {
        let plan = Plan::diff(&self.desired, &desired);
        if !plan.is_empty() {
            let snapshot =
                self.compiler.compile(&desired, &self.environment, self.epoch + 1).map_err(|e| {
                    ErrorReply::new(ErrorCode::Failed, "configuration", e.to_string(), "ask for less")
                })?;
            self.desired = desired;
            self.publish(snapshot);
            self.announcer.set(settings(&self.desired.config().director.announce));
            self.store_ids();
            self.tell_of(&plan, origin);
            if plan.changes.iter().any(|change| change.kind == Kind::Interface) {
                self.reconcile();
            }
            self.resolve_next_hops(false);
        }
        Ok(Applied { as_of: crate::wall::now(), epoch: self.epoch, changes: plan.report() })
    }

    /// Reads the configuration file again.
    ///
    /// # Errors
    /// When there is none, or everything that is wrong with it; what is in force stays then.
    pub(crate) fn reload(&mut self, origin: &str) -> Result<Applied, ErrorReply> {
        let outcome = self.read_file().and_then(|desired| self.apply(desired, origin));
        if let Err(error) = &outcome {
            self.refused(error, origin);
        }
        outcome
    }

    fn read_file(&self) -> Result<Desired, ErrorReply> {
        let Some(path) = &self.file else {
            let remedy = "start sheaved with --config FILE, or send config.apply";
            let message = "sheaved was started without one";
            return Err(ErrorReply::new(ErrorCode::NotFound, "configuration file", message, remedy));
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| {
            ErrorReply::new(ErrorCode::Failed, name.as_str(), e.to_string(), "make the file readable")
        })?;
        let config = config::parse(&text, &name)?;
        Ok(Desired::new(config)?)
    }

    /// Tells everyone that a configuration was not taken.
    pub(crate) fn refused(&mut self, error: &ErrorReply, origin: &str) {
        for item in error.items() {
            tracing::error!("configuration refused, the one in force stays: {}", plain(item));
        }
        self.events.note(EventBody::ConfigRefused {
            origin: origin.to_owned(),
            errors: error.items().len(),
            first: plain(&error.first),
        });
    }

    fn tell_of(&mut self, plan: &Plan, origin: &str) {
        for change in &plan.changes {
            tracing::info!(epoch = self.epoch, origin, "{change}");
            let (name, detail) = (change.name.clone(), change.settings.join(", "));
            let body = match (change.kind, change.action) {
                (Kind::Service, Action::Add) => EventBody::ServiceAdded { service: name },
                (Kind::Service, Action::Change) => EventBody::ServiceChanged { service: name, detail },
                (Kind::Service, Action::Remove) => EventBody::ServiceRemoved { service: name },
                (Kind::Destination, action) => {
                    let Ok(address) = name.parse() else { continue };
                    let service = change.service.clone().unwrap_or_default();
                    match action {
                        Action::Add => EventBody::DestinationAdded { service, address },
                        Action::Change => EventBody::DestinationChanged { service, address, detail },
                        Action::Remove => EventBody::DestinationRemoved { service, address },
                    }
                }
                _ => continue,
            };
            self.events.note(body);
        }
        self.events.note(EventBody::ConfigApplied {
            epoch: self.epoch,
            changes: plan.changes.len(),
            origin: origin.to_owned(),
        });
    }

    fn store_ids(&mut self) {
        let stored = serde_json::to_vec(self.compiler.ids())
            .map_err(std::io::Error::other)
            .and_then(|bytes| self.dataplane.region.write_ids(&bytes));
        if let Err(e) = stored {
            tracing::warn!(
                "numbers of services and destinations not stored beside the connection table: {e}"
            );
        }
    }

    // ---- publication

    /// Compiles what is wanted for the environment as it is now, and publishes it.
    pub(crate) fn refresh(&mut self) {
        self.stale = false;
        self.environment = surroundings::environment(self.netlink.view(), &self.serving.served());
        match self.compiler.compile(&self.desired, &self.environment, self.epoch + 1) {
            Ok(snapshot) => self.publish(snapshot),
            Err(e) => tracing::error!("no snapshot, the one before stays: {e}"),
        }
    }

    /// Whether [`Director::refresh`] is due.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    fn publish(&mut self, snapshot: Snapshot) {
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

    // ---- the kernel

    /// Takes in what netlink heard.
    pub(crate) fn heard(&mut self, changed: Changed) {
        self.links_changed |= changed.links;
        // While a dump runs, an interface may seem to be gone that only has not been told of yet.
        if self.links_changed && self.netlink.settled() {
            self.links_changed = false;
            self.reconcile();
        }
        self.stale |= changed.any();
    }

    /// Brings the served interfaces to what is wanted and there.
    pub(crate) fn reconcile(&mut self) {
        let (wanted, unusable) = interfaces::select(self.netlink.view(), self.desired.config());
        let ids = self.compiler.ids_mut();
        let news = self.serving.reconcile(&wanted, &unusable, self.now, &mut self.dataplane, |name| {
            ids.port(name).map_err(|e| tracing::error!("interface {name}: {e}")).ok()
        });
        for item in news {
            self.stale = true;
            self.tell_of_interface(item);
        }
    }

    fn tell_of_interface(&mut self, news: News) {
        let body = match news {
            News::Attached { name, mode, queues, .. } => {
                tracing::info!(interface = %name, %mode, queues, "interface attached");
                EventBody::InterfaceAttached { interface: name, mode: shown(mode), queues }
            }
            News::Detached { name, port, why } => {
                tracing::warn!(interface = %name, "interface detached: {why}");
                self.announcer.down(port);
                EventBody::InterfaceDetached { interface: name, reason: why }
            }
            News::Failed { name, why } => {
                tracing::warn!(interface = %name, "interface not attached: {why}");
                EventBody::InterfaceDetached { interface: name, reason: why }
            }
        };
        self.events.note(body);
    }

    /// Has the kernel look for the next hops of all destinations: those that are not known, or all of them, so
    /// that an entry which no packet of the kernel's own keeps fresh is verified.
    fn resolve_next_hops(&mut self, all: bool) {
        let snapshot = self.current.pin();
        let hops: std::collections::BTreeSet<(PortId, IpAddr)> = snapshot
            .destinations()
            .filter_map(|(_, destination)| destination.next_hop)
            .filter(|hop| all || hop.mac.is_none())
            .map(|hop| (hop.port, hop.neighbour))
            .collect();
        drop(snapshot);
        for (port, neighbour) in hops {
            self.resolve(port, neighbour);
        }
    }

    fn resolve(&mut self, port: PortId, neighbour: IpAddr) {
        let index = self.serving.interfaces().find(|(_, i)| i.port == port).map(|(_, i)| i.index);
        let Some(index) = index else { return };
        if self.resolver.wish((port, neighbour), self.now)
            && let Err(e) = self.netlink.resolve(index, neighbour)
        {
            tracing::debug!("neighbour {neighbour}: the kernel was not asked: {e}");
        }
    }

    // ---- the workers

    /// Takes what the workers have to say.
    pub(crate) fn take_punts(&mut self) -> bool {
        for _ in 0..PUNTS {
            match self.dataplane.next_punt() {
                None => return false,
                Some(Punt::Resolve { port, neighbour }) => self.resolve(port, neighbour),
                Some(Punt::Conflict { port, vip, mac }) => self.conflict(port, vip, mac),
            }
        }
        true
    }

    fn conflict(&mut self, port: PortId, vip: IpAddr, mac: Mac) {
        let place = (port, vip);
        if self.conflicts.get(&place).is_some_and(|last| self.now < last.after(CONFLICT)) {
            return;
        }
        let now = self.now;
        self.conflicts.retain(|_, last| last.after(CONFLICT) > now);
        self.conflicts.insert(place, self.now);
        let interface = self.compiler.ids().port_name(port).unwrap_or("?").to_owned();
        tracing::warn!(%vip, %mac, interface, "another station claims a VIP: announcing it again");
        self.announcer.again(place, self.now);
    }

    // ---- time

    /// Does what is due.
    pub(crate) fn tick(&mut self) {
        self.statistics.sample(self.now);
        if self.serving.tend(self.now, &mut self.dataplane)
            || self.serving.next_due().is_some_and(|due| due <= self.now)
        {
            self.reconcile();
        }
        self.announce();
        if self.now >= self.next_sweep {
            self.next_sweep = self.now.after(SWEEP);
            self.sweep();
        }
        if self.now >= self.next_refresh {
            self.next_refresh = self.now.after(REFRESH_NEIGHBOURS);
            self.resolve_next_hops(true);
        }
        self.dataplane.tend();
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Time {
        let mut due = self.statistics.next_due().min(self.next_sweep).min(self.next_refresh);
        for other in [self.announcer.next_due(), self.serving.next_due()].into_iter().flatten() {
            due = due.min(other);
        }
        if self.serving.closing() || self.dataplane.behind() {
            due = due.min(self.now.after(Time::SECOND / 100));
        }
        due
    }

    fn sweep(&mut self) {
        if self.dataplane.publisher.seen_by_all(self.dataplane.publisher.epoch()) {
            self.seen = self.epoch;
        }
        let live = &self.dataplane.shared.live;
        let passes: Vec<u64> = (0..self.dataplane.workers.len()).map(|w| live.passes(w)).collect();
        if let Some(period) = self.sweeps.observe(&passes) {
            self.compiler.ids_mut().quiet(period);
        }
        let connections = |id| {
            let dest = live.destination(id);
            u64::from(dest.active()) + u64::from(dest.inactive())
        };
        self.stale |= self.compiler.retire(self.seen, connections);
        let snapshot = self.current.pin();
        let failed = self.resolver.settle(self.now, |(port, addr)| snapshot.neighbour(port, addr).is_some());
        drop(snapshot);
        for (port, address) in failed {
            let interface = self.compiler.ids().port_name(port).unwrap_or("?").to_owned();
            tracing::warn!(%address, interface, "next hop does not answer");
            self.events.note(EventBody::NeighbourFailed { address, interface });
        }
    }

    fn announce(&mut self) {
        for announcement in self.announcer.due(self.now) {
            let (port, vip) = announcement.place;
            let snapshot = self.current.pin();
            let from = snapshot.interface(port).map(|i| (i.mac, i.name.clone()));
            drop(snapshot);
            let (Some((mac, interface)), IpAddr::V4(addr)) = (from, vip) else { continue };
            let Some(worker) = self.worker_of(port) else { continue };
            for form in [Arp::gratuitous_request(mac, addr), Arp::gratuitous_reply(mac, addr)] {
                let mut frame = [0; arp::FRAME_LEN];
                form.emit(&mut frame, Mac::BROADCAST);
                if let Some(inject) = Inject::new(port, &frame) {
                    self.dataplane.tell(worker, Command::Inject(inject));
                }
            }
            if announcement.first {
                tracing::info!(%vip, interface, "VIP announced");
                self.events.note(EventBody::VipAnnounced { address: vip, interface });
            }
        }
    }

    fn worker_of(&self, port: PortId) -> Option<usize> {
        let (_, interface) = self.serving.interfaces().find(|(_, i)| i.port == port)?;
        interface.queues().first().map(|queue| queue.worker)
    }

    // ---- the end

    /// Begins to end: nothing more is steered here.
    pub(crate) fn begin_stop(&mut self, reason: &str) {
        tracing::info!("stopping: {reason}");
        self.events.note(EventBody::Stopping { reason: reason.to_owned() });
        self.serving.detach_all(&mut self.dataplane);
    }

    /// Ends the workers.
    pub(crate) fn stop(self) {
        self.dataplane.stop();
    }
}

/// An error as a log or an event shows it: without the word that says so.
fn plain(error: &ErrorItem) -> String {
    let text = error.to_string();
    text.strip_prefix("error: ").map_or_else(|| text.clone(), str::to_owned)
}

/// A mode as the API spells it.
pub(crate) fn shown(mode: sheave_frame::Mode) -> Mode {
    match mode {
        sheave_frame::Mode::ZeroCopy => Mode::ZeroCopy,
        sheave_frame::Mode::Copy => Mode::Copy,
        sheave_frame::Mode::Generic | sheave_frame::Mode::Memory => Mode::Generic,
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
