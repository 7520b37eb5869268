//! Partial changes of a service or a destination: only the keys that are named change.
//!
//! A key that is null puts its setting back to the default. The settings of a new object are read here too, as
//! changes of its defaults: so each key has one reader, and the defaults stand in one place.

use std::collections::BTreeSet;

use serde::Serialize;

use super::addr::DestAddr;
use super::read::interface_name;
use super::reader::Reader;
use super::service::{Destination, OwnTimeouts, Persistence, Service, Sorry, Timeouts};
use super::tree::Value;
use super::tuning::{BackupBelow, Draws, MhTable, MssClamp, SlowStart, TunnelPort};
use super::value::{Timeout, ValueError, Weight};
use super::words::{Forward, Helper, Intent, OnRemoval, Scheduler, SchedulerFlag, TunnelType};

/// Which timeouts change; `None` is left as it is, `Some(None)` is the default again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TimeoutsPatch {
    /// Established TCP connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Option<Timeout>>,
    /// TCP connections in FIN_WAIT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_fin: Option<Option<Timeout>>,
    /// UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<Option<Timeout>>,
}

/// What `service.set` changes; `None` is left as it is, `Some(None)` is unset again. Its listen and name cannot
/// be changed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServicePatch {
    /// How destinations are chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Variants of the scheduler, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler_flags: Option<BTreeSet<SchedulerFlag>>,
    /// mh: the slots of the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mh_table: Option<Option<MhTable>>,
    /// random: how many destinations are drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draws: Option<Option<Draws>>,
    /// The forwarding method of destinations that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// The timeouts that are named.
    #[serde(skip_serializing_if = "TimeoutsPatch::is_empty")]
    pub timeouts: TimeoutsPatch,
    /// Whether clients stay with their destination; a table replaces the one before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Option<Persistence>>,
    /// UDP: each packet is scheduled by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_packet: Option<bool>,
    /// TCP: packets without an entry are scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sloppy: Option<bool>,
    /// TCP under NAT: the director completes the handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syn_proxy: Option<bool>,
    /// TCP: what becomes of the maximum segment size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mss_clamp: Option<MssClamp>,
    /// Whether DF is kept on the packet that wraps another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pmtu_discovery: Option<bool>,
    /// What follows connections that the protocol announces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helper: Option<Option<Helper>>,
    /// Where connections go when no destination can take them; a table replaces the one before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sorry: Option<Option<Sorry>>,
    /// When backup destinations are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_below: Option<BackupBelow>,
    /// How long weights take to grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Option<SlowStart>>,
    /// The one interface on which its address is answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<Option<String>>,
    /// What happens to connections of a destination that goes away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_removal: Option<OnRemoval>,
}

/// What `destination.set` changes; `None` is left as it is, `Some(None)` is unset again. Its address cannot be
/// changed.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DestinationPatch {
    /// Its share of new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// Its method; unset takes the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Option<Forward>>,
    /// tun: how packets are wrapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Option<TunnelType>>,
    /// tun with GUE: the UDP port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_port: Option<Option<TunnelPort>>,
    /// tun with GRE or GUE: whether the tunnel's header carries a checksum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_checksum: Option<bool>,
    /// What the operator intends it to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Intent>,
    /// Whether it waits until others fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
    /// When it counts as overloaded; 0 is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper_threshold: Option<u32>,
    /// When it no longer does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower_threshold: Option<u32>,
    /// How many connections it is given at most; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<u32>,
}

