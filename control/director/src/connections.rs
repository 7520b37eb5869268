//! Pages of the connection table. A page looks at a bounded part of the table, whatever the filter lets through, and
//! takes nothing from the workers: they do not notice.

use crate::director::Director;
use crate::wall;
use sheave_pipeline::entry::{Entry, State};
use sheave_pipeline::key::{Key, KeyParts, Side};
use sheave_pipeline::snapshot::{Destination, Listen, Method};
use sheave_pipeline::tcp_state::TcpState;
use sheave_pipeline::time::Tick;
use sheave_pipeline::{Shared, Snapshot, tables};
use sheave_proto::api::{ConnState, Connection, ConnectionFilter, ConnectionPage, ErrorCode, ErrorReply};
use sheave_proto::config::{DestAddr, Forward};
use sheave_table::Payload;
use std::net::IpAddr;
use std::sync::Arc;

/// Buckets that one request looks at, at most.
const BUCKETS: u64 = 65_536;

/// Where a page begins: a bucket, and how many of its entries earlier pages have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Place {
    bucket: u64,
    skip: usize,
}

impl Place {
    fn read(cursor: &str) -> Result<Place, ErrorReply> {
        let bad = || {
            let message = format!("cursor {:?} is none of ours", cursor.escape_debug().to_string());
            ErrorReply::new(
                ErrorCode::Invalid,
                "connections",
                message,
                "give back the cursor of the page before",
            )
        };
        let (bucket, skip) = cursor.split_once('.').ok_or_else(bad)?;
        Ok(Place { bucket: bucket.parse().map_err(|_| bad())?, skip: skip.parse().map_err(|_| bad())? })
    }

    fn write(self) -> String {
        format!("{}.{}", self.bucket, self.skip)
    }
}

/// A page of the entries that the filter lets through.
///
/// # Errors
/// When the cursor is none of ours, or there is no such service.
pub(crate) fn page(director: &mut Director, filter: &ConnectionFilter) -> Result<ConnectionPage, ErrorReply> {
    let start = filter.cursor.as_deref().map_or(Ok(Place::default()), Place::read)?;
    let wanted = match &filter.service {
        Some(name) => Some(crate::show::named(director, name)?.name.clone()),
        None => None,
    };
    let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let tick = director.now.tick();
    let shared = Arc::clone(&director.dataplane.shared);
    let snapshot = director.current.pin();
    let mut entries: Vec<Connection> = Vec::new();
    let mut place = Some(start);
    let mut left = BUCKETS;
    while let Some(at) = place
        && left > 0
        && entries.len() < limit
    {
        left -= 1;
        let mut found: Vec<(tables::Place, Key, Payload)> = Vec::new();
        let next = shared.tables.scan(at.bucket, 1, |place, key, payload| found.push((place, key, payload)));
        place = next.map(|bucket| Place { bucket, skip: 0 });
        for (n, found) in found.into_iter().enumerate().skip(at.skip) {
            if entries.len() == limit {
                place = Some(Place { bucket: at.bucket, skip: n });
                break;
            }
            let shown = connection(&shared, &snapshot, found, tick);
            entries.extend(shown.filter(|c| passes(c, filter, wanted.as_deref())));
        }
    }
    Ok(ConnectionPage { as_of: wall::now(), entries, cursor: place.map(Place::write) })
}

fn connection(
    shared: &Shared,
    snapshot: &Snapshot,
    (place, key, payload): (tables::Place, Key, Payload),
    now: Tick,
) -> Option<Connection> {
    let parts = KeyParts::of(key);
    // The reply's entry only leads to this one.
    let Side::In(listen) = parts.side else { return None };
    let listen: Listen = *snapshot.listen(listen)?;
    let entry = Entry::from(payload);
    let (home, rport) = shared.side.home_of(shared.tables, (place, &key), entry)?;
    let destination: Destination =
        *snapshot.destination(home.destination).filter(|d| d.generation == home.generation)?;
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
        && filter.state.is_none_or(|state| state == connection.state)
        && service.is_none_or(|name| connection.service.as_deref() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_others_are_refused() {
        let place = Place { bucket: 77, skip: 3 };
        assert_eq!(Place::read(&place.write()), Ok(place));
        for bad in ["", "7", "7.", ".7", "x.1", "1.-1", "1.2.3"] {
            let error = Place::read(bad).expect_err(bad);
            assert_eq!(error.first.code, ErrorCode::Invalid);
        }
    }
}
