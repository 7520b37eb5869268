//! What a director with two services answers.

use crate::director::Reply;
use serde_json::{Value, json};
use sheave_proto::api::{Op, Request, Response};
use sheave_proto::config::Service;

/// The answer to an operation. Values are told apart by being different everywhere.
pub(crate) fn answer(op: &Op) -> Value {
    match op {
        Op::StatusShow => status(),
        Op::ServiceList => json!({ "as-of": AS_OF, "services": [web(), dns()] }),
        Op::ServiceShow { .. } => json!({ "as-of": AS_OF, "service": web() }),
        Op::DestinationList { .. } => json!({ "as-of": AS_OF, "destinations": web()["destinations"] }),
        Op::ServiceAdd(_)
        | Op::ServiceSet { .. }
        | Op::ServiceRemove { .. }
        | Op::DestinationAdd { .. }
        | Op::DestinationSet { .. }
        | Op::DestinationRemove { .. }
        | Op::DestinationDrain { .. }
        | Op::TimeoutsSet(_)
        | Op::ConfigApply(_)
        | Op::ConfigReload
        | Op::ConfigPlan(_) => json!({ "as-of": AS_OF, "epoch": 8, "changes": [
            { "kind": "add", "object": "service tls" },
            { "kind": "change", "object": "service web", "detail": "scheduler wlc -> rr" },
            { "kind": "remove", "object": "destination 198.19.1.12:8080 of service web" },
            { "kind": "needs-restart", "object": "director", "detail": "cores [1] -> [1, 2]" },
        ]}),
        Op::ConfigShow => json!({ "as-of": AS_OF, "epoch": 7, "config": {},
            "toml": "[[service]]\nlisten = \"198.18.0.100:80/tcp\"\n" }),
        Op::StatsShow { .. } => json!({ "as-of": AS_OF, "total": stats(11), "services": [
            { "name": "web", "listen": ["198.18.0.100:80/tcp"], "stats": stats(9),
              "destinations": [{ "address": "198.19.1.11:8080", "stats": stats(7) }] },
        ]}),
        Op::ConnectionsList(_) => {
            json!({ "as-of": AS_OF, "entries": [connection(40_001), connection(40_002)] })
        }
        Op::StatsMark { .. } => json!({ "as-of": AS_OF, "services": 2 }),
        Op::TimeoutsShow => {
            json!({ "as-of": AS_OF, "timeouts": { "tcp": "15m", "tcp-fin": "2m", "udp": "5m" } })
        }
        Op::StickyList { .. } => json!({ "as-of": AS_OF, "entries": [
            { "service": "web", "client": "192.0.2.0/24", "destination": "198.19.1.11:8080", "connections": 3,
              "expires-in": 299.5 },
        ] }),
        Op::StickyClear(_) => json!({ "as-of": AS_OF, "cleared": 1 }),
        Op::NeighboursList => json!({ "as-of": AS_OF, "neighbours": [
            { "address": "198.19.1.11", "mac": "02:00:00:00:01:0b", "interface": "d1", "state": "reachable",
              "origin": "kernel" },
            { "address": "198.19.1.12", "interface": "d1", "state": "resolving", "origin": "kernel" },
        ]}),
        Op::WorkersShow => json!({ "as-of": AS_OF, "workers": [worker()] }),
        Op::CountersShow => json!({ "as-of": AS_OF, "counters": [
            { "name": "forward", "kind": "verdict", "help": "sent on", "value": 1_234_567 },
            { "name": "no-entry", "kind": "reason", "help": "TCP other than a SYN without a connection", "value": 3 },
            { "name": "table-full", "kind": "reason", "help": "no room", "value": 0 },
            { "name": "of-a-newer-director", "kind": "reason", "help": "who knows", "value": 2 },
            { "name": "frames-lent", "kind": "occurrence", "help": "frames sent by another worker", "value": 1 },
        ]}),
        Op::EventsSubscribe { .. } => json!({ "as-of": AS_OF, "next-seq": 41 }),
    }
}

