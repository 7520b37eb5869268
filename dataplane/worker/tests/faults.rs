//! Workers behind wires that lose, double, reorder, corrupt and cut frames, held against the model of the packet path:
//! whatever arrives, nothing is sent that the model would not send, nothing panics and no frame is lost.

use sheave_frame::{BURST, Burst, Port, PortId};
use sheave_io::{FaultInjector, FaultRates, MemHandle, MemPort};
use sheave_pipeline::testing::Lab;
use sheave_pipeline::testing::model::{Dice, Expiry, Outcomes, Trial, Wire};
use std::hash::{BuildHasher, RandomState};

/// The two interfaces of each worker, with faults in both directions.
struct Faulty {
    ports: Vec<Vec<(FaultInjector<MemPort>, MemHandle)>>,
}

impl Faulty {
    fn new(workers: usize, seed: u64) -> Faulty {
        let mut dice = Dice::new(seed);
        let mut rate = || u32::from(dice.small(100)) * 1000;
        let rates = FaultRates {
            drop: rate(),
            duplicate: rate(),
            reorder: rate(),
            corrupt: rate(),
            truncate: rate(),
        };
        let mut number = seed;
        let mut port = |id| {
            number = number.wrapping_add(1);
            let (port, network) = MemPort::new(PortId(id), 4 * BURST);
            (FaultInjector::new(port, rates, rates, number), network)
        };
        Faulty { ports: (0..workers).map(|_| vec![port(0), port(1)]).collect() }
    }
}

impl Wire for Faulty {
    fn arrive(&mut self, worker: usize, lab: &mut Lab, frames: &[(PortId, Vec<u8>)], burst: &mut Burst) {
        for (port, bytes) in frames {
            let (_, network) = &self.ports[worker][port.index()];
            assert!(network.inject(bytes), "the port takes a whole burst");
        }
        for (port, _) in &mut self.ports[worker] {
            port.recv(burst, &mut lab.pool);
        }
    }

    fn leave(&mut self, worker: usize, lab: &mut Lab) {
        while let Some(frame) = lab.out.passes.pop() {
            lab.pool.release(frame);
        }
        let mut bursts = [0, 1].map(|_| Burst::with_capacity(4 * BURST));
        for frame in lab.out.sends.drain(..) {
            bursts[frame.egress().index()].push(frame).expect("room for all that a burst sends");
        }
        for (burst, (port, network)) in bursts.iter_mut().zip(&mut self.ports[worker]) {
            port.send(burst);
            while let Some(frame) = burst.pop() {
                lab.pool.release(frame);
            }
            port.flush(&mut lab.pool);
            network.take_all();
        }
    }

    fn held(&self, worker: usize) -> usize {
        self.ports[worker].iter().map(|(port, _)| port.held()).sum()
    }

    fn close(&mut self, worker: usize, lab: &mut Lab) {
        for (port, _) in self.ports[worker].drain(..) {
            Box::new(port).close(&mut lab.pool);
        }
    }
}

fn trial(seed: u64, frames: usize, all: &mut Outcomes) {
    let workers = 1 + usize::try_from(seed % 3).expect("a small number");
    let trial = Trial { seed, workers, burst: 32, frames, expiry: Expiry::AtOnce };
    match trial.run_over(&|workers| Box::new(Faulty::new(workers, seed))) {
        Ok(outcomes) => outcomes.into_iter().for_each(|(name, n)| *all.entry(name).or_default() += n),
        Err(report) => panic!("{report}"),
    }
}

/// Outcomes that only damaged frames have.
const REACHED: &[&str] = &[
    "ip-checksum",
    "ip-header-length",
    "ip-total-length",
    "ip-truncated",
    "ip-version",
    "tcp-data-offset",
    "udp-length",
];

#[test]
fn whatever_the_wires_do_nothing_wrong_is_sent() {
    let mut outcomes = Outcomes::new();
    (0..10).for_each(|seed| trial(seed, 10_000, &mut outcomes));
    let missing: Vec<_> = REACHED.iter().filter(|name| !outcomes.contains_key(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} were not reached: {outcomes:#?}");
    assert!(outcomes["forward"] > 10_000, "{outcomes:#?}");
}

/// Ten million frames and more, another seed each night: `make nightly`.
#[test]
#[ignore = "takes minutes: make nightly"]
fn whatever_the_wires_do_nothing_wrong_is_sent_all_night() {
    let start = match option_env!("SHEAVE_SEED") {
        Some(seed) => seed.parse().expect("SHEAVE_SEED is a number"),
        None => RandomState::new().hash_one(0) >> 16,
    };
    let mut outcomes = Outcomes::new();
    for n in 0..105 {
        let forwarded = outcomes.get("forward").unwrap_or(&0);
        println!("seed {}: {n} of 105 trials done, {forwarded} frames forwarded", start + n);
        trial(start + n, 100_000, &mut outcomes);
    }
    println!("{outcomes:#?}");
}
