//! Least response time: the smallest response time x (active + 1) / weight, the first on ties, among those whose
//! response time is known; as long as none is, the smallest overhead / weight.
//!
//! Times are measured under NAT ([`crate::response`]): a destination of which nothing is known, or nothing of the last
//! ten seconds, is given one connection to measure by, and waits for the answer rather than draw all connections to
//! itself.

use super::least::least;
use super::{Candidate, Pool, wlc};
use crate::ids::DestId;
use crate::snapshot::Method;

pub(super) fn pick(pool: &Pool<'_>) -> Option<DestId> {
    let unknown =
        |c: &Candidate<'_>| c.destination.method == Method::Nat && c.live.response().is_stale(pool.now);
    if let Some(candidate) = pool.candidates().find(unknown) {
        return Some(candidate.id);
    }
    let measured = pool.candidates().filter(|c| c.live.response_time().is_some());
    least(measured, delay).map(|c| c.id).or_else(|| wlc::pick(pool))
}

/// The time until one more request is answered, if each active connection waits for one.
fn delay(candidate: &Candidate<'_>) -> u64 {
    // 32 bits each.
    u64::from(candidate.live.response_time().unwrap_or(0)) * (u64::from(candidate.live.active()) + 1)
}
