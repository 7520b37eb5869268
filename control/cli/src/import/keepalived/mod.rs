//! keepalived.conf: virtual servers become services; health checks, VRRP and all else that is waiting for its part
//! of the director is kept as remarks.

mod addresses;
mod lex;
mod server;

pub(super) use lex::{Files, read};

use super::report::{Carried, Import, Note, UNKNOWN};
use super::tree::Statement;
pub(super) use addresses::granularity;
use addresses::group_addresses;
use server::{Method, health_of, is_check, method, real_server};
use sheave_proto::config::{
    Duration, Listen, Persistence, Ports, Scheduler, SchedulerFlag, Service, Sorry, Timeout,
};
use sheave_proto::wire::flow::Proto;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Words of a virtual server that say how it is checked; they wait with its checks.
const HEALTH: [&str; 18] = [
    "alpha",
    "connect_timeout",
    "delay_before_retry",
    "delay_loop",
    "ha_suspend",
    "hysteresis",
    "inhibit_on_failure",
    "log_all_failures",
    "notify_down",
    "notify_up",
    "omega",
    "quorum",
    "quorum_down",
    "quorum_up",
    "retry",
    "smtp_alert",
    "virtualhost",
    "warmup",
];

/// How long clients stay with their real server unless said otherwise, in seconds.
const PERSISTENT: u32 = 360;

/// Makes services of statements.
pub(super) fn import(statements: &[Statement], notes: Vec<Note>) -> Import {
    let mut import = Import { notes, ..Import::default() };
    let groups: Vec<&Statement> = statements.iter().filter(|s| s.key() == "virtual_server_group").collect();
    for statement in statements {
        match statement.key() {
            "virtual_server" => virtual_server(&mut import, &groups, statement),
            "virtual_server_group" => unused_group(&mut import, statements, statement),
            "global_defs" => global(&mut import, statement),
            _ if statement.block.is_some() => import.waiting.push(statement.clone()),
            _ => import.notes.push(Note::lost(statement, "it is not carried over")),
        }
    }
    unique_names(&mut import.services);
    import
}

/// A group that no virtual server names is lost with all that is in it.
fn unused_group(import: &mut Import, statements: &[Statement], group: &Statement) {
    let uses =
        |s: &&Statement| s.key() == "virtual_server" && s.word(1) == "group" && s.word(2) == group.word(1);
    if !statements.iter().any(|statement| uses(&statement)) {
        let text = format!("group {} is used by no virtual server", group.word(1));
        import.notes.push(Note::new(&group.place, text));
    }
}

fn unique_names(services: &mut [Carried]) {
    let mut seen = BTreeSet::new();
    for carried in services {
        let service = &mut carried.service;
        if !seen.insert(service.name.clone()) && service.name != Service::default_name(&service.listens) {
            service.name = format!("{}-{}", service.name, service.listen().proto.name());
            seen.insert(service.name.clone());
        }
    }
}

fn global(import: &mut Import, global: &Statement) {
    let mut rest = Vec::new();
    for statement in global.inner() {
        match statement.key() {
            "router_id" if statement.words.len() == 2 => {
                import.config.director.name = Some(statement.word(1).to_owned());
            }
            "lvs_timeouts" => timeouts(import, statement),
            _ => rest.push(statement.clone()),
        }
    }
    if !rest.is_empty() {
        import.waiting.push(Statement { block: Some(rest), ..global.clone() });
    }
}

fn timeouts(import: &mut Import, statement: &Statement) {
    let timeouts = &mut import.config.director.timeouts;
    for pair in statement.arguments().chunks(2) {
        let [word, seconds] = pair else { continue };
        let key = match word.as_str() {
            "tcp" => &mut timeouts.tcp,
            "tcpfin" => &mut timeouts.tcp_fin,
            "udp" => &mut timeouts.udp,
            _ => continue,
        };
        match seconds_of(seconds) {
            Ok(timeout) => *key = timeout,
            Err(why) => import.notes.push(Note::lost(statement, &why)),
        }
    }
}

/// Sets how long clients stay with their real server; for as long as there are words for, when it is longer.
pub(super) fn persist(persistence: &mut Persistence, seconds: &str) -> Result<(), String> {
    match seconds_of(seconds) {
        Ok(timeout) => persistence.timeout = timeout,
        Err(why) if seconds.parse().is_ok_and(|seconds: u64| seconds > Timeout::MAX_SECS.into()) => {
            persistence.timeout = seconds_of(&Timeout::MAX_SECS.to_string())?;
            return Err(format!("{why}: it is the longest here"));
        }
        Err(why) => return Err(why),
    }
    Ok(())
}

