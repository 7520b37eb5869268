//! What a service can be, changed in mid-stream: bundles of TCP and UDP, persistence, drains with templates, the largest
//! weights; and values that it cannot have.

use crate::support::Case;
use crate::support::frames::{CLIENT, Place, to_vip, udp_to_vip};

const SECOND: u64 = 1_000_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        streaming(),
        changed(),
        switched(),
        rerouted(),
        drained("ignore"),
        drained("honour"),
        weights(),
        mh_order(),
        mh_changes(),
        refused_values(),
    ]
}

fn client(last: u8, port: u16) -> Place {
    ([203, 0, 113, last], port)
}

const TWO: &str = r#"
[[service.destination]]
address = "198.19.1.11"

[[service.destination]]
address = "198.19.1.12"
"#;

fn streaming() -> Case {
    let about = "A bundle of a control port of TCP and a range of UDP, as streaming media uses, with persistence: the \
                 streams of a client come to the server of its control connection.";
    let config = format!(
        r#"
[[service]]
listen = ["198.18.0.100:554/tcp", "198.18.0.100:6970-6999/udp"]
name = "media"
scheduler = "rr"
forward = "dr"
persistence = {{ timeout = "10m" }}
{TWO}"#
    );
    let mut case = Case::new("bundle-streaming", about, &config);
    for last in [1, 2] {
        case = case.d0(to_vip(client(last, 40_000), 554, "S").build());
    }
    for (last, port) in [(1, 6970), (2, 6970), (1, 6999), (2, 6985), (1, 7000), (2, 6969)] {
        case = case.d0(udp_to_vip(client(last, 50_000), port, b"media").build());
    }
    case.d0(udp_to_vip(client(3, 50_000), 6970, b"media").build())
        .d0(to_vip(client(3, 40_000), 554, "S").build())
}

