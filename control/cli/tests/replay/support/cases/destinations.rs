//! The life of a destination: limits, backups, the sorry server, slow start, states, drains, the local node.

use crate::support::Case;
use crate::support::frames::{IP, Ip, Place, Tcp, from_real, to_vip, udp_to_vip};

const SECOND: u64 = 1_000_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        limits(),
        backups(),
        sorry(),
        slow_start(),
        drain_then_reset(),
        drain_then_keep(),
        drain_called_off(),
        maint(),
        local_node(),
    ]
}

fn service(keys: &str, destinations: &[&str]) -> String {
    let head = format!("\n[[service]]\nlisten = \"198.18.0.100:80/tcp\"\nname = \"web\"\n{keys}\n");
    destinations.iter().fold(head, |text, keys| text + "\n[[service.destination]]\n" + keys + "\n")
}

const FIRST: &str = "address = \"198.19.1.11:8080\"";
const SECOND_ONE: &str = "address = \"198.19.1.12:8080\"";

fn client(last: u8) -> Place {
    ([203, 0, 113, last], 40_000)
}

fn tcp(last: u8, flags: &'static str) -> Vec<u8> {
    to_vip(client(last), 80, flags).build()
}

/// Connections of clients, each established, from a time on.
fn establish(mut case: Case, at: u64, clients: std::ops::RangeInclusive<u8>) -> Case {
    for (n, last) in (0u64..).zip(clients) {
        case = case.at(at + 10 * n, "d0", tcp(last, "S")).at(at + 10 * n + 5, "d0", tcp(last, "A"));
    }
    case
}

