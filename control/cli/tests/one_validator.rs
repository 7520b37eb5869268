//! One validator: what a file is refused for, the socket refuses in the same words, with the same remedy.

use serde_json::{Value, json};
use sheave_plan::Desired;
use sheave_proto::api::{ErrorReply, parse_request};
use sheave_proto::config::parse;

/// The keys of a service that cannot be, and a word of why.
const SERVICES: &[(&str, &str)] = &[
    ("listen = '198.18.0.1:0/tcp'", "port 0"),
    ("listen = '198.18.0.1:90-80/tcp'", "backwards"),
    ("listen = '198.18.0.1:80/sctp'", "protocol"),
    ("listen = ['198.18.0.1:80/tcp', '198.18.0.1:80/tcp']", "twice"),
    ("listen = ['198.18.0.1:50-60/udp', '198.18.0.1:60-70/udp']", "overlap"),
    ("listen = []", "listen"),
    ("scheduler = 'wl'", "use one of"),
    ("scheduler = 'rr'\nscheduler-flags = ['sh-port']", "does not fit"),
    ("mh-table = 4093", "mh"),
    ("scheduler = 'mh'\nmh-table = 65536", "not a size of a Maglev table"),
    ("scheduler = 'random'\ndraws = 65", "draws"),
    ("persistence = { timeout = '13h' }", "out of bounds"),
    ("persistence = { netmask = 33 }", "beyond IPv4"),
    ("persistence = { mask = 24 }", "not known"),
    ("one-packet = true", "udp port"),
    ("backup-below = 0", "backup-below"),
    ("slow-start = '0s'", "slow-start"),
    ("sorry = { address = '2001:db8::9' }", "IPv6 under nat"),
    ("sorry = { address = '198.19.0.9', weight = 1 }", "not known"),
    ("helper = 'tftp'", "use one of"),
    ("forward = 'dr'\nhelper = 'ftp'", "does not work under dr"),
    ("on-removal = 'forget'", "use one of"),
    ("timeouts = { tcp = '0s' }", "out of bounds"),
    ("mss-clamp = 87", "88"),
    ("sloppy = 'yes'", "write true or false"),
    ("pmtu-discovery = 0", "write true or false"),
    ("no-such-key = 1", "not known"),
];

/// The same of a destination.
const DESTINATIONS: &[(&str, &str)] = &[
    ("address = '198.19.0.1:0'", "port 0"),
    ("address = '2001:db8::11'", "IPv6 under nat"),
    ("address = '198.19.0.1:81'\nforward = 'dr'", "port"),
    ("weight = -1", "weight"),
    ("weight = 2147483648", "weight"),
    ("upper-threshold = -1", "upper-threshold"),
    ("upper-threshold = 2\nlower-threshold = 3", "above"),
    ("connection-limit = 4294967296", "connection-limit"),
    ("backup = 1", "write true or false"),
    ("state = 'down'", "use one of"),
    ("tunnel = 'gre'", "tun"),
    ("forward = 'tun'\ntunnel = 'vxlan'", "use one of"),
    ("forward = 'tun'\ntunnel = 'gue'\ntunnel-port = 0", "tunnel-port"),
    ("forward = 'tun'\ntunnel-checksum = true", "tunnel-checksum"),
];

type Said = Vec<(String, String)>;

fn sorted(mut said: Said) -> Said {
    said.sort();
    said
}

fn by_file(text: &str) -> Said {
    let errors = parse(text, "f").expect_err(text);
    assert!(errors.iter().all(|error| error.line.is_some()), "{text}: {errors:?}");
    sorted(errors.into_iter().map(|error| (error.message, error.remedy)).collect())
}

fn by_socket(args: &Value) -> Said {
    let line = json!({ "v": 1, "id": 1, "op": "service.add", "args": args }).to_string();
    let refused: ErrorReply = match parse_request(line.as_bytes()) {
        Ok(request) => Desired::default().request(&request.op).expect_err(&line),
        Err(response) => response.answer::<Value>().expect_err(&line),
    };
    let item = |item: &sheave_proto::api::ErrorItem| (item.message.clone(), item.remedy.clone());
    sorted(refused.items().iter().map(item).collect())
}

#[test]
fn the_socket_refuses_what_a_file_is_refused_for_in_the_same_words() {
    let service = |keys: &str| {
        let listen = if keys.contains("listen") { "" } else { "listen = '198.18.0.1:80/tcp'\n" };
        format!("{listen}{keys}\n")
    };
    let destination = |keys: &str| {
        let address = if keys.contains("address") { "" } else { "address = '198.19.0.1'\n" };
        service(&format!("[[destination]]\n{address}{keys}"))
    };
    let services = SERVICES.iter().map(|(keys, why)| (service(keys), why));
    let destinations = DESTINATIONS.iter().map(|(keys, why)| (destination(keys), why));
    let mut wrong = Vec::new();
    for (keys, why) in services.chain(destinations) {
        let args: toml::Table = toml::from_str(&keys).expect("TOML");
        let text = format!("[[service]]\n{}", keys.replace("[[destination]]", "[[service.destination]]"));
        let (file, told) = (by_file(&text), by_socket(&json!(args)));
        let says = |(message, remedy): &(String, String)| message.contains(why) || remedy.contains(why);
        if file != told || !file.iter().any(says) || file.iter().any(|(_, remedy)| remedy.is_empty()) {
            wrong.push((keys, file, told));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
