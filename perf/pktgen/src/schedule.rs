//! In which order the packets of a round come: whose each is and which shape it has.

use crate::packet::FLOOD;
use crate::traffic::{Spread, Traffic};
use sheave_io::lab::{ENTRIES, Entry};

/// A round is at least this long, so that a mix of sizes is one for few flows too.
const SHORTEST: usize = 1 << 12;

/// Numbers that look random (splitmix64).
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.number()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number from 0 up to 1.
    fn share(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.below(last + 1));
        }
    }
}

/// The round for this traffic: at most [`ENTRIES`] packets.
#[must_use]
pub fn round(traffic: &Traffic) -> Vec<Entry> {
    let mut dice = Dice(traffic.seed);
    let most = u32::try_from(ENTRIES).unwrap_or(u32::MAX);
    let flows = traffic.flows.clamp(1, most);
    let order = match traffic.spread {
        Spread::Uniform => uniform(flows, traffic.fresh, &mut dice),
        Spread::Zipf(s) => zipf(flows, s, &mut dice),
    };
    let mut seen = vec![0u32; flows as usize];
    let mut entries: Vec<Entry> = order
        .into_iter()
        .map(|flow| {
            let rank = seen[flow as usize];
            seen[flow as usize] += 1;
            Entry { flow, rank, count: 0, shape: shape(traffic, &mut dice) }
        })
        .collect();
    for entry in &mut entries {
        entry.count = seen[entry.flow as usize];
    }
    if traffic.flood == 0 { entries } else { flooded(&entries, flows, traffic.flood) }
}

/// Puts SYNs of other flows behind each packet.
fn flooded(entries: &[Entry], flows: u32, each: u32) -> Vec<Entry> {
    let shape = u32::try_from(FLOOD).unwrap_or(0);
    let mut others = flows..;
    let mut flooded = Vec::with_capacity(entries.len() * (each as usize + 1));
    for entry in entries {
        flooded.push(*entry);
        let some = others.by_ref().take(each as usize);
        flooded.extend(some.map(|flow| Entry { flow, rank: 0, count: 1, shape }));
    }
    flooded.truncate(ENTRIES);
    flooded
}

fn uniform(flows: u32, fresh: bool, dice: &mut Dice) -> Vec<u32> {
    let times = if fresh { 1 } else { SHORTEST.div_ceil(flows as usize) };
    let mut order: Vec<u32> = (0..times).flat_map(|_| 0..flows).collect();
    dice.shuffle(&mut order);
    order
}

fn zipf(flows: u32, s: f64, dice: &mut Dice) -> Vec<u32> {
    let mut total = 0.0;
    let sums: Vec<f64> = (1..=flows)
        .map(|rank| {
            total += f64::from(rank).powf(-s);
            total
        })
        .collect();
    // The flow of each rank: neighbours in popularity are not neighbours in number.
    let mut names: Vec<u32> = (0..flows).collect();
    dice.shuffle(&mut names);
    (0..ENTRIES)
        .map(|_| {
            let throw = dice.share() * total;
            names[sums.partition_point(|sum| *sum <= throw).min(names.len() - 1)]
        })
        .collect()
}

fn shape(traffic: &Traffic, dice: &mut Dice) -> u32 {
    let sizes = &traffic.sizes.0;
    let total: u32 = sizes.iter().map(|(_, weight)| weight).sum();
    let mut throw = u32::try_from(dice.below(total.max(1) as usize)).unwrap_or(0);
    for (at, (_, weight)) in (0..).zip(sizes) {
        if throw < *weight {
            return at;
        }
        throw -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Sizes;

    fn traffic(flows: u32, spread: Spread) -> Traffic {
        let to = "198.18.0.100:80".parse().expect("address");
        Traffic { flows, spread, sizes: Sizes::imix(), ..Traffic::to(to) }
    }

    #[test]
    fn uniform_rounds_have_every_flow_as_often() {
        for flows in [1, 100, 16_384] {
            let round = round(&traffic(flows, Spread::Uniform));
            let each = round.len() / flows as usize;
            assert!(round.len() >= SHORTEST && round.len() == each * flows as usize);
            assert!(round.iter().all(|e| e.count as usize == each && e.rank < e.count && e.flow < flows));
        }
    }

    #[test]
    fn ranks_of_a_flow_count_up() {
        let mut next = vec![0; 1000];
        for entry in round(&traffic(1000, Spread::Zipf(1.1))) {
            assert_eq!(entry.rank, next[entry.flow as usize]);
            next[entry.flow as usize] += 1;
        }
        next.sort_unstable();
        assert_eq!(next.iter().sum::<u32>() as usize, ENTRIES);
        // 1 / sum over k of k^-1.1 = 0.178; the second has 2^-1.1 = 0.47 of the first.
        let share = |n: u32| f64::from(n) / ENTRIES as f64;
        assert!((share(next[999]) - 0.178).abs() < 0.005, "{}", share(next[999]));
        assert!((f64::from(next[998]) / f64::from(next[999]) - 0.467).abs() < 0.02);
    }

    #[test]
    fn sizes_come_by_their_weights() {
        let round = round(&traffic(1 << 18, Spread::Uniform));
        let of = |shape| round.iter().filter(|e| e.shape == shape).count() as f64 / round.len() as f64;
        assert!((of(0) - 7.0 / 12.0).abs() < 0.01 && (of(2) - 1.0 / 12.0).abs() < 0.01);
    }

    #[test]
    fn a_flood_has_new_flows_in_every_round() {
        use crate::packet::Stream;
        use crate::traffic::Protocol;
        let flooding = Traffic { protocol: Protocol::Tcp, flood: 3, ..traffic(5000, Spread::Uniform) };
        let stream = Stream::new(flooding);
        assert_eq!(stream.round().len(), 5000 * 4);
        for four in stream.round().chunks(4) {
            assert!(
                four[0].flow < 5000 && four[1..].iter().all(|e| e.flow >= 5000 && e.shape as usize == FLOOD)
            );
        }
        // Source address and port, and what stands at the flags of TCP.
        let mut seen = std::collections::HashSet::new();
        let mut buffer = [0; 2048];
        for (round, at) in (0..3).flat_map(|round| (0..stream.round().len()).map(move |at| (round, at))) {
            stream.write(round, at, 0, &mut buffer);
            let (flow, syn) = (buffer[26..36].to_vec(), buffer[47] & 2 != 0);
            let (port, flood) = (u16::from_be_bytes([buffer[36], buffer[37]]), at % 4 != 0);
            assert_eq!((syn, port), (flood, 80 + u16::from(flood)));
            assert!(!flood || seen.insert(flow), "a flow of the flood comes back in round {round}");
        }
    }
}
