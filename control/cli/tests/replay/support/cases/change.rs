//! What time and requests change while packets flow.

use crate::support::Case;
use crate::support::frames::{CLIENT, Place, Tcp, from_real, to_vip, udp_to_vip};

const SECOND: u64 = 1_000_000;

fn web(settings: &str) -> String {
    format!(
        r#"
[[service]]
listen = "198.18.0.100:80/tcp"
name = "web"
scheduler = "rr"
{settings}

[[service.destination]]
address = "198.19.1.11:8080"

[[service.destination]]
address = "198.19.1.12:8080"
"#
    )
}

fn client(last: u8) -> Place {
    ([203, 0, 113, last], 40_000)
}

fn tcp(last: u8, flags: &'static str) -> Vec<u8> {
    to_vip(client(last), 80, flags).build()
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        requests(),
        refused_requests(),
        whole_configuration(),
        removal(
            "reset",
            "The default: the client is told with a reset at its next packet, a reset is not answered.",
        ),
        removal("drop", "As IPVS does: packets of the connections are dropped."),
        removal("keep", "Connections go on until they end; new ones go elsewhere."),
        udp_after_removal(),
        service_removed(),
        expiry(),
        expiry_before_request(),
        reuse(),
    ]
}

fn requests() -> Case {
    let about = "Destinations added, weighted and removed, a scheduler changed, in mid-stream: connections that \
                 are not concerned go on.";
    let mut case = Case::new("requests", about, &web("on-removal = \"keep\""))
        .control(10, "destination.add", r#"{"service":"web","address":"198.19.1.12:9090","weight":2}"#)
        .control(20, "destination.set", r#"{"service":"web","address":"198.19.1.11:8080","weight":0}"#)
        .control(30, "service.set", r#"{"service":"198.18.0.100:80/tcp","scheduler":"wrr"}"#)
        .control(40, "destination.remove", r#"{"service":"web","address":"198.19.1.12:8080"}"#)
        .control(50, "service.add", r#"{"listen":"198.18.0.101:80/tcp","name":"new","forward":"dr","destination":[{"address":"198.19.1.11"}]}"#)
        .control(60, "service.remove", r#"{"service":"new"}"#);
    for step in 0..7u8 {
        let at = u64::from(step) * 10 * SECOND;
        for n in 0..3 {
            let flags = if step == 0 { "S" } else { "A" };
            case = case.at(at + u64::from(n), "d0", tcp(n, flags));
            case = case.at(at + 10 + u64::from(n), "d0", tcp(100 + step * 3 + n, "S"));
        }
        case = case.at(at + 20, "d0", Tcp { to: ([198, 18, 0, 101], 80), ..to_vip(CLIENT, 80, "S") }.build());
    }
    case
}

fn refused_requests() -> Case {
    let about = "A request that cannot be carried out is answered with why, and changes nothing.";
    Case::new("refused-requests", about, &web(""))
        .control(1, "service.remove", r#"{"service":"mail"}"#)
        .control(1, "service.add", r#"{"listen":"198.18.0.100:80/tcp"}"#)
        .control(1, "destination.add", r#"{"service":"web","address":"198.19.1.13:81","forward":"dr"}"#)
        .control(1, "service.set", r#"{"service":"web","syn-proxy":true,"forward":"dr"}"#)
        .control(1, "nonsense.do", "{}")
        .control(1, "config.apply", r#"{"toml":"[[service]]\nlisten = 7\nfoo = 1\n"}"#)
        .control(1, "stats.show", "{}")
        .control(9, "service.remove", r#"{"service":"web"}"#)
        .d0(tcp(1, "S"))
        .at(2 * SECOND, "d0", tcp(2, "S"))
}

fn whole_configuration() -> Case {
    let about = "A whole configuration replaced: the plan first, then for good. What stays the same keeps its \
                 connections, although it is named otherwise and stands elsewhere.";
    let case = Case::new("config-apply", about, &web(""));
    let dns = "\n[[service]]\nlisten = \"198.18.0.100:53/udp\"\n[[service.destination]]\naddress = \"198.19.1.11\"\n";
    let new = case.config_text().replacen("\n[[service]]", &format!("{dns}\n[[service]]"), 1);
    let new = new.replace("name = \"web\"", "name = \"www\"").replace("198.19.1.12:8080", "198.19.1.12:8181");
    let args = serde_json::json!({ "toml": new, "file": "new.toml" }).to_string();
    case.control(1, "config.plan", &args)
        .control(2, "config.apply", &args)
        .d0(tcp(1, "S"))
        .d0(tcp(2, "S"))
        .at(SECOND + 500_000, "d0", udp_to_vip(CLIENT, 53, b"").build())
        .at(3 * SECOND, "d0", tcp(1, "A"))
        .at(3 * SECOND + 1, "d0", tcp(2, "A"))
        .at(3 * SECOND + 2, "d0", udp_to_vip(CLIENT, 53, b"").build())
        .at(3 * SECOND + 3, "d1", from_real(11, 8080, client(1), "A").build())
        .at(3 * SECOND + 4, "d0", tcp(3, "S"))
}

fn removal(policy: &'static str, about: &'static str) -> Case {
    let name = match policy {
        "keep" => "removal-keep",
        "drop" => "removal-drop",
        _ => "removal-reset",
    };
    let gone = r#"{"service":"web","address":"198.19.1.11:8080"}"#;
    Case::new(name, about, &web(&format!("on-removal = \"{policy}\"")))
        .control(1, "destination.remove", gone)
        .control(4, "destination.add", gone)
        // Three connections to the first destination, two to the second.
        .d0(tcp(1, "S"))
        .d0(tcp(2, "S"))
        .d0(tcp(3, "S"))
        .d0(tcp(4, "S"))
        .d0(tcp(5, "S"))
        .d1(from_real(11, 8080, client(1), "SA").build())
        .d0(Tcp { seq: 1001, ..to_vip(client(1), 80, "A") }.build())
        .at(SECOND, "d0", Tcp { seq: 1001, payload: b"data", ..to_vip(client(1), 80, "PA") }.build())
        .at(SECOND + 1, "d0", tcp(2, "A"))
        .at(SECOND + 2, "d0", tcp(3, "R"))
        .at(SECOND + 3, "d1", from_real(11, 8080, client(5), "SA").build())
        // The same client begins again, then a new one.
        .at(SECOND + 4, "d0", tcp(5, "S"))
        .at(SECOND + 5, "d0", tcp(6, "S"))
        .at(2 * SECOND, "d0", tcp(1, "A"))
        // Added again: not the destination that it was, unless it was kept.
        .at(5 * SECOND, "d0", tcp(1, "A"))
        .at(5 * SECOND + 1, "d0", tcp(7, "S"))
        .at(5 * SECOND + 2, "d0", tcp(8, "S"))
}

fn udp_after_removal() -> Case {
    let config = r#"
[[service]]
listen = "198.18.0.100:53/udp"
name = "dns"
scheduler = "rr"
on-removal = "keep"

[[service.destination]]
address = "198.19.1.11:5353"

[[service.destination]]
address = "198.19.1.12:5353"
"#;
    let ask = |last, payload: &'static [u8]| udp_to_vip(client(last), 53, payload).build();
    let about = "UDP entries of a removed destination are dead at once: the next packet goes elsewhere.";
    Case::new("removal-udp", about, config)
        .control(1, "destination.remove", r#"{"service":"dns","address":"198.19.1.11:5353"}"#)
        .d0(ask(1, b"a"))
        .d0(ask(2, b"b"))
        .at(SECOND, "d0", ask(1, b"c"))
        .at(SECOND + 1, "d0", ask(2, b"d"))
}

fn service_removed() -> Case {
    let about = "A removed service's packets are the kernel's; its VIP is no longer answered for.";
    Case::new("service-removed", about, &web("on-removal = \"keep\""))
        .control(1, "service.remove", r#"{"service":"web"}"#)
        .control(2, "service.add", r#"{"listen":"198.18.0.100:80/tcp","name":"web"}"#)
        .d0(tcp(1, "S"))
        .at(SECOND, "d0", tcp(1, "A"))
        .at(SECOND + 1, "d1", from_real(11, 8080, client(1), "SA").build())
        .at(2 * SECOND, "d0", tcp(1, "A"))
        .at(2 * SECOND + 1, "d0", tcp(1, "S"))
}

fn expiry() -> Case {
    let config = web("timeouts = { tcp = \"20s\", tcp-fin = \"5s\", udp = \"3s\" }")
        + &web("timeouts = { udp = \"3s\" }")
            .replace("80/tcp", "53/udp")
            .replace("name = \"web\"", "name = \"dns\"")
            .replace(":8080", ":5353");
    let ask = |last| udp_to_vip(client(last), 53, b"").build();
    let about = "Entries expire never early and at most two seconds late: UDP after 3 s without a packet, \
                 established after 20 s, FIN_WAIT after 5 s. A packet in time begins the time anew.";
    Case::new("expiry", about, &config)
        // Client 1 establishes, client 2 closes from the real server's side.
        .d0(tcp(1, "S"))
        .d0(tcp(2, "S"))
        .d1(from_real(11, 8080, client(1), "SA").build())
        .d1(from_real(12, 8080, client(2), "SA").build())
        .d0(tcp(1, "A"))
        .d0(tcp(2, "A"))
        .d1(from_real(12, 8080, client(2), "FA").build())
        .d0(ask(1))
        .d0(ask(2))
        // In time, twice: the first one lives on, the second one is gone and goes elsewhere.
        .at(3 * SECOND, "d0", ask(1))
        .at(5 * SECOND, "d0", tcp(2, "A"))
        .at(5 * SECOND + 1, "d0", ask(2))
        .at(6 * SECOND, "d0", ask(1))
        .at(13 * SECOND, "d0", tcp(2, "A"))
        .at(20 * SECOND, "d0", tcp(1, "A"))
        .at(43 * SECOND, "d0", tcp(1, "A"))
        .at(43 * SECOND + 1, "d1", from_real(11, 8080, client(1), "A").build())
        // A month later: nothing of it is left.
        .at(31 * 86_400 * SECOND, "d0", ask(1))
}

fn expiry_before_request() -> Case {
    let about = "A request finds what the time before it has left: a connection that was due before its timeout \
                 was made longer has ended.";
    let dns = "\n[[service]]\nlisten = \"198.18.0.100:53/udp\"\nname = \"dns\"\nscheduler = \"rr\"\n\
               timeouts = { udp = \"10s\" }\n[[service.destination]]\naddress = \"198.19.1.11\"\n\
               [[service.destination]]\naddress = \"198.19.1.12\"\n";
    let query = || udp_to_vip(CLIENT, 53, b"").build();
    Case::new("expiry-before-request", about, dns)
        .control(50, "service.set", r#"{"service":"dns","timeouts":{"udp":"900s"}}"#)
        .d0(query())
        .at(100 * SECOND, "d0", query())
        .at(900 * SECOND, "d0", query())
}

fn reuse() -> Case {
    let about = "A SYN on a connection in TIME_WAIT is scheduled afresh at once; under NAT one in FIN_WAIT keeps \
                 its entry.";
    let real = |last: u8, to: u8, flags| from_real(last, 8080, client(to), flags).build();
    Case::new("reuse", about, &web(""))
        // Client 1 to the first destination: closed from both sides.
        .d0(tcp(1, "S"))
        .d1(real(11, 1, "SA"))
        .d0(tcp(1, "A"))
        .d1(real(11, 1, "FA"))
        .d0(tcp(1, "FA"))
        .d1(real(11, 1, "A"))
        // Client 2 to the second one: closed from one side.
        .d0(tcp(2, "S"))
        .d1(real(12, 2, "SA"))
        .d0(tcp(2, "A"))
        .d1(real(12, 2, "FA"))
        // Client 3 to the first one: the next would be the second.
        .d0(tcp(3, "S"))
        .d0(tcp(1, "S"))
        .d0(tcp(2, "S"))
        .d0(tcp(4, "S"))
}
