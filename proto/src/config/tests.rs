//! Tests of the configuration as a whole: what is refused, with which line; what is accepted; that what is
//! printed reads back.

use super::*;

/// The example of the documentation, less what is not supported yet.
const EXAMPLE: &str = r#"
[director]
name            = "a"
cores           = [1]
socket          = "/run/sheave/control.sock"
wait            = "adaptive"
max-connections = 1_000_000
hash-key        = "sheave"

[[interface]]
name = "d0"
mode = "auto"
mac = "02:00:00:00:00:d0"
addresses = ["198.18.0.1/24", "2001:db8:0:18::1/64"]
mtu = 1500

[[interface]]
name = "d1"
mac = "02:00:00:00:00:d1"
addresses = ["198.19.1.1/24"]

[[neighbour]]
address = "198.19.1.11"
mac = "02:00:00:00:01:11"
interface = "d1"

[[route]]
to = "0.0.0.0/0"
via = "198.18.0.2"
interface = "d0"

[[service]]
listen      = "198.18.0.100:80/tcp"
name        = "web"
scheduler   = "wlc"
forward     = "nat"
timeouts    = { tcp = "15m", tcp-fin = "2m", udp = "5m" }

[[service.destination]]
address = "198.19.1.11:8080"
weight  = 3
upper-threshold = 0
lower-threshold = 0

[[service.destination]]
address = "198.19.1.12"
forward = "dr"
"#;

/// The error lines of a text, without `error: `.
fn errors_of(text: &str) -> Vec<String> {
    match parse(text, "f") {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(errors) => {
            errors.iter().map(|e| e.to_string().strip_prefix("error: ").unwrap().to_owned()).collect()
        }
    }
}

#[test]
fn the_example_is_read() {
    let config = parse(EXAMPLE, "f").unwrap();
    let service = &config.services[0];
    assert_eq!((service.name.as_str(), service.scheduler), ("web", Scheduler::Wlc));
    assert_eq!(service.timeouts, Timeouts::default());
    let [first, second] = &service.destinations[..] else { panic!() };
    assert_eq!((first.weight.get(), service.forward_of(first)), (3, Forward::Nat));
    assert_eq!((second.weight.get(), service.forward_of(second)), (1, Forward::Dr));
    assert_eq!(config.director.cores, Cores::List(vec![1]));
    assert_eq!(config.interfaces[0].addresses.len(), 2);
}

#[test]
fn nothing_is_a_configuration() {
    let config = parse("", "f").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.director.socket.to_str(), Some("/run/sheave/control.sock"));
    assert_eq!((config.director.max_connections, config.director.cores), (1_000_000, Cores::Auto));
}
