//! A port around a port that loses, doubles, reorders, corrupts and cuts frames, by a seed.
//!
//! The same seed and the same frames give the same faults. Frames are conserved: what is dropped goes to the pool with the
//! next flush, what is doubled comes from it.

use sheave_frame::{BURST, Burst, Caps, Flushed, Frame, FramePool, Port, PortStats};
use std::os::fd::RawFd;

/// How often each fault happens, in a million frames. Each frame suffers one fault at most, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultRates {
    /// The frame is lost.
    pub drop: u32,
    /// The frame comes twice.
    pub duplicate: u32,
    /// The frame comes after the next one.
    pub reorder: u32,
    /// One bit is flipped.
    pub corrupt: u32,
    /// The frame ends early.
    pub truncate: u32,
}

/// How often each fault happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultCounts {
    /// Frames lost.
    pub dropped: u64,
    /// Frames doubled.
    pub duplicated: u64,
    /// Frames held back behind the next.
    pub reordered: u64,
    /// Frames with a flipped bit.
    pub corrupted: u64,
    /// Frames cut.
    pub truncated: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Drop,
    Duplicate,
    Reorder,
    Corrupt,
    Truncate,
}

/// Numbers that look random (splitmix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    fn fault(&mut self, rates: &FaultRates) -> Fault {
        let mut throw = u32::try_from(self.below(1_000_000)).unwrap_or(0);
        for (rate, fault) in [
            (rates.drop, Fault::Drop),
            (rates.duplicate, Fault::Duplicate),
            (rates.reorder, Fault::Reorder),
            (rates.corrupt, Fault::Corrupt),
            (rates.truncate, Fault::Truncate),
        ] {
            if throw < rate {
                return fault;
            }
            throw -= rate;
        }
        Fault::None
    }
}

/// What faults do to the frames of one direction.
#[derive(Debug)]
struct Lane {
    rates: FaultRates,
    dice: Dice,
    /// Frames past their faults that have not been taken yet.
    ready: Burst,
    held_back: Option<Frame>,
    counts: FaultCounts,
}

impl Lane {
    fn new(rates: FaultRates, seed: u64) -> Lane {
        // Each frame may be doubled, and one may have been held back.
        let ready = Burst::with_capacity(2 * BURST + 1);
        Lane { rates, dice: Dice(seed), ready, held_back: None, counts: FaultCounts::default() }
    }

    /// Whether another frame can go through, whatever happens to it.
    fn has_room(&self) -> bool {
        self.ready.room() >= 3
    }

    /// Sends a frame through; `spare` is an empty frame for a double. Returns what is left over: a dropped frame, an
    /// unused spare.
    fn pass(&mut self, mut frame: Frame, spare: Option<Frame>) -> [Option<Frame>; 2] {
        let fault = self.dice.fault(&self.rates);
        match fault {
            Fault::Drop => {
                self.counts.dropped += 1;
                return [Some(frame), spare];
            }
            Fault::Reorder if self.held_back.is_none() => {
                self.counts.reordered += 1;
                self.held_back = Some(frame);
                return [None, spare];
            }
            Fault::Corrupt if frame.len() > 0 => {
                self.counts.corrupted += 1;
                let (at, bit) = (self.dice.below(frame.len()), self.dice.below(8));
                frame.bytes_mut()[at] ^= 1 << bit;
            }
            Fault::Truncate if frame.len() > 1 => {
                self.counts.truncated += 1;
                let len = 1 + self.dice.below(frame.len() - 1);
                frame.set_len(len).expect("shorter than it was");
            }
            _ => {}
        }
        let mut spare = spare;
        let mut double = None;
        if fault == Fault::Duplicate
            && let Some(mut copy) = spare.take()
        {
            if copy.fill(frame.bytes()).is_ok() {
                copy.set_ingress(frame.ingress());
                self.counts.duplicated += 1;
                double = Some(copy);
            } else {
                spare = Some(copy);
            }
        }
        let late = self.held_back.take();
        for frame in [Some(frame), double, late].into_iter().flatten() {
            self.ready.push(frame).expect("room for three, as asked before");
        }
        [None, spare]
    }

