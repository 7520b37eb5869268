//! The way back to the kernel: frames that a worker has and leaves to the kernel enter its receive path on the interface
//! that they came in on, byte for byte.
//!
//! ```text
//!   worker 0 -- PassQueue --+                     tcx ingress program
//!   worker 1 -- PassQueue --+--> TAP shv-p<n> -------- redirect --------> receive path of d0
//! ```
//!
//! One TAP device an interface, so that the frame itself need not say where it belongs; one queue of it a worker, so that
//! workers share nothing. The device is not persistent: it is gone when the last descriptor of it is. It carries no
//! address, and what the kernel wants to send out of it is never read and so dropped.
//!
//! A queue is bounded by its send buffer: frames count until the kernel's IP layer takes them. One write a frame: this
//! is the path of the few frames that turn out not to be ours.

use crate::netdev;
use crate::steering::{Steering, SteeringError};
use aya::programs::TcAttachType;
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions};
use sheave_frame::PortId;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// How the names of the TAP devices begin: not to be served, nor to be shown as interfaces of the host.
pub const PASS_DEVICE_PREFIX: &str = "shv-p";

/// Bytes under way in one queue. Less than what the kernel's backlog takes (1000 frames, each of which counts as at least
/// 768 bytes), so that a full way is seen here and not lost there.
const SEND_BUFFER: libc::c_int = 512 << 10;

/// The TAP device of one interface, held by the control thread.
#[derive(Debug)]
pub struct PassDevice {
    name: String,
    ifindex: u32,
    _first: File,
    _link: SchedClassifierLink,
}

impl PassDevice {
    /// Makes a device whose frames go to the interface `target`. To be there before the interface's first socket is.
    ///
    /// # Errors
    /// Without /dev/net/tun, without the privilege, or when the kernel takes no program on it.
    pub fn open(steering: &mut Steering, target: u32) -> Result<PassDevice, SteeringError> {
        let failed =
            |error| SteeringError::new("pass device: cannot be made (/dev/net/tun, CAP_NET_ADMIN)", error);
        let (first, name) = open_queue(&format!("{PASS_DEVICE_PREFIX}%d")).map_err(failed)?;
        // Else it would send router solicitations. No IPv6 in the kernel is fine, too.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
        let ifindex = netdev::ifindex(&name).map_err(failed)?;
        steering
            .pass_targets()?
            .insert(ifindex, target, 0)
            .map_err(|error| SteeringError::new(format!("pass device {name}: cannot be entered"), error))?;
        let link = attach(steering, &name).map_err(|error| {
            SteeringError::new(format!("pass device {name}: program not attached"), error)
        })?;
        netdev::set_up(&name).map_err(failed)?;
        Ok(PassDevice { name, ifindex, _first: first, _link: link })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends its frames to another interface from now on: the old one came back with another index.
    ///
    /// # Errors
    /// When the kernel refuses the change.
    pub fn retarget(&self, steering: &mut Steering, target: u32) -> Result<(), SteeringError> {
        steering.pass_targets()?.insert(self.ifindex, target, 0).map_err(|error| {
            SteeringError::new(format!("pass device {}: cannot be changed", self.name), error)
        })
    }

    /// A queue of the device, for one worker.
    ///
    /// # Errors
    /// When the device is gone or has 256 queues already.
    pub fn queue(&self) -> io::Result<PassQueue> {
        let (file, _) = open_queue(&self.name)?;
        Ok(PassQueue { file })
    }

    /// Ends the device's way. It vanishes with its last queue.
    pub fn close(self, steering: &mut Steering) {
        if let Ok(mut targets) = steering.pass_targets() {
            let _ = targets.remove(&self.ifindex);
        }
    }
}

fn attach(
    steering: &mut Steering,
    name: &str,
) -> Result<SchedClassifierLink, Box<dyn std::error::Error + Send + Sync>> {
    let program = steering.reinject()?;
    let id = match program.attach(name, TcAttachType::Ingress) {
        Ok(id) => id,
        // A kernel older than 6.6 has no tcx; its classifier hangs on a queueing discipline, and both on the device.
        Err(_) => {
            tc::qdisc_add_clsact(name)?;
            program.attach_with_options(
                name,
                TcAttachType::Ingress,
                TcAttachOptions::Netlink(NlOptions::default()),
            )?
        }
    };
    Ok(program.take_link(id)?)
}

fn open_queue(name: &str) -> io::Result<(File, String)> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = netdev::request(name)?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_MULTI_QUEUE;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(io::Error::other)?;
    // SAFETY: TUNSETIFF takes a pointer to an `ifreq`.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: TUNSETSNDBUF takes a pointer to an `int`.
    let result =
        unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETSNDBUF, std::ptr::from_ref(&SEND_BUFFER)) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((file, netdev::name_of(&request)))
}

/// What became of a frame on its way to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Passed {
    /// The kernel has it.
    Sent,
    /// Too many frames are under way.
    Full,
    /// There is no way (any more) for frames of this interface.
    NoWay,
}

/// One worker's queue of one pass device.
#[derive(Debug)]
pub struct PassQueue {
    file: File,
}

impl PassQueue {
    /// Hands a copy of the frame to the kernel.
    pub fn send(&mut self, frame: &[u8]) -> Passed {
        match self.file.write(frame) {
            // One write is one frame, whole or not at all.
            Ok(written) if written == frame.len() => Passed::Sent,
            Ok(_) => Passed::NoWay,
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => Passed::Full,
                _ => Passed::NoWay,
            },
        }
    }
}

/// One worker's ways to the kernel, by the port that a frame came in on.
#[derive(Debug, Default)]
pub struct PassPath {
    queues: Vec<Option<PassQueue>>,
}

impl PassPath {
    /// No way for any port.
    pub fn new() -> PassPath {
        PassPath::default()
    }

    /// Sets or takes away the way of a port.
    pub fn set(&mut self, port: PortId, queue: Option<PassQueue>) {
        if self.queues.len() <= port.index() {
            self.queues.resize_with(port.index() + 1, || None);
        }
        self.queues[port.index()] = queue;
    }

    /// Hands a copy of the frame to the kernel, as if it had come in on `port`.
    pub fn send(&mut self, port: PortId, frame: &[u8]) -> Passed {
        match self.queues.get_mut(port.index()) {
            Some(Some(queue)) => queue.send(frame),
            _ => Passed::NoWay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_a_queue_has_no_way() {
        let mut path = PassPath::new();
        assert_eq!(path.send(PortId(0), &[0; 60]), Passed::NoWay);
        path.set(PortId(3), None);
        assert_eq!(path.send(PortId(3), &[0; 60]), Passed::NoWay);
        assert_eq!(path.send(PortId::NONE, &[0; 60]), Passed::NoWay);
    }
}
