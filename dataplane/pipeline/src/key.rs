//! The keys of entries: who the client is, and what it talks to.
//!
//! ```text
//!  narrow: a listen with one port, IPv4
//!
//!   63                            32 31              16 15 14                0
//!  +--------------------------------+------------------+--+------------------+
//!  |        client address          |   client port    |D |  listen or real  |
//!  +--------------------------------+------------------+--+------------------+
//!
//!  wide: everything else
//!
//!   63           48 47           32 31            18 17 16 15 14                0
//!  +---------------+---------------+----------------+-----+--+------------------+
//!  |  client port  |  other port   |       0        | kind|D |  listen or real  |
//!  +---------------+---------------+----------------+-----+--+------------------+
//!  |           client address, upper half (0 for IPv4)                          |
//!  +----------------------------------------------------------------------------+
//!  |           client address, lower half                                       |
//!  +----------------------------------------------------------------------------+
//! ```
//!
//! D: 0 for packets from the client (the other port is the VIP's), 1 for those to it (the real server's). The kind
//! is never 0, so that no key begins with a word of zeroes.

use crate::ids::{ListenId, RealId, ServiceId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The key of an entry, and with it which table the entry is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// In the table of one-word keys.
    Narrow([u64; 1]),
    /// In the table of three-word keys.
    Wide([u64; 3]),
}

/// An end of a connection as a key names it.
pub type End = (IpAddr, u16);

const OUT: u64 = 0x8000;
const ID_MASK: u64 = 0x7fff;
const KIND_AT: u32 = 16;
const KIND_MASK: u64 = 3;
/// Kinds of wide keys.
const V4: u64 = 1;
const V6: u64 = 2;
const TEMPLATE: u64 = 3;

#[inline]
const fn halves(addr: Ipv6Addr) -> [u64; 2] {
    let bits = addr.to_bits();
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the word")]
    [(bits >> 64) as u64, bits as u64]
}

impl Key {
    /// The key of packets from an IPv4 client to a listen with one port.
    #[inline]
    pub fn narrow_in(addr: Ipv4Addr, port: u16, listen: ListenId) -> Key {
        Key::Narrow([Key::of_client(narrow(addr, port), listen)])
    }

    /// The key of packets from a real server's one port to an IPv4 client.
    #[inline]
    pub fn narrow_out(addr: Ipv4Addr, port: u16, real: RealId) -> Key {
        Key::Narrow(Key::narrow_out_words(addr, port, real))
    }

    /// The word of [`Key::narrow_in`], for a client whose address and port are where the key has them.
    #[inline(always)]
    pub(crate) const fn of_client(client: u64, listen: ListenId) -> u64 {
        debug_assert!(listen.0 as u64 <= ID_MASK);
        client | listen.0 as u64
    }

    /// The word of [`Key::narrow_out`], likewise.
    #[inline(always)]
    pub(crate) const fn of_reply(client: u64, real: RealId) -> u64 {
        debug_assert!(real.0 as u64 <= ID_MASK);
        client | OUT | real.0 as u64
    }

    /// The words of [`Key::narrow_out`].
    #[inline(always)]
    pub(crate) fn narrow_out_words(addr: Ipv4Addr, port: u16, real: RealId) -> [u64; 1] {
        [Key::of_reply(narrow(addr, port), real)]
    }

    /// The key of packets from a client to `vport` of a listen.
    #[inline]
    pub fn wide_in(client: End, vport: u16, listen: ListenId) -> Key {
        wide(client, vport, u64::from(listen.0) & ID_MASK)
    }

    /// The key of packets from `rport` of a real server to a client.
    #[inline]
    pub fn wide_out(client: End, rport: u16, real: RealId) -> Key {
        wide(client, rport, OUT | (u64::from(real.0) & ID_MASK))
    }

