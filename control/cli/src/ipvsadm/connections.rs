//! The table of connections as ipvsadm prints it.

use super::print::{Speech, protocol};
use sheave_proto::api::{ConnState, Connection};
use sheave_proto::config::DestAddr;
use std::fmt::Write;

/// Column titles, then a line for each connection.
pub(crate) fn listing(connections: &[Connection], speech: Speech<'_>) -> String {
    let mut text = "IPVS connection entries\n".to_owned();
    let engines = if speech.format.engines {
        format!("{:<18} {:<16} pe_data", "destination", "pe name")
    } else {
        "destination".to_owned()
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "pro expire {:<11} {:<18} {:<18} {engines}", "state", "source", "virtual");
    for connection in connections {
        line(&mut text, connection, speech);
    }
    text
}

fn line(text: &mut String, connection: &Connection, speech: Speech<'_>) {
    let proto = protocol(connection.proto);
    let place = |at: DestAddr| speech.place(at.addr, at.port.unwrap_or(0), proto);
    let (client, vip, real) = (place(connection.client), place(connection.vip), place(connection.real));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown in whole seconds")]
    let seconds = connection.expires_in.max(0.0) as u64;
    let expire = format!("{:02}:{:02}", seconds / 60, seconds % 60);
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
