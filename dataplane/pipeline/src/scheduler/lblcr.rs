//! Locality-based least connections with replication: a VIP has a set of destinations and goes to the one with the
//! smallest overhead / weight of them. When that one has more active connections than its weight while another one
//! of the pool has less than half of its own, or when none of the set may be used, the destination that wlc chooses
//! joins the set. A set that stayed the same for 24 hours loses the one with the largest overhead / weight. A VIP
//! that nobody asks for in 24 hours is forgotten.

use super::lblc::{crowded, member};
use super::least::{least, most};
use super::locality::Line;
use super::{Pool, wlc};
use crate::ids::DestId;
use std::net::IpAddr;

pub(super) fn pick(pool: &Pool<'_>, vip: IpAddr) -> Option<DestId> {
    let memory = &pool.live.locality;
    let Some(line) = memory.find(pool.id, vip, pool.now) else {
        let id = wlc::pick(pool)?;
        memory.begin(pool.id, vip, pool.now, id);
        return Some(id);
    };
    let set = || (0..Line::MOST).filter_map(|place| member(pool, line.get(place)?));
    let best = least(set(), |c| c.live.overhead());
    if line.settled(pool.now) && set().nth(1).is_some() {
        replace_busiest(pool, line, None);
    }
    if let Some(best) = best.filter(|c| !crowded(pool, c)) {
        return Some(best.id);
    }
    let id = wlc::pick(pool)?;
    if set().all(|c| c.id != id) {
        // One that may not be used now keeps its place as long as there is another.
        let free = || (0..Line::MOST).find(|place| line.get(*place).is_none());
        let useless =
            || (0..Line::MOST).find(|place| line.get(*place).and_then(|id| member(pool, id)).is_none());
        match free().or_else(useless) {
            Some(place) => line.put(place, Some(id), pool.now),
            None => replace_busiest(pool, line, Some(id)),
        }
    }
    Some(id)
}

/// Puts another one, or none, in the place of the one with the largest overhead / weight.
fn replace_busiest(pool: &Pool<'_>, line: &Line, with: Option<DestId>) {
    let set = (0..Line::MOST).filter_map(|place| member(pool, line.get(place)?));
    let Some(busiest) = most(set, |c| c.live.overhead()) else { return };
    if let Some(place) = (0..Line::MOST).find(|place| line.get(*place) == Some(busiest.id)) {
        line.put(place, with, pool.now);
    }
}