    fn held(&self) -> usize {
        self.ready.len() + usize::from(self.held_back.is_some())
    }
}

/// The port with the faults.
#[derive(Debug)]
pub struct FaultInjector<P: Port> {
    port: P,
    input: Lane,
    output: Lane,
    arrived: Burst,
    /// For doubles of frames being sent, as sending has no pool at hand.
    spares: Vec<Frame>,
    /// To the pool with the next flush.
    dropped: Vec<Frame>,
}

impl<P: Port> FaultInjector<P> {
    /// Puts faults around a port: `input` for what it receives, `output` for what it sends.
    pub fn new(port: P, input: FaultRates, output: FaultRates, seed: u64) -> FaultInjector<P> {
        FaultInjector {
            port,
            input: Lane::new(input, seed),
            output: Lane::new(output, !seed),
            arrived: Burst::with_capacity(BURST),
            spares: Vec::new(),
            dropped: Vec::new(),
        }
    }

    /// Faults so far in what was received, and in what was sent.
    pub fn counts(&self) -> (FaultCounts, FaultCounts) {
        (self.input.counts, self.output.counts)
    }
}

impl<P: Port> Port for FaultInjector<P> {
    fn recv(&mut self, burst: &mut Burst, pool: &mut FramePool) -> usize {
        self.port.recv(&mut self.arrived, pool);
        while self.input.has_room()
            && let Some(frame) = self.arrived.pop()
        {
            let spare = if self.input.rates.duplicate > 0 { pool.alloc() } else { None };
            for frame in self.input.pass(frame, spare).into_iter().flatten() {
                pool.release(frame);
            }
        }
        let mut received = 0;
        while burst.room() > 0
            && let Some(frame) = self.input.ready.pop()
        {
            match burst.push(frame) {
                Ok(()) => received += 1,
                Err(frame) => pool.release(frame),
            }
        }
        received
    }

    fn send(&mut self, burst: &mut Burst) -> usize {
        self.port.send(&mut self.output.ready);
        let mut taken = 0;
        while self.output.has_room()
            && let Some(frame) = burst.pop()
        {
            taken += 1;
            let [dropped, spare] = self.output.pass(frame, self.spares.pop());
            self.dropped.extend(dropped);
            self.spares.extend(spare);
        }
        self.port.send(&mut self.output.ready);
        taken
    }

    fn flush(&mut self, pool: &mut FramePool) -> Flushed {
        self.port.send(&mut self.output.ready);
        let mut flushed = self.port.flush(pool);
        flushed.completed += self.dropped.len();
        flushed.in_flight += self.output.held();
        for frame in self.dropped.drain(..) {
            pool.release(frame);
        }
        while self.output.rates.duplicate > 0 && self.spares.len() < 8 {
            let Some(frame) = pool.alloc() else { break };
            self.spares.push(frame);
        }
        flushed
    }

    fn caps(&self) -> Caps {
        self.port.caps()
    }

    fn stats(&self) -> PortStats {
        self.port.stats()
    }

    fn held(&self) -> usize {
        let here = self.input.held() + self.output.held() + self.arrived.len();
        self.port.held() + here + self.spares.len() + self.dropped.len()
    }

    fn close(self: Box<Self>, pool: &mut FramePool) {
        let FaultInjector { port, input, output, mut arrived, spares, dropped } = *self;
        for Lane { mut ready, held_back, .. } in [input, output] {
            while let Some(frame) = ready.pop() {
                pool.release(frame);
            }
            if let Some(frame) = held_back {
                pool.release(frame);
            }
        }
        while let Some(frame) = arrived.pop() {
            pool.release(frame);
        }
        for frame in spares.into_iter().chain(dropped) {
            pool.release(frame);
        }
        Box::new(port).close(pool);
    }

