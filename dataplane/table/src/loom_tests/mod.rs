//! Models of the protocols, checked over the interleavings of their threads and over what a weak memory may show
//! them. Run with `RUSTFLAGS="--cfg loom" cargo test -p sheave-table --release --lib loom`.
//!
//! Tables are tiny here: two main buckets of two slots (of one, with keys of three words), as much of overflow.

mod entries;
mod glances;
mod rest;

use crate::sync::model::count_every_access;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

/// Checks `model` with every switch of threads, of which at most `preemptions` are forced, in both ways that
/// `sync::model` tells of. Prints how many runs that took: a model of a handful shows nothing.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let model = Arc::new(model);
    let runs = [false, true].map(|every_access| {
        count_every_access(every_access);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.max_branches = 10_000;
        let runs = Arc::new(AtomicUsize::new(0));
        let (count, model) = (Arc::clone(&runs), Arc::clone(&model));
        builder.check(move || {
            count.fetch_add(1, Ordering::Relaxed);
            model();
        });
        runs.load(Ordering::Relaxed)
    });
    println!("{runs:?} runs");
}
