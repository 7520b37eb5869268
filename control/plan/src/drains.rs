//! Drains that are going on: destinations that take no new connections, until the last one has ended or a deadline has
//! come.
//!
//! ```text
//!            state = "drain"               nothing left ---> finished: empty
//!   (none) -----------------> running ---< the deadline ---> finished: kept, or the rest is reset
//!                                |         another state, removed ---> called off
//! ```
//!
//! A pure machine: it is told the time and what is left, and says what happened. Whoever drives it carries out a reset
//! ([`Compiler::renew`](crate::Compiler::renew)) and tells of the rest.

use crate::desired::Desired;
use crate::ids::Ids;
use sheave_pipeline::Time;
use sheave_pipeline::ids::DestId;
use sheave_proto::api::{Drain, DrainEnd, Rest, Templates};
use sheave_proto::config::{DestAddr, Intent};
use std::collections::{BTreeMap, BTreeSet};

/// How often progress is told, and looked for, at most.
const PAUSE: u64 = Time::SECOND;

/// Every destination that is to be drained.
#[derive(Debug, Clone, Default)]
pub struct Drains {
    running: BTreeMap<DestId, Running>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Running {
    /// The name of its service.
    pub service: String,
    /// Its address.
    pub address: DestAddr,
    /// How it was asked for.
    pub drain: Drain,
    /// When it began.
    pub since: Time,
    /// When it ends at the latest.
    pub deadline: Option<Time>,
    /// What was left when that was last told.
    told: Option<u64>,
    next_look: Time,
    finished: bool,
}

/// Something that happened to a drain.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Which destination.
    pub id: DestId,
    /// The name of its service.
    pub service: String,
    /// Its address.
    pub address: DestAddr,
    /// Connections that are left.
    pub connections: u64,
    /// What.
    pub what: Happening,
}

/// What happens to drains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Happening {
    /// It goes on; with the time until its deadline, in nanoseconds.
    Progress(Option<u64>),
    /// It has ended.
    Finished(DrainEnd),
}

impl Running {
    fn new(service: &str, address: DestAddr, drain: Drain, now: Time) -> Running {
        Running {
            service: service.to_owned(),
            address,
            drain,
            since: now,
            deadline: drain.deadline.map(|deadline| now.after(u64::from(deadline.as_secs()) * Time::SECOND)),
            told: None,
            next_look: now,
            finished: false,
        }
    }

    /// Whether templates of the destination still bring their clients to it.
    fn honours_templates(&self) -> bool {
        !self.finished && self.drain.templates == Templates::Honour
    }

    fn step(&self, id: DestId, connections: u64, what: Happening) -> Step {
        Step { id, service: self.service.clone(), address: self.address, connections, what }
    }
}

impl Drains {
    /// Drains what a state that has just come into force wants drained, and calls the others off. `asked` is the drain
    /// that a request describes, if it was one: it begins anew.
    pub fn follow(
        &mut self,
        desired: &Desired,
        ids: &Ids,
        asked: Option<(DestId, Drain)>,
        now: Time,
    ) -> Vec<Step> {
        let mut before = std::mem::take(&mut self.running);
        for service in &desired.config().services {
            for destination in service.destinations.iter().filter(|d| d.state == Intent::Drain) {
                let Some(id) = ids.destination_of(service, destination) else { continue };
                let address = service.full_address(&destination.address);
                let known = before.remove(&id);
                let running = match (asked.filter(|(asked, _)| *asked == id), known) {
                    (Some((_, drain)), _) => Running::new(&service.name, address, drain, now),
                    (None, Some(known)) => Running { service: service.name.clone(), ..known },
                    (None, None) => Running::new(&service.name, address, Drain::default(), now),
                };
                self.running.insert(id, running);
            }
        }
        let off = before.into_iter().filter(|(_, running)| !running.finished);
        off.map(|(id, running)| running.step(id, 0, Happening::Finished(DrainEnd::CalledOff))).collect()
    }

