//! The arguments of each operation: written for clients, read by the configuration's reader.
//!
//! A key that an operation does not know is refused. Rules that concern more than the object of a request
//! (a listen that is taken, an interface that is not declared) are not checked here: the director checks the
//! configuration that would result.

use serde_json::{Value as Json, json};

use super::drain::{Drain, Rest};
use super::error::ErrorReply;
use super::request::{ConfigSource, ConnectionFilter, Op};
use super::sticky::StickyFilter;
use super::words::OpName;
use crate::config::{
    DestAddr, DestinationPatch, Errors, Node, Reader, ServicePatch, TimeoutsPatch, ValueError, bare,
    destination_keys, read_service,
};

impl Op {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> OpName {
        match self {
            Op::StatusShow => OpName::StatusShow,
            Op::ServiceList => OpName::ServiceList,
            Op::ServiceShow { .. } => OpName::ServiceShow,
            Op::ServiceAdd(_) => OpName::ServiceAdd,
            Op::ServiceSet { .. } => OpName::ServiceSet,
            Op::ServiceRemove { .. } => OpName::ServiceRemove,
            Op::DestinationList { .. } => OpName::DestinationList,
            Op::DestinationAdd { .. } => OpName::DestinationAdd,
            Op::DestinationSet { .. } => OpName::DestinationSet,
            Op::DestinationRemove { .. } => OpName::DestinationRemove,
            Op::DestinationDrain { .. } => OpName::DestinationDrain,
            Op::ConfigApply(_) => OpName::ConfigApply,
            Op::ConfigPlan(_) => OpName::ConfigPlan,
            Op::ConfigShow => OpName::ConfigShow,
            Op::ConfigReload => OpName::ConfigReload,
            Op::StatsShow { .. } => OpName::StatsShow,
            Op::StatsMark { .. } => OpName::StatsMark,
            Op::TimeoutsShow => OpName::TimeoutsShow,
            Op::TimeoutsSet(_) => OpName::TimeoutsSet,
            Op::ConnectionsList(_) => OpName::ConnectionsList,
            Op::StickyList { .. } => OpName::StickyList,
            Op::StickyClear(_) => OpName::StickyClear,
            Op::NeighboursList => OpName::NeighboursList,
            Op::WorkersShow => OpName::WorkersShow,
            Op::CountersShow => OpName::CountersShow,
            Op::EventsSubscribe { .. } => OpName::EventsSubscribe,
        }
    }

    /// Its arguments as a request carries them; what is not set is left out.
    #[must_use]
    pub fn args(&self) -> Json {
        match self {
            Op::StatusShow
            | Op::ServiceList
            | Op::ConfigShow
            | Op::ConfigReload
            | Op::TimeoutsShow
            | Op::NeighboursList
            | Op::WorkersShow
            | Op::CountersShow => json!({}),
            Op::ServiceShow { service } | Op::ServiceRemove { service } => json!({ "service": service }),
            Op::ServiceAdd(service) => json!(service),
            Op::ServiceSet { service, patch } => merged(json!(patch), json!({ "service": service })),
            Op::DestinationList { service } | Op::StatsShow { service } | Op::StatsMark { service } => {
                given(json!({ "service": service }))
            }
            Op::DestinationAdd { service, destination } => {
                merged(json!(destination), json!({ "service": service }))
            }
            Op::DestinationSet { service, address, patch } => {
                merged(json!(patch), json!({ "service": service, "address": address }))
            }
            Op::DestinationRemove { service, address } => json!({ "service": service, "address": address }),
            Op::DestinationDrain { service, address, drain } => given(json!({
                "service": service,
                "address": address,
                "deadline": drain.deadline,
                "then": drain.then,
                "templates": drain.templates,
            })),
            Op::ConfigApply(source) | Op::ConfigPlan(source) => match source {
                ConfigSource::Toml { text, file } => json!({ "toml": text, "file": file }),
                ConfigSource::Object(config) => json!({ "config": config }),
            },
            Op::TimeoutsSet(patch) => json!(patch),
            Op::ConnectionsList(filter) => given(json!({
                "vip": filter.vip,
                "real": filter.real,
                "client": filter.client,
                "proto": filter.proto,
                "state": filter.state,
                "service": filter.service,
                "limit": filter.limit,
                "cursor": filter.cursor,
            })),
            Op::StickyList { filter, limit, cursor } => {
                given(merged(sticky_args(filter), json!({ "limit": limit, "cursor": cursor })))
            }
            Op::StickyClear(filter) => given(sticky_args(filter)),
            Op::EventsSubscribe { since } => given(json!({ "since": since })),
        }
    }

