//! Fragments that must come out together, of one packet.

use super::outcome::{Bytes, Leaving, hex};
use sheave_frame::PortId;

/// A packet that comes out in fragments.
#[derive(Debug)]
pub(super) struct Cut {
    /// By this interface.
    pub(super) port: PortId,
    /// The frame that it would be in one piece, without what each fragment gets in front.
    pub(super) whole: Bytes,
    /// Bytes of the headers that each fragment gets in front.
    pub(super) overhead: usize,
    /// Bytes of a fragment, at most, without those.
    pub(super) mtu: usize,
}

/// Where the IP packet of a frame begins, behind its tags.
fn l3(frame: &[u8]) -> usize {
    let mut at = 12;
    while matches!(frame.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8])) {
        at += 4;
    }
    at + 2
}

/// Header without what differs between fragments, payload, offset, and whether more follow.
fn apart(packet: &[u8]) -> Option<(Vec<u8>, &[u8], usize, bool)> {
    let len = usize::from(packet.first()? & 15) * 4;
    let (header, payload) = packet.split_at_checked(len)?;
    let word = u16::from_be_bytes([header[6], header[7]]);
    // Options may be copied or not.
    let mut fixed = header[..20].to_vec();
    [2, 3, 6, 7, 10, 11].into_iter().for_each(|at| fixed[at] = 0);
    Some((fixed, payload, usize::from(word & 0x1fff) * 8, word & 0x2000 != 0))
}

impl Cut {
    /// Takes the fragments and checks that together they are the packet.
    pub(super) fn check(&self, leaving: &mut Leaving) -> Result<(), String> {
        let at = l3(&self.whole.0);
        let (header, payload, offset, more) = apart(&self.whole.0[at..]).ok_or("no IPv4 packet")?;
        let mut together: Vec<u8> = Vec::new();
        while together.len() < payload.len() {
            let (port, frame) = leaving.sent.pop_front().ok_or("a fragment is missing")?;
            let packet = frame.get(at + self.overhead..).ok_or("a fragment is too short")?;
            let (its, part, its_offset, its_more) = apart(packet).ok_or("a fragment is no IPv4 packet")?;
            let last = together.len() + part.len() >= payload.len();
            let fits = packet.len() <= self.mtu && port == self.port && its == header;
            if !fits || its_offset != offset + together.len() || its_more != (more || !last) {
                return Err(format!("a fragment is wrong: {} of {self:?}", hex(&frame)));
            }
            together.extend_from_slice(part);
        }
        if together == payload { Ok(()) } else { Err(format!("fragments make another packet than {self:?}")) }
    }
}
