//! Which number an address, port and protocol go by: of listens and of NAT destinations alike. Built once, then only
//! read, for every packet.

use crate::index::Index;
use crate::snapshot::Ports;
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Numbers by (address, ports, protocol).
#[derive(Debug, Default)]
pub(crate) struct Places {
    one_v4: Index<1>,
    one_v6: Index<3>,
    /// In the order of [`Range::before`]; those of one address and protocol do not overlap.
    ranges: Vec<Range>,
    any_v4: Index<1>,
    any_v6: Index<3>,
    /// Whether there is any with more than one port.
    wide: bool,
}

#[derive(Debug)]
struct Range {
    addr: IpAddr,
    proto: Proto,
    first: u16,
    last: u16,
    number: u16,
}

impl Range {
    /// Whether it begins at or before a place, in the order of all of them.
    fn before(&self, addr: IpAddr, port: u16, proto: Proto) -> bool {
        (self.addr, self.proto.number(), self.first) <= (addr, proto.number(), port)
    }
}

#[inline(always)]
fn key_v4(addr: Ipv4Addr, port: u16, proto: Proto) -> [u64; 1] {
    key_v4_raw(addr, port, proto.number())
}

#[inline(always)]
fn key_v4_raw(addr: Ipv4Addr, port: u16, proto: u8) -> [u64; 1] {
    [(u64::from(addr.to_bits()) << 32) | (u64::from(port) << 16) | u64::from(proto)]
}

#[inline(always)]
fn key_v6(addr: Ipv6Addr, port: u16, proto: Proto) -> [u64; 3] {
    let bits = addr.to_bits();
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the word")]
    [(u64::from(port) << 16) | u64::from(proto.number()), (bits >> 64) as u64, bits as u64]
}

impl Places {
    /// Notes the number of a place, instead of an earlier one.
    pub(crate) fn insert(&mut self, addr: IpAddr, ports: Ports, proto: Proto, number: u16) {
        self.wide |= !matches!(ports, Ports::One(_));
        match (ports, addr) {
            (Ports::One(port), IpAddr::V4(addr)) => self.one_v4.insert(key_v4(addr, port, proto), number),
            (Ports::One(port), IpAddr::V6(addr)) => self.one_v6.insert(key_v6(addr, port, proto), number),
            (Ports::Any, IpAddr::V4(addr)) => self.any_v4.insert(key_v4(addr, 0, proto), number),
            (Ports::Any, IpAddr::V6(addr)) => self.any_v6.insert(key_v6(addr, 0, proto), number),
            (Ports::Range(first, last), addr) => {
                let at = self.ranges.partition_point(|range| range.before(addr, first, proto));
                self.ranges.insert(at, Range { addr, proto, first, last, number });
            }
        }
    }

    /// The number of a place: one port wins over a range, a range over any port.
    #[inline]
    pub(crate) fn at(&self, addr: IpAddr, port: u16, proto: Proto) -> Option<u16> {
        match addr {
            IpAddr::V4(v4) => {
                self.one_v4(v4, port, proto.number()).or_else(|| self.wide_at(addr, port, proto))
            }
            IpAddr::V6(v6) => self.at_v6(v6, port, proto),
        }
    }

    /// Of IPv4 places with one port only, by the number of the protocol.
    #[inline(always)]
    pub(crate) fn one_v4(&self, addr: Ipv4Addr, port: u16, proto: u8) -> Option<u16> {
        self.one_v4.get(&key_v4_raw(addr, port, proto))
    }

    /// The same as `at` for IPv6.
    #[inline(always)]
    pub(crate) fn at_v6(&self, addr: Ipv6Addr, port: u16, proto: Proto) -> Option<u16> {
        match self.one_v6.get(&key_v6(addr, port, proto)) {
            Some(number) => Some(number),
            None if !self.wide => None,
            None => self.wide_at(addr.into(), port, proto),
        }
    }

    /// Whether any place has more than one port.
    #[inline(always)]
    pub(crate) fn has_wide(&self) -> bool {
        self.wide
    }

