//! From the value tree to a service and its destinations. What [`read`](super::read) says of errors holds here
//! too.
//!
//! Only what an object is and what it holds is read here. Its settings are read as changes of the defaults, by
//! the one reader that [`ServicePatch`] and [`DestinationPatch`] have.

use super::addr::{DestAddr, Listen};
use super::error::Errors;
use super::patch::{DestinationPatch, ServicePatch};
use super::read::name;
use super::reader::Reader;
use super::service::{Destination, Service};
use super::tree::{Node, Value};
use super::value::{ValueError, bare};

/// Reads a service; `number` is what errors call it when it has neither a name nor a listen.
pub(crate) fn service<'t>(
    node: &'t Node,
    number: &str,
    errors: &mut Errors,
) -> Option<(Service, Vec<&'t Node>)> {
    let mut reader = Reader::new(node, service_label(node, number), errors)?;
    let listens = listens(&mut reader);
    let name = name(&mut reader, "name");
    let label = reader.object().to_owned();
    let mut destinations = Vec::new();
    let list = reader.list("destination", "write [[service.destination]], in JSON a list");
    for (at, node) in list.iter().enumerate() {
        if let Some(found) = destination(node, at, &label, reader.errors()) {
            destinations.push((found, node));
        }
    }
    let settings = ServicePatch::read(&mut reader);
    reader.finish();
    let (destinations, nodes) = destinations.into_iter().unzip();
    let mut service = Service { destinations, ..Service::new(*listens.first()?) };
    service.name = name.unwrap_or_else(|| Service::default_name(&listens));
    service.listens = listens;
    settings.apply(&mut service);
    Some((service, nodes))
}

fn service_label(node: &Node, number: &str) -> String {
    let first_of_list = || match &node.entries()?.iter().find(|entry| entry.key == "listen")?.node.value {
        Value::Array(items) => match &items.first()?.value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        },
        _ => None,
    };
    let text = node.text_of("name").or_else(|| node.text_of("listen")).or_else(first_of_list);
    format!("service {}", text.map_or_else(|| number.to_owned(), bare))
}

fn listens(reader: &mut Reader<'_, '_>) -> Vec<Listen> {
    let Some(entry) = reader.entry("listen") else {
        reader.missing("listen", "write ADDRESS:PORT/PROTO, as in listen = \"198.18.0.100:80/tcp\"");
        return Vec::new();
    };
    let Value::Array(items) = &entry.node.value else {
        return reader.parsed_in("listen", &entry.node).into_iter().collect();
    };
    if items.is_empty() {
        let error = ValueError::new("listen is an empty list", "write at least one ADDRESS:PORT/PROTO");
        reader.wrong("listen", entry.line, error);
    }
    items.iter().filter_map(|item| reader.parsed_in("listen", item)).collect()
}

fn destination(node: &Node, at: usize, service: &str, errors: &mut Errors) -> Option<Destination> {
    let label = node.text_of("address").map_or_else(|| format!("#{}", at + 1), bare);
    let mut reader = Reader::new(node, format!("destination {label} of {service}"), errors)?;
    let destination = destination_keys(&mut reader);
    reader.finish();
    destination
}

/// Reads the keys of a destination from a table that may hold others beside them.
pub(crate) fn destination_keys(reader: &mut Reader<'_, '_>) -> Option<Destination> {
    let address: Option<DestAddr> = reader.parsed("address");
    if reader.entry("address").is_none() {
        reader.missing("address", "write ADDRESS or ADDRESS:PORT, as in address = \"198.19.1.11:8080\"");
    }
    let settings = DestinationPatch::read(reader);
    let mut destination = Destination::new(address?);
    settings.apply(&mut destination);
    Some(destination)
}
