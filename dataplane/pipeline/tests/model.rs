//! The pipeline against the model of [`sheave_pipeline::testing::model`]: random traffic over random configurations
//! that change; every verdict, every frame that leaves and every count compared.
//!
//! A disagreement prints its seed and the shortest trace to it that was found.
//!
//! That it would notice was tried: with each of these put into the pipeline on purpose, it fails.
//!
//! - the checksum of an IPv6 reply does not follow its address
//! - a reply key that is in use is taken over by another connection
//! - entries end a second early
//! - a FIN of the client leads to `CLOSE_WAIT` under DR, too
//! - wlc takes the last of equals; wrr gives the next turn to the same one; rr stays where it is
//! - the outer header of a tunnel forgets ECN
//! - padding is sent on
//! - another life of a destination keeps its connections
//! - a listen of any port wins over one of a range; replies come from the first port of a range
//! - loopback sources are let in
//! - an ended connection stays counted; the mark of the thresholds is forgotten
//! - all workers sweep the same share of the table
//! - packets whose time to live runs out are not answered
//! - an ICMP error quotes too little
//! - a template lasts until that of its connections has ended which is found over last
//! - the short way forwards packets that do not fit

use sheave_pipeline::testing::model::{Expiry, Outcomes, Trial};
use std::hash::{BuildHasher, RandomState};

/// Runs a trial of so many frames. How many workers there are, how large their bursts and when entries are given back
/// follows from the seed.
fn trial(seed: u64, frames: usize, all: &mut Outcomes) {
    let variant = usize::try_from(seed % 60).expect("a small number");
    let trial = Trial {
        seed,
        workers: 1 + variant % 3,
        burst: [1, 4, 64, 17][variant / 3 % 4],
        frames,
        expiry: if variant % 5 == 4 { Expiry::BySweep } else { Expiry::AtOnce },
    };
    match trial.run() {
        Ok(outcomes) => outcomes.into_iter().for_each(|(name, n)| *all.entry(name).or_default() += n),
        Err(report) => panic!("{report}"),
    }
}

/// Outcomes that no run of this length goes without.
const REACHED: &[&str] = &[
    "destination-removed",
    "echo-reply",
    "forward",
    "frag-needed",
    "fragment-duplicate",
    "fragment-early",
    "fragment-not-ours",
    "fragment-overlap",
    "fragment-refused",
    "fragment-unmatched",
    "icmp-checksum",
    "icmp-not-ours",
    "icmp-quote",
    "ip-checksum",
    "local-node",
    "martian-source",
    "nat-tuple-in-use",
    "no-destination",
    "no-entry",
    "no-route",
    "no-service",
    "not-our-mac",
    "not-our-protocol",
    "not-ours",
    "own-address",
    "reset",
    "resolving",
    "tcp-flags",
    "ttl-exceeded",
];

#[test]
fn the_pipeline_does_what_the_model_does() {
    let mut outcomes = Outcomes::new();
    (0..20).for_each(|seed| trial(seed, 10_000, &mut outcomes));
    let missing: Vec<_> = REACHED.iter().filter(|name| !outcomes.contains_key(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} were not reached: {outcomes:#?}");
    assert!(outcomes["forward"] > 50_000, "{outcomes:#?}");
}

/// Ten million frames and more, another seed each night: `make nightly`.
#[test]
#[ignore = "takes minutes: make nightly"]
fn the_pipeline_does_what_the_model_does_all_night() {
    let start = match option_env!("SHEAVE_SEED") {
        Some(seed) => seed.parse().expect("SHEAVE_SEED is a number"),
        None => RandomState::new().hash_one(0) >> 16,
    };
    let mut outcomes = Outcomes::new();
    for n in 0..120 {
        println!(
            "seed {}: {n} of 120 trials done, {} frames forwarded",
            start + n,
            outcomes.get("forward").unwrap_or(&0)
        );
        trial(start + n, 100_000, &mut outcomes);
    }
    println!("{outcomes:#?}");
}
