//! Changes under load: no request fails but those on a server that is taken away from under them.

use sheave_testbeds::http::{After, HttpConn, answers_within};
use sheave_testbeds::load::Tally;
use sheave_testbeds::wait::wait_until;
use sheave_testbeds::{Bed, Method, Service, addr};

use std::time::Duration;

/// How long a change may take to show in the traffic.
const SOON: Duration = Duration::from_secs(5);

fn none_failed(tally: &Tally) {
    assert_eq!(tally.failed, 0, "{:#?}", tally.failures);
}

/// The third real server's destination in `web`.
fn third(method: Method) -> String {
    format!("{}:{}", addr::real(3), method.web_port())
}

/// Quiesced, removed, added and weighted while connections come and go: nobody notices.
fn taken_out_and_put_back(method: Method) {
    let bed = Bed::start(method).expect("bed");
    let third = third(method);
    let load = bed.close_load();
    load.wait_server("r3", 20).expect("all three answer");

    bed.director.sheave(&["destination", "edit", "web", &third, "--weight", "0"]).expect("quiesced");
    load.wait_without("r3", 100).expect("quiesced");
    bed.director.sheave(&["destination", "remove", "web", &third]).expect("removed");
    load.wait_without("r3", 100).expect("removed");
    bed.director.sheave(&["destination", "add", "web", &third]).expect("added");
    load.wait_server("r3", 20).expect("added");
    bed.director.sheave(&["destination", "edit", "web", &third, "--weight", "5"]).expect("weighted");
    load.wait_server("r3", 100).expect("weighted");

    none_failed(&load.finish());
}

#[test]
fn a_nat_server_is_taken_out_and_put_back_without_a_failed_request() {
    taken_out_and_put_back(Method::Nat);
}

#[test]
fn a_dr_server_is_taken_out_and_put_back_without_a_failed_request() {
    taken_out_and_put_back(Method::Dr);
}

#[test]
fn a_tun_server_is_taken_out_and_put_back_without_a_failed_request() {
    taken_out_and_put_back(Method::Tun);
}

/// With `on-removal = "reset"` the clients of the removed server learn it at once; those of others notice nothing.
#[test]
fn a_removed_server_takes_only_its_own_connections_with_it() {
    let bed = Bed::start(Method::Nat).expect("bed");
    let load = bed.keep_alive_load();
    for server in ["r1", "r2", "r3"] {
        load.wait_server(server, 50).expect("all three have connections");
    }
    bed.director.sheave(&["destination", "remove", "web", &third(Method::Nat)]).expect("removed");
    load.wait_without("r3", 500).expect("removed");
    let tally = load.finish();
    assert!(tally.failed > 0, "connections of the removed server were not reset");
    let innocent: Vec<_> = tally.failures.iter().filter(|f| f.server.as_deref() != Some("r3")).collect();
    assert!(innocent.is_empty(), "{innocent:#?}");
}

/// With `on-removal = "keep"` they finish where they are; new ones go elsewhere.
#[test]
fn a_removed_server_may_keep_its_connections() {
    let bed = Bed::start(Method::Nat).expect("bed");
    bed.director.sheave(&["service", "edit", "web", "--on-removal", "keep"]).expect("edited");
    let load = bed.keep_alive_load();
    load.wait_server("r3", 50).expect("it has connections");
    bed.director.sheave(&["destination", "remove", "web", &third(Method::Nat)]).expect("removed");
    for _ in 0..6 {
        assert_ne!(bed.ask().expect("answer"), "r3");
    }
    load.wait_server("r3", 200).expect("its connections go on");
    none_failed(&load.finish());
}

/// wrr gives the share that the weights say, and the new share after a change.
#[test]
fn weights_are_shares() {
    let bed = Bed::start(Method::Nat).expect("bed");
    bed.director.sheave(&["service", "edit", "web", "--scheduler", "wrr"]).expect("wrr");
    bed.director
        .sheave(&["destination", "edit", "web", &third(Method::Nat), "--weight", "4"])
        .expect("weighted");
    let mut of_third = 0;
    for _ in 0..60 {
        of_third += usize::from(bed.ask().expect("answer") == "r3");
    }
    assert_eq!(of_third, 40, "4 of 6");
}

/// Reloads by signal and by request, with changed and with unchanged files, under both kinds of load.
#[test]
fn reloads_fail_no_request() {
    let mut bed = Bed::start(Method::Nat).expect("bed");
    let services = |weight| {
        let web = Service::web(&bed.lab, Method::Nat).weigh(addr::real(3), weight);
        [web, Service::echo(&bed.lab, Method::Nat)]
    };
    let (without, with) = (services(0), services(1));
    let (close, keep) = (bed.close_load(), bed.keep_alive_load());
    for round in 0..3 {
        bed.director.write_config(&without).expect("written");
        bed.director.reload_by_signal().expect("signalled");
        close.wait_without("r3", 100).expect("the signal quiesced it");
        bed.director.write_config(&with).expect("written");
        bed.director.sheave(&["reload"]).expect("reloaded");
        close.wait_server("r3", 20).unwrap_or_else(|e| panic!("round {round}: {e}"));
        bed.director.sheave(&["reload"]).expect("reloaded, nothing to do");
        keep.wait_answers(100).expect("goes on");
    }
    none_failed(&close.finish());
    none_failed(&keep.finish());
}

/// A file that does not hold is refused as a whole; what runs goes on.
#[test]
fn a_bad_file_changes_nothing() {
    let bed = Bed::start(Method::Nat).expect("bed");
    let load = bed.keep_alive_load();
    load.wait_answers(50).expect("runs");
    let mut web = Service::web(&bed.lab, Method::Nat).weigh(addr::real(3), 7);
    web.more = "no-such-key = 1\nscheduler-of = \"x\"".to_owned();
    bed.director.write_config(&[web]).expect("written");
    let output = bed.director.sheave_output(&["reload"]).expect("started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no-such-key") && said.contains("scheduler-of"), "all errors at once: {said}");
    load.wait_answers(50).expect("goes on");
    none_failed(&load.finish());
}

/// `apply --dry-run` prints the plan and does nothing; `apply` does it, and keeps what it does not concern.
#[test]
fn an_applied_file_replaces_the_whole_set_and_keeps_connections() {
    let bed = Bed::start(Method::Nat).expect("bed");
    let mut kept = HttpConn::open(&bed.lab.client, bed.lab.vip(80)).expect("connection");
    let server = kept.ask(After::KeepAlive).expect("answer");

    let mut web = Service::web(&bed.lab, Method::Nat);
    web.destinations.retain(|(address, _)| address.port() == 8080);
    let mut other = Service::web(&bed.lab, Method::Nat);
    (other.name, other.listen) = ("other", format!("{}:81/tcp", addr::VIP));
    let path = bed.lab.file("next.toml");
    std::fs::write(&path, bed.director.config_text(&[web, other]).expect("text")).expect("written");
    let path = path.to_str().expect("UTF-8 path");

    let plan = bed.director.sheave(&["apply", path, "--dry-run"]).expect("plan");
    assert!(plan.contains("other") && plan.contains("echo"), "one added, one removed: {plan}");
    let answers = |port| answers_within(&bed.lab.client, bed.lab.vip(port), Duration::from_millis(500));
    assert!(!answers(81), "a dry run offers nothing");
    bed.director.sheave(&["apply", path]).expect("applied");
    wait_until("the added service answers", SOON, || answers(81)).expect("applied");
    assert_eq!(kept.ask(After::KeepAlive).expect("the connection goes on"), server);
}
