//! One packet buffer, owned by exactly one hand.

use crate::{HEADROOM, PortId};

/// Which frame of its memory region this is (a dense index, not a byte address).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(pub u32);

/// Which pool a frame comes from and must return to: one pool a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u8);

/// There is not enough room in front of or behind the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// A move-only packet buffer. The packet is `buf[start .. start + len]`; what lies around it is room.
///
/// The buffer is an exclusive `&'static mut`: a frame that the kernel or a ring holds is not a `Frame`, it has
/// been taken apart with [`Frame::into_parts`], and is put together again by whoever gets it back.
pub struct Frame {
    buf: &'static mut [u8],
    id: FrameId,
    start: u16,
    len: u16,
    ingress: PortId,
    egress: PortId,
    home: PoolId,
}

impl Frame {
    /// What is left of a frame that was moved away: no memory, no packet.
    #[inline(always)]
    pub(crate) fn hollow() -> Frame {
        let (id, none) = (FrameId(u32::MAX), PortId::NONE);
        Frame { buf: &mut [], id, start: 0, len: 0, ingress: none, egress: none, home: PoolId(0) }
    }

    /// A frame over `buf` with an empty packet at [`HEADROOM`].
    ///
    /// # Panics
    /// When `buf` is not larger than [`HEADROOM`] or larger than 65535 bytes: a programming error at start.
    pub fn new(buf: &'static mut [u8], id: FrameId, home: PoolId) -> Frame {
        assert!(buf.len() > HEADROOM, "a frame needs room for a packet behind its headroom");
        assert!(buf.len() <= usize::from(u16::MAX), "a frame's offsets are 16 bits wide");
        Frame { buf, id, start: headroom(), len: 0, ingress: PortId::NONE, egress: PortId::NONE, home }
    }

    /// The packet.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        let start = usize::from(self.start);
        &self.buf[start..start + usize::from(self.len)]
    }

    /// The packet, writable.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let start = usize::from(self.start);
        &mut self.buf[start..start + usize::from(self.len)]
    }

    /// The `N` bytes from the packet's start on, however many of them are the packet's: what is behind its end is anything. `None`
    /// if the buffer ends before.
    ///
    /// PERF: `instructions/*`. One comparison. Whoever reads headers compares the lengths that they tell with the packet's anyway.
    #[inline(always)]
    pub fn window<const N: usize>(&self) -> Option<&[u8; N]> {
        let start = usize::from(self.start);
        self.buf.get(start..start + N)?.first_chunk()
    }

    /// The same, writable.
    #[inline(always)]
    pub fn window_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let start = usize::from(self.start);
        self.buf.get_mut(start..start + N)?.first_chunk_mut()
    }

    /// Length of the packet in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a length of the packet, not of a collection")]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Offset of the packet in its buffer, in bytes.
    #[inline]
    pub fn start(&self) -> usize {
        usize::from(self.start)
    }

    /// Bytes of the whole buffer.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// Bytes free behind the packet.
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.buf.len() - usize::from(self.start) - usize::from(self.len)
    }

    /// Grows the packet by `n` bytes to the front and returns the whole packet.
    ///
    /// # Errors
    /// [`NoRoom`] when fewer than `n` bytes lie before the packet; the frame is unchanged.
    #[inline]
    pub fn prepend(&mut self, n: u16) -> Result<&mut [u8], NoRoom> {
        let start = self.start.checked_sub(n).ok_or(NoRoom)?;
        self.start = start;
        self.len += n;
        Ok(self.bytes_mut())
    }

    /// Cuts `n` bytes off the front of the packet.
    ///
    /// # Errors
    /// [`NoRoom`] when the packet is shorter than `n`; the frame is unchanged.
    #[inline]
    pub fn trim_front(&mut self, n: u16) -> Result<(), NoRoom> {
        let len = self.len.checked_sub(n).ok_or(NoRoom)?;
        self.len = len;
        self.start += n;
        Ok(())
    }

    /// Sets the packet's length, keeping its start: for replies built in place and padding cut off.
    ///
    /// # Errors
    /// [`NoRoom`] when the buffer ends before `len`; the frame is unchanged.
    #[inline]
    pub fn set_len(&mut self, len: usize) -> Result<(), NoRoom> {
        let end = usize::from(self.start).checked_add(len).ok_or(NoRoom)?;
        if end > self.buf.len() {
            return Err(NoRoom);
        }
        self.len = u16::try_from(len).map_err(|_| NoRoom)?;
        Ok(())
    }

    /// Cuts off what lies behind the first `len` bytes of the packet, if anything does.
    #[inline(always)]
    pub fn truncate(&mut self, len: u16) {
        self.len = self.len.min(len);
    }

    /// Empties the packet and puts its start back to [`HEADROOM`].
    #[inline]
    pub fn reset(&mut self) {
        self.start = headroom();
        self.len = 0;
        self.ingress = PortId::NONE;
        self.egress = PortId::NONE;
    }

    /// Replaces the packet by `bytes`, starting at [`HEADROOM`].
    ///
    /// # Errors
    /// [`NoRoom`] when `bytes` do not fit; the frame is then empty.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        self.start = headroom();
        self.len = 0;
        self.set_len(bytes.len())?;
        self.bytes_mut().copy_from_slice(bytes);
        Ok(())
    }

    /// The port that this frame came in on.
    #[inline]
    pub fn ingress(&self) -> PortId {
        self.ingress
    }

    /// Notes the port that this frame came in on.
    #[inline]
    pub fn set_ingress(&mut self, port: PortId) {
        self.ingress = port;
    }

    /// The port that this frame is to leave by, once that is settled.
    #[inline]
    pub fn egress(&self) -> PortId {
        self.egress
    }

    /// Settles the port that this frame is to leave by.
    #[inline]
    pub fn set_egress(&mut self, port: PortId) {
        self.egress = port;
    }

    /// The frame's index in its memory region.
    #[inline]
    pub fn id(&self) -> FrameId {
        self.id
    }

    /// The pool that this frame belongs to.
    #[inline]
    pub fn home(&self) -> PoolId {
        self.home
    }

    /// Takes the frame apart, for a backend that gives its memory to the kernel or to a ring. Whoever gets the
    /// memory back makes a new frame of it.
    #[inline]
    pub fn into_parts(mut self) -> (&'static mut [u8], FrameId, PoolId) {
        (std::mem::take(&mut self.buf), self.id, self.home)
    }

    /// Puts a received frame together: the packet is `buf[start .. start + len]`.
    ///
    /// # Errors
    /// [`NoRoom`] when the packet does not lie within `buf`; the buffer comes back as an empty frame.
    pub fn received(
        buf: &'static mut [u8],
        id: FrameId,
        home: PoolId,
        start: usize,
        len: usize,
    ) -> Result<Frame, Frame> {
        let mut frame = Frame::new(buf, id, home);
        let fits = start.checked_add(len).is_some_and(|end| end <= frame.buf.len());
        match (fits, u16::try_from(start), u16::try_from(len)) {
            (true, Ok(start), Ok(len)) => {
                frame.start = start;
                frame.len = len;
                Ok(frame)
            }
            _ => Err(frame),
        }
    }
}

