//! Numbers over any row of configurations: what stays keeps its number, and no number means two things.

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use sheave_pipeline::ids::{DestId, Generation, ListenId, ServiceId};
use sheave_pipeline::snapshot::Method;
use sheave_plan::{Compiler, Desired, Environment, Ids};
use sheave_proto::config::{Config, parse};
use std::collections::BTreeMap;
use std::fmt::Write;

const BASE: &str = "[[interface]]\nname = 'd0'\nmac = '02:00:00:00:00:d0'\naddresses = ['198.18.0.1/24']\n";
const PORTS: [&str; 6] = ["80/tcp", "443/tcp", "443/udp", "5000-5100/tcp", "*/tcp", "53/udp"];
const REALS: [&str; 4] = ["198.18.0.11", "198.18.0.12:80", "198.18.0.13:8080", "198.18.0.14"];

/// A configuration: each port belongs to one service at most.
fn config() -> impl Strategy<Value = String> {
    let owner = prop::collection::vec(0usize..4, PORTS.len());
    let order = any::<[Index; 3]>();
    let reals = prop::collection::vec(subsequence(REALS.to_vec(), 0..=4).prop_shuffle(), 3);
    (owner, order, reals, any::<bool>()).prop_map(|(owner, order, reals, backwards)| {
        let mut services: Vec<usize> = (0..3).collect();
        for (at, other) in order.iter().enumerate() {
            services.swap(at, other.index(3));
        }
        let mut text = BASE.to_owned();
        for service in services {
            let mut listens: Vec<String> = PORTS
                .iter()
                .zip(&owner)
                .filter(|(_, of)| **of == service)
                .map(|(port, _)| format!("'198.18.0.100:{port}'"))
                .collect();
            if listens.is_empty() {
                continue;
            }
            if backwards {
                listens.reverse();
            }
            let _ = write!(text, "[[service]]\nname = 's{service}'\nlisten = [{}]\n", listens.join(", "));
            for real in &reals[service] {
                let _ = write!(text, "[[service.destination]]\naddress = '{real}'\n");
            }
        }
        text
    })
}

/// The numbers of everything in a configuration, by what it is.
#[derive(Debug, Default, PartialEq)]
struct Numbers {
    services: BTreeMap<String, ServiceId>,
    listens: BTreeMap<String, ListenId>,
    /// By service and address as they are written.
    destinations: BTreeMap<(String, String), (DestId, Generation)>,
}

fn numbers(config: &Config, ids: &Ids) -> Numbers {
    let mut numbers = Numbers::default();
    for service in &config.services {
        let id = ids.service(&service.name).expect("numbered");
        numbers.services.insert(service.name.clone(), id);
        for listen in &service.listens {
            numbers.listens.insert(listen.to_string(), ids.listen(listen).expect("numbered"));
        }
        for destination in &service.destinations {
            let full = service.full_address(&destination.address);
            let held = ids.destination(id, full.addr, full.port, Method::Nat).expect("numbered");
            // One that keeps the port is the same whatever its service listens on.
            let keeps = full.port == service.port();
            let name = if keeps { full.addr.to_string() } else { full.to_string() };
            numbers.destinations.insert((service.name.clone(), name), held);
        }
    }
    numbers
}

fn same<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(a: &BTreeMap<K, V>, b: &BTreeMap<K, V>) {
    for (key, value) in a {
        if let Some(other) = b.get(key) {
            assert_eq!(value, other, "{key:?}");
        }
    }
}

proptest! {
    #[test]
    fn what_stays_keeps_its_number(texts in prop::collection::vec(config(), 1..6)) {
        let mut compiler = Compiler::new();
        let mut before = Numbers::default();
        for (epoch, text) in (1..).zip(&texts) {
            let config = parse(text, "f").expect("valid");
            let desired = Desired::new(config.clone()).expect("valid");
            let environment = Environment::of_configuration(&desired, compiler.ids_mut()).expect("complete");
            compiler.compile(&desired, &environment, epoch).expect("within limits");
            let now = numbers(&config, compiler.ids());
            same(&before.services, &now.services);
            same(&before.listens, &now.listens);
            same(&before.destinations, &now.destinations);
            let mut dealt: Vec<_> = now.destinations.values().map(|held| held.0).collect();
            dealt.sort_unstable();
            dealt.dedup();
            prop_assert_eq!(dealt.len(), now.destinations.len(), "each number once");
            before = now;
        }
    }
}
