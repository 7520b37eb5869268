//! What the control thread says of floods and of a full table: events when they begin and when they are over. Pure.

use sheave_pipeline::live::FloodSeen;
use sheave_proto::api::EventBody;

/// What was said last.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    workers: Vec<Worker>,
    /// Connections that had found no room when the table was last looked at.
    refused: u64,
    /// The same before it was full, while it is.
    full: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Worker {
    times: u64,
    flooded: bool,
}

/// The table as it is now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) connections: u64,
    /// Connections that ever found no room.
    pub(crate) refused: u64,
}

impl Pressure {
    /// Looks once more, about a second after the last time. Gives what is to be told.
    pub(crate) fn look(
        &mut self,
        workers: impl Iterator<Item = FloodSeen>,
        Table { connections, refused }: Table,
    ) -> Vec<EventBody> {
        let mut news = Vec::new();
        for (number, seen) in (0..).zip(workers) {
            let at = usize::try_from(number).unwrap_or(usize::MAX);
            if self.workers.len() <= at {
                self.workers.resize(at + 1, Worker::default());
            }
            self.workers[at].look(number, &seen, &mut news);
        }
        match self.full {
            None if refused > self.refused => {
                self.full = Some(self.refused);
                news.push(EventBody::TableFull { connections });
            }
            Some(before) if refused == self.refused => {
                self.full = None;
                news.push(EventBody::TableRoom { connections, refused: refused - before });
            }
            _ => {}
        }
        self.refused = refused;
        news
    }

    /// How many found no room since the table is full; `None` when it is not.
    pub(crate) fn refused(&self) -> Option<u64> {
        self.full.map(|before| self.refused - before)
    }
}

impl Worker {
    fn look(&mut self, worker: u32, seen: &FloodSeen, news: &mut Vec<EventBody>) {
        #[expect(clippy::cast_precision_loss, reason = "shown in seconds")]
        let lasted = seen.lasted as f64 / 1e9;
        let again = seen.times > self.times;
        if self.flooded && (again || seen.since.is_none()) {
            news.push(EventBody::FloodLeft { worker, lasted });
        }
        if again {
            news.push(EventBody::FloodEntered { worker, rate: seen.rate });
            if seen.since.is_none() {
                news.push(EventBody::FloodLeft { worker, lasted });
            }
        }
        *self = Worker { times: seen.times, flooded: seen.since.is_some() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_pipeline::Time;

    fn seen(times: u64, on: bool) -> FloodSeen {
        FloodSeen { times, since: on.then_some(Time(7)), rate: 300_000, lasted: 2_500_000_000 }
    }

    fn look(pressure: &mut Pressure, workers: &[FloodSeen], refused: u64) -> Vec<EventBody> {
        pressure.look(workers.iter().copied(), Table { connections: 90, refused })
    }

    #[test]
    fn each_flood_is_told_of_when_it_begins_and_when_it_ends() {
        let mut pressure = Pressure::default();
        let entered = |worker| EventBody::FloodEntered { worker, rate: 300_000 };
        let left = |worker| EventBody::FloodLeft { worker, lasted: 2.5 };
        let calm = FloodSeen::default();
        assert_eq!(look(&mut pressure, &[calm, calm], 0), []);
        assert_eq!(look(&mut pressure, &[calm, seen(1, true)], 0), [entered(1)]);
        assert_eq!(look(&mut pressure, &[calm, seen(1, true)], 0), []);
        assert_eq!(look(&mut pressure, &[calm, seen(1, false)], 0), [left(1)]);
        assert_eq!(look(&mut pressure, &[seen(1, true), seen(1, false)], 0), [entered(0)]);
        assert_eq!(look(&mut pressure, &[seen(2, true), seen(1, false)], 0), [left(0), entered(0)]);
        assert_eq!(look(&mut pressure, &[seen(2, false), seen(2, false)], 0), [left(0), entered(1), left(1)]);
    }

    #[test]
    fn a_full_table_is_told_of_until_a_second_without_a_refusal() {
        let mut pressure = Pressure::default();
        assert_eq!(look(&mut pressure, &[], 5), [EventBody::TableFull { connections: 90 }]);
        assert_eq!((look(&mut pressure, &[], 6), pressure.refused()), (vec![], Some(6)));
        assert_eq!(look(&mut pressure, &[], 6), [EventBody::TableRoom { connections: 90, refused: 6 }]);
        assert_eq!((look(&mut pressure, &[], 6), pressure.refused()), (vec![], None));
        assert_eq!(look(&mut pressure, &[], 7), [EventBody::TableFull { connections: 90 }]);
        assert_eq!(look(&mut pressure, &[], 7), [EventBody::TableRoom { connections: 90, refused: 1 }]);
    }
}
