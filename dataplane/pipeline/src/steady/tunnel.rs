//! Packets that leave in a tunnel.

use super::plan::Exit;
use super::send::leave;
use super::sum::Sum;
use super::{HEAD, L3, Lane};
use crate::ids::DestId;
use crate::live::Live;
use crate::snapshot::{Snapshot, Tunnel};
use crate::time::Time;
use sheave_frame::Frame;
use sheave_proto::wire::eth::ethertype;
use sheave_proto::wire::tunnel::Inner;

/// Where the tunnels of destinations are found.
pub(super) struct Tunnels<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) live: &'a Live,
    pub(super) now: Time,
}

impl Tunnels<'_> {
    /// Sends a client's packet to a destination in its tunnel, under the next identification. `false`, and nothing
    /// changed, if it does not fit there.
    #[inline(never)]
    pub(super) fn send(&self, frame: &mut Frame, lane: &Lane, to: (&Exit, DestId), ident: &mut u16) -> bool {
        let (exit, id) = to;
        let Some(destination) = self.snapshot.destination(id) else { return false };
        let Some(tunnel) = &destination.tunnel else { return false };
        let path = self.live.path(id).current(exit.mtu(), destination.generation, self.now);
        let len = lane.end.wrapping_sub(14);
        if len > path.saturating_sub(tunnel.overhead) || frame.start() < usize::from(tunnel.overhead) {
            return false;
        }
        let outer = if destination.addr.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 };
        *ident = ident.wrapping_add(1);
        let wrapped = wrap(frame, lane, (exit, outer), tunnel, *ident);
        debug_assert!(wrapped.is_some(), "there was room");
        frame.set_egress(exit.port);
        true
    }
}

/// Puts the headers of a tunnel between the hardware addresses and the packet.
#[inline(always)]
fn wrap(
    frame: &mut Frame,
    lane: &Lane,
    (exit, outer): (&Exit, u16),
    tunnel: &Tunnel,
    ident: u16,
) -> Option<()> {
    let v6 = lane.kind.is_v6();
    let head = frame.window_mut::<HEAD>()?;
    let inner = if v6 {
        head[L3 + 7] = head[L3 + 7].wrapping_sub(1);
        let tos = (head[L3] << 4) | (head[L3 + 1] >> 4);
        Inner { tos, ttl: head[L3 + 7], df: false, ident, flow: lane.hash.mixed() }
    } else {
        leave(head, exit, [Sum::AGED, Sum::default()]);
        let df = head[L3 + 6] & 0x40 != 0 && tunnel.discovers_mtu;
        Inner { tos: head[L3 + 1], ttl: head[L3 + 8], df, ident, flow: lane.hash.mixed() }
    };
    frame.truncate(lane.end);
    let bytes = frame.prepend(tunnel.overhead).ok()?;
    let (ether, packet) = bytes.split_first_chunk_mut::<L3>()?;
    ether[..12].copy_from_slice(&exit.macs);
    ether[12..].copy_from_slice(&outer.to_be_bytes());
    tunnel.template(v6).emit(packet, &inner).ok()
}