impl TimeoutsPatch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == TimeoutsPatch::default()
    }

    /// Reads the keys from a table that may hold others beside them.
    pub(crate) fn read(reader: &mut Reader<'_, '_>) -> TimeoutsPatch {
        let mut key = |key| or_none(reader, key, |r| r.parsed(key));
        TimeoutsPatch { tcp: key("tcp"), tcp_fin: key("tcp-fin"), udp: key("udp") }
    }

    /// Changes the named ones of a service's own.
    pub fn apply(&self, timeouts: &mut OwnTimeouts) {
        set(&mut timeouts.tcp, self.tcp);
        set(&mut timeouts.tcp_fin, self.tcp_fin);
        set(&mut timeouts.udp, self.udp);
    }

    /// Changes the named ones of the director's.
    pub fn apply_to_director(&self, timeouts: &mut Timeouts) {
        let default = Timeouts::default();
        set(&mut timeouts.tcp, self.tcp.map(|named| named.unwrap_or(default.tcp)));
        set(&mut timeouts.tcp_fin, self.tcp_fin.map(|named| named.unwrap_or(default.tcp_fin)));
        set(&mut timeouts.udp, self.udp.map(|named| named.unwrap_or(default.udp)));
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
        set(&mut service.scheduler_flags, self.scheduler_flags.clone());
        set(&mut service.mh_table, self.mh_table);
        set(&mut service.draws, self.draws);
        set(&mut service.forward, self.forward);
        self.timeouts.apply(&mut service.timeouts);
        set(&mut service.persistence, self.persistence);
        set(&mut service.one_packet, self.one_packet);
        set(&mut service.sloppy, self.sloppy);
        set(&mut service.syn_proxy, self.syn_proxy);
        set(&mut service.mss_clamp, self.mss_clamp);
        set(&mut service.pmtu_discovery, self.pmtu_discovery);
        set(&mut service.helper, self.helper);
        set(&mut service.sorry, self.sorry);
        set(&mut service.backup_below, self.backup_below);
        set(&mut service.slow_start, self.slow_start);
        set(&mut service.interface, self.interface.clone());
        set(&mut service.on_removal, self.on_removal);
    }

    /// Reads the keys from a table that may hold others beside them.
    pub(crate) fn read(reader: &mut Reader<'_, '_>) -> ServicePatch {
        let default = Service::defaults();
        let unset = TimeoutsPatch { tcp: Some(None), tcp_fin: Some(None), udp: Some(None) };
        let timeouts = or_default(reader, "timeouts", unset, |r| r.table("timeouts", TimeoutsPatch::read));
        ServicePatch {
            scheduler: or_default(reader, "scheduler", default.scheduler, |r| r.parsed("scheduler")),
            scheduler_flags: or_default(reader, "scheduler-flags", BTreeSet::new(), scheduler_flags),
            mh_table: or_none(reader, "mh-table", |r| r.number("mh-table")),
            draws: or_none(reader, "draws", |r| r.number("draws")),
            forward: or_default(reader, "forward", default.forward, |r| r.parsed("forward")),
            timeouts: timeouts.unwrap_or_default(),
            persistence: or_none(reader, "persistence", |r| r.table("persistence", persistence)),
            one_packet: flag(reader, "one-packet", default.one_packet),
            sloppy: flag(reader, "sloppy", default.sloppy),
            syn_proxy: flag(reader, "syn-proxy", default.syn_proxy),
            mss_clamp: or_default(reader, "mss-clamp", default.mss_clamp, mss_clamp),
            pmtu_discovery: flag(reader, "pmtu-discovery", default.pmtu_discovery),
            helper: or_none(reader, "helper", |r| r.parsed("helper")),
            sorry: or_none(reader, "sorry", |r| r.table("sorry", sorry).flatten()),
            backup_below: or_default(reader, "backup-below", default.backup_below, |r| {
                r.number("backup-below")
            }),
            slow_start: or_none(reader, "slow-start", |r| r.parsed("slow-start")),
            interface: or_none(reader, "interface", |r| match r.entry("interface") {
                Some(_) => interface_name(r, "interface", ""),
                None => None,
            }),
            on_removal: or_default(reader, "on-removal", default.on_removal, |r| r.parsed("on-removal")),
        }
    }
}

