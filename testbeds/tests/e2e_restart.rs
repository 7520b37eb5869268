//! Ends and starts: whichever way sheaved ends, nothing stays behind, and the next one serves at once.

use std::collections::BTreeSet;
use std::time::Duration;

use sheave_testbeds::http::answers_within;
use sheave_testbeds::wait::wait_until;
use sheave_testbeds::{Bed, Lab, Method, run};

/// How long a new sheaved may take from its start to its first answered request.
const SERVES_AGAIN: Duration = Duration::from_secs(1);

/// What the kernel keeps in the director's namespace that a director could leave behind: devices, queueing
/// disciplines, rules and routes. Indices and counters aside, it must be the same before and after.
fn traces(lab: &Lab) -> BTreeSet<String> {
    let devices = lab.director.ip("-o link show").expect("devices");
    let devices = devices.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let name = words.next()?;
        let xdp = if line.contains("xdp") { "with xdp" } else { "without xdp" };
        Some(format!("device {name} {xdp}"))
    });
    let mut all: BTreeSet<_> = devices.collect();
    for (what, command) in [
        ("qdisc", ["tc", "qdisc", "show"].as_slice()),
        ("route", &["ip", "route", "show", "table", "all"]),
        ("rule", &["ip", "rule", "show"]),
        ("address", &["ip", "-o", "-4", "addr", "show", "scope", "global"]),
    ] {
        let text = lab.director.exec(command).expect(what);
        all.extend(text.lines().map(|line| format!("{what} {}", line.trim())));
    }
    all
}

/// The BPF programs on the director's interfaces.
fn programs(lab: &Lab) -> BTreeSet<u64> {
    let text = lab.director.ip("-d -j link show").expect("devices");
    let devices: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let ids = devices.as_array().into_iter().flatten().filter_map(|device| {
        let xdp = &device["xdp"];
        xdp["prog"]["id"].as_u64().or_else(|| xdp["attached"][0]["prog"]["id"].as_u64())
    });
    ids.collect()
}

fn exists(program: u64) -> bool {
    run(&["bpftool", "prog", "show", "id", &program.to_string()]).is_ok()
}

/// 20 times in a row under traffic, by turns told to end and killed.
#[test]
fn twenty_restarts_leave_nothing_behind_and_serve_again_within_a_second() {
    let mut bed = Bed::start(Method::Nat).expect("bed");
    bed.director.stop().expect("stopped");
    let before = traces(&bed.lab);
    bed.director.start_again(&bed.lab).expect("started");
    let load = bed.close_load();
    let mut times = Vec::new();
    for round in 0..20 {
        load.wait_answers(20).unwrap_or_else(|e| panic!("round {round}: {e}"));
        let attached = programs(&bed.lab);
        assert!(!attached.is_empty(), "round {round}: no program attached while it runs");
        if round % 2 == 0 {
            assert!(bed.director.stop().expect("ends when told to").success(), "round {round}");
        } else {
            bed.director.kill();
        }
        wait_until("programs and devices gone", Duration::from_secs(5), || {
            traces(&bed.lab) == before && !attached.iter().any(|id| exists(*id))
        })
        .unwrap_or_else(|e| panic!("round {round}: {e}: {:#?} was {before:#?}", traces(&bed.lab)));

        bed.director.spawn(&bed.lab).expect("spawned");
        let answers = || answers_within(&bed.lab.client, bed.lab.vip(80), Duration::from_millis(100));
        let took = wait_until("serves again", Duration::from_secs(10), answers);
        times.push(took.unwrap_or_else(|e| panic!("round {round}: {e}: {}", bed.director.log())));
    }
    times.sort();
    // A busy machine may delay a start or two; a director that is slow to start is so most times.
    assert!(times[times.len() * 3 / 4] < SERVES_AGAIN, "{times:?}");
}

/// Told to end before it is ready, or twice, it still ends in order.
#[test]
fn it_ends_in_order_at_any_time() {
    let mut bed = Bed::start(Method::Nat).expect("bed");
    assert!(bed.director.stop().expect("ends").success());
    assert!(!bed.director.socket().exists(), "the socket stays behind");
    bed.director.start_again(&bed.lab).expect("started");
    bed.director.process().expect("runs").signal(nix::sys::signal::Signal::SIGINT).expect("signalled");
    let status = bed.director.process().expect("runs").wait_end(Duration::from_secs(10)).expect("ends");
    assert!(status.success(), "{status}");
}