fn on_first(keys: &str) -> String {
    format!(r#"{{"service":"web","address":"198.19.1.11:8080",{keys}}}"#)
}

fn limits() -> Case {
    let first = format!("{FIRST}\nupper-threshold = 3\nlower-threshold = 2");
    let second = format!("{SECOND_ONE}\nconnection-limit = 2");
    let about = "A destination is overloaded when it reaches its upper threshold, until it falls below the lower one; \
                 one with a limit never has more. Connections that are closed count until they expire.";
    let case = Case::new("limits", about, &service("scheduler = \"rr\"", &[&first, &second]));
    let case = establish(case, 0, 1..=7)
        // One less is not below the lower threshold: two are needed.
        .at(SECOND, "d0", tcp(1, "R"))
        .at(14 * SECOND, "d0", tcp(8, "S"))
        .at(14 * SECOND + 10, "d0", tcp(3, "R"))
        .at(28 * SECOND, "d0", tcp(9, "S"));
    case.at(28 * SECOND + 10, "d0", tcp(10, "S")).at(28 * SECOND + 20, "d0", tcp(11, "S"))
}

fn backups() -> Case {
    let third = "address = \"198.19.1.12:9090\"\nbackup = true";
    let about = "A backup takes connections only while fewer than backup-below others may be used.";
    let config = service("scheduler = \"rr\"\nbackup-below = 2", &[FIRST, SECOND_ONE, third]);
    let mut case = Case::new("backups", about, &config)
        .control(1, "destination.set", &on_first("\"state\":\"drain\""))
        .control(2, "service.set", r#"{"service":"web","backup-below":1}"#)
        .control(3, "destination.set", r#"{"service":"web","address":"198.19.1.12:8080","weight":0}"#)
        .control(4, "destination.set", &on_first("\"state\":\"ready\""));
    for step in 0..5u8 {
        for n in 0..3 {
            let at = u64::from(step) * SECOND + 10 + u64::from(n);
            case = case.at(at, "d0", tcp(1 + step * 3 + n, "S"));
        }
    }
    case
}

fn sorry() -> Case {
    let first = format!("{FIRST}\nconnection-limit = 1");
    let keys = "sorry = { address = \"198.19.1.12:9090\" }";
    let about = "When no destination can take a connection, the sorry server does. Its connections stay with it when \
                 one can again.";
    let case = Case::new("sorry", about, &service(keys, &[&first]))
        .control(1, "destination.set", &on_first("\"connection-limit\":0"))
        .control(2, "service.set", r#"{"service":"web","sorry":null}"#);
    establish(case, 0, 1..=3)
        .at(100, "d1", from_real(12, 9090, client(2), "A").build())
        .at(SECOND + 10, "d0", tcp(4, "S"))
        .at(SECOND + 20, "d0", tcp(2, "A"))
        // Without the sorry server its connections are those of a destination that was removed.
        .at(2 * SECOND + 10, "d0", tcp(2, "A"))
}

fn slow_start() -> Case {
    let about = "A destination that was added to a service grows to its weight over slow-start, and so does one that \
                 takes connections again: wlc gives it few connections first, then more, then its share.";
    let config = service("slow-start = \"10s\"\nscheduler = \"sed\"", &[FIRST]);
    let second = r#"{"service":"web","address":"198.19.1.12:8080"}"#;
    let mut case = Case::new("slow-start", about, &config)
        .control(1, "destination.add", second)
        .control(20, "destination.set", &on_first("\"state\":\"drain\""))
        .control(21, "destination.set", &on_first("\"state\":\"ready\""));
    // As many as there are in a second, which end at once.
    for (n, second) in (0u8..).zip([0u64, 1, 2, 4, 6, 8, 10, 12, 20, 21, 24, 28, 32]) {
        for m in 0..6u8 {
            let (at, last) = (second * SECOND + 1000 + u64::from(m) * 10, n * 6 + m);
            case = case.at(at, "d0", tcp(last, "S"));
        }
        for m in 0..6u8 {
            let (at, last) = (second * SECOND + 2000 + u64::from(m) * 10, n * 6 + m);
            case = case.at(at, "d0", tcp(last, "A")).at(at + 5, "d0", tcp(last, "R"));
        }
    }
    case
}

/// Four connections, two on each; a drain of the first destination from second 1 to second 6.
fn drained(name: &'static str, about: &str, then: &str) -> Case {
    let about: &'static str = about.to_owned().leak();
    let config = service("scheduler = \"rr\"\non-removal = \"drop\"", &[FIRST, SECOND_ONE]);
    let case = Case::new(name, about, &config).control(
        1,
        "destination.drain",
        &on_first(&format!("\"deadline\":\"5s\",\"then\":\"{then}\"")),
    );
    let case = establish(case, 0, 1..=4)
        .at(SECOND + 10, "d0", tcp(5, "S"))
        .at(SECOND + 20, "d0", tcp(6, "S"))
        .at(SECOND + 30, "d0", tcp(1, "A"));
    // To the microsecond.
    [6 * SECOND - 1, 6 * SECOND].into_iter().fold(case, |case, at| {
        case.at(at, "d0", tcp(1, "A")).at(at, "d0", tcp(2, "A")).at(
            at,
            "d1",
            from_real(11, 8080, client(1), "A").build(),
        )
    })
}

fn drain_then_reset() -> Case {
    let about = "A drained destination gets no new connections and keeps those that it has; exactly at the deadline the \
                 rest is reset, whatever the service's on-removal is. Others notice nothing, and nothing revives.";
    drained("drain-reset", about, "reset")
        .at(7 * SECOND, "d0", tcp(3, "A"))
        .at(7 * SECOND + 10, "d0", tcp(3, "S"))
        .control(8, "destination.set", &on_first("\"state\":\"ready\""))
        .at(8 * SECOND + 10, "d0", tcp(1, "A"))
        .at(8 * SECOND + 20, "d0", tcp(7, "S"))
        .at(8 * SECOND + 30, "d0", tcp(8, "S"))
}

fn drain_then_keep() -> Case {
    let about = "The same with then = keep: the rest goes on after the deadline.";
    drained("drain-keep", about, "keep").at(60 * SECOND, "d0", tcp(3, "A")).at(
        60 * SECOND + 10,
        "d0",
        tcp(9, "S"),
    )
}

fn drain_called_off() -> Case {
    let about = "A drain that is called off before its deadline resets nothing.";
    drained("drain-called-off", about, "reset")
        .control(5, "destination.set", &on_first("\"state\":\"ready\""))
        .at(7 * SECOND, "d0", tcp(3, "A"))
        .at(7 * SECOND + 10, "d0", tcp(7, "S"))
        .at(7 * SECOND + 20, "d0", tcp(8, "S"))
}

fn maint() -> Case {
    let dns = r#"
[[service]]
listen = "198.18.0.100:53/udp"
name = "dns"
scheduler = "rr"

[[service.destination]]
address = "198.19.1.11:5353"

[[service.destination]]
address = "198.19.1.12:5353"
"#;
    let about = "A destination in maintenance is as if it were removed: its TCP connections go by on-removal, UDP goes \
                 elsewhere at once. When it is ready again it gets new connections, and none of its old ones revives.";
    let ask = |last| udp_to_vip(client(last), 53, b"question").build();
    let on_dns = |state| format!(r#"{{"service":"dns","address":"198.19.1.11:5353","state":"{state}"}}"#);
    let config = service("scheduler = \"rr\"", &[FIRST, SECOND_ONE]) + dns;
    let case = Case::new("maint", about, &config)
        .control(1, "destination.set", &on_first("\"state\":\"maint\""))
        .control(1, "destination.set", &on_dns("maint"))
        .control(2, "destination.set", &on_first("\"state\":\"ready\""))
        .control(2, "destination.set", &on_dns("ready"));
    establish(case, 0, 1..=4)
        .at(100, "d0", ask(1))
        .at(110, "d0", ask(2))
        .at(SECOND + 10, "d0", tcp(1, "A"))
        .at(SECOND + 20, "d0", tcp(2, "A"))
        .at(SECOND + 30, "d0", tcp(5, "S"))
        .at(SECOND + 40, "d0", ask(1))
        .at(2 * SECOND + 10, "d0", tcp(3, "A"))
        .at(2 * SECOND + 20, "d0", tcp(6, "S"))
        .at(2 * SECOND + 30, "d0", tcp(7, "S"))
        .at(2 * SECOND + 40, "d0", ask(1))
        .at(2 * SECOND + 50, "d0", ask(3))
}

fn local_node() -> Case {
    let local = "address = \"198.18.0.100\"\nforward = \"local\"";
    let about = "The director's own stack as a destination: its packets are left to the kernel as they came, and its \
                 connections are counted. No TTL is too small for it.";
    let case = Case::new("local-node", about, &service("scheduler = \"lc\"", &[local, FIRST]));
    let old = |last, flags| Tcp { ip: Ip { ttl: 1, ..IP }, ..to_vip(client(last), 80, flags) }.build();
    establish(case, 0, 1..=4)
        .at(SECOND, "d0", tcp(1, "FA"))
        .at(SECOND + 10, "d0", old(5, "S"))
        .at(SECOND + 20, "d0", old(5, "A"))
        .at(SECOND + 30, "d0", old(2, "A"))
        .at(SECOND + 40, "d0", old(6, "S"))
}
