//! Counters that one thread writes and any thread reads.
//!
//! Invariants: a counter has one writer, which is why adding to it needs no locked instruction. Counters only grow
//! (modulo 2^64); each is read whole, several together are not of one moment.

use crate::{
    memory::Zeroed,
    sync::{Arc, AtomicU64, Ordering},
};
use std::{cell::Cell, marker::PhantomData};

/// A fixed number of counters, readable by anyone. Unused ones cost no memory.
#[derive(Debug)]
pub struct CounterPage {
    counters: Zeroed<AtomicU64>,
}

/// The one writer of a page.
#[derive(Debug)]
pub struct Writer {
    page: Arc<CounterPage>,
    /// One thread at a time: adding is a load and a store.
    single: PhantomData<Cell<()>>,
}

impl CounterPage {
    /// A page of `counters` zeroes and its writer.
    pub fn with_writer(counters: usize) -> (Arc<CounterPage>, Writer) {
        let page = Arc::new(CounterPage { counters: Zeroed::new(counters) });
        (Arc::clone(&page), Writer { page, single: PhantomData })
    }

    /// How many counters there are.
    pub fn len(&self) -> usize {
        self.counters.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    /// Counter `index`; zero beyond the page.
    pub fn get(&self, index: usize) -> u64 {
        // ORDERING: Relaxed. A number is no message; readers accept it a little late.
        self.counters.get(index).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// The sum of counter `index` over `pages`.
    pub fn sum<'p>(pages: impl IntoIterator<Item = &'p Arc<CounterPage>>, index: usize) -> u64 {
        pages.into_iter().fold(0, |sum, page| sum.wrapping_add(page.get(index)))
    }
}

impl Writer {
    /// Adds `n` to counter `index`. Beyond the page nothing happens; a debug build stops.
    #[inline(always)]
    pub fn add(&self, index: usize, n: u64) {
        debug_assert!(index < self.page.len(), "counter {index} of {}", self.page.len());
        if let Some(counter) = self.page.counters.get(index) {
            // ORDERING: Relaxed, as in `get`. Nobody else writes, so nothing comes between load and store.
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }

    /// The counters as rows of eight.
    #[inline(always)]
    pub fn rows(&self) -> Rows<'_> {
        Rows(self.page.counters.as_chunks().0)
    }

    /// The page that this writes.
    pub fn page(&self) -> &Arc<CounterPage> {
        &self.page
    }
}

/// The counters of a page as rows of eight, for their one writer.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'w>(&'w [[AtomicU64; 8]]);

impl Rows<'_> {
    /// Adds to several counters of a row: `(which, n)` each. Beyond the page nothing happens; a debug build stops.
    #[inline(always)]
    pub fn add<const N: usize>(&self, row: usize, adds: [(usize, u64); N]) {
        debug_assert!(row < self.0.len(), "row {row} of {}", self.0.len());
        let Some(row) = self.0.get(row) else { return };
        for (which, n) in adds {
            // ORDERING: Relaxed, as in `add`.
            row[which].store(row[which].load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_over_pages() {
        let (first, writer) = CounterPage::with_writer(3);
        let (second, other) = CounterPage::with_writer(3);
        writer.add(1, 5);
        writer.add(1, 2);
        writer.add(2, u64::MAX);
        other.add(1, 10);
        other.add(2, 2);
        let pages = [first, second];
        assert_eq!((pages[0].get(0), pages[0].get(1), pages[1].get(1)), (0, 7, 10));
        assert_eq!(CounterPage::sum(&pages, 1), 17);
        assert_eq!(CounterPage::sum(&pages, 2), 1, "modulo 2^64");
        assert_eq!(CounterPage::sum(&pages, 3), 0, "beyond the page");
    }

    #[test]
    fn a_row_of_counters_is_added_to_at_once() {
        let (page, writer) = CounterPage::with_writer(24);
        writer.add(10, 1);
        writer.rows().add(1, [(2, 5), (7, 6)]);
        assert_eq!((page.get(10), page.get(15), page.get(9), page.get(16)), (6, 6, 0, 0));
    }

    #[test]
    fn a_page_outlives_its_writer() {
        let (page, writer) = CounterPage::with_writer(1);
        writer.add(0, 4);
        drop(writer);
        assert_eq!(page.get(0), 4);
    }

    #[test]
    fn a_writer_moves_to_its_thread() {
        let (page, writer) = CounterPage::with_writer(1);
        std::thread::spawn(move || (0..1000).for_each(|_| writer.add(0, 1))).join().expect("no panic");
        assert_eq!(page.get(0), 1000);
    }
}
