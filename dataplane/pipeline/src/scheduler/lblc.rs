//! Locality-based least connections: a VIP stays with the destination that it went to last, unless that is gone or
//! has more active connections than its weight while another one has less than half of its own; then, and at
//! first, as wlc. A VIP that nobody asks for in 24 hours is forgotten.

use super::{Candidate, Pool, wlc};
use crate::ids::DestId;
use std::net::IpAddr;

pub(super) fn pick(pool: &Pool<'_>, vip: IpAddr) -> Option<DestId> {
    let memory = &pool.live.locality;
    let last = memory.find(pool.id, vip, pool.now).and_then(|line| line.get(0));
    let same = last.and_then(|id| member(pool, id)).filter(|c| !crowded(pool, c));
    if let Some(candidate) = same {
        return Some(candidate.id);
    }
    let id = wlc::pick(pool)?;
    memory.begin(pool.id, vip, pool.now, id);
    Some(id)
}

/// A destination that is remembered, if it is still one of this service and may be used: its number may have gone to
/// another.
pub(super) fn member<'a>(pool: &Pool<'a>, id: DestId) -> Option<Candidate<'a>> {
    pool.candidate(id).filter(|c| c.destination.service == pool.id)
}

/// Whether a destination has more than its weight, and another less than half of its own.
pub(super) fn crowded(pool: &Pool<'_>, candidate: &Candidate<'_>) -> bool {
    candidate.exceeds_weight() && pool.candidates().any(|other| other.has_less_than_half())
}
