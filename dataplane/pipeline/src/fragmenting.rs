//! Cutting an IPv4 packet that is too large for its way out into fragments (RFC 791 §3.2).
//!
//! ```text
//!   | Ethernet | header, options          | 1480 bytes | 1480 bytes | 77 bytes |
//!   | Ethernet | header, options          | 1480 bytes |                           more    the frame itself
//!   | Ethernet | header, copied options   | 1480 bytes |                           more    from the pool
//!   | Ethernet | header, copied options   | 77 bytes |                             as before    from the pool
//! ```
//!
//! A fragment is cut like a whole packet: offsets and "more" go on from its own. Every fragment but the last is
//! as large as fits; the identification stays. All or nothing: where there are not enough frames, or the
//! fragments would be too many, nothing has happened.
//!
//! Whether the packet may be fragmented is the caller's question. A packet for a tunnel is cut before it is
//! encapsulated, to what the tunnel leaves of the MTU.

use sheave_frame::{Frame, FramePool};
use sheave_proto::wire::checksum::checksum;
use sheave_proto::wire::ipv4;

/// Fragments of one packet, at most.
pub(crate) const MOST: usize = 64;
/// Bytes of an offset's unit.
const UNIT: usize = 8;

/// Why a packet was not cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uncut {
    /// It is no IPv4 packet, or one that ends before or after its header says.
    Malformed,
    /// It would take more than [`MOST`] fragments.
    TooMany,
    /// There are not enough free frames, or they are too small.
    NoFrame,
}

/// How a packet is cut.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Bytes in front of the IP header.
    l3: usize,
    /// Bytes of the IP header, options included.
    header_len: usize,
    /// Bytes of data of a fragment.
    step: usize,
    /// Bytes of data in all.
    data: usize,
    /// Offset of the packet itself.
    offset: usize,
    /// Whether the packet itself has others behind it.
    more: bool,
}

/// Cuts the IPv4 packet that begins at `l3` in `frame` into fragments of at most `mtu` bytes, and puts these
/// into `fragments`, an empty list with room for [`MOST`], in order. One that fits is put there as it is.
///
/// # Errors
/// The frame as it was, and why.
pub(crate) fn fragment(
    mut frame: Frame,
    l3: usize,
    mtu: u16,
    pool: &mut FramePool,
    fragments: &mut Vec<Frame>,
) -> Result<(), (Frame, Uncut)> {
    debug_assert!(fragments.is_empty() && fragments.capacity() >= MOST);
    let cut = match Cut::new(frame.bytes(), l3, mtu) {
        Ok(cut) => cut,
        Err(why) => return Err((frame, why)),
    };
    // The first one last: until then the frame has the bytes of all others.
    for from in (cut.step..cut.data).step_by(cut.step) {
        let Some(later) = cut.later(&frame, from, pool) else {
            fragments.drain(..).for_each(|made| pool.release(made));
            return Err((frame, Uncut::NoFrame));
        };
        fragments.push(later);
    }
    if cut.step < cut.data {
        cut.finish(&mut frame, 0);
    }
    fragments.insert(0, frame);
    Ok(())
}

impl Cut {
    fn new(bytes: &[u8], l3: usize, mtu: u16) -> Result<Cut, Uncut> {
        let ip = bytes.get(l3..).and_then(|packet| ipv4::parse(packet).ok()).ok_or(Uncut::Malformed)?;
        let (data, offset) = (ip.payload_len(), usize::from(ip.frag_offset));
        if l3 + ip.total_len != bytes.len() || offset + data > usize::from(u16::MAX) {
            return Err(Uncut::Malformed);
        }
        let room = usize::from(mtu).saturating_sub(ip.header_len);
        // One that fits is its own first and last fragment.
        let step = if data <= room { data } else { room / UNIT * UNIT };
        if step * MOST < data {
            return Err(Uncut::TooMany);
        }
        // An empty packet fits, with nothing to step over.
        Ok(Cut { l3, header_len: ip.header_len, step: step.max(1), data, offset, more: ip.mf })
    }

    /// A frame with the fragment of what follows `from` bytes of data of `source`.
    fn later(&self, source: &Frame, from: usize, pool: &mut FramePool) -> Option<Frame> {
        let headers = self.l3 + self.header_len;
        let data = source.bytes().get(headers + from..)?;
        let data = data.get(..self.step).unwrap_or(data);
        let mut frame = pool.alloc()?;
        frame.set_ingress(source.ingress());
        if frame.set_len(headers + data.len()).is_err() {
            pool.release(frame);
            return None;
        }
        let (head, body) = frame.bytes_mut().split_at_mut(headers);
        head.copy_from_slice(&source.bytes()[..headers]);
        body.copy_from_slice(data);
        blank_uncopied(head.get_mut(self.l3 + ipv4::HEADER_LEN..).unwrap_or_default());
        self.finish(&mut frame, from);
        Some(frame)
    }

    /// Makes `frame`, which begins with its headers, the fragment at `from`: length, offset, "more" and
    /// checksum.
    fn finish(&self, frame: &mut Frame, from: usize) {
        let len = self.header_len + self.step.min(self.data - from);
        let shorter = frame.set_len(self.l3 + len);
        debug_assert!(shorter.is_ok(), "a fragment is no longer than its packet");
        let packet = frame.bytes_mut().get_mut(self.l3..).unwrap_or_default();
        let Some(mut header) = ipv4::HeaderMut::new(packet) else { return };
        // Both are at most 65535: `new` has seen to it.
        header.set_total_len(u16::try_from(len).unwrap_or(u16::MAX));
        let offset = u16::try_from(self.offset + from).unwrap_or(u16::MAX);
        header.set_fragment(offset, self.more || from + self.step < self.data);
        header.set_checksum(0);
        let sum = checksum(packet.get(..self.header_len).unwrap_or_default());
        if let Some(mut header) = ipv4::HeaderMut::new(packet) {
            header.set_checksum(sum);
        }
    }
}

/// Makes "no operation" of the options that go with the first fragment only. The header keeps its length.
///
/// RFC 791 §3.1: the first bit of an option's type says whether it is copied into all fragments.
fn blank_uncopied(options: &mut [u8]) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut at = 0;
    while let Some(kind) = options.get(at).copied() {
        let len = match (kind, options.get(at + 1)) {
            (END, _) => return,
            (NO_OPERATION, _) => 1,
            (_, Some(len)) => usize::from(*len),
            (_, None) => 0,
        };
        // One of which nobody can tell where it ends takes the rest along.
        let whole = len != 0 && at + len <= options.len();
        let end = if whole { at + len } else { options.len() };
        if kind & COPIED == 0 || !whole {
            options[at..end].fill(NO_OPERATION);
        }
        at = end;
    }
}

#[cfg(test)]
mod tests;