    /// The number of the place that has every port of an address.
    #[inline]
    pub(crate) fn any(&self, addr: IpAddr, proto: Proto) -> Option<u16> {
        match addr {
            _ if !self.wide => None,
            IpAddr::V4(addr) => self.any_v4.get(&key_v4(addr, 0, proto)),
            IpAddr::V6(addr) => self.any_v6.get(&key_v6(addr, 0, proto)),
        }
    }

    /// The numbers of the places that have a port too, but are wider than these: a range, every port.
    #[cold]
    pub(crate) fn wider(&self, ports: Ports, (addr, port): (IpAddr, u16), proto: Proto) -> [Option<u16>; 2] {
        match ports {
            Ports::One(_) => [self.range(addr, port, proto), self.any(addr, proto)],
            Ports::Range(..) => [None, self.any(addr, proto)],
            Ports::Any => [None, None],
        }
    }

    fn wide_at(&self, addr: IpAddr, port: u16, proto: Proto) -> Option<u16> {
        if !self.wide {
            return None;
        }
        self.range(addr, port, proto).or_else(|| self.any(addr, proto))
    }

    fn range(&self, addr: IpAddr, port: u16, proto: Proto) -> Option<u16> {
        let at = self.ranges.partition_point(|range| range.before(addr, port, proto));
        let range = at.checked_sub(1).and_then(|at| self.ranges.get(at));
        let range = range.filter(|range| (range.addr, range.proto) == (addr, proto) && port <= range.last)?;
        Some(range.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ports() -> impl Strategy<Value = Ports> {
        prop_oneof![
            (0u16..40).prop_map(Ports::One),
            (0u16..40, 1u16..9).prop_map(|(first, more)| Ports::Range(first, first + more)),
            Just(Ports::Any),
        ]
    }

    fn addr(n: u8, v6: bool) -> IpAddr {
        if v6 { Ipv6Addr::from_bits(u128::from(n)).into() } else { Ipv4Addr::new(10, 0, 0, n).into() }
    }

    fn rank(ports: Ports) -> u8 {
        match ports {
            Ports::One(_) => 0,
            Ports::Range(..) => 1,
            Ports::Any => 2,
        }
    }

    fn share(a: Ports, b: Ports) -> bool {
        rank(a) == rank(b) && (0..=50).any(|port| a.contains(port) && b.contains(port))
    }

    proptest! {
        #[test]
        fn the_narrowest_place_wins(
            wishes in prop::collection::vec((0u8..2, any::<bool>(), ports(), any::<bool>()), 0..12),
        ) {
            let mut model: Vec<(IpAddr, Ports, Proto)> = Vec::new();
            for (n, v6, ports, udp) in wishes {
                let (addr, proto) = (addr(n, v6), if udp { Proto::Udp } else { Proto::Tcp });
                if !model.iter().any(|m| (m.0, m.2) == (addr, proto) && share(m.1, ports)) {
                    model.push((addr, ports, proto));
                }
            }
            let mut places = Places::default();
            for (number, (addr, ports, proto)) in (0..).zip(&model) {
                places.insert(*addr, *ports, *proto, number);
            }
            for (n, v6, port) in (0..2).flat_map(|n| (0..51).flat_map(move |p| [(n, true, p), (n, false, p)])) {
                for proto in [Proto::Tcp, Proto::Udp] {
                    let here = |m: &&(IpAddr, Ports, Proto)| {
                        m.0 == addr(n, v6) && m.2 == proto && m.1.contains(port)
                    };
                    let best = model.iter().filter(here).min_by_key(|m| rank(m.1));
                    let number = |m| model.iter().position(|other| other == m);
                    prop_assert_eq!(places.at(addr(n, v6), port, proto).map(usize::from), best.and_then(number));
                    let Some(best) = best else { continue };
                    let wider = places.wider(best.1, (addr(n, v6), port), proto);
                    let wider: Vec<usize> = wider.into_iter().flatten().map(usize::from).collect();
                    let mut others: Vec<_> = model.iter().filter(here).filter(|m| *m != best).collect();
                    others.sort_by_key(|m| rank(m.1));
                    prop_assert_eq!(wider, others.into_iter().filter_map(number).collect::<Vec<_>>());
                }
            }
        }
    }
}
