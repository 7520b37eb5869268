//! The AF_XDP socket itself: made, registered, bound, kicked, closed. What its rings carry is `queue.rs`'s business.
//!
//! One registration of the UMEM a mode: a socket that shares another one's registration (`XDP_SHARED_UMEM`) gets its
//! mode too, and the lender must still be bound. So the bound sockets of the UMEM are listed (anchors), by mode; a new
//! socket shares with the first that is fit, and registers the memory anew when none is. The addresses are the same
//! under each registration, so frames go from one to the other freely.
//!
//! The mappings of the rings keep the socket alive: they are unmapped before it is closed.

use crate::mapping::Mapping;
use crate::ring::{self, Consumer, Descriptor, Layout, Producer};
use crate::umem::{FRAME_BYTES, Umem};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const RX_TX_ENTRIES: u32 = 2048;
/// Entries of the fill and of the completion ring.
pub(crate) const FILL_ENTRIES: u32 = 4096;
/// `XDP_MAX_TX_SKB_BUDGET`, not in the libc crate yet: frames that copy mode sends a kick.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
const TX_BUDGET: u32 = 512;
/// `SO_PREFER_BUSY_POLL` and `SO_BUSY_POLL_BUDGET`, not in the libc crate yet.
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;
/// Microseconds for which a call may look for packets; each looks once all the same, because it must not block.
const BUSY_POLL: libc::c_int = 20;
/// Packets that the driver handles a call: a burst.
const BUSY_POLL_BUDGET: libc::c_int = 64;
/// Copy mode charges the frames under way to the socket's send buffer; the default is for some hundred.
const SEND_BUFFER: libc::c_int = 32 << 20;

/// A bound socket whose registration of the UMEM another one may share.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    fd: RawFd,
    target: Target,
}

/// Which queue to bind to, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) ifindex: u32,
    pub(crate) queue: u32,
    pub(crate) zero_copy: bool,
}

/// A bound socket. Its queue is free again some milliseconds after it and its rings are dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    umem: Umem,
}

/// The four rings of a socket.
#[derive(Debug)]
pub(crate) struct Rings {
    pub(crate) rx: Consumer<Descriptor>,
    pub(crate) tx: Producer<Descriptor>,
    pub(crate) fill: Producer<u64>,
    pub(crate) completion: Consumer<u64>,
}

/// Opens a socket on one queue.
///
/// # Errors
/// What the kernel said; among others `EBUSY` while a former socket of the queue is being released, `EOPNOTSUPP` when the
/// driver has no zero-copy, `ENODEV` when there is no such interface, `EINVAL` when it has no such queue.
pub(crate) fn open(umem: Umem, target: Target) -> io::Result<(Socket, Rings)> {
    let mut anchors = umem.anchors();
    let same_queue = |other: Target| (other.ifindex, other.queue) == (target.ifindex, target.queue);
    if anchors.iter().any(|anchor| same_queue(anchor.target)) {
        // Sharing with this one would fail as if there were no such queue.
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    while let Some(at) = anchors.iter().position(|anchor| anchor.target.zero_copy == target.zero_copy) {
        match open_with(umem, target, Some(anchors[at].fd)) {
            Ok((socket, rings)) => {
                anchors.push(Anchor { fd: socket.fd.as_raw_fd(), target });
                return Ok((socket, rings));
            }
            // The lender's interface is gone, and with it the bond.
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => drop(anchors.swap_remove(at)),
            Err(error) => return Err(error),
        }
    }
    let (socket, rings) = open_with(umem, target, None)?;
    anchors.push(Anchor { fd: socket.fd.as_raw_fd(), target });
    Ok((socket, rings))
}

fn open_with(umem: Umem, target: Target, lender: Option<RawFd>) -> io::Result<(Socket, Rings)> {
    let fd = new_socket()?;
    if lender.is_none() {
        register(fd.as_fd(), umem.start().as_ptr() as u64, umem.bytes() as u64)?;
    }
    for (ring, entries) in [
        (libc::XDP_UMEM_FILL_RING, FILL_ENTRIES),
        (libc::XDP_UMEM_COMPLETION_RING, FILL_ENTRIES),
        (libc::XDP_RX_RING, RX_TX_ENTRIES),
        (libc::XDP_TX_RING, RX_TX_ENTRIES),
    ] {
        set_option(fd.as_fd(), libc::SOL_XDP, ring, &entries)?;
    }
    tune(fd.as_fd());
    let rings = map_rings(fd.as_fd())?;
    bind(fd.as_fd(), target, lender)?;
    Ok((Socket { fd, umem }, rings))
}

/// Whether a queue is surely without a socket. It is not while there is one whose descriptors are closed here, but that
/// the kernel has not released yet, or of which a child that is being started has a copy for a moment.
///
/// Asks for a second socket in zero-copy mode: the kernel refuses it as busy before it looks at anything else, and on a
/// driver without zero-copy refuses it for that, so that the question leaves no trace.
pub(crate) fn is_free(ifindex: u32, queue: u32) -> bool {
    const PAGE: usize = 4096;
    let ask = || {
        let memory = Mapping::anonymous(PAGE)?;
        let fd = new_socket()?;
        register(fd.as_fd(), memory.start().as_ptr() as u64, PAGE as u64)?;
        for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING] {
            set_option(fd.as_fd(), libc::SOL_XDP, ring, &64u32)?;
        }
        bind(fd.as_fd(), Target { ifindex, queue, zero_copy: true }, None)
    };
    let answer: io::Result<()> = ask();
    match answer {
        Ok(()) => true,
        // No zero-copy, no such interface any more, no such queue any more. Other answers say nothing.
        Err(error) => {
            matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENODEV | libc::EINVAL))
        }
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn register(fd: BorrowedFd<'_>, start: u64, bytes: u64) -> io::Result<()> {
    let registration = libc::xdp_umem_reg {
        addr: start,
        len: bytes,
        chunk_size: u32::try_from(FRAME_BYTES).map_err(io::Error::other)?,
        // The kernel's own XDP_PACKET_HEADROOM comes on top, which is the headroom of our frames.
        headroom: 0,
        // Frames begin where we say.
        flags: libc::XDP_UMEM_UNALIGNED_CHUNK_FLAG,
        tx_metadata_len: 0,
    };
    set_option(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
}

/// Settings that make it faster where they are to be had.
fn tune(fd: BorrowedFd<'_>) {
    if set_option(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &TX_BUDGET).is_err() {
        tracing::debug!("no XDP_MAX_TX_SKB_BUDGET: copy mode sends 32 frames a kick");
    }
    if set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER).is_err() {
        let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER);
    }
}

