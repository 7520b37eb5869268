//! Services under new names: one whose name is new, and which listens where one did whose name is gone, is that one.

use sheave_proto::config::Listen;
use std::collections::{BTreeMap, BTreeSet};

/// The old names of services that have new ones, by the new ones. Services are given by name, with what they listen
/// on; in which order does not matter. Each old one is one new one at most.
pub(crate) fn renamed<'a>(
    before: &BTreeMap<&'a str, &[Listen]>,
    after: &BTreeMap<&'a str, &[Listen]>,
) -> BTreeMap<&'a str, &'a str> {
    let gone = before.iter().filter(|(name, _)| !after.contains_key(*name));
    let places: BTreeMap<Listen, &str> =
        gone.flat_map(|(name, listens)| listens.iter().map(|listen| (*listen, *name))).collect();
    let mut taken = BTreeSet::new();
    let mut renamed = BTreeMap::new();
    for (name, listens) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        let here = places.iter().filter(|(listen, of)| listens.contains(listen) && !taken.contains(*of));
        if let Some((_, of)) = here.min() {
            taken.insert(*of);
            renamed.insert(*name, *of);
        }
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_listen_in_common_decides_and_each_name_is_taken_once() {
        let on = |ports: &[u16]| -> Vec<Listen> {
            ports.iter().map(|port| format!("198.18.0.100:{port}/tcp").parse().expect("a listen")).collect()
        };
        let (a, b, ab, c) = (on(&[1, 2]), on(&[3]), on(&[3, 2]), on(&[1]));
        let before = BTreeMap::from([("a", &a[..]), ("b", &b[..]), ("stays", &c[..])]);
        let after = BTreeMap::from([("x", &ab[..]), ("y", &a[..]), ("stays", &b[..]), ("z", &b[..])]);
        assert_eq!(renamed(&before, &after), BTreeMap::from([("x", "a"), ("z", "b")]));
    }
}
