//! Rules as `-S` prints them, in the order of the configuration: it is the order in which destinations are walked.

use super::command::{Format, Protocol};
use super::names::Names;
use super::parse::parse;
use super::print::{Speech, flags, mask_of, protocol};
use super::table::{Id, Real, Row, rows};
use super::{change, names::FileNames};
use serde_json::{Map, Value, json};
use sheave_proto::config::{Config, Destination, Forward, Ports, Service, Tunnel};
use std::fmt::Write;

/// What `-S` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Saved {
    /// The rules, one a line.
    pub(crate) rules: String,
    /// What they do not say, one object a line.
    pub(crate) left_out: Vec<String>,
}

/// The rules that make the services of a configuration, as far as they can.
pub(crate) fn save(config: &Config, numeric: bool, names: &dyn Names) -> Saved {
    let mut saved = Saved { rules: String::new(), left_out: Vec::new() };
    for service in &config.services {
        match unsayable(service) {
            Some(why) => saved.left_out.push(format!("{}: rules cannot say {why}", service.label())),
            None => {
                let speech = Speech { format: Format { numeric, ..Format::default() }, names };
                saved.rules.push_str(&rules(service, speech));
                saved.left_out.extend(unsaid(service));
            }
        }
    }
    saved
}

/// Why there is no rule that makes such a service at all.
fn unsayable(service: &Service) -> Option<&'static str> {
    let ids = super::table::ids(service);
    match ids[..] {
        [Id::Mark { .. }] => None,
        [Id::Address { ports: Ports::Range(..), .. }] => Some("a range of ports"),
        [Id::Address { ports: Ports::Any, .. }] if service.persistence.is_none() => {
            Some("every port without persistence")
        }
        [Id::Address { .. }] => None,
        _ => Some("several listens, unless the service is named fwm-MARK"),
    }
}

/// The rules of one service.
fn rules(service: &Service, speech: Speech<'_>) -> String {
    let alone = Config { services: vec![service.clone()], ..Config::default() };
    rows(&alone, &[]).iter().fold(String::new(), |mut text, row| {
        rule(&mut text, row, speech);
        text
    })
}

fn rule(text: &mut String, row: &Row, speech: Speech<'_>) {
    let (name, protocol) = match row.id {
        Id::Mark { mark, ipv6: true } => (format!("-f {mark} -6"), Protocol::Tcp),
        Id::Mark { mark, ipv6: false } => (format!("-f {mark}"), Protocol::Tcp),
        Id::Address { proto, addr, ports, .. } => {
            let protocol = protocol(proto);
            let letter = &protocol.name()[..1];
            (format!("-{letter} {}", speech.listen(addr, ports, proto)), protocol)
        }
    };
    // Writing to a String cannot fail.
    let _ = write!(text, "-A {name} -s {}", row.scheduler);
    if let Some((timeout, mask)) = row.persistence {
        let _ = write!(text, " -p {timeout}");
        if let Some(mask) = mask.and_then(|bits| mask_of(bits, row.id.is_ipv6())) {
            let _ = write!(text, " -M {mask}");
        }
    }
    if row.one_packet {
        text.push_str(" -o");
    }
    if !row.flags.is_empty() {
        let _ = write!(text, " -b {}", flags(&row.flags));
    }
    text.push('\n');
    for real in &row.reals {
        let place = speech.place(real.addr, real.port, protocol);
        let _ = writeln!(text, "-a {name} -r {place} {}", server(real));
    }
}

fn server(real: &Real) -> String {
    let method = match real.forward {
        Forward::Nat => "-m",
        Forward::Tun => "-i",
        Forward::Dr | Forward::Local => "-g",
    };
    let mut text = format!("{method} -w {}", real.weight);
    let sum = |checksum| if checksum { "--tun-csum" } else { "--tun-nocsum" };
    let _ = match real.tunnel {
        _ if real.forward != Forward::Tun => Ok(()),
        Tunnel::Ipip => write!(text, " --tun-type ipip"),
        Tunnel::Gre { checksum } => write!(text, " --tun-type gre {}", sum(checksum)),
        Tunnel::Gue { port, checksum } => {
            write!(text, " --tun-type gue --tun-port {port} {}", sum(checksum))
        }
    };
    // ipvsadm takes these and does not save them.
    if real.upper > 0 {
        let _ = write!(text, " -x {}", real.upper);
    }
    if real.lower > 0 {
        let _ = write!(text, " -y {}", real.lower);
    }
    text
}

/// What the rules of a service do not say of it: the keys in which it differs from the one that they make.
fn unsaid(service: &Service) -> Vec<String> {
    let names = FileNames::default();
    let speech = Speech { format: Format { numeric: true, ..Format::default() }, names: &names };
    // The listens of a bundle stay when its rules go.
    let bundle = super::table::mark_of(service).map(|_| Service {
        name: service.name.clone(),
        listens: service.listens.clone(),
        ..Service::new(*service.listen())
    });
    let mut made = Config { services: bundle.into_iter().collect(), ..Config::default() };
    for line in rules(service, speech).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let said = parse(&words, "ipvsadm", &names).and_then(|command| change::edit(&mut made, &command));
        if let Err(refusal) = said {
            return vec![format!("{}: {}", service.label(), refusal.text)];
        }
    }
    let made = made.services.pop().expect("the rules made a service");
    let (mut notes, is, said) = (Vec::new(), plain(service), plain(&made));
    note(&mut notes, &service.label(), &keys(&json!(is), &json!(said), "destination"));
    for (is, said) in is.destinations.iter().zip(&said.destinations) {
        let label = service.destination_label(&is.address);
        note(&mut notes, &label, &keys(&json!(is), &json!(said), ""));
    }
    notes
}

fn note(notes: &mut Vec<String>, label: &str, keys: &[String]) {
    if !keys.is_empty() {
        notes.push(format!("{label}: rules cannot say its {}", keys.join(", ")));
    }
}

/// The keys in which two objects differ, but for one.
fn keys(is: &Value, said: &Value, but: &str) -> Vec<String> {
    let empty = Map::new();
    let (is, said) = (is.as_object().unwrap_or(&empty), said.as_object().unwrap_or(&empty));
    let differs = |key: &&String| *key != but && is.get(*key) != said.get(*key);
    let mut keys: Vec<String> = is.keys().chain(said.keys()).filter(differs).cloned().collect();
    keys.sort();
    keys.dedup();
    keys
}

/// The same service with everything said in one way: each destination has its own method and port.
pub(crate) fn plain(service: &Service) -> Service {
    let port = service.port();
    let destinations = service.destinations.iter().map(|destination| {
        let mut plain = Destination { forward: Some(service.forward_of(destination)), ..destination.clone() };
        plain.address.port = plain.address.port.or(port);
        plain.tunnel = plain.tunnel.filter(|tunnel| *tunnel != sheave_proto::config::TunnelType::Ipip);
        plain
    });
    let destinations = destinations.collect();
    Service { forward: Forward::Nat, destinations, ..service.clone() }
}