/// Has the driver do its work within the calls of whoever owns the socket, instead of in interrupts. Says whether that
/// will be.
///
/// Where the driver and the worker share a core, interrupts would take it from the worker whenever there is most to do.
pub(crate) fn prefer_busy_poll(fd: BorrowedFd<'_>) -> bool {
    let options =
        [(SO_PREFER_BUSY_POLL, 1), (libc::SO_BUSY_POLL, BUSY_POLL), (SO_BUSY_POLL_BUDGET, BUSY_POLL_BUDGET)];
    options.iter().all(|(name, value)| set_option(fd, libc::SOL_SOCKET, *name, value).is_ok())
}

fn map_rings(fd: BorrowedFd<'_>) -> io::Result<Rings> {
    let offsets: libc::xdp_mmap_offsets = get_option(fd, libc::XDP_MMAP_OFFSETS)?;
    let fill_at = libc::off_t::try_from(libc::XDP_UMEM_PGOFF_FILL_RING).map_err(io::Error::other)?;
    let completion_at =
        libc::off_t::try_from(libc::XDP_UMEM_PGOFF_COMPLETION_RING).map_err(io::Error::other)?;
    Ok(Rings {
        rx: ring::consumer(fd, libc::XDP_PGOFF_RX_RING, layout(&offsets.rx)?, RX_TX_ENTRIES)?,
        tx: ring::producer(fd, libc::XDP_PGOFF_TX_RING, layout(&offsets.tx)?, RX_TX_ENTRIES)?,
        fill: ring::producer(fd, fill_at, layout(&offsets.fr)?, FILL_ENTRIES)?,
        completion: ring::consumer(fd, completion_at, layout(&offsets.cr)?, FILL_ENTRIES)?,
    })
}

fn layout(offsets: &libc::xdp_ring_offset) -> io::Result<Layout> {
    let offset = |value: u64| usize::try_from(value).map_err(io::Error::other);
    Ok(Layout {
        producer: offset(offsets.producer)?,
        consumer: offset(offsets.consumer)?,
        flags: offset(offsets.flags)?,
        entries: offset(offsets.desc)?,
    })
}

fn bind(fd: BorrowedFd<'_>, target: Target, lender: Option<RawFd>) -> io::Result<()> {
    let flags = match (lender, target.zero_copy) {
        // The kernel takes mode and need-wakeup from the lender, and refuses to be told.
        (Some(_), _) => libc::XDP_SHARED_UMEM,
        (None, true) => libc::XDP_ZEROCOPY | libc::XDP_USE_NEED_WAKEUP,
        (None, false) => libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP,
    };
    let address = libc::sockaddr_xdp {
        sxdp_family: u16::try_from(libc::AF_XDP).map_err(io::Error::other)?,
        sxdp_flags: flags,
        sxdp_ifindex: target.ifindex,
        sxdp_queue_id: target.queue,
        sxdp_shared_umem_fd: lender.map_or(Ok(0), u32::try_from).map_err(io::Error::other)?,
    };
    let len = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: `address` is a whole `sockaddr_xdp` of the length given.
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set_option<T: Copy>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `value` is `len` readable bytes.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A structure of numbers that the kernel fills, as far as it knows it.
trait Answer: Copy {}
impl Answer for libc::xdp_mmap_offsets {}
impl Answer for libc::xdp_statistics {}

fn get_option<T: Answer>(fd: BorrowedFd<'_>, name: libc::c_int) -> io::Result<T> {
    let mut len = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: all zeroes are a value of these structures, which hold numbers only.
    let mut value: T = unsafe { std::mem::zeroed() };
    // SAFETY: `value` is `len` writable bytes.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, name, (&raw mut value).cast(), &raw mut len)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

impl Socket {
    /// Makes the kernel send what is in the TX ring; zero, or the error number.
    #[inline]
    pub(crate) fn kick_tx(&self) -> Result<(), libc::c_int> {
        // SAFETY: no buffer, no address.
        let sent = unsafe {
            libc::sendto(self.fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
        };
        if sent < 0 { Err(errno()) } else { Ok(()) }
    }

    /// Makes the driver look at the fill ring; an error number when the socket is of no use any more.
    pub(crate) fn kick_rx(&self) -> Result<(), libc::c_int> {
        // SAFETY: no buffer, no address.
        let received = unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
        if received < 0 { Err(errno()) } else { Ok(()) }
    }

    /// `XDP_STATISTICS`; zeroes from a socket that cannot say.
    pub(crate) fn statistics(&self) -> libc::xdp_statistics {
        get_option(self.fd.as_fd(), libc::XDP_STATISTICS).unwrap_or(libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Under the lock, before the number can mean another file.
        self.umem.anchors().retain(|anchor| anchor.fd != self.fd.as_raw_fd());
    }
}

fn errno() -> libc::c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
