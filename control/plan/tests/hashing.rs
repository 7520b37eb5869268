//! Hash schedulers choose alike on every director, through the compiler, whatever the order and the history.

use sheave_pipeline::ids::ServiceId;
use sheave_pipeline::live::Live;
use sheave_pipeline::scheduler::{Excluded, Pick, Pool, Rng};
use sheave_pipeline::{Snapshot, Time};
use sheave_plan::{Compiler, Desired, Environment};
use sheave_proto::config::parse;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

const FLOWS: u32 = 100_000;

/// The services: a name and what the scheduler's keys are.
const SERVICES: [(&str, &str); 6] = [
    ("mh", "scheduler = 'mh'"),
    ("mh-port", "scheduler = 'mh'\nscheduler-flags = ['mh-port', 'mh-fallback']\nmh-table = 4093"),
    ("sh", "scheduler = 'sh'"),
    ("sh-port", "scheduler = 'sh'\nscheduler-flags = ['sh-port', 'sh-fallback']"),
    ("dh", "scheduler = 'dh'"),
    ("source", "scheduler = 'source'"),
];

/// (last byte of the address, weight).
type Real = (u8, u32);

/// A director as far as it chooses.
struct Director {
    compiler: Compiler,
    epoch: u64,
    snapshot: Snapshot,
    live: Live,
}

impl Director {
    fn new(compiler: Compiler) -> Director {
        Director { compiler, epoch: 0, snapshot: Snapshot::default(), live: Live::new() }
    }

    /// Puts services in this order into force, each with these destinations in this order.
    fn serve(&mut self, services: &[(&str, &str)], reals: &[Real]) {
        let mut text = String::new();
        for (name, keys) in services {
            let port = 80 + SERVICES.iter().position(|(n, _)| n == name).unwrap_or(9);
            let _ =
                write!(text, "[[service]]\nname = '{name}'\nlisten = '198.18.0.100:{port}/tcp'\n{keys}\n");
            for (last, weight) in reals {
                let destination = format!("address = '198.19.1.{last}:8080'\nweight = {weight}\n");
                let _ = write!(text, "[[service.destination]]\n{destination}");
            }
        }
        let desired = Desired::new(parse(&text, "test").expect("valid")).expect("valid");
        self.epoch += 1;
        self.snapshot =
            self.compiler.compile(&desired, &Environment::default(), self.epoch).expect("within limits");
    }

    fn service(&self, name: &str) -> ServiceId {
        self.compiler.ids().service(name).expect("numbered")
    }

    /// Where a flow to a service goes.
    fn choose(&self, service: ServiceId, n: u32) -> Option<IpAddr> {
        let client = Ipv4Addr::from_bits(0xcb00_0000 + n.wrapping_mul(2_654_435_761) % (1 << 24));
        let port = u16::try_from(n % 60_000).expect("small") + 1024;
        // dh looks at the VIP: there may be many.
        let pick = Pick { client: client.into(), client_port: port, vip: client.into() };
        let excluded = Excluded::none();
        let pool = Pool::new(&self.snapshot, service, &self.live, Time(Time::SECOND), &excluded)?;
        // Another seed at every turn: it must not matter.
        let id = pool.pick(&pick, &mut Rng::new(u64::from(n), 0))?;
        self.snapshot.destination(id).map(|d| d.addr)
    }
}

fn reals() -> Vec<Real> {
    (10..26).map(|last| (last, u32::from(last % 4) + 1)).collect()
}

#[test]
fn two_directors_choose_alike_whatever_the_order_and_the_history() {
    let mut one = Director::new(Compiler::new());
    one.serve(&SERVICES, &reals());

    // In another order, after destinations and services have come and gone: other numbers for everything.
    let mut other = Director::new(Compiler::new());
    let (mut services, mut backwards) = (SERVICES, reals());
    services.reverse();
    backwards.reverse();
    backwards.swap(2, 11);
    other.serve(&services[..3], &backwards[..5]);
    other.serve(&services[2..], &[(99, 7)]);
    other.serve(&services, &backwards);

    // Started again with the numbers of the one before, and without.
    let mut restarted = Director::new(Compiler::with_ids(other.compiler.ids().clone()));
    restarted.serve(&services, &backwards);
    let mut anew = Director::new(Compiler::new());
    anew.serve(&services[1..], &backwards);
    anew.serve(&SERVICES, &backwards);

    for (name, _) in SERVICES {
        let directors = [&one, &other, &restarted, &anew].map(|director| (director, director.service(name)));
        let unlike = (0..FLOWS).filter(|n| {
            let [(first, service), rest @ ..] = &directors;
            let choice = first.choose(*service, *n);
            choice.is_none() || rest.iter().any(|(director, service)| director.choose(*service, *n) != choice)
        });
        assert_eq!(unlike.count(), 0, "{name}");
    }
}

/// Of the flows to destinations that a change does not concern, at most two in a hundred move.
#[test]
fn a_change_moves_few_flows_of_untouched_destinations() {
    let without = |last: u8| reals().into_iter().filter(|real| real.0 != last).collect::<Vec<_>>();
    let weighing = |last: u8, weight| {
        let weigh = |real: Real| if real.0 == last { (last, weight) } else { real };
        reals().into_iter().map(weigh).collect::<Vec<_>>()
    };
    let changes = [
        ("removed", 15, without(15)),
        ("added", 30, [reals(), vec![(30, 3)]].concat()),
        ("quiesced", 12, weighing(12, 0)),
        ("weighted", 12, weighing(12, 4)),
    ];
    for (name, most) in [("mh", 2), ("source", 0)] {
        let mut before = Director::new(Compiler::new());
        before.serve(&SERVICES, &reals());
        let service = before.service(name);
        for (what, concerned, after) in &changes {
            let mut changed = Director::new(before.compiler.clone());
            changed.epoch = 1;
            changed.serve(&SERVICES, after);
            let concerned: IpAddr = Ipv4Addr::new(198, 19, 1, *concerned).into();
            let untouched = (0..FLOWS)
                .map(|n| (before.choose(service, n), changed.choose(service, n)))
                .filter(|(was, is)| *was != Some(concerned) && *is != Some(concerned));
            let (all, moved) =
                untouched.fold((0, 0), |(all, moved), (was, is)| (all + 1, moved + u32::from(was != is)));
            assert!(all > FLOWS / 2 && moved * 100 <= all * most, "{name}: {what}: {moved} of {all}");
        }
    }
}
