//! What happened, numbered and kept for a while.

use crate::wall;
use sheave_proto::api::{Event, EventBody};
use std::collections::VecDeque;

/// Events kept for subscribers who ask for the past.
const KEPT: usize = 1024;

/// Events kept until the subscribers have been sent them: one change may bring many.
const UNSENT: usize = 4096;

/// The events of this director, in order.
#[derive(Debug)]
pub(crate) struct EventLog {
    next: u64,
    kept: VecDeque<(u64, Vec<u8>)>,
    /// Not sent to the subscribers yet: from this number on.
    unsent: u64,
}

impl EventLog {
    pub(crate) fn new() -> EventLog {
        EventLog { next: 1, kept: VecDeque::new(), unsent: 1 }
    }

    /// Notes something that happened.
    pub(crate) fn note(&mut self, body: EventBody) {
        let event = Event { body, seq: self.next, time: wall::now() };
        self.next += 1;
        self.kept.push_back((event.seq, event.to_line()));
        while self.kept.len() > UNSENT {
            self.kept.pop_front();
        }
        self.trim();
    }

    /// Forgets what is neither asked for nor on its way.
    fn trim(&mut self) {
        while self.kept.len() > KEPT && self.kept.front().is_some_and(|(seq, _)| *seq < self.unsent) {
            self.kept.pop_front();
        }
    }

    /// The number of the next event that a new subscriber will be sent.
    pub(crate) fn next_seq(&self) -> u64 {
        self.unsent
    }

    /// The lines of the past from `since` on, for a new subscriber; what is on its way is not among them. When some
    /// are not kept any more, the first line says how many.
    pub(crate) fn past(&self, since: u64) -> Vec<Vec<u8>> {
        self.lines(since.max(1), self.unsent)
    }

    /// The lines from `from` on and before `end`. Those that are not kept are told of in a line of their own.
    fn lines(&self, from: u64, end: u64) -> Vec<Vec<u8>> {
        let oldest = self.kept.front().map_or(self.next, |(seq, _)| *seq).min(end);
        let mut lines = Vec::new();
        if from < oldest {
            let body = EventBody::EventsLost { count: oldest - from };
            lines.push(Event { body, seq: oldest - 1, time: wall::now() }.to_line());
        }
        let range = |seq: &u64| *seq >= from && *seq < end;
        lines.extend(self.kept.iter().filter(|(seq, _)| range(seq)).map(|(_, line)| line.clone()));
        lines
    }

    /// What has not been sent to the subscribers yet.
    pub(crate) fn take_unsent(&mut self) -> Vec<Vec<u8>> {
        let lines = self.lines(self.unsent, self.next);
        self.unsent = self.next;
        self.trim();
        lines
    }

    /// Whether there is something to send.
    pub(crate) fn has_unsent(&self) -> bool {
        self.unsent < self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_proto::api::Message;

    fn note(log: &mut EventLog, name: &str) {
        log.note(EventBody::ServiceAdded { service: name.to_owned() });
    }

    fn seqs(lines: Vec<Vec<u8>>) -> Vec<u64> {
        lines
            .iter()
            .map(|line| match Message::parse(line).expect("an event") {
                Message::Event(event) => event.seq,
                Message::Response(response) => panic!("not an event: {response:?}"),
            })
            .collect()
    }

    #[test]
    fn each_event_reaches_a_subscriber_once_from_the_past_or_from_now_on() {
        let mut log = EventLog::new();
        note(&mut log, "a");
        note(&mut log, "b");
        assert_eq!(seqs(log.take_unsent()), [1, 2]);
        note(&mut log, "c");
        assert_eq!((seqs(log.past(1)), log.next_seq()), (vec![1, 2], 3));
        assert_eq!(seqs(log.take_unsent()), [3]);
        assert!(!log.has_unsent());
    }

    #[test]
    fn subscribers_are_told_of_what_one_change_brought_too_much_of() {
        let mut log = EventLog::new();
        for _ in 0..UNSENT + 7 {
            note(&mut log, "a");
        }
        let lines = log.take_unsent();
        let first = String::from_utf8(lines[0].clone()).expect("text");
        assert!(first.contains("\"event\":\"events-lost\"") && first.contains("\"count\":7"), "{first}");
        let rest = seqs(lines[1..].to_vec());
        assert_eq!((rest.len(), rest[0], log.kept.len()), (UNSENT, 8, KEPT));
    }

    #[test]
    fn what_is_not_kept_is_said() {
        let mut log = EventLog::new();
        for _ in 0..KEPT + 10 {
            note(&mut log, "a");
        }
        assert_eq!(log.take_unsent().len(), KEPT + 10, "subscribers miss nothing of it");
        let past = log.past(1);
        assert_eq!(past.len(), KEPT + 1);
        let first = String::from_utf8(past[0].clone()).expect("text");
        assert!(first.contains("\"event\":\"events-lost\"") && first.contains("\"count\":10"), "{first}");
    }
}
