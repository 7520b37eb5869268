//! Every feature of services, destinations, interfaces and the director is carried out: a line each.

use super::*;

/// The keys of a service on 198.18.0.1:80/tcp that ask for the feature.
const SERVICE: &[&str] = &[
    "scheduler = 'rr'",
    "scheduler = 'wrr'",
    "scheduler = 'lc'",
    "scheduler = 'wlc'",
    "scheduler = 'sh'",
    "scheduler = 'dh'",
    "scheduler = 'mh'",
    "scheduler = 'sed'",
    "scheduler = 'nq'",
    "scheduler = 'fo'",
    "scheduler = 'ovf'",
    "scheduler = 'twos'",
    "scheduler = 'lblc'",
    "scheduler = 'lblcr'",
    "scheduler = 'source'",
    "scheduler = 'random'",
    "scheduler = 'first'",
    "scheduler = 'lrt'",
    "scheduler = 'sh'\nscheduler-flags = ['sh-port', 'sh-fallback']",
    "scheduler = 'mh'\nscheduler-flags = ['mh-port', 'mh-fallback']\nmh-table = 4093",
    "scheduler = 'random'\ndraws = 3",
    "timeouts = { tcp = '5m' }",
    "persistence = {}",
    "sloppy = true",
    "syn-proxy = true",
    "mss-clamp = 'auto'",
    "mss-clamp = 'off'",
    "pmtu-discovery = true",
    "pmtu-discovery = false",
    "helper = 'ftp'",
    "sorry = { address = '198.19.0.9' }",
    "backup-below = 1",
    "backup-below = 2",
    "slow-start = '30s'",
    "on-removal = 'keep'",
    "forward = 'dr'",
    "forward = 'tun'",
    "forward = 'local'",
];

/// The same of what a service listens on.
const LISTEN: &[&str] = &[
    "'198.18.0.1:80/tcp'",
    "'198.18.0.1:80/udp'\none-packet = true",
    "'[2001:db8::1]:80/tcp'",
    "'198.18.0.1:5000-5100/udp'",
    "'198.18.0.1:*/tcp'",
    "['198.18.0.1:80/tcp', '198.18.0.1:443/tcp']",
];

/// The same of the keys of a destination.
const DESTINATION: &[&str] = &[
    "forward = 'dr'",
    "forward = 'tun'\ntunnel = 'ipip'",
    "forward = 'local'",
    "forward = 'tun'\ntunnel = 'gre'",
    "forward = 'tun'\ntunnel = 'gue'",
    "state = 'ready'",
    "state = 'drain'",
    "state = 'maint'",
    "backup = true",
    "upper-threshold = 10",
    "lower-threshold = 5\nupper-threshold = 10",
    "connection-limit = 10",
];

/// The same of whole texts.
const OTHER: &[&str] = &[
    "[director]\nflood = { new-connections = 1 }",
    "[director]\nflood = { source-rate = 1 }",
    "[director]\nflood = { vip-rate = 1 }",
    "[director]\ntimeouts = { udp = '1m' }",
    "[[interface]]\nname = 'a'\nqueue-cores = [1]",
    "[[service]]\nlisten = '198.18.0.1:80/tcp'\nforward = 'tun'\n\
     [[service.destination]]\naddress = '2001:db8::11'",
];

#[test]
fn each_feature_is_carried_out() {
    let service = |keys: &str| format!("[[service]]\nlisten = '198.18.0.1:80/tcp'\n{keys}\n");
    let listen = |listen: &str| format!("[[service]]\nlisten = {listen}\n");
    let destination =
        |keys: &str| service(&format!("[[service.destination]]\naddress = '198.19.0.1'\n{keys}"));
    let samples = SERVICE
        .iter()
        .map(|keys| service(keys))
        .chain(LISTEN.iter().map(|listens| listen(listens)))
        .chain(DESTINATION.iter().map(|keys| destination(keys)))
        .chain(OTHER.iter().map(|text| (*text).to_owned()));
    for text in samples {
        let errors = parse(&text, "f").err().unwrap_or_default();
        assert!(errors.is_empty(), "{text}{errors:#?}");
    }
}
