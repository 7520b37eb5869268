//! What the states of a destination do to its life, from one snapshot to the next.

use sheave_pipeline::entry::State;
use sheave_pipeline::ids::{DestId, ServiceId};
use sheave_pipeline::live::Live;
use sheave_pipeline::snapshot::{Destination, Intent, Lives};
use sheave_pipeline::tcp_state::TcpState;
use sheave_pipeline::time::Seconds;
use sheave_pipeline::{Snapshot, Time};
use sheave_plan::{Compiler, Desired, Environment};
use sheave_proto::config::parse;
use std::collections::BTreeSet;

/// A compiler, and the service `web` with two destinations.
struct Bench {
    compiler: Compiler,
    epoch: u64,
    live: Live,
}

impl Bench {
    fn new() -> Bench {
        Bench { compiler: Compiler::new(), epoch: 0, live: Live::new() }
    }

    fn restarted(&self) -> Bench {
        Bench { compiler: Compiler::with_ids(self.compiler.ids().clone()), ..Bench::new() }
    }

    /// The keys of the service, and those of its first destination.
    fn compile(&mut self, service: &str, first: &str) -> Snapshot {
        let text = format!(
            "[[service]]\nlisten = '198.18.0.100:80/tcp'\nname = 'web'\n{service}\n\
             [[service.destination]]\naddress = '198.19.1.11:8080'\n{first}\n\
             [[service.destination]]\naddress = '198.19.1.12:8080'\n"
        );
        let desired = Desired::new(parse(&text, "test").expect("valid")).expect("valid");
        self.epoch += 1;
        let snapshot =
            self.compiler.compile(&desired, &Environment::default(), self.epoch).expect("within limits");
        self.compiler.fresh().begin(&snapshot, &self.live, at(self.epoch));
        snapshot
    }

    /// Since when destinations grow to their weight.
    fn since(&self) -> [Option<Time>; 2] {
        [0, 1].map(|n| self.live.destination(DestId(n)).since())
    }
}

const fn at(seconds: u64) -> Time {
    Time(seconds * Time::SECOND)
}

fn first(snapshot: &Snapshot) -> Destination {
    *snapshot.destination(DestId(0)).expect("there")
}

#[test]
fn what_is_configured_is_in_the_snapshot() {
    let mut bench = Bench::new();
    let keys = "weight = 3\nstate = 'drain'\nbackup = true\nupper-threshold = 9\nlower-threshold = 4\n\
                connection-limit = 12";
    let snapshot =
        bench.compile("sorry = { address = '198.19.1.13' }\nslow-start = '30s'\nbackup-below = 2", keys);
    let d = first(&snapshot);
    assert_eq!((d.weight, d.intent, d.backup), (3, Intent::Drain, true));
    assert_eq!((d.limits.upper, d.limits.lower, d.limits.connections), (9, 4, 12));
    let web = snapshot.service(ServiceId(0)).expect("there");
    assert_eq!((web.slow_start, web.backup_below, web.pool.len()), (Seconds(30), 2, 2));
    let sorry = web.sorry.and_then(|id| snapshot.destination(id)).expect("a sorry server");
    assert_eq!((sorry.addr.to_string().as_str(), sorry.port, sorry.weight), ("198.19.1.13", Some(80), 1));
    assert!(sorry.real.is_some(), "replies come from it");
}

#[test]
fn maintenance_ends_the_life_of_connections_and_they_stay_dead() {
    let mut bench = Bench::new();
    let before = first(&bench.compile("", "")).generation;
    assert_eq!(first(&bench.compile("", "state = 'drain'")).generation, before, "a drain ends nothing");
    let out = first(&bench.compile("", "state = 'maint'")).generation;
    assert_ne!(out, before);
    assert_eq!(first(&bench.compile("", "state = 'maint'\nweight = 2")).generation, out, "once");
    assert_eq!(first(&bench.compile("", "")).generation, out);
}

#[test]
fn lives_are_kept_for_their_tcp_connections() {
    let keep = "on-removal = 'keep'";
    let tcp = State::Tcp(TcpState::Established);
    let mut bench = Bench::new();
    let before = first(&bench.compile(keep, "")).generation;
    let out = first(&bench.compile(keep, "state = 'maint'"));
    assert_ne!(out.generation, before, "datagrams are dead at once");
    assert!(!out.has(before, State::Udp) && out.has(before, tcp) && out.has(out.generation, State::Udp));
    let back = first(&bench.compile(keep, ""));
    assert_eq!((back.generation, back.kept), (out.generation, out.kept), "and stay dead");
    let again = first(&bench.compile(keep, "state = 'maint'"));
    assert!(again.has(before, tcp) && again.has(out.generation, tcp));
    let mut restarted = bench.restarted();
    let restarted = first(&restarted.compile(keep, ""));
    assert!(restarted.has(before, tcp), "stored with the numbers");
    // A reset is for all of them.
    assert!(bench.compiler.reset(DestId(0)));
    let reset = first(&bench.compile(keep, ""));
    assert!(!reset.has(before, tcp) && !reset.has(again.generation, tcp));
    assert!(reset.reset.have(before) && reset.reset.have(again.generation));
    assert!(!reset.reset.have(reset.generation));
}

#[test]
fn a_reset_ends_one_life_and_says_which() {
    let mut bench = Bench::new();
    let before = first(&bench.compile("", "")).generation;
    assert!(bench.compiler.reset(DestId(0)));
    assert!(!bench.compiler.reset(DestId(99)));
    let after = first(&bench.compile("", ""));
    assert_ne!(after.generation, before);
    assert_eq!(after.reset, Lives { last: before, count: 1 });
    let mut restarted = bench.restarted();
    assert_eq!(first(&restarted.compile("", "")).generation, after.generation, "stored with the numbers");
}

#[test]
fn new_and_recovered_destinations_start_slowly() {
    let mut bench = Bench::new();
    let slow = "slow-start = '30s'";
    bench.compile(slow, "");
    assert_eq!(bench.since(), [None, None], "a new service begins at once");
    for keys in ["weight = 0", "state = 'drain'", "state = 'maint'"] {
        bench.compile(slow, keys);
        assert_eq!(bench.compiler.fresh().recovered, []);
        bench.compile(slow, "");
        assert_eq!(bench.compiler.fresh().recovered, [DestId(0)], "{keys}");
        assert_eq!(bench.since(), [Some(at(bench.epoch)), None], "{keys}");
    }
    bench.compile(slow, "weight = 5");
    assert_eq!(bench.compiler.fresh().recovered, [], "more weight is no recovery");
    bench.compile("", "state = 'drain'");
    bench.compile("", "");
    assert_eq!(bench.since(), [None, None], "without slow-start at once");
    let third = "\n[[service.destination]]\naddress = '198.19.1.13:8080'";
    bench.compile(slow, third);
    assert_eq!(bench.live.destination(DestId(2)).since(), Some(at(bench.epoch)), "added to a service");
}

#[test]
fn templates_of_a_drained_destination_are_honoured_when_asked() {
    let mut bench = Bench::new();
    assert!(!first(&bench.compile("", "state = 'drain'")).honours_templates);
    assert!(bench.compiler.honour(BTreeSet::from([DestId(0)])));
    assert!(!bench.compiler.honour(BTreeSet::from([DestId(0)])), "nothing new");
    assert!(first(&bench.compile("", "state = 'drain'")).honours_templates);
}
