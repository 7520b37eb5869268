//! Requests to change the desired state: each gives the state that the configuration would, or every error.

use proptest::prelude::*;
use sheave_plan::{Desired, Plan, edit};
use sheave_proto::api::{ErrorCode, ErrorReply, Op, parse_request};
use sheave_proto::config::{Intent, parse};

const BASE: &str = r#"
    [[interface]]
    name = "d0"

    [[service]]
    listen = "198.18.0.100:80/tcp"
    name = "web"
    [[service.destination]]
    address = "198.19.1.11:8080"
"#;

fn desired(text: &str) -> Desired {
    Desired::new(parse(text, "test.toml").expect("valid")).expect("valid")
}

fn op(op: &str, args: serde_json::Value) -> Op {
    let line = serde_json::json!({"v": 1, "op": op, "args": args}).to_string();
    parse_request(line.as_bytes()).expect("a request").op
}

fn change(state: &Desired, name: &str, args: serde_json::Value) -> Result<Desired, ErrorReply> {
    state.request(&op(name, args))
}

#[test]
fn every_operation_gives_what_the_configuration_that_says_the_same_gives() {
    use serde_json::json;
    let state = desired(BASE);
    let cases = [
        (
            "service.add",
            json!({"listen": "198.18.0.100:53/udp", "forward": "dr", "destination": [{"address": "198.19.1.12"}]}),
            format!(
                "{BASE}\n[[service]]\nlisten = \"198.18.0.100:53/udp\"\nforward = \"dr\"\n\
                 [[service.destination]]\naddress = \"198.19.1.12\""
            ),
        ),
        (
            "service.set",
            json!({"service": "198.18.0.100:80/tcp", "scheduler": "rr", "timeouts": {"tcp": "20m"}}),
            BASE.replace(
                "name = \"web\"",
                "name = \"web\"\nscheduler = \"rr\"\ntimeouts = { tcp = \"20m\" }",
            ),
        ),
        ("service.remove", json!({"service": "web"}), "[[interface]]\nname = \"d0\"".to_owned()),
        (
            "destination.add",
            json!({"service": "web", "address": "198.19.1.12", "weight": 3}),
            format!("{BASE}\n[[service.destination]]\naddress = \"198.19.1.12\"\nweight = 3"),
        ),
        (
            "destination.set",
            json!({"service": "web", "address": "198.19.1.11:8080", "weight": 0}),
            format!("{BASE}\nweight = 0"),
        ),
        (
            "destination.remove",
            json!({"service": "web", "address": "198.19.1.11:8080"}),
            BASE.split("[[service.destination]]").next().expect("text").to_owned(),
        ),
        (
            "timeouts.set",
            json!({"udp": "30s", "tcp": null}),
            format!("[director]\ntimeouts = {{ udp = \"30s\" }}\n{BASE}"),
        ),
        ("config.apply", json!({"toml": "[director]\nname = \"b\""}), "[director]\nname = \"b\"".to_owned()),
        (
            "config.plan",
            json!({"config": {"director": {"name": "b"}}}),
            "[director]\nname = \"b\"".to_owned(),
        ),
    ];
    for (name, args, text) in cases {
        let changed = change(&state, name, args).expect(name);
        assert_eq!(Plan::diff(&changed, &desired(&text)).to_string(), "no change", "{name}");
        assert_eq!(changed, desired(&text), "{name}");
        assert!(!Plan::diff(&state, &changed).is_empty(), "{name}");
    }
}

