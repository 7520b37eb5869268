//! Frames of many flows, side by side, visited in an order that no prefetcher of the processor guesses.

use sheave_frame::PortId;

/// Frames of one length that come in on one interface.
#[derive(Debug, Clone)]
pub struct Packets {
    port: PortId,
    length: usize,
    bytes: Vec<u8>,
    at: usize,
}

impl Packets {
    /// None yet; all will come in on `port`.
    pub(crate) fn new(port: PortId) -> Packets {
        Packets { port, length: 0, bytes: Vec::new(), at: 0 }
    }

    /// Appends a frame.
    ///
    /// # Panics
    /// When it is not as long as those before it.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        if self.bytes.is_empty() {
            self.length = frame.len();
        }
        assert_eq!(frame.len(), self.length, "frames of one length");
        self.bytes.extend_from_slice(frame);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.bytes.len() / self.length.max(1)
    }

    /// Their interface.
    pub(crate) fn port(&self) -> PortId {
        self.port
    }

    /// Frame `n`.
    pub(crate) fn get(&self, n: usize) -> &[u8] {
        &self.bytes[n * self.length..][..self.length]
    }

    /// The next frame: each once before any comes again, far from the one before it.
    pub(crate) fn next(&mut self) -> &[u8] {
        let count = self.count();
        debug_assert!(count.is_power_of_two());
        // A full period modulo a power of two: an odd increment, a factor that is 1 modulo 4.
        self.at = (self.at.wrapping_mul(0x5851_f42d) + 0x1405_7b7f) & (count - 1);
        self.get(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_comes_once_a_round() {
        let mut packets = Packets::new(PortId(0));
        (0..=255u8).for_each(|n| packets.push(&[n]));
        for _ in 0..2 {
            let mut round: Vec<u8> = (0..256).map(|_| packets.next()[0]).collect();
            let neighbours = round.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
            assert!(neighbours < 16, "{neighbours} of 256 lie side by side");
            round.sort_unstable();
            assert!((0..=255).eq(round.iter().copied()), "{round:?}");
        }
    }
}
