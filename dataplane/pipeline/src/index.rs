//! Finding a number by an exact key: built once, then only read. What is looked up for every packet is looked up
//! here.

/// An open-addressed table that is at most half full, so that a look-up ends after a step or two. The keys come from
/// the configuration, never from packets: nobody can crowd it.
#[derive(Debug, Clone)]
pub(crate) struct Index<const N: usize> {
    /// A power of two of slots. A key whose first word is 0 marks a free one.
    slots: Box<[([u64; N], u16)]>,
    used: usize,
}

impl<const N: usize> Default for Index<N> {
    fn default() -> Index<N> {
        Index::with_slots(2)
    }
}

/// 2^64 divided by the golden ratio, odd: spreads what differs anywhere over the upper bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl<const N: usize> Index<N> {
    fn with_slots(slots: usize) -> Index<N> {
        debug_assert!(slots.is_power_of_two(), "a mask");
        Index { slots: vec![([0; N], 0); slots].into_boxed_slice(), used: 0 }
    }

    /// The number of a key. No key that was inserted begins with a word of 0.
    #[inline(always)]
    pub(crate) fn get(&self, key: &[u64; N]) -> Option<u16> {
        let mask = self.slots.len() - 1;
        let mut at = Self::start(key);
        loop {
            let (found, value) = &self.slots[at & mask];
            if found == key {
                return Some(*value);
            }
            if found[0] == 0 {
                return None;
            }
            at += 1;
        }
    }

    /// Notes the number of a key, in place of an earlier one.
    pub(crate) fn insert(&mut self, key: [u64; N], value: u16) {
        debug_assert_ne!(key[0], 0, "marks a free slot");
        if 2 * (self.used + 1) > self.slots.len() {
            let old = std::mem::replace(self, Index::with_slots(2 * self.slots.len()));
            for (key, value) in old.slots.into_iter().filter(|(key, _)| key[0] != 0) {
                self.insert(key, value);
            }
        }
        let mask = self.slots.len() - 1;
        let mut at = Self::start(&key) & mask;
        while self.slots[at].0[0] != 0 && self.slots[at].0 != key {
            at = (at + 1) & mask;
        }
        self.used += usize::from(self.slots[at].0[0] == 0);
        self.slots[at] = (key, value);
    }

    #[inline(always)]
    fn start(key: &[u64; N]) -> usize {
        let mixed = key.iter().fold(0u64, |sum, word| (sum.rotate_left(23) ^ word).wrapping_mul(SPREAD));
        (mixed >> u32::BITS) as usize
    }
}

/// Whether an IPv4 address may be one of some: `false` is certain. Spares most packets a look-up that finds nothing.
#[derive(Debug, Clone)]
pub(crate) struct Filter(Box<[bool; Filter::PLACES]>);

impl Default for Filter {
    fn default() -> Filter {
        Filter(Box::new([false; Filter::PLACES]))
    }
}

impl Filter {
    const PLACES: usize = 4096;

    /// Adds an address.
    pub(crate) fn add(&mut self, addr: u32) {
        self.0[Filter::place(addr)] = true;
    }

    /// Whether it may have been added.
    #[inline(always)]
    pub(crate) fn may_have(&self, addr: u32) -> bool {
        self.0[Filter::place(addr)]
    }

    #[inline(always)]
    const fn place(addr: u32) -> usize {
        (addr.wrapping_mul(0x9e37_79b9) >> 20) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_filter_of_few_denies_nearly_all() {
        let mut filter = Filter::default();
        (0..16).for_each(|n| filter.add(0xc612_0064 + n));
        let wrong = (0..100_000).filter(|n| filter.may_have(0x0a00_0000 + n * 257)).count();
        assert!(wrong < 1000, "{wrong}");
    }

    #[test]
    fn an_empty_one_finds_nothing() {
        assert_eq!(Index::<1>::default().get(&[7]), None);
        assert_eq!(Index::<3>::default().get(&[7, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn a_filter_never_denies(added: Vec<u32>) {
            let mut filter = Filter::default();
            added.iter().for_each(|addr| filter.add(*addr));
            prop_assert!(added.iter().all(|addr| filter.may_have(*addr)));
        }

        #[test]
        fn finds_what_was_inserted_last(entries: Vec<(u8, u64, u16)>, asked: Vec<(u8, u64)>) {
            let key = |a: u8, b: u64| [u64::from(a) + 1, b, b.rotate_left(7)];
            let (mut index, mut model) = (Index::<3>::default(), HashMap::new());
            for (a, b, value) in entries {
                index.insert(key(a, b), value);
                model.insert(key(a, b), value);
            }
            for key in asked.into_iter().map(|(a, b)| key(a, b)).chain(model.keys().copied()) {
                prop_assert_eq!(index.get(&key), model.get(&key).copied());
            }
        }
    }
}
