//! Tests of the API as a whole: requests read and refused, responses and events as they stand on the line.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{
    ConfigErrorKind, DestAddr, Destination, DestinationPatch, Forward, Scheduler, Service, ServicePatch,
    TimeoutsPatch, Weight,
};

fn read(text: &str) -> Result<Op, String> {
    parse_request(text.as_bytes()).map(|request| request.op).map_err(|response| shown(&response))
}

/// The code and the lines of a refusal.
fn shown(response: &Response) -> String {
    let Outcome::Error(error) = &response.outcome else { panic!("{response:?}") };
    let code = json!(error.first.code);
    format!("{} {error}", code.as_str().unwrap())
}

fn ask(op: &str, args: &Value) -> Result<Op, String> {
    read(&json!({ "v": 1, "id": 1, "op": op, "args": args }).to_string())
}

fn address(text: &str) -> DestAddr {
    text.parse().unwrap()
}

/// One of each operation, with its arguments as a client writes them.
fn samples() -> Vec<(Op, Value)> {
    let service = Service::new("198.18.0.100:80/tcp".parse().unwrap());
    let destination = Destination::new(address("198.19.1.11:8080"));
    let web = || "web".to_owned();
    let patch = ServicePatch {
        scheduler: Some(Scheduler::Rr),
        timeouts: TimeoutsPatch { tcp_fin: Some(Some("30s".parse().unwrap())), ..TimeoutsPatch::default() },
        interface: Some(None),
        ..ServicePatch::default()
    };
    let reweigh = DestinationPatch {
        weight: Some(Weight::QUIESCED),
        forward: Some(None),
        ..DestinationPatch::default()
    };
    let at = address("198.19.1.11:8080");
    let filter = ConnectionFilter {
        vip: Some(address("198.18.0.100:80")),
        client: Some(address("2001:db8::7")),
        proto: Some(crate::wire::flow::Proto::Tcp),
        state: Some(ConnState::FinWait),
        limit: 5,
        cursor: Some("x".to_owned()),
        ..ConnectionFilter::default()
    };
    let of_client = StickyFilter { client: Some("2001:db8::7".parse().unwrap()), ..StickyFilter::default() };
    let of_all = StickyFilter {
        service: Some(web()),
        client: Some("192.0.2.0/24".parse().unwrap()),
        destination: Some("198.19.1.11".parse().unwrap()),
    };
    let drain =
        Drain { deadline: Some("300s".parse().unwrap()), then: Rest::Reset, templates: Templates::Ignore };
    let timeouts = TimeoutsPatch {
        udp: Some(Some("30s".parse().unwrap())),
        tcp: Some(None),
        ..TimeoutsPatch::default()
    };
    let toml = ConfigSource::Toml { text: "[director]\n".to_owned(), file: "d.toml".to_owned() };
    vec![
        (Op::StatusShow, json!({})),
        (Op::ServiceList, json!({})),
        (Op::ServiceShow { service: web() }, json!({ "service": "web" })),
        (Op::ServiceAdd(Box::new(service)), json!({ "listen": "198.18.0.100:80/tcp" })),
        (
            Op::ServiceSet { service: web(), patch },
            json!({ "service": "web", "scheduler": "rr", "timeouts": { "tcp-fin": "30s" }, "interface": null }),
        ),
        (Op::ServiceRemove { service: web() }, json!({ "service": "web" })),
        (Op::DestinationList { service: None }, json!({})),
        (
            Op::DestinationAdd { service: web(), destination },
            json!({ "service": "web", "address": "198.19.1.11:8080" }),
        ),
        (
            Op::DestinationSet { service: web(), address: at, patch: reweigh },
            json!({ "service": "web", "address": "198.19.1.11:8080", "weight": 0, "forward": null }),
        ),
        (
            Op::DestinationRemove { service: web(), address: at },
            json!({ "service": "web", "address": "198.19.1.11:8080" }),
        ),
        (
            Op::DestinationDrain { service: web(), address: at, drain },
            json!({ "service": "web", "address": "198.19.1.11:8080", "deadline": "5m", "then": "reset" }),
        ),
        (Op::ConfigApply(toml), json!({ "toml": "[director]\n", "file": "d.toml" })),
        (Op::ConfigPlan(ConfigSource::Object(json!({ "route": [] }))), json!({ "config": { "route": [] } })),
        (Op::ConfigShow, json!({})),
        (Op::ConfigReload, json!({})),
        (Op::StatsShow { service: Some(web()) }, json!({ "service": "web" })),
        (Op::StatsMark { service: None }, json!({})),
        (Op::TimeoutsShow, json!({})),
        (Op::TimeoutsSet(timeouts), json!({ "udp": "30s", "tcp": null })),
        (
            Op::ConnectionsList(filter),
            json!({
                "vip": "198.18.0.100:80", "client": "2001:db8::7", "proto": "tcp", "state": "fin-wait", "limit": 5,
                "cursor": "x"
            }),
        ),
        (
            Op::StickyList { filter: of_client, limit: 7, cursor: None },
            json!({ "client": "2001:db8::7", "limit": 7 }),
        ),
        (
            Op::StickyClear(of_all),
            json!({ "service": "web", "client": "192.0.2.0/24", "destination": "198.19.1.11" }),
        ),
        (Op::NeighboursList, json!({})),
        (Op::WorkersShow, json!({})),
        (Op::CountersShow, json!({})),
        (Op::EventsSubscribe { since: Some(7) }, json!({ "since": 7 })),
    ]
}

