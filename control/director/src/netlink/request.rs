//! The few requests that are made: dumps, and the wish that a neighbour be resolved.

use super::view::Ask;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

/// The bytes of a request for a dump.
pub(crate) fn dump(ask: Ask, number: u32) -> Vec<u8> {
    let message = match ask {
        Ask::Links => RouteNetlinkMessage::GetLink(LinkMessage::default()),
        Ask::Addresses => RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        Ask::Routes => RouteNetlinkMessage::GetRoute(RouteMessage::default()),
        Ask::Neighbours => RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()),
    };
    bytes(message, NLM_F_REQUEST | NLM_F_DUMP, number)
}

/// The bytes of the wish that the kernel resolve a neighbour, as `ip neigh ... use` expresses it: it creates an
/// entry if there is none and starts probing.
pub(crate) fn resolve(index: u32, addr: IpAddr) -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.header.family = match addr {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.ifindex = index;
    message.header.flags = NeighbourFlags::Use;
    message.attributes.push(NeighbourAttribute::Destination(addr.into()));
    let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE;
    bytes(RouteNetlinkMessage::NewNeighbour(message), flags & !NLM_F_ACK, 0)
}

fn bytes(message: RouteNetlinkMessage, flags: u16, number: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = number;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_request_is_what_rtnetlink_expects() {
        let bytes = dump(Ask::Links, 5);
        assert_eq!(bytes.len(), 32);
        assert_eq!(bytes[4..8], [18, 0, 1, 3], "RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP");
        assert_eq!(bytes[8..12], [5, 0, 0, 0]);
    }

    #[test]
    fn a_wish_to_resolve_names_interface_and_address() {
        let bytes = resolve(7, "198.19.1.11".parse().unwrap());
        assert_eq!(bytes[4..8], [28, 0, 1, 5], "RTM_NEWNEIGH, request, create, replace");
        assert_eq!(bytes[16..28], [2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 1, 0], "NTF_USE, NUD_NONE");
        assert_eq!(bytes[28..36], [8, 0, 1, 0, 198, 19, 1, 11]);
    }
}
