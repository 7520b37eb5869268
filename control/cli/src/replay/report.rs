//! The counters at the end, with the names of everything that was ever counted.

use serde::{Serialize, Serializer};
use sheave_pipeline::counters::{self, Extra, Traffic};
use sheave_pipeline::helper::Note;
use sheave_pipeline::ids::{DestId, ServiceId};
use sheave_pipeline::live::Live;
use sheave_pipeline::snapshot::{Listen, Ports, Snapshot};
use sheave_pipeline::{Reason, VerdictKind};
use sheave_table::CounterPage;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// What the numbers of services and destinations mean, removed ones included.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Name, and what it listens on, a bundle's with commas.
    services: BTreeMap<ServiceId, (String, Option<String>)>,
    /// Service, and address with port.
    destinations: BTreeMap<DestId, (ServiceId, String)>,
}

/// ADDRESS:PORTS/PROTOCOL, as in the configuration.
fn listening(listen: &Listen) -> String {
    let addr = match listen.vip {
        IpAddr::V4(vip) => vip.to_string(),
        IpAddr::V6(vip) => format!("[{vip}]"),
    };
    let ports = match listen.ports {
        Ports::One(port) => port.to_string(),
        Ports::Range(first, last) => format!("{first}-{last}"),
        Ports::Any => "*".to_owned(),
    };
    format!("{addr}:{ports}/{}", listen.proto)
}

impl Names {
    /// Takes in all of a snapshot. Numbers are not dealt twice within a replay.
    pub(super) fn learn(&mut self, snapshot: &Snapshot) {
        for (id, service) in snapshot.services() {
            let mut listens: Vec<String> =
                snapshot.listens().filter(|(_, l)| l.service == id).map(|(_, l)| listening(l)).collect();
            listens.sort();
            let listens = Some(listens.join(",")).filter(|listens| !listens.is_empty());
            self.services.insert(id, (service.name.clone(), listens));
        }
        for (id, destination) in snapshot.destinations() {
            let address = match destination.port {
                Some(port) => SocketAddr::new(destination.addr, port).to_string(),
                None => destination.addr.to_string(),
            };
            self.destinations.insert(id, (destination.service, address));
        }
    }

    pub(super) fn service(&self, id: ServiceId) -> Option<String> {
        self.services.get(&id).map(|(name, _)| name.clone())
    }

    pub(super) fn destination(&self, id: DestId) -> Option<String> {
        self.destinations.get(&id).map(|(_, address)| address.clone())
    }
}

/// counters.json.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    verdicts: Counters,
    reasons: Counters,
    /// What happened beside packets' outcomes.
    occurrences: Counters,
    /// Frames that are still held back.
    held: usize,
    /// In the order of their numbers, which is that of their names for those of the first configuration.
    services: Vec<Service>,
}

/// Counters by name, in their own order.
#[derive(Debug)]
struct Counters(Vec<(&'static str, u64)>);

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Service {
    name: String,
    listen: Option<String>,
    removed: bool,
    #[serde(flatten)]
    traffic: Flow,
    destinations: Vec<Destination>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Destination {
    address: String,
    removed: bool,
    active: u32,
    inactive: u32,
    #[serde(flatten)]
    traffic: Flow,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Flow {
    conns: u64,
    in_packets: u64,
    out_packets: u64,
    in_bytes: u64,
    out_bytes: u64,
}

impl Flow {
    fn read(get: impl Fn(Traffic) -> u64) -> Flow {
        Flow {
            conns: get(Traffic::Conns),
            in_packets: get(Traffic::InPackets),
            out_packets: get(Traffic::OutPackets),
            in_bytes: get(Traffic::InBytes),
            out_bytes: get(Traffic::OutBytes),
        }
    }
}

impl Report {
    pub(super) fn new(
        page: &CounterPage,
        live: &Live,
        names: &Names,
        snapshot: &Snapshot,
        held: usize,
    ) -> Report {
        let verdicts = VerdictKind::ALL.iter().map(|kind| (kind.name(), page.get(counters::verdict(*kind))));
        let reasons = Reason::ALL.iter().map(|reason| (reason.name(), page.get(counters::reason(*reason))));
        let extras = Extra::ALL.iter().map(|extra| (extra.name(), page.get(counters::extra(*extra))));
        let notes = Note::ALL.iter().map(|note| (note.name(), page.get(counters::note(*note))));
        let occurrences = extras.chain(notes);
        let destination = |(id, (_, address)): (&DestId, &(ServiceId, String))| Destination {
            address: address.to_string(),
            removed: snapshot.destination(*id).is_none(),
            active: live.destination(*id).active(),
            inactive: live.destination(*id).inactive(),
            traffic: Flow::read(|what| page.get(counters::destination(*id, what))),
        };
        let service = |(id, (name, listen)): (&ServiceId, &(String, Option<String>))| Service {
            name: name.clone(),
            listen: listen.clone(),
            removed: snapshot.service(*id).is_none(),
            traffic: Flow::read(|what| page.get(counters::service(*id, what))),
            destinations: names
                .destinations
                .iter()
                .filter(|(_, (of, _))| of == id)
                .map(destination)
                .collect(),
        };
        Report {
            verdicts: Counters(verdicts.collect()),
            reasons: Counters(reasons.collect()),
            occurrences: Counters(occurrences.collect()),
            held,
            services: names.services.iter().map(service).collect(),
        }
    }
}
