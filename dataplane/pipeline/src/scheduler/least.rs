//! The smallest quotient of a load and a weight: what most schedulers look for.

use super::Candidate;

/// The candidate with the smallest load / weight, the first on ties.
pub(super) fn least<'a>(
    mut candidates: impl Iterator<Item = Candidate<'a>>,
    load: impl Fn(&Candidate<'a>) -> u64,
) -> Option<Candidate<'a>> {
    let measured = |c: Candidate<'a>| (u128::from(load(&c)), u128::from(c.weight()), c);
    let first = measured(candidates.next()?);
    let (.., least) = candidates.map(measured).fold(first, |least, other| {
        // Crosswise: a load has up to 64 bits, a weight 41.
        if least.0 * other.1 > other.0 * least.1 { other } else { least }
    });
    Some(least)
}