fn changed() -> Case {
    let about = "Persistence that is switched on, widened to networks and switched off while packets flow. Connections \
                 stay where they are; templates of another netmask lead nobody.";
    let config = format!(
        r#"
[[service]]
listen = ["198.18.0.100:80/tcp", "198.18.0.100:443/tcp"]
name = "web"
scheduler = "rr"
forward = "dr"
{TWO}"#
    );
    let set = |value: &str| format!(r#"{{"service":"web","persistence":{value}}}"#);
    let mut case = Case::new("persistence-changes", about, &config)
        .control(1, "service.set", &set(r#"{"timeout":"30s"}"#))
        .control(2, "service.set", &set(r#"{"timeout":"30s","netmask":24}"#))
        .control(3, "service.set", &set("null"))
        .control(4, "sticky.list", "{}")
        .control(4, "service.set", &set(r#"{"timeout":"13h"}"#))
        .control(4, "service.set", &set(r#"{"netmask":33}"#));
    for step in 0..5u16 {
        let at = u64::from(step) * SECOND + 10;
        let syn = |last, port| to_vip(client(last, 41_000 + step * 10 + port % 7), port, "S").build();
        for (n, (last, port)) in (0..).zip([(1, 80), (1, 443), (2, 80), (1, 80)]) {
            let frame = if n == 3 { to_vip(client(1, 41_003), 80, "A").build() } else { syn(last, port) };
            case = case.at(at + n, "d0", frame);
        }
    }
    case
}

fn switched() -> Case {
    let about = "one-packet, sloppy, a helper and limits, switched on and off while packets flow. What has an entry goes by \
                 it; what is switched concerns what comes then.";
    let config = format!(
        r#"
[[service]]
listen = "198.18.0.100:514/udp"
name = "log"
scheduler = "rr"
forward = "dr"
{TWO}
[[service]]
listen = "198.18.0.100:80/tcp"
name = "web"
scheduler = "rr"
forward = "dr"
{TWO}
[[service]]
listen = "198.18.0.100:21/tcp"
name = "ftp"

[[service.destination]]
address = "198.19.1.11"
"#
    );
    let set = |service: &str, keys: &str| format!(r#"{{"service":"{service}",{keys}}}"#);
    let limit = |real: u8, limit: u8| {
        format!(r#"{{"service":"web","address":"198.19.1.{real}","connection-limit":{limit}}}"#)
    };
    let mut case = Case::new("switches", about, &config)
        .control(1, "service.set", &set("log", r#""one-packet":true"#))
        .control(1, "service.set", &set("web", r#""sloppy":true"#))
        .control(1, "service.set", &set("ftp", r#""helper":"ftp""#))
        .control(2, "service.set", &set("log", r#""one-packet":false"#))
        .control(2, "service.set", &set("web", r#""sloppy":false"#))
        .control(2, "service.set", &set("ftp", r#""helper":null"#))
        .control(3, "destination.set", &limit(11, 2))
        .control(3, "destination.set", &limit(12, 2))
        .control(4, "destination.set", &limit(12, 0));
    for step in 0..5u8 {
        let at = u64::from(step) * SECOND + 10;
        let datagram = |port| udp_to_vip(client(1, port), 514, b"line").build();
        let fresh = 50_000 + u16::from(step);
        for (n, port) in (0..).zip([40_000, 40_000, fresh, fresh, fresh]) {
            case = case.at(at + n, "d0", datagram(port));
        }
        // In the middle of a connection, then at the beginning of one.
        case = case
            .at(at + 10, "d0", to_vip(client(2 + step, 40_000), 80, "A").build())
            .at(at + 11, "d0", to_vip(client(10 + step, 40_000), 80, "S").build())
            // A data port of FTP is the helper's while there is one.
            .at(at + 20, "d0", to_vip(client(20 + step, 40_000), 21, "S").build())
            .at(at + 21, "d0", to_vip(client(20 + step, 40_001), 40_000, "S").build());
    }
    case
}

fn rerouted() -> Case {
    let about = "A destination's method and tunnel changed in mid-stream. One that is reached otherwise is another one: its \
                 connections go by on-removal, here they are kept as they were; another tunnel is the same one.";
    let config = "\n[[service]]\nlisten = \"198.18.0.100:80/tcp\"\nname = \"web\"\nforward = \"dr\"\non-removal = \"keep\"\n\n\
                  [[service.destination]]\naddress = \"198.19.1.11\"\n";
    let set = |keys: &str| format!(r#"{{"service":"web","address":"198.19.1.11",{keys}}}"#);
    let mut case = Case::new("methods-change", about, config)
        .control(1, "destination.set", &set(r#""forward":"tun""#))
        .control(2, "destination.set", &set(r#""tunnel":"gre","tunnel-checksum":true"#))
        .control(3, "destination.set", &set(r#""tunnel":"gue","tunnel-port":6081"#))
        .control(
            4,
            "destination.set",
            &set(r#""forward":"nat","tunnel":null,"tunnel-port":null,"tunnel-checksum":false"#),
        );
    for step in 0..5u8 {
        let at = u64::from(step) * SECOND + 10;
        case = case.at(at, "d0", to_vip(client(1 + step, 40_000), 80, "S").build());
        for n in 0..=step {
            case = case.at(at + 1 + u64::from(n), "d0", to_vip(client(1 + n, 40_000), 80, "A").build());
        }
    }
    case
}

fn drained(templates: &'static str) -> Case {
    let name = if templates == "ignore" { "drain-ignores-templates" } else { "drain-honours-templates" };
    let about = "A drained destination under persistence: with templates = honour clients that it knows still come to it \
                 until the deadline, with ignore (the default) they get another at once. At the deadline the rest is reset.";
    let config = format!(
        r#"
[[service]]
listen = ["198.18.0.100:80/tcp", "198.18.0.100:443/tcp"]
name = "web"
scheduler = "rr"
forward = "dr"
persistence = {{}}
{TWO}"#
    );
    let args = format!(
        r#"{{"service":"web","address":"198.19.1.11","deadline":"5s","then":"reset","templates":"{templates}"}}"#
    );
    let mut case = Case::new(name, about, &config).control(1, "destination.drain", &args);
    for last in [1, 2] {
        case =
            case.d0(to_vip(client(last, 40_000), 80, "S").build())
                .d0(to_vip(client(last, 40_000), 80, "A").build());
    }
    case.at(2 * SECOND, "d0", to_vip(client(1, 40_001), 443, "S").build())
        .d0(to_vip(client(2, 40_001), 443, "S").build())
        .d0(to_vip(client(3, 40_001), 443, "S").build())
        .d0(to_vip(client(1, 40_000), 80, "A").build())
        .control(3, "sticky.list", r#"{"destination":"198.19.1.11"}"#)
        .at(7 * SECOND, "d0", to_vip(client(1, 40_000), 80, "A").build())
        .d0(to_vip(client(1, 40_001), 443, "A").build())
        .d0(to_vip(client(1, 40_002), 80, "S").build())
}

fn weights() -> Case {
    let about = "The largest weights: 2147483647 beside 1, and two of them, for every scheduler that counts with them.";
    let mut config = String::new();
    let schedulers = ["wrr", "wlc", "sed", "nq", "fo", "ovf", "lblcr", "mh", "sh", "source"];
    let ports = || (80u16..).zip(schedulers);
    for (port, scheduler) in ports() {
        config += &format!(
            "\n[[service]]\nlisten = \"198.18.0.100:{port}/tcp\"\nname = \"{scheduler}\"\nscheduler = \"{scheduler}\"\n\
             forward = \"dr\"\n\n[[service.destination]]\naddress = \"198.19.1.11\"\nweight = 1\n\n\
             [[service.destination]]\naddress = \"198.19.1.12\"\nweight = 2147483647\n"
        );
    }
    let mut case = Case::new("largest-weights", about, &config);
    for (_, scheduler) in ports() {
        let args = format!(r#"{{"service":"{scheduler}","address":"198.19.1.11","weight":2147483647}}"#);
        case = case.control(1, "destination.set", &args);
    }
    for second in 0..2u64 {
        for (n, (port, _)) in (0u64..).zip(ports()) {
            for m in 0..6u8 {
                let from = client(m + 1, 40_000 + u16::try_from(second).unwrap_or(0));
                let at = second * 2 * SECOND + n * 100 + u64::from(m);
                case = case.at(at, "d0", to_vip(from, port, "S").build());
            }
        }
    }
    case
}

fn mh_order() -> Case {
    let about = "mh, sh, dh and source choose alike whatever the order of the configuration: the second of each pair of \
                 services has its destinations the other way round, and a client's connections to both go to one server.";
    let mut config = String::new();
    for (port, scheduler) in (80u16..).step_by(2).zip(["mh", "sh", "dh", "source"]) {
        for (port, order) in [(port, [11, 12]), (port + 1, [12, 11])] {
            config += &format!(
                "\n[[service]]\nlisten = \"198.18.0.100:{port}/tcp\"\nname = \"{scheduler}-{port}\"\nscheduler = \
                 \"{scheduler}\"\nforward = \"nat\"\n"
            );
            for real in order {
                config += &format!(
                    "\n[[service.destination]]\naddress = \"198.19.1.{real}:8080\"\nweight = {}\n",
                    real - 10
                );
            }
        }
    }
    let mut case = Case::new("hash-order", about, &config);
    for last in 1..=12u8 {
        for port in 80..88 {
            case = case.d0(to_vip(client(last, 40_000 + port), port, "S").build());
        }
    }
    case
}

fn mh_changes() -> Case {
    let about = "mh while a destination comes, is weighted anew and goes: connections that there are stay where they are, and \
                 new ones of the same clients too, but for those that the changed destination gains or loses.";
    let neighbour =
        "\n[[neighbour]]\naddress = \"198.19.1.13\"\nmac = \"02:00:00:00:01:0d\"\ninterface = \"d1\"\n";
    let service = "\n[[service]]\nlisten = \"198.18.0.100:80/tcp\"\nname = \"web\"\nscheduler = \"mh\"\nforward = \"dr\"\n";
    let config = format!("{service}{TWO}{neighbour}");
    let third = r#"{"service":"web","address":"198.19.1.13"}"#;
    let mut case = Case::new("mh-changes", about, &config)
        .control(1, "destination.add", third)
        .control(2, "destination.set", r#"{"service":"web","address":"198.19.1.11","weight":3}"#)
        .control(3, "destination.remove", third);
    for last in 1..=10u8 {
        let frame = |port, flags| to_vip(client(last, port), 80, flags).build();
        case = case.at(u64::from(last), "d0", frame(40_000, "S"));
        for step in 1..=3u16 {
            let at = u64::from(step) * SECOND + u64::from(last) * 10;
            case = case.at(at, "d0", frame(40_000, "A")).at(at + 5, "d0", frame(40_000 + step, "S"));
        }
    }
    case
}

fn refused_values() -> Case {
    let about = "Bad values of every key, refused over the socket with what to do instead, by the validator of the file. \
                 Nothing changes.";
    let config = format!("\n[[service]]\nlisten = \"198.18.0.100:80/tcp\"\nname = \"web\"\n{TWO}");
    let mut case = Case::new("refused-values", about, &config);
    for value in [
        r#""scheduler":"wl""#,
        r#""scheduler-flags":["sh-port"]"#,
        r#""mh-table":65536"#,
        r#""scheduler":"mh","mh-table":1"#,
        r#""draws":2"#,
        r#""scheduler":"random","draws":65"#,
        r#""persistence":{"timeout":"13h"}"#,
        r#""persistence":{"netmask":33}"#,
        r#""persistence":{"mask":24}"#,
        r#""one-packet":true"#,
        r#""backup-below":0"#,
        r#""slow-start":"0s""#,
        r#""sorry":{"address":"2001:db8::9"}"#,
        r#""sorry":{"address":"198.19.1.9","forward":"dr","weight":1}"#,
        r#""helper":"tftp""#,
        r#""on-removal":"forget""#,
        r#""timeouts":{"tcp":"0s"}"#,
        r#""mss-clamp":87"#,
        r#""sloppy":"yes""#,
        r#""forward":"dr","helper":"ftp""#,
    ] {
        case = case.control(1, "service.set", &format!(r#"{{"service":"web",{value}}}"#));
    }
    for value in [
        r#""weight":-1"#,
        r#""weight":2147483648"#,
        r#""upper-threshold":-1"#,
        r#""upper-threshold":2,"lower-threshold":3"#,
        r#""connection-limit":4294967296"#,
        r#""backup":1"#,
        r#""state":"down""#,
        r#""tunnel":"gre""#,
        r#""forward":"tun","tunnel":"vxlan""#,
        r#""forward":"tun","tunnel":"gue","tunnel-port":0"#,
        r#""forward":"tun","tunnel-checksum":true"#,
    ] {
        let args = format!(r#"{{"service":"web","address":"198.19.1.11",{value}}}"#);
        case = case.control(1, "destination.set", &args);
    }
    for value in [
        r#""deadline":"0s""#,
        r#""deadline":"25h""#,
        r#""deadline":"5m","then":"drop""#,
        r#""then":"reset""#,
        r#""templates":"keep""#,
    ] {
        let args = format!(r#"{{"service":"web","address":"198.19.1.11",{value}}}"#);
        case = case.control(1, "destination.drain", &args);
    }
    for listen in [
        r#""198.18.0.100:0/tcp""#,
        r#""198.18.0.100:90-80/tcp""#,
        r#""198.18.0.100:80/sctp""#,
        r#"["198.18.0.100:81/tcp","198.18.0.100:81/tcp"]"#,
        r#"["198.18.0.100:5000-5100/udp","198.18.0.100:5100-5200/udp"]"#,
        "[]",
    ] {
        case = case.control(1, "service.add", &format!(r#"{{"listen":{listen}}}"#));
    }
    case.d0(to_vip(CLIENT, 80, "S").build()).at(2 * SECOND, "d0", to_vip(CLIENT, 80, "A").build())
}
