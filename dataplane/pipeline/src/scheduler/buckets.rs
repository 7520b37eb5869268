//! 256 buckets: the table of sh and dh.
//!
//! In the order of address and port each destination gets as many buckets in a row as its weight divided by the
//! greatest common divisor of all, one when its weight is 0, and so on from the first until all are given out. When
//! that is more than there are, each gets its part of them instead.
//!
//! A destination of weight 0 has a bucket as it has under IPVS: flows that it falls to go nowhere without a
//! fallback.

use super::prepared::gcd;

/// How many there are.
const BUCKETS: usize = 256;

/// Which member each bucket belongs to, of at least one with these weights.
pub(super) fn fill(weights: &[u32]) -> Box<[u16]> {
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight)).max(1);
    let turns = || (0u16..).zip(weights.iter().map(|weight| u64::from((weight / divisor).max(1))));
    let sum: u64 = turns().map(|(_, turns)| turns).sum();
    if sum <= BUCKETS as u64 {
        let in_a_row = turns().flat_map(|(member, turns)| (0..turns).map(move |_| member));
        let round: Vec<u16> = in_a_row.collect();
        return round.into_iter().cycle().take(BUCKETS).collect();
    }
    let mut end = 0;
    let mut ends = turns().map(|(member, turns)| {
        end += turns;
        (member, end)
    });
    let mut last = ends.next();
    // The bucket's middle decides whose it is.
    (0..BUCKETS as u64)
        .map(|bucket| {
            while last.is_some_and(|(_, end)| end * 2 * (BUCKETS as u64) <= (2 * bucket + 1) * sum) {
                last = ends.next();
            }
            last.map_or(0, |(member, _)| member)
        })
        .collect()
}