    /// Goes on to `now`. `left` says how many connections a destination has; `settled` whether every worker knows that
    /// it is to have no new ones.
    pub fn advance(&mut self, now: Time, settled: bool, left: impl Fn(DestId) -> u64) -> Vec<Step> {
        let mut steps = Vec::new();
        for (id, running) in self.running.iter_mut().filter(|(_, running)| !running.finished) {
            let over = running.deadline.is_some_and(|deadline| deadline <= now);
            if !over && running.next_look > now {
                continue;
            }
            running.next_look = now.after(PAUSE);
            let connections = left(*id);
            let end = match (connections, running.drain.then) {
                (0, _) if settled || over => Some(DrainEnd::Empty),
                (_, Rest::Keep) if over => Some(DrainEnd::Kept),
                (_, Rest::Reset) if over => Some(DrainEnd::Reset),
                _ => None,
            };
            running.finished = end.is_some();
            let what = match end {
                Some(end) => Happening::Finished(end),
                None if running.told == Some(connections) => continue,
                None => Happening::Progress(running.deadline.map(|deadline| deadline.0 - now.0)),
            };
            running.told = Some(connections);
            steps.push(running.step(*id, connections, what));
        }
        steps
    }

    /// When something is due next.
    pub fn next_due(&self) -> Option<Time> {
        let due =
            |running: &Running| running.deadline.map_or(running.next_look, |d| d.min(running.next_look));
        self.unfinished().map(|(_, running)| due(running)).min()
    }

    /// The next deadline.
    pub fn next_deadline(&self) -> Option<Time> {
        self.unfinished().filter_map(|(_, running)| running.deadline).min()
    }

    /// The drain of a destination, while it goes on.
    pub fn get(&self, id: DestId) -> Option<&Running> {
        self.running.get(&id).filter(|running| !running.finished)
    }

    /// The destinations whose templates bring their clients to them once the drain that a request describes has begun:
    /// to be known to the snapshot that begins it.
    pub fn honouring_with(&self, asked: Option<(DestId, Drain)>) -> BTreeSet<DestId> {
        let mut honouring = self.honouring();
        match asked {
            Some((id, drain)) if drain.templates == Templates::Honour => {
                honouring.insert(id);
            }
            Some((id, _)) => {
                honouring.remove(&id);
            }
            None => {}
        }
        honouring
    }

    /// The destinations whose templates still bring their clients to them.
    pub fn honouring(&self) -> BTreeSet<DestId> {
        self.running.iter().filter(|(_, running)| running.honours_templates()).map(|(id, _)| *id).collect()
    }

    fn unfinished(&self) -> impl Iterator<Item = (&DestId, &Running)> {
        self.running.iter().filter(|(_, running)| !running.finished)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compiler, Environment};
    use sheave_proto::config::parse;

    const fn at(seconds: u64) -> Time {
        Time(seconds * Time::SECOND)
    }

    /// A service with two destinations of which some are drained, and its numbers.
    struct Bench {
        compiler: Compiler,
        drains: Drains,
    }

    impl Bench {
        fn new() -> Bench {
            Bench { compiler: Compiler::new(), drains: Drains::default() }
        }

        fn follow(&mut self, name: &str, states: [&str; 2], asked: Option<Drain>, now: Time) -> Vec<String> {
            let mut text = format!("[[service]]\nlisten = '198.18.0.100:80/tcp'\nname = '{name}'\n");
            for (n, state) in states.iter().enumerate() {
                text +=
                    &format!("[[service.destination]]\naddress = '198.19.1.{n}:8080'\nstate = '{state}'\n");
            }
            let desired = Desired::new(parse(&text, "test").unwrap()).unwrap();
            let environment = Environment::default();
            self.compiler.compile(&desired, &environment, 1).unwrap();
            let asked = asked.map(|drain| (DestId(0), drain));
            told(self.drains.follow(&desired, self.compiler.ids(), asked, now))
        }

        fn advance(&mut self, now: Time, left: [u64; 2]) -> Vec<String> {
            told(self.drains.advance(now, true, |id| left[id.index()]))
        }
    }

    fn told(steps: Vec<Step>) -> Vec<String> {
        let word = |what| match what {
            Happening::Progress(None) => "left".to_owned(),
            Happening::Progress(Some(nanos)) => format!("left, {} s to go", nanos / Time::SECOND),
            Happening::Finished(end) => end.to_string(),
        };
        steps
            .iter()
            .map(|s| format!("{} {}: {} {}", s.service, s.address, s.connections, word(s.what)))
            .collect()
    }

    fn drain(deadline: &str, then: Rest) -> Drain {
        Drain { deadline: Some(deadline.parse().unwrap()), then, templates: Templates::Honour }
    }

