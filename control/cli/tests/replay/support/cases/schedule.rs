//! Who gets a new connection.

use crate::support::Case;
use crate::support::frames::to_vip;
use std::fmt::Write;

const SECOND: u64 = 1_000_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![by_hash(), by_weight_and_load(), by_locality(), by_chance()]
}

/// A service on a port, with three destinations of weights 1, 2 and 3.
fn service(port: u16, scheduler: &str, settings: &str) -> String {
    let mut text = format!(
        "\n[[service]]\nlisten = \"198.18.0.100:{port}/tcp\"\nname = \"{scheduler}-{port}\"\nscheduler = \
         \"{scheduler}\"\n{settings}\n"
    );
    for (weight, real) in [(1, 11), (2, 12), (3, 11)] {
        // Ports of its own: a client may come to several services from one port.
        let port = port * 100 + weight;
        let _ = write!(
            text,
            "
[[service.destination]]
address = \"198.19.1.{real}:{port}\"
weight = {weight}
"
        );
    }
    text
}

/// Clients `first` to `last` open a connection to each port at that time.
fn open(mut case: Case, at: u64, clients: std::ops::RangeInclusive<u8>, ports: &[u16]) -> Case {
    for (n, client) in (0u64..).zip(clients) {
        for (m, port) in (0u64..).zip(ports) {
            let from = ([203, 0, 113, client], 40_000 + u16::from(client));
            case = case.at(at + n * 100 + m, "d0", to_vip(from, *port, "S").build());
        }
    }
    case
}

fn by_hash() -> Case {
    let services = [
        service(80, "sh", ""),
        service(81, "sh", "scheduler-flags = [\"sh-port\", \"sh-fallback\"]"),
        service(82, "mh", ""),
        service(83, "mh", "scheduler-flags = [\"mh-port\", \"mh-fallback\"]\nmh-table = 251"),
        service(84, "dh", ""),
        service(85, "source", ""),
    ];
    let about = "dh, sh, mh and source: the address decides, with sh-port and mh-port the port too. When a \
                 destination gets weight 0, mh and source move only what went there; sh goes nowhere with what falls \
                 to it, unless it has sh-fallback.";
    let ports = [80, 81, 82, 83, 84, 85];
    let mut case = open(Case::new("schedulers-by-hash", about, &services.concat()), 0, 1..=12, &ports);
    for (name, port) in ["sh-80", "sh-81", "mh-82", "mh-83", "dh-84", "source-85"].into_iter().zip(ports) {
        let args = format!(r#"{{"service":"{name}","address":"198.19.1.12:{port}02","weight":0}}"#);
        case = case.control(1, "destination.set", &args);
    }
    // The same clients, with other ports: without a flag they go where they went.
    for (n, client) in (0u64..).zip(1..=12) {
        for (m, port) in (0u64..).zip(ports) {
            let from = ([203, 0, 113, client], 50_000 + u16::from(client));
            case = case.at(2 * SECOND + n * 100 + m, "d0", to_vip(from, port, "S").build());
        }
    }
    case
}

fn by_weight_and_load() -> Case {
    let services = [
        service(80, "sed", ""),
        service(81, "nq", ""),
        service(82, "fo", ""),
        service(83, "ovf", ""),
        service(84, "first", ""),
        service(85, "lrt", ""),
    ];
    let about = "Weights 1, 2 and 3, connections that stay. sed: the smallest (active + 1) / weight. nq: each idle one \
                 first, then as sed. fo: the largest weight. ovf: the largest weight that is not less than the active \
                 connections, until all are beyond theirs. first: the first. lrt: nothing is measured, so as wlc.";
    open(Case::new("schedulers-by-weight", about, &services.concat()), 0, 1..=10, &[80, 81, 82, 83, 84, 85])
}

fn by_locality() -> Case {
    let services = [service(80, "lblc", ""), service(81, "lblcr", "")];
    let about = "lblc stays with one destination until it has more active connections than its weight while another \
                 has less than half of its own; lblcr adds such a one to the set, and shares among the set.";
    open(Case::new("schedulers-by-locality", about, &services.concat()), 0, 1..=14, &[80, 81])
}

fn by_chance() -> Case {
    let services =
        [service(80, "twos", ""), service(81, "random", "draws = 1"), service(82, "random", "draws = 4")];
    let about = "twos and random: draws by weight, of which the one with the smallest overhead / weight is taken. The \
                 seed of the replay decides.";
    open(Case::new("schedulers-by-chance", about, &services.concat()), 0, 1..=24, &[80, 81, 82])
}
