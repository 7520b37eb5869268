//! Maglev: the table of mh.
//!
//! Each destination walks the slots in an order of its own, and takes the first free one at each of its turns:
//!
//! ```text
//!   offset = h1 mod M, skip = h2 mod (M - 1) + 1; slots offset, offset + skip, offset + 2 skip, ... mod M
//!   turns of one with weight w at the times 0, 3/2w, 5/2w, 7/2w, ...; at equal times the heavier one first,
//!   then by address and port
//! ```
//!
//! so that at any time it has taken w x time slots, rounded, but at least one. Turns lie in time as if nobody else
//! were there: when a destination comes, goes or changes its weight, the turns of the others stay in order among
//! themselves, and few of their slots move.
//!
//! It is made without a division in the loop. All slots but the last few are found by walking: about M ln (M / few) steps,
//! each of which looks at a bitmap that stays in the processor's first cache, adds and subtracts. The last few would
//! take as many steps again; there it is less work to ask for each free slot how far it is.
//! PERF: perf/benches/maglev.rs.

use super::hash::{HashKey, Purpose};
use std::cmp::Reverse;
use std::net::IpAddr;

/// How many slots a table has: a prime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TableSize(u32);

impl TableSize {
    /// Those of IPVS, the default, and one for a great many destinations.
    pub const ALL: [u32; 12] =
        [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 65537, 131_071, 655_373];

    /// The table of so many slots; `None` when that is not one of [`TableSize::ALL`].
    pub fn new(slots: u32) -> Option<TableSize> {
        TableSize::ALL.contains(&slots).then_some(TableSize(slots))
    }

    /// How many slots.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for TableSize {
    fn default() -> TableSize {
        TableSize(65537)
    }
}

/// One that takes slots.
#[derive(Debug, Clone, Copy)]
pub struct Walker {
    weight: u32,
    at: u32,
    skip: u32,
}

impl Walker {
    #[cfg(test)]
    pub(super) fn starting(weight: u32, at: u32, skip: u32) -> Walker {
        Walker { weight, at, skip }
    }

    /// A destination with its weight, which is not 0, about to walk a table of that size.
    #[expect(clippy::cast_possible_truncation, reason = "remainders of a number of 32 bits")]
    pub fn new(key: &HashKey, size: TableSize, (addr, port): (IpAddr, u16), weight: u32) -> Walker {
        let hash = |number| key.hash(Purpose::Member, addr, port, number);
        let slots = u64::from(size.0);
        Walker { weight, at: (hash(0) % slots) as u32, skip: (hash(1) % (slots - 1) + 1) as u32 }
    }

    /// The slot after this one: of the two that differ by the size the one that is not below 0.
    #[inline]
    fn step(&self, slot: u32, size: u32) -> u32 {
        let next = slot + self.skip;
        next.min(next.wrapping_sub(size))
    }
}

/// The table: for each slot, which walker has it. They come in the order of address and port. Empty without one.
pub fn fill(size: TableSize, walkers: &[Walker]) -> Box<[u16]> {
    // Without a number for more there are no more: a destination has 16 bits.
    let mut order: Vec<u16> = (0..=u16::MAX).take(walkers.len()).collect();
    let weight = |walker: &u16| walkers[usize::from(*walker)].weight;
    order.sort_by_key(|walker| Reverse(weight(walker)));
    let groups: Vec<Group<'_>> = order
        .chunk_by(|a, b| weight(a) == weight(b))
        .map(|walkers| Group { weight: f64::from(weight(&walkers[0])), walkers })
        .collect();
    let mut filling = Filling::new(size, walkers);
    for turn in turns(size, &groups) {
        if groups[turn.group].walkers.iter().any(|walker| filling.turn(*walker)) {
            return filling.slots;
        }
    }
    Box::default()
}

/// Those of one weight, who have their turns at the same times.
struct Group<'a> {
    weight: f64,
    walkers: &'a [u16],
}

/// When it is a group's turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    time: f64,
    group: usize,
}