    /// The key of the persistence template of the clients of one network (whose address this is) at a service, and
    /// of one port of it unless that is 0.
    pub fn template(network: IpAddr, vport: u16, service: ServiceId) -> Key {
        let [upper, lower] = match network {
            // As a mapped address: a network of the other family has another one.
            IpAddr::V4(addr) => halves(addr.to_ipv6_mapped()),
            IpAddr::V6(addr) => halves(addr),
        };
        let head = (u64::from(vport) << 32) | (TEMPLATE << KIND_AT) | (u64::from(service.0) & ID_MASK);
        Key::Wide([head, upper, lower])
    }

    /// The words, zeroes behind those of a narrow one.
    #[inline(always)]
    pub(crate) fn words(&self) -> [u64; 3] {
        match *self {
            Key::Narrow([word]) => [word, 0, 0],
            Key::Wide(words) => words,
        }
    }

    /// The listen of an in-entry, if that is of the same IPv6 client as the out-entry: both have wide keys.
    #[inline(always)]
    pub(crate) fn listen_of_reply(reply: &[u64; 3], of: &[u64; 3]) -> Option<ListenId> {
        // All but the other port and the number; which of the two it is differs.
        const SAME: u64 = !(0xffff << 32) & !ID_MASK;
        let same = (reply[0] ^ of[0]) & SAME == OUT && of[0] & OUT == 0 && reply[1..] == of[1..];
        same.then(|| ListenId(id(of[0])))
    }

    /// The first word: enough to recognise an entry.
    #[inline]
    pub fn head(&self) -> u64 {
        match self {
            Key::Narrow([word]) | Key::Wide([word, ..]) => *word,
        }
    }

    /// Whether both are of the same client and client port.
    #[inline]
    pub(crate) fn same_client(&self, other: &Key) -> bool {
        match (self, other) {
            (Key::Narrow([a]), Key::Narrow([b])) => a >> 16 == b >> 16,
            (Key::Wide(a), Key::Wide(b)) => a[0] >> 48 == b[0] >> 48 && a[1..] == b[1..],
            _ => KeyParts::of(*self).client == KeyParts::of(*other).client,
        }
    }

    /// The listen, if it is the key of packets from a client.
    #[inline]
    pub(crate) fn listen(&self) -> Option<ListenId> {
        let template = matches!(self, Key::Wide([head, ..]) if (head >> KIND_AT) & KIND_MASK == TEMPLATE);
        (self.head() & OUT == 0 && !template).then(|| ListenId(id(self.head())))
    }
}

#[inline]
fn narrow(addr: Ipv4Addr, port: u16) -> u64 {
    (u64::from(addr.to_bits()) << 32) | (u64::from(port) << 16)
}

#[inline]
fn wide(client: End, other: u16, rest: u64) -> Key {
    let (kind, [upper, lower]) = match client.0 {
        IpAddr::V4(addr) => (V4, [0, u64::from(addr.to_bits())]),
        IpAddr::V6(addr) => (V6, halves(addr)),
    };
    Key::Wide([
        (u64::from(client.1) << 48) | (u64::from(other) << 32) | (kind << KIND_AT) | rest,
        upper,
        lower,
    ])
}

#[inline]
const fn id(head: u64) -> u16 {
    (head & ID_MASK) as u16
}

/// What a key is the key of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Packets from the client to this listen.
    In(ListenId),
    /// Packets from this real server to the client.
    Out(RealId),
    /// The persistence template of a network of clients at this service.
    Template(ServiceId),
}

/// A key taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyParts {
    /// The client's address and port; of a template, the network's address and 0.
    pub client: End,
    /// The VIP's or the real server's port, where the key tells it: a narrow one does not.
    pub other_port: Option<u16>,
    /// The rest.
    pub side: Side,
}

