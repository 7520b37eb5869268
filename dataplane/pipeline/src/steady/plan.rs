//! What the short way needs of a snapshot, worked out beforehand and packed: a cache line a destination, half a one a
//! listen.

use super::doors::Doors;
use super::sum::Sum;
use crate::ids::{DestId, RealId, ServiceId};
use crate::snapshot::{Destination, Listen, Method, NextHop, Ports, Snapshot};
use sheave_frame::PortId;
use sheave_proto::wire::eth::Mac;
use std::net::IpAddr;

/// An address and a port as they lie in a header, and what they add to sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<const A: usize> {
    pub(super) addr: [u8; A],
    pub(super) port: [u8; 2],
    /// Of address and port: when it comes, and when it goes.
    pub(super) sum: Sum,
    pub(super) out: Sum,
    /// Of the address alone, likewise; with one taken from the time to live when it comes.
    pub(super) addr_in: Sum,
    pub(super) addr_out: Sum,
}

impl<const A: usize> End<A> {
    const NONE: End<A> = End {
        addr: [0; A],
        port: [0; 2],
        sum: Sum::ZERO,
        out: Sum::ZERO,
        addr_in: Sum::ZERO,
        addr_out: Sum::ZERO,
    };

    fn new(addr: [u8; A], port: u16) -> End<A> {
        let port = port.to_be_bytes();
        let addr_sum = Sum::words(&addr);
        let sum = addr_sum.and(Sum::word(port));
        let (addr_in, addr_out) = (addr_sum.and(Sum::AGED), addr_sum.taken());
        End { addr, port, sum, out: sum.taken(), addr_in, addr_out }
    }
}

/// A next hop that is known: everything that a frame needs to leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit {
    /// The hardware addresses as they lie in a frame: to, from.
    pub(super) macs: [u8; 12],
    /// The interface.
    pub(super) port: PortId,
    /// Where the largest IP packet ends in its frame.
    pub(super) end: u16,
}

impl Exit {
    const NOWHERE: Exit = Exit { macs: [0; 12], port: PortId::NONE, end: 0 };

    fn new(hop: &NextHop) -> Option<Exit> {
        let (Mac(to), Mac(from)) = (hop.mac?, hop.source);
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&to);
        macs[6..].copy_from_slice(&from);
        Some(Exit { macs, port: hop.port, end: hop.mtu.saturating_add(14) })
    }

    /// The largest IP packet, or somewhat less.
    #[inline(always)]
    pub(super) const fn mtu(&self) -> u16 {
        self.end - 14
    }
}

/// A destination that packets may go to on the short way.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Target<const A: usize> {
    pub(super) exit: Exit,
    /// NAT: what is written.
    pub(super) end: End<A>,
    pub(super) service: u16,
    /// NAT: the number that its replies come under.
    pub(super) real: u16,
    pub(super) generation: u8,
    pub(super) method: Method,
}

/// A listen that packets may come to on the short way.
#[derive(Debug, Clone, Copy)]
#[repr(align(16))]
pub(super) struct Front<const A: usize> {
    pub(super) end: End<A>,
    pub(super) service: u16,
}

/// What stands where nothing is: no target and no front have a service in common.
trait Vacant {
    const VACANT: Self;
}

impl<const A: usize> Vacant for Target<A> {
    const VACANT: Target<A> = Target {
        exit: Exit::NOWHERE,
        end: End::NONE,
        service: u16::MAX,
        real: u16::MAX,
        generation: 0,
        method: Method::Local,
    };
}

impl<const A: usize> Vacant for Front<A> {
    const VACANT: Front<A> = Front { end: End::NONE, service: u16::MAX - 1 };
}

const _: () = assert!(ServiceId::COUNT < u16::MAX as usize);

/// A route with a gateway, or one without, that leads nowhere on the short way: its exit is too small for anything. Addresses
/// are `T`.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Route<T> {
    mask: T,
    network: T,
    exit: Exit,
}

/// All of them, by their numbers, and the routes to clients.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    targets: Vec<Target<4>>,
    fronts: Vec<Front<4>>,
    routes: Vec<Route<u32>>,
    /// The first route that may lead to an address, by its first byte.
    begin: Vec<u8>,
    targets_v6: Vec<Target<16>>,
    fronts_v6: Vec<Front<16>>,
    routes_v6: Vec<Route<u128>>,
    /// Hardware addresses by interface, as [`mac_of`] reads them.
    macs: Vec<u64>,
    pub(super) listens: Doors,
    pub(super) reals: Doors,
}

/// No interface's.
const NO_MAC: u64 = u64::MAX;

/// The hardware address that a frame is for, as a number.
#[inline(always)]
pub(super) const fn mac_of(head: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*head) << 16
}

