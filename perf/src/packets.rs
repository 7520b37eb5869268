//! Frames of many flows, side by side, visited in an order that no prefetcher of the processor guesses.

use sheave_frame::{Frame, PortId};

/// Bytes that are kept of a frame: all its headers. What comes behind does not matter to anybody here.
const KEPT: usize = 96;

/// How long frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// As short as they come: 64 bytes of a data packet with what the wire adds.
    Small,
    /// Of twelve, seven are small, four have 594 bytes and one has 1518, with the frame check sequence.
    Imix,
}

impl Sizes {
    /// Bytes of the `n`th frame without the frame check sequence, at least.
    pub(crate) const fn of(self, n: u32) -> usize {
        match (self, n % 12) {
            (Sizes::Imix, 7..=10) => 590,
            (Sizes::Imix, 11) => 1514,
            _ => 0,
        }
    }
}

/// Frames that come in on one interface.
#[derive(Debug, Clone)]
pub struct Packets {
    port: PortId,
    bytes: Vec<u8>,
    lengths: Vec<u16>,
    at: usize,
    step: usize,
}

impl Packets {
    /// None yet; all will come in on `port`.
    pub(crate) fn new(port: PortId) -> Packets {
        Packets { port, bytes: Vec::new(), lengths: Vec::new(), at: 0, step: 0 }
    }

    /// Appends a frame.
    ///
    /// # Panics
    /// When it is longer than a packet can be.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        let kept = &frame[..frame.len().min(KEPT)];
        self.bytes.extend_from_slice(kept);
        self.lengths.push(u16::try_from(frame.len()).expect("a packet's length"));
        self.bytes.resize(self.lengths.len() * KEPT, 0);
        self.step = step(self.lengths.len());
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lengths.len()
    }

    /// Fills a frame with the next one: each once before any comes again, far from the one before it.
    ///
    /// # Panics
    /// When the frame has no room for it.
    pub(crate) fn next_into(&mut self, frame: &mut Frame) {
        let length = usize::from(self.lengths[self.at]);
        let kept = &self.bytes[self.at * KEPT..][..length.min(KEPT)];
        frame.fill(kept).expect("a frame has room");
        frame.set_len(length).expect("a frame has room");
        frame.set_ingress(self.port);
        self.at = (self.at + self.step) % self.count();
    }
}

/// A step that leads to every one of `count` places: about the golden section of them, and without a divisor in common.
fn step(count: usize) -> usize {
    let shares = |step: &usize| {
        let (mut a, mut b) = (*step, count);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a != 1
    };
    let golden = count / 1000 * 618 + count % 1000 * 618 / 1000;
    (golden.max(1)..).find(|step| !shares(step)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_frame::{FrameId, PoolId};

    #[test]
    fn each_frame_comes_once_a_round() {
        for count in [256usize, 250, 101] {
            let mut packets = Packets::new(PortId(0));
            (0..count).for_each(|n| packets.push(&[u8::try_from(n).expect("small"); 8]));
            let mut frame = Frame::new(Box::leak(vec![0; 2048].into_boxed_slice()), FrameId(0), PoolId(0));
            for _ in 0..2 {
                let mut round: Vec<u8> = (0..count)
                    .map(|_| {
                        packets.next_into(&mut frame);
                        frame.bytes()[0]
                    })
                    .collect();
                let neighbours = round.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
                assert!(neighbours < 16, "{neighbours} of {count} lie side by side");
                round.sort_unstable();
                assert!(round.iter().map(|n| usize::from(*n)).eq(0..count), "{round:?}");
            }
            let (_memory, ..) = frame.into_parts();
        }
    }

    #[test]
    fn long_frames_have_their_length_and_their_headers() {
        let mut packets = Packets::new(PortId(3));
        packets.push(&[7; 1514]);
        let mut frame = Frame::new(Box::leak(vec![0; 2048].into_boxed_slice()), FrameId(0), PoolId(0));
        packets.next_into(&mut frame);
        assert_eq!((frame.bytes().len(), frame.ingress()), (1514, PortId(3)));
        assert_eq!(frame.bytes()[..KEPT], [7; KEPT]);
        let (_memory, ..) = frame.into_parts();
    }
}