#[test]
fn what_is_not_there_and_what_is_there_already_have_their_own_codes() {
    use serde_json::json;
    let state = desired(BASE);
    let refused = |name: &str, args| {
        let reply = change(&state, name, args).expect_err("refused");
        (reply.first.code, reply.to_string())
    };
    assert_eq!(
        refused("service.remove", json!({"service": "mail"})),
        (
            ErrorCode::NotFound,
            "error: service mail: there is no such object: give the name or the listen string of a service that \
             service.list shows"
                .to_owned()
        )
    );
    for (code, name, args, object) in [
        (ErrorCode::NotFound, "service.set", json!({"service": "a\nb"}), "service a\\nb"),
        (
            ErrorCode::NotFound,
            "destination.remove",
            json!({"service": "web", "address": "198.19.1.11"}),
            "destination 198.19.1.11 of service web",
        ),
        (
            ErrorCode::NotFound,
            "destination.add",
            json!({"service": "x", "address": "198.19.1.9"}),
            "service x",
        ),
        (
            ErrorCode::Exists,
            "service.add",
            json!({"listen": "198.18.0.100:80/tcp", "name": "b"}),
            "service web",
        ),
        (
            ErrorCode::Exists,
            "service.add",
            json!({"listen": "198.18.0.100:81/tcp", "name": "web"}),
            "service web",
        ),
        (
            ErrorCode::Exists,
            "destination.add",
            json!({"service": "web", "address": "198.19.1.11:8080"}),
            "destination 198.19.1.11:8080 of service web",
        ),
        (ErrorCode::Invalid, "service.list", json!({}), "request"),
        (ErrorCode::Invalid, "service.set", json!({"service": "web", "interface": "d9"}), "service web"),
        (
            ErrorCode::Invalid,
            "destination.add",
            json!({"service": "web", "address": "198.19.1.12:8080", "forward": "dr"}),
            "destination 198.19.1.12:8080 of service web",
        ),
    ] {
        let reply = change(&state, name, args).expect_err("refused");
        assert_eq!((reply.first.code, reply.first.object.as_str()), (code, object), "{name}: {reply}");
    }
}

#[test]
fn a_drain_is_the_state_of_the_destination() {
    let mut config = desired(BASE).config().clone();
    let args = serde_json::json!({"service": "web", "address": "198.19.1.11:8080", "deadline": "5m"});
    edit(&mut config, &op("destination.drain", args)).expect("there is such a destination");
    assert_eq!(config.services[0].destinations[0].state, Intent::Drain);
    let args = serde_json::json!({"service": "web", "address": "198.19.1.12:8080"});
    let refused = edit(&mut config, &op("destination.drain", args)).expect_err("there is none");
    assert_eq!(refused.first.code, ErrorCode::NotFound);
}

#[test]
fn all_errors_of_a_whole_configuration_come_together() {
    let state = desired(BASE);
    let text = "[[service]]\nlisten = \"x\"\nscheduler = \"best\"\nfoo = 1";
    let reply = change(&state, "config.apply", serde_json::json!({"toml": text, "file": "a.toml"}))
        .expect_err("wrong");
    let lines: Vec<_> = reply.items().iter().filter_map(|item| item.line).collect();
    assert_eq!(lines, [2, 3, 4]);
}

proptest! {
    /// Adding and removing in any order is the same as saying it in the configuration at once.
    #[test]
    fn a_series_of_requests_equals_one_configuration(steps in prop::collection::vec((1u8..6, 0u32..4, any::<bool>()), 0..20)) {
        let mut state = desired(BASE);
        let mut model: Vec<(u8, u32)> = vec![(11, 1)];
        for (last, weight, remove) in steps {
            let address = format!("198.19.1.{last}:8080");
            let there = model.iter().position(|(l, _)| *l == last);
            let (name, args) = match (there, remove) {
                (Some(at), true) => {
                    model.remove(at);
                    ("destination.remove", serde_json::json!({"service": "web", "address": address}))
                }
                (None, true) => continue,
                (Some(at), false) => {
                    model[at].1 = weight;
                    ("destination.set", serde_json::json!({"service": "web", "address": address, "weight": weight}))
                }
                (None, false) => {
                    model.push((last, weight));
                    ("destination.add", serde_json::json!({"service": "web", "address": address, "weight": weight}))
                }
            };
            state = change(&state, name, args).expect("fits");
        }
        let mut text = BASE.split("[[service.destination]]").next().expect("text").to_owned();
        for (last, weight) in model {
            text += &format!("[[service.destination]]\naddress = \"198.19.1.{last}:8080\"\nweight = {weight}\n");
        }
        prop_assert_eq!(state, desired(&text));
    }
}