#[test]
fn every_operation_is_read_as_a_client_writes_it() {
    let samples = samples();
    let names: Vec<OpName> = samples.iter().map(|(op, _)| op.name()).collect();
    assert_eq!(names, OpName::ALL, "a sample of each operation");
    for (op, args) in samples {
        assert_eq!(ask(op.name().as_str(), &args), Ok(op));
    }
}

#[test]
fn every_operation_reads_back_from_its_line() {
    for (op, _) in samples() {
        let request = Request { id: Id::Number(7), op };
        let line = request.to_line();
        let body = line.strip_suffix(b"\n").expect("one line feed, at the end");
        assert!(!body.contains(&b'\n'));
        assert_eq!(parse_request(body), Ok(request));
    }
}

#[test]
fn a_request_is_refused_with_its_code_and_a_remedy() {
    for (line, want) in [
        ("", "invalid error: request: not JSON, EOF while parsing a value at line 1 column 0: send one"),
        ("[1]", "invalid error: request: it is not an object: send {\"v\":1"),
        (r#"{"op":"status.show"}"#, "unknown-version error: request: v is missing: send \"v\":1"),
        (r#"{"v":2,"op":"status.show"}"#, "unknown-version error: request: version 2 is not known: send"),
        (r#"{"v":"1","op":"status.show"}"#, "unknown-version error: request: version \"1\" is not known"),
        (r#"{"v":1}"#, "invalid error: request: op is missing or not a string: name the operation"),
        (r#"{"v":1,"op":"status.show","arg":{}}"#, "invalid error: request: key \"arg\" is not known: use v"),
        (r#"{"v":1,"id":1.5,"op":"status.show"}"#, "invalid error: request: id is neither an integer nor"),
        (
            r#"{"v":1,"op":"service.edit"}"#,
            "unknown-op error: request: op \"service.edit\" is not known: \
             use one of service.add, service.list, service.remove, service.set, service.show",
        ),
        (
            r#"{"v":1,"op":"stats.shwo"}"#,
            "unknown-op error: request: op \"stats.shwo\" is not known: use one of stats.mark, s",
        ),
        (
            r#"{"v":1,"op":"x"}"#,
            "unknown-op error: request: op \"x\" is not known: use one of status.show, s",
        ),
        (
            r#"{"v":1,"op":"status.show","args":[]}"#,
            "invalid error: op status.show: it is a list: write a table",
        ),
    ] {
        let refusal = read(line).expect_err(line);
        assert!(refusal.starts_with(want), "{line}: {refusal}");
    }
    let long = " ".repeat(MAX_LINE + 1);
    assert!(read(&long).unwrap_err().starts_with("too-large error: request: it is 1048577 bytes long"));
}

#[test]
fn arguments_are_refused_in_the_words_of_the_configuration() {
    for (op, args, want) in [
        ("status.show", json!({ "x": 1 }), "error: op status.show: key \"x\" is not known: remove it"),
        ("service.show", json!({}), "error: op service.show: service is missing: give the service's name"),
        (
            "service.show",
            json!({ "service": "web", "name": "web" }),
            "error: service web: in service, it is named more than once: give one of service, name and listen",
        ),
        (
            "service.set",
            json!({ "service": "web", "weight": 1 }),
            "error: service web: key \"weight\" is not known: remove it, or use one of backup-below, draws, \
             forward, helper, ",
        ),
        (
            "service.add",
            json!({ "name": "web" }),
            "error: service web: listen is missing: write ADDRESS:PORT/PROTO",
        ),
        (
            "destination.set",
            json!({ "service": "web", "address": "198.19.1.11:8080", "weight": -1 }),
            "error: destination 198.19.1.11:8080 of service web: weight -1 is out of bounds: \
             write an integer from 0 to 2147483647",
        ),
        (
            "connections.list",
            json!({ "limit": 1001 }),
            "error: op connections.list: limit 1001 is out of bounds",
        ),
        (
            "connections.list",
            json!({ "state": "open" }),
            "error: op connections.list: state \"open\" is not known: use one of none, established",
        ),
        (
            "connections.list",
            json!({ "proto": "sctp" }),
            "error: op connections.list: \"sctp\" is not a protocol: write tcp or udp",
        ),
        (
            "destination.drain",
            json!({ "service": "web", "address": "198.19.1.11", "then": "reset" }),
            "error: destination 198.19.1.11 of service web: then reset has no deadline that it would come after: \
             give a deadline",
        ),
        (
            "destination.drain",
            json!({ "service": "web", "address": "198.19.1.11", "deadline": "25h" }),
            "error: destination 198.19.1.11 of service web: a deadline of 25h is out of bounds: \
             write one from \"1s\" to \"24h\"",
        ),
        (
            "destination.drain",
            json!({ "service": "web", "address": "198.19.1.11", "templates": "drop" }),
            "templates \"drop\" is not known: use one of ignore, honour",
        ),
        (
            "destination.set",
            json!({ "service": "web", "address": "198.19.1.11", "state": "down" }),
            "state \"down\" is not known: use one of ready, drain, maint",
        ),
        (
            "sticky.list",
            json!({ "client": "web" }),
            "error: op sticky.list: in client, \"web\" is not an address",
        ),
        ("sticky.clear", json!({ "limit": 1 }), "error: op sticky.clear: key \"limit\" is not known"),
        ("timeouts.set", json!({ "tcp": "0s" }), "error: op timeouts.set: in tcp, a timeout of 0s is out of"),
        (
            "stats.mark",
            json!({ "service": 1 }),
            "error: op stats.mark: service is an integer: write a string",
        ),
        ("config.apply", json!({}), "error: op config.apply: one of toml and config is missing: send either"),
        (
            "config.apply",
            json!({ "toml": "", "config": {} }),
            "error: op config.apply: one of toml and config",
        ),
    ] {
        let refusal = ask(op, &args).expect_err(op);
        assert!(refusal.contains(want), "{op} {args}: {refusal}");
    }
    let both = ask("destination.add", &json!({ "weight": "x", "address": "198.19.1.11" })).unwrap_err();
    assert_eq!(both.lines().count(), 2, "all errors together: {both}");
}

#[test]
fn a_service_may_be_named_as_the_configuration_spells_it() {
    let set = |key: &str, value: &str| ask("service.remove", &json!({ key: value }));
    for (key, value) in [("service", "web"), ("name", "web"), ("listen", "198.18.0.100:80/tcp")] {
        assert_eq!(set(key, value), Ok(Op::ServiceRemove { service: value.to_owned() }));
    }
}

#[test]
fn a_patch_changes_what_it_names_and_nothing_else() {
    let mut service = Service::new("198.18.0.100:80/tcp".parse().unwrap());
    service.interface = Some("d0".to_owned());
    service.forward = Forward::Dr;
    let before = service.clone();
    ServicePatch::default().apply(&mut service);
    assert_eq!(service, before);
    let args = json!({ "service": "x", "scheduler": "rr", "timeouts": { "udp": "9s" }, "interface": null });
    let Ok(Op::ServiceSet { patch, .. }) = ask("service.set", &args) else { panic!() };
    patch.apply(&mut service);
    let mut want = Service { scheduler: Scheduler::Rr, interface: None, ..before };
    want.timeouts.udp = Some("9s".parse().unwrap());
    assert_eq!(service, want);
    let Ok(Op::ServiceSet { patch, .. }) =
        ask("service.set", &json!({ "service": "x", "timeouts": null, "forward": null }))
    else {
        panic!()
    };
    patch.apply(&mut service);
    assert_eq!((service.timeouts.udp, service.forward), (None, Forward::Nat));
}

#[test]
fn the_id_comes_back_even_with_a_refusal() {
    for (line, id) in [
        (r#"{"v":1,"id":7,"op":"x"}"#, json!(7)),
        (r#"{"v":1,"id":"seven","op":"x"}"#, json!("seven")),
        (r#"{"v":9,"id":7}"#, json!(7)),
        (r#"{"v":1,"op":"x"}"#, json!(null)),
        (r#"{"v":1,"id":[],"op":"x"}"#, json!(null)),
        ("x", json!(null)),
    ] {
        let response = parse_request(line.as_bytes()).unwrap_err();
        let line: Value = serde_json::from_slice(&response.to_line()).unwrap();
        assert_eq!(line["id"], id);
        assert!(line["error"]["remedy"].is_string());
    }
}

#[test]
fn responses_stand_on_the_line_as_documented() {
    let applied = Applied { as_of: UnixTime(5.25), epoch: 3, changes: Vec::new() };
    let ok = Response::ok(Id::Number(7), &applied);
    assert_eq!(
        String::from_utf8(ok.to_line()).unwrap(),
        "{\"id\":7,\"ok\":{\"as-of\":5.25,\"changes\":[],\"epoch\":3}}\n"
    );
    let missing = ErrorReply::not_found("service web", "list them with service.list");
    let error = Response::error(Id::Number(7), missing);
    assert_eq!(
        String::from_utf8(error.to_line()).unwrap(),
        "{\"id\":7,\"error\":{\"code\":\"not-found\",\"object\":\"service web\",\
         \"message\":\"there is no such object\",\"remedy\":\"list them with service.list\"}}\n"
    );
    for response in [ok, error] {
        let line = response.to_line();
        assert_eq!(Message::parse(&line).unwrap(), Message::Response(response));
    }
}

#[test]
fn several_errors_travel_together() {
    let text = "[[service]]\nlisten = \"198.18.0.1:80/tcp\"\nhelper = \"sip\"\nweight = 1\n";
    let source = ConfigSource::Toml { text: text.to_owned(), file: "d.toml".to_owned() };
    let mut errors = source.resolve().unwrap_err();
    errors[0].kind = ConfigErrorKind::NotSupported;
    let reply = ErrorReply::from(errors);
    assert_eq!(reply.first.code, ErrorCode::Invalid, "an invalid key stands before what is not supported");
    let codes: Vec<ErrorCode> = reply.items().iter().map(|item| item.code).collect();
    assert_eq!(codes, [ErrorCode::NotSupported, ErrorCode::Invalid]);
    let line = Response::error(Id::None, reply.clone()).to_line();
    let Message::Response(back) = Message::parse(&line).unwrap() else { panic!() };
    let error = back.answer::<Applied>().unwrap_err();
    assert_eq!(error, reply);
    let said = error.to_string();
    let lines: Vec<&str> = said.lines().collect();
    let [first, second] = lines[..] else { panic!("{said}") };
    assert!(first.starts_with("error: d.toml:3: service 198.18.0.1:80/tcp: helper \"sip\""), "{first}");
    let unknown =
        "error: d.toml:4: service 198.18.0.1:80/tcp: key \"weight\" is not known: remove it, or use";
    assert!(second.starts_with(unknown), "{second}");
}

#[test]
fn answers_are_read_as_their_type_only() {
    let applied = Applied {
        as_of: UnixTime(1.0),
        epoch: 3,
        changes: vec![Change {
            kind: ChangeKind::Change,
            object: "service web".to_owned(),
            detail: "scheduler wlc -> rr".to_owned(),
        }],
    };
    let response = Response::ok(Id::None, &applied);
    assert_eq!(response.clone().answer::<Applied>().unwrap(), applied);
    assert_eq!(applied.changes[0].to_string(), "~ service web: scheduler wlc -> rr");
    let error = response.answer::<Status>().unwrap_err();
    assert_eq!(error.first.code, ErrorCode::Failed);
}

#[test]
fn shown_configurations_read_back() {
    let text = "[[service]]\nlisten = \"198.18.0.1:80/tcp\"\ndestination = [{ address = \"198.19.0.1\" }]\n";
    let config = crate::config::parse(text, "f").unwrap();
    let shown = ConfigShown {
        as_of: UnixTime(1.5),
        epoch: 1,
        toml: crate::config::to_toml(&config),
        config: config.clone(),
    };
    let line = Response::ok(Id::None, &shown).to_line();
    let Message::Response(response) = Message::parse(&line).unwrap() else { panic!() };
    let back: ConfigShown = response.answer().unwrap();
    assert_eq!(back, shown);
    assert_eq!(crate::config::parse(&back.toml, "f").unwrap(), config);
}

#[test]
fn a_service_is_shown_with_what_is_not_at_its_default() {
    let plain = json!({
        "name": "web", "listen": ["198.18.0.100:80/tcp"], "scheduler": "wlc", "forward": "nat",
        "timeouts": { "tcp": "15m", "tcp-fin": "2m", "udp": "5m" }, "on-removal": "reset", "active": 0,
        "inactive": 0, "stats": json!(Stats::default()), "destinations": [{
            "service": "web", "address": "198.19.1.11:80", "weight": 1, "forward": "nat", "upper-threshold": 0,
            "lower-threshold": 0, "state": "up", "active": 0, "inactive": 0, "stats": json!(Stats::default()),
        }],
    });
    let mut shown: ServiceStatus = serde_json::from_value(plain.clone()).unwrap();
    assert!(shown.pmtu_discovery && !shown.sloppy && shown.scheduler_flags.is_empty());
    assert_eq!(json!(shown), plain);
    shown.pmtu_discovery = false;
    shown.mss_clamp = crate::config::MssClamp::At(1400);
    shown.destinations[0].drain = Some(DrainStatus {
        since: UnixTime(1.0),
        deadline: None,
        then: Rest::Keep,
        templates: Templates::Honour,
    });
    let line = json!(shown);
    assert_eq!((&line["pmtu-discovery"], &line["mss-clamp"]), (&json!(false), &json!(1400)));
    let drain = json!({ "since": 1.0, "then": "keep", "templates": "honour" });
    assert_eq!(line["destinations"][0]["drain"], drain);
    assert_eq!(serde_json::from_value::<ServiceStatus>(line).unwrap(), shown);
}

#[test]
fn events_name_themselves() {
    let bodies = [
        EventBody::Started { version: "1".to_owned() },
        EventBody::DestinationAdded { service: "web".to_owned(), address: address("198.19.1.11:80") },
        EventBody::EventsLost { count: 3 },
        EventBody::DrainProgress {
            service: "web".to_owned(),
            address: address("198.19.1.11:80"),
            connections: 7,
            remaining: Some(2.5),
        },
        EventBody::DrainFinished {
            service: "web".to_owned(),
            address: address("198.19.1.11:80"),
            end: DrainEnd::CalledOff,
            connections: 7,
        },
        EventBody::FloodEntered { worker: 1, rate: 300_000 },
        EventBody::FloodLeft { worker: 1, lasted: 12.5 },
        EventBody::TableFull { connections: 1000 },
        EventBody::TableRoom { connections: 900, refused: 3 },
        EventBody::VipConflict {
            address: [198, 18, 0, 100].into(),
            interface: "d0".to_owned(),
            mac: crate::wire::eth::Mac([2, 0, 0, 0, 0, 9]),
        },
        EventBody::InterfaceAttached {
            interface: "d0".to_owned(),
            mode: crate::config::Mode::Copy,
            queues: 2,
        },
    ];
    for body in bodies {
        let event = Event { body, seq: 4, time: UnixTime(2.5) };
        let line = event.to_line();
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["event"], event.body.name());
        assert_eq!((&value["seq"], &value["time"]), (&json!(4), &json!(2.5)));
        assert_eq!(Message::parse(&line).unwrap(), Message::Event(event));
    }
    assert!(Message::parse(b"[]").is_err() && Message::parse(b"{}").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_line_breaks_the_reader(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_request(&line);
        let _ = Message::parse(&line);
    }

    #[test]
    fn no_arguments_break_the_reader(
        op in proptest::sample::select(OpName::ALL),
        keys in proptest::collection::vec(
            ("(service|name|listen|address|weight|toml|config|limit|since|timeouts|destination|client|then|deadline|sorry|x)",
             r#"(null|-?[1-9][0-9]{0,21}|"[^"\\\x00-\x1f]{0,20}"|\[1\]|\{"tcp":"5s"\}|true|1\.5)"#),
            0..4,
        ),
    ) {
        let args: Vec<String> = keys.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
        let line = format!("{{\"v\":1,\"id\":3,\"op\":\"{op}\",\"args\":{{{}}}}}", args.join(","));
        match parse_request(line.as_bytes()) {
            Ok(request) => prop_assert_eq!(request.op.name(), op),
            Err(response) => prop_assert_eq!(response.id, Id::Number(3)),
        }
    }
}
