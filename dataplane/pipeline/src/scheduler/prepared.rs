//! What is worked out once for a snapshot, on the control thread, and used for every new connection.

use super::hash::HashKey;
use super::table::{ServiceTables, Tables};
use crate::snapshot::{Method, Service, Snapshot};

/// What schedulers know of a pool beforehand.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Of all its weights.
    pub(super) weights: Weights,
    /// Whether there is a backup in it.
    pub(super) has_backups: bool,
    /// Whether every packet of it is translated: there is nothing but NAT.
    pub(crate) translates: bool,
    /// What hash schedulers look up.
    pub(super) tables: ServiceTables,
}

impl Prepared {
    /// What is to be known of the pools of a snapshot's services, which has all destinations already. Tables that
    /// stay the same are the earlier ones.
    pub(crate) fn all(snapshot: &Snapshot, key: HashKey, earlier: &Tables) -> Vec<Prepared> {
        let count = snapshot.services().last().map_or(0, |(id, _)| id.index() + 1);
        let mut all = Vec::new();
        all.resize_with(count, Prepared::default);
        for (id, service) in snapshot.services() {
            let tables = ServiceTables::of(service, snapshot, key, earlier.get(id));
            all[id.index()] = Prepared { tables, ..Prepared::of(service, snapshot) };
        }
        all
    }

    fn of(service: &Service, snapshot: &Snapshot) -> Prepared {
        let members = || service.pool.iter().filter_map(|id| snapshot.destination(*id));
        Prepared {
            weights: Weights::of(members().map(|d| d.weight)),
            has_backups: members().any(|d| d.backup),
            translates: translates(service, snapshot),
            tables: ServiceTables::default(),
        }
    }
}

/// Whether all destinations of a service are under NAT.
pub(super) fn translates(service: &Service, snapshot: &Snapshot) -> bool {
    let all = || service.pool.iter().chain(&service.sorry);
    all().filter_map(|id| snapshot.destination(*id)).all(|d| d.method == Method::Nat)
}

/// What weighted round robin needs to know of a pool's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Weights {
    /// The largest.
    pub(super) max: u32,
    /// The greatest common divisor of those above 0; 0 when there are none.
    pub(super) gcd: u32,
}

impl Weights {
    fn of(weights: impl Iterator<Item = u32>) -> Weights {
        weights
            .fold(Weights::default(), |w, weight| Weights { max: w.max.max(weight), gcd: gcd(w.gcd, weight) })
    }
}

/// The greatest common divisor; that of 0 and a number is the number.
pub(super) fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