/// A timeout in whole seconds.
fn seconds_of(text: &str) -> Result<Timeout, String> {
    let seconds: u32 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    Timeout::try_from(Duration::from_secs(seconds)).map_err(|error| error.to_string())
}

/// What a virtual server listens on, as far as it is known.
struct Listens {
    listens: Vec<Listen>,
    name: Option<String>,
    notes: Vec<Note>,
    dormant: Option<String>,
}

fn virtual_server(import: &mut Import, groups: &[&Statement], statement: &Statement) {
    let said = statement.last("protocol").map(|s| s.word(1).to_uppercase());
    let marked = statement.word(1) == "fwmark";
    let proto = match said.as_deref() {
        Some("TCP") => Proto::Tcp,
        Some("UDP") => Proto::Udp,
        // What a mark stands for is for its listens to say.
        None if marked => Proto::Tcp,
        None => Proto::Udp,
        Some(other) => {
            let why = format!("protocol {other} is not forwarded: the block is kept below");
            import.notes.push(Note::lost(statement, &why));
            import.waiting.push(statement.clone());
            return;
        }
    };
    let found = match listens(statement, groups, proto) {
        Ok(found) => found,
        Err(why) => {
            import.notes.push(Note::lost(statement, &format!("{why}: the block is kept below")));
            import.waiting.push(statement.clone());
            return;
        }
    };
    let unknown = || UNKNOWN.parse::<Listen>().map(|listen| Listen { proto, ..listen });
    let Some(first) = found.listens.first().copied().or_else(|| unknown().ok()) else { return };
    let mut service = Service::new(first);
    if !found.listens.is_empty() {
        service.listens = found.listens;
    }
    service.name = found.name.unwrap_or_else(|| Service::default_name(&service.listens));
    let mut carried = Carried::new(&statement.place, service);
    (carried.notes, carried.dormant) = (found.notes, found.dormant);
    if said.is_none() && !marked {
        let text = "no protocol is set, and keepalived takes UDP then: write tcp where that is meant";
        carried.notes.push(Note::new(&statement.place, text));
    }
    settings(&mut carried, statement);
    let health = health_of(statement, |word| HEALTH.contains(&word) || is_check(word));
    carried.waiting = health.map(|health| toml::Table::from_iter([("health".to_owned(), health.into())]));
    import.services.push(carried);
}

fn listens(statement: &Statement, groups: &[&Statement], proto: Proto) -> Result<Listens, String> {
    let arguments: Vec<&str> = statement.arguments().iter().map(String::as_str).collect();
    let mut found = Listens { listens: Vec::new(), name: None, notes: Vec::new(), dormant: None };
    match arguments[..] {
        ["group", name] => {
            found.name = Some(name.to_owned());
            let group = groups.iter().find(|group| group.word(1) == name);
            let group = group.ok_or_else(|| format!("there is no group {name}"))?;
            for item in group.inner() {
                group_item(&mut found, item, proto);
            }
            if found.listens.len() > 1 {
                let text = "a group's addresses are scheduled apart by keepalived; here they are one service";
                found.notes.push(Note::new(&group.place, text));
            }
        }
        ["fwmark", mark] => {
            found.name = Some(format!("fwm-{mark}"));
            let why = format!(
                "packets have no firewall marks here: write the addresses and ports that mark {mark} is set for"
            );
            found.dormant = Some(why);
        }
        [addr] => found.listens.push(listen(addr, "0", proto)?),
        [addr, port] => found.listens.push(listen(addr, port, proto)?),
        _ => return Err("it is no address with a port".to_owned()),
    }
    if found.listens.is_empty() && found.dormant.is_none() {
        return Err("it has no address".to_owned());
    }
    Ok(found)
}

/// One line of a group.
fn group_item(found: &mut Listens, item: &Statement, proto: Proto) {
    if item.key() == "fwmark" {
        let why = "packets have no firewall marks here: add the addresses and ports that it is set for";
        found.notes.push(Note::lost(item, why));
        return;
    }
    let port = if item.words.len() > 1 { item.word(1) } else { "0" };
    let read = group_addresses(item.key()).and_then(|addresses| {
        addresses
            .into_iter()
            .map(|addr| listen(&addr.to_string(), port, proto))
            .collect::<Result<Vec<_>, _>>()
    });
    match read {
        Ok(listens) => found.listens.extend(listens),
        Err(why) => found.notes.push(Note::lost(item, &why)),
    }
}

