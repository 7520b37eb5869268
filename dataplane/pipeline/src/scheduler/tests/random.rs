//! By chance: twos and random. The numbers are the same in every run.

use super::Bench;
use crate::scheduler::Rng;
use crate::snapshot::{Draws, SchedulerKind};

fn random(draws: u8) -> SchedulerKind {
    SchedulerKind::Random(Draws::new(draws).expect("a few"))
}

/// Whether a count is what `n` tries with probability `p` give, within five standard deviations.
fn plausible(count: u32, n: u32, p: f64) -> bool {
    let n = f64::from(n);
    (f64::from(count) - n * p).abs() <= 5.0 * (n * p * (1.0 - p)).sqrt()
}

#[test]
fn one_draw_goes_by_weight() {
    let mut bench = Bench::new(random(1), &[5, 0, 3, 2]);
    let shares = bench.shares(20_000);
    for (share, p) in shares.iter().zip([0.5, 0.0, 0.3, 0.2]) {
        assert!(plausible(*share, 20_000, p), "{shares:?}");
    }
}

#[test]
fn several_draws_take_the_less_loaded_one() {
    // The loaded one is taken only when every draw is it.
    for (scheduler, p) in
        [(SchedulerKind::Twos, 0.25), (random(2), 0.25), (random(3), 0.125), (random(16), 0.0)]
    {
        let mut bench = Bench::new(scheduler, &[1, 1]);
        bench.load(0, 1, 0);
        let shares = bench.shares(20_000);
        assert!(plausible(shares[0], 20_000, p) || shares[0] <= 5, "{scheduler:?}: {shares:?}");
    }
}

#[test]
fn draws_compare_by_weight() {
    let mut bench = Bench::new(SchedulerKind::Twos, &[1, 3]);
    bench.load(0, 1, 0);
    bench.load(1, 2, 0);
    // 1/1 against 2/3: A only when both draws are A.
    let shares = bench.shares(20_000);
    assert!(plausible(shares[0], 20_000, 1.0 / 16.0), "{shares:?}");
}

#[test]
fn huge_weights_do_not_overflow() {
    let mut bench = Bench::new(random(1), &[2_147_483_647; 30]);
    let shares = bench.shares(30_000);
    assert!(shares.iter().all(|share| plausible(*share, 30_000, 1.0 / 30.0)), "{shares:?}");
}

#[test]
fn the_same_seed_makes_the_same_choices_and_another_worker_others() {
    let run = |seed, worker| {
        let mut bench = Bench::new(random(1), &[1; 8]);
        bench.rng = Rng::new(seed, worker);
        bench.picks(40)
    };
    assert_eq!(run(1, 0), run(1, 0));
    assert_ne!(run(1, 0), run(1, 1));
    assert_ne!(run(1, 0), run(2, 0));
}

#[test]
fn numbers_below_a_bound_are_evenly_spread() {
    let mut rng = Rng::new(0, 0);
    let mut counts = [0; 7];
    (0..70_000).for_each(|_| counts[usize::try_from(rng.below(7)).expect("below 7")] += 1);
    assert!(counts.iter().all(|count| plausible(*count, 70_000, 1.0 / 7.0)), "{counts:?}");
    assert_eq!((rng.below(1), rng.below(0)), (0, 0));
}

#[test]
fn a_number_of_draws_is_small_and_not_none() {
    assert_eq!(Draws::new(0), None);
    assert_eq!(Draws::new(Draws::MOST).map(Draws::get), Some(64));
    assert_eq!(Draws::new(Draws::MOST + 1), None);
}