    /// Reads the arguments of the operation `name`.
    pub(super) fn read(name: OpName, args: &Json) -> Result<Op, ErrorReply> {
        let (node, mut errors) = (Node::from_json(args), Errors::default());
        let op = match name {
            OpName::ServiceAdd => read_service(&node, "of service.add", &mut errors)
                .map(|(service, _)| Op::ServiceAdd(Box::new(service))),
            OpName::ConfigApply => config_source(args, name, &mut errors).map(Op::ConfigApply),
            OpName::ConfigPlan => config_source(args, name, &mut errors).map(Op::ConfigPlan),
            _ => read_keys(name, &node, &mut errors),
        };
        match op {
            Some(op) if errors.is_empty() => Ok(op),
            _ => Err(ErrorReply::from(errors.into_list(None))),
        }
    }
}

/// Both objects' keys in one.
fn merged(mut into: Json, from: Json) -> Json {
    if let (Json::Object(into), Json::Object(from)) = (&mut into, from) {
        into.extend(from);
    }
    into
}

/// Without the keys that are null.
fn given(mut object: Json) -> Json {
    if let Json::Object(map) = &mut object {
        map.retain(|_, value| !value.is_null());
    }
    object
}

/// Reads `config.apply` and `config.plan`; the configuration itself is taken as it is.
fn config_source(args: &Json, name: OpName, errors: &mut Errors) -> Option<ConfigSource> {
    const REMEDY: &str = "send either toml, the text of a file, or config, an object";
    let node = Node::from_json(args);
    let mut reader = Reader::new(&node, format!("op {name}"), errors)?;
    let (toml, file) = (reader.text("toml"), reader.text("file"));
    let config = reader.entry("config").and_then(|_| args.get("config"));
    if toml.is_some() == config.is_some() {
        reader.missing("one of toml and config", REMEDY);
    }
    reader.finish();
    match config {
        Some(config) => Some(ConfigSource::Object(config.clone())),
        None => {
            Some(ConfigSource::Toml { text: toml?.to_owned(), file: file.unwrap_or("request").to_owned() })
        }
    }
}

/// Reads every operation whose arguments are keys of their own.
fn read_keys(name: OpName, node: &Node, errors: &mut Errors) -> Option<Op> {
    let mut reader = Reader::new(node, label(name, node), errors)?;
    let r = &mut reader;
    let op = match name {
        OpName::StatusShow => Some(Op::StatusShow),
        OpName::ServiceList => Some(Op::ServiceList),
        OpName::ConfigShow => Some(Op::ConfigShow),
        OpName::ConfigReload => Some(Op::ConfigReload),
        OpName::NeighboursList => Some(Op::NeighboursList),
        OpName::WorkersShow => Some(Op::WorkersShow),
        OpName::CountersShow => Some(Op::CountersShow),
        OpName::ServiceShow => which_service(r).map(|service| Op::ServiceShow { service }),
        OpName::ServiceRemove => which_service(r).map(|service| Op::ServiceRemove { service }),
        OpName::ServiceSet => {
            let (service, patch) = (which_service(r), ServicePatch::read(r));
            service.map(|service| Op::ServiceSet { service, patch })
        }
        OpName::DestinationList => Some(Op::DestinationList { service: optional(r, "service") }),
        OpName::StatsShow => Some(Op::StatsShow { service: optional(r, "service") }),
        OpName::StatsMark => Some(Op::StatsMark { service: optional(r, "service") }),
        OpName::TimeoutsShow => Some(Op::TimeoutsShow),
        OpName::TimeoutsSet => Some(Op::TimeoutsSet(TimeoutsPatch::read(r))),
        OpName::DestinationAdd => match (its_service(r), destination_keys(r)) {
            (Some(service), Some(destination)) => Some(Op::DestinationAdd { service, destination }),
            _ => None,
        },
        OpName::DestinationSet => match (its_service(r), address(r), DestinationPatch::read(r)) {
            (Some(service), Some(address), patch) => Some(Op::DestinationSet { service, address, patch }),
            _ => None,
        },
        OpName::DestinationRemove => match (its_service(r), address(r)) {
            (Some(service), Some(address)) => Some(Op::DestinationRemove { service, address }),
            _ => None,
        },
        OpName::DestinationDrain => match (its_service(r), address(r), drain(r)) {
            (Some(service), Some(address), drain) => Some(Op::DestinationDrain { service, address, drain }),
            _ => None,
        },
        OpName::StickyList => {
            let filter = sticky_filter(r);
            Some(Op::StickyList { filter, limit: page_limit(r), cursor: optional(r, "cursor") })
        }
        OpName::StickyClear => Some(Op::StickyClear(sticky_filter(r))),
        OpName::ConnectionsList => Some(Op::ConnectionsList(connection_filter(r))),
        OpName::EventsSubscribe => {
            let since = r.integer("since", 0..=i64::MAX);
            Some(Op::EventsSubscribe { since: since.and_then(|since| u64::try_from(since).ok()) })
        }
        OpName::ServiceAdd | OpName::ConfigApply | OpName::ConfigPlan => None,
    };
    reader.finish();
    op
}

