//! A memory mapping that is unmapped when dropped: what rings and the UMEM stand on.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// Bytes of a 2 MiB huge page.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// A readable and writable shared or anonymous mapping.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// JUSTIFICATION: a raw pointer takes `Send` and `Sync` away; the mapping itself belongs to no thread.
// SAFETY: the mapping hands out only its address; who dereferences it answers for what is done there.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd` at `offset`, populated.
    pub(crate) fn of_fd(fd: BorrowedFd<'_>, offset: libc::off_t, len: usize) -> io::Result<Mapping> {
        Mapping::map(len, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), offset)
    }

    /// Maps `len` zeroed bytes of huge pages; fails when the pool of the kernel has not enough of them.
    pub(crate) fn huge(len: usize) -> io::Result<Mapping> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB | libc::MAP_HUGE_2MB;
        Mapping::map(len, flags, -1, 0)
    }

    /// Maps `len` zeroed bytes.
    pub(crate) fn anonymous(len: usize) -> io::Result<Mapping> {
        Mapping::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    fn map(len: usize, flags: libc::c_int, fd: libc::c_int, offset: libc::off_t) -> io::Result<Mapping> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Mapping { start, len })
    }

    /// Asks for transparent huge pages. A kernel without them says no, which costs speed only.
    pub(crate) fn advise_huge(&self) {
        // SAFETY: the range is this mapping's own, and the advice does not change its contents.
        let _ = unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) };
    }

    /// The first byte.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes mapped.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping's own; whoever uses its address keeps the mapping alive.
        let _ = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
