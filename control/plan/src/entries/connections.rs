//! Pages of connections.

use super::{Found, Place, View};
use crate::desired::Desired;
use sheave_pipeline::entry::State;
use sheave_pipeline::key::{KeyParts, Side};
use sheave_pipeline::snapshot::{Destination, Listen, Method};
use sheave_pipeline::tcp_state::TcpState;
use sheave_proto::api::{ConnState, Connection, ConnectionFilter, ConnectionPage, ErrorReply};
use sheave_proto::config::{DestAddr, Forward};
use std::net::IpAddr;

impl View<'_> {
    /// A page of the connections that the filter lets through.
    ///
    /// # Errors
    /// When the cursor is none of ours, or there is no such service.
    pub fn connections(
        &self,
        desired: &Desired,
        filter: &ConnectionFilter,
    ) -> Result<ConnectionPage, ErrorReply> {
        let start = Place::read(filter.cursor.as_deref())?;
        let wanted = filter.service.as_deref().map(|name| desired.service(name)).transpose()?;
        let wanted = wanted.map(|service| service.name.as_str());
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let shown = |found: &Found| connection(self, found).filter(|c| passes(c, filter, wanted));
        let (entries, place) = self.walk(start, limit, shown);
        Ok(ConnectionPage { as_of: self.as_of, entries, cursor: place.map(Place::write) })
    }
}

fn connection(view: &View<'_>, &(place, key, entry): &Found) -> Option<Connection> {
    let View { shared, snapshot, now, .. } = *view;
    let parts = KeyParts::of(key);
    // The reply's entry only leads to this one.
    let Side::In(listen) = parts.side else { return None };
    let listen: Listen = *snapshot.listen(listen)?;
    let (home, rport) = shared.side.home_of(shared.tables, (place, &key), entry)?;
    let destination: Destination =
        *snapshot.destination(home.destination).filter(|d| d.has(home.generation, entry.state))?;
    let service = snapshot.service(listen.service)?;
    let vport = listen.port_of(key);
    let addr = |addr: IpAddr, port: u16| DestAddr { addr, port: Some(port) };
    let timeout = entry.state.timeout(&service.timeouts);
    let age = now.0.wrapping_sub(entry.tick.0);
    Some(Connection {
        proto: listen.proto,
        client: addr(parts.client.0, parts.client.1),
        vip: addr(listen.vip, vport),
        real: addr(destination.addr, rport.or(destination.port).unwrap_or(vport)),
        service: Some(service.name.clone()),
        forward: match destination.method {
            Method::Nat => Forward::Nat,
            Method::DirectRoute => Forward::Dr,
            Method::Local => Forward::Local,
            Method::Tunnel => Forward::Tun,
        },
        state: state(entry.state),
        expires_in: f64::from(timeout.0.saturating_sub(age)),
    })
}

fn state(state: State) -> ConnState {
    match state {
        State::Udp => ConnState::Udp,
        State::Tcp(tcp) => match tcp {
            TcpState::None => ConnState::None,
            TcpState::Established => ConnState::Established,
            TcpState::SynSent => ConnState::SynSent,
            TcpState::SynRecv => ConnState::SynRecv,
            TcpState::FinWait => ConnState::FinWait,
            TcpState::TimeWait => ConnState::TimeWait,
            TcpState::Close => ConnState::Close,
            TcpState::CloseWait => ConnState::CloseWait,
            TcpState::LastAck => ConnState::LastAck,
            TcpState::Listen => ConnState::Listen,
            TcpState::SynAck => ConnState::SynAck,
        },
    }
}

fn passes(connection: &Connection, filter: &ConnectionFilter, service: Option<&str>) -> bool {
    let at = |wish: &Option<DestAddr>, is: &DestAddr| {
        wish.is_none_or(|wish| wish.addr == is.addr && (wish.port.is_none() || wish.port == is.port))
    };
    at(&filter.vip, &connection.vip)
        && at(&filter.real, &connection.real)
        && at(&filter.client, &connection.client)
        && filter.proto.is_none_or(|proto| proto == connection.proto)
        && filter.state.is_none_or(|state| state == connection.state)
        && service.is_none_or(|name| connection.service.as_deref() == Some(name))
}
