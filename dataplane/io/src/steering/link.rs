//! A program's bond to an interface.
//!
//! The loader's own attaching falls back to netlink, which outlives a killed process; and its links detach when their last
//! descriptor is closed, which a child that is being started may hold for a moment. So the two calls are made here.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_XDP: u32 = 37;

/// The flags of linux/if_link.h.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flags {
    Generic = 1 << 1,
    Driver = 1 << 2,
}

/// A BPF link. Dropping it detaches at once.
#[derive(Debug)]
pub(crate) struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches an XDP program to an interface.
    pub(crate) fn create(program: BorrowedFd<'_>, ifindex: u32, flags: Flags) -> io::Result<Link> {
        let program = u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?;
        // `link_create` of `union bpf_attr`: prog_fd, target_ifindex, attach_type, flags; the rest is zero.
        let fd = bpf(BPF_LINK_CREATE, [program, ifindex, BPF_XDP, flags as u32])?;
        // SAFETY: just opened, and nobody else's.
        Ok(Link { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Ok(fd) = u32::try_from(self.fd.as_raw_fd()) {
            // It fails when the interface is gone already.
            let _ = bpf(BPF_LINK_DETACH, [fd, 0, 0, 0]);
        }
    }
}

fn bpf(command: libc::c_int, attributes: [u32; 4]) -> io::Result<libc::c_int> {
    // Aligned as the union is.
    let attributes: [u64; 2] = [pair(attributes[0], attributes[1]), pair(attributes[2], attributes[3])];
    // SAFETY: both commands read 16 bytes of numbers and write nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(&attributes)) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        libc::c_int::try_from(result).map_err(io::Error::other)
    }
}

/// Two numbers as they stand in memory one after the other.
fn pair(first: u32, second: u32) -> u64 {
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_lies_in_order() {
        assert_eq!(pair(0x0101_0101, 0x0202_0202).to_ne_bytes(), [1, 1, 1, 1, 2, 2, 2, 2]);
    }
}
