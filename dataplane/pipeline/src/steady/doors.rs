//! Which listen or real server a plain packet of IPv4 is for or from, found with one comparison.
//!
//! It is not all there is to know: a name that is not here has lost its place to another one, or is nobody's. The snapshot's own
//! look-up knows which.

use super::HEAD;
use crate::snapshot::{Ports, Snapshot};
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr};

/// An address, a port and a protocol, as a number: in the order in which address and port lie in headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name(u64);

impl Name {
    /// No packet's.
    const NOBODY: Name = Name(0);

    #[inline(always)]
    fn new(addr: [u8; 4], port: [u8; 2], proto: u8) -> Name {
        let end = u64::from(u32::from_le_bytes(addr)) | (u64::from(u16::from_le_bytes(port)) << 32);
        Name(end | (u64::from(proto) << 48))
    }

    /// That of an address and a port, which lie at these places of a header.
    #[inline(always)]
    pub(super) fn at<const ADDR: usize, const PORT: usize>(head: &[u8; HEAD], proto: u8) -> Name {
        let addr = [head[ADDR], head[ADDR + 1], head[ADDR + 2], head[ADDR + 3]];
        Name::new(addr, [head[PORT], head[PORT + 1]], proto)
    }

    /// The address, and from bit 16 on the port, as a narrow key has those of the client.
    #[inline(always)]
    pub(super) const fn as_client(self) -> u64 {
        (self.0 & ((1 << 48) - 1)).swap_bytes()
    }

    /// The address.
    #[inline(always)]
    pub(super) fn addr(self) -> Ipv4Addr {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        Ipv4Addr::new(a, b, c, d)
    }

    /// The port.
    pub(super) fn port(self) -> u16 {
        let [.., a, b, _, _] = self.0.to_le_bytes();
        u16::from_be_bytes([a, b])
    }

    /// Where it is, if it is there.
    #[inline(always)]
    const fn place(self) -> usize {
        // 2^64 divided by the golden ratio, odd: spreads what differs anywhere over the upper bits.
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - Doors::BITS)) as usize
    }
}

/// Names and the numbers that they stand for, each in the one place where it may be. Two dozen of them seldom meet.
#[derive(Debug)]
pub(super) struct Doors(Box<[(Name, u16); 1 << Doors::BITS]>);

impl Default for Doors {
    fn default() -> Doors {
        Doors(Box::new([(Name::NOBODY, 0); 1 << Doors::BITS]))
    }
}

impl Doors {
    const BITS: u32 = 9;

    /// Those of the listens.
    pub(super) fn of_listens(snapshot: &Snapshot) -> Doors {
        Doors::of(snapshot.listens().filter_map(|(id, listen)| match listen.ports {
            Ports::One(port) => Some((listen.vip, port, listen.proto, id.0)),
            _ => None,
        }))
    }

    /// Those of the real servers under NAT.
    pub(super) fn of_reals(snapshot: &Snapshot) -> Doors {
        Doors::of(snapshot.reals().filter_map(|(id, real)| Some((real.addr, real.port?, real.proto, id.0))))
    }

    fn of(ends: impl Iterator<Item = (IpAddr, u16, Proto, u16)>) -> Doors {
        let mut doors = Doors::default();
        for (addr, port, proto, number) in ends {
            let IpAddr::V4(addr) = addr else { continue };
            let name = Name::new(addr.octets(), port.to_be_bytes(), proto.number());
            let door = &mut doors.0[name.place()];
            if door.0 == Name::NOBODY {
                *door = (name, number);
            }
        }
        doors
    }

    /// The number of a name, if it has its place.
    ///
    /// PERF: `instructions/nat-*-64`.
    #[inline(always)]
    pub(super) fn get(&self, name: Name) -> Option<u16> {
        let (there, number) = self.0[name.place()];
        (there == name).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_or_has_lost_its_place() {
        let end = |n: u16| (IpAddr::from([198, 18, 7, n.to_be_bytes()[1]]), 80 + n, Proto::Tcp, n);
        let name = |n: u16| Name::new([198, 18, 7, n.to_be_bytes()[1]], (80 + n).to_be_bytes(), 6);
        let doors = Doors::of((0..200).map(end));
        let found: Vec<_> = (0..300).map(|n| doors.get(name(n))).collect();
        assert!(found.iter().zip(0..).all(|(got, n)| got.is_none_or(|got| got == n && n < 200)));
        assert!(found.iter().flatten().count() > 150, "a few have met");
        assert_eq!(doors.get(Name::new([198, 18, 7, 0], 80u16.to_be_bytes(), 17)), None);
        let few = Doors::of((0..16).map(end));
        assert!((0..16).all(|n| few.get(name(n)) == Some(n)));
    }

    #[test]
    fn a_name_is_read_as_a_client() {
        let name = Name::new([192, 0, 2, 7], [0x12, 0x34], 6);
        assert_eq!(name.as_client(), 0xc000_0207_1234_0000);
        assert_eq!(name.addr(), Ipv4Addr::new(192, 0, 2, 7));
    }
}