fn listen(addr: &str, port: &str, proto: Proto) -> Result<Listen, String> {
    let addr: IpAddr = addr.parse().map_err(|_| format!("{addr} is not an address"))?;
    let ports = match port {
        "0" => Ports::Any,
        port => port.parse().map_err(|error: sheave_proto::config::ValueError| error.to_string())?,
    };
    Ok(Listen { addr, ports, proto })
}

/// The words of a virtual server, each into its place.
fn settings(carried: &mut Carried, statement: &Statement) {
    let mut common = server::Common { method: Method::default(), weight: None };
    for statement in statement.inner() {
        if let Err(why) = setting(carried, &mut common, statement) {
            carried.notes.push(Note::lost(statement, &why));
        }
    }
    carried.service.forward = common.method.forward;
    for statement in statement.inner().iter().filter(|statement| statement.key() == "real_server") {
        match real_server(&carried.service, &common, statement, &mut carried.notes) {
            Ok(destination) => carried.service.destinations.push(destination),
            Err(why) => carried.notes.push(Note::lost(statement, &why)),
        }
    }
    // The order of words in the block does not matter: the flags' scheduler is known only now.
    let scheduler = carried.service.scheduler;
    for flag in statement.inner().iter().filter(|statement| is_flag(statement.key())) {
        match scheduler_flag(flag.key(), scheduler) {
            Some(word) => drop(carried.service.scheduler_flags.insert(word)),
            None => carried.notes.push(Note::lost(flag, &format!("scheduler {scheduler} has no such flag"))),
        }
    }
    let way = statement.last("sorry_server_lvs_method").map(|s| method(s.arguments()));
    match (carried.service.sorry.as_mut(), way) {
        (Some(sorry), Some(Ok(way))) if way.tunnel.is_none() => sorry.forward = Some(way.forward),
        (_, Some(_)) => {
            let text = "sorry_server_lvs_method: it is not carried over";
            carried.notes.push(Note::new(&statement.place, text));
        }
        _ => {}
    }
}

fn is_flag(word: &str) -> bool {
    word.parse::<SchedulerFlag>().is_ok() || matches!(word, "flag-1" | "flag-2" | "flag-3")
}

fn scheduler_flag(word: &str, scheduler: Scheduler) -> Option<SchedulerFlag> {
    match (word, scheduler) {
        ("flag-1", Scheduler::Sh) => Some(SchedulerFlag::ShFallback),
        ("flag-1", Scheduler::Mh) => Some(SchedulerFlag::MhFallback),
        ("flag-2", Scheduler::Sh) => Some(SchedulerFlag::ShPort),
        ("flag-2", Scheduler::Mh) => Some(SchedulerFlag::MhPort),
        _ => word.parse().ok().filter(|flag: &SchedulerFlag| flag.scheduler() == scheduler),
    }
}

fn setting(carried: &mut Carried, common: &mut server::Common, statement: &Statement) -> Result<(), String> {
    let service = &mut carried.service;
    let word = statement.word(1);
    match statement.key() {
        "lb_algo" | "lvs_sched" => {
            service.scheduler =
                word.parse().map_err(|error: sheave_proto::config::ValueError| error.to_string())?;
        }
        "lb_kind" | "lvs_method" => common.method = method(statement.arguments())?,
        "persistence_timeout" => {
            let timeout = if word.is_empty() { PERSISTENT.to_string() } else { word.to_owned() };
            persist(persistence(service), &timeout)?;
        }
        "persistence_granularity" => {
            let ipv6 = service.listen().addr.is_ipv6();
            persistence(service).netmask = granularity(word, ipv6)?;
        }
        "ops" => service.one_packet = true,
        "weight" => common.weight = Some(server::weight(word)?),
        "sorry_server" => service.sorry = Some(Sorry { address: server::address(statement)?, forward: None }),
        "snmp_name" if service.name == Service::default_name(&service.listens) => {
            word.clone_into(&mut service.name)
        }
        "protocol" | "ip_family" | "real_server" | "sorry_server_lvs_method" => {}
        key if HEALTH.contains(&key) || is_flag(key) => {}
        _ => return Err("it is not carried over".to_owned()),
    }
    Ok(())
}

/// The persistence of a service; on from now on.
fn persistence(service: &mut Service) -> &mut Persistence {
    service.persistence.get_or_insert_with(Persistence::default)
}
