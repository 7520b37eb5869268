//! Zeroed memory that costs nothing until it is touched.
//!
//! JUSTIFICATION: a table or a page of counters can have hundreds of megabytes of which little is used. The
//! allocator hands such memory out as fresh zero pages; safe code can only build it by writing every element.

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
    use std::{
        alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
        ops::Deref,
        ptr::NonNull,
        slice,
    };

    /// An owned slice of zeroed values, at the start of a pair of cache lines.
    #[derive(Debug)]
    pub(crate) struct Zeroed<T: AtomicWords> {
        block: NonNull<u8>,
        start: NonNull<T>,
        len: usize,
    }

    // SAFETY: this is the only owner of its memory, as a boxed slice is; what holds for T holds for it.
    unsafe impl<T: AtomicWords + Send> Send for Zeroed<T> {}
    // SAFETY: a shared one gives shared references to T only.
    unsafe impl<T: AtomicWords + Sync> Sync for Zeroed<T> {}

    impl<T: AtomicWords> Zeroed<T> {
        const LINES: usize = 128;

        /// Room for the values and for moving their start to that of a line. Asked to align it itself, the
        /// allocator would write all the zeroes, and so touch the memory.
        fn layout(len: usize) -> Layout {
            const { assert!(align_of::<T>() <= Self::LINES) };
            len.checked_mul(size_of::<T>())
                .and_then(|bytes| bytes.checked_add(Self::LINES))
                .and_then(|bytes| Layout::from_size_align(bytes, align_of::<u64>()).ok())
                .expect("no object is larger than the address space")
        }

        /// `len` zeroes. Aborts as any allocation does when there is no memory.
        pub(crate) fn new(len: usize) -> Zeroed<T> {
            let layout = Zeroed::<T>::layout(len);
            // SAFETY: the layout's size is not zero.
            let block = unsafe { alloc_zeroed(layout) };
            let Some(block) = NonNull::new(block) else { handle_alloc_error(layout) };
            let start = block.as_ptr().wrapping_add(block.as_ptr().align_offset(Self::LINES));
            let start = NonNull::new(start.cast()).expect("inside of the block");
            Zeroed { block, start, len }
        }

        /// The slice, for the rest of the process, in huge pages where the kernel has some to spare.
        pub(crate) fn leak(self) -> &'static [T]
        where
            T: 'static,
        {
            let kept = std::mem::ManuallyDrop::new(self);
            kept.ask_for_huge_pages();
            // SAFETY: as in `deref`; never freed from here on, since the owner is forgotten.
            unsafe { slice::from_raw_parts(kept.start.as_ptr(), kept.len) }
        }

        #[cfg(not(miri))]
        fn ask_for_huge_pages(&self) {
            use rustix::mm::{Advice, madvise};
            const HUGE: usize = 2 << 20;
            let start = self.start.as_ptr().cast::<u8>();
            let skipped = start.align_offset(HUGE);
            let bytes = (self.len * size_of::<T>()).saturating_sub(skipped) / HUGE * HUGE;
            if bytes > 0 {
                // SAFETY: whole pages inside of the block; the advice changes nothing but their size. Whether it
                // is taken makes no difference but in speed.
                let _ = unsafe { madvise(start.wrapping_add(skipped).cast(), bytes, Advice::LinuxHugepage) };
            }
        }

        #[cfg(miri)]
        fn ask_for_huge_pages(&self) {}
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
            // SAFETY: allocated in `new` with this very layout, freed once. T needs no drop.
            unsafe { dealloc(self.block.as_ptr(), Zeroed::<T>::layout(self.len)) };
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
