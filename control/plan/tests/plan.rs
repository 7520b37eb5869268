//! Configurations in, printed plans out.

use sheave_plan::{Desired, Plan};
use sheave_proto::config::parse;

fn desired(text: &str) -> Desired {
    let config = parse(text, "test.toml").expect("a valid configuration");
    Desired::new(config).expect("valid")
}

/// The lines of the plan from one configuration to another.
fn plan(old: &str, new: &str) -> Vec<String> {
    let plan = Plan::diff(&desired(old), &desired(new));
    assert_eq!(plan.is_empty(), plan.to_string() == "no change");
    plan.changes.iter().map(ToString::to_string).collect()
}

const BASE: &str = r#"
    [[interface]]
    name = "d0"
    addresses = ["198.18.0.1/24"]

    [[interface]]
    name = "d1"

    [[neighbour]]
    address = "198.19.1.11"
    mac = "02:00:00:00:01:11"
    interface = "d1"

    [[route]]
    to = "0.0.0.0/0"
    via = "198.18.0.2"
    interface = "d0"

    [[service]]
    listen = "198.18.0.100:80/tcp"
    name = "web"
    [[service.destination]]
    address = "198.19.1.11:8080"
    [[service.destination]]
    address = "198.19.1.12:8080"

    [[service]]
    listen = "198.18.0.100:53/udp"
    forward = "dr"
    [[service.destination]]
    address = "198.19.1.11"
"#;

#[test]
fn each_change_is_one_line() {
    // What is replaced in the base, by what, and the plan.
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "8080\"\n    [[service.destination]]",
            "8080\"\n    weight = 3\n    [[service.destination]]",
            &["~ destination web 198.19.1.11:8080: weight 1 -> 3"],
        ),
        (
            "name = \"web\"",
            "name = \"web\"\n    scheduler = \"rr\"\n    timeouts = { tcp = \"20m\", udp = \"10s\" }",
            &["~ service web: scheduler wlc -> rr, timeouts tcp default -> 20m, timeouts udp default -> 10s"],
        ),
        (
            "name = \"web\"",
            "name = \"web\"\n    on-removal = \"keep\"\n    interface = \"d1\"",
            &["~ service web: interface default -> d1, on-removal reset -> keep"],
        ),
        ("name = \"web\"", "name = \"www\"", &["~ service www: name web -> www"]),
        (
            "listen = \"198.18.0.100:80/tcp\"",
            "listen = \"198.18.0.101:80/tcp\"",
            &["~ service web: listen [198.18.0.100:80/tcp] -> [198.18.0.101:80/tcp]"],
        ),
        (
            "198.19.1.12:8080",
            "198.19.1.13:8081",
            &["- destination web 198.19.1.12:8080", "+ destination web 198.19.1.13:8081: nat, weight 1"],
        ),
        (
            "forward = \"dr\"",
            "forward = \"tun\"",
            &[
                "~ service 198.18.0.100:53/udp: forward dr -> tun",
                "~ destination 198.18.0.100:53/udp 198.19.1.11:53: forward dr -> tun",
            ],
        ),
        (
            "02:00:00:00:01:11",
            "02:00:00:00:01:99",
            &["~ neighbour 198.19.1.11: mac 02:00:00:00:01:11 -> 02:00:00:00:01:99"],
        ),
        ("via = \"198.18.0.2\"", "", &["~ route 0.0.0.0/0: via 198.18.0.2 on d0 -> on d0"]),
        ("0.0.0.0/0", "198.20.0.0/16", &["- route 0.0.0.0/0", "+ route 198.20.0.0/16: via 198.18.0.2 on d0"]),
        (
            "addresses = [\"198.18.0.1/24\"]",
            "mtu = 9000\n mode = \"copy\"",
            &["~ interface d0: mode auto -> copy, addresses [198.18.0.1/24] -> default, mtu default -> 9000"],
        ),
    ];
    for (from, to, want) in cases {
        let new = BASE.replacen(from, to, 1);
        assert_eq!(plan(BASE, &new), *want, "{from} -> {to}");
    }
}

#[test]
fn whole_objects_come_and_go() {
    assert_eq!(plan(BASE, BASE), [""; 0]);
    assert_eq!(
        plan("", BASE),
        [
            "+ interface d0",
            "+ interface d1",
            "+ neighbour 198.19.1.11: 02:00:00:00:01:11 on d1",
            "+ route 0.0.0.0/0: via 198.18.0.2 on d0",
            "+ service web: [198.18.0.100:80/tcp], wlc, nat",
            "+ destination web 198.19.1.11:8080: nat, weight 1",
            "+ destination web 198.19.1.12:8080: nat, weight 1",
            "+ service 198.18.0.100:53/udp: [198.18.0.100:53/udp], wlc, dr",
            "+ destination 198.18.0.100:53/udp 198.19.1.11:53: dr, weight 1",
        ]
    );
    assert_eq!(
        plan(BASE, ""),
        [
            "- interface d0",
            "- interface d1",
            "- neighbour 198.19.1.11",
            "- route 0.0.0.0/0",
            "- service web",
            "- service 198.18.0.100:53/udp",
        ]
    );
}

#[test]
fn what_waits_for_a_restart_says_so() {
    let new = r#"
        [director]
        name = "a"
        cores = [1, 2]
        wait = "busy"
        max-connections = 2_000_000
        hash-key = "x"
    "#;
    assert_eq!(
        plan("", new),
        [
            "~ director: name default -> a",
            "! director: cores auto -> [1 2], wait adaptive -> busy, max-connections 1000000 -> 2000000, \
             hash-key \"sheave\" -> \"x\" (at the next start)",
        ]
    );
    let plan = Plan::diff(&desired(""), &desired(new));
    assert!(plan.needs_restart());
    assert!(!Plan::diff(&desired(""), &desired("[director]\nname = \"a\"")).needs_restart());
}

#[test]
fn the_order_of_destinations_is_a_change_and_that_of_services_is_none() {
    let two = |first: &str, second: &str| {
        format!(
            "[[service]]\nlisten = \"198.18.0.100:80/tcp\"\n\
             [[service.destination]]\naddress = \"{first}\"\n[[service.destination]]\naddress = \"{second}\"\n"
        )
    };
    assert_eq!(
        plan(&two("198.19.1.1", "198.19.1.2"), &two("198.19.1.2", "198.19.1.1")),
        ["~ service 198.18.0.100:80/tcp: order of destinations"]
    );
    assert_eq!(
        plan(&two("198.19.1.1", "198.19.1.2"), &two("198.19.1.1:80", "198.19.1.2")),
        [""; 0],
        "the port that it has anyway"
    );
    let service = |port: u16| format!("[[service]]\nlisten = \"198.18.0.100:{port}/tcp\"\n");
    assert_eq!(plan(&(service(1) + &service(2)), &(service(2) + &service(1))), [""; 0]);
}

#[test]
fn a_plan_reads_the_same_in_the_control_api() {
    let plan = Plan::diff(&desired(""), &desired(BASE));
    let lines: Vec<_> = plan.report().iter().map(ToString::to_string).collect();
    assert_eq!(lines.join("\n"), plan.to_string());
    assert_eq!(plan.report().last().map(|change| change.detail.as_str()), Some("dr, weight 1"));
}
