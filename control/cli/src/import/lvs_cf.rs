//! lvs.cf, the configuration of Piranha: virtual servers become services; heartbeat, failover services and checks
//! are kept as remarks.

use super::keepalived::{granularity, persist};
use super::report::{Carried, Import, Note, UNKNOWN};
use super::tree::{Builder, Place, Statement};
use super::waiting;
use sheave_proto::config::{
    DestAddr, Destination, Forward, Intent, Listen, Persistence, Ports, Service, ValueError, Weight,
};
use sheave_proto::wire::flow::Proto;
use std::net::IpAddr;
use std::rc::Rc;
use toml::{Table, Value};

/// Words of a virtual server that say how it is checked; they wait with the checks.
const HEALTH: [&str; 10] = [
    "expect",
    "expect_program",
    "load_monitor",
    "quiesce_server",
    "reentry",
    "send",
    "send_program",
    "sorry_server",
    "timeout",
    "use_regex",
];

/// The statements of a file.
///
/// # Errors
/// Where blocks do not fit together, and what is wrong there.
pub(super) fn read(file: &str, text: &str) -> Result<Vec<Statement>, (Place, String)> {
    let file: Rc<str> = Rc::from(file);
    let mut builder = Builder::default();
    for (line, text) in (1..).zip(text.lines()) {
        let place = Place { file: Rc::clone(&file), line };
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if text == "}" {
            if !builder.close() {
                return Err((place, "'}' closes nothing".to_owned()));
            }
        } else if let Some(head) = text.strip_suffix('{') {
            let words = head.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            if words.is_empty() {
                return Err((place, "'{' stands alone".to_owned()));
            }
            builder.statement(Statement::new(place, words));
            builder.open();
        } else {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            let value = value.trim();
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let mut words = vec![key.trim().to_owned()];
            words.extend((!value.is_empty()).then(|| quoted.unwrap_or(value).to_owned()));
            builder.statement(Statement::new(place, words));
        }
    }
    builder.finish().map_err(|place| (place, "'{' is not closed".to_owned()))
}

/// Makes services of statements.
pub(super) fn import(statements: &[Statement]) -> Import {
    let mut import = Import::default();
    let mut rest = Vec::new();
    let network = statements.iter().rev().find(|statement| statement.key() == "network");
    let forward = match network.map(|network| network.word(1)) {
        Some("direct") => Forward::Dr,
        Some("tunnel") => Forward::Tun,
        _ => Forward::Nat,
    };
    for statement in statements {
        match statement.key() {
            "virtual" => virtual_server(&mut import, forward, statement),
            "network" => {}
            _ if statement.block.is_some() => import.waiting.push(statement.clone()),
            _ => rest.push(statement.clone()),
        }
    }
    // What belongs to the pair of directors as a whole stands outside of blocks.
    if let Some(first) = rest.first() {
        let words = vec!["piranha".to_owned()];
        let whole = Statement { place: first.place.clone(), words, block: Some(rest) };
        import.waiting.insert(0, whole);
    }
    import
}

fn virtual_server(import: &mut Import, forward: Forward, statement: &Statement) {
    let proto = match statement.last("protocol").map(|s| s.word(1)) {
        Some("udp") => Proto::Udp,
        _ => Proto::Tcp,
    };
    let mark = statement.last("fwmark");
    let known = statement.last("address").ok_or_else(|| "it has no address".to_owned());
    let known = known.and_then(|address| listen(address, statement.last("port"), proto));
    let place_holder = || UNKNOWN.parse::<Listen>().map(|listen| Listen { proto, ..listen });
    let (listen, dormant) = match (known, mark) {
        (Ok(listen), None) => (listen, None),
        (_, Some(mark)) => {
            let mark = mark.word(1);
            let why = "packets have no firewall marks here: write the addresses and ports that mark";
            let Ok(listen) = place_holder() else { return };
            (listen, Some(format!("{why} {mark} is set for")))
        }
        (Err(why), None) => {
            import.notes.push(Note::lost(statement, &format!("{why}: the block is kept below")));
            import.waiting.push(statement.clone());
            return;
        }
    };
    let mut service = Service::new(listen);
    service.forward = forward;
    service.name = match mark {
        Some(mark) => format!("fwm-{}", mark.word(1)),
        None => statement.word(1).to_owned(),
    };
    let mut carried = Carried::new(&statement.place, service);
    carried.dormant = dormant;
    for inner in statement.inner() {
        if let Err(why) = setting(&mut carried, inner) {
            carried.notes.push(Note::lost(inner, &why));
        }
    }
    if statement.last("active").is_some_and(|active| active.word(1) == "0") {
        carried.dormant.get_or_insert_with(|| "it is switched off in lvs.cf".to_owned());
    }
    let health: Vec<Statement> =
        statement.inner().iter().filter(|s| HEALTH.contains(&s.key())).cloned().collect();
    if !health.is_empty() {
        let table = Value::Table(waiting::table(&health));
        carried.waiting = Some(Table::from_iter([("health".to_owned(), table)]));
    }
    import.services.push(carried);
}

fn listen(address: &Statement, port: Option<&Statement>, proto: Proto) -> Result<Listen, String> {
    // The address is followed by the name of an interface.
    let addr: IpAddr =
        first(address).parse().map_err(|_| format!("{:?} is not an address", address.word(1)))?;
    let ports = match port.map_or("80", |port| port.word(1)) {
        "0" => Ports::Any,
        port => port.parse().map_err(|error: ValueError| error.to_string())?,
    };
    Ok(Listen { addr, ports, proto })
}

fn first(statement: &Statement) -> &str {
    statement.word(1).split_whitespace().next().unwrap_or_default()
}

fn setting(carried: &mut Carried, statement: &Statement) -> Result<(), String> {
    let service = &mut carried.service;
    let word = statement.word(1);
    match statement.key() {
        "scheduler" => service.scheduler = word.parse().map_err(|error: ValueError| error.to_string())?,
        "persistent" => persist(persistence(service), word)?,
        "pmask" => persistence(service).netmask = granularity(word, service.listen().addr.is_ipv6())?,
        "server" => {
            let destination = server(statement, &mut carried.notes)?;
            service.destinations.push(destination);
        }
        // The director owns the virtual address and puts it on no interface.
        "vip_nmask" => {}
        "active" | "address" | "port" | "fwmark" | "protocol" => {}
        key if HEALTH.contains(&key) => {}
        _ => return Err("it is not carried over".to_owned()),
    }
    Ok(())
}

fn persistence(service: &mut Service) -> &mut Persistence {
    service.persistence.get_or_insert_with(Persistence::default)
}

fn server(statement: &Statement, notes: &mut Vec<Note>) -> Result<Destination, String> {
    let address = statement.last("address").ok_or_else(|| "it has no address".to_owned())?;
    let addr = first(address).parse().map_err(|_| format!("{:?} is not an address", address.word(1)))?;
    let port = match statement.last("port").map(|port| port.word(1)) {
        None | Some("0") => None,
        Some(port) => Some(port.parse().map_err(|_| format!("{port:?} is not a port"))?),
    };
    let mut destination = Destination::new(DestAddr { addr, port });
    for inner in statement.inner() {
        match inner.key() {
            "weight" => {
                let number: u32 =
                    inner.word(1).parse().map_err(|_| "its weight is not a number".to_owned())?;
                destination.weight = Weight::try_from(number).map_err(|error| error.to_string())?;
            }
            "active" if inner.word(1) == "0" => destination.state = Intent::Maint,
            "active" | "address" | "port" => {}
            _ => notes.push(Note::lost(inner, "it is not carried over")),
        }
    }
    Ok(destination)
}
