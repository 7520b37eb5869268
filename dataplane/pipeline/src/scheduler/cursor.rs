//! What rr and wrr remember between connections.

use std::sync::atomic::{AtomicU64, Ordering};

/// 48 bits, forgotten when the pool changes.
pub(super) struct Cursor<'a> {
    pub(super) word: &'a AtomicU64,
    pub(super) version: u16,
}

impl Cursor<'_> {
    const BITS: u32 = 48;
    const MASK: u64 = (1 << Cursor::BITS) - 1;
    /// Attempts to move the cursor before a choice stands without it: other workers have moved it then.
    const ATTEMPTS: usize = 8;

    /// Chooses by the cursor and moves it. `step` gets what is remembered (0 at first) and gives the choice and
    /// what to remember.
    #[inline]
    pub(super) fn advance<T>(&self, mut step: impl FnMut(u64) -> Option<(T, u64)>) -> Option<T> {
        // ORDERING: the word stands for itself, nothing is published through it.
        let mut seen = self.word.load(Ordering::Relaxed);
        for _ in 1..Cursor::ATTEMPTS {
            let (choice, next) = step(self.memory(seen))?;
            let next = (u64::from(self.version) << Cursor::BITS) | (next & Cursor::MASK);
            match self.word.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(choice),
                Err(now) => seen = now,
            }
        }
        step(self.memory(seen)).map(|(choice, _)| choice)
    }

    fn memory(&self, word: u64) -> u64 {
        if word >> Cursor::BITS == u64::from(self.version) { word & Cursor::MASK } else { 0 }
    }
}
