//! `sheave import` and `sheave export`: what comes out for what others are configured with.
//!
//! Each input under `cases/` has its output beside it; `REGEN=1 cargo test -p sheave-cli --test import` writes them anew,
//! for review as a diff. keepalived itself checks that its inputs are what it takes.

use sheave_proto::config::{Config, ConfigErrorKind, parse};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Every case: the verb and the input.
const CASES: [(&str, &str); 6] = [
    ("keepalived", "web.conf"),
    ("keepalived", "groups.conf"),
    ("keepalived", "conf.d/ipv6.conf"),
    ("lvs-cf", "nat.cf"),
    ("lvs-cf", "dr.cf"),
    ("ipvsadm", "site.sh"),
];

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/cases")
}

/// Runs sheave where the inputs are, so that outputs name them shortly.
fn sheave(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sheave"));
    command.current_dir(cases()).args(args).output().expect("sheave runs")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("UTF-8")
}

fn import(verb: &str, input: &str) -> String {
    let ran = sheave(&["import", verb, input]);
    assert_eq!((ran.status.code(), text(ran.stderr)), (Some(0), String::new()), "{input}");
    text(ran.stdout)
}

/// An output without what the director of this version does not do yet.
fn lasting(output: &str) -> String {
    let line = |line: &&str| !line.contains(" is not supported yet: ");
    output.lines().filter(line).flat_map(|line| [line, "\n"]).collect()
}

/// The configuration of an output; what is only not supported yet does not count.
fn config(output: &str) -> Option<Config> {
    match parse(output, "output") {
        Ok(config) => Some(config),
        Err(errors) => {
            let invalid: Vec<String> = errors
                .iter()
                .filter(|error| error.kind == ConfigErrorKind::Invalid)
                .map(ToString::to_string)
                .collect();
            assert_eq!(invalid, Vec::<String>::new(), "{output}");
            None
        }
    }
}

#[test]
fn each_input_comes_to_the_output_beside_it() {
    for (verb, input) in CASES {
        let file = cases().join(format!("{input}.toml"));
        let output = lasting(&import(verb, input));
        if std::env::var_os("REGEN").is_some() {
            std::fs::write(&file, &output).expect("writable");
        }
        let there = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(output, there, "{}: REGEN=1 writes it anew", file.display());
        config(&output);
    }
}

#[test]
fn remarks_that_wait_are_toml_when_they_are_made_active() {
    for (verb, input) in CASES {
        let output = import(verb, input);
        let mut blocks: Vec<String> = Vec::new();
        let mut inside = false;
        for line in output.lines() {
            match line.strip_prefix('#').map(|rest| rest.strip_prefix(' ').unwrap_or(rest)) {
                Some(head) if head.contains(": not active") => {
                    blocks.push(String::new());
                    inside = true;
                }
                Some(rest) if inside => {
                    let block = blocks.last_mut().expect("it was opened");
                    block.push_str(rest);
                    block.push('\n');
                }
                _ => inside = false,
            }
        }
        for block in blocks {
            let read: Result<toml::Table, _> = toml::from_str(&block);
            assert!(read.is_ok_and(|table| !table.is_empty()), "{input}:\n{block}");
        }
    }
}

/// Words that say what a statement is, or have another word of ours for them.
const STRUCTURE: [&str; 29] = [
    "virtual_server",
    "virtual_server_group",
    "real_server",
    "lb_algo",
    "lvs_sched",
    "lb_kind",
    "lvs_method",
    "NAT",
    "DR",
    "TUN",
    "TCP",
    "UDP",
    "type",
    "port",
    "csum",
    "nocsum",
    "group",
    "persistence_timeout",
    "persistence_granularity",
    "protocol",
    "flag-1",
    "ops",
    "include",
    "uthreshold",
    "lthreshold",
    "router_id",
    "lvs_timeouts",
    "tcpfin",
    "50",
];

#[test]
fn no_word_of_an_input_is_lost() {
    for (_, input) in CASES.into_iter().filter(|(verb, _)| *verb == "keepalived") {
        let source = std::fs::read_to_string(cases().join(input)).expect("an input");
        let output = import("keepalived", input);
        for (number, line) in (1..).zip(source.lines()) {
            let line = line.split('#').next().unwrap_or_default();
            // What an included file says is a case of its own.
            let included = line.starts_with("include ");
            if included
                || line.trim_start().starts_with(['$', '!'])
                || output.contains(&format!("{input}:{number}: "))
            {
                continue;
            }
            let words = line.split(['"', ' ', '{', '}', '$']).filter(|word| !word.is_empty());
            for word in words.filter(|word| !STRUCTURE.contains(word) && !word.starts_with("REAL_")) {
                let kebab = word.to_lowercase().replace('_', "-");
                let known = [word.to_owned(), kebab, format!("{word}s"), word.replace("255.255.255.0", "24")];
                let known = known.iter().any(|known| output.contains(known.as_str()));
                let range = word.contains('-') && output.contains("198.18.0.102:80");
                let seconds = ["1800", "60", "300", "600"].contains(&word)
                    || word == "sorry_server"
                    || word == "inhibit_on_failure";
                assert!(known || range || seconds, "{input}:{number}: {word:?} is lost:\n{output}");
            }
        }
    }
}