/// Reads `scheduler-flags`.
fn scheduler_flags(reader: &mut Reader<'_, '_>) -> Option<BTreeSet<SchedulerFlag>> {
    reader.entry("scheduler-flags")?;
    let mut flags = BTreeSet::new();
    for item in reader.list("scheduler-flags", "write a list, as in [\"sh-port\", \"sh-fallback\"]") {
        let Some(flag) = reader.parsed_in("scheduler-flags", item) else { continue };
        if !flags.insert(flag) {
            let message = format!("scheduler flag {flag} is listed twice in scheduler-flags");
            reader.wrong("scheduler-flags", item.line, ValueError::new(message, "list it once"));
        }
    }
    Some(flags)
}

/// Reads `mss-clamp`, a word or a number.
fn mss_clamp(reader: &mut Reader<'_, '_>) -> Option<MssClamp> {
    let entry = reader.entry("mss-clamp")?;
    let read = match &entry.node.value {
        Value::Text(text) => text.parse(),
        Value::Integer(Some(bytes)) => MssClamp::at(u32::try_from(*bytes).unwrap_or(u32::MAX)),
        _ => Err(ValueError::new(format!("mss-clamp is {}", entry.node.kind()), MssClamp::REMEDY)),
    };
    read.map_err(|error| reader.wrong("mss-clamp", entry.line, error)).ok()
}

/// Reads `persistence`.
fn persistence(reader: &mut Reader<'_, '_>) -> Persistence {
    Persistence {
        timeout: reader.parsed("timeout").unwrap_or(Persistence::default().timeout),
        netmask: reader.integer("netmask", 0..=u8::MAX),
    }
}

/// Reads `sorry`.
fn sorry(reader: &mut Reader<'_, '_>) -> Option<Sorry> {
    let address: Option<DestAddr> = reader.parsed("address");
    if reader.entry("address").is_none() {
        reader
            .missing("address", "write ADDRESS or ADDRESS:PORT, as in sorry = { address = \"198.19.1.9\" }");
    }
    let forward = reader.parsed("forward");
    Some(Sorry { address: address?, forward })
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
        set(&mut destination.tunnel, self.tunnel);
        set(&mut destination.tunnel_port, self.tunnel_port);
        set(&mut destination.tunnel_checksum, self.tunnel_checksum);
        set(&mut destination.state, self.state);
        set(&mut destination.backup, self.backup);
        set(&mut destination.upper_threshold, self.upper_threshold);
        set(&mut destination.lower_threshold, self.lower_threshold);
        set(&mut destination.connection_limit, self.connection_limit);
    }

    /// Reads the keys from a table that may hold others beside them.
    pub(crate) fn read(reader: &mut Reader<'_, '_>) -> DestinationPatch {
        let weight = |r: &mut Reader<'_, '_>| {
            r.integer("weight", 0..=Weight::MAX).and_then(|weight| Weight::try_from(weight).ok())
        };
        DestinationPatch {
            weight: or_default(reader, "weight", Weight::ONE, weight),
            forward: or_none(reader, "forward", |r| r.parsed("forward")),
            tunnel: or_none(reader, "tunnel", |r| r.parsed("tunnel")),
            tunnel_port: or_none(reader, "tunnel-port", |r| r.number("tunnel-port")),
            tunnel_checksum: flag(reader, "tunnel-checksum", false),
            state: or_default(reader, "state", Intent::Ready, |r| r.parsed("state")),
            backup: flag(reader, "backup", false),
            upper_threshold: connections(reader, "upper-threshold"),
            lower_threshold: connections(reader, "lower-threshold"),
            connection_limit: connections(reader, "connection-limit"),
        }
    }
}

fn connections(reader: &mut Reader<'_, '_>, key: &'static str) -> Option<u32> {
    or_default(reader, key, 0, |r| r.integer(key, 0..=u32::MAX))
}

fn flag(reader: &mut Reader<'_, '_>, key: &'static str, default: bool) -> Option<bool> {
    or_default(reader, key, default, |r| r.boolean(key))
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