impl Plan {
    /// What a snapshot comes to, that is otherwise complete.
    pub(crate) fn new(snapshot: &Snapshot) -> Plan {
        let mut macs = Vec::new();
        for (port, interface) in snapshot.interfaces() {
            let [a, b, c, d, e, f] = interface.mac.0;
            macs.resize(port.index(), NO_MAC);
            macs.push(mac_of(&[a, b, c, d, e, f, 0, 0]));
        }
        let exit = |hop: Option<NextHop>| hop.and_then(|hop| Exit::new(&hop)).unwrap_or(Exit::NOWHERE);
        let routes: Vec<Route<u32>> = snapshot
            .few_ways()
            .map(|(mask, network, hop)| Route { mask, network, exit: exit(hop) })
            .collect();
        Plan {
            targets: by_number(snapshot.destinations().map(|(id, d)| (id.index(), target_v4(d)))),
            fronts: by_number(snapshot.listens().map(|(id, listen)| (id.index(), front_v4(listen)))),
            begin: (0..=255).map(|byte| begin(&routes, byte)).collect(),
            routes,
            targets_v6: by_number(snapshot.destinations().map(|(id, d)| (id.index(), target_v6(d)))),
            fronts_v6: by_number(snapshot.listens().map(|(id, listen)| (id.index(), front_v6(listen)))),
            routes_v6: snapshot
                .few_ways_v6()
                .map(|(mask, network, hop)| Route { mask, network, exit: exit(hop) })
                .collect(),
            macs,
            listens: Doors::of_listens(snapshot),
            reals: Doors::of_reals(snapshot),
        }
    }

    #[inline(always)]
    pub(super) fn target(&self, id: usize) -> Option<&Target<4>> {
        self.targets.get(id)
    }

    /// The name that the replies of a NAT destination come under.
    pub(super) fn real(&self, id: DestId) -> Option<RealId> {
        self.target(id.index())
            .filter(|target| target.method == Method::Nat)
            .map(|target| RealId(target.real))
    }

    #[inline(always)]
    pub(super) fn front(&self, id: usize) -> Option<&Front<4>> {
        self.fronts.get(id)
    }

    /// The way out to an address by a gateway.
    #[inline(always)]
    pub(super) fn exit(&self, to: u32) -> Option<&Exit> {
        let begin = usize::from(*self.begin.get((to >> 24) as usize)?);
        let routes = self.routes.get(begin..)?;
        routes.iter().find(|route| to & route.mask == route.network).map(|route| &route.exit)
    }

    #[inline(always)]
    pub(super) fn target_v6(&self, id: usize) -> Option<&Target<16>> {
        self.targets_v6.get(id)
    }

    #[inline(always)]
    pub(super) fn front_v6(&self, id: usize) -> Option<&Front<16>> {
        self.fronts_v6.get(id)
    }

    /// The same for IPv6.
    #[inline(always)]
    pub(super) fn exit_v6(&self, to: u128) -> Option<&Exit> {
        self.routes_v6.iter().find(|route| to & route.mask == route.network).map(|route| &route.exit)
    }

    /// Whether a frame that begins like this is for the interface.
    #[inline(always)]
    pub(super) fn is_for(&self, port: PortId, head: &[u8; 8]) -> bool {
        self.macs.get(port.index()) == Some(&mac_of(head))
    }
}

/// A list of what has numbers, in their order.
///
/// PERF: `instructions/*`. What is vacant is told from the rest by a comparison that is made anyway.
fn by_number<T: Clone + Vacant>(numbered: impl Iterator<Item = (usize, Option<T>)>) -> Vec<T> {
    let mut list = Vec::new();
    for (number, one) in numbered {
        list.resize(number, T::VACANT);
        list.push(one.unwrap_or(T::VACANT));
    }
    list
}

/// The first of some routes, longest prefix first, that may lead to an address with this first byte.
fn begin(routes: &[Route<u32>], byte: u8) -> u8 {
    let upper = u32::from(byte) << 24;
    let may = |route: &Route<u32>| (upper ^ route.network) & route.mask & 0xff00_0000 == 0;
    routes.iter().position(may).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

fn target_v4(destination: &Destination) -> Option<Target<4>> {
    let IpAddr::V4(addr) = destination.addr else { return target(destination, None) };
    target(destination, Some(addr.octets()))
}

fn target_v6(destination: &Destination) -> Option<Target<16>> {
    let IpAddr::V6(addr) = destination.addr else { return target(destination, None) };
    target(destination, Some(addr.octets()))
}

/// A destination, whose address is this if it is of the family.
fn target<const A: usize>(destination: &Destination, addr: Option<[u8; A]>) -> Option<Target<A>> {
    let exit = Exit::new(destination.next_hop.as_ref()?)?;
    let (end, real) = match (destination.method, addr, destination.port, destination.real) {
        (Method::Nat, Some(addr), Some(port), Some(RealId(real))) => (End::new(addr, port), real),
        // Nothing is written, and the tunnel is the destination's.
        (Method::DirectRoute | Method::Tunnel, ..) => (End::new([0; A], 0), 0),
        _ => return None,
    };
    Some(Target {
        exit,
        end,
        service: destination.service.0,
        real,
        generation: destination.generation.0,
        method: destination.method,
    })
}

fn front_v4(listen: &Listen) -> Option<Front<4>> {
    let (IpAddr::V4(vip), Ports::One(port)) = (listen.vip, listen.ports) else { return None };
    Some(Front { end: End::new(vip.octets(), port), service: listen.service.0 })
}

fn front_v6(listen: &Listen) -> Option<Front<16>> {
    let (IpAddr::V6(vip), Ports::One(port)) = (listen.vip, listen.ports) else { return None };
    Some(Front { end: End::new(vip.octets(), port), service: listen.service.0 })
}