/// What errors of the arguments are said about: the object that is named, or else the operation.
fn label(name: OpName, node: &Node) -> String {
    let service = ["service", "name", "listen"].iter().find_map(|key| node.text_of(key)).map(bare);
    let address = node.text_of("address").map(bare);
    match (name, address, service) {
        (
            OpName::DestinationAdd
            | OpName::DestinationSet
            | OpName::DestinationRemove
            | OpName::DestinationDrain,
            Some(at),
            Some(of),
        ) => format!("destination {at} of service {of}"),
        (OpName::ServiceSet | OpName::ServiceShow | OpName::ServiceRemove, _, Some(service)) => {
            format!("service {service}")
        }
        _ => format!("op {name}"),
    }
}

/// The service that an operation on services is about: `service`, or as the configuration spells it, `name`
/// or `listen`.
fn which_service(reader: &mut Reader<'_, '_>) -> Option<String> {
    let given: Vec<&str> = ["service", "name", "listen"].iter().filter_map(|key| reader.text(key)).collect();
    match given[..] {
        [one] => Some(one.to_owned()),
        [] => {
            reader.missing("service", "give the service's name or its listen string");
            None
        }
        _ => {
            let message = "it is named more than once";
            let error = ValueError::new(message, "give one of service, name and listen");
            reader.wrong("service", None, error);
            None
        }
    }
}

/// The service that a destination belongs to.
fn its_service(reader: &mut Reader<'_, '_>) -> Option<String> {
    if reader.entry("service").is_none() {
        reader.missing("service", "give the service's name or its listen string");
    }
    reader.text("service").map(str::to_owned)
}

fn address(reader: &mut Reader<'_, '_>) -> Option<DestAddr> {
    if reader.entry("address").is_none() {
        reader.missing("address", "give the destination's ADDRESS or ADDRESS:PORT");
    }
    reader.parsed("address")
}

fn optional(reader: &mut Reader<'_, '_>, key: &'static str) -> Option<String> {
    reader.text(key).map(str::to_owned)
}

fn drain(reader: &mut Reader<'_, '_>) -> Drain {
    let deadline = reader.parsed("deadline");
    let then = reader.parsed("then").unwrap_or_default();
    if then == Rest::Reset && reader.entry("deadline").is_none() {
        let line = reader.entry("then").and_then(|entry| entry.line);
        let message = "then reset has no deadline that it would come after";
        reader.wrong(
            "then",
            line,
            ValueError::new(message, "give a deadline, as in \"5m\", or leave it out"),
        );
    }
    Drain { deadline, then, templates: reader.parsed("templates").unwrap_or_default() }
}

fn sticky_filter(reader: &mut Reader<'_, '_>) -> StickyFilter {
    StickyFilter {
        service: optional(reader, "service"),
        client: reader.parsed("client"),
        destination: reader.parsed("destination"),
    }
}

fn sticky_args(filter: &StickyFilter) -> Json {
    let StickyFilter { service, client, destination } = filter;
    json!({ "service": service, "client": client, "destination": destination })
}

/// How many entries a page holds.
fn page_limit(reader: &mut Reader<'_, '_>) -> u32 {
    reader.integer("limit", 1..=ConnectionFilter::LARGEST_PAGE).unwrap_or(ConnectionFilter::PAGE)
}

fn connection_filter(reader: &mut Reader<'_, '_>) -> ConnectionFilter {
    ConnectionFilter {
        vip: reader.parsed("vip"),
        real: reader.parsed("real"),
        client: reader.parsed("client"),
        proto: reader.parsed("proto"),
        state: reader.parsed("state"),
        service: optional(reader, "service"),
        limit: page_limit(reader),
        cursor: optional(reader, "cursor"),
    }
}
