//! The life of a destination under load: drains, slow start, limits, the sorry server, the director's own stack.

use serde_json::Value;
use sheave_testbeds::http::{After, HttpConn, greeting};
use sheave_testbeds::servers::tcp_greeter;
use sheave_testbeds::wait::{Stopwatch, pause, wait_until};
use sheave_testbeds::{Bed, Method, addr};
use std::time::Duration;

/// The destination of real server `number` in `web`.
fn destination(number: u8) -> String {
    format!("{}:{}", addr::real(number), Method::Nat.web_port())
}

/// Runs `sheave` and expects it to work.
fn sheave(bed: &Bed, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    bed.director.sheave(&words).unwrap_or_else(|e| panic!("{line}: {e}"))
}

fn events(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|v: &Value| v["event"].is_string())
        .collect()
}

#[test]
fn a_drain_with_a_deadline_resets_what_is_left_exactly_then() {
    let bed = Bed::start(Method::Nat).expect("bed");
    let third = destination(3);
    let (keep, close) = (bed.keep_alive_load(), bed.close_load());
    for server in ["r1", "r2", "r3"] {
        keep.wait_server(server, 20).expect("all three have connections");
    }
    sheave(&bed, &format!("drain web {third} --deadline 1m --then reset"));
    // It gets no new connections, and keeps those that it has.
    for _ in 0..6 {
        assert_ne!(bed.ask().expect("answer"), "r3");
    }
    keep.wait_server("r3", 100).expect("its connections go on");
    assert_eq!(keep.tally().failed, 0, "{:#?}", keep.tally().failures);

    // Asked for anew, with a nearer deadline.
    let took = Stopwatch::start();
    let told = sheave(&bed, &format!("drain web {third} --deadline 2s --then reset --wait --json"));
    let took = took.elapsed();
    let told = events(&told);
    let (Some(first), Some(last)) = (told.first(), told.last()) else { panic!("no events") };
    assert_eq!((&first["event"], &last["event"]), (&"drain-progress".into(), &"drain-finished".into()));
    assert_eq!(last["end"], "reset");
    assert!(last["connections"].as_u64().is_some_and(|left| left > 0), "{last}");
    let after = last["time"].as_f64().unwrap_or(0.0) - first["time"].as_f64().unwrap_or(0.0);
    assert!((1.9..2.2).contains(&after), "{after} s after it began: {told:?}");
    assert!(took >= Duration::from_millis(1900), "{took:?}");

    keep.wait_without("r3", 200).expect("the rest is reset");
    let tally = keep.finish();
    assert!(tally.failed > 0, "nothing was reset");
    let innocent: Vec<_> = tally.failures.iter().filter(|f| f.server.as_deref() != Some("r3")).collect();
    assert!(innocent.is_empty(), "{innocent:#?}");
    let tally = close.finish();
    assert_eq!(tally.failed, 0, "connections that end by themselves notice nothing: {:#?}", tally.failures);
}

#[test]
fn a_drain_ends_with_the_last_connection() {
    let bed = Bed::start(Method::Nat).expect("bed");
    sheave(&bed, "service edit echo --udp-timeout 1s");
    let third = format!("{}:{}", addr::real(3), Method::Nat.echo_port());
    let mut client =
        sheave_testbeds::udp::UdpClient::open(&bed.lab.client, None, bed.lab.vip(7)).expect("client");
    for _ in 0..3 {
        client.echo(64).expect("answer");
    }
    let told = sheave(&bed, &format!("drain echo {third} --wait --json"));
    let told = events(&told);
    assert_eq!(
        told.last().map(|last| (&last["end"], &last["connections"])),
        Some((&"empty".into(), &0.into()))
    );
    let shown = sheave(&bed, "destination list echo");
    assert!(shown.contains("drain"), "{shown}");
    sheave(&bed, &format!("ready echo {third}"));
    assert!(!sheave(&bed, "destination list echo").contains("drain"));
}

