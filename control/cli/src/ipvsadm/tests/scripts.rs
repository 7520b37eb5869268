//! Scripts as they are found on directors, run through the drop-in from their first line to their last.

use super::*;
use crate::ipvsadm::imported;

/// A script: what it is, its text, how many services and real servers it makes, and the lines that are refused.
struct Script {
    name: &'static str,
    text: &'static str,
    makes: (usize, usize),
    refused: &'static [&'static str],
}

const SCRIPTS: &[Script] = &[
    Script {
        name: "the first example of the manual: NAT, five real servers",
        text: include_str!("scripts/nat.sh"),
        makes: (1, 5),
        refused: &[],
    },
    Script {
        name: "direct routing, web and mail, a quiesced server",
        text: include_str!("scripts/dr.sh"),
        makes: (3, 7),
        refused: &[],
    },
    Script {
        name: "tunnelling, over both families and all three headers",
        text: include_str!("scripts/tun.sh"),
        makes: (2, 6),
        refused: &["remote checksum offload"],
    },
    Script {
        name: "firewall marks: a web site with and without TLS",
        text: include_str!("scripts/fwmark.sh"),
        makes: (2, 4),
        refused: &[],
    },
    Script {
        name: "persistent FTP and every port of an address",
        text: include_str!("scripts/ftp.sh"),
        makes: (3, 6),
        refused: &[],
    },
    Script {
        name: "a set as ipvsadm saves it",
        text: include_str!("scripts/saved.rules"),
        makes: (4, 9),
        refused: &[],
    },
    Script {
        name: "a life: servers come, change and go",
        text: include_str!("scripts/life.sh"),
        makes: (1, 2),
        refused: &["Service already exists", "No such destination"],
    },
    Script { name: "IPv6", text: include_str!("scripts/ipv6.sh"), makes: (2, 4), refused: &[] },
    Script {
        name: "DNS by single packets, hashing with flags, thresholds, timeouts",
        text: include_str!("scripts/options.sh"),
        makes: (4, 6),
        refused: &[],
    },
];

#[test]
fn scripts_of_the_field_run_to_their_end() {
    let unknown = ["192.0.2.1:1/tcp", "[2001:db8::1]:1/tcp"].map(|listen| listen.parse().expect("a listen"));
    for Script { name, text, makes, refused } in SCRIPTS {
        let import = imported(text, unknown);
        let counts = (
            import.config.services.len(),
            import.config.services.iter().map(|service| service.destinations.len()).sum::<usize>(),
        );
        assert_eq!(counts, *makes, "{name}: {:#?}", import.refused);
        // What is none of ipvsadm's belongs to the shell.
        let ours: Vec<&String> = import
            .refused
            .iter()
            .map(|(_, why)| why)
            .filter(|why| !why.ends_with("it is no command of ipvsadm"))
            .collect();
        assert_eq!(ours.len(), refused.len(), "{name}: {ours:#?}");
        for (why, wanted) in ours.iter().zip(*refused) {
            assert!(why.contains(wanted), "{name}: {why}");
        }
        let mut config = import.config;
        config.services.retain(|service| unknown.iter().all(|listen| service.listens != [*listen]));
        let invalid: Vec<String> = validate(&config)
            .into_iter()
            .filter(|error| error.kind == ConfigErrorKind::Invalid)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(invalid, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn timeouts_are_set_for_all_services() {
    let config = made("--set 3600 0 60\n");
    let timeouts = config.director.timeouts;
    assert_eq!((timeouts.tcp.as_secs(), timeouts.tcp_fin.as_secs(), timeouts.udp.as_secs()), (3600, 120, 60));
    let refusal = run(&mut made(""), "--set 43201 0 0").expect_err("more than 12 hours");
    assert_eq!((refusal.code, refusal.text.lines().count()), (2, 1), "{}", refusal.text);
}