#[test]
fn keepalived_takes_the_inputs_of_its_importer() {
    for (_, input) in CASES.into_iter().filter(|(verb, _)| *verb == "keepalived") {
        let ran = Command::new("keepalived").current_dir(cases()).args(["-t", "-f", input]).output();
        let ran = ran.expect("keepalived is installed: 'make deps' does it");
        assert!(ran.status.success(), "{input}: {}", text(ran.stderr));
    }
}

#[test]
fn services_are_what_they_were() {
    let config = config(&import("keepalived", "web.conf"));
    let toml = import("keepalived", "web.conf");
    // What the director cannot do yet is in the output all the same.
    for wanted in [
        "name = \"LVS_A\"",
        "timeouts = { tcp = \"30m\", tcp-fin = \"1m\", udp = \"30s\" }",
        "scheduler = \"wrr\"",
        "persistence = { timeout = \"50s\", netmask = 24 }",
        "sorry = { address = \"198.19.1.99:80\" }",
        "upper-threshold = 1000\nlower-threshold = 800",
        "listen = \"198.18.0.100:443/tcp\"\nscheduler = \"wlc\"\nforward = \"dr\"",
        "address = \"198.19.1.12\"\nweight = 1\nforward = \"tun\"",
        "# [[vrrp-instance]]",
        "# virtual-ipaddress = [",
        "# quorum-up = \"/bin/true up\"",
        "# path = \"/a page\"",
    ] {
        assert!(toml.contains(wanted), "{wanted} is not in:\n{toml}");
    }
    assert!(config.is_none_or(|config| config.services.len() == 3));
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("import");
    std::fs::create_dir_all(&place).expect("writable");
    let wrong = |verb: &str, name: &str, input: &str| {
        std::fs::write(place.join(name), input).expect("writable");
        let file = place.join(name).display().to_string();
        let ran = sheave(&["import", verb, &file]);
        assert_eq!((ran.status.code(), ran.stdout.len()), (Some(2), 0), "{input}");
        text(ran.stderr).replace(&file, "FILE")
    };
    let remedy = "correct it and import again\n";
    let said = wrong("keepalived", "open.conf", "a\nvirtual_server 198.18.0.1 80 {\n");
    assert_eq!(said, format!("error: FILE:2: '{{' is not closed: {remedy}"));
    let said = wrong("lvs-cf", "close.cf", "service = lvs\n}\n");
    assert_eq!(said, format!("error: FILE:2: '}}' closes nothing: {remedy}"));
    let ran = sheave(&["import", "ipvsadm", "/nonexistent/rules"]);
    assert_eq!(ran.status.code(), Some(2));
    let said = "error: /nonexistent/rules: there is no such file: name a file to import\n";
    assert_eq!(text(ran.stderr), said);
}

/// keepalived complains of it, and goes on.
#[test]
fn without_a_protocol_it_is_udp_and_said_so() {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("import");
    std::fs::create_dir_all(&place).expect("writable");
    let file = place.join("bare.conf");
    let bare = "virtual_server 198.18.0.110 514 {\n lb_algo rr\n lb_kind NAT\n real_server 198.19.1.11 514 {\n  weight 1\n }\n}\n";
    std::fs::write(&file, bare).expect("writable");
    let output = import("keepalived", &file.display().to_string());
    assert!(output.contains("listen = \"198.18.0.110:514/udp\""), "{output}");
    assert!(output.contains(":1: no protocol is set, and keepalived takes UDP then"), "{output}");
    let said =
        Command::new("keepalived").args(["-t", "-f"]).arg(&file).output().expect("keepalived is installed");
    assert!(text(said.stderr).contains("no protocol set - defaulting to UDP"));
}

#[test]
fn rules_come_back_from_an_export() {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export");
    std::fs::create_dir_all(&place).expect("writable");
    let rules = "\
-A -t 198.18.0.100:80 -s wrr
-a -t 198.18.0.100:80 -r 198.19.1.11:8080 -m -w 3
-a -t 198.18.0.100:80 -r 198.19.1.12:80 -g -w 0
-A -u 198.18.0.100:53 -s wlc
-a -u 198.18.0.100:53 -r 198.19.1.13:53 -i -w 1 --tun-type ipip
";
    std::fs::write(place.join("rules"), rules).expect("writable");
    let file = place.join("rules").display().to_string();
    let toml = place.join("rules.toml");
    std::fs::write(&toml, import("ipvsadm", &file)).expect("writable");
    let ran = sheave(&["export", "ipvsadm", &toml.display().to_string()]);
    assert_eq!(
        (ran.status.code(), text(ran.stderr), text(ran.stdout)),
        (Some(0), String::new(), rules.to_owned())
    );
    let ran = sheave(&["export", "ipvsadm", &toml.display().to_string(), "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!((json["rules"].as_str(), json["left-out"].as_array().map(Vec::len)), (Some(rules), Some(0)));
    let named = "[[service]]\nname = \"web\"\nlisten = \"198.18.0.100:80/tcp\"\non-removal = \"keep\"\n";
    std::fs::write(&toml, named).expect("writable");
    let ran = sheave(&["export", "ipvsadm", &toml.display().to_string()]);
    assert_eq!(text(ran.stderr), "note: service web: rules cannot say its name, on-removal\n");
    assert_eq!(text(ran.stdout), "-A -t 198.18.0.100:80 -s wlc\n");
}