/// The turns in order, enough of them for all slots.
///
/// Times are quotients of floating point, which every processor rounds alike. There is about one turn to each slot's
/// part of the time, so that the turns are sorted by dealing them out to these parts.
fn turns(size: TableSize, groups: &[Group<'_>]) -> Vec<Turn> {
    let count = |group: &Group<'_>| group.walkers.len() as f64;
    let (slots, walkers) = (f64::from(size.0), groups.iter().map(count).sum::<f64>());
    // One with weight w has had at least w x time - 1/2 turns: by then all slots are taken.
    let end = (slots + walkers) / groups.iter().map(|group| count(group) * group.weight).sum::<f64>();
    let turns_of = |(group, members): (usize, &Group<'_>)| {
        let weight = members.weight;
        let later = (1..=size.0).map(move |turn| (f64::from(turn) + 0.5) / weight);
        let times = std::iter::once(0.0).chain(later).take_while(move |time| *time <= end);
        times.map(move |time| Turn { time, group })
    };
    let turns: Vec<Turn> = groups.iter().enumerate().flat_map(turns_of).collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the slots")]
    let part = |turn: &Turn| (turn.time / end * slots) as usize;
    let mut ends = vec![0; size.0 as usize + 2];
    turns.iter().for_each(|turn| ends[part(turn) + 1] += 1);
    let mut before = 0;
    for end in &mut ends {
        before += *end;
        *end = before;
    }
    let mut sorted = vec![Turn { time: 0.0, group: 0 }; turns.len()];
    for turn in &turns {
        // What was where the part begins is where it ends, once all of them are there.
        let place = &mut ends[part(turn)];
        sorted[*place] = *turn;
        *place += 1;
    }
    let mut start = 0;
    for end in ends {
        sorted[start..end].sort_unstable_by(|a, b| a.time.total_cmp(&b.time).then(a.group.cmp(&b.group)));
        start = end;
    }
    sorted
}

/// Words of the bitmap: enough for the largest table, a power of two.
const WORDS: usize = 1 << 14;

/// A table on its way.
struct Filling {
    size: u32,
    slots: Box<[u16]>,
    left: u32,
    /// From so many on free slots are asked. M / left steps take about as long as it takes to ask that many.
    few: u32,
    taken: Box<[u64; WORDS]>,
    /// The free slots, once they are few.
    free: Vec<u32>,
    walkers: Vec<Walker>,
}

impl Filling {
    fn new(size: TableSize, walkers: &[Walker]) -> Filling {
        Filling {
            size: size.0,
            slots: vec![0; size.0 as usize].into_boxed_slice(),
            left: size.0,
            few: size.0.isqrt(),
            taken: Box::new([0; WORDS]),
            free: Vec::new(),
            walkers: walkers.to_vec(),
        }
    }

    /// Gives a walker the next free slot on its way. `true` when it was the last one.
    #[inline]
    fn turn(&mut self, index: u16) -> bool {
        let walker = self.walkers[usize::from(index)];
        let slot = if self.left > self.few { self.walk(walker) } else { self.nearest(walker) };
        self.slots[slot as usize] = index;
        self.walkers[usize::from(index)].at = walker.step(slot, self.size);
        self.left -= 1;
        self.left == 0
    }

    /// Walks to the next free slot, and takes it.
    ///
    /// Four steps at once: nearly always one of them is free, which the processor learns to expect.
    #[inline]
    fn walk(&mut self, walker: Walker) -> u32 {
        let ahead = |slot: u32| walker.step(slot, self.size);
        let mut first = walker.at;
        loop {
            let second = ahead(first);
            let third = ahead(second);
            let slots = [first, second, third, ahead(third)];
            let free = slots.map(|slot| self.taken[(slot >> 6) as usize % WORDS] >> (slot % 64) & 1 ^ 1);
            let free = free[0] | free[1] << 1 | free[2] << 2 | free[3] << 3;
            if free != 0 {
                let slot = slots[free.trailing_zeros() as usize % 4];
                self.taken[(slot >> 6) as usize % WORDS] |= 1 << (slot % 64);
                return slot;
            }
            first = ahead(slots[3]);
        }
    }

    /// Finds the next free slot among all that are free, and takes it.
    ///
    /// A slot is (slot - at) / skip steps away, modulo M. As fractions of M in 64 bits these are products whose
    /// overflow is dropped; that the fraction of 1 / skip is rounded does not change their order.
    fn nearest(&mut self, walker: Walker) -> u32 {
        if self.free.is_empty() {
            let free = |slot: &u32| self.taken[(slot >> 6) as usize % WORDS] >> (slot % 64) & 1 == 0;
            self.free = (0..self.size).filter(free).collect();
        }
        let fraction = u64::MAX / u64::from(self.size) * u64::from(inverse(walker.skip, self.size));
        let steps = |slot: u32| {
            let from = if slot < walker.at { slot + self.size - walker.at } else { slot - walker.at };
            u64::from(from).wrapping_mul(fraction)
        };
        let nearest = (0..self.free.len()).min_by_key(|place| steps(self.free[*place]));
        self.free.swap_remove(nearest.unwrap_or(0))
    }
}

/// The number whose product with `a` is 1 modulo a prime: `a` to the power of the prime less 2.
fn inverse(a: u32, prime: u32) -> u32 {
    let (mut power, mut square, mut exponent) = (1, u64::from(a), prime - 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power * square % u64::from(prime);
        }
        square = square * square % u64::from(prime);
        exponent >>= 1;
    }
    u32::try_from(power).unwrap_or(0)
}