#[test]
fn a_destination_that_is_ready_again_starts_slowly() {
    let bed = Bed::start(Method::Nat).expect("bed");
    let third = destination(3);
    sheave(&bed, "service edit web --scheduler wrr --slow-start 5s");
    sheave(&bed, &format!("maint web {third}"));
    let load = bed.close_load();
    load.wait_without("r3", 100).expect("it is out");
    sheave(&bed, &format!("ready web {third}"));
    let shown = sheave(&bed, "destination list web");
    assert!(shown.contains(" %"), "the part of its weight is shown: {shown}");
    let mut shares = Vec::new();
    let mut before = load.tally();
    for _ in 0..6 {
        pause(Duration::from_secs(1));
        let now = load.tally();
        let of_third = now.of("r3") - before.of("r3");
        let all = (now.total() - before.total()).max(1);
        shares.push(of_third * 100 / all);
        before = now;
    }
    // A tenth of its weight is 5 % of all, all of it is a third.
    assert!(shares[0] < 15 && shares[5] > 28, "per cent by second: {shares:?}");
    assert!(shares[0] < shares[3] && shares[1] < shares[5], "per cent by second: {shares:?}");
    let tally = load.finish();
    assert_eq!(tally.failed, 0, "{:#?}", tally.failures);
}

#[test]
fn a_limit_holds_and_the_sorry_server_takes_the_rest() {
    let bed = Bed::start(Method::Nat).expect("bed");
    sheave(&bed, &format!("destination remove web {}", destination(3)));
    for number in [1, 2] {
        sheave(&bed, &format!("destination edit web {} --connection-limit 2", destination(number)));
    }
    let open = || {
        let mut connection = HttpConn::open(&bed.lab.client, bed.lab.vip(80))?;
        let server = connection.ask(After::KeepAlive).map_err(sheave_testbeds::Error::about("request"))?;
        Ok::<_, sheave_testbeds::Error>((connection, server))
    };
    let mut four: Vec<_> = (0..4).map(|_| open().expect("room for four")).collect();
    for server in ["r1", "r2"] {
        assert_eq!(four.iter().filter(|(_, by)| by == server).count(), 2);
    }
    assert!(open().is_err(), "a fifth is refused");
    assert!(sheave(&bed, "destination list web").contains("overloaded"));

    sheave(&bed, &format!("service edit web --sorry {}", destination(3)));
    let (mut fifth, server) = open().expect("the sorry server");
    assert_eq!(server, "r3");
    sheave(&bed, &format!("destination edit web {} --connection-limit 3", destination(1)));
    assert_eq!(open().expect("room again").1, "r1");
    assert_eq!(fifth.ask(After::KeepAlive).expect("it stays where it is"), "r3");
    for (connection, server) in &mut four {
        assert_eq!(&connection.ask(After::KeepAlive).expect("they go on"), server);
    }
}

#[test]
fn a_backup_stands_by_until_others_are_missing() {
    let bed = Bed::start(Method::Nat).expect("bed");
    sheave(&bed, &format!("destination edit web {} --backup", destination(3)));
    for _ in 0..6 {
        assert_ne!(bed.ask().expect("answer"), "r3");
    }
    assert!(sheave(&bed, "destination list web").contains("standby"));
    for number in [1, 2] {
        sheave(&bed, &format!("maint web {}", destination(number)));
    }
    assert_eq!(bed.ask().expect("answer"), "r3");
    sheave(&bed, &format!("ready web {}", destination(2)));
    assert_eq!(bed.ask().expect("answer"), "r2");
}

/// The director's own stack serves beside real servers: what goes to it is the kernel's.
#[test]
fn the_directors_own_stack_is_a_destination() {
    let bed = Bed::start(Method::Nat).expect("bed");
    bed.lab.director.ip(&format!("addr add {}/32 dev lo", addr::VIP)).expect("the VIP");
    let _server = tcp_greeter(&bed.lab.director, "itself", (addr::VIP, 81).into()).expect("greeter");
    sheave(&bed, &format!("service add {}:81/tcp --name local --forward local", addr::VIP));
    sheave(&bed, &format!("destination add local {}", addr::VIP));
    let answers = || greeting(&bed.lab.client, bed.lab.vip(81)).is_ok_and(|name| name == "itself");
    wait_until("the director's own server answers", Duration::from_secs(5), answers).expect("it answers");
    let shown = sheave(&bed, "connections --service local");
    assert!(shown.contains("local"), "{shown}");
    // The other services are what they were.
    assert!(bed.ask().is_ok());
}
