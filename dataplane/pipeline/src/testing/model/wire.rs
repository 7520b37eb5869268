//! How frames get from the traffic to a worker and from there away.

use crate::testing::Lab;
use sheave_frame::{Burst, PortId};

/// What lies between the traffic and the workers. Faults may happen there; the model judges what arrives.
pub trait Wire {
    /// Fills a burst for a worker with these frames, or with what becomes of them.
    fn arrive(&mut self, worker: usize, lab: &mut Lab, frames: &[(PortId, Vec<u8>)], burst: &mut Burst);

    /// Takes what a worker's pipeline has put out.
    fn leave(&mut self, worker: usize, lab: &mut Lab);

    /// Frames of a worker's pool that are on the way.
    fn held(&self, worker: usize) -> usize;

    /// Gives those back.
    fn close(&mut self, worker: usize, lab: &mut Lab);
}

/// Nothing at all.
pub(super) struct Direct;

impl Wire for Direct {
    fn arrive(&mut self, _: usize, lab: &mut Lab, frames: &[(PortId, Vec<u8>)], burst: &mut Burst) {
        lab.fill(burst, frames);
    }

    fn leave(&mut self, _: usize, lab: &mut Lab) {
        lab.drain();
    }

    fn held(&self, _: usize) -> usize {
        0
    }

    fn close(&mut self, _: usize, _: &mut Lab) {}
}
