//! Memory behind a file descriptor that has no file: a later process can be handed it.
//!
//! JUSTIFICATION: entries that are to outlive the process have to lie in memory that is not its own, which only a
//! mapping gives.
//!
//! Invariants: a mapping stays for the rest of the process. The file behind it is sealed, so that nobody who has
//! the descriptor can cut it short under a mapping.

use crate::memory::AtomicWords;
use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create},
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap},
};
use std::{
    ffi::c_void,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    slice,
};

/// The size of a huge page, and what a mapping that may have them is a multiple of.
const HUGE: usize = 2 << 20;
const PAGE: usize = 4096;

/// A mapped, sealed memory file.
#[derive(Debug)]
pub(crate) struct Mapping {
    fd: OwnedFd,
    start: NonNull<u8>,
    len: usize,
    huge: bool,
}

// SAFETY: a mapping gives shared references to atomics only, and is never unmapped.
unsafe impl Send for Mapping {}
// SAFETY: likewise.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// At least `bytes` zeroes, in huge pages if wanted and if the system has some.
    pub(crate) fn create(bytes: usize, huge: bool) -> io::Result<Mapping> {
        if huge && let Ok(mapping) = Mapping::create_with(bytes, true) {
            return Ok(mapping);
        }
        let mapping = Mapping::create_with(bytes, false)?;
        if huge {
            // The next best: ordinary memory that the kernel may put together. Without, all is slower but well.
            let _ = mapping.advise(Advice::LinuxHugepage, mapping.len);
        }
        Ok(mapping)
    }

    fn create_with(bytes: usize, huge: bool) -> io::Result<Mapping> {
        let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        if huge {
            flags |= MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
        }
        let len = bytes
            .checked_next_multiple_of(if huge { HUGE } else { PAGE })
            .ok_or(io::ErrorKind::OutOfMemory)?;
        let fd = memfd_create("sheave-tables", flags)?;
        ftruncate(&fd, len as u64)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Mapping::map(fd, len, huge)
    }

    /// Maps what an earlier process made.
    ///
    /// # Errors
    /// It is no memory file, or one that could be cut short.
    pub(crate) fn attach(fd: OwnedFd) -> io::Result<Mapping> {
        let seals = fcntl_get_seals(&fd)
            .map_err(|_| refuse("the descriptor is no memory file: hand over one that Region::fd gave"))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(refuse("the memory file is not sealed: hand over one that Region::fd gave"));
        }
        let stat = fstat(&fd)?;
        let len = usize::try_from(stat.st_size).map_err(|_| refuse("the memory file has no size"))?;
        let block = usize::try_from(stat.st_blksize).unwrap_or(PAGE);
        Mapping::map(fd, len, block >= HUGE)
    }

    fn map(fd: OwnedFd, len: usize, huge: bool) -> io::Result<Mapping> {
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing that exists.
        let start = unsafe {
            mmap(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &fd, 0)
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { fd, start, len, huge })
    }

    /// Has the first `bytes` of it backed by memory now, not at the first touch.
    ///
    /// # Errors
    /// There is not enough memory.
    pub(crate) fn populate(&self, bytes: usize) -> io::Result<()> {
        match self.advise(Advice::LinuxPopulateWrite, bytes.min(self.len)) {
            // Kernels before 5.14 do not know how; then pages come as they are touched.
            Err(rustix::io::Errno::INVAL) => Ok(()),
            other => Ok(other?),
        }
    }

    fn advise(&self, advice: Advice, bytes: usize) -> rustix::io::Result<()> {
        debug_assert!(bytes <= self.len, "no more than there is");
        // SAFETY: the range lies in this mapping; neither advice used here takes contents away.
        unsafe { madvise(self.start.as_ptr().cast::<c_void>(), bytes, advice) }
    }

    /// `len` values from `offset` on; `None` if the mapping does not hold that many there, in line with their
    /// alignment.
    pub(crate) fn slice<T: AtomicWords>(&self, offset: usize, len: usize) -> Option<&'static [T]> {
        let bytes = len.checked_mul(size_of::<T>())?;
        if offset.checked_add(bytes)? > self.len || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        let start = self.start.as_ptr().wrapping_add(offset).cast::<T>();
        // SAFETY: in bounds and aligned, checked above (the mapping itself starts a page). T is atomic words:
        // whatever bytes there are, are valid, and others may change them, here or in another process. The mapping
        // stays, and cannot shrink.
        Some(unsafe { slice::from_raw_parts(start, len) })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn huge(&self) -> bool {
        self.huge
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An error about a region that cannot be used.
pub(crate) fn refuse(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("table region: {}", why.into()))
}
