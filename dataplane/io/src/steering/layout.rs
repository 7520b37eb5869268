//! The keys and values of the program's maps, as maps.h has them: the only place where the two must agree.

use aya::Pod;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Queues of one interface that can have a socket (QUEUES_PER_PORT of the program).
pub const QUEUES_PER_PORT: u32 = 64;
/// Interfaces that can be attached.
pub(crate) const PORTS: u32 = 128;

/// `struct address`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    /// In network byte order; of IPv4 the first four.
    octets: [u8; 16],
    family: u32,
}

impl Address {
    pub(crate) fn of(addr: IpAddr) -> Address {
        match addr {
            IpAddr::V4(addr) => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&addr.octets());
                Address { octets, family: 4 }
            }
            IpAddr::V6(addr) => Address { octets: addr.octets(), family: 6 },
        }
    }

    pub(crate) fn ip(self) -> IpAddr {
        let [a, b, c, d, ..] = self.octets;
        match self.family {
            4 => Ipv4Addr::new(a, b, c, d).into(),
            _ => Ipv6Addr::from(self.octets).into(),
        }
    }
}

/// `struct endpoint`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndpointKey {
    pub(crate) addr: Address,
    /// In network byte order.
    pub(crate) port: [u8; 2],
    pub(crate) proto: u8,
    pub(crate) kind: u8,
}

/// `enum kind`: where its four bits stand in the roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Service = 8,
    Real = 12,
    Gue = 16,
}

/// `enum role` and, shifted by a kind, `enum ported`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Roles(pub(crate) u32);

impl Roles {
    pub(crate) const NONE: Roles = Roles(0);
    pub(crate) const VIP: Roles = Roles(1);
    pub(crate) const OWN: Roles = Roles(1 << 1);
    pub(crate) const TUNNEL_SOURCE: Roles = Roles(1 << 2);
    pub(crate) const TUNNEL_IP: Roles = Roles(1 << 3);
    pub(crate) const TUNNEL_GRE: Roles = Roles(1 << 4);

    const SOME_TCP: u32 = 1;
    const SOME_UDP: u32 = 1 << 1;
    const EVERY_TCP: u32 = 1 << 2;
    const EVERY_UDP: u32 = 1 << 3;

    /// Of an address that has an endpoint of this kind.
    pub(crate) fn ported(kind: Kind, udp: bool, every: bool) -> Roles {
        let some = if udp { Roles::SOME_UDP } else { Roles::SOME_TCP };
        let all = if udp { Roles::EVERY_UDP } else { Roles::EVERY_TCP };
        Roles((some | if every { all } else { 0 }) << kind as u32)
    }

    pub(crate) fn has(self, role: Roles) -> bool {
        self.0 & role.0 == role.0
    }

    pub(crate) fn and(self, other: Roles) -> Roles {
        Roles(self.0 | other.0)
    }

    pub(crate) fn only(self, other: Roles) -> Roles {
        Roles(self.0 & other.0)
    }

    pub(crate) fn without(self, other: Roles) -> Roles {
        Roles(self.0 & !other.0)
    }
}

/// `struct entry`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) roles: u32,
    pub(crate) unused: u32,
    pub(crate) full_at: u64,
}

/// `struct port`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct PortEntry {
    /// Of its queues in the table of sockets.
    pub(crate) base: u32,
    pub(crate) generic: u32,
}

/// `struct limit`. Nanoseconds; no cost, no limit.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limit {
    pub(crate) cost: u64,
    pub(crate) depth: u64,
}

/// `struct limits`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    pub(crate) source: Limit,
    pub(crate) vip: Limit,
}

/// `enum counter`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counter {
    Taken,
    Passed,
    NoSocket,
    LetThrough,
    Reinjected,
    FloodSource,
    FloodVip,
}

// JUSTIFICATION: the maps take their keys and values as bytes.
// SAFETY: numbers without padding between or behind them; any bytes are a value.
unsafe impl Pod for Address {}
// SAFETY: as above.
unsafe impl Pod for EndpointKey {}
// SAFETY: as above.
unsafe impl Pod for Entry {}
// SAFETY: as above.
unsafe impl Pod for PortEntry {}
// SAFETY: as above.
unsafe impl Pod for Limits {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_padded() {
        assert_eq!(size_of::<Address>(), 16 + 4);
        assert_eq!(size_of::<EndpointKey>(), size_of::<Address>() + 2 + 1 + 1);
        assert_eq!(size_of::<Entry>(), 4 + 4 + 8);
        assert_eq!(size_of::<PortEntry>(), 4 + 4);
        assert_eq!(size_of::<Limits>(), 4 * 8);
    }

    #[test]
    fn addresses_of_two_families_are_never_the_same() {
        let v4 = IpAddr::from([198, 18, 0, 100]);
        let mapped = IpAddr::from(Ipv4Addr::new(198, 18, 0, 100).to_ipv6_mapped());
        let alike = IpAddr::from([0xc612, 0x0064, 0, 0, 0, 0, 0, 0]);
        for addr in [v4, mapped, alike] {
            assert_eq!(Address::of(addr).ip(), addr);
        }
        assert_ne!(Address::of(v4), Address::of(mapped));
        assert_ne!(Address::of(v4), Address::of(alike));
        assert_eq!(Address::of(v4).octets[..5], [198, 18, 0, 100, 0]);
    }

    #[test]
    fn roles_stand_where_the_program_looks_for_them() {
        assert_eq!(Roles::ported(Kind::Service, false, false), Roles(0x100));
        assert_eq!(Roles::ported(Kind::Service, true, true), Roles(0xa00));
        assert_eq!(Roles::ported(Kind::Real, false, true), Roles(0x5000));
        assert_eq!(Roles::ported(Kind::Gue, true, false), Roles(0x2_0000));
    }
}
