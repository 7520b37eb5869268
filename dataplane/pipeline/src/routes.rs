//! Longest-prefix match for what is not a destination: clients and generated answers.

use hashbrown::HashMap;
use sheave_frame::PortId;
use std::net::IpAddr;

/// A way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The interface.
    pub port: PortId,
    /// The gateway; `None` on a connected network.
    pub via: Option<IpAddr>,
}

/// Routes of both families, one exact-match table a prefix length in use, longest first.
///
/// Most hosts have a handful of IPv4 routes: those are also kept in a list, which is walked faster than tables are
/// asked.
#[derive(Debug, Default, Clone)]
pub struct Routes {
    few: Vec<Few>,
    v4: Vec<(u8, HashMap<u32, Route, foldhash::fast::FixedState>)>,
    v6: Vec<(u8, HashMap<u128, Route, foldhash::fast::FixedState>)>,
}

/// An IPv4 route in the list of few, longest prefix first.
#[derive(Debug, Clone, Copy)]
struct Few {
    mask: u32,
    network: u32,
    route: Route,
}

/// Up to so many IPv4 routes are walked.
const FEW: usize = 16;

fn mask_v4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

fn mask_v6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

/// The table of one prefix length, made when missing; the list stays sorted, longest prefix first.
fn table<K>(
    tables: &mut Vec<(u8, HashMap<K, Route, foldhash::fast::FixedState>)>,
    prefix: u8,
) -> &mut HashMap<K, Route, foldhash::fast::FixedState> {
    let at = tables.partition_point(|(p, _)| *p > prefix);
    if tables.get(at).is_none_or(|(p, _)| *p != prefix) {
        tables.insert(at, (prefix, HashMap::default()));
    }
    &mut tables[at].1
}

impl Routes {
    /// Adds a route to `to`/`prefix`. The first one to the same network wins: the caller adds better ones first.
    pub fn add(&mut self, to: IpAddr, prefix: u8, route: Route) {
        match to {
            IpAddr::V4(a) => {
                table(&mut self.v4, prefix).entry(a.to_bits() & mask_v4(prefix)).or_insert(route);
            }
            IpAddr::V6(a) => {
                table(&mut self.v6, prefix).entry(a.to_bits() & mask_v6(prefix)).or_insert(route);
            }
        }
    }

    /// Makes the list of few, once all routes are in.
    pub(crate) fn finish(&mut self) {
        self.few.clear();
        if self.v4.iter().map(|(_, table)| table.len()).sum::<usize>() > FEW {
            return;
        }
        for (prefix, table) in &self.v4 {
            let mask = mask_v4(*prefix);
            self.few.extend(table.iter().map(|(network, route)| Few {
                mask,
                network: *network,
                route: *route,
            }));
        }
    }

    /// The most specific route to an IPv4 address, by its place in the list of few.
    #[inline]
    pub(crate) fn few(&self, to: u32) -> Option<(usize, Route)> {
        let found = self.few.iter().position(|few| to & few.mask == few.network)?;
        Some((found, self.few[found].route))
    }

    /// The routes of the list of few, in its order: mask, network, where to.
    pub(crate) fn few_routes(&self) -> impl Iterator<Item = (u32, u32, Route)> {
        self.few.iter().map(|few| (few.mask, few.network, few.route))
    }

    /// The IPv6 routes, longest prefix first, if they are few: mask, network, where to.
    pub(crate) fn few_routes_v6(&self) -> impl Iterator<Item = (u128, u128, Route)> {
        let few = self.v6.iter().map(|(_, table)| table.len()).sum::<usize>() <= FEW;
        self.v6.iter().filter(move |_| few).flat_map(|(prefix, table)| {
            table.iter().map(|(network, route)| (mask_v6(*prefix), *network, *route))
        })
    }

    /// The most specific route to `to`.
    #[inline]
    pub fn lookup(&self, to: IpAddr) -> Option<Route> {
        match to {
            IpAddr::V4(a) if !self.few.is_empty() => self.few(a.to_bits()).map(|(_, route)| route),
            IpAddr::V4(a) => self.v4.iter().find_map(|(p, t)| t.get(&(a.to_bits() & mask_v4(*p))).copied()),
            IpAddr::V6(a) => self.v6.iter().find_map(|(p, t)| t.get(&(a.to_bits() & mask_v6(*p))).copied()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_the_first_of_equals() {
        let mut r = Routes::default();
        let route = |port| Route { port: PortId(port), via: None };
        r.add("0.0.0.0/0".split('/').next().unwrap().parse().unwrap(), 0, route(0));
        r.add("198.18.0.0".parse().unwrap(), 24, route(1));
        r.add("198.18.0.7".parse().unwrap(), 32, route(2));
        r.add("198.18.0.99".parse().unwrap(), 24, route(3));
        r.add("2001:db8::".parse().unwrap(), 32, route(4));
        check(&r);
        r.finish();
        check(&r);
        for n in 0..FEW {
            r.add(format!("203.0.113.{n}").parse().unwrap(), 32, route(9));
        }
        r.finish();
        assert!(r.few.is_empty());
        check(&r);
    }

    fn check(r: &Routes) {
        let port = |a: &str| r.lookup(a.parse().unwrap()).map(|r| r.port.0);
        assert_eq!(port("203.0.113.201"), Some(0));
        assert_eq!(port("198.18.0.8"), Some(1));
        assert_eq!(port("198.18.0.7"), Some(2));
        assert_eq!(port("2001:db8::1"), Some(4));
        assert_eq!(port("2001:db9::1"), None);
    }
}
