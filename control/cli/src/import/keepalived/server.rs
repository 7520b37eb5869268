//! Real servers, their forwarding methods, and what says how they are checked.

use super::HEALTH;
use crate::import::report::Note;
use crate::import::tree::Statement;
use crate::import::waiting;
use sheave_proto::config::{DestAddr, Destination, Forward, Service, TunnelPort, TunnelType, Weight};
use toml::{Table, Value};

/// A forwarding method with its tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method {
    pub(super) forward: Forward,
    pub(super) tunnel: Option<TunnelType>,
    pub(super) port: Option<TunnelPort>,
    pub(super) checksum: bool,
}

impl Default for Method {
    fn default() -> Self {
        Method { forward: Forward::Nat, tunnel: None, port: None, checksum: false }
    }
}

/// What holds for all real servers of a virtual server unless they say otherwise.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) method: Method,
    pub(super) weight: Option<Weight>,
}

/// `NAT`, `DR`, or `TUN [type ipip|gue port NUMBER|gre] [nocsum|csum|remcsum]`.
pub(super) fn method(words: &[String]) -> Result<Method, String> {
    let mut words = words.iter().map(String::as_str);
    let forward = match words.next() {
        Some("NAT") => Forward::Nat,
        Some("DR") => Forward::Dr,
        Some("TUN") => Forward::Tun,
        other => return Err(format!("there is no method {}", other.unwrap_or_default())),
    };
    let mut method = Method { forward, ..Method::default() };
    while let Some(word) = words.next() {
        match word {
            "type" => {
                let kind: TunnelType = words.next().unwrap_or_default().parse().map_err(text)?;
                method.tunnel = Some(kind).filter(|kind| *kind != TunnelType::Ipip);
            }
            "port" => {
                let port: u32 = words.next().unwrap_or_default().parse().map_err(|_| "port of a tunnel")?;
                method.port = Some(TunnelPort::try_from(port).map_err(text)?);
            }
            "nocsum" => method.checksum = false,
            "csum" => method.checksum = true,
            other => return Err(format!("{other} is not done")),
        }
    }
    Ok(method)
}

fn text(error: sheave_proto::config::ValueError) -> String {
    error.to_string()
}

/// Gives a destination the tunnel of a method.
fn tunnel(destination: &mut Destination, method: &Method) {
    destination.tunnel = method.tunnel;
    destination.tunnel_port = method.port;
    destination.tunnel_checksum = method.checksum;
}

/// A weight.
pub(super) fn weight(word: &str) -> Result<Weight, String> {
    let number: u32 = word.parse().map_err(|_| format!("{word:?} is not a weight"))?;
    Weight::try_from(number).map_err(text)
}

/// `WORD ADDRESS [PORT]`.
pub(super) fn address(statement: &Statement) -> Result<DestAddr, String> {
    let addr = statement.word(1).parse().map_err(|_| format!("{:?} is not an address", statement.word(1)))?;
    let port = match statement.word(2) {
        "" | "0" => None,
        word => Some(word.parse().map_err(|_| format!("{word:?} is not a port"))?),
    };
    Ok(DestAddr { addr, port })
}

/// A `real_server` block; what of it means nothing here becomes a note.
pub(super) fn real_server(
    service: &Service,
    common: &Common,
    statement: &Statement,
    notes: &mut Vec<Note>,
) -> Result<Destination, String> {
    let mut destination = Destination::new(address(statement)?);
    destination.weight = common.weight.unwrap_or_default();
    let mut way = common.method;
    for inner in statement.inner() {
        let number = || inner.word(1).parse::<u32>().map_err(|_| "it is not a number".to_owned());
        let read = match inner.key() {
            "weight" => weight(inner.word(1)).map(|weight| destination.weight = weight),
            "lvs_method" => method(inner.arguments()).map(|method| way = method),
            "uthreshold" => number().map(|number| destination.upper_threshold = number),
            "lthreshold" => number().map(|number| destination.lower_threshold = number),
            key if HEALTH.contains(&key) || is_check(key) => Ok(()),
            _ => Err("it is not carried over".to_owned()),
        };
        notes.extend(read.err().map(|why| Note::lost(inner, &why)));
    }
    if way.forward != service.forward {
        destination.forward = Some(way.forward);
    }
    tunnel(&mut destination, &way);
    let differs = destination.address.port.filter(|port| service.port() != Some(*port));
    if way.forward != Forward::Nat {
        destination.address.port = None;
        if let Some(port) = differs {
            let text = format!("port {port}: {} does not change ports: it is left out", way.forward);
            notes.push(Note::new(&statement.place, text));
        }
    }
    Ok(destination)
}

/// Whether a word names a kind of check.
pub(super) fn is_check(word: &str) -> bool {
    matches!(word, "HTTP_GET" | "SSL_GET") || word.ends_with("_CHECK")
}

/// What a virtual server says of the health of its real servers; none when it says nothing.
pub(super) fn health_of(statement: &Statement, is_health: impl Fn(&str) -> bool) -> Option<Table> {
    let of = |statement: &Statement| {
        let words = statement.inner().iter().filter(|inner| is_health(inner.key()));
        waiting::table(&words.cloned().collect::<Vec<_>>())
    };
    let mut table = of(statement);
    let mut servers = Vec::new();
    for server in statement.inner().iter().filter(|inner| inner.key() == "real_server") {
        let mut health = of(server);
        if !health.is_empty() {
            health.insert("address".to_owned(), Value::String(server.arguments().join(" ")));
            servers.push(Value::Table(health));
        }
    }
    if !servers.is_empty() {
        table.insert("real-server".to_owned(), Value::Array(servers));
    }
    (!table.is_empty()).then_some(table)
}
