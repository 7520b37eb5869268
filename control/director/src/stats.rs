//! The numbers that are shown: sums over the workers' pages, and rates.
//!
//! Pages are never reset. A number that is dealt again to another object starts from zero because what the page says
//! at that moment is remembered and subtracted.

use crate::estimate::{Estimator, PERIOD, plus, since};
use sheave_pipeline::counters::{self, Traffic};
use sheave_pipeline::ids::{DestId, ServiceId};
use sheave_pipeline::{Snapshot, Time};
use sheave_plan::Fresh;
use sheave_proto::api::{Stats, Totals};
use sheave_table::CounterPage;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// What an object's numbers start from, and its rates.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    base: Totals,
    estimator: Estimator,
    /// What the numbers said when they were marked.
    mark: Option<Totals>,
}

/// All accounts.
#[derive(Debug)]
pub(crate) struct Statistics {
    pages: Vec<Arc<CounterPage>>,
    services: HashMap<ServiceId, Account>,
    destinations: HashMap<DestId, Account>,
    total: Estimator,
    total_mark: Option<Totals>,
    /// Services have had numbers up to this one.
    highest: usize,
    next: Time,
}

fn sum(pages: &[Arc<CounterPage>], slot: impl Fn(Traffic) -> usize) -> Totals {
    let of = |what| CounterPage::sum(pages, slot(what));
    Totals {
        conns: of(Traffic::Conns),
        in_packets: of(Traffic::InPackets),
        out_packets: of(Traffic::OutPackets),
        in_bytes: of(Traffic::InBytes),
        out_bytes: of(Traffic::OutBytes),
    }
}

fn service_raw(pages: &[Arc<CounterPage>], id: ServiceId) -> Totals {
    sum(pages, |what| counters::service(id, what))
}

fn destination_raw(pages: &[Arc<CounterPage>], id: DestId) -> Totals {
    sum(pages, |what| counters::destination(id, what))
}

impl Statistics {
    pub(crate) fn new(pages: Vec<Arc<CounterPage>>, now: Time) -> Statistics {
        Statistics {
            pages,
            services: HashMap::new(),
            destinations: HashMap::new(),
            total: Estimator::default(),
            total_mark: None,
            highest: 0,
            next: now.after(PERIOD * Time::SECOND),
        }
    }

    /// Objects that were just given their numbers start from zero.
    pub(crate) fn begin(&mut self, fresh: &Fresh) {
        for id in &fresh.services {
            let base = service_raw(&self.pages, *id);
            self.services.insert(*id, Account { base, ..Account::default() });
            self.highest = self.highest.max(id.index());
        }
        for id in &fresh.destinations {
            let base = destination_raw(&self.pages, *id);
            self.destinations.insert(*id, Account { base, ..Account::default() });
        }
    }

    /// Objects that are no longer there are forgotten.
    pub(crate) fn forget(&mut self, snapshot: &Snapshot) {
        self.services.retain(|id, _| snapshot.service(*id).is_some());
        self.destinations.retain(|id, _| snapshot.destination(*id).is_some());
    }

    /// When the next sample is due.
    pub(crate) fn next_due(&self) -> Time {
        self.next
    }

    /// Takes a sample when one is due.
    pub(crate) fn sample(&mut self, now: Time) {
        if now < self.next {
            return;
        }
        // Samples that were missed are not made up for: the average would be one of the wrong time.
        self.next = self.next.after(PERIOD * Time::SECOND).max(now);
        let pages = &self.pages;
        for (id, account) in &mut self.services {
            account.estimator.sample(since(service_raw(pages, *id), account.base));
        }
        for (id, account) in &mut self.destinations {
            account.estimator.sample(since(destination_raw(pages, *id), account.base));
        }
        let total = self.total_raw();
        self.total.sample(total);
    }

    fn total_raw(&self) -> Totals {
        (0..=self.highest)
            .filter_map(|id| u16::try_from(id).ok())
            .map(|id| service_raw(&self.pages, ServiceId(id)))
            .fold(Totals::default(), plus)
    }

    /// The sum over all services that there are and were.
    pub(crate) fn total(&self) -> Stats {
        let totals = self.total_raw();
        let since_mark = self.total_mark.map(|mark| since(totals, mark));
        Stats { totals, rates: self.total.rates(), since_mark }
    }

