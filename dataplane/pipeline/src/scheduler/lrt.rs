//! Least response time: the smallest response time x (active + 1) / weight, the first on ties, among those whose
//! response time is known; as long as none is, the smallest overhead / weight.
//!
//! The times come from health checks, which reach a destination whether it has connections or not: one without a
//! time gets its first soon, and waits for it rather than draw all connections to itself.

use super::least::least;
use super::{Candidate, Pool, wlc};
use crate::ids::DestId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    let measured = pool.candidates().filter(|c| c.live.response_time().is_some());
    least(measured, delay).map(|c| c.id).or_else(|| wlc::pick(pool))
}

/// The time until one more request is answered, if each active connection waits for one.
fn delay(candidate: &Candidate<'_>) -> u64 {
    // 32 bits each.
    u64::from(candidate.live.response_time().unwrap_or(0)) * (u64::from(candidate.live.active()) + 1)
}
