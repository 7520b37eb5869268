//! Partial changes of a service or a destination: only the keys that are named change.
//!
//! In `service.set` and `destination.set` a key that is null puts its setting back to the default.

use serde::Serialize;

use super::model::{Destination, Persistence, Service, Timeouts};
use super::read;
use super::reader::Reader;
use super::value::{Timeout, Weight};
use super::words::{Forward, OnRemoval, Scheduler};

/// Which timeouts `service.set` changes; `None` is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TimeoutsPatch {
    /// Established TCP connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Timeout>,
    /// TCP connections in FIN_WAIT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_fin: Option<Timeout>,
    /// UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<Timeout>,
}

/// What `service.set` changes; `None` is left as it is. Its listen and name cannot be changed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServicePatch {
    /// How destinations are chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// The forwarding method of destinations that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// The timeouts that are named.
    #[serde(skip_serializing_if = "TimeoutsPatch::is_empty")]
    pub timeouts: TimeoutsPatch,
    /// `Some(None)` turns it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Option<Persistence>>,
    /// `Some(None)` names none any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Option<String>>,
    /// What happens to connections of a destination that goes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_removal: Option<OnRemoval>,
}

/// What `destination.set` changes; `None` is left as it is. Its address cannot be changed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DestinationPatch {
    /// Its share of new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// `Some(None)` takes the service's method again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Option<Forward>>,
    /// When it counts as overloaded; 0 is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper_threshold: Option<u32>,
    /// When it no longer does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_threshold: Option<u32>,
}

impl TimeoutsPatch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == TimeoutsPatch::default()
    }

    fn all(timeouts: Timeouts) -> TimeoutsPatch {
        let Timeouts { tcp, tcp_fin, udp } = timeouts;
        TimeoutsPatch { tcp: Some(tcp), tcp_fin: Some(tcp_fin), udp: Some(udp) }
    }

    fn read(reader: &mut Reader<'_, '_>) -> TimeoutsPatch {
        let default = Timeouts::default();
        TimeoutsPatch {
            tcp: or_default(reader, "tcp", default.tcp, |r| r.parsed("tcp")),
            tcp_fin: or_default(reader, "tcp-fin", default.tcp_fin, |r| r.parsed("tcp-fin")),
            udp: or_default(reader, "udp", default.udp, |r| r.parsed("udp")),
        }
    }

    fn apply(&self, timeouts: &mut Timeouts) {
        set(&mut timeouts.tcp, self.tcp);
        set(&mut timeouts.tcp_fin, self.tcp_fin);
        set(&mut timeouts.udp, self.udp);
    }
}

impl ServicePatch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == ServicePatch::default()
    }

    /// Changes what is named. Whether the result is valid is for [`validate`](super::validate) to say.
    pub fn apply(&self, service: &mut Service) {
        set(&mut service.scheduler, self.scheduler);
        set(&mut service.forward, self.forward);
        self.timeouts.apply(&mut service.timeouts);
        set(&mut service.persistence, self.persistence);
        set(&mut service.interface, self.interface.clone());
        set(&mut service.on_removal, self.on_removal);
    }

    /// Reads the keys from a table that may hold others beside them.
    pub(crate) fn read(reader: &mut Reader<'_, '_>) -> ServicePatch {
        let fresh = TimeoutsPatch::all(Timeouts::default());
        let timeouts = or_default(reader, "timeouts", fresh, |r| r.table("timeouts", TimeoutsPatch::read));
        ServicePatch {
            scheduler: or_default(reader, "scheduler", Scheduler::Wlc, |r| r.parsed("scheduler")),
            forward: or_default(reader, "forward", Forward::Nat, |r| r.parsed("forward")),
            timeouts: timeouts.unwrap_or_default(),
            persistence: or_none(reader, "persistence", |r| r.table("persistence", read::persistence)),
            interface: or_none(reader, "interface", |r| match r.entry("interface") {
                Some(_) => read::interface_name(r, "interface", ""),
                None => None,
            }),
            on_removal: or_default(reader, "on-removal", OnRemoval::Reset, |r| r.parsed("on-removal")),
        }
    }
}

impl DestinationPatch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == DestinationPatch::default()
    }

    /// Changes what is named. Whether the result is valid is for [`validate`](super::validate) to say.
    pub fn apply(&self, destination: &mut Destination) {
        set(&mut destination.weight, self.weight);
        set(&mut destination.forward, self.forward);
        set(&mut destination.upper_threshold, self.upper_threshold);
        set(&mut destination.lower_threshold, self.lower_threshold);
    }

    /// Reads the keys from a table that may hold others beside them.
    pub(crate) fn read(reader: &mut Reader<'_, '_>) -> DestinationPatch {
        let mut threshold = |key| or_default(reader, key, 0, |r| r.integer(key, 0..=u32::MAX));
        let (upper_threshold, lower_threshold) = (threshold("upper-threshold"), threshold("lower-threshold"));
        DestinationPatch {
            weight: or_default(reader, "weight", Weight::ONE, read::weight),
            forward: or_none(reader, "forward", |r| r.parsed("forward")),
            upper_threshold,
            lower_threshold,
        }
    }
}

fn set<T>(value: &mut T, change: Option<T>) {
    if let Some(change) = change {
        *value = change;
    }
}

/// What a key says; null is the default.
fn or_default<'t, 'e, T>(
    reader: &mut Reader<'t, 'e>,
    key: &'static str,
    default: T,
    read: impl FnOnce(&mut Reader<'t, 'e>) -> Option<T>,
) -> Option<T> {
    if reader.is_null(key) { Some(default) } else { read(reader) }
}

/// What a key says; null is that it is not set.
fn or_none<'t, 'e, T>(
    reader: &mut Reader<'t, 'e>,
    key: &'static str,
    read: impl FnOnce(&mut Reader<'t, 'e>) -> Option<T>,
) -> Option<Option<T>> {
    if reader.is_null(key) { Some(None) } else { read(reader).map(Some) }
}
