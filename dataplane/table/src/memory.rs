//! Zeroed memory that costs nothing until it is touched.
//!
//! JUSTIFICATION: a table or a page of counters can have hundreds of megabytes of which little is used. The kernel
//! hands such memory out as fresh zero pages; safe code can only build it by writing every element.

/// Types that are atomic words and nothing else.
///
/// # Safety
/// Any bytes must be a valid value, and may become any others at any moment; all zero must be the value of
/// [`AtomicWords::zero`]. Dropping one must do nothing.
pub(crate) unsafe trait AtomicWords: Sized {
    /// The value that zeroed memory stands for, for models, whose atomics are more than their bytes.
    #[cfg_attr(not(loom), expect(dead_code, reason = "loom builds only"))]
    fn zero() -> Self;
}

// SAFETY: one atomic word.
unsafe impl AtomicWords for crate::sync::AtomicU64 {
    fn zero() -> Self {
        Self::new(0)
    }
}

#[cfg(not(loom))]
pub(crate) use real::Zeroed;

#[cfg(loom)]
pub(crate) use model::Zeroed;

#[cfg(not(loom))]
mod real {
    use super::AtomicWords;
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
    use std::{ops::Deref, ptr, ptr::NonNull, slice};

    /// An owned slice of zeroed values, in pages of its own: whatever the allocator of the program does with zeroes, these
    /// are not written.
    #[derive(Debug)]
    pub(crate) struct Zeroed<T: AtomicWords> {
        block: NonNull<u8>,
        bytes: usize,
        start: NonNull<T>,
        len: usize,
    }

    // SAFETY: this is the only owner of its memory, as a boxed slice is; what holds for T holds for it.
    unsafe impl<T: AtomicWords + Send> Send for Zeroed<T> {}
    // SAFETY: a shared one gives shared references to T only.
    unsafe impl<T: AtomicWords + Sync> Sync for Zeroed<T> {}

    impl<T: AtomicWords> Zeroed<T> {
        /// Bytes of a huge page, where what is large begins.
        const HUGE: usize = 2 << 20;
        const PAGE: usize = 4096;

        /// `len` zeroes.
        ///
        /// # Panics
        /// When there is no such memory, as an allocation ends the program.
        pub(crate) fn new(len: usize) -> Zeroed<T> {
            const { assert!(align_of::<T>() <= Self::PAGE) };
            let wanted = len.checked_mul(size_of::<T>()).expect("no object is larger than the address space");
            let spare = if wanted < Self::HUGE { 0 } else { Self::HUGE };
            let bytes = wanted.max(1).checked_add(spare).expect("as above");
            // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing that exists.
            let block = unsafe {
                mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
            };
            let block = block.ok().and_then(|block| NonNull::new(block.cast::<u8>())).expect("enough memory");
            let skip = if spare == 0 { 0 } else { block.as_ptr().align_offset(Self::HUGE) };
            let start = NonNull::new(block.as_ptr().wrapping_add(skip).cast()).expect("inside of the block");
            Zeroed { block, bytes, start, len }
        }

        /// The slice, for the rest of the process, in huge pages where the kernel has some to spare.
        pub(crate) fn leak(self) -> &'static [T]
        where
            T: 'static,
        {
            let kept = std::mem::ManuallyDrop::new(self);
            let huge = kept.len * size_of::<T>() / Self::HUGE * Self::HUGE;
            if huge > 0 {
                // SAFETY: whole pages inside of the block; the advice changes nothing but their size. Whether it is
                // taken makes no difference but in speed.
                let _ = unsafe { madvise(kept.start.as_ptr().cast(), huge, Advice::LinuxHugepage) };
            }
            // SAFETY: as in `deref`; never unmapped from here on, since the owner is forgotten.
            unsafe { slice::from_raw_parts(kept.start.as_ptr(), kept.len) }
        }
    }

    impl<T: AtomicWords> Deref for Zeroed<T> {
        type Target = [T];

        #[inline(always)]
        fn deref(&self) -> &[T] {
            // SAFETY: `start` is aligned and has `len` values behind it in the block, zeroed, which is valid for T;
            // they live as long as self, and nobody has a unique reference to them.
            unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
        }
    }

    impl<T: AtomicWords> Drop for Zeroed<T> {
        fn drop(&mut self) {
            // SAFETY: mapped in `new` with this very length, unmapped once, with nobody referring to it. T needs no drop.
            let _ = unsafe { munmap(self.block.as_ptr().cast(), self.bytes) };
        }
    }
}

#[cfg(loom)]
mod model {
    use super::AtomicWords;

    /// The same, value by value.
    #[derive(Debug)]
    pub(crate) struct Zeroed<T: AtomicWords>(Box<[T]>);

    impl<T: AtomicWords> Zeroed<T> {
        pub(crate) fn new(len: usize) -> Zeroed<T> {
            Zeroed((0..len).map(|_| T::zero()).collect())
        }

        pub(crate) fn leak(self) -> &'static [T]
        where
            T: 'static,
        {
            Box::leak(self.0)
        }
    }

    impl<T: AtomicWords> std::ops::Deref for Zeroed<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::{AtomicU64, Ordering};

    /// Bytes of huge pages at an address of this process.
    fn huge_at(address: usize) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("readable");
        let mut lines = maps.lines().skip_while(|line| {
            let ends = line.split(' ').next().and_then(|range| range.split_once('-'));
            let ends = ends.and_then(|(from, to)| {
                Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
            });
            !ends.is_some_and(|(from, to)| (from..to).contains(&address))
        });
        let line = lines.find(|line| line.starts_with("AnonHugePages:")).expect("a mapping");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
    }

    /// What has been written before it was advised stays in small pages, and makes every look-up slower.
    #[test]
    fn what_is_kept_comes_in_huge_pages_where_there_are_some() {
        const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
        let memory = Zeroed::<AtomicU64>::new(1 << 20).leak();
        memory.iter().step_by(512).for_each(|word| word.store(1, Ordering::Relaxed));
        let none = std::fs::read_to_string(SETTING).map_or(true, |setting| setting.contains("[never]"));
        assert!(none || huge_at(memory.as_ptr().addr()) > 0, "{SETTING} allows them");
    }

    #[test]
    fn memory_is_zero_and_starts_cache_lines() {
        for len in [0, 1, 7, 100_000] {
            let memory = Zeroed::<AtomicU64>::new(len);
            assert_eq!(memory.len(), len);
            assert!(memory.iter().all(|word| word.load(Ordering::Relaxed) == 0));
            assert_eq!(memory.as_ptr().addr() % 128, 0);
        }
    }

    /// Bytes of this process that are in memory.
    #[cfg(not(miri))]
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/statm").expect("readable");
        status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
    }

    #[test]
    #[cfg(not(miri))]
    fn untouched_memory_costs_nothing() {
        let before = resident();
        let memory = Zeroed::<AtomicU64>::new(1 << 27);
        memory[1 << 26].store(1, Ordering::Relaxed);
        let cost = resident().saturating_sub(before);
        assert!(cost < 256 << 20, "{cost} bytes for one word of 2^27");
        assert_eq!(memory[1 << 26].load(Ordering::Relaxed), 1);
    }
}