    #[test]
    fn a_drain_ends_when_nothing_is_left() {
        let mut bench = Bench::new();
        assert!(bench.follow("web", ["drain", "ready"], None, at(1)).is_empty());
        assert_eq!(bench.advance(at(1), [3, 9]), ["web 198.19.1.0:8080: 3 left"]);
        assert_eq!((bench.drains.next_due(), bench.drains.next_deadline()), (Some(at(2)), None));
        assert!(bench.advance(Time(at(2).0 - 1), [2, 9]).is_empty(), "once a second");
        assert_eq!(bench.advance(at(2), [2, 9]), ["web 198.19.1.0:8080: 2 left"]);
        assert!(bench.advance(at(3), [2, 9]).is_empty(), "only what is news");
        assert_eq!(bench.advance(at(4), [0, 9]), ["web 198.19.1.0:8080: 0 empty"]);
        assert!(bench.advance(at(5), [1, 9]).is_empty());
        assert_eq!(bench.drains.next_due(), None);
        assert!(bench.follow("web", ["ready", "ready"], None, at(6)).is_empty(), "nothing to call off");
    }

    #[test]
    fn nothing_left_counts_only_when_every_worker_knows() {
        let mut bench = Bench::new();
        bench.follow("web", ["drain", "ready"], None, at(1));
        assert_eq!(told(bench.drains.advance(at(1), false, |_| 0)), ["web 198.19.1.0:8080: 0 left"]);
        assert_eq!(bench.advance(at(2), [0, 0]), ["web 198.19.1.0:8080: 0 empty"]);
    }

    #[test]
    fn the_deadline_comes_exactly_then_the_rest_is_kept_or_reset() {
        for (then, end) in [(Rest::Keep, "kept"), (Rest::Reset, "reset")] {
            let mut bench = Bench::new();
            bench.follow("web", ["drain", "drain"], Some(drain("90s", then)), at(7));
            let progress = ["web 198.19.1.0:8080: 3 left, 90 s to go", "web 198.19.1.1:8080: 9 left"];
            assert_eq!(bench.advance(at(7), [3, 9]), progress);
            assert_eq!(bench.drains.honouring(), BTreeSet::from([DestId(0)]));
            assert!(bench.advance(Time(at(97).0 - 1), [3, 9]).is_empty());
            assert_eq!(bench.drains.next_due(), Some(at(97)));
            assert_eq!(bench.advance(at(97), [3, 9]), [format!("web 198.19.1.0:8080: 3 {end}")]);
            assert!(bench.drains.honouring().is_empty());
            assert!(bench.drains.get(DestId(0)).is_none());
            assert!(bench.drains.get(DestId(1)).is_some());
        }
    }

    #[test]
    fn another_state_calls_it_off_and_another_request_begins_it_anew() {
        let mut bench = Bench::new();
        bench.follow("web", ["drain", "ready"], Some(drain("10s", Rest::Reset)), at(1));
        bench.advance(at(1), [3, 0]);
        assert!(bench.follow("www", ["drain", "ready"], None, at(2)).is_empty(), "the same by another name");
        assert_eq!(bench.drains.next_deadline(), Some(at(11)));
        bench.follow("www", ["drain", "ready"], Some(drain("60s", Rest::Keep)), at(3));
        assert_eq!(bench.advance(at(3), [3, 0]), ["www 198.19.1.0:8080: 3 left, 60 s to go"]);
        let off = ["www 198.19.1.0:8080: 0 called-off"];
        assert_eq!(bench.follow("www", ["maint", "ready"], None, at(4)), off);
        assert_eq!(bench.drains.next_due(), None);
    }

    #[test]
    fn templates_are_honoured_from_the_very_beginning() {
        let mut bench = Bench::new();
        let honour = Some((DestId(0), drain("60s", Rest::Keep)));
        let ignore = honour.map(|(id, drain)| (id, Drain { templates: Templates::Ignore, ..drain }));
        // Before the state that drains it is in force.
        assert!(bench.drains.honouring().is_empty());
        assert_eq!(bench.drains.honouring_with(honour), BTreeSet::from([DestId(0)]));
        bench.follow("web", ["drain", "ready"], honour.map(|(_, drain)| drain), at(1));
        assert_eq!(bench.drains.honouring(), bench.drains.honouring_with(honour), "and nothing changes then");
        assert_eq!(bench.drains.honouring_with(None), bench.drains.honouring());
        assert!(bench.drains.honouring_with(ignore).is_empty());
    }
}
