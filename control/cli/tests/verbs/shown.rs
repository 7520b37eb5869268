//! What people are shown: tests/verbs/shown/VERB.txt, byte for byte. `REGEN=1 cargo test -p sheave-cli --test verbs`
//! writes the files anew, for review as a diff.

use crate::answers::{ok, reply};
use crate::director::{Director, Ran, Reply};
use serde_json::{Value, json};
use sheave_proto::api::Op;
use std::path::Path;

/// Each verb that prints a table, and the name of its file.
const VERBS: [(&str, &[&str]); 17] = [
    ("status", &["status"]),
    ("service-list", &["service", "list"]),
    ("service-show", &["service", "show", "web"]),
    ("service-edit", &["service", "edit", "web", "--scheduler", "rr"]),
    ("destination-list", &["destination", "list"]),
    ("destination-show", &["destination", "show", "web", "198.19.1.12"]),
    ("destination-remove", &["destination", "remove", "web", "198.19.1.12"]),
    ("reload", &["reload"]),
    ("stats", &["stats"]),
    ("connections", &["connections"]),
    ("sticky-list", &["sticky", "list"]),
    ("sticky-clear", &["sticky", "clear", "--client", "192.0.2.7"]),
    ("neighbours", &["neighbours"]),
    ("workers", &["workers"]),
    ("counters", &["counters"]),
    ("counters-all", &["counters", "--all"]),
    ("config-show", &["config", "show"]),
];

#[test]
fn every_table_is_as_it_was_reviewed() {
    for (name, args) in VERBS {
        let director = Director::new(&format!("shown-{name}"), reply);
        let ran = director.run(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{name}");
        assert_eq!(director.asked().len(), 1, "{name}");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/verbs/shown/{name}.txt"));
        if std::env::var_os("REGEN").is_some() {
            std::fs::write(&file, &ran.out).expect("writable");
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(ran.out, expected, "{name}.txt: REGEN=1 writes it anew");
    }
}

#[test]
fn lines_of_tables_do_not_trail_and_hold_no_tabs() {
    for (name, args) in VERBS {
        let director = Director::new(&format!("trail-{name}"), reply);
        let ran = director.run(args);
        assert!(ran.out.ends_with('\n'), "{name}");
        let bad = ran.out.lines().find(|line| line.ends_with(' ') || line.contains('\t'));
        assert_eq!(bad, None, "{name}");
    }
}

/// What a verb prints when the answer is this one.
fn shows(name: &str, args: &[&str], answer: Value) -> String {
    let director = Director::new(name, move |request| Reply::Bytes(ok(request, &answer)));
    let ran = director.run(args);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    ran.out
}

#[test]
fn nothing_is_said_in_words() {
    let as_of = 1.0;
    let none = |key: &str| json!({ "as-of": as_of, key: [] });
    let services = "no services: add one with 'sheave service add ADDRESS:PORT/PROTO'\n";
    assert_eq!(shows("no-services", &["service", "list"], none("services")), services);
    let destinations = "no destinations: add one with 'sheave destination add SERVICE ADDRESS'\n";
    assert_eq!(shows("no-destinations", &["destination", "list"], none("destinations")), destinations);
    assert_eq!(shows("no-connections", &["connections"], none("entries")), "no connections\n");
    assert_eq!(shows("no-templates", &["sticky", "list"], none("entries")), "no templates\n");
    assert_eq!(shows("no-neighbours", &["neighbours"], none("neighbours")), "no neighbours\n");
    let change = json!({ "as-of": as_of, "epoch": 7, "changes": [] });
    assert_eq!(shows("no-change", &["reload"], change), "no change\n");
    let counters = "nothing was counted yet: --all shows what is counted\n";
    assert_eq!(shows("no-counters", &["counters"], none("counters")), counters);
}

#[test]
fn an_answer_of_a_newer_director_is_printed_whole_as_json_and_understood_as_text() {
    let newer = json!({ "as-of": 1.0, "services": [], "new-key": { "deep": [1, 2] } });
    let again = newer.clone();
    let director = Director::new("newer", move |request| Reply::Bytes(ok(request, &newer)));
    let Ran { code, out, .. } = director.run(&["--json", "service", "list"]);
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON"), again);
    shows("newer-text", &["service", "list"], again);
}

#[test]
fn a_destination_is_found_by_its_address_with_or_without_its_port() {
    for (name, address) in [("found-1", "198.19.1.11"), ("found-2", "198.19.1.11:8080")] {
        let director = Director::new(name, reply);
        let ran = director.run(&["destination", "show", "web", address, "--json"]);
        let shown: Value = serde_json::from_str(&ran.out).expect("JSON");
        let addresses: Vec<_> = shown["destinations"].as_array().expect("a list").iter().collect();
        assert_eq!(addresses.len(), 1, "{address}");
        assert_eq!(addresses[0]["address"], "198.19.1.11:8080");
        let asked = director.asked();
        assert_eq!(asked[0].op, Op::DestinationList { service: Some("web".into()) });
    }
}
