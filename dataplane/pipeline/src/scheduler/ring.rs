//! A ring: what source looks up.
//!
//! Each destination has points on a ring at the hashes of its address and port and the point's number, 160 for each 1
//! of its weight (fewer for all alike when that would be too many, at least one); a flow belongs to the first point
//! from its own hash on. One that comes takes flows only for itself, one that goes leaves its own to the others.

use super::hash::{HashKey, Purpose};
use std::net::IpAddr;

/// Points for each 1 of a weight: enough for destinations of weight 1 to have within a tenth of the same.
const POINTS: u64 = 160;
/// All points, about: a megabyte.
const MOST: u64 = 1 << 17;

/// A point: 48 bits of hash, 16 bits of which member. Sorted.
pub(super) type Point = u64;

const MEMBER_BITS: u32 = 16;

/// The points of these members with their weights, none of which is 0.
pub(super) fn fill(
    key: &HashKey,
    members: impl Iterator<Item = ((IpAddr, u16), u32)> + Clone,
) -> Box<[Point]> {
    let sum = members.clone().map(|(_, weight)| u64::from(weight)).sum::<u64>() * POINTS;
    let count = |weight: u32| {
        let wanted = u64::from(weight) * POINTS;
        let bounded = u128::from(wanted) * u128::from(MOST) / u128::from(sum.max(MOST));
        u32::try_from(bounded).unwrap_or(u32::MAX).max(1)
    };
    let of_member = |(member, ((addr, port), weight)): (u64, ((IpAddr, u16), u32))| {
        (0..count(weight)).map(move |number| {
            let hash = key.hash(Purpose::Member, addr, port, number);
            (hash >> MEMBER_BITS << MEMBER_BITS) | member
        })
    };
    let mut points: Vec<Point> = (0u64..).zip(members).flat_map(of_member).collect();
    points.sort_unstable();
    points.into_boxed_slice()
}

/// The first point from a hash on, of at least one.
#[inline]
pub(super) fn find(points: &[Point], hash: u64) -> usize {
    let hash = hash >> MEMBER_BITS << MEMBER_BITS;
    let place = points.partition_point(|point| *point < hash);
    if place < points.len() { place } else { 0 }
}

/// Whose a point is.
#[inline]
pub(super) fn member(point: Point) -> usize {
    (point & ((1 << MEMBER_BITS) - 1)) as usize
}