impl KeyParts {
    /// Takes a key apart.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of the words")]
    pub fn of(key: Key) -> KeyParts {
        let head = key.head();
        let id = id(head);
        let side = if head & OUT == 0 { Side::In(ListenId(id)) } else { Side::Out(RealId(id)) };
        match key {
            Key::Narrow([word]) => KeyParts {
                client: (IpAddr::V4(Ipv4Addr::from_bits((word >> 32) as u32)), (word >> 16) as u16),
                other_port: None,
                side,
            },
            Key::Wide([_, upper, lower]) => {
                let v6 = Ipv6Addr::from_bits((u128::from(upper) << 64) | u128::from(lower));
                let (addr, side) = match (head >> KIND_AT) & KIND_MASK {
                    V4 => (IpAddr::V4(Ipv4Addr::from_bits(lower as u32)), side),
                    TEMPLATE => {
                        let addr = v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4);
                        (addr, Side::Template(ServiceId(id)))
                    }
                    _ => (IpAddr::V6(v6), side),
                };
                KeyParts { client: (addr, (head >> 48) as u16), other_port: Some((head >> 32) as u16), side }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_lie_where_the_picture_says() {
        let v4 = Ipv4Addr::new(192, 0, 2, 1);
        let v6: IpAddr = "2001:db8:1:2:3:4:5:6".parse().expect("an address");
        assert_eq!(Key::narrow_in(v4, 0x1f90, ListenId(5)), Key::Narrow([0xc000_0201_1f90_0005]));
        assert_eq!(Key::narrow_out(v4, 0x1f90, RealId(5)), Key::Narrow([0xc000_0201_1f90_8005]));
        assert_eq!(
            Key::wide_in((v4.into(), 0x1f90), 80, ListenId(5)),
            Key::Wide([0x1f90_0050_0001_0005, 0, 0xc000_0201])
        );
        assert_eq!(
            Key::wide_out((v6, 0x1f90), 80, RealId(5)),
            Key::Wide([0x1f90_0050_0002_8005, 0x2001_0db8_0001_0002, 0x0003_0004_0005_0006])
        );
        assert_eq!(
            Key::template(v4.into(), 80, ServiceId(5)),
            Key::Wide([0x0000_0050_0003_0005, 0, 0xffff_c000_0201])
        );
    }

    fn addr() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<Ipv4Addr>().prop_map(IpAddr::V4), any::<Ipv6Addr>().prop_map(IpAddr::V6)]
    }

    proptest! {
        #[test]
        fn a_key_comes_apart(addr in addr(), port: u16, other: u16, id in 0u16..0x8000, out: bool) {
            let (wide, side) = if out {
                (Key::wide_out((addr, port), other, RealId(id)), Side::Out(RealId(id)))
            } else {
                (Key::wide_in((addr, port), other, ListenId(id)), Side::In(ListenId(id)))
            };
            let parts = KeyParts { client: (addr, port), other_port: Some(other), side };
            prop_assert_eq!(KeyParts::of(wide), parts);
            if let IpAddr::V4(v4) = addr {
                let narrow = if out {
                    Key::narrow_out(v4, port, RealId(id))
                } else {
                    Key::narrow_in(v4, port, ListenId(id))
                };
                prop_assert_eq!(KeyParts::of(narrow), KeyParts { other_port: None, ..parts });
                prop_assert!(narrow.same_client(&wide) && wide.same_client(&narrow));
                prop_assert_eq!(narrow.listen(), wide.listen());
            }
            prop_assert_eq!(wide.listen().is_some(), !out);
        }

        #[test]
        fn a_template_comes_apart(addr in addr(), other: u16, id in 0u16..0x8000) {
            // A mapped address is an IPv4 one here.
            let addr = addr.to_canonical();
            let key = Key::template(addr, other, ServiceId(id));
            let side = Side::Template(ServiceId(id));
            prop_assert_eq!(KeyParts::of(key), KeyParts { client: (addr, 0), other_port: Some(other), side });
            prop_assert_eq!(key.listen(), None);
            prop_assert!(key.head() != 0);
        }
    }
}
