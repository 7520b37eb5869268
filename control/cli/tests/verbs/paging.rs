//! Answers that come in parts: pages of connections, events; and readers that go away.

use crate::answers::{connection, ok, reply};
use crate::director::{Director, Reply, program, read};
use serde_json::{Value, json};
use sheave_proto::api::{ConnState, ConnectionFilter, Op};
use std::process::Stdio;

/// A director with so many connections, which gives at most 3 a page.
fn with_connections(name: &str, count: u16) -> Director {
    Director::new(name, move |request| {
        let Op::ConnectionsList(filter) = &request.op else { panic!("{request:?}") };
        let from: u16 = filter.cursor.as_deref().map_or(0, |cursor| cursor.parse().expect("our own cursor"));
        let to = from.saturating_add(u16::try_from(filter.limit.min(3)).expect("small")).min(count);
        let entries: Vec<Value> = (from..to).map(|n| connection(40_000 + n)).collect();
        let mut page = json!({ "as-of": 1.0, "entries": entries });
        if to < count {
            page["cursor"] = json!(to.to_string());
        }
        Reply::Bytes(ok(request, &page))
    })
}

/// The filters that were asked for, one a page.
fn filters(director: Director) -> Vec<ConnectionFilter> {
    let filter = |op| match op {
        Op::ConnectionsList(filter) => filter,
        op => panic!("{op:?}"),
    };
    director.asked().into_iter().map(|request| filter(request.op)).collect()
}

#[test]
fn pages_are_turned_until_the_last() {
    let director = with_connections("pages", 7);
    let ran = director.run(&["connections", "--limit", "0"]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1 + 7), "{}", ran.out);
    let cursors: Vec<_> = filters(director).into_iter().map(|filter| filter.cursor).collect();
    assert_eq!(cursors, [None, Some("3".to_owned()), Some("6".to_owned())]);
}

#[test]
fn a_limit_ends_in_the_middle_of_a_page_and_says_that_there_are_more() {
    let director = with_connections("limit", 7);
    let ran = director.run(&["connections", "-n", "4"]);
    let lines: Vec<_> = ran.out.lines().collect();
    assert_eq!(lines.len(), 1 + 4 + 1, "{}", ran.out);
    assert_eq!(lines[5], "there are more: --limit 0 shows all");
    let limits: Vec<_> = filters(director).into_iter().map(|filter| filter.limit).collect();
    assert_eq!(limits, [4, 1], "no more is asked for than is shown");
}

#[test]
fn json_holds_all_pages_and_where_the_next_one_begins() {
    let director = with_connections("pages-json", 7);
    let ran = director.run(&["connections", "--limit", "5", "--json"]);
    let all: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(all["entries"].as_array().map(Vec::len), Some(5));
    assert_eq!(all["cursor"], "5");
}

#[test]
fn every_filter_is_passed_on() {
    let director = with_connections("filters", 1);
    let ran = director.run(&[
        "connections",
        "--vip",
        "198.18.0.100:80",
        "--real",
        "198.19.1.11",
        "--client",
        "192.0.2.7:40000",
        "--state",
        "fin-wait",
        "--service",
        "web",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let address = |text: &str| Some(text.parse().expect("an address"));
    let expected = ConnectionFilter {
        vip: address("198.18.0.100:80"),
        real: address("198.19.1.11"),
        client: address("192.0.2.7:40000"),
        proto: None,
        state: Some(ConnState::FinWait),
        service: Some("web".into()),
        limit: 1000,
        cursor: None,
    };
    assert_eq!(filters(director), [expected]);
}

/// Two events, the first of them in the same segment as the answer before it; then the director ends.
fn with_events(name: &str) -> Director {
    Director::new(name, |request| {
        let mut lines = ok(request, &json!({ "as-of": 1.0, "next-seq": 41 }));
        let refused = json!({
            "event": "config-refused", "seq": 41, "time": 1_795_249_505.0, "origin": "signal", "errors": 2,
            "first": "service web: no",
        });
        let stopping =
            json!({ "event": "stopping", "seq": 42, "time": 1_795_249_506.0, "reason": "SIGTERM" });
        for event in [refused, stopping] {
            lines.extend(serde_json::to_vec(&event).expect("JSON"));
            lines.push(b'\n');
        }
        Reply::Last(lines)
    })
}

#[test]
fn events_are_printed_until_the_director_ends() {
    let director = with_events("events");
    let ran = director.run(&["events", "--since", "41"]);
    let expected = "08:25:05Z #41 config-refused errors=2 first=\"service web: no\" origin=signal\n\
                    08:25:06Z #42 stopping reason=SIGTERM\n";
    assert_eq!(ran.out, expected);
    let error = "error: events: the director ended the connection: see its log, and start again\n";
    assert_eq!((ran.code, ran.err.as_str()), (4, error));
    let asked = director.asked();
    assert_eq!(asked[0].op, Op::EventsSubscribe { since: Some(41) });
    let director = with_events("events-json");
    let ran = director.run(&["events", "--json"]);
    let seqs: Vec<_> =
        ran.out.lines().map(|l| serde_json::from_str::<Value>(l).expect("JSON")["seq"].clone()).collect();
    assert_eq!(seqs, [41, 42]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for (name, args) in [
        ("pipe-status", &["status"][..]),
        ("pipe-events", &["events"]),
        ("pipe-json", &["service", "list", "--json"]),
        ("pipe-completions", &["completions", "bash"]),
        ("pipe-help", &["--help"]),
    ] {
        let director = if name == "pipe-events" { with_events(name) } else { Director::new(name, reply) };
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = program(&director.socket(), args).stdout(writer).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("sheave runs");
        let error = read(child.stderr.take().expect("piped"));
        let status = child.wait().expect("it ends");
        assert_eq!((status.code(), error.as_str()), (Some(0), ""), "{name}");
        director.asked();
    }
}
