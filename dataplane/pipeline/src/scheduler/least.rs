//! The smallest quotient of a load and a weight: what most schedulers look for.

use super::Candidate;

/// The candidate with the smallest load / weight, the first on ties.
pub(super) fn least<'a>(
    candidates: impl Iterator<Item = Candidate<'a>>,
    load: impl Fn(&Candidate<'a>) -> u64,
) -> Option<Candidate<'a>> {
    candidates.reduce(|least, other| if exceeds(&least, &other, &load) { other } else { least })
}

/// The candidate with the largest load / weight, the first on ties.
pub(super) fn most<'a>(
    candidates: impl Iterator<Item = Candidate<'a>>,
    load: impl Fn(&Candidate<'a>) -> u64,
) -> Option<Candidate<'a>> {
    candidates.reduce(|most, other| if exceeds(&other, &most, &load) { other } else { most })
}

/// Whether the quotient of one is larger than that of another. Crosswise: a load has up to 64 bits, a weight 41.
#[inline]
fn exceeds<'a>(one: &Candidate<'a>, other: &Candidate<'a>, load: &impl Fn(&Candidate<'a>) -> u64) -> bool {
    u128::from(load(one)) * u128::from(other.weight()) > u128::from(load(other)) * u128::from(one.weight())
}
