//! ICMP errors about packets of connections: they go where the packet came from that they quote.

use super::Model;
use super::build::{self, Ends};
use super::connections::{Connection, Tuple};
use super::judge::Case;
use super::outcome::{Bytes, Outcome};
use super::read::{Ip, quoted};
use crate::reason::Reason;
use crate::snapshot::Method;
use crate::testing::site::Destination;

/// A quote that says nothing to us.
const UNREADABLE: Outcome = Outcome::End(&[Reason::IcmpQuote, Reason::IcmpNotOurs]);
const NOT_OURS: Outcome = Outcome::End(&[Reason::IcmpNotOurs]);

/// Whether a message is an error about a flow.
pub(super) fn is_error(v4: bool, kind: u8) -> bool {
    if v4 { matches!(kind, 3 | 4 | 11) } else { kind < 128 }
}

/// The packet that an error quotes, if it can be told what flow it is of.
pub(super) fn quote(case: &Case<'_>) -> Option<Ip> {
    let end = (case.ip.l3 + case.ip.len).min(case.frame.len());
    let quote = quoted(&case.frame[..end], case.ip.l4 + 8, case.ip.src.is_ipv4()).ok()?;
    (quote.sum_ok && quote.ports.is_some()).then_some(quote)
}

impl Model {
    /// An error to a VIP: it quotes what the VIP sent to a client.
    pub(super) fn error_to_vip(&mut self, case: &Case<'_>) -> Outcome {
        let Some(quote) = quote(case) else { return UNREADABLE };
        let (sport, dport) = quote.ports.unwrap_or_default();
        if quote.src != case.ip.dst {
            return NOT_OURS;
        }
        if self.listen_at(quote.src, sport, quote.protocol).is_none() {
            return NOT_OURS;
        }
        let begun = self.begun(quote.protocol, (quote.dst, dport), (quote.src, sport));
        let Some(tuple) = begun else { return self.unknown() };
        let connection = self.connections[&tuple].clone();
        let index = connection.service;
        let to = match self.concerned(case, &connection) {
            Ok(to) => to,
            Err(end) => return end,
        };
        if to.method == Method::Local {
            return Outcome::End(&[Reason::LocalNode]);
        }
        let Some(way) = self.way(to.addr) else { return Outcome::End(&[Reason::NoRoute]) };
        let overhead = build::overhead(&to);
        if case.ip.len + overhead > way.mtu {
            return Outcome::End(&[Reason::FragNeededQuiet]);
        }
        let Some(macs) = way.macs else { return Outcome::Waits };
        let frame = match to.method {
            Method::Nat => {
                let ends = (Ends::Destination, Ends::Source);
                build::quoting(case.frame, case.ip, &quote, macs, (ends, to.addr, connection.real.1))
            }
            Method::Tunnel => {
                let ends = (self.own(way.port, to.addr), &to);
                build::tunnelled(case.frame, case.ip, macs, ends, case.came)
            }
            Method::DirectRoute | Method::Local => build::direct(case.frame, case.ip, macs),
        };
        self.tally.packet(index, to.id, false, case.ip.len);
        Outcome::Forward { service: index, destination: to.id, port: way.port, frame: Bytes(frame) }
    }

    /// An error that quotes what a client sent, by then to a NAT destination.
    pub(super) fn error_to_client(&mut self, case: &Case<'_>, quote: &Ip) -> Outcome {
        let (sport, dport) = quote.ports.unwrap_or_default();
        if quote.src != case.ip.dst {
            return NOT_OURS;
        }
        let all = self.replies(quote.protocol, (quote.src, sport), (quote.dst, dport));
        let all: Vec<(Tuple, Connection)> = all.map(|(tuple, c)| (*tuple, c.clone())).collect();
        let alive = all.iter().find(|(_, c)| self.destination_of(c).is_some());
        let Some((tuple, connection)) = alive.or(all.first()).cloned() else {
            return self.unknown();
        };
        let to = match self.concerned(case, &connection) {
            Ok(to) => to,
            Err(end) => return end,
        };
        let Some(way) = self.way(case.ip.dst) else { return Outcome::End(&[Reason::NoRoute]) };
        if case.ip.len > way.mtu {
            return Outcome::End(&[Reason::FragNeededQuiet]);
        }
        let Some(macs) = way.macs else { return Outcome::Waits };
        let (vip, vport) = tuple.2;
        let ends = (Ends::Source, Ends::Destination);
        let frame = build::quoting(case.frame, case.ip, quote, macs, (ends, vip, vport));
        let service = connection.service;
        self.tally.packet(service, to.id, true, case.ip.len);
        Outcome::Forward { service, destination: to.id, port: way.port, frame: Bytes(frame) }
    }

    /// An error about no connection that there is. Of one that has lost its destination something may be left.
    fn unknown(&self) -> Outcome {
        if self.exact { NOT_OURS } else { Outcome::End(&[Reason::IcmpNotOurs, Reason::Removed]) }
    }

    /// The destination of the connection that an error is about, if the error may go on.
    fn concerned(&self, case: &Case<'_>, connection: &Connection) -> Result<Destination, Outcome> {
        let gone = Outcome::End(&[Reason::Removed, Reason::IcmpNotOurs]);
        let to = self.destination_of(connection).cloned().ok_or(gone)?;
        if case.ip.ttl <= 1 {
            return Err(Outcome::End(&[Reason::TtlExceededQuiet]));
        }
        Ok(to)
    }
}
