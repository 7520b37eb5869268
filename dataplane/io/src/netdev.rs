//! The few things about network devices that netlink is not needed for: calls by name on a control socket.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `ETHTOOL_GCHANNELS` and its answer, of linux/ethtool.h.
const ETHTOOL_GCHANNELS: u32 = 0x3c;

#[repr(C)]
#[derive(Default)]
struct Channels {
    cmd: u32,
    max: [u32; 4],
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// An `ifreq` with only its name set.
pub(crate) fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeroes are an `ifreq`: an empty name and a union of plain numbers and null pointers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains('\0') {
        let what = format!("interface {name}: not a possible name: 1 to 15 bytes are");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

/// The name in an `ifreq`.
pub(crate) fn name_of(request: &libc::ifreq) -> String {
    request.ifr_name.iter().take_while(|c| **c != 0).map(|c| char::from(c.cast_unsigned())).collect()
}

fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn call(request: &mut libc::ifreq, number: libc::Ioctl) -> io::Result<()> {
    let socket = control_socket()?;
    // SAFETY: all calls made here take a pointer to an `ifreq`, whose own pointer (if any) the caller has set.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_mut(request)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Queues that an interface receives on. A device that does not tell has one.
///
/// # Errors
/// When there is no such interface.
pub fn rx_queues(name: &str) -> io::Result<u32> {
    let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, ..Channels::default() };
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    match call(&mut request, libc::SIOCETHTOOL) {
        Ok(()) => Ok((channels.rx + channels.combined).max(1)),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(1),
        Err(error) => Err(error),
    }
}

/// The index of an interface.
///
/// # Errors
/// When there is no such interface.
pub fn ifindex(name: &str) -> io::Result<u32> {
    let mut request = request(name)?;
    call(&mut request, libc::SIOCGIFINDEX)?;
    // SAFETY: the call filled this member.
    let index = unsafe { request.ifr_ifru.ifru_ifindex };
    u32::try_from(index).map_err(io::Error::other)
}

/// Sets an interface up.
pub(crate) fn set_up(name: &str) -> io::Result<()> {
    let mut request = request(name)?;
    call(&mut request, libc::SIOCGIFFLAGS)?;
    // SAFETY: the call filled this member.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    let up = i16::try_from(libc::IFF_UP).map_err(io::Error::other)?;
    request.ifr_ifru.ifru_flags = flags | up;
    call(&mut request, libc::SIOCSIFFLAGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_an_index_and_one_queue() {
        assert_eq!(ifindex("lo").expect("there is one"), 1);
        assert_eq!(rx_queues("lo").expect("there is one"), 1);
        assert!(rx_queues("shv-nosuch").is_err());
    }

    #[test]
    fn impossible_names_are_refused() {
        for name in ["", "sixteen-byte-nam", "a\0b"] {
            assert_eq!(
                request(name).map(|_| ()).expect_err("refused").kind(),
                io::ErrorKind::InvalidInput,
                "{name:?}"
            );
        }
        assert_eq!(name_of(&request("d0").expect("possible")), "d0");
    }
}