    fn wait_fd(&self) -> Option<RawFd> {
        self.port.wait_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{MemPort, mem_pool, retire};
    use proptest::prelude::*;
    use sheave_frame::{PoolId, PortId};

    /// Sends `n` numbered packets through a port with faults in what it receives, and returns what came.
    fn received(rates: FaultRates, n: u8, seed: u64) -> (Vec<Vec<u8>>, FaultCounts) {
        let (port, network) = MemPort::new(PortId(0), 256);
        let mut port = FaultInjector::new(port, rates, FaultRates::default(), seed);
        let mut pool = mem_pool(PoolId(0), 256, 512);
        let mut burst = Burst::with_capacity(64);
        let mut came = Vec::new();
        for number in 0..n {
            assert!(network.inject(&[number; 60]));
        }
        while port.recv(&mut burst, &mut pool) > 0 {
            while let Some(frame) = burst.pop() {
                came.push(frame.bytes().to_vec());
                pool.release(frame);
            }
        }
        let counts = port.counts().0;
        Box::new(port).close(&mut pool);
        assert_eq!(pool.free(), 256);
        retire(pool);
        (came, counts)
    }

    #[test]
    fn each_fault_does_what_it_says() {
        const ALWAYS: u32 = 1_000_000;
        let none = FaultRates::default();
        let (came, counts) = received(none, 3, 1);
        assert_eq!((came, counts), (vec![vec![0; 60], vec![1; 60], vec![2; 60]], FaultCounts::default()));
        let (came, counts) = received(FaultRates { drop: ALWAYS, ..none }, 3, 1);
        assert_eq!((came.len(), counts.dropped), (0, 3));
        let (came, _) = received(FaultRates { duplicate: ALWAYS, ..none }, 2, 1);
        assert_eq!(came, [[0; 60], [0; 60], [1; 60], [1; 60]]);
        let (came, _) = received(FaultRates { reorder: ALWAYS, ..none }, 4, 1);
        assert_eq!(came, [[1; 60], [0; 60], [3; 60], [2; 60]]);
        let (came, _) = received(FaultRates { corrupt: ALWAYS, ..none }, 2, 1);
        let flipped = |packet: &[u8], is: u8| packet.iter().map(|b| (b ^ is).count_ones()).sum::<u32>();
        assert_eq!((flipped(&came[0], 0), flipped(&came[1], 1)), (1, 1));
        let (came, _) = received(FaultRates { truncate: ALWAYS, ..none }, 9, 1);
        assert!(came.len() == 9 && came.iter().all(|packet| (1..60).contains(&packet.len())));
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let rates = FaultRates {
            drop: 100_000,
            duplicate: 100_000,
            reorder: 100_000,
            corrupt: 100_000,
            truncate: 100_000,
        };
        assert_eq!(received(rates, 200, 7), received(rates, 200, 7));
        assert_ne!(received(rates, 200, 7).0, received(rates, 200, 8).0);
    }

    proptest! {
        #[test]
        fn frames_are_conserved(
            rates in (0u32..300_000, 0u32..300_000, 0u32..300_000),
            seed: u64,
            steps in prop::collection::vec(0u8..4, 1..80),
        ) {
            let rates = FaultRates { drop: rates.0, duplicate: rates.1, reorder: rates.2, ..FaultRates::default() };
            let (port, network) = MemPort::new(PortId(0), 16);
            let mut port = FaultInjector::new(port, rates, rates, seed);
            let mut pool = mem_pool(PoolId(0), 40, 512);
            let mut burst = Burst::with_capacity(16);
            for step in steps {
                match step {
                    0 => for _ in 0..8 { let _ = network.inject(&[1; 60]); },
                    1 => { let _ = port.recv(&mut burst, &mut pool); }
                    2 => { let _ = port.send(&mut burst); }
                    _ => { let _ = port.flush(&mut pool); let _ = network.take_all(); }
                }
                prop_assert_eq!(pool.free() + burst.len() + port.held(), 40);
            }
            while let Some(frame) = burst.pop() { pool.release(frame); }
            Box::new(port).close(&mut pool);
            prop_assert_eq!(pool.free(), 40);
            retire(pool);
        }
    }
}
