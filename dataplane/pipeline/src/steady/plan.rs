//! What the short way needs of a snapshot, worked out beforehand and packed: a cache line a destination, half a one a
//! listen.

use crate::ids::RealId;
use crate::snapshot::{Destination, Listen, Method, NextHop, Ports};
use sheave_frame::PortId;
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, Ipv4Addr};

/// An address and a port, and their sums of 16-bit words as changes of checksums need them (RFC 1624 §3: the
/// complement of what was, and what is).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    pub(super) addr: u32,
    pub(super) port: u16,
    /// Of address and port.
    pub(super) is: u32,
    pub(super) was: u32,
    /// Of the address alone.
    pub(super) addr_is: u32,
    pub(super) addr_was: u32,
}

impl End {
    fn new(addr: Ipv4Addr, port: u16) -> End {
        let addr = addr.to_bits();
        let words = [addr >> 16, addr & 0xffff];
        let not = |word: u32| word ^ 0xffff;
        let (addr_is, addr_was) = (words[0] + words[1], not(words[0]) + not(words[1]));
        let word = u32::from(port);
        End { addr, port, is: addr_is + word, was: addr_was + not(word), addr_is, addr_was }
    }
}

/// A next hop that is known: everything that a frame needs to leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit {
    /// The hardware addresses as they lie in a frame: to, from.
    pub(super) macs: [u8; 12],
    /// The interface.
    pub(super) port: PortId,
    /// The largest IP packet.
    pub(super) mtu: u16,
}

impl Exit {
    fn new(hop: &NextHop) -> Option<Exit> {
        let (Mac(to), Mac(from)) = (hop.mac?, hop.source);
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&to);
        macs[6..].copy_from_slice(&from);
        Some(Exit { macs, port: hop.port, mtu: hop.mtu })
    }
}

/// A destination that packets may go to on the short way.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Target {
    pub(super) exit: Exit,
    /// NAT: what is written.
    pub(super) end: End,
    pub(super) service: u16,
    /// NAT: the number that its replies come under.
    pub(super) real: u16,
    pub(super) generation: u8,
    pub(super) nat: bool,
}

/// A listen that packets may come to on the short way.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub(super) struct Front {
    pub(super) end: End,
    pub(super) service: u16,
    pub(super) proto: Proto,
}

/// All of them, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    targets: Vec<Option<Target>>,
    fronts: Vec<Option<Front>>,
    /// By the few IPv4 routes with a gateway.
    exits: Vec<Option<Exit>>,
}

impl Plan {
    /// What a snapshot's objects come to. `exits`: the ways by the few routes.
    pub(crate) fn new(
        destinations: &[Option<Destination>],
        listens: &[Option<Listen>],
        exits: &[Option<NextHop>],
    ) -> Plan {
        Plan {
            targets: destinations.iter().map(|d| target(d.as_ref()?)).collect(),
            fronts: listens.iter().map(|l| front(l.as_ref()?)).collect(),
            exits: exits.iter().map(|hop| Exit::new(hop.as_ref()?)).collect(),
        }
    }

    #[inline(always)]
    pub(super) fn target(&self, id: usize) -> Option<&Target> {
        self.targets.get(id)?.as_ref()
    }

    #[inline(always)]
    pub(super) fn front(&self, id: usize) -> Option<&Front> {
        self.fronts.get(id)?.as_ref()
    }

    #[inline(always)]
    pub(super) fn exit(&self, route: usize) -> Option<&Exit> {
        self.exits.get(route)?.as_ref()
    }
}

fn target(destination: &Destination) -> Option<Target> {
    let exit = Exit::new(destination.next_hop.as_ref()?)?;
    let (end, real) = match (destination.method, destination.addr, destination.port, destination.real) {
        (Method::Nat, IpAddr::V4(addr), Some(port), Some(RealId(real))) => (End::new(addr, port), real),
        (Method::DirectRoute, ..) => (End::default(), 0),
        _ => return None,
    };
    Some(Target {
        exit,
        end,
        service: destination.service.0,
        real,
        generation: destination.generation.0,
        nat: destination.method == Method::Nat,
    })
}

fn front(listen: &Listen) -> Option<Front> {
    let (IpAddr::V4(vip), Ports::One(port)) = (listen.vip, listen.ports) else { return None };
    Some(Front { end: End::new(vip, port), service: listen.service.0, proto: listen.proto })
}
