//! Every feature of services, destinations, interfaces and the director, and whether the data path carries it out:
//! a line each. Who makes it do so writes `None` here.

use super::*;

const OUT: &str = "leave it out";

/// The keys of a service on 198.18.0.1:80/tcp that ask for the feature, and how they are refused, if they are:
/// what is said not to be supported, and what to do.
const SERVICE: &[(&str, Option<(&str, &str)>)] = &[
    ("scheduler = 'rr'", None),
    ("scheduler = 'wrr'", None),
    ("scheduler = 'lc'", None),
    ("scheduler = 'wlc'", None),
    ("scheduler = 'sh'", None),
    ("scheduler = 'dh'", None),
    ("scheduler = 'mh'", None),
    ("scheduler = 'sed'", None),
    ("scheduler = 'nq'", None),
    ("scheduler = 'fo'", None),
    ("scheduler = 'ovf'", None),
    ("scheduler = 'twos'", None),
    ("scheduler = 'lblc'", None),
    ("scheduler = 'lblcr'", None),
    ("scheduler = 'source'", None),
    ("scheduler = 'random'", None),
    ("scheduler = 'first'", None),
    ("scheduler = 'lrt'", None),
    ("scheduler = 'sh'\nscheduler-flags = ['sh-port', 'sh-fallback']", None),
    ("scheduler = 'mh'\nscheduler-flags = ['mh-port', 'mh-fallback']\nmh-table = 4093", None),
    ("scheduler = 'random'\ndraws = 3", None),
    ("timeouts = { tcp = '5m' }", None),
    ("persistence = {}", None),
    ("sloppy = true", None),
    ("syn-proxy = true", Some(("syn-proxy is", OUT))),
    ("mss-clamp = 'auto'", None),
    ("mss-clamp = 'off'", None),
    ("pmtu-discovery = true", None),
    ("pmtu-discovery = false", None),
    ("helper = 'ftp'", None),
    ("sorry = { address = '198.19.0.9' }", None),
    ("backup-below = 1", None),
    ("backup-below = 2", None),
    ("slow-start = '30s'", None),
    ("on-removal = 'keep'", None),
    ("forward = 'dr'", None),
    ("forward = 'tun'", None),
    ("forward = 'local'", None),
];

/// The same of what a service listens on.
const LISTEN: &[(&str, Option<(&str, &str)>)] = &[
    ("'198.18.0.1:80/tcp'", None),
    ("'198.18.0.1:80/udp'\none-packet = true", None),
    ("'[2001:db8::1]:80/tcp'", None),
    ("'198.18.0.1:5000-5100/udp'", None),
    ("'198.18.0.1:*/tcp'", None),
    ("['198.18.0.1:80/tcp', '198.18.0.1:443/tcp']", None),
];

/// The same of the keys of a destination.
const DESTINATION: &[(&str, Option<(&str, &str)>)] = &[
    ("forward = 'dr'", None),
    ("forward = 'tun'\ntunnel = 'ipip'", None),
    ("forward = 'local'", None),
    ("forward = 'tun'\ntunnel = 'gre'", None),
    ("forward = 'tun'\ntunnel = 'gue'", None),
    ("state = 'ready'", None),
    ("state = 'drain'", None),
    ("state = 'maint'", None),
    ("backup = true", None),
    ("upper-threshold = 10", None),
    ("lower-threshold = 5\nupper-threshold = 10", None),
    ("connection-limit = 10", None),
];

/// The same of whole texts.
const OTHER: &[(&str, Option<(&str, &str)>)] = &[
    ("[director]\nflood = { new-connections = 1 }", None),
    ("[director]\nflood = { source-rate = 1 }", None),
    ("[director]\nflood = { vip-rate = 1 }", None),
    ("[director]\ntimeouts = { udp = '1m' }", None),
    ("[[interface]]\nname = 'a'\nqueue-cores = [1]", Some(("queue-cores is", OUT))),
    (
        "[[service]]\nlisten = '198.18.0.1:80/tcp'\nforward = 'tun'\n\
         [[service.destination]]\naddress = '2001:db8::11'",
        None,
    ),
];

#[test]
fn each_feature_is_carried_out_or_refused_as_not_supported_yet() {
    let service = |keys: &str| format!("[[service]]\nlisten = '198.18.0.1:80/tcp'\n{keys}\n");
    let listen = |listen: &str| format!("[[service]]\nlisten = {listen}\n");
    let destination =
        |keys: &str| service(&format!("[[service.destination]]\naddress = '198.19.0.1'\n{keys}"));
    let samples = SERVICE
        .iter()
        .map(|(keys, refused)| (service(keys), refused))
        .chain(LISTEN.iter().map(|(listens, refused)| (listen(listens), refused)))
        .chain(DESTINATION.iter().map(|(keys, refused)| (destination(keys), refused)))
        .chain(OTHER.iter().map(|(text, refused)| ((*text).to_owned(), refused)));
    for (text, refused) in samples {
        let errors = parse(&text, "f").err().unwrap_or_default();
        let told: Vec<String> = errors
            .iter()
            .map(|error| format!("{:?} {}: {}", error.kind, error.message, error.remedy))
            .collect();
        let want: Vec<String> = refused
            .iter()
            .map(|(what, remedy)| format!("NotSupported {what} not supported yet: {remedy}"))
            .collect();
        assert_eq!(told, want, "{text}");
        assert!(errors.iter().all(|error| error.line.is_some()), "{text}");
    }
}

#[test]
fn every_feature_that_is_asked_for_too_early_is_told_at_once() {
    let keys = |table: &[(&str, Option<(&str, &str)>)]| {
        let late = table.iter().filter(|(keys, refused)| refused.is_some() && !keys.contains(['{', '\n']));
        late.map(|(keys, _)| (*keys).to_owned()).collect::<Vec<_>>()
    };
    let mut said = std::collections::HashSet::new();
    let mut text = "[[service]]\nlisten = '198.18.0.1:80/tcp'\n".to_owned();
    for line in
        keys(SERVICE).into_iter().filter(|line| said.insert(line.split(' ').next().unwrap().to_owned()))
    {
        text += &format!("{line}\n");
    }
    let count = said.len();
    let errors = parse(&text, "f").err().unwrap_or_default();
    let not_yet = errors.iter().filter(|error| error.kind == ConfigErrorKind::NotSupported);
    assert_eq!(not_yet.count(), count, "{text}{errors:#?}");
}