const fn headroom() -> u16 {
    const { assert!(HEADROOM < 0x1_0000) };
    #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
    {
        HEADROOM as u16
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("id", &self.id.0)
            .field("home", &self.home.0)
            .field("start", &self.start)
            .field("len", &self.len)
            .field("ingress", &self.ingress)
            .finish_non_exhaustive()
    }
}

#[cfg(debug_assertions)]
impl Drop for Frame {
    fn drop(&mut self) {
        // A frame that is dropped with its memory is lost to its pool for ever.
        assert!(self.buf.is_empty() || std::thread::panicking(), "frame {} lost", self.id.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame::new(Box::leak(vec![0; 2048].into_boxed_slice()), FrameId(7), PoolId(1))
    }

    #[test]
    fn the_packet_grows_and_shrinks_within_its_buffer() {
        let mut f = frame();
        f.fill(b"packet").expect("fits");
        assert_eq!((f.start(), f.len(), f.bytes()), (256, 6, &b"packet"[..]));
        f.prepend(20).expect("room")[..20].fill(0x45);
        assert_eq!((f.start(), f.len()), (236, 26));
        f.trim_front(20).expect("there");
        assert_eq!(f.bytes(), b"packet");
        assert_eq!(f.prepend(257).unwrap_err(), NoRoom);
        assert_eq!(f.trim_front(7).unwrap_err(), NoRoom);
        assert_eq!(f.set_len(2048 - 255).unwrap_err(), NoRoom);
        f.set_len(2048 - 256).expect("exactly full");
        assert_eq!(f.tailroom(), 0);
        f.reset();
        assert_eq!((f.start(), f.len()), (256, 0));
        _ = f.into_parts();
    }

    #[test]
    fn a_received_frame_outside_its_buffer_comes_back_empty() {
        let (buf, id, home) = frame().into_parts();
        let f = Frame::received(buf, id, home, 2000, 49).unwrap_err();
        assert_eq!(f.len(), 0);
        let (buf, id, home) = f.into_parts();
        let f = Frame::received(buf, id, home, 2000, 48).expect("fits");
        assert_eq!((f.len(), f.id(), f.home()), (48, FrameId(7), PoolId(1)));
        _ = f.into_parts();
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "frame 7 lost")]
    fn a_lost_frame_is_caught() {
        drop(frame());
    }
}
