//! Interfaces that go and come, and more than one queue and worker.

use std::time::Duration;

use serde_json::Value;
use sheave_testbeds::http::{After, HttpConn, answers_within};
use sheave_testbeds::wait::wait_until;
use sheave_testbeds::{Bed, Method, Options};

/// How long the director may take to notice and to serve again.
const SOON: Duration = Duration::from_secs(10);

fn serves_again(bed: &Bed, after: &str) {
    let answers = || answers_within(&bed.lab.client, bed.lab.vip(80), Duration::from_millis(300));
    wait_until(after, SOON, answers).unwrap_or_else(|e| panic!("{e}"));
    // And stays so: all three servers, no failure.
    let load = bed.close_load();
    for server in ["r1", "r2", "r3"] {
        load.wait_server(server, 20).expect(after);
    }
    let tally = load.finish();
    assert_eq!(tally.failed, 0, "{after}: {:#?}", tally.failures);
    frames_are_accounted_for(bed);
}

/// Down and up keeps the device; connections that wait live through it.
fn down_and_up(interface: &str) {
    let bed = Bed::start(Method::Nat).expect("bed");
    let mut kept = HttpConn::open(&bed.lab.client, bed.lab.vip(80)).expect("connection");
    let server = kept.ask(After::KeepAlive).expect("answer");
    for _ in 0..3 {
        bed.lab.director.ip(&format!("link set {interface} down")).expect("down");
        let answers = || answers_within(&bed.lab.client, bed.lab.vip(80), Duration::from_millis(300));
        wait_until("no service while it is down", SOON, || !answers()).expect("down");
        bed.lab.director.ip(&format!("link set {interface} up")).expect("up");
        serves_again(&bed, "serves after down and up");
        assert_eq!(kept.ask(After::KeepAlive).expect("the connection lives"), server);
    }
}

#[test]
fn the_outside_interface_may_go_down_and_up() {
    down_and_up("d0");
}

#[test]
fn the_inside_interface_may_go_down_and_up() {
    down_and_up("d1");
}

/// Pulled and put in again: same name, another index, under load.
#[test]
fn interfaces_may_be_deleted_and_made_again() {
    let bed = Bed::start(Method::Nat).expect("bed");
    let mut kept = HttpConn::open(&bed.lab.client, bed.lab.vip(80)).expect("connection");
    let server = kept.ask(After::KeepAlive).expect("answer");
    for interface in ["d0", "d1", "d0"] {
        bed.lab.unplug(interface).expect("unplugged");
        bed.lab.plug(interface).expect("plugged");
        serves_again(&bed, &format!("serves after {interface} was made again"));
        assert_eq!(kept.ask(After::KeepAlive).expect("the connection lives"), server);
    }
}

/// Every frame is where the director says: in a pool, in a port, in a hand, or lent to another worker.
fn frames_are_accounted_for(bed: &Bed) {
    let mut last = Value::Null;
    let all_there = || {
        last = bed.director.json(&["workers"]).expect("workers");
        let workers = last["workers"].as_array().expect("a list");
        !workers.is_empty()
            && workers.iter().all(|worker| {
                let count = |what: &str| worker["frames"][what].as_i64().expect("a count");
                count("total") == count("free") + count("in-ports") + count("held") + count("elsewhere")
            })
    };
    // The parts are not read in one instant: it holds as soon as nothing moves.
    wait_until("all frames accounted for", SOON, all_there).unwrap_or_else(|e| panic!("{e}: {last:#}"));
}

/// Load of both kinds on two workers, of which each must have a part.
fn two_workers_serve_as_one(method: Method, outside_queues: u8, inside_queues: u8) {
    let options = Options { outside_queues, inside_queues, ..Options::default() };
    let bed = Bed::start_with(method, options, "cores = [0, 1]").expect("bed");
    let (close, keep) = (bed.close_load(), bed.keep_alive_load());
    for load in [&close, &keep] {
        load.wait_answers(1000).expect("answers");
    }
    for tally in [close.finish(), keep.finish()] {
        assert_eq!(tally.failed, 0, "{:#?}", tally.failures);
    }
    // Neither side has seen a segment that came before one that was sent before it.
    for host in std::iter::once(&bed.lab.client).chain(bed.lab.reals.iter().map(|real| &real.netns)) {
        assert_eq!(host.tcp_counter("TCPOFOQueue").expect("a counter"), 0, "{}", host.label());
    }
    let report = bed.director.json(&["workers"]).expect("workers");
    let workers = report["workers"].as_array().expect("a list");
    let packets: Vec<_> = workers.iter().map(|worker| worker["packets"].as_u64().unwrap_or(0)).collect();
    assert!(
        packets.len() == 2 && packets.iter().all(|count| *count > 500),
        "{packets:?} packets: {report:#}"
    );
    frames_are_accounted_for(&bed);
}

/// The two directions of a flow come in on different queues of different workers.
#[test]
fn two_workers_with_queues_everywhere_serve_as_one() {
    two_workers_serve_as_one(Method::Nat, 4, 4);
}

/// One worker has no queue towards the clients: answers that come in on it go out through the other's.
#[test]
fn a_worker_without_a_queue_on_the_way_back_uses_the_others() {
    two_workers_serve_as_one(Method::Nat, 1, 4);
}

/// One worker has no queue towards the real servers, and the frame needs room in front for an outer header.
#[test]
fn a_worker_without_a_queue_on_the_way_out_uses_the_others() {
    two_workers_serve_as_one(Method::Tun, 4, 1);
}

/// Which worker has which queues of an interface.
fn queues_of(bed: &Bed, interface: &str) -> Vec<(u64, u64)> {
    let report = bed.director.json(&["workers"]).expect("workers");
    let mut queues = Vec::new();
    for worker in report["workers"].as_array().expect("a list") {
        for queue in worker["queues"].as_array().expect("a list") {
            if queue["interface"] == interface {
                queues.push((
                    queue["queue"].as_u64().expect("a number"),
                    worker["core"].as_u64().expect("a number"),
                ));
            }
        }
    }
    queues.sort_unstable();
    queues
}

/// Queues go to the workers of the cores that are named for them; another order takes effect with a reload.
#[test]
fn queues_go_to_the_cores_that_are_named() {
    let options = Options { outside_queues: 4, inside_queues: 2, ..Options::default() };
    let lines = |d0: &str| {
        format!(
            "cores = [0, 1]\n[[interface]]\nname = \"d0\"\nqueue-cores = {d0}\n[[interface]]\nname = \"d1\"\n"
        )
    };
    let mut bed = Bed::start_with(Method::Nat, options, &lines("[1, 0, 1]")).expect("bed");
    assert_eq!(queues_of(&bed, "d0"), [(0, 1), (1, 0), (2, 1), (3, 1)]);
    serves_again(&bed, "serves with queues as named");
    let text = std::fs::read_to_string(bed.lab.file("sheaved.toml")).expect("configuration");
    std::fs::write(bed.lab.file("sheaved.toml"), text.replace("[1, 0, 1]", "[0]")).expect("configuration");
    bed.director.reload_by_signal().expect("reload");
    let moved = || queues_of(&bed, "d0") == [(0, 0), (1, 0), (2, 0), (3, 0)];
    wait_until("queues on the other worker", SOON, moved)
        .unwrap_or_else(|e| panic!("{e}: {}", bed.director.state()));
    serves_again(&bed, "serves with queues as named anew");
    assert_eq!(queues_of(&bed, "d1").len(), 2);
}
