//! Tests of the configuration as a whole: what is refused, with which line; what is accepted; that what is
//! printed reads back.

mod features;
mod rules;
mod service_rules;

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

/// Every error of a text that is not `not supported yet`.
fn invalid_in(text: &str) -> Vec<String> {
    let errors = parse(text, "f").err().unwrap_or_default();
    let invalid = errors.into_iter().filter(|error| error.kind == ConfigErrorKind::Invalid);
    invalid.map(|error| error.to_string()).collect()
}

#[test]
fn the_example_is_read() {
    let config = parse(EXAMPLE, "f").unwrap();
    let service = &config.services[0];
    assert_eq!((service.name.as_str(), service.scheduler), ("web", Scheduler::Wlc));
    assert_eq!(config.timeouts_of(service), Timeouts::default());
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

#[test]
fn every_error_of_a_file_is_told_with_its_line() {
    let text = r#"[director]
cores = [1, 1, "x"]
wait = "sometimes"
max-connections = 0
hashkey = "x"
socket-owner = ""

[[interface]]
name = "d0"
mac = "03:00:00:00:00:d0"
addresses = ["198.18.0.1/33", "2001:db8::1/64"]
mtu = 1279

[[interface]]
name = "d0"

[[neighbour]]
address = "198.19.1.11"
interface = "d7"

[[route]]
to = "10.0.0.1/8"
via = "2001:db8::2"
interface = "d0"

[[service]]
listen = "198.18.0.100:80/tcp"
name = "web"
sheduler = "rr"
forward = "masq"
timeouts = { tcp = "13h", syn = "1s" }

[[service.destination]]
address = "198.19.1.11:8080"
weight = -1

[[service.destination]]
address = "198.19.1.11:8080"
weight = 1.5

[[service.destination]]
address = "198.19.1.12:81"
forward = "dr"

[[service]]
listen = "198.18.0.100:80/tcp"
interface = "d9"

[[service]]
name = "lost"

[[service.destination]]
weight = 2147483648
"#;
    let want = [
        "f:2: director: cores is a string: write an integer from 0 to 4095",
        "f:2: director: core 1 is listed twice in cores: list each core once",
        "f:3: director: wait mode \"sometimes\" is not known: use one of adaptive, busy",
        "f:4: director: max-connections 0 is out of bounds: write an integer from 1 to 134217728",
        "f:5: director: key \"hashkey\" is not known: write hash-key if that is meant, or remove it",
        "f:6: director: socket-owner \"\" is empty: write 1 to 128 printable characters",
        "f:10: interface d0: mac 03:00:00:00:00:d0 is not the address of one station: \
         write a unicast address, whose first byte is even",
        "f:11: interface d0: in addresses, prefix length 33 of 198.18.0.1 is beyond its family: \
         write one from 0 to 32",
        "f:12: interface d0: mtu 1279 is under 1280 with IPv6 addresses: \
         write 1280 or more, or leave it out to take the kernel's",
        "f:15: interface d0: it is declared twice: declare it once",
        "f:17: neighbour 198.19.1.11: mac is missing: write the neighbour's hardware address",
        "f:19: neighbour 198.19.1.11: interface \"d7\" is not declared: \
         add an [[interface]] of that name, or name a declared one",
        "f:22: route 10.0.0.1/8: to 10.0.0.1/8 has bits set beyond its prefix: write 10.0.0.0/8",
        "f:23: route 10.0.0.1/8: via 2001:db8::2 is not of the family of 10.0.0.1/8: \
         write a next hop of IPv4",
        "f:29: service web: key \"sheduler\" is not known: write scheduler if that is meant, or remove it",
        "f:30: service web: forwarding method \"masq\" is not known: use one of nat, dr, tun, local",
        "f:31: service web: in timeouts.tcp, a timeout of 13h is out of bounds: \
         write one from \"1s\" to \"12h\"",
        "f:31: service web: key timeouts.\"syn\" is not known: remove it, or use one of tcp, tcp-fin, udp",
        "f:35: destination 198.19.1.11:8080 of service web: weight -1 is out of bounds: \
         write an integer from 0 to 2147483647",
        "f:38: destination 198.19.1.11:8080 of service web: it is given twice: \
         give it once; its weight says its share",
        "f:39: destination 198.19.1.11:8080 of service web: weight is a fraction: \
         write an integer from 0 to 2147483647",
        "f:42: destination 198.19.1.12:81 of service web: port 81 differs from the service's 80 under dr: \
         leave the port out, or use forward = \"nat\"",
        "f:46: service 198.18.0.100:80/tcp: listen 198.18.0.100:80/tcp is taken by service web: \
         give each service an address, port and protocol of its own",
        "f:47: service 198.18.0.100:80/tcp: interface \"d9\" is not declared: \
         add an [[interface]] of that name, or name a declared one",
        "f:49: service lost: listen is missing: write ADDRESS:PORT/PROTO, as in listen = \"198.18.0.100:80/tcp\"",
        "f:52: destination #1 of service lost: address is missing: \
         write ADDRESS or ADDRESS:PORT, as in address = \"198.19.1.11:8080\"",
        "f:53: destination #1 of service lost: weight 2147483648 is out of bounds: \
         write an integer from 0 to 2147483647",
    ];
    assert_eq!(errors_of(text), want);
}

#[test]
fn syntax_errors_have_their_line() {
    let errors = errors_of("[director]\nname = \"a\"\nwait = \n[[service]\n");
    assert!(errors[0].starts_with("f:3: configuration: not TOML, "), "{errors:?}");
    assert!(errors.iter().any(|error| error.starts_with("f:4: ")), "{errors:?}");
    assert!(errors.iter().all(|error| !error.contains('\n')));
    let twice = errors_of("[director]\nname = \"a\"\nname = \"b\"\n");
    assert!(twice[0].starts_with("f:3: configuration: not TOML, "), "{twice:?}");
}

#[test]
fn tables_of_the_wrong_shape_are_refused() {
    for (text, want) in [
        ("director = 1", "f:1: director: it is an integer: write a table of keys and values"),
        (
            "[interface]\nname = \"a\"",
            "f:1: configuration: interface is a table: write [[interface]], in JSON a list",
        ),
        ("service = [1]", "f:1: service #1: it is an integer: write a table of keys and values"),
        ("[[service]]\nlisten = 80", "f:2: service #1: listen is an integer: write a string"),
        (
            "[[service]]\nlisten = []",
            "f:2: service #1: listen is an empty list: write at least one ADDRESS:PORT/PROTO",
        ),
        (
            "[[service]]\nlisten = \"198.18.0.1:80/tcp\"\ntimeouts = \"5s\"",
            "f:3: service 198.18.0.1:80/tcp: timeouts is a string: write a table, { key = value }",
        ),
        (
            "[director]\nname = \"a\\nb\"",
            "f:2: director: name \"a\\nb\" holds a control character: write 1 to 128 printable characters",
        ),
        ("[director]\nname = 1979-05-27", "f:2: director: name is a date: write a string"),
    ] {
        assert_eq!(errors_of(text), [want]);
    }
}

#[test]
fn json_says_the_same_as_toml() {
    let from_toml = parse(EXAMPLE, "f").unwrap();
    let table: toml::Table = EXAMPLE.parse().unwrap();
    let json = serde_json::to_value(table).unwrap();
    assert_eq!(Config::from_json(&json).unwrap(), from_toml);
    // And the form that is printed.
    let printed = serde_json::to_value(&from_toml).unwrap();
    assert_eq!(Config::from_json(&printed).unwrap(), from_toml);
    assert_eq!(serde_json::from_value::<Config>(printed).unwrap(), from_toml);
}

#[test]
fn json_is_refused_in_the_same_words_without_lines() {
    let text = "[[service]]\nlisten = \"198.18.0.1:80/tcp\"\nhelper = \"ftp\"\nweight = 1\n";
    let table: toml::Table = text.parse().unwrap();
    let json = serde_json::to_value(table).unwrap();
    let errors = Config::from_json(&json).unwrap_err();
    let mut said: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
    let mut want: Vec<String> = errors_of(text)
        .iter()
        .map(|line| format!("error: {}", line.splitn(3, ':').nth(2).unwrap().trim_start()))
        .collect();
    said.sort();
    want.sort();
    assert_eq!(said, want);
}

#[test]
fn a_service_alone_is_read_from_json() {
    let json =
        serde_json::json!({ "listen": "198.18.0.1:80/tcp", "destination": [{ "address": "198.19.0.1" }] });
    let service = Service::from_json(&json).unwrap();
    assert_eq!(service.name, "198.18.0.1:80/tcp");
    assert_eq!(service.find_destination(&"198.19.0.1:80".parse().unwrap()), Some(0));
    let errors = Service::from_json(&serde_json::json!({ "listen": null, "destination": 1 })).unwrap_err();
    let errors: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
    assert_eq!(
        errors,
        [
            "error: service without a listen: listen is null: write a string",
            "error: service without a listen: destination is an integer: \
             write [[service.destination]], in JSON a list",
        ]
    );
}

#[test]
fn services_are_found_by_name_and_by_listen() {
    let config = parse(EXAMPLE, "f").unwrap();
    assert_eq!(config.find_service("web"), Some(0));
    assert_eq!(config.find_service("198.18.0.100:80/tcp"), Some(0));
    assert_eq!(config.find_service("198.18.0.100:80/udp"), None);
    assert_eq!(config.find_service("mail"), None);
}
