//! The one place that names atomics: the standard library's, or loom's when a model is checked.

#[cfg(loom)]
pub(crate) mod model;

#[cfg(not(loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::{
        Arc, Mutex,
        atomic::{AtomicPtr, AtomicU64, Ordering, fence},
    },
};

#[cfg(loom)]
pub(crate) use self::model::{AtomicPtr, AtomicU64, fence};
#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{Arc, Mutex, atomic::Ordering},
    thread::yield_now as spin_loop,
};

/// The standard cell behind loom's interface, which hands out its pointer for the length of a closure so that a
/// model can see every access.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer for writing.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// A value on cache lines of its own (two: processors fetch them in pairs), so that writing it disturbs no
/// neighbour.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);
