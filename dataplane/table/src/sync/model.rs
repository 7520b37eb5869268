//! Loom's atomics, checked in two ways.
//!
//! Loom lets a load return any value that the memory model allows, but decides where to switch threads by the last
//! access to an atomic alone: a thread that loads and then stores hides from it that another thread's load came
//! first. So a model is checked twice: as loom does it, for what weak memory may show; and with every access a
//! read-modify-write, which loom orders against all accesses of others, for every interleaving.
//!
//! Fences are no place to switch threads for loom either; here each first touches a word that all of them touch, so
//! that they are tried in every order.

use loom::sync::atomic::{self, Ordering};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Which way this process is checking at present.
static EVERY_ACCESS_COUNTS: AtomicBool = AtomicBool::new(false);

/// Checks from now on with all accesses as read-modify-writes, or as they are.
#[cfg(test)]
pub(crate) fn count_every_access(yes: bool) {
    EVERY_ACCESS_COUNTS.store(yes, Relaxed);
}

fn every_access_counts() -> bool {
    EVERY_ACCESS_COUNTS.load(Relaxed)
}

loom::lazy_static! {
    static ref FENCES: atomic::AtomicU64 = atomic::AtomicU64::new(0);
}

/// A fence, after a place to switch threads.
pub(crate) fn fence(order: Ordering) {
    FENCES.fetch_add(1, Ordering::Relaxed);
    atomic::fence(order);
}

#[derive(Debug)]
pub(crate) struct AtomicU64(loom::sync::atomic::AtomicU64);

impl Default for AtomicU64 {
    fn default() -> AtomicU64 {
        AtomicU64::new(0)
    }
}

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> AtomicU64 {
        AtomicU64(loom::sync::atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        if every_access_counts() { self.0.fetch_add(0, order) } else { self.0.load(order) }
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        if every_access_counts() {
            self.0.swap(value, order);
        } else {
            self.0.store(value, order);
        }
    }

    pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.0.swap(value, order)
    }

    pub(crate) fn compare_exchange(
        &self,
        from: u64,
        to: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(from, to, success, failure)
    }

    pub(crate) fn compare_exchange_weak(
        &self,
        from: u64,
        to: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.0.compare_exchange_weak(from, to, success, failure)
    }

    pub(crate) fn fetch_update(
        &self,
        success: Ordering,
        failure: Ordering,
        f: impl FnMut(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        self.0.fetch_update(success, failure, f)
    }

    pub(crate) fn fetch_add(&self, n: u64, order: Ordering) -> u64 {
        self.0.fetch_add(n, order)
    }

    pub(crate) fn fetch_sub(&self, n: u64, order: Ordering) -> u64 {
        self.0.fetch_sub(n, order)
    }

    pub(crate) fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        self.0.fetch_or(bits, order)
    }

    pub(crate) fn fetch_and(&self, bits: u64, order: Ordering) -> u64 {
        self.0.fetch_and(bits, order)
    }
}

#[derive(Debug)]
pub(crate) struct AtomicPtr<T>(loom::sync::atomic::AtomicPtr<T>);

impl<T> AtomicPtr<T> {
    pub(crate) fn new(value: *mut T) -> AtomicPtr<T> {
        AtomicPtr(loom::sync::atomic::AtomicPtr::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> *mut T {
        if every_access_counts() {
            let null = std::ptr::null_mut();
            self.0.compare_exchange(null, null, order, order).unwrap_or_else(|found| found)
        } else {
            self.0.load(order)
        }
    }

    pub(crate) fn swap(&self, value: *mut T, order: Ordering) -> *mut T {
        self.0.swap(value, order)
    }
}
