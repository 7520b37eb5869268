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
use crate::conflict::Conflicts;
use crate::dataplane::Dataplane;
use crate::events::EventLog;
use crate::netlink::Netlink;
use crate::pressure::Pressure;
use crate::resolve::Resolver;
use crate::serving::Serving;
use crate::stats::Statistics;
use sheave_pipeline::ids::DestId;
use sheave_pipeline::{Snapshot, Time};
use sheave_plan::{Action, Compiler, Desired, Drains, Environment, Kind, Plan, Sweeps};
use sheave_proto::api::{Applied, Drain, ErrorCode, ErrorItem, ErrorReply, EventBody, UnixTime};
use sheave_proto::config::{self, Mode};
use sheave_table::Reader;
use std::path::PathBuf;

/// How often what is removed is looked at: whether its numbers are free, whether its last connection is gone.
const SWEEP: u64 = Time::SECOND;

/// How often the kernel is asked to look whether next hops in use are still there.
const REFRESH_NEIGHBOURS: u64 = 20 * Time::SECOND;

/// Messages of workers taken in one turn.
const PUNTS: usize = 1024;

mod drains;
mod kernel;
mod publication;
mod upkeep;

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
    conflicts: Conflicts,
    drains: Drains,
    pub(crate) pressure: Pressure,
    /// What is published is no longer what the environment asks for.
    stale: bool,
    /// The numbers of services and destinations are newer than what is stored of them.
    ids_unstored: bool,
    /// Interfaces changed since they were last looked at.
    links_changed: bool,
    next_sweep: Time,
    /// When the next hops are looked at again.
    next_look: Time,
    /// Not before this time is there another snapshot for the environment's sake.
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
        let mut director = Director {
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
            conflicts: Conflicts::default(),
            drains: Drains::default(),
            pressure: Pressure::default(),
            stale: true,
            ids_unstored: false,
            links_changed: false,
            next_sweep: now.after(SWEEP),
            next_look: now.after(REFRESH_NEIGHBOURS),
            next_refresh: now,
            now,
        };
        director.limit_floods();
        director
    }

    /// Puts another desired state into force.
    ///
    /// # Errors
    /// When it cannot be compiled; everything stays as it is then.
    pub(crate) fn apply(&mut self, desired: Desired, origin: &str) -> Result<Applied, ErrorReply> {
        self.apply_drain(desired, origin, None)
    }

    /// The same, with the drain that is `asked` for.
    fn apply_drain(
        &mut self,
        desired: Desired,
        origin: &str,
        asked: Option<(DestId, Drain)>,
    ) -> Result<Applied, ErrorReply> {
        let plan = Plan::diff(&self.desired, &desired);
        // Known to the very snapshot that begins the drain: a template that leads nowhere for a moment is gone for good.
        let honoured = self.compiler.honour(self.drains.honouring_with(asked));
        if plan.is_empty() {
            if honoured {
                self.refresh();
            }
            if asked.is_some() {
                self.follow_drains(asked);
            }
        } else {
            let snapshot =
                self.compiler.compile(&desired, &self.environment, self.epoch + 1).map_err(|e| {
                    self.compiler.honour(self.drains.honouring());
                    ErrorReply::new(ErrorCode::Failed, "configuration", e.to_string(), "ask for less")
                })?;
            self.desired = desired;
            self.publish(snapshot);
            self.announcer.set(settings(&self.desired.config().director.announce));
            self.limit_floods();
            self.store_ids();
            self.tell_of(&plan, origin);
            self.follow_drains(asked);
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
        let failed = stored.is_err();
        // Said once, and again only after it has worked in between: it is tried with every change.
        if let Err(e) = stored
            && !self.ids_unstored
        {
            tracing::warn!(
                "numbers of services and destinations not stored beside the connection table: {e}"
            );
        }
        self.ids_unstored = failed;
    }

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