    /// Counts these anew beside their totals from now on, and the sum too if `all` is meant.
    pub(crate) fn mark(&mut self, services: &[ServiceId], destinations: &[DestId], all: bool) {
        for id in services {
            let totals = self.service(*id).totals;
            self.services.entry(*id).or_default().mark = Some(totals);
        }
        for id in destinations {
            let totals = self.destination(*id).totals;
            self.destinations.entry(*id).or_default().mark = Some(totals);
        }
        if all {
            self.total_mark = Some(self.total_raw());
        }
    }

    /// A service's numbers.
    pub(crate) fn service(&self, id: ServiceId) -> Stats {
        stats(&self.services, id, service_raw(&self.pages, id))
    }

    /// A destination's numbers.
    pub(crate) fn destination(&self, id: DestId) -> Stats {
        stats(&self.destinations, id, destination_raw(&self.pages, id))
    }

    /// One slot, over all pages.
    pub(crate) fn slot(&self, slot: usize) -> u64 {
        CounterPage::sum(&self.pages, slot)
    }
}

fn stats<K: Eq + Hash>(accounts: &HashMap<K, Account>, id: K, raw: Totals) -> Stats {
    let account = accounts.get(&id).copied().unwrap_or_default();
    let totals = since(raw, account.base);
    let since_mark = account.mark.map(|mark| since(totals, mark));
    Stats { totals, rates: account.estimator.rates(), since_mark }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_dealt_again_starts_from_zero_and_the_total_goes_on() {
        let (page_a, a) = CounterPage::with_writer(counters::PAGE_LEN);
        let (page_b, b) = CounterPage::with_writer(counters::PAGE_LEN);
        let mut s = Statistics::new(vec![page_a, page_b], Time(0));
        let id = ServiceId(3);
        s.begin(&Fresh { services: vec![id], destinations: vec![], ..Fresh::default() });
        a.add(counters::service(id, Traffic::InPackets), 5);
        b.add(counters::service(id, Traffic::InPackets), 7);
        assert_eq!(s.service(id).totals.in_packets, 12);
        s.begin(&Fresh { services: vec![id], destinations: vec![], ..Fresh::default() });
        a.add(counters::service(id, Traffic::InPackets), 1);
        assert_eq!((s.service(id).totals.in_packets, s.total().totals.in_packets), (1, 13));
    }

    #[test]
    fn a_mark_counts_anew_and_the_totals_go_on() {
        let (page, writer) = CounterPage::with_writer(counters::PAGE_LEN);
        let mut s = Statistics::new(vec![page], Time(0));
        let (marked, other) = (ServiceId(1), ServiceId(2));
        s.begin(&Fresh { services: vec![marked, other], destinations: vec![], ..Fresh::default() });
        writer.add(counters::service(marked, Traffic::Conns), 5);
        assert_eq!(s.service(marked).since_mark, None);
        s.mark(&[marked], &[], false);
        writer.add(counters::service(marked, Traffic::Conns), 2);
        let stats = s.service(marked);
        assert_eq!((stats.totals.conns, stats.since_mark.map(|since| since.conns)), (7, Some(2)));
        assert_eq!((s.service(other).since_mark, s.total().since_mark), (None, None));
        s.mark(&[marked, other], &[], true);
        writer.add(counters::service(other, Traffic::Conns), 1);
        let total = s.total();
        assert_eq!((total.totals.conns, total.since_mark.map(|since| since.conns)), (8, Some(1)));
    }

    #[test]
    fn samples_are_taken_every_two_seconds() {
        let (page, writer) = CounterPage::with_writer(counters::PAGE_LEN);
        let mut s = Statistics::new(vec![page], Time(0));
        let id = ServiceId(0);
        s.begin(&Fresh { services: vec![id], destinations: vec![], ..Fresh::default() });
        writer.add(counters::service(id, Traffic::Conns), 8000);
        s.sample(Time(Time::SECOND));
        assert_eq!(s.service(id).rates.cps, 0);
        s.sample(Time(2 * Time::SECOND));
        assert_eq!(s.service(id).rates.cps, 1000, "a quarter of 4000 a second");
        assert_eq!(s.next_due(), Time(4 * Time::SECOND));
    }
}
