//! The table of connections as ipvsadm prints it.

use super::command::Protocol;
use super::print::{Speech, protocol};
use super::table::{Id, ids};
use sheave_proto::api::{ConnState, Connection, StickyEntry};
use sheave_proto::config::{Config, DestAddr, Ports};
use sheave_proto::wire::flow::Proto;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Column titles, then a line for each connection.
pub(crate) fn listing(connections: &[Connection], templates: &[Template], speech: Speech<'_>) -> String {
    let mut text = "IPVS connection entries\n".to_owned();
    let engines = if speech.format.engines {
        format!("{:<18} {:<16} pe_data", "destination", "pe name")
    } else {
        "destination".to_owned()
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "pro expire {:<11} {:<18} {:<18} {engines}", "state", "source", "virtual");
    for template in templates {
        template.line(&mut text, speech);
    }
    for connection in connections {
        line(&mut text, connection, speech);
    }
    text
}

/// A persistence template, as the kernel shows its own: without a port of the client, and without the others where it
/// counts for several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    proto: Option<Proto>,
    client: IpAddr,
    vip: (IpAddr, u16),
    real: (IpAddr, u16),
    expires_in: f64,
}

/// The templates of services that there are.
pub(crate) fn templates(config: &Config, entries: &[StickyEntry]) -> Vec<Template> {
    let template = |entry: &StickyEntry| {
        let service = config.services.iter().find(|service| service.name == entry.service)?;
        let (proto, addr, ports) = match ids(service)[..] {
            [Id::Address { proto, addr, ports, .. }] => (Some(proto), addr, ports),
            // A mark stands where the address does.
            [Id::Mark { mark, ipv6: false }] => (None, Ipv4Addr::from_bits(mark).into(), Ports::Any),
            [Id::Mark { mark, ipv6: true }] => (None, Ipv6Addr::from_bits(mark.into()).into(), Ports::Any),
            _ => (None, service.listen().addr, Ports::Any),
        };
        let ports = if super::ftp::has_data(service) { Ports::Any } else { ports };
        let port = ports.single().unwrap_or(0);
        let real = (entry.destination.addr, entry.destination.port.filter(|_| port != 0).unwrap_or(port));
        let client = entry.client.addr();
        Some(Template { proto, client, vip: (addr, port), real, expires_in: entry.expires_in })
    };
    entries.iter().filter_map(template).collect()
}

impl Template {
    fn line(&self, text: &mut String, speech: Speech<'_>) {
        let known = self.proto.map_or(Protocol::Tcp, protocol);
        let place = |(addr, port)| speech.place(addr, port, known);
        let (client, vip, real) = (place((self.client, 0)), place(self.vip), place(self.real));
        let proto = self.proto.map_or("IP".to_owned(), |_| known.name().to_uppercase());
        let expire = expire(self.expires_in);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{proto:<3} {expire:<6} {:<11} {client:<18} {vip:<18} {real}", "NONE");
    }
}

/// Minutes and seconds.
fn expire(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown in whole seconds")]
    let seconds = seconds.max(0.0) as u64;
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

fn line(text: &mut String, connection: &Connection, speech: Speech<'_>) {
    let proto = protocol(connection.proto);
    let place = |at: DestAddr| speech.place(at.addr, at.port.unwrap_or(0), proto);
    let (client, vip, real) = (place(connection.client), place(connection.vip), place(connection.real));
    let expire = expire(connection.expires_in);
    let (proto, state) = (proto.name().to_uppercase(), state(connection.state));
    let _ = writeln!(text, "{proto:<3} {expire:<6} {state:<11} {client:<18} {vip:<18} {real}");
}

/// The kernel's name of a state.
fn state(state: ConnState) -> &'static str {
    match state {
        ConnState::None => "NONE",
        ConnState::Established => "ESTABLISHED",
        ConnState::SynSent => "SYN_SENT",
        ConnState::SynRecv => "SYN_RECV",
        ConnState::FinWait => "FIN_WAIT",
        ConnState::TimeWait => "TIME_WAIT",
        ConnState::Close => "CLOSE",
        ConnState::CloseWait => "CLOSE_WAIT",
        ConnState::LastAck => "LAST_ACK",
        ConnState::Listen => "LISTEN",
        ConnState::SynAck => "SYNACK",
        ConnState::Udp => "UDP",
    }
}