/// Answers whatever is asked.
pub(crate) fn reply(request: &Request) -> Reply {
    Reply::Bytes(ok(request, &answer(&request.op)))
}

/// The line that answers a request.
pub(crate) fn ok(request: &Request, answer: &Value) -> Vec<u8> {
    Response::ok(request.id.clone(), answer).to_line()
}

/// One connection entry, of a client's port.
pub(crate) fn connection(port: u16) -> Value {
    json!({
        "proto": "tcp", "client": format!("192.0.2.7:{port}"), "vip": "198.18.0.100:80",
        "real": "198.19.1.11:8080", "service": "web", "forward": "nat", "state": "established",
        "expires-in": 899.5,
    })
}

/// A service as it is by default.
pub(crate) fn service(listen: &str) -> Service {
    Service::new(listen.parse().expect("a listen"))
}

/// 2026-11-21, 08:25:05 UTC.
const AS_OF: f64 = 1_795_249_505.25;

fn status() -> Value {
    json!({
        "as-of": AS_OF, "name": "a", "version": "0.1.0", "pid": 321, "started": AS_OF - 4000.0, "epoch": 7,
        "config-file": "/etc/sheave.toml", "workers": 1, "services": 2, "destinations": 3, "connections": 12,
        "max-connections": 1_000_000,
        "interfaces": [
            { "name": "d0", "index": 4, "mac": "02:00:00:00:00:d0", "mtu": 1500, "up": true, "mode": "copy",
              "queues": 1, "why": "the driver has no zero-copy mode" },
            { "name": "br0", "up": false, "queues": 0, "why": "a bridge, and not named" },
        ],
    })
}

fn web() -> Value {
    let destination = |address: &str, weight, state: &str, n: u64| {
        json!({
            "service": "web", "address": address, "weight": weight, "forward": "nat", "state": state,
            "active": n, "inactive": n + 1, "stats": stats(n),
        })
    };
    json!({
        "name": "web", "listen": ["198.18.0.100:80/tcp"], "scheduler": "wlc", "forward": "nat",
        "timeouts": { "tcp": "900s", "tcp-fin": "120s", "udp": "300s" }, "on-removal": "reset",
        "interface": "d0", "active": 7, "inactive": 9, "stats": stats(9),
        "destinations": [
            destination("198.19.1.11:8080", 1, "up", 7),
            destination("198.19.1.12:8080", 0, "quiesced", 0),
        ],
    })
}

fn dns() -> Value {
    json!({
        "name": "198.18.0.100:53/udp", "listen": ["198.18.0.100:53/udp"], "scheduler": "rr", "forward": "dr",
        "timeouts": { "tcp": "900s", "tcp-fin": "120s", "udp": "30s" }, "on-removal": "keep",
        "active": 0, "inactive": 2, "stats": stats(1), "destinations": [],
    })
}

fn stats(n: u64) -> Value {
    json!({
        "totals": { "conns": n, "in-packets": n * 10, "out-packets": n * 20, "in-bytes": n * 1000,
                    "out-bytes": n * 20_000 },
        "rates": { "cps": n, "inpps": n + 1, "outpps": n + 2, "inbps": n + 3, "outbps": n + 4 },
    })
}

fn worker() -> Value {
    json!({
        "worker": 0, "core": 1, "turns": 5000, "idle-turns": 4000, "sleeps": 300, "packets": 123_456, "epoch": 7,
        "frames": { "total": 4096, "free": 2000, "in-ports": 2090, "held": 4, "elsewhere": 2 },
        "queues": [{
            "interface": "d0", "queue": 0, "mode": "copy", "rx-frames": 10, "rx-bytes": 1000, "tx-frames": 20,
            "tx-bytes": 2000, "tx-kicks": 5, "tx-ring-full": 1, "rx-dropped": 2, "rx-invalid": 3,
            "tx-invalid": 4, "rx-ring-full": 6, "fill-empty": 7, "tx-empty": 8,
        }],
    })
}
